"""Output of the commands: messages to stderr, results to stdout, a bar on a terminal."""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any


def say(text: str) -> None:
    """A message for a person, to stderr; what would act on the terminal is escaped."""
    from rerank.io.files import printable

    sys.stderr.write("\n".join(printable(line) for line in text.split("\n")) + "\n")


def emit(text: str) -> None:
    """A result, to stdout."""
    sys.stdout.write(text + "\n")


def emit_json(value: Any) -> None:  # noqa: ANN401  anything that JSON can hold
    """A result for a program: one JSON object on stdout; NaN is written as null."""
    sys.stdout.write(json.dumps(_plain(value), ensure_ascii=False, allow_nan=False) + "\n")


def _plain(value: Any) -> Any:  # noqa: ANN401  recursive over JSON values
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not (value - value == 0):
        return None
    return value.item() if hasattr(value, "item") else value


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
    """Show a bar for the passes inside, on a terminal only."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from rerank.core.progress import watch

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
