"""Do the incoming queries like the items that the bank's queries like?

A bank corrects what its queries find too popular. That helps other queries as far as they find the
same items popular, wherever the gallery comes from, and harms where they do not:

    L_j = log sum_i softmax_j(S_ij / sigma), centred          popularity, of one kind of queries
    a   = <L incoming, L bank> / |L bank|^2                   how much of it the incoming ones share

a is the strength of the bank's correction that leaves the incoming queries the least popularity to
correct. Matches of incoming queries lower it, as they do in rehearsals of a bank with known pairs:
there the correction was judged at its own a, which is the measure. Noise of a is taken to speak
for the bank.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from rerank.core import comm
from rerank.core.similarity import Pair, Similarity
from rerank.methods.base import Bank
from rerank.passes import gallery as items
from rerank.passes import reduce
from rerank.selection.foreign import ENOUGH
from rerank.selection.moments import FEWEST, Look, looks, moments_of

# Queries of a kind that are looked at, and parts of them that tell the noise.
_MOST, _PARTS = 1000, 5
# What incoming queries of the bank's kind share where hubs are worth correcting, and no pairs say
# what is usual: .65 to .9 of the halves of coco500, msrvtt100 and msvd's videos.
_USUAL = 0.75
# A bank whose own queries share less than this says nothing of others.
_LEAST = 0.05


@dataclass(frozen=True)
class Drift:
    """How far the incoming queries are from those of the bank.

    Attributes:
        shared: a.
        error: its standard error, over parts of the incoming queries.
        usual: a of rehearsals on the bank's own pairs; None where there are none.
        look: of embeddings, whether they lie elsewhere; None where nothing can be said.
    """

    shared: float
    error: float
    usual: float | None
    look: Look | None

    @property
    def shrink(self) -> float:
        """Factor on the correction: what the incoming queries share of what is usual.

        1 unless they share clearly less, so that a fit never depends on queries like the bank's.
        Where no pairs say what is usual, only queries that lie elsewhere lower it.
        """
        usual = self.usual
        if usual is None:
            if self.look is None or not self.look.different:
                return 1.0
            usual = _USUAL
        share = max(0.0, (self.shared + self.error) / max(usual, _LEAST))
        return 1.0 if share >= ENOUGH else share

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
            return f"{self.look.sentence}, but prefer the same items"
        return ""

    def as_dict(self) -> dict[str, float | None]:
        """For JSON."""
        auc = None if self.look is None else self.look.auc
        return {"shared": self.shared, "usual": self.usual, "auc": auc, "shrink": self.shrink}


def drift(bank: Bank, sim: Similarity, rehearsed: float | None = None) -> Drift | None:
    """Compare the queries of a bank with those that are to be ranked.

    Args:
        bank: fitted on.
        sim: incoming queries x gallery.
        rehearsed: a of the bank's own pairs, where they are known.

    Returns:
        None for fewer than 30 queries on either side, or constant scores.
    """
    if min(reduce.total_queries(bank.sim), reduce.total_queries(sim)) < FEWEST:
        return None
    _, sigma = reduce.spread(bank.sim)
    if not sigma > 0:
        return None
    places = _spaced(reduce.total_queries(sim), sim)
    own = _level(items.some_queries(bank.sim, _spaced(reduce.total_queries(bank.sim), sim)), sigma)
    found = [
        _shared(own, _level(items.some_queries(sim, some), sigma), split=sim.shard == "gallery")
        for some in (places, *(places[k::_PARTS] for k in range(_PARTS)))
    ]
    error = float(torch.tensor(found[1:]).std()) / math.sqrt(_PARTS)
    look = None
    if isinstance(bank.sim, Pair) and isinstance(sim, Pair) and _whole(bank.sim) and _whole(sim):
        look = looks(moments_of(bank.sim.queries), sim.queries)
    return Drift(found[0], error, rehearsed, look)


def popularity_shared(bank: Similarity, sim: Similarity, sigma: float) -> float:
    """How much of the bank's popularity queries share, of one gallery that is not split (a)."""
    return _shared(_level(bank, sigma), _level(sim, sigma), split=False)


def _whole(sim: Similarity) -> bool:
    """Whether this process has all queries."""
    return sim.shard != "queries"


def _spaced(count: int, sim: Similarity) -> Tensor:
    """Places of at most 1,000 queries over all processes, evenly spaced."""
    steps = torch.linspace(0, count - 1, min(count, _MOST), dtype=torch.float64)
    return steps.round().long().to(sim.device)


def _level(sim: Similarity, sigma: float) -> Tensor:
    """(m,) L of these queries, not centred; -inf where an item has no score."""
    rows = reduce.logsumexp(sim, sigma, over="gallery")
    f = torch.where(torch.isfinite(rows), -sigma * rows, torch.zeros_like(rows))
    return reduce.logsumexp(sim, sigma, over="queries", plus=f).double()


def _shared(own: Tensor, other: Tensor, *, split: bool) -> float:
    """Regression of the one popularity on the other, over the items that both have scores of."""
    alive = torch.isfinite(own) & torch.isfinite(other)
    x, y = (torch.where(alive, level, 0) for level in (own, other))
    sums = torch.stack([alive.double().sum(), x.sum(), y.sum(), x @ x, x @ y])
    n, sx, sy, xx, xy = (comm.all_sum(sums) if split else sums).tolist()
    spread = xx - sx * sx / max(n, 1.0)
    return (xy - sx * sy / max(n, 1.0)) / spread if spread > 0 else 0.0
