"""What must hold, in rows of many small cases, and how often it was looked at."""

import os
import random
import signal
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

# A case that takes longer hangs.
_LONGEST_S = 60


@dataclass(frozen=True)
class Case:
    """One thing that must hold.

    Attributes:
        name: what it is, for the list of failures.
        check: raises where it does not hold; gets an empty folder of its own.
        costly: takes seconds, so it is left out of every quick run.
    """

    name: str
    check: Callable[[Path], object]
    costly: bool = False


@dataclass(frozen=True)
class Row:
    """One row of the matrix.

    Attributes:
        title: what is tried.
        holds: what must hold.
        cases: makes all of them.
        quick: how many are tried in every run.
        slow: how many are tried among the slow tests; 0: all.
    """

    title: str
    holds: str
    cases: Callable[[], Sequence[Case]]
    quick: int
    slow: int = 0


@dataclass(frozen=True)
class Tally:
    """What a row came to."""

    title: str
    tried: int
    failed: tuple[str, ...]
    seconds: float

    def line(self) -> str:
        """One line of the table."""
        return f"| {self.title} | {self.tried:,} | {len(self.failed)} | {self.seconds:.0f} s |"


ROWS: dict[str, Row] = {}


def row(
    title: str, holds: str, *, quick: int, slow: int = 0
) -> Callable[[Callable[[], Iterator[Case]]], Callable[[], Iterator[Case]]]:
    """Declares a row; the function below it yields the cases."""

    def declare(cases: Callable[[], Iterator[Case]]) -> Callable[[], Iterator[Case]]:
        ROWS[title] = Row(title, holds, lambda: tuple(cases()), quick, slow)
        return cases

    return declare


def chosen(cases: Sequence[Case], count: int, seed: int) -> list[Case]:
    """So many of the cases, in their order; all of them for 0."""
    if not count or count >= len(cases):
        return list(cases)
    picked = sorted(random.Random(seed).sample(range(len(cases)), count))
    return [cases[number] for number in picked]


def run(which: Row, *, count: int = 0, seed: int = 0, costly: bool = True) -> Tally:
    """Try so many cases of a row, chosen by a seed; all of them for 0."""
    start, failed, tried = time.monotonic(), [], 0
    cases = [case for case in which.cases() if costly or not case.costly]
    for case in chosen(cases, count, seed):
        tried += 1
        with tempfile.TemporaryDirectory() as folder:
            try:
                with time_limit(_LONGEST_S):
                    case.check(Path(folder))
            except Exception as error:
                at = traceback.extract_tb(error.__traceback__)[-1]
                failed.append(
                    f"{case.name}: {type(error).__name__}: {error} ({at.name}:{at.lineno})"
                )
    return Tally(which.title, tried, tuple(failed), time.monotonic() - start)


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Ends what takes longer, where the system has such a signal."""
    if not hasattr(signal, "setitimer"):
        yield
        return

    def late(*_: object) -> None:
        raise TimeoutError(f"took more than {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def sample_seed() -> int:
    """The seed that chooses among the cases; RERANK_SEED gives another."""
    return int(os.environ.get("RERANK_SEED", "0"))
