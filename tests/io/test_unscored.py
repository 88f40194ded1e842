"""A matrix with pairs that were not scored is converted as it is."""

import h5py
import numpy as np
import pytest

import rerank
from rerank import io
from rerank.core.errors import RerankError
from rerank.io.scores import convert_scores
from tests.cli.test_cli import run


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


SCORES = np.random.default_rng(1).normal(size=(30, 20)).astype("f4")
GONE = np.random.default_rng(2).random(SCORES.shape) < 0.4
NAMES = {"query_ids": [f"t{i}" for i in range(30)], "gallery_ids": [f"v{i}" for i in range(20)]}
INFINITE = [
    ("scores", np.inf, ["--scores-are", "distances"]),
    ("scores", np.inf, ["--scores-are", "distances", "--unscored", "inf"]),
    ("scores", -np.inf, ["--scores-are", "distances"]),
    ("distances", np.inf, []),
    ("scores", np.inf, ["--unscored", "inf"]),
]


@pytest.mark.parametrize(("called", "value", "words"), INFINITE)
def test_an_infinite_distance_is_no_score(tmp_path, called, value, words):
    """Whoever keeps the nearest few writes inf for the rest; said, it is no score of any kind."""
    turned = called == "distances" or "distances" in words
    held = np.where(GONE, value, 3 - SCORES if turned else SCORES)
    np.savez(tmp_path / "s.npz", **{called: held}, **NAMES)
    np.savez(tmp_path / "w.npz", scores=np.where(GONE, -np.inf, SCORES), **NAMES)
    run("apply", "--sims", "s.npz", "--out", "s.h5", *words, cwd=tmp_path)
    run("apply", "--sims", "w.npz", "--out", "w.h5", cwd=tmp_path)
    found, want = (io.read_results(tmp_path / f"{x}.h5").directions["t2v"] for x in "sw")
    np.testing.assert_array_equal(found.indices, want.indices)
    options = {"scores_are": "distances"} if turned else {"unscored": np.inf}
    made = rerank.rerank(held, **options)
    np.testing.assert_array_equal(np.isinf(made), GONE)
    if called == "scores" and "--unscored" in words:
        convert_scores(tmp_path / "s.npz", tmp_path / "c.h5", unscored=value)
        run("apply", "--sims", "c.h5", "--out", "c2.h5", *words[: 2 * turned], cwd=tmp_path)
        again = io.read_results(tmp_path / "c2.h5").directions["t2v"]
        np.testing.assert_array_equal(again.indices, want.indices)


def test_an_infinite_score_is_asked_about(tmp_path):
    np.savez(tmp_path / "s.npz", scores=np.where(GONE, np.inf, SCORES), **NAMES)
    _, err = run("apply", "--sims", "s.npz", "--out", "s.h5", cwd=tmp_path, code=2)
    assert "--scores-are distances or --unscored inf" in err
    with pytest.raises(RerankError, match="inf"):
        rerank.apply(scores=str(tmp_path / "s.npz"))
    rerank.apply(scores=str(tmp_path / "s.npz"), scores_are="distances")
