"""Bad input is one line that names the file, the place in it, and the way out."""

import json
import os
import pickle
import re
import subprocess

import h5py
import numpy as np
import pytest
import torch

from rerank.core.errors import FormatError, RerankError
from rerank.io import read_embeddings, read_ground_truth, read_scores, write_embeddings
from tests.io_writers import ARROW, IDS, LAYOUTS, N, vectors, write, zip_of
from tests.reliability.child import python

layouts = pytest.mark.parametrize("layout", LAYOUTS)


@pytest.fixture(autouse=True)
def needs_arrow(request):
    if (
        getattr(request.node, "callspec", None)
        and request.node.callspec.params.get("layout") in ARROW
    ):
        pytest.importorskip("pyarrow")


def refused(path, *words, **options):
    """The message of the refusal: one line with the file's name and these patterns in it."""
    with pytest.raises(FormatError) as caught:
        read_embeddings(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    for word in (re.escape(path.name.partition(".")[0]), *words):
        assert re.search(word, message), f"{word!r} is not in: {message}"
    return message


@layouts
@pytest.mark.parametrize(
    ("value", "dtype", "words"),
    [
        (np.nan, "<f4", ["NaN in column 2"]),
        (np.inf, "<f8", [r"\+infinity in column 2"]),
        (-np.inf, "<f4", ["-infinity in column 2"]),
        (np.inf, "<f2", ["65504", "float32"]),
        (np.nan, "<f2", ["NaN"]),
    ],
)
def test_values_that_are_not_finite(tmp_path, layout, value, dtype, words):
    x = vectors(dtype)
    x[5, 2] = value
    path, ids = write(layout, tmp_path, x)
    row = ids.index(IDS[5])
    for options in ({}, {"metric": "dot"}, {"rows": slice(row, row + 1)}, {"keep_half": True}):
        refused(path, rf"row {row} \(id 'video1'\)", *words, **options)
    read_embeddings(path, rows=slice(row + 1, None))


@layouts
def test_a_zero_row_has_no_direction(tmp_path, layout):
    x = vectors()
    x[5] = 0
    path, ids = write(layout, tmp_path, x)
    refused(path, rf"row {ids.index(IDS[5])} \(id 'video1'\)", "zeros", "dot")
    assert not read_embeddings(path, metric="dot").vectors[ids.index(IDS[5])].any()


def test_tiny_and_huge_rows_are_not_taken_for_bad_ones(tmp_path):
    x = np.array([[2e-38, 0], [3e38, 3e38], [1e-30, 1]], dtype="f4")
    write_embeddings(tmp_path / "v.h5", ["a", "b", "c"], x)
    np.testing.assert_array_equal(read_embeddings(tmp_path / "v.h5").vectors, x)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.ones((N, 4), "i4"), ["integers", "int32", "store them as float32"]),
        (np.ones((N, 4), "u1"), ["integers", "uint8"]),
        (np.ones((N, 4), "c8"), ["complex", "complex64"]),
        (np.ones((N, 4), bool), ["booleans"]),
        (np.ones((N, 4), np.longdouble), ["float64"]),
        (np.ones((N, 3, 4), "f4"), ["frames", r'pool="mean"']),
        (np.ones((N, 2, 3, 4), "f4"), ["4-D", r"3-D with frames: \(items, frames, numbers\)"]),
        (np.ones((N, 1, 3, 4), "f4"), ["4-D", rf"x\.reshape\({N}, 3, 4\), which are frames"]),
        (np.ones((N, 1, 1, 4), "f4"), ["4-D", rf"x\.reshape\({N}, 4\), which are rows"]),
        (np.ones(N, "f4"), ["1-D"]),
        (np.float32(3), ["0-D|scalar"]),
        (np.ones((0, 4), "f4"), ["empty"]),
        (np.ones((N, 0), "f4"), ["empty"]),
    ],
)
@pytest.mark.parametrize("kind", ["h5", "npy", "npz"])
def test_the_wrong_sort_of_array(tmp_path, array, words, kind):
    path = tmp_path / f"v.{kind}"
    if kind == "h5":
        with h5py.File(path, "w") as f:
            f["embeddings"], f["ids"] = array, IDS
    elif kind == "npy":
        np.save(path, array)
        (tmp_path / "v.ids.txt").write_text("\n".join(IDS))
    else:
        np.savez(path, embeddings=array, ids=IDS)
    refused(path, *words)


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        (["a", "b", "c", "a", "d", "e", "f"], ["'a'", "row 0", "row 3"]),
        (IDS[:-1], ["6 ids", "7 rows"]),
        ([*IDS, "more"], ["8 ids", "7 rows"]),
        ([*IDS[:3], "", *IDS[4:]], ["row 3", "empty"]),
    ],
)
def test_ids_that_do_not_name_the_rows(tmp_path, ids, words):
    with h5py.File(tmp_path / "v.h5", "w") as f:
        f["embeddings"], f["ids"] = vectors(), ids
    refused(tmp_path / "v.h5", *words)
    np.savez(tmp_path / "w.npz", embeddings=vectors(), ids=np.array(ids))
    refused(tmp_path / "w.npz", *words)
    np.save(tmp_path / "x.npy", vectors())
    (tmp_path / "x.ids.json").write_text(json.dumps(ids))
    refused(tmp_path / "x.npy", *words)
    with pytest.raises(FormatError):
        write_embeddings(tmp_path / "y.h5", ids, vectors())
    assert not (tmp_path / "y.h5").exists()


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (b"ab\xff", ["row 2", "UTF-8"]),
        (b"a\0b", ["row 2", "NUL"]),
    ],
)
def test_ids_that_are_no_names(tmp_path, bad, words):
    ids = [*(i.encode() for i in IDS[:2]), bad, *(i.encode() for i in IDS[3:])]
    with h5py.File(tmp_path / "v.h5", "w") as f:
        f["embeddings"], f["ids"] = vectors(), np.array(ids, dtype="S16")
    refused(tmp_path / "v.h5", *words)


@pytest.mark.parametrize("bad", ["a\0b", "\ud800", "", 1.5, None, True])
def test_ids_that_cannot_be_written(tmp_path, bad):
    with pytest.raises(FormatError, match="row 6"):
        write_embeddings(tmp_path / "v.h5", [*IDS[:-1], bad], vectors())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["{", "[1.5]", '{"a": 0, "b": 2}', '"x"', "[[]]", "null"])
def test_a_sidecar_that_is_no_list(tmp_path, content):
    np.save(tmp_path / "v.npy", vectors())
    (tmp_path / "v.ids.json").write_text(content)
    refused(tmp_path / "v.npy", r"v\.ids\.json")


def test_no_ids_says_how_to_give_them(tmp_path):
    np.save(tmp_path / "v.npy", vectors())
    refused(tmp_path / "v.npy", r"\.ids\.json", r"\.ids\.txt", "no ids")
    torch.save(torch.ones(3, 4), tmp_path / "v.pt")
    with h5py.File(tmp_path / "v.h5", "w") as f:
        f["embeddings"] = vectors()
    refused(tmp_path / "v.h5", r"\.ids\.json", "/embeddings")


def test_what_fits_two_ways_lists_the_candidates(tmp_path):
    path = tmp_path / "v.h5"
    with h5py.File(path, "w") as f:
        f["embeddings"], f["features"], f["ids"] = vectors(), vectors(seed=1), IDS
    refused(path, "'embeddings', 'features'", "dataset='embeddings'")
    np.testing.assert_array_equal(
        read_embeddings(path, dataset="/features").vectors, vectors(seed=1)
    )
    with h5py.File(path, "w") as f:
        f["embeddings"], f["ids"], f["names"] = vectors(), IDS, [f"n{i}" for i in range(N)]
    refused(path, "'ids', 'names'", "ids")
    # Two lists of which only one can be ids are no ambiguity: captions of one video repeat it.
    with h5py.File(path, "w") as f:
        f["embeddings"], f["ids"], f["video_ids"] = vectors(), IDS, ["same"] * N
    assert read_embeddings(path).ids == tuple(IDS)


def test_everything_in_one_group_could_be_ids_with_slashes(tmp_path):
    path = tmp_path / "v.h5"
    with h5py.File(path, "w") as f:
        for name, row in zip("abc", vectors(), strict=False):
            f[f"test/{name}"] = row
    refused(path, "'test/a' or 'a'", "dataset='/'", "dataset='test'")
    assert read_embeddings(path, dataset="test").ids == ("a", "b", "c")
    assert read_embeddings(path, dataset="/").ids == ("test/a", "test/b", "test/c")


def test_what_fits_no_layout_is_listed(tmp_path):
    path = tmp_path / "v.h5"
    with h5py.File(path, "w") as f:
        f["left"], f["right"], f["words"] = vectors(), vectors(), IDS
    refused(path, "left", "right", "words", "7x4 float32")
    refused(path, "'nothing'", "left", dataset="nothing")
    with h5py.File(path, "w"):
        pass
    refused(path, "nothing")
    with h5py.File(path, "w") as f:
        f["a"], f["b"] = np.ones(4), np.ones(5)
    refused(path, "'b' has 5", "'a' has 4", "same model")
    with h5py.File(path, "w") as f:
        f["a"], f["b"] = np.ones(4), np.ones((2, 4))
    refused(path, "side by side")
    with h5py.File(path, "w") as f:
        f["a"], f["b"] = np.ones(4), np.ones(4, int)
    refused(path, "'b' .4 int64.")
    with h5py.File(path, "w") as f:
        f.attrs["rerank_schema"] = "rerank/99"
    refused(path, "rerank/99", "rerank/1")


def test_files_that_are_none(tmp_path):
    good = tmp_path / "good.h5"
    write_embeddings(good, IDS, vectors())
    refused(tmp_path / "missing.h5", "no such file")
    (tmp_path / "folder.h5").mkdir()
    refused(tmp_path / "folder.h5", "directory")
    (tmp_path / "empty.h5").touch()
    refused(tmp_path / "empty.h5", "empty")
    for share in (0.2, 0.6, 0.99):
        raw = good.read_bytes()
        (tmp_path / "cut.h5").write_bytes(raw[: int(share * len(raw))])
        refused(tmp_path / "cut.h5")
    (tmp_path / "text.h5").write_text("hello")
    refused(tmp_path / "text.h5", "HDF5")
    (tmp_path / "v.xyz").write_text("hello")
    refused(tmp_path / "v.xyz", r"\.h5", r"\.parquet")
    # HDF5 is known by its first bytes as well.
    good.rename(tmp_path / "v.dat")
    assert read_embeddings(tmp_path / "v.dat").ids == tuple(IDS)
    os.mkfifo(tmp_path / "pipe.npy")
    refused(tmp_path / "pipe.npy", "ordinary")
    with pytest.raises(FormatError):
        read_embeddings("nul\0.h5")
    with pytest.raises(RerankError, match="euclid"):
        read_embeddings(tmp_path / "v.dat", metric="euclid")
    with pytest.raises(FormatError, match="step"):
        read_embeddings(tmp_path / "v.dat", rows=slice(0, 4, 2))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission(tmp_path):
    path = tmp_path / "v.npy"
    np.save(path, vectors())
    path.chmod(0)
    refused(path, "readable")


@pytest.mark.parametrize("layout", ["npy", "npz", "npz-packed", "safetensors", "torch-dict"])
def test_truncated_files(tmp_path, layout):
    path, _ = write(layout, tmp_path, vectors())
    raw = path.read_bytes()
    for end in (1, 20, len(raw) // 2, len(raw) - 1):
        path.write_bytes(raw[:end])
        refused(path)


class Canary:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


CANARIES = {
    "v.pkl": lambda p, c: p.write_bytes(pickle.dumps({"a": c})),
    "v.pickle": lambda p, c: p.write_bytes(pickle.dumps(c)),
    "v.joblib": lambda p, c: p.write_bytes(pickle.dumps(c)),
    "v.npy": lambda p, c: np.save(p, np.array([c, c], dtype=object)),
    "v.npz": lambda p, c: np.savez(p, embeddings=vectors(), ids=np.array([c] * N, dtype=object)),
    "v.pt": lambda p, c: torch.save({"embeddings": torch.ones(3, 2), "ids": c}, p),
    "old.pt": lambda p, c: torch.save(c, p, _use_new_zipfile_serialization=False),
    "raw.pt": lambda p, c: p.write_bytes(pickle.dumps(c)),
    "raw.npy": lambda p, c: p.write_bytes(pickle.dumps(c)),
    "raw.h5": lambda p, c: p.write_bytes(pickle.dumps(c)),
    "raw.safetensors": lambda p, c: p.write_bytes(pickle.dumps(c)),
    "member.npz": lambda p, c: zip_of(p, {"embeddings.npy": pickle.dumps(c)}),
}


@pytest.mark.parametrize("name", CANARIES)
def test_a_pickle_is_never_run(tmp_path, name):
    canary = tmp_path / "ran"
    CANARIES[name](tmp_path / name, Canary(canary))
    message = refused(tmp_path / name)
    assert not canary.exists()
    if name in ("v.pkl", "v.npy", "raw.pt"):
        assert "pickle" in message and "save_plain" in message


def test_the_recipe_for_pickles_works(tmp_path):
    """The command in the message, as it is printed, makes a file that can be read."""
    import shlex

    content = dict(zip(IDS, vectors(), strict=True))
    (tmp_path / "IN.pkl").write_bytes(pickle.dumps(content))
    message = refused(tmp_path / "IN.pkl")
    command = shlex.split(message[message.index("python -c") :])
    python(*command[1:], folder=tmp_path)
    found = read_embeddings(tmp_path / "IN.npz")
    assert found.ids == tuple(IDS)
    np.testing.assert_array_equal(found.vectors, vectors())


@pytest.mark.parametrize(("dtype", "size"), [("f4", 1e-41), ("f8", 1e-310)])
def test_rows_whose_digits_are_lost_are_named(tmp_path, dtype, size):
    rows, path = np.ones((3, 4), dtype), tmp_path / "v.npz"
    rows[1] = size
    np.savez(path, embeddings=rows, ids=["a", "b", "c"])
    refused(path, r"row 1 \(id 'b'\): its numbers are below .*; scale the embeddings")
    assert len(read_embeddings(path, metric="dot")) == 3
    rows[1] = 1e-30  # small, but whole
    np.savez(path, embeddings=rows, ids=["a", "b", "c"])
    assert len(read_embeddings(path)) == 3


RAGGED = {
    "matrix": ([[1, 2, 3], [1, 2]], r"entry 0 holds 3, entry 1 holds 2; write as many numbers"),
    "named": ({"ids": ["a", "b"], "embeddings": [[1], [1, 2]]}, "'embeddings': entry 0 holds 1, "),
    "records": (
        [{"id": "a", "embedding": [1, 2]}, {"id": "b", "embedding": [1]}],
        "'embedding': entry 0 holds 2, entry 1 holds 1",
    ),
    "frames": ({"a": [[1, 2], [3]], "b": [[1, 2], [3, 4]]}, "'a': entry 0 holds 2, entry 1 hold"),
    "a list beside numbers": ({"a": [1, [2]], "b": [1, 2]}, "entry 0 is a number, entry 1 holds 1"),
    "a word": ({"a": [[1, 2], [3, "x"]]}, "entry 1: 1 is 'x', expected a number"),
    "blocks": ({"a": [[[1, 2], [3]], [[1, 2], [3, 4]]]}, "entry 0: 0 holds 2, entry 0: 1 holds 1"),
}


@pytest.mark.parametrize("name", RAGGED)
def test_json_whose_rows_differ_in_length_says_which(tmp_path, name):
    content, wanted = RAGGED[name]
    (tmp_path / "v.json").write_text(json.dumps(content))
    message = refused(tmp_path / "v.json", wanted)
    assert "inhomogeneous" not in message and "sequence" not in message


@pytest.mark.parametrize("ends", ["[]", ('{"a":', "}")])
@pytest.mark.parametrize("ending", ["json", "jsonl"])
def test_json_that_is_nested_too_deep_is_said_in_words(tmp_path, ends, ending):
    text = ends[0] * 50_000 + "1" + ends[1] * 50_000
    (tmp_path / f"v.{ending}").write_text(text)
    message = refused(tmp_path / f"v.{ending}", "inside each other hundreds deep")
    assert "recursion" not in message


_ENDINGS = "npy npz h5 mat safetensors pt parquet csv tsv json jsonl pkl txt qrels"


@pytest.mark.parametrize("ending", _ENDINGS.split())
def test_a_pointer_of_git_lfs_is_called_so_whatever_its_ending(tmp_path, ending):
    path = tmp_path / f"v.{ending}"
    path.write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 9\n")
    way = r"is a pointer of Git LFS.*: git lfs pull$"
    refused(path, way)
    for read in (read_scores, lambda x: read_ground_truth(x, ["a"], ["b"])):
        with pytest.raises(FormatError, match=way):
            read(path)


def test_a_zip_of_other_files_holds_no_arrays(tmp_path):
    path = tmp_path / "v.npz"
    zip_of(path, {"notes.txt": b"words"})
    way = refused(path, "zip archive without arrays of numpy .it holds 'notes.txt'.")
    subprocess.run(way.rpartition(": ")[2], shell=True, check=True)
    assert (tmp_path / "v" / "notes.txt").read_bytes() == b"words"


def test_frames_in_one_list_of_each_item_get_an_advice_that_can_be_followed(tmp_path):
    with h5py.File(tmp_path / "v.h5", "w") as file:
        rows = file.create_dataset("features", (3,), dtype=h5py.vlen_dtype("f4"))
        for at in range(3):
            rows[at] = np.ones(4 * (at + 1), "f4")
    with pytest.raises(
        FormatError, match=r"dataset of its own under its id, row\.reshape\(-1, d\)"
    ):
        read_embeddings(tmp_path / "v.h5")
