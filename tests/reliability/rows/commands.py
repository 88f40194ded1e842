"""The command line, whatever it is given and however it is ended."""

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import h5py
import numpy as np

from rerank.io import write_embeddings
from tests.reliability.child import rerank
from tests.reliability.matrix import Case, row

ROOT = Path(__file__).resolve().parents[3]
EVIL = "a\x1b]0;x\x07\x1b[31mb\u202e\u2028c"


def files(folder, *, ids=None):
    """Twelve texts and videos that match, and what is right."""
    rng = np.random.default_rng(0)
    videos = rng.normal(size=(12, 8)).astype("f4")
    texts = videos + 0.3 * rng.normal(size=(12, 8)).astype("f4")
    names = [f"v{i}" for i in range(12)] if ids is None else ids
    write_embeddings(folder / "v.h5", names, videos)
    write_embeddings(folder / "t.h5", [f"t{i}" for i in range(12)], texts)
    (folder / "gt.json").write_text(
        json.dumps({f"t{i}": name for i, name in enumerate(names)}), encoding="utf-8"
    )


BOTH = ("--videos", "v.h5", "--texts", "t.h5")
JUDGED = (*BOTH, "--gt", "gt.json")
REFUSED = {
    "no such file": (("apply", "--videos", "none.h5", "--texts", "t.h5"), "no such file"),
    "a folder": (("apply", "--videos", ".", "--texts", "t.h5"), ""),
    "a device": (("apply", "--videos", "/dev/zero", "--texts", "t.h5"), "ordinary file"),
    "a pipe": (("apply", "--videos", "pipe", "--texts", "t.h5"), "ordinary file"),
    "an empty file": (("apply", "--videos", "empty.h5", "--texts", "t.h5"), "empty"),
    "a circle of links": (("apply", "--videos", "circle", "--texts", "t.h5"), "circle"),
    "a name too long": (("apply", "--videos", "x" * 300, "--texts", "t.h5"), "x"),
    "an output name too long": (("apply", *BOTH, "--out", "x" * 300 + ".h5"), "x"),
    "an output in no folder": (("apply", *BOTH, "--out", "no/r.h5"), "does not exist"),
    "an output that is a folder": (("apply", *BOTH, "--out", "folder"), "folder"),
    "an output that is a device": (("apply", *BOTH, "--out", "/dev/full"), "/dev/full"),
    "an output in a circle": (("apply", *BOTH, "--out", "circle"), "circle"),
    "an unknown method": (("apply", *BOTH, "--method", EVIL), "method"),
    "an unknown dataset": (("apply", *BOTH, "--dataset", EVIL), "x1b"),
    "a file with an evil name": (("apply", "--videos", EVIL, "--texts", "t.h5"), "x1b"),
    "memory that is no size": (("apply", *BOTH, "--memory", "lots"), "memory"),
    "a model that is a device": (("search", "--model", "/dev/zero", "--texts", "t.h5"), ""),
    "a model that is a pipe": (("search", "--model", "pipe", "--texts", "t.h5"), ""),
    "a model that is no model": (("search", "--model", "v.h5", "--texts", "t.h5"), "HDF5"),
    "an index that is a pipe": (("search", "--index", "pipe", "--texts", "t.h5"), ""),
    "an index that is a device": (("search", "--index", "/dev/zero", "--texts", "t.h5"), ""),
    "ground truth that is a device": (("eval", *BOTH, "--gt", "/dev/zero"), "ordinary file"),
    "ground truth of nobody": (("eval", *BOTH, "--gt", "none.json"), "no such file"),
    "an index without a name": (("search", "--index", ".", "--texts", "t.h5"), "directory"),
    "heads without a name": (("train", *JUDGED, "--out", "/"), "directory"),
    "a demo without a name": (("demo", "."), "demo-2"),
    "results that are a pipe": (("eval", "--results", "pipe", "--gt", "gt.json"), "ordinary"),
}  # fmt: skip
OWN = {
    "apply --out": ("apply", *BOTH, "--out", "v.h5"),
    "apply --out, other side": ("apply", *BOTH, "--out", "t.h5"),
    "apply --out, a link": ("apply", *BOTH, "--out", "link.h5"),
    "apply --out, a hard link": ("apply", *BOTH, "--out", "hard.h5"),
    "apply --out, another way": ("apply", *BOTH, "--out", "./folder/../v.h5"),
    "fit --out": ("fit", "--videos", "v.h5", "--bank-texts", "t.h5", "--out", "v.h5"),
    "fit --out, bank": ("fit", "--videos", "v.h5", "--bank-texts", "t.h5", "--out", "link.h5"),
    "convert": ("convert", "v.h5", "v.h5"),
    "convert, a link": ("convert", "v.h5", "link.h5"),
    "search --out": ("search", "--model", "m.safetensors", "--videos", "v.h5", "--texts", "t.h5",
                     "--out", "t.h5"),
    "search --out, model": ("search", "--model", "m.safetensors", "--videos", "v.h5", "--texts",
                            "t.h5", "--out", "m.safetensors"),
    "export --out": ("export", "--model", "m.safetensors", "--videos", "v.h5", "--to", "npy",
                     "--out", "v.h5"),
    "export --out, model": ("export", "--model", "m.safetensors", "--videos", "v.h5", "--to",
                            "npy", "--out", "m.safetensors"),
    "eval --report": ("eval", *JUDGED, "--report", "gt.json"),
    "compare --report": ("compare", *JUDGED, "--methods", "is", "--resamples", "5", "--report",
                         "v.h5"),
}  # fmt: skip


@row("CLI robustness", "one line and status 2, or the answer", quick=10, slow=16)
def commands():
    for name, (arguments, word) in REFUSED.items():
        yield Case(name, partial(_refused, arguments, word))
    yield Case("full stdout", partial(_full_stdout, ("eval", *JUDGED)))
    yield Case("full stdout, JSON", partial(_full_stdout, ("eval", *JUDGED, "--json")))
    yield Case("full stdout, methods", partial(_full_stdout, ("methods",)))
    yield Case("evil ids", _evil_ids)
    yield Case("evil ids, JSON", partial(_evil_ids, more=("--json",)))
    for name, environment in (
        ("ASCII", {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}),
        ("POSIX", {"LC_ALL": "POSIX", "PYTHONIOENCODING": "ascii"}),
    ):
        yield Case(f"{name} locale", partial(_locale, environment), True)
    yield Case("names that are not UTF-8", _not_utf8, True)
    yield Case("a closed pipe", _closed_pipe)
    yield Case("closed stdout", partial(_closed, ">&-"), True)
    yield Case("closed stderr", partial(_closed, "2>&-"), True)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        yield Case(f"{number.name} while it writes", partial(_signalled, number), True)


def _around(folder):
    files(folder)
    (folder / "folder").mkdir()
    (folder / "empty.h5").touch()
    os.mkfifo(folder / "pipe")
    (folder / "circle").symlink_to(folder / "circle2")
    (folder / "circle2").symlink_to(folder / "circle")


def _refused(arguments, word, folder):
    _around(folder)
    before = {p.name: p.stat().st_mtime_ns for p in folder.iterdir() if p.is_file()}
    done = rerank(*arguments, folder=folder)
    assert done.status == 2, done
    last = done.err.rstrip("\n").splitlines()[-1]
    assert last.isprintable() and word in last and "Traceback" not in done.err, done
    assert {p.name: p.stat().st_mtime_ns for p in folder.iterdir() if p.is_file()} == before


def _full_stdout(arguments, folder):
    files(folder)
    done = rerank(*arguments, folder=folder, stdout=Path("/dev/full"))
    assert done.status not in (0, 1) and "Traceback" not in done.err, done
    assert "No space left" in done.err and len(done.err.splitlines()[-1]) < 200, done


def _evil_ids(folder, more=()):
    files(folder, ids=[f"{EVIL}{i}" for i in range(12)])
    done = rerank("eval", *JUDGED, *more, folder=folder)
    assert done.status == 0, done
    (folder / "gt.json").write_text(json.dumps({"t0": EVIL}))
    done = rerank("eval", *JUDGED, *more, folder=folder)
    done.refused("\\x1b")
    done = rerank("search", "--help", folder=folder)
    assert done.status == 0


def started(folder, *arguments, environment=None, shell="", **options):
    """The command as a program of its own."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **(environment or {})}
    line = [sys.executable, "-m", "rerank", *arguments]
    if shell:
        line = ["bash", "-c", f'"$@" {shell}', "bash", *line]
    return subprocess.run(
        line, cwd=folder, env=env, capture_output=True, timeout=100, check=False, **options
    )


def _locale(environment, folder):
    files(folder, ids=[f"é日{i}" for i in range(12)])
    done = started(folder, "eval", *JUDGED, "--json", environment=environment)
    assert done.returncode == 0, done
    (folder / "gt.json").write_text(json.dumps({"t0": "über"}))
    done = started(folder, "eval", *JUDGED, environment=environment)
    assert done.returncode == 2 and done.stderr.count(b"\n") == 1, done
    assert b"Traceback" not in done.stderr


def _not_utf8(folder):
    files(folder)
    name = b"v\xff.h5"
    (folder / "v.h5").rename(folder / os.fsdecode(name))
    good = started(folder, "eval", "--videos", name, "--texts", "t.h5", "--gt", "gt.json")
    bad = started(folder, "eval", "--videos", b"x\xff.h5", "--texts", "t.h5", "--gt", "gt.json")
    assert bad.returncode == 2 and bad.stderr.count(b"\n") == 1, bad
    assert good.returncode in (0, 2) and b"Traceback" not in good.stderr, good
    made = started(folder, "apply", "--videos", name, "--texts", "t.h5", "--out", b"r\xff.h5")
    assert made.returncode in (0, 2) and b"Traceback" not in made.stderr, made


def _closed_pipe(folder):
    files(folder)
    done = started(folder, "methods", shell="| head -c 10")
    assert b"Traceback" not in done.stderr and b"Exception" not in done.stderr, done


def _closed(how, folder):
    files(folder)
    done = started(folder, "eval", *JUDGED, shell=how)
    assert b"Traceback" not in done.stderr and done.returncode in (0, 2), done


SLOW = """
import os, sys, time
from rerank.io import files
old = files.sync
def slow(handle):
    print("writing", flush=True)
    time.sleep(60)
    old(handle)
files.sync = slow
from rerank_cli.app import main
sys.argv = ["rerank", *sys.argv[1:]]
main()
"""


def _signalled(number, folder):
    files(folder)
    (folder / "out.h5").write_bytes(b"")
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, "-c", SLOW, "apply", *BOTH, "--out", "out.h5"], cwd=folder, env=env,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None and process.stdout.readline() == "writing\n"
        start = time.monotonic()
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    assert time.monotonic() - start < 20
    assert process.returncode == 128 + number and "interrupted" in said, (process.returncode, said)
    left = {p.name for p in folder.iterdir()}
    assert left == {"v.h5", "t.h5", "gt.json", "out.h5"}, left
    assert not (folder / "out.h5").read_bytes()


@row("output is input", "refused, nothing changed", quick=4)
def own():
    for name, arguments in OWN.items():
        yield Case(name, partial(_own, arguments))


def _own(arguments, folder):
    files(folder)
    (folder / "folder").mkdir()
    (folder / "link.h5").symlink_to("v.h5")
    os.link(folder / "v.h5", folder / "hard.h5")
    with h5py.File(folder / "v.h5"):
        pass
    if "m.safetensors" in arguments:
        fit = ("fit", "--videos", "v.h5", "--bank-texts", "t.h5", "--method", "is", "--out")
        assert rerank(*fit, "m.safetensors", folder=folder).status == 0
    before = {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}
    done = rerank(*arguments, folder=folder)
    after = {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}
    changed = [name for name in before if before[name] != after.get(name)]
    assert not changed, f"changed {changed}"
    assert done.status == 2 and "Traceback" not in done.err, done
