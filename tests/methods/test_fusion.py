"""Laws of a fusion: it is a weighted sum on one scale, whichever door, and noise has no weight."""

import numpy as np
import pytest
import torch

from rerank.core.errors import RerankError
from rerank.core.similarity import Dense, Pair
from rerank.methods.fusion import Blocks, Fusion, fuse, fused_scores, parse_weights
from rerank.selection.pair_weights import fuse_by_pairs


def views(n=150, d=40, noise=1.2, seed=0):
    """Texts and videos of n things, whose dimensions two models can share out."""
    generator = torch.Generator().manual_seed(seed)
    videos = torch.randn((n, d), generator=generator)
    return videos + noise * torch.randn((n, d), generator=generator), videos


def halves(seed=0):
    texts, videos = views(seed=seed)
    return [Pair(texts[:, s], videos[:, s]) for s in (slice(0, 20), slice(20, 40))]


def dense(sims):
    return [Dense(sim.scores()) for sim in sims]


def noise(n=150, seed=9):
    generator = torch.Generator().manual_seed(seed)
    return Pair(*torch.randn((2, n, 8), generator=generator))


def r1(scores):
    return float((scores.argmax(dim=1) == torch.arange(len(scores))).float().mean())


@pytest.mark.parametrize("weights", ["auto", [1, 3]])
def test_a_model_fused_with_itself_is_that_model(weights):
    one, _ = halves()
    fusion = fuse([one, one], weights)
    assert torch.allclose(fused_scores([one, one], fusion), one.scores(), atol=1e-6)
    rows = Blocks.of(fusion, (20, 20), "cosine")
    joined = Pair(rows.join([one.queries] * 2), rows.join([one.gallery] * 2))
    assert torch.allclose(joined.scores(), one.scores(), atol=1e-6)


@pytest.mark.parametrize("metric", ["cosine", "dot"])
def test_joined_rows_score_the_weighted_sum(metric):
    texts, videos = views()
    parts = [(texts[:, :10], videos[:, :10]), (4 * texts[:, 10:], videos[:, 10:])]
    sims = [Pair(*part, metric=metric) for part in parts]
    fusion = fuse(sims, [0.3, 0.7])
    blocks = Blocks.of(fusion, (10, 30), metric)
    joined = Pair(*(blocks.join([part[side] for part in parts]) for side in (0, 1)), metric=metric)
    want = fused_scores(sims, fusion)
    assert torch.allclose(joined.scores(), want, atol=1e-5 * float(want.abs().max()))
    if metric == "cosine":
        lengths = torch.linalg.vector_norm(blocks.join([p[0] for p in parts]), dim=1)
        assert torch.allclose(lengths, torch.ones(150), atol=1e-6)


def test_weights_do_not_depend_on_the_scale_of_the_scores():
    one, other = dense(halves())
    fusion = fuse([one, other])
    moved = fuse([Dense(100 * one.base - 7), other])
    assert moved.weights == pytest.approx(fusion.weights, abs=1e-3)
    assert moved.spacings[0] == pytest.approx(100 * fusion.spacings[0], rel=1e-4)
    again, raw = (
        fused_scores([Dense(100 * one.base - 7), other], moved),
        fused_scores([one, other], fusion),
    )
    assert torch.corrcoef(torch.stack([again.flatten(), raw.flatten()]))[0, 1] > 0.99999


def test_two_views_of_equal_worth_share_the_weight_and_gain():
    for seed in range(5):
        sims = halves(seed)
        fusion = fuse(sims)
        assert fusion.by == "plans" and 0.35 < fusion.weights[0] < 0.65
        alone = max(r1(sim.scores()) for sim in sims)
        assert r1(fused_scores(sims, fusion)) > alone + 0.05


def test_a_noisy_copy_adds_nothing_and_gets_nothing():
    texts, videos = views()
    generator = torch.Generator().manual_seed(1)
    copy = Pair(*(x + 1.5 * torch.randn(x.shape, generator=generator) for x in (texts, videos)))
    fusion = fuse([copy, Pair(texts, videos)])
    assert fusion.weights[0] < 0.15


@pytest.mark.parametrize("place", [0, 1, 2])
def test_noise_among_models_that_agree_is_found_out(place):
    sims = halves()
    sims.insert(place, noise())
    fusion = fuse(sims)
    assert (
        fusion.weights[place] < 0.03
        and min(w for k, w in enumerate(fusion.weights) if k != place) > 0.3
    )


def test_where_nothing_agrees_the_first_stays_alone():
    fusion = fuse([halves()[0], noise()])
    assert fusion.by == "first" and fusion.weights == (1.0, 0.0)
    assert "weights=" in fusion.sentence
    # A model that is left out takes no dimensions.
    assert Blocks.of(fusion, (20, 8), "cosine").width == 20


def test_a_pair_that_one_model_has_not_scored_is_not_scored():
    one, other = dense(halves())
    other.base[3, 4] = -torch.inf
    sims = [one, Dense(other.base, unscored=True)]
    fusion = fuse(sims)
    assert min(fusion.weights) > 0.3
    out = fused_scores(sims, fusion)
    assert out[3, 4] == -torch.inf and torch.isfinite(out).sum() == out.numel() - 1


def test_known_pairs_weigh_models_too():
    sims = dense(halves())
    pairs = [np.array([i]) for i in range(150)]
    equal = fuse_by_pairs(sims, pairs)
    assert equal.by == "pairs" and 0.35 < equal.weights[0] < 0.65
    three = fuse_by_pairs([*sims, Dense(noise().scores())], pairs)
    assert three.weights[2] < 0.05
    # Half of the pairs are enough, and queries without any take no part.
    some = [rows if i % 2 else rows[:0] for i, rows in enumerate(pairs)]
    assert fuse_by_pairs(sims, some).weights == pytest.approx(equal.weights, abs=0.15)


def test_nothing_given_is_written_to_and_a_record_is_the_same_again():
    sims = dense(halves())
    before = [sim.base.clone() for sim in sims]
    fusion = fuse(sims)
    fused_scores(sims, fusion)
    assert all(torch.equal(a, sim.base) for a, sim in zip(before, sims, strict=True))
    assert Fusion.from_dict(fusion.as_dict()) == fusion
    blocks = Blocks.of(fusion, (20, 20), "dot")
    assert Blocks.from_dict(blocks.as_dict()) == blocks


@pytest.mark.parametrize(
    ("weights", "message"),
    [([1], "expected 2 numbers"), ([1, -1], "none below 0"), ([0, 0], "all are 0"),
     ("best", "expected 'auto'")],
)  # fmt: skip
def test_weights_that_fit_no_model_are_refused(weights, message):
    with pytest.raises(RerankError, match=message):
        fuse(halves(), weights)


def test_rows_of_other_models_are_refused():
    blocks = Blocks((3, 4), (0.6, 0.8))
    with pytest.raises(RerankError, match="d = 4, 3, expected 2 of d = 3, 4"):
        blocks.join([np.ones((2, 4)), np.ones((2, 3))])
    with pytest.raises(RerankError, match="2, 3 rows"):
        blocks.join([np.ones((2, 3)), np.ones((3, 4))])


def test_weights_as_typed():
    assert parse_weights("1,.5") == (1.0, 0.5) and parse_weights("auto") == "auto"
    with pytest.raises(RerankError, match="^weights: .*1,.5"):
        parse_weights("1;2")
