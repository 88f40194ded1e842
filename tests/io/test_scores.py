"""Score matrices, and what their numbers are taken for."""

import json
import re

import h5py
import numpy as np
import pytest

from rerank.core.errors import FormatError, RerankError
from rerank.io import as_log_scores, kind_of_scores, read_scores

QUERIES, GALLERY = list("abcde"), list("uvwxyz")


def matrix(dtype="<f4"):
    return np.random.default_rng(0).normal(size=(5, 6)).astype(dtype)


def save(path, scores, *, queries=QUERIES, gallery=GALLERY, name="scores"):
    ids = {} if queries is None else {"query_ids": queries, "gallery_ids": gallery}
    if path.suffix == ".h5":
        with h5py.File(path, "w") as f:
            for key, value in {name: scores, **ids}.items():
                f[key] = value
    elif path.suffix == ".npz":
        np.savez(path, **{name: scores}, **ids)
    else:
        np.save(path, scores)
        for key, value in ids.items():
            path.with_suffix(f".{key}.json").write_text(json.dumps(value))
    return path


kinds = pytest.mark.parametrize("kind", ["h5", "npy", "npz"])


@kinds
@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8", ">f2", ">f4", ">f8"])
def test_values_and_ids_come_back(tmp_path, kind, dtype):
    found = read_scores(save(tmp_path / f"s.{kind}", matrix(dtype)))
    np.testing.assert_array_equal(found.scores, matrix(dtype).astype(found.scores.dtype))
    assert found.scores.dtype.isnative and found.scores.dtype.itemsize == (8 if "8" in dtype else 4)
    assert found.query_ids == tuple(QUERIES) and found.gallery_ids == tuple(GALLERY)
    assert found.ids_given and found.total_rows == 5


@kinds
def test_without_ids_rows_and_columns_are_numbered(tmp_path, kind):
    found = read_scores(save(tmp_path / f"s.{kind}", matrix(), queries=None))
    assert not found.ids_given
    assert found.query_ids == ("0", "1", "2", "3", "4") and found.gallery_ids[-1] == "5"


@kinds
def test_a_slice_of_the_rows(tmp_path, kind):
    path = save(tmp_path / f"s.{kind}", matrix())
    part = read_scores(path, rows=slice(1, 3))
    np.testing.assert_array_equal(part.scores, matrix()[1:3])
    assert part.query_ids == ("b", "c") and part.gallery_ids == tuple(GALLERY)
    assert part.total_rows == 5


@kinds
def test_the_array_may_be_named(tmp_path, kind):
    path = save(tmp_path / f"s.{kind}", matrix(), name="sims")
    assert read_scores(path).ids_given
    if kind == "npy":
        return
    assert read_scores(path, dataset="sims").scores.shape == (5, 6)
    with pytest.raises(FormatError, match="'other'"):
        read_scores(path, dataset="other")


def test_two_matrices_are_ambiguous(tmp_path):
    np.savez(tmp_path / "s.npz", a=matrix(), b=matrix())
    with pytest.raises(FormatError, match=r"s\.npz.*'a', 'b'.*dataset='a'"):
        read_scores(tmp_path / "s.npz")
    np.savez(tmp_path / "s.npz", a=np.ones(3), b=np.ones(3))
    with pytest.raises(FormatError, match=r"s\.npz.*expected a 2-D float array 'scores'"):
        read_scores(tmp_path / "s.npz")


@kinds
@pytest.mark.parametrize(
    ("value", "words"),
    [(np.nan, "NaN"), (np.inf, r"\+infinity"), (-np.inf, "-infinity")],
)
def test_values_that_are_not_finite(tmp_path, kind, value, words):
    scores = matrix()
    scores[3, 2] = value
    path = save(tmp_path / f"s.{kind}", scores)
    pattern = rf"s\.{kind}.*row 3 \(query 'd'\): {words} in column 2 \(item 'w'\)"
    with pytest.raises(FormatError, match=pattern):
        read_scores(path)


@kinds
@pytest.mark.parametrize(
    ("scores", "words"),
    [
        (np.ones((5, 6), int), "integers"),
        (np.ones((5, 6), complex), "complex"),
        (np.ones((5, 6), bool), "booleans"),
        (np.ones((5, 6, 2)), "3-D"),
        (np.ones(5), "1-D"),
        (np.ones((0, 6)), "empty"),
    ],
)
def test_the_wrong_sort_of_array(tmp_path, kind, scores, words):
    with pytest.raises(FormatError, match=rf"s\.{kind}.*{words}"):
        read_scores(save(tmp_path / f"s.{kind}", scores))


@kinds
@pytest.mark.parametrize(
    ("ids", "words"),
    [
        ({"queries": QUERIES[:4]}, "4 ids for the 5 rows"),
        ({"gallery": [*GALLERY, "more"]}, "7 ids for the 6"),
        ({"queries": list("abcda")}, "'a' stands in row 0 and again in row 4"),
        ({"gallery": list("uvwxyu")}, "'u'"),
    ],
)
def test_ids_that_do_not_fit(tmp_path, kind, ids, words):
    with pytest.raises(FormatError, match=words):
        read_scores(save(tmp_path / f"s.{kind}", matrix(), **ids))


def test_ids_of_one_side_only(tmp_path):
    np.savez(tmp_path / "s.npz", scores=matrix(), query_ids=QUERIES)
    with pytest.raises(FormatError, match="query_ids but no gallery_ids"):
        read_scores(tmp_path / "s.npz")


def test_other_files(tmp_path):
    for name, content in (("s.csv", "a,b"), ("s.pt", "x"), ("s.txt", "1 2")):
        (tmp_path / name).write_text(content)
        with pytest.raises(FormatError, match=re.escape(name)):
            read_scores(tmp_path / name)
    with pytest.raises(FormatError, match="no such file"):
        read_scores(tmp_path / "missing.npy")
    (tmp_path / "d.npy").mkdir()
    with pytest.raises(FormatError, match="directory"):
        read_scores(tmp_path / "d.npy")


def softmax(x, axis):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_probabilities_are_recognised(dtype):
    x = 20 * np.random.default_rng(0).normal(size=(50, 40))
    assert kind_of_scores(x.astype(dtype)) == "similarities"
    assert kind_of_scores(np.abs(x).astype(dtype)) == "similarities"
    assert kind_of_scores(softmax(x, 1).astype(dtype)) == "row-probabilities"
    assert kind_of_scores(softmax(x, 0).astype(dtype)) == "column-probabilities"


def test_probabilities_at_the_edges():
    p = softmax(np.random.default_rng(0).normal(size=(4, 5)), 1)
    assert kind_of_scores(p * 1.0009) == "row-probabilities"
    assert kind_of_scores(p * 1.002) == "similarities"
    assert kind_of_scores(np.full((4, 4), 0.25)) == "row-probabilities"
    assert kind_of_scores(np.ones((1, 1))) == "similarities"
    assert kind_of_scores(np.array([[0.5, 0.5]])) == "similarities"
    # Sums to one, but with a negative entry.
    assert kind_of_scores(np.array([[1.5, -0.5], [0.5, 0.5]])) == "similarities"
    large = np.zeros((3000, 2000), "f4")
    large[:, 0] = 1
    large[-1, 0] = 0.5
    assert kind_of_scores(large) == "similarities"
    for bad in (np.nan, np.inf):
        assert kind_of_scores(np.array([[bad, 0], [0, 1]])) == "similarities"


def test_logarithm_of_probabilities():
    p = np.array([[0, 0.5], [1, 0.25]], "f4")
    found = as_log_scores(p)
    assert found.dtype == np.float32 and np.isneginf(found[0, 0])
    np.testing.assert_allclose(np.exp(found), p)
    assert p[0, 0] == 0
    with pytest.raises(RerankError, match="row 1, column 0 is -0.5"):
        as_log_scores(np.array([[1, 0.0], [-0.5, 0]]))
