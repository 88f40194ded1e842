"""Which width popularity is read from."""

import numpy as np
import pytest
import torch

from rerank.core.similarity import Dense
from rerank.methods.marginals import masses
from rerank.methods.popularity import popularity
from rerank.methods.sinkhorn import Sinkhorn
from rerank.methods.width import collisions, width


def few_of(kind, seed, n=160, m=400):
    """Some rows of one-to-one scores with hubs, and the item of each."""
    rng = np.random.default_rng(seed)
    noise, hub = rng.normal(size=(m, m)), rng.normal(size=m)
    scores = noise + hub if kind == "shift" else noise * np.exp(0.35 * hub)
    truth = rng.permutation(m)[:n]
    return torch.from_numpy((scores + 3 * np.eye(m))[truth]), torch.from_numpy(truth)


def test_collisions_are_pairs_that_choose_one_item():
    scores, _ = few_of("shift", 0, n=7, m=12)
    bias = torch.linspace(-1, 1, 12, dtype=torch.float64)
    share = ((scores + bias) / 0.5).softmax(dim=1)
    pairs = sum(float(share[i] @ share[k]) for i in range(7) for k in range(7) if i != k)
    assert collisions(Dense(scores), 0.5, bias) == pytest.approx(pairs, rel=1e-9)
    dead = torch.cat([scores, torch.full((2, 12), -torch.inf, dtype=torch.float64)])
    assert collisions(Dense(dead, unscored=True), 0.5, bias) == pytest.approx(pairs, rel=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_hubs_that_are_always_ahead_are_read_as_usual_and_those_of_the_tails_narrow(seed):
    found = {}
    for kind in ("shift", "tail"):
        scores, truth = few_of(kind, seed)
        fit = Sinkhorn().fit(Dense(scores))
        hits = [float((scores + b).argmax(dim=1).eq(truth).float().mean())
                for b in (0, fit.gallery_bias)]  # fmt: skip
        assert hits[1] >= hits[0] + 0.1
        found[kind] = fit.width / fit.tau
    assert found["tail"] < 0.7 * found["shift"]


def test_the_usual_width_stays_where_nothing_tells():
    scores, _ = few_of("shift", 1, n=3)
    sim = Dense(scores)
    assert width(sim, 0.5, 0.25, masses(sim)) == (0.5, 1)
    certain = Dense(50 * torch.eye(40, dtype=torch.float64)[:20])
    assert width(certain, 0.5, 0.25, masses(certain)) == (0.5, 1)


def test_scores_that_are_the_same_in_another_unit_have_the_same_width():
    scores, _ = few_of("tail", 2)
    one, other = (Sinkhorn().fit(Dense(factor * scores)) for factor in (1.0, 8.0))
    assert other.width == pytest.approx(8 * one.width)
    torch.testing.assert_close(other.gallery_bias, 8 * one.gallery_bias)


@pytest.mark.parametrize("rounds", [2, 4])
def test_a_round_reads_popularity_where_the_last_one_left_it(rounds):
    scores, _ = few_of("tail", 0, n=60, m=90)
    sim, t = Dense(scores), 0.4
    found = masses(sim)
    bias = torch.zeros(90, dtype=torch.float64)
    for _ in range(rounds):
        share = ((scores + bias) / t).softmax(dim=1) / (bias / t).exp()
        mean = share.mean(dim=0)
        level = mean.log() - mean.log().mean()
        noise = ((share**2).sum(dim=0) / 60**2 / mean**2 - 1 / 60) * 60 / 59
        bias = -t * level * max(0.0, 1 - float(noise.mean() / level.square().mean()))
    got, _ = popularity(
        sim, t, found=found, log_a=found.log_a, queries=60.0, rounds=rounds
    )  # fmt: skip
    torch.testing.assert_close(got, bias, rtol=1e-6, atol=1e-8)


def test_queries_of_one_thing_collide_rightly():
    scores, _ = few_of("tail", 1)
    sim = Dense(scores)
    assert width(sim, 0.5, 0.25, masses(sim)).rounds > 1
    assert width(sim, 0.5, 0.25, masses(sim, query_groups=80)) == (0.5, 1)
    assert width(sim, 0.5, 0.25, masses(sim, query_groups=158)).rounds > 1
