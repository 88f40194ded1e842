"""The principal axes of scores, which stand for embeddings where there are none.

    S - row means - column means = U W        U: (n, r) orthonormal, W: (r, m)

of some live queries and all live items.
"""

from dataclasses import replace

import torch
from torch import Tensor

from rerank.core.arrays import inner
from rerank.core.similarity import Pair, Similarity
from rerank.methods.marginals import Masses
from rerank.passes import gallery as items

# Queries that are looked at; items up to which all scores of theirs are.
_QUERIES, MOST_ITEMS = 1000, 2**13
# Axes that carry less of the scores than this share of the first are rounding.
_ROUNDING = 1e-6
# A correlation this close to one is that of a copy.
COPY = 1e-5


def as_pair(sim: Similarity, found: Masses) -> tuple[Pair, Masses] | None:
    """Scores less what rows and columns have alike, as products over their axes, and their masses.

    None where they have no axes.

    Args:
        sim: (n, m) scores, not split over processes.
        found: masses of both sides.
    """
    rows = items.spread_out(sim, found.live_queries, min(found.rows, _QUERIES))
    columns = items.spread_out(sim.T, found.live_items, found.columns)
    axes, weights = axes_of(*centred_sides(sim, found), copies=True)
    if not axes.shape[1]:
        return None
    log_a, log_b = found.log_a[rows], found.log_b[columns]
    some = replace(
        found, log_a=log_a - log_a.logsumexp(0), log_b=log_b - log_b.logsumexp(0),
        live_queries=torch.ones_like(rows, dtype=torch.bool),
        live_items=torch.ones_like(columns, dtype=torch.bool),
        rows=len(rows), columns=len(columns),
    )  # fmt: skip
    return Pair(axes, weights.T.contiguous(), metric="dot"), some


def centred_sides(sim: Similarity, found: Masses) -> tuple[Tensor, Tensor | None]:
    """Scores of some live queries with all live items, less what a row or a column has alike.

    Embeddings are given as both sides, whose products these are; scores without a second.
    """
    rows = items.spread_out(sim, found.live_queries, min(found.rows, _QUERIES))
    columns = items.spread_out(sim.T, found.live_items, found.columns)
    if isinstance(sim, Pair):
        left, right = items.corner_sides(sim, rows, columns)
        return left - left.mean(dim=0), right - right.mean(dim=0)
    block = items.corner(sim, rows, columns)
    finite = torch.isfinite(block)
    if not bool(finite.all()):
        block = torch.where(finite, block, block[finite].min())
    block = block - block.mean(dim=1, keepdim=True)
    return block - block.mean(dim=0), None


def axes_of(left: Tensor, right: Tensor | None, *, copies: bool) -> tuple[Tensor, Tensor]:
    """U and W, as many axes as are no rounding; of copies the first unless they count."""
    # Rows with the products of the scores, and no more columns than there are dimensions.
    short = left.double()
    if right is not None:
        size, turn = torch.linalg.eigh(inner(right.T, right.T).double())
        short = short @ (turn * size.clamp_min(0).sqrt())
    if not copies:
        # Single precision tells copies from what is near.
        unit = short / torch.linalg.vector_norm(short, dim=1, keepdim=True).clamp_min(1e-300)
        unit = unit.float()
        again = (inner(unit, unit) > 1 - COPY).tril(-1).any(dim=1)
        short, left = short[~again], left[~again]
    tall = short.shape[0] > short.shape[1]
    size, axes = torch.linalg.eigh(short.T @ short if tall else short @ short.T)
    kept = size > _ROUNDING * size[-1]
    axes = axes[:, kept].flip(1)
    if tall:
        axes = short @ (axes / size[kept].flip(0).sqrt())
    axes = axes.to(left.dtype).contiguous()
    weights = inner(axes.T.contiguous(), left.T.contiguous())
    return axes, weights if right is None else inner(weights, right)
