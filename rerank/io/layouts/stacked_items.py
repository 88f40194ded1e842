"""Items of one array each, vectors or frames, made one row each."""

from collections.abc import Mapping
from pathlib import Path

from rerank.core.errors import FormatError
from rerank.io.container import Container, Found, contents, listing
from rerank.io.field import Field
from rerank.io.files import named
from rerank.io.frames.masks_of_all import said_of_all
from rerank.io.frames.masks_of_each import said_of_items
from rerank.io.frames.pooling import has_frames, how_to_pool, stacked
from rerank.io.frames.told_with import of_all
from rerank.io.ids import check_count, check_ids, check_unique
from rerank.io.layouts.array_shapes import is_item, is_rows
from rerank.io.layouts.group_names import fields_below
from rerank.io.layouts.streams import refuse_streams
from rerank.io.layouts.summaries import refuse_summaries
from rerank.io.layouts.wanted import Wanted
from rerank.io.missing_items import refuse_missing
from rerank.io.numbered_parts import NUMBER, or_joined, refuse_pooled_parts


def stacked_items(container: Container, by_id: Mapping[str, Field], wanted: Wanted) -> Found:
    """One array for each id, stacked."""
    path, by_id = container.path, _by_number(by_id)
    ids = tuple(by_id)
    shapes = [item.shape for item in by_id.values()]
    depths = {min(len(shape), 2) for shape in shapes}
    if not all(is_item(item) for item in by_id.values()):
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
        refuse_streams(path, ids, wanted)
        refuse_summaries(path, ids, wanted)
    if has_frames(shapes) and wanted.pooling is None:
        if 1 < len(by_id) < 5 and all(is_rows(item) for item in by_id.values()):
            where = by_id[wanted.likely(ids)].where
            # An id is what is left of a name.
            full = (name for name, item in container.fields.items() if item.where == where)
            raise FormatError(
                f"{path}: holds the matrices {contents(by_id)}; if one of them is the embeddings, "
                f"name it: {wanted.say('dataset', next(full, wanted.likely(ids)))}; if each is "
                f"the frames of one item, {how_to_pool()}{or_joined(container)}"
            )
        many = next(name for name, item in by_id.items() if has_frames([item.shape]))
        raise FormatError(
            f"{path}: every item has several rows (frames), such as {named([many])} with "
            f"{by_id[many].shape[-2]}; {how_to_pool()}{or_joined(container)}"
        )
    if has_frames(shapes) and not wanted.names_parts:
        refuse_pooled_parts(container, ids, wanted.say("dataset", "/"))
    refuse_missing(container, by_id)
    ids = check_ids(ids, str(path))
    check_unique(ids, str(path))
    rows = container.alike
    if rows is None or by_id is not container.fields:
        held = dict(zip(ids, by_id.values(), strict=True))
        framed = wanted.pooling is not None and has_frames(shapes)
        said = _said(container, held) if framed else {}
        rows = stacked(Path(path), held, wanted.pooling, said)
    return Found(rows, _named_again(ids, wanted, path))


def _said(container: Container, items: Mapping[str, Field]) -> dict[str, dict[str, Field]]:
    """For each id what lies beside its frames, or is told with them, and says which count."""
    told = {item_id: container.told(item) for item_id, item in items.items()}
    said = said_of_items(container.fields, items, told)
    around = of_all(told) | _around(container.fields, items)
    of_them = said_of_all(container.path, around, items)
    for item_id, more in of_them.items():
        said.setdefault(item_id, {}).update(more)
    return said


def _around(fields: Mapping[str, Field], items: Mapping[str, Field]) -> dict[str, Field]:
    """All arrays, and those of the groups that all items lie in by their names alone."""
    kept = {item.where for item in items.values()}
    names = [name.split("/") for name, field in fields.items() if field.where in kept]
    found: dict[str, Field] = {}
    for depth in range(min(map(len, names), default=0)):
        if len({tuple(name[:depth]) for name in names}) == 1:
            inside = fields_below(fields, "/".join(names[0][:depth]))
            found |= {name: item for name, item in inside.items() if depth == 0 or "/" not in name}
    return found


def _by_number(by_id: Mapping[str, Field]) -> Mapping[str, Field]:
    """Arrays that are called 0, 1, ... (or arr_0, arr_1, ...) in that order, and others as kept.

    HDF5 and folders hold 10 before 2.
    """
    numbers = {name: match[1] for name in by_id if (match := NUMBER.fullmatch(name))}
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
