"""Laws of the do-no-harm gate, on small planted banks."""

import numpy as np
import pytest
import torch

from rerank import apply
from rerank.core.errors import RerankError
from rerank.core.pairs import group_pairs
from rerank.core.similarity import Dense, Pair
from rerank.methods.base import Bank
from rerank.methods.em import EM
from rerank.methods.registry import pipeline
from rerank.methods.sinkhorn import Sinkhorn
from rerank.passes.gallery import kept, taken
from rerank.selection import gated_fit
from rerank.selection.candidates import Candidate
from rerank.selection.foreign import Foreign, auc, foreign_bank
from rerank.selection.gate import choose
from rerank.selection.gate_report import GateReport
from rerank.selection.likelihood import (
    Judged,
    clustered_mean,
    fit_beta,
    fit_weights,
    log_prob,
    mean_and_slope,
)
from rerank.selection.trials import halves
from rerank.serving.fold import folds
from tests.methods.test_align import bank_of, world

N, D = 120, 24


def items(rng, n, *, hubs=1.0, shift=None):
    """Texts and videos of n pairs; some videos lean towards what all texts share."""
    centre = np.zeros(D)
    centre[0] = 1.0
    meaning = rng.normal(size=(n, D)) / np.sqrt(D)
    if shift is not None:
        meaning = meaning + shift
    videos = meaning + hubs * rng.exponential(0.4, size=(n, 1)) * centre
    texts = meaning + 0.16 * rng.normal(size=(n, D)) + 0.8 * centre
    return texts, videos


def bank_for(gallery, bank_texts, bank_videos, positives=None):
    own = range(len(bank_texts))
    return Bank(
        Pair(bank_texts, gallery),
        gallery=Pair(bank_videos, gallery),
        pairs=Pair(bank_texts, bank_videos),
        positives=positives or tuple(np.array([i]) for i in own),
    )


def planted(seed=0, **kwargs):
    """A bank, and test texts with their videos, of one domain."""
    rng = np.random.default_rng(seed)
    texts, videos = items(rng, N, **kwargs)
    return bank_for(videos, *items(rng, N, **kwargs)), Pair(texts, videos)


def recall(sim):
    scores = sim.scores()
    return float((scores.argmax(dim=1) == torch.arange(len(scores))).double().mean())


def test_a_bank_with_hubs_helps_and_the_gate_says_so():
    bank, sim = planted()
    fitted, report = gated_fit(None, bank)
    assert recall(fitted.transform(sim)) > recall(sim) + 0.05
    assert fitted.label == "inductive"
    assert report.chosen.gain > 2 * report.chosen.error
    assert report.sentences[0].startswith("The bank helps: R@1 +")
    assert "% of the correction is used" in report.sentences[0]


@pytest.mark.parametrize("gained", [0.0, 0.04, 0.06, 3.0])
def test_a_bank_that_leaves_the_first_place_is_not_said_to_raise_it(gained):
    best = Candidate("stack", 1.0, "", 0.031, 0.01, gained)
    report = GateReport(best, (best,), Foreign(None, None), (1.0, 0.0, 0.0), 40, 40)
    (said,) = report.sentences
    assert ("The bank helps" in said) == (gained > 0.05) and "+0.0;" not in said
    assert "100 % of the correction is used" in said and "+0.0 on" not in said
    if gained < 0.05:
        assert "leaves R@1 as it is" in said and "get 3.1 % more likely, beyond noise" in said


def test_a_gain_of_rounding_is_none():
    """Weights that the penalty takes to zero gain 1e-8 with a standard error below half of it."""
    assert choose([Candidate("stack", 0.5, "", 1.3e-8, 5.5e-9, 0.0)]).name == "none"
    assert choose([Candidate("stack", 0.5, "", 1.3e-4, 5.5e-5, 0.0)]).name == "stack"


def popular(seed):
    """Scores whose offsets are the truth: often wanted items score higher, and rightly so."""
    rng = np.random.default_rng(seed)
    n, m = 300, 80
    prior = rng.normal(scale=1.5, size=m)
    share = np.exp(prior) / np.exp(prior).sum()

    def scores(right):
        noise = rng.gumbel(size=(n, m)) + prior
        noise[np.arange(n), right] += 2.0
        return noise

    wanted, tested = (rng.choice(m, size=n, p=share) for _ in range(2))
    bank = Bank(
        Dense(scores(np.full(n, 0)) * 1.0),
        pairs=Dense(scores(wanted)),
        positives=tuple(np.array([j]) for j in wanted),
    )
    return bank, scores(tested), tested


def test_where_popularity_is_the_truth_nothing_is_done():
    bank, _, _ = popular(0)
    fitted, report = gated_fit((Sinkhorn(),), bank)
    assert fitted.label == "none"
    assert not fitted.gallery_bias.any()
    assert report.chosen.name == "none"
    assert "stays as it is" in report.sentences[0]
    # The ungated pipeline would have changed the ranking.
    assert Sinkhorn().fit(bank).gallery_bias.abs().max() > 0.1


def test_without_hubs_the_gate_costs_next_to_nothing():
    change = []
    for seed in range(5):
        bank, sim = planted(seed, hubs=0.0)
        fitted, _ = gated_fit(None, bank, seed=seed)
        change.append(recall(fitted.transform(sim)) - recall(sim))
    assert np.mean(change) > -0.01


def test_a_foreign_bank_is_found_out_and_shrunk():
    rng = np.random.default_rng(3)
    texts, videos = items(rng, N)
    foreign = items(rng, N, shift=np.eye(D)[5] * 1.5)
    near, far = (gated_fit(None, bank_for(videos, *b))[1] for b in (items(rng, N), foreign))
    assert near.foreign.auc < 0.65
    assert far.foreign.auc > 0.95
    assert far.shrink == 0
    assert any("looks foreign" in sentence for sentence in far.sentences)
    assert not any("looks foreign" in sentence for sentence in near.sentences)


def test_a_foreign_bank_of_scores_is_found_out_too():
    rng = np.random.default_rng(4)
    texts, videos = items(rng, N)
    for shift, low, high in ((None, 0.3, 0.65), (np.eye(D)[5] * 2, 0.95, 1.0)):
        bank = bank_for(videos, *items(rng, N, shift=shift))
        dense = Bank(
            Dense(bank.sim.scores()), pairs=Dense(bank.pairs.scores()), positives=bank.positives
        )
        found = foreign_bank(dense, group_pairs(bank.positives, N)).gallery
        assert low <= found <= high


def test_the_bias_is_multiplied_by_the_shrinkage():
    bank, _ = planted(5)
    moved = Bank(
        Dense(bank.sim.scores()), pairs=Dense(bank.pairs.scores()), positives=bank.positives
    )
    fitted, report = gated_fit(None, moved)
    assert report.shrink <= 1
    whole = fitted.gallery_bias / report.shrink
    from rerank.selection.trials import bank_biases

    want = bank_biases(moved).columns @ torch.tensor(report.weights, dtype=torch.float64)
    torch.testing.assert_close(whole, want)


def test_a_foreign_bank_with_the_same_moments_is_seen_by_its_queries():
    rng = np.random.default_rng(5)
    texts, videos = items(rng, N)
    bank_texts, bank_videos = items(rng, N)
    turn = np.linalg.qr(rng.normal(size=(D - 1, D - 1)))[0]
    for side in (bank_texts, bank_videos):
        # Nothing is left of what the words mean, but for the axis that all texts share.
        side[:, 1:] = (side[:, 1:] / np.abs(side[:, 1:]) ** 0.5) @ turn
    bank = bank_for(videos, bank_texts, bank_videos)
    found = foreign_bank(bank, group_pairs(bank.positives, N))
    assert found.queries > 0.6 or found.queries < 0.4


@pytest.mark.parametrize(
    "gallery, queries, shrink",
    [
        (None, None, 1), (0.3, 0.5, 1), (0.62, None, 1), (0.6875, 0.5, 0.5), (0.5, 0.3125, 0.5),
        (0.75, 0.5, 0), (0.5, 0.25, 0), (1, 0, 0),
    ],
)  # fmt: skip
def test_a_bank_is_used_whole_or_not_at_all_unless_it_is_hard_to_tell(gallery, queries, shrink):
    assert Foreign(gallery, queries).shrink == shrink


def test_the_same_seed_gives_the_same_bytes():
    first, second = (gated_fit((Sinkhorn(),), planted()[0], seed=1)[0] for _ in range(2))
    assert first.gallery_bias.numpy().tobytes() == second.gallery_bias.numpy().tobytes()


def test_permuting_the_gallery_permutes_the_bias():
    bank, sim = planted()
    order = torch.randperm(N, generator=torch.Generator().manual_seed(0))
    moved = Bank(
        Pair(bank.sim.queries, sim.gallery[order]),
        gallery=Pair(bank.gallery.queries, sim.gallery[order]),
        pairs=bank.pairs,
        positives=bank.positives,
    )
    (one, report), (other, again) = gated_fit(None, bank), gated_fit(None, moved)
    assert report.foreign.auc == pytest.approx(again.foreign.auc, abs=1e-9)
    torch.testing.assert_close(one.gallery_bias[order], other.gallery_bias)


def test_the_items_that_nearness_is_measured_on_do_not_depend_on_order():
    rng = np.random.default_rng(2)
    texts, videos = items(rng, N)
    parts = items(rng, N // 2)
    found = [
        foreign_bank(
            bank_for(gallery, *parts), group_pairs([np.array([i]) for i in range(N // 2)], N // 2)
        )
        for gallery in (videos, videos[rng.permutation(N)])
    ]
    assert found[0].queries == pytest.approx(found[1].queries, abs=1e-9)


def test_scaling_all_scores_scales_the_bias():
    bank, _ = planted()
    parts = {name: getattr(bank, name).scores() for name in ("sim", "pairs")}
    one, ten = (
        gated_fit(
            None, Bank(**{k: Dense(c * v) for k, v in parts.items()}, positives=bank.positives)
        )
        for c in (1, 10)
    )
    torch.testing.assert_close(10 * one[0].gallery_bias, ten[0].gallery_bias, rtol=1e-3, atol=1e-3)


def test_captions_of_one_video_stay_in_one_half():
    rng = np.random.default_rng(0)
    positives = [np.array([i // 5]) for i in range(100)] + [np.array([], dtype=np.int64)]
    groups = group_pairs(positives, 25)
    assert groups.judged == 20
    assert groups.count == 20 + 5 + 1
    first, second = halves(groups, rng)
    assert len(first.queries) + len(second.queries) == 101
    assert len(first.gallery) + len(second.gallery) == 25
    videos = [
        {int(positives[i][0]) for i in half.queries if len(positives[i])}
        for half in (first, second)
    ]
    assert not videos[0] & videos[1]
    assert len(videos[0]) == 10
    for half, own in zip((first, second), videos, strict=True):
        assert own <= set(half.gallery.tolist())


def test_both_directions_of_a_bank_with_several_captions():
    rng = np.random.default_rng(1)
    _, videos = items(rng, N)
    bank_texts, bank_videos = items(rng, N)
    captions = np.repeat(bank_texts, 3, axis=0) + 0.05 * rng.normal(size=(3 * N, D))
    of_text = tuple(np.array([i // 3]) for i in range(3 * N))
    of_video = tuple(np.arange(3 * i, 3 * i + 3) for i in range(N))
    down = bank_for(videos, captions, bank_videos, of_text)
    up = bank_for(captions[: 2 * N], bank_videos, captions, of_video)
    for bank, size in ((down, N), (up, 2 * N)):
        fitted, report = gated_fit(None, bank)
        assert fitted.gallery_bias.shape == (size,)
        assert report.n_groups == N
        assert report.n_pairs == 3 * N


def test_an_em_stage_is_judged_and_folds_with_the_bias():
    bank, sim = planted()
    fitted, report = gated_fit((EM(strength=-1.0, n_bases=4), Sinkhorn()), bank)
    assert any(c.mapped for c in report.candidates)
    assert any(not c.mapped for c in report.candidates)
    assert recall(fitted.transform(sim)) > recall(sim)
    if report.chosen.mapped:
        assert folds(fitted)


def test_a_pipeline_is_tried_at_four_strengths():
    bank, _ = planted()
    _, report = gated_fit((Sinkhorn(),), bank)
    tried = [c.strength for c in report.candidates if (c.name, c.lead) == ("pipeline", "")]
    assert sorted(tried) == [0.25, 0.5, 0.75, 1.0]


def test_the_surest_gain_is_chosen():
    def candidate(name, gain, error, recall_gain=0.0):
        return Candidate(name, 1.0, "", gain, error, recall_gain)

    sure, bold, lost = candidate("a", 0.1, 0.03), candidate("b", 0.12, 0.1), candidate("c", -1, 0.1)
    assert choose([sure, bold, lost]) is sure
    # Within noise of zero, and against the right answers' first places: nothing.
    for none in (candidate("d", 0.03, 0.02), candidate("e", 0.1, 0.01, -0.1)):
        assert choose([lost, none]).name == "none"


def test_a_bank_too_small_to_judge_does_nothing():
    rng = np.random.default_rng(0)
    _, videos = items(rng, N)
    fitted, report = gated_fit(None, bank_for(videos, *items(rng, 12)))
    assert fitted.label == "none"
    assert "12 groups" in report.sentences[0]


@pytest.mark.parametrize("alike", [1, 5])
def test_items_without_an_order_stay_raw_where_the_bank_helps_others(alike):
    rng = np.random.default_rng(0)
    _, videos = items(rng, N)
    parts = items(rng, N)
    assert not gated_fit(None, bank_for(videos, *parts))[1].does_nothing
    single = np.repeat(videos[:1], alike, axis=0)
    fitted, report = gated_fit(None, bank_for(single, *parts))
    assert fitted.label == "none" and report.does_nothing
    assert "no order to correct; the ranking stays as it is" in report.sentences[0]
    assert report.sentences[0].startswith("A single item" if alike == 1 else "Items that")


def test_one_query_is_gated_in_its_own_direction():
    rng = np.random.default_rng(0)
    (texts, videos), (bank_texts, bank_videos) = items(rng, N), items(rng, N)
    bank = {
        "bank_texts": bank_texts, "bank_videos": bank_videos, "bank_gt": [[i] for i in range(N)],
    }  # fmt: skip
    run = apply(texts[:1], videos, **bank)
    assert (run.t2v.label, run.v2t.label) == ("inductive", "none")
    assert any("The bank helps" in note for note in run.t2v.notes)
    assert any("A single item" in note for note in run.v2t.notes)
    assert apply(texts, videos[:1], **bank).t2v.label == "none"


def test_a_bank_without_known_pairs_is_refused():
    bank, _ = planted()
    with pytest.raises(RerankError, match="gate=False|--no-gate"):
        gated_fit(None, Bank(bank.sim, pairs=bank.pairs))
    with pytest.raises(RerankError, match="119 entries"):
        gated_fit(None, Bank(bank.sim, pairs=bank.pairs, positives=bank.positives[:-1]))
    with pytest.raises(RerankError, match="query 0 points outside"):
        gated_fit(None, Bank(bank.sim, pairs=bank.pairs, positives=(np.array([N]),) * N))


def test_log_probability_agrees_with_the_formula():
    rng = np.random.default_rng(0)
    scores, bias = rng.normal(size=(4, 6)), rng.normal(size=6)
    rows, columns = np.array([0, 1, 1, 2, 3]), np.array([5, 0, 2, 1, 4])
    judged = Judged(
        torch.tensor(scores), torch.tensor(bias[:, None]), torch.tensor(rows),
        torch.tensor(columns), np.arange(4), 0.5,
    )  # fmt: skip
    p = np.exp((scores + bias) * 3 / 0.5)
    p /= p.sum(axis=1, keepdims=True)
    want = np.log([p[0, 5], p[1, 0] + p[1, 2], p[2, 1], p[3, 4]])
    np.testing.assert_allclose(log_prob(judged, torch.tensor(bias), 3.0), want)


def test_slopes_of_the_log_probability_are_its_differences():
    rng = np.random.default_rng(1)
    rows, columns = torch.tensor([0, 1, 1, 2, 3, 4, 4, 4]), torch.tensor([5, 0, 2, 1, 4, 3, 0, 5])
    judged = Judged(
        torch.tensor(rng.normal(size=(5, 6))), torch.tensor(rng.normal(size=(6, 3))), rows,
        columns, np.arange(5), 0.7,
    )  # fmt: skip
    at = np.append(rng.uniform(0, 2, 3), np.log(4.0))

    def mean(x: np.ndarray) -> float:
        bias = judged.biases @ torch.tensor(x[:-1])
        return float(log_prob(judged, bias, float(np.exp(x[-1]))).mean())

    value, slope = mean_and_slope(judged, at[:-1], float(np.exp(at[-1])))
    steps = [1e-6 * np.eye(4)[k] for k in range(4)]
    want = [(mean(at + step) - mean(at - step)) / 2e-6 for step in steps]
    assert value == pytest.approx(mean(at), abs=1e-12)
    np.testing.assert_allclose(slope, want, atol=1e-8)


def test_newton_and_weights_find_the_maximum():
    rng = np.random.default_rng(0)
    n, m = 200, 30
    hub = rng.normal(size=m)
    right = rng.integers(m, size=n)
    scores = 0.5 * rng.gumbel(size=(n, m)) + hub
    scores[np.arange(n), right] += 1.0
    judged = Judged(
        torch.tensor(scores), torch.tensor(np.stack([-hub, rng.normal(size=m)], axis=1)),
        torch.arange(n), torch.tensor(right), np.arange(n), 1.0,
    )  # fmt: skip
    none = torch.zeros(m, dtype=torch.float64)
    best = fit_beta(judged, none)
    mean = [float(log_prob(judged, none, b).mean()) for b in (0.97 * best, best, 1.03 * best)]
    assert mean[1] > max(mean[0], mean[2])
    weights, beta = fit_weights([judged], penalty=1e-4)
    assert weights[0] == pytest.approx(1.0, abs=0.15)
    assert weights[1] == pytest.approx(0.0, abs=0.1)
    assert beta > 0


def test_standard_errors_are_clustered():
    rng = np.random.default_rng(0)
    single = rng.normal(size=400)
    assert clustered_mean(single, np.arange(400))[1] == pytest.approx(0.05, rel=0.15)
    repeated, groups = np.repeat(single, 4), np.repeat(np.arange(400), 4)
    assert clustered_mean(repeated, groups)[1] == pytest.approx(
        clustered_mean(single, np.arange(400))[1]
    )


def test_auc_counts_ties_half():
    assert auc(torch.tensor([1.0, 2.0]), torch.tensor([0.0, 1.0])) == pytest.approx(3.5 / 4)


def test_scores_are_kept_where_they_are_few_with_corrections_and_masses(monkeypatch):
    rng = np.random.default_rng(0)
    sim = Pair(rng.normal(size=(7, 4)), rng.normal(size=(6, 4)))
    sim = sim.with_mass(queries=np.arange(1.0, 8.0), gallery=np.arange(1.0, 7.0))
    sim = sim.add_gallery_bias(torch.tensor(rng.normal(size=6)))
    held = kept(sim)
    assert isinstance(held, Dense)
    assert torch.equal(held.scores(), sim.scores())
    assert torch.equal(held.query_mass, sim.query_mass)
    assert torch.equal(held.gallery_mass, sim.gallery_mass)
    assert kept(held) is held
    monkeypatch.setattr("rerank.passes.gallery._FEW", 41)
    assert kept(sim) is sim


def test_a_subset_keeps_corrections_and_masses():
    rng = np.random.default_rng(0)
    sim = Pair(rng.normal(size=(7, 4)), rng.normal(size=(6, 4)))
    sim = sim.add_gallery_bias(torch.arange(6.0)).with_mass(queries=np.arange(1.0, 8.0))
    rows, columns = torch.tensor([1, 4]), torch.tensor([5, 0, 2])
    part = taken(sim, rows, columns)
    torch.testing.assert_close(part.scores(), sim.scores()[rows][:, columns])
    assert part.query_mass.tolist() == [2, 5]


# --- the alignment by known pairs


def aligned_bank(right=None, seed=1, n=300):
    texts, videos = world(noise=0.5)
    return bank_of(texts, videos, *world(seed=seed, n=n), right=right), Pair(texts, videos)


@pytest.mark.parametrize("asked", ["sinkhorn", "sinkhorn+align+sinkhorn"])
def test_pairs_that_predict_each_other_align_both_sides(asked):
    bank, sim = aligned_bank()
    fitted, report = gated_fit(pipeline(asked), bank)
    assert report.chosen.lead == "align"
    assert recall(fitted.transform(sim)) > recall(sim) + 0.1
    assert folds(fitted)
    leads = {(c.lead, c.name) for c in report.candidates}
    assert leads == {(a, b) for a in ("", "align") for b in ("stack", "pipeline")} | {
        ("align", "none")
    }


def test_the_share_is_multiplied_by_the_shrinkage():
    bank, _ = aligned_bank()
    fitted, report = gated_fit(None, bank)
    aligned = fitted.stages[0]
    assert aligned.share == pytest.approx(0.5 * report.shrink)
    assert aligned.label == "inductive"


def wrong(kind, seed, n=300):
    """For each bank text a video: all of them wrong, or about half."""
    rng = np.random.default_rng(seed)
    if kind == "shuffled":
        return rng.permutation(n)
    return np.where(rng.random(n) < 0.5, rng.integers(n, size=n), np.arange(n))


@pytest.mark.parametrize("kind", ["shuffled", "half-shuffled"])
def test_wrong_pairs_do_no_harm(kind):
    changes = []
    for seed in range(3):
        bank, sim = aligned_bank(wrong(kind, seed))
        fitted, report = gated_fit(pipeline("sinkhorn+align+sinkhorn"), bank, seed=seed)
        changes.append(recall(fitted.transform(sim)) - recall(sim))
        if kind == "shuffled":
            assert report.chosen.lead == ""
            assert report.as_dict()["chosen"] == "none"
            assert "(none)" in report.sentences[0]
    assert np.mean(changes) > -0.003


def test_pairs_of_another_space_do_no_harm():
    def cone(seed, n):
        # Real embeddings lie around a common direction; without one all spaces look alike.
        return (x + 0.3 * np.ones(D) / np.sqrt(D) * 2 for x in world(seed=seed, n=n))

    texts, videos = cone(0, 160)
    sim = Pair(texts, videos)
    turn = np.linalg.qr(np.random.default_rng(4).normal(size=(D, D)))[0]
    changes = []
    for seed in range(3):
        bank = bank_of(texts, videos, *(x @ turn for x in cone(10 + seed, 300)))
        fitted, _ = gated_fit(pipeline("sinkhorn+align+sinkhorn"), bank, seed=seed)
        changes.append(recall(fitted.transform(sim)) - recall(sim))
    assert np.mean(changes) > -0.003
