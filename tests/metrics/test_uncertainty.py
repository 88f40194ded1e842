"""Intervals cover the truth as often as they promise, also when captions share a video."""

import numpy as np
import pytest
from scipy import stats

from rerank.core.errors import RerankError
from rerank.core.pairs import clusters_of
from rerank.metrics.figures import geometric
from rerank.metrics.page import verdict
from rerank.metrics.uncertainty import Bootstrap, Difference, format_change, too_few


def draw(rng, videos=80, captions=5, spread=1.5):
    """Hits of captions whose difficulty is that of their video; the true hit rate is 0.5."""
    difficulty = rng.normal(size=videos) * spread
    change = rng.normal(size=videos) * 0.5
    owner = np.repeat(np.arange(videos), captions)
    before = rng.random(len(owner)) < 1 / (1 + np.exp(-difficulty[owner]))
    after = rng.random(len(owner)) < 1 / (1 + np.exp(-(difficulty + change)[owner]))
    return owner, before.astype(float), after.astype(float)


def coverage(of, runs=300):
    inside = []
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        low, high, truth = of(*draw(rng), seed)
        inside.append(low <= truth <= high)
    return np.mean(inside)


def test_intervals_cover_the_truth_when_clusters_are_drawn():
    def clustered(owner, before, after, seed):
        found = Bootstrap(owner, resamples=300, seed=seed).interval(before)
        return found.low, found.high, 0.5

    def narrow(owner, before, after, seed):
        found = Bootstrap(owner, level=0.8, resamples=300, seed=seed).interval(before)
        return found.low, found.high, 0.5

    def single(owner, before, after, seed):
        found = Bootstrap(np.arange(len(owner)), resamples=300, seed=seed).interval(before)
        return found.low, found.high, 0.5

    assert 0.91 <= coverage(clustered) <= 0.98
    assert 0.74 <= coverage(narrow) <= 0.86
    # Taking the captions of a video for independent queries promises too much.
    assert coverage(single) < 0.85


def test_paired_differences_cover_the_truth_and_p_is_uniform_under_no_change():
    p_values = []

    def paired(owner, before, after, seed):
        found = Bootstrap(owner, resamples=300, flips=400, seed=seed).difference(before, after)
        p_values.append(found.p)
        return found.low, found.high, 0.0

    assert 0.91 <= coverage(paired) <= 0.98
    p_values = np.array(p_values)
    assert 0.02 <= (p_values <= 0.05).mean() <= 0.085
    assert 0.4 <= (p_values <= 0.5).mean() <= 0.6


def test_pairing_is_narrower_than_two_intervals_apart():
    rng = np.random.default_rng(0)
    before = (rng.random(1000) < 0.4).astype(float)
    after = np.where(rng.random(1000) < 0.05, 1.0, before)
    boot = Bootstrap(np.arange(1000))
    found = boot.difference(before, after)
    assert found.low > 0 and found.p <= 0.001
    assert found.high - found.low < 0.5 * (
        boot.interval(after).high - boot.interval(after).low + 0.01
    )


def test_p_is_the_exact_randomisation_p_where_it_can_be_counted():
    before, after = np.zeros(20), np.zeros(20)
    after[:4] = 1.0
    found = Bootstrap(np.arange(20), flips=40_000).difference(before, after)
    assert found.p == pytest.approx(2 / 2**4, abs=0.01)
    assert Bootstrap(np.arange(20)).difference(before, before).p == 1.0


def test_clusters_join_queries_that_share_an_answer():
    positives = [np.array([0]), np.array([1]), np.array([0, 2]), np.array([2]), np.array([])]
    codes = clusters_of(positives, 3)
    assert codes[0] == codes[2] == codes[3]
    assert len({codes[0], codes[1], codes[4]}) == 3


def test_medians_equal_those_of_the_drawn_queries():
    rng = np.random.default_rng(0)
    values, owner = rng.integers(1, 50, 31).astype(float), rng.integers(0, 9, 31)
    boot = Bootstrap(owner, resamples=50)
    codes = boot.clusters
    weights = np.concatenate(list(boot._weights()))
    expected = [np.median(np.repeat(values, row[codes])) for row in weights]
    np.testing.assert_array_equal(boot.medians(values), expected)
    means = [np.mean(np.repeat(values, row[codes])) for row in weights]
    np.testing.assert_allclose(boot.means(values)[:, 0], means)
    assert boot.median_interval(values).value == np.median(values)


def test_the_geometric_mean_has_an_interval_and_a_p_value():
    rng = np.random.default_rng(0)
    draws = rng.random((400, 1))
    before, after = draws < [0.3, 0.5, 0.6], draws < [0.4, 0.6, 0.7]
    found = Bootstrap(np.arange(400)).difference(before, after, geometric)
    assert found.before == pytest.approx(np.prod(before.mean(axis=0)) ** (1 / 3))
    assert found.low < found.change < found.high and found.p < 0.01


def test_the_same_seed_draws_the_same_in_any_chunks(monkeypatch):
    values, owner = np.random.default_rng(0).random(60), np.arange(60) // 3
    whole = Bootstrap(owner).interval(values)
    assert Bootstrap(owner).interval(values) == whole
    assert Bootstrap(owner, seed=1).interval(values) != whole
    monkeypatch.setattr("rerank.metrics.uncertainty._CHUNK", 20 * 7)
    assert Bootstrap(owner).interval(values) == whole


def test_one_cluster_has_no_interval():
    found = Bootstrap(np.zeros(5)).difference(np.zeros(5), np.ones(5))
    assert np.isnan(found.low) and np.isnan(found.p)
    assert format_change(found) == "1.0 (+1.0)"
    nine = Bootstrap(np.arange(9))
    assert np.isnan(nine.share_interval(np.full(9, 100.0)).low)
    assert np.isnan(nine.interval(np.arange(9.0)).low)
    assert not np.isnan(Bootstrap(np.arange(10)).interval(np.arange(10.0)).low)


@pytest.mark.parametrize("count", [1, 2, 5, 6, 9, 10])
def test_clusters_too_few_to_reach_the_usual_bound_have_no_p_value(count):
    found = Bootstrap(np.arange(60) % count).difference(np.zeros(60), np.full(60, 100.0))
    # The smallest value of the swap test: both ends of 2^count swaps.
    assert np.isnan(found.p) == (2.0 ** (1 - count) >= 0.05)
    said = too_few([found])
    assert ("neither an interval nor a p" in said) == (count < 6)
    assert ("no interval is given" in said) == (6 <= count < 10)
    same = Bootstrap(np.arange(60) % count).difference(np.zeros(60), np.zeros(60))
    assert np.isnan(same.p) == np.isnan(found.p)


def test_changes_are_printed_with_their_interval():
    assert str(Difference(50.0, 48.8, -3.0, 0.6, 0.2)) == "48.8 (-1.2 [-3.0, 0.6])"


def test_settings_are_checked():
    with pytest.raises(RerankError, match="level: got 95"):
        Bootstrap(np.arange(3), level=95)
    with pytest.raises(RerankError, match="got 2 values, expected one for each of the 3"):
        Bootstrap(np.arange(3)).interval(np.zeros(2))


@pytest.mark.parametrize("n", [100, 500])
def test_shares_near_the_edge_are_covered_as_promised(n):
    """Counted exactly over all outcomes: the bootstrap alone covers 60 to 90 % there."""
    held = []
    boot = Bootstrap(np.arange(n), resamples=1)
    bounds = []
    for hits in range(10):
        found = boot.share_interval(np.repeat([100.0, 0.0], [hits, n - hits]))
        bounds.append((found.low, found.high))
    for share in np.linspace(0.5 / n, 3 / n, 20):
        chance = stats.binom.pmf(np.arange(10), n, share)
        held.append(
            sum(p for p, (a, b) in zip(chance, bounds, strict=True) if a <= 100 * share <= b)
        )
    assert 0.93 <= np.mean(held) <= 0.98 and min(held) > 0.9


def test_an_edge_has_an_interval_that_holds_it():
    all_right = Bootstrap(np.arange(50)).share_interval(np.full(50, 100.0))
    assert (all_right.value, all_right.high) == (100, 100) and 90 < all_right.low < 95
    change = Bootstrap(np.arange(50)).differences(
        np.zeros((50, 1)), np.zeros((50, 1)), {"R@1": lambda m: m[..., 0]}, shares={"R@1": 0}
    )["R@1"]
    assert change.low < 0 < change.high


def test_captions_of_one_video_count_as_less_than_independent_queries():
    hits = np.zeros(200)
    hits[:5] = 100
    alone = Bootstrap(np.arange(200)).share_interval(hits)
    together = Bootstrap(np.arange(200) // 10).share_interval(hits)
    assert together.high - together.low > alone.high - alone.low


def test_what_rounds_to_zero_has_no_sign():
    small = Difference(50.0, 49.98, -0.04, -0.0, 1.0)
    assert format_change(small) == "50.0 (+0.0 [0.0, 0.0])"
    assert "(+0.0, 95 % interval 0.0 to 0.0)" in verdict("t2v", "inductive", "R@1", small)
    assert format_change(Difference(50.0, 49.9, -0.1, -0.06, 0.1)) == "49.9 (-0.1 [-0.1, -0.1])"
