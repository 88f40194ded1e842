"""Whether items that many queries are sure of are chosen rightly.

Queries that are sure of their items tell of uneven asking (D in `rerank.methods.repeats`). A weak
model with hubs makes them sure of these. Rightly or wrongly chosen, scores that had no say in the
choice tell:

    S = U W      scores of some queries, centred both ways, over their principal axes
    A, B         halves of the axes: of two neighbours in the spectrum one each, by a coin
    j_i          the best item of query i over A;   c_i  how many queries choose it
    e_i          (b - p) / (1 - p), with b = 1 if it is the best over B as well, else 0, and p the
                 share of the other queries whose best over B it is
    ratio        mean of e over the .4 of the queries with the largest c, by that over the rest;
                 A and B in turn, over many coins

Where every item is wanted alike, of those that choose a popular one most are wrong: the ratio is
.2 to .9. Where items are asked unevenly it is .3 to 1.5 and more, so it decides nothing alone. It
is asked of what sure queries tell; what neighbours, crowds and unseen axes tell stands.
Queries that are nearly certain are believed in any case. Where a half of the axes says nothing of
the other, so that choices seldom agree at all, nothing is told.
"""

from dataclasses import replace

import torch
from torch import Tensor

from rerank.core.arrays import inner
from rerank.core.similarity import Similarity
from rerank.methods.marginals import Masses
from rerank.methods.repeats import Repeats, ramp
from rerank.methods.score_axes import MOST_ITEMS, axes_of, centred_sides
from rerank.methods.unseen_axes import parted

# Queries for each item between which one-to-one is possible.
_FEWEST, _MOST = 0.8, 1.5
# The ratio up to which popular choices are wrong, and from which they may be right.
_RATIO = (0.8, 0.95)
# From where queries are so sure of their items that hubs do not explain it.
_SURE = (0.92, 0.97)
# Mean of e up to which halves of the axes know nothing of each other, and from which they do.
_ALIKE = (0.1, 0.15)
# How often the axes are parted; the share of the queries whose choices are not popular.
_COINS, _RARE = 4, 0.6


def believed(sim: Similarity, found: Masses, seen: Repeats, *, copies: bool = False) -> Repeats:
    """What sure queries show of uneven asking, as far as popular choices are right.

    Args:
        sim: (n, m) scores.
        found: which queries and items are live.
        seen: what queries show of it.
        copies: whether exact copies of a query are queries of their own.
    """
    one_to_one = _FEWEST * found.columns <= found.rows <= _MOST * found.columns
    told = seen.weight and seen.sure > 0 and one_to_one and found.columns <= MOST_ITEMS
    if not told or seen.sure >= _SURE[1]:
        return seen
    share = ramp(ratio(sim, found, copies=copies), *_RATIO)
    return replace(seen, weight=max(share, ramp(seen.sure, *_SURE)) * seen.weight)


def ratio(sim: Similarity, found: Masses, *, copies: bool = False, seed: int = 0) -> float:
    """How much more often than rare choices popular ones are made again by other axes.

    One where nothing is told. The same on every process.

    Args:
        sim: (n, m) scores.
        found: which queries and items are live.
        copies: whether exact copies of a query are queries of their own.
        seed: of the coins.
    """
    axes, weights = axes_of(*centred_sides(sim, found), copies=copies)
    coin = torch.Generator().manual_seed(seed)
    total = torch.zeros(2, 2, dtype=torch.float64, device=axes.device)
    for _ in range(_COINS):
        best = [
            inner(axes[:, half], weights[half].T).argmax(dim=1)
            for half in parted(axes.shape[1], coin, device=axes.device)
        ]
        for one, other in (best, best[::-1]):
            total += _agreement(one, other, weights.shape[1])
    (popular, rare), (counted, others) = (total / (2 * _COINS)).tolist()
    # As if one more of each did as all of them do, so that a few queries tell little.
    alike = (popular + rare) / max(1.0, counted + others)
    told = ramp(alike, *_ALIKE)
    if not told:
        return 1.0
    return 1 + told * ((popular + alike) / (counted + 1) * (others + 1) / (rare + alike) - 1)


def _agreement(one: Tensor, other: Tensor, items: int) -> Tensor:
    """((sum of e of popular and of rare choices), (how many of each))."""
    same = (one == other).double()
    chosen, again = (torch.bincount(x, minlength=items).double() for x in (one, other))
    chance = (again[one] - same) / max(1, len(one) - 1)
    beyond = (same - chance) / (1 - chance).clamp_min(1 / max(1, len(one)))
    often = chosen[one]
    popular = often >= torch.quantile(often, _RARE)
    parts = [beyond[popular].sum(), beyond[~popular].sum(), popular.sum(), (~popular).sum()]
    return torch.stack([x.double() for x in parts]).view(2, 2)
