"""Cross-fit: no query is judged by a bias that it, or its own item, took part in."""

import numpy as np
import pytest
import torch

from rerank.core.errors import RerankError
from rerank.core.similarity import Dense, Pair
from rerank.core.views import Mapped
from rerank.methods import registry as presets
from rerank.metrics import ranks as metrics
from rerank.metrics.crossfit import cross_fit, halves, subset
from rerank.metrics.figures import find_all


def case(n=60, m=40, seed=0):
    rng = np.random.default_rng(seed)
    owner = rng.integers(0, m - 5, n)  # the last five items are distractors
    scores = rng.normal(size=(n, m)) + rng.normal(size=m)
    scores[np.arange(n), owner] += 1.5
    return scores, [np.array([j]) for j in owner], owner


def test_halves_share_no_query_and_no_right_answer():
    scores, positives, owner = case()
    first, second = halves(Dense(scores), positives)
    np.testing.assert_array_equal(np.sort(np.r_[first.queries, second.queries]), np.arange(60))
    assert abs(len(first.queries) - len(second.queries)) <= 6
    for own, other in ((first, second), (second, first)):
        assert not set(owner[other.queries]) & set(own.gallery)
        assert set(owner[own.queries]) <= set(own.gallery)
        assert {35, 36, 37, 38, 39} <= set(own.gallery)
        for row, right in zip(own.queries, own.positives, strict=True):
            np.testing.assert_array_equal(own.gallery[right], positives[row])
        expected = scores[np.ix_(other.queries, own.gallery)]
        np.testing.assert_array_equal(own.bank.sim.scores().numpy(), expected)
        assert own.bank.label == "cross-fit"


def test_figures_equal_those_computed_by_hand_with_the_inverted_softmax():
    scores, positives, _ = case()
    tau = 0.3
    found = cross_fit(presets.pipeline("is", tau=tau), Dense(scores), positives)
    expected_before, expected_after = np.empty(60), np.empty(60)
    for own in halves(Dense(scores), positives):
        other = np.setdiff1d(np.arange(60), own.queries)
        bank = scores[np.ix_(other, own.gallery)]
        bias = -tau * np.log(np.exp(bank / tau).sum(axis=0))
        for row in own.queries:
            for out, shift in ((expected_before, 0.0), (expected_after, bias)):
                line = scores[row, own.gallery] + shift
                right = np.isin(own.gallery, positives[row])
                out[row] = 1 + (line > line[right].max()).sum()
    np.testing.assert_array_equal(found.before.ranks.values, expected_before)
    np.testing.assert_array_equal(found.after.ranks.values, expected_after)


def test_a_half_cannot_influence_the_bias_it_is_judged_by():
    scores, positives, _ = case()
    first, _ = halves(Dense(scores), positives)
    spoiled = scores.copy()
    spoiled[first.queries] += np.random.default_rng(5).normal(size=(len(first.queries), 40))
    again, _ = halves(Dense(spoiled), positives)
    stages = presets.pipeline("sinkhorn", tau=0.3)
    torch.testing.assert_close(
        stages.fit(first.bank).gallery_bias, stages.fit(again.bank).gallery_bias
    )


def test_every_judged_query_has_one_rank_and_others_none():
    scores, positives, _ = case()
    positives[3] = np.array([], dtype=int)
    found = cross_fit(presets.pipeline("sinkhorn"), Dense(scores), positives)
    assert len(found.after.ranks) == len(found.before.ranks) == 59
    assert not found.after.ranks.judged[3]
    assert found.galleries[0] < 40 and found.galleries[1] < 40


def test_measures_follow_the_queries_through_the_halves():
    scores, positives, _ = case()
    found = cross_fit(presets.pipeline("none"), Dense(scores), positives, figures=find_all("MRR"))
    np.testing.assert_allclose(found.after.parts["MRR"][:, 0], 100 / found.after.ranks.values)


def test_raw_figures_stand_on_the_reduced_gallery():
    scores, positives, _ = case()
    found = cross_fit(presets.pipeline("none"), Dense(scores), positives)
    np.testing.assert_array_equal(found.before.ranks.values, found.after.ranks.values)
    full = metrics.ranks(Dense(scores), positives)
    assert metrics.mean_rank(found.before.ranks) < metrics.mean_rank(full)


@pytest.mark.parametrize("method", ["sinkhorn", "em+sinkhorn", "dualis"])
def test_embeddings_bring_the_banks_of_both_sides(golden, method):
    pair = Pair(golden["texts"], golden["videos"])
    found = cross_fit(presets.pipeline(method), pair, [[j] for j in golden["gt"]])
    assert len(found.after.ranks) == 120


def test_the_split_is_seeded():
    scores, positives, _ = case()
    same = [halves(Dense(scores), positives, seed=seed)[0].queries for seed in (0, 0, 1)]
    np.testing.assert_array_equal(same[0], same[1])
    assert not np.array_equal(same[0], same[2])


def test_subsets_keep_corrections_and_masses(golden):
    pair = Pair(golden["texts"], golden["videos"]).add_gallery_bias(torch.arange(120.0))
    pair = pair.with_mass(queries=np.arange(1.0, 121.0))
    rows, columns = np.array([5, 2, 7]), np.array([1, 0])
    part = subset(pair, rows, columns)
    torch.testing.assert_close(part.scores(), pair.scores()[rows][:, columns])
    np.testing.assert_array_equal(part.query_mass, [6.0, 3.0, 8.0])


def test_what_cannot_be_split_is_refused():
    with pytest.raises(RerankError, match="no two halves"):
        halves(Dense(np.zeros((3, 2))), [[0], [0, 1], [1]])
    mapped = Mapped(Dense(np.zeros((2, 2))), lambda rows, block: block)
    with pytest.raises(RerankError, match="got Mapped"):
        halves(mapped, [[0], [1]])
