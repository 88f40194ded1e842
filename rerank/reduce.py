"""Every pass over a similarity, written once.

A pass reads row panels with `sim.blocks()` and keeps statistics of O(n + m) numbers. Methods call
these and nothing else, so dense, streamed and distributed are properties of this file alone:
reductions over an axis that is split over processes end in a collective.
"""

import hashlib
import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from rerank import comm, progress
from rerank.errors import NeedsEmbeddings, RerankError
from rerank.kernels import choose
from rerank.kernels.choose import sweeper
from rerank.kernels.plain import check_tau, logsumexp, sweep
from rerank.similarity import Axis, Pair, Similarity

__all__ = [
    "TopK", "check_k", "check_tau", "count_better", "extremes", "gallery_masses", "gallery_mean",
    "gather_pairs", "gram", "k_occurrence", "logsumexp", "mean_topk", "query_masses", "regime",
    "row_hashes", "spread", "sweep", "sweeper", "topk", "total_queries",
]  # fmt: skip


@dataclass(frozen=True, eq=False)
class TopK:
    """The k best gallery items of every query, best first.

    Attributes:
        scores: (n, k).
        indices: (n, k) int64 gallery rows.
    """

    scores: Tensor
    indices: Tensor


def check_k(k: int, items: int, what: str = "gallery items") -> int:
    """A usable k: between 1 and the number of items; never lowered silently."""
    if not 1 <= int(k) <= items:
        raise RerankError(f"k: got {k}, expected between 1 and the {items} {what} there are")
    return int(k)


def regime(sim: Similarity, *, sweeps: int = 50) -> str:
    """How Sinkhorn's sweeps over a similarity would be done, for a person to read."""
    return str(choose.regime(sim, sweeps=sweeps))


def topk(sim: Similarity, k: int) -> TopK:
    """The k best gallery items of every query, best first; ties go to the lower index."""
    n, m = sim.shape
    k = check_k(k, m)
    scores = torch.empty((n, k), dtype=sim.dtype, device=sim.device)
    indices = torch.empty((n, k), dtype=torch.int64, device=sim.device)
    with progress.task("top-k", n) as advance:
        for rows, block in sim.blocks():
            scores[rows], indices[rows] = _topk_rows(block, k)
            advance(len(block))
    return TopK(scores, indices)


def _topk_rows(block: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Top k of each row, deterministic: torch.topk leaves the order of ties open."""
    values, indices = torch.topk(block, k, dim=1)
    order = torch.argsort(indices, dim=1)
    values, indices = values.gather(1, order), indices.gather(1, order)
    order = torch.argsort(values, dim=1, descending=True, stable=True)
    return values.gather(1, order), indices.gather(1, order)


def mean_topk(sim: Similarity, k: int, *, over: Axis) -> Tensor:
    """Mean of the k largest scores along one axis.

    over="gallery": (n,), for each query over its k nearest gallery items;
    over="queries": (m,), for each gallery item over its k nearest queries.
    """
    if over == "queries":
        if sim.shard == "queries" or not _transposes(sim):
            return _running_topk(sim, k).mean(dim=0)
        return topk(sim.T, k).scores.mean(dim=1)
    return topk(sim, k).scores.mean(dim=1)


def _transposes(sim: Similarity) -> bool:
    try:
        return sim.T is not None
    except RerankError:
        return False


def _running_topk(sim: Similarity, k: int) -> Tensor:
    """(k, m) the k largest scores of every column, one pass, merged over processes."""
    best = torch.empty((0, sim.shape[1]), dtype=sim.dtype, device=sim.device)
    for _, block in sim.blocks():
        stacked = torch.cat([best, block])
        best = torch.topk(stacked, min(k, len(stacked)), dim=0).values
    if sim.shard == "queries":
        best = comm.gather_rows(best)
        best = torch.topk(best, min(k, len(best)), dim=0).values
    check_k(k, len(best), "queries")
    return best


def extremes(sim: Similarity, *, query_bias: Tensor, gallery_bias: Tensor) -> tuple[Tensor, Tensor]:
    """Row maxima of S + g and column maxima of S + f, one pass: (n,), (m,)."""
    n, m = sim.shape
    row_max = torch.empty(n, dtype=sim.dtype, device=sim.device)
    col_max = torch.full((m,), -math.inf, dtype=sim.dtype, device=sim.device)
    with progress.task("maxima", n) as advance:
        for rows, block in sim.blocks():
            row_max[rows] = (block + gallery_bias).amax(dim=1)
            col_max = torch.maximum(col_max, block.add_(query_bias[rows, None]).amax(dim=0))
            advance(len(block))
    if sim.shard == "queries":
        col_max = comm.all_max(col_max)
    elif sim.shard == "gallery":
        row_max = comm.all_max(row_max)
    return row_max, col_max


def spread(sim: Similarity) -> tuple[float, float]:
    """Mean score, and sigma: the mean over queries of the standard deviation over the gallery.

    Unscored entries (-inf) are left out.
    """
    total = torch.zeros(4, dtype=torch.float64, device=sim.device)
    for _, block in sim.blocks():
        finite = torch.isfinite(block)
        count = finite.sum(dim=1).clamp(min=1)
        block = torch.where(finite, block, torch.zeros_like(block)).double()
        mean = block.sum(dim=1) / count
        centred = torch.where(finite, block - mean[:, None], torch.zeros_like(block))
        std = (centred.square().sum(dim=1) / count).sqrt()
        total += torch.stack(
            [block.sum(), finite.sum().double(), std.sum(), total.new_tensor(float(len(block)))]
        )
    if sim.shard == "queries":
        total = comm.all_sum(total)
    score_sum, score_count, std_sum, rows = total.tolist()
    return score_sum / max(score_count, 1.0), std_sum / rows


def count_better(sim: Similarity, reference: Tensor, *, atol: float = 0.0) -> tuple[Tensor, Tensor]:
    """How many gallery items score above, and exactly at, a reference score of each query.

    Args:
        sim: the similarity.
        reference: (n,) one score a query.
        atol: scores this close to the reference count as tied with it.

    Returns:
        better (n,) and tied (n,), int64.
    """
    n = sim.shape[0]
    better = torch.empty(n, dtype=torch.int64, device=sim.device)
    tied = torch.empty(n, dtype=torch.int64, device=sim.device)
    with progress.task("ranks", n) as advance:
        for rows, block in sim.blocks():
            if bool(torch.isnan(block).any()):
                raise RerankError("scores contain NaN: no rank is defined; fix what produced them")
            ref = reference[rows, None]
            above = (block > ref + atol).sum(dim=1)
            better[rows] = above
            tied[rows] = (block >= ref - atol).sum(dim=1) - above
            advance(len(block))
    return better, tied


def gather_pairs(sim: Similarity, rows: Tensor, columns: Tensor) -> Tensor:
    """Scores at (rows[p], columns[p]), (p,), computed exactly as `blocks` computes them."""
    out = torch.empty(len(rows), dtype=sim.dtype, device=sim.device)
    order = torch.argsort(rows, stable=True)
    rows, columns = rows[order], columns[order]
    for panel, block in sim.blocks():
        low, high = torch.searchsorted(
            rows, torch.tensor([panel.start, panel.stop], device=rows.device)
        ).tolist()
        if low < high:
            out[order[low:high]] = block[rows[low:high] - panel.start, columns[low:high]]
    return out


def k_occurrence(sim: Similarity, k: int) -> Tensor:
    """N_k: how often each gallery item is among the k best of a query, (m,) int64.

    Radovanović, Nanopoulos and Ivanović, JMLR 2010.
    """
    counts = torch.bincount(topk(sim, k).indices.flatten(), minlength=sim.shape[1])
    return comm.all_sum(counts) if sim.shard == "queries" else counts


def gram(sim: Similarity, *, query_mass: Tensor, gallery_mass: Tensor) -> tuple[Tensor, Tensor]:
    """Second and first moments of the embeddings, both modalities weighing the same.

        G = T^T diag(a) T + V^T diag(b) V      (d, d)
        c = T^T a + V^T b                      (d,)

    with masses a (n,), b (m,) that sum to one. One pass over the rows, float64.

    Raises:
        NeedsEmbeddings: the similarity stores scores only.
    """
    if not isinstance(sim, Pair):
        raise NeedsEmbeddings(
            f"EM rewrites embeddings; give a Pair(queries, gallery), got {type(sim).__name__} "
            f"(on the command line: --videos and --texts instead of --sims)"
        )
    second, first = _moments(sim.queries, query_mass)
    other_second, other_first = _moments(sim.gallery, gallery_mass)
    if sim.shard == "queries":
        second, first = comm.all_sum(second), comm.all_sum(first)
    elif sim.shard == "gallery":
        other_second, other_first = comm.all_sum(other_second), comm.all_sum(other_first)
    return second + other_second, first + other_first


def _moments(x: Tensor, mass: Tensor) -> tuple[Tensor, Tensor]:
    d = x.shape[1]
    second = torch.zeros((d, d), dtype=torch.float64, device=x.device)
    first = torch.zeros(d, dtype=torch.float64, device=x.device)
    step = 8192
    for start in range(0, x.shape[0], step):
        block = x[start : start + step].double()
        weighted = block * mass[start : start + step, None].double()
        second += block.T @ weighted
        first += weighted.sum(dim=0)
    return second, first


def row_hashes(sim: Similarity) -> Tensor:
    """(n,) int64 content hashes of the queries: equal rows have equal hashes.

    Bytes are hashed, not projections: a projection's last bits depend on a row's place in a block.
    """
    rows = sim.queries if isinstance(sim, Pair) else None
    digests: list[int] = []
    step = 4096 if rows is not None else sim.rows_per_block()
    for start in range(0, sim.shape[0], step):
        panel = slice(start, min(start + step, sim.shape[0]))
        block = rows[panel] if rows is not None else sim.block(panel)
        # + 0.0 turns -0.0 into 0.0, so that equal numbers have equal bytes.
        for row in (block + 0.0).cpu().contiguous().numpy():
            digest = hashlib.blake2b(row.data, digest_size=8).digest()
            digests.append(int.from_bytes(digest, "little", signed=True))
    return torch.tensor(digests, dtype=torch.int64, device=sim.device)


def query_masses(sim: Similarity, *, duplicates: Literal["share", "count"] = "share") -> Tensor:
    """(n,) float64 masses of the queries, summing to one over all processes.

    The similarity's own `query_mass` where it has one; else every distinct query has the same
    mass and exact duplicates share it ("share"), or every row has the same ("count").
    """
    n = sim.shape[0]
    if sim.query_mass is not None:
        mass = sim.query_mass.double()
    elif duplicates == "share" and sim.shard != "gallery":
        hashes = row_hashes(sim)
        everyone = comm.gather_rows(hashes) if sim.shard == "queries" else hashes
        distinct, counts = torch.unique(everyone, return_counts=True)
        mass = 1.0 / counts[torch.searchsorted(distinct, hashes)].double()
    else:
        mass = torch.ones(n, dtype=torch.float64, device=sim.device)
    total = mass.sum()
    return mass / (comm.all_sum(total) if sim.shard == "queries" else total)


def gallery_masses(sim: Similarity) -> Tensor:
    """(m,) float64 masses of the gallery items, summing to one; uniform unless given."""
    m = sim.shape[1]
    mass = sim.gallery_mass
    mass = torch.ones(m, dtype=torch.float64, device=sim.device) if mass is None else mass.double()
    total = mass.sum()
    return mass / (comm.all_sum(total) if sim.shard == "gallery" else total)


def total_queries(sim: Similarity) -> int:
    """Number of queries over all processes."""
    return sum(comm.gather_counts(sim.shape[0])) if sim.shard == "queries" else sim.shape[0]


def gallery_mean(sim: Similarity, gallery_bias: Tensor) -> float:
    """Mean of one number per gallery item, over all processes."""
    total = torch.stack(
        [
            gallery_bias.double().sum(),
            torch.tensor(float(len(gallery_bias))).to(gallery_bias.device),
        ]
    ).double()
    if sim.shard == "gallery":
        total = comm.all_sum(total)
    return float(total[0] / total[1])
