"""Which of the arrays in a file are the embeddings, and which are their ids.

One set of rules for every container (HDF5, npz, safetensors, torch files, parquet), tried in a
fixed order. What fits two ways is refused with the candidates listed; nothing is guessed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rerank.errors import FormatError
from rerank.io.checks import (
    Field,
    check_count,
    check_ids,
    check_matrix,
    check_unique,
    first_duplicate,
    read_ids,
)
from rerank.io.files import named
from rerank.io.sidecars import HOW_TO_GIVE_IDS, find_sidecar, read_sidecar
from rerank.io.stacking import pooled_offsets, stacked

VECTOR_NAMES = (
    "embeddings",
    "features",
    "feats",
    "video_features",
    "text_features",
    "vectors",
    "emb",
)
ID_NAMES = ("ids", "keys", "names", "video_ids")
SCHEMA = "rerank/1"


@dataclass(frozen=True, eq=False)
class Container:
    """The arrays of one file by name; a slash in a name is a group.

    Attributes:
        path: the file, for messages and for side-cars.
        fields: name -> array, not read yet.
        schema: what the file says it is, "rerank/1", where it says so.
        id_names: names of id arrays, the first tuple with a match decides.
        per_item: whether one array per id is a layout of this kind of file.
        content_sha256: hash of ids and vectors, where the file states it.
    """

    path: Path
    fields: Mapping[str, Field]
    schema: str | None = None
    id_names: tuple[tuple[str, ...], ...] = (ID_NAMES,)
    per_item: bool = True
    content_sha256: str | None = None


@dataclass(frozen=True, eq=False)
class Found:
    """Embeddings located but not read.

    Attributes:
        rows: the vectors.
        ids: checked, unique.
        group_ids: the group of each row, where the file has it.
        as_stored: whether these are the rows that the hash of the file speaks of.
    """

    rows: Field
    ids: tuple[str, ...]
    group_ids: tuple[str, ...] | None = None
    as_stored: bool = False


@dataclass(frozen=True)
class _Wish:
    """What the caller said about the layout."""

    dataset: str | None = None
    pool: str | None = None


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
    wish = _Wish(None if dataset is None else dataset.strip("/"), pool)
    if container.schema is not None:
        return _canonical(container, wish)
    root = {name: item for name, item in container.fields.items() if "/" not in name}
    if wish.dataset is not None:
        chosen = container.fields.get(wish.dataset)
        if chosen is not None:
            return _matrix(container, wish.dataset, chosen)
        inside = _below(container.fields, wish.dataset)
        if not inside:
            raise FormatError(f"{container.path}: there is no {dataset!r}; {_listing(container)}")
        return _per_item(container, inside, wish)
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
        return _per_item(container, dict(container.fields), wish)
    raise FormatError(f"{container.path}: no embeddings found; {_listing(container)}")


def _listing(container: Container) -> str:
    """What a file holds, and what was expected, for a refusal."""
    found = [f"{name} ({item.describe()})" for name, item in sorted(container.fields.items())]
    shown = ", ".join(found[:6]) + (f" and {len(found) - 6} more" if len(found) > 6 else "")
    return (
        f"it holds {shown or 'nothing'}; expected a 2-D float array 'embeddings' with 'ids', "
        "or one array per id"
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


def _canonical(container: Container, wish: _Wish) -> Found:
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
    name = wish.dataset or "embeddings"
    if name in fields and wish.pool is None:
        rows = fields[name]
        check_matrix(rows, "embeddings")
    elif "frames" in fields and "offsets" in fields and name in ("embeddings", "frames"):
        if wish.pool is None:
            raise FormatError(
                f"{path}: holds frames of {len(ids)} items and no vector for each; say how to "
                "combine them: pool='mean'"
            )
        rows = pooled_offsets(fields["frames"], fields["offsets"], ids)
    else:
        raise FormatError(f"{path}: says it is {SCHEMA}; {_listing(container)}")
    ids = _named_rows(ids, rows, fields["ids"].where)
    groups = _groups(fields.get("group_ids"), rows)
    return Found(rows, ids, groups, as_stored=rows is fields.get("embeddings"))


def _per_item(container: Container, fields: dict[str, Field], wish: _Wish) -> Found:
    """Layouts 4 and 5: one array per id, or one group per id with the array inside."""
    path = container.path
    by_id = _grouped_items(path, fields) or fields
    ids = tuple(by_id)
    odd = [name for name, item in by_id.items() if item.kind != "float"]
    shapes = {len(item.shape) for item in by_id.values()}
    if odd or not shapes <= {1, 2}:
        raise FormatError(f"{path}: no embeddings found; {_listing(container)}")
    if len(shapes) == 2:
        raise FormatError(
            f"{path}: holds vectors and frames side by side ({_listing(container)}); keep one kind"
        )
    tops = {name.partition("/")[0] for name in ids}
    if by_id is fields and wish.dataset is None and len(tops) == 1 and "/" in ids[0]:
        top = next(iter(tops))
        raise FormatError(
            f"{path}: everything lies in the group {named([top])}, so the ids could be "
            f"{named([ids[0]])} or {named([ids[0].partition('/')[2]])}; say which with "
            "dataset='/' or "
            f"dataset={top!r}"
        )
    frames = shapes == {2}
    if frames and wish.pool is None:
        raise FormatError(
            f"{path}: every item has several rows (frames), such as {named([ids[0]])} with "
            f"{by_id[ids[0]].shape[0]}; say how to combine them: pool='mean'"
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
