"""The sparse fit: exact where the graph holds everything, near it with a graph and a tail."""

import math
from dataclasses import replace

import pytest
import torch

from rerank import Bank, Dense, NeedsEmbeddings, Pair, RerankError, Sinkhorn
from rerank.methods import engine
from rerank.methods.potentials import solve
from rerank.methods.registry import pipeline
from rerank.passes import reduce
from rerank.passes.sinkhorn import plain
from rerank.passes.sinkhorn.sparse import Graph, Sparse
from tests.cli.test_cli import run


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
    step = Sparse(Graph.of(sim, 60, samples=60), 0.03, log_a(60))
    f, mass = step(g)
    torch.testing.assert_close(f, want_f, atol=1e-12, rtol=0)
    torch.testing.assert_close(mass, want, atol=1e-12, rtol=0)
    assert len(step.graph.rows) == 60 * 40
    assert step.doubt() == (0, 0)


def test_with_all_samples_it_is_the_dense_sweep_too():
    sim = pair(60, 40)
    want_f, want = plain.sweep(sim, 0.03, torch.zeros(40).double(), log_a(60))
    f, mass = Sparse(Graph.of(sim, 3, samples=60), 0.03, log_a(60))(torch.zeros(40).double())
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
    assert "estimated error" in sparse.sparse


# With 100 queries all of them are sampled, so that only the sums of rows are estimated.
@pytest.mark.parametrize(("n", "m"), [(900, 800), (100, 2000)])
def test_the_stated_error_is_the_size_of_the_error(n, m):
    sim = pair(max(n, m), m)
    sim = Pair(sim.queries[:n], sim.gallery)
    g = torch.zeros(m).double()
    _, want = plain.sweep(sim, 0.05, g, log_a(n))
    step = Sparse(Graph.of(sim, 16, samples=128), 0.05, log_a(n))
    _, mass = step(g)
    error = float((mass.exp() - want.exp()).abs().sum())
    assert 0.2 * step.doubt()[1] < error < 4 * step.doubt()[1]


def test_all_pairs_give_the_temperature_and_the_potentials_of_the_dense_fit():
    sim = pair(60, 40)
    dense, sparse = pipeline("sinkhorn").fit(sim), pipeline("sinkhorn-sparse").fit(sim)
    want, got = dense.stages[-1], sparse.stages[-1]
    assert got.tau == pytest.approx(want.tau, rel=1e-9)
    torch.testing.assert_close(got.gallery_bias, want.gallery_bias, atol=1e-9, rtol=0)


def test_the_temperature_of_a_sparse_fit_sweeps_no_pairs(monkeypatch):
    monkeypatch.setattr(reduce, "peaks", None)
    monkeypatch.setattr(reduce, "sweeper", None)
    assert Sinkhorn(neighbours=32).fit(pair()).tau > 0


def test_a_poor_sample_does_not_keep_the_iteration_from_ending():
    sim = pair()
    log_b = torch.full((400,), -math.log(400)).double()
    step = Sparse(Graph.of(sim, 8, samples=16), 0.05, log_a(500))
    assert (
        solve(sim, 0.05, log_a=log_a(500), log_b=log_b, n_iters=99, tol=1e-6, step=step).n_iters
        < 60
    )


def test_the_command_says_the_error_and_recommends_itself(tmp_path, samples, monkeypatch):
    files = ("--videos", samples / "videos.h5", "--texts", samples / "texts.h5")
    out, err = run("apply", *files, "--method", "em+sinkhorn-sparse", cwd=tmp_path)
    assert "sweeps  sparse: " in out and "estimated error" in err
    monkeypatch.setattr(engine, "SPARSE_FROM", 1)
    _, err = run("apply", *files, cwd=tmp_path)
    assert "--method sinkhorn-sparse reads" in err
    _, err = run("apply", *files, "--method", "sinkhorn-sparse", cwd=tmp_path)
    assert "--method" not in err


def test_stored_scores_and_bad_counts_are_refused():
    with pytest.raises(NeedsEmbeddings, match=r"a Pair\(queries, gallery\), instead of Dense"):
        Sinkhorn(tau=0.1, neighbours=5).fit(Bank(Dense(torch.rand(20, 20))))
    with pytest.raises(RerankError, match="one process"):
        Sinkhorn(tau=0.1, neighbours=5).fit(replace(pair(), shard="queries"))
    with pytest.raises(RerankError, match="neighbours"):
        Sinkhorn(neighbours=0)
    with pytest.raises(RerankError, match="samples"):
        Sinkhorn(neighbours=5, samples=0)
