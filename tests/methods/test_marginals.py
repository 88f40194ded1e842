"""Laws of the marginals: few queries, dead items, groups, repeats, and what is said of them."""

import math

import numpy as np
import pytest
import torch
from scipy.linalg import expm

from rerank import Bank, Dense, RerankError, Sinkhorn, apply, rerank
from rerank.core.errors import RerankWarning
from rerank.core.wording import typed
from rerank.methods import directions
from rerank.methods.crowd import Crowd
from rerank.methods.marginals import Choice, choose, masses
from rerank.methods.popularity import popularity, without_best
from rerank.methods.potentials import solve
from rerank.methods.repeats import Repeats, from_both_sides
from rerank.methods.sinkhorn import _sentences
from tests.reference import planted, unit

LIMITS = [(np.float64, 1e-6), (np.float32, 1e-3)]


def crowd(n=240, sharp=6.0, seed=0):
    """Scores of n clear one-to-one pairs."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, n)) + sharp * np.eye(n)


def hubs(n=300, m=300, seed=0):
    """One-to-one scores under item popularity, hard enough for errors."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(m, m)) + 2.5 * np.eye(m) + 1.2 * rng.normal(size=m)
    return scores[rng.permutation(m)[:n]]


def said_of(scores, **known):
    """What is said of the marginals of these scores."""
    sim = Dense(scores)
    bank = Bank(sim, label="transductive", **known)
    note = choose(bank, masses(sim, query_groups=bank.query_groups), "auto").note
    return (note,) if note else ()


def slack_by_formula(scores, tau, steps=20000):
    """Partial transport in the plainest terms: rows of mass 1, items of mass 1, one slack row."""
    n, m = scores.shape
    kernel = np.concatenate([np.exp(scores / tau), np.ones((1, m))])
    a = np.concatenate([np.ones(n), [m - n]])
    v = np.ones(m)
    for _ in range(steps):
        u = a / (kernel @ v)
        v = 1 / (kernel.T @ u)
    return tau * np.log(u[:-1]), tau * np.log(v)


@pytest.mark.parametrize("relaxation", [1.0, 1.4])
@pytest.mark.parametrize("block", [3, None])
def test_a_slack_row_is_one_more_query_of_constant_score(block, relaxation):
    scores = hubs(12, 40)
    tau = 0.5
    f, g = slack_by_formula(scores, tau)
    log_a, log_b = (torch.full((k,), -math.log(40), dtype=torch.float64) for k in scores.shape)
    got = solve(
        Dense(scores, block_size=block), tau, log_a=log_a, log_b=log_b, slack=28 / 40,
        n_iters=5000, tol=1e-12, relaxation=relaxation,
    )  # fmt: skip
    np.testing.assert_allclose(got.g - got.g.mean(), g - g.mean(), atol=1e-8)
    np.testing.assert_allclose(got.f - got.f.mean(), f - f.mean(), atol=1e-8)
    plan = np.exp((scores + got.f.numpy()[:, None] + got.g.numpy()) / tau)
    np.testing.assert_allclose(plan.sum(axis=1), 1 / 40, atol=1e-9)
    np.testing.assert_allclose(plan.sum(axis=0) * 40, got.log_asked.exp(), atol=1e-8)
    assert (plan.sum(axis=0) < 1 / 40).all()


@pytest.mark.parametrize(("dtype", "limit"), LIMITS)
@pytest.mark.parametrize("shape", [(120, 120), (30, 120), (120, 70)])
@pytest.mark.parametrize("statement", ["auto", "one-to-one", "grouped"])
def test_dead_rows_and_columns_change_nothing(shape, dtype, limit, statement):
    scores = hubs(120, 120)[: shape[0], : shape[1]].astype(dtype)
    n, m = shape
    padded = np.full((n + 9, m + 60), -np.inf, dtype=dtype)
    places = np.sort(np.random.default_rng(1).permutation(m + 60)[:m])
    padded[4 : n + 4, places] = scores
    both = directions.from_scores(Dense(scores), groups=statement)
    counts = both["t2v"].bank.query_groups, both["t2v"].bank.gallery_groups
    alone = Sinkhorn().fit(both["t2v"].bank)
    sim = Dense(padded, unscored=True)
    spoilt = Sinkhorn().fit(
        Bank(sim, label="transductive", query_groups=counts[0], gallery_groups=counts[1])
    )
    assert alone.form == spoilt.form and spoilt.n_iters == alone.n_iters
    assert spoilt.tau == pytest.approx(alone.tau, rel=limit)
    bias = spoilt.gallery_bias[torch.from_numpy(places)]
    gap = (bias - alone.gallery_bias).abs().max() / alone.tau
    assert float(gap) <= limit
    dead = np.setdiff1d(np.arange(m + 60), places)
    assert (spoilt.gallery_bias[torch.from_numpy(dead)] == 0).all()
    assert abs(float(alone.gallery_bias.double().mean())) < 1e-5 * alone.tau
    ranked = spoilt.transform(sim).scores()[4]
    assert torch.isneginf(ranked[torch.from_numpy(dead)]).all()


@pytest.mark.parametrize(("dtype", "limit"), LIMITS)
def test_more_steps_than_needed_change_nothing(dtype, limit):
    for scores in (hubs(120, 120), hubs(25, 120)):
        some, many = (
            Sinkhorn(n_iters=steps).fit(Dense(scores.astype(dtype))) for steps in (100, 1000)
        )
        assert some.error <= 1e-3
        gap = (some.gallery_bias - many.gallery_bias).abs() / some.tau
        order = [(torch.from_numpy(scores) + f.gallery_bias).argsort(dim=1) for f in (some, many)]
        asked = order[0][:, -1]
        assert float(gap[asked].max()) <= max(limit, 1e-6)
        assert torch.equal(order[0][:, -1], order[1][:, -1])


def test_the_best_iterate_is_returned_and_a_failure_is_said():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(60, 60))
    blocks = np.full_like(scores, -np.inf)
    for start in (0, 20, 41):
        blocks[start : start + 19, start : start + 17] = scores[
            start : start + 19, start : start + 17
        ]
    blocks[0, :] = scores[0]
    errors = []
    for steps in range(1, 40):
        found = Sinkhorn(tau=0.05, rho=1.0, n_iters=steps, tol=None).fit(
            Dense(blocks, unscored=True)
        )
        errors.append(found.error)
    assert all(later <= 1.05 * before for before, later in zip(errors, errors[1:], strict=False))
    assert errors[-1] > 0.05 and "did not converge" in " ".join(found.notes)
    assert any("take a larger tau or n_iters" in note for note in found.notes)
    with typed():
        notes = Sinkhorn(tau=0.05, rho=1.0, tol=None).fit(Dense(blocks, unscored=True)).notes
    assert any(note.endswith("take a larger --tau") for note in notes)
    fine = Sinkhorn(rho=1.0).fit(Dense(scores))
    assert not any("converge" in note for note in fine.notes)


@pytest.mark.parametrize(("popular", "least"), [(0.0, -0.05), (0.4, 0.02)])
def test_few_queries_keep_what_equality_would_ruin(popular, least):
    gain = np.zeros(2)
    for seed in range(8):
        rng = np.random.default_rng(seed)
        scores = rng.normal(size=(300, 300)) + 3 * np.eye(300) + popular * rng.normal(size=300)
        truth = rng.permutation(300)[:8]
        scores = scores[truth]
        few, equal = (
            scores + settings.fit(Dense(scores)).gallery_bias.numpy()
            for settings in (Sinkhorn(), Sinkhorn(rho=1.0))
        )
        raw, few, equal = ((x.argmax(axis=1) == truth).mean() for x in (scores, few, equal))
        gain += np.array([few - raw, few - equal]) / 8
    assert gain[0] >= least and gain[1] >= 0.1


def test_the_queries_are_counted_as_they_count():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(80, 80))
    for distinct, said in ((1, "1 distinct query"), (60, "60 distinct queries")):
        (note,) = said_of(scores[np.arange(80) % distinct])
        assert note.startswith(f"{said} for 80 items: each item counts for one query at most")
    assert said_of(scores[:60])[0].startswith("60 queries for 80 items: ")
    (note,) = said_of(scores, query_groups=40)
    assert note.startswith("80 queries of 40 groups for 80 items: ")
    (note,) = said_of(scores[np.arange(80) % 60, :40])
    assert note.startswith("60 distinct queries for 40 items: all items count")
    (note,) = said_of(scores)
    assert note.startswith("80 queries for 80 items: each item counts for one query; say rho=0")
    assert said_of(np.zeros((500, 500)) + np.arange(500)[:, None]) == ()


def test_as_many_queries_as_items_is_the_limit_of_few():
    scores = hubs(300, 300)
    whole, less = (
        Sinkhorn(n_iters=500).fit(Dense(scores)),
        Sinkhorn(n_iters=500).fit(Dense(scores[:299])),
    )
    assert (whole.form, less.form) == ("equality", "few queries")
    one, two = (torch.from_numpy(scores[:299]) + f.gallery_bias for f in (whole, less))
    assert float((one.argmax(dim=1) == two.argmax(dim=1)).double().mean()) > 0.98


def test_the_number_of_distinct_queries_counts():
    scores = hubs(300, 300)
    assert masses(Dense(scores)).slack == 0
    twice = np.concatenate([scores[:100], scores[:100]])
    assert masses(Dense(twice)).slack == pytest.approx(2 / 3)
    assert masses(Dense(twice), duplicates="count").slack == pytest.approx(1 / 3)
    assert masses(Dense(scores[:100]), query_groups=50).slack == pytest.approx(5 / 6)
    assert masses(Dense(scores[:100]).T).slack == pytest.approx(-2 / 3)
    assert masses(Dense(scores[:100])).T.slack == pytest.approx(-2 / 3)
    shared, once = (Sinkhorn(tau=0.4, n_iters=500).fit(Dense(x)) for x in (twice, scores[:100]))
    np.testing.assert_allclose(shared.gallery_bias, once.gallery_bias, atol=1e-3)


def test_popularity_is_what_many_queries_agree_on():
    rng = np.random.default_rng(0)
    popular = rng.normal(size=200)
    noise = rng.normal(size=(100, 200))
    for pull, low, high in ((0.0, 0.0, 0.35), (1.0, 0.9, 1.0)):
        sim = Dense(noise + pull * popular)
        found = masses(sim)
        bias, kept = popularity(sim, 1.0, found=found, log_a=found.log_a, queries=100.0)
        assert low <= kept <= high
    assert np.corrcoef(bias, -popular)[0, 1] > 0.98
    assert popularity(sim, 1.0, found=found, log_a=found.log_a, queries=1.0)[1] == 0


def test_items_that_were_normalised_over_all_queries_keep_their_popularity():
    logits = 2 * hubs(200, 200)
    over_queries = torch.log_softmax(torch.from_numpy(logits), dim=0)[:40]
    over_items = torch.log_softmax(torch.from_numpy(logits), dim=1)[:40]
    for scores, corrected in ((over_queries, False), (over_items, True), (logits[:40], True)):
        assert (Sinkhorn().fit(Dense(scores)).facts["popularity"] > 0) is corrected


CASES = [
    # (queries, items, statement) -> form
    (50, 100, "auto", "few queries"),
    (50, 100, "one-to-one", "few queries"),
    (50, 100, "grouped", "grouped"),
    (100, 100, "auto", "equality"),
    (100, 100, "one-to-one", "equality"),
    (100, 50, "auto", "equality"),
    (100, 50, "grouped", "equality"),
    (100, 50, "one-to-one", "one-to-one"),
]


@pytest.mark.parametrize(("n", "m", "statement", "form"), CASES)
def test_what_is_known_chooses_the_marginals_and_is_said(n, m, statement, form):
    scores = hubs(100, 100)[:n, :m]
    both = directions.from_scores(Dense(scores), groups=statement)
    fitted = Sinkhorn().fit(both["t2v"].bank)
    assert fitted.form == fitted.facts["marginals"] == form
    assert set(fitted.facts) >= {"rho", "slack", "tau"}
    said = " ".join(fitted.marginals)
    assert "rho=0" in said and "leaves all as it is" in said
    assert ("say groups=" in said) == (n != m and statement == "auto")
    # Both directions of one call read the same statement.
    back = Sinkhorn().fit(both["v2t"].bank)
    turned = Sinkhorn().fit(directions.from_scores(Dense(scores.T), groups=statement)["t2v"].bank)
    assert back.form == turned.form


def test_a_slack_column_is_the_other_direction_of_a_slack_row():
    scores = hubs(100, 100)[:, :40]
    both = directions.from_scores(Dense(scores), groups="one-to-one")
    here, there = (Sinkhorn(n_iters=500, tol=1e-9).fit(both[s].bank) for s in ("t2v", "v2t"))
    assert here.tau == pytest.approx(there.tau)
    f = there.query_bias.numpy()
    np.testing.assert_allclose(here.gallery_bias, f - f.mean(), atol=1e-9)


def test_groups_of_no_longer_side_are_said_to_change_nothing():
    scores = hubs(60, 60)
    with pytest.warns(RerankWarning, match='groups="grouped" changes nothing: there are as many'):
        said = rerank(scores, groups="grouped", tau=1.0)
    np.testing.assert_array_equal(said, rerank(scores, tau=1.0))
    both = directions.from_scores(Dense(scores[:50]), groups="grouped")
    assert not any(direction.warnings for direction in both.values())


def test_one_to_one_is_as_stated_only_where_it_was_stated():
    scores = hubs(100, 100)[:50]
    ids = np.repeat(np.arange(25), 2)
    grouped, stated = (
        Sinkhorn().fit(directions.from_scores(Dense(scores), groups=groups)["v2t"].bank)
        for groups in (ids, "one-to-one")
    )
    assert grouped.form == stated.form == "one-to-one"
    said = "100 queries for 50 items of 25 groups: queries may have no item; say rho=0 "
    assert grouped.marginals[0].startswith(said)
    assert "for 50 items, one-to-one as stated: queries may" in stated.marginals[0]


@pytest.mark.parametrize("weight", [0.0, 0.004, 0.4, 1.0])
def test_a_correction_of_next_to_nothing_is_none(weight):
    fitted = Sinkhorn(n_iters=500).fit(Dense(hubs(60, 60)))
    seen = Repeats(weight, 0.8, 1.0)
    choice = Choice("few queries", 1.0, "50 queries for 60 items")
    said = " ".join(_sentences(choice, seen, fitted, few_wanted=Crowd(), one_topic=0.0))  # type: ignore[arg-type]
    assert " 0%" not in said
    assert ("too little to correct" in said) == (weight == 0.004)
    assert ("for popularity alone" in said) == (weight > 0.004)
    assert ("50 queries for 60 items" in said) == (weight < 0.4)


def test_queries_of_one_group_are_left_as_a_single_query_is():
    scores = torch.randn(8, 50, generator=torch.Generator().manual_seed(0))
    bank = directions.from_scores(Dense(scores), groups=["a"] * 8)["t2v"].bank
    fitted = Sinkhorn().fit(bank)
    assert not fitted.gallery_bias.any() and "a single group" in fitted.note


def test_groups_are_counted_from_ids():
    scores = hubs(100, 100)[:, :50]
    ids = np.repeat(np.arange(25), 4)
    both = directions.from_scores(Dense(scores), groups=ids)
    assert (both["t2v"].bank.query_groups, both["t2v"].bank.gallery_groups) == (25, 50)
    assert (both["v2t"].bank.query_groups, both["v2t"].bank.gallery_groups) == (50, 25)
    assert Sinkhorn().fit(both["v2t"].bank).form == "grouped"
    assert Sinkhorn().fit(both["t2v"].bank).slack == pytest.approx(0.5)
    alone = directions.from_scores(Dense(scores), groups=list(range(100)))
    assert alone["t2v"].bank.query_groups is None
    with pytest.raises(RerankError, match="7 ids"):
        rerank(scores, groups=list(range(7)))
    with pytest.raises(RerankError, match="'grouped'"):
        apply(scores=scores, groups="many")


def repeated(n=240, sharp=6.0, noise=0.5):
    """Half of the items asked, some of them very often."""
    rng = np.random.default_rng(1)
    base = crowd(n, sharp)
    rows = np.concatenate([np.repeat([3, 7], n // 6), rng.permutation(n)[: n // 6]])
    rows = np.concatenate([rows, rng.choice(rows, n - len(rows))])
    return base[rows] + noise * rng.normal(size=(n, n)), rows


def test_repeated_queries_are_seen_and_one_to_one_data_are_not_taken_for_such():
    scores, rows = repeated()
    found = Sinkhorn().fit(Dense(scores))
    assert found.form == "repeats" and "rho=1" in " ".join(found.notes)
    equal = Sinkhorn(rho=1.0).fit(Dense(scores))
    right = [
        float(((scores + f.gallery_bias.numpy()).argmax(axis=1) == rows).mean())
        for f in (found, equal)
    ]
    assert right[0] > right[1] + 0.1
    for single in (
        crowd(),
        crowd()[:120],
        crowd()[:80, :80],
        hubs(),
        hubs(100, 300),
        crowd(sharp=2),
    ):
        assert Sinkhorn().fit(Dense(single)).form in ("equality", "few queries")
    queries, gallery, _ = planted()
    assert Sinkhorn().fit(Dense(queries @ gallery.T)).form == "equality"


def test_marginals_do_not_depend_on_the_unit_of_the_scores():
    for scores in (crowd(), crowd()[:120], repeated()[0]):
        one, ten = (Sinkhorn().fit(Dense(c * scores)) for c in (1.0, 10.0))
        assert one.form == ten.form and ten.tau == pytest.approx(10 * one.tau)
        np.testing.assert_allclose(ten.gallery_bias, 10 * one.gallery_bias, atol=1e-6)


def test_given_settings_and_banks_keep_equality():
    sim = Dense(hubs(30, 120))
    found = masses(sim)
    assert choose(Bank(sim), found, "auto").form == "equality"
    assert choose(Bank(sim, label="transductive"), found, 0.8).form == "as given"
    assert Sinkhorn(rho=0.8).fit(sim).rho == 0.8
    with pytest.raises(RerankError, match="new items"):
        Sinkhorn().fit(sim).bias_of(sim)


@pytest.mark.parametrize("tau", [1e-40, 1e-9, 1e35])
def test_a_temperature_that_float32_cannot_carry_is_refused(tau):
    with pytest.raises(RerankError, match=r"tau: got .*expected .*'auto'"):
        Sinkhorn(tau=tau).fit(Dense(hubs(30, 30).astype(np.float32)))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_items_that_are_wanted_often_are_not_punished_for_it(seed):
    # A tenth of the items has all queries, with noise: popularity is mostly demand.
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(400, 400)) + 5 * np.eye(400) + 0.3 * rng.normal(size=400)
    rows = rng.choice(rng.permutation(400)[:40], size=400)
    made = scores[rows] + 0.3 * rng.normal(size=(400, 400))
    fitted = Sinkhorn().fit(Dense(made))
    assert fitted.form == "repeats"
    raw, ours, equal = (
        (x.argmax(axis=1) == rows).mean()
        for x in (
            made,
            made + fitted.gallery_bias.numpy(),
            made + Sinkhorn(rho=1.0).fit(Dense(made)).gallery_bias.numpy(),
        )
    )
    assert ours > raw - 0.02 and ours > equal + 0.2


def test_popularity_without_the_best_is_that_of_the_masked_scores():
    scores = torch.from_numpy(hubs(60, 60))
    sim = Dense(scores)
    found = masses(sim)
    left, votes = without_best(sim, found.log_a, found)
    best = scores.argmax(dim=1, keepdim=True)
    torch.testing.assert_close(left.scores(), scores.scatter(1, best, -math.inf))
    share = 1 - torch.bincount(best[:, 0], minlength=60).double() / 60
    torch.testing.assert_close(votes.exp(), share)
    bias, rho = popularity(
        left, 0.7, found=found, log_a=found.log_a, queries=60, votes=votes
    )  # fmt: skip
    w = (left.scores() / 0.7).softmax(dim=1)
    level = (w.mean(dim=0) / share).log()
    torch.testing.assert_close(bias, -rho * 0.7 * (level - level.mean()))


def asked(kind, seed, *, m=120, d=48, noise=1.2):
    """Queries near their items, by how the items are asked: (scores, right item of each query)."""
    rng = np.random.default_rng(seed)
    items = rng.normal(size=(m, d))
    rows = {
        "all alike": lambda: rng.permutation(m),
        "half of them twice": lambda: np.repeat(rng.choice(m, m // 2, replace=False), 2),
        "a tenth of them never": lambda: np.append(
            rows := rng.choice(m, m - m // 10, replace=False), rng.choice(rows, m // 10)
        ),
        "at random, four times as often": lambda: rng.integers(m, size=4 * m),
        "by rank": lambda: rng.choice(m, m, p=(p := 1 / np.arange(1, m + 1)) / p.sum()),
    }[kind]()
    queries = items[rows] + noise * rng.normal(size=(len(rows), d))
    return unit(queries) @ unit(items).T, rows


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "kind",
    ["half of them twice", "a tenth of them never", "at random, four times as often", "by rank"],
)
def test_items_that_are_asked_unevenly_cost_nothing(kind, seed):
    scores, right = asked(kind, seed)
    fitted = Sinkhorn().fit(Dense(scores))
    equal = Sinkhorn(rho=1.0).fit(Dense(scores))
    raw, now, forced = (
        ((scores + bias).argmax(axis=1) == right).mean()
        for bias in (0, fitted.gallery_bias.numpy(), equal.gallery_bias.numpy())
    )
    assert fitted.form == "repeats" and "unevenly" in fitted.marginals[0]
    assert now >= raw - 0.01 and forced < raw - 0.05


@pytest.mark.parametrize("n", [10, 15, 20, 30])
def test_few_queries_that_are_sure_of_their_items_may_share_them(n):
    # Clips and the prompts of their classes: nearly all are right, and some are of one class.
    raw, now, room = [], [], []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        items = rng.normal(size=(50, 64))
        right = rng.integers(50, size=n)
        scores = unit(items[right] + 1.8 * rng.normal(size=(n, 64))) @ unit(items).T
        fitted = Sinkhorn().fit(Dense(scores))
        for found, bias in ((raw, 0), (now, fitted.gallery_bias.numpy())):
            found.append(((scores + bias).argmax(axis=1) == right).mean())
        if fitted.form == "repeats":
            assert "sure of their first items" in fitted.marginals[0]
            room.append(seed)
    assert len(room) >= 5
    assert 0.9 < np.mean(raw) < 1 and np.mean(now) > np.mean(raw) - 0.015


@pytest.mark.parametrize("noise", [0.8, 1.2, 1.8, 2.4])
def test_items_that_are_asked_alike_are_never_said_to_be_asked_unevenly(noise):
    for seed in range(3):
        scores, _ = asked("all alike", seed, noise=noise)
        assert Sinkhorn().fit(Dense(scores)).form == "equality"


def ranked(seed, *, m=400, d=16, noise=0.5, blur=0.02):
    """Queries whose items are drawn by rank, nearly copies of each other: (scores, right items)."""
    rng = np.random.default_rng(seed)
    scale = np.arange(1, d + 1) ** -0.5
    points = rng.normal(size=(m, d)) * scale
    queries, items = (unit(points + noise * rng.normal(size=(m, d)) * scale) for _ in range(2))
    chance = 1 / np.arange(1, m + 1)
    rows = rng.permutation(m)[rng.choice(m, m, p=chance / chance.sum())]
    return (queries @ items.T)[rows] + blur * rng.normal(size=(m, m)), rows


@pytest.mark.parametrize("seed", range(3))
def test_items_that_repeat_are_seen_from_the_other_side(seed):
    scores, asked_for = ranked(seed)
    turned = scores.T.copy()
    fitted = Sinkhorn().fit(Dense(turned))
    equal = Sinkhorn(rho=1.0).fit(Dense(turned))
    assert fitted.form == "repeats" and fitted.marginals[0].startswith("items seem to repeat")
    answered = np.unique(asked_for)

    def right(bias):
        return (asked_for[(turned + bias).argmax(axis=1)][answered] == answered).mean()

    raw, now, forced = map(right, (0, fitted.gallery_bias.numpy(), equal.gallery_bias.numpy()))
    assert now >= raw - 0.01 and now > forced + 0.01


def test_what_costs_both_sides_confidence_is_no_one_to_one_data():
    """As where no neighbour tells: queries and items are equally alike."""
    for scores, seen in ((ranked(0)[0], True), (asked("all alike", 0)[0], False)):
        sim = Dense(scores)
        equal = Sinkhorn(rho=1.0).fit(sim)
        found = masses(sim)
        back = equal.query_bias - equal.query_bias.mean()
        none = torch.zeros_like(equal.gallery_bias)
        told = from_both_sides(
            sim, equal.tau, gallery_bias=equal.gallery_bias, query_bias=back, found=found,
            seen=Repeats(0.0, alike=1.0, cost=1.5), others=(lambda: none, lambda: none),
        )  # fmt: skip
        assert (told.weight > 0.5) == seen, told
        assert not seen or "asked unevenly" in told.reason
        kept = Repeats(0.0, alike=1.0, cost=1.05)
        asking = {"gallery_bias": equal.gallery_bias, "query_bias": back, "found": found}
        same = from_both_sides(sim, equal.tau, **asking, seen=kept, others=(list, list))
        assert same is kept


@pytest.mark.parametrize("noise", [0.3, 0.5])
def test_hubs_of_turned_pairs_are_no_repeats(noise):
    rng = np.random.default_rng(3)
    videos = rng.normal(size=(400, 16)) + 1.5 * np.random.default_rng(0).normal(size=16)
    texts = videos + noise * rng.normal(size=(400, 16))
    skew = np.random.default_rng(5).normal(size=(16, 16)) / np.sqrt(32)
    scores = unit(texts) @ unit(videos @ expm(skew - skew.T)).T
    assert Sinkhorn().fit(Dense(scores)).form == "equality"
    assert Sinkhorn().fit(Dense(scores.T.copy())).form == "equality"
