"""Which columns of numbers of a table are the numbers of one vector.

A table that holds a vector as one column for each number often has other numbers beside them: the
row numbers of pandas, a duration, a label. Names that count, `0, 1, 2, ...` or `f0, f1, f2, ...`,
tell them apart.
"""

import re
from collections.abc import Collection, Mapping, Sequence

_COUNTED = re.compile(r"(.*?)(\d{1,6})")


def counted(names: Sequence[str]) -> dict[str, list[int]]:
    """Places of the columns whose names count from 0 or 1, by what stands before the number.

    They are in the order of their numbers: sorted names are e0, e1, e10, e11, e2.

    >>> counted(["f0", "f1", "f2", "year"])
    {'f': [0, 1, 2]}
    >>> counted(["clip_0", "clip_1", "blip_0", "blip_1"])
    {'clip_': [0, 1], 'blip_': [2, 3]}
    >>> counted(["e0", "e1", "e10", "e2"]), counted(["e1", "e0"])
    ({}, {'e': [1, 0]})

    Digits may be those of sixteen:

    >>> len(counted([f"e{i:02x}" for i in range(40)] + ["year"])["e"])
    40
    """
    found: dict[str, list[tuple[int, int]]] = {}
    for place, name in enumerate(names):
        match = _COUNTED.fullmatch(name)
        if match is not None:
            found.setdefault(match[1], []).append((int(match[2]), place))
    made = {}
    for stem, columns in found.items():
        columns.sort()
        first = columns[0][0]
        rising = [number for number, _ in columns] == list(range(first, first + len(columns)))
        if rising and first in (0, 1) and len(columns) > 1:
            made[stem] = [place for _, place in columns]
    return _in_sixteens(names, made) if made else made


def _in_sixteens(names: Sequence[str], runs: dict[str, list[int]]) -> dict[str, list[int]]:
    """The same, where what counts goes on with digits of sixteen: e08, e09, e0a, ..., e0f, e10."""
    for stem, run in runs.items():
        digits = re.compile(rf"{re.escape(stem)}([0-9a-f]{{1,6}}|[0-9A-F]{{1,6}})")
        found = sorted(
            (int(match[1], 16), place)
            for place, name in enumerate(names) if (match := digits.fullmatch(name))
        )  # fmt: skip
        places = [place for _, place in found]
        numbers = [number for number, _ in found]
        counts = numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        if counts and numbers[0] in (0, 1) and set(run) < set(places):
            # Those of ea0, ea1, ... are among them.
            others = {name: each for name, each in runs.items() if set(places).isdisjoint(each)}
            return {**others, stem: places}
    return runs


def vectors_among(names: Sequence[str]) -> Mapping[str, Sequence[int]] | None:
    """The vectors that columns of numbers hold, by name; None where all columns are one, in order.

    Where names count, they decide; columns with other names are as many at most.

    >>> vectors_among(["0", "1", "2"]), vectors_among(["mean", "peak", "length"])
    (None, None)
    >>> vectors_among(["0", "1", "duration"])
    {'values': [0, 1]}
    >>> vectors_among(["0", "2", "1"])
    {'values': [0, 2, 1]}
    >>> sorted(vectors_among(["clip_0", "clip_1", "blip_0", "blip_1"]))
    ['blip', 'clip']
    """
    runs = counted(names)
    places = [place for run in runs.values() for place in run]
    if not runs or places == list(range(len(names))) and len(runs) == 1:
        return None
    if 2 * len(places) < len(names):
        return None
    if len(runs) == 1:
        return {"values": places}
    return {stem.rstrip("_-. [(") or "values": run for stem, run in runs.items()}


def torn(names: Sequence[str], numbers: Collection[int], texts: Collection[int] = ()) -> int | None:
    """Place of a column without numbers whose name stands among those of the numbers of a vector.

    Left out, it would make the vectors shorter without a word. The first column of text that
    counts with them is the names of the rows, in a table whose columns are numbered throughout.

    >>> torn(["f0", "f1", "f2", "note"], {0, 2}), torn(["f0", "f1", "note"], {0, 1})
    (1, None)
    >>> torn(["0", "1", "2"], {1, 2}, texts={0}), torn(["0", "1", "2"], {0, 2}, texts={1})
    (None, 1)
    """
    found = set(numbers)
    for run in counted(names).values():
        lost = [place for place in run if place not in found]
        if len(lost) < len(run) and lost[:1] == run[:1] and run[0] in texts:
            lost = lost[1:]
        if lost and len(lost) < len(run):
            return lost[0]
    return None
