"""Hubs of a weak model are not taken for items that many want, and such items not for hubs."""

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from rerank.core.similarity import Dense, Pair
from rerank.methods import sinkhorn
from rerank.methods.crowd import Crowd
from rerank.methods.marginals import Choice, masses
from rerank.methods.popular_choices import believed, ratio
from rerank.methods.potentials import Solution
from rerank.methods.repeats import Repeats
from rerank.methods.sinkhorn import Sinkhorn
from rerank.methods.unseen_axes import parted
from tests.methods.test_equal_items import recall
from tests.methods.test_shared_items import world


def words(
    m: int, n: int, asked: int, *, each: int, d: int, seed: int, topics: int = 6, length: int = 60
) -> tuple[Pair, torch.Tensor]:
    """Texts of few words about long ones, over d axes of what words go together.

    Items that hold the words of a topic are near all that is about it: hubs that stay when means
    are taken out.
    """
    draw = torch.Generator().manual_seed(seed)
    count = 600
    usual = 1 / torch.arange(1, count + 1).float()
    topic = torch.stack([usual[torch.randperm(count, generator=draw)] for _ in range(topics)])
    about = torch.rand(m, topics, generator=draw) ** 6 @ topic
    lengths = torch.randint(10, length, (m,), generator=draw)

    def drawn(weights: torch.Tensor, size: int) -> torch.Tensor:
        found = torch.multinomial(weights, size, replacement=True, generator=draw)
        return torch.bincount(found, minlength=count).float()

    items = torch.stack([drawn(about[j], int(lengths[j])) for j in range(m)])
    own = (
        torch.randperm(m, generator=draw)[:n]
        if asked >= n
        else torch.randint(asked, (n,), generator=draw)
    )
    texts = torch.stack([drawn(items[j], each) for j in own])
    rare = (m / ((items > 0).sum(dim=0) + 1)).log().clamp_min(0)
    sides = [(1 + x).log() * rare for x in (texts, items)]
    sides = [x / x.norm(dim=1, keepdim=True).clamp_min(1e-9) for x in sides]
    axes = torch.linalg.svd(torch.cat(sides), full_matrices=False)[2][:d].T
    return Pair(*(x @ axes for x in sides)), own


def weak(seed: int) -> tuple[Pair, torch.Tensor]:
    """One-to-one pairs of a weak model, for which all that tells of uneven asking fires."""
    return words(150, 150, 150, each=2, d=32, seed=seed, topics=80, length=100)


def by_formula(scores: np.ndarray) -> float:
    """The ratio by loops over queries, in float64."""
    s = scores - scores.mean(axis=1, keepdims=True)
    s = s - s.mean(axis=0)
    size, axes = np.linalg.eigh(s @ s.T)
    axes = axes[:, ::-1][:, : int((size > 1e-6 * size[-1]).sum())]
    coin, found = torch.Generator().manual_seed(0), ([], [])
    n = len(s)
    for _ in range(4):
        best = []
        for half in parted(axes.shape[1], coin, device=torch.device("cpu")):
            part = axes[:, half.numpy()]
            best.append((part @ (part.T @ s)).argmax(axis=1))
        for one, other in (best, best[::-1]):
            often = np.array([(one == j).sum() for j in one])
            for i in range(n):
                others = sum(other[k] == one[i] for k in range(n) if k != i) / (n - 1)
                agrees = ((one[i] == other[i]) - others) / (1 - others)
                found[int(often[i] < np.quantile(often, 0.6))].append(agrees)
    alike = np.mean(found[0] + found[1])
    popular, rare = ((np.sum(x) / 8 + alike) / (len(x) / 8 + 1) for x in found)
    return popular / rare


@pytest.mark.parametrize("asked", [90, 15])
def test_the_ratio_is_that_of_the_formula(asked: int) -> None:
    sim, _ = words(90, 90, asked, each=4, d=24, seed=0)
    want = by_formula(sim.scores().double().numpy())
    for same in (sim, Dense(sim.scores())):
        assert ratio(same, masses(same)) == pytest.approx(want, rel=0.05)


@pytest.mark.parametrize("seed", [0, 2, 3, 6])
def test_hubs_of_a_weak_model_make_queries_sure_of_the_wrong_items(seed: int) -> None:
    """One-to-one pairs: what sure queries told of uneven asking is not believed."""
    sim, _ = weak(seed)
    found = masses(sim)
    assert ratio(sim, found) < 0.8
    seen = Repeats(0.8, 0.5, 1.3, sure=0.85, kept=0.6)
    assert believed(sim, found, seen) == replace(seen, weight=0.0)
    certain, alike = replace(seen, sure=0.98), replace(seen, sure=math.nan)
    for other in (certain, alike, Repeats(0.0)):
        assert believed(sim, found, other) == other
    for n, m in ((150, 75), (75, 150)):
        part = Pair(sim.queries[:n], sim.gallery[:m])
        assert believed(part, masses(part), seen) == seen


@pytest.mark.parametrize("door", ["embeddings", "scores"])
def test_a_fit_asks_it(door: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sim, own = words(80, 80, 80, each=5, d=64, seed=2, topics=3, length=400)
    given = sim if door == "embeddings" else Dense(sim.scores())
    fit = Sinkhorn().fit(given)
    monkeypatch.setattr(sinkhorn, "believed", lambda sim, found, seen, **_: seen)
    alone = Sinkhorn().fit(given)
    assert alone.form == "repeats" and "sure" in alone.marginals[0]
    assert fit.form != "repeats"
    assert recall(sim, own, fit.gallery_bias) > recall(sim, own, alone.gallery_bias) + 2


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("door", ["embeddings", "scores"])
@pytest.mark.parametrize(("m", "asked", "each"), [(300, 60, 10), (300, 20, 10), (400, 40, 6)])
def test_items_that_many_want_keep_their_place(
    m: int, asked: int, each: int, door: str, seed: int
) -> None:
    sim, own = words(m, m, asked, each=each, d=64, seed=seed)
    given = sim if door == "embeddings" else Dense(sim.scores())
    fit, equal = Sinkhorn().fit(given), Sinkhorn(rho=1.0).fit(given)
    assert ratio(given, masses(given)) > 1
    raw = recall(sim, own, 0.0)
    assert recall(sim, own, equal.gallery_bias) < raw - 20
    assert recall(sim, own, fit.gallery_bias) > raw - 3


def test_what_equality_costs_many_queries_is_said_with_the_way_out() -> None:
    """Five hundred pairs and more had no note, however unevenly items were asked."""
    none = torch.zeros(1)
    solved = Solution(none, none, 1, 0.0, none, none)
    said = partial(sinkhorn._sentences, solution=solved, few_wanted=Crowd(), one_topic=0.0)
    (told,) = said(Choice("equality"), Repeats(0.0, 0.9, 1.25))
    assert "20% less sure" in told and "rho=0" in told
    assert said(Choice("equality"), Repeats(0.0, 0.9, 1.05)) == ()
    assert said(Choice("equality"), Repeats(0.0)) == ()
    (own,) = said(Choice("equality", 1.0, "counted"), Repeats(0.0, 0.9, 1.25))
    assert own == "counted"
    clear = Dense(
        torch.randn(520, 520, generator=torch.Generator().manual_seed(0)) + 8 * torch.eye(520)
    )
    assert Sinkhorn().fit(clear).marginals == ()


@pytest.mark.parametrize("noise", [0.5, 1.0])
def test_where_halves_of_the_axes_know_nothing_of_each_other_nothing_is_told(noise: float) -> None:
    """Sixty items of 300 are wanted, and over half of the axes hubs are all that shows."""
    sim, own = world(300, 60, 300, noise=noise)
    fit, equal = Sinkhorn().fit(sim), Sinkhorn(rho=1.0).fit(sim)
    assert ratio(sim, masses(sim)) > 0.95
    raw = recall(sim, own, 0.0)
    assert recall(sim, own, equal.gallery_bias) < raw - 15
    assert recall(sim, own, fit.gallery_bias) > raw - 3
    flat = Dense(torch.ones(60, 60))
    assert ratio(flat, masses(flat)) == 1
