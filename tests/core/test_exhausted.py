"""No memory is left: told from every other error, and said in one line."""

import errno
import os
import subprocess
import sys

import pytest

from rerank.core.errors import RerankError
from rerank.core.exhausted import ran_out
from rerank.io.files import foreign, parse_json
from rerank_cli.endings import NO_MEMORY, check_room, line_of


def _from(error, cause):
    error.__cause__ = cause
    return error


SAID = (
    MemoryError(),
    RuntimeError("[enforce fail at alloc_cpu.cpp:75] DefaultCPUAllocator: can't allocate memory"),
    RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("std::bad_alloc"),
    ImportError("libtorch_cpu.so: failed to map segment from shared object"),
    SystemError("error return without exception set"),
    SystemError("<function f> returned NULL without setting an exception"),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
    OSError("Can't synchronously read data (memory allocation failed for chunk)"),
    _from(OSError("library not found"), ImportError("x.so: failed to map segment")),
    _from(RuntimeError("while compiling"), MemoryError()),
)
OTHERS = (
    OSError(errno.ENOSPC, "No space left on device"), ImportError("No module named 'x'"),
    RuntimeError("shapes differ"), ValueError("out of memory"), SystemError("bad call"),
)  # fmt: skip


@pytest.mark.parametrize("error", SAID, ids=repr)
def test_it_is_heard_whoever_says_it(error):
    assert ran_out(error)
    assert line_of(error) == NO_MEMORY
    with pytest.raises(RerankError, match="v.npy: does not fit into the memory that is left"), \
            foreign("v.npy", "an array"):  # fmt: skip
        raise error


@pytest.mark.parametrize("error", OTHERS, ids=repr)
def test_nothing_else_is_taken_for_it(error):
    assert not ran_out(error)
    assert line_of(error) != NO_MEMORY


def test_a_ring_of_causes_ends():
    first, second = RuntimeError("a"), RuntimeError("b")
    first.__cause__, second.__cause__ = second, first
    assert not ran_out(first)


def test_good_json_is_not_called_bad_where_it_does_not_fit(monkeypatch):
    def none(*_, **__):
        raise MemoryError

    monkeypatch.setattr("json.loads", none)
    with pytest.raises(RerankError, match="gt.json: does not fit"):
        parse_json("{}", "gt.json")


# Each step in a process of its own with a little more room; a library that waits is ended.
LITTLE = """
import os, resource, signal
from rerank.core.exhausted import ran_out
{before}
held = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
for size in range(0, {most}, 8):
    child = os.fork()
    if not child:
        signal.alarm(5)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (held + (size << 20),) * 2)
        try:
            {work}
        except Exception as error:
            os._exit(0 if ran_out(error) or isinstance(error, ImportError) else 1)
        os._exit(0)
    print(size, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def _ended(before, work, most=136):
    code = LITTLE.format(before=before, work=work, most=most)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    return dict(map(int, line.split()) for line in done.stdout.splitlines())


@pytest.mark.skipif(sys.platform != "linux", reason="limits of the address space are Linux's")
@pytest.mark.parametrize("name", ["special", "optimize", "sparse.csgraph"])
def test_scipy_is_not_loaded_where_its_blas_would_wait_for_memory(name):
    before = "import numpy\nfrom rerank.core import scipy_parts"
    ended = _ended(before, f"scipy_parts.part({name!r})")
    assert len(ended) == 17 and set(ended.values()) == {0}, ended


@pytest.mark.skipif(sys.platform != "linux", reason="limits of the address space are Linux's")
def test_no_kernel_is_compiled_or_loaded_where_the_compiler_would_abort():
    pytest.importorskip("numba")
    before = (
        "import numpy as n\n"
        "from rerank.passes.sinkhorn import cpu\nfrom rerank.passes.threads import Workers\n"
        "given = n.ones((8, 4), n.uint16), n.ones(4, n.float32), n.ones(8, n.float32)"
    )
    ended = _ended(before, "cpu.sweep(Workers(1), *given)")
    assert len(ended) == 17 and set(ended.values()) == {0}, ended


def test_libraries_get_one_thread_where_the_address_space_is_tight(monkeypatch):
    """They end the process where there is no room for the stack of another."""
    resource = pytest.importorskip("resource")
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "7")
    free, limits = resource.RLIM_INFINITY, {}
    monkeypatch.setattr(resource, "getrlimit", lambda what: (limits.get(what, free),) * 2)
    for size, threads in ((free, "7"), (10**13, "7"), (10**9, "1")):
        limits[resource.RLIMIT_AS] = size
        check_room()
        assert os.environ["OMP_NUM_THREADS"] == threads
    limits[resource.RLIMIT_AS] = 10**8
    with pytest.raises(RerankError, match="ulimit -v"):
        check_room()
