"""Two arrays that say which frames count differently; or one, and padding by its values."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rerank.core.errors import FormatError
from rerank.io.field import Field
from rerank.io.frames.mask_shapes import zeros_outside
from rerank.io.frames.meanings import Meaning, is_of_words
from rerank.io.frames.one_number import is_blank


@dataclass(frozen=True, eq=False)
class Source:
    """What one array says of frames.

    Attributes:
        name: what it is called.
        found: the array.
        meaning: what its name says.
        there: (n, frames) which of them count.
    """

    name: str
    found: Field
    meaning: Meaning
    there: np.ndarray


def agreed(sources: Sequence[Source], cube: Field, side: str) -> np.ndarray:
    """Which frames count by the first source, which no other contradicts.

    Args:
        sources: at least one, in the order in which they are believed.
        cube: the frames.
        side: the side that these are of, where their name says it.

    Raises:
        FormatError: two that differ where there are frames.
    """
    # A count that leaves nothing out may be that of whole videos.
    first, *others = sorted(sources, key=lambda x: x.meaning != "mask" and bool(x.there.all()))
    for other in others:
        # Tokens are those of a text that stands beside these frames.
        if side != "texts" and is_of_words(other.name) != is_of_words(first.name):
            continue
        if not _differ(first, other, cube):
            continue
        one, two = (source.there.sum(axis=1) for source in (first, other))
        row = int(np.flatnonzero((first.there != other.there).any(axis=1))[0])
        counts = f"{one[row]} and {two[row]}" if one[row] != two[row] else "not the same"
        name = other.found.where.rpartition(": ")[2]
        raise FormatError(
            f"{first.found.where}: it and {name} contradict each other: they keep {counts} of the "
            f"{cube.shape[1]} frames of row {row}; leave the one that is wrong out of this file"
        )
    return first.there


def refuse_swapped(frames: np.ndarray, there: np.ndarray, where: str, said: Sequence[str]) -> None:
    """Refuse what keeps padding at an end of an item and leaves out frames that are none.

    Padding is what `one_number.is_blank` says. Lengths do so where padding stands in front.

    Args:
        frames: (f, d) of one item.
        there: (f,) which of them are kept.
        where: the file and the item.
        said: the arrays that say it, in words.

    Raises:
        FormatError: it does.
    """
    if there.all():
        return
    blank = is_blank(frames)
    real = np.flatnonzero(~blank)
    if not len(real):
        return
    ends = np.ones(len(blank), bool)
    ends[real[0] : real[-1] + 1] = False
    kept, left = np.flatnonzero(ends & there), int((~blank & ~there).sum())
    if len(kept) and left:
        way, name = "start" if kept[0] < real[0] else "end", " and ".join(said)
        raise FormatError(
            f"{where}: its frames at the {way} are {frames[kept[0], 0]:g} throughout, as padding "
            f"is; {name} keeps {len(kept)} of these and leaves out {left} of the others; leave "
            f"{name} out of this file if that is padding, or store a 'mask' with 1 for a frame "
            "that counts"
        )


def _differ(one: Source, other: Source, cube: Field) -> bool:
    """Whether two say different things of frames that are not zeros."""
    if (one.there == other.there).all():
        return False
    counts = [source for source in (one, other) if source.meaning != "mask"]
    if any(source.there.all() for source in counts):
        return False  # as many as are kept, whatever counts
    if len(counts) == 1:
        mask = other if counts[0] is one else one
        ends = np.where(mask.there, np.arange(1, cube.shape[1] + 1), 0).max(axis=1)
        number = counts[0].there.sum(axis=1)
        if any((number == x).all() for x in (mask.there.sum(axis=1), ends)):
            return False  # with frames left out before the last one
    return not zeros_outside(cube, ~(one.there ^ other.there))
