"""Nothing that is there is lost: inputs, files of another kind, permissions, the disk's word."""

import contextlib
import errno
import gzip
import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rerank.core.errors import FormatError, RerankError
from rerank.io import (
    RESULTS_SCHEMA,
    DirectionResult,
    atomic_path,
    check_outputs,
    read_embeddings,
    tensorfile,
    write_embeddings,
    write_topk,
)
from rerank.io.files import (
    locked,
    one_line,
    parse_json,
    printable,
    read_text,
    to_json,
    write_text,
)
from rerank.io.identify import PAGE, PAIR_SCORES, RANKINGS
from rerank.io.outputs import check_ending, kind_of_file
from rerank.io.run_files import read_rankings
from rerank.io.truths.refused_arrays import refuse_arrays
from rerank.methods.saved import KIND as FITTED
from rerank.selection.settings_file import SETTINGS
from rerank.train.saved_heads import KIND as TRAINED


@pytest.mark.parametrize("way", ["same", "symbolic", "hard", "relative", "side-car", "folder"])
def test_an_output_is_never_an_input(tmp_path, monkeypatch, way):
    source = tmp_path / "v.npy"
    np.save(source, np.ones((2, 2)))
    (tmp_path / "v.ids.txt").write_text("a\nb\n")
    target, read = source, source
    if way == "symbolic":
        target = tmp_path / "link.npy"
        target.symlink_to(source)
    elif way == "hard":
        target = tmp_path / "hard.npy"
        os.link(source, target)
    elif way == "relative":
        monkeypatch.chdir(tmp_path)
        target = f"../{tmp_path.name}/v.npy"
    elif way == "side-car":
        target = tmp_path / "v.ids.txt"
    elif way == "folder":
        read = tmp_path
    for force in (False, True):
        with pytest.raises(RerankError, match="--out .*is an input of this run"):
            check_outputs({"--out": target}, [None, read], force=force)
    check_outputs({"--out": tmp_path / "new.h5"}, [None, read])


@pytest.mark.parametrize("way", ["same", "relative", "symbolic", "hard", "folder"])
def test_two_outputs_have_two_places(tmp_path, monkeypatch, way):
    one, other = tmp_path / "x", tmp_path / "x"
    if way == "relative":
        monkeypatch.chdir(tmp_path)
        other = f"./../{tmp_path.name}/x"
    elif way == "symbolic":
        other = tmp_path / "link"
        other.symlink_to(one)
    elif way == "hard":
        one.touch()
        other = tmp_path / "hard"
        os.link(one, other)
    elif way == "folder":
        other = one / "y" / "z"
    said = "have one place; choose another name for one$"
    if way == "folder":
        said = "z: lies in --. .*x, which will be a file; choose another place$"
    for outputs in ({"--a": one, "--b": other}, {"--b": other, "--a": one}):
        with pytest.raises(RerankError, match=said):
            check_outputs(outputs)
    check_outputs({"--a": one, "--b": tmp_path / "xy", "--c": tmp_path / "z" / "x"})


def test_a_file_of_another_kind_is_kept(tmp_path):
    write_embeddings(tmp_path / "v.h5", ["a"], np.ones((1, 2)))
    np.save(tmp_path / "v.npy", np.ones(2))
    np.savez(tmp_path / "v.npz", np.ones(2))
    (tmp_path / "gt.json").write_text("{}")
    (tmp_path / "notes.txt").write_text("words")
    (tmp_path / "new.h5").touch()
    found = {p.name: kind_of_file(p) for p in tmp_path.iterdir()}
    assert found["v.h5"] == "rerank/1" and found["gt.json"] == "JSON"
    assert found["new.h5"] == "empty" and found["notes.txt"] == "text"
    assert "numpy" in found["v.npy"] and "zip" in found["v.npz"]
    for name in ("v.h5", "v.npy", "v.npz", "gt.json", "notes.txt"):
        way = "force=True" if name == "v.h5" else f"such as .*{name.partition('.')[0]}.h5"
        with pytest.raises(RerankError, match=rf"{name}: is there.*{way}$"):
            check_outputs({"--out": tmp_path / name}, kind="rerank-results/1")
        # `force` is named only where it would do.
        refused = pytest.raises(RerankError, match=r"written as HDF5 .*; call it .*\.h5$")
        with contextlib.nullcontext() if way == "force=True" else refused:
            check_outputs({"--out": tmp_path / name}, kind="rerank-results/1", force=True)
        check_outputs({"--out": tmp_path / name}, kind="rerank-export/2", force=True)
    check_outputs({"--out": tmp_path / "v.h5"}, kind="rerank/1")
    check_outputs({"--out": tmp_path / "new.h5"}, kind="rerank/1")


def of_tar():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a"))
    return buffer.getvalue()


PAIRS = [(f"t{i}", f"v{i}") for i in range(12)]
READ = {
    "ranx.json": ("JSON", "rankings", json.dumps({a: {b: 0.5, "x": 0.25} for a, b in PAIRS})),
    "run.txt": ("text", "rankings", "".join(f"{a}\tQ0\t{b}\t1\t.5\tx\n" for a, b in PAIRS)),
    "run.csv": ("text", "rankings", "query_id,gallery_id,score\nt0,v0,.5\nt1,v1,.25\n"),
    "ranks.tsv": ("text", "rankings", "query\tvideo\trank\nt0\tv0\t1\nt0\tv1\t2\n"),
    "gt.json": ("JSON", "a ground truth", json.dumps(dict(PAIRS))),
    "gt.csv": ("text", "a ground truth", "query,video\nt0,v0\n"),
    "qrels": ("text", "a ground truth", "".join(f"{a} 0 {b} 1\n" for a, b in PAIRS)),
    "gt.jsonl": ("JSON", "a ground truth", '{"caption": "a dog", "video_id": "v0"}\n'),
    "e.json": ("JSON", "embeddings", json.dumps({a: [0.5, -0.25] * 4 for a, _ in PAIRS})),
    "e.csv": ("text", "embeddings", "id," + ",".join("01234567") + "\na" + ",.5" * 8 + "\n"),
    "notes.txt": ("text", "", "dear all,\nlunch, at noon\n"),
    "config.json": ("JSON", "", '{"lr": 1, "layers": 12, "tags": ["a"]}'),
    "broken.json": ("JSON", "", '{"t0": '),
}


@pytest.mark.parametrize("name", READ)
def test_what_would_be_replaced_is_called_by_what_reads_in_it(tmp_path, name):
    kind, what, content = READ[name]
    path = tmp_path / name
    path.write_text(content)
    said = f"{kind} that reads as {what}" if what else kind
    with pytest.raises(RerankError) as error:
        check_outputs({"--out": path}, kind=RESULTS_SCHEMA)
    assert f"is there and is {said}, not results (rerank-results/1); choose" in str(error.value)
    with pytest.raises(RerankError, match=f"is there and is {said}, not pair scores"):
        check_outputs({"--out": path}, kind=PAIR_SCORES)
    assert path.read_text() == content


def _table_of(path, *, more):
    columns = {"direction": ["t2v"], "query_id": ["t0"], "rank": [1], "gallery_id": ["v0"]}
    pq.write_table(pa.table({**columns, "score": [0.5], **more}), path)


RUNS_OF_OTHERS = {
    "bm25.trec": "t0 Q0 v0 1 14.25 bm25\nt0 Q0 v1 2 9.5 bm25\n",
    "tail.trec": "t0 Q0 v0 1 14.25 rerank\nt0 Q0 v1 2 9.5 bm25\n",
    "longer.run": "t0 Q0 v0 1 14.25 rerank_v2\n",
    "figures.json": '{"t2v": {"R@1": 41.5, "R@5": 70.25}, "v2t": {"R@1": 40}}',
    "ranx.json": '{"t2v": {"t0": {"v0": 0.5, "v1": 0.25}}}',
    "lists.jsonl": '{"direction": "t2v", "query": "t0", "items": ["v0"]}\n',
}


@pytest.mark.parametrize("name", [*RUNS_OF_OTHERS, "noted.parquet"])
def test_rankings_of_another_tool_are_kept(tmp_path, name):
    path = tmp_path / name
    if name in RUNS_OF_OTHERS:
        path.write_text(RUNS_OF_OTHERS[name])
    else:
        _table_of(path, more={"note": ["checked by hand"]})
    before = path.read_bytes()
    with pytest.raises(RerankError, match=rf"--out .*{name}: is there and is .*force=True$"):
        check_outputs({"--out": path}, kind=RANKINGS)
    assert path.read_bytes() == before
    check_outputs({"--out": path}, kind=RANKINGS, force=True)


@pytest.mark.parametrize("ending", [".trec", ".run", ".json", ".jsonl", ".parquet"])
@pytest.mark.parametrize("query", ['a "dog"\\, é\n', "t0", "x" * 5000])
def test_rankings_of_this_tool_are_replaced(tmp_path, ending, query):
    if ending in (".trec", ".run"):
        query = query.split()[0][:2000]
    indices, scores = np.array([[1, 0, 2]] * 2), np.array([[0.5, 0.25, -np.inf]] * 2)
    made = DirectionResult((query, "t1"), ("v0", "v1", "v2"), indices, scores, label="none")
    path = tmp_path / f"run{ending}"
    write_topk(path, {"v2t": made})
    check_outputs({"--out": path}, kind=RANKINGS)


KINDS = {
    b"<h1>Notes</h1>\n": "HTML of another program",
    b"\n<HTML lang=en>": "HTML of another program",
    b"\xef\xbb\xbf<!DOCTYPE html>\n<p>": "HTML of another program",
    b"<!-- by hand -->\n<body>": "HTML of another program",
    b"<?xml version='1.0'?>\n<html>": "HTML of another program",
    b"<?xml version='1.0'?><a/>": "XML",
    b"<svg xmlns='x'></svg>": "an SVG image",
    gzip.compress(b"x", mtime=0): "a file packed by gzip",
    b"%PDF-1.7\n": "a PDF",
    b"\x89PNG\r\n\x1a\n0000": "a PNG image",
    b"\xff\xd8\xff\xe0": "a JPEG image",
    b"RIFF\x10\0\0\0WEBPVP8 ": "a WebP image",
    of_tar(): "an archive of tar",
    b"SQLite format 3\0": "a database of SQLite",
    b"<3 all of them\n": "text",
    b"GIF8,ID3,PDF\n1,2,3\n": "text",
    b"<a@b.c>\n": "text",
}


@pytest.mark.parametrize("content", KINDS)
def test_files_are_called_by_what_they_are(tmp_path, content):
    what = KINDS[content]
    (tmp_path / "page").write_bytes(content)
    assert kind_of_file(tmp_path / "page") == what
    said = f"page: is there and is {what}, not a page of this toolkit"
    with pytest.raises(RerankError, match=said):
        check_outputs({"--report": tmp_path / "page"}, kind=PAGE)
    if what == "text":
        return
    said = {"HTML of another program": "a page of HTML", "a file packed by gzip": "compressed by"}
    said = said.get(what, what)
    for ending in (".npy", ".h5", ".json", ".csv", ""):
        path = tmp_path / f"v{ending}"
        path.write_bytes(content)
        with pytest.raises(FormatError, match=rf"v{ending}: is {said}"):
            read_embeddings(path)
    for read in (read_rankings, read_text, refuse_arrays):
        with pytest.raises(FormatError, match=rf"v: is {said}"):
            read(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("kind", "own", "other"),
    [
        (RESULTS_SCHEMA, ("o.h5", "o.HDF5"), ("o.json", "o.jsonl", "o.trec", "o.parquet", "o.csv",
                                              "o.npz", "o.npy", "o.TXT")),
        (FITTED, ("m.safetensors",), ("m.json", "m.h5", "m.pt")),
        (TRAINED, ("m.safetensors",), ("m.json", "m.h5", "m.pt")),
        (SETTINGS, ("s.json",), ("s.h5", "s.csv")),
        (PAGE, ("p.html", "p.htm"), ("p.h5", "p.txt")),
    ],
)  # fmt: skip
def test_a_name_promises_no_other_format(tmp_path, kind, own, other):
    for name in (*own, "plain", "o.model", ".json"):
        check_outputs({"--out": tmp_path / name}, kind=kind)
    for name in other:
        end = own[0].partition(".")[2]
        with pytest.raises(RerankError, match=rf"--out .*{name}: .* call it .*\.{end}$"):
            check_outputs({"--out": tmp_path / name}, kind=kind, force=True)


@pytest.mark.parametrize(
    ("store", "own", "other"),
    [("faiss", "v.faiss", "v.npy"), ("npy", "v.npy", "v.json"), ("parquet", "v.pq", "v.h5")],
)
def test_an_export_promises_no_other_format(store, own, other):
    for name in (own, "v.index", "v"):
        check_ending(Path(name), f"--out {name}", store)
    with pytest.raises(RerankError, match=rf"--out {other}: --to {store} writes .*call it v\."):
        check_ending(Path(other), f"--out {other}", store)


def test_what_a_killed_run_left_is_removed_by_the_next(tmp_path):
    target = tmp_path / "out.h5"
    code = (
        "import os, sys; from rerank.io import atomic_path\n"
        "with atomic_path(sys.argv[1]):\n    os.kill(os.getpid(), 9)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(target)], check=False).returncode == -9
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".out.") and ".tmp" in left.name
    mine = left.with_name(left.name.replace(left.name.split("-")[1], str(os.getpid())))
    mine.touch()
    other = left.with_name(left.name.replace(".out.", ".other."))
    other.touch()
    with atomic_path(target) as temporary:
        temporary.write_text("x")
    # Those of runs that live, and of other outputs, stay.
    assert {p.name for p in tmp_path.iterdir()} == {"out.h5", mine.name, other.name}


def test_permissions_are_those_of_the_file_before_the_first_byte(tmp_path):
    target = tmp_path / "out.txt"
    target.write_text("old")
    target.chmod(0o640)
    with atomic_path(target) as temporary:
        assert temporary.stat().st_mode & 0o777 == 0o640
        temporary.write_text("new")
    assert target.stat().st_mode & 0o777 == 0o640 and target.read_text() == "new"


@pytest.mark.parametrize(
    ("number", "fails"), [(errno.EINVAL, False), (errno.ENOTSUP, False), (errno.EIO, True)]
)
def test_a_disk_that_cannot_sync_is_no_failure(tmp_path, monkeypatch, number, fails):
    def refuse(_):
        raise OSError(number, "no")

    monkeypatch.setattr(os, "fsync", refuse)
    if fails:
        with pytest.raises(FormatError, match="cannot be written"):
            with atomic_path(tmp_path / "x") as temporary:
                temporary.write_text("x")
        assert list(tmp_path.iterdir()) == []
    else:
        with atomic_path(tmp_path / "x") as temporary:
            temporary.write_text("x")
        assert (tmp_path / "x").read_text() == "x"


def test_foreign_text_cannot_act_on_the_terminal(tmp_path):
    evil = "a\x1b]0;x\x07b\u202e\u2028c"
    assert printable(evil).isprintable() and one_line(evil).isprintable()
    with h5py.File(tmp_path / "v.h5", "w") as f:
        f[evil], f["b"] = np.ones((2, 3)), np.ones((2, 3), int)
    with pytest.raises(FormatError) as caught:
        read_embeddings(tmp_path / "v.h5")
    assert str(caught.value).isprintable() and "\\x1b" in str(caught.value)


def test_a_file_cut_short_while_mapped_ends_in_one_line(tmp_path):
    path = tmp_path / "v.npy"
    np.save(path, np.ones((100_000, 16), "f4"))
    (tmp_path / "v.ids.txt").write_text("\n".join(map(str, range(100_000))))
    code = (
        "import os, sys\nfrom rerank.core import memory\nfrom rerank.io import read_embeddings\n"
        "from rerank.io.cut import exit_when_cut\nexit_when_cut()\n"
        "with memory.limit('2MB'):\n    found = read_embeddings(sys.argv[1])\n"
        "os.truncate(sys.argv[1], 8192)\nprint(found.vectors[90_000].sum())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done
    assert (
        done.stderr == f"error: {path}: was cut short while it was read; restore it and run again\n"
    )


def test_names_that_are_too_long_and_circles_of_links_are_refused(tmp_path):
    long = "x" * 300
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    for name in (long, f"{long}.h5", "a", "a.h5" * 80):
        with pytest.raises(FormatError, match=name[:20]):
            read_embeddings(tmp_path / name)
        check_outputs({"--out": tmp_path / name}, [tmp_path / f"{name[:5]}.other"])
        with pytest.raises(FormatError, match=name[:20]):
            with atomic_path(tmp_path / name):
                pass
    # A name that fits, but has no room for what a temporary one adds, in bytes or in the ending.
    for name in ("日" * 80, f"x.{'y' * 250}"):
        with atomic_path(tmp_path / name) as temporary:
            temporary.write_text("x")
        assert (tmp_path / name).read_text() == "x"


def test_models_are_read_from_ordinary_files_only(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero"):
        assert tensorfile.kind_of(path) is None
        with pytest.raises(FormatError, match="ordinary file"):
            kind_of_file(path)
        with pytest.raises(FormatError, match="ordinary file"):
            tensorfile.read(path, "rerank/fitted", made_by="`rerank fit`")


def test_a_lock_is_had_by_one_and_ends_with_it(tmp_path):
    with locked(tmp_path) as first, locked(tmp_path, wait=False) as second:
        assert first and not second
    with locked(tmp_path, shared=True) as first, locked(tmp_path, shared=True) as second:
        assert first and second
        with locked(tmp_path, wait=False) as third:
            assert not third
    with locked(tmp_path, wait=False) as again:
        assert again
    assert not list(tmp_path.iterdir())


def test_names_of_files_that_are_not_utf8_come_back_from_json():
    name = os.fsdecode(b"v\xff.h5")
    text = to_json({"file": name})
    assert text.encode("utf-8") and parse_json(text, "here") == {"file": name}


def test_a_folder_that_takes_no_files_is_said_by_the_name_that_was_given(tmp_path, monkeypatch):
    def refused(path, *_):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr("rerank.io.files.created", refused)
    with pytest.raises(
        FormatError, match=r"out\.txt: cannot be written: Permission denied; ch"
    ) as c:
        write_text(tmp_path / "out.txt", ["x"])
    assert ".tmp" not in str(c.value)
