"""Whether the numbers of every row, or of every column, are ranks or are made of them.

Ranks follow one another, also where equal items share the first, the last, the mean or the next
rank. Whatever is made of them, such as 1 / rank or 1 / (60 + rank), gives all lines the same
numbers, which scores never do. Reciprocal ranks of several searches together (reciprocal rank
fusion, Cormack et al., SIGIR 2009) give every line the same sum, a multiple of what one gives.
"""

import numpy as np

_SHORTEST = 5
_FEW = 2.0  # entries for a distinct number, at most: counts and grades repeat more
_FUSED = 10  # searches together, at most
_ADDED = range(101)  # what is added to a rank: 60 as a rule
_DEPTHS = (10, 20, 50, 100, 200, 500, 1000)  # how deep lists are cut
_ROUNDED = 1e-4  # of a sum: four digits are left of every number


def are_ranks(picked: np.ndarray, panel: np.ndarray, fill: float | None) -> bool:
    """Whether rows or columns hold ranks.

    Args:
        picked: some rows.
        panel: some columns.
        fill: the number for "not scored", besides -inf.
    """
    return any(_lines_are(x, fill) or _fused(x, fill) for x in (picked, panel.T))


def _fused(lines: np.ndarray, fill: float | None) -> bool:
    """Whether each line adds up 1 / (c + rank) of the same number of searches."""
    if len(lines) < 2 or lines.shape[1] < _SHORTEST:
        return False
    held = np.where(np.isfinite(lines), lines, 0.0).astype(np.float64)
    if fill is not None:
        held[held == fill] = 0.0
    sums = held.sum(axis=1)
    if held.min() < 0 or not np.ptp(sums) <= _ROUNDED * sums.max():
        return False
    return any(_times(float(sums.mean()), float(held.max()), held.shape[1], c) for c in _ADDED)


def _times(total: float, most: float, items: int, added: int) -> bool:
    """Whether a sum is that of several searches, and the largest entry not above first in all."""
    given = np.cumsum(1 / (added + np.arange(1, items + 1)))
    for depth in {items, *(x for x in _DEPTHS if x < items)}:
        times = total / given[depth - 1]
        whole = round(times)
        if 2 <= whole <= _FUSED and abs(times - whole) <= _ROUNDED * whole:
            return bool(most <= whole * given[0] * (1 + _ROUNDED))
    return False


def _lines_are(lines: np.ndarray, fill: float | None) -> bool:
    if len(lines) < 2:
        return len(lines) == 1 and _follow(_held(lines[0], fill))
    first = _held(lines[0], fill)
    if len(first) < _SHORTEST:
        return False
    # Two lines show it of most matrices.
    if _follow(first) and all(_follow(_held(line, fill)) for line in lines[1:]):
        return True
    return _vary(first) and all(np.array_equal(_held(line, fill), first) for line in lines[1:])


def _held(line: np.ndarray, fill: float | None) -> np.ndarray:
    scored = line[np.isfinite(line)].astype(np.float64)
    return np.sort(scored if fill is None else scored[scored != fill])


def _vary(line: np.ndarray) -> bool:
    return len(line) <= _FEW * len(np.unique(line))


def _follow(line: np.ndarray) -> bool:
    """Whether sorted numbers are ranks, of which equal items share one."""
    numbers, counts = np.unique(line, return_counts=True)
    if len(numbers) < _SHORTEST or (2 * numbers % 1).any():
        return False
    steps, before, after = np.diff(numbers), counts[:-1], counts[1:]
    if (steps == 1).all():
        return _vary(line)  # else counts and grades are like that
    return any(np.array_equal(steps, x) for x in (before, after, (before + after) / 2))
