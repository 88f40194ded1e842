"""Files that are mapped into memory, and a plain end when one of them is cut short meanwhile.

Memory over a file that has become shorter cannot be read: the system ends the program with SIGBUS,
without a word. A program of its own (the command line) may ask for one line instead. Nothing here
imports more than the standard library.
"""

import contextlib
import ctypes
import os
import signal
import sys
from pathlib import Path
from typing import Any

_MAPPED: dict[str, int] = {}
_TEMPORARIES: set[str] = set()
_KEPT: list[Any] = []


def mapped(path: Path, size: int) -> None:
    """Note that the first `size` bytes of a file are mapped."""
    _MAPPED[str(path)] = max(size, _MAPPED.get(str(path), 0))


def temporary(path: Path, *, there: bool) -> None:
    """Note that a temporary file is there, or is gone."""
    (_TEMPORARIES.add if there else _TEMPORARIES.discard)(str(path))


def cut_files() -> list[str]:
    """Files that are shorter now than they were when they were mapped."""
    found = []
    for path, size in _MAPPED.items():
        with contextlib.suppress(OSError):
            if Path(path).stat().st_size < size:
                found.append(path)
    return found


def exit_when_cut() -> None:
    """End this program with one line and status 2 where a mapped file was cut short.

    A handler of Python's own never runs here, because the failed read is tried again before; one
    of C does, and it never returns.
    """
    if not hasattr(signal, "SIGBUS") or sys.platform == "win32":
        return

    def end(_: int) -> None:
        names = ", ".join(cut_files()) or "a file that was read"
        for path in list(_TEMPORARIES):
            with contextlib.suppress(OSError):
                Path(path).unlink()
        line = f"error: {names}: was cut short while it was read; restore it and run again\n"
        os.write(2, line.encode("utf-8", "backslashreplace"))
        os._exit(2)

    handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(end)
    library = ctypes.CDLL(None)
    library.signal.argtypes = [ctypes.c_int, type(handler)]
    library.signal.restype = ctypes.c_void_p
    _KEPT.append(handler)
    library.signal(int(signal.SIGBUS), handler)
