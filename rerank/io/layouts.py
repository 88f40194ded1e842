"""Which of the arrays in a file are the embeddings, and which are their ids.

One set of rules for every container (HDF5, npz, safetensors, torch files, parquet), tried in a
fixed order. What fits two ways is refused with the candidates listed; nothing is guessed.

One row for each item, from frames or from one array per item.

Files with one array, or one group, for each id.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from rerank.core.errors import FormatError
from rerank.io.container import SCHEMA, VECTOR_NAMES, Container, Found, listing
from rerank.io.field import MAX_RATIO, Field, check_matrix, rows_per_block
from rerank.io.files import foreign, named
from rerank.io.ids import (
    HOW_TO_GIVE_IDS,
    check_count,
    check_ids,
    check_unique,
    find_sidecar,
    first_duplicate,
    read_ids,
    read_sidecar,
)


def pooled_offsets(frames: Field, offsets: Field, ids: tuple[str, ...]) -> Field:
    """One averaged row for each item from stacked frames and where each item starts."""
    check_matrix(frames, "frames")
    if offsets.kind != "integer" or offsets.shape != (len(ids) + 1,):
        raise FormatError(
            f"{offsets.where}: is {offsets.describe()}; expected {len(ids) + 1} integers, one "
            f"more than the {len(ids)} ids"
        )
    offsets.check()
    ends = np.concatenate([block.astype(np.int64) for block in offsets.blocks(0, len(ids) + 1)])
    if ends[0] != 0 or ends[-1] != frames.shape[0]:
        raise FormatError(
            f"{offsets.where}: runs from {ends[0]} to {ends[-1]}, expected 0 to the number of "
            f"frames, {frames.shape[0]}"
        )
    empty = np.flatnonzero(np.diff(ends) <= 0)
    if empty.size:
        raise FormatError(
            f"{offsets.where}: row {empty[0]} (id {named([ids[empty[0]]])}) has no frames; leave "
            "the item out"
        )

    def blocks(start: int, stop: int) -> Iterator[np.ndarray]:
        for row in range(start, stop):
            yield _mean_of(frames, int(ends[row]), int(ends[row + 1]))

    return Field(frames.where, (len(ids), frames.shape[1]), frames.dtype, blocks, frames.check)


def stacked(path: Path, by_id: Mapping[str, Field], *, frames: bool) -> Field:
    """The arrays of all ids as the rows of one matrix."""
    items = list(by_id.items())
    first_id, first = items[0]
    width = first.shape[-1]
    for item_id, item in items:
        if item.shape[-1] != width:
            raise FormatError(
                f"{item.where}: the embedding of {named([item_id])} has {item.shape[-1]} "
                f"dimensions, that of {named([first_id])} has {width}; all items need the same "
                "model"
            )
        if 0 in item.shape:
            raise FormatError(f"{item.where}: is empty {item.shape}; leave the item out")
    dtype = np.result_type(*{item.dtype.newbyteorder("=") for _, item in items})

    def blocks(start: int, stop: int) -> Iterator[np.ndarray]:
        for _, item in items[start:stop]:
            if frames:
                yield _mean_of(item, 0, item.shape[0])
            else:
                yield np.concatenate(list(item.blocks(0, width)))[None, :]

    def check() -> None:
        # One array under many names would otherwise grow without bound.
        with foreign(path, "a file"):
            size = path.stat().st_size
        if sum(item.nbytes for _, item in items) > MAX_RATIO * size:
            raise FormatError(f"{path}: declares more data than a file of {size:,} bytes can hold")
        for _, item in items:
            item.check()

    return Field(f"{path}", (len(items), width), dtype, blocks, check)


def _mean_of(frames: Field, start: int, stop: int) -> np.ndarray:
    """Mean of some frames as one row, summed in float64 and block by block."""
    total = np.zeros(frames.shape[1], dtype=np.float64)
    step = rows_per_block(frames.shape[1] * 8)
    for at in range(start, stop, step):
        for block in frames.blocks(at, min(stop, at + step)):
            total += block.sum(axis=0, dtype=np.float64)
    return (total / (stop - start))[None, :]


def locate_items(
    container: Container, fields: dict[str, Field], *, group: str | None, pool: str | None
) -> Found:
    """Layouts 4 and 5: one array per id, or one group per id with the array inside.

    Args:
        container: the file.
        fields: its arrays, or those of one group, by names below that group.
        group: the group that the caller named; None when he named none.
        pool: how to combine frames; None when nothing was said.

    Raises:
        FormatError: the file is of neither layout, the ids could be read two ways, or frames come
            without a word on how to combine them.
    """
    path = container.path
    by_id = _grouped_items(path, fields) or fields
    ids = tuple(by_id)
    odd = [name for name, item in by_id.items() if item.kind != "float"]
    shapes = {len(item.shape) for item in by_id.values()}
    if odd or not shapes <= {1, 2}:
        raise FormatError(f"{path}: no embeddings found; {listing(container)}")
    if len(shapes) == 2:
        raise FormatError(
            f"{path}: holds vectors and frames side by side ({listing(container)}); keep one kind"
        )
    tops = {name.partition("/")[0] for name in ids}
    if by_id is fields and group is None and len(tops) == 1 and "/" in ids[0]:
        top = next(iter(tops))
        raise FormatError(
            f"{path}: everything lies in the group {named([top])}, so the ids could be "
            f"{named([ids[0]])} or {named([ids[0].partition('/')[2]])}; say which with "
            "dataset='/' or "
            f"dataset={top!r}"
        )
    frames = shapes == {2}
    if frames and pool is None:
        raise FormatError(
            f"{path}: every item has several rows (frames), such as {named([ids[0]])} with "
            f"{by_id[ids[0]].shape[0]}; say how to combine them: pool='mean' (--pool mean)"
        )
    ids = check_ids(ids, str(path))
    check_unique(ids, str(path))
    return Found(stacked(path, dict(zip(ids, by_id.values(), strict=True)), frames=frames), ids)


def _grouped_items(path: Path, fields: Mapping[str, Field]) -> dict[str, Field] | None:
    """Layout 5, one group per id; None when the file is not of this layout."""
    made: dict[str, Field] = {}
    parents = {name.rpartition("/")[0] for name in fields}
    if "" in parents:
        return None
    for name, item in fields.items():
        parent, _, leaf = name.rpartition("/")
        if leaf not in VECTOR_NAMES:
            continue
        if parent in made:
            raise FormatError(
                f"{path}: {named([parent])} has several arrays that could be its embedding; "
                "keep one"
            )
        made[parent] = item
    if made.keys() != parents:
        return None
    parts = [name.split("/") for name in made]
    if all(len(part) == 2 for part in parts) and len({part[0] for part in parts}) == 1:
        return {part[1]: item for part, item in zip(parts, made.values(), strict=True)}
    return made


def locate(container: Container, *, dataset: str | None = None, pool: str | None = None) -> Found:
    """Find the embeddings and ids of a container, in the order of the documentation.

    1. The canonical schema `rerank/1`. 2. A 2-D float array called `embeddings`, `features`, ...
    with `ids`, `keys`, ... of equal length. 3. The only 2-D float array, with ids beside it or in
    a side-car. 4. One array per id: 1-D is a vector, 2-D are frames. 5. `group/id/features`.
    6. Refuse, listing what is there.

    Args:
        container: the arrays of the file.
        dataset: name of the array (or, for layouts 4 and 5, of the group) to take.
        pool: "mean" averages the frames of every item.

    Raises:
        FormatError: nothing fits, or more than one thing does.
    """
    if pool not in (None, "mean"):
        raise FormatError(f"{container.path}: pooling {pool!r} is not known; expected 'mean'")
    wanted = None if dataset is None else dataset.strip("/")
    if container.schema is not None:
        return _canonical(container, dataset=wanted, pool=pool)
    root = {name: item for name, item in container.fields.items() if "/" not in name}
    if wanted is not None:
        chosen = container.fields.get(wanted)
        if chosen is not None:
            return _matrix(container, wanted, chosen)
        inside = _below(container.fields, wanted)
        if not inside:
            raise FormatError(f"{container.path}: there is no {dataset!r}; {listing(container)}")
        return locate_items(container, inside, group=wanted, pool=pool)
    matrices = {
        name: item for name, item in root.items() if item.kind == "float" and len(item.shape) == 2
    }
    called = [name for name in VECTOR_NAMES if name in root]
    good = [name for name in called if name in matrices]
    if len(good) > 1:
        raise FormatError(
            f"{container.path}: {named(good)} could all be the embeddings; name one with "
            f"dataset={good[0]!r}, or keep only one in the file"
        )
    if called and not good:
        # Its name says what it should be, so say what is wrong with it.
        check_matrix(root[called[0]], "embeddings")
    if good:
        return _matrix(container, good[0], root[good[0]])
    if len(matrices) == 1:
        name, item = next(iter(matrices.items()))
        beside = any(other in root for tier in container.id_names for other in tier)
        if beside or find_sidecar(container.path) is not None or not container.per_item:
            return _matrix(container, name, item)
    if container.per_item and container.fields:
        return locate_items(container, dict(container.fields), group=None, pool=pool)
    raise FormatError(f"{container.path}: no embeddings found; {listing(container)}")


def _below(fields: Mapping[str, Field], group: str) -> dict[str, Field]:
    if group == "":
        return dict(fields)
    start = f"{group}/"
    return {name[len(start) :]: item for name, item in fields.items() if name.startswith(start)}


def _named_rows(ids: tuple[str, ...], rows: Field, where: str) -> tuple[str, ...]:
    check_count(ids, rows.shape[0], where, rows.where)
    check_unique(ids, where)
    return ids


def _matrix(container: Container, name: str, item: Field) -> Found:
    """Layouts 2 and 3: one matrix; ids from beside it, else from a side-car."""
    check_matrix(item, "embeddings")
    item.check()
    folder = name.rpartition("/")[0]
    siblings = _below(container.fields, folder)
    for tier in container.id_names:
        present = [
            other
            for other in tier
            if other in siblings
            and siblings[other].kind in ("text", "integer")
            and len(siblings[other].shape) == 1
        ]
        fitting = [other for other in present if siblings[other].shape[0] == item.shape[0]]
        if not present:
            continue
        if not fitting:
            odd = siblings[present[0]]
            raise FormatError(
                f"{odd.where}: {odd.shape[0]} ids for the {item.shape[0]} rows of {item.where}; "
                "every row needs its id"
            )
        return Found(item, *_choose_ids(siblings, fitting, item))
    side = find_sidecar(container.path)
    if side is None:
        raise FormatError(f"{item.where}: there are no ids for its rows; {HOW_TO_GIVE_IDS}")
    ids, groups = read_sidecar(side)
    check_count(groups if groups is not None else ids, item.shape[0], str(side), item.where)
    return Found(item, _named_rows(ids, item, str(side)), groups)


def _choose_ids(
    siblings: Mapping[str, Field], fitting: list[str], item: Field
) -> tuple[tuple[str, ...], tuple[str, ...] | None]:
    """The one array of ids; of several only those without repetition can be it."""
    lists = {name: read_ids(siblings[name]) for name in fitting}
    unique = {name: ids for name, ids in lists.items() if first_duplicate(ids) is None}
    if len(set(unique.values())) > 1:
        raise FormatError(
            f"{item.where}: {named(list(unique))} could all be its ids; keep only one of them, "
            "named 'ids'"
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


def _canonical(container: Container, *, dataset: str | None, pool: str | None) -> Found:
    """Layout 1: what the toolkit itself writes, with or without frames."""
    path, fields = container.path, container.fields
    if container.schema != SCHEMA:
        hint = "rerank eval reads it" if "results" in str(container.schema) else "write it again"
        raise FormatError(
            f"{path}: is of the schema {named([container.schema])}, expected {SCHEMA!r}; {hint}"
        )
    if "ids" not in fields:
        raise FormatError(f"{path}: says it is {SCHEMA} but has no 'ids'; write it again")
    ids = read_ids(fields["ids"])
    name = dataset or "embeddings"
    framed = "frames" in fields and "offsets" in fields and name in ("embeddings", "frames")
    # One setting serves several files, of which not all have frames.
    if name in fields and name != "frames" and not (framed and pool):
        rows = fields[name]
        check_matrix(rows, "embeddings")
    elif framed:
        if pool is None:
            raise FormatError(
                f"{path}: holds frames of {len(ids)} items and no vector for each; say how to "
                "combine them: pool='mean' (--pool mean)"
            )
        rows = pooled_offsets(fields["frames"], fields["offsets"], ids)
    else:
        raise FormatError(f"{path}: says it is {SCHEMA}; {listing(container)}")
    ids = _named_rows(ids, rows, fields["ids"].where)
    groups = _groups(fields.get("group_ids"), rows)
    return Found(rows, ids, groups, as_stored=rows is fields.get("embeddings"))
