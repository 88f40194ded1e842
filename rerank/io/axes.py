"""Axes of one, which programs leave in the arrays of items, taken away where that is clear."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from rerank.core.errors import FormatError
from rerank.io.field import Field
from rerank.io.files import named


def without_axes_of_one(path: Path, fields: dict[str, Field]) -> dict[str, Field]:
    """Arrays of items without the axes that are one in all of them: (f, 1, d) and (f, d, 1).

    A batch of one, (1, f, d), stays: a single array like it is a matrix.

    Raises:
        FormatError: one axis alone is none of one, and it is not the last: a vector, or frames.
    """
    deep = {name: item for name, item in fields.items()
            if item.kind == "float" and len(item.shape) > 2}  # fmt: skip
    floats = sum(item.kind == "float" and bool(item.shape) for item in fields.values())
    depths = {len(item.shape) for item in deep.values()}
    if len(deep) < max(2, floats) or len(depths) != 1:
        return fields
    depth = depths.pop()
    kept = [axis for axis in range(depth) if any(x.shape[axis] != 1 for x in deep.values())]
    if kept == [depth - 2, depth - 1] and depth == 3:
        return fields
    if len(kept) == 2:
        return fields | {name: _squeezed(item, kept) for name, item in deep.items()}
    if len(kept) == 1 and kept[0] < depth - 1 and depth > 3:
        name = next(iter(deep))
        raise FormatError(
            f"{path}: every item is an array like {named([name])} {deep[name].shape}, with "
            "one axis that is none of one, which may be a vector or frames; store each as "
            "x.reshape(-1) if it is a vector"
        )
    return fields


def _squeezed(item: Field, kept: list[int]) -> Field:
    """Two axes of an array, of which all others are one."""
    shape = (item.shape[kept[0]], item.shape[kept[1]])

    def blocks(start: int, stop: int) -> Iterator[np.ndarray]:
        if kept[0] == 0:
            yield from (block.reshape(-1, shape[1]) for block in item.blocks(start, stop))
            return
        for block in item.blocks(0, item.shape[0]):
            yield block.reshape(shape)[start:stop]

    return replace(item, shape=shape, blocks=blocks, mapped=None)
