"""Columns of numbers in rankings that are not what counts.

Whole numbers of unknown names where nothing else says how good an item is, and second scores.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from typing import Any

from rerank.io.files import named
from rerank.io.side_words import plain

# What places are called as well as other things: they are that only where they count every list.
PLACES = ("pos", "rank0", "rank1", "rankindex", "rankidx", "rk")

_FAR = re.compile(".*(distance|dist)s?|(distance|dist)s?[a-z0-9]*")
_GOOD = "score|similarity|sim|cosine|logit|probability|prob|confidence|rank"
_HOW_GOOD = re.compile(f".*({_GOOD})s?|({_GOOD})[0-9]+")


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


@dataclass
class Second:
    """What else is called like a score, a distance or a rank: name -> list -> (counted, other)."""

    found: dict[tuple[str, str], dict[tuple[str, str], list[tuple[float, float]]]] = field(
        default_factory=dict
    )

    def see(
        self, record: Mapping[str, Any], known: tuple[str | None, ...], line: tuple[str, str]
    ) -> None:
        """An entry of a list, and its fields of score, distance and rank: the first counts."""
        counted = next((x for x in known if x is not None and record[x] is not None), None)
        value = None if counted is None else _number(record[counted])
        if counted is None or value is None:
            return
        value *= says_good(counted) or 1
        for name, other in record.items():
            # Ranks beside scores are looked at where the lists are made.
            if name in (counted, known[-1]) or (sign := says_good(str(name))) == 0:
                continue
            number = _number(other)
            if number is not None:
                lists = self.found.setdefault((counted, str(name)), {})
                lists.setdefault(line, []).append((value, sign * number))

    def notes(self, where: str) -> tuple[str, ...]:
        """What is said of those that order a list in another way."""
        odd: dict[str, dict[str, str]] = {}
        for (counted, name), lists in self.found.items():
            query = next((line[1] for line, of in lists.items() if are_apart(of)), None)
            if query is not None:
                odd.setdefault(counted, {})[name] = query
        return tuple(
            f"{where}: {named([counted])} counts, and {named(list(names))}, by which the list of "
            f"{named([next(iter(names.values()))])} has another order, "
            f"{'is' if len(names) == 1 else 'are'} not used; if another is meant, leave "
            f"{named([counted])} out and call that one {_called(next(iter(names)))}"
            for counted, names in odd.items()
        )


def _called(name: str) -> str:
    if plain(name).endswith(("rank", "ranks")):
        return "rank"
    return "score" if says_good(name) > 0 else "distance"


@lru_cache(maxsize=4096)
def says_good(name: str) -> int:
    """1 where the higher is the better by a name, -1 where the lower is, 0 where it says neither.

    >>> [says_good(name) for name in ("rerank_score", "l2_distance", "bm25_rank", "start")]
    [1, -1, -1, 0]
    """
    word = plain(name)
    if _FAR.fullmatch(word):
        return -1
    if not _HOW_GOOD.fullmatch(word):
        return 0
    return -1 if word.rstrip("s0123456789").endswith("rank") else 1


def are_apart(pairs: Iterable[tuple[float, float]]) -> bool:
    """Whether of two numbers of each item one falls where the other rises.

    >>> are_apart([(0.9, -1), (0.5, -2)]), are_apart([(0.9, -2), (0.5, -1)])
    (False, True)
    """
    ordered = sorted(pairs, reverse=True)
    return any(a[0] > b[0] and a[1] < b[1] for a, b in pairwise(ordered))


def _number(value: object) -> float | None:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    return None if isinstance(value, bool) or not math.isfinite(number) else number


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
