"""Embeddings are re-ranked without ever building the n x m matrix, within the memory allowed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from rerank.core import memory
from rerank.core.errors import RerankError
from rerank.core.similarity import Pair
from rerank.methods.base import Pipeline
from rerank.methods.em import EM
from rerank.methods.sinkhorn import Sinkhorn
from rerank.passes import reduce


class NoTensorOf(TorchDispatchMode):
    """Fails when any operation makes a tensor whose memory holds `elements` numbers or more."""

    def __init__(self, elements: int):
        super().__init__()
        self.elements = elements

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, torch.Tensor):
                held = leaf.untyped_storage().nbytes() // leaf.element_size()
                assert held < self.elements, f"{func} made a tensor of {tuple(leaf.shape)}"
        return out


def pair(n, m, d, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shared = torch.randn(1, d, generator=generator)
    return Pair(
        torch.randn(n, d, generator=generator) + shared,
        torch.randn(m, d, generator=generator) + shared,
    )


def test_the_guard_notices_a_whole_matrix():
    sim = pair(40, 30, 8)
    with pytest.raises(AssertionError, match="made a tensor"), NoTensorOf(40 * 30):
        sim.scores()


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(300, 500), (2100, 2010)])
@pytest.mark.parametrize("budget", ["1MB", "1GB"])
def test_no_pass_over_a_pair_allocates_n_times_m(shape, budget):
    n, m = shape
    sim = pair(n, m, 16)
    with memory.limit(budget), NoTensorOf(n * m):
        fitted = Pipeline((EM(), Sinkhorn(n_iters=4))).fit(sim)
        out = fitted.transform(sim)
        top = reduce.topk(out, 10)
        reduce.count_better(out, top.scores[:, 3])
        reduce.k_occurrence(out, 10)
        reduce.mean_topk(out, 10, over="queries")
        reduce.spread(out)


SCRIPT = """
import resource, sys, torch
from rerank.core import memory
from rerank.passes import reduce
from rerank.methods.sinkhorn import Sinkhorn
from rerank.core.similarity import Pair
n, d = int(sys.argv[1]), int(sys.argv[2])
a = torch.randn(200, d) @ torch.randn(d, d)
g = torch.Generator().manual_seed(0)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
Sinkhorn(tau=.02, n_iters=2).fit(Pair(a[:90], a[90:]))
before = peak()
with memory.limit(sys.argv[3]):
    sim = Pair(torch.randn(n, d, generator=g), torch.randn(n, d, generator=g))
    fitted = Sinkhorn(tau=.05, n_iters=4, tol=None).fit(sim)
    reduce.topk(fitted.transform(sim), 10)
print(peak() - before)
"""


@pytest.mark.slow
def test_a_run_stays_within_its_memory():
    n, d = 7000, 32  # the matrix would take 196 MB
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(n), str(d), "100MB"],
        capture_output=True, text=True, check=True, env=os.environ,
    )  # fmt: skip
    assert int(done.stdout) < 100e6


@pytest.mark.parametrize(
    ("text", "size"),
    [("8GB", 8 * 10**9), ("512 MiB", 512 * 2**20), ("2e9", 2 * 10**9), ("100", 100), (7, 7)],
)
def test_sizes_are_read_as_people_write_them(text, size):
    assert memory.parse(text) == size


@pytest.mark.parametrize("text", ["", "eight", "-1GB", "0", "1 PB", "8GBs", "nan"])
def test_other_sizes_are_refused(text):
    with pytest.raises(RerankError, match="memory"):
        memory.parse(text)


def test_a_limit_ends_with_its_block():
    default = memory.budget()
    with memory.limit("3MB"):
        assert memory.budget() == 3_000_000
    assert 0 < default <= memory.DEFAULT_CPU
    assert memory.budget() == pytest.approx(default, rel=0.5)


def test_a_limit_of_the_address_space_is_the_end_of_the_machine(monkeypatch):
    resource = pytest.importorskip("resource")
    whole = memory.available()
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limit = taken + whole // 2
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    assert memory.available() <= whole // 2 < whole
    limit = 1
    assert 0 < memory.available() <= 1 << 20
