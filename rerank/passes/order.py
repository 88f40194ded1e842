"""Passes that order scores: nearest items, ranks, and how often an item is near.

Part of `reduce`, which names them; equal scores are always ordered by index.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from rerank.core import comm, progress
from rerank.core.errors import RerankError
from rerank.core.rows import slices
from rerank.core.similarity import BLOCK_ELEMENTS, Axis, Pair, Similarity
from rerank.passes import certified

# Scores of rows with a tie at their last place that are looked at together.
_TIED_AT_ONCE = 2 * 1024 * 1024


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


def topk(sim: Similarity, k: int) -> TopK:
    """The k best gallery items of every query, best first; ties go to the lower index.

    Where the gallery is split over processes, indices count over all of it.
    """
    n, m = sim.shape
    offset, total = gallery_place(sim)
    k = check_k(k, total)
    if certified.pays(sim, k) and isinstance(sim, Pair):
        scores, indices, _ = certified.topk(sim, k)
        return TopK(scores, indices)
    kept = min(k, m)
    scores = torch.empty((n, kept), dtype=sim.dtype, device=sim.device)
    indices = torch.empty((n, kept), dtype=torch.int64, device=sim.device)
    with progress.task("top-k", n) as advance:
        for rows, block in sim.blocks() if kept else ():
            scores[rows], indices[rows] = best_of_rows(block, kept)
            advance(len(block))
    if sim.shard != "gallery":
        return TopK(scores, indices)
    # Shards follow each other, so candidates of equal score stay in the order of their index.
    everyone = comm.gather_rows(scores.T.contiguous()).T.contiguous()
    places = comm.gather_rows((indices + offset).T.contiguous()).T
    scores, chosen = best_of_rows(everyone, k)
    return TopK(scores, places.gather(1, chosen))


def gallery_place(sim: Similarity) -> tuple[int, int]:
    """Index of the first gallery item of this process, and the number of all items."""
    if sim.shard != "gallery":
        return 0, sim.shape[1]
    counts = comm.gather_counts(sim.shape[1], device=sim.device)
    return sum(counts[: comm.rank()]), sum(counts)


def best_of_rows(block: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Top k of each row, deterministic: torch.topk leaves the order and choice of ties open."""
    values, indices = torch.topk(block, min(k + 1, block.shape[1]), dim=1)
    if values.shape[1] > k:
        # Where the next score equals the last one taken, take those of the lowest index.
        tied = (values[:, k] == values[:, k - 1]).nonzero()[:, 0]
        values, indices = values[:, :k], indices[:, :k]
        for rows in slices(len(tied), max(1, _TIED_AT_ONCE // block.shape[1])):
            part = tied[rows]
            row, last = block[part], values[part, -1:]
            above, equal = row > last, row == last
            room = k - above.sum(dim=1, keepdim=True)
            taken = above | (equal & (equal.cumsum(dim=1, dtype=torch.int32) <= room))
            indices[part] = taken.nonzero()[:, 1].reshape(len(part), k)
            values[part] = row.gather(1, indices[part])
    return order_ties(values, indices)


def order_ties(scores: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]:
    """Sort each row by score, then by index, so that equal scores have one order."""
    order = torch.argsort(indices, dim=1)
    scores, indices = scores.gather(1, order), indices.gather(1, order)
    order = torch.argsort(scores, dim=1, descending=True, stable=True)
    return scores.gather(1, order), indices.gather(1, order)


def mean_topk(sim: Similarity, k: int, *, over: Axis, scored: bool = False) -> Tensor:
    """Mean of the k largest scores along one axis.

    over="gallery": (n,), for each query over its k nearest gallery items;
    over="queries": (m,), for each gallery item over its k nearest queries.

    Unscored entries (-inf) make a mean -inf, or are left out if `scored`: the mean is of fewer
    then, and NaN where nothing is scored.
    """
    if over == "queries":
        held = sim.shape[0]
        check_k(k, sum(comm.gather_counts(held)) if sim.shard == "queries" else held, "queries")
    if over == "queries" and (sim.shard == "queries" or not _transposes(sim)):
        best = _running_topk(sim, k).T
    else:
        best = topk(sim.T if over == "queries" else sim, k).scores
    finite = torch.isfinite(best)
    if not scored or bool(finite.all()):
        return best.mean(dim=1)
    return torch.where(finite, best, 0.0).sum(dim=1) / finite.sum(dim=1)


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
        # A few items at a time, so that what the processes exchange stays as small as a panel.
        step = max(1, BLOCK_ELEMENTS // (k * comm.world_size()))
        parts = []
        for start in range(0, sim.shape[1], step):
            part = comm.gather_rows(best[:, start : start + step].contiguous())
            parts.append(torch.topk(part, min(k, len(part)), dim=0).values)
        best = torch.cat(parts, dim=1)
    return best


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
    if sim.shard == "gallery":
        return comm.all_sum(better), comm.all_sum(tied)
    return better, tied


def gather_pairs(sim: Similarity, rows: Tensor, columns: Tensor) -> Tensor:
    """Scores at (rows[p], columns[p]), (p,), computed exactly as `blocks` computes them.

    Where the gallery is split over processes, columns count over all of it.
    """
    offset, _ = gallery_place(sim)
    columns = columns - offset
    out = torch.zeros(len(rows), dtype=sim.dtype, device=sim.device)
    order = torch.argsort(rows, stable=True)
    rows, columns = rows[order], columns[order]
    for panel, block in sim.blocks():
        low, high = torch.searchsorted(
            rows, torch.tensor([panel.start, panel.stop], device=rows.device)
        ).tolist()
        if low < high:
            i, j, place = rows[low:high] - panel.start, columns[low:high], order[low:high]
            here = (j >= 0) & (j < sim.shape[1])
            out[place[here]] = block[i[here], j[here]]
    return comm.all_sum(out) if sim.shard == "gallery" else out


def k_occurrence(sim: Similarity, k: int) -> Tensor:
    """N_k: how often each gallery item is among the k best scored ones of a query, (m,).

    Radovanović, Nanopoulos and Ivanović, JMLR 2010.
    """
    offset, _ = gallery_place(sim)
    found = topk(sim, k)
    # What has no score is nobody's neighbour.
    near = found.indices[found.scores != -torch.inf]
    return occurrences(sim, near)[offset : offset + sim.shape[1]]


def occurrences(sim: Similarity, places: Tensor) -> Tensor:
    """How often every item of the whole gallery is among places that the queries name, int64."""
    counts = torch.bincount(places.flatten(), minlength=gallery_place(sim)[1])
    return comm.all_sum(counts) if sim.shard == "queries" else counts
