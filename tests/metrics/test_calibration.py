"""Confidence against truth, and figures against the temperature: what the curves and words say."""

import json

import numpy as np
import pytest
import torch

import rerank
from rerank.core.similarity import Dense
from rerank.io import read_results
from rerank.metrics import pictures, plots, svg
from rerank.metrics import ranks as metrics
from rerank.metrics.calibration import calibration
from rerank.tasks.apply import fitted_of
from rerank.tasks.curves import at_last_stage, sample, temperatures, why_no_temperatures
from rerank.tasks.evaluate_files import judge_results


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


def test_a_sample_keeps_pairs_together_in_both_directions():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(90, 60))
    both = {"t2v": Dense(scores), "v2t": Dense(scores).T}
    # Two texts of each of the first 40 videos; the others have none.
    right = [np.array([i % 40]) if i < 80 else np.empty(0, dtype=int) for i in range(90)]
    few, truth = sample(both, right, most=600)
    n, m = few["t2v"].shape
    assert n * m <= 600 and (n, m) == few["v2t"].shape[::-1] and len(truth) == n
    part = few["t2v"].scores().numpy()
    np.testing.assert_array_equal(part, few["v2t"].scores().numpy().T)
    # Each score of a kept pair is the score of a pair.
    pairs = {scores[i, j] for i, of in enumerate(right) for j in of}
    assert all(part[i, j] in pairs for i, of in enumerate(truth) for j in of)
    assert all(len(of) for of in truth)
    again, _ = sample(both, right, most=600)
    np.testing.assert_array_equal(part, again["t2v"].scores().numpy())
    whole, same = sample(both, right, most=90 * 60)
    assert whole is both and all(a is b for a, b in zip(same, right, strict=True))
    none = [np.empty(0, dtype=int)] * 90
    assert np.prod(sample(both, none, most=600)[0]["t2v"].shape) <= 600


def test_a_curve_of_a_sample_says_so():
    rng = np.random.default_rng(0)
    sim = Dense(rng.normal(size=(30, 30)) + 2 * np.eye(30))
    given = {"figure": "spread", "method": "sinkhorn"}
    both, taus = {"t2v": sim, "v2t": sim.T}, {"t2v": 0.5, "v2t": 0.5}
    for all_of, said in (((30, 30), False), ((3000, 2000), True), (None, False)):
        found = temperatures(both, taus, lambda *_: 1.0, of_all=all_of, **given)
        assert ("30 of 3,000 texts and 30 of 2,000 videos" in found["t2v"].conclude) is said


@pytest.mark.parametrize(
    ("label", "tau", "said"),
    [("transductive", 0.1, ""), ("none", 0.0, ""), ("inductive", 0.1, "rerank tune"),
     ("transductive", 0.0, "says no temperature")],
)  # fmt: skip
def test_a_missing_curve_has_a_reason(label, tau, said):
    found = why_no_temperatures(dict.fromkeys(("t2v", "v2t"), label), {"t2v": tau, "v2t": tau})
    assert (found == "") is (said == "") and said in found


def test_the_curve_varies_the_last_temperature_of_the_run_itself(tmp_path):
    rng = np.random.default_rng(2)
    videos = rng.normal(size=(120, 24)) + 0.7
    texts = videos + 1.5 * rng.normal(size=(120, 24))
    for name, rows in (("texts", texts), ("videos", videos)):
        np.savez(tmp_path / f"{name}.npz", embeddings=rows, ids=[f"{i}" for i in range(120)])
    (tmp_path / "gt.json").write_text(json.dumps({f"{i}": f"{i}" for i in range(120)}))
    run = rerank.apply(tmp_path / "texts.npz", tmp_path / "videos.npz")
    assert run.method == "sinkhorn+align+sinkhorn"
    run.save(tmp_path / "run.h5")
    judged = judge_results(tmp_path / "gt.json", tmp_path / "run.h5", hubs=True)
    found = read_results(tmp_path / "run.h5")
    both = {side.direction.name: side.direction.sim for side in (run.t2v, run.v2t)}
    fitted = fitted_of(found, torch.device("cpu"))
    sims, method = at_last_stage(both, fitted, run.method)
    assert method == "sinkhorn"
    for side in (run.t2v, run.v2t):
        name = side.direction.name
        last = fitted[name].stages[-1]
        torch.testing.assert_close(last.transform(sims[name]).scores(), side.sim.scores())
        curve = judged.drawn[name][-1]
        _, factors, values = curve.series[0]
        assert "temperature" in curve.title and len(set(values)) > 2
        # A fit ends within its tolerance: a query or two may differ.
        at = values[np.flatnonzero(factors == 1)[0]]
        assert at == pytest.approx(judged.after[name].table()["R@1"], abs=2)
