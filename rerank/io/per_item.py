"""Files with one array, or one group, for each id."""

from collections.abc import Mapping
from pathlib import Path

from rerank.errors import FormatError
from rerank.io.checks import Field
from rerank.io.container import VECTOR_NAMES, Container, Found, listing
from rerank.io.files import named
from rerank.io.ids import check_ids, check_unique
from rerank.io.stacking import stacked


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
