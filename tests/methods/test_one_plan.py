"""Where one side is longer, directions share a plan and its kernel, and their fits stay."""

from contextlib import nullcontext

import pytest
import torch

from rerank.core.similarity import Dense, Pair
from rerank.methods import one_plan
from rerank.methods.sinkhorn import Sinkhorn
from rerank.passes.cross import softmax_columns
from rerank.passes.sinkhorn.choose import has_numba, sweeper
from rerank.passes.sinkhorn.stored import StoredNumba

pytestmark = pytest.mark.skipif(not has_numba(), reason="compiled kernels only")

LONG, SHORT = 4100, 1100


@pytest.fixture(scope="module")
def pair() -> Pair:
    draw = torch.Generator().manual_seed(3)
    items = torch.randn(SHORT, 48, generator=draw)
    texts = items[torch.arange(LONG) % SHORT] + 0.8 * torch.randn(LONG, 48, generator=draw)
    texts += 0.8 * torch.randn(48, generator=draw)
    return Pair(*(x / x.norm(dim=1, keepdim=True) for x in (texts, items)))


def both(sim: Pair, *, shared: bool):
    """Fits of both directions, and whether the second took over the first's kernel."""
    with one_plan.sharing() if shared else nullcontext():
        down = Sinkhorn().fit(sim)
        up = Sinkhorn().fit(sim.T)
    return down, up


def test_a_shared_plan_gives_both_directions_what_their_own_gives(pair: Pair) -> None:
    for one, other in zip(both(pair, shared=True), both(pair, shared=False), strict=True):
        assert one.tau == pytest.approx(other.tau, rel=2e-3)
        assert (one.form, one.slack) == (other.form, other.slack)
        apart = (one.gallery_bias - other.gallery_bias).abs().max() / one.tau
        assert float(apart) < 0.05


def test_the_plan_is_looked_for_once(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, found = [], one_plan.auto_tau
    monkeypatch.setattr(
        one_plan, "auto_tau", lambda **given: (asked.append(given["sim"].shape), found(**given))[1]
    )
    both(pair, shared=True)
    assert asked == [(SHORT, LONG)]
    other = Pair(pair.queries.flip(0).contiguous(), pair.gallery)
    with one_plan.sharing():
        Sinkhorn().fit(pair)
        Sinkhorn().fit(other.T)
    assert len(asked) == 3
    both(pair, shared=False)
    assert len(asked) == 5


def test_equality_of_the_shorter_side_is_solved_from_there(pair: Pair) -> None:
    """The biases meet the marginals of the float64 plan, whichever side its kernel is of."""
    fit = Sinkhorn().fit(pair)
    assert fit.before is None  # it was turned around
    scores = pair.queries.double() @ pair.gallery.double().T
    share = torch.softmax((scores + fit.gallery_bias.double()) / fit.tau, dim=1).mean(dim=0)
    assert float((share - 1 / SHORT).abs().sum()) < 5e-3
    # An item that is already there gets its own bias again.
    torch.testing.assert_close(
        fit.bias_of(pair), fit.gallery_bias, rtol=0, atol=5e-3 * float(fit.tau)
    )
    whole = Sinkhorn().fit(Dense(scores.float()))
    assert float((fit.gallery_bias - whole.gallery_bias).abs().max()) < 0.05 * fit.tau


@pytest.mark.parametrize("t", [0.03, 0.06, 0.1])
def test_shares_of_a_wider_softmax_are_read_from_a_kernel(pair: Pair, t: float) -> None:
    draw = torch.Generator().manual_seed(0)
    bias = 0.05 * torch.randn(SHORT, generator=draw)
    mass = torch.rand(LONG, generator=draw, dtype=torch.float64)
    mass /= mass.sum()
    step = sweeper(pair, 0.03, log_a=mass.log().float(), sweeps=20)
    assert isinstance(step, StoredNumba)
    assert step.columns(t, query_mass=mass, gallery_bias=bias) is None  # nothing is stored yet
    before = step(torch.zeros(SHORT))
    found = step.columns(t, query_mass=mass, gallery_bias=bias)
    scores = pair.queries.double() @ pair.gallery.double().T
    share = torch.softmax((scores + bias) / t, dim=1)
    for got, want in zip(found, (mass @ share, mass @ share.square()), strict=True):
        torch.testing.assert_close(got, want, rtol=2e-2, atol=0)
    # What is held stays as it was.
    for one, other in zip(before, step(torch.zeros(SHORT)), strict=True):
        assert torch.equal(one, other)
    assert step.columns(0.02, query_mass=mass, gallery_bias=bias) is None  # narrower
    assert softmax_columns(pair, t, query_mass=mass, gallery_bias=bias) is not None
