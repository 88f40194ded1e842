"""Indices of hubness equal their definitions, and the sentence says what they mean."""

import numpy as np
import pytest
import torch
from scipy import stats

from rerank.core import views
from rerank.core.rows import StoredRows
from rerank.core.similarity import Dense, Pair
from rerank.metrics import hubness
from rerank.passes import padding, reduce

RNG = np.random.default_rng(0)


def planted(n=200, m=100, d=16, hubs=4):
    """Queries in a cone, and a few gallery items at its axis."""
    axis = np.ones(d) / np.sqrt(d)
    queries = RNG.normal(size=(n, d)) * 0.15 + axis
    gallery = RNG.normal(size=(m, d)) * 0.5 + axis * 0.3
    gallery[:hubs] = axis + RNG.normal(size=(hubs, d)) * 0.01
    return Pair(queries, gallery)


def test_indices_equal_their_definitions():
    sim = Dense(RNG.normal(size=(60, 40)) + 1.5 * RNG.normal(size=40))
    found = hubness.summary(sim, k=5)
    lists = np.argsort(-sim.scores().numpy(), axis=1)[:, :5]
    counts = np.bincount(lists.ravel(), minlength=40)
    np.testing.assert_array_equal(found.counts, counts)
    np.testing.assert_array_equal(found.firsts, np.bincount(lists[:, 0], minlength=40))
    assert found.skewness == pytest.approx(stats.skew(counts))
    assert found.gini == pytest.approx(
        np.abs(counts[:, None] - counts).sum() / (2 * 40**2 * counts.mean())
    )
    moved = np.clip(counts - counts.mean(), 0, None).sum() / counts.sum()
    assert found.robin_hood == pytest.approx(moved)
    assert set(found.hubs) == set(np.flatnonzero(counts > 2 * counts.mean()))
    assert set(found.antihubs) == set(np.flatnonzero(counts == 0))
    assert found.hub_share == pytest.approx(counts[found.hubs].sum() / counts.sum())


def test_chance_level_is_that_of_a_binomial():
    n, m, k = 200, 50, 5
    found = hubness.Hubness(k, n, np.full(m, n * k // m), np.full(m, n // m))
    draws = np.random.default_rng(1).binomial(n, k / m, size=2_000_000)
    assert found.skewness_by_chance == pytest.approx(stats.skew(draws), abs=0.01)
    assert (found.skewness, found.gini, found.robin_hood) == (0.0, 0.0, 0.0)


def test_planted_hubs_are_named_first():
    found = hubness.summary(planted())
    assert set(found.hubs[:4]) == {0, 1, 2, 3}
    top = found.as_dict([f"v{j}" for j in range(100)])["top"]
    assert {entry["id"] for entry in top[:4]} == {"v0", "v1", "v2", "v3"}
    assert found.skewness > 2


def test_lists_computed_elsewhere_are_taken():
    from rerank.passes import reduce

    sim = planted()
    given = hubness.summary(sim, topk=reduce.topk(sim, 20))
    np.testing.assert_array_equal(given.counts, hubness.summary(sim).counts)
    padded = np.array([[0, 1, -1], [0, -1, -1]])
    np.testing.assert_array_equal(hubness.from_lists(padded, 3).counts, [2, 1, 0])


def test_lists_as_long_as_the_gallery_say_nothing_and_are_shortened():
    found = hubness.summary(Dense(RNG.normal(size=(30, 6))))
    assert found.k == 3


def test_sentences_follow_the_numbers():
    assert "Strong hubness" in hubness.sentence(hubness.summary(planted()))
    # An orthonormal gallery without hubs: every item is met about equally often.
    even = Dense(np.random.default_rng(3).random((4000, 40)))
    assert hubness.sentence(hubness.summary(even), "items").startswith("No hubs")
    few = hubness.summary(Dense(RNG.normal(size=(2, 100))))
    assert "2 lists of 10 cannot tell 100 videos apart; use at least 20 queries" in (
        hubness.sentence(few)
    )
    one = hubness.summary(Dense(RNG.normal(size=(1, 100))))
    assert "1 list of 10 " in hubness.sentence(one)


def test_advice_is_given_once_for_all_directions():
    strong, even = (
        hubness.summary(planted()),
        hubness.summary(Dense(np.random.default_rng(3).random((4000, 40)))),
    )
    few = hubness.summary(Dense(RNG.normal(size=(2, 100))))
    assert hubness.advice([even, strong]).startswith("Re-rank with rerank apply")
    assert "measure it" in hubness.advice([even, few])
    assert hubness.advice([few, few]) == "Look again with more queries."


def test_geometry_of_known_clouds():
    d = 8
    eye = np.eye(d)
    found = hubness.geometry(Pair(np.vstack([eye, -eye]), np.vstack([eye, -eye])))
    assert found.gap == pytest.approx(0, abs=1e-12)
    assert found.text_rank == pytest.approx(d)
    assert found.text_anisotropy == pytest.approx(-1 / (2 * d - 1))
    pair = planted()
    cosines = (pair.queries @ pair.queries.T).numpy()
    off = cosines[~np.eye(len(cosines), dtype=bool)]
    assert hubness.geometry(pair).text_anisotropy == pytest.approx(off.mean())
    gap = torch.linalg.vector_norm(pair.queries.mean(0) - pair.gallery.mean(0))
    assert hubness.geometry(pair).gap == pytest.approx(float(gap))


def test_effective_rank_is_the_exponential_entropy_of_the_singular_values():
    x = torch.from_numpy(RNG.normal(size=(50, 6)) * np.array([5, 3, 1, 0.5, 0.1, 0]))
    values = torch.linalg.svdvals(x - x.mean(0))
    shares = values[values > 1e-9] / values.sum()
    expected = float(torch.exp(-(shares * shares.log()).sum()))
    assert hubness.effective_rank(x) == pytest.approx(expected, rel=1e-6)


def counted(*counts: int) -> hubness.Hubness:
    """One place for each query; so many queries find each item."""
    items = np.repeat(np.arange(len(counts)), counts)
    return hubness.from_lists(items[:, None], len(counts))


def test_a_rise_of_hubs_is_told_as_it_is_shown():
    even, hub, lost = counted(2, 2, 2, 2), counted(5, 1, 1, 1), counted(3, 3, 2, 0)
    assert hubness.rise(even, even) == hubness.rise(hub, even) == ""
    assert hubness.rise(even, hub) == (
        "hubs weigh more than before (skewness 0.00 -> 1.15); a ground truth tells if it helps"
    )
    assert "(antihubs 0.0% -> 25.0%)" in hubness.rise(even, lost)
    assert lost.skewness < 0 and hubness.rise(lost, hub).count("->") == 1
    more = counted(8, 0, 0, 0)
    assert "skewness 0.00 -> 1.15, antihubs 0.0% -> 75.0%" in hubness.rise(even, more)


def padded(scores, rows, columns, fills):
    """Scores with rows of one number appended, then columns of another."""
    n, m = scores.shape
    out = np.full((n + rows, m + columns), fills[0], dtype=scores.dtype)
    out[:n, m:] = fills[1]
    out[:n, :m] = scores
    return out


def popular(n=60, m=50, seed=1):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, m)) + 1.5 * rng.normal(size=m)


@pytest.mark.parametrize("fills", [(0, 0), (-100, -100), (-np.inf, -np.inf), (0, -np.inf), (7, 7)])
@pytest.mark.parametrize(("rows", "columns"), [(15, 0), (0, 20), (15, 20), (90, 70)])
def test_padding_of_scores_changes_no_figure(fills, rows, columns):
    plain = popular()
    bare = hubness.summary(Dense(plain)).as_dict()
    assert bare["antihubs"] > 0  # of scores that vary: they count
    sim = Dense(padded(plain, rows, columns, fills), unscored=True)
    mapped = views.Mapped(sim, lambda _, block: block)
    split = Dense(sim.base, unscored=True, block_size=7)
    for found in (hubness.summary(x) for x in (sim, mapped, split)):
        assert found.as_dict() == bare
        assert found.live is None or found.live[:50].all() and not found.live[50:].any()
        assert len(found.counts) == 50 + columns
    again = sim.add_gallery_bias(torch.linspace(-3, 3, 50 + columns, dtype=torch.float64))
    biased = Dense(plain).add_gallery_bias(again.right[:50, 0])
    expected = hubness.summary(biased).as_dict()
    assert hubness.summary(again, raw=sim).as_dict() == expected
    lists = reduce.topk(again, 20)
    assert hubness.summary(again, raw=sim, topk=lists).as_dict() == expected


@pytest.mark.parametrize("streamed", [False, True])
def test_embeddings_of_zeros_change_no_figure(streamed):
    rng = np.random.default_rng(2)
    texts, videos = rng.normal(size=(60, 12)), rng.normal(size=(50, 12)) + 0.3
    more = [np.vstack([x, np.zeros((25, 12))]).astype("float32") for x in (texts, videos)]
    if streamed:
        more = [StoredRows(torch.from_numpy(x)) for x in more]
    plain = Pair(texts.astype("float32"), videos.astype("float32"), metric="dot")
    sim = Pair(*more, metric="dot")
    for one, other in ((plain, sim), (plain.T, sim.T)):
        assert hubness.summary(other).as_dict() == hubness.summary(one).as_dict()
    drawn = [hubness.summary(x, most=30).as_dict() for x in (plain, sim)]
    assert drawn[0] == drawn[1] and drawn[0]["queries"] == 30


def test_lines_of_a_number_that_is_common_are_no_padding():
    """Probabilities that rounded to zero: an item that nobody finds is an antihub."""
    scores = np.zeros((60, 50))
    scores[np.arange(60), np.arange(60) % 45] = 1
    assert len(hubness.summary(Dense(scores), 1).antihubs) == 5
    assert padding.live(Dense(scores)).whole
    assert padding.live(Dense(np.ones((60, 50)))).whole
    assert padding.live(Dense(np.tile(np.arange(50.0), (60, 1)))).whole


def test_where_nothing_varies_everything_counts():
    rows = torch.zeros((20, 4))
    for sim in (Pair(rows, torch.ones((30, 4)), metric="dot"), Dense(torch.full((20, 30), 0.5))):
        for side in (sim, sim.T):
            found = hubness.summary(side)
            assert found.n_items == side.shape[1] and found.n_queries == side.shape[0]
