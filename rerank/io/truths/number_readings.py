"""What a matrix of numbers that is given as a ground truth can say, by the numbers in it."""

from typing import NamedTuple

import numpy as np


class NumberReading(NamedTuple):
    """One reading of a matrix `x`, and code of two columns that it makes; `n` is numpy.

    Attributes:
        says: what holds where it is meant, as a sentence begins.
        queries: rows of texts.
        items: rows of videos beside them.
        of_rows: whether these are numbers of rows; otherwise they may be ids.
    """

    says: str
    queries: str
    items: str
    of_rows: bool = True


_RIGHT = NumberReading(
    "it is 1 where the video of a column is right for the text of a row",
    "n.nonzero(x > 0)[0]", "n.nonzero(x > 0)[1]",
)  # fmt: skip
_GRADES = _RIGHT._replace(
    says="it is above 0 where the video of a column is right for the text of a row"
)
_PAIRS = NumberReading(
    "each row is a text and its video", "x[:, 0].astype(int)", "x[:, 1].astype(int)", False
)
_TEXTS = NumberReading(
    "row i holds the texts of video i", "x[x >= 0].astype(int)", "n.nonzero(x >= 0)[0]"
)
_VIDEOS = NumberReading(
    "row i holds the videos of text i", "n.nonzero(x >= 0)[0]", "x[x >= 0].astype(int)"
)
# The highest grade that people give.
_HIGHEST = 10


def number_readings(x: np.ndarray) -> list[NumberReading]:
    """The readings that the numbers of a matrix allow, the likeliest first.

    >>> [reading.says for reading in number_readings(np.eye(4))]
    ['it is 1 where the video of a column is right for the text of a row']
    >>> [reading.says for reading in number_readings(np.arange(12).reshape(4, 3))]
    ['row i holds the texts of video i', 'row i holds the videos of text i']

    Args:
        x: (n, k) numbers or truth values.
    """
    if not x.size or (x.dtype.kind == "f" and not _is_whole(x)):
        return []
    if x.shape[1] > 2 and x.min() == x.max():
        return []  # one number throughout
    x = x.astype(np.int64) if x.dtype.kind != "b" else x
    few = (x == 0) | (x == 1)
    if few.all() and (x.shape[1] != 2 or len(x) > len(np.unique(x, axis=0))):
        return [_RIGHT]
    held = x[x >= 0]
    if x.min() < -1 or not len(held):
        return []
    if _repeats_in_rows(x):
        pairs = [_PAIRS] if x.shape[1] == 2 and x.min() >= 0 else []
        return pairs or ([_GRADES] if x.max() <= _HIGHEST else [])
    count = len(np.unique(held))
    apart = count == len(held)
    if count == x.shape[1] > 2 and not apart:
        return []  # each row holds all there are, as a ranking does
    lists = [_TEXTS, _VIDEOS] if apart else [_VIDEOS, _TEXTS]
    if x.shape[1] != 2 or x.min() < 0:
        return lists
    # Pairs name each text, or each video, and not all numbers once.
    return lists if apart and held.max() < len(held) else [_PAIRS]


def _is_whole(x: np.ndarray) -> bool:
    return bool(np.isfinite(x).all() and (x == np.rint(x)).all() and (np.abs(x) < 2**53).all())


def _repeats_in_rows(x: np.ndarray) -> bool:
    """Whether a row holds a number twice; -1 fills rows up."""
    ordered = np.sort(x, axis=1)
    return bool(((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any())
