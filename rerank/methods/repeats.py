"""Repeated queries, seen without labels.

Where many queries want the same item, items must not be equally probable. Two traces, on a sample:

    r = (1 - Q) / (1 - I)    Q: mean correlation of a query's scores with those of the query most
                             like it, I: the same of items; one-to-one data look alike from both
                             sides, repeats make queries more alike than items
    A = c(.7 g) / c(g)       c: mean largest share of a query; what the full biases g cost in
                             confidence

r is .8 or more on one-to-one data at hand, whole or cut; .4 to .7 where a quarter of the items or
more has no query and the others have several. A keeps classes (many clips, few prompts) out, whose
queries are alike although all items are wanted.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from rerank.core import comm
from rerank.core.arrays import inner
from rerank.core.similarity import Similarity
from rerank.core.words import Counting
from rerank.methods.marginals import Masses
from rerank.passes import gallery as items
from rerank.passes import reduce

# Rows, and rows and columns of a square, that are looked at.
ROWS, _SQUARE = 2000, 1000
_SOFT = 0.7
# A correlation this close to one is that of a copy.
_ROUNDING = 1e-5


@dataclass(frozen=True)
class Repeats:
    """What was seen.

    Attributes:
        weight: 0 = no repeats, 1 = certainly.
        alike: r, cost: A; NaN where there was too little to see anything.
    """

    weight: float
    alike: float = math.nan
    cost: float = math.nan


def repeats(
    sim: Similarity,
    tau: float,
    *,
    gallery_bias: Tensor,
    found: Masses,
    duplicates: Counting = "share",
) -> Repeats:
    """Whether queries repeat, from samples of the scores and the biases of the fit without.

    Args:
        sim: (n, m) scores.
        tau: temperature in score units.
        gallery_bias: (m,) g of equality, or of few queries.
        found: which queries and items are live.
        duplicates: exact copies that share a mass already are no repeats.
    """
    enough = _ramp(min(found.rows, found.columns), 20, 40)
    if not enough:
        return Repeats(0.0)
    alike = _alike(sim, found, copies=duplicates == "count")
    weight = _ramp(alike, 0.8, 0.65)
    if not weight:
        return Repeats(0.0, alike)
    cost = _cost(sim, tau, gallery_bias, found)
    return Repeats(min(weight, _ramp(cost, 1.1, 1.2), enough), alike, cost)


def _ramp(x: float, zero: float, one: float) -> float:
    return min(1.0, max(0.0, (x - zero) / (one - zero)))


def _some(alive: Tensor, count: int, *, split: bool) -> Tensor:
    """Places of `count` live ones over all processes, evenly spread."""
    flags = comm.gather_rows(alive.to(torch.uint8)).bool() if split else alive
    places = torch.nonzero(flags)[:, 0]
    step = torch.linspace(0, len(places) - 1, min(count, len(places)), dtype=torch.float64)
    return places[step.round().long().to(places.device)]


def _alike(sim: Similarity, found: Masses, *, copies: bool) -> float:
    """R of a square of scores, each side double-centred."""
    side = min(found.rows, found.columns, _SQUARE)
    rows = _some(found.live_queries, side, split=sim.shard == "queries")
    columns = _some(found.live_items, side, split=sim.shard == "gallery")
    square = items.corner(sim, rows, columns)
    near = _nearest(square, copies=copies), _nearest(square.T, copies=True)
    return (1 - near[0]) / max(1 - near[1], 1e-9)


def _nearest(square: Tensor, *, copies: bool) -> float:
    """Mean correlation of a row with the row most like it; unscored entries are the lowest.

    Exact copies count only where `copies` says so.
    """
    finite = torch.isfinite(square)
    if not bool(finite.all()):
        square = torch.where(finite, square, square[finite].min())
    x = (square - square.mean(dim=0)).contiguous()
    x.sub_(x.mean(dim=1, keepdim=True))
    x.div_(torch.linalg.vector_norm(x, dim=1, keepdim=True).clamp_min_(1e-12))
    near = inner(x, x).fill_diagonal_(-1)
    if not copies:
        near.masked_fill_(near > 1 - _ROUNDING, -1)
    return float(near.amax(dim=1).double().mean())


def _cost(sim: Similarity, tau: float, gallery_bias: Tensor, found: Masses) -> float:
    """A of some queries against all items."""
    rows = _some(found.live_queries, ROWS, split=sim.shard == "queries")
    some = items.some_queries(sim, rows)
    sure = []
    for bias in (_SOFT * gallery_bias, gallery_bias):
        share = reduce.row_peaks(some, tau, gallery_bias=bias).double().exp()
        total = torch.stack([share.sum(), share.new_tensor(float(len(share)))])
        total = comm.all_sum(total) if sim.shard == "queries" else total
        sure.append(float(total[0] / total[1].clamp_min(1)))
    return sure[0] / max(sure[1], 1e-9)
