"""Whole numbers of unknown names in rankings where nothing else says how good an item is."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from rerank.io.files import named

# What places are called as well as other things: they are that only where they count every list.
PLACES = ("pos", "rank0", "rank1", "rankindex", "rankidx", "rk")


def is_counted(numbers: Sequence[int]) -> bool:
    """Whether numbers are 0, 1, 2, ... or 1, 2, 3, ..., each once and in any order.

    >>> is_counted([2, 1, 3]), is_counted([1, 3])
    (True, False)
    """
    low, high = min(numbers), max(numbers)
    distinct = len(set(numbers)) == len(numbers)
    return low in (0, 1) and distinct and high - low == len(numbers) - 1


@dataclass
class Unused:
    """What such columns hold: name -> list -> numbers in the order of the file."""

    found: dict[str, dict[tuple[object, object], list[int]]] = field(default_factory=dict)

    def see(
        self, record: Mapping[str, Any], used: tuple[object, ...], line: tuple[object, object]
    ) -> None:
        """An entry of a list whose score, distance or rank is not said."""
        for name, value in record.items():
            if name not in used and (number := _whole(value)) is not None:
                self.found.setdefault(name, {}).setdefault(line, []).append(number)

    def notes(self, where: str) -> tuple[str, ...]:
        """What is said of the columns that order the lists in another way than the file does."""
        odd = [name for name, lists in self.found.items() if not _as_ordered(list(lists.values()))]
        if not odd:
            return ()
        verb = "is" if len(odd) == 1 else "are"
        return (
            f"{where}: the order of the file counts, and {named(odd)} {verb} not used; if it says "
            "how good an item is, call it score where more is better, or distance where less is",
        )


def _whole(value: object) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return int(value) if isinstance(value, str) and re.fullmatch(r"-?\d{1,15}", value) else None


def _as_ordered(lists: list[list[int]]) -> bool:
    """Whether numbers fall along all lists, or count them as ranks do."""
    falling = all(a >= b for line in lists for a, b in pairwise(line))
    return falling or any(
        all(line == list(range(first, first + len(line))) for line in lists) for first in (0, 1)
    )
