"""Stand-ins have the mean and the covariance of the queries that they stand for."""

import numpy as np
import pytest
import scipy.linalg
import torch

from rerank.core.errors import RerankError
from rerank.core.rows import StoredRows
from rerank.methods.saved import load, read_model, save
from rerank.serving.model import fit_model
from rerank.serving.standins import Moments, from_kept, moments_of, stand_ins, to_kept
from tests.serving_data import make


def cloud(n: int, d: int, seed: int) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + rng.normal(size=d))


def test_stand_ins_have_the_moments_of_the_queries():
    queries = cloud(4000, 12, 0)
    items = 3 + torch.from_numpy(np.random.default_rng(1).normal(size=(3000, 12)))
    made = stand_ins(moments_of(queries), items, "dot").double().numpy()
    expected = np.cov(queries.T.numpy())
    np.testing.assert_allclose(made.mean(axis=0), queries.mean(dim=0), atol=1e-4)
    # The ridge keeps every direction; it is a hundredth of the mean variance.
    found = 1.01 * np.cov(made.T) - 0.01 * np.trace(expected) / 12 * np.eye(12)
    np.testing.assert_allclose(found, expected, atol=2e-3 * np.trace(expected) / 12)


def test_stand_ins_are_their_formula():
    queries, items = cloud(300, 6, 2).float(), cloud(200, 6, 3).float()
    x, v = (np.asarray(side.double()) for side in (queries, items))
    x, v = (side / np.linalg.norm(side, axis=1, keepdims=True) for side in (x, v))
    c_q, c_v = (np.cov(side.T, bias=True) for side in (x, v))
    c_q, c_v = (c + 0.01 * np.trace(c) / 6 * np.eye(6) for c in (c_q, c_v))
    root = scipy.linalg.sqrtm(c_v)
    back = np.linalg.inv(root)
    made = x.mean(0) + (v - v.mean(0)) @ back @ scipy.linalg.sqrtm(root @ c_q @ root) @ back
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    unit = torch.nn.functional.normalize(queries, dim=1)
    np.testing.assert_allclose(stand_ins(moments_of(unit), items, "cosine"), made, atol=1e-4)


def test_items_that_lie_as_the_queries_do_stay_where_they_are():
    items = cloud(500, 8, 4).float()
    torch.testing.assert_close(stand_ins(moments_of(items), items, "dot"), items, atol=1e-3, rtol=0)


def test_moments_keep_the_largest_axes_and_the_mean_of_the_rest():
    x = cloud(3000, 140, 5)
    found = moments_of(x)
    values, axes = np.linalg.eigh(np.cov(x.T.numpy(), bias=True))
    values[:12] = values[:12].mean()
    expected = (axes * values) @ axes.T
    assert found.axes.shape == (128, 140)
    np.testing.assert_allclose(found.covariance, expected, atol=1e-4 * values[-1])
    stored = moments_of(StoredRows(x.half()))
    np.testing.assert_allclose(stored.covariance, expected, atol=2e-3 * values[-1])


@pytest.mark.parametrize("count", [2, 3])
def test_few_or_equal_queries_make_finite_stand_ins(count):
    queries = cloud(1, 8, 6).repeat(count, 1)
    for side in (queries, queries + torch.arange(count)[:, None]):
        made = stand_ins(moments_of(side), cloud(40, 8, 7), "cosine")
        assert torch.isfinite(made).all() and len(made) == 40
    assert torch.isfinite(stand_ins(moments_of(queries), queries, "dot")).all()


def test_a_model_holds_the_moments_of_its_bank_not_the_bank(tmp_path):
    ids, gallery, _, bank, _ = make()
    model = fit_model(ids, gallery, bank, method="sinkhorn", tau=0.05)
    expected = moments_of(torch.from_numpy(bank))
    path = tmp_path / "m.safetensors"
    save(path, model.fitted, gallery_ids=ids, manifest=model.manifest, kept=model.kept)
    found = from_kept(read_model(path).kept)
    assert found is not None and load(path) is not None
    for name in ("mean", "axes", "rest"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name))
    assert not any(len(t) == len(bank) and t.ndim == 2 for t in model.kept.values() if t.ndim)
    assert from_kept({}) is None
    assert to_kept(found).keys() <= model.kept.keys()


def test_another_dimension_is_refused():
    moments = Moments(torch.zeros(8), torch.zeros(2, 8), torch.tensor(1.0))
    with pytest.raises(RerankError, match="gallery: got d = 9, the bank's queries have d = 8"):
        stand_ins(moments, cloud(40, 9, 0), "cosine")
