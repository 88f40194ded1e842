"""What lies beside embeddings and speaks of the file, or gives a number of each item."""

from collections.abc import Mapping

from rerank.io.container import ID_NAMES, MORE_ID_NAMES
from rerank.io.field import Field
from rerank.io.frames.meanings import is_something_else, meaning_of
from rerank.io.ids import is_list
from rerank.io.layouts.array_shapes import has_many, is_rows
from rerank.io.layouts.group_names import fields_below, head_of, top_of
from rerank.io.missing_items import SETTINGS

_IDS = {*ID_NAMES, *(name for tier in MORE_ID_NAMES for name in tier)}


def without_settings(fields: Mapping[str, Field]) -> Mapping[str, Field]:
    """Arrays without the groups such as `meta` and `config`, where others hold the vectors.

    One that holds what the items hold is an item, and one with ids or masks speaks of them.
    """
    tops = {top_of(name) for name in fields if "/" in name and top_of(name).lower() in SETTINGS}
    gone = {top for top in tops if not _says_of_items(fields_below(fields, top))}
    left = {
        name: item for name, item in fields.items() if "/" not in name or top_of(name) not in gone
    }
    leaves = {name.partition("/")[2] for name in left if "/" in name}
    items = {top for top in gone if fields_below(fields, top).keys() & leaves}
    if items or not any(item.kind == "float" and item.shape for item in left.values()):
        return fields
    return left


def _says_of_items(inside: Mapping[str, Field]) -> bool:
    """Whether a group has ids or masks in it, or embeddings with their names."""
    leaves = [name.rpartition("/")[2] for name in inside]
    return any(leaf in _IDS or meaning_of(leaf) for leaf in leaves) or any(
        is_rows(item) and _has_list(inside, name) for name, item in inside.items()
    )


def only_matrix(fields: Mapping[str, Field]) -> str | None:
    """The only array of rows, in a group that names them, where nothing else has its width."""
    rows = [name for name, item in fields.items() if is_rows(item) and has_many(item.shape)]
    if len(rows) != 1 or "/" not in rows[0] or not _has_list(fields, rows[0]):
        return None
    width = fields[rows[0]].shape[-1]
    others = (item for name, item in fields.items() if name != rows[0] and item.kind == "float")
    return None if any(item.shape[-1:] == (width,) for item in others) else rows[0]


def _has_list(fields: Mapping[str, Field], name: str) -> bool:
    """Whether a list of names, one for each row, lies in the group of an array."""
    return any(
        head_of(other) == head_of(name) and is_list(item)
        and max(item.shape) == fields[name].shape[0]
        and (item.kind == "text" or (item.kind == "integer" and other.rpartition("/")[2] in _IDS))
        for other, item in fields.items()
    )  # fmt: skip


def without_values(fields: Mapping[str, Field]) -> dict[str, Field]:
    """Arrays of items without those that give a number of each, by their names: `fps`, `duration`.

    They have as many numbers as there are items, which the vectors of these do not have.
    """
    flat = {name: x for name, x in fields.items() if "/" not in name and x.kind == "float"}
    values = {name for name in flat if is_something_else(name) or name.lower() in SETTINGS}
    items = [item for name, item in flat.items() if name not in values]
    shapes = {item.shape if len(item.shape) == 1 else () for item in items}
    if len(shapes) != 1:
        return dict(fields)
    gone = {
        name for name in values if flat[name].shape == (len(items),) and (len(items),) not in shapes
    }
    return {name: item for name, item in fields.items() if name not in gone}
