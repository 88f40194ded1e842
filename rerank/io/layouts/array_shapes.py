"""What arrays can be by their shapes: rows of items, one item, or neither."""

from collections.abc import Mapping

from rerank.io.field import Field
from rerank.io.ids import is_list
from rerank.io.layouts.group_names import head_of


def depth_of(item: Field) -> int:
    """How many axes an array has."""
    return len(item.shape)


def is_rows(item: Field) -> bool:
    """A float array that can hold one row for each item: 2-D, or 3-D with frames."""
    return item.kind == "float" and depth_of(item) in (2, 3)


def has_many(shape: tuple[int, ...]) -> bool:
    """Whether an array can be rows of several items, also behind an axis of one."""
    return 1 not in (shape[1:-1] if len(shape) == 3 and shape[0] == 1 else shape[:-1])


def is_item(item: Field) -> bool:
    """What one item may be stored as: a vector, frames, or a batch of one."""
    depth = depth_of(item)
    of_one = depth in (1, 2) or (depth == 3 and item.shape[0] == 1)
    return item.kind == "float" and of_one and item.shape != (0,)


def few_matrices(fields: Mapping[str, Field], group: str | None) -> list[str]:
    """A few arrays of rows with lists of as many beside them, or of frames at the top: no items."""
    rows = [name for name, item in fields.items() if is_rows(item)]
    lists = {(head_of(name), max(item.shape)) for name, item in fields.items()
             if item.kind in ("text", "integer") and is_list(item)}  # fmt: skip
    counts = {name: fields[name].shape[0] for name in rows}
    own = [name for name in rows if {(head_of(name), counts[name]), ("", counts[name])} & lists]
    # Those that have a list are named before those that have none.
    rows = own + [name for name in rows if name not in own]
    framed = group is None and any(depth_of(fields[name]) == 3 for name in rows)
    flat = not any("/" in name for name in rows)
    return rows if len(rows) < 5 and (framed if flat and group is None else own) else []
