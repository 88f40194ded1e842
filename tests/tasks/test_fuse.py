"""Several models, or several texts of a query, as one: the same by every door."""

import csv
import json
import warnings

import numpy as np
import pytest
import torch

import rerank
from rerank.core.errors import RerankError
from rerank.io import Embeddings, read_results
from rerank.tasks.apply import apply_files
from rerank.tasks.evaluate_files import judge_results
from rerank.tasks.fit import fit_files
from rerank.tasks.search import search_files

N, D = 60, 24


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def parts(seed=0, n=N):
    """Two models of n texts and n videos: {role: [array, array]}."""
    rng = np.random.default_rng(seed)
    videos = rng.normal(size=(n, D))
    texts = videos + rng.normal(size=(n, D))
    cuts = (slice(0, 14), slice(10, D))
    return {
        role: [x[:, cut].astype(np.float32) for cut in cuts]
        for role, x in (("texts", texts), ("videos", videos))
    }


def named(role, x, order=None):
    order = np.arange(len(x)) if order is None else order
    return Embeddings(tuple(f"{role}{i}" for i in order), x[order], role, None, len(x))


def written(folder, models, prefix="", shuffle=True):
    """Files of two models, the second in another order: {role: [path, path]}."""
    rng = np.random.default_rng(7)
    out = {}
    for role, arrays in models.items():
        for k, x in enumerate(arrays):
            order = rng.permutation(len(x)) if k and shuffle else np.arange(len(x))
            path = folder / f"{prefix}{role}{k}.npz"
            np.savez(path, embeddings=x[order], ids=np.array([f"{prefix}{role}{i}" for i in order]))
            out.setdefault(f"{prefix}{role}", []).append(path)
    return out


def test_python_files_and_eval_answer_alike(tmp_path):
    models = parts()
    fused = rerank.fuse(*([named(r, x) for x in models[r]] for r in ("texts", "videos")))
    run = rerank.apply(fused.texts, fused.videos)
    out = tmp_path / "r.h5"
    answer = apply_files(**written(tmp_path, models), out=out, k=10)
    found = read_results(out)
    for name in ("t2v", "v2t"):
        side = getattr(run, name)
        np.testing.assert_array_equal(found.directions[name].indices, side.topk.indices)
        np.testing.assert_allclose(found.directions[name].scores, side.scores, atol=1e-5)
    assert any("2 models with weights" in note for note in answer.notes)
    gt = tmp_path / "gt.json"
    gt.write_text(json.dumps({f"texts{i}": f"videos{i}" for i in range(N)}))
    judged = judge_results(gt, out)
    want = run.evaluate()
    for name in ("t2v", "v2t"):
        for when, figures in (("before", want.before), ("after", want.after)):
            got = getattr(judged, when)[name].table()["R@1"]
            assert got == pytest.approx(figures[name]["R@1"], abs=1e-6)


def test_matrices_and_embeddings_fuse_alike():
    models = parts()
    fused = rerank.fuse(models["texts"], models["videos"])
    scores = [rerank.Pair(t, v).scores() for t, v in zip(*models.values(), strict=True)]
    matrix = rerank.fuse(scores=scores)
    assert matrix.fusion.weights == pytest.approx(fused.fusion.weights, abs=1e-6)
    pair = rerank.Pair(fused.texts.vectors, fused.videos.vectors)
    np.testing.assert_allclose(matrix.scores, pair.scores(), atol=1e-6)


def test_a_recorded_fusion_of_changed_files_is_refused(tmp_path):
    models = parts()
    files = written(tmp_path, models)
    out = tmp_path / "r.h5"
    apply_files(**files, out=out)
    np.savez(files["videos"][1], embeddings=models["videos"][1] + 1,
             ids=np.array([f"videos{i}" for i in range(N)]))  # fmt: skip
    gt = tmp_path / "gt.json"
    gt.write_text(json.dumps({"texts0": "videos0"}))
    with pytest.raises(RerankError, match="is not what"):
        judge_results(gt, out, allow_unjudged=True)


def test_items_without_names_have_to_show_their_order():
    models = parts()
    assert rerank.fuse(models["texts"], models["videos"]).orders[0].proved
    p = np.random.default_rng(1).permutation(N)
    with pytest.raises(RerankError, match="order their items differently.*nothing was added"):
        rerank.fuse([models["texts"][0], models["texts"][1][p]],
                    [models["videos"][0], models["videos"][1][p]])  # fmt: skip
    by_name = rerank.fuse(
        [named("t", models["texts"][0]), named("t", models["texts"][1], p)],
        [named("v", models["videos"][0]), named("v", models["videos"][1], p)],
    )
    plain = rerank.fuse(models["texts"], models["videos"])
    np.testing.assert_array_equal(by_name.texts.vectors, plain.texts.vectors)


def test_a_fused_model_is_fitted_saved_and_searched(tmp_path):
    models, banks = parts(), parts(seed=5, n=80)
    fused = rerank.fuse(
        models["texts"], models["videos"], bank_texts=banks["texts"], bank_videos=banks["videos"],
        bank_gt=np.arange(80),
    )  # fmt: skip
    assert fused.fusion.by == "pairs"
    model = rerank.fit(
        fused.videos, bank_texts=fused.join(banks["texts"]), blocks=fused.blocks, method="sinkhorn"
    )
    joined = model.search(fused.join(models["texts"]), k=5)
    model.save(tmp_path / "m.safetensors")
    again = rerank.load(tmp_path / "m.safetensors").search(models["texts"], k=5)
    np.testing.assert_array_equal(again.ids, joined.ids)
    one = again.ids[3]
    alone = rerank.load(tmp_path / "m.safetensors").search([x[3] for x in models["texts"]], k=5)
    np.testing.assert_array_equal(alone.ids[0], one)


def test_the_commands_fit_and_search_a_fusion(tmp_path):
    models, banks = parts(), parts(seed=5, n=80)
    files = written(tmp_path, models) | written(tmp_path, banks, prefix="bank_")
    gt = tmp_path / "gt.json"
    gt.write_text(json.dumps({f"bank_texts{i}": f"bank_videos{i}" for i in range(80)}))
    out = tmp_path / "m.safetensors"
    fit_files(out, videos=files["videos"], texts=None, bank_texts=files["bank_texts"],
              bank_videos=files["bank_videos"], bank_gt=gt, keep_gallery=True)  # fmt: skip
    found = search_files(model=out, texts=files["texts"], k=3).manifest["results"]
    hits = [entry["items"][0]["id"] == entry["query"].replace("texts", "videos") for entry in found]
    assert np.mean(hits) > 0.8
    again = search_files(model=out, texts=files["texts"], videos=files["videos"], k=3)
    assert again.manifest["results"] == found
    rerank.load(out).export("npy", tmp_path / "v.npy", queries=models["texts"])
    by_index = search_files(model=None, index=tmp_path / "v.npy", texts=files["texts"], k=3)
    first = [entry["items"][0]["id"] for entry in by_index.manifest["results"]]
    assert first == [entry["items"][0]["id"] for entry in found]
    for given in ({"model": out}, {"model": None, "index": tmp_path / "v.npy"}):
        with pytest.raises(RerankError, match="got 1 files, expected one of each of the 2 models"):
            search_files(**given, texts=files["texts"][:1], k=3)


def several_texts(seed=0):
    """Three texts of every video, named x#0, x#1, x#2, in any order."""
    rng = np.random.default_rng(seed)
    videos = rng.normal(size=(40, D)).astype(np.float32)
    rows = rng.permutation(120)
    texts = (videos[rows // 3] + 1.5 * rng.normal(size=(120, D))).astype(np.float32)
    return texts, videos, [f"q{row // 3}#{row % 3}" for row in rows], rows // 3


def test_texts_of_a_query_are_one_query_whose_scores_are_their_mean():
    texts, videos, ids, own = several_texts()
    x = Embeddings(tuple(ids), texts, "texts", None, 120)
    fused = rerank.fuse([x], [videos], query_groups="ids")
    scores = rerank.Pair(texts, videos).scores().numpy()
    order = list(dict.fromkeys(own))
    want = np.stack([scores[own == q].mean(axis=0) for q in order])
    assert fused.texts.ids == tuple(f"q{q}" for q in order)
    got = rerank.Pair(fused.texts.vectors, videos).scores().numpy()
    # Cosines of the mean: the same up to a factor of each query.
    np.testing.assert_allclose(got / got[:, :1], want / want[:, :1], rtol=1e-3, atol=1e-3)
    matrix = rerank.fuse(scores=[scores], query_groups=[f"q{q}" for q in own])
    np.testing.assert_allclose(matrix.scores, want, atol=1e-6)
    hits = (got.argmax(axis=1) == order).mean()
    assert hits > (scores.argmax(axis=1) == own).mean() + 0.1


@pytest.mark.parametrize("kind", ["ids", "json", "csv"])
def test_query_groups_of_files_are_ranked_once_and_judged(tmp_path, kind):
    texts, videos, ids, own = several_texts()
    np.savez(tmp_path / "t.npz", embeddings=texts, ids=np.array(ids))
    names = [f"v{i}" for i in range(40)]
    np.savez(tmp_path / "v.npz", embeddings=videos, ids=np.array(names))
    given = "ids"
    if kind == "json":
        given = str(tmp_path / "g.json")
        (tmp_path / "g.json").write_text(json.dumps({i: f"q{q}" for i, q in zip(ids, own)}))
    elif kind == "csv":
        given = str(tmp_path / "g.csv")
        with (tmp_path / "g.csv").open("w", newline="") as file:
            csv.writer(file).writerows((i, f"q{q}") for i, q in zip(ids, own))
    out = tmp_path / "r.h5"
    apply_files(texts=tmp_path / "t.npz", videos=tmp_path / "v.npz", query_groups=given, out=out)
    assert len(read_results(out).directions["t2v"].query_ids) == 40
    if kind != "ids":
        with pytest.raises(RerankError, match="is an input of this run"):
            apply_files(texts=tmp_path / "t.npz", videos=tmp_path / "v.npz", query_groups=given,
                        out=tmp_path / f"g.{kind}", force=True)  # fmt: skip
    gt = tmp_path / "gt.json"
    gt.write_text(json.dumps({f"q{i}": f"v{i}" for i in range(40)}))
    judged = judge_results(gt, out)
    assert len(judged.after["t2v"].ranks) == 40
    x = Embeddings(tuple(ids), texts, "texts", None, 120)
    fused = rerank.fuse([x], [Embeddings(tuple(names), videos, "v", None, 40)],
                        query_groups=dict(zip(ids, [f"q{q}" for q in own])))  # fmt: skip
    want = rerank.apply(fused.texts, fused.videos).evaluate(str(gt))
    assert judged.after["t2v"].table()["R@1"] == pytest.approx(want.after["t2v"]["R@1"])


def test_what_cannot_be_fused_is_said():
    models = parts()
    with pytest.raises(RerankError, match="a list with one for each model"):
        rerank.fuse(models["texts"][0], models["videos"][0])
    with pytest.raises(RerankError, match="videos: got 1 models, expected 2"):
        rerank.fuse(models["texts"], models["videos"][:1])
    with pytest.raises(RerankError, match="has no #"):
        rerank.fuse(models["texts"], models["videos"], query_groups="ids")
    with pytest.raises(RerankError, match="'1' has no query"):
        rerank.fuse(models["texts"], models["videos"], query_groups={"0": "a"})
    fused = rerank.fuse(scores=[torch.eye(60) + torch.rand(60, 60)])
    with pytest.raises(RerankError, match="matrices have no rows"):
        fused.join(models["texts"])
