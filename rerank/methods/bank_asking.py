"""How far equality may be asked of items whose queries are a bank's.

Queries of a bank are not the ones that are ranked, so there is nothing to count. Two things make
equality wrong there:

- They ask items unevenly, as past queries of a shop do, and clips of a few classes. The queries to
  come do likewise, and popularity is then no error. It shows as it does among test queries
  (`rerank.methods.repeats`): equality costs their confidence (A), and axes that had no say gain
  little by it (`rerank.methods.equal_items`). Then the popularity with others is corrected alone,
  which is hardly less where items are asked alike after all. Axes of the scores themselves fit
  queries of few items, and equality seems to gain by it; but a choice over half of them is then
  hardly better than chance over the others, and the gain tells nothing.
- They are few, and say too little of most items. So much of the correction is used:

    share = n / (n + 30)

On banks of other items, 10 to 1,600 queries of four sets, equality gains as before from a hundred
queries on, but for a point or two. With 50 queries or 300 that ask a tenth to half of the items, or
by rank, it lost 5 to 60 points, and none now; with ten queries up to 11, and none now
(`tests/bench/bank_asking_table.py`).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor

from rerank.core.similarity import Similarity
from rerank.core.wording import option
from rerank.methods.crowd import overrides
from rerank.methods.equal_items import Judged
from rerank.methods.marginals import Masses
from rerank.methods.repeats import cost, ramp, repeats
from rerank.methods.temperature import Temperature

# Bank queries that carry half of the correction; and below which that is said.
_HALF, _SAID = 30, 120
# A from which equality costs something, and from which much: of embeddings, and of scores alone.
_COST, _COST_OWN = (1.06, 1.12), (1.08, 1.14)
# Gain in nats of rank above which equality is believed, and below which it is not: .2 and more
# where it gains much on banks of other items; with axes of the scores, which fit them, .46.
_GAIN, _GAIN_OWN = (0.2, 0.1), (0.42, 0.32)
# By how much ranks must be below chance over own axes, before equality gains anything, for a gain
# to tell: the bounds of test queries. And queries from which that is asked.
_SKILL_OWN, _ENOUGH_OWN = (0.95, 0.75), (15, 30)
# Queries for each item from which own axes need not be asked, and the A that tells then: 1.24 and
# less on banks of other items, 1.43 and more with a tenth of the items asked.
_MANY, _COST_MANY = 2, (1.26, 1.4)


@dataclass(frozen=True)
class Asking:
    """What was seen of a bank.

    Attributes:
        weight: 0 = its queries may ask items alike, 1 = certainly not.
        share: of the correction that so many queries carry.
        queries: how many, copies as one.
        cost: A.
        many: whether they are many for each item, and equality should cost them little.
    """

    weight: float = 0.0
    share: float = 1.0
    queries: int = 0
    cost: float = math.nan
    many: bool = False

    def doubts(self, *, own: bool) -> bool:
        """Whether axes without a say, of the scores themselves or not, could tell more."""
        return ramp(self.cost, *(_COST_OWN if own else _COST)) > self.weight

    def told(self, axes: Judged, *, own: bool) -> "Asking":
        """The same with what such axes tell."""
        paid, gain = (_COST_OWN, _GAIN_OWN) if own else (_COST, _GAIN)
        doubted = ramp(axes.gain, *gain)
        if own:
            enough = ramp(self.queries, *_ENOUGH_OWN)
            doubted = max(doubted, enough * ramp(axes.skill - axes.gain, *_SKILL_OWN))
        weight = ramp(self.cost, *paid) * doubted
        if own and self.many:
            # Few wanted items fit their own axes well.
            weight = max(weight, ramp(self.cost, *_COST_MANY))
        return replace(self, weight=max(weight, self.weight))

    @property
    def sentences(self) -> tuple[str, ...]:
        """What was seen and done, for a person."""
        out = []
        if self.queries and self.weight < 0.995:
            out.append(
                f"{self.queries:,} bank queries without known pairs: all items count as equally "
                f"probable; say {option('rho', 0)} if they ask some far more than others, which "
                "leaves all as it is"
            )
        if self.weight >= 0.005:
            part = f"{self.weight:.0%} of the correction is"
            most = "items are corrected" if self.weight == 1 else part
            out.append(
                f"the bank's queries seem to ask items unevenly (if all were asked alike, they "
                f"would be {1 - 1 / self.cost:.0%} less sure), so {most} for popularity alone "
                f"({overrides()})"
            )
        if 0 < self.queries < _SAID:
            out.append(
                f"{self.queries} bank queries: {self.share:.0%} of the correction is used "
                f"({option('rho', 1)} uses all of it, {option('rho', 0)} none)"
            )
        return tuple(out)


def asking(
    sim: Similarity, chosen: Temperature, *, gallery_bias: Tensor, found: Masses,
    others: Callable[[], Tensor],
) -> Asking:  # fmt: skip
    """How the queries of a bank ask the items, before axes were asked; the same on every process.

    Args:
        sim: (n, m) scores of the bank's queries.
        chosen: the temperature, and a spacing of 0 where all queries are copies.
        gallery_bias: (m,) g of equality, with mean zero.
        found: which queries and items are live.
        others: makes the biases of popularity alone.
    """
    counted = of_count(found)
    if chosen.tau is None or not chosen.spacing:
        return counted
    seen = repeats(sim, chosen.tau, gallery_bias=gallery_bias, found=found, others=others)
    paid = cost(sim, chosen.tau, gallery_bias, found)
    return replace(counted, weight=seen.weight, cost=paid)


def of_count(found: Masses) -> Asking:
    """What is known of a bank by how many different queries it has."""
    count = round(found.queries)
    return Asking(0.0, count / (count + _HALF), count, many=count >= _MANY * found.items)
