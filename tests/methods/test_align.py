"""Laws of the alignment: its formula, its forms, and where it does nothing."""

import math
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.linalg import expm

import rerank
from rerank.core import memory
from rerank.core.errors import NeedsEmbeddings, RerankError
from rerank.core.rows import BlendedRows, StoredRows
from rerank.core.similarity import Dense, Pair
from rerank.methods import engine
from rerank.methods.align import Align, Aligned, held_out, of_known_pairs, plan_share
from rerank.methods.base import Bank, FittedPipeline, as_bank
from rerank.methods.directions import from_embeddings, from_scores
from rerank.methods.potentials import solve
from rerank.methods.registry import pipeline
from rerank.methods.sinkhorn import Sinkhorn
from rerank.passes.cross import pair_moments, plan_moments
from rerank.passes.sinkhorn import choose
from rerank.passes.sinkhorn.choose import Regime, build
from rerank.serving.fold import (
    fold_gallery,
    fold_queries,
    folding_from,
    folding_settings,
    folding_to_arrays,
    plan_folding,
)
from tests.reference import unit

METHOD = "sinkhorn+align+sinkhorn"
N, D = 160, 24


def world(seed=0, n=N, noise=0.5, turn=0.8):
    """Texts and videos of one meaning; the videos are turned a little, which a map can undo."""
    rng = np.random.default_rng(seed)
    meaning = rng.normal(size=(n, D))
    skew = np.random.default_rng(5).normal(size=(D, D)) / np.sqrt(2 * D)
    rotation = expm(turn * (skew - skew.T))
    videos = (meaning + noise * rng.normal(size=(n, D))) @ rotation
    return unit(meaning + noise * rng.normal(size=(n, D)) + 0.3), unit(videos)


def bank_of(texts, videos, bank_texts, bank_videos, right=None):
    positives = range(len(bank_texts)) if right is None else right
    return Bank(
        Pair(bank_texts, videos),
        gallery=Pair(bank_videos, videos),
        pairs=Pair(bank_texts, bank_videos),
        positives=tuple(np.array([j]) for j in positives),
    )


def recall(sim):
    scores = sim.scores()
    return float((scores.argmax(dim=1) == torch.arange(len(scores))).double().mean())


def formula(texts, videos, plan, ridge, x):
    """S' in numpy, from the whole plan with rows of mass one."""
    t, v, n = texts, videos, plan.sum()
    mt, mv = plan.sum(1) @ t / n, plan.sum(0) @ v / n
    gt = (t * plan.sum(1)[:, None]).T @ t - n * np.outer(mt, mt)
    gv = (v * plan.sum(0)[:, None]).T @ v - n * np.outer(mv, mv)
    c = t.T @ plan @ v - n * np.outer(mt, mv)
    wt = np.linalg.solve(gt + ridge * np.eye(D), c - gt)
    wv = np.linalg.solve(gv + ridge * np.eye(D), c.T - gv)
    left = (1 - x) * t + x * unit(t + (t - mt) @ wt)
    right = (1 - x) * v + x * unit(v + (v - mv) @ wv)
    return left @ right.T


@pytest.mark.parametrize("block_size", [7, None])
@pytest.mark.parametrize("kind", ["f8", "f4"])
def test_it_is_the_formula_on_the_plan_of_the_sinkhorn_before(block_size, kind):
    texts, videos = world()
    sim = Pair(texts.astype(kind), videos.astype(kind), block_size=block_size)
    fitted = pipeline(METHOD, ridge=3.0, share=0.4).fit(sim)
    aligned, last = fitted.stages
    assert isinstance(aligned, Aligned)
    first = Sinkhorn().fit_plan(as_bank(sim))
    plan = N * first.plan(sim).double().numpy()
    want = formula(texts, videos, plan, 3.0, 0.4)
    got = aligned.transform(sim).scores().numpy()
    np.testing.assert_allclose(got, want, atol=1e-10 if kind == "f8" else 2e-6)
    # The bias of the first Sinkhorn is gone, that of the second is on top.
    whole = fitted.transform(sim).scores().numpy()
    np.testing.assert_allclose(whole, got + last.gallery_bias.numpy(), atol=1e-6)


def test_the_dual_of_size_n_has_the_same_solution():
    texts, videos = world(n=15)
    sim = Pair(texts, videos)
    rows = torch.arange(15)
    moments = pair_moments(sim, rows, rows)
    aligned = replace(_solve(moments), share=1.0)
    x = texts - texts.mean(axis=0)
    y = (videos - texts) - (videos - texts).mean(axis=0)
    inner = np.linalg.solve(x @ x.T + 3.0 * np.eye(15), y)
    want = texts + (texts - texts.mean(axis=0)) @ x.T @ inner
    got = texts @ aligned.query_map.numpy() + aligned.query_shift.numpy()
    np.testing.assert_allclose(got, want, atol=1e-12)


def _solve(moments):
    from rerank.methods.align import solved

    return solved(moments, 3.0, 0.5, unit=True)


def test_moments_of_a_plan_are_those_of_the_whole_matrix():
    texts, videos = world(n=40)
    sim = Pair(texts, videos[:30], block_size=6).with_mass(queries=np.arange(1.0, 41.0))
    fitted = Sinkhorn(tau=0.1, rho=1.0).fit(sim)
    mass = torch.arange(1.0, 41.0, dtype=torch.float64) / 820
    found = plan_moments(sim, 0.1, gallery_bias=fitted.gallery_bias, query_mass=mass)
    plan = fitted.plan(sim).double().numpy()
    m = found.moments
    t, v = texts, videos[:30]
    np.testing.assert_allclose(m.qv, t.T @ plan @ v, atol=1e-12)
    np.testing.assert_allclose(m.qq, (t * plan.sum(1)[:, None]).T @ t, atol=1e-12)
    np.testing.assert_allclose(m.vv, (v * plan.sum(0)[:, None]).T @ v, atol=1e-12)
    np.testing.assert_allclose(m.queries, plan.sum(1) @ t, atol=1e-12)
    want = (plan.max(1).sum() + plan.max(0).sum()) / 2
    assert found.confidence == pytest.approx(want, abs=1e-9)
    split = plan_moments(
        sim, 0.1, gallery_bias=fitted.gallery_bias, query_mass=mass,
        query_bias=fitted.complete(sim),
    )  # fmt: skip
    np.testing.assert_allclose(split.moments.qv, m.qv, atol=1e-12)


@pytest.mark.parametrize("regime", ["stored float32", "stored bfloat16", "stored 8-bit"])
@pytest.mark.skipif(not choose.has_numba(), reason="numba is not installed")
def test_moments_from_a_kernel_are_those_of_the_scores(regime):
    texts, videos = (torch.from_numpy(x).float() for x in world(n=300))
    sim, tau = Pair(texts, videos), 0.1
    log_a = torch.full((300,), -math.log(300))
    mass, log_b = log_a.double().exp(), log_a
    step = build(Regime(regime), sim, tau, log_a)
    p = solve(sim, tau, log_a=log_a, log_b=log_b, n_iters=20, step=step)
    want = plan_moments(sim, tau, gallery_bias=p.g, query_mass=mass)
    # Potentials that are not centred, as the sweeps have them.
    got = plan_moments(sim, tau, gallery_bias=p.g + 0.3, query_mass=mass, step=step)
    assert got.confidence == pytest.approx(want.confidence, abs=1e-2)
    for name in ("qq", "vv", "qv", "queries", "items"):
        one, other = getattr(got.moments, name), getattr(want.moments, name)
        assert float((one - other).norm()) < 5e-3 * float(other.norm()), name
    other = plan_moments(sim, 2 * tau, gallery_bias=p.g, query_mass=mass, step=step)
    right = plan_moments(sim, 2 * tau, gallery_bias=p.g, query_mass=mass)
    torch.testing.assert_close(other.moments.qv, right.moments.qv)


def test_it_finds_a_rotation_and_undoes_it():
    sim = Pair(*world(n=300, noise=0.3))
    plain = recall(pipeline("sinkhorn").fit(sim).transform(sim))
    assert plain < 0.98
    assert recall(pipeline(METHOD).fit(sim).transform(sim)) > plain + 0.02


def test_both_directions_share_one_matrix():
    texts, videos = world()
    run = engine.fit(from_embeddings(texts, videos), METHOD)
    matrix = run.matrix().scores()
    for scores, fit in ((matrix, run.t2v), (matrix.T, run.v2t)):
        gap = scores - fit.sim.scores()
        assert float((gap - gap[:, :1]).abs().max()) < 1e-5
    assert run.t2v.facts["align_share"] > 0


@pytest.mark.parametrize("turned", [False, True])
def test_served_queries_are_divided_by_the_norm_of_their_own_side(turned):
    texts, videos = world(n=300)
    # Videos share a direction that no map shortens; images of texts lose what is not predicted.
    videos = unit(videos + 2 * np.eye(D)[0])
    aligned = pipeline(METHOD).fit(Pair(texts, videos)).stages[0]
    rows = videos if turned else texts
    found = aligned.mirrored if turned else aligned
    images = rows @ found.query_map.numpy() + found.query_shift.numpy()
    want = np.sqrt((images**2).sum(axis=1).mean())
    # The plan's masses of the rows are equal but for its tolerance.
    assert found.norm == pytest.approx(want, rel=0.01)
    assert abs(aligned.norm / aligned.item_norm - 1) > 0.05


def test_known_pairs_of_a_bank_align_queries_that_it_has_not_seen():
    (texts, videos), bank = world(), world(seed=1, n=400)
    sim = Pair(texts, videos)
    made = bank_of(texts, videos, *bank)
    plain = recall(pipeline("sinkhorn").fit(made).transform(sim))
    fitted = pipeline(METHOD).fit(made)
    assert fitted.label == "inductive"
    assert fitted.facts["align_q2"] > 0.1
    assert recall(fitted.transform(sim)) > plain + 0.1


def test_one_query_alone_is_served_as_in_any_batch():
    (texts, videos), bank = world(), world(seed=1)
    fitted = pipeline(METHOD).fit(bank_of(texts, videos, *bank))
    whole = fitted.transform(Pair(texts, videos)).scores()
    alone = fitted.transform(Pair(texts[3:4], videos)).scores()
    np.testing.assert_allclose(alone[0], whole[3], atol=1e-12)


@pytest.mark.parametrize("method", [METHOD, "align", "em+sinkhorn+align+sinkhorn", "center+align"])
@pytest.mark.parametrize("side", ["mapped", "raw"])
@pytest.mark.parametrize("metric", ["cosine", "dot"])
def test_folded_scores_are_the_rewritten_ones(method, side, metric):
    if side == "raw" and "center" in method:
        pytest.skip("raw clients cannot take a mean away")
    (texts, videos), (bank_texts, bank_videos) = world(), world(seed=1)
    known = tuple(np.array([i]) for i in range(N))
    bank = Bank(
        Pair(bank_texts, videos, metric=metric),
        gallery=Pair(bank_videos, videos, metric=metric),
        pairs=Pair(bank_texts, bank_videos, metric=metric),
        positives=known,
    )
    fitted = pipeline(method).fit(bank)
    folding, items = plan_folding(fitted, videos, metric, query_side=side)
    queries = folding.queries(texts)
    assert items.shape == (N, D + 1) and queries.shape == (N, D + 1)
    got = queries.double() @ items.double().T
    if side == "raw" and metric == "cosine" and fitted.map is not None:
        got = got / torch.from_numpy(texts @ fitted.map.numpy()).norm(dim=1, keepdim=True)
    gap = got - fitted.transform(Pair(texts, videos, metric=metric)).scores()
    assert float((gap - gap.mean(dim=1, keepdim=True)).abs().max()) < 2e-6
    # What lies beside an export gives the same vectors.
    arrays = {name: np.asarray(x) for name, x in folding_to_arrays(folding, D).items()}
    again = folding_from(folding_settings(folding), arrays)
    assert torch.equal(again.queries(texts), queries)
    later = again.gallery(videos[5:8], fitted.gallery_bias[5:8] if "sink" in method else None)
    np.testing.assert_allclose(later, items[5:8], atol=1e-6)


def test_a_fit_on_the_queries_themselves_folds_nearly():
    texts, videos = world()
    sim = Pair(texts, videos)
    fitted = pipeline(METHOD).fit(sim)
    want = fitted.transform(sim).scores().topk(10).indices
    got = fold_queries(fitted, texts) @ fold_gallery(fitted, videos).T
    shared = (got.topk(10).indices[:, :, None] == want[:, None]).any(dim=2).double().mean()
    assert float(shared) > 0.95


def test_rows_that_stay_where_they_are_stored_give_the_same():
    texts, videos = (x.astype("f4") for x in world())
    want = pipeline(METHOD).fit(Pair(texts, videos))
    with memory.limit(1):
        sim = Pair(texts, videos)
        assert isinstance(sim.gallery, StoredRows)
        fitted = pipeline(METHOD).fit(sim)
        out = fitted.transform(sim)
        assert isinstance(out.gallery, BlendedRows)
        got = out.scores()
        np.testing.assert_allclose(out.gallery[3:5], out.gallery[torch.tensor([3, 4])])
    full = want.transform(Pair(texts, videos))
    np.testing.assert_allclose(got, full.scores(), atol=2e-4)
    np.testing.assert_allclose(out.gallery[:], full.gallery, atol=1e-4)


def test_the_share_follows_from_what_is_measured():
    assert plan_share(0.1, 500, 500) == 0
    assert plan_share(0.5, 500, 500) > plan_share(0.95, 500, 500) > 0
    assert plan_share(0.5, 50, 50) < plan_share(0.5, 500, 500)
    assert plan_share(0.5, 500, 500, firm=0.5) == plan_share(0.5, 500, 500, firm=0.1) == 0
    assert plan_share(0.5, 500, 500, firm=0.75) == pytest.approx(plan_share(0.5, 500, 500) / 2)


def test_captions_of_a_video_do_not_count_as_doubt_of_each_other():
    # A video's mass is shared by its captions: none of them can have more than a quarter.
    texts, videos = world(n=300)
    several = unit(
        np.repeat(texts, 4, axis=0) + 0.02 * np.random.default_rng(0).normal(size=(1200, D))
    )
    one, four = (pipeline(METHOD).fit(Pair(x, videos)).stages[0] for x in (texts, several))
    assert four.confidence > 0.4 and four.share > 0.8 * one.share
    turned = Bank(Pair(videos, several), label="transductive", gallery_groups=300)
    back = pipeline(METHOD).fit(turned).stages[0]
    assert back.share > 0.8 * one.share


def test_a_repeated_text_hardly_lowers_the_share_and_few_texts_end_it():
    texts, videos = world(n=300)
    copied = np.concatenate([texts[:299], texts[:1]])
    shares = [pipeline(METHOD).fit(Pair(x, videos)).stages[0].share for x in (texts, copied)]
    assert shares[1] == pytest.approx(shares[0], rel=0.05) and shares[1] > 0.3
    assert pipeline(METHOD).fit(Pair(texts[:150], videos)).stages[0].share == 0


def test_too_few_rows_for_a_temperature_stay_as_they_are():
    texts, videos = world(n=8)
    sim = Pair(texts, videos)
    fitted = pipeline(METHOD).fit(sim)
    np.testing.assert_allclose(fitted.transform(sim).scores(), sim.scores(), atol=1e-12)
    assert fitted.facts["align_share"] == 0
    assert fitted.label == "none"


@pytest.mark.parametrize(("n", "m"), [(1, 40), (40, 1), (1, 1)])
def test_a_single_query_or_item_has_the_label_none_at_every_door(n, m):
    texts, videos = world(n=40)
    texts, videos = unit(texts[:n]), unit(videos[:m])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for run in (rerank.apply(texts, videos), rerank.apply(scores=texts @ videos.T)):
            for side in (run.t2v, run.v2t):
                np.testing.assert_allclose(side.sim.scores(), side.direction.sim.scores())
                assert side.label == "none" and run.label == "none"


def test_a_sinkhorn_without_temperature_claims_nothing_of_other_stages():
    texts, videos = world(n=40)
    fitted = pipeline("em+sinkhorn").fit(Pair(texts[:1], videos))
    moved = fitted.transform(Pair(texts[:1], videos)).scores() - Pair(texts[:1], videos).scores()
    assert float(moved.abs().max()) > 1e-3 and fitted.label == "transductive"
    assert fitted.notes == ("a single query: nothing to compare by, no correction",)


def test_wrong_pairs_predict_nothing_and_change_nothing():
    (texts, videos), bank = world(), world(seed=1, n=300)
    rng = np.random.default_rng(0)
    half = np.where(rng.random(300) < 0.5, rng.integers(300, size=300), np.arange(300))
    for right in (rng.permutation(300), half):
        made = bank_of(texts, videos, *bank, right=right)
        quality = max(held_out(made.pairs, made.positives, (1.0, 10.0)).quality.values())
        fitted = pipeline("align").fit(made)
        assert (fitted.facts["align_share"] > 0) == (quality > 0)
        if right is not half:
            assert quality < 0
            assert "do not predict each other" in " ".join(fitted.notes)
            sim = Pair(texts, videos)
            np.testing.assert_allclose(fitted.transform(sim).scores(), sim.scores(), atol=1e-12)


def test_settled_settings_ask_the_pairs_for_nothing_else():
    (texts, videos), bank = world(), world(seed=1, n=300)
    made = bank_of(texts, videos, *bank)
    fitted = Align(ridge=3.0, share=0.6).fit(made)
    again = of_known_pairs(made, ridge=3.0, share=0.6)
    assert math.isnan(again.quality)
    assert np.isfinite(fitted.quality)
    for name in ("query_map", "query_shift", "item_map", "item_shift", "norm", "item_norm"):
        np.testing.assert_allclose(
            getattr(again, name), getattr(fitted, name), rtol=1e-9, atol=1e-12
        )
    assert (again.share, again.ridge, again.label, again.linear, again.unit) == (
        fitted.share, fitted.ridge, fitted.label, fitted.linear, fitted.unit,
    )  # fmt: skip


def test_captions_of_one_item_are_left_out_together():
    texts, videos = world(n=100)
    rng = np.random.default_rng(0)
    captions = np.repeat(texts, 3, axis=0) + 0.01 * rng.normal(size=(300, D))
    positives = tuple(np.array([i // 3]) for i in range(300))
    one = held_out(Pair(texts, videos), tuple(np.array([i]) for i in range(100)), (10.0,))
    three = held_out(Pair(captions, videos), positives, (30.0,))
    # Copies add nothing: three captions of a video are one piece of evidence, three times.
    assert three.quality[30.0] == pytest.approx(one.quality[10.0], abs=0.05)


def test_scores_alone_are_refused_by_name_and_left_out_by_default():
    texts, videos = world()
    scores = Dense(texts @ videos.T)
    for method in (METHOD, "align"):
        with pytest.raises(NeedsEmbeddings, match="align rewrites embeddings"):
            pipeline(method).fit(scores)
    assert "these are scores" in Align().idle(Bank(scores, label="transductive"))
    run = engine.fit(from_scores(scores))
    assert "align" not in run.method
    # Nobody asked for it, so nothing is printed; the manifest says it.
    assert all("these are scores" in fit.idle and not fit.notes for fit in run.fits.values())
    assert not engine.fit(from_embeddings(texts, videos)).t2v.idle


def test_a_bank_without_known_pairs_is_refused_with_the_reason():
    (_, videos), (bank_texts, bank_videos) = world(), world(seed=1)
    bank = Bank(Pair(bank_texts, videos), pairs=Pair(bank_texts, bank_videos))
    with pytest.raises(RerankError, match="belongs together; give Bank.pairs=, positives="):
        pipeline(METHOD).fit(bank)
    assert "without known pairs" in Align().idle(bank)


@pytest.mark.parametrize(
    ("method", "settings", "message"),
    [
        ("csls+align", {}, r"'align' follows a plan, got it after 'csls'; write sinkhorn\+align"),
        ("sinkhorn+align+em", {}, r"must come before 'align', which aligns them"),
        ("dn+sinkhorn+align", {}, r"'align' drops the biases before it, got 'dn'"),
        ("align", {"ridge": 0}, r"ridge: got 0"),
        ("align", {"share": 2}, r"share: got 2"),
    ],
)
def test_what_cannot_be_is_refused(method, settings, message):
    with pytest.raises(RerankError, match=message):
        pipeline(method, **settings)


def test_two_rounds_and_row_methods_compose():
    texts, videos = world()
    sim = Pair(texts, videos)
    for method in ("sinkhorn+align+sinkhorn+align+sinkhorn", "sinkhorn+align+dis"):
        fitted = pipeline(method).fit(sim)
        assert torch.isfinite(fitted.transform(sim).scores()).all()
        assert isinstance(fitted, FittedPipeline)
