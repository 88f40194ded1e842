"""How the command ends when what it talks to is full, closed or gone."""

import io
import os
import sys


def prepare_streams() -> None:
    """Streams that are closed swallow, and what a locale has no letter for is escaped."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123
        elif isinstance(stream, io.TextIOWrapper):  # not what a caller put in its place
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
