"""Every door gives the same numbers: one engine answers them all."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

import rerank
from rerank import io
from rerank.core.similarity import Dense, Pair
from rerank.methods import directions, engine
from rerank.methods.base import Pipeline
from rerank.metrics.judge import judge
from rerank.selection.gate import gate
from rerank.selection.tune import Evidence, Settings, make_side
from rerank.tasks import apply as tasks
from rerank.tasks.compare import compare, compare_files
from rerank.tasks.evaluate_files import judge_raw, judge_results
from rerank.tasks.inspect import inspect_files
from rerank.tasks.tune import tune_files

D = 24


def made(n, m, seed=0, noise=0.8):
    """Texts of videos around a common point, with a few hubs: (texts, videos, right)."""
    rng = np.random.default_rng(seed)
    videos = rng.normal(size=(m, D)) + rng.normal(size=D)
    videos[: m // 20] += 1.5 * videos.mean(axis=0)
    right = np.arange(n) % m
    return videos[right] + noise * rng.normal(size=(n, D)), videos, right


def repeated(n, m):
    """Each query asked again and again, as popular ones are, with noise of its own."""
    texts, videos, right = made(n, m, seed=3)
    rng = np.random.default_rng(4)
    rows = np.minimum(rng.zipf(1.5, size=n) - 1, n - 1)
    return texts[rows] + 0.01 * rng.normal(size=texts.shape), videos, right[rows]


DATA = {
    "plain": lambda: made(120, 120),
    "few queries": lambda: made(25, 120, seed=1),
    "few items": lambda: made(120, 30, seed=2),
    "repeated queries": lambda: repeated(150, 100),
}
each_data = pytest.mark.parametrize("name", DATA)


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


@each_data
def test_a_matrix_is_answered_alike_by_every_door(name, tmp_path):
    texts, videos, right = DATA[name]()
    scores = Pair(texts, videos).scores()
    run = rerank.apply(scores=scores)
    want = run.scores()
    assert torch.equal(rerank.rerank(scores), want)
    by_engine = engine.fit(directions.from_scores(Dense(scores)))
    assert torch.equal(by_engine.matrix().scores(), want)
    stages = Pipeline("sinkhorn").fit(Dense(scores))
    assert torch.equal(stages.transform(Dense(scores)).scores(), run.t2v.sim.scores())
    _compared(directions.from_scores(Dense(scores)), right, run, "sinkhorn")
    _from_file(tmp_path, run, right, scores=scores)


@each_data
@pytest.mark.parametrize("method", [None, "em+sinkhorn", "csls", "sinkhorn+align", "align+csls"])
def test_embeddings_are_answered_alike_by_every_door(name, method, tmp_path):
    texts, videos, right = DATA[name]()
    run = rerank.apply(texts, videos, method=method)
    both = directions.from_embeddings(texts, videos)
    by_engine = engine.fit(both, method)
    for side in ("t2v", "v2t"):
        assert torch.equal(by_engine[side].sim.scores(), getattr(run, side).sim.scores())
        whole = by_engine[side].fitted.transform(both[side].sim).scores()
        torch.testing.assert_close(by_engine[side].sim.scores(), whole)
    _compared(both, right, run, run.method)
    _from_file(tmp_path, run, right, texts=texts, videos=videos, method=method)


@pytest.mark.parametrize("named", ["ids", "group_ids"])
@pytest.mark.parametrize("said", [{"scores_are": "distances"}, {"unscored": "-7.5"}])
def test_what_is_said_of_scores_counts_at_every_door(tmp_path, said):
    texts, videos, right = made(60, 40, seed=7)
    scores = Pair(texts, videos).scores().numpy()
    if "scores_are" in said:
        scores = -10 * scores
    else:
        scores[np.random.default_rng(0).random(scores.shape) < 0.3] = -7.5
        scores[np.arange(60), right] = np.maximum(scores[np.arange(60), right], 0.1)
    path, gt, out = tmp_path / "s.npy", tmp_path / "gt.json", tmp_path / "s.json"
    np.save(path, scores)
    gt.write_text(json.dumps({str(i): str(j) for i, j in enumerate(right)}))
    told = {key: str(value) for key, value in said.items()}
    rows = [np.array([j]) for j in right]
    reading = io.Reading(text_ids=Path("rows"), video_ids=Path("rows"))
    assert (
        rerank.inspect(scores=scores, **said)["hubness"]
        == (inspect_files(sims=path, reading=reading, **told)["hubness"])
    )
    options = {"methods": ["csls"], "resamples": 20, "figures": ["R@1"]}
    one = rerank.compare(scores=scores, gt=rows, **said, **options)
    two = compare_files(gt, sims=path, reading=reading, **told, **{**options, "methods": "csls"})
    figures = [[[(e.method, e.figures) for e in t.entries] for t in x.tables] for x in (one, two)]
    assert figures[0] == figures[1]
    one = rerank.tune(scores=scores, gt=rows, folds=2, methods="sinkhorn", **said)
    two = tune_files(gt, out, sims=path, reading=reading, folds=2, methods="sinkhorn", **told)
    assert one.chosen == two.chosen and one.n_pairs == two.n_pairs
    taken = rerank.inspect(scores=scores, **said)["scores"]
    plain = {"scores_are": "similarities", "unscored": "none"}
    assert taken != rerank.inspect(scores=scores, **plain)["scores"]
