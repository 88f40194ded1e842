"""Whether an alignment learned from a plan helps, judged by axes that had no say in it.

A plan chooses items that score high, rightly or wrongly. In a wrong pair whatever makes its score
high goes together too, most where variances are large. A map learned from wrong pairs stretches the
axes that decide already; the next plan is surer, and worse. The plan itself looks no different.
Axes that took no part in a choice tell:

    A, B    the principal axes of both sides; of two neighbours in the spectrum one each, by a coin
    j_i     the best item of query i over A alone
    r_i     the rank of j_i over B;   r~_i the same after B's own alignment, from other queries
    gain    mean of log r_i - log r~_i, with A and B in turn

Where j_i is wrong its rank over B is chance, before and after. Where it is right, or means the
same, a map that helps brings it up. The popularity of items is taken out of every score first, by
an inverted softmax over the same queries.

A selection shows only where items are dense. How dense, is the number of items for each dimension
that scores have: tr(C_t) tr(C_v) / tr(C_t C_v) with the covariances C of both sides.
"""

from dataclasses import replace

import torch
from torch import Tensor

from rerank.core import comm
from rerank.core.similarity import Dense, Pair, Similarity
from rerank.methods.residual_ridge import residual_ridge
from rerank.passes import gallery, order, reduce
from rerank.passes.cross import Moments, plan_moments

# Items for each dimension of the scores: below, pairs are too far apart for a wrong choice to
# look right in many axes at once.
_SPARSE, _DENSE = 10.0, 20.0
# Gain in nats of rank: made worlds where no map helps stay below the first.
_NOTHING, _CLEAR = 0.02, 0.06
# Queries that are looked at, fewer where their scores would be more numbers than this.
_QUERIES, _NUMBERS = 256, 2**24
_FEWEST = 64
# Widths of the inverted softmax in a standard deviation of the scores.
_WIDTH = 3.0


def trust(
    sim: Pair, found: Moments, pairs: float, *, tau: float, gallery_bias: Tensor,
    query_mass: Tensor, ridge: float, query_bias: Tensor | None = None, seed: int = 0,
) -> float:  # fmt: skip
    """How much of an alignment to use, 0 to 1: all where items are sparse, or where it helps.

    Args:
        sim: embeddings of both sides.
        found: moments of the plan, with its own masses.
        pairs: of mass one that they stand for.
        tau: of the plan, in score units.
        gallery_bias: (m,) of the plan.
        query_mass: (n,) of the plan, of the queries in this process.
        ridge: of the alignment.
        query_bias: (n,) of the plan, where the gallery is split over processes.
        seed: of queries and coins.
    """
    n, m = reduce.total_queries(sim), reduce.total_gallery(sim)
    dense = (min(n, m) / dimensions(found) - _SPARSE) / (_DENSE - _SPARSE)
    if dense <= 0:
        return 1.0
    coin = torch.Generator().manual_seed(seed)
    count = min(_QUERIES, max(_FEWEST, _NUMBERS // m), n // 2)
    places = torch.randperm(n, generator=coin)[:count].sort().values.to(sim.device)
    some = gallery.some_queries(sim, places)
    assert isinstance(some, Pair)
    mine = gallery.mine(sim, places)
    seen = plan_moments(
        some, tau, gallery_bias=gallery_bias, query_mass=query_mass[mine],
        query_bias=None if query_bias is None else query_bias[mine],
    ).moments  # fmt: skip
    others = (found - seen).scaled(pairs / float(found.mass))
    gain = held_gain(some, others, ridge=ridge, coin=coin)
    clear = (gain - _NOTHING) / (_CLEAR - _NOTHING)
    return max(0.0, min(1.0, max(1 - dense, clear)))


def dimensions(moments: Moments) -> float:
    """Of the scores: one over the variance of cosines about both means."""
    asked, searched = _covariance(moments), _covariance(moments.T)
    overlap = float((asked * searched).sum())
    return float(torch.trace(asked) * torch.trace(searched)) / max(overlap, 1e-300)


def held_gain(some: Pair, others: Moments, *, ridge: float, coin: torch.Generator) -> float:
    """The gain in log rank of some queries by the alignment that others ask for.

    Args:
        some: queries against the whole gallery.
        others: moments of the pairs of other queries.
        ridge: of the alignment.
        coin: parts the axes.
    """
    pooled = _covariance(others) + _covariance(others.T)
    axes = torch.linalg.eigh(pooled).eigenvectors.flip(1)
    left, right = parted(axes.shape[1], coin, device=axes.device)
    total = torch.zeros(2, dtype=torch.float64, device=some.device)
    for judges, judged in ((left, right), (right, left)):
        chosen = order.topk(_scored(some, others, axes[:, judges], None), 1).indices[:, 0]
        ranks = [
            _log_rank(_scored(some, others, axes[:, judged], weight), chosen)
            for weight in (None, ridge)
        ]
        total += torch.stack([(ranks[0] - ranks[1]).sum(), torch.ones_like(ranks[0]).sum()])
    total = comm.all_sum(total) if some.shard == "queries" else total
    return float(total[0] / total[1].clamp_min(1))


def parted(count: int, coin: torch.Generator, *, device: torch.device) -> tuple[Tensor, Tensor]:
    """Places of axes in two halves: of two neighbours one each."""
    pairs = count // 2
    first = torch.randint(0, 2, (pairs,), generator=coin).to(device)
    place = 2 * torch.arange(pairs, device=device)
    return place + first, place + 1 - first


def _scored(some: Pair, others: Moments, axes: Tensor, ridge: float | None) -> Dense:
    """Scores over some axes, after their own alignment with a ridge, popularity taken out."""
    asked, searched = others.queries / others.mass, others.items / others.mass
    rows = (some.queries[:].double() - asked) @ axes
    if ridge is not None:
        own = _over(others, axes)
        to_items, _ = residual_ridge(own, ridge)
        to_queries, _ = residual_ridge(own.T, ridge)
        rows = rows @ to_items @ to_queries.T
    # The axes are orthonormal: products over them need the queries alone in them.
    queries = rows @ axes.T
    scores = replace(some, queries=queries.to(some.dtype), metric="dot", left=None, right=None)
    found = torch.empty(some.shape, dtype=some.dtype, device=some.device)
    for part, block in scores.blocks():
        found[part] = block
    # What a query scores against the mean item is the same for all items, but weighs the query.
    found -= (queries @ searched).to(found.dtype)[:, None]
    made = Dense(found, shard=some.shard)
    width = max(reduce.spread(made)[1] / _WIDTH, 1e-30)
    popularity = width * reduce.logsumexp(made, width, over="queries")
    return made.add_gallery_bias(-popularity)


def _log_rank(scores: Similarity, chosen: Tensor) -> Tensor:
    """(n,) logarithm of the rank of the chosen items."""
    rows = torch.arange(len(chosen), device=chosen.device)
    better, _ = reduce.count_better(scores, reduce.gather_pairs(scores, rows, chosen))
    return (better + 1).double().log()


def _over(moments: Moments, axes: Tensor) -> Moments:
    """The moments of rows that are projected on some axes."""
    second = (axes.T @ x @ axes for x in (moments.qq, moments.vv, moments.qv))
    return Moments(moments.mass, moments.queries @ axes, moments.items @ axes, *second)


def _covariance(moments: Moments) -> Tensor:
    """(d, d) of the queries, about their mean."""
    mean = moments.queries / moments.mass
    return moments.qq / moments.mass - torch.outer(mean, mean)
