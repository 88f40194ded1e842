"""What a piece of work costs: its time and the peak of the memory it held."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch


@contextmanager
def measured(device: torch.device) -> Iterator[dict[str, Any]]:
    """Time and peak memory of the block: {"start", "seconds", "peak"}, the last in bytes or None.

    On a GPU the allocator's peak; on Linux the peak of the resident memory, whose mark is reset
    through /proc; elsewhere None, because the peak of a process never falls.
    """
    gpu = device.type == "cuda"
    if gpu:
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        held: int | None = torch.cuda.memory_allocated(device)
    else:
        held = _resident("VmRSS") if _reset_peak() else None
    spent: dict[str, Any] = {"start": time.perf_counter(), "seconds": 0.0, "peak": None}
    yield spent
    if gpu:
        torch.cuda.synchronize(device)
    spent["seconds"] = time.perf_counter() - spent["start"]
    top = torch.cuda.max_memory_allocated(device) if gpu else _resident("VmHWM")
    spent["peak"] = None if held is None or top is None else max(top - held, 0)


def _reset_peak() -> bool:
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def _resident(field: str) -> int | None:
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    return next((int(x.split()[1]) * 1024 for x in lines if x.startswith(f"{field}:")), None)
