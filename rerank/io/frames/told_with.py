"""Which frames count by what is told with them and is no array: attributes, metadata.

It says what an array of that name beside them would say. But an attribute may speak of whole
videos, of which some frames were taken, or of no frames at all; then it changes nothing.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from rerank.io.container import LIST_NAMES, Told
from rerank.io.field import Field
from rerank.io.frames.mask_shapes import as_cube, fits, numbers_of, zeros_outside
from rerank.io.frames.meanings import is_place, meaning_of

ByName = dict[str, dict[str, Field]]


def beside_rows(rows: Field, told: Told) -> dict[str, Field]:
    """What is told with one array of all items, or with what it lies in, by name."""
    found: dict[str, Field] = {}
    for place, values in reversed(list(told.items())):
        own = place == next(iter(told))
        found |= {
            name: value
            for name, value in values.items()
            if name not in LIST_NAMES and _says(name, value, rows, own=own)
        }
    return found


def _says(name: str, value: Field, rows: Field, *, own: bool) -> bool:
    """Whether a value may say something of rows, or of the frames of each item."""
    n, word = rows.shape[0], meaning_of(name)
    if not own and not word and not is_place(name):
        return False
    if len(rows.shape) != 3:
        return len(value.shape) == 1
    fitting = fits(value, word, n, rows.shape[1])
    # One number says nothing of many items, and what all lies in may speak of others.
    if not fitting and (not own or np.prod(value.shape) == 1):
        return False
    return word != "lengths" or not fitting or _leave_out([(numbers_of(value).reshape(-1), rows)])


def _leave_out(pairs: Sequence[tuple[np.ndarray, Field]]) -> bool:
    """Whether numbers of frames are whole and leave some out.

    Where some are of more frames than there are, of whole videos, all but zeros has to be left out.
    """
    if any((lengths % 1).any() for lengths, _ in pairs):
        return False
    short = [(x, cube) for x, cube in pairs if (x < cube.shape[1]).any()]
    if not short or all((lengths <= cube.shape[1]).all() for lengths, cube in pairs):
        return bool(short)
    return not all(zeros_outside(c, np.arange(c.shape[1]) < x[:, None]) for x, c in short)


def of_each(told: Mapping[str, Told], frames: Mapping[str, Field]) -> ByName:
    """What is told with each item alone, by name and then by id.

    Args:
        told: by id what is told with an item and with what it lies in.
        frames: those of each.
    """
    found: ByName = {}
    shared = _shared(told)
    for item, places in told.items():
        own = [values for place, values in places.items() if place not in shared]
        for values in reversed(own):
            for name, value in values.items():
                found.setdefault(name, {})[item] = value
    return {name: held for name, held in found.items() if _of_frames(name, held, frames)}


def _of_frames(name: str, held: Mapping[str, Field], frames: Mapping[str, Field]) -> bool:
    """Whether what some items are told may say which of their frames count."""
    if meaning_of(name) != "lengths":
        return True
    if any(np.prod(value.shape) != 1 for value in held.values()):
        return False
    pairs = [(numbers_of(value).reshape(-1), as_cube(frames[item])) for item, value in held.items()]
    return _leave_out(pairs)


def of_all(told: Mapping[str, Told]) -> dict[str, Field]:
    """What is told with what all items lie in, where its name says that it is of frames."""
    first, shared = next(iter(told.values())), _shared(told)
    inner_last = [values for place, values in reversed(list(first.items())) if place in shared]
    return {
        name: value
        for values in inner_last
        for name, value in values.items()
        if meaning_of(name) in ("mask", "lengths", "padding")
    }


def _shared(told: Mapping[str, Told]) -> set[str]:
    """Places in which several items lie, and the file."""
    seen: set[str] = set()
    shared = {""}
    for places in told.values():
        shared |= seen & places.keys()
        seen |= places.keys()
    return shared
