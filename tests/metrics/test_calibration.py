"""Confidence against truth, and figures against the temperature: what the curves and words say."""

import numpy as np
import pytest
import torch

from rerank.core.similarity import Dense
from rerank.metrics import pictures, plots, svg
from rerank.metrics import ranks as metrics
from rerank.metrics.calibration import calibration
from rerank.tasks.curves import temperatures


@pytest.fixture(scope="module")
def drawn():
    """Queries whose right item is drawn from the very softmax: calibrated by construction."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(4000, 8, generator=generator)
    right = torch.multinomial(torch.softmax(scores, dim=1), 1, generator=generator)[:, 0]
    sim = Dense(scores)
    return sim, metrics.ranks(sim, right.numpy())


def test_what_is_drawn_from_the_softmax_is_calibrated(drawn):
    sim, ranks = drawn
    assert calibration(sim, 1.0, ranks).error < 0.04
    sharp = calibration(sim, 0.2, ranks)
    assert sharp.error > 0.2 and (sharp.confidence > sharp.right).all()
    assert sharp.counts.sum() == len(ranks)


def test_the_sentence_says_which_way_it_is_off(drawn):
    sim, ranks = drawn
    named = [("raw", calibration(sim, 1.0, ranks)), ("sharp", calibration(sim, 0.2, ranks))]
    assert "too sure" in pictures.calibration_curve(named).conclude
    assert plots.calibration(named).get_ylabel() == "right in %"


@pytest.mark.parametrize(
    ("values", "said"), [([1, 2, 3, 2, 1], "the best of these"), ([9, 2, 3, 2, 1], "would give 9")]
)
def test_the_chosen_temperature_is_marked_and_judged(values, said):
    taus = np.array([0.25, 0.5, 1, 2, 4]) * 0.03
    picture = pictures.temperature_curve(taus, np.array(values, dtype=float), 0.03, "R@1")
    assert said in picture.conclude
    assert "chosen</text>" in svg.svg(picture) and 'class="mark"' in svg.svg(picture)
    assert plots.temperature(taus, np.array(values), 0.03).get_xscale() == "log"


def test_every_point_is_a_fit_at_its_temperature():
    rng = np.random.default_rng(0)
    sim = Dense(rng.normal(size=(60, 60)) + 2 * np.eye(60))
    found = temperatures(
        {"t2v": sim, "v2t": sim.T}, {"t2v": 0.5, "v2t": 0.5},
        lambda name, made: float(made.scores().std()), figure="spread", method="sinkhorn",
    )  # fmt: skip
    _, x, y = found["t2v"].series[0]
    np.testing.assert_allclose(x, [0.25, 0.5, 2**-0.5, 1, 2**0.5, 2, 4])
    assert len(set(np.round(y, 6))) > 1
    assert not temperatures({"t2v": sim, "v2t": sim.T}, {"t2v": 0.0, "v2t": 0.5}, lambda *_: 0.0,
                            figure="none")  # fmt: skip
