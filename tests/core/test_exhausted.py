"""No memory is left: told from every other error, and said in one line."""

import errno

import pytest

from rerank.core.errors import RerankError
from rerank.core.exhausted import ran_out
from rerank.io.files import foreign, parse_json
from rerank_cli.endings import NO_MEMORY, line_of


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
