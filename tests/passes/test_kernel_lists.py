"""Top-k from the kernel that a fit leaves behind: the same lists as from the scores, or none."""

import pytest
import torch

from rerank.core.similarity import Pair
from rerank.methods.align import Align
from rerank.methods.sinkhorn import Sinkhorn
from rerank.passes import reduce
from rerank.passes import topk as search
from rerank.passes.sinkhorn.choose import has_numba

pytestmark = pytest.mark.skipif(not has_numba(), reason="compiled kernels only")


def pair(n: int, m: int, *, seed: int = 0, near: float = 0.0) -> Pair:
    """Embeddings with a gap between sides; with `near` every item has a double at that distance."""
    draw = torch.Generator().manual_seed(seed)
    items = torch.randn(m, 48, generator=draw)
    if near:
        items[1::2] = items[: m // 2 * 2 : 2] + near * torch.randn(m // 2, 48, generator=draw)
    texts = items[torch.arange(n) % m] + 1.2 * torch.randn(n, 48, generator=draw)
    texts += 0.8 * torch.randn(48, generator=draw)
    return Pair(*(x / x.norm(dim=1, keepdim=True) for x in (texts, items)))


def same(sim: Pair, k: int) -> bool:
    """Whether the lists came from a kernel; they are those of the scores in any case."""
    got = search._from_kernel(sim, k)
    if got is None:
        return False
    exact = sim.queries.double() @ sim.gallery.double().T
    if sim.left is not None and sim.right is not None:
        exact += sim.left.double() @ sim.right.double().T
    want = exact.topk(k, dim=1).values
    # Scores of float32: what is closer than its rounding may change places.
    torch.testing.assert_close(got.scores.double(), want, rtol=0, atol=1e-6)
    torch.testing.assert_close(exact.gather(1, got.indices), want, rtol=0, atol=1e-6)
    assert all(len(set(row)) == k for row in got.indices.tolist())
    return True


@pytest.mark.parametrize("shape", [(2300, 2300), (2100, 3001), (3001, 2100)])
@pytest.mark.parametrize("tau", ["auto", 0.03])
def test_lists_of_both_directions_are_those_of_the_scores(shape: tuple[int, int], tau) -> None:
    sim = pair(*shape, near=1e-3)
    with search.remembering(sim, sim.T):
        fit = Sinkhorn(tau=tau).fit(sim)
        assert same(sim.add_gallery_bias(fit.gallery_bias), 10)
        assert same(sim.T.add_gallery_bias(fit.query_bias), 10)
        assert same(sim, 3)


def test_equal_items_are_listed_by_their_place() -> None:
    sim = pair(2300, 2300)
    gallery = sim.gallery.clone()
    gallery[1::2] = gallery[::2]
    sim = Pair(sim.queries, gallery)
    with search.remembering(sim, sim.T):
        fit = Sinkhorn(tau=0.05).fit(sim)
        ranked = sim.add_gallery_bias(torch.zeros_like(fit.gallery_bias))
        assert same(ranked, 10)
        first, second = search.topk(ranked, 10).indices[:, :2].unbind(dim=1)
        assert torch.equal(second, first + 1)


def test_what_was_rounded_to_nothing_is_looked_up() -> None:
    sim = pair(2300, 2300)
    with search.remembering(sim, sim.T):
        fit = Sinkhorn(tau=0.002).fit(sim)
        assert same(sim.add_gallery_bias(fit.gallery_bias), 10)
        assert same(sim.T.add_gallery_bias(fit.query_bias), 64)


def test_corrections_that_a_kernel_cannot_carry_are_not_read_from_it() -> None:
    sim = pair(2300, 2300)
    far = torch.linspace(0, 10, 2300)
    with search.remembering(sim, sim.T):
        Sinkhorn(tau=0.02).fit(sim)
        assert not same(sim.add_gallery_bias(far), 10)
        assert torch.equal(
            search.topk(sim.add_gallery_bias(far), 10).indices,
            reduce.topk(sim.add_gallery_bias(far), 10).indices,
        )


def test_a_kernel_serves_its_own_embeddings_alone() -> None:
    sim, other = pair(2300, 2300), pair(2300, 2300, seed=1)
    with search.remembering(sim, other):
        fit = Sinkhorn(tau=0.05).fit(sim)
        assert not same(other.add_gallery_bias(fit.gallery_bias), 10)
        turned = Pair(sim.gallery.flip(0), sim.queries)
        assert not same(turned, 10)


def test_only_the_last_fit_leaves_one_and_only_where_it_is_asked_for() -> None:
    sim = pair(2300, 2300)
    Sinkhorn(tau=0.05).fit(sim)
    assert search._from_kernel(sim, 10) is None
    with search.remembering(sim):
        Sinkhorn(tau=0.05).fit(sim)
        assert same(sim, 10)
        Sinkhorn(tau=0.05).fit_plan(sim)
        assert search._from_kernel(sim, 10) is None
    assert search._from_kernel(sim, 10) is None


def test_an_aligned_pair_is_read_from_the_kernel_of_its_fit() -> None:
    sim = pair(2300, 2300)
    with search.remembering(sim, sim.T):
        seen = Align(1.0).fit(sim).transform(sim)
        fit = Sinkhorn().fit(seen)
        assert not same(sim, 10)
        assert same(seen.add_gallery_bias(fit.gallery_bias), 10)
