"""Output of the commands: messages to stderr, results to stdout, a bar on a terminal."""

import json
import math
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable


def say(text: str) -> None:
    """A message for a person, to stderr; what would act on the terminal is escaped."""
    sys.stderr.write(_harmless(text) + "\n")


@contextmanager
def noting() -> Iterator[None]:
    """What readers of files would warn of in Python is said once the command has done its work."""
    from rerank.core.errors import RerankWarning

    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always", RerankWarning)
        yield
    said = (str(item.message) for item in found if issubclass(item.category, RerankWarning))
    for text in dict.fromkeys(said):
        say(f"note: {text}")


def emit(text: str) -> None:
    """A result, to stdout; what would act on the terminal is escaped, but for lines and tabs."""
    sys.stdout.write(_harmless(text) + "\n")


def _harmless(text: str) -> str:
    from rerank.io.files import printable

    return "\n".join("\t".join(map(printable, x.split("\t"))) for x in text.split("\n"))


def emit_json(value: Any) -> None:  # noqa: ANN401  anything that JSON can hold
    """A result for a program: one JSON object on stdout; NaN is written as null."""
    sys.stdout.write(json.dumps(_plain(value), ensure_ascii=False, allow_nan=False) + "\n")


def _plain(value: Any) -> Any:  # noqa: ANN401  recursive over JSON values
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return _plain(value.item()) if isinstance(value, _Number) else value


@runtime_checkable
class _Number(Protocol):
    """A number of numpy or torch."""

    def item(self) -> Any:  # noqa: ANN401  a number of Python
        ...


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Plain aligned columns: the first to the left, the others to the right."""
    cells = [list(headers), *[list(row) for row in rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(headers))]
    lines = []
    for row in cells:
        first = row[0].ljust(widths[0])
        rest = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join([first, *rest]).rstrip())
    return "\n".join(lines)


@contextmanager
def progress() -> Iterator[None]:
    """Show a bar for the passes inside; where there is no terminal, a line every ten seconds."""
    from rerank.core.progress import watch

    if not sys.stderr.isatty():
        # Of several processes the first one speaks.
        if os.environ.get("RANK", "0") != "0":
            yield
            return
        with watch(LineReporter()):
            yield
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        with watch(_RichReporter(bar)):
            yield


class _RichReporter:
    """Keeps the innermost task of the passes on a rich bar."""

    def __init__(self, bar: Any) -> None:  # noqa: ANN401  rich is imported late
        self._bar = bar
        self._tasks: list[Any] = []

    def start(self, description: str, total: int) -> None:
        """See `rerank.core.progress.Reporter`."""
        self._tasks.append(self._bar.add_task(description, total=total))

    def advance(self, steps: int) -> None:
        """See `rerank.core.progress.Reporter`."""
        self._bar.advance(self._tasks[-1], steps)

    def stop(self) -> None:
        """See `rerank.core.progress.Reporter`."""
        self._bar.remove_task(self._tasks.pop())


class LineReporter:
    """Writes where the innermost pass is, at most once in `every` seconds; short runs say nothing.

    Args:
        every: seconds between two lines.
        clock: tells the time.
    """

    def __init__(self, every: float = 10.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._every, self._clock = every, clock
        self._start = self._said = clock()
        self._tasks: list[list[Any]] = []

    def start(self, description: str, total: int) -> None:
        """See `rerank.core.progress.Reporter`."""
        self._tasks.append([description, 0, total])
        if self._clock() - self._said >= self._every:
            self._tell()

    def advance(self, steps: int) -> None:
        """See `rerank.core.progress.Reporter`."""
        self._tasks[-1][1] += steps
        if self._clock() - self._said >= self._every:
            self._tell()

    def stop(self) -> None:
        """See `rerank.core.progress.Reporter`."""
        self._tasks.pop()

    def _tell(self) -> None:
        self._said = self._clock()
        what, done, total = self._tasks[-1]
        share = f" {100 * done / total:.0f} %" if total else ""
        sys.stderr.write(f"progress: {what}{share}, {self._said - self._start:.0f} s\n")
