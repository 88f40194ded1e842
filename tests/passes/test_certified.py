"""A certified top-k is the exact one, whatever the rounding; what it cannot prove it searches."""

from dataclasses import replace

import pytest
import torch

from rerank.core.rows import StoredRows
from rerank.core.similarity import Dense, Pair
from rerank.passes import certified, reduce
from rerank.passes import topk as search
from rerank.passes.panels import slices
from rerank.passes.sinkhorn import choose
from rerank.passes.threads import torch_threads

pytestmark = pytest.mark.skipif(not choose.has_numba(), reason="numba is not installed")


def pair(n, m, d, seed=0, spread=1.0):
    generator = torch.Generator().manual_seed(seed)
    common = 1.5 * torch.randn(1, d, generator=generator)
    return Pair(
        spread * torch.randn(n, d, generator=generator) + common,
        spread * torch.randn(m, d, generator=generator) + common,
    )


def truth(sim, k):
    """Ranking of the float32 scores in double precision, ties by index."""
    left, right = sim.augmented()
    scores = left.double() @ right.double().T
    order = torch.argsort(scores, dim=1, descending=True, stable=True)
    return scores, order[:, :k]


@pytest.mark.parametrize("shape", [(40, 3000, 64), (7, 500, 20), (3, 12, 8), (300, 2100, 100)])
@pytest.mark.parametrize("k", [1, 10])
@pytest.mark.parametrize("biased", [False, True])
def test_the_sets_are_exact(shape, k, biased):
    sim = pair(*shape)
    if biased:
        generator = torch.Generator().manual_seed(5)
        sim = sim.add_gallery_bias(0.1 * torch.randn(shape[1], generator=generator))
    scores, indices, brute = certified.topk(sim, k)
    exact, want = truth(sim, k)
    # Equal up to scores that float32 cannot tell apart.
    kth = exact.gather(1, want)[:, -1:]
    got = exact.gather(1, indices)
    assert bool((got >= kth - 1e-6).all())
    assert all(len(set(row.tolist())) == k for row in indices)
    torch.testing.assert_close(scores.double(), got, atol=2e-6, rtol=0)
    assert brute < shape[0] or shape[1] < 1000


def test_what_rounding_hides_is_searched_by_brute_force():
    # Items that differ by less than bfloat16 can see: nothing can be proved.
    sim = pair(20, 2500, 64, spread=1.0)
    close = sim.gallery[:1] + 1e-5 * sim.gallery
    sim = Pair(sim.queries, close)
    scores, indices, brute = certified.topk(sim, 5)
    assert brute == 20
    want = reduce.topk(Dense(sim.scores()), 5)
    torch.testing.assert_close(scores.sort(dim=1).values, want.scores.sort(dim=1).values)
    del indices


@pytest.mark.parametrize("copies", [50, 1500])
def test_copies_of_an_item_go_to_the_lowest_index(copies):
    sim = pair(30, 2200, 32)
    gallery = sim.gallery.clone()
    gallery[600 : 600 + copies] = gallery[3]
    queries = sim.queries.clone()
    queries[4] = gallery[3]
    sim = Pair(queries, gallery)
    scores, indices, brute = certified.topk(sim, 10)
    assert (brute > 0) == (copies > 1000)
    assert indices[4].tolist() == [3, *range(600, 609)]
    torch.testing.assert_close(scores[4], torch.ones(10))


def test_lists_are_ordered_and_do_not_depend_on_panels_or_threads(monkeypatch):
    sim = pair(300, 2100, 40).add_gallery_bias(0.1 * torch.randn(2100))
    scores, indices, _ = certified.topk(sim, 7)
    assert bool((scores.diff(dim=1) <= 0).all())
    monkeypatch.setattr(certified, "slices", lambda n, m: slices(n, m, 23))
    with torch_threads(1):
        again, places, _ = certified.topk(sim, 7)
    assert torch.equal(indices, places)
    assert torch.equal(scores, again)


def test_the_bound_covers_what_rounding_does():
    sim = pair(60, 900, 48, seed=3)
    q0, v0 = sim.queries.mean(dim=0), sim.gallery.mean(dim=0)
    left = certified.rounded(sim.queries, q0, v0)
    right = certified.rounded(sim.gallery, v0, q0)
    shifted = right.product - torch.dot(q0, v0)
    slack = certified.slack(left, right, shifted, common=float(q0.norm()))
    rounded = (left.rows @ right.rows.T).double() + shifted + (sim.queries @ v0)[:, None]
    error = (rounded - sim.queries.double() @ sim.gallery.double().T).abs().amax(dim=1)
    assert bool((error <= slack).all())
    assert float(slack.max()) < 0.02


def test_the_bound_covers_the_part_that_short_queries_share_with_long_ones():
    generator = torch.Generator().manual_seed(0)
    d, common = 512, 1e3 * torch.ones(512)
    gallery = common + 1e-3 * torch.randn(3000, d, generator=generator)
    queries = torch.cat([torch.zeros(1, d), common + torch.randn(5, d, generator=generator)])
    q0, v0 = queries.mean(dim=0), gallery.mean(dim=0)
    left, right = certified.rounded(queries, q0, v0), certified.rounded(gallery, v0, q0)
    shifted = right.product - torch.dot(q0, v0)
    slack = certified.slack(left, right, shifted, common=float(q0.norm()))
    rounded = left.rows.double() @ right.rows.double().T + shifted
    # The zero query scores 0 with everything; what is left of the sum is rounding alone.
    error = rounded[0] - rounded[0].mean()
    assert float(error.abs().max()) <= float(slack[0])


def test_twice_the_largest_error_is_margin_enough(monkeypatch):
    sim = pair(300, 2100, 100)
    exact, want = truth(sim, 10)

    def measured(left, right, shifted, *, common):
        rounded = (left.rows @ right.rows.T).double() + shifted + left.product[:, None]
        error = rounded - exact
        return (error - error.mean(dim=1, keepdim=True)).abs().amax(dim=1).float()

    monkeypatch.setattr(certified, "slack", measured)
    _, indices, _ = certified.topk(sim, 10)
    assert torch.equal(exact.gather(1, indices).float(), exact.gather(1, want).float())


def test_only_where_it_pays():
    sim = pair(50, 60, 8)
    assert not certified.pays(sim, 5)
    assert certified.column_of(sim.add_query_bias(torch.ones(50))) is not None
    assert certified.column_of(sim.add(torch.randn(50, 1), torch.randn(60, 1))) is None


@pytest.mark.parametrize("topk", [reduce.topk, search.topk])
def test_it_is_what_topk_uses(topk, monkeypatch):
    sim = pair(200, 2100, 32).add_gallery_bias(0.1 * torch.randn(2100))
    monkeypatch.setattr(certified, "_FEWEST_SCORES", 1)
    monkeypatch.setattr(certified, "has_fast_bfloat16", lambda device: True)
    monkeypatch.setattr(search, "faiss_module", None)
    plain = reduce.topk(Dense(sim.scores()), 10)
    assert certified.pays(sim, 10)
    found = topk(sim, 10)
    torch.testing.assert_close(found.scores, plain.scores, atol=1e-6, rtol=0)
    assert float((found.indices == plain.indices).double().mean()) > 0.999


@pytest.mark.parametrize("part", [7, 1000, 4000])
def test_stored_rows_are_searched_part_by_part_with_the_same_bytes(monkeypatch, part):
    sim = pair(50, 3000, 64, seed=9)
    sim = replace(sim, gallery=torch.cat([sim.gallery[:1500], sim.gallery[:1500]]))
    sim = sim.add_gallery_bias(0.1 * torch.linspace(0, 99, 1500).sin().repeat(2))
    want = certified.topk(sim, 10)
    monkeypatch.setattr(certified, "_PART", part)
    stored = replace(sim, queries=StoredRows(sim.queries), gallery=StoredRows(sim.gallery))
    got = certified.topk(stored, 10)
    assert torch.equal(got[1], want[1])
    if part >= 1000:  # below that, proving fails and a matrix product has other last bits
        assert torch.equal(got[0], want[0])


def test_nearest_lists_are_found_once_where_they_are_remembered(monkeypatch):
    sim, other, calls = pair(30, 40, 8), pair(30, 40, 8, seed=1), []
    plain = reduce.topk

    def counted(sim, k):
        calls.append(k)
        return plain(sim, k)

    monkeypatch.setattr(reduce, "topk", counted)
    with search.remembering(sim, sim.T):
        ten = search.nearest(sim, 10)
        for again in (sim, sim.T.T, replace(sim)):
            assert bool((search.nearest(again, 3).indices == ten.indices[:, :3]).all())
        assert len(calls) == 1
        assert search.nearest(sim, 20).scores.shape[1] == 20
        search.nearest(sim.T, 10)
        assert len(calls) == 3
        # Nobody said that these come again, so that nothing of them is held.
        for _ in range(2):
            search.nearest(other, 10)
            search.nearest(sim.add_gallery_bias(torch.ones(40)), 10)
    search.nearest(sim, 10)
    assert len(calls) == 8
