"""Ids: text that names a row, checked once, whatever it was stored as.

Ids in a small file beside an array that has no room for them.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np

from rerank.core.errors import FormatError
from rerank.core.wording import either
from rerank.io.container import ID_NAMES, MORE_ID_NAMES, side_in
from rerank.io.field import Field, afford
from rerank.io.files import foreign, named, read_json, read_text, regular_file, safely
from rerank.io.place_names import in_other_order, may_say_places

# What a line says that is no id but the name of all.
_HEADER = re.compile(
    r"#?\s*([a-z]+[ _-]?)?(ids?|names?|keys?|file_?names?|paths?)|video|image|clip|query|caption",
    re.IGNORECASE,
)
# What dictionaries of rows are called: ids, id2idx, video_to_row.
_OF_ROWS = re.compile(r"(.*[/_2])?(ids?|keys?|names?|idx|index|rows?)")
# Larger whole numbers have neighbours that are written alike.
_EXACT = 2.0**53


# Ids of all rows together, in characters, that are looked at in one piece.
_USUAL = 50_000_000
# Characters of one id; no name comes near.
_LONGEST = 1 << 20


def check_ids(raw: Sequence[object] | np.ndarray, where: str, *, first: int = 0) -> tuple[str, ...]:
    """Ids as text: UTF-8 decoded, whole numbers as their decimal digits, UUIDs as usual.

    >>> check_ids([b"a", 7, 8.0], "here")
    ('a', '7', '8')
    >>> check_ids(["a", None], "here")
    Traceback (most recent call last):
    rerank.core.errors.FormatError: here: the id in row 1 is missing; give it one

    Args:
        raw: strings, bytes, whole numbers or UUIDs.
        where: the file and the place in it, for messages.
        first: number of the first entry, for messages.

    Raises:
        FormatError: an entry that is empty, not UTF-8, of another type, or holds a NUL, naming it.
    """
    if isinstance(raw, np.ndarray):
        with foreign(where, "text"):
            raw = raw.tolist()
    if (usual := _usual(raw)) is not None:
        return usual
    made = []
    for row, item in enumerate(raw, start=first):
        if isinstance(item, bytes):
            try:
                item = item.decode("utf-8")
            except UnicodeDecodeError as error:
                raise FormatError(
                    f"{where}: the id in row {row} is not UTF-8 ({named([item])}); "
                    "write ids as UTF-8 text"
                ) from error
        elif isinstance(item, bool):
            pass
        elif isinstance(item, int | UUID):
            item = str(item)
        elif isinstance(item, float) and item.is_integer() and abs(item) < _EXACT:
            item = str(int(item))
        elif item is None or (isinstance(item, float) and item != item):
            raise FormatError(f"{where}: the id in row {row} is missing; give it one")
        if not isinstance(item, str):
            raise FormatError(
                f"{where}: the id in row {row} is {named([item])}, expected text or an integer; "
                "save ids as text"
            )
        problem = _id_problem(item)
        if problem:
            raise FormatError(f"{where}: the id in row {row} {problem}; correct it")
        made.append(str(item))  # numpy has a text of its own
    return tuple(made)


def _usual(raw: Any) -> tuple[str, ...] | None:  # noqa: ANN401  anything at all
    """Ids that are all text, or all bytes, without a problem; None where one has to look closer."""
    kinds = set(map(type, raw))
    if not kinds <= {bytes, str} or sum(map(len, raw)) > _USUAL:
        return None
    try:
        if kinds == {bytes}:
            raw = [item.decode() for item in raw]
        elif kinds != {str}:
            return None
        ids: tuple[str, ...] = tuple(raw)
        whole = "".join(ids)
        whole.encode()
    except UnicodeError:
        return None
    usual = all(ids) and "\0" not in whole and max(map(len, ids), default=0) <= _LONGEST
    return ids if usual else None


def _id_problem(item: str) -> str | None:
    if not item:
        return "is empty"
    if len(item) > _LONGEST:
        return f"has {len(item):,} characters, which no name has"
    if "\0" in item:
        # HDF5 would cut the id here without a word.
        return f"holds a NUL character ({named([item])})"
    if not item.isascii() and any("\ud800" <= char <= "\udfff" for char in item):
        return f"is not UTF-8 ({named([item])})"
    return None


def first_duplicate(ids: Sequence[str]) -> tuple[str, int, int] | None:
    """The first id that comes again, and the two rows; None when all differ."""
    if len(set(ids)) == len(ids):
        return None
    seen: dict[str, int] = {}
    for row, item in enumerate(ids):
        if item in seen:
            return item, seen[item], row
        seen[item] = row
    return None


def check_unique(ids: Sequence[str], where: str) -> None:
    """No id twice.

    Raises:
        FormatError: naming the first that comes again and both rows.
    """
    found = first_duplicate(ids)
    if found:
        item, row, again = found
        raise FormatError(
            f"{where}: the id {named([item])} stands in row {row} and again in row {again}; "
            "ids must be unique (for captions of one video use a suffix: video7#0, video7#1)"
        )


def check_count(ids: Sequence[str], count: int, where: str, of: str) -> None:
    """As many ids as rows.

    Raises:
        FormatError: the counts differ.
    """
    if len(ids) != count:
        header = len(ids) == count + 1 and _is_header(ids)
        said = (
            f"; if its first line, {named([ids[0]])}, is a header, leave it out" if header else ""
        )
        raise FormatError(
            f"{where}: {len(ids)} ids for the {count} rows of {of}; every row needs its id{said}"
        )


def _is_header(ids: Sequence[str]) -> bool:
    """Whether the first of some ids is called as a column of ids is, and no other."""
    return [at for at, name in enumerate(ids) if _HEADER.fullmatch(name)] == [0]


def is_list(field: Field) -> bool:
    """Whether a field is a list, or one row or column."""
    return len(field.shape) == 1 or (len(field.shape) == 2 and 1 in field.shape)


def read_ids(field: Field) -> tuple[str, ...]:
    """All ids of a list of text or whole numbers; not checked for duplicates.

    Raises:
        FormatError: not a list, of another type, or see `check_ids`; more text than this run may
            hold.
    """
    if field.odd or field.kind == "other":
        what = field.odd or f"of the type {field.dtype.name}"
        fix = field.fix or "save them as text, one name for each row"
        raise FormatError(f"{field.where}: the ids are there, but they are {what}; {fix}")
    if not is_list(field):
        raise FormatError(
            f"{field.where}: the ids are there, but they are {field.describe()}; ids are a list of "
            "names, one for each row: save them as that"
        )
    count = max(field.shape)
    afford(field.dtype.itemsize, field.where, what="a single id")
    field.check()
    made: list[str] = []
    size = 0
    for block in field.blocks(0, field.shape[0]):
        part = check_ids(np.asarray(block).reshape(-1), field.where, first=len(made))
        # Names that are one object are held once.
        size += sum(map(len, {id(item): item for item in part}.values())) + 8 * len(part)
        afford(size, field.where, what="the text of the ids")
        made.extend(part)
    if len(made) != count:
        raise FormatError(f"{field.where}: holds {len(made)} of {count} declared ids")
    return _unpadded(field, made)


def _unpadded(field: Field, ids: list[str]) -> tuple[str, ...]:
    """Ids without the blanks that fill them up to the one width that all of them have."""
    width = field.dtype.itemsize // (4 if field.dtype.kind == "U" else 1)
    filled = field.dtype.kind in "SU" and all(len(item.encode()) >= width for item in ids)
    if filled and any(item.endswith(" ") for item in ids):
        bare = tuple(item.rstrip(" ") for item in ids)
        if all(bare) and len(set(bare)) == len(set(ids)):
            return bare
    return tuple(ids)


def how_to_give_ids() -> str:
    """What to do about rows without ids.

    >>> how_to_give_ids().rpartition("; ")[2]
    'with row_numbers=True of read_embeddings the numbers of the rows are the ids'
    """
    way = either(
        "name a file of them with --text-ids and --video-ids; with --text-ids rows --video-ids "
        "rows the numbers of the rows are the ids",
        "give a list, or a file of them, as ids= of read_embeddings; with row_numbers=True of "
        "read_embeddings the numbers of the rows are the ids",
    )
    return (
        "give them as 'ids' in the same file, or beside it as <name>.ids.txt (one in a line) or "
        f"<name>.ids.json (a list), or {way}"
    )


def find_sidecar(path: Path, *, name: str = "ids") -> Path | None:
    """The id file that belongs to `v.npy`: v.ids.json, v.ids.txt, v.npy.ids.json or v.npy.ids.txt.

    A plain v.json or v.txt may be anything, such as captions or other vectors, and is never taken.

    Raises:
        FormatError: two of them.
    """
    if not path.name:
        return None
    stems = (path.stem, path.name) if path.suffix else (path.name,)
    found = [
        side
        for stem in stems
        for ending in (".json", ".txt")
        if safely((side := path.with_name(f"{stem}.{name}{ending}")).exists) and side != path
    ]
    if len(found) > 1:
        raise FormatError(
            f"{path}: {named([side.name for side in found])} could both be its ids; "
            "keep one of them"
        )
    return found[0] if found else None


def _by_row(content: dict[str, Any]) -> list[Any] | None:
    """The ids of `{"0": id, "1": id, ...}`, whose keys are the numbers of all rows; else None."""
    numbers = [list(map(str, range(first, first + len(content)))) for first in (0, 1)]
    rows = next((each for each in numbers if content.keys() == set(each)), None)
    if rows is None or (
        list(content) != rows and all(isinstance(x, int) for x in content.values())
    ):
        return None
    return [content[row] for row in rows]


def ids_by_row(name: str, content: object) -> list[Any] | None:
    """The ids of a dictionary of rows, `{id: row}` or `{row: id}`, where its name may say ids.

    >>> ids_by_row("ids", {"b": 1, "a": 0}), ids_by_row("id2idx", {0: "a", 1: "b"})
    (['a', 'b'], ['a', 'b'])
    >>> ids_by_row("ids", {"a": 0, "b": 2}), ids_by_row("counts", {"a": 0, "b": 1})
    (None, None)
    """
    if not isinstance(content, dict) or len(content) < 2 or not _OF_ROWS.fullmatch(name.lower()):
        return None
    if all(type(value) is str for value in content.values()):
        return _by_row({str(key): value for key, value in content.items()})
    rows = [row for row in content.values() if type(row) is int]
    if len(rows) < len(content) or sorted(rows) != list(range(len(rows))):
        return None
    return sorted(content, key=content.__getitem__)


def _check_lists(path: Path, content: Mapping[str, Any]) -> None:
    """Refuse numbers of rows in another order beside a list of ids."""
    lists = {name: x for name, x in content.items() if isinstance(x, list)}
    for name, numbers in lists.items():
        beside = any(len(x) == len(numbers) for other, x in lists.items() if other != name)
        if not beside or not may_say_places(name) or name == "ids" or side_in(name):
            continue
        whole = all(type(x) is int for x in numbers)
        if whole and len(numbers) > 1 and in_other_order(list(map(str, numbers))):
            raise FormatError(
                f"{path}: {name!r} beside its ids is {', '.join(map(str, numbers[:3]))}, ..., and "
                f"nothing says whether the ids are in this order; sort them by {name!r}, or leave "
                "it out if they stand as meant"
            )


def read_sidecar(path: Path) -> tuple[tuple[str, ...], tuple[str, ...] | None]:
    """Ids, and the group of each where the file has it.

    A text file has one id in a line. JSON is a list of ids, `{"ids": [...], "group_ids": [...]}`,
    `{id: row}` that gives every row from 0 once, or `{row: id}` with every row from 0 or 1 once.

    Raises:
        FormatError: anything else.
    """
    path = regular_file(path)
    if path.suffix == ".txt":
        afford(2 * path.stat().st_size, str(path), what="a list of ids")
        lines = [line.removesuffix("\r") for line in read_text(path).split("\n")]
        while len(lines) > 1 and not lines[-1].strip():
            lines.pop()
        bare = [line.strip() for line in lines]
        if len(set(bare)) == len(lines) and all(line != line.strip() for line in lines):
            lines = bare  # blanks around every one are no part of them
        return check_ids(lines, str(path)), None
    afford(2 * path.stat().st_size, str(path), what="JSON")
    content = read_json(path)
    groups = None
    if isinstance(content, dict):
        _check_lists(path, content)
    if isinstance(content, dict) and isinstance(content.get("ids"), list):
        if isinstance(content.get("group_ids"), list):
            groups = check_ids(content["group_ids"], f"{path}: group_ids")
        content = content["ids"]
    if isinstance(content, dict):
        # {"video_ids": [...]}: one list, called like ids.
        known = {name for tier in (ID_NAMES, *MORE_ID_NAMES) for name in tier}
        lists = [name for name, value in content.items() if isinstance(value, list)]
        if len(lists) == 1 and lists[0] in known:
            content = content[lists[0]]
    if isinstance(content, dict) and (rows := _by_row(content)) is not None:
        content = rows
    if isinstance(content, dict):
        rows = list(content.values())
        if any(isinstance(row, bool) or not isinstance(row, int) for row in rows) or sorted(
            rows
        ) != list(range(len(rows))):
            raise FormatError(
                f"{path}: is an object, but not {{id: row}} with every row from 0 to "
                f"{len(rows) - 1} once; give a list of ids"
            )
        content = sorted(content, key=content.__getitem__)
    if not isinstance(content, list):
        raise FormatError(f"{path}: is {named([content])}, expected a list of ids")
    if groups is not None and len(groups) != len(content):
        raise FormatError(f"{path}: {len(groups)} group_ids for {len(content)} ids")
    return check_ids(content, str(path)), groups
