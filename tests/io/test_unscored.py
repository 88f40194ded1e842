"""A matrix with pairs that were not scored is converted as it is."""

import h5py
import numpy as np
import pytest

from rerank import io
from rerank.core.errors import RerankError
from rerank.io.scores import convert_scores


def test_pairs_without_a_score_survive_a_conversion(tmp_path):
    x = np.random.default_rng(0).normal(size=(5, 4)).astype("f4")
    x[1, 2] = x[3] = -np.inf
    np.save(tmp_path / "s.npy", x)
    assert convert_scores(tmp_path / "s.npy", tmp_path / "s.h5") == (5, 4)
    with h5py.File(tmp_path / "s.h5") as file:
        np.testing.assert_array_equal(file["scores"][:], x)
    x[0, 0] = np.nan
    np.save(tmp_path / "n.npy", x)
    with pytest.raises(RerankError, match="NaN"):
        convert_scores(tmp_path / "n.npy", tmp_path / "n.h5")


@pytest.mark.parametrize("kind", ["u2", "V2"])
def test_a_file_of_bits_is_named(tmp_path, kind):
    np.save(tmp_path / "s.npy", np.zeros((3, 3), "u2").view(kind))
    with pytest.raises(RerankError, match="may be bfloat16"):
        io.read_scores(tmp_path / "s.npy")
