"""Items that nobody asks, and queries that are not sure: axes without a say tell."""

from dataclasses import replace

import pytest
import torch

from rerank.core import memory
from rerank.core.rows import StoredRows, blended
from rerank.core.similarity import Dense, Pair
from rerank.methods import equal_items, potentials, sinkhorn
from rerank.methods.crowd import Crowd
from rerank.methods.marginals import masses
from rerank.methods.sinkhorn import Sinkhorn


def world(
    m: int, asked: int, n: int, *, noise: float, hubs: float = 0.0, blur: float = 0.0, seed: int = 0
) -> tuple[Pair, torch.Tensor]:
    """Queries of `asked` of m items, noisy; items that are hubs, or noisy too; and who is right."""
    draw = torch.Generator().manual_seed(seed)
    items = torch.randn(m, 64, generator=draw) + hubs * torch.randn(64, generator=draw)
    own = torch.randint(asked, (n,), generator=draw) if asked < m else torch.arange(n) % m
    queries = items[own] + noise * torch.randn(n, 64, generator=draw)
    items = items + blur * torch.randn(m, 64, generator=draw)
    return Pair(*(x / x.norm(dim=1, keepdim=True) for x in (queries, items))), own


def recall(sim: Pair, own: torch.Tensor, bias: torch.Tensor | float) -> float:
    """R@1 in percent."""
    return 100 * float(((sim.scores() + bias).argmax(dim=1) == own).float().mean())


@pytest.mark.parametrize(("asked", "n"), [(40, 800), (100, 800)])
def test_few_wanted_items_are_not_made_equal(asked: int, n: int) -> None:
    sim, own = world(400, asked, n, noise=2.2)
    fit = Sinkhorn().fit(sim)
    equal = Sinkhorn(tau=fit.tau, rho=1.0).fit(sim)
    raw = recall(sim, own, 0.0)
    assert recall(sim, own, equal.gallery_bias) < raw - 30
    assert fit.form == "repeats"
    assert recall(sim, own, fit.gallery_bias) > raw - 1.5
    (said,) = fit.marginals
    assert "asked unevenly" in said and "dimensions without a say" in said


@pytest.mark.parametrize("centre", [False, True])
def test_rows_that_do_not_fit_into_memory_are_judged_alike(centre: bool) -> None:
    """They were not judged, so that less memory chose other marginals."""
    sim, _ = world(150, 20, 300, noise=2.2)
    sides = [x[:] - 0.1 * float(centre) for x in (sim.queries, sim.gallery)]
    with memory.limit("40kB"):
        stored = Pair(*sides)
        assert isinstance(stored.queries, StoredRows) and isinstance(stored.gallery, StoredRows)
        found = masses(stored)
        one = equal_items.judged(lambda: (stored, found), tau=0.05, h=0.1)
        assert Sinkhorn(tau=0.05).fit(stored).form == "repeats"
    assert one.gain == pytest.approx(
        equal_items.judged(lambda: (Pair(*sides), found), tau=0.05, h=0.1).gain, abs=0.02
    )
    assert Sinkhorn(tau=0.05).fit(Pair(*sides)).form == "repeats"


def test_aligned_rows_that_do_not_fit_into_memory_are_judged_alike() -> None:
    sim, _ = world(150, 20, 300, noise=2.2)
    turn, by, forms = torch.eye(64).roll(1, dims=1), torch.full((64,), 0.01), []
    for budget in ("40kB", "1GB"):
        with memory.limit(budget):
            pair = Pair(sim.queries, sim.gallery)
            moved = (blended(x, turn, by, 0.2, "", unit=True) for x in (pair.queries, pair.gallery))
            queries, gallery = moved
            assert isinstance(gallery, StoredRows) == (budget == "40kB")
            pair = replace(pair, queries=queries, gallery=gallery)
            forms.append(Sinkhorn(tau=0.05).fit(pair).form)
    assert forms == ["repeats", "repeats"]


@pytest.mark.parametrize("n", [400, 800, 2000])
@pytest.mark.parametrize("hubs", [0.0, 0.6])
def test_items_that_are_all_wanted_stay_equal(n: int, hubs: float) -> None:
    sim, own = world(400, 400, n, noise=2.2, hubs=hubs)
    fit = Sinkhorn().fit(sim)
    assert fit.form == "equality"
    assert recall(sim, own, fit.gallery_bias) > recall(sim, own, 0.0) + 1


def test_the_judge_takes_the_side_of_wanted_items() -> None:
    gains = []
    for asked in (40, 400):
        sim, _ = world(400, asked, 800, noise=2.2)
        fit = Sinkhorn(rho=1.0).fit(sim)
        found = masses(sim)
        gains.append(equal_items.judged(lambda: (sim, found), tau=fit.tau, h=fit.tau / 0.6).gain)
    assert gains[0] < -0.25 and gains[1] > -0.15


def test_more_pairs_than_can_be_fitted_twice_are_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sim, _ = world(400, 40, 800, noise=2.8)
    monkeypatch.setattr(equal_items, "MOST", 400 * 800 - 1)
    assert Sinkhorn().fit(sim).form == "equality"


@pytest.mark.parametrize("asked", [5, 10, 20])
def test_few_queries_that_share_items_are_not_given_one_each(
    asked: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred captions of ten of many videos each got another video."""
    sim, own = world(400, asked, 100, noise=1.5)
    found = masses(sim)
    fit = Sinkhorn().fit(sim)
    apart = potentials.solve(
        sim, fit.tau, log_a=found.few[0], log_b=found.log_b, slack=found.few[1], n_iters=100
    ).g
    raw = recall(sim, own, 0.0)
    assert recall(sim, own, apart) < raw - 30
    assert fit.form == "repeats" and recall(sim, own, fit.gallery_bias) > raw - 3
    (said,) = fit.marginals
    assert "beyond what hubs explain" in said
    # What axes without a say tell of it, where a few items are no crowd.
    monkeypatch.setattr(sinkhorn, "crowd", lambda *_, **__: Crowd())
    fit = Sinkhorn().fit(sim)
    assert fit.form == "repeats" and recall(sim, own, fit.gallery_bias) > raw - 3
    assert "share items" in fit.marginals[0]


@pytest.mark.parametrize("n", [30, 100, 200])
@pytest.mark.parametrize("noise", [2.2, 3.0])
def test_few_queries_of_one_item_each_keep_their_room(n: int, noise: float) -> None:
    sim, own = world(400, 400, n, noise=noise)
    fit = Sinkhorn().fit(sim)
    assert fit.form == "few queries"
    assert recall(sim, own, fit.gallery_bias) > recall(sim, own, 0.0) - 4


def test_items_that_two_queries_choose_have_no_vote_of_these() -> None:
    scores = torch.randn(30, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    apart = torch.stack([scores.argmax(dim=1), scores.argmin(dim=1)], dim=1)
    apart[:5, 1] = -1
    bias = (equal_items.equally_popular(Dense(scores), apart=apart).scores() - scores)[0]
    width = float(scores.std(dim=1, correction=0).mean()) / 3
    level = torch.zeros(8, dtype=torch.float64)
    for j in range(8):
        votes = torch.tensor([j not in row.tolist() for row in apart])
        level[j] = width * (scores[votes, j] / width).exp().mean().log()
    torch.testing.assert_close(bias - bias.mean(), level.mean() - level)
