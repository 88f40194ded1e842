"""One of several processes of test_distributed: every pass on a share of the rows."""

import os
import sys

import numpy as np
import torch

from rerank.core import comm, memory
from rerank.core.similarity import Dense, Pair
from rerank.methods.em import EM
from rerank.methods.sinkhorn import Sinkhorn
from rerank.passes import reduce
from rerank.passes.sinkhorn import choose
from rerank.passes.sinkhorn.choose import Regime
from tests import distributed_methods
from tests.distributed_methods import shares

REGIMES = {
    "auto": None,
    "streaming": Regime("streaming"),
    "bfloat16": Regime("stored bfloat16"),
    "8-bit": Regime("stored 8-bit"),
}


def data(n, m=41, d=16):
    """The same numbers in every process; some queries repeat."""
    rng = np.random.default_rng(n)
    base = rng.normal(size=d)
    gallery = rng.normal(size=(m, d)) + base
    queries = gallery[np.arange(n) % m] + 0.5 * rng.normal(size=(n, d))
    queries[n // 2] = queries[0]
    return queries, gallery


def sharded(kind, n, dtype, uneven):
    """This process's share of a similarity; all of it without a process group."""
    queries, gallery = (x.astype(dtype) for x in data(n))
    whole = Pair(queries, gallery)
    scores = whole.scores()
    # Last bits of products depend on a row's place; copies of a query must stay copies.
    scores[n // 2] = scores[0]
    if kind == "columns":
        # Queries of the other direction repeat, and no process holds a whole one.
        scores[:, ::5] = scores[:, :1]
    if not comm.active():
        given = {"dense": Dense(scores), "columns": Dense(scores).T}
        return given.get(kind, whole.T if kind == "gallery" else whole)
    rows = shares(n, uneven)
    pair = Pair(queries[rows], gallery, shard="queries")
    if kind == "gallery":
        return pair.T
    if kind == "queries":
        return pair
    stored = Dense(scores[rows], shard="queries")
    return stored.T if kind == "columns" else stored


def passes(sim, n):
    """Everything that methods ask of a similarity, gathered to what one process would hold."""
    out = {}
    own = comm.gather_rows if sim.shard == "queries" else (lambda x: x)
    other = comm.gather_rows if sim.shard == "gallery" else (lambda x: x)
    f = torch.linspace(0, 0.1, own(torch.zeros(sim.shape[0])).shape[0])
    g = torch.linspace(-0.1, 0.1, other(torch.zeros(sim.shape[1])).shape[0])
    if sim.shard == "queries":
        f = torch.split(f, comm.gather_counts(sim.shape[0]))[comm.rank()]
    if sim.shard == "gallery":
        g = torch.split(g, comm.gather_counts(sim.shape[1]))[comm.rank()]
    f, g = f.to(sim.dtype), g.to(sim.dtype)
    out["lse_rows"] = own(reduce.logsumexp(sim, 0.1, over="gallery", plus=g))
    out["lse_columns"] = other(reduce.logsumexp(sim, 0.1, over="queries", plus=f))
    top = reduce.topk(sim, 5)
    out["scores"], out["indices"] = own(top.scores), own(top.indices)
    out["mean_rows"] = own(reduce.mean_topk(sim, 3, over="gallery"))
    out["mean_columns"] = other(reduce.mean_topk(sim, 3, over="queries"))
    row_max, column_max = reduce.extremes(sim, query_bias=f, gallery_bias=g)
    out["row_max"], out["column_max"] = own(row_max), other(column_max)
    out["spread"] = torch.tensor(reduce.spread(sim))
    better, tied = reduce.count_better(sim, top.scores[:, 2], atol=1e-7)
    out["better"], out["tied"] = own(better), own(tied)
    out["occurrence"] = other(reduce.k_occurrence(sim, 5))
    out["masses"] = own(reduce.query_masses(sim))
    rows = torch.arange(sim.shape[0])
    out["pairs"] = own(reduce.gather_pairs(sim, rows, top.indices[:, 1]))
    return out


def fits(sim, regime):
    """The fitted numbers of EM and Sinkhorn."""
    out = {}
    other = comm.gather_rows if sim.shard == "gallery" else (lambda x: x)
    kept = choose.regime
    if regime is not None and sim.shard != "gallery":
        choose.regime = lambda sim, **_: regime
    try:
        fitted = Sinkhorn().fit(sim)
    finally:
        choose.regime = kept
    out["tau"] = torch.tensor(fitted.tau)
    out["g"] = other(fitted.gallery_bias)
    if isinstance(sim, Pair):
        out["map"] = EM().fit(sim).matrix
    return out


def cases():
    for kind in ("queries", "gallery", "dense"):
        for dtype in ("float64", "float32"):
            yield f"{kind} {dtype}", kind, 23, dtype, False, "auto"
    yield "copied columns", "columns", 23, "float64", False, "auto"
    yield "copied columns on the last", "columns", 23, "float32", True, "auto"
    yield "3 rows on the last", "queries", 23, "float64", True, "auto"
    yield "a gallery on the last", "gallery", 23, "float64", True, "auto"
    yield "fewer rows than processes", "queries", 12, "float32", False, "auto"
    for regime in ("streaming", "bfloat16", "8-bit"):
        yield f"regime {regime}", "queries", 23, "float32", True, regime
    yield "tight memory", "queries", 23, "float32", False, "tight"


def run():
    out = {}
    for name, kind, n, dtype, uneven, regime in cases():
        sim = sharded(kind, n, dtype, uneven)
        with memory.limit("99B" if regime == "tight" else None):
            found = fits(sim, REGIMES.get(regime))
        if regime == "auto":
            found |= passes(sim, n)
        out |= {f"{name}/{key}": np.asarray(value) for key, value in found.items()}
    # Four on few cores wait for each other most of the time: three and two are asked the rest.
    return out if comm.world_size() == 4 else out | distributed_methods.run()


def main():
    folder, rank, ports = sys.argv[1], int(sys.argv[2]), sys.argv[3].split(",")
    torch.set_num_threads(1)
    for world, port in zip((2, 3, 4), ports, strict=True):
        if rank >= world:
            continue
        os.environ |= {
            "RANK": str(rank), "WORLD_SIZE": str(world), "LOCAL_RANK": str(rank),
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port,
        }  # fmt: skip
        assert comm.start_from_environment(timeout_s=120)
        found = run()
        np.savez(f"{folder}/{world}-{rank}.npz", **found)
        comm.stop()


if __name__ == "__main__":
    main()
