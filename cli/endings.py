"""How the command ends when what it talks to is full, closed or gone."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from io import TextIOWrapper
from typing import NoReturn

# What ends a run from outside; each is answered by cleaning up, and by the status 128 + number.
SIGNALS = [n for n in (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", None)) if n]
INTERRUPTED = "interrupted: no partial output was left behind\n"


def free_signals() -> list[signal.Signals]:
    """Those that are neither handled nor, as for jobs in the background, ignored on purpose."""
    usual = (signal.default_int_handler, signal.SIG_DFL)
    return [number for number in SIGNALS if signal.getsignal(number) in usual]


@contextlib.contextmanager
def ending_at_once() -> Iterator[None]:
    """A signal inside the block ends the process with one line: for imports, before any output."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, end) for number in free_signals()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def end(number: int, *_: object) -> NoReturn:
    """End with one line, without cleaning up."""
    with contextlib.suppress(OSError):
        os.write(2, INTERRUPTED.encode())
    os._exit(128 + number)


def prepare_streams() -> None:
    """Streams that are closed swallow, and what a locale has no letter for is escaped."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123
        elif isinstance(stream, TextIOWrapper):  # a program that calls us may have put another
            stream.reconfigure(errors="backslashreplace")


def flush() -> None:
    """Hand on what was written; a disk that is full says so now and not when Python ends."""
    sys.stdout.flush()


def settle_stdout() -> None:
    """Hand on what stdout still holds; what it does not take goes nowhere.

    Otherwise Python complains when it ends.
    """
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def line_of(error: Exception) -> str | None:
    """The system's refusal, or that no memory is left, in one line; None for anything else."""
    if isinstance(error, OSError):
        what = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else "output"
        return f"{what}: {error.strerror or error}; free some space or choose another place"
    from rerank.core.memory import ran_out  # imports torch, which is there when memory runs out

    if ran_out(error):
        return "no memory is left; allow less with --memory SIZE, such as 500MB, or free some"
    return None
