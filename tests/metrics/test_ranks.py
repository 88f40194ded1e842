"""Exact ranks: three counts replace the sort, and ties are averaged, not exploited."""

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
import torch

from rerank.core.errors import RerankError
from rerank.core.similarity import Dense, Pair
from rerank.metrics import ranks as metrics

DIAGONAL = [np.array([i]) for i in range(120)]


def brute_force(scores, positives, ks):
    """Mean rank and hit rates over every order of the gallery that sorts the scores."""
    seen, hits = [], []
    m = len(scores)
    for order in permutations(range(m)):
        if any(scores[a] < scores[b] for a, b in zip(order, order[1:], strict=False)):
            continue
        rank = 1 + min(order.index(item) for item in positives)
        seen.append(rank)
        hits.append([rank <= k for k in ks])
    return np.mean(seen), np.mean(hits, axis=0), min(seen), max(seen)


def test_published_metrics_of_clip4clip(golden):
    found = metrics.summary(metrics.ranks(Dense(golden["metrics_matrix"]), DIAGONAL))
    values = [found[name] for name in ("R@1", "R@5", "R@10", "MdR", "MnR")]
    np.testing.assert_allclose(values, golden["clip4clip_metrics"], rtol=1e-12)


def test_published_metrics_of_qbnorm_are_the_mid_rank(golden):
    tied = Dense(np.round(golden["metrics_matrix"], 2))
    found = metrics.summary(metrics.ranks(tied, DIAGONAL, ties="mid"))
    values = [found[name] for name in ("R@1", "R@5", "R@10", "MdR", "MnR")]
    np.testing.assert_allclose(np.round(values, 1), golden["qbnorm_metrics_tied"])
    assert found["tied_queries"] > 0


def test_mid_ranks_hit_as_published_half_places_count_from_r5_on():
    # 0-based mid ranks 0.5 and 4.5: `== 0` for R@1, `< 5` for R@5.
    scores = np.array([[9.0, 9, 1, 1, 1, 1, 1], [9.0, 9, 9, 9, 5, 5, 1]])
    found = metrics.ranks(Dense(scores), [[0], [4]], ties="mid")
    np.testing.assert_array_equal(found.values, [1.5, 5.5])
    np.testing.assert_array_equal(found.hits(1), [0, 0])
    np.testing.assert_array_equal(found.hits(5), [1, 1])
    np.testing.assert_array_equal(found.hits(4), [1, 0])


def test_expected_ranks_equal_the_average_over_every_order_of_the_ties():
    rng = np.random.default_rng(0)
    for _ in range(60):
        m = 6
        scores = rng.integers(0, 3, m).astype(float)
        scores[rng.random(m) < 0.2] = -np.inf
        positives = np.sort(rng.choice(m, rng.integers(1, 4), replace=False))
        ks = range(1, m + 2)
        mean, hits, best, worst = brute_force(scores, positives, ks)
        found = metrics.ranks(Dense(scores[None], unscored=True), [positives])
        assert found.values[0] == pytest.approx(mean)
        np.testing.assert_allclose([found.hits(k)[0] for k in ks], hits, atol=1e-12)
        assert replace(found, ties="optimistic").values[0] == best
        assert replace(found, ties="pessimistic").values[0] == worst


def test_a_constant_matrix_gives_chance_level():
    n, m, p = 9, 50, 3
    positives = [np.arange(p)] * n
    found = metrics.ranks(Dense(np.full((n, m), 0.25)), positives)
    assert metrics.mean_rank(found) == pytest.approx((m + 1) / (p + 1))
    miss = (47 / 50) * (46 / 49) * (45 / 48) * (44 / 47) * (43 / 46)
    assert metrics.recall_at(found, 5) == pytest.approx(100 * (1 - miss))
    single = metrics.ranks(Dense(np.zeros((n, m))), [[3]] * n)
    assert metrics.recall_at(single, 1) == pytest.approx(100 / m)
    assert metrics.recall_at(single, 10) == pytest.approx(100 * 10 / m)


@pytest.mark.parametrize("block_size", [1, 7, None])
def test_streamed_equals_stored_in_any_blocks(golden, block_size):
    texts, videos = golden["texts"].astype("float32"), golden["videos"].astype("float32")
    stored = metrics.ranks(Dense(texts @ videos.T), DIAGONAL)
    streamed = metrics.ranks(Pair(texts, videos, metric="dot", block_size=block_size), DIAGONAL)
    np.testing.assert_array_equal(streamed.values, stored.values)
    back = metrics.ranks(Pair(texts, videos, metric="dot", block_size=block_size).T, DIAGONAL)
    np.testing.assert_array_equal(
        back.values, metrics.ranks(Dense(texts @ videos.T).T, DIAGONAL).values
    )


@pytest.mark.parametrize("block_size", [1, 3, 7, 64])
def test_a_query_ties_with_itself_whatever_the_block_shape(block_size):
    rng = np.random.default_rng(1)
    sim = Pair(
        rng.normal(size=(200, 67)).astype("float32"),
        rng.normal(size=(90, 67)).astype("float32"),
        block_size=block_size,
    )
    found = metrics.ranks(sim, rng.integers(0, 90, 200))
    assert (found.tied_positives == 1).all()
    assert (found.tied >= 1).all()


@pytest.mark.gpu
def test_ranks_on_a_gpu_equal_those_on_the_cpu(golden):
    scores = np.round(golden["metrics_matrix"], 2)
    there = metrics.ranks(Dense(torch.from_numpy(scores).cuda()), DIAGONAL)
    here = metrics.ranks(Dense(scores), DIAGONAL)
    np.testing.assert_array_equal(there.values, here.values)
    np.testing.assert_array_equal(there.hits(5), here.hits(5))


def test_rounding_moves_recall_no_further_than_the_tie_interval(golden):
    exact = metrics.ranks(Dense(golden["metrics_matrix"]), DIAGONAL)
    for decimals in (3, 2, 1, 0):
        tied = metrics.ranks(Dense(np.round(golden["metrics_matrix"], decimals)), DIAGONAL)
        for k in (1, 5, 10):
            low = metrics.recall_at(replace(tied, ties="pessimistic"), k)
            high = metrics.recall_at(replace(tied, ties="optimistic"), k)
            assert low <= metrics.recall_at(exact, k) <= high
            assert low <= metrics.recall_at(tied, k) <= high


def test_as_many_ranks_as_judged_queries():
    scores = np.array([[0.1, 0.9, 0.5], [0.3, 0.2, 0.1], [0.7, 0.7, 0.7]])
    found = metrics.ranks(Dense(scores), {0: [2], 2: [0, 1]})
    assert len(found) == 2 and found.unjudged == 1
    np.testing.assert_array_equal(found.rows, [0, 2])
    np.testing.assert_allclose(found.values, [2, 4 / 3])
    assert metrics.summary(found)["queries"] == 2


def test_positives_that_were_not_scored_rank_behind_everything_scored():
    scores = np.array([[0.5, -np.inf, -np.inf, 0.1, -np.inf]])
    found = metrics.ranks(Dense(scores, unscored=True), [[1]])
    assert (found.better[0], found.tied[0]) == (2, 3)
    assert found.values[0] == 4


def test_several_positives_count_by_the_best():
    scores = torch.tensor([[0.9, 0.2, 0.8, 0.4]])
    assert metrics.ranks(Dense(scores), [[1, 3]]).values[0] == 3
    assert metrics.ranks(Dense(scores), [[1, 3, 2]]).values[0] == 2


def test_a_nan_is_refused_with_its_row():
    sim = Dense(torch.zeros(4, 3)).add(torch.tensor([[0.0], [0.0], [1.0], [0.0]]),
                                       torch.full((3, 1), torch.nan))  # fmt: skip
    with pytest.raises(RerankError, match="row 0 has NaN"):
        metrics.ranks(sim, [[0]] * 4)


@pytest.mark.parametrize(
    ("positives", "message"),
    [
        ([[0]], "got 1 entries, expected one for each of 2"),
        ([[0], [3]], "query row 1: got gallery row 3, expected 0 to 2"),
        ([[0], [-1]], "got gallery row -1"),
        ({2: [0]}, "got query row 2"),
        ([[], []], "no query has any"),
        ([["a"], ["b"]], "expected integer"),
    ],
)
def test_positives_that_do_not_fit_are_refused(positives, message):
    with pytest.raises(RerankError, match=message):
        metrics.ranks(Dense(np.zeros((2, 3))), positives)


def test_unknown_settings_are_refused():
    with pytest.raises(RerankError, match="ties: got 'lucky'"):
        metrics.ranks(Dense(np.zeros((2, 3))), [0, 1], ties="lucky")
    with pytest.raises(RerankError, match="k: got 0"):
        metrics.ranks(Dense(np.zeros((2, 3))), np.array([0, 1])).hits(0)
