"""Both sides in one file: the array, or the group, that is called like each of them."""

from collections.abc import Mapping

from rerank.io.container import Container, side_in
from rerank.io.field import Field
from rerank.io.layouts.array_shapes import is_rows
from rerank.io.layouts.group_names import top_of
from rerank.io.layouts.settings_groups import without_settings
from rerank.io.side_words import sounds_like


def names_of_sides(container: Container) -> dict[str, str]:
    """The array or group of each side in a file of both, where all names tell one; else nothing.

    >>> from pathlib import Path
    >>> names_of_sides(Container(Path("x.h5"), {}))
    {}
    """
    if container.schema is not None:
        return {}
    fields = container.fields if container.vectors is None else container.vectors
    names = _names(without_settings(fields) if container.per_item else fields)
    sides = {name: side_in(name) or sounds_like(name) for name in names}
    own = {
        side: [name for name in names if sides[name] == side] for side in ("texts", "videos")
    }  # fmt: skip
    told = len(names) == 2 and all(len(found) == 1 for found in own.values())
    return {side: found[0] for side, found in own.items()} if told else {}


def _names(fields: Mapping[str, Field]) -> list[str]:
    """The arrays of rows, or the groups in which all vectors lie."""
    flat = [name for name, item in fields.items() if is_rows(item) and "/" not in name]
    groups = {
        top_of(name): None for name, item in fields.items()
        if "/" in name and item.kind == "float" and item.shape
    }  # fmt: skip
    return [] if flat and groups else flat or list(groups)
