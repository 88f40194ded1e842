"""The registry of file formats: known without imports, open to others."""

import os
import subprocess
import sys

import pytest

from rerank.core.errors import FormatError
from rerank.io import read_embeddings
from rerank.io.formats.registry import FORMATS, known_endings

PLUGIN = '''
"""One vector for each line: an id, a colon, numbers."""
import contextlib
import numpy as np
from rerank.io.container import Container
from rerank.io.field import in_memory
from rerank.io.formats.registry import file_format


@file_format("lines", help="an id, a colon, numbers", endings=(".vec",))
@contextlib.contextmanager
def open_lines(path):
    pairs = [line.split(":") for line in path.read_text().splitlines()]
    ids = np.array([name for name, _ in pairs], dtype=object)
    rows = np.array([[float(x) for x in row.split()] for _, row in pairs])
    fields = {"ids": in_memory(ids, f"{path}: ids"), "embeddings": in_memory(rows, str(path))}
    yield Container(path, fields)
'''


def test_the_list_of_formats_imports_no_library():
    code = (
        "import sys, rerank.io, rerank.io.reading, rerank.io.formats.registry as r; "
        "assert len(r.FORMATS) >= 9; "
        "print([m for m in ('torch', 'numpy', 'h5py', 'pyarrow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_format_says_what_it_is():
    assert {"hdf5", "npy", "npz", "safetensors", "torch", "parquet", "csv", "json"} <= set(FORMATS)
    for name in FORMATS:
        card = FORMATS[name]
        assert card.help and (card.facts.endings or card.facts.folder)
    assert len(set(known_endings())) == len(known_endings())


@pytest.mark.slow
def test_a_format_of_somebody_else_is_one_file(tmp_path):
    (tmp_path / "my_lines.py").write_text(PLUGIN)
    (tmp_path / "v.vec").write_text("a: 1 2\nb: 3 4\n")
    (tmp_path / "v.xyz").write_text("?")
    code = (
        "from rerank.io import read_embeddings\n"
        "found = read_embeddings('v.vec')\n"
        "assert found.ids == ('a', 'b') and found.vectors.tolist() == [[1, 2], [3, 4]]\n"
        "try:\n    read_embeddings('v.xyz')\n"
        "except ValueError as error:\n    print(error)\n"
    )
    paths = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    environment = {**os.environ, "RERANK_PLUGINS": "my_lines", "PYTHONPATH": paths}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert ".vec" in done.stdout and ".h5" in done.stdout
    helped = subprocess.run(
        [sys.executable, "-m", "rerank_cli", "fit", "--help"], cwd=tmp_path, env=environment,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert ".vec" in helped.stdout


def test_without_the_plugin_the_ending_is_not_known(tmp_path):
    (tmp_path / "v.vec").write_text("a: 1 2\n")
    with pytest.raises(FormatError, match=r"'\.vec' is not known.*\.h5.*\.parquet"):
        read_embeddings(tmp_path / "v.vec")
