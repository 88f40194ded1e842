"""Several processes equal one: sharded queries or gallery, uneven shards, empty shards, a death."""

import os
import re
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from tests import distributed_worker as worker

# Several processes on a few cores take minutes.
pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
WORLDS = (2, 3, 4)
# What `distributed_methods.in_three` is asked for.
LEFT_OUT = re.compile(
    ", all rows on the last/|^gate em.sinkhorn/|^a crowd, noise 0.6/|^items without a query/"
    "|^mirrored/|^copies/"
)


def free_ports(count):
    """Ports that nobody listens on, all different."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What every process of 2, 3 and 4 found, and what one finds."""
    folder = tmp_path_factory.mktemp("ranks")
    ports = ",".join(map(str, free_ports(len(WORLDS))))
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.distributed_worker", str(folder), str(rank), ports],
            cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(max(WORLDS))
    ]  # fmt: skip
    errors = [process.communicate(timeout=480)[1] for process in processes]
    assert not any(process.returncode for process in processes), "\n".join(errors)
    found = {}
    for world in WORLDS:
        for rank in range(world):
            with np.load(folder / f"{world}-{rank}.npz") as archive:
                found[world, rank] = dict(archive)
    return found, worker.run()


@pytest.mark.distributed
@pytest.mark.parametrize("world", WORLDS)
def test_many_processes_equal_one(results, world):
    found, one = results
    for rank in range(world):
        # Three do everything that one does, two leave out some cases, and four all methods.
        kept = {name for name in one if world == 3 or not LEFT_OUT.search(name)}
        if world == 4:
            passes = tuple(f"{case[0]}/" for case in worker.cases())
            kept = {name for name in one if name.startswith(passes)}
        assert found[world, rank].keys() == kept
        assert len(kept) > (100 if world == 4 else 0.7 * len(one))
        for name in found[world, rank]:
            value = one[name]
            rounded = any(word in name for word in ("8-bit", "bfloat16", "tight"))
            # 1e-3 of the temperatures here, which is what float32 keeps of a potential.
            tolerance = 2e-3 if rounded else 2e-5
            np.testing.assert_allclose(
                found[world, rank][name], value, atol=tolerance, rtol=1e-9,
                err_msg=f"{name}, process {rank} of {world}",
            )  # fmt: skip


@pytest.mark.distributed
@pytest.mark.parametrize("world", WORLDS)
def test_every_process_ends_with_the_same_numbers(results, world):
    found, _ = results
    for rank in range(1, world):
        for name, value in found[world, 0].items():
            np.testing.assert_array_equal(found[world, rank][name], value, err_msg=name)


DYING = """
import os, sys, numpy as np
from rerank import comm
from rerank.methods.sinkhorn import Sinkhorn
from rerank.core.similarity import Pair
comm.start_from_environment(timeout_s=60)
x = np.random.default_rng(0).normal(size=(60, 8))
sim = Pair(x[comm.my_rows(60)], x, shard="queries")
Sinkhorn(tau=.1, n_iters=2).fit(sim)
if comm.rank() == 1:
    os._exit(7)
Sinkhorn(tau=.1, n_iters=5).fit(sim)
open(sys.argv[1], "w").write("done")
"""


@pytest.mark.distributed
def test_when_a_process_dies_the_others_end_without_output(tmp_path):
    script, output = tmp_path / "dying.py", tmp_path / "output"
    script.write_text(DYING, encoding="utf-8")
    start = time.monotonic()
    done = subprocess.run(
        [
            sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2",
            "--master-port", str(free_ports(1)[0]), str(script), str(output),
        ],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode != 0
    assert not output.exists()
    assert time.monotonic() - start < 150
