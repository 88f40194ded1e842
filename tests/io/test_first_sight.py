"""Files that cannot be right are told quickly, in little memory, and before torch is loaded."""

import json
import re
import shlex
import struct
import subprocess
import sys
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import torch

from rerank.core.errors import FormatError
from rerank.io import read_embeddings, read_ground_truth
from rerank.io.first_look import look, look_at_truth
from tests.reliability.child import before_torch, python

_WITHOUT_TORCH = """
import sys
from pathlib import Path
from rerank.core.errors import FormatError
from rerank.io.first_look import look, look_at_truth
try:
    (look_at_truth if sys.argv[2] == "gt" else look)(Path(sys.argv[1]), *sys.argv[3:])
except FormatError as error:
    print(error)
assert "torch" not in sys.modules
"""


def same_pairs(path):
    column = pa.array(["t0"] * 3_000_000).dictionary_encode()
    parquet.write_table(pa.table({"query_id": column, "video_id": column}), path)


def one_long_id(path):
    table = pa.table({"query_id": ["t0"], "video_id": ["v" * (7 * 10**7)]})
    parquet.write_table(table, path, compression="zstd")


def few_long_ids(path):
    table = pa.table({"query_id": ["t" * 5 * 10**7] * 3, "video_id": list("abc")})
    parquet.write_table(table, path, compression="zstd")


def no_sides(path):
    """Of many rows, so that their sizes say nothing of one text."""
    long = pa.DictionaryArray.from_arrays(pa.array([0] * 300), pa.array(["x" * 5 * 10**7]))
    parquet.write_table(pa.table({"note": long, "date": long}), path)


def many_digits(path):
    path.write_text('{"t0": ' + "9" * 10**5 + "}")


def half_a_row(path):
    path.write_text("query_id\tvideo_id\nt0\n")


@pytest.mark.parametrize(
    ("make", "name", "words"),
    [
        (same_pairs, "gt.parquet", "declares 3,000,000 rows in"),
        (one_long_id, "gt.parquet", "so it holds next to nothing"),
        (few_long_ids, "gt.parquet", "'query_id': holds a text of more than 1,048,576 bytes"),
        (many_digits, "gt.json", "has a whole number of more than"),
        (half_a_row, "gt.tsv", "row 1 has 1 columns"),
    ],
)
def test_a_ground_truth_that_cannot_be_right(tmp_path, make, name, words):
    make(tmp_path / name)
    said = python("-c", _WITHOUT_TORCH, tmp_path / name, "gt", torch=False).out
    assert words in said
    with pytest.raises(FormatError) as error:
        read_ground_truth(tmp_path / name, ["t0"], ["v0"])
    assert str(error.value) == said.strip()


_OF_A_LONG_TEXT = """
import sys
import numpy, pyarrow.parquet
from rerank.io import read_embeddings, read_ground_truth
def peak():
    held = dict(line.split(":") for line in open("/proc/self/status"))
    return int(held["VmHWM"].split()[0])
before = peak()
try:
    if sys.argv[2] == "ids":
        read_embeddings(sys.argv[1])
    else:
        print(read_ground_truth(sys.argv[1], ["t0", "t1"], ["v0", "v1"]))
except ValueError as error:
    print(error)
print((peak() - before) >> 10)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks the kernel for the peak of the memory")
@pytest.mark.parametrize("what", ["ids", "list", "note"])
def test_one_text_that_is_too_long_for_a_name_is_not_unpacked(tmp_path, what):
    long = np.random.default_rng(0).bytes(4 * 10**7).hex()
    vectors = [[1.0, 2.0], [2.0, 1.0]]
    columns = {
        "ids": {"id": ["v0", long], "embedding": vectors},
        "list": {"query_id": ["t0", "t1"], "video_id": [["v0"], ["v1", long]]},
        "note": {"query_id": ["t0", "t1"], "video_id": ["v0", "v1"], "note": ["", long]},
    }[what]
    options = {"compression": "none", "write_statistics": False, "use_dictionary": False}
    parquet.write_table(pa.table(columns), tmp_path / "x.parquet", **options)
    *said, grown = subprocess.run(
        [sys.executable, "-c", _OF_A_LONG_TEXT, tmp_path / "x.parquet", what],
        capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    # What nothing names is in nobody's way.
    words = "GroundTruth(2 pairs" if what == "note" else "holds a text of more than 1,048,576 bytes"
    assert words in said[0] and int(grown) < 80


@pytest.mark.parametrize("how", ["by id", "rows", "columns", "ordered"])
def test_lists_of_numbers_saved_by_torch_are_told_with_a_recipe(tmp_path, how):
    rows = np.random.default_rng(0).normal(size=(100, 256))
    ids = [f"v{i}" for i in range(len(rows))]
    content = {
        "by id": dict(zip(ids, rows.tolist(), strict=True)),
        "rows": rows.tolist(),
        "columns": {"ids": ids, "embeddings": rows.tolist()},
        "ordered": {"embeddings": torch.from_numpy(rows), "ids": ids},
    }[how]
    path = tmp_path / "v.pt"
    torch.save(content, path)
    said = python("-c", _WITHOUT_TORCH, path, "videos", torch=False).out
    if how == "ordered":
        assert not said
        return
    assert "holds numbers in lists, and no tensors; make arrays of it: " in said
    words = shlex.split(said[said.index("python -c") :])
    python(*words[1:])
    found = read_embeddings(tmp_path / "v.plain.npz", row_numbers=True)
    np.testing.assert_array_equal(found.vectors, rows)


def test_a_right_ground_truth_passes(tmp_path):
    path = tmp_path / "gt.json"
    path.write_text('{"t0": "v0"}')
    look_at_truth(path)


def test_pairs_that_come_again_are_read_quickly(tmp_path):
    texts, videos = [f"t{i // 20}" for i in range(100_000)], [f"v{i // 20}" for i in range(100_000)]
    path = tmp_path / "gt.parquet"
    parquet.write_table(pa.table({"query_id": texts, "video_id": videos}), path)
    truth = read_ground_truth(path, sorted(set(texts)), sorted(set(videos)))
    assert truth.n_pairs == 5000


@pytest.mark.parametrize(
    ("make", "why"),
    [(few_long_ids, "holds a text of more than"), (no_sides, "its columns are 'note', 'date'")],
)
def test_what_cannot_be_a_name_is_never_unpacked(tmp_path, make, why):
    """What the file says of its columns is enough; the process grows by less than the text."""
    make(tmp_path / "gt.parquet")
    said = subprocess.run(
        [sys.executable, "-c", _GROWN, tmp_path / "gt.parquet"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    words, grown = said.rsplit(maxsplit=1)
    assert why in words and int(grown) < 80_000


_GROWN = """
import sys
from pathlib import Path
import pyarrow.parquet
import rerank.io.truths.parquet_forms as of
import rerank.io.formats.parquet, rerank.io.opening, rerank.io.ids
def most():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
before = most()
try:
    of.parquet_readings(Path(sys.argv[1]))
except Exception as error:
    print(error)
print(most() - before)
"""


@pytest.mark.parametrize("count", [3, 300])
def test_a_long_text_beside_the_pairs_is_no_part_of_them(tmp_path, count):
    """Of three texts the sizes tell; of many alike the first that is unpacked."""
    long = pa.DictionaryArray.from_arrays(pa.array([0] * count), pa.array(["x" * 2 * 10**7]))
    texts, videos = [f"t{i}" for i in range(count)], [f"v{i}" for i in range(count)]
    table = pa.table({"note": long, "query_id": texts, "video_id": videos})
    parquet.write_table(table, tmp_path / "gt.parquet")
    found = read_ground_truth(tmp_path / "gt.parquet", texts, videos)
    assert [int(rows[0]) for rows in found.positives] == list(range(count))


def test_captions_that_come_again_are_counted(tmp_path):
    path = tmp_path / "gt.parquet"
    parquet.write_table(pa.table({"video_id": ["v0"] * 3, "caption": ["a dog"] * 3}), path)
    assert read_ground_truth(path, ["v0#0", "v0#1", "v0#2"], ["v0"]).n_pairs == 3


def empty_tensors(path):
    told = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    header = json.dumps({f"k{i}": told for i in range(50_000)}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)


def deep_ids(path):
    header = {
        "__metadata__": {"ids": "[" * 100_000},
        "e": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]},
    }
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(range(16)))


def many_columns(path):
    parquet.write_table(pa.table({f"c{i}": [1.0] for i in range(12_000)}), path)


def packed_zeros(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("embeddings.npy", "w", force_zip64=True) as stream:
            header = {"descr": "<f4", "fortran_order": False, "shape": (50_000, 500)}
            np.lib.format.write_array_header_1_0(stream, header)
            stream.write(bytes(100_000_000))
        archive.writestr("more.npy", np.random.default_rng(0).bytes(2_000_000))


def deep_dictionaries(path):
    made = torch.ones(1)
    for _ in range(200):
        made = {"a": made}
    torch.save(made, path)


def long_ids(path):
    table = pa.table({"id": ["v" * (7 * 10**7)], "embedding": [[1.0, 2.0]]})
    parquet.write_table(table, path, compression="zstd")


@pytest.mark.parametrize(
    ("make", "name", "words"),
    [
        (empty_tensors, "v.safetensors", "declares 50,000 tensors in 0 bytes"),
        (deep_ids, "v.safetensors", "hundreds deep"),
        (many_columns, "v.parquet", "has 12,000 columns"),
        (packed_zeros, "v.npz", "so it holds next to nothing"),
        (deep_dictionaries, "v.pt", "inside each other, deeper than embeddings are kept"),
        (long_ids, "v.parquet", "so it holds next to nothing"),
    ],
)
def test_embeddings_that_cannot_be_right(tmp_path, make, name, words):
    make(tmp_path / name)
    said = python("-c", _WITHOUT_TORCH, tmp_path / name, "videos", "videos", torch=False).out
    assert words in said


def test_dictionaries_some_deeper_than_embeddings_are_kept(tmp_path):
    made = torch.ones(1)
    for _ in range(20):
        made = {"a": made}
    torch.save(made, tmp_path / "v.pt")
    look(tmp_path / "v.pt", "videos")
    with pytest.raises(FormatError, match="deeper than embeddings are kept"):
        read_embeddings(tmp_path / "v.pt")


def test_an_id_of_a_million_characters_is_no_name(tmp_path):
    torch.save({"embeddings": torch.eye(2), "ids": ["v" * 2_000_000, "w"]}, tmp_path / "v.pt")
    with pytest.raises(FormatError, match="row 0 has 2,000,000 characters, which no name has"):
        read_embeddings(tmp_path / "v.pt")


def test_the_advice_of_python_and_numpy_is_not_passed_on(tmp_path):
    (tmp_path / "v.json").write_text('{"v0": [' + "9" * 5000 + "]}")
    with pytest.raises(FormatError, match="a whole number of more than 4,300 digits") as error:
        read_embeddings(tmp_path / "v.json")
    assert "sys." not in str(error.value)
    start = b"\x93NUMPY\x02\x00" + struct.pack("<I", 20_000)
    (tmp_path / "v.npy").write_bytes(start + b"(" * 20_000)
    with pytest.raises(FormatError, match=r"its header has more than 10,000 characters") as error:
        read_embeddings(tmp_path / "v.npy")
    assert "allow_pickle" not in str(error.value)


_SIDES = ["--texts", "t.npz", "--videos", "v.npz"]
_AT_ONCE = {
    "no such file": ["apply", "--texts", "t.npz", "--videos", "none.h5"],
    "No such option: --methd": ["apply", *_SIDES, "--methd", "none"],
    "are the same embeddings": ["apply", "--texts", "v.npz", "--videos", "v.npz"],
    "the ending '.abc' is not known": ["apply", "--texts", "t.npz", "--videos", "x.abc"],
    "are written as HDF5": ["apply", *_SIDES, "--out", "x.json"],
    "the folder '.*' does not exist": ["apply", *_SIDES, "--out", "none/x.h5"],
    "are written as JSON": ["tune", *_SIDES, "--gt", "gt.json", "--out", "x.h5"],
    "none.txt: no such file": ["apply", *_SIDES, "--video-ids", "none.txt"],
    "none.npy: no such file": ["apply", *_SIDES, "--bias", "none.npy"],
    "none.csv: no such file": ["apply", *_SIDES, "--query-groups", "none.csv"],
    "none.h5: no such file": ["plan", "--texts", "none.h5", "--videos", "v.npz"],
}


@pytest.mark.parametrize("said", _AT_ONCE)
def test_a_command_that_cannot_be_meant_is_answered_before_torch_is_loaded(tmp_path, said):
    for side in "tv":
        np.savez(tmp_path / f"{side}.npz", embeddings=np.eye(4) + ord(side), ids=list("abcd"))
    (tmp_path / "x.abc").write_text("a")
    (tmp_path / "gt.json").write_text('{"a": "a"}')
    done = before_torch(*_AT_ONCE[said], folder=tmp_path)
    assert done.status == 2, done
    assert re.search(said, done.err) and len(done.err.splitlines()) == 1, done
