"""Whether the numbers of every row, or of every column, are ranks or are made of them.

Ranks follow one another, also where equal items share the first, the last, the mean or the next
rank. Whatever is made of them, such as 1 / rank or 1 / (60 + rank), gives all lines the same
numbers, which scores never do.
"""

import numpy as np

_SHORTEST = 5
_FEW = 2.0  # entries for a distinct number, at most: counts and grades repeat more


def are_ranks(picked: np.ndarray, panel: np.ndarray, fill: float | None) -> bool:
    """Whether rows or columns hold ranks.

    Args:
        picked: some rows.
        panel: some columns.
        fill: the number for "not scored", besides -inf.
    """
    return any(_lines_are(lines, fill) for lines in (picked, panel.T))


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
