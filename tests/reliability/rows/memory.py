"""Memory that runs out in the middle of the work."""

import os
import subprocess
import sys
from functools import partial

import numpy as np
import torch

from rerank import Dense, Pair
from rerank.io import write_embeddings
from rerank.methods.registry import pipeline
from rerank.passes import reduce
from tests.reliability.child import ROOT, rerank
from tests.reliability.matrix import Case, row
from tests.reliability.rows.commands import BOTH, JUDGED, files

ERRORS = (
    MemoryError("no room"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:75] DefaultCPUAllocator: can't allocate memory"),
    RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
)
WORK = ("topk", "logsumexp", "csls", "is")


@row("memory exhaustion injected", "blocks halve, the same answer; or one line", quick=6)
def exhausted():
    for work in WORK:
        for number in range(len(ERRORS)):
            for kind in ("pair", "dense"):
                yield Case(f"{work} of a {kind}, error {number}",
                           partial(_halved, work, number, kind))  # fmt: skip
    # With less, libraries find no room for their stack, and the system ends them.
    for size in (64, 96, 128, 256):
        yield Case(f"{size} MB left for the command", partial(_little, size, EVAL))
    for name, command in COMMANDS.items():
        for size in (64, 160, 320):
            yield Case(f"{size} MB left for {name}", partial(_little, size, command))
    for size in (100, 400, 600, 700):
        yield Case(f"an address space of {size} MB", partial(_limited, size), True)
    for name in ("apply", "compare", "fit"):
        for size in range(840, 1320, 160):
            yield Case(f"an address space of {size} MB for {name}",
                       partial(_barely, size, WORKED[name]), True)  # fmt: skip


def _work(name, sim):
    if name == "topk":
        found = reduce.topk(sim, 5)
    elif name == "logsumexp":
        return reduce.logsumexp(sim, 0.1, over="queries")
    else:
        settings = {"tau": 0.1} if name == "is" else {}
        found = reduce.topk(pipeline(name, **settings).fit(sim).transform(sim), 5)
    return torch.cat([found.scores.double(), found.indices.double()])


def _sim(kind):
    rng = np.random.default_rng(0)
    queries, gallery = rng.normal(size=(90, 8)), rng.normal(size=(40, 8))
    # Several rows at a time, which are too many then.
    pair = Pair(queries, gallery, block_size=32)
    return pair if kind == "pair" else Dense(pair.scores(), block_size=32)


def _halved(work, number, kind, folder):
    wanted = _work(work, _sim(kind))
    owner = Pair if kind == "pair" else Dense
    base, refused = owner.block, []

    def little(self, rows):
        if rows.stop - rows.start > 5:
            refused.append(rows)
            raise ERRORS[number]
        return base(self, rows)

    owner.block = little
    try:
        found = _work(work, _sim(kind))
    finally:
        owner.block = base
    assert refused
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)


EVAL = ("eval", *JUDGED)
COMMANDS = {
    "apply": ("apply", *BOTH), "search": ("search", "--model", "m.safetensors", *BOTH),
    "convert": ("convert", "t.h5", "c.h5"), "inspect": ("inspect", *BOTH),
    "fit": ("fit", "--videos", "v.h5", "--bank-texts", "t.h5", "--out", "n.safetensors"),
}  # fmt: skip


def _little(size, command, folder):
    files(folder)
    if command[0] == "search":
        fit = ("fit", "--videos", "v.h5", "--bank-texts", "t.h5", "--method", "is", "--out")
        assert rerank(*fit, "m.safetensors", folder=folder).status == 0
    before = {path.name for path in folder.iterdir()}
    done = rerank(*command, folder=folder, memory=size << 20)
    assert done.status in (0, 2) and "Traceback" not in done.err, done
    said = [line for line in done.err.splitlines() if not line.startswith(("note", "warning"))]
    assert done.status == 0 or len(said) == 1, done
    assert done.status == 0 or {path.name for path in folder.iterdir()} == before, "something left"


# So many that their kernels are compiled, for those that are quick.
MANY = 2100
WORKED = {
    "apply": ("apply", "--videos", "many_v.h5", "--texts", "many_t.h5"),
    "compare": ("compare", *JUDGED),
    "fit": ("fit", "--videos", "many_v.h5", "--bank-texts", "many_t.h5", "--out", "n.safetensors"),
}  # fmt: skip


def _limited(size, folder):
    files(folder)
    done = _under(size, EVAL, folder)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done
    assert done.stderr.startswith("error: "), done


def _barely(size, command, folder):
    """Less or more than is needed: answered, or refused, but never ended by a library."""
    files(folder)
    rows = np.random.default_rng(0).normal(size=(2, MANY, 8)).astype("f4")
    for name, side in zip("vt", rows, strict=True):
        write_embeddings(folder / f"many_{name}.h5", [f"{name}{i}" for i in range(MANY)], side)
    done = _under(size, command, folder)
    lines = done.stderr.splitlines()
    said = [x for x in lines if not x.startswith(("note", "warning", "progress"))]
    assert done.returncode == 0 or (done.returncode == 2 and len(said) == 1), done
    assert done.returncode == 0 or said[0].startswith("error: "), done


def _under(size, command, folder):
    """As `ulimit -v` before anything is imported."""
    line = [sys.executable, "-m", "rerank", *command]
    shell = ["bash", "-c", f'ulimit -v {size << 10}; exec "$@"', "bash", *line]
    return subprocess.run(
        shell, cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True,
        text=True, check=False, timeout=100,
    )  # fmt: skip
