"""Without FAISS, Numba and SciPy the commands work through torch, and one note says so."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rerank import io

_RUN = """
import runpy, sys
for name in ("faiss", "numba", "llvmlite", "scipy"):
    sys.modules[name] = None
runpy.run_module("rerank", run_name="__main__")
"""


def run(*words, cwd):
    """The command in a process in which nothing of the extras can be imported."""
    root = Path(io.__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", _RUN, *words], cwd=cwd, env=environment, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bare")
    rng = np.random.default_rng(0)
    videos = rng.normal(size=(2100, 8)).astype("f4")
    texts = videos + 0.5 * rng.normal(size=videos.shape).astype("f4")
    for side, rows in (("texts", texts), ("videos", videos)):
        io.write_embeddings(folder / f"{side}.h5", [f"{side[0]}{i}" for i in range(2100)], rows)
    return folder


def test_apply_says_once_that_it_is_slower(files):
    said = run("apply", "--texts", "texts.h5", "--videos", "videos.h5", cwd=files)
    assert said.count("numba is not installed") == 1
    assert len(io.read_results(files / "reranked.h5").directions) == 2


@pytest.mark.slow
def test_a_model_is_fitted_searched_and_exported(files):
    run("fit", "--videos", "videos.h5", "--bank-texts", "texts.h5", "--out", "m.model",
        "--keep-gallery", cwd=files)  # fmt: skip
    run("search", "--model", "m.model", "--texts", "texts.h5", "--out", "found.json", cwd=files)
    for store, name in (("npy", "gallery.npy"), ("pgvector", "gallery.sql")):
        run("export", "--model", "m.model", "--to", store, "--out", name, cwd=files)
        assert (files / name).exists()
