"""Confidence is the same by every door: Python, files, models; and `eval` judges it."""

import json
import warnings

import numpy as np
import pytest

import rerank
from rerank.core.errors import RerankError
from rerank.io import Embeddings, read_results
from rerank.tasks.apply import apply_files
from rerank.tasks.confidence import judge_answers
from rerank.tasks.evaluate_files import judge_results
from rerank.tasks.fit import fit_files
from rerank.tasks.search import search_files

N, D = 90, 16


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def pairs(seed, n=N):
    rng = np.random.default_rng(seed)
    videos = rng.normal(size=(n, D)).astype(np.float32)
    noise = rng.uniform(0.3, 2.0, size=(n, 1))
    return (videos + noise * rng.normal(size=(n, D))).astype(np.float32), videos


def written(folder):
    paths = {}
    for prefix, seed in (("", 0), ("bank_", 1)):
        for role, x in zip(("texts", "videos"), pairs(seed), strict=True):
            name = prefix + role
            paths[name] = folder / f"{name}.npz"
            np.savez(paths[name], embeddings=x, ids=np.array([f"{name}{i}" for i in range(N)]))
        gt = {f"{prefix}texts{i}": f"{prefix}videos{i}" for i in range(N)}
        paths[f"{prefix}gt"] = folder / f"{prefix}gt.json"
        paths[f"{prefix}gt"].write_text(json.dumps(gt))
    return paths


def banked(paths):
    return {role: paths[role] for role in ("texts", "videos", "bank_texts", "bank_videos")}


@pytest.mark.parametrize("bank", [False, True])
def test_python_and_files_agree_and_eval_judges(tmp_path, bank):
    paths = written(tmp_path)
    files = banked(paths) if bank else {role: paths[role] for role in ("texts", "videos")}
    gt = {"bank_gt": paths["bank_gt"]} if bank else {}
    out = tmp_path / "r.h5"
    apply_files(**files, **gt, out=out, confidence=True, threshold=0.8)
    found = read_results(out)
    run = rerank.apply(**{role: str(path) for role, path in (files | gt).items()})
    answers = run.confidence(0.8)
    assert answers["t2v"].settings.calibrated == bank
    for name, said in answers.items():
        np.testing.assert_array_equal(found.directions[name].confidence, said.sure.confidence)
        np.testing.assert_array_equal(found.directions[name].no_match, said.sure.no_match)
    run.save(tmp_path / "again.h5", confidence=True, scores=False)
    again = read_results(tmp_path / "again.h5").directions["t2v"]
    np.testing.assert_array_equal(again.confidence, found.directions["t2v"].confidence)
    judged = judge_results(paths["gt"], out)
    side = judged.answers["t2v"]
    assert side["auroc"] > 0.65 and 0 <= side["coverage"] <= 1
    assert "AUROC" in side["sentence"] and "% answered" in side["sentence"]
    assert json.dumps(judged.as_json())
    page = judge_results(paths["gt"], out, hubs=True).browsers[0].as_json()
    np.testing.assert_allclose(page["confidence"], answers["t2v"].sure.confidence, atol=0.0051)
    assert len(page["noMatch"]) == N
    # A run without it has none.
    apply_files(**files, **gt, out=tmp_path / "plain.h5")
    assert read_results(tmp_path / "plain.h5").directions["t2v"].confidence is None
    plain = judge_results(paths["gt"], tmp_path / "plain.h5", hubs=True)
    assert plain.answers == {} and plain.browsers[0].as_json()["confidence"] is None


def test_models_and_commands_serve_what_was_learned(tmp_path):
    paths = written(tmp_path)
    texts, videos = pairs(0)
    bank_texts, bank_videos = pairs(1)
    model = rerank.fit(
        Embeddings(tuple(f"videos{i}" for i in range(N)), videos, "v", None, N),
        bank_texts=bank_texts, bank_videos=bank_videos, bank_gt=np.arange(N), confidence=True,
    )  # fmt: skip
    found = model.search(texts, k=3, confidence=True)
    model.save(tmp_path / "m.safetensors")
    again = rerank.load(tmp_path / "m.safetensors").search(texts, k=3, confidence=True)
    np.testing.assert_array_equal(again.confidence, found.confidence)
    np.testing.assert_allclose(model.search(texts[5], 3, confidence=True).confidence,
                               found.confidence[5:6], rtol=1e-5)  # fmt: skip
    assert model.search(texts, k=3).confidence is None
    # The same fit by `apply` says the same.
    run = rerank.apply(texts, videos, bank_texts=bank_texts, bank_videos=bank_videos,
                       bank_gt=np.arange(N))  # fmt: skip
    np.testing.assert_allclose(
        run.confidence()["t2v"].sure.confidence, found.confidence, rtol=1e-4, atol=1e-5
    )
    out = tmp_path / "c.safetensors"
    fit_files(out, videos=paths["videos"], texts=None, bank_texts=paths["bank_texts"],
              bank_videos=paths["bank_videos"], bank_gt=paths["bank_gt"], keep_gallery=True,
              confidence=True)  # fmt: skip
    said = search_files(model=out, texts=[paths["texts"]], k=3, threshold=0.8).manifest
    got = [entry["confidence"] for entry in said["results"]]
    np.testing.assert_allclose(got, found.confidence, rtol=1e-5)
    cut = model.confidence.cut(0.8)
    answered = [entry["answered"] for entry in said["results"]]
    np.testing.assert_array_equal(answered, found.confidence >= cut)
    assert 0 < np.mean(answered) < 1
    text = search_files(model=out, texts=[paths["texts"]], k=3, threshold=0.8).text
    assert text.count("no answer at this threshold") == N - np.sum(answered)
    search_files(model=out, texts=[paths["texts"]], k=3, confidence=True, out=tmp_path / "s.h5")
    stored = read_results(tmp_path / "s.h5").directions["t2v"]
    np.testing.assert_allclose(stored.confidence, found.confidence, rtol=1e-5)


def test_a_model_without_it_says_how_to_get_it(tmp_path):
    texts, videos = pairs(0)
    model = rerank.fit(videos, bank_texts=pairs(1)[0])
    with pytest.raises(RerankError, match="has no confidence.*confidence=True"):
        model.search(texts, confidence=True)
    with pytest.raises(RerankError, match="pairs of the bank"):
        rerank.fit(videos, bank_texts=pairs(1)[0], confidence=True)


def test_coverage_precision_and_refused_queries_are_counted():
    from rerank.io import DirectionResult

    result = DirectionResult(
        ("a", "b", "c", "d", "e"), ("x", "y"), np.array([[0], [1], [0], [1], [0]]),
        np.ones((5, 1)), None, "none", np.array([0.9, 0.8, 0.7, 0.2, 0.1]), np.zeros(5),
    )  # fmt: skip
    positives = [np.array([0]), np.array([0]), np.array([0]), np.array([], int), np.array([], int)]
    found = judge_answers(result, positives, 0.75)
    assert found["coverage"] == pytest.approx(2 / 3) and found["precision"] == 0.5
    assert found["unanswerable"] == 2 and found["refused"] == 1.0
    assert found["auroc"] == 0.5
    nothing = judge_answers(result, positives, 2.0)
    assert nothing["coverage"] == 0 and nothing["precision"] is None
