"""Which side of a matrix of scores is meant: by what was said, and by what its lists are called.

A name that states a side is believed, wherever its list stands. `query_ids` and `gallery_ids` name
texts and videos, or the rows and columns of a matrix whose queries are videos: their lengths tell,
or a name beside them, and else it is asked. What a column is called says of what the rows are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from rerank.core.errors import FormatError, RerankError
from rerank.core.shell import word
from rerank.core.wording import either, option
from rerank.io.container import Container, side_in
from rerank.io.field import Field
from rerank.io.files import PathLike
from rerank.io.ids import first_duplicate, is_list, read_ids
from rerank.io.place_names import is_row_number
from rerank.io.reading import ROWS
from rerank.io.row_numbers import check_order, counts_rows
from rerank.io.side_words import CAPTION_FIELDS, plain, said_by_words

SIDES = ("texts", "videos")
OTHER = {"texts": "videos", "videos": "texts"}
LISTS = {"texts": "query_ids", "videos": "gallery_ids"}
# What else the names of texts and videos are called.
_SAME = {
    "query_ids": ("queries", "text_ids", "texts", "caption_ids", "captions", "query_names"),
    "gallery_ids": (
        "gallery", "items", "video_ids", "videos", "image_ids", "images", "item_ids", "doc_ids",
        "gallery_names",
    ),
}  # fmt: skip
# What they are called where there are as many; else these may be anything.
MAYBE = {
    "texts": ("query_id", "text_id", "caption_id", "sen_id", "qids", "qid"),
    "videos": ("gallery_id", "video_id", "image_id", "item_id", "doc_id", "image_path",
               "video_path", "vids", "vid"),
}  # fmt: skip
# So are what is stored as rows and as columns; some are of pandas.
STORED = (
    ("rows", "row_ids", "row_names", "index"),
    ("columns", "column_ids", "column_names", "cols", "col_ids"),
)
KNOWN = {*_SAME, *chain(*_SAME.values(), *MAYBE.values(), *STORED)}
# Of the sides of a search, which may be either.
_RELATIVE = ("query", "queries", "qid", "qids", "gallery")


@dataclass(frozen=True, eq=False)
class SaidOfIds:
    """What was said of the names of a matrix.

    Attributes:
        files: files of the names of the texts and of the videos, or "rows".
        columns: "texts", "videos" or "rows", those that are stored, -> the list that names them.
        turned: whether it was said that the videos are stored as rows.
        stored_rows: the side that is stored as rows.
    """

    files: tuple[PathLike | None, PathLike | None] = (None, None)
    columns: Mapping[str, str] = field(default_factory=dict)
    turned: bool = False
    stored_rows: str = "texts"

    @property
    def nothing(self) -> bool:
        """Whether nothing was said of any name."""
        return self.files == (None, None) and not self.columns

    def column_of(self, side: str) -> str | None:
        """The list that names a side."""
        rows = self.columns.get(ROWS) if side == self.stored_rows else None
        return self.columns.get(side, rows)


def said_of_ids(
    query_ids: PathLike | None,
    gallery_ids: PathLike | None,
    id_column: str | Mapping[str, str] | None,
    *,
    turned: bool,
) -> SaidOfIds:
    """What `read_scores` was told about names.

    Raises:
        RerankError: a list of no side.
    """
    columns = {ROWS: id_column} if isinstance(id_column, str) else dict(id_column or {})
    odd = next((side for side in columns if side not in (*SIDES, ROWS)), None)
    if odd is not None:
        raise RerankError(f"id_column: got {odd!r}, expected 'texts', 'videos' or 'rows'")
    return SaidOfIds((query_ids, gallery_ids), columns, turned, SIDES[turned])


def states_videos(name: str) -> bool:
    """Whether a column is called as if it named videos.

    >>> states_videos("video_id"), states_videos("image_path"), states_videos("id")
    (True, True, False)
    """
    return said_by_words("text", name) == "text-video" or side_in(name) == "videos"


def called(
    lists: Mapping[str, Field], stored: Field, shape: tuple[int, int], said: SaidOfIds
) -> list[str]:
    """What the names of the texts and of the videos are called in the file.

    Args:
        lists: what may hold names, by what it is called.
        stored: the matrix as it is stored.
        shape: (texts, videos).
        said: what was said.

    Raises:
        FormatError: names that contradict how the matrix is stored, or fit both ways.
    """
    usual = list(LISTS.values())
    names = {s: name for s in SIDES if (name := _name_of(lists, LISTS[s])) is not None}
    if said.stored_rows == "texts":
        if said.nothing and (found := _askew(lists, _with_maybe(lists, names, shape), shape)):
            raise stored_turned(stored, shape, found)
        return usual
    found = _askew(lists, names, shape)
    # What a user says of a list is believed before its name.
    crossed = said.column_of("videos") == names.get("texts", "")
    if found and not crossed and not all(map(_is_relative, found)):
        way = f"leave out {option('sims-rows')}"
        if not said.turned:  # what is called v2t
            way = "give " + either("--dataset v2t", "dataset='v2t'")
        raise FormatError(
            f"{stored.where}: is {shape[::-1]}, with {_counted(found)}: it is stored texts x "
            f"videos; {way}"
        )
    if said.nothing and len(names) == 2 and shape[0] == shape[1]:
        _ask_of_relative(lists, stored, names)
    return usual[::-1] if found or crossed else usual


def _askew(
    lists: Mapping[str, Field], names: Mapping[str, str], shape: tuple[int, int]
) -> dict[str, tuple[str, int]]:
    """Lists that fit the other side each, by what they are called: their side, and how many.

    Empty where one fits its own side, or none.
    """
    counts: dict[str, int] = dict(zip(SIDES, shape, strict=True))
    found = {n: (side, max(lists[n].shape, default=0)) for side, n in names.items()}
    askew = all(many == counts[OTHER[side]] != counts[side] for side, many in found.values())
    return found if askew else {}


def _with_maybe(
    lists: Mapping[str, Field], names: Mapping[str, str], shape: tuple[int, int]
) -> Mapping[str, str]:
    """What the names of a side may be called, where no list is called so for sure."""
    if names:
        return names
    for side, others in zip(SIDES, shape[::-1], strict=True):
        for name in MAYBE[side]:
            field = lists.get(name)
            if field is not None and is_names(field) and max(field.shape) == others:
                # Those that come again are of something else: the right video of a text, say.
                if first_duplicate(read_ids(field)) is None:
                    return {side: name}
    return {}


def stored_turned(
    stored: Field, shape: tuple[int, int], found: Mapping[str, tuple[str, int]]
) -> FormatError:
    """An error about a matrix whose lists, by name their side and how many, fit the other sides."""
    ways = [f"give {option('sims-rows', 'videos')}"]
    if len(found) == 1:
        ((name, (side, _)),) = found.items()
        ways += [f"{way_to_name(OTHER[side], name)} if they name {OTHER[side]}"]
    return FormatError(
        f"{stored.where}: is {shape}, with {_counted(found)}: it is stored videos x texts; "
        f"{', or '.join(ways)}"
    )


def way_to_name(side: str, name: str) -> str:
    """How to say that a list names a side.

    >>> way_to_name("texts", "video_id")
    "id_column={'texts': 'video_id'}"
    """
    return either(f"--id-column {word(f'{side}={name}')}", f"id_column={{{side!r}: {name!r}}}")


def _counted(found: Mapping[str, tuple[str, int]]) -> str:
    """How many names of which side."""
    parts = [f"{many} of {side}" for side, many in found.values()]
    return " and ".join([parts[0].replace(" of ", " ids of "), *parts[1:]])


def _is_relative(name: str) -> bool:
    """Whether a list is called by the sides of a search, and not by what they are."""
    return any(part in _RELATIVE for part in name.lower().split("_"))


def _ask_of_relative(lists: Mapping[str, Field], stored: Field, names: Mapping[str, str]) -> None:
    """Refuse queries and gallery of a square matrix of videos x texts.

    Raises:
        FormatError: they differ, and nothing says which of them are the texts.
    """
    both = [lists[name] for name in names.values()]
    if not all(map(_is_relative, names.values())) or not all(map(is_names, both)):
        return
    if read_ids(both[0]) == read_ids(both[1]):
        return
    one, other = names.values()
    ways = [
        either(
            f"--id-column {word(f'texts={a}')} --id-column {word(f'videos={b}')}",
            f"id_column={dict(texts=a, videos=b)!r}",
        )
        for a, b in ((one, other), (other, one))
    ]
    raise FormatError(
        f"{stored.where}: {one!r} may name the texts, or what is stored as rows, the videos; say "
        f"which: {', or '.join(ways)}"
    )


def lengths_of(lists: Mapping[str, Field]) -> list[int]:
    """How many names there are of the texts and of the videos; -1 where there are none."""
    found = (named_so(lists, name) for name in LISTS.values())
    return [-1 if field is None else max(field.shape, default=0) for field in found]


def named_so(lists: Mapping[str, Field], name: str) -> Field | None:
    """The list of names called so, or like it."""
    found = _name_of(lists, name)
    return None if found is None else lists[found]


def _name_of(lists: Mapping[str, Field], name: str) -> str | None:
    if name in lists:
        return name
    others = (other for other in _SAME[name] if other in lists)
    return next((other for other in others if is_names(lists[other])), None)


def is_names(field: Field) -> bool:
    """Whether an array may be a list of names."""
    return field.kind in ("text", "integer") and is_list(field)


def check_rows(
    path: Path, name: str, rows: Sequence[str], columns: Sequence[str], lists: Mapping[str, Field]
) -> None:
    """Refuse a column of names that says that the rows, taken for texts, are videos.

    Texts may be called by their videos, with `#k` behind, and a row that holds a caption is one.

    Args:
        path: the file.
        name: what the column is called.
        rows: the names in it.
        columns: names of the columns of scores, where they have any.
        lists: all columns.

    Raises:
        FormatError: it does.
    """
    if not states_videos(name):
        return
    if columns and all("#" in row and row.partition("#")[0] in set(columns) for row in rows):
        return
    if any(plain(n) in CAPTION_FIELDS and item.kind == "text" for n, item in lists.items()):
        return
    raise FormatError(
        f"{path}: its rows are named in the column {name!r}, as if they were videos; give "
        f"{option('sims-rows', 'videos')}, or {way_to_name('texts', name)} if they are texts"
    )


def check_places(
    container: Container, lists: Mapping[str, Field], stored: Field, said: SaidOfIds, *, named: bool
) -> None:
    """Refuse rows that are called by their places and have numbers of their own.

    Args:
        container: the file.
        lists: what lies beside the matrix.
        stored: the matrix as it is stored.
        said: what was said.
        named: whether the file, or one that was given, names what is stored as rows.

    Raises:
        FormatError: numbers in another order, or a column of them among those of scores.
    """
    side, count = said.stored_rows, stored.shape[0]
    for name in container.columns:
        item = container.numbers.get(name)
        if item is not None and is_row_number(name) and counts_rows(item, count):
            raise FormatError(
                f"{container.path}: its column {name!r} counts the rows, and would be taken for "
                f"scores; leave it out, or call it {LISTS[side][:-1]!r} if these are the ids"
            )
    given = said.files[SIDES.index(side)]
    if str(given) == ROWS or (named and given is None):
        return
    rows = either(f"--{side[:-1]}-ids rows", f'{LISTS[side]}="rows"')
    way = lambda column: f"{way_to_name(side, column)}; if the rows stand as meant: {rows}"  # noqa: E731
    check_order({**container.numbers, **lists}, stored, way)
