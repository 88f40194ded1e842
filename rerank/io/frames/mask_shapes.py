"""Arrays beside frames by their shapes: a number for each item, or one for each of its frames."""

from collections.abc import Iterator

import numpy as np

from rerank.io.field import Field, read_array
from rerank.io.frames.meanings import Meaning


def fits(found: Field, meaning: Meaning, n: int, frames: int) -> bool:
    """Whether an array has the shape and the type of its meaning."""
    if found.odd:
        return False
    numbers = found.kind in ("integer", "float") or _is_list_of_numbers(found)
    if numbers and meaning.startswith(("lengths", "padding")) and found.shape in _lengths_of(n):
        return True
    if meaning.startswith("lengths"):
        return False
    return found.dtype.kind in "iufb" and found.shape in _masks_of(n, frames)


def _lengths_of(n: int) -> tuple[tuple[int, ...], ...]:
    return ((n,), (n, 1), *(((), (1,), (1, 1)) if n == 1 else ()))


def _masks_of(n: int, frames: int) -> tuple[tuple[int, ...], ...]:
    one: tuple[tuple[int, ...], ...] = ((frames,), (frames, 1)) if n == 1 else ()
    return ((n, frames), (n, frames, 1), (n, 1, frames), (n, 1, 1, frames), *one)


def _is_list_of_numbers(found: Field) -> bool:
    """Whether a list of Python, which may hold anything, holds whole numbers only."""
    if found.dtype != object or len(found.shape) != 1:
        return False
    found.check()
    return all(type(x) is int for block in found.blocks(0, found.shape[0]) for x in block)


def numbers_of(found: Field) -> np.ndarray:
    """All values of a small array, or of a list of whole numbers."""
    if found.shape and found.dtype != object:
        return read_array(found, booleans=True)
    rows = found.shape[0] if found.shape else 1
    found.check()
    parts = [np.reshape(block, -1) for block in found.blocks(0, rows)]
    return np.array(np.concatenate(parts).tolist())


def as_cube(item: Field) -> Field:
    """Frames of one item, (f, d) or a batch of one, as (1, f, d); a single vector has one frame."""
    frames, width = (1, *item.shape)[-2:]

    def blocks(start: int, stop: int) -> Iterator[np.ndarray]:
        rows = np.concatenate(list(item.blocks(0, item.shape[0])))
        yield rows.reshape(1, frames, width)[start:stop]

    return Field(item.where, (1, frames, width), item.dtype, blocks, item.check)


def zeros_outside(cube: Field, there: np.ndarray) -> bool:
    """Whether all frames that are not there are zeros, which are padding anyway."""
    if there.all():
        return True
    row = 0
    for block in cube.blocks(0, cube.shape[0]):
        if block[~there[row : row + len(block)]].any():
            return False
        row += len(block)
    return True
