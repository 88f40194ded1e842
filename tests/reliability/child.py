"""A process of its own for what may end it: forked, so that nothing is imported again."""

import atexit
import io
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
# Of those that change what is on the disk.
CALLS = ((os, "open"), (os, "fsync"), (os, "replace"), (os, "rename"), (io, "open"))


@dataclass(frozen=True)
class Ended:
    """How a process ended: status (minus the signal), and what it said."""

    status: int
    out: str
    err: str

    def refused(self, *words: str) -> None:
        """One line to stderr, nothing to stdout, status 2."""
        assert self.status == 2, self
        assert self.err.count("\n") == 1 and self.err.startswith(("error: ", "Usage")), self
        assert self.err.rstrip("\n").isprintable(), self
        assert all(word in self.err for word in words), self


def forked(work: Callable[[], object], *, stdout: Path | None = None) -> Ended:
    """Run something in a child; its status is 0 where it returns and 1 where it raises."""
    out_r, out_w = os.pipe()
    err_r, err_w = os.pipe()
    pid = os.fork()
    if pid == 0:
        _child(work, out_w, err_w, stdout)
    os.close(out_w)
    os.close(err_w)
    try:
        out, err = _drained(out_r, err_r)
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        raise
    finally:
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return Ended(status, out, err)


def _child(work: Callable[[], object], out: int, err: int, stdout: Path | None) -> None:
    status = 1
    try:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number in (signal.SIGALRM, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        one_thread()
        target = out if stdout is None else os.open(stdout, os.O_WRONLY)
        os.dup2(target, 1)
        os.dup2(err, 2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for stream, handle in (("stdout", 1), ("stderr", 2)):
            setattr(sys, stream, open(handle, "w", encoding="utf-8", errors="backslashreplace",
                                      closefd=False))  # fmt: skip
        try:
            work()
            status = 0
        except SystemExit as ended:
            status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        sys.stdout.flush()
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode("utf-8", "backslashreplace"))
        status = 1
    finally:
        try:
            sys.stderr.flush()
        finally:
            os._exit(status & 255)


def one_thread() -> None:
    """In a child: the threads of its parent are not there, and would be waited for."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


def _drained(*handles: int) -> list[str]:
    import selectors

    found = {handle: bytearray() for handle in handles}
    with selectors.DefaultSelector() as waiting:
        for handle in handles:
            waiting.register(handle, selectors.EVENT_READ)
        while waiting.get_map():
            for key, _ in waiting.select():
                part = os.read(key.fd, 1 << 16)
                if not part:
                    waiting.unregister(key.fd)
                found[key.fd] += part
    for handle in handles:
        os.close(handle)
    return [bytes(found[handle]).decode("utf-8", "replace") for handle in handles]


# With torch, and without.
_NURSERY: dict[bool, subprocess.Popen[str]] = {}


def rerank(*arguments: object, folder: Path, stdout: Path | None = None, memory: int = 0) -> Ended:
    """The command line in a process of its own, started in a folder; see `nursery`."""
    return _asked(
        {"arguments": [str(a) for a in arguments], "folder": str(folder), "room": memory,
         "stdout": None if stdout is None else str(stdout)}
    )  # fmt: skip


def python(*words: object, folder: Path | None = None, torch: bool = True) -> Ended:
    """`python -c CODE ARGUMENTS` in a process of its own, as a message prints it.

    It starts with what the nursery has imported, so that many of them take little time; without
    torch where that is asked for.
    """
    flag, code, *arguments = map(str, words)
    assert flag == "-c", words
    ended = _asked({"code": code, "arguments": arguments, "folder": str(folder or Path.cwd()),
                    "room": 0, "stdout": None}, torch=torch)  # fmt: skip
    assert ended.status == 0, ended
    return ended


_COMMAND = """
import sys
from rerank_cli.app import main
sys.argv[0] = "rerank"
try:
    main()
finally:
    print("torch" in sys.modules)
"""


def before_torch(*arguments: object, folder: Path) -> Ended:
    """The command line in a process that has not imported torch, and does not do it either."""
    ended = _asked({"code": _COMMAND, "arguments": [str(a) for a in arguments],
                    "folder": str(folder), "room": 0, "stdout": None}, torch=False)  # fmt: skip
    assert ended.out.endswith("False\n"), ended
    return ended


def _asked(asked: dict[str, Any], *, torch: bool = True) -> Ended:
    if torch not in _NURSERY:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        line = [sys.executable, "-m", "tests.reliability.nursery", str(torch)]
        _NURSERY[torch] = subprocess.Popen(
            line, cwd=ROOT, env=environment,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8",
            start_new_session=True,
        )  # fmt: skip
        atexit.register(close_nursery)
    process = _NURSERY[torch]
    assert process.stdin is not None and process.stdout is not None
    try:
        process.stdin.write(json.dumps(asked) + "\n")
        process.stdin.flush()
        return Ended(*json.loads(process.stdout.readline()))
    except BaseException:
        close_nursery()
        raise


def close_nursery() -> None:
    """End it; the next run starts another."""
    while _NURSERY:
        _, process = _NURSERY.popitem()
        os.killpg(process.pid, signal.SIGKILL)  # its children too
        process.communicate()


@contextmanager
def at_call(number: int, action: Callable[[], Any], calls: Sequence[tuple[Any, str]] = CALLS):
    """An action before call `number` of those that change files; yields a list of their count."""
    count = [0]
    originals = [(owner, name, getattr(owner, name)) for owner, name in calls]

    def patched(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            count[0] += 1
            if count[0] == number:
                action()
            return original(*args, **kwargs)

        return call

    for owner, name, original in originals:
        setattr(owner, name, patched(original))
    try:
        yield count
    finally:
        for owner, name, original in originals:
            setattr(owner, name, original)


def die() -> None:
    """As kill -9."""
    os.kill(os.getpid(), signal.SIGKILL)


def no_file_larger_than(size: int, *, kill: bool = False) -> None:
    """A disk with room for so many bytes; where asked, the process ends at the next."""
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL if kill else signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def room(extra: int) -> None:
    """Memory for so many bytes more than this process takes now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    size = pages * resource.getpagesize() + extra
    resource.setrlimit(resource.RLIMIT_AS, (size, size))
