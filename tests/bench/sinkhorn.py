"""Sinkhorn and top-k on this machine, ours and the peers', on the same work in interleaved rounds.

    python tests/bench/sinkhorn.py iterations --size 5000
    python tests/bench/sinkhorn.py to-error --size 5000
    python tests/bench/sinkhorn.py topk --size 20000
    python tests/bench/sinkhorn.py memory --size 20000

Peers (POT, GeomLoss, OTT-JAX, FAISS) are used where they are installed. Medians and ratios of one
run; absolute times of a shared machine say little.
"""

import argparse
import math
import resource
import statistics
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import torch

from rerank.core.similarity import Dense, Pair
from rerank.methods.potentials import solve
from rerank.passes import certified, order
from rerank.passes.sinkhorn import choose
from rerank.passes.sinkhorn.choose import Regime
from rerank.passes.sinkhorn.stored import StoredNumba

D, TAU = 512, 0.02
# Iterations that OTT-JAX is always asked for, so that it compiles once; None for those asked for.
OTT_STEPS: int | None = 50
# Smallest time of each entry of the last race: what a busy machine disturbs least.
LOWEST: dict[str, float] = {}


def embeddings(n, d=D, seed=0):
    generator = torch.Generator().manual_seed(seed)
    common = 1.5 * torch.randn(1, d, generator=generator)
    centres = torch.randn(n, d, generator=generator)
    return Pair(
        centres + 0.7 * torch.randn(n, d, generator=generator) + common,
        centres + 0.7 * torch.randn(n, d, generator=generator) + common,
    )


def uniform(n, dtype=torch.float32):
    return torch.full((n,), -math.log(n), dtype=dtype)


def ours(sim, regime, form=None):
    """g -> next g by one prepared sweep."""
    log_a = uniform(len(sim.queries))
    if form is None:
        step = choose.build(regime, sim, TAU, log_a)
    else:
        step = StoredNumba(sim, TAU, log_a, choose.panels.full(sim), form)
    log_b = -math.log(sim.shape[1])
    state = {"g": torch.zeros(sim.shape[1])}
    for _ in range(2):  # builds what is stored
        step(state["g"])

    def iterate(count):
        with step.quiet():
            for _ in range(count):
                _, mass = step(state["g"])
                state["g"] = state["g"] + TAU * (log_b - mass)

    return iterate


def torch_products(scores):
    kernel = torch.sub(scores, scores.amax(dim=1, keepdim=True)).div_(TAU).exp_()
    n, m = scores.shape
    state = {"v": torch.ones(m)}

    def iterate(count):
        for _ in range(count):
            u = (1 / n) / (kernel @ state["v"])
            state["v"] = (1 / m) / (kernel.T @ u)

    return iterate


def torch_log(scores):
    logits = scores / TAU
    n, m = scores.shape
    state = {"g": torch.zeros(m)}

    def iterate(count):
        for _ in range(count):
            f = -math.log(n) - torch.logsumexp(logits + state["g"], dim=1)
            state["g"] = -math.log(m) - torch.logsumexp(logits + f[:, None], dim=0)

    return iterate


def pot(scores, method):
    import ot

    cost = (1 - scores).numpy().astype(np.float64 if method == "sinkhorn_log64" else np.float32)
    a, b = np.full(len(cost), 1 / len(cost), cost.dtype), np.full(cost.shape[1], 1 / cost.shape[1])

    def iterate(count):
        ot.bregman.sinkhorn(
            a, b.astype(cost.dtype), cost, TAU, method=method, numItermax=count, stopThr=0,
            warn=False,
        )  # fmt: skip

    return iterate


def geomloss_dense(scores):
    from geomloss import ot

    cost = 1 - scores

    def iterate(count):
        ot.solve(cost, reg=TAU, max_iter=count)

    return iterate


def ott_dense(scores, lse):
    import jax
    import jax.numpy as jnp
    from ott.geometry import geometry
    from ott.solvers import linear

    cost = jnp.asarray((1 - scores).numpy())

    # Compiled once for each number of iterations.
    @partial(jax.jit, static_argnums=1)
    def run(cost, count):
        geom = geometry.Geometry(cost_matrix=cost, epsilon=TAU)
        out = linear.solve(
            geom, lse_mode=lse, threshold=0.0, inner_iterations=1, min_iterations=0,
            max_iterations=count,
        )  # fmt: skip
        return out.f

    def iterate(count):
        run(cost, count).block_until_ready()

    if OTT_STEPS is not None:
        iterate.fixed = OTT_STEPS
    return iterate


def race(entries, counts, rounds):
    """Median milliseconds per iteration of each entry, one after the other in every round.

    The smallest ones are left in LOWEST.
    """
    times = {name: [] for name in entries}
    for name, run in entries.items():
        run(getattr(run, "fixed", 1))  # compile and warm up
    for _ in range(rounds):
        for name, run in entries.items():
            count = getattr(run, "fixed", counts.get(name, 3))
            start = time.perf_counter()
            run(count)
            times[name].append((time.perf_counter() - start) / count * 1e3)
    LOWEST.update({name: min(each) for name, each in times.items()})
    return {name: statistics.median(each) for name, each in times.items()}


def read_limit(elements):
    """Bytes per second of reading memory once, measured on float32."""
    x = torch.empty(elements, dtype=torch.float32).fill_(1)

    def run(count):
        for _ in range(count):
            x.sum()

    return run, 4 * elements


def iterations(size, rounds, with_peers):
    sim = embeddings(size)
    scores = sim.scores()
    entries = {
        "stored float32, fused": ours(sim, None, torch.float32),
        "stored bfloat16, fused": ours(sim, Regime("stored bfloat16")),
        "stored 8-bit, fused": ours(sim, Regime("stored 8-bit")),
        "streaming float32": ours(sim, Regime("streaming")),
        "streaming bfloat16": ours(sim, Regime("streaming", half=True)),
        "torch, two products float32": torch_products(scores),
    }
    limit, read = read_limit(size * size)
    entries["read once, float32 sum"] = limit
    if with_peers:
        entries["torch, log-sum-exp loop"] = torch_log(scores)
        for name, make in (
            ("POT sinkhorn", lambda: pot(scores, "sinkhorn")),
            ("POT sinkhorn_log", lambda: pot(scores, "sinkhorn_log")),
            ("GeomLoss ot.solve, dense", lambda: geomloss_dense(scores)),
            ("OTT-JAX dense, lse", lambda: ott_dense(scores, True)),
            ("OTT-JAX dense, scaling", lambda: ott_dense(scores, False)),
        ):
            try:
                entries[name] = make()
            except ImportError as error:
                print(f"{name}: {error}")
    counts = dict.fromkeys(entries, 10 if size <= 5000 else 3)
    if size > 2000:
        counts |= {"POT sinkhorn_log": 2, "GeomLoss ot.solve, dense": 2, "POT sinkhorn": 5}
    found = race(entries, counts, rounds)
    best = found["stored bfloat16, fused"]
    print(f"\n{size} x {size}, d = {D}, tau = {TAU}: milliseconds per iteration")
    for name, ms in found.items():
        low = LOWEST[name]
        print(
            f"{name:<32} {ms:>10.2f} {ms / best:>8.2f}x   lowest {low:>10.2f} "
            f"{low / LOWEST['stored bfloat16, fused']:>8.2f}x"
        )
    rate = read / LOWEST["read once, float32 sum"]
    share = read / LOWEST["stored float32, fused"] / rate
    print(f"reading {rate / 1e6:.1f} GB/s; fused float32 at {share:.0%} of it (lowest times)")


def end_to_end(size, rounds):
    """50 iterations for everyone, preparation included: from embeddings, and from given scores."""
    sim = embeddings(size)
    log = uniform(size)
    scores = sim.scores()

    def solved(given):
        return lambda _: solve(given, TAU, log_a=log, log_b=log, n_iters=50, relaxation=1)

    peers = {
        "torch, two products float32": lambda _: torch_products(scores)(50),
        "POT sinkhorn": lambda _: pot(scores, "sinkhorn")(50),
        "OTT-JAX dense, lse": lambda _: ott_run(50),
        "torch, log-sum-exp loop": lambda _: torch_log(scores)(50),
        "POT sinkhorn_log": lambda _: pot(scores, "sinkhorn_log")(50),
        "GeomLoss ot.solve, dense": lambda _: geomloss_dense(scores)(50),
    }
    try:
        ott_run = ott_dense(scores, True)
    except ImportError as error:
        print(error)
        del peers["OTT-JAX dense, lse"]
    first = {
        "ours, from embeddings": solved(sim),
        "ours, from scores": solved(Dense(scores)),
        "scores from embeddings": lambda _: sim.scores(),
    }
    entries = first | peers
    found = race(entries, dict.fromkeys(entries, 1), rounds)
    print(f"\n{size} x {size}: seconds for 50 iterations, median (lowest)")
    for name in first:
        print(f"{name:<32} {found[name] / 1e3:>8.3f} ({LOWEST[name] / 1e3:.3f})")
    print(f"{'':<32} {'from scores':>26} {'times ours':>16} {'from embeddings':>20}")
    for name in peers:
        cells = []
        for times in (found, LOWEST):
            whole = times[name] + times["scores from embeddings"]
            ratios = (
                times[name] / times["ours, from scores"],
                whole / times["ours, from embeddings"],
            )
            cells.append((times[name] / 1e3, *ratios))
        (seconds, given, whole), (least, low_given, low_whole) = cells
        print(
            f"{name:<32} {seconds:>15.3f} ({least:8.3f}) {given:>8.1f} ({low_given:.1f}) "
            f"{whole:>12.1f} ({low_whole:.1f})"
        )


def topk(size, rounds):
    import faiss

    sim = embeddings(size).add_gallery_bias(0.02 * torch.randn(size))
    left, right = (side.contiguous().numpy() for side in sim.augmented())
    index = faiss.IndexFlatIP(left.shape[1])
    index.add(right)
    sets = {}

    def keep(name, run):
        def call(_):
            sets[name] = run()

        return call

    def plain():
        kept, certified.pays = certified.pays, lambda sim, k: False
        try:
            return order.topk(sim, 10).indices
        finally:
            certified.pays = kept

    entries = {
        "certified bfloat16": keep("ours", lambda: certified.topk(sim, 10)[1]),
        "FAISS IndexFlatIP": keep("faiss", lambda: torch.from_numpy(index.search(left, 10)[1])),
        "torch, float32 blocks": keep("torch", plain),
    }
    found = race(entries, dict.fromkeys(entries, 1), rounds)
    print(f"\ntop-10 of {size} x {size}, d = {D} + 1")
    for name, ms in found.items():
        low, least = LOWEST[name], LOWEST["FAISS IndexFlatIP"]
        print(
            f"{name:<32} {ms / 1e3:>8.2f} s {found['FAISS IndexFlatIP'] / ms:>6.2f}x FAISS   "
            f"lowest {low / 1e3:>8.2f} s {least / low:>6.2f}x"
        )
    for name in ("faiss", "torch"):
        same = (sets["ours"].sort(1).values == sets[name].sort(1).values).all(dim=1).double().mean()
        print(f"queries with the same set as {name}: {same:.5f}")
    print(f"brute force needed for {certified.topk(sim, 10)[2]} queries")


CHILD = """
import sys; sys.path.insert(0, {root!r}); sys.path.insert(0, {bench!r})
import resource, sinkhorn as b, torch
from rerank.passes.sinkhorn.choose import Regime
sim = b.embeddings({size})
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
{code}
print(before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def memory(size):
    """Peak resident memory above imports and embeddings, each in a process of its own."""
    for name, code in (
        ("streaming bfloat16", 'b.ours(sim, Regime("streaming", half=True))(1)'),
        ("stored 8-bit", 'b.ours(sim, Regime("stored 8-bit", half=True))(2)'),
        ("stored bfloat16", 'b.ours(sim, Regime("stored bfloat16"))(2)'),
        ("torch, log-sum-exp loop", "b.torch_log(sim.scores())(1)"),
    ):
        bench = Path(__file__).resolve().parent
        script = CHILD.format(root=str(bench.parents[1]), bench=str(bench), size=size, code=code)
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True
        )
        before, after = map(int, done.stdout.split()[-2:])
        print(f"{name:<32} {(after - before) * 1024 / 1e9:>8.2f} GB above the embeddings")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["iterations", "end-to-end", "to-error", "topk", "memory"])
    parser.add_argument("--size", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-peers", action="store_true")
    arguments = parser.parse_args()
    started = time.perf_counter()
    if arguments.what == "iterations":
        iterations(arguments.size, arguments.rounds, not arguments.no_peers)
    elif arguments.what == "end-to-end":
        end_to_end(arguments.size, arguments.rounds)
    elif arguments.what == "to-error":
        from made import hard
        from to_error import run

        scores = hard(arguments.size, arguments.size).scores()
        run(scores, arguments.rounds, peers=not arguments.no_peers)
    elif arguments.what == "topk":
        topk(arguments.size, arguments.rounds)
    else:
        memory(arguments.size)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    print(f"{time.perf_counter() - started:.0f} s, peak of this process {peak:.1f} GB")


if __name__ == "__main__":
    main()
