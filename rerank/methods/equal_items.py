"""Whether it helps to ask for equally probable items, or one each, judged by axes without a say.

Equality moves queries from items that many want to items that few want. Where queries really want
a few of the items it moves them to wrong ones, and the plan itself looks no different. Axes that
took no part in the choice tell:

    A, B    principal axes of both sides; of two neighbours in the spectrum one each, by a coin
    j_i     the best item of query i over A alone;   j'_i  the same, items equally probable
    r_i, r'_i    the ranks of j_i and j'_i over B, the popularity of items taken out
    gain    mean of log r_i - log r'_i, with A and B in turn

On real sets whose items are all wanted, one or sixteen times each, whole and cut, the gain is -.17
or more: what equality moves costs a little where it was no hub's. With a fifth of the items or
fewer wanted by sets that are not sure of them, it is -.3 and less. It is no proof: a set that is
sure of its items can look better and be worse, which others see (`rerank.methods.repeats`).

Few queries are asked the same: j_i is then the best item by the popularity with others alone, j'_i
that with room for one query at every item. The popularity over B is that with queries that chose
neither, which would hide an item that many of them want.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
from torch import Tensor

from rerank.core import comm
from rerank.core.rows import StoredRows, centred, mapped
from rerank.core.similarity import Dense, Pair, Similarity
from rerank.methods.marginals import Masses
from rerank.methods.popularity import crowding, without
from rerank.methods.potentials import solve
from rerank.methods.temperature import spacing
from rerank.methods.unseen_axes import parted
from rerank.passes import gallery as items
from rerank.passes import order, reduce
from rerank.passes.reduce import TopK

# Steps and marginal error of the fit over half of the axes.
_STEPS, _CLOSE = 50, 1e-2
# Queries that are ranked; and pairs from which the fits would take too long.
_QUERIES, MOST = 1000, 2**24
# The same of few queries, which are fitted more often.
MOST_OF_FEW = 2**22
# Share of the queries that choose the same few items, where these are many.
_CROWDED = 0.5
# How often the axes are parted for few queries, of which one coin tells little.
_COINS = 4
# Widths of the softmax that popularity is read from, in a standard deviation of the scores.
_WIDTH = 3.0


# Finds the (m,) biases without and with what is judged, from scores over some axes and the masses;
# None where they tell none.
Biases: TypeAlias = Callable[[Similarity, Masses], tuple[Tensor, Tensor] | None]


@dataclass(frozen=True)
class Judged:
    """What axes that had no say tell.

    Attributes:
        gain: mean of log r - log r', see the module.
        skill: how far the mean of log r is below that of items drawn by chance.
    """

    gain: float
    skill: float


def judged(
    sides: Callable[[], tuple[Pair, Masses] | None], *, tau: float, h: float,
    room: Biases | None = None, seed: int = 0,
) -> Judged:  # fmt: skip
    """What unseen axes tell of equally probable items, or of room for one each.

    Nothing where there are no axes to part.

    Args:
        sides: makes the embeddings of both sides, or what stands for them
            (`rerank.methods.score_axes`), and their masses.
        tau: temperature in score units.
        h: spacing of the hard negatives, which that temperature belongs to.
        room: finds the biases of few queries, without and with room for one.
        seed: of the coins.
    """
    sim, found = sides() or (None, None)
    if sim is None or found is None:
        return Judged(0.0, 0.0)
    masses = {"query_mass": found.log_a.double().exp(), "gallery_mass": found.log_b.double().exp()}
    second, _ = reduce.gram(sim, **masses)
    means = reduce.embedding_means(sim, **masses)
    pooled = second - means.T @ means
    axes = torch.linalg.eigh(pooled).eigenvectors.flip(1)
    coin = torch.Generator().manual_seed(seed)
    places = items.spread_out(sim, found.live_queries, _QUERIES)
    total = torch.zeros(3, dtype=torch.float64, device=sim.device)
    for _ in range(1 if room is None else _COINS):
        left, right = parted(axes.shape[1], coin, device=axes.device)
        for judges, judged in ((left, right), (right, left)):
            seen, unseen = (_over(sim, means, axes[:, some]) for some in (judges, judged))
            if room is None:
                near = min(spacing(seen), spacing(seen.T))
                if not near > 0:
                    return Judged(0.0, 0.0)
                t = tau * near / h
                step = reduce.sweeper(seen, t, log_a=found.log_a, sweeps=_STEPS, rough=True)
                equal = solve(
                    seen, t, log_a=found.log_a, log_b=found.log_b, n_iters=_STEPS, tol=_CLOSE,
                    polish=False, step=step,
                ).g  # fmt: skip
                biases = torch.zeros_like(equal), equal
            else:
                # Products once: many passes follow.
                seen, unseen = (Dense(x.scores(), shard=sim.shard) for x in (seen, unseen))
                biases = room(seen, found)
                if biases is None:
                    return Judged(0.0, 0.0)
            asked, unseen = (items.some_queries(x, places) for x in (seen, unseen))
            chosen = [order.topk(asked.add_gallery_bias(x), 1) for x in biases]
            apart = None if room is None else _different(*(x.indices for x in chosen))
            judging = equally_popular(unseen, apart=apart)
            ranks = [_log_ranks(judging, x) for x in chosen]
            total += torch.stack(
                [(ranks[0] - ranks[1]).sum(), ranks[0].sum(), torch.ones_like(ranks[0]).sum()]
            )
    total = comm.all_sum(total) if sim.shard == "queries" else total
    gained, rank = (total[:2] / total[2].clamp_min(1)).tolist()
    if room is not None and gained < 0 and _common_hubs(sim, _over(sim, means, axes), found):
        gained = 0.0
    by_chance = math.lgamma(found.columns + 1) / max(found.columns, 1)
    return Judged(gained, by_chance - rank)


def _common_hubs(sim: Pair, about: Pair, found: Masses) -> bool:
    """Whether queries crowd round few items, and no more so about the means of both sides.

    What all queries have in common makes hubs; items that queries share, they share about the means
    too.
    """
    crowded = crowding(sim, found)
    return crowded > _CROWDED and crowding(about, found) < crowded / 2


def moved(sim: Similarity, gallery_bias: Tensor, found: Masses) -> float:
    """Share of some queries whose first item is another with these biases."""
    some = items.some_queries(sim, items.spread_out(sim, found.live_queries, _QUERIES))
    one, other = (order.topk(x, 1).indices for x in (some, some.add_gallery_bias(gallery_bias)))
    moved = (one != other).double()
    total = torch.stack([moved.sum(), torch.ones_like(moved).sum()])
    total = comm.all_sum(total) if sim.shard == "queries" else total
    return float(total[0] / total[1].clamp_min(1))


def _over(sim: Pair, means: Tensor, axes: Tensor) -> Pair:
    """The same queries and items about their means, over some axes."""
    stored = isinstance(sim.queries, StoredRows) or isinstance(sim.gallery, StoredRows)
    # Stored rows keep their width: the same products from their projections.
    turn = (axes @ axes.T if stored else axes).to(sim.dtype).contiguous()
    queries, items = (
        mapped(centred(x, mean.to(sim.dtype), what, unit=False), turn, what, unit=False)
        for x, mean, what in (
            (sim.queries, means[0], "queries"), (sim.gallery, means[1], "gallery"),
        )
    )  # fmt: skip
    plain = {"left": None, "right": None, "query_mass": None, "gallery_mass": None}
    return replace(sim, queries=queries, gallery=items, metric="dot", **plain)


def _different(one: Tensor, other: Tensor) -> Tensor:
    """(n, 2) two items of every query, -1 in place of one that is the other."""
    return torch.cat([one, torch.where(one == other, -1, other)], dim=1)


def equally_popular(sim: Similarity, *, apart: Tensor | None = None) -> Similarity:
    """Scores without what items have from all queries alike, by a wide inverted softmax.

    Args:
        sim: (n, m) scores.
        apart: (n, k) items that a query has no vote for, or None.
    """
    width = max(reduce.spread(sim)[1] / _WIDTH, 1e-30)
    if apart is None:
        return sim.add_gallery_bias(-width * reduce.logsumexp(sim, width, over="queries"))
    each = torch.full((sim.shape[0],), 1 / reduce.total_queries(sim), device=sim.device)
    left, votes = without(sim, apart, each)
    level = reduce.logsumexp(left, width, over="queries") - votes
    return sim.add_gallery_bias(torch.where(torch.isfinite(level), -width * level, 0))


def _log_ranks(sim: Similarity, chosen: TopK) -> Tensor:
    """(n,) logarithm of the rank of each query's chosen item."""
    rows = torch.arange(sim.shape[0], device=sim.device)
    better, _ = order.count_better(sim, order.gather_pairs(sim, rows, chosen.indices[:, 0]))
    return (better + 1).double().log()
