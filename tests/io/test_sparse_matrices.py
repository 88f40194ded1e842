"""Sparse matrices, which are not read here, and the lines that make them dense."""

import re
import shlex

import numpy as np
import pytest
import scipy.io
import scipy.sparse

from rerank.core.errors import FormatError
from rerank.io import read_embeddings, read_scores

SOME = np.round(np.random.default_rng(0).normal(size=(9, 6)), 3) + 5
SOME[::2, ::3] = 0
KINDS = ["csr", "csc", "coo", "bsr", "dia", "mtx", "mtx.csv", "dense.mtx"]


def keep(folder, kind):
    if "mtx" not in kind:
        scipy.sparse.save_npz(folder / "s.npz", scipy.sparse.coo_matrix(SOME).asformat(kind))
        return folder / "s.npz"
    path = folder / "s.mtx"
    scipy.io.mmwrite(path, SOME if kind == "dense.mtx" else scipy.sparse.coo_matrix(SOME))
    return path.rename(folder / f"s.{kind.rpartition('.')[2]}")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("read", [read_scores, read_embeddings])
def test_a_sparse_matrix_is_told_with_lines_that_make_it_dense(tmp_path, monkeypatch, kind, read):
    path = keep(tmp_path, kind)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FormatError, match="sparse matrix of scipy|Matrix Market") as error:
        read(path)
    lines = re.findall(r"python -c ('[^']*')", str(error.value))
    exec(shlex.split(lines[0])[0], {})  # noqa: S102  our own line
    np.testing.assert_array_equal(np.load(tmp_path / "s.npy"), SOME)
    assert len(lines) == 1 + (kind != "dense.mtx")
    if kind in ("dense.mtx", "bsr", "dia"):  # which store zeros
        return
    exec(shlex.split(lines[1])[0], {})  # noqa: S102  our own line
    scores = read_scores(tmp_path / "s.npy").scores
    np.testing.assert_array_equal(scores, np.where(SOME == 0, -np.inf, SOME))


def test_arrays_that_are_called_so_beside_others_are_read(tmp_path):
    np.savez(tmp_path / "s.npz", scores=SOME, data=SOME[0], shape=[9, 6], format="x", indices=[1])
    assert read_scores(tmp_path / "s.npz").scores.shape == SOME.shape
