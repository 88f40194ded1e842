"""Top-k from the kernel that a fit leaves behind: one reading of it instead of a matrix product.

    K_ij = exp((S_ij + absorbed_j - top_i) / tau)

is rounded to a factor of exp(+- r). With what belongs to a column, exp((c_j - absorbed_j) / tau),
its entries order as S_ij + c_j within each row; with what belongs to a row, exp((c_i + top_i) /
tau), as S_ij + c_i within each column. Let x be an entry that k of them reach. Nothing below
x exp(-2 r) is among the k best: the others are scored again in float32, as `certified` does.
"""

import math

import numpy as np
import torch
from torch import Tensor

from rerank.core import progress
from rerank.core.similarity import Pair, where
from rerank.passes import certified
from rerank.passes.panels import slices
from rerank.passes.sinkhorn.stored import Held
from rerank.passes.threads import Workers

# Columns that are looked at together: their largest entries stay in the cache.
_BLOCK = 256
# How far corrections may spread, in tau: their exponentials are float32 numbers.
_WIDEST = 60.0
# Below this share of the k-th best most of a row may be among the best.
_LEAST_SHARE = 0.5


def topk(held: Held, sim: Pair, k: int) -> tuple[Tensor, Tensor] | None:
    """Exact k best items of every query, best first, ties to the lower index; or None.

    Args:
        held: a kernel.
        sim: its embeddings, or these turned around, with one correction per item.
        k: at most 64.

    Returns:
        Scores (n, k) and indices (n, k); None where the kernel is of other embeddings or too
        coarse for these corrections.
    """
    turned = _same(held.sim, sim.T)
    if (not turned and not _same(held.sim, sim)) or (column := certified.column_of(sim)) is None:
        return None
    assert isinstance(sim.queries, Tensor) and isinstance(sim.gallery, Tensor)
    queries, gallery = sim.queries.contiguous(), sim.gallery.contiguous()
    within = certified.column_of(held.sim)
    if within is None:
        return None
    level = (column.double() + (held.tops if turned else -(held.absorbed + within))) / held.tau
    low, high = torch.aminmax(level)
    times = (level - (low + high) / 2).exp().float()
    share = np.float32(math.exp(-2 * (held.rounding + _inexact(queries, gallery, held.tau))))
    if not float(high - low) < _WIDEST or share < _LEAST_SHARE:
        return None
    # What was rounded to 0 is below the first, and with its correction below the second.
    floor = np.float32(4 * held.smallest)
    least = np.float32(float(floor) * float(times.max()))
    n, m = sim.shape
    most = certified.most_candidates(m, k)
    scores, indices = torch.empty((n, k)), torch.empty((n, k), dtype=torch.int64)
    exact = tuple(x.numpy() for x in (queries, gallery, column))
    read = _columns if turned else _rows
    with progress.task("top-k", n) as advance:
        limits = share, least, floor
        tried = read(held, times.numpy(), limits, exact, most, (scores, indices))
        advance(n)
    undone = (tried > most).nonzero()[:, 0].tolist()
    certified.by_brute_force(undone, queries, gallery, column, scores, indices)
    return scores, indices


def _inexact(queries: Tensor, gallery: Tensor, tau: float) -> float:
    """How far a sum of d float32 products, and the exponential of its share, may be off."""
    longest = float(queries.norm(dim=1).max() * gallery.norm(dim=1).max())
    return 2.0**-23 * ((queries.shape[1] + 4) * longest / tau + 2 * _WIDEST)


def _same(one: Pair, other: Pair) -> bool:
    """Whether two similarities are of the same embeddings."""
    sides = (one.queries, other.queries), (one.gallery, other.gallery)
    return all(isinstance(x, Tensor) and where(x) == where(y) for x, y in sides)


def _rows(held, times, limits, exact, most, found) -> Tensor:  # noqa: ANN001  see `topk`
    """Fill `found` for the rows of a kernel; how many items each tried."""
    from rerank.passes import scan

    queries, gallery, column = exact
    tried = torch.empty(len(queries), dtype=torch.int64)
    slack, none, start = np.zeros(len(queries), np.float32), np.zeros_like(times), 0
    for piece in held.pieces:

        def best(rows: slice, piece: Tensor = piece, start: int = start) -> None:
            of = slice(start + rows.start, start + rows.stop)
            filled = (x[of].numpy() for x in found)
            tried[of] = torch.from_numpy(
                scan.best(
                    piece[rows].numpy(), times, none, slack[of], *limits, queries[of], gallery,
                    column, most, *filled,
                )
            )  # fmt: skip

        for _ in Workers().map(best, slices(*piece.shape)):
            pass
        start += len(piece)
    return tried


def _columns(held, times, limits, exact, most, found) -> Tensor:  # noqa: ANN001  see `topk`
    """The same for its columns."""
    from rerank.passes import scan

    m = len(exact[0])
    bounds = np.append(np.arange(0, m, _BLOCK), m)
    pieces = (piece.numpy() for piece in held.pieces)
    tried, filled = torch.empty(m, dtype=torch.int64), (x.numpy() for x in found)
    Workers().run(
        scan.best_of_columns, (*pieces, times, *limits, *exact, most, bounds),
        (*filled, tried.numpy()),
    )  # fmt: skip
    return tried
