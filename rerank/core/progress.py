"""Progress of long passes, without knowing who watches.

Passes over a similarity report rows through `task`. Nobody watches by default; the command line
installs a reporter with `watch`, so that a terminal shows a bar and a pipe stays quiet.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol


class Reporter(Protocol):
    """What the command line installs to show progress."""

    def start(self, description: str, total: int) -> None:
        """A task of `total` steps begins (tasks may nest)."""
        ...

    def advance(self, steps: int) -> None:
        """The innermost task got `steps` further."""
        ...

    def stop(self) -> None:
        """The innermost task ended, finished or not."""
        ...


_reporter: ContextVar[Reporter | None] = ContextVar("rerank_progress", default=None)


@contextmanager
def watch(reporter: Reporter) -> Iterator[None]:
    """Send the progress of everything inside the block to `reporter`."""
    token = _reporter.set(reporter)
    try:
        yield
    finally:
        _reporter.reset(token)


@contextmanager
def task(description: str, total: int) -> Iterator[Callable[[int], None]]:
    """Announce a task; yields the function that advances it."""
    reporter = _reporter.get()
    if reporter is None:
        yield lambda steps: None
        return
    reporter.start(description, total)
    try:
        yield reporter.advance
    finally:
        reporter.stop()
