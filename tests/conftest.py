"""Fixtures shared by all tests."""

import os
from pathlib import Path

import numpy as np
import pytest

# The problems of the tests are so small that a second thread only waits for the first; on a busy
# machine that wait is most of the time. Set before torch is imported; child processes inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parent.parent

# Scripts that measure; they import peers that the tests do without.
collect_ignore_glob = ["bench/*"]


@pytest.fixture(scope="session")
def golden() -> dict[str, np.ndarray]:
    """Outputs of published code on fixed inputs; read-only, so that no test spoils them."""
    with np.load(ROOT / "tests" / "golden" / "peers.npz", allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    for array in arrays.values():
        array.setflags(write=False)
    return arrays


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real embeddings that RERANK_DATA names; without the variable the test skips."""
    folder = os.environ.get("RERANK_DATA")
    if not folder:
        pytest.skip("RERANK_DATA does not name a folder of real embeddings")
    if not Path(folder).is_dir():
        pytest.fail(f"RERANK_DATA={folder}: no such folder; unset it to skip these tests")
    return Path(folder).resolve()


@pytest.fixture(scope="session")
def samples() -> Path:
    """The folder of the sample embeddings."""
    return ROOT / "data_samples"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked `gpu` skip where there is no CUDA device."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    import torch

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))
