"""Every recipe that is printed for a refused file works on that file, and replaces none."""

import functools
import gzip
import itertools
import json
import os
import pickle
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import save_file

from rerank.core.errors import FormatError
from rerank.io import read_embeddings, read_ground_truth, read_scores
from rerank.io.recipes import from_pickle
from rerank.io.unpickled import save_plain
from tests.cli.test_cli import run
from tests.io_writers import write_named
from tests.reliability.child import python

ROWS = np.arange(6.0).reshape(3, 2) + 1
NAMED = {f"v{i}": row for i, row in enumerate(ROWS)}


def one_object(value):
    array = np.empty((), dtype=object)
    array[()] = value
    return array


def objects(path, value):
    np.save(path.open("wb"), one_object(value), allow_pickle=True)


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
    "pairs.pkl": lambda path: path.write_bytes(pickle.dumps(list(NAMED.items()))),
    "pairs.npy": lambda path: np.save(path, np.array(list(NAMED.items()), dtype=object)),
    "array of numpy.pkl": lambda path: objects(path, NAMED),
    "nested.pkl": lambda path: path.write_bytes(
        pickle.dumps({name: {"clip": row} for name, row in NAMED.items()})
    ),
    "dict.npy": lambda path: objects(path, NAMED),
    "dict.npz": lambda path: np.savez(
        path.open("wb"), all=np.array({"ids": list(NAMED), "clip": ROWS}, dtype=object)
    ),
}


def test_a_recipe_calls_the_interpreter_that_has_the_toolkit(tmp_path, monkeypatch):
    elsewhere = tmp_path / "bin"
    elsewhere.mkdir()
    for path in ("", str(elsewhere), f"{elsewhere}{os.pathsep}{Path(sys.executable).parent}"):
        monkeypatch.setenv("PATH", path)
        said = from_pickle(tmp_path / "v.pkl")
        word = shlex.split(said.partition("if you trust it: ")[2])[0]
        found = shutil.which(word)
        assert found is not None and Path(found).parent == Path(sys.executable).parent
        # Another one in front of it has no toolkit.
        other = elsewhere / "python"
        other.write_text("#!/bin/sh\nexit 1\n")
        other.chmod(0o755)


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
    python(*words[1:], folder=tmp_path)
    (made,) = set(tmp_path.iterdir()) - before
    found = read_embeddings(made, row_numbers=True)
    np.testing.assert_array_equal(found.vectors, ROWS.astype(found.vectors.dtype))
    assert all(other.read_bytes() == b"mine" for other in taken)


FRAMES = [ROWS, ROWS[:2] * 3]
AS_LISTS = [frames.tolist() for frames in FRAMES]
LEARNED = [torch.from_numpy(ROWS).bfloat16(), torch.from_numpy(FRAMES[1]).requires_grad_()]
RAGGED = {
    "list": (["0", "1"], FRAMES),
    "lists": (["0", "1"], AS_LISTS),
    "lists of vectors": (["0", "1"], [list(frames) for frames in FRAMES]),
    "tensors": (["0", "1"], LEARNED),
    "by id": (["a", "b"], dict(zip("ab", FRAMES, strict=True))),
    "by id in bytes": (["a", "b"], {b"a": AS_LISTS[0], b"b": AS_LISTS[1]}),
    "pairs": (["a", "b"], list(zip("ab", FRAMES, strict=True))),
    "columns": (["a", "b"], {"ids": ["a", "b"], "features": FRAMES, "tags": [["x", "y"], ["z"]]}),
    "records": (["a", "b"], [{"id": k, "f": x} for k, x in zip("ab", FRAMES, strict=True)]),
    "some fields": (
        ["a", "b"],
        [{"id": "a", "f": AS_LISTS[0], "more": 1}, {"id": "b", "f": AS_LISTS[1]}],
    ),
    "groups": (["a", "b"], {k: {"features": x} for k, x in zip("ab", FRAMES, strict=True)}),
}


def listed(value):
    array = np.empty(len(value), dtype=object)
    for place, item in enumerate(value):
        array[place] = item
    return array


KEPT = {
    "npy": lambda path, value: (
        np.save(path, listed(value), allow_pickle=True)
        if isinstance(value, list) and not isinstance(value[0], tuple)
        else objects(path, value)
    ),
    "npz": lambda path, value: np.savez(path, data=one_object(value)),
    "pkl": lambda path, value: path.write_bytes(pickle.dumps(value)),
    "pt": lambda path, value: torch.save(value, path),
}


@pytest.mark.parametrize("kind", KEPT)
@pytest.mark.parametrize("name", RAGGED)
def test_the_recipe_keeps_frames_of_several_lengths(tmp_path, name, kind):
    ids, value = RAGGED[name]
    path = tmp_path / f"v.{kind}"
    KEPT[kind](path, value)
    with pytest.raises(FormatError) as caught:
        read_embeddings(path, pool="mean")
    words = shlex.split(str(caught.value).partition("python -c ")[2])
    python("-c", *words, folder=tmp_path)
    (made,) = set(tmp_path.iterdir()) - {path}
    found = read_embeddings(made, pool="mean", pool_raw=True)
    assert found.ids == tuple(ids)
    np.testing.assert_array_equal(found.vectors, [frames.mean(axis=0) for frames in FRAMES])


def saved_to(write):
    """Written through a stream, so that the name stays as it is."""

    def to(path):
        with path.open("wb") as stream:
            write(stream)

    return to


@pytest.mark.parametrize(
    "write",
    [
        saved_to(lambda stream: np.save(stream, ROWS)),
        saved_to(lambda stream: np.savez(stream, embeddings=ROWS, ids=list(NAMED))),
        saved_to(lambda stream: torch.save({"embeddings": torch.from_numpy(ROWS)}, stream)),
        lambda path: save_file({"embeddings": ROWS}, path),
        lambda path: path.write_text(json.dumps({k: v.tolist() for k, v in NAMED.items()})),
        lambda path: path.write_text(
            "".join(json.dumps({"id": k, "v": v.tolist()}) + "\n" for k, v in NAMED.items())
        ),
        lambda path: shutil.move(write_named(path.with_name("other.h5"), NAMED), path),
        lambda path: pd.DataFrame({"id": list(NAMED), "v": list(ROWS)}).to_parquet(path),
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "name",
    [
        "v.pkl",
        "v.npy",
        "v.npz",
        "v.h5",
        "v.pt",
        "v.safetensors",
        "v.pq",
        "v.csv",
        "v.json",
        "v.txt",
    ],
)
def test_what_is_called_another_kind_is_read_by_its_content(tmp_path, write, name):
    path = tmp_path / name
    write(path)
    if path.suffix == ".safetensors" and b"data.pkl" in path.read_bytes():
        with pytest.raises(FormatError, match="a file of torch.save by its content") as caught:
            read_embeddings(path)
        subprocess.run(shlex.split(str(caught.value).partition("says so: ")[2]), check=True)
        path = path.with_suffix(".pt")
    found = read_embeddings(path, row_numbers=True)
    np.testing.assert_array_equal(found.vectors, ROWS.astype(found.vectors.dtype))


TABLES = ["v.npy", "v.npz", "v.h5", "v.pt", "v.safetensors", "v.parquet", "v.json", "v.pkl"]


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("wide", [1, 300])
def test_a_table_that_is_called_another_kind_gets_its_name(tmp_path, name, wide):
    path = tmp_path / name
    rows = np.tile(ROWS, wide)
    pd.DataFrame(rows, index=pd.Index(list(NAMED), name="id")).to_csv(path)
    with pytest.raises(
        FormatError, match=f"is text by its content, and is called {path.suffix}"
    ) as caught:
        read_embeddings(path)
    subprocess.run(shlex.split(str(caught.value).partition("says so: ")[2]), check=True)
    found = read_embeddings(path.with_suffix(".csv"))
    assert found.ids == tuple(NAMED)
    np.testing.assert_array_equal(found.vectors, rows)


def test_a_table_with_an_unknown_ending_gets_one(tmp_path):
    for name in ("v.txt", "v.bin", "v"):
        path = tmp_path / name
        pd.DataFrame(ROWS, index=pd.Index(list(NAMED), name="id")).to_csv(path)
        with pytest.raises(FormatError, match="is not known; .*; if it is a table: cp ") as caught:
            read_embeddings(path)
        words = shlex.split(str(caught.value).rpartition("a table: ")[2])
        subprocess.run(words, check=True)
        np.testing.assert_array_equal(read_embeddings(words[-1]).vectors, ROWS)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("name", ["v.npy", "v.npz", "v.h5", "v.pt", "v.safetensors", "v.json"])
def test_a_pickle_is_told_whatever_it_is_called(tmp_path, name, protocol):
    path = tmp_path / name
    path.write_bytes(pickle.dumps(NAMED, protocol=protocol))
    if protocol < 2 and name == "v.json":
        return  # which is text
    with pytest.raises(FormatError, match="is a pickle; a pickle can run"):
        read_embeddings(path)


def test_json_that_is_only_called_a_pickle_is_read_as_a_ground_truth(tmp_path):
    (tmp_path / "gt.pkl").write_text(json.dumps(RIGHT))
    truth = read_ground_truth(tmp_path / "gt.pkl", list(RIGHT), ["v0", "v1", "v2"])
    assert truth.n_pairs == 3


def test_a_packed_file_that_is_called_a_pickle_is_unpacked_first(tmp_path):
    (tmp_path / "v.pkl").write_bytes(gzip.compress(pickle.dumps(NAMED)))
    with pytest.raises(FormatError, match="compressed by gzip; unpack it first: gunzip < "):
        read_embeddings(tmp_path / "v.pkl")


def test_the_file_itself_is_never_unpickled(tmp_path):
    class Loud:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    (tmp_path / "v.pkl").write_bytes(pickle.dumps(Loud()))
    with pytest.raises(FormatError, match="is a pickle"):
        read_embeddings(tmp_path / "v.pkl")
    assert not (tmp_path / "ran").exists()


RIGHT = {"t0": "v1", "t1": "v2", "t2": "v0"}
TABLE = np.array(list(RIGHT.items()))
ROW_OF = np.array([1, 2, 0])
MATRIX = np.eye(3, dtype=int)[ROW_OF]


def h5(path, **arrays):
    write_named(path, arrays)


# What is written, how the file is called in the refusal, and which sides it gives by their rows.
TRUTHS = {
    "dict.pt": (lambda path: torch.save(RIGHT, path), "a file of torch.save", ""),
    "lists.pth": (
        lambda path: torch.save({k: [v] for k, v in RIGHT.items()}, path), "of torch.save", ""),
    "records.pt": (
        lambda path: torch.save([{"query_id": t, "video_id": v} for t, v in RIGHT.items()], path),
        "a file of torch.save", ""),
    "old.pt": (
        lambda path: torch.save(RIGHT, path, _use_new_zipfile_serialization=False),
        "torch.save .before 1.6.", ""),
    "columns.pt": (
        lambda path: torch.save({"videos": TABLE[:, 1].tolist(), "texts": list(RIGHT)}, path),
        "torch.save", ""),
    "rows.pt": (lambda path: torch.save(torch.tensor(ROW_OF), path), "tensors: 3", "tv"),
    "pairs.pt": (
        lambda path: torch.save(torch.tensor(list(enumerate(ROW_OF))), path), "tensors: 3x2", "TV"),
    "matrix.pt": (
        lambda path: torch.save({"x": torch.tensor(MATRIX > 0)}, path), "'x' of 3x3", "tv"),
    "by id.pt": (
        lambda path: torch.save(dict(zip(RIGHT, torch.tensor(ROW_OF), strict=True)), path),
        "torch.save", "V"),
    "array.pt": (lambda path: torch.save(TABLE, path), "torch.save with more than tensors", ""),
    "dict.npy": (lambda path: objects(path, RIGHT), "an array of Python objects", ""),
    "array of numpy.pkl": (lambda path: objects(path, RIGHT), "an array of Python objects", ""),
    "pairs.npy": (lambda path: np.save(path, TABLE), "an array of numpy .3x2 str", ""),
    "bytes.npy": (lambda path: np.save(path, TABLE.astype("S")), "of numpy .3x2 bytes", ""),
    "rows.npy": (lambda path: np.save(path, ROW_OF), "an array of numpy .3 int64", "tv"),
    "names.npy": (lambda path: np.save(path, TABLE[:, 1]), "an array of numpy .3 str", "t"),
    "matrix.npy": (lambda path: np.save(path, MATRIX), "an array of numpy .3x3 int64", "tv"),
    "dict.npz": (
        lambda path: np.savez(path, gt=np.array(RIGHT, dtype=object)), "of numpy .'gt'", ""),
    "pairs.npz": (lambda path: np.savez(path, gt=TABLE), "an archive of numpy .'gt' .3x2", ""),
    "two.h5": (lambda path: h5(path, v=TABLE[:, 1].tolist(), q=list(RIGHT)), "an HDF5 file", ""),
    "rows.h5": (lambda path: h5(path, labels=ROW_OF), "HDF5 file .'labels' .3 int64", "tv"),
    "rows.safetensors": (lambda path: save_file({"x": ROW_OF}, path), "of safetensors", "tv"),
    "it's.pkl": (lambda path: path.write_bytes(pickle.dumps(RIGHT)), "a pickle", ""),
    "table.pkl": (
        lambda path: pd.DataFrame(TABLE, columns=["text_id", "video_id"]).to_pickle(path),
        "a pickle", ""),
}  # fmt: skip


@pytest.mark.parametrize("name", TRUTHS)
def test_the_recipe_for_a_ground_truth_gives_one_that_is_read(tmp_path, name):
    path = tmp_path / name
    write, what, rows = TRUTHS[name]
    write(path)
    for ending in (".json", ".tsv"):
        path.with_suffix(ending).write_text("mine")
    with pytest.raises(FormatError, match=f": is .*{what}") as caught:
        read_ground_truth(path, list(RIGHT), ["v0", "v1", "v2"])
    said = str(caught.value)
    assert said.isprintable() and ("ids 0, 1, ..." in said) == ("t" in rows)
    before = set(tmp_path.iterdir())
    _, *words = shlex.split(said[said.index("python -c") :])
    if "'" in name:
        python(*words, folder=tmp_path)
    else:
        exec(words[1], {})  # noqa: S102  the same code without another start of Python
    (made,) = set(tmp_path.iterdir()) - before
    numbers = ["0", "1", "2"]
    texts = numbers if "t" in rows.lower() else list(RIGHT)
    videos = numbers if "v" in rows.lower() else ["v0", "v1", "v2"]
    truth = read_ground_truth(made, texts, videos)
    assert [list(found) for found in truth.positives] == [[1], [2], [0]]
    assert path.with_suffix(".json").read_text() == path.with_suffix(".tsv").read_text() == "mine"


NO_TRUTHS = {
    "vectors.pt": (lambda path: torch.save({"a": torch.ones(2), "b": torch.ones(2),
                                            "c": torch.ones(2)}, path), "with vectors"),
    "deep.pt": (lambda path: torch.save(functools.reduce(lambda x, _: {"k": x, "l": x}, range(9),
                                                         "v"), path), "inside each other"),
    "scores.npy": (lambda path: np.save(path, np.ones((3, 4))), r"array of numpy \(3x4 float64\)"),
    "both.npz": (lambda path: np.savez(path, a=np.ones((3, 4)), b=["x"] * 3), "archive of numpy"),
    "any.zip": (lambda path: path.write_bytes(b"PK\x03\x04" + bytes(40)), "a zip archive"),
    "cut.npz": (lambda path: path.write_bytes(b"PK\x03\x04"), "a zip archive"),
    "x.h5": (lambda path: h5(path, a=np.ones((3, 2)), b=np.ones((3, 2))), "an HDF5 file"),
    "x.db": (lambda path: path.write_bytes(b"SQLite format 3\0" + bytes(99)), "of SQLite"),
}  # fmt: skip


@pytest.mark.parametrize("name", NO_TRUTHS)
def test_what_is_no_ground_truth_is_named(tmp_path, name):
    write, what = NO_TRUTHS[name]
    write(tmp_path / name)
    with pytest.raises(FormatError, match=f"{what}.*; a ground truth is JSON") as caught:
        read_ground_truth(tmp_path / name, list(RIGHT), ["v0", "v1", "v2"])
    assert "with ;" not in str(caught.value) and "python -c" not in str(caught.value)


def test_row_numbers_are_read_as_the_recipe_says(tmp_path):
    """With the very flags that it names, though both files have ids of their own."""
    for name, ids in (("t", RIGHT), ("v", RIGHT.values())):
        rows = np.eye(3) + (0.1 if name == "t" else 0.2)
        h5(tmp_path / f"{name}.h5", ids=list(ids), embeddings=rows)
    np.save(tmp_path / "gt.npy", np.arange(3))
    _, err = run("eval", "--texts", "t.h5", "--videos", "v.h5", "--gt", "gt.npy",
                 cwd=tmp_path, code=2)  # fmt: skip
    assert "to be read with --text-ids rows --video-ids rows: " in err
    _, *words = shlex.split(err[err.index("python -c") :])
    python(*words, folder=tmp_path)
    out = run("eval", "--texts", "t.h5", "--videos", "v.h5", "--gt", "gt.tsv", "--text-ids",
                 "rows", "--video-ids", "rows", cwd=tmp_path)[0]  # fmt: skip
    assert "100.0" in out


@pytest.mark.parametrize(
    "content",
    [
        {**NAMED, "v9": None},
        {**NAMED, "v9": {}},
        {"clip": {**NAMED, "v9": None}},
        {name: {"clip": row} for name, row in [*NAMED.items(), ("v9", None)]},
        [{"id": name, "clip": row} for name, row in [*NAMED.items(), ("v9", None)]],
        [*({"id": name, "clip": row} for name, row in NAMED.items()), {"id": "v9"}],
        {"ids": [*NAMED, "v9"], "clip": [*ROWS, None]},
        [*map(list, NAMED.items()), ["v9", None]],
        {**NAMED, "v9": object()},
    ],
)
def test_what_holds_nothing_is_named_after_a_recipe(tmp_path, content):
    save_plain(content, tmp_path / "v.npz")
    dataset = "clip" if isinstance(content, dict) and "clip" in content else None
    with pytest.raises(FormatError, match="v9' holds nothing, and 3 entries like it hold vectors"):
        read_embeddings(tmp_path / "v.npz", dataset=dataset)


@pytest.mark.parametrize("more", [{"note": None}, {"v9": "text"}, {"model": object()}])
def test_what_is_beside_a_matrix_stays_out_of_the_way(tmp_path, more):
    save_plain({"embeddings": ROWS, "ids": list(NAMED), **more}, tmp_path / "v.npz")
    assert read_embeddings(tmp_path / "v.npz").ids == tuple(NAMED)
    save_plain({"x": ROWS, **more}, tmp_path / "v.npz")
    if "v9" not in more:
        assert len(read_embeddings(tmp_path / "v.npz", row_numbers=True)) == len(ROWS)


@pytest.mark.parametrize("wrapped", [False, True])
def test_records_under_one_name_become_plain_and_one_without_a_vector_is_named(tmp_path, wrapped):
    ids, path, out = ["v0", "v1", "v2", "v3"], tmp_path / "v.pkl", tmp_path / "v.plain.npz"
    rows = np.eye(4, dtype="f4")
    for odd in (None, 2):
        records = [
            {"id": i, "embedding": None if k == odd else torch.tensor(x)}
            for k, (i, x) in enumerate(zip(ids, rows, strict=True))
        ]
        with path.open("wb") as stream:
            pickle.dump({"data": records} if wrapped else records, stream)
        out.unlink(missing_ok=True)
        save_plain(pickle.loads(path.read_bytes()), out)
        if odd is None:
            found = read_embeddings(out)
            assert found.ids == tuple(ids) and np.array_equal(found.vectors, rows)
        else:
            with pytest.raises(FormatError, match="'v2' holds nothing"):
                read_embeddings(out)


PARTS = np.arange(24.0, dtype="f4").reshape(12, 2) + 1
NAMES = [f"v{i}" for i in range(12)]


def run_printed(error, at):
    """Run the command of a message that joins parts; what it writes."""
    code = re.search(r" -c '([^']*)'", str(error).partition("join them: ")[2])[1]
    written = re.findall(r'"([^"]*[.]joined[.]\w+)"', code)
    python("-c", code, folder=at)
    return at / written[0]


@pytest.mark.parametrize("cuts", [[5, 9], [5], [1, 3, 4, 6, 7, 9, 10, 11]])
@pytest.mark.parametrize("called", ["list.pt", "named.pt", "arrays.npz", "pickle.npz"])
def test_batches_in_a_list_are_joined_by_what_is_printed(tmp_path, called, cuts):
    """One list of row blocks as a loop over batches leaves it; of scores too."""
    path, parts = tmp_path / called, np.split(PARTS, cuts)
    if called == "list.pt":
        torch.save([torch.from_numpy(part.copy()) for part in parts], path)
    elif called == "named.pt":
        tensors = [torch.from_numpy(part.copy()) for part in parts]
        torch.save({"features": tensors, "ids": NAMES}, path)
    elif called == "arrays.npz":
        np.savez(path, *parts)
    else:
        save_plain(parts, path)
    for read in (read_embeddings, read_scores):
        more = {"ids": NAMES} if read is read_embeddings and "named" not in called else {}
        if read is read_scores and called == "named.pt":
            torch.save({"sims": tensors}, path)
        with pytest.raises(FormatError, match="join them: ") as caught:
            read(path, **more)
        joined = run_printed(caught.value, tmp_path)
        if read is read_scores:
            np.testing.assert_array_equal(read(joined).scores, PARTS)
        else:
            found = read(joined, **more)
            assert found.ids == tuple(NAMES)
            np.testing.assert_array_equal(found.vectors, PARTS)
        joined.unlink()


@pytest.mark.parametrize("box", ["", "batches"])
def test_batches_that_are_records_are_joined_whole(tmp_path, box):
    """`{"embeddings": ..., "ids": [...]}` of each batch, as a loop appends it."""
    path, cuts = tmp_path / "v.pt", [0, 5, 9, len(PARTS)]
    batches = [
        {"embeddings": torch.from_numpy(PARTS[a:b].copy()), "ids": list(NAMES[a:b])}
        for a, b in itertools.pairwise(cuts)
    ]
    torch.save({box: batches} if box else batches, path)
    with pytest.raises(FormatError, match="join them: ") as caught:
        read_embeddings(path)
    found = read_embeddings(run_printed(caught.value, tmp_path))
    assert found.ids == tuple(NAMES)
    np.testing.assert_array_equal(found.vectors, PARTS)


@pytest.mark.parametrize("named", ["alone", "each", "all"])
@pytest.mark.parametrize("called", ["batch_{}", "chunk{}", "emb_part_{:05d}", "features_{}", "{}"])
@pytest.mark.parametrize("kind", ["h5", "npz", "safetensors", "pt"])
def test_numbered_parts_of_any_file_are_joined_by_what_is_printed(tmp_path, kind, called, named):
    """In the order of their numbers, with the lists of names beside them."""
    if named != "alone" and (kind == "safetensors" or called == "{}"):
        return  # No text in the one; names of the arrays in the other.
    path, rows = tmp_path / f"v.{kind}", np.arange(48.0, dtype="f4").reshape(24, 2) + 1
    ids = np.array([f"v{i}" for i in range(24)])
    parts = [slice(i, i + 2) for i in range(0, 24, 2)]
    arrays = {called.format(i): rows[part] for i, part in enumerate(parts)}
    if named == "each":
        arrays |= {f"ids_{i}": ids[part] for i, part in enumerate(parts)}
    elif named == "all":
        arrays["ids"] = ids
    write_named(
        path,
        {
            k: v.tolist() if v.dtype.kind == "U" and kind in ("h5", "pt") else v
            for k, v in arrays.items()
        },
    )
    with pytest.raises(FormatError, match="join them: ") as caught:
        read_embeddings(path)
    joined = run_printed(caught.value, tmp_path)
    found = read_embeddings(joined, **({"ids": ids.tolist()} if named == "alone" else {}))
    assert found.ids == tuple(ids.tolist())
    np.testing.assert_array_equal(found.vectors, rows)


@pytest.mark.parametrize("called", ["batch_{}", "chunk{}", "features_{}"])
@pytest.mark.parametrize("kind", ["h5", "npz"])
@pytest.mark.parametrize("count", [3, 12])
def test_parts_are_not_pooled_as_frames_without_a_word(tmp_path, kind, called, count):
    rows = np.arange(96.0, dtype="f4").reshape(48, 2) + 1
    arrays = {called.format(i): x for i, x in enumerate(np.split(rows, count))}
    write_named(tmp_path / f"v.{kind}", arrays)
    with pytest.raises(
        FormatError, match="called as parts of one array are.*join them: "
    ) as caught:
        read_embeddings(tmp_path / f"v.{kind}", pool="mean")
    assert "say so: dataset='/'; if" in str(caught.value)
    found = read_embeddings(tmp_path / f"v.{kind}", pool="mean", dataset="/")
    assert sorted(found.ids) == sorted(arrays)
    joined = read_embeddings(run_printed(caught.value, tmp_path), row_numbers=True)
    np.testing.assert_array_equal(joined.vectors, rows)


@pytest.mark.parametrize("called", ["{}", "arr_{}", "video_{}", "v{}"])
def test_items_that_are_counted_are_pooled(tmp_path, called):
    rows = np.arange(96.0, dtype="f4").reshape(48, 2) + 1
    arrays = {called.format(i): x for i, x in enumerate(np.split(rows, 12))}
    np.savez(tmp_path / "v.npz", **arrays)
    assert len(read_embeddings(tmp_path / "v.npz", pool="mean")) == 12


def test_what_are_no_parts_are_not_said_to_be_any(tmp_path):
    np.savez(tmp_path / "v.npz", a=PARTS, b=PARTS)
    np.savez(tmp_path / "w.npz", PARTS[:5], PARTS[5:], ids=NAMES[:5])
    np.savez(tmp_path / "x.npz", PARTS[:5], PARTS[5:, :1])
    np.savez(tmp_path / "y.npz", video_0=PARTS[:5], video_1=PARTS[5:])
    np.savez(tmp_path / "z.npz", batch_0=PARTS[:5], batch_2=PARTS[5:])
    for name in "vwxyz":
        for read in (read_embeddings, read_scores):
            with pytest.raises(FormatError) as caught:
                read(tmp_path / f"{name}.npz")
            assert "join them" not in str(caught.value)


LISTS = {
    "batch_visual_output_list": [torch.ones(n, 4) * n for n in (3, 3, 2)],
    "batch_sequence_output_list": [torch.full((n, 1, 4), 2.0) for n in (3, 3, 2)],
    "batch_list_t": [torch.ones(n, 6) for n in (3, 3, 2)],
}


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("file", ["d.pt", "d.pkl"])
def test_lists_of_batches_are_joined_all_at_once(tmp_path, name, file):
    path = tmp_path / file
    if file == "d.pt":
        torch.save(LISTS, path)
    else:
        path.write_bytes(pickle.dumps({k: [x.numpy() for x in v] for k, v in LISTS.items()}))
    with pytest.raises(FormatError) as caught:
        read_embeddings(path, dataset=name, row_numbers=True)
    line = re.findall(r"\S*python -c '[^']*'", str(caught.value))[-1]
    before = set(tmp_path.iterdir())
    exec(shlex.split(line)[-1], {})  # noqa: S102  the same code without another start of Python
    (out,) = set(tmp_path.iterdir()) - before
    for key, parts in list(LISTS.items())[:2]:
        made = read_embeddings(out, dataset=key, row_numbers=True, pool="mean", pool_raw=True)
        np.testing.assert_array_equal(made.vectors, np.concatenate(parts).reshape(8, 4))


SIDES = (torch.ones(3, 4), torch.arange(20.0).reshape(5, 4))


@pytest.mark.parametrize("made", [
    SIDES, list(SIDES), (*SIDES, torch.tensor(100.0)), (SIDES[0].half(), SIDES[1]),
], ids=["tuple", "list", "with a scale", "of two types"])  # fmt: skip
def test_tensors_of_both_sides_in_a_list_get_names(tmp_path, made):
    path = tmp_path / "d.pt"
    torch.save(made, path)
    args = ("--videos", path, "--texts", path, "--gt", "diagonal")
    err = run("eval", *args, cwd=tmp_path, code=2)[1]
    assert err.count("\n") == 1
    line = re.findall(r"\S*python -c '[^']*'", err.partition("name them: ")[2])[0]
    exec(shlex.split(line)[-1], {})  # noqa: S102  the same code without another start of Python
    assert "--dataset videos=first --dataset texts=second" in err
    for name, side in zip(("first", "second"), SIDES, strict=True):
        found = read_embeddings(tmp_path / "d.named.pt", dataset=name, row_numbers=True)
        np.testing.assert_array_equal(found.vectors, side)
