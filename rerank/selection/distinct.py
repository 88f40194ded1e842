"""Which rows are no copies of earlier ones, so that copies can count once.

Copies lie on both sides of every split into folds, and meet one another wherever they look. Rows
are told apart by 32 random directions; two are the same where they differ by a hundredth of what
rows differ by, as those do that were rounded to bfloat16.

    |x - y|^2 ~ mean over directions u of <u, x - y>^2
"""

import torch
from torch import Tensor

from rerank.core import comm
from rerank.core.rows import Rows, slices
from rerank.core.similarity import Pair, Similarity
from rerank.passes import gallery as items
from rerank.passes import reduce

_DIRECTIONS = 32
# Of the rows' deviation from their mean, and of their length: what sums of floats leave.
_NEAR, _ROUNDING = 1e-2, 1e-6


def distinct_rows(rows: Rows) -> Tensor:
    """Places, in order, of the rows that are no copies of earlier ones."""
    turn = _directions(rows.shape[1])
    parts = [rows[part].cpu().double() @ turn for part in slices(len(rows))]
    return _distinct(torch.cat(parts))


def distinct_queries(sim: Similarity, places: Tensor) -> Tensor:
    """Those of the queries at some places that are no copies of others, on every process.

    Args:
        sim: queries x gallery.
        places: over all processes, in order.
    """
    some = items.some_queries(sim, places)
    if isinstance(some, Pair):
        sketch = some.queries[:].cpu().double() @ _directions(some.queries.shape[1])
    else:
        turn = items.share_of(sim, _directions(reduce.total_gallery(sim)))
        sketch = torch.zeros(some.shape[0], _DIRECTIONS, dtype=torch.float64)
        for panel, block in some.blocks():
            scored = torch.isfinite(block)
            low = block[scored].min() if bool(scored.any()) else 0
            sketch[panel] = torch.where(scored, block, low).cpu().double() @ turn
        if sim.shard == "gallery":
            sketch = comm.all_sum(sketch)
    if sim.shard == "queries":
        sketch = comm.gather_rows(sketch)
    return places[_distinct(sketch).to(places.device)]


def _directions(width: int) -> Tensor:
    """(width, 32) such that a row's products have its norm on average."""
    coin = torch.Generator().manual_seed(0)
    drawn = torch.randn(width, _DIRECTIONS, generator=coin, dtype=torch.float64)
    return drawn / _DIRECTIONS**0.5


def _distinct(sketch: Tensor) -> Tensor:
    """Places of the rows that are first of their kind.

    Rows are sorted along one direction, so that copies lie close to each other there.
    """
    if len(sketch) < 2:
        return torch.arange(len(sketch))
    apart = sketch - sketch.mean(dim=0)
    near = max(_NEAR * _length(apart), _ROUNDING * _length(sketch))
    column, second = sketch[:, 0].contiguous(), sketch[:, 1].contiguous()
    order = torch.argsort(column, stable=True)
    first = torch.ones(len(sketch), dtype=torch.bool)
    step = 1
    while step < len(order):
        one, other = order[:-step], order[step:]
        beside = column[other] - column[one] <= near
        if not bool(beside.any()):
            break
        beside &= (second[other] - second[one]).abs() <= near
        one, other = one[beside], other[beside]
        same = (sketch[one] - sketch[other]).square().sum(dim=1) <= near**2
        one, other = one[same], other[same]
        if not len(one):
            step += 1
            continue
        # The later row goes; what is left is compared with its new neighbours.
        first[torch.maximum(one, other)] = False
        order = order[first[order]]
    return torch.nonzero(first)[:, 0]


def _length(rows: Tensor) -> float:
    """Root mean square length."""
    return float(rows.square().sum(dim=1).mean().sqrt())
