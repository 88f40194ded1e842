"""Every recipe that is printed for a refused file works on that file, and replaces none."""

import pickle
import shlex
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from rerank.core.errors import FormatError
from rerank.io import read_embeddings
from tests.cli.test_cli import run

ROWS = np.arange(6.0).reshape(3, 2) + 1
NAMED = {f"v{i}": row for i, row in enumerate(ROWS)}


def objects(path, value):
    array = np.empty((), dtype=object)
    array[()] = value
    np.save(path.open("wb"), array, allow_pickle=True)


MADE = {
    "dict.pkl": lambda path: path.write_bytes(pickle.dumps(NAMED)),
    "whole numbers.pkl": lambda path: path.write_bytes(
        pickle.dumps({i: row.tolist() for i, row in enumerate(ROWS)})
    ),
    "two  blanks 'and' quotes.pkl": lambda path: path.write_bytes(pickle.dumps(NAMED)),
    "umlaut-ä.pkl": lambda path: path.write_bytes(pickle.dumps(NAMED, protocol=0)),
    "arrays.pkl": lambda path: path.write_bytes(
        pickle.dumps({"ids": list(NAMED), "embeddings": ROWS})
    ),
    "records.pkl": lambda path: path.write_bytes(
        pickle.dumps([{"id": name, "clip": row, "year": "1999"} for name, row in NAMED.items()])
    ),
    "table.pkl": lambda path: pd.DataFrame({"id": list(NAMED), "clip": list(ROWS)}).to_pickle(path),
    "nested.pkl": lambda path: path.write_bytes(
        pickle.dumps({name: {"clip": row} for name, row in NAMED.items()})
    ),
    "dict.npy": lambda path: objects(path, NAMED),
    "dict.npz": lambda path: np.savez(
        path.open("wb"), all=np.array({"ids": list(NAMED), "clip": ROWS}, dtype=object)
    ),
}


@pytest.mark.parametrize("name", MADE)
def test_the_recipe_is_printed_so_that_a_shell_can_run_it(tmp_path, name):
    path = tmp_path / name
    MADE[name](path)
    # What lies where the recipe would write stays as it is.
    taken = {path.with_suffix(".npz"), path.with_suffix(".plain.npz")} - {path}
    for other in taken:
        other.write_bytes(b"mine")
    _, err = run("inspect", "--videos", name, cwd=tmp_path, code=2)
    command = err[err.index("python -c") :].strip()
    before = set(tmp_path.iterdir())
    words = shlex.split(command)
    assert words[0] == "python"
    subprocess.run([sys.executable, *words[1:]], cwd=tmp_path, check=True)
    (made,) = set(tmp_path.iterdir()) - before
    found = read_embeddings(made, row_numbers=True)
    np.testing.assert_array_equal(found.vectors, ROWS.astype(found.vectors.dtype))
    assert all(other.read_bytes() == b"mine" for other in taken)


def test_the_file_itself_is_never_unpickled(tmp_path):
    class Loud:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    (tmp_path / "v.pkl").write_bytes(pickle.dumps(Loud()))
    with pytest.raises(FormatError, match="is a pickle"):
        read_embeddings(tmp_path / "v.pkl")
    assert not (tmp_path / "ran").exists()
