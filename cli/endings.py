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
NO_MEMORY = "no memory is left; allow less with --memory SIZE, such as 500MB, or free some"
# Address space that torch maps, without which no figure is computed, and what work takes beside it.
_LEAST = 800 * 10**6
_WORK = 10**9
# Of a thread, where its stack has no limit; pools of threads: of numpy, of scipy and of torch.
_STACK = 8 << 20
_POOLS = 3
INTERRUPTED = "interrupted: no partial output was left behind"


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
        os.write(2, f"{INTERRUPTED}\n".encode())
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


def complain(line: str) -> None:
    """Say what went wrong to stderr, which may be full."""
    try:
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def settle_stdout() -> None:
    """Hand on what stdout still holds; what it does not take goes nowhere.

    Otherwise Python complains when it ends.
    """
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def line_of(error: BaseException) -> str | None:
    """What is said on purpose, the system's refusal, or that no memory is left, in one line.

    None for anything else, which is a bug and keeps its traceback.
    """
    from rerank.core.errors import RerankError
    from rerank.core.exhausted import ran_out

    if isinstance(error, RerankError):
        return str(error)
    if ran_out(error):
        return NO_MEMORY
    if isinstance(error, OSError) and error.errno is not None:
        what = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else "output"
        return f"{what}: {error.strerror or error}; free some space or choose another place"
    return None


def check_room() -> None:
    """Refuse to start where the address space is limited to less than the libraries alone take.

    Some of them end the process without a word when they find no room. Where it is tight, they
    get one thread: those that start more end the process where there is no room for a stack.

    Raises:
        RerankError: it is, as by `ulimit -v`.
    """
    try:
        import resource
    except ImportError:  # no such limits on this system
        return
    from rerank.core.errors import RerankError

    allowed = resource.getrlimit(resource.RLIMIT_AS)[0]
    if allowed != resource.RLIM_INFINITY and allowed < _LEAST:
        raise RerankError(
            f"the address space is limited to {allowed // 10**6} MB (ulimit -v), and the libraries "
            f"alone take {_LEAST // 10**6} MB; allow more"
        )
    if allowed != resource.RLIM_INFINITY:
        stack = resource.getrlimit(resource.RLIMIT_STACK)[0]
        stack = _STACK if stack == resource.RLIM_INFINITY else stack
        if allowed < _LEAST + _WORK + _POOLS * (os.cpu_count() or 1) * stack:
            # Read when the libraries are loaded.
            os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")
