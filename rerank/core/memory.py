"""How much memory a run may use: what the user allowed, or a modest share of what is free.

What a piece of work costs: its time and the peak of the memory it held.
"""

import math
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rerank.core.errors import RerankError

if TYPE_CHECKING:
    import torch

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_BINARY = {"k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
_SIZE = re.compile(r"\s*([0-9]*\.?[0-9]+(?:e[0-9]+)?)\s*([kmgt]?)(i?)b?\s*", re.IGNORECASE)

# Nobody asked for much: a run without --memory stays within two gigabytes even on a large machine,
# which hold the bfloat16 kernel of 20k x 20k pairs; with 8 bits it takes twice as long.
DEFAULT_CPU = 2 * 10**9
_CPU_SHARE = 0.25
_GPU_SHARE = 0.85
COPY_SHARE = 0.125
# Less than this is not worth a plan: what does not fit is said by whoever asks for it.
_LEAST = 1 << 20

_limit: ContextVar[int | None] = ContextVar("rerank_memory", default=None)


def parse(text: str | int | float) -> int:
    """Bytes meant by "8GB", "512 MiB", "2e9" or a number.

    >>> parse("8GB"), parse("1.5GiB"), parse("2e9")
    (8000000000, 1610612736, 2000000000)

    Raises:
        RerankError: not a positive size.
    """
    match = _SIZE.fullmatch(str(text))
    if match is None:
        raise RerankError(f"memory: got {text!r}, expected a size such as 8GB, 512MiB or 2e9")
    number, unit, binary = match.groups()
    size = int(float(number) * (_BINARY if binary and unit else _UNITS)[unit.lower()])
    if size < 1:
        raise RerankError(f"memory: got {text!r}, expected a positive size such as 8GB")
    return size


def available(device: "torch.device | None" = None) -> int:
    """Bytes that are free now, on the machine or on the GPU.

    The limits of the container and of the process (`ulimit -v`) count as the end of the machine.
    """
    if device is not None and device.type == "cuda":
        from torch import cuda  # here alone, as files are looked at before torch is loaded

        # What torch has freed but keeps for itself is free for it alone.
        kept = cuda.memory_reserved(device) - cuda.memory_allocated(device)
        return int(cuda.mem_get_info(device)[0]) + kept
    free: list[int] = []
    with suppress(OSError, ValueError):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free += [int(x.split()[1]) * 1024 for x in lines if x.startswith("MemAvailable:")][:1]
    if not free and hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        # Without the kernel's estimate, half of the machine counts as free.
        free.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2)
    group = Path("/sys/fs/cgroup")
    with suppress(OSError, ValueError):  # no such file, or the word "max" for no limit
        limit = int((group / "memory.max").read_text(encoding="ascii"))
        used = int((group / "memory.current").read_text(encoding="ascii"))
        free.append(max(limit - used, 0))
    with suppress(ImportError, OSError, ValueError):  # `ulimit -v`, where systems have it
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit != resource.RLIM_INFINITY:
            pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
            free.append(max(limit - pages * resource.getpagesize(), _LEAST))
    return min(free) if any(free) else 4 * 10**9


def budget(device: "torch.device | None" = None) -> int:
    """Bytes that one run may use: the limit set, or a share of what is free (at most 2 GB on CPU).

    Args:
        device: where the work is done; the CPU by default.
    """
    limit = _limit.get()
    if limit is not None:
        return limit
    if device is not None and device.type == "cuda":
        return int(_GPU_SHARE * available(device))
    return min(int(_CPU_SHARE * available()), DEFAULT_CPU)


def is_large(elements: int) -> bool:
    """Whether a float32 copy of so many numbers takes more than a small share of the budget.

    Embeddings above that are left as they are stored and read block by block: a run holds several
    copies of small ones, raw, normalised and mapped.
    """
    return 4 * elements > COPY_SHARE * budget()


def budget_for(elements: int) -> int:
    """The smallest budget under which so many numbers are not large, in bytes."""
    return math.ceil(4 * elements / COPY_SHARE)


@contextmanager
def limit(size: int | str | None) -> Iterator[None]:
    """Limit the memory of what runs inside the block; None leaves the default."""
    token = _limit.set(None if size is None else parse(size))
    try:
        yield
    finally:
        _limit.reset(token)


@contextmanager
def measured(device: "torch.device") -> Iterator[dict[str, Any]]:
    """Time and peak memory of the block: {"start", "seconds", "peak"}, the last in bytes or None.

    On a GPU the allocator's peak; on Linux the peak of the resident memory, whose mark is reset
    through /proc; elsewhere None, because the peak of a process never falls.
    """
    from torch import cuda

    gpu = device.type == "cuda"
    if gpu:
        cuda.synchronize(device)
        cuda.reset_peak_memory_stats(device)
        held: int | None = cuda.memory_allocated(device)
    else:
        held = _resident("VmRSS") if _reset_peak() else None
    spent: dict[str, Any] = {"start": time.perf_counter(), "seconds": 0.0, "peak": None}
    yield spent
    if gpu:
        cuda.synchronize(device)
    spent["seconds"] = time.perf_counter() - spent["start"]
    top = cuda.max_memory_allocated(device) if gpu else _resident("VmHWM")
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
