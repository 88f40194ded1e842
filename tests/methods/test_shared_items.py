"""Queries that share items are seen by halves of the scores; hubs are not taken for it."""

import numpy as np
import pytest
import torch

from rerank.core import memory
from rerank.core.rows import StoredRows
from rerank.core.similarity import Dense, Pair
from rerank.methods import shared_items
from rerank.methods.crowd import crowd
from rerank.methods.marginals import masses
from rerank.methods.popularity import few_that_many_choose, of_others
from rerank.methods.sinkhorn import Sinkhorn
from rerank.methods.unseen_axes import parted
from tests.methods.test_equal_items import recall


def world(
    m: int, asked: int, n: int, *, noise: float, hubs: int = 0, gap: float = 0.0, seed: int = 0
) -> tuple[Pair, torch.Tensor]:
    """N queries of `asked` of m items, behind a gap; and items that lie among the queries."""
    draw = torch.Generator().manual_seed(seed)
    scale = torch.arange(1, 65).float() ** -0.8
    scale = scale / scale.square().mean().sqrt()
    items = torch.randn(m, 64, generator=draw) * scale
    own = (
        torch.randint(asked, (n,), generator=draw)
        if asked < n
        else torch.randperm(m, generator=draw)[:n]
    )
    queries = items[own] + noise * torch.randn(n, 64, generator=draw) * scale
    apart = torch.zeros(64)
    apart[-1] = gap * 8
    queries = queries + apart
    planted = apart + 0.3 * torch.randn(hubs, 64, generator=draw)
    sides = queries, torch.cat([items, planted])
    return Pair(*(x / x.norm(dim=1, keepdim=True) for x in sides)), own


def by_formula(scores: np.ndarray, seed: int = 0) -> float:
    """The ratio by loops over queries, in float64."""
    s = scores - scores.mean(axis=1, keepdims=True)
    s = s - s.mean(axis=0)
    size, axes = np.linalg.eigh(s @ s.T)
    axes = axes[:, ::-1][:, : int((size > 1e-6 * size[-1]).sum())]
    coin, pairs, agreed = torch.Generator().manual_seed(seed), [0, 0], []
    for _ in range(16):
        chosen = []
        for half in parted(axes.shape[1], coin, device=torch.device("cpu")):
            part = axes[:, half.numpy()] @ (axes[:, half.numpy()].T @ s)
            width = part.std(axis=1).mean() / 3
            popular = width * np.log(np.exp(part / width).sum(axis=0))
            chosen.append((part - popular).argmax(axis=1))
        agrees = chosen[0] == chosen[1]
        agreed.append(agrees.mean())
        for best in chosen:
            for i in np.flatnonzero(agrees):
                for k in range(len(best)):
                    if k != i and best[k] == best[i]:
                        pairs[0] += 1
                        pairs[1] += int(agrees[k])
    expected, both = float(np.mean(agreed)) * pairs[0] / 2, pairs[1] / 2
    return (both / 16 + 1) / (expected / 16 + 1)


@pytest.mark.parametrize("noise", [0.7, 1.0])
def test_the_ratio_is_that_of_the_formula(noise):
    sim, _ = world(150, 20, 100, noise=noise)
    want = by_formula(sim.scores().double().numpy())
    assert want > 1.2
    for same in (sim, Dense(sim.scores())):
        told = shared_items.shared(same, found=masses(same))
        assert told == pytest.approx(want, rel=0.02)
    with memory.limit("20kB"):
        stored = Pair(sim.queries, sim.gallery)
        assert isinstance(stored.gallery, StoredRows)
        assert shared_items.shared(stored, found=masses(stored)) == pytest.approx(want, rel=0.02)


def test_copies_of_a_query_share_nothing_unless_they_count():
    sim, _ = world(150, 150, 60, noise=0.7)
    twice = Pair(torch.cat([sim.queries] * 2), sim.gallery)
    once, again, counted = (
        shared_items.shared(x, found=masses(x), copies=copies)
        for x, copies in ((sim, False), (twice, False), (twice, True))
    )
    assert again == pytest.approx(once, rel=0.02) and counted > once + 1


def test_dead_rows_and_columns_tell_nothing():
    sim, _ = world(150, 20, 100, noise=0.7)
    wide = torch.full((103, 155), -torch.inf)
    wide[:100, :150] = sim.scores()
    dead = Dense(wide, unscored=True)
    assert shared_items.shared(dead, found=masses(dead)) == pytest.approx(
        shared_items.shared(sim, found=masses(sim)), rel=0.02
    )


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("door", ["embeddings", "scores"])
@pytest.mark.parametrize(("asked", "n"), [(40, 250), (60, 300), (60, 400)])
def test_items_that_queries_share_are_not_taken_from_them(asked, n, door, seed):
    sim, own = world(400, asked, n, noise=1.0, seed=seed)
    given = sim if door == "embeddings" else Dense(sim.scores())
    fit, apart = Sinkhorn().fit(given), Sinkhorn(tau=Sinkhorn().fit(given).tau, rho=1.0).fit(given)
    raw = recall(sim, own, 0.0)
    assert recall(sim, own, apart.gallery_bias) < raw - 8
    assert fit.form == "repeats" and recall(sim, own, fit.gallery_bias) > raw - 3
    (said,) = fit.marginals
    assert "share items" in said or "repeat" in said or "unevenly" in said


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    ("m", "asked", "n", "noise"), [(400, 10, 100, 1.0), (600, 20, 200, 1.0), (200, 60, 300, 0.5)]
)
def test_scores_alone_show_that_queries_share_items(m, asked, n, noise, seed):
    """By their own axes: embeddings are not needed."""
    sim, own = world(m, asked, n, noise=noise, seed=seed)
    scores = Dense(sim.scores())
    fit = Sinkhorn().fit(scores)
    apart = Sinkhorn(tau=fit.tau, rho=1.0).fit(scores)
    raw = recall(scores, own, 0.0)
    assert recall(scores, own, apart.gallery_bias) < raw - 20
    assert fit.form == "repeats" and recall(scores, own, fit.gallery_bias) > raw - 6


@pytest.mark.parametrize("n", [100, 300, 500])
@pytest.mark.parametrize("door", ["embeddings", "scores"])
def test_rankings_are_left_as_they_are_where_a_few_items_are_wanted(n, door):
    """Five items of 400, by queries that are not sure of them; with a gap, which makes hubs."""
    sim, own = world(400, 5, n, noise=0.8, hubs=2, gap=0.3, seed=2)
    given = sim if door == "embeddings" else Dense(sim.scores())
    fit = Sinkhorn().fit(given)
    apart = Sinkhorn(tau=fit.tau, rho=1.0).fit(given)
    raw = recall(sim, own, 0.0)
    assert recall(sim, own, apart.gallery_bias) < raw / 3
    assert recall(sim, own, fit.gallery_bias) > raw - 3
    assert "beyond what hubs explain" in " ".join(fit.marginals)


@pytest.mark.parametrize("hubs", [0, 3, 10])
@pytest.mark.parametrize("n", [20, 60, 300])
def test_hubs_are_no_crowd(n, hubs):
    sim, _ = world(300, 300, n, noise=1.0, hubs=hubs, gap=1.0)
    for given in (sim, Dense(sim.scores())):
        assert crowd(given, masses(given)).weight == 0


@pytest.mark.parametrize("n", [100, 200, 400])
@pytest.mark.parametrize("noise", [0.6, 1.0])
def test_distinct_queries_share_nothing(n, noise):
    sim, _ = world(400, 400, n, noise=noise)
    assert shared_items.shared(sim, found=masses(sim)) < 1.15
    assert Sinkhorn().fit(sim).form == ("few queries" if n < 400 else "equality")


@pytest.mark.parametrize("door", ["embeddings", "scores"])
@pytest.mark.parametrize("hubs", [1, 3])
def test_a_few_items_that_all_queries_choose_are_hubs(hubs, door):
    """They looked like what everybody wants: nothing was corrected, however strong they were."""
    clean, own = world(300, 300, 300, noise=1.2, gap=2.5)
    sim, _ = world(300, 300, 300, noise=1.2, hubs=hubs, gap=2.5)
    given = sim if door == "embeddings" else Dense(sim.scores())
    raw = recall(sim, own, 0.0)
    assert float((sim.scores().argmax(dim=1) >= 300).float().mean()) > 0.6 and raw < 30
    fit = Sinkhorn().fit(given)
    best = recall(clean, own, Sinkhorn().fit(clean).gallery_bias)
    assert fit.form == "few queries" and recall(sim, own, fit.gallery_bias) > best - 5


def test_hubs_are_few_and_many_choose_them():
    scores = torch.randn(200, 100, generator=torch.Generator().manual_seed(0))
    sim = Dense(scores)
    assert few_that_many_choose(sim, masses(sim)) is None
    scores[:120, 7] += 20
    scores[120:150, 9] += 20
    sim = Dense(scores)
    held = few_that_many_choose(sim, masses(sim))
    assert held is not None and held.nonzero()[:, 0].tolist() == [7, 9]
    # All queries tell of them; of others only those that have another best item.
    alone, told = (of_others(sim, 0.5, 2.0, masses(sim), hubs=x) for x in (False, True))
    assert float(told[7]) < float(alone[7]) - 5 and int(told.argmin()) == 7
