"""Whether queries share items, where there are no more queries than items.

Two queries that choose one item need not share it: one of them, or both, may be wrong. A second
choice by scores that had no say in the first tells:

    S = U W         scores of some queries, centred both ways, over their principal axes
    A, B            halves of the axes: of two neighbours in the spectrum one each, by a coin
    j_i             the best item of query i over A, popularity taken out
    agrees          whether it is the best over B as well
    both            pairs of queries with one item of which both agree, with A and B in turn
    expected        the same if one said nothing of the other: p pairs of which i agrees, where p is
                    the share of all queries that agree
    ratio           (both + 1) / (expected + 1), of a coin's pairs, over many coins

Where i agrees, j_i is likely right for it. In one-to-one data another query of that item is then
wrong, and agrees no more often than any: the ratio is .1 to 1.13 on real sets, whole and cut. Where
queries share items it is likely right as well: 1.2 to 2.7 with half of the items or fewer wanted,
or with items drawn by rank. Few queries of weak models agree at all, and then it is near one.

Many queries of few items share them rightly, each alike; there the ratio tells nothing.
"""

import torch
from torch import Tensor

from rerank.core.arrays import inner
from rerank.core.similarity import Dense, Similarity
from rerank.methods.equal_items import equally_popular
from rerank.methods.marginals import Masses
from rerank.methods.score_axes import axes_of, centred_sides
from rerank.methods.unseen_axes import parted
from rerank.passes import order

# How often the axes are parted, fewer times where that takes more products of numbers.
_COINS, _PRODUCTS = (2, 16), 4 * 10**9
# A ratio, of so many coins, from which the others would not bring it up to one.
_PLAINLY_NOT, _SOON = 0.8, 4


def shared(sim: Similarity, *, found: Masses, copies: bool = False, seed: int = 0) -> float:
    """The ratio of a similarity, the same on every process.

    Args:
        sim: (n, m) scores.
        found: which queries and items are live.
        copies: whether exact copies of a query are queries of their own.
        seed: of the coins.
    """
    axes, weights = axes_of(*centred_sides(sim, found), copies=copies)
    (rows, rank), width = axes.shape, weights.shape[1]
    coins = int(min(max(_PRODUCTS / max(1, rows * rank * width), _COINS[0]), _COINS[1]))
    coin = torch.Generator().manual_seed(seed)
    agreed, one_agrees, both, ratio = 0, 0.0, 0.0, 1.0
    for tossed in range(1, coins + 1):
        best = [
            _best(inner(axes[:, half], weights[half].T))
            for half in parted(rank, coin, device=axes.device)
        ]
        agrees = best[0] == best[1]
        agreed += int(agrees.sum())
        for chosen in best:
            chosen_by, agreeing = (
                torch.bincount(x, minlength=width).double() for x in (chosen, chosen[agrees])
            )
            one_agrees += float((agreeing * (chosen_by - 1)).sum()) / 2
            both += float((agreeing * (agreeing - 1)).sum()) / 2
        expected = agreed / (tossed * rows) * one_agrees
        ratio = (both / tossed + 1) / (expected / tossed + 1)
        if tossed >= _SOON and ratio < _PLAINLY_NOT:
            break
    return ratio


def _best(scores: Tensor) -> Tensor:
    """(n,) the best item of every query, popularity taken out."""
    return order.topk(equally_popular(Dense(scores)), 1).indices[:, 0]
