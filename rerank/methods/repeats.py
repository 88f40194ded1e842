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

Queries of one item need not be alike. Where they are sure of their item all the same, they show it:

    D = (1 - c(g) / c(p)) / (1 - c(p) + .02)    what equal items take of the confidence, in units of
                                                what the queries alone leave open

with the biases p of popularity alone, so that hubs do not count as certainty; 0 in their place
tells cheaply where to look. Where all items are wanted alike, D is .5 or less for c of .75 and more
(0 to .5 on real sets, whole and cut); with a tenth of the items unasked and queries that are nearly
certain it is 2.

Queries that are not sure show neither. What equality moves them to is then judged by half of the
dimensions, which had no say (`rerank.methods.equal_items`); and so is what the traces above say.
Where queries are no more than items, halves of the scores show sharing itself
(`rerank.methods.shared_items`).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from rerank.core import comm
from rerank.core.arrays import inner
from rerank.core.similarity import Similarity
from rerank.core.words import Counting
from rerank.methods.equal_items import Judged
from rerank.methods.marginals import Masses, centred
from rerank.methods.score_axes import COPY, MOST_ITEMS
from rerank.passes import gallery as items
from rerank.passes import reduce

# Rows, and rows and columns of a square, that are looked at.
ROWS, _SQUARE = 1000, 1000
_SOFT = 0.7
# One-to-one data is at least so alike from both sides; A from which full biases cost much, and
# from which they do in both directions.
COSTLY = 1.1
_LEAST_ALIKE, _COST, _BOTH = 0.8, (COSTLY, 1.2), (1.17, 1.25)
# The same of so many queries for each item, which keep their confidence: 1.06 and less with three
# quarters of the items wanted or more, 1.07 and more with half of them.
MANY, _COST_MANY = 2.0, (1.055, 1.08)
# D below which it may be hubs that both sides pay for.
_BEYOND = (0.72, 0.88)
# Rows and columns from which something can be seen.
_ENOUGH = (30, 50)
# And from which queries that are sure of their items are believed: the fewer they are, the less it
# tells sharing from equality that is too tight, and the less that gains.
_ENOUGH_SURE = (4, 8)
# And from which axes without a say are believed of few queries, each of which they judge.
_ENOUGH_AXES = (15, 30)
# Share of the queries with another first item under equality: up to .4 on sets at hand that have no
# hubs, .42 and more with half of the items unasked.
_MOVED = (0.42, 0.5)
# What equality costs, in nats of rank over unseen axes, that tells of items nobody wants.
_WORSE = (0.15, 0.25)
# The same over axes of the scores themselves, which gain by what they fit; and by how much more
# ranks must be below chance there, before equality gains anything. Of few queries with room for one
# both are less.
_OWN, _OWN_FEW = ((-0.55, -0.4), (0.75, 0.95)), ((0.02, 0.1), (0.5, 0.7))
# What it gains there that tells of items that are all wanted, however alike queries are.
_BETTER = (0.25, 0.4)
# How much more often than by chance two queries agree on an item, where each has room for one.
_SHARED = (1.15, 1.4)
# By how much r must be lower where a quarter of the items, or more, cannot be asked.
_SLACKER = 0.15
# What the surest queries leave open.
_OPEN = 0.02
# A glance at so many rows tells whether D may matter.
_GLANCE, _SUSPECT = 300, 0.5


@dataclass(frozen=True)
class Repeats:
    """What was seen.

    Attributes:
        weight: 0 = no repeats, 1 = certainly.
        alike: r, cost: A; NaN where there was too little to see anything.
        rows: queries that the cost was read from.
        gain: of equality, or of room for one, in log rank over unseen axes, where these told; else
            NaN.
        shared: how many times as often as by chance two queries agree on an item, where that told;
            else NaN.
        sure: c(p), kept: c(g); NaN where these were not needed.
        of: what repeats: the queries, or the items as queries of the other direction.
        few: whether what tells is the cost of room for one query at every item, which few have.
    """

    weight: float
    alike: float = math.nan
    cost: float = math.nan
    sure: float = math.nan
    kept: float = math.nan
    rows: int = 0
    gain: float = math.nan
    shared: float = math.nan
    of: Literal["queries", "items"] = "queries"
    few: bool = False

    @property
    def reason(self) -> str:
        """What was seen, for a person."""
        if math.isfinite(self.shared):
            return (
                f"queries seem to share items (both halves of the scores agree on one item for two "
                f"queries {self.shared:.1f} times as often as by chance)"
            )
        if math.isfinite(self.gain) and self.few:
            return (
                f"queries seem to share items (if each item is of one query at most, they get "
                f"items that dimensions without a say rank {math.expm1(-self.gain):.0%} lower)"
            )
        if math.isfinite(self.gain) and self.gain > -_WORSE[0]:
            return (
                f"items seem to be asked unevenly (if all are asked alike, queries are "
                f"{1 - 1 / self.cost:.0%} less sure, and gain little by it)"
            )
        if math.isfinite(self.gain):
            return (
                f"items seem to be asked unevenly (if all are asked alike, queries get items that "
                f"dimensions without a say rank {math.expm1(-self.gain):.0%} lower)"
            )
        if self.few:
            return (
                f"queries are {self.sure:.0%} sure of their first items, and {self.kept:.0%} if "
                "each item is of one query at most"
            )
        if math.isfinite(self.sure):
            asked, asking = ("items", "queries") if self.of == "queries" else ("queries", "items")
            return (
                f"{asked} seem to be asked unevenly ({asking} are {self.sure:.0%} sure of the "
                f"first of them, and {self.kept:.0%} if all are asked alike)"
            )
        if self.alike > _LEAST_ALIKE and self.of == "queries":
            return (
                f"items seem to be asked unevenly (items asked alike would cost both sides "
                f"confidence, {self.cost - 1:.0%} at .7 of the correction)"
            )
        other = "items" if self.of == "queries" else "queries"
        nearer = f"{1 - self.alike:.0%} closer than those of {other}"
        return f"{self.of} seem to repeat (nearest neighbours {nearer})"


def repeats(
    sim: Similarity,
    tau: float,
    *,
    gallery_bias: Tensor,
    found: Masses,
    duplicates: Counting = "share",
    others: Callable[[], Tensor] | None = None,
) -> Repeats:
    """Whether queries repeat, from samples of the scores and the biases of the fit without.

    Args:
        sim: (n, m) scores.
        tau: temperature in score units.
        gallery_bias: (m,) g of equality, or of few queries.
        found: which queries and items are live.
        duplicates: exact copies that share a mass already are no repeats.
        others: makes the biases p of popularity alone, asked for only where c(0) doubts; without
            it that doubt stands.
    """
    count = min(found.rows, found.columns)
    enough = ramp(count, *_ENOUGH)
    few = found.slack > 0 and count < _ENOUGH[1]
    sure_enough = ramp(count, *_ENOUGH_SURE)
    if not sure_enough:
        return Repeats(0.0)
    side = min(found.rows, found.columns, _SQUARE)
    rows = items.spread_out(sim, found.live_queries, side)
    columns = items.spread_out(sim.T, found.live_items, side)
    alike = _alike(items.corner(sim, rows, columns), copies=duplicates == "count")
    split, none = sim.shard == "queries", torch.zeros_like(gallery_bias)

    def some(count: int = ROWS) -> Similarity:
        return items.some_queries(sim, items.spread_out(sim, found.live_queries, count))

    # Beside a slack row items need not be asked at all: less is lost, and less is certain.
    least = _SLACKER * min(1.0, max(0.0, 4 * found.slack))
    weight = ramp(alike, _LEAST_ALIKE - least, 0.65 - least) if enough else 0.0
    biases = none, gallery_bias, _SOFT * gallery_bias
    sure, kept, soft = _confidence(some(_GLANCE), tau, biases, split=split)
    doubted = _open(sure, kept) > _SUSPECT
    if not weight and not doubted:
        return Repeats(0.0, alike, soft / kept, rows=_GLANCE)
    sure, kept, soft = _confidence(some(), tau, biases, split=split)
    cost = soft / kept
    if weight:
        weight = min(weight, ramp(cost, *_COST), enough)
    if doubted:
        uneven = min(_doubt(sure, kept), sure_enough)
        if uneven > weight and others is not None:
            # Hubs make queries sure of the wrong items: without hubs they must still be.
            (sure,) = _confidence(some(), tau, (others(),), split=split)
            uneven = min(_doubt(sure, kept), sure_enough)
        if uneven > weight:
            return Repeats(uneven, alike, cost, sure, kept, ROWS, few=few)
    return Repeats(weight, alike, cost, rows=ROWS)


def from_both_sides(
    sim: Similarity, tau: float, *, gallery_bias: Tensor, query_bias: Tensor, found: Masses,
    seen: Repeats, others: tuple[Callable[[], Tensor], Callable[[], Tensor]],
) -> Repeats:  # fmt: skip
    """What the other direction tells of repeats where this one shows none.

    Items may repeat, being the queries of the other direction: to be equally probable, a hundred
    texts of one video would need a hundred videos, and take them from other texts. And repeats that
    no neighbour shows cost confidence on both sides: one side of one-to-one data always keeps it (A
    of 1.1 or less on all sets at hand, and on made ones near chance; 1.17 and more where some items
    are asked ten times as often as others). Many hubs come near that (1.1 to 1.2 with three
    quarters of the dimensions gone), so D has to say the same.

    Args:
        sim: (n, m) scores.
        tau: temperature in score units.
        gallery_bias: (m,) g of equality.
        query_bias: (n,) f of the same plan.
        found: which queries and items are live.
        seen: what queries showed, without a weight.
        others: as in `repeats`, of this direction and of the other.
    """
    if not seen.cost > COSTLY:
        return seen
    mine = ramp(min(found.rows, found.columns), *_ENOUGH)
    paid = seen.cost if seen.rows == ROWS else cost(sim, tau, gallery_bias, found)
    mine = min(mine, ramp(paid, *_COST))
    if not mine:
        return seen
    level, _ = centred(query_bias, found.live_queries, split=sim.shard == "queries")
    told = Repeats(0.0)
    if seen.alike > 1 / _LEAST_ALIKE:
        told = repeats(
            sim.T, tau, gallery_bias=level, found=found.T, duplicates="count", others=others[1]
        )
        told = replace(told, of="items")
    if not told.weight:
        back = told.cost if told.rows == ROWS else cost(sim.T, tau, level, found.T)
        told = replace(seen, weight=ramp(back, *_BOTH), cost=back)
    mine = min(mine, told.weight)
    if mine:
        # One-to-one data with a few hubs pays too, but not beyond what hubs had taken. Asked last:
        # it takes passes over all pairs.
        split = sim.shard == "queries"
        some = items.some_queries(sim, items.spread_out(sim, found.live_queries, ROWS))
        sure, kept = _confidence(some, tau, (others[0](), gallery_bias), split=split)
        mine = min(mine, ramp(_open(sure, kept), *_BEYOND))
    return replace(told, weight=mine) if mine else seen


@dataclass(frozen=True, eq=False)
class Judge:
    """What axes without a say tell of equality, or of room for one.

    Attributes:
        moved: finds the share of queries that it moves.
        judged: finds what such axes tell (`rerank.methods.equal_items`).
        own: whether these are axes of the scores themselves, not of embeddings.
        many: finds A of all the queries that are looked at, where they are so many that little of
            it tells; else None.
    """

    moved: Callable[[], float]
    judged: Callable[[], Judged]
    own: bool = False
    many: Callable[[], float] | None = None


def from_unseen_axes(seen: Repeats, found: Masses, judge: Judge) -> Repeats:
    """What axes without a say tell of uneven asking that queries hardly show.

    Equality then costs confidence (A), which it also does where there are hubs, or queries without
    an item; and it moves queries to items that axes without a say rank lower, which it does not
    there. Where queries outnumber items it is enough that it moves many: one-to-one data of a weak
    model shows that too, and to correct popularity alone is no worse there.

    Axes of the scores themselves fit them, and whatever is chosen gains by that: where equality
    costs confidence, .7 and more on one-to-one data at hand, .25 and less with a tenth of the items
    wanted. They tell nothing where choices over some of them are hardly better than chance over the
    others. Few queries gain little there by room for one, and lose a little where they share items.

    Args:
        seen: what queries showed.
        found: which queries and items are live.
        judge: the axes.
    """
    limits = _ENOUGH_AXES if found.slack > 0 else _ENOUGH
    enough = ramp(min(found.rows, found.columns), *limits)
    if seen.weight >= enough:
        return seen
    tells = ramp(seen.cost, *_COST)
    if judge.many is not None:
        tells = ramp(judge.many(), *_COST_MANY)
    elif tells < 1 and found.rows > found.columns and not judge.own:
        tells = max(tells, ramp(judge.moved(), *_MOVED))
    weight = min(enough, tells)
    if weight <= seen.weight:
        return seen
    told, few = judge.judged(), found.slack > 0
    if judge.own:
        gain, skill = _OWN_FEW if few else _OWN
        weight = min(weight, ramp(-told.gain, *gain))
        weight = min(weight, ramp(told.skill - told.gain, *skill))
    else:
        weight = min(weight, ramp(-told.gain, *_WORSE))
    if weight <= seen.weight:
        return seen
    return replace(seen, weight=weight, gain=told.gain, few=few)


def from_shared_items(seen: Repeats, found: Masses, *, shared: Callable[[], float]) -> Repeats:
    """What halves of the scores tell of items that several queries want, with room for one.

    Asked where room for one costs confidence (A), as it does on all such sets at hand.

    Args:
        seen: what was seen else.
        found: which queries and items are live.
        shared: finds how much more often than by chance two queries agree on an item.
    """
    enough = ramp(min(found.rows, found.columns), *_ENOUGH)
    many = found.queries > found.items or found.columns > MOST_ITEMS
    if many or seen.weight >= enough or not seen.cost > COSTLY:
        return seen
    ratio = shared()
    weight = min(enough, ramp(ratio, *_SHARED))
    return replace(seen, weight=weight, shared=ratio) if weight > seen.weight else seen


def doubted(seen: Repeats, found: Masses, judge: Judge) -> Repeats:
    """Less of it, where equality moves queries to items that unseen axes rank far higher.

    A gallery with noise makes its items less alike than queries that do not repeat.
    """
    # Few queries may have been seen by what they are sure of; own axes always rank higher.
    if not seen.weight or found.slack > 0 or judge.own:
        return seen
    return replace(seen, weight=seen.weight * (1 - ramp(judge.judged().gain, *_BETTER)))


def cost(sim: Similarity, tau: float, gallery_bias: Tensor, found: Masses) -> float:
    """A of a sample of the queries."""
    split = sim.shard == "queries"
    some = items.some_queries(sim, items.spread_out(sim, found.live_queries, ROWS))
    kept, soft = _confidence(some, tau, (gallery_bias, _SOFT * gallery_bias), split=split)
    return soft / kept


def _open(sure: float, kept: float) -> float:
    """D, from two confidences."""
    return (1 - kept / sure) / (1 - sure + _OPEN)


def _doubt(sure: float, kept: float) -> float:
    """0 to 1, from D and c."""
    return min(ramp(_open(sure, kept), 0.75, 1.1), ramp(sure, 0.75, 0.85))


def ramp(x: float, zero: float, one: float) -> float:
    """0 up to `zero`, 1 from `one` on, straight between; `zero` may be the larger one."""
    return min(1.0, max(0.0, (x - zero) / (one - zero)))


def _alike(square: Tensor, *, copies: bool) -> float:
    """R of a square of scores, each side double-centred."""
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
        near.masked_fill_(near > 1 - COPY, -1)
    return float(near.amax(dim=1).double().mean())


def _confidence(
    some: Similarity, tau: float, biases: Sequence[Tensor], *, split: bool
) -> list[float]:
    """Mean largest share of some queries against all items, under each of the biases."""
    share = reduce.row_peaks(some, tau, gallery_biases=biases).double().exp()
    total = torch.stack([share.sum(dim=1), share.new_full((len(share),), float(share.shape[1]))])
    total = comm.all_sum(total) if split else total
    return (total[0] / total[1].clamp_min(1)).clamp_min(1e-9).tolist()
