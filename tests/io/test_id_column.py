"""A column of the vectors that holds the numbers of the items is no part of them."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from rerank.core.errors import FormatError, RerankError
from rerank.io.embeddings import as_embeddings, held, read_embeddings

VECTORS = np.random.default_rng(0).normal(size=(12, 4))
NUMBERS = np.random.default_rng(1).permutation(12)


def _h5(path: Path, rows: np.ndarray) -> None:
    with h5py.File(path, "w") as file:
        file["group/feat"] = rows


SAVES: dict[str, Callable[[Path, np.ndarray], object]] = {
    "v.npy": lambda path, rows: np.save(path, rows),
    "v.npz": lambda path, rows: np.savez(path, feat=rows),
    "v.pt": lambda path, rows: torch.save({"x": torch.tensor(rows)}, path),
    "v.h5": _h5,
    "one.npy": lambda path, rows: np.save(path, rows[None]),
    "v.csv": lambda path, rows: np.savetxt(
        path, rows, delimiter=",", header="0,1,2,3,4", comments=""
    ),
}


def _out_of(error: pytest.ExceptionInfo[FormatError]) -> Path:
    """The file that the printed line makes."""
    line = re.search(r"\S*python -c '.*'", str(error.value))
    assert line is not None
    exec(shlex.split(line[0])[-1], {})  # noqa: S102  what a shell would run
    made = re.search(r', "([^"]+\.cut\.h5)"', line[0])
    assert made is not None
    return Path(made[1])


@pytest.mark.parametrize("name", SAVES)
@pytest.mark.parametrize("last", [False, True], ids=["first", "last"])
def test_a_file_is_refused_and_the_line_reads_it_right(
    tmp_path: Path, name: str, *, last: bool
) -> None:
    both = (VECTORS, NUMBERS) if last else (NUMBERS, VECTORS)
    SAVES[name](tmp_path / name, np.column_stack(both))
    with pytest.raises(FormatError, match="last column" if last else "first column") as error:
        read_embeddings(tmp_path / name, row_numbers=True)
    made = read_embeddings(_out_of(error))
    np.testing.assert_allclose(made.vectors, VECTORS)
    assert made.ids == tuple(map(str, NUMBERS))


def test_ids_beside_the_rows_are_kept(tmp_path: Path) -> None:
    np.savez(tmp_path / "v.npz", feat=np.c_[VECTORS, NUMBERS], vid=[f"v{i}" for i in range(12)])
    with pytest.raises(FormatError, match="last column") as error:
        read_embeddings(tmp_path / "v.npz", id_column="vid", dataset="feat")
    made = read_embeddings(_out_of(error), id_column="vid", dataset="feat")
    assert made.ids[:2] == ("v0", "v1")
    np.testing.assert_array_equal(made.vectors, VECTORS)


@pytest.mark.parametrize("kind", [np.asarray, torch.tensor, np.ndarray.tolist])
@pytest.mark.parametrize("door", [held, as_embeddings])
def test_a_program_is_told_as_well(
    door: Callable[..., object], kind: Callable[[np.ndarray], object]
) -> None:
    with pytest.raises(RerankError, match=r"texts: the first column.*dict\(zip\("):
        door(kind(np.c_[NUMBERS, VECTORS]), role="texts")


RANDOM = np.random.default_rng(2)
GOOD = {
    "vectors": VECTORS,
    "whole numbers throughout": np.c_[NUMBERS, RANDOM.integers(0, 9, (12, 4))].astype(float),
    "numbers that are counted": np.arange(60.0).reshape(12, 5),
    "ones": np.c_[np.ones(12), VECTORS],
    "zeros": np.c_[VECTORS, np.zeros(12)],
    "labels": np.c_[np.arange(12) // 2, VECTORS],
    "signs": np.c_[np.arange(12) - 6, VECTORS],
    "half": np.c_[2048 + 4 * np.arange(12), VECTORS].astype(np.float16),
    "few": np.c_[np.arange(4), VECTORS[:4]],
    "a few that do not count": np.c_[VECTORS[:6], [3, 90, 4, 71, 30, 8]],
    "mostly zeros": np.c_[np.arange(12), np.zeros((12, 4)), VECTORS[:, :1]],
}


@pytest.mark.parametrize("name", GOOD)
def test_good_vectors_are_left_alone(tmp_path: Path, name: str) -> None:
    np.save(tmp_path / "v.npy", GOOD[name])
    read = read_embeddings(tmp_path / "v.npy", row_numbers=True, metric="dot")
    np.testing.assert_array_equal(read.vectors, GOOD[name])
    assert len(held(GOOD[name], metric="dot")[0]) == len(GOOD[name])
