"""Embeddings that are mapped, or held half, give the same files as those that are read whole."""

import os
import shutil
import signal
import subprocess
import sys
import tracemalloc

import h5py
import numpy as np
import pytest

from rerank import io
from rerank.core import memory, progress
from rerank.core.errors import FormatError
from rerank.core.similarity import Pair
from rerank.io.scratch import Scratch, joined
from rerank.methods.sinkhorn import Sinkhorn
from rerank.tasks import apply as files
from rerank.tasks.read import Inputs, describe_inputs
from tests.cli.test_cli import run

TINY = "20kB"
COUNTS = {"videos": 150, "texts": 120, "bank_texts": 140, "bank_videos": 130}


def rows(count, seed, d=24):
    draw = np.random.default_rng(seed)
    return (draw.normal(size=(count, d)) + 0.5).astype(np.float16)


def one_piece(path, x, ids):
    with h5py.File(path, "w") as file:
        file["embeddings"], file["ids"] = x, ids


def in_chunks(path, x, ids):
    with h5py.File(path, "w") as file:
        file.create_dataset("embeddings", data=x, chunks=(7, 24), compression="gzip")
        file["ids"] = ids


def in_columns(path, x, ids):
    with h5py.File(path, "w") as file:
        file.create_dataset("embeddings", data=x, chunks=(len(x), 5), compression="lzf")
        file["ids"] = ids


def canonical(path, x, ids):
    io.write_embeddings(path, ids, x)


def after_a_block(path, x, ids):
    with h5py.File(path, "w", userblock_size=512) as file:
        file["embeddings"], file["ids"] = x, ids


def other_order(path, x, ids):
    one_piece(path, x.astype(">f2"), ids)


def wide(path, x, ids):
    one_piece(path, x.astype(np.float32), ids)


STORED = (one_piece, in_chunks, in_columns, canonical, after_a_block, other_order, wide)


def fill(folder, store):
    folder.mkdir()
    for seed, (name, count) in enumerate(COUNTS.items()):
        store(folder / f"{name}.h5", rows(count, seed), [f"{name}{i}" for i in range(count)])
    return folder


def apply(folder, *options):
    run("apply", "--videos", "videos.h5", "--texts", "texts.h5", "--bank-texts", "bank_texts.h5",
        "--bank-videos", "bank_videos.h5", *options, cwd=folder)  # fmt: skip
    return (folder / "reranked.h5").read_bytes()


def serve(folder, *options):
    run("fit", "--videos", "videos.h5", "--bank-texts", "bank_texts.h5", "--bank-videos",
        "bank_videos.h5", *options, cwd=folder)  # fmt: skip
    run("search", "--model", "model.safetensors", "--videos", "videos.h5", "--texts", "texts.h5",
        "--out", "found.h5", *options, cwd=folder)  # fmt: skip
    return (folder / "model.safetensors").read_bytes(), (folder / "found.h5").read_bytes()


def test_what_is_mapped_is_what_is_read(tmp_path):
    x = rows(150, 0)
    files = [(tmp_path / f"{store.__name__}.h5", store) for store in STORED]
    for path, store in files:
        store(path, x, [str(i) for i in range(len(x))])
    array = tmp_path / "array.npy"
    np.save(array, x)
    (tmp_path / "array.ids.txt").write_text("\n".join(map(str, range(len(x)))))
    whole = io.read_embeddings(array)
    assert whole.vectors.dtype == np.float32 and not isinstance(whole.vectors, np.memmap)
    with memory.limit(TINY):
        for path in [array, *(path for path, _ in files)]:
            found = io.read_embeddings(path)
            assert isinstance(found.vectors, np.memmap) and not found.vectors.flags.writeable
            assert found.vectors.dtype == (np.float32 if path.stem == "wide" else np.float16)
            assert np.array_equal(found.vectors, whole.vectors)
            assert (found.content_sha256, found.norms) == (whole.content_sha256, whole.norms)
            some = io.read_embeddings(path, rows=slice(10, 140))
            assert np.array_equal(some.vectors, whole.vectors[10:140])


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
@pytest.mark.parametrize("metric", ["cosine", "dot"])
@pytest.mark.parametrize("store", [one_piece, in_chunks, other_order])
def test_a_map_is_looked_through_as_a_file_is_read(tmp_path, value, metric, store):
    x, path = rows(150, 0), tmp_path / "bad.h5"
    x[77] = value
    store(path, x, [f"id{i}" for i in range(150)])
    said = []
    for budget in (None, TINY):
        with memory.limit(budget):
            try:
                io.read_embeddings(path, metric=metric)
                said.append("")
            except FormatError as error:
                said.append(str(error))
    assert said[0] == said[1] and bool(said[0]) == (metric == "cosine" or value != 0)
    assert "id77" in said[0] or not said[0]


def test_a_file_too_short_for_its_map_is_refused(tmp_path):
    path = tmp_path / "cut.h5"
    one_piece(path, rows(150, 0), [str(i) for i in range(150)])
    with h5py.File(path) as file:
        end = file["embeddings"].id.get_offset() + 100
    path.write_bytes(path.read_bytes()[:end])
    with memory.limit(TINY), pytest.raises(FormatError, match="cut.h5"):
        io.read_embeddings(path)


def test_checksums_of_an_unpacked_file_are_checked(tmp_path):
    path, x = tmp_path / "damaged.h5", rows(150, 0)
    canonical(path, x, [str(i) for i in range(150)])
    raw = bytearray(path.read_bytes())
    raw[raw.find(x[100].tobytes()) + 3] ^= 1
    path.write_bytes(raw)
    said = []
    for budget in (None, TINY):
        with memory.limit(budget), pytest.raises(FormatError, match="damaged.h5") as error:
            io.read_embeddings(path)
        said.append(str(error.value))
    assert said[0] == said[1]


def test_a_file_that_is_not_large_is_read_and_not_unpacked(tmp_path, monkeypatch):
    path = tmp_path / "x.h5"
    in_chunks(path, rows(150, 0), [str(i) for i in range(150)])
    monkeypatch.setattr("rerank.io.field.Scratch", None)
    assert not isinstance(io.read_embeddings(path).vectors, np.memmap)


@pytest.mark.parametrize("chunks", [(1000, 256), (30_000, 8)])
def test_unpacking_holds_blocks_and_never_the_file(tmp_path, monkeypatch, chunks):
    monkeypatch.setattr("rerank.io.formats.hdf5._MOST_BYTES", 2 << 20)
    monkeypatch.setattr("rerank.io.field.BLOCK_BYTES", 1 << 20)
    path, x = tmp_path / "x.h5", np.tile(rows(1000, 0, 256), (30, 1))
    with h5py.File(path, "w") as file:
        file.create_dataset("embeddings", data=x, chunks=chunks, compression="lzf")
        file["ids"] = np.arange(len(x)).astype("S8")
    with memory.limit("8MB"):
        io.read_embeddings(path, rows=slice(0, 25_000))
        tracemalloc.start()
        found = io.read_embeddings(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert np.array_equal(found.vectors, x)
    # Names of the rows are held; the file has 15 MB.
    assert peak < 12e6


def test_no_room_to_unpack_is_said_with_the_ways_out(tmp_path, monkeypatch):
    path = tmp_path / "x.h5"
    in_chunks(path, rows(150, 0), [str(i) for i in range(150)])
    monkeypatch.setenv("TMPDIR", str(tmp_path / "missing"))
    with memory.limit(TINY), pytest.raises(FormatError, match="missing cannot be used"):
        io.read_embeddings(path)
    usage = shutil.disk_usage(tmp_path)._replace(free=7199)
    monkeypatch.setattr("rerank.io.scratch.shutil.disk_usage", lambda folder: usage)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with memory.limit(TINY), pytest.raises(FormatError) as error:
        io.read_embeddings(path)
    for part in ("x.h5: '/embeddings'", "7,200 bytes", "has 7,199", "TMPDIR", "memory.limit("):
        assert part in str(error.value)


def test_a_share_is_described_by_the_whole_file_without_reading_all_of_it(tmp_path, monkeypatch):
    x, ids = rows(150, 0), [str(i) for i in range(150)]
    np.save(tmp_path / "scores.npy", x)
    for store in STORED:
        store(tmp_path / f"{store.__name__}.h5", x, ids)
    paths = sorted(tmp_path.glob("*.h5"))
    whole = [io.read_embeddings(path).content_sha256 for path in paths]
    scores = io.read_scores(tmp_path / "scores.npy").content_sha256
    part = slice(10, 20)
    shares = [Inputs(texts=io.read_embeddings(path, rows=part)) for path in paths]
    of_scores = Inputs(scores=io.read_scores(tmp_path / "scores.npy", rows=part))
    for module in ("field.Scratch", "embeddings.read_matrix", "scores.read_matrix"):
        monkeypatch.setattr(f"rerank.io.{module}", None)
    found = [describe_inputs(share, folder=tmp_path)["texts"]["sha256"] for share in shares]
    assert found == whole
    assert describe_inputs(of_scores, folder=tmp_path)["sims"]["sha256"] == scores


def test_the_budget_of_a_run_holds_until_its_file_is_written(tmp_path, monkeypatch):
    folder, seen = fill(tmp_path / "one", one_piece), []

    def noted(name, call):
        def instead(*args, **options):
            seen.append((name, memory.budget()))
            return call(*args, **options)

        return instead

    monkeypatch.setattr(files, "describe_inputs", noted("describe", files.describe_inputs))
    monkeypatch.setattr(io, "write_results", noted("write", io.write_results))
    files.apply_files(
        videos=folder / "videos.h5", texts=folder / "texts.h5", out=folder / "out.h5",
        memory="123456789B", settings={"method": "is"},
    )  # fmt: skip
    assert seen == [("describe", 123456789), ("write", 123456789)]


def test_room_is_asked_for_the_copies_of_all_processes_of_a_machine(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=3 * 7200 - 1)
    monkeypatch.setattr("rerank.io.scratch.shutil.disk_usage", lambda folder: usage)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert Scratch((150, 24), np.dtype(np.float16), "x.h5")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    with pytest.raises(FormatError, match="7,200 bytes of disk in each of 3 processes"):
        Scratch((150, 24), np.dtype(np.float16), "x.h5")


def test_a_disk_that_refuses_the_last_bytes_is_told_from_a_bug(monkeypatch):
    scratch = Scratch((2, 2), np.dtype(np.float32), "x.h5")
    scratch.write(np.zeros((2, 2)))
    held = scratch._file

    class Closing:
        """A file whose network disk says at the end that there is no room."""

        def __enter__(self):
            return self

        def __exit__(self, *args):
            held.close()
            raise OSError(122, "Disk quota exceeded")

        def __getattr__(self, name):
            return getattr(held, name)

    monkeypatch.setattr(scratch, "_file", Closing())
    with pytest.raises(FormatError, match="x.h5: .*Disk quota exceeded"):
        scratch.mapped()


KILLED = """
import os, sys
from pathlib import Path
from rerank import io
from rerank.core import memory, progress
class Reporter:
    def start(self, description, total):
        pass
    def advance(self, steps):
        os.kill(os.getpid(), int(sys.argv[1]))
    stop = lambda self: None
with memory.limit("20kB"), progress.watch(Reporter()):
    io.read_embeddings(Path("videos.h5"))
"""


def heeds_interrupts():
    """A child of tests that run in the background would ignore them otherwise."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_of_a_file_that_was_being_unpacked(tmp_path, how):
    in_chunks(tmp_path / "videos.h5", rows(150, 0), [str(i) for i in range(150)])
    (tmp_path / "scratch").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(int(how))], cwd=tmp_path, capture_output=True,
        env={**os.environ, "TMPDIR": str(tmp_path / "scratch")}, timeout=120,
        preexec_fn=heeds_interrupts,
    )  # fmt: skip
    assert done.returncode == -how, done.stderr
    assert not list((tmp_path / "scratch").iterdir())


def test_the_same_result_file_however_the_rows_are_stored(tmp_path):
    made = [apply(fill(tmp_path / s.__name__, s), "--memory", TINY) for s in STORED]
    assert all(one == made[0] for one in made)


def test_the_same_model_and_lists_however_the_rows_are_stored(tmp_path):
    made = [serve(fill(tmp_path / s.__name__, s), "--memory", TINY) for s in STORED]
    assert all(one == made[0] for one in made)


def test_a_gallery_in_several_files_and_another_order_is_found_alike(tmp_path):
    folder = fill(tmp_path / "one", one_piece)
    wanted = serve(folder, "--memory", TINY)[1]
    x, ids = rows(150, 0), [f"videos{i}" for i in range(150)]
    in_chunks(folder / "first.h5", x[100:], ids[100:])
    wide(folder / "second.h5", x[:100], ids[:100])
    for budget in (("--memory", TINY), ()):
        run("search", "--model", "model.safetensors", "--videos", "first.h5", "--videos",
            "second.h5", "--texts", "texts.h5", "--out", "found.h5", *budget,
            cwd=folder)  # fmt: skip
        with h5py.File(folder / "found.h5") as file:
            found = {name: file[f"t2v/{name}"][:] for name in ("indices", "scores")}
        if budget:
            assert (folder / "found.h5").read_bytes() == wanted
            kept = found
    assert np.array_equal(found["indices"], kept["indices"])
    np.testing.assert_allclose(found["scores"], kept["scores"], atol=1e-6)


def test_a_large_gallery_is_joined_and_ordered_in_a_file():
    parts, whole = (rows(90, 0), rows(60, 1)), np.concatenate((rows(90, 0), rows(60, 1)))
    for budget, kind in ((TINY, np.memmap), (None, np.ndarray)):
        with memory.limit(budget):
            found = joined(iter(parts), whole.shape, "gallery")
        assert type(found) is kind and np.array_equal(found, whole)


def test_every_command_on_embeddings_takes_a_budget_and_a_fit_says_its_regime(tmp_path):
    folder = fill(tmp_path / "one", one_piece)
    out, _ = run("fit", "--videos", "videos.h5", "--bank-texts", "bank_texts.h5", "--keep-bank",
                 "--memory", "200kB", cwd=folder)  # fmt: skip
    assert "sweeps: stored float32" in out
    out, _ = run("fit", "--videos", "videos.h5", "--bank-texts", "bank_texts.h5", "--keep-bank",
                 "--memory", TINY, cwd=folder)  # fmt: skip
    assert "sweeps: streaming" in out or "sweeps: log domain" in out
    one_piece(folder / "more.h5", rows(20, 9), [f"more{i}" for i in range(20)])
    run("update", "--model", "model.safetensors", "--videos", "more.h5", "--out", "grown",
        "--memory", TINY, cwd=folder)  # fmt: skip
    run("export", "--model", "model.safetensors", "--videos", "videos.h5", "--to", "npy", "--out",
        "folded.npy", "--memory", TINY, cwd=folder)  # fmt: skip
    assert "skewness" in run("inspect", "--videos", "videos.h5", "--memory", TINY, cwd=folder)[0]
    for name in ("fit", "search", "update", "export", "inspect"):
        model = () if name == "inspect" else ("--out", "x")
        model += () if name in ("fit", "inspect") else ("--model", "model.safetensors")
        _, said = run(name, "--memory", "much", *model, cwd=folder, code=2)
        assert said.startswith("error: memory: got 'much'") and said.count("\n") == 1


SEARCHED = """
import sys, threading, time
from pathlib import Path
from rerank.core.memory import limit
from rerank.tasks.search import search_files
folder = Path(sys.argv[1])
def anonymous():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(x.split()[1]) for x in lines if x.startswith("RssAnon:"))
def search(model, videos):
    most, go = [0], [True]
    def look():
        while go:
            most[0] = max(most[0], anonymous())
            time.sleep(0.002)
    thread = threading.Thread(target=look)
    thread.start()
    with limit("1GB"):
        search_files(model=folder / model, videos=[folder / videos],
            texts=[folder / "texts.h5"], out=folder / "found.h5")
    go.clear()
    thread.join()
    return most[0]
before = search("few", "few.h5")
print(search("many", "many.h5") - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_search_of_a_mapped_gallery_makes_no_copy_of_it(tmp_path):
    count, d = 100_000, 512
    draw = np.random.default_rng(0)
    for name, n in {"many": count, "few": 200, "texts": 3, "bank": 20}.items():
        x = draw.standard_normal((n, d), dtype=np.float32).astype(np.float16)
        one_piece(tmp_path / f"{name}.h5", x, np.arange(n).astype("S8"))
    for name in ("many", "few"):
        run("fit", "--videos", f"{name}.h5", "--bank-texts", "bank.h5", "--method", "is",
            "--out", name, cwd=tmp_path)  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", SEARCHED, str(tmp_path)], capture_output=True, text=True, check=True
    )
    # Ids, hashes, biases and blocks; a folded copy alone is 205 MB.
    assert int(done.stdout) < 0.7 * 4 * count * d


def test_little_memory_changes_no_result(tmp_path):
    folder = fill(tmp_path / "one", one_piece)
    found = []
    for options in ((), ("--memory", TINY)):
        apply(folder, *options)
        with h5py.File(folder / "reranked.h5") as file:
            found.append({n: file[n][:] for n in ("t2v/indices", "t2v/scores", "t2v/gallery_bias")})
    for name, want in found[0].items():
        np.testing.assert_allclose(found[1][name], want, atol=2e-4, err_msg=name)


PEAK = """
import resource, sys
from pathlib import Path
from rerank.tasks import apply as files
folder = Path(sys.argv[1])
def peak():
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
def apply(videos):
    files.apply_files(videos=folder / videos, texts=folder / "texts.h5", out=folder / "out.h5",
        bank_texts=folder / "bank_texts.h5", bank_videos=folder / "bank_videos.h5",
        memory="200MB", device="cpu", settings={"n_iters": 3, "tau": 0.05})
apply("few.h5")
before = peak()
apply("many.h5")
print(peak() - before)
"""


@pytest.mark.slow
def test_a_run_over_a_mapped_gallery_makes_no_float32_copy_of_it(tmp_path):
    count, d = 60_000, 512
    draw = np.random.default_rng(0)
    counts = {"many": count, "few": 50, "texts": 20, "bank_texts": 20, "bank_videos": 20}
    for name, n in counts.items():
        x = draw.standard_normal((n, d), dtype=np.float32).astype(np.float16)
        one_piece(tmp_path / f"{name}.h5", x, np.arange(n).astype("S8"))
    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(tmp_path)], capture_output=True, text=True, check=True
    )
    # The file itself is half of a copy, and mapped pages count as memory while they are there.
    assert int(done.stdout) < 1.5 * 4 * count * d


INTERRUPTED = """
import os, signal, sys
from rerank.core import progress
from rerank.io.formats.hdf5 import Writer
def stop(*args, **options):
    os.kill(os.getpid(), signal.SIGINT)
if sys.argv.pop(1) == "writing":
    Writer.ids = stop
else:
    class Reporter:
        def start(self, description, total):
            if description == "Sinkhorn":
                stop()
        advance = stop = lambda *args: None
    import rerank_cli.console as console
    console.progress = lambda: progress.watch(Reporter())
from rerank_cli.app import main
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("when", ["sweeping", "writing"])
@pytest.mark.parametrize("command", ["apply", "fit"])
def test_an_interrupt_leaves_nothing_behind(tmp_path, when, command):
    if (command, when) == ("fit", "writing"):
        pytest.skip("models are written by rerank.methods.saved, see test_store")
    folder = fill(tmp_path / "work", one_piece)
    before = sorted(folder.iterdir())
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, when, command, "--videos", "videos.h5",
         *(("--texts", "texts.h5") if command == "apply" else ()), "--bank-texts", "bank_texts.h5"],
        cwd=folder, capture_output=True, text=True, timeout=120, preexec_fn=heeds_interrupts,
    )  # fmt: skip
    assert done.returncode == 128 + signal.SIGINT, done.stderr
    assert sorted(folder.iterdir()) == before
    assert "Traceback" not in done.stderr


class Tasks:
    """Remembers every task: how deep it lay, its total, how far it got."""

    def __init__(self):
        self.open, self.closed = [], []

    def start(self, description, total):
        self.open.append([description, len(self.open), total, 0])

    def advance(self, steps):
        self.open[-1][3] += steps

    def stop(self):
        self.closed.append(tuple(self.open.pop()))


@pytest.mark.parametrize("budget", [None, TINY])
def test_a_fit_says_how_far_it_is_and_its_sweeps_too(budget):
    tasks = Tasks()
    with memory.limit(budget), progress.watch(tasks):
        Sinkhorn(tau=0.05, n_iters=4, tol=None).fit(Pair(rows(60, 0), rows(60, 1)))
    assert ("Sinkhorn", 0, 4, 4) in tasks.closed
    inside = [task for task in tasks.closed if task[0] == "Sinkhorn sweep"]
    assert sum(depth == 1 for _, depth, _, _ in inside) == 4
    assert all(done == 60 for _, depth, _, done in inside if depth == 1)
