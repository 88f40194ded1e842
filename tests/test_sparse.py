"""The sparse fit: exact where the graph holds everything, near it with a graph and a tail."""

import math

import pytest
import torch

from rerank import Bank, Dense, Pair, RerankError, Sinkhorn
from rerank.kernels import plain
from rerank.kernels.sparse import Sparse


def pair(n=500, m=400, d=24, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=dtype)

    common, centres = 1.5 * draw(1, d), draw(n, d)
    hubs = 1 + 0.4 * draw(m, 1)
    return Pair(centres + 0.6 * draw(n, d) + common, centres[:m] + 0.6 * draw(m, d) + common * hubs)


def log_a(n):
    return torch.full((n,), -math.log(n), dtype=torch.float64)


def test_with_all_neighbours_it_is_the_dense_sweep():
    sim = pair(60, 40)
    g = 0.02 * torch.randn(40, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    want_f, want = plain.sweep(sim, 0.03, g, log_a(60))
    step = Sparse(sim, 0.03, log_a(60), neighbours=60)
    f, mass = step(g)
    torch.testing.assert_close(f, want_f, atol=1e-12, rtol=0)
    torch.testing.assert_close(mass, want, atol=1e-12, rtol=0)
    assert step.edges == 60 * 40
    assert step.share == 0


def test_with_all_samples_it_is_the_dense_sweep_too():
    sim = pair(60, 40)
    want_f, want = plain.sweep(sim, 0.03, torch.zeros(40).double(), log_a(60))
    f, mass = Sparse(sim, 0.03, log_a(60), neighbours=3, samples=60)(torch.zeros(40).double())
    torch.testing.assert_close(f, want_f, atol=1e-12, rtol=0)
    torch.testing.assert_close(mass, want, atol=1e-12, rtol=0)


@pytest.mark.parametrize("tau", [0.05, 0.02, 0.01])
def test_top_items_agree_with_the_dense_fit(tau):
    sim = pair()
    dense = Sinkhorn(tau=tau, n_iters=200).fit(sim)
    sparse = Sinkhorn(tau=tau, n_iters=200, neighbours=64).fit(sim)
    best = dense.transform(sim).scores().argmax(dim=1)
    near = sparse.transform(sim).scores().argmax(dim=1)
    assert float((best == near).double().mean()) >= 0.96
    assert "standard error" in sparse.note


def test_the_stated_error_is_the_size_of_the_error():
    sim = pair(900, 800)
    g = torch.zeros(800).double()
    _, want = plain.sweep(sim, 0.05, g, log_a(900))
    step = Sparse(sim, 0.05, log_a(900), neighbours=16, samples=128)
    _, mass = step(g)
    error = float((mass.exp() - want.exp()).abs().sum())
    assert 0.2 * step.estimated_error < error < 4 * step.estimated_error


def test_stored_scores_and_bad_counts_are_refused():
    with pytest.raises(RerankError, match="embeddings"):
        Sinkhorn(tau=0.1, neighbours=5).fit(Bank(Dense(torch.rand(20, 20))))
    with pytest.raises(RerankError, match="neighbours"):
        Sinkhorn(neighbours=0)
