"""Frames in lists of several lengths, as one array: what an item lacks is zeros, as padding is."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from rerank.io.field import Field, rows_per_block


def padded(
    where: str,
    shape: tuple[int, int, int],
    dtype: np.dtype,
    items: Callable[[int, int], Iterator[np.ndarray]],
) -> Field:
    """Items (frames, d) of fewer frames than (n, most, d) has, with zeros behind them.

    >>> two = [np.ones((2, 3)), np.ones((1, 3))]
    >>> field = padded("v", (2, 2, 3), np.dtype("f8"), lambda start, stop: iter(two[start:stop]))
    >>> next(field.blocks(0, 2)).sum(axis=2)
    array([[3., 3.], [3., 0.]])
    """
    _, most, width = shape

    def blocks(start: int, stop: int) -> Iterator[np.ndarray]:
        step, found = rows_per_block(8 * most * width), items(start, stop)
        for at in range(start, stop, step):
            block = np.zeros((min(stop, at + step) - at, most, width), dtype)
            # An item that is missing is missed by who reads.
            count = 0
            for row, item in zip(block, found, strict=False):
                row[: len(item)] = item
                count += 1
            yield block[:count]

    return Field(where, shape, dtype, blocks)


def widths_of(items: Sequence[Any]) -> list[tuple[int, int, int]]:
    """Item, frame and length of one frame of each length, in lists of lists of numbers.

    Nothing where an item is no list of frames, or all have none.

    >>> widths_of([[[1, 2], [3, 4]], [], [[5]]]), widths_of([[1, 2], [3, 4]])
    ([(0, 0, 2), (2, 0, 1)], [])
    """
    found: dict[int, tuple[int, int, int]] = {}
    for number, item in enumerate(items):
        if not isinstance(item, list):
            return []
        for place, frame in enumerate(item):
            if not isinstance(frame, list) or not set(map(type, frame)) <= {int, float}:
                return []
            found.setdefault(len(frame), (number, place, len(frame)))
    return list(found.values())
