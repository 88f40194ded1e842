"""Laws of the judge of an alignment: when it looks, what it measures, and what it prevents."""

import numpy as np
import pytest
import torch

from rerank.core.similarity import Pair
from rerank.methods import unseen_axes
from rerank.methods.align import Align
from rerank.methods.base import Bank
from rerank.methods.registry import pipeline
from rerank.methods.residual_ridge import predicted, residual_ridge
from rerank.methods.sinkhorn import Sinkhorn
from rerank.methods.unseen_axes import dimensions, held_gain, trust
from rerank.passes.cross import pair_moments
from tests.methods.test_align import METHOD, recall, world
from tests.reference import unit

D = 32


def weak(n=1000, seed=0):
    """Two noisy views of the same points, equally noisy in all axes: no map can help."""
    rng = np.random.default_rng(seed)
    scale = np.arange(1, D + 1) ** -0.5
    points = rng.normal(size=(n, D)) * scale
    return Pair(*(unit(points + rng.normal(size=(n, D)) * scale) for _ in range(2)))


def paired(sim):
    rows = torch.arange(sim.shape[0])
    return pair_moments(sim, rows, rows)


def test_a_sure_and_wrong_plan_is_not_followed():
    sim = weak()
    plain = recall(pipeline("sinkhorn").fit(sim).transform(sim))
    fitted = pipeline(METHOD).fit(sim)
    assert fitted.facts["plan_confidence"] > 0.5
    assert fitted.facts["align_share"] == 0 and fitted.facts["align_unseen"] == 0
    assert recall(fitted.transform(sim)) == pytest.approx(plain, abs=0.003)
    # What it would have done.
    followed = pipeline(METHOD, share=1.0).fit(sim)
    assert recall(followed.transform(sim)) < plain - 0.02


def test_what_a_map_can_undo_is_undone_among_dense_items():
    sim = Pair(*world(n=800, turn=0.8))
    plain = recall(pipeline("sinkhorn").fit(sim).transform(sim))
    fitted = pipeline(METHOD).fit(sim)
    assert fitted.facts["align_share"] > 0.3
    assert recall(fitted.transform(sim)) > plain + 0.2


def test_a_stated_share_is_not_judged(monkeypatch):
    monkeypatch.setattr("rerank.methods.align.trust", None)
    fitted = pipeline(METHOD, share=0.5).fit(weak(n=60))
    assert fitted.facts["align_share"] == 0.5


def test_among_sparse_items_nothing_is_looked_at(monkeypatch):
    monkeypatch.setattr(unseen_axes, "held_gain", None)
    sim = weak(n=60)
    bank = Bank(sim, pairs=sim, label="transductive")
    aligned = Align().fit_after(Sinkhorn().fit_plan(bank), bank)
    assert aligned.unseen == 1.0 and aligned.share > 0


def test_dimensions_are_one_over_the_variance_of_cosines():
    rng = np.random.default_rng(1)
    sim = Pair(rng.normal(size=(700, 12)) * np.arange(1, 13), rng.normal(size=(500, 12)), "dot")
    texts, videos = (x[:500] - x[:500].mean(axis=0) for x in (sim.queries, sim.gallery))
    scores = texts @ videos.T
    wide = texts.square().sum(dim=1).mean() * videos.square().sum(dim=1).mean()
    assert dimensions(paired(Pair(sim.queries[:500], sim.gallery, "dot"))) == pytest.approx(
        float(wide / scores.square().mean()), rel=1e-9
    )


@pytest.mark.parametrize("block_size", [None, 7])
def test_the_gain_is_its_formula(block_size):
    texts, videos = world(n=300)
    some = Pair(texts[:50], videos, block_size=block_size)
    others = pair_moments(Pair(texts, videos), torch.arange(50, 300), torch.arange(50, 300))
    got = held_gain(some, others, ridge=10.0, coin=torch.Generator().manual_seed(3))

    def about(moments):
        mean = moments.queries / moments.mass
        return (moments.qq / moments.mass - torch.outer(mean, mean)).numpy()

    axes = np.linalg.eigh(about(others) + about(others.T))[1][:, ::-1]
    d = axes.shape[1]
    coin = torch.randint(0, 2, (d // 2,), generator=torch.Generator().manual_seed(3)).numpy()
    even = 2 * np.arange(d // 2)
    mean, other = (x.numpy() / 250 for x in (others.queries, others.items))

    def scores(part, left, right):
        x = (texts[:50] - mean) @ part @ left
        y = (videos - other) @ part @ right
        s = x @ y.T
        tau = np.mean(s.std(axis=1)) / 3
        return s - tau * np.log(np.exp(s / tau).sum(axis=0))

    def ranks(s, j):
        return 1 + (s > s[np.arange(len(s)), j][:, None]).sum(axis=1)

    want = []
    for judges, judged in ((even + coin, even + 1 - coin), (even + 1 - coin, even + coin)):
        a, b = axes[:, judges], axes[:, judged]
        eye = np.eye(d // 2)
        chosen = scores(a, eye, eye).argmax(axis=1)
        x, y = (texts[50:] - mean) @ b, (videos[50:] - other) @ b
        steps = []
        for one, two, whole in ((x, y, texts), (y, x, videos)):
            # Moments are about the means, ridge weighs by the raw norm over these axes.
            weight = 10.0 * ((whole[50:] @ b) ** 2).sum() / 250
            steps.append(eye + np.linalg.solve(one.T @ one + weight * eye, one.T @ (two - one)))
        before, after = scores(b, eye, eye), scores(b, *steps)
        want.append(np.log(ranks(before, chosen)) - np.log(ranks(after, chosen)))
    assert got == pytest.approx(np.concatenate(want).mean(), abs=1e-9)
    assert got != 0


def test_the_ridge_step_is_least_squares():
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(50, 4)), rng.normal(size=(50, 4))
    matrix, shift = residual_ridge(paired(Pair(x, y, "dot")), 2.0)
    a = x - x.mean(axis=0)
    weight = 2.0 * (x**2).sum() / 50
    w = np.linalg.solve(a.T @ a + weight * np.eye(4), a.T @ (y - x))
    np.testing.assert_allclose(matrix.numpy(), np.eye(4) + w, atol=1e-12)
    np.testing.assert_allclose(shift.numpy(), -x.mean(axis=0) @ w, atol=1e-12)
    for count in (1, 3, 4, 9):
        rows = torch.tensor(rng.normal(size=(count, 4)))
        found = predicted(rows, paired(Pair(x, y, "dot")), 2.0)
        want = rows @ matrix + shift - torch.tensor(x.mean(axis=0))
        np.testing.assert_allclose(found.numpy(), want.numpy(), atol=1e-12)


def test_the_same_seed_gives_the_same_trust():
    sim = Pair(*world(n=800, turn=1.0))
    form = {
        "tau": 0.1, "gallery_bias": torch.zeros(800, dtype=torch.float64), "ridge": 10.0,
        "query_mass": torch.full((800,), 1 / 800, dtype=torch.float64),
    }  # fmt: skip
    found = paired(sim)
    found = found.scaled(1 / float(found.mass))
    one = trust(sim, found, 800, **form)
    assert one == trust(sim, found, 800, **form)
    assert 0 <= one <= 1
