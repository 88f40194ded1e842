"""Whether the smallest numbers of a matrix seem to be the best, as with distances.

The diagonal tells where it holds the lowest of more rows than chance explains, as in matrices of
pairs it does. Else the tails do: the few best of a line are far from the others, so the longer tail
is theirs. Counts have many lowest numbers and long upper tails, and are told by the diagonal only.
"""

import math

import numpy as np

from rerank.methods.kinds_facts import Live

# Length of the upper tail by that of the lower: similarities from .8 up, distances .2 to .65.
_LEANING = 0.67
_BY_CHANCE = 8.0  # minus the logarithm of the chance of a diagonal that tells
_FEWEST, _FEWEST_OF_LINE = 10, 8
_ENTRIES = 2**19


def smallest_stick_out(live: Live, fill: float | None, *, few: bool) -> bool:
    """Whether the best of every row seems to be its smallest number.

    Args:
        live: facts without padding.
        fill: the number for "not scored", besides -inf.
        few: the numbers are counts or grades.
    """
    told = None if fill is not None else _diagonal(live)
    if told is not None:
        return told
    if few or min(live.shape) < _FEWEST:
        return False
    return all(_upper_by_lower(lines, fill) < _LEANING for lines in (live.picked, live.panel.T))


def _diagonal(live: Live) -> bool | None:
    """Whether the diagonal has the lowest scores, or the highest; None where it does not tell."""
    lowest, highest = live.own
    clear = [
        _is_no_chance(own, min(live.shape), share)
        for own, share in zip(live.own, _shares_of_ends(live.picked), strict=True)
    ]
    if not any(clear) or highest / 3 <= lowest <= 3 * highest:
        return None
    return lowest > highest and clear[0]


def _shares_of_ends(lines: np.ndarray) -> tuple[float, float]:
    """Shares of the entries of a line that are its lowest, and its highest."""
    held = np.isfinite(lines)
    count = np.maximum(held.sum(axis=1), 1)
    low = np.where(held, lines, np.inf).min(axis=1, keepdims=True)
    high = np.where(held, lines, -np.inf).max(axis=1, keepdims=True)
    ends = [((lines == end) & held).sum(axis=1) / count for end in (low, high)]
    return float(ends[0].mean()), float(ends[1].mean())


def _is_no_chance(found: int, count: int, share: float) -> bool:
    """Whether so many of `count` are hardly there by chance (Chernoff)."""
    part = min(found / max(1, count), 1.0)
    if part <= share or share <= 0:
        return False
    rest = (1 - part) * math.log((1 - part) / (1 - share)) if part < 1 else 0.0
    return count * (part * math.log(part / share) + rest) > _BY_CHANCE


def _upper_by_lower(lines: np.ndarray, fill: float | None) -> float:
    """Median over lines of the length of the upper tail by that of the lower."""
    some = lines[:: max(1, lines.size // _ENTRIES)].astype(np.float64)
    held = np.isfinite(some) & (True if fill is None else some != fill)
    if held.all():
        low, lower, upper, high = np.quantile(some, [0, 0.1, 0.9, 1], axis=1)
    else:
        some = np.where(held, some, np.nan)[held.sum(axis=1) >= _FEWEST_OF_LINE]
        if len(some) < _FEWEST:
            return 1.0
        low, lower, upper, high = np.nanquantile(some, [0, 0.1, 0.9, 1], axis=1)
    used = high > low
    if used.sum() < _FEWEST:
        return 1.0
    return float(np.median((high - upper)[used] / np.maximum((lower - low)[used], 1e-300)))
