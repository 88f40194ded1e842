"""Does a correction suit the queries that it is to be used for?

A bank corrects what its queries find too popular. That helps other queries as far as they find the
same items popular, wherever the gallery comes from. Where they do not, the correction itself makes
some items too popular. Without knowing any answer that shows: queries then meet at few items.

    p_i(s) = softmax_j((S_ij + s g_j) / t)               what query i wants, with s of correction g
    Q(s)   = mean over pairs of queries i, k of m <p_i(s), p_k(s)>      1 where all is chance

S is what the map before g makes of the scores, a map that has only s of its strength likewise. t is
a quarter of the spread of the incoming scores, so that a query wants its few best items. Pairs
estimate Q without bias for any number of queries, and the deviations of each query tell its noise.
The s of the least Q is the strength that suits these queries best. Queries may also want the same
items for good reasons; that adds to Q at every s and moves its least hardly at all.

Noise speaks for the bank: all of the correction is used where that is not surely worse than the
least, and less only where it is. Queries that lie elsewhere get the least; where they are few, no
more than what is surely better than less.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from rerank.core import comm
from rerank.core.similarity import Pair, Similarity
from rerank.methods.base import Bank
from rerank.passes import gallery as items
from rerank.passes import reduce
from rerank.selection.distinct import distinct_queries
from rerank.selection.foreign import ENOUGH
from rerank.selection.moments import FEWEST, Look, looks, moments_of

# Queries that are looked at, and the fewest whose deviations say anything.
_MOST, _LEAST = 1000, 10
_STRENGTHS = tuple(k / 8 for k in range(9))
# In units of the spread of scores.
_SHARP = 0.25
# More Q than the least by so many standard errors is worse.
_SURE = 3.0

# (some of the incoming queries x gallery, strength) -> the same, corrected by so much.
Corrected = Callable[[Similarity, float], Similarity]


@dataclass(frozen=True)
class Drift:
    """How a bank's correction suits the incoming queries.

    Attributes:
        queries: how many there are, copies that were seen as one.
        meetings: Q of each eighth of the correction, 0 to 1; empty for fewer than 10 queries.
        best: the strength of the least Q; 1 where there is none.
        least: the smallest strength that is not surely worse; 1 likewise.
        most: the largest.
        look: of embeddings, whether they lie elsewhere; None where nothing can be said.
    """

    queries: int
    meetings: tuple[float, ...]
    best: float
    least: float
    most: float
    look: Look | None

    @property
    def elsewhere(self) -> bool:
        """Whether they lie elsewhere than the bank's queries."""
        return self.look is not None and self.look.different

    @property
    def shrink(self) -> float:
        """Factor on the correction.

        1 unless that is surely too much, so that a fit never depends on queries like the bank's.
        Queries from elsewhere that are too few to measure anything get no correction.
        """
        if not self.meetings:
            return 0.0 if self.elsewhere else 1.0
        if self.elsewhere:
            found = self.least if self.queries < FEWEST else self.best
        else:
            found = self.most if self.most > ENOUGH else self.best
        return 1.0 if found > ENOUGH else found

    @property
    def different(self) -> str:
        """In which way the queries are different."""
        if self.look is not None and self.look.different:
            return self.look.sentence
        return "these queries prefer other items than those of the bank"

    @property
    def sentence(self) -> str:
        """What a person should know, or nothing."""
        if self.shrink < 1:
            return self.different
        if self.look is not None and self.look.different:
            return f"{self.look.sentence}, but no harm by the correction is seen"
        return ""

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "queries": self.queries,
            "meetings": list(self.meetings),
            "best": self.best,
            "auc": None if self.look is None else self.look.auc,
            "shrink": self.shrink,
        }


def drift(bank: Bank, sim: Similarity, corrected: Corrected | None = None) -> Drift | None:
    """Measure a bank's correction on the queries that are to be ranked.

    Args:
        bank: fitted on.
        sim: incoming queries x gallery.
        corrected: what a strength of the correction makes of them; None for one that has no
            strength, which is judged by the popularity that the bank's queries give each item.

    Returns:
        None where neither bank nor queries show anything.
    """
    total = reduce.total_queries(sim)
    _, spread = reduce.spread(sim)
    spaced = _spaced(total, sim)
    places = distinct_queries(sim, spaced)
    total -= len(spaced) - len(places)
    some = items.some_queries(sim, places)
    look = None
    if isinstance(bank.sim, Pair) and isinstance(some, Pair) and bank.sim.shard != "queries":
        asked = comm.gather_rows(some.queries[:]) if sim.shard == "queries" else some.queries
        look = looks(moments_of(bank.sim.queries), asked)
    if total < _LEAST or not spread > 0:
        return None if look is None else Drift(total, (), 1.0, 1.0, 1.0, look)
    tau = _SHARP * spread
    apply = corrected or popularity_taken(bank)
    found = [meetings(items.kept(apply(some, strength)), tau) for strength in _STRENGTHS]
    means, errors = _against_least(found, some)
    best = _STRENGTHS[means.index(min(means))]
    unlike = zip(_STRENGTHS, means, errors, strict=True)
    equal = [s for s, mean, error in unlike if mean - min(means) <= _SURE * error]
    return Drift(total, tuple(means), best, min(equal), max(equal), look)


def popularity_taken(bank: Bank) -> Corrected:
    """The correction that takes L_j = log sum_i softmax_j(S_ij / sigma) of the bank's queries.

    It is one step of a Sinkhorn at a wide temperature, and stands for corrections without a
    strength of their own.
    """
    _, sigma = reduce.spread(bank.sim)
    spaced = _spaced(reduce.total_queries(bank.sim), bank.sim)
    own = items.some_queries(bank.sim, distinct_queries(bank.sim, spaced))
    if not sigma > 0:
        return lambda sim, _: sim
    rows = reduce.logsumexp(own, sigma, over="gallery")
    f = torch.where(torch.isfinite(rows), -sigma * rows, torch.zeros_like(rows))
    level = -sigma * reduce.logsumexp(own, sigma, over="queries", plus=f)
    bias = items.neutral(bank.sim, level)
    return lambda sim, strength: sim.add_gallery_bias(strength * bias)


def _spaced(count: int, sim: Similarity) -> Tensor:
    """Places of at most 1,000 queries over all processes, evenly spaced."""
    steps = torch.linspace(0, count - 1, min(count, _MOST), dtype=torch.float64)
    return steps.round().long().to(sim.device)


def meetings(sim: Similarity, tau: float) -> Tensor:
    """(n,) of each query i the mean over the others k of m <p_i, p_k>, at temperature tau."""
    rows = reduce.logsumexp(sim, tau, over="gallery")
    alive = torch.isfinite(rows)
    f = torch.where(alive, -tau * rows, -torch.inf)
    wanted = reduce.logsumexp(sim, tau, over="queries", plus=f)
    met = (reduce.logsumexp(sim, tau, over="gallery", plus=tau * wanted) - rows).double().exp()
    itself = (reduce.logsumexp(sim, tau / 2, over="gallery") - 2 * rows).double().exp()
    others = max(1, reduce.total_queries(sim) - 1)
    found = (met - itself) * (reduce.total_gallery(sim) / others)
    return torch.where(alive, found, 0.0)


def _against_least(found: list[Tensor], sim: Similarity) -> tuple[list[float], list[float]]:
    """Mean of each strength, and the standard error of its difference to the least.

    A mean over pairs has twice the error of a mean over queries.
    """
    every = torch.stack(found)
    count = float(reduce.total_queries(sim))
    means = reduce.everywhere_sum(sim, every.sum(dim=1), over="queries") / count
    apart = every - every[int(means.argmin())]
    sums = torch.stack([apart.sum(dim=1), apart.square().sum(dim=1)])
    first, second = reduce.everywhere_sum(sim, sums, over="queries") / count
    errors = 2 * (second - first.square()).clamp_min(0).sqrt() / math.sqrt(count)
    return means.tolist(), errors.tolist()
