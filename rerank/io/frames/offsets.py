"""Frames of all items one after the other, and what beside them says where each item begins.

Offsets run from 0 to the number of rows and are one more than the items, lengths add up to it, and
places where items begin, or end, are as many as the items.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from rerank.io.field import Field, in_memory
from rerank.io.frames.mask_shapes import fits, numbers_of
from rerank.io.frames.meanings import is_place, is_something_else, meaning_of


@dataclass(frozen=True, eq=False)
class Division:
    """Rows divided among items.

    Attributes:
        where: what says so, for messages.
        ends: (items + 1,) the row at which each begins, and the number of rows.
        said: whether its name says so too, and not its values alone.
    """

    where: str
    ends: np.ndarray
    said: bool

    @property
    def items(self) -> int:
        """How many items there are."""
        return len(self.ends) - 1

    def offsets(self) -> Field:
        """The ends as an array of a file."""
        return in_memory(self.ends, self.where)


def divisions(rows: Field, beside: Mapping[str, Field]) -> list[Division]:
    """What beside rows divides all of them among fewer items; first what says so by its name."""
    found: list[Division] = []
    for name, array in beside.items():
        if array is rows or len(array.shape) != 1 or not 2 <= array.shape[0] <= rows.shape[0]:
            continue
        if not fits(array, "lengths", array.shape[0], 0):
            continue
        said = is_place(name) or meaning_of(name) == "lengths"
        if said or not is_something_else(name):
            ends = _ends(name, array, rows.shape[0])
            if ends is not None and len(ends) - 1 < rows.shape[0]:
                found.append(Division(array.where, ends, said))
    return sorted(found, key=lambda each: not each.said)


def _ends(name: str, array: Field, rows: int) -> np.ndarray | None:
    """Where items begin and the last ends, if whole numbers say it."""
    values = numbers_of(array)
    if not np.isfinite(values).all() or (values != np.floor(values)).any():
        return None
    values = values.astype(np.int64)
    if values.min() >= 1 and values.sum() == rows:
        return np.concatenate([[0], np.cumsum(values)])
    if (np.diff(values) < 1).any():
        return None
    if values[0] == 0 and values[-1] == rows:
        return values
    if is_place(name) and values[0] == 0 and values[-1] < rows:
        return np.concatenate([values, [rows]])
    return np.concatenate([[0], values]) if values[0] > 0 and values[-1] == rows else None
