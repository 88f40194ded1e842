"""Are the items that are searched the bank's own?

A bank of past queries, or of clips of the same classes, was asked about the very items that are
searched. Then queries to come are answered by items that the bank's queries had among theirs, and
a rehearsal has to keep that: it splits the queries and leaves the items whole. With items of their
own on both sides it would promise too little: what is learned about an item is lost on others.

    share = how many searched items are the nearest to the bank's item that is the nearest to them

of one set seen twice, distorted: .83 to 1, .63 where hardly anything is left of it; of halves of
one data set .16 to .41; by chance along a line about a half.
"""

import torch

from rerank.core.similarity import Pair
from rerank.methods.base import Bank
from rerank.passes import gallery as items
from rerank.passes import reduce

# Searched items that are looked up.
_MOST = 500
_SAME = 0.75
_ROUNDING = 1e-6


def same_items(bank: Bank) -> bool:
    """Whether most searched items are found among the bank's, and the bank's among them.

    Stored scores tell only where the bank's gallery is the searched one.
    """
    pairs, sim = bank.pairs, bank.sim
    if pairs is None or pairs is sim:
        return pairs is not None
    if not isinstance(pairs, Pair) or not isinstance(sim, Pair):
        return False
    total = reduce.total_gallery(sim)
    places = torch.linspace(0, total - 1, min(total, _MOST), dtype=torch.float64).round().long()
    places = places.to(sim.device)
    # Rows of norm one are compared as they are; others by their direction.
    metric = "dot" if pairs.metric == "cosine" else "cosine"
    searched = items.at(sim, sim.gallery, places)
    nearest = reduce.topk(Pair(searched, pairs.gallery, metric=metric), 1).indices[:, 0]
    back = Pair(pairs.gallery[nearest], sim.gallery, metric=metric, shard=sim.shard)
    best = reduce.topk(back, 1).scores[:, 0]
    there = items.scores_at(back, places).diagonal()
    return float((there >= best - _ROUNDING).double().mean()) > _SAME
