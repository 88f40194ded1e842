"""Laws of confidence: it orders, known pairs make it a probability, no batch matters."""

import math

import numpy as np
import pytest
import torch

from rerank.core.errors import RerankError
from rerank.core.similarity import Dense, Pair
from rerank.methods.confidence import TARGETS, Confidence, confidence_of
from rerank.metrics.certainty import aurc, auroc, calibration_error


def world(n=300, seed=0, noise=1.3, d=24):
    """Scores of n queries whose matches are more or less clear, with their rows."""
    generator = torch.Generator().manual_seed(seed)
    videos = torch.randn((n, d), generator=generator)
    level = noise * (0.3 + 1.4 * torch.rand((n, 1), generator=generator))
    return Pair(videos + level * torch.randn((n, d), generator=generator), videos).scores()


def own(n):
    return [np.array([i]) for i in range(n)]


def right_of(scores):
    return (scores.argmax(dim=1) == torch.arange(len(scores))).numpy()


def test_it_tells_right_from_wrong_better_than_the_first_score():
    # Some queries score high with everything, as long captions do.
    scores = world() + 0.2 * torch.randn((300, 1), generator=torch.Generator().manual_seed(5))
    sure = confidence_of(Dense(scores)).of(Dense(scores))
    right = right_of(scores)
    found, plain = (auroc(x, right) for x in (sure.confidence, scores.amax(dim=1).numpy()))
    assert 0.2 < right.mean() < 0.9
    assert found > plain and found > 0.75


def test_known_pairs_make_it_a_probability():
    bank, test = world(seed=1), world(seed=2)
    learned = confidence_of(Dense(bank), own(300))
    plain = confidence_of(Dense(bank))
    right = right_of(test)
    errors = [
        calibration_error(settings.of(Dense(test)).confidence, right)
        for settings in (plain, learned)
    ]
    assert learned.calibrated and not plain.calibrated
    assert errors[1] < 0.1 and errors[1] < errors[0]
    # The curve changes no order.
    one, other = (settings.of(Dense(test)).confidence for settings in (plain, learned))
    assert (np.diff(other[one.argsort(kind="stable")]) >= -1e-4).all()


def test_queries_whose_item_is_gone_are_seen():
    scores = world(noise=0.7)
    settings = confidence_of(Dense(world(seed=1, noise=0.7)), own(300))
    gone = scores.clone()
    gone.fill_diagonal_(-math.inf)
    both = [settings.of(Dense(x, unscored=True)).no_match for x in (scores, gone)]
    assert auroc(np.concatenate(both), np.repeat([False, True], 300)) > 0.8
    assert abs(both[0].mean() - (1 - both[1].mean())) < 0.15


@pytest.mark.parametrize("target", [0.6, 0.8, 0.95])
def test_a_threshold_reaches_its_precision_on_the_bank(target):
    bank = world(seed=1)
    settings = confidence_of(Dense(bank), own(300))
    answered = settings.of(Dense(bank)).confidence >= settings.cut(target)
    right = right_of(bank)
    # Confidence is kept in single precision, the cut in double.
    assert right[answered].mean() >= target - 0.01
    assert not answered.any() or answered.sum() > 5


def test_cuts_rise_and_what_is_no_precision_is_refused():
    settings = confidence_of(Dense(world()), own(300))
    assert len(settings.cuts) == len(TARGETS)
    assert settings.cut(0.5) <= settings.cut(0.9) <= settings.cut(0.99)
    for wrong in (0.4, 1.0, math.nan):
        with pytest.raises(RerankError, match="expected a target precision"):
            settings.cut(wrong)


def test_each_query_is_judged_by_itself():
    scores = world()
    settings = confidence_of(Dense(world(seed=1)), own(300))
    whole = settings.of(Dense(scores))
    alone = settings.of(Dense(scores[7:8]))
    np.testing.assert_allclose(alone.confidence, whole.confidence[7:8], rtol=1e-6)
    np.testing.assert_allclose(alone.no_match, whole.no_match[7:8], rtol=1e-6)


def test_scale_and_level_of_the_scores_do_not_matter():
    scores = world()
    moved = 50 * scores - 3
    first = confidence_of(Dense(scores)).of(Dense(scores))
    second = confidence_of(Dense(moved)).of(Dense(moved))
    np.testing.assert_allclose(first.confidence, second.confidence, atol=1e-3)


def test_what_was_saved_is_what_was_learned():
    for positives in (None, own(300)):
        settings = confidence_of(Dense(world()), positives)
        again = Confidence.from_dict(settings.as_dict())
        assert again == settings


def test_a_query_without_any_score_has_no_confidence():
    scores = world()
    settings = confidence_of(Dense(scores))
    scores[3] = -math.inf
    sure = settings.of(Dense(scores, unscored=True))
    assert sure.confidence[3] == 0 and sure.no_match[3] == 1
    assert np.isfinite(sure.confidence).all()


def test_scores_without_a_temperature_say_so():
    with pytest.raises(RerankError, match="confidence: scores are constant"):
        confidence_of(Dense(torch.ones(60, 60)))


def test_figures_of_a_confidence():
    confidence = np.array([0.9, 0.8, 0.7, 0.2])
    right = np.array([True, True, False, False])
    assert auroc(confidence, right) == 1.0 and auroc(-confidence, right) == 0.0
    assert auroc(np.ones(4), right) == 0.5 and auroc(confidence, np.ones(4)) is None
    assert aurc(confidence, right) == pytest.approx((0 + 0 + 1 / 3 + 2 / 4) / 4)
    assert calibration_error(np.array([0.5, 0.5, 1.0, 1.0]), np.array([1, 0, 1, 1]), bins=2) == 0
