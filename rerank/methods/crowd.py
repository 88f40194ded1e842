"""Whether most queries want a few of the items, hubs aside.

    crowd    share of the queries whose best items are the k that most queries choose, by scores
             less what rows and columns have alike; k is 2 % of the items, or a fifth of the queries
    excess   (crowd - chance) / (1 - chance), with the crowd of items drawn by chance

Hubs are chosen for what all queries have in common, and are gone with it; items that a part of the
queries wants stay. On one-to-one sets at hand, whole and cut, the excess is .2 or less with few
exceptions (.31); with ten items or fewer wanted, of 500, it is .4 to .8. Popularity then is no
error: to correct it takes the items from those queries that are not sure of them, so rankings are
left as they are.

Among more items what is left of the hubs finds room: videos that choose among eight captions of
each have an excess of .39 in 107 of 5,360 captions, where 2 to 4 % of the items wanted give .7 and
more. So more is asked of more items, unless other axes tell that popular choices are right more
often than rare ones (`rerank.methods.popular_choices`), which those of hubs never are.

What all queries want alike is the same as a hub here.
"""

import math
from dataclasses import dataclass

import torch

from rerank.core.arrays import inner
from rerank.core.similarity import Similarity
from rerank.core.wording import option
from rerank.methods.marginals import Masses
from rerank.methods.popular_choices import ratio
from rerank.methods.repeats import ramp
from rerank.methods.score_axes import MOST_ITEMS, centred_sides

# The items that count, as a share of all and of the queries.
_ITEMS, _QUERIES = 0.02, 0.2
# Excess from which popularity may be right, and from which it is; the fewer queries, the less sure.
_EXCESS, _NOISE = (0.2, 0.27), 0.5
# So many items have no room for what is left of hubs; what each doubling of them may hold.
_FEW_ITEMS, _ROOM = 13, 0.1
# How much more often than rare choices popular ones are right where they are no hubs.
_RIGHT = (1.02, 1.1)
# Queries and items below which nothing is seen.
_FEWEST = 8
# How often items are drawn by chance.
_DRAWS = 50


@dataclass(frozen=True)
class Crowd:
    """What was seen.

    Attributes:
        weight: 0 = no crowd, to 1 = rankings are left as they are.
        share: of the queries that choose these items.
        items: how many items.
    """

    weight: float = 0.0
    share: float = math.nan
    items: int = 0

    @property
    def reason(self) -> str:
        """What was seen and done, for a person."""
        part = f"{self.weight:.0%} of the correction is left out"
        done = "rankings are left as they are" if self.weight == 1 else part
        return (
            f"{self.share:.0%} of the queries choose {self.items} of the items, beyond what hubs "
            f"explain: {done} ({overrides()})"
        )


def overrides() -> str:
    """The ways out of what was seen, for a person."""
    return f"{option('rho', 1)} asks for all items alike, {option('rho', 0)} leaves all as it is"


def crowd(sim: Similarity, found: Masses, *, copies: bool = False) -> Crowd:
    """What some queries choose, the same on every process.

    Args:
        sim: (n, m) scores.
        found: which queries and items are live.
        copies: whether exact copies of a query are queries of their own.
    """
    if min(found.rows, found.columns) < _FEWEST or found.columns > MOST_ITEMS:
        return Crowd()
    left, right = centred_sides(sim, found)
    scores = left if right is None else inner(left, right)
    n, m = scores.shape
    most = max(1, min(round(_ITEMS * m), int(_QUERIES * n)))
    share = _held(torch.bincount(scores.argmax(dim=1), minlength=m), most)
    coin = torch.Generator().manual_seed(0)
    drawn = (
        torch.bincount(torch.randint(m, (n,), generator=coin), minlength=m) for _ in range(_DRAWS)
    )
    chance = sum(_held(x, most) for x in drawn) / _DRAWS
    excess = (share - chance) / max(1 - chance, 1e-9) - _NOISE / math.sqrt(n)
    room = _ROOM * max(0.0, math.log2(most / _FEW_ITEMS))
    seen, sure = (ramp(excess, *(x + more for x in _EXCESS)) for more in (0.0, room))
    if seen > sure:
        sure = max(sure, min(seen, ramp(ratio(sim, found, copies=copies), *_RIGHT)))
    return Crowd(sure, share, most)


def _held(counts: torch.Tensor, most: int) -> float:
    """Share of all that the largest counts hold."""
    return float(counts.topk(most).values.sum() / counts.sum())
