"""Passes that return means: of the scores of every gallery item, and of the embeddings.

They belong to the floor of `reduce` and follow its rule: one read of the row panels, O(m) numbers,
a collective where the axis is split over processes.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from rerank import comm, progress
from rerank.errors import NeedsEmbeddings
from rerank.rows import Rows, slices
from rerank.similarity import Pair, Similarity


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
        raise NeedsEmbeddings(
            f"centring rewrites embeddings; give a Pair(queries, gallery), got "
            f"{type(sim).__name__} (on the command line: --videos and --texts instead of --sims)"
        )
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
