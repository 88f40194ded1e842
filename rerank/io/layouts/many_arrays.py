"""Which of the arrays in a file are the embeddings, and which are their ids.

One set of rules for every container (HDF5, npz, safetensors, torch files, parquet, tables, folders
of arrays), tried in a fixed order. What fits two ways is refused with the candidates listed;
nothing is guessed, and nothing is merged.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from rerank.core.errors import FormatError
from rerank.core.wording import either, option
from rerank.io.axes import without_axes_of_one
from rerank.io.container import (
    SCHEMA,
    VECTOR_NAMES,
    Container,
    Found,
    contents,
    listing,
    side_in,
)
from rerank.io.field import Field, check_last_axis, check_matrix
from rerank.io.files import named
from rerank.io.frame_items import beside_items, said_of_items
from rerank.io.frame_offsets import divisions
from rerank.io.frame_tables import said_of_all, without_tables
from rerank.io.frame_words import meaning_of
from rerank.io.frames import (
    Pooling,
    has_frames,
    how_to_pool,
    one_matrix,
    pooled_cube,
    pooled_offsets,
    stacked,
)
from rerank.io.ids import (
    check_count,
    check_ids,
    check_unique,
    find_sidecar,
    first_duplicate,
    how_to_give_ids,
    is_list,
    read_ids,
    read_sidecar,
)
from rerank.io.missing_items import refuse_missing, with_whole_vectors
from rerank.io.row_numbers import check_order
from rerank.io.splits import counted_splits, only_rows, split_column


@dataclass(frozen=True)
class Wanted:
    """What a user said about one file.

    Attributes:
        dataset: the array, the group, or the array inside every item's group.
        id_column: the array or column of ids.
        embedding_column: the column of vectors; as `dataset`, for tables.
        pooling: how frames become one vector; None refuses frames.
        ids: ids that come from elsewhere; they win over those in the file.
        row_numbers: whether the numbers of the rows are the ids where there are none.
        force_rows: whether they are the ids even where there are some.
        side: "texts" or "videos", for messages that print options.
        ids_from: where the ids come from, for messages.
    """

    dataset: str | None = None
    id_column: str | None = None
    embedding_column: str | None = None
    pooling: Pooling | None = None
    ids: tuple[str, ...] | None = None
    row_numbers: bool = False
    force_rows: bool = False
    side: str = ""
    ids_from: str = "the ids given"

    def likely(self, names: Sequence[str]) -> str:
        """The name to print in an example: one that sounds like this side, else not the other.

        >>> Wanted(side="videos").likely(["t", "v"]), Wanted(side="texts").likely(["x", "img"])
        ('v', 'x')
        """
        others = [side for side in _WORDS if side != self.side] if self.side in _WORDS else []
        own = [name for name in names if _sounds_like(self.side, name)]
        return next(
            iter(own or [n for n in names if not any(_sounds_like(x, n) for x in others)]), names[0]
        )

    def say(self, argument: str, name: str) -> str:
        """How to choose a name, as the reader types it."""
        value = f"{self.side}={name}" if self.side else name
        return either(f"--{argument.replace('_', '-')} {value}", f"{argument}={name!r}")


# What arrays are called by the numbers of their rows; numpy says arr_0.
_NUMBER = re.compile(r"(?:arr_)?(0|[1-9][0-9]{0,9})")
# The ends of names in a state_dict and in an optimizer.
_PARAMETER = re.compile(r"(^|[./])(weight|bias|running_(mean|var)|in_proj_\w+|exp_avg(_sq)?)$")
# What stands at the end of the names of several arrays of one item.
_STREAMS = {
    "rgb", "flow", "image", "text", "video", "audio", "caption", "title", "motion", "appearance",
    "visual", "spatial", "temporal", "object", "scene", "face", "ocr", "speech", "depth",
}  # fmt: skip
_WORDS = {
    "texts": ("text", "txt", "caption", "query", "sentence"),
    "videos": ("vid", "image", "img", "visual", "gallery"),
}


def _sounds_like(side: str, name: str) -> bool:
    """Whether a name has a word of a side in it, or is its first letter."""
    words = _WORDS.get(side, ())
    return any(word in name.lower() for word in words) or (
        bool(words) and name.rpartition("/")[2].lower() == side[0]
    )


Ids = tuple[tuple[str, ...], tuple[str, ...] | None]


def locate(container: Container, wanted: Wanted | None = None) -> Found:
    """Find the embeddings and ids of a container, in the order of the documentation.

    1. The canonical schema `rerank/1`. 2. A float array called `embeddings`, `features`, ... with
    `ids`, `keys`, ... of equal length; 2-D, or 3-D with frames. 3. The only such array, with ids
    beside it or in a side-car. 4. One array per id: 1-D is a vector, 2-D are frames. 5. One group
    per id. 6. Refuse, listing what is there.

    Raises:
        FormatError: nothing fits, or more than one thing does.
    """
    wanted = wanted or Wanted()
    if container.schema is not None:
        return _canonical(container, wanted)
    container, wanted = _of_one_split(container, wanted)
    if container.vectors is not None:
        container = replace(container, fields=container.vectors, vectors=None)
    fields = container.fields
    name = wanted.dataset if wanted.dataset is not None else wanted.embedding_column
    if name is not None:
        return _chosen(container, name, wanted)
    if container.alike is not None and not any("/" in x or x in VECTOR_NAMES for x in fields):
        # What follows describes every array, and these would come to the same.
        _refuse_parameters(container, wanted)
        return _items(container, fields, wanted)
    root = {name: item for name, item in fields.items() if "/" not in name}
    arrays = {name: item for name, item in root.items() if _is_rows(item)}
    called = [name for name in VECTOR_NAMES if name in root]
    good = [name for name in called if name in arrays]
    if len(good) == 1 and (side := side_in(good[0])):
        # The array of the other side may have a name that is not known.
        good += [name for name in arrays if side_in(name) not in ("", side)]
    if len(good) > 1:
        raise FormatError(
            f"{container.path}: {named(good)} could all be the embeddings; name one: "
            f"{wanted.say(_option(container), wanted.likely(good))}"
        )
    if called and not good and _says_what_it_is(root[called[0]], root):
        # Its name says what it should be, so say what is wrong with it.
        check_matrix(root[called[0]], "embeddings")
    if good:
        return _matrix(container, good[0], root[good[0]], wanted)
    if len(arrays) == 1 and not container.per_item:
        return _matrix(container, *next(iter(arrays.items())), wanted)
    if len(arrays) == 1 and _is_alone(container, root):
        return _matrix(container, *next(iter(arrays.items())), wanted)
    floats = [name for name, item in fields.items() if item.kind == "float" and item.shape]
    if len(floats) == 1 and _is_rows(fields[floats[0]]) and _has_many(fields[floats[0]].shape):
        # The only one, in a group.
        return _matrix(container, floats[0], fields[floats[0]], wanted)
    if len(arrays) > 1 and _have_lists(arrays, root):
        raise FormatError(
            f"{container.path}: {named(list(arrays))} could all be the embeddings "
            f"({listing(container)}); name one: "
            f"{wanted.say(_option(container), wanted.likely(sorted(arrays)))}"
        )
    if (inside := _only_group(fields)) is not None:
        return locate(replace(container, fields=inside), wanted)
    if container.per_item and fields:
        _refuse_parameters(container, wanted)
        return locate_items(container, dict(fields), wanted)
    if arrays:
        raise FormatError(
            f"{container.path}: {named(list(arrays))} could all be the embeddings; name one: "
            f"{wanted.say(_option(container), wanted.likely(list(arrays)))}"
        )
    odd = next((item for item in root.values() if item.odd and item.fix), None)
    if odd is not None:
        check_matrix(odd, "embeddings")
    if integers := [item for item in root.values() if item.kind == "integer" and _depth(item) == 2]:
        check_matrix(integers[0], "embeddings")
    raise FormatError(f"{container.path}: no embeddings found; {listing(container)}")


def _have_lists(arrays: Mapping[str, Field], root: Mapping[str, Field]) -> bool:
    """Whether every array of rows has a list of as many, so that it is none of one item."""
    lists = {
        max(item.shape)
        for name, item in root.items()
        if item.kind in ("text", "integer")
        and is_list(item)
        # One number for each array says how many frames it has.
        and not (meaning_of(name) == "lengths" and max(item.shape) == len(arrays))
    }
    return {item.shape[0] for item in arrays.values()} <= lists


def _of_one_split(container: Container, wanted: Wanted) -> tuple[Container, Wanted]:
    """The rows of the split that is meant, where a column says of which split each row is.

    Raises:
        FormatError: rows of several splits, and no word on which is meant.
    """
    found = split_column(container)
    if found is None:
        return container, wanted
    name, values = found
    said = wanted.dataset
    if said == "/":
        return container, replace(wanted, dataset=None)
    if said is None or said not in values or said in container.fields:
        also = ""
        if said is not None:
            also = f", and the array with {wanted.say('embedding_column', said)}"
        first = min(set(values), key=lambda split: (split.lower() != "test", split))
        raise FormatError(
            f"{container.path}: its column {name!r} says that its rows are of several splits: "
            f"{counted_splits(values)}; say which is meant: {wanted.say('dataset', first)}, or "
            f"{wanted.say('dataset', '/')} for all{also}"
        )
    chosen = np.array([value == said for value in values])
    ids = wanted.ids
    if ids is not None and len(ids) == len(values):
        ids = tuple(each for each, kept in zip(ids, chosen, strict=True) if kept)
    return only_rows(container, chosen), replace(wanted, dataset=None, ids=ids)


def _only_group(fields: Mapping[str, Field]) -> dict[str, Field] | None:
    """What lies in the one group that holds everything, where that is embeddings with their ids."""
    tops = {name.partition("/")[0] for name in fields if "/" in name}
    if len(tops) != 1 or any("/" not in name for name in fields):
        return None
    inside = {name.partition("/")[2]: item for name, item in fields.items()}
    rows = any(name in VECTOR_NAMES and _is_rows(item) for name, item in inside.items())
    names = any(item.kind in ("text", "integer") and is_list(item) for item in inside.values())
    return inside if rows and names else None


def _refuse_parameters(container: Container, wanted: Wanted) -> None:
    """Refuse the weights of a model, which would pass for items and their vectors."""
    arrays = [name for name, item in container.fields.items() if item.kind == "float"]
    found = [name for name in arrays if _PARAMETER.search(name)]
    matrices = [name for name in found if _depth(container.fields[name]) == 2]
    if found and 2 * len(found) >= len(arrays):
        raise FormatError(
            f"{container.path}: holds the parameters of a model, such as {named(found[:2])}, and "
            "no embeddings; save what the model gives for every item, or name the array that is "
            f"meant: {wanted.say('dataset', matrices[0] if matrices else found[0])}"
        )


def _depth(item: Field) -> int:
    return len(item.shape)


def _has_many(shape: tuple[int, ...]) -> bool:
    """Whether an array can be rows of several items, also behind an axis of one."""
    return 1 not in (shape[1:-1] if len(shape) == 3 and shape[0] == 1 else shape[:-1])


def _option(container: Container) -> str:
    return "dataset" if container.per_item else "embedding_column"


def _is_rows(item: Field) -> bool:
    """A float array that can hold one row for each item: 2-D, or 3-D with frames."""
    return item.kind == "float" and _depth(item) in (2, 3)


def _says_what_it_is(item: Field, root: Mapping[str, Field]) -> bool:
    """Whether an array is named like embeddings, and not like one of several items."""
    return len(root) == 1 or any(is_list(other) for other in root.values() if other is not item)


def _is_alone(container: Container, root: Mapping[str, Field]) -> bool:
    """Whether the one array of rows is a matrix of items, and not the frames of one item."""
    rows = next(item for item in root.values() if _is_rows(item)).shape[0]
    beside = any(other in root for tier in container.id_names for other in tier) or any(
        item.kind == "text" and item.shape == (rows,) for item in root.values()
    )
    item = next(item for item in root.values() if _is_rows(item))
    alone = len(container.fields) == 1 or any(
        is_list(found) and max(found.shape) == rows for found in container.attached(item).values()
    )
    return alone or beside or find_sidecar(container.path) is not None


def _chosen(container: Container, dataset: str, wanted: Wanted) -> Found:
    """The array, the group, or the array in the group of every item, that a user named."""
    name = dataset.strip("/")
    chosen = container.fields.get(name)
    if chosen is not None:
        return _matrix(container, name, chosen, wanted)
    inside = _below(container.fields, name)
    if inside:
        return locate_items(container, inside, wanted, group=name)
    ends = f"/{name}"
    streams = {
        key.removesuffix(ends): item for key, item in container.fields.items() if key.endswith(ends)
    }
    if streams and "*" not in name:
        streams = with_whole_vectors(streams)
        items = {key: item for key, item in streams.items() if _is_item(item)}
        return _items(container, items if len(streams) < 2 * len(items) else streams, wanted)
    raise FormatError(f"{container.path}: there is no {dataset!r}; {listing(container)}")


def holds(container: Container, dataset: str) -> bool:
    """Whether a name that a user gave for all files means something in this one.

    >>> from pathlib import Path
    >>> holds(Container(Path("x.h5"), {}), "clip")
    False
    """
    name = dataset.strip("/")
    found = split_column(container)
    if found is not None and name in found[1]:
        return True
    return any(
        key == name or key.startswith(f"{name}/") or key.endswith(f"/{name}") or name == ""
        for key in (*container.fields, *(container.vectors or ()))
    )


def locate_items(
    container: Container, fields: dict[str, Field], wanted: Wanted, *, group: str | None = None
) -> Found:
    """Layouts 4 and 5: one array per id, or one group per id with the array inside.

    Args:
        container: the file.
        fields: its arrays, or those of one group, by names below that group.
        wanted: what the user said.
        group: the group that the user named; None when he named none.

    Raises:
        FormatError: the file is of neither layout, the ids could be read two ways, several groups
            or streams could be meant, or frames come without a word on how to combine them.
    """
    path = container.path
    fields = without_axes_of_one(path, _without(fields, beside_items(fields)))
    fields = with_whole_vectors(without_tables(fields))
    if group is None:
        _refuse_collections(path, fields, wanted)
    arrays = {name: item for name, item in fields.items() if _is_item(item)}
    matrices = [name for name in arrays if name in VECTOR_NAMES and _depth(arrays[name]) > 1]
    if group is not None and len(matrices) == 1:
        name = f"{group}/{matrices[0]}" if group else matrices[0]
        return _matrix(container, name, arrays[matrices[0]], wanted)
    if not arrays or _mostly_other(fields, arrays):
        odd = next((item for item in fields.values() if item.odd and item.fix), None)
        if odd is not None and all(item.odd and item.fix for item in fields.values()):
            check_matrix(odd, "embeddings")
        whole = [item for item in fields.values() if item.kind == "integer" and _depth(item)]
        named_so = any(name in fields for tier in container.id_names for name in tier)
        if len(whole) > 1 and len(whole) == len(fields) and not named_so:
            raise FormatError(
                f"{path}: no embeddings found; it holds integers alone: {contents(fields)}; if "
                "these are vectors by id, store them as float32"
            )
        if group is None:
            _ask_for_one_of_each(path, fields, arrays, wanted)
        elif len(single := _matrices(fields, group)) == 1:
            return _matrix(container, _inside(group) + single[0], fields[single[0]], wanted)
        _ask_for_one_of_few(path, fields, wanted, group)
        _ask_for_one_of_each(path, fields, arrays, wanted)
        _refuse_other_type(path, fields, arrays)
        raise FormatError(f"{path}: no embeddings found; {listing(container)}")
    groups: dict[str, list[str]] = {}
    for name in arrays:
        head, slash, leaf = name.rpartition("/")
        if slash:
            groups.setdefault(head, []).append(leaf)
    if group == "" or not groups:
        return _items(container, _without_last(arrays), wanted)
    flat = [name for name in arrays if "/" not in name]
    if flat:
        # Ids such as a/b nest groups; a few of them among others are no groups of items.
        if len(arrays) - len(flat) <= len(flat) and max(map(len, groups.values())) < len(flat):
            return _items(container, arrays, wanted)
        raise FormatError(
            f"{path}: holds items and groups of items side by side ({contents(arrays)}); say which "
            f"are meant: {wanted.say('dataset', _inside(group) + _top(next(iter(groups))))}, or "
            f"{_for_all(arrays, wanted)}"
        )
    return _nested(container, arrays, groups, wanted, named_group=group, above=_inside(group))


def _inside(group: str | None) -> str:
    """What stands before the names in a group."""
    return f"{group}/" if group else ""


def _matrices(fields: Mapping[str, Field], group: str | None) -> list[str]:
    """A few arrays of rows with lists of as many beside them, or of frames at the top: no items."""
    rows = [name for name, item in fields.items() if _is_rows(item)]
    lists = {(_head(name), max(item.shape)) for name, item in fields.items()
             if item.kind in ("text", "integer") and is_list(item)}  # fmt: skip
    counts = {name: fields[name].shape[0] for name in rows}
    own = [name for name in rows if {(_head(name), counts[name]), ("", counts[name])} & lists]
    # Those that have a list are named before those that have none.
    rows = own + [name for name in rows if name not in own]
    framed = group is None and any(_depth(fields[name]) == 3 for name in rows)
    flat = not any("/" in name for name in rows)
    return rows if len(rows) < 5 and (framed if flat and group is None else own) else []


def _head(name: str) -> str:
    return name.rpartition("/")[0]


def _ask_for_one_of_few(
    path: Path, fields: Mapping[str, Field], wanted: Wanted, group: str | None
) -> None:
    """Refuse a few arrays of rows that are no items, with the name of one.

    Raises:
        FormatError: there are some.
    """
    rows = [_inside(group) + name for name in _matrices(fields, group)]
    if len(rows) > 1:
        raise FormatError(
            f"{path}: {named(rows)} could all be the embeddings ({contents(fields)}); name one: "
            f"{wanted.say('dataset', wanted.likely(rows))}"
        )


def _ask_for_one_of_each(
    path: Path, fields: Mapping[str, Field], arrays: Mapping[str, Field], wanted: Wanted
) -> None:
    """Refuse items that each have a vector beside more, with the name of the vector.

    Raises:
        FormatError: they have one of the same name.
    """
    inside: dict[str, set[str]] = {}
    for name in fields:
        top, slash, rest = name.partition("/")
        if not slash:
            return
        inside.setdefault(top, set()).add(rest)
    shared = set.intersection(*inside.values()) if len(inside) > 1 else set()
    vectors = sorted(rest for rest in shared if all(f"{top}/{rest}" in arrays for top in inside))
    if vectors:
        first, held = next(iter(inside.items()))
        raise FormatError(
            f"{path}: each of its {len(inside)} items, such as {named([first])}, holds "
            f"{named(sorted(held))}; name its vector: "
            f"{wanted.say('dataset', wanted.likely(vectors))}"
        )


def _refuse_collections(path: Path, fields: Mapping[str, Field], wanted: Wanted) -> None:
    """Refuse groups each of which holds embeddings with their ids: train, test, image, text."""
    tops: dict[str, dict[str, Field]] = {}
    for name, item in fields.items():
        top, slash, rest = name.partition("/")
        if slash:
            tops.setdefault(top, {})[rest] = item
    whole = [
        top
        for top, inside in tops.items()
        if any(_is_rows(item) for item in inside.values())
        and any(item.kind in ("text", "integer") and is_list(item) for item in inside.values())
    ]
    if len(whole) < 2 or len(whole) < len(tops):
        return
    sizes = [f"{top!r} ({contents(tops[top])})" for top in whole[:4]]
    raise FormatError(
        f"{path}: holds several groups with embeddings and ids: {', '.join(sizes)}; say which one "
        f"is meant: {wanted.say('dataset', wanted.likely(whole))}"
    )


def _nested(
    container: Container,
    arrays: dict[str, Field],
    groups: Mapping[str, Sequence[str]],
    wanted: Wanted,
    *,
    named_group: str | None,
    above: str,
) -> Found:
    """Groups only: one for each item, or several collections of items; they lie in `above`."""
    path = container.path
    tops: dict[str, set[str]] = {}
    for name in arrays:
        top, _, rest = name.partition("/")
        tops.setdefault(top, set()).add(rest)
    leaves = next(iter(tops.values()))
    if len(tops) == 1:
        top = next(iter(tops))
        deeper = {rest.partition("/")[0] for rest in leaves}
        if all("/" in rest for rest in leaves) and len(deeper) > 1:
            # test/<id>/features: the group in which all items lie says nothing.
            inside = {name.partition("/")[2]: item for name, item in arrays.items()}
            below = {head.partition("/")[2]: list(names) for head, names in groups.items()}
            return _nested(
                container, inside, below, wanted, named_group=named_group, above=f"{above}{top}/"
            )
        if len(leaves) == 1:
            return _items(container, {top: next(iter(arrays.values()))}, wanted)
        if named_group is not None:
            return _items(
                container, {name.partition("/")[2]: item for name, item in arrays.items()}, wanted
            )
        first = next(iter(arrays))
        raise FormatError(
            f"{path}: everything lies in the group {named([top])}, so the ids could be "
            f"{named([first])} or {named([first.partition('/')[2]])}; say which: "
            f"{wanted.say('dataset', '/')} or {wanted.say('dataset', above + top)}"
        )
    if all(rest == leaves for rest in tops.values()) and len(leaves) <= len(tops):
        if len(leaves) == 1:
            leaf = next(iter(leaves))
            return _items(
                container,
                {name[: -len(leaf) - 1]: item for name, item in arrays.items()},
                wanted,
            )
        called = [leaf for leaf in VECTOR_NAMES if leaf in leaves]
        if len(called) == 1:
            leaf = called[0]
            return _items(container, {top: arrays[f"{top}/{leaf}"] for top in tops}, wanted)
        raise FormatError(
            f"{path}: each of its {len(tops)} items, such as {named([next(iter(tops))])}, holds "
            f"several arrays: {named(sorted(leaves))}; name one: "
            f"{wanted.say('dataset', wanted.likely(sorted(leaves)))}"
        )
    called = {top: [leaf for leaf in VECTOR_NAMES if leaf in rest] for top, rest in tops.items()}
    if all(len(found) == 1 for found in called.values()) and len(set(map(tuple, tops.values()))):
        return _items(
            container, {top: arrays[f"{top}/{found[0]}"] for top, found in called.items()}, wanted
        )
    shared, every = set.intersection(*tops.values()), set.union(*tops.values())
    _refuse_other_name(path, tops)
    if shared and len(every) <= len(tops) + 1 and len(every) < 9:
        lacking = next(top for top, rest in tops.items() if rest != every)
        raise FormatError(
            f"{path}: its items hold {named(sorted(every))}, but {named([lacking])} lacks "
            f"{named(sorted(every - tops[lacking]))}; name one that all have: "
            f"{wanted.say('dataset', wanted.likely(sorted(shared)))}"
        )
    sizes = [f"{top!r} ({len(rest)} arrays)" for top, rest in list(tops.items())[:6]]
    raise FormatError(
        f"{path}: holds several groups: {', '.join(sizes)}; say which one is meant: "
        f"{wanted.say('dataset', above + wanted.likely(list(tops)))}, or "
        f"{_for_all(arrays, wanted, above)}"
    )


def _refuse_other_name(path: Path, tops: Mapping[str, set[str]]) -> None:
    """Refuse items of which most hold one array of one name, and a few one of another name."""
    usual = Counter(next(iter(rest)) for rest in tops.values() if len(rest) == 1).most_common(1)
    if not usual or 2 * usual[0][1] <= len(tops) or "/" in usual[0][0]:
        return
    leaf, count = usual[0]
    odd = [top for top, rest in tops.items() if leaf not in rest]
    if odd and all(len(tops[top]) == 1 for top in odd):
        held = next(iter(tops[odd[0]]))
        fix = "give it one" if meaning_of(held) else f"call it {leaf!r} too"
        raise FormatError(
            f"{path}: {count} of its {len(tops)} items hold {leaf!r}, but {named(odd[:1])} holds "
            f"{held!r}; {fix}, or leave it out of this file"
        )


def _without_last(arrays: Mapping[str, Field]) -> Mapping[str, Field]:
    """Arrays of all groups by what tells them apart in test/v0/feat: v0 alone, of one group."""
    leaves = {name.rpartition("/")[2] for name in arrays}
    if len(leaves) > 1 or len(arrays) < 3 or any("/" not in name for name in arrays):
        return arrays
    heads = {name.rpartition("/")[0]: item for name, item in arrays.items()}
    if len({_top(head) for head in heads}) == 1:
        return {head.partition("/")[2]: item for head, item in heads.items()}
    return heads


def _for_all(arrays: Mapping[str, Field], wanted: Wanted, above: str = "") -> str:
    """How to take all groups, and what the ids are then."""
    ids = _without_last({above + name: item for name, item in arrays.items()})
    first = next((name for name in ids if "/" in name), next(iter(ids)))
    return f"{wanted.say('dataset', '/')} for all, with ids such as {named([first])}"


def _top(name: str) -> str:
    return name.partition("/")[0]


def _is_item(item: Field) -> bool:
    """What one item may be stored as: a vector, frames, or a batch of one."""
    depth = _depth(item)
    of_one = depth in (1, 2) or (depth == 3 and item.shape[0] == 1)
    return item.kind == "float" and of_one and item.shape != (0,)


def _mostly_other(fields: Mapping[str, Field], arrays: Mapping[str, Field]) -> bool:
    """Whether what is no item could be one of another type, so that items would be left out."""
    other = [item for name, item in fields.items() if name not in arrays and item.shape != (0,)]
    # A number of each item, such as a year, is never its vector.
    more = [item for item in other if item.shape or item.kind != "integer"]
    return any(item.kind != "other" and _depth(item) > 0 for item in other) or (
        len(more) > len(arrays)
    )


def _refuse_other_type(
    path: Path, fields: Mapping[str, Field], arrays: Mapping[str, Field]
) -> None:
    """Refuse an array of text or of whole numbers among more that are vectors, by its name."""
    other = [
        name for name, item in fields.items()
        if name not in arrays and item.kind in ("text", "integer") and _depth(item) > 0
    ]  # fmt: skip
    if 0 < len(other) < len(arrays) and all(_depth(item) == 1 for item in arrays.values()):
        name = other[0]
        fix = "store it as float32, or " if fields[name].kind == "integer" else ""
        raise FormatError(
            f"{path}: {named([name])} ({fields[name].describe()}) is no vector of decimals, and "
            f"{len(arrays)} entries beside it are; {fix}leave it out of this file"
        )


def _items(container: Container, by_id: Mapping[str, Field], wanted: Wanted) -> Found:
    """One array for each id, stacked."""
    path, by_id = container.path, _by_number(by_id)
    ids = tuple(by_id)
    shapes = [item.shape for item in by_id.values()]
    depths = {min(len(shape), 2) for shape in shapes}
    if not all(_is_item(item) for item in by_id.values()):
        raise FormatError(f"{path}: no embeddings found; {listing(container)}")
    if all(len(shape) > 1 and shape[-1] == 1 for shape in shapes):
        raise FormatError(
            f"{path}: every item is a column {shapes[0]} of {shapes[0][-2]} numbers, neither a "
            "vector nor frames; store each as x.reshape(-1)"
        )
    if len(depths) == 2 and has_frames(shapes):
        raise FormatError(
            f"{path}: holds vectors and frames side by side ({contents(by_id)}); keep one kind"
        )
    if wanted.dataset is None:
        _refuse_streams(path, ids, wanted)
    if has_frames(shapes) and wanted.pooling is None:
        if 1 < len(by_id) < 5 and all(_is_rows(item) for item in by_id.values()):
            where = by_id[wanted.likely(ids)].where
            # An id is what is left of a name.
            full = (name for name, item in container.fields.items() if item.where == where)
            raise FormatError(
                f"{path}: holds the matrices {contents(by_id)}; if one of them is the embeddings, "
                f"name it: {wanted.say('dataset', next(full, wanted.likely(ids)))}; if each is "
                f"the frames of one item, {how_to_pool()}"
            )
        many = next(name for name, item in by_id.items() if has_frames([item.shape]))
        raise FormatError(
            f"{path}: every item has several rows (frames), such as {named([many])} with "
            f"{by_id[many].shape[-2]}; {how_to_pool()}"
        )
    refuse_missing(container, by_id)
    ids = check_ids(ids, str(path))
    check_unique(ids, str(path))
    rows = container.alike
    if rows is None or by_id is not container.fields:
        held = dict(zip(ids, by_id.values(), strict=True))
        framed = wanted.pooling is not None and has_frames(shapes)
        said = said_of_items(container.fields, held) if framed else {}
        for item_id, told in (said_of_all(path, container.fields, held) if framed else {}).items():
            said.setdefault(item_id, {}).update(told)
        rows = stacked(Path(path), held, wanted.pooling, said)
    return Found(rows, _named_again(ids, wanted, path))


def _by_number(by_id: Mapping[str, Field]) -> Mapping[str, Field]:
    """Arrays that are called 0, 1, ... (or arr_0, arr_1, ...) in that order, and others as kept.

    HDF5 and folders hold 10 before 2.
    """
    numbers = {name: match[1] for name in by_id if (match := _NUMBER.fullmatch(name))}
    order = {int(number): name for name, number in numbers.items()}
    if len(order) < len(by_id) or max(order) - min(order) >= len(order) or min(order) > 1:
        return by_id
    if list(order) == sorted(order):
        return by_id
    return {order[number]: by_id[order[number]] for number in sorted(order)}


def _named_again(ids: tuple[str, ...], wanted: Wanted, path: Path) -> tuple[str, ...]:
    """Ids from elsewhere for arrays that are called by the numbers of their rows.

    Raises:
        FormatError: they are called by ids of their own.
    """
    if wanted.ids is None and not wanted.force_rows:
        return ids
    if {str(i) for i in range(len(ids))} != set(ids):
        raise FormatError(
            f"{path}: holds an array for each id, such as {named([ids[0]])}, and "
            f"{'row numbers' if wanted.force_rows else wanted.ids_from} would name them again, in "
            "an order that they do not have; leave that out"
        )
    if wanted.ids is None:
        return ids
    check_count(wanted.ids, len(ids), wanted.ids_from, str(path))
    return tuple(wanted.ids[int(name)] for name in ids)


def _without(
    fields: dict[str, Field], beside: Mapping[str, Mapping[str, Field]]
) -> dict[str, Field]:
    """Arrays that are no masks and lengths of the frames beside them."""
    gone = {f"{head}/{leaf}" for head, inside in beside.items() for leaf in inside}
    return {name: item for name, item in fields.items() if name not in gone} if gone else fields


def _refuse_streams(path: Path, ids: Sequence[str], wanted: Wanted) -> None:
    """Refuse names such as v0_rgb and v0_flow, of which each item has every one.

    Raises:
        FormatError: they are there; taken as ids, each item would be there several times.
    """
    ends: dict[str, set[str]] = {}
    for name in ids:
        stem, _, end = name.replace(".", "_").replace("-", "_").rpartition("_")
        if end.lower() not in _STREAMS:
            return
        ends.setdefault(stem, set()).add(end.lower())
    streams = next(iter(ends.values()), set())
    every = "" not in ends and all(found == streams for found in ends.values())
    if len(streams) > 1 and streams <= _STREAMS and every:
        raise FormatError(
            f"{path}: holds {named(sorted(streams))} of every item ({named(list(ids[:2]))}, ...); "
            "save the arrays of one of them in a file of its own, named by the items alone; if all "
            f"are items: {wanted.say('dataset', '/')}"
        )


def _below(fields: Mapping[str, Field], group: str) -> dict[str, Field]:
    if group == "":
        return dict(fields)
    start = f"{group}/"
    return {name[len(start) :]: item for name, item in fields.items() if name.startswith(start)}


def _named_rows(ids: tuple[str, ...], rows: Field, where: str) -> tuple[str, ...]:
    check_count(ids, rows.shape[0], where, rows.where)
    check_unique(ids, where)
    return ids


def _matrix(container: Container, name: str, item: Field, wanted: Wanted) -> Found:
    """Layouts 2 and 3: one array of rows; ids from beside it, else from a side-car."""
    folder = name.rpartition("/")[0]
    siblings = _below(container.fields, folder)
    check_last_axis(item)
    if _depth(item) == 3 and item.kind == "float":
        rows = one_matrix(item, siblings)
        if rows is None or _names_one(container, siblings, item, wanted):
            rows = pooled_cube(item, siblings, wanted.pooling)
        item = rows
    check_matrix(item, "embeddings")
    if item.shape[1] == 1:
        raise FormatError(
            f"{item.where}: is one column {item.shape}, and embeddings have at least 2 dimensions; "
            "store one row for each item"
        )
    item.check()
    if (framed := _stacked_frames(container, siblings, item, wanted)) is not None:
        return framed
    found = None
    if not wanted.force_rows:
        found = _ids_of(container, siblings, item, wanted)
        if found is None and folder:
            found = _ids_of(container, container.fields, item, wanted)
    by_place = found is None and (wanted.row_numbers or wanted.force_rows)
    if by_place or wanted.ids is not None:
        # Where numbers are the ids, the ground truth may speak of places.
        way = "" if by_place else f"{wanted.say('id_column', 'NAME')} in place of the ids given"
        check_order({**container.numbers, **siblings}, item, way)
    if found is not None:
        return Found(item, *found)
    if by_place:
        return Found(item, tuple(map(str, range(item.shape[0]))), ids_given=False)
    return _without_ids(container, item)


def _stacked_frames(
    container: Container, siblings: Mapping[str, Field], item: Field, wanted: Wanted
) -> Found | None:
    """Rows that are the frames of fewer items, one after the other, where the ids are of these.

    Raises:
        FormatError: there are no ids, or nothing says how frames are combined, or what they are.
    """
    ways = [] if wanted.force_rows else divisions(item, siblings)
    if not ways or _ids_if_they_fit(container, siblings, item, wanted) is not None:
        return None
    for way in ways:
        few = replace(item, shape=(way.items, *item.shape[1:]))
        found = _ids_if_they_fit(container, siblings, few, wanted)
        if found is None:
            continue
        if not way.said:
            raise FormatError(
                f"{way.where}: may say which of the {item.shape[0]} rows of {item.where} are the "
                f"frames of each of {way.items} items; if it does, store it as 'lengths' or "
                "'offsets'; if it does not, every row needs its id"
            )
        if wanted.pooling is None:
            raise FormatError(
                f"{item.where}: its {item.shape[0]} rows are the frames of {way.items} items, as "
                f"{way.where} says; {how_to_pool()}"
            )
        return Found(pooled_offsets(item, way.offsets(), found[0], wanted.pooling), *found)
    if ways[0].said and wanted.row_numbers and wanted.ids is None and wanted.side != "texts":
        rows = either(f"--{wanted.side[:-1] or 'video'}-ids rows", 'ids="rows"')
        raise FormatError(
            f"{ways[0].where}: may say which of the {item.shape[0]} rows of {item.where} are the "
            f"frames of each of {ways[0].items} items; if it does, give {ways[0].items} ids; if "
            f"every row is an item: {rows}"
        )
    return None


def _ids_if_they_fit(
    container: Container, siblings: Mapping[str, Field], item: Field, wanted: Wanted
) -> Ids | None:
    """The ids of as many rows as an array is said to have; None where there are others, or none."""
    try:
        return _ids_of(container, siblings, item, wanted)
    except FormatError:
        return None


def _names_one(
    container: Container, siblings: Mapping[str, Field], item: Field, wanted: Wanted
) -> bool:
    """Whether a matrix with an axis of one before it has one id, which makes its rows frames."""
    return not wanted.force_rows and (
        _ids_if_they_fit(container, siblings, item, wanted) is not None
    )


def _without_ids(container: Container, item: Field) -> Found:
    columns = ""
    fitting = [
        name for name, other in container.fields.items()
        if other.kind == "text" and other.shape == item.shape[:1]
    ]  # fmt: skip
    if container.per_item and fitting:
        columns = f"; {named(fitting)} has one entry for each: if these are the ids, name it with "
        columns += option("id-column", fitting[0])
    if not container.per_item and len(container.fields) > 1:
        others = [name for name, other in container.fields.items() if not _is_rows(other)]
        others.sort(key=lambda name: container.fields[name].kind != "text")
        if others:
            columns = (
                f"; its other columns are {named(others)}: name one with {option('id-column')}"
            )
    raise FormatError(f"{item.where}: there are no ids for its rows{columns}; {how_to_give_ids()}")


def _ids_of(
    container: Container, siblings: Mapping[str, Field], item: Field, wanted: Wanted
) -> Ids | None:
    """Ids and groups: those that were given, those in the file, those in a side-car."""
    groups = siblings.get("group_ids")
    if wanted.ids is not None:
        return _named_rows(wanted.ids, item, wanted.ids_from), _groups(groups, item)
    if wanted.id_column is not None:
        elsewhere = {**container.numbers, **container.fields}.get(wanted.id_column)
        field = siblings.get(wanted.id_column.strip("/"), elsewhere)
        if field is None:
            raise FormatError(
                f"{container.path}: there is no {wanted.id_column!r}; it holds {contents(siblings)}"
            )
        return _named_rows(read_ids(field), item, field.where), _groups(groups, item)
    other_side = _of_the_other_side(siblings, item, wanted, container.id_names)
    for tier in container.id_names:
        present = [
            other
            for other in tier
            if other in siblings and siblings[other] is not item and other not in other_side
        ]
        if present:
            return _choose_ids(siblings, present, item, wanted, container)
    side = find_sidecar(container.path)
    if side is None:
        return _told_with(container, item, groups)
    check_order({**container.numbers, **siblings}, item, wanted.say("id_column", "NAME"))
    ids, labels = read_sidecar(side)
    if labels is not None:
        check_count(labels, item.shape[0], str(side), item.where)
    return _named_rows(ids, item, str(side)), labels


def _told_with(container: Container, item: Field, groups: Field | None) -> Ids | None:
    """Ids of attributes or metadata, where the array is read as it is stored."""
    for name, found in container.attached(item).items():
        count = max(found.shape, default=0)
        if is_list(found) and count == item.shape[0]:
            return _named_rows(read_ids(found), item, found.where), _groups(groups, item)
        # Under other names there may be those of the columns, or of anything.
        if name.endswith("ids") and found.shape:
            check_count([""] * count, item.shape[0], found.where, item.where)
    return None


def _of_the_other_side(
    siblings: Mapping[str, Field], item: Field, wanted: Wanted, tiers: Sequence[Sequence[str]]
) -> set[str]:
    """Names of ids that belong to the other side, where an array has ids of its own side too."""
    own = next((name for name, field in siblings.items() if field is item), "")
    side = side_in(own) or wanted.side
    names = [name for tier in tiers for name in tier if name in siblings]
    sides = {name: side_in(name) for name in names}
    if not side or not any(found == side for found in sides.values()):
        return set()
    return {name for name, found in sides.items() if found not in ("", side)}


def _choose_ids(
    siblings: Mapping[str, Field],
    present: list[str],
    item: Field,
    wanted: Wanted,
    container: Container,
) -> Ids:
    """The one array of ids; of several only those that name every row once can be it."""
    usable = [
        name
        for name in present
        if not siblings[name].odd and siblings[name].kind != "other" and is_list(siblings[name])
    ]
    fitting = [name for name in usable if max(siblings[name].shape) == item.shape[0]]
    if not fitting:
        # What they are is said by whoever reads them, or they are too few.
        odd = siblings[(usable or present)[0]]
        if not usable:
            read_ids(odd)
        raise FormatError(
            f"{odd.where}: {max(odd.shape, default=0)} ids for the {item.shape[0]} rows of "
            f"{item.where}; every row needs its id"
        )
    lists = {name: read_ids(siblings[name]) for name in fitting}
    unique = {name: ids for name, ids in lists.items() if first_duplicate(ids) is None}
    if len(set(unique.values())) > 1:
        raise FormatError(
            f"{item.where}: {named(list(unique))} could all be its ids; name one: "
            f"{wanted.say('id_column', next(iter(unique)))}"
        )
    name = next(iter(unique or lists))
    groups = siblings.get("group_ids")
    return _named_rows(lists[name], item, siblings[name].where), _groups(groups, item)


def _groups(groups: Field | None, rows: Field) -> tuple[str, ...] | None:
    if groups is None:
        return None
    made = read_ids(groups)
    check_count(made, rows.shape[0], groups.where, rows.where)
    return made


def _canonical(container: Container, wanted: Wanted) -> Found:
    """Layout 1: what the toolkit itself writes, with or without frames."""
    path, fields = container.path, container.fields
    if container.schema != SCHEMA:
        kinds = {
            "results": "rerank eval reads it",
            "scores": f"give it with {either('--sims', 'scores=')}",
        }
        hint = next((h for k, h in kinds.items() if k in str(container.schema)), "write it again")
        raise FormatError(
            f"{path}: is of the schema {named([container.schema])}, expected {SCHEMA!r}; {hint}"
        )
    if "ids" not in fields:
        raise FormatError(f"{path}: says it is {SCHEMA} but has no 'ids'; write it again")
    ids = read_ids(fields["ids"])
    name = (wanted.dataset or "embeddings").strip("/")
    framed = "frames" in fields and "offsets" in fields and name in ("embeddings", "frames")
    # One setting serves several files, of which not all have frames.
    if name in fields and name != "frames" and not (framed and wanted.pooling):
        rows = fields[name]
        check_matrix(rows, "embeddings")
    elif framed:
        if wanted.pooling is None:
            raise FormatError(
                f"{path}: holds frames of {len(ids)} items and no vector for each; {how_to_pool()}"
            )
        rows = pooled_offsets(fields["frames"], fields["offsets"], ids, wanted.pooling)
    elif wanted.dataset is not None:
        raise FormatError(f"{path}: there is no {wanted.dataset!r}; {listing(container)}")
    else:
        raise FormatError(f"{path}: says it is {SCHEMA}; {listing(container)}")
    where = fields["ids"].where
    if wanted.ids is not None:
        ids, where = wanted.ids, "the file of ids"
    if wanted.force_rows:
        ids = tuple(map(str, range(rows.shape[0])))
    ids = _named_rows(ids, rows, where)
    groups = _groups(fields.get("group_ids"), rows)
    stored = rows is fields.get("embeddings") and not wanted.force_rows
    return Found(rows, ids, groups, as_stored=stored, ids_given=not wanted.force_rows)
