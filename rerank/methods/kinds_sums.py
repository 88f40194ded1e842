"""Whether rows, or columns, sum to one number: a softmax, in whatever unit it is kept.

Sums of 1 and 100 are believed as far as the precision explains them. Any other number may be an
accident, such as that of centred rows that were moved above 0, or of counts of one total: most
numbers of a softmax lie well below the mean of their line, those of the others do not, and counts
add up without any rounding.
"""

import math
from functools import cached_property
from typing import Literal, TypeAlias

import numpy as np

from rerank.methods.kinds_facts import SUM, Live, Precision

Sums: TypeAlias = tuple[Literal[0, 1], float]

# Units that are believed as they are, and what whole numbers of one and two bytes reach.
_BELIEVED = (1.0, 100.0)
_MILLE = 1000.0
UNITS = (*(10.0**power for power in range(3, 10)), 255.0, 65535.0)
_EXACT = 1e-4  # of a sum in another unit, where the precision allows it
_NARROW = 0.15  # spread by mean of lines of which the logarithms are nearly as they are
_LOST = 0.25  # at most this share of a sum was rounded to zeros
_LOST_OF_OTHERS = 0.1
# Median of a line by its mean: at most .9 where logarithms make a difference. Of whole numbers, the
# share that lies below the mean, where the unit is a usual one and where it is not.
_MEDIAN, _BELOW_MEAN, _BELOW_MEAN_OF_OTHERS = 0.9, 0.6, 0.75
_LEAST_TOP, _LEAST_TOP_OF_OTHERS = 0.5, 0.125  # of whole numbers, as shares of the sum


def constant_sums(live: Live, precision: Precision, high: float, *, said: bool) -> Sums | None:
    """Axis and unit where all sums are one number, up to the precision; no score is negative.

    Args:
        live: facts without padding.
        precision: of the numbers.
        high: the highest.
        said: the user says that it is a softmax, so any unit is believed.
    """
    if min(live.shape) < 2:
        return None
    sides: tuple[tuple[Literal[0, 1], np.ndarray], ...] = ((1, live.picked), (0, live.panel))
    for axis, lines in sides:
        side = _Side(live, precision, lines, axis)
        for scale in _BELIEVED:
            if not (precision.decimals == 0 and high < _LEAST_TOP * scale) and side.sums_to(scale):
                return axis, scale
    for axis, lines in sides:
        side = _Side(live, precision, lines, axis)
        for scale in side.candidates():
            if side.sums_to(scale, other=True) and (said or side.is_softmax(scale, high)):
                return axis, scale
    return None


class _Side:
    """The sums of rows, or of columns."""

    def __init__(
        self, live: Live, precision: Precision, lines: np.ndarray, axis: Literal[0, 1]
    ) -> None:
        self.live, self.precision, self.lines, self.axis = live, precision, lines, axis
        self.length = live.shape[axis]
        zeros = (lines == 0).sum(axis=axis) if precision.unit else np.zeros(1, int)
        self.most_zeros, self.fewest = zeros.max(initial=0), zeros.min(initial=self.length)

    @cached_property
    def sums(self) -> np.ndarray:
        """Positive sums of the lines."""
        sums = self.live.rows[SUM]
        if self.axis == 0:
            sums = np.where(self.lines > 0, self.lines, 0).sum(axis=0, dtype=np.float64)
        return sums[sums > 0]

    def candidates(self) -> list[float]:
        """Units, besides those that are believed, that the sums may have."""
        if len(self.sums) < 2 or not np.isfinite(self.sums).all():
            return []
        lost = self.precision.unit * self.most_zeros > 0
        found = float(np.quantile(self.sums, 0.9 if lost else 0.5))
        near = [unit for unit in (100.0, *UNITS) if 0.9 * unit < found < 1.1 * unit]
        whole = float(round(found))
        if whole and abs(whole - found) <= max(_EXACT * whole, 0.5 * self._noise(whole)):
            found = whole
        return [*near, *([found] if found not in _BELIEVED else [])]

    def _noise(self, scale: float, least: float = _EXACT) -> float:
        rounded = math.sqrt((self.length - self.fewest) / 12)
        return 4 * self.precision.unit * rounded + scale * max(least, 2.0**-self.precision.bits)

    def sums_to(self, scale: float, *, other: bool = False) -> bool:
        """Whether all sums are the unit, up to rounding and what was rounded to zeros."""
        unit = self.precision.unit
        if unit > 0.01 * scale:
            return False  # so few decimals sum to anything
        noise = self._noise(scale, _EXACT if other else 1e-3)
        if self.axis == 0 and not self.live.rows[SUM].sum() <= self.live.shape[1] * (scale + noise):
            return False  # and so do not all columns
        if len(self.sums) < 2 or not self.sums.max() <= scale + noise:
            return False
        share = _LOST_OF_OTHERS if other and not is_known(scale) else _LOST
        lost = min(self.most_zeros * unit / 2, share * scale)
        return bool(self.sums.min() >= scale - noise - lost)

    def is_softmax(self, scale: float, high: float) -> bool:
        """Whether sums of a unit that nobody named are those of a softmax, and no accident."""
        whole = self.precision.decimals == 0
        if whole and high < _LEAST_TOP_OF_OTHERS * scale:
            return False
        if whole and not is_known(scale) and (self.sums == self.sums[0]).all():
            return False  # counts of one total
        lines = self.lines if self.axis else self.lines.T
        lines = lines[(lines > 0).any(axis=1)]
        scored = np.where(np.isfinite(lines) & (lines >= 0), lines, 0).astype(np.float64)
        mean = scored.mean(axis=1, keepdims=True)
        if not whole:
            median = float(np.median(np.median(scored, axis=1) / mean[:, 0]))
            spread = float(np.median(scored.std(axis=1) / mean[:, 0]))
            near = scale == _MILLE and (spread <= _NARROW or 1 - median >= spread**2 / 4)
            return near or median <= _MEDIAN
        least = _BELOW_MEAN if is_known(scale) else _BELOW_MEAN_OF_OTHERS
        return bool(np.median((scored < mean).mean(axis=1)) >= least)


def is_known(scale: float) -> bool:
    """Whether a unit is one that is used."""
    return scale in (*_BELIEVED, *UNITS)
