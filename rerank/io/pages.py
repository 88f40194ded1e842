"""Pages of mapped files, given back once they were read.

Memory over a file costs nothing that cannot be taken back, but it is counted as memory of this
process, so that a file that is read once from end to end looks as if it had been held. Given back,
the pages are read again where they are touched again.
"""

import ctypes
import mmap
from pathlib import Path

_MAPS = Path("/proc/self/maps")


def lies_in(path: Path, address: int) -> bool:
    """Whether an address is memory over a file; no where the system does not say.

    >>> lies_in(Path("data_samples/gt.json"), 0)
    False
    """
    name = str(path.resolve())
    try:
        lines = _MAPS.read_text(errors="replace").splitlines()
    except OSError:
        return False
    for line in lines:
        span, _, rest = line.partition(" ")
        if rest.endswith(name):
            low, _, high = span.partition("-")
            if int(low, 16) <= address < int(high, 16):
                return True
    return False


def let_go(address: int, size: int) -> None:
    """Give back whole pages between two addresses, which must be unchanged memory over a file."""
    advice = getattr(mmap, "MADV_DONTNEED", None)
    first = -(-address // mmap.PAGESIZE) * mmap.PAGESIZE
    length = (address + size) // mmap.PAGESIZE * mmap.PAGESIZE - first
    if advice is None or length <= 0:
        return
    library = ctypes.CDLL(None)
    library.madvise(ctypes.c_void_p(first), ctypes.c_size_t(length), ctypes.c_int(advice))
