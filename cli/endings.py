"""How the command ends when what it talks to is full, closed or gone."""

import os
import sys

_NO_MEMORY = ("allocate memory", "out of memory", "not enough memory")


def prepare_streams() -> None:
    """Streams that are closed swallow, and what a locale has no letter for is escaped."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123
        else:
            stream.reconfigure(errors="backslashreplace")


def flush() -> None:
    """Hand on what was written; a disk that is full says so now and not when Python ends."""
    sys.stdout.flush()


def drop_stdout() -> None:
    """What is still held for stdout goes nowhere; otherwise Python complains when it ends."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        return


def line_of(error: Exception) -> str | None:
    """The system's refusal, or that no memory is left, in one line; None for anything else."""
    if isinstance(error, OSError):
        what = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else "output"
        return f"{what}: {error.strerror or error}; free some space or choose another place"
    if isinstance(error, MemoryError) or any(word in str(error) for word in _NO_MEMORY):
        return "no memory is left; allow less with --memory SIZE, such as 500MB, or free some"
    return None
