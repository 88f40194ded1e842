"""Several processes find what one finds, and end when one of them dies."""

import os
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np

from tests.reliability.matrix import Case, row

ROOT = Path(__file__).resolve().parents[3]
WORKER = """
import os, sys, time
import numpy as np
from rerank.core import comm
from rerank.core.similarity import Pair
from rerank.methods.registry import pipeline
from rerank.passes import reduce

out, side, dies = sys.argv[1], sys.argv[2], sys.argv[3]
comm.start_from_environment(timeout_s=30)
rng = np.random.default_rng(0)
gallery = rng.normal(size=(41, 16)) + rng.normal(size=16)
queries = gallery[np.arange(60) % 41] + .5 * rng.normal(size=(60, 16))
rows = comm.my_rows(60) if comm.active() else slice(0, 60)
sim = Pair(queries[rows], gallery, shard="queries") if comm.active() else Pair(queries, gallery)
sim = sim if side == "t2v" else sim.T
pipeline("sinkhorn", tau=.1, n_iters=3).fit(sim)
if dies != "-" and comm.rank() == int(dies):
    os._exit(7)
found = pipeline("sinkhorn", tau=.1, n_iters=30).fit(sim)
bias = found.gallery_bias
if sim.shard == "gallery":
    bias = comm.gather_rows(bias)
if comm.rank() == 0:
    np.save(out, bias.double().numpy())
comm.stop()
"""


@row("world sizes 1-4; a worker killed", "<= 1e-5 of one process; clean exit", quick=1, slow=3)
def worlds():
    for world in (1, 2, 3, 4):
        for side in ("t2v", "v2t"):
            yield Case(f"{world} processes, {side}", partial(_equal, world, side), world > 1)
    for rank in (0, 1):
        yield Case(f"process {rank} of 2 dies", partial(_dies, rank), True)
    yield Case("the launcher dies", _launcher_dies, True)


def _start(folder, world, side, dies, out):
    script = folder / "worker.py"
    script.write_text(WORKER, encoding="utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    launch = ["-m", "torch.distributed.run", "--nproc-per-node", str(world),
              "--master-port", str(port)] if world > 1 else []  # fmt: skip
    return subprocess.run(
        [sys.executable, *launch, str(script), str(out), side, dies],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=58, check=False,
    )  # fmt: skip


def _alone(side):
    from rerank.core.similarity import Pair
    from rerank.methods.registry import pipeline

    rng = np.random.default_rng(0)
    gallery = rng.normal(size=(41, 16)) + rng.normal(size=16)
    queries = gallery[np.arange(60) % 41] + 0.5 * rng.normal(size=(60, 16))
    sim = Pair(queries, gallery)
    fitted = pipeline("sinkhorn", tau=0.1, n_iters=30).fit(sim if side == "t2v" else sim.T)
    return fitted.gallery_bias.double().numpy()


def _equal(world, side, folder):
    done = _start(folder, world, side, "-", folder / "bias.npy")
    assert done.returncode == 0, done.stderr[-500:]
    np.testing.assert_allclose(np.load(folder / "bias.npy"), _alone(side), atol=1e-5)


def _dies(rank, folder):
    start = time.monotonic()
    done = _start(folder, 2, "t2v", str(rank), folder / "bias.npy")
    assert done.returncode != 0 and not (folder / "bias.npy").exists()
    assert time.monotonic() - start < 55


WAITING = """
import os, sys, time
from pathlib import Path
from rerank.core import comm
comm.start_from_environment(timeout_s=30)
Path(sys.argv[1], f"{os.getpid()}.pid").touch()
time.sleep(300)
"""


def _launcher_dies(folder):
    (folder / "waiting.py").write_text(WAITING, encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    launcher = subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
         str(folder / "waiting.py"), str(folder)],
        cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    pids = []
    try:
        while len(pids) < 2:
            time.sleep(0.2)
            pids = [int(path.stem) for path in folder.glob("*.pid")]
    finally:
        launcher.kill()
        launcher.wait()
    start = time.monotonic()
    while any(_runs(pid) for pid in pids):
        assert time.monotonic() - start < 30, "the workers go on"
        time.sleep(0.2)


def _runs(pid):
    """Whether a process is there and not only its exit status."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"
