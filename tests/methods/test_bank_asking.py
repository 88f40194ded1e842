"""Equality is asked of items as far as a bank's queries carry it."""

import numpy as np
import pytest
import torch

import rerank
from rerank.core.similarity import Dense, Pair
from rerank.methods.bank_asking import Asking
from rerank.methods.base import Bank
from rerank.methods.equal_items import Judged
from rerank.methods.sinkhorn import Sinkhorn

M, D = 200, 64


def world(seed: int):
    """Items with a few hubs, and what draws queries of chosen ones."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=D)
    common /= np.linalg.norm(common)
    own = rng.normal(size=(M, D)) / np.sqrt(D)
    items = own + 0.2 * rng.exponential(size=(M, 1)) * common

    def queries(of):
        noise = 1.8 * rng.normal(size=(len(of), D)) / np.sqrt(D)
        return (own[of] + noise + 0.8 * common).astype("f4")

    return rng, items.astype("f4"), queries


def recall(queries, items, right, bias) -> float:
    scores = Pair(queries, items).scores() + bias
    return 100 * float((scores.argmax(dim=1) == torch.from_numpy(right)).double().mean())


def pooled(draw, *, scores: bool = False, **settings):
    """Raw recall, with the default and with equality, over several worlds; and the last fit."""
    out, fit = [], None
    for seed in range(6):
        bank, queries, items, right = draw(seed)
        sim = Pair(bank, items)
        sim = Dense(sim.scores()) if scores else sim
        fit = Sinkhorn(**settings).fit(Bank(sim))
        equal = Sinkhorn(rho=1.0).fit(Bank(sim))
        out.append([
            recall(queries, items, right, bias)
            for bias in (torch.zeros(M), fit.gallery_bias, equal.gallery_bias)
        ])  # fmt: skip
    return *np.mean(out, axis=0), fit


def past(share: float, count: int):
    """Queries of a share of the items, and a bank of others like them."""

    def draw(seed):
        rng, items, queries = world(seed)
        wanted = rng.permutation(M)[: round(share * M)]
        bank, right = rng.choice(wanted, count), rng.choice(wanted, 300)
        return queries(bank), queries(right), items, right

    return draw


@pytest.mark.parametrize("scores", [False, True])
@pytest.mark.parametrize(("share", "count"), [(0.1, 300), (0.2, 300), (0.2, 60)])
def test_items_that_a_bank_asks_for_more_are_not_made_rare(share, count, scores):
    raw, now, equal, fit = pooled(past(share, count), scores=scores)
    assert equal < raw - 15
    assert now > raw
    assert fit.facts["uneven"] > 0.9
    assert "ask items unevenly" in fit.notes[0] and "rho=0 leaves all as it is" in fit.notes[0]


@pytest.mark.parametrize("scores", [False, True])
def test_a_bank_that_asks_for_all_alike_gains_what_equality_gains(scores):
    raw, now, equal, fit = pooled(past(1.0, 1000), scores=scores)
    assert equal > raw + 1.5
    assert now > equal - 1
    assert fit.facts["uneven"] < 0.1


@pytest.mark.parametrize("scores", [False, True])
def test_so_does_a_bank_of_other_items(scores):
    def draw(seed):
        rng, items, queries = world(seed)
        right = rng.permutation(M)[:100]
        kept = np.setdiff1d(np.arange(M), right)
        found = queries(rng.choice(kept, 400)), queries(right)
        # The gallery has none of what the bank asks for.
        return *found, items[right], np.arange(len(right))

    out = []
    for seed in range(6):
        bank, queries, items, right = draw(seed)
        sim = Pair(bank, items)
        sim = Dense(sim.scores()) if scores else sim
        biases = [
            Sinkhorn(**x).fit(Bank(sim)).gallery_bias for x in ({"rho": 0.0}, {}, {"rho": 1.0})
        ]
        out.append([recall(queries, items, right, bias) for bias in biases])
    raw, now, equal = np.mean(out, axis=0)
    assert equal > raw + 1.5
    assert now > equal - 1


@pytest.mark.parametrize("count", [10, 25, 100])
def test_few_queries_carry_their_share_of_it(count):
    bank, _, items, _ = past(1.0, count)(0)
    fit = Sinkhorn().fit(Bank(Pair(bank, items)))
    equal = Sinkhorn(rho=1.0).fit(Bank(Pair(bank, items)))
    share = count / (count + 30)
    if not fit.facts["uneven"]:
        torch.testing.assert_close(fit.gallery_bias, share * equal.gallery_bias)
    assert fit.facts["strength"] == pytest.approx(share * (1 - fit.facts["uneven"]))
    assert f"{count} bank queries: {share:.0%} of the correction" in fit.notes[-1]


def test_what_known_pairs_judge_is_not_guessed():
    bank, _, items, _ = past(0.1, 300)(0)
    sim = Pair(bank, items)
    judged = Sinkhorn().fit(Bank(sim, judged=True))
    assert torch.equal(judged.gallery_bias, Sinkhorn(rho=1.0).fit(Bank(sim)).gallery_bias)
    assert not judged.notes


@pytest.mark.parametrize(("share", "count"), [(1.0, 40), (1.0, 1000), (0.2, 300)])
def test_an_item_that_is_added_gets_what_it_would_have_had(share, count):
    bank, _, items, _ = past(share, count)(0)
    sim = Pair(bank, items)
    fit = Sinkhorn(tol=1e-7, n_iters=500).fit(Bank(sim))
    again = fit.grown(Pair(bank, items[:7]))
    torch.testing.assert_close(again, fit.gallery_bias[:7], atol=1e-5, rtol=0)
    assert (fit.votes is None) == (not fit.facts["uneven"])
    if fit.term is not None:
        torch.testing.assert_close(fit.term.of(sim), fit.gallery_bias, atol=1e-5, rtol=0)
    assert fit.served().votes is None


def test_a_bank_of_copies_is_one_query_and_fits():
    bank, _, items, _ = past(1.0, 4)(0)
    copied = Sinkhorn().fit(Bank(Pair(np.repeat(bank[:1], 12, 0), items)))
    assert "1 bank queries" in copied.notes[-1]
    few = Sinkhorn().fit(Bank(Pair(np.repeat(bank, 30, 0), items)))
    assert few.facts["strength"] <= 4 / 34
    # Copies are each other's nearest, so that there is no spacing, and these are sure of items.
    sure = np.eye(D, dtype="f4")
    fit = Sinkhorn().fit(Bank(Pair(np.repeat(sure[:2], 5, 0), sure)))
    assert fit.facts["strength"] <= 2 / 32


def test_every_bank_that_nothing_judges_is_told_of():
    bank, _, items, _ = past(1.0, 1000)(0)
    for sim in (Pair(bank, items), Dense(Pair(bank, items).scores())):
        assert "rho=0 if they ask some far more than others" in Sinkhorn().fit(Bank(sim)).notes[0]


def test_own_axes_have_no_say_where_many_queries_pay():
    fits = Judged(gain=0.8, skill=2.0)
    for many, weight in ((True, 1.0), (False, 0.0)):
        seen = Asking(0.0, 0.9, 300, cost=1.5, many=many)
        assert seen.told(fits, own=True).weight == weight
    assert Asking(0.0, 0.9, 300, cost=1.5, many=True).told(fits, own=False).weight == 0


def test_a_gain_over_own_axes_that_hardly_beat_chance_tells_nothing():
    """Few wanted items fit their own axes; those of embeddings had no say and are believed."""
    seen, gained = Asking(0.0, 0.9, 100, cost=1.5), 0.6
    for left, weight in ((0.7, 1.0), (0.85, 0.5), (1.0, 0.0)):
        axes = Judged(gain=gained, skill=gained + left)
        assert seen.told(axes, own=True).weight == pytest.approx(weight)
        assert seen.told(axes, own=False).weight == 0
    # Few queries have few axes, and a weak model that loses nothing is left with equality.
    axes = Judged(gain=gained, skill=gained)
    assert Asking(0.0, 0.3, 15, cost=1.5).told(axes, own=True).weight == 0
    assert Asking(0.0, 0.9, 100, cost=1.08).told(axes, own=True).weight == 0


def test_an_item_that_is_removed_and_added_again_ranks_as_before():
    bank, queries, items, _ = past(0.2, 60)(0)
    named = {f"v{i}": row for i, row in enumerate(items)}
    model = rerank.fit(named, bank_texts=bank)
    assert model.fitted.stages[-1].facts["uneven"] > 0.9
    want = model.search(queries, k=5).ids
    for i in range(0, M, 9):
        again = model.remove([f"v{i}"]).add(items[i : i + 1], ids=[f"v{i}"])
        assert (again.search(queries, k=5).ids == want).all()
