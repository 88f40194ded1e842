"""Laws of the Sinkhorn reranker, of its temperature, and parity with published outputs."""

import math

import numpy as np
import pytest
import torch

from rerank import Bank, Dense, InvertedSoftmax, Pair, RerankError, Sinkhorn, rerank
from rerank.methods.potentials import solve
from rerank.methods.temperature import auto_tau
from rerank.passes import reduce
from tests.reference import inverted_softmax, planted, sinkhorn, unit

EXACT = {"n_iters": 5000, "tol": 1e-13, "rho": 1.0}


def centred(x):
    x = np.asarray(x, dtype=np.float64)
    return x - x.mean()


def uniform(sim):
    n, m = sim.shape
    return {
        "log_a": torch.full((n,), -math.log(n), dtype=torch.float64),
        "log_b": torch.full((m,), -math.log(m), dtype=torch.float64),
    }


def scores_of(golden):
    return golden["texts"] @ golden["videos"].T


@pytest.mark.parametrize("scale", [20, 100])
def test_parity_with_the_published_ncl_routine(golden, scale):
    sim, tau = Dense(scores_of(golden)), 1 / scale
    start = -tau * reduce.logsumexp(sim, tau, over="queries")
    got = solve(sim, tau, **uniform(sim), n_iters=4, relaxation=1, init=start)
    want = golden[f"ncl_{scale}_gallery"], golden[f"ncl_{scale}_query"]
    np.testing.assert_allclose(centred(got.g / tau), centred(want[0]), atol=1e-8)
    np.testing.assert_allclose(centred(got.f / tau), centred(want[1]), atol=1e-8)


def test_parity_with_the_published_ncl_bank(golden):
    bank, tau = Dense(golden["bank_texts"] @ golden["videos"].T), 1 / 50
    start = -tau * reduce.logsumexp(bank, tau, over="queries")
    got = solve(bank, tau, **uniform(bank), n_iters=4, relaxation=1, init=start)
    np.testing.assert_allclose(
        centred(got.g / tau), centred(golden["ncl_bank_50_gallery"]), atol=1e-8
    )


def test_parity_with_dbsn(golden):
    sim = Dense(scores_of(golden))
    got = solve(sim, 0.05, **uniform(sim), n_iters=10, relaxation=1)
    np.testing.assert_allclose(centred(got.f), centred(-golden["sn_tau05_first"]), atol=1e-13)
    np.testing.assert_allclose(centred(got.g), centred(-golden["sn_tau05_second"]), atol=1e-13)


@pytest.mark.parametrize("tau", [0.02, 0.05])
def test_parity_with_pot(golden, tau):
    sim = Dense(scores_of(golden))
    plan = Sinkhorn(tau=tau, **EXACT).fit(sim).plan(sim).numpy()
    np.testing.assert_allclose(plan, golden[f"pot_plan_tau{tau}"], atol=1e-8)


@pytest.mark.parametrize("block", [1, 7, None])
@pytest.mark.parametrize("tau", [0.08, 0.2, 1.0])
def test_streamed_equals_dense_equals_formula(block, tau):
    queries, gallery, _ = planted(n=40)
    f, g = sinkhorn(queries @ gallery.T, tau, n_iters=6000)
    for sim in (
        Pair(queries, gallery, block_size=block),
        Dense(queries @ gallery.T, block_size=block),
    ):
        got = Sinkhorn(tau=tau, **EXACT).fit(sim)
        np.testing.assert_allclose(got.gallery_bias, centred(g), atol=1e-9)
        np.testing.assert_allclose(centred(got.query_bias), centred(f), atol=1e-9)


@pytest.mark.parametrize("tau", [0.002, 0.01, 0.1])
def test_float32_stays_near_float64(tau):
    queries, gallery, _ = planted(n=80)
    double = Sinkhorn(tau=tau, n_iters=30, tol=None, rho=1.0).fit(Pair(queries, gallery))
    single = Sinkhorn(tau=tau, n_iters=30, tol=None, rho=1.0).fit(
        Pair(queries.astype(np.float32), gallery.astype(np.float32))
    )
    assert single.gallery_bias.dtype == torch.float32
    np.testing.assert_allclose(single.gallery_bias, double.gallery_bias, atol=2e-5)


def test_marginals_are_met_and_masses_respected():
    queries, gallery, _ = planted(n=30)
    rng = np.random.default_rng(3)
    a, b = rng.uniform(0.5, 2, 30), rng.uniform(0.5, 2, 30)
    sim = Pair(queries, gallery).with_mass(queries=a, gallery=b)
    plan = Sinkhorn(tau=0.1, **EXACT).fit(sim).plan(sim).numpy()
    np.testing.assert_allclose(plan.sum(axis=1), a / a.sum(), atol=1e-10)
    np.testing.assert_allclose(plan.sum(axis=0), b / b.sum(), atol=1e-10)


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.7, 0.9, 1.0])
def test_rho_is_the_power_of_the_gallery_step(rho):
    queries, gallery, _ = planted(n=30)
    sim, tau = Pair(queries, gallery), 0.1
    got = Sinkhorn(tau=tau, **{**EXACT, "rho": rho}).fit(sim)
    lse = reduce.logsumexp(sim, tau, over="queries", plus=got.query_bias).numpy()
    np.testing.assert_allclose(got.gallery_bias.numpy(), centred(-rho * tau * lse), atol=1e-9)
    if rho == 0:
        assert got.gallery_bias.abs().max() == 0


def test_the_relaxed_iteration_has_the_same_solution_in_fewer_steps():
    rng = np.random.default_rng(0)
    sim = Pair(rng.normal(size=(150, 16)), rng.normal(size=(150, 16)))
    plain = Sinkhorn(tau=0.03, n_iters=2000, tol=1e-6, relaxation=1.0, rho=1.0).fit(sim)
    fast = Sinkhorn(tau=0.03, n_iters=2000, tol=1e-6, rho=1.0).fit(sim)
    np.testing.assert_allclose(fast.gallery_bias, plain.gallery_bias, atol=1e-5)
    assert fast.n_iters < plain.n_iters


def test_the_gauge_is_centred_and_new_items_get_the_fitted_bias():
    queries, gallery, _ = planted(n=40)
    sim = Pair(queries, gallery)
    for rho in (1.0, 0.8):
        fitted = Sinkhorn(tau=0.03, rho=rho).fit(sim)
        assert abs(float(fitted.gallery_bias.mean())) < 1e-12
        np.testing.assert_allclose(fitted.bias_of(sim), fitted.gallery_bias, atol=1e-12)
        half = Pair(queries, gallery[:7])
        np.testing.assert_allclose(fitted.bias_of(half), fitted.gallery_bias[:7], atol=1e-12)


def test_inverted_softmax_is_half_a_sinkhorn_step():
    queries, gallery, _ = planted(n=40)
    sim = Pair(queries, gallery)
    bias = InvertedSoftmax(tau=0.05).fit(sim)
    np.testing.assert_allclose(
        bias.transform(sim).scores(), inverted_softmax(queries @ gallery.T, 0.05), atol=1e-12
    )
    # From f = 0 the first gallery half-step is the same up to a constant.
    half = -0.05 * reduce.logsumexp(sim, 0.05, over="queries")
    np.testing.assert_allclose(centred(bias.gallery_bias), centred(half), atol=1e-12)


def test_permuting_permutes():
    queries, gallery, _ = planted(n=40)
    rng = np.random.default_rng(5)
    rows, cols = rng.permutation(40), rng.permutation(40)
    scores = queries @ gallery.T
    got = rerank(scores[rows][:, cols], tau=0.1, **EXACT)
    np.testing.assert_allclose(got, rerank(scores, tau=0.1, **EXACT)[rows][:, cols], atol=1e-9)


@pytest.mark.parametrize("tau", ["auto", 0.05])
def test_adding_constants_changes_no_ranking(tau):
    queries, gallery, _ = planted(n=40)
    scores = queries @ gallery.T
    base = rerank(scores, tau=tau)
    shifted = rerank(scores + 3.7, tau=tau)
    np.testing.assert_array_equal(np.argsort(-base, axis=1), np.argsort(-shifted, axis=1))
    np.testing.assert_array_equal(np.argsort(-base, axis=0), np.argsort(-shifted, axis=0))


def test_the_temperature_follows_the_scale_of_the_scores():
    queries, gallery, _ = planted(n=60)
    scores = queries @ gallery.T
    one, hundred = Sinkhorn().fit(Dense(scores)), Sinkhorn().fit(Dense(100 * scores))
    assert hundred.tau == pytest.approx(100 * one.tau, rel=1e-9)
    np.testing.assert_allclose(hundred.gallery_bias, 100 * one.gallery_bias, atol=1e-7)


def test_replicated_queries_change_nothing():
    queries, gallery, _ = planted(n=40)
    repeated = np.concatenate([queries, np.repeat(queries[:1], 300, axis=0)])
    once = Sinkhorn(tau=0.1, **EXACT).fit(Pair(queries, gallery))
    spam = Sinkhorn(tau=0.1, **EXACT).fit(Pair(repeated, gallery))
    np.testing.assert_allclose(spam.gallery_bias, once.gallery_bias, atol=1e-9)
    dense = Sinkhorn(tau=0.1, **EXACT).fit(Dense(repeated @ gallery.T))
    np.testing.assert_allclose(dense.gallery_bias, once.gallery_bias, atol=1e-9)
    counted = Sinkhorn(tau=0.1, duplicates="count", **EXACT).fit(Pair(repeated, gallery))
    assert (counted.gallery_bias - once.gallery_bias).abs().max() > 1e-3


def test_a_planted_matching_comes_back_from_under_its_hubs():
    queries, gallery, truth = planted()
    raw = queries @ gallery.T
    assert (raw.argmax(axis=1) == truth).mean() < 0.3
    rewritten = rerank(raw)
    assert (rewritten.argmax(axis=1) == truth).all()
    assert (rewritten.argmax(axis=0) == np.argsort(truth)).all()
    before = reduce.k_occurrence(Dense(raw), 1)
    after = reduce.k_occurrence(Dense(rewritten), 1)
    assert before.max() > 5 and after.max() == 1


def test_a_query_is_ranked_alike_alone_and_in_a_batch():
    queries, gallery, _ = planted(n=40)
    rng = np.random.default_rng(7)
    fitted = Sinkhorn().fit(Bank(Pair(unit(rng.normal(size=(90, 32))), gallery)))
    assert fitted.label == "inductive"
    batch = fitted.transform(Pair(queries, gallery)).scores()
    for row in (0, 17):
        alone = fitted.transform(Pair(queries[row : row + 1], gallery)).scores()
        np.testing.assert_allclose(alone[0], batch[row], atol=1e-14)


@pytest.mark.parametrize(("shape", "said"), [((9, 9), "too few"), ((1, 50), "a single query")])
def test_too_few_scores_are_left_unchanged_and_it_is_said(shape, said):
    scores = np.random.default_rng(0).normal(size=shape)
    fitted = Sinkhorn().fit(Dense(scores))
    assert fitted.label == "none" and fitted.gallery_bias.abs().max() == 0
    assert said in fitted.note
    with pytest.warns(UserWarning, match=said):
        got = rerank(scores)
    np.testing.assert_array_equal(got.argsort(axis=1), scores.argsort(axis=1))


def test_constant_scores_are_left_unchanged_and_it_is_said():
    with pytest.warns(UserWarning, match="constant"):
        np.testing.assert_array_equal(rerank(np.full((30, 30), 0.3)), np.full((30, 30), 0.3))


def test_small_samples_are_said_to_be_unreliable():
    queries, gallery, _ = planted(n=60)
    sim = Pair(queries, gallery)
    assert "500" in auto_tau(sim, **uniform(sim)).note


@pytest.mark.parametrize(
    "settings",
    [
        {"tau": 0.0}, {"tau": -1.0}, {"tau": math.nan}, {"tau": math.inf}, {"tau": "warm"},
        {"rho": 1.5}, {"relaxation": 2.0}, {"n_iters": 0},
    ],
)  # fmt: skip
def test_settings_are_refused_by_name(settings):
    queries, gallery, _ = planted(n=30)
    with pytest.raises(RerankError, match=next(iter(settings))):
        Sinkhorn(**settings).fit(Pair(queries, gallery))


def test_an_unpopular_item_does_not_underflow():
    """A column whose share is far below the smallest float32 still gets its exact bias."""
    scores = np.zeros((40, 40), dtype=np.float32)
    scores[:, 5] = -3.0
    got = Sinkhorn(tau=0.01, n_iters=3, tol=None, rho=1.0).fit(Dense(scores)).gallery_bias
    assert torch.isfinite(got).all()
    assert float(got[5] - got[4]) == pytest.approx(3.0, abs=1e-3)


def test_scores_are_called_constant_only_where_they_are():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(60, 60))
    scores[rng.random(scores.shape) < 0.3] = 9999  # "not scored", above all others
    for given, words in ((scores, "best scores of nearly every row are equal"),
                         (np.full((60, 60), 0.3), "scores are constant")):  # fmt: skip
        sim = Dense(given)
        said = auto_tau(sim, **uniform(sim)).note
        assert words in said and said.count("constant") == ("constant" in words)
