"""A model file keeps where its bank's queries lie."""

import numpy as np
import pytest
import torch

import rerank
from rerank.core.errors import FormatError
from rerank.core.rows import StoredRows
from rerank.methods.saved import read_model, save
from rerank.selection.moments import moments_of
from rerank.serving.fitting import fit_model
from rerank.serving.watch import from_kept, to_kept
from tests.serving_data import make


def test_moments_keep_the_mean_the_largest_axes_and_the_mean_of_the_rest():
    rng = np.random.default_rng(5)
    x = rng.normal(size=(3000, 140)) @ rng.normal(size=(140, 140)) + rng.normal(size=140)
    found = moments_of(torch.from_numpy(x))
    values, axes = np.linalg.eigh(np.cov(x.T, bias=True))
    values[:12] = values[:12].mean()
    expected = (axes * values) @ axes.T
    assert found.axes.shape == (128, 140)
    np.testing.assert_allclose(found.mean, x.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(found.covariance, expected, atol=1e-4 * values[-1])
    stored = moments_of(StoredRows(torch.from_numpy(x).half()))
    np.testing.assert_allclose(stored.covariance, expected, atol=2e-3 * values[-1])


def test_equal_queries_have_finite_moments():
    found = moments_of(torch.ones(3, 8))
    assert torch.isfinite(found.axes).all() and float(found.rest) == 0
    np.testing.assert_allclose(found.covariance, 0, atol=1e-12)


def test_a_model_holds_the_moments_of_its_bank_not_the_bank(tmp_path):
    ids, gallery, _, bank, _ = make()
    model = fit_model(ids, gallery, bank, method="sinkhorn", tau=0.05)
    expected = moments_of(torch.from_numpy(bank))
    path = tmp_path / "m.safetensors"
    save(path, model.fitted, gallery_ids=ids, manifest=model.manifest, kept=model.kept)
    found = from_kept(read_model(path).kept)
    assert found is not None
    for name in ("mean", "axes", "rest"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name))
    assert not any(len(t) == len(bank) and t.ndim == 2 for t in model.kept.values() if t.ndim)
    assert from_kept({}) is None
    assert to_kept(found).keys() <= model.kept.keys()


@pytest.mark.parametrize(("name", "shape"), [
    ("pairs", (2,)), ("pairs", (3, 1)), ("mean", (7,)), ("axes", (8,)), ("rest", (1,)),
    ("wide", (5,)), ("along", (101, 1)),
])  # fmt: skip
def test_moments_of_shapes_that_they_do_not_have_are_refused(name, shape):
    kept = to_kept(moments_of(torch.randn(50, 8, generator=torch.Generator().manual_seed(0))))
    assert from_kept(kept) is not None
    with pytest.raises(FormatError, match="do not fit together; fit again"):
        from_kept({**kept, f"bank.moments.{name}": torch.zeros(shape)})


@pytest.mark.parametrize("way", ["dropped", "cut"])
@pytest.mark.parametrize("keep_bank", [False, True])
def test_what_a_model_keeps_belongs_to_all_of_its_items(tmp_path, way, keep_bank):
    rng = np.random.default_rng(0)
    gallery, bank = (rng.normal(size=(n, 8)).astype("f4") for n in (20, 40))
    ids = [f"v{i}" for i in range(20)]
    path = tmp_path / "m.safetensors"
    fitted = rerank.fit(gallery, ids=ids, bank_texts=bank, tau=0.05, keep_bank=keep_bank)
    fitted.save(path)
    good = read_model(path)
    tried = [x for x in good.kept if x.endswith((".hashes", ".queries", ".vectors"))]
    refused = []
    for name in tried:
        kept = dict(good.kept)
        if way == "cut":
            kept[name] = kept[name][:-1].clone()
        else:
            del kept[name]
        save(path, good.fitted, gallery_ids=ids, manifest=good.manifest, kept=kept)
        try:
            rerank.load(path).with_gallery(gallery, ids=ids).search(bank)
        except FormatError as error:
            assert "not a model this version can read" in str(error)
            refused.append(name)
    assert "gallery.hashes" in refused
    assert way == "dropped" or not keep_bank or {"bank.queries", "bank.hashes"} & set(refused)
