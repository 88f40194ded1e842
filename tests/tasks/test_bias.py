"""An outside prior is added to what was fitted, the same by every door, and folds."""

import json
import warnings

import numpy as np
import pytest
import torch

import rerank
from rerank.core.errors import RerankError
from rerank.io import item_numbers, read_results
from rerank.tasks.apply import apply_files
from rerank.tasks.evaluate_files import judge_results
from rerank.tasks.fit import fit_files
from rerank.tasks.search import search_files

N, M, D = 70, 50, 12


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def data(seed=0):
    rng = np.random.default_rng(seed)
    videos = rng.normal(size=(M, D)).astype(np.float32)
    texts = videos[np.arange(N) % M] + rng.normal(size=(N, D)).astype(np.float32)
    return texts, videos, rng.normal(size=M) * 0.2


@pytest.mark.parametrize("method", [None, "none", "em+sinkhorn", "csls", "dsl"])
def test_the_prior_is_added_to_the_fitted_scores(method):
    texts, videos, prior = data()
    plain = rerank.apply(texts, videos, method=method)
    run = rerank.apply(texts, videos, method=method, bias=prior, bias_weight=2.0)
    want = plain.t2v.sim.scores() + torch.from_numpy(2 * prior).float()
    assert torch.allclose(run.t2v.sim.scores(), want, atol=1e-6)
    assert torch.equal(run.v2t.sim.scores(), plain.v2t.sim.scores())
    assert run.label == plain.label


def test_no_weight_is_no_prior_and_the_given_numbers_stay():
    texts, videos, prior = data()
    before = prior.copy()
    zero = rerank.apply(texts, videos, bias=prior, bias_weight=0.0)
    plain = rerank.apply(texts, videos)
    np.testing.assert_array_equal(zero.t2v.topk.indices, plain.t2v.topk.indices)
    np.testing.assert_array_equal(prior, before)


def test_a_model_folds_and_exports_it(tmp_path):
    texts, videos, prior = data()
    bank = data(seed=1)[0]
    plain = rerank.fit(videos, bank_texts=bank)
    model = rerank.fit(videos, bank_texts=bank, bias=prior)

    assert plain.fold(texts).shape[1] == model.fold(texts).shape[1]  # no dimension more than before
    whole = [m.search(texts, k=M) for m in (plain, model)]
    order = [found.rows.argsort(axis=1) for found in whole]
    one, other = (
        np.take_along_axis(found.scores, rows, axis=1)
        for found, rows in zip(whole, order, strict=True)
    )
    # Folded biases have mean zero, which changes no order.
    np.testing.assert_allclose(other - one, np.tile(prior - prior.mean(), (N, 1)), atol=1e-5)
    model.save(tmp_path / "m.safetensors")
    again = rerank.load(tmp_path / "m.safetensors").search(texts, k=5)
    np.testing.assert_array_equal(again.ids, model.search(texts, k=5).ids)
    model.export("npy", tmp_path / "v.npy", queries=texts)
    folded = np.load(tmp_path / "v.npy")
    best = (model.fold(texts) @ folded.T).argmax(axis=1)
    np.testing.assert_array_equal(best, again.rows[:, 0])


def written(folder, prior, kind):
    texts, videos, _ = data()
    for name, x in (("t", texts), ("v", videos)):
        np.savez(folder / f"{name}.npz", embeddings=x,
                 ids=np.array([f"{name}{i}" for i in range(len(x))]))  # fmt: skip
    path = folder / f"prior.{kind}"
    order = np.random.default_rng(3).permutation(M)
    if kind == "npy":
        np.save(path, prior)
    elif kind == "json":
        path.write_text(json.dumps({f"v{i}": prior[i] for i in order}))
    else:
        mark = "\t" if kind == "tsv" else ","
        lines = [f"id{mark}number", *(f"v{i}{mark}{float(prior[i])!r}" for i in order)]
        path.write_text("\n".join(lines) + "\n")
    return {"texts": folder / "t.npz", "videos": folder / "v.npz"}, path


@pytest.mark.parametrize("kind", ["npy", "json", "csv", "tsv"])
@pytest.mark.parametrize("method", ["sinkhorn", "dsl", "none"])
def test_files_and_eval_answer_as_python_does(tmp_path, kind, method):
    texts, videos, prior = data()
    files, path = written(tmp_path, prior, kind)
    out = tmp_path / "r.h5"
    apply_files(**files, bias=path, bias_weight=-1.5, out=out, settings={"method": method})
    run = rerank.apply(texts, videos, method=method, bias=prior, bias_weight=-1.5)
    found = read_results(out).directions["t2v"]
    np.testing.assert_array_equal(found.indices, run.t2v.topk.indices)
    gt = tmp_path / "gt.json"
    gt.write_text(json.dumps({f"t{i}": f"v{i % M}" for i in range(N)}))
    judged = judge_results(gt, out)
    want = run.evaluate([[i % M] for i in range(N)]).after["t2v"]
    for figure in ("R@1", "MnR"):
        assert judged.after["t2v"].table()[figure] == pytest.approx(want[figure])


def test_the_commands_fit_and_search_with_it(tmp_path):
    texts, videos, prior = data()
    files, path = written(tmp_path, prior, "csv")
    bank = tmp_path / "b.npz"
    np.savez(bank, embeddings=data(seed=1)[0], ids=np.array([f"b{i}" for i in range(N)]))
    out = tmp_path / "m.safetensors"
    fit_files(out, videos=files["videos"], texts=None, bank_texts=bank, bank_videos=None,
              bias=path, bias_weight=3.0, keep_gallery=True)  # fmt: skip
    got = search_files(model=out, texts=[files["texts"]], k=4).manifest["results"]
    model = rerank.fit(videos, ids=[f"v{i}" for i in range(M)], bank_texts=data(seed=1)[0],
                       bias=prior, bias_weight=3.0)  # fmt: skip
    want = model.search(texts, k=4).ids
    assert [[item["id"] for item in entry["items"]] for entry in got] == want.tolist()


def test_numbers_that_fit_no_gallery_are_refused(tmp_path):
    ids = ["a", "b"]
    with pytest.raises(RerankError, match="no number for 'b'"):
        item_numbers({"a": 1.0}, ids)
    with pytest.raises(RerankError, match="the number of 'b' is nan"):
        item_numbers([1.0, np.nan], ids)
    with pytest.raises(RerankError, match=r"an array of \(2, 2\)"):
        item_numbers(np.ones((2, 2)), ids)
    bad = tmp_path / "x.csv"
    bad.write_text("a,1\na,2\n")
    with pytest.raises(RerankError, match="'a' is there twice"):
        item_numbers(bad, ids)
    bad.write_text("a,1\nb\n")
    with pytest.raises(RerankError, match="row 2 is not an id and its number"):
        item_numbers(bad, ids)
    with pytest.raises(RerankError, match="needs --bias"):
        files, _ = written(tmp_path, data()[2], "npy")
        apply_files(**files, bias_weight=2.0, out=tmp_path / "r.h5")
