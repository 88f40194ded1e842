"""Sinkhorn and top-k on the CPU beside their peers, in one interleaved run.

    python tests/bench/cpu.py [--sizes 1000,5000,20000] [--sweeps 10] [--repeats 5] [--out FILE]

Prints medians per full iteration, ratios to the toolkit, the share of the measured read bandwidth,
and the peak memory of one fit in a process of its own. Peers that are not installed are left out
(`pip install -e ".[cpu,bench]"`). Every contender gets the same scores, temperature and number of
iterations; rounds are interleaved, so a busy neighbour slows all of them.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch

from rerank.kernels import choose
from rerank.kernels.choose import Regime
from rerank.similarity import Pair

DIM, TAU = 512, 0.02
# The slow peers would take minutes an iteration beyond these sizes.
LIMIT = {
    "POT sinkhorn_log": 5000,
    "GeomLoss dense": 5000,
    "OTT-JAX dense": 5000,
    "POT sinkhorn": 5000,
}


def make(n: int) -> Pair:
    """Unit vectors in a cone, so that the scores look like a zero-shot model's."""
    generator = torch.Generator().manual_seed(0)
    common = torch.randn(DIM, generator=generator)
    queries = torch.randn((n, DIM), generator=generator) + 0.6 * common
    gallery = torch.randn((n, DIM), generator=generator) + 0.6 * common
    return Pair(queries, gallery)


def bandwidth() -> float:
    """Bytes read a second by a sum over 400 MB, the best of a few."""
    big = torch.ones(100_000_000)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        big.sum()
        times.append(time.perf_counter() - start)
    return 4 * len(big) / min(times)


def ours(sim: Pair, name: str, half: bool = False):
    """Sweeps of one regime, the kernel built before the clock starts."""
    n, m = sim.shape
    log_a = torch.full((n,), -math.log(n))
    step = choose.build(Regime(name, half=half), sim, TAU, log_a)

    def run(sweeps: int) -> None:
        g = torch.zeros(m)
        for _ in range(sweeps):
            _, mass = step(g)
            g = TAU * (-math.log(m) - mass) + g

    return run


def two_products(sim: Pair, *_):
    """Two matrix-vector products on the stored exponential, fp32: the simple fast way."""
    kernel = ((sim.scores() - 1) / TAU).exp_()
    n, m = sim.shape

    def run(sweeps: int) -> None:
        v = torch.full((m,), 1 / m)
        for _ in range(sweeps):
            u = (1 / n) / (kernel @ v)
            v = (1 / m) / (kernel.T @ u)

    return run


def logsumexp_loop(sim: Pair, *_):
    """The textbook log-domain loop in torch."""
    scores = sim.scores() / TAU
    n, m = sim.shape

    def run(sweeps: int) -> None:
        g = torch.zeros(m)
        for _ in range(sweeps):
            f = -math.log(n) - torch.logsumexp(scores + g, dim=1)
            g = -math.log(m) - torch.logsumexp(scores + f[:, None], dim=0)

    return run


def pot(sim: Pair, method: str):
    """POT with uniform marginals and no early stop."""
    import ot

    cost = (1 - sim.scores()).numpy()
    n, m = sim.shape
    a, b = np.full(n, 1 / n, dtype=np.float32), np.full(m, 1 / m, dtype=np.float32)

    def run(sweeps: int) -> None:
        ot.sinkhorn(a, b, cost, TAU, method=method, numItermax=sweeps, stopThr=0, warn=False)

    return run


def geomloss(sim: Pair, *_):
    """GeomLoss's dense solver."""
    from geomloss import ot

    cost = 1 - sim.scores()
    return lambda sweeps: ot.solve(cost, reg=TAU, max_iter=sweeps).potential_a


def ott(sim: Pair, *_):
    """OTT-JAX on a stored cost matrix."""
    import jax
    from ott.geometry import geometry
    from ott.problems.linear import linear_problem
    from ott.solvers.linear import sinkhorn

    cost = jax.numpy.asarray(1 - sim.scores().numpy())
    problem = linear_problem.LinearProblem(geometry.Geometry(cost_matrix=cost, epsilon=TAU))
    made = {}

    def run(sweeps: int) -> None:
        if sweeps not in made:
            solver = sinkhorn.Sinkhorn(
                threshold=-1, min_iterations=sweeps, max_iterations=sweeps, inner_iterations=sweeps
            )
            made[sweeps] = jax.jit(solver)
        made[sweeps](problem).f.block_until_ready()

    return run


CONTENDERS = {
    "rerank stored fp32": lambda sim: ours(sim, "stored float32"),
    "rerank stored bf16": lambda sim: ours(sim, "stored bfloat16"),
    "rerank stored 8-bit": lambda sim: ours(sim, "stored 8-bit"),
    "rerank streaming": lambda sim: ours(sim, "streaming", half=True),
    "torch, two products": two_products,
    "torch logsumexp": logsumexp_loop,
    "POT sinkhorn": lambda sim: pot(sim, "sinkhorn"),
    "POT sinkhorn_log": lambda sim: pot(sim, "sinkhorn_log"),
    "GeomLoss dense": geomloss,
    "OTT-JAX dense": ott,
}


def measure(n: int, sweeps: int, repeats: int) -> dict[str, float]:
    """Median seconds per iteration of every contender, rounds interleaved."""
    sim, ready = make(n), {}
    for name, build in CONTENDERS.items():
        if n > LIMIT.get(name, n):
            continue
        try:
            ready[name] = build(sim)
            ready[name](sweeps)
        except ImportError:
            continue
    times: dict[str, list[float]] = {name: [] for name in ready}
    for _ in range(repeats):
        for name, run in ready.items():
            start = time.perf_counter()
            run(sweeps)
            times[name].append((time.perf_counter() - start) / sweeps)
    return {name: statistics.median(values) for name, values in times.items()}


def peak(name: str, n: int) -> float:
    """Peak megabytes above importing, of building and two iterations, in its own process."""
    # VmHWM, because ru_maxrss of a child starts at what its parent held.
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import cpu\n"
        "def high():\n"
        "    lines = open('/proc/self/status').read().splitlines()\n"
        "    return int(next(x for x in lines if x.startswith('VmHWM')).split()[1])\n"
        "before = high()\n"
        "cpu.CONTENDERS[sys.argv[2]](cpu.make(int(sys.argv[3])))(2)\n"
        "print((high() - before) / 1024)"
    )
    here = str(Path(__file__).resolve().parent)
    done = subprocess.run(
        [sys.executable, "-c", code, here, name, str(n)], capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def main() -> None:
    """Print one table a size."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", default="1000,5000,20000")
    parser.add_argument("--sweeps", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    read = bandwidth()
    threads = f"{torch.get_num_threads()} threads, torch {torch.__version__}"
    print(f"read bandwidth {read / 1e9:.1f} GB/s, tau {TAU}, {threads}")
    everything = {"bandwidth": read}
    for n in map(int, options.sizes.split(",")):
        found = measure(n, options.sweeps, options.repeats)
        best = min(v for k, v in found.items() if k.startswith("rerank stored"))
        print(f"\n| {n} x {n} | ms an iteration | times slower | of one fp32 read | peak MB |")
        print("|---|---|---|---|---|")
        for name, seconds in sorted(found.items(), key=lambda item: item[1]):
            share = 4 * n * n / read / seconds
            memory = f"{peak(name, n):,.0f}"
            cells = (
                name,
                f"{1e3 * seconds:,.2f}",
                f"{seconds / best:,.1f}",
                f"{share:.2f}",
                memory,
            )
            print(f"| {' | '.join(cells)} |", flush=True)
        everything[str(n)] = found
    if options.out:
        options.out.write_text(json.dumps(everything, indent=1))


if __name__ == "__main__":
    main()
