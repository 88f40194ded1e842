"""Whether an exception says that there is no memory left, whoever raised it.

And whether there is some, for libraries that end the process where there is not. Imports nothing
to speak of, because there may be no room for it.
"""

import errno
import mmap

# How torch, CUDA, C++, oneDNN, HDF5, LLVM and the loader of libraries say it.
_WORDS = (
    "allocate memory", "out of memory", "not enough memory", "bad_alloc", "bad alloc",
    "could not create a primitive", "memory allocation failed", "unable to allocate",
    "cannot map", "failed to map segment", "malloc of size", "can't start new thread",
)  # fmt: skip
_UNSET = ("without exception set", "without setting an exception")


def ran_out(error: BaseException) -> bool:
    """Whether an exception, or one that it came from, says that no memory is left.

    >>> ran_out(MemoryError()), ran_out(RuntimeError("CUDA out of memory")), ran_out(OSError(2, ""))
    (True, True, False)
    """
    seen: list[BaseException] = []
    now: BaseException | None = error
    while now is not None and now not in seen:
        seen.append(now)
        if isinstance(now, MemoryError) or getattr(now, "errno", None) == errno.ENOMEM:
            return True
        # What the interpreter makes of an exception for which there was no room.
        if isinstance(now, SystemError) and any(words in str(now) for words in _UNSET):
            return True
        if isinstance(now, RuntimeError | ImportError | OSError | SystemError):
            said = str(now).lower()
            if any(words in said for words in _WORDS):
                return True
        now = now.__cause__ or now.__context__
    return False


def reserve(size: int) -> None:
    """Look whether so many bytes could be had, for what would wait for them forever, or abort.

    >>> reserve(1 << 20)

    Raises:
        MemoryError: they could not.
    """
    try:
        mmap.mmap(-1, size).close()
    except OSError as error:
        raise MemoryError(f"cannot allocate memory: {size:,} bytes") from error
