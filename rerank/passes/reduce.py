"""Every pass over a similarity, written once.

A pass reads row panels with `sim.blocks()` and keeps statistics of O(n + m) numbers. Methods call
these, so dense, streamed and distributed are properties of this floor alone (here, in `order`,
`moments` and `items`): reductions over an axis that is split over processes end in a collective.

Passes that return means: of the scores of every gallery item, and of the embeddings.

They belong to the floor of `reduce` and follow its rule: one read of the row panels, O(m) numbers,
a collective where the axis is split over processes.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from rerank.core import comm, progress
from rerank.core.errors import NeedsEmbeddings
from rerank.core.rows import Rows, slices
from rerank.core.similarity import Axis, Dense, Pair, Similarity
from rerank.core.words import Counting
from rerank.passes import gallery
from rerank.passes.order import (
    TopK,
    check_k,
    count_better,
    gather_pairs,
    k_occurrence,
    mean_topk,
    occurrences,
    topk,
)
from rerank.passes.sinkhorn import choose, plain
from rerank.passes.sinkhorn.choose import sweeper
from rerank.passes.sinkhorn.plain import check_resolution, check_tau, logsumexp, peaks, sweep

__all__ = [
    "TopK", "check_k", "check_resolution", "check_tau", "count", "count_better", "everywhere",
    "extremes", "gallery_masses", "gallery_mean", "gather_pairs", "gram", "k_occurrence", "live",
    "logsumexp", "mean_topk", "occurrences", "peaks", "query_masses", "query_weights", "regime",
    "row_hashes",
    "row_peaks", "spread", "sweep", "sweeper", "topk", "total_gallery", "total_queries",
]  # fmt: skip


def regime(sim: Similarity, *, sweeps: int = 50) -> str:
    """How Sinkhorn's sweeps over a similarity would be done, for a person to read."""
    return str(choose.regime(sim, sweeps=sweeps))


def advice(sim: Similarity) -> str:
    """What would make the passes over a similarity faster here, for a person to read, or ""."""
    n, m = sim.shape
    if choose.has_numba() or sim.device.type != "cpu" or n * m <= choose.SMALL:
        return ""
    return "numba is not installed: sweeps run in torch, slower (install rerank-toolkit[cpu])"


def extremes(sim: Similarity, *, query_bias: Tensor, gallery_bias: Tensor) -> tuple[Tensor, Tensor]:
    """Row maxima of S + g and column maxima of S + f, one pass: (n,), (m,)."""
    n, m = sim.shape
    row_max = torch.empty(n, dtype=sim.dtype, device=sim.device)
    col_max = torch.full((m,), -math.inf, dtype=sim.dtype, device=sim.device)
    with progress.task("maxima", n) as advance:
        for rows, block in sim.blocks():
            row_max[rows] = plain.row_maxima(block + gallery_bias)
            col_max = torch.maximum(col_max, block.add_(query_bias[rows, None]).amax(dim=0))
            advance(len(block))
    if sim.shard == "queries":
        col_max = comm.all_max(col_max)
    elif sim.shard == "gallery":
        row_max = comm.all_max(row_max)
    return row_max, col_max


def spread(sim: Similarity, *, sample: int | None = None) -> tuple[float, float]:
    """Mean score, and sigma: the mean over queries of the standard deviation over the gallery.

    Unscored entries (-inf) are left out. Embeddings need no pass over the scores:
    the variance of <q, v_j> over j is q^T C q with the gallery's covariance C.

    Args:
        sim: the similarity.
        sample: look at no more than so many queries, drawn by a seed.
    """
    places = None if sample is None else gallery.drawn(sim, sample)
    if places is not None:
        moments = _block_spread(gallery.some_queries(sim, places))
    else:
        moments = _pair_spread(sim) if isinstance(sim, Pair) else _block_spread(sim)
    count, mean, second = moments.unbind(dim=1)
    std = (second / count.clamp(min=1)).clamp(min=0).sqrt()
    total = torch.stack([mean.sum(), count.sum(), std.sum(), (count > 0).to(std).sum()])
    if sim.shard == "queries":
        total = comm.all_sum(total)
    score_sum, score_count, std_sum, rows = total.tolist()
    return score_sum / max(score_count, 1.0), std_sum / max(rows, 1.0)


def _pair_spread(sim: Pair) -> Tensor:
    """(n, 3) for every query: how many scores, their sum, their squared deviations."""
    n, m = sim.shape
    width = sim.augmented_rows("gallery", slice(0, 1)).shape[1]
    sums = torch.zeros(width + 1, dtype=torch.float64, device=sim.device)
    sums[-1] = m
    for part in slices(m):
        sums[:-1] += sim.augmented_rows("gallery", part).sum(dim=0, dtype=torch.float64)
    if sim.shard == "gallery":
        sums = comm.all_sum(sums)
    count, mean = sums[-1], sums[:-1] / sums[-1]
    scatter = torch.zeros((len(mean), len(mean)), dtype=torch.float64, device=sim.device)
    for part in slices(m):
        rows = sim.augmented_rows("gallery", part).double() - mean
        scatter.addmm_(rows.T, rows)
    if sim.shard == "gallery":
        scatter = comm.all_sum(scatter)
    out = torch.empty((n, 3), dtype=torch.float64, device=sim.device)
    for part in slices(n):
        rows = sim.augmented_rows("queries", part).double()
        held = out[part]
        held[:, 0] = count
        held[:, 1] = rows @ mean * count
        held[:, 2] = (rows @ scatter).mul_(rows).sum(dim=1)
    return out


def _block_spread(sim: Similarity) -> Tensor:
    """The same for stored scores, without those that are -inf."""
    out = torch.empty((sim.shape[0], 3), dtype=torch.float64, device=sim.device)
    if isinstance(sim, Dense) and not sim.unscored and sim.shard != "gallery":
        out[:, 0] = sim.shape[1]
        for rows, block in sim.blocks():
            second, mean = torch.var_mean(block.double(), dim=1, correction=0)
            out[rows, 1], out[rows, 2] = mean * sim.shape[1], second * sim.shape[1]
        return out
    for power in (1, 2):
        for rows, block in sim.blocks():
            finite = torch.isfinite(block)
            block = torch.where(finite, block, torch.zeros_like(block)).double()
            if power == 1:
                out[rows, 0] = finite.sum(dim=1).double()
                out[rows, 1] = block.sum(dim=1)
            else:
                mean = out[rows, 1] / out[rows, 0].clamp(min=1)
                block = torch.where(finite, block - mean[:, None], torch.zeros_like(block))
                out[rows, 2] = block.square().sum(dim=1)
        if sim.shard == "gallery":
            out[:, 2 * power - 2 : power + 1] = comm.all_sum(out[:, 2 * power - 2 : power + 1])
    return out


def gram(sim: Similarity, *, query_mass: Tensor, gallery_mass: Tensor) -> tuple[Tensor, Tensor]:
    """Second and first moments of the embeddings, both modalities weighing the same.

        G = T^T diag(a) T + V^T diag(b) V      (d, d)
        c = T^T a + V^T b                      (d,)

    with masses a (n,), b (m,) that sum to one. One pass over the rows, float64.

    Raises:
        NeedsEmbeddings: the similarity stores scores only.
    """
    if not isinstance(sim, Pair):
        raise NeedsEmbeddings.by("EM rewrites embeddings", sim)
    second, first = masses_moments(sim.queries, query_mass)
    other_second, other_first = masses_moments(sim.gallery, gallery_mass)
    if sim.shard == "queries":
        second, first = comm.all_sum(second), comm.all_sum(first)
    elif sim.shard == "gallery":
        other_second, other_first = comm.all_sum(other_second), comm.all_sum(other_first)
    return second + other_second, first + other_first


def masses_moments(
    x: Rows, mass: Tensor, *, products: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor]:
    """X^T diag(mass) X (d, d) and X^T mass (d,), float64, of the rows in this process.

    `products` is the precision of the sums over a slice of rows.
    """
    d = x.shape[1]
    second = torch.zeros((d, d), dtype=torch.float64, device=x.device)
    first = torch.zeros(d, dtype=torch.float64, device=x.device)
    for rows in slices(len(x)):
        block = x[rows].to(products)
        weighted = block * mass[rows, None].to(products)
        second += block.T @ weighted
        first += weighted.sum(dim=0)
    return second, first


def row_hashes(sim: Similarity) -> Tensor:
    """(n,) int64 content hashes of the queries: equal rows have equal hashes.

    Bits are hashed, 64 at a time, not projections: a projection's last bits depend on a row's
    place in a block. Words are mixed as in SplitMix64 (Steele et al., OOPSLA 2014) and summed with
    odd weights, all modulo 2^64.
    """
    rows = sim.queries if isinstance(sim, Pair) else None
    out = torch.empty(sim.shape[0], dtype=torch.int64, device=sim.device)
    step = 1024 if rows is not None else sim.rows_per_block()
    for start in range(0, sim.shape[0], step):
        panel = slice(start, min(start + step, sim.shape[0]))
        # + 0.0 turns -0.0 into 0.0, so that equal numbers have equal bits.
        block = (rows[panel] if rows is not None else sim.block(panel)) + 0.0
        if block.dtype != torch.float64 and block.shape[1] % 2:
            block = torch.nn.functional.pad(block, (0, 1))
        # Flat in between: a single row may have any stride.
        width = block.shape[1] * block.element_size() // 8
        words = block.contiguous().flatten().view(torch.int64).view(len(block), width)
        draw = torch.Generator().manual_seed(words.shape[1])
        weights = torch.randint(-(2**63), 2**63 - 1, (words.shape[1],), generator=draw) | 1
        for factor, shift in ((-0x40A7B892E31B1A47, 30), (-0x6B2FB644ECCEEE15, 27), (1, 31)):
            # The mask takes away the copies of the sign.
            words = (words ^ ((words >> shift) & ((1 << (64 - shift)) - 1))).mul_(factor)
        out[panel] = words.mul_(weights.to(words.device)).sum(dim=1)
    return out


def query_masses(sim: Similarity, *, duplicates: Counting = "share") -> Tensor:
    """(n,) float64 `query_weights`, summing to one over all processes."""
    mass = query_weights(sim, duplicates=duplicates)
    total = mass.sum()
    return mass / (comm.all_sum(total) if sim.shard == "queries" else total)


def query_weights(sim: Similarity, *, duplicates: Counting = "share") -> Tensor:
    """(n,) float64 weights of the queries.

    The similarity's own `query_mass` where it has one; else every distinct query has the same
    mass and exact duplicates share it ("share"), or every row has the same ("count").
    """
    n = sim.shape[0]
    if sim.query_mass is not None:
        mass = sim.query_mass.double()
    elif duplicates == "share":
        hashes = row_hashes(sim)
        if sim.shard == "gallery" and not isinstance(sim, Pair):
            # Rows of scores are split, rows of embeddings are not: copies agree in every part.
            parts = comm.gather_rows(hashes[None]).T
            _, hashes = torch.unique(parts, dim=0, return_inverse=True)
        everyone = comm.gather_rows(hashes) if sim.shard == "queries" else hashes
        distinct, counts = torch.unique(everyone, return_counts=True)
        mass = 1.0 / counts[torch.searchsorted(distinct, hashes)].double()
    else:
        mass = torch.ones(n, dtype=torch.float64, device=sim.device)
    return mass


def gallery_masses(sim: Similarity) -> Tensor:
    """(m,) float64 masses of the gallery items, summing to one; uniform unless given."""
    m = sim.shape[1]
    mass = sim.gallery_mass
    mass = torch.ones(m, dtype=torch.float64, device=sim.device) if mass is None else mass.double()
    total = mass.sum()
    return mass / (comm.all_sum(total) if sim.shard == "gallery" else total)


def live(sim: Similarity) -> tuple[Tensor, Tensor]:
    """Which queries (n,) and which items (m,) have a scored entry, over all processes."""
    n, m = sim.shape
    rows = torch.ones(n, dtype=torch.bool, device=sim.device)
    columns = torch.ones(m, dtype=torch.bool, device=sim.device)
    if isinstance(sim, Pair) or (isinstance(sim, Dense) and not sim.unscored):
        return rows, columns
    columns.zero_()
    for panel, block in sim.blocks():
        scored = torch.isfinite(block)
        rows[panel] = scored.any(dim=1)
        columns |= scored.any(dim=0)
    if sim.shard == "queries":
        columns = comm.all_max(columns.to(torch.int32)).bool()
    elif sim.shard == "gallery":
        rows = comm.all_max(rows.to(torch.int32)).bool()
    return rows, columns


def count(flags: Tensor, *, everywhere: bool) -> int:
    """How many are set, over all processes where they are split."""
    total = flags.sum()
    return int(comm.all_sum(total) if everywhere else total)


def row_peaks(sim: Similarity, tau: float, *, gallery_biases: Sequence[Tensor]) -> Tensor:
    """(b, n) log of the largest share of every query, under each of b biases g, in one pass.

    max_j (S_ij + g_j) / tau - log sum_j exp((S_ij + g_j) / tau)
    """
    count, last = len(gallery_biases), len(gallery_biases) - 1
    out = torch.empty((2, count, sim.shape[0]), dtype=sim.dtype, device=sim.device)
    for rows, block in sim.blocks():
        for place, bias in enumerate(gallery_biases):
            held = block.add_(bias) if place == last else block + bias
            out[0, place, rows] = plain.row_maxima(held) / tau
            _, top, sums = plain.exp_rows(held, tau)
            out[1, place, rows] = sums.log_().add_(top / tau)
    if sim.shard == "gallery":
        out = torch.stack([comm.all_max(out[0]), comm.all_logsumexp(out[1])])
    return out[0] - out[1]


def everywhere(sim: Similarity, flag: bool) -> bool:
    """Whether something holds in every process that has a share of a similarity."""
    return flag if sim.shard is None else comm.everywhere(flag)


def everywhere_sum(sim: Similarity, part: Tensor, *, over: Axis) -> Tensor:
    """The sum of what every process found on its part of an axis."""
    return comm.all_sum(part) if sim.shard == over else part


def total_queries(sim: Similarity) -> int:
    """Number of queries over all processes."""
    return sum(comm.gather_counts(sim.shape[0])) if sim.shard == "queries" else sim.shape[0]


def total_gallery(sim: Similarity) -> int:
    """Number of gallery items over all processes."""
    return sum(comm.gather_counts(sim.shape[1])) if sim.shard == "gallery" else sim.shape[1]


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


def shared_queries(sim: Similarity, other: Similarity) -> tuple[int, int]:
    """How many queries of `sim` are also queries of `other`, and how many it has in all."""
    theirs = row_hashes(other)
    if other.shard == "queries":
        theirs = comm.gather_rows(theirs)
    counts = torch.stack(
        [torch.isin(row_hashes(sim), theirs).sum(), torch.tensor(sim.shape[0]).to(theirs.device)]
    )
    if sim.shard == "queries":
        counts = comm.all_sum(counts)
    return int(counts[0]), int(counts[1])


def column_moments(sim: Similarity) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of every gallery item's scores over the queries, (m,) each.

    Unscored entries (-inf) are left out; an item that no query has scored has NaN for both.
    Accumulated in float64, shifted by the first scored row, so that a small spread around a large
    mean keeps its digits.
    """
    n, m = sim.shape
    count = torch.zeros(m, dtype=torch.float64, device=sim.device)
    first, second = torch.zeros_like(count), torch.zeros_like(count)
    pivot = _pivot(sim)
    with progress.task("column moments", n) as advance:
        for _, block in sim.blocks():
            finite = torch.isfinite(block)
            centred = torch.where(finite, block.double() - pivot, 0.0)
            count += finite.sum(dim=0)
            first += centred.sum(dim=0)
            second += centred.square().sum(dim=0)
            advance(len(block))
    if sim.shard == "queries":
        count, first, second = comm.all_sum(torch.stack([count, first, second])).unbind()
    mean = first / count
    std = (second / count - mean.square()).clamp_min(0).sqrt()
    return (mean + pivot).to(sim.dtype), std.to(sim.dtype)


def standard_rows(sim: Similarity) -> Callable[[slice, Tensor], Tensor]:
    """What turns a panel of scores into (S_ij - mean_i) / std_i over the whole gallery.

    Unscored entries (-inf) count neither in the mean nor in the deviation. A panel that holds whole
    rows tells both; where the gallery is split, one pass over the scores finds them.
    """
    tiny = torch.finfo(sim.dtype).tiny
    if sim.shard == "gallery":
        mean, std = column_moments(sim.T)
        return lambda rows, block: (block - mean[rows, None]) / std[rows, None].clamp_min(tiny)

    def standard(rows: slice, block: Tensor) -> Tensor:
        finite = torch.isfinite(block)
        count = finite.sum(dim=1, keepdim=True).clamp_min(1)
        filled = torch.where(finite, block, 0.0)
        centred = block - filled.sum(dim=1, keepdim=True) / count
        square = torch.where(finite, centred, 0.0).square().sum(dim=1, keepdim=True) / count
        return centred / square.sqrt().clamp_min(tiny)

    return standard


def _pivot(sim: Similarity) -> float:
    """A typical score, the same in every process."""
    block = sim.block(slice(0, 1))
    finite = block[torch.isfinite(block)].double()
    pair = torch.stack([finite.sum(), finite.new_tensor(float(len(finite)))])
    total, count = (comm.all_sum(pair) if sim.shard is not None else pair).tolist()
    return total / count if count else 0.0


def embedding_means(sim: Similarity, *, query_mass: Tensor, gallery_mass: Tensor) -> Tensor:
    """(2, d) weighted means of the query and of the gallery embeddings, float64.

    Raises:
        NeedsEmbeddings: the similarity stores scores only.
    """
    if not isinstance(sim, Pair):
        raise NeedsEmbeddings.by("centring rewrites embeddings", sim)
    queries = _weighted_sum(sim.queries, query_mass)
    gallery = _weighted_sum(sim.gallery, gallery_mass)
    if sim.shard == "queries":
        queries = comm.all_sum(queries)
    elif sim.shard == "gallery":
        gallery = comm.all_sum(gallery)
    return torch.stack([queries, gallery])


def _weighted_sum(x: Rows, mass: Tensor) -> Tensor:
    out = torch.zeros(x.shape[1], dtype=torch.float64, device=x.device)
    for rows in slices(len(x)):
        out += mass[rows].double() @ x[rows].double()
    return out
