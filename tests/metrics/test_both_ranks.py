"""Both directions ranked in one pass: the counts of the formula, ties and all."""

import numpy as np
import pytest
import torch

from rerank.core.errors import RerankError
from rerank.core.similarity import Dense, Pair
from rerank.metrics.ranks import both_ranks, ranks
from rerank.passes import certified_counts
from rerank.passes.sinkhorn.choose import has_numba

pytestmark = pytest.mark.skipif(not has_numba(), reason="compiled kernels only")


@pytest.fixture(autouse=True)
def _rounded_products_pay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certified_counts, "_FEWEST_SCORES", 1)


def sides(n: int, m: int, *, seed: int = 0, twice: bool = False, bias: bool = True):
    """Both directions with corrections of their own, and what is right in each."""
    draw = torch.Generator().manual_seed(seed)
    points = torch.randn(max(n, m), 40, generator=draw)
    queries = points[:n] + 1.5 * torch.randn(n, 40, generator=draw) + 0.7
    items = points[:m] + 0.5 * torch.randn(m, 40, generator=draw) + 0.7
    if twice:
        items[1::2] = items[: m // 2 * 2 : 2]
        queries[1::3] = queries[: (n - 1) // 3 * 3 + 1 : 3][: len(queries[1::3])]
    sim = Pair(queries, items)
    down, up = sim, sim.T
    if bias:
        down = sim.add_gallery_bias(0.05 * torch.randn(m, generator=draw))
        up = sim.T.add_gallery_bias(0.05 * torch.randn(n, generator=draw))
    right = [np.array([i % m]) for i in range(n)]
    back = [np.flatnonzero(np.arange(n) % m == j) for j in range(m)]
    return down, up, (right, back)


def counted(sim: Pair, right: list[np.ndarray]) -> np.ndarray:
    """(3, q) better, tied, tied positives, by the formula in float64, equal to 1e-9."""
    scores = (sim.queries.double() @ sim.gallery.double().T).numpy()
    if sim.left is not None and sim.right is not None:
        scores = scores + (sim.left.double() @ sim.right.double().T).numpy()
    out = []
    for row, items in zip(scores, right, strict=True):
        if len(items):
            best = row[items].max()
            tied = np.abs(row - best) < 1e-9
            out.append([(row > best + 1e-9).sum(), tied.sum(), tied[items].sum()])
    return np.array(out).T


@pytest.mark.parametrize("shape", [(300, 300), (500, 170), (130, 410)])
@pytest.mark.parametrize("twice", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_counts_are_those_of_the_formula(shape: tuple[int, int], twice: bool, bias: bool) -> None:
    down, up, right = sides(*shape, twice=twice, bias=bias)
    assert certified_counts.pays(down, up)
    for sim, of, found in zip((down, up), right, both_ranks(down, up, right), strict=True):
        got = np.stack([found.better, found.tied, found.tied_positives])
        np.testing.assert_array_equal(got, counted(sim, of))
        assert found.n_gallery == sim.shape[1] and found.judged.sum() == len(found)


def test_what_is_near_a_reference_is_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A product of matrices that is off by nearly the bound changes nothing."""
    down, up, right = sides(300, 300, twice=True)
    want = both_ranks(down, up, right)
    inner = certified_counts.inner
    draw = torch.Generator().manual_seed(1)

    def worse(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        out = inner(x, y)
        return out + 2e-6 * (2 * torch.rand(out.shape, generator=draw) - 1)

    monkeypatch.setattr(certified_counts, "inner", worse)
    for one, other in zip(want, both_ranks(down, up, right), strict=True):
        assert np.array_equal(one.better, other.better) and np.array_equal(one.tied, other.tied)
    monkeypatch.setattr(certified_counts, "_ends", lambda reference, *_: (reference, reference))
    wrong = both_ranks(down, up, right)[0]
    assert (wrong.tied != want[0].tied).any() or (wrong.better != want[0].better).any()


def test_queries_without_an_answer_are_not_ranked() -> None:
    down, up, (right, back) = sides(300, 200)
    right[7], back[3] = np.array([], dtype=np.int64), np.array([], dtype=np.int64)
    found = both_ranks(down, up, (right, back))
    for sim, of, got in zip((down, up), (right, back), found, strict=True):
        want = ranks(sim, of)
        assert np.array_equal(got.judged, want.judged) and got.unjudged == want.unjudged
        assert np.array_equal(got.better, want.better)
    with pytest.raises(RerankError, match="no query has any"):
        both_ranks(down, up, ([np.array([], dtype=np.int64)] * 300, back))


def test_directions_of_other_embeddings_are_ranked_one_by_one() -> None:
    down, up, right = sides(300, 300)
    other = sides(300, 300, seed=1)[1]
    assert not certified_counts.pays(down, other)
    assert not certified_counts.pays(Dense(down.scores()), up)
    found = both_ranks(down, other, right)
    assert np.array_equal(found[1].better, ranks(other, right[1]).better)
    # The same numbers elsewhere are the same embeddings.
    copy = Pair(up.queries.clone(), up.gallery.clone(), "dot", left=up.left, right=up.right)
    assert certified_counts.pays(down, copy)
