"""Frames of one number throughout, such as -1 or NaN: they stand for frames that are not there.

No model gives such a frame. Those of zeros are left out before, without a word.
"""

import warnings

import numpy as np

from rerank.core.errors import FormatError, RerankWarning

# In shorter frames all numbers may be alike by chance.
_LEAST_WIDTH = 4


def of_one_number(frames: np.ndarray) -> np.ndarray:
    """Which frames (f, d) are one number throughout; none of a few dimensions.

    >>> of_one_number(np.array([[1.0, 2, 3, 4], [-1, -1, -1, -1], [np.nan] * 4]))
    array([False,  True,  True])
    >>> of_one_number(np.ones((1, 2)))
    array([False])
    """
    if frames.shape[1] < _LEAST_WIDTH:
        return np.zeros(len(frames), dtype=bool)
    alike = _same(frames[:, 0], frames[:, -1])
    rows = np.flatnonzero(alike)
    alike[rows] = _same(frames[rows], frames[rows, :1]).all(axis=1)
    return alike


def is_blank(frames: np.ndarray) -> np.ndarray:
    """Which frames (f, d) are padding by their values: of zeros, or of one number throughout."""
    return ~frames.any(axis=1) | of_one_number(frames)


def _same(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return (one == other) | (np.isnan(one) & np.isnan(other))


class Padding:
    """What the items of one array show of frames of one number.

    Where all items are made of such frames, they are frames. Else they are padding, which is said
    once, and an item of nothing else is none.
    """

    def __init__(self) -> None:
        self._said = False
        self._framed = False
        self._empty: FormatError | None = None

    def saw_frames(self) -> None:
        """Take note that an item has other frames.

        Raises:
            FormatError: one before it has none.
        """
        self._framed = True
        if self._empty is not None:
            raise self._empty

    def is_left_out(self, numbers: set[float], *, others: int, where: str) -> bool:
        """Whether frames of one number take no part in an item.

        Args:
            numbers: which numbers these frames are of.
            others: how many other frames the item has.
            where: the file and the item.

        Raises:
            FormatError: they are not finite, or an item among others has nothing else.
        """
        if others:
            self.saw_frames()
        # The same number in every frame; a ramp of several is none of padding.
        same = len({str(each) for each in numbers}) == 1
        if same and not others and self._empty is None:
            self._empty = FormatError(
                f"{where}: all of its frames are {_named(numbers)} throughout, which is no "
                "embedding; leave the item out"
            )
        if self._framed and self._empty is not None:
            raise self._empty
        if not same or not others:
            return False
        if not np.isfinite(next(iter(numbers))):
            raise FormatError(
                f"{where}: has frames that are {_named(numbers)} throughout; if they are padding, "
                "store zeros there, which take no part, or a 'mask' with 1 for a frame that "
                "counts; if not, compute them again"
            )
        if not self._said:
            self._said = True
            warnings.warn(
                f"{where}: its frames of {_named(numbers)} throughout are padding and took no "
                "part, nor did those of other items",
                RerankWarning,
                stacklevel=2,
            )
        return True


def _named(numbers: set[float]) -> str:
    number = next(iter(numbers))
    return "NaN" if np.isnan(number) else f"{number:g}"
