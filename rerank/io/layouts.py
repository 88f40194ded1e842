"""Which of the arrays in a file are the embeddings, and which are their ids.

One set of rules for every container (HDF5, npz, safetensors, torch files, parquet), tried in a
fixed order. What fits two ways is refused with the candidates listed; nothing is guessed.
"""

from collections.abc import Mapping

from rerank.errors import FormatError
from rerank.io.checks import Field, check_matrix
from rerank.io.container import SCHEMA, VECTOR_NAMES, Container, Found, listing
from rerank.io.files import named
from rerank.io.ids import check_count, check_unique, first_duplicate, read_ids
from rerank.io.per_item import locate_items
from rerank.io.sidecars import HOW_TO_GIVE_IDS, find_sidecar, read_sidecar
from rerank.io.stacking import pooled_offsets


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
