"""How wide the softmax should be that an item's popularity is read from, without labels.

Items may be too popular in two ways. Where all their scores lie higher, any width shows it, and a
wide one with the least noise. Where only their best ones do (scores that vary more from query to
query), a wide softmax hardly sees it, and a narrow one sees one hub behind the other, so it is
taken in rounds. Distinct queries of one-to-one data never want the same item,
so the right width is the one whose correction lets queries that it has not seen collide least:

    P_ij = softmax_j((S_ij + p_j) / tau)      p: popularity with one half, i: queries of the other
    C    = sum_j ((sum_i P_ij)^2 - sum_i P_ij^2)

and both halves in turn. The usual width stays unless C tells clearly.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from rerank.core import comm
from rerank.core.similarity import Similarity
from rerank.methods.marginals import Masses
from rerank.methods.popularity import popularity
from rerank.passes import cross, reduce
from rerank.passes import gallery as items
from rerank.passes.sinkhorn.choose import compiled
from rerank.passes.sinkhorn.sweepers import Sweeper


class Wide(NamedTuple):
    """A softmax that popularity is read from.

    Attributes:
        t: its width; in spacings below, else in score units.
        rounds: how often popularity is read and corrected.
    """

    t: float
    rounds: int = 1

    def of(self, spacing: float) -> "Wide":
        """In score units."""
        return Wide(self.t * spacing, self.rounds)


# Still narrower is noise; wider is nearly the mean score, and where pairs are not scored the number
# of those that are.
USUAL, NARROW = Wide(2.0), Wide(1.0, rounds=4)
# Queries that are looked at. Fewer than _TWICE are halved twice, than _FEWEST not at all.
_MOST, _TWICE, _FEWEST = 500, 200, 4
# Share of the queries that are about things of their own, where those that are not do not matter.
_DISTINCT = 0.95
# The narrow one must save this share of the collisions, and this many.
_SHARE, _LEAST = 0.03, 0.01


def width(sim: Similarity, tau: float, spacing: float, found: Masses) -> Wide:
    """The width in score units: two spacings, or one.

    Args:
        sim: (n, m) scores.
        tau: temperature in score units, of the queries' choices.
        spacing: h in score units.
        found: which queries and items are live.
    """
    split = sim.shard == "queries"
    flags = found.live_queries
    flags = comm.gather_rows(flags.to(torch.uint8)).bool() if split else flags
    places = torch.nonzero(flags)[:, 0]
    # Queries that are several of one thing want one item, and collide rightly.
    if len(places) < _FEWEST or found.queries < _DISTINCT * found.rows:
        return USUAL.of(spacing)
    collided = dict.fromkeys((USUAL, NARROW), 0.0)
    for seed in range(1 if len(places) >= _TWICE else 2):
        drawn = torch.randperm(len(places), generator=torch.Generator().manual_seed(seed))[:_MOST]
        # In order, as they are where queries are split over processes.
        halves = [places[part.sort().values.to(places.device)] for part in drawn.chunk(2)]
        for one, other in (halves, halves[::-1]):
            seen, unseen = (items.some_queries(sim, half) for half in (one, other))
            log_a = _equal(seen, len(one))
            step = _kernel(seen, NARROW.t * spacing, log_a)
            for wide in collided:
                bias, _ = popularity(
                    seen, wide.t * spacing, found=found, log_a=log_a, queries=float(len(one)),
                    rounds=wide.rounds, step=step,
                )  # fmt: skip
                collided[wide] += collisions(unseen, tau, bias)
    usual = collided[USUAL]
    saved = usual - collided[NARROW]
    return (NARROW if saved > max(_LEAST, _SHARE * usual) else USUAL).of(spacing)


def _kernel(sim: Similarity, t: float, log_a: Tensor) -> Sweeper | None:
    """One for all rounds, of the narrow softmax (the wide one is a power of it), where it pays."""
    if sim.shard is not None or not compiled(sim):
        return None
    step = reduce.sweeper(sim, t, log_a=log_a, sweeps=USUAL.rounds + NARROW.rounds)
    step(torch.zeros(sim.shape[1], dtype=sim.dtype, device=sim.device))
    return step


def collisions(sim: Similarity, tau: float, gallery_bias: Tensor) -> float:
    """Pairs of queries, each counted twice, that are expected to choose one item.

    Args:
        sim: (n, m) scores.
        tau: temperature in score units.
        gallery_bias: (m,) p.
    """
    one_each = torch.ones(sim.shape[0], dtype=torch.float64, device=sim.device)
    # In full: few collisions are a small difference of large numbers.
    found = cross.softmax_columns(
        sim, tau, query_mass=one_each, gallery_bias=gallery_bias, rough=False
    )
    if found is not None:
        return float(found[0].square().sum() - found[1].sum())
    f, log_load = reduce.sweep(sim, tau, gallery_bias, _equal(sim, 1))
    load = (2 * log_load.double()).exp()
    squares = reduce.logsumexp(sim, tau / 2, over="gallery", plus=gallery_bias)
    own = (squares.double() + 2 * f.double() / tau).exp()
    total = torch.where(torch.isfinite(load), load, 0).sum()
    alone = torch.where(torch.isfinite(own), own, 0).sum()
    total = comm.all_sum(total) if sim.shard == "gallery" else total
    alone = comm.all_sum(alone) if sim.shard == "queries" else alone
    return float(total - alone)


def _equal(sim: Similarity, count: int) -> Tensor:
    return torch.full((sim.shape[0],), -math.log(count), dtype=sim.dtype, device=sim.device)
