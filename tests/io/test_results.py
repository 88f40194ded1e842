"""The result file: whole or not at all, the same bytes every time, no damage unnoticed."""

import dataclasses
import json
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from rerank.core.errors import FormatError, RerankError
from rerank.io import DirectionResult, read_results, write_results
from tests.io.test_files import names

ROOT = Path(__file__).parents[2]
TEXTS = ("t0", "t1", "t/2", "日本")
VIDEOS = ("v0", "v1", "v2")
MANIFEST = {"label": "transductive", "words": "Überraschung", "settings": {"tau": 0.05}}


def both(seed: int = 0) -> dict[str, DirectionResult]:
    rng = np.random.default_rng(seed)
    made = {}
    for name, queries, gallery in (("t2v", TEXTS, VIDEOS), ("v2t", VIDEOS, TEXTS)):
        scores = rng.normal(size=(len(queries), len(gallery))).astype("f4")
        order = np.argsort(-scores, axis=1)[:, :2]
        bias = rng.normal(size=len(gallery)) if name == "t2v" else None
        made[name] = DirectionResult(
            queries, gallery, order, np.take_along_axis(scores, order, 1), bias, "transductive"
        )
    return made


def some_results(folder: Path, name: str = "reranked.h5", **options) -> Path:
    path = folder / name
    options = {"em_map": np.eye(3), "scores": np.ones((4, 3), "f4"), **options}
    write_results(path, directions=both(), manifest=MANIFEST, **options)
    return path


def directions(result: DirectionResult) -> list:
    """A result as something that can be compared."""
    return [
        value.tolist() if isinstance(value, np.ndarray) else value
        for value in dataclasses.astuple(result)
    ]


def test_what_is_written_comes_back(tmp_path):
    matrix = np.random.default_rng(3).normal(size=(4, 3))
    found = read_results(some_results(tmp_path, scores=matrix))
    assert found.manifest == MANIFEST
    np.testing.assert_array_equal(found.scores, matrix)
    np.testing.assert_array_equal(found.em_map, np.eye(3))
    for name, expected in both().items():
        assert directions(found.directions[name]) == directions(expected)
        assert found.directions[name].indices.dtype == np.int64
        assert found.directions[name].scores.dtype == np.float32
    lean = read_results(some_results(tmp_path, scores=None, em_map=None))
    assert lean.scores is None and lean.em_map is None


def test_the_file_has_the_documented_parts(tmp_path):
    with h5py.File(some_results(tmp_path)) as f:
        assert set(f) == {"t2v", "v2t", "scores", "em_map"}
        assert set(f["t2v"]) == {"query_ids", "gallery_ids", "indices", "scores", "gallery_bias"}
        assert set(f["v2t"]) == {"query_ids", "gallery_ids", "indices", "scores"}
        assert json.loads(f.attrs["manifest"]) == MANIFEST
        assert f["v2t"].attrs["label"] == "transductive"
        assert f["t2v/indices"].fletcher32 and f["scores"].fletcher32
        assert f["scores"].shape == (4, 3)


def test_the_same_content_gives_the_same_bytes(tmp_path):
    first = some_results(tmp_path, "a.h5").read_bytes()
    time.sleep(1.1)  # times in HDF5 have seconds
    assert some_results(tmp_path, "b.h5").read_bytes() == first


def test_scores_may_come_in_blocks(tmp_path):
    matrix = np.random.default_rng(3).normal(size=(4, 3)).astype("f4")
    whole = some_results(tmp_path, "a.h5", scores=matrix)
    parts = some_results(tmp_path, "b.h5", scores=(matrix[i : i + 3] for i in (0, 3)))
    np.testing.assert_array_equal(read_results(parts).scores, matrix)
    assert whole.read_bytes() == parts.read_bytes()
    for bad in ([matrix[:3]], [matrix, matrix], [matrix.T], []):
        with pytest.raises(RerankError, match="scores"):
            some_results(tmp_path, "c.h5", scores=iter(bad))
        assert not (tmp_path / "c.h5").exists()


def test_a_manifest_beyond_the_size_of_an_attribute(tmp_path):
    path = tmp_path / "r.h5"
    manifest = {"inputs": {f"file{i}": "ä" * 64 for i in range(5000)}}
    write_results(path, directions=both(), manifest=manifest)
    assert read_results(path).manifest == manifest


def test_results_that_make_no_sense_are_not_written():
    good = both()["t2v"]
    for change in (
        {"indices": good.indices + 2},
        {"indices": -1 - good.indices},
        {"indices": good.indices.astype("f4")},
        {"indices": good.indices[:, :1]},
        {"scores": good.scores * np.nan},
        {"scores": good.scores.astype(int)},
        {"query_ids": TEXTS[1:]},
        {"gallery_bias": np.ones(4)},
        {"gallery_bias": np.array([1, np.inf, 0])},
    ):
        with pytest.raises(RerankError, match="indices|scores|gallery_bias"):
            dataclasses.replace(good, **change)


@pytest.mark.parametrize(
    "bad",
    [
        {"manifest": {"x": float("nan")}},
        {"manifest": {"x": object()}},
        {"directions": {}},
        {"directions": {"up": both()["t2v"]}},
        {"scores": np.ones((3, 4))},
        {
            "directions": {
                "t2v": dataclasses.replace(both()["t2v"], query_ids=("a", "b", "c", "\0"))
            }
        },
    ],
)
def test_a_failing_write_leaves_the_old_file(tmp_path, bad):
    path = some_results(tmp_path)
    old = path.read_bytes()
    with pytest.raises(RerankError):
        write_results(path, **{"directions": both(), "manifest": {}, **bad})
    assert path.read_bytes() == old and names(tmp_path) == ["reranked.h5"]


def test_an_interrupt_leaves_the_old_file(tmp_path):
    path = some_results(tmp_path)
    old = path.read_bytes()

    def blocks():
        yield np.ones((2, 3))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_results(path, directions=both(), manifest={}, scores=blocks())
    assert path.read_bytes() == old and names(tmp_path) == ["reranked.h5"]


def test_a_mistake_of_the_caller_keeps_its_own_name(tmp_path):
    def blocks():
        yield np.ones((2, 3))
        raise RuntimeError("a mistake")

    with pytest.raises(RuntimeError, match="a mistake"):
        some_results(tmp_path, scores=blocks())
    assert names(tmp_path) == []


FULL_DISK = """
import resource, signal, sys
import numpy as np
from rerank.core.errors import FormatError
from rerank import io
from rerank.io.formats.hdf5 import create_hdf5
from tests.io.test_results import both, MANIFEST
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
folder = sys.argv[1]
matrix = np.ones((4, 3))
def words_only(path):
    # Nothing reaches the disk before the file is closed.
    with create_hdf5(path) as out:
        out.attribute("words", "x" * 100)
writers = {
    "w.h5": words_only,
    "r.h5": lambda p: io.write_results(p, directions=both(), manifest={"x": "y" * 200000}),
    "v.h5": lambda p: io.write_embeddings(p, [str(i) for i in range(2000)], np.ones((2000, 64))),
    "t.json": lambda p: io.write_json(p, ["x" * 100000]),
    "t.parquet": lambda p: io.write_topk(p, both()),
    "t.trec": lambda p: io.write_topk(p, both(), direction="t2v"),
}
for name, write in writers.items():
    for limit in (0, 40, 1000, 9000, 60000, 400000):
        path = f"{folder}/{name}"
        open(path, "w").write("old")
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        try:
            write(path)
            message = "written"
        except FormatError as error:
            message = str(error)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        print(name, limit, message, flush=True)
        assert message == "written" or "no room" in message, message
        assert message == "written" or open(path).read() == "old"
        if message == "written":
            break
        assert limit < 400000 or name == "v.h5"
"""


@pytest.mark.slow
def test_a_full_disk_is_an_error_and_leaves_the_old_file(tmp_path):
    """A limit on the size of files stands in for the disk; the library itself would crash."""
    pytest.importorskip("pyarrow")
    run = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)],
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stderr == ""
    # Nothing but the files: no temporary one is left.
    assert names(tmp_path) == ["r.h5", "t.json", "t.parquet", "t.trec", "v.h5", "w.h5"]


KILLED = """
import sys, itertools
import numpy as np
from rerank.io import write_embeddings
ids = [str(i) for i in range(3000)]
print("ready", flush=True)
for i in itertools.count(1):
    write_embeddings(sys.argv[1], ids, np.full((3000, 64), float(i), dtype="f4"))
"""


@pytest.mark.slow
def test_a_killed_writer_leaves_the_old_or_the_new_file(tmp_path):
    from rerank.io import read_embeddings

    path = tmp_path / "v.h5"
    rng = random.Random(0)
    for _ in range(4):
        writer = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, cwd=ROOT,
        )  # fmt: skip
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(0.1 + rng.random() * 0.3)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        if path.exists():
            found = read_embeddings(path)
            assert (found.vectors == found.vectors[0, 0]).all() and len(found) == 3000
    assert path.exists()


@pytest.mark.slow
def test_no_flipped_bit_is_read_as_something_else(tmp_path):
    path = tmp_path / "reranked.h5"
    numbers = np.random.default_rng(0)
    texts = tuple(f"text{i}" for i in range(100))
    wide = DirectionResult(
        texts, VIDEOS, np.zeros((100, 20), int), numbers.normal(size=(100, 20)), np.ones(3)
    )
    write_results(
        path,
        directions={"t2v": wide},
        manifest=MANIFEST,
        em_map=numbers.normal(size=(64, 64)),
        scores=numbers.normal(size=(100, 3)),
    )
    raw = path.read_bytes()
    before = read_results(path)
    expected = [directions(r) for r in before.directions.values()]
    rng = random.Random(1)
    detected = 0
    for _ in range(300):
        data = bytearray(raw)
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(data)
        try:
            found = read_results(path)
        except RerankError:
            detected += 1
            continue
        # A bit that nothing depends on: what is read is what was written.
        assert [directions(r) for r in found.directions.values()] == expected
        assert found.manifest == MANIFEST
        assert (found.scores == before.scores).all() and (found.em_map == before.em_map).all()
    assert detected > 240


@pytest.mark.parametrize(
    "name",
    ["t2v/indices", "t2v/scores", "t2v/gallery_bias", "v2t/query_ids", "scores", "em_map"],
)
def test_an_edited_part_is_named(tmp_path, name):
    path = some_results(tmp_path)
    with h5py.File(path, "r+") as f:
        part = f[name]
        if name.endswith("ids"):
            part[0] = "other"
        else:
            part[0] = part[0] + 1
    with pytest.raises(FormatError, match=re.escape(f"reranked.h5: {name} does not match")):
        read_results(path)
    if name == "scores":
        assert read_results(path, scores=False).scores is None
    with h5py.File(path, "r+") as f:
        del f[name]
    with pytest.raises(FormatError, match=re.escape(name)):
        read_results(path)


def test_edited_words_are_noticed(tmp_path):
    for group, name, value in (
        ("/", "manifest", json.dumps({**MANIFEST, "label": "inductive"})),
        ("/t2v", "label", "inductive"),
        ("/", "hashes", "{}"),
        ("/", "content_sha256", "0" * 64),
    ):
        path = some_results(tmp_path)
        with h5py.File(path, "r+") as f:
            f[group].attrs[name] = value
        with pytest.raises(FormatError, match=r"reranked\.h5"):
            read_results(path)


def test_other_files_are_no_results(tmp_path):
    with h5py.File(tmp_path / "v.h5", "w") as f:
        f["x"] = 1
    with pytest.raises(FormatError, match="rerank-results/1.*rerank apply"):
        read_results(tmp_path / "v.h5")
