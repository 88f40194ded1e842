"""Time, peak memory and share of the hardware's limit of each contender, as Markdown.

    python tests/bench/peers_table.py sinkhorn --size 5000 [--rounds 5]
    python tests/bench/peers_table.py search --size 5000
    OMP_NUM_THREADS=1 python tests/bench/peers_table.py sinkhorn --size 1000 --cpu-time

sinkhorn: one iteration by our sweeps and by POT, GeomLoss, OTT-JAX and torch loops. search: a
top-10 by FAISS alone and by us, and NNN (128 nearest bank queries, then a top-10) by the package
nnn-retrieval and by us, with the same lists checked. Rounds are interleaved. Peak memory: resident
memory while a contender is built and run once, above what was held before, scores excluded. Limit:
the bytes that one iteration must read over the measured read bandwidth, or its floating-point
operations over the measured matrix rate, whichever is the longer, as a share of the time taken.
--cpu-time: seconds of the process instead of the clock's, for a machine that others use.
"""

import argparse
import contextlib
import io
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import sinkhorn as bench
import torch
from made import hard

from rerank import NNN, Bank
from rerank.core.arrays import inner, inner_bfloat16
from rerank.core.memory import measured
from rerank.core.similarity import Pair
from rerank.passes import order
from rerank.passes import topk as search
from rerank.passes.sinkhorn.choose import Regime

CPU = torch.device("cpu")


class Contender(NamedTuple):
    """How it is made ready, and what one iteration must do at least."""

    make: Callable[[], Callable[[int], object]]
    read: float = 0.0
    products: float = 0.0
    rate: str = "float32"


def seconds(work: Callable[[], object], clock: Callable[[], float]) -> float:
    """Of one call."""
    start = clock()
    work()
    return clock() - start


def limits(clock: Callable[[], float]) -> dict[str, float]:
    """Bytes read and operations done a second: the best of several tries."""
    big, rows, items = torch.ones(64_000_000), torch.randn(2048, 512), torch.randn(8192, 512)
    halves = rows.bfloat16(), items.bfloat16()
    flops = 2 * 2048 * 8192 * 512
    return {
        "read": 4 * len(big) / min(seconds(big.sum, clock) for _ in range(5)),
        "float32": flops / min(seconds(lambda: inner(rows, items), clock) for _ in range(5)),
        "bfloat16": flops / min(seconds(lambda: inner_bfloat16(*halves), clock) for _ in range(5)),
    }


def sweeps(sim: Pair) -> dict[str, Contender]:
    """Sinkhorn iterations."""
    n, m = sim.shape
    scores, pairs, products = sim.scores(), n * m, 2 * n * m * bench.D

    def own(name: str, *, half: bool = False) -> Callable[[], Callable[[int], object]]:
        return lambda: bench.ours(sim, Regime(name, half=half))  # type: ignore[arg-type]

    return {
        "ours, float32 stored": Contender(lambda: bench.ours(sim, None, torch.float32), 4 * pairs),
        "ours, bfloat16 stored": Contender(own("stored bfloat16"), 2 * pairs),
        "ours, 8 bits stored": Contender(own("stored 8-bit"), pairs),
        "ours, streaming float32": Contender(own("streaming"), 0, products),
        "ours, streaming bfloat16": Contender(own("streaming", half=True), 0, products, "bfloat16"),
        "torch, two products": Contender(lambda: bench.torch_products(scores), 8 * pairs),
        "torch log-sum-exp loop": Contender(lambda: bench.torch_log(scores), 8 * pairs),
        "POT sinkhorn": Contender(lambda: bench.pot(scores, "sinkhorn"), 8 * pairs),
        "POT sinkhorn_log": Contender(lambda: bench.pot(scores, "sinkhorn_log"), 8 * pairs),
        "GeomLoss ot.solve, dense": Contender(lambda: bench.geomloss_dense(scores), 8 * pairs),
        "OTT-JAX dense, lse": Contender(lambda: bench.ott_dense(scores, True), 8 * pairs),
        "OTT-JAX dense, scaling": Contender(lambda: bench.ott_dense(scores, False), 8 * pairs),
    }


def searches(sim: Pair, found: dict[str, torch.Tensor]) -> dict[str, Contender]:
    """Top-10 lists, raw and after NNN; lists are left in `found`."""
    import faiss
    from nnn import NNNRetriever

    n, m = sim.shape
    half = n // 2
    bank, test = Pair(sim.queries[:half], sim.gallery), Pair(sim.queries[half:], sim.gallery)
    products = 2 * len(test.queries) * m * bench.D

    def keep(name: str, run: Callable[[], torch.Tensor]) -> Callable[[], Callable[[int], object]]:
        return lambda: lambda _: found.update({name: run()})

    def plain_faiss() -> torch.Tensor:
        index = faiss.IndexFlatIP(bench.D)
        index.add(test.gallery.numpy())
        return torch.from_numpy(index.search(test.queries.numpy(), 10)[1])

    def package() -> torch.Tensor:
        retriever = NNNRetriever(bench.D)
        with contextlib.redirect_stderr(io.StringIO()):
            means = retriever.setup_retriever(test.gallery, bank.queries, 128, 1024)
            lists = retriever.retrieve(
                test.gallery, test.queries, 10, 0.75, torch.from_numpy(means), 1024
            )
        return torch.from_numpy(lists[1])

    def own_nnn() -> torch.Tensor:
        return search.topk(NNN().fit(Bank(bank)).transform(test), 10).indices

    return {
        "FAISS IndexFlatIP": Contender(keep("faiss", plain_faiss), 0, products),
        "ours, search": Contender(
            keep("search", lambda: search.topk(test, 10).indices), 0, products
        ),
        "ours, reduce.topk": Contender(
            keep("reduce", lambda: order.topk(test, 10).indices), 0, products
        ),
        "nnn-retrieval": Contender(keep("nnn", package), 0, 2 * products),
        "ours, NNN": Contender(keep("own nnn", own_nnn), 0, 2 * products),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["sinkhorn", "search"])
    parser.add_argument("--size", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--skip", nargs="*", default=[], help="parts of names to leave out")
    parser.add_argument("--cpu-time", action="store_true")
    given = parser.parse_args()
    clock = time.process_time if given.cpu_time else time.perf_counter
    sim, found = hard(given.size, given.size, bench.D), {}
    entries = sweeps(sim) if given.what == "sinkhorn" else searches(sim, found)
    entries = {k: e for k, e in entries.items() if not any(part in k for part in given.skip)}
    ready, peaks, times = {}, {}, {name: [] for name in entries}
    for name, entry in entries.items():
        with measured(CPU) as spent:
            ready[name] = entry.make()
            # Compiles, and brings stored kernels to where they need not be built again.
            ready[name](getattr(ready[name], "fixed", 12 if "stored" in name else 1))
        peaks[name] = (spent["peak"] or 0) / 1e9
    rates = limits(clock)
    for _ in range(given.rounds):
        for name, run in ready.items():
            count = getattr(run, "fixed", 2 if given.what == "sinkhorn" else 1)
            times[name].append(seconds(lambda run=run, c=count: run(c), clock) / count)
    first = min(times[next(iter(entries))])
    kind = "of the process" if given.cpu_time else "on the clock"
    print(
        f"{given.size:,} x {given.size:,}, d = {bench.D}, milliseconds {kind}; reading "
        f"{rates['read'] / 1e9:.1f} GB/s, products {rates['float32'] / 1e9:.0f} GFLOP/s, bfloat16 "
        f"{rates['bfloat16'] / 1e9:.0f}\n"
    )
    print("| | median (lowest) | ratio of lowest | peak, GB | share of the limit |")
    print("|---|---|---|---|---|")
    for name, entry in entries.items():
        low = min(times[name])
        least = max(entry.read / rates["read"], entry.products / rates[entry.rate])
        print(
            f"| {name} | {1e3 * statistics.median(times[name]):.2f} ({1e3 * low:.2f}) | "
            f"{low / first:.2f}x | {peaks[name]:.2f} | {least / low:.0%} |"
        )
    for one, other in (("search", "faiss"), ("own nnn", "nnn")):
        if one in found and other in found:
            same = (found[one].sort(1).values == found[other].sort(1).values).all(dim=1)
            print(f"\nqueries with the same set, {one} and {other}: {same.double().mean():.4f}")


if __name__ == "__main__":
    main()
