"""Does the bank come from where the searched gallery comes from?

A bank cannot see from its own pairs that its queries come from elsewhere. Two comparisons can:

- gallery: a linear classifier of bank gallery against searched gallery, judged on items it has not
  seen. One domain: AUC near .5.
- queries: how near are the nearest items of the searched gallery to the bank's queries, compared
  with the nearest wrong items of the bank's own gallery? One domain: the same, AUC near .5. It sees
  galleries that agree in every mean and variance and still speak of other things.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rerank.core.pairs import Groups
from rerank.core.similarity import Pair, Similarity
from rerank.methods.base import Bank
from rerank.passes import gallery as items_of
from rerank.passes import reduce
from rerank.selection.moments import auc, looks, moments_of

MAX_ITEMS = 2000
MAX_QUERIES = 1000
_FOLDS = 5
_PROFILE = 256
_RIDGE = 0.1
_NEAREST = 10
_MAX_HASHED = 50_000
# A correction of which so much would be used is used whole.
ENOUGH = 0.75
# Halves of one set have an AUC of .59 or less, .67 with 50 items on a side; banks of other topics,
# meanings and rotations .78 and more.
_SIMILAR, _OTHER = 0.625, 0.75


@dataclass(frozen=True)
class Foreign:
    """How far the bank is from the searched gallery.

    Attributes:
        gallery: AUC of the classifier of the galleries; None with fewer than 20 items on a side.
        queries: AUC of "nearer to the own gallery than to the searched one", where .5 is no
            difference and both ends are foreign; None likewise.
    """

    gallery: float | None
    queries: float | None

    @property
    def auc(self) -> float | None:
        """The stronger evidence, .5 to 1 for a foreign bank."""
        both = [] if self.gallery is None else [self.gallery]
        both += [] if self.queries is None else [max(self.queries, 1 - self.queries)]
        return max(both, default=None)

    @property
    def shrink(self) -> float:
        """1 up to an AUC of .625, 0 from .75 on, a straight line between.

        So a bank that is not clearly foreign is used whole at every door, whether or not the
        queries are there to be looked at, and one that is clearly foreign not at all: even a third
        of its correction harms.
        """
        doubt = 0.0 if self.auc is None else (self.auc - _SIMILAR) / (_OTHER - _SIMILAR)
        return min(max(1 - doubt, 0.0), 1.0)


def foreign_bank(bank: Bank, groups: Groups, *, seed: int = 0) -> Foreign:
    """Compare a bank with the gallery that it is to be used for.

    Galleries are compared by embeddings where the similarities hold them; stored scores are
    described by their scores against up to 256 bank queries, leaving out the items that belong to
    those. At most 2,000 items of either side and 1,000 queries; 5 folds.
    """
    generator = np.random.default_rng([seed, 7])
    own, other, items = _features(bank, groups, generator)
    if min(len(own), len(other)) < 4 * _FOLDS:
        return Foreign(None, None)
    return Foreign(
        _classifier_auc(own, other, seed), _nearness_auc(bank, items[:MAX_ITEMS], generator)
    )


def unlike_gallery(bank: Bank) -> Foreign:
    """The same for a bank whose pairs are not known, by where its gallery lies.

    Without pairs nobody knows which items belong together, such as captions of one video, so no
    classifier can be judged on items that it has not seen; a look at the moments needs none
    (`rerank.selection.moments`). Nor is it known which items are right for a query, so nearness
    says nothing. A bank of queries alone shows nothing here.
    """
    pairs, sim = bank.pairs, bank.sim
    if not isinstance(pairs, Pair) or not isinstance(sim, Pair) or pairs is sim:
        return Foreign(None, None)
    if pairs.shard == "gallery" or sim.shard == "gallery":
        return Foreign(None, None)
    look = looks(moments_of(pairs.gallery), sim.gallery)
    return Foreign(None if look is None else look.auc, None)


def _features(
    bank: Bank, groups: Groups, generator: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Rows that describe bank gallery items and searched items, float64; rows of the latter."""
    pairs, sim = bank.pairs, bank.sim
    assert pairs is not None
    # One item of every group: further captions of one video would tell the classifier nothing
    # but that video.
    order = generator.permutation(pairs.shape[1])
    _, first = np.unique(groups.gallery[order], return_index=True)
    items = generator.permutation(order[first])
    others = np.arange(reduce.total_gallery(sim))
    if len(others) > _MAX_HASHED:
        others = np.sort(generator.permutation(others)[:_MAX_HASHED])
    searched = torch.from_numpy(others)
    if isinstance(pairs, Pair) and isinstance(sim, Pair):
        own = pairs.gallery[torch.from_numpy(items[:MAX_ITEMS])]
        other = items_of.at(sim, sim.gallery, searched.to(sim.device))
    else:
        # At most half of the groups ask, so that items of the others are left to be classified.
        asking = generator.permutation(groups.count)[: groups.count // 2]
        queries = np.flatnonzero(np.isin(groups.queries, asking))
        queries = np.sort(generator.permutation(queries)[:_PROFILE])
        items = items[~np.isin(groups.gallery[items], groups.queries[queries])][:MAX_ITEMS]
        rows = torch.from_numpy(queries)
        own, other = _scores(pairs, rows, torch.from_numpy(items)).T, _scores(sim, rows, searched).T
    # The same items are drawn in whatever order the gallery is given.
    order = torch.from_numpy(np.argsort(_hashes(other, seed=0), kind="stable"))
    return own.double(), other[order[:MAX_ITEMS]].double(), searched[order]


def _scores(sim: Similarity, rows: Tensor, columns: Tensor) -> Tensor:
    """Some scores, unscored ones at the lowest of them."""
    scores = items_of.taken(sim, rows, columns).scores()
    finite = torch.isfinite(scores)
    return scores if bool(finite.all()) else torch.where(finite, scores, scores[finite].min())


def _hashes(rows: Tensor, seed: int) -> np.ndarray:
    """(n,) content hashes, of rows rounded to a thousandth of their largest entry.

    Folds by content keep copies in one fold, and do not depend on order, unit or last bits.
    """
    salt = str(seed).encode()[:16]
    rows = rows.double()
    top = rows.abs().amax(dim=1, keepdim=True).clamp_min(1e-300)
    rounded = (rows / top * 1000).round().to(torch.int16).cpu().contiguous().numpy()
    digests = [hashlib.blake2b(row.data, digest_size=8, salt=salt).digest() for row in rounded]
    return np.frombuffer(b"".join(digests), dtype=np.uint64)


def _classifier_auc(own: Tensor, other: Tensor, seed: int) -> float:
    """Mean over folds of the AUC of a discriminant on items it was not fitted on."""
    folds, others = (
        torch.from_numpy((_hashes(x, seed) % _FOLDS).astype(np.int64)).to(own.device)
        for x in (own, other)
    )
    found = []
    for fold in range(_FOLDS):
        direction = _discriminant(own[folds != fold], other[others != fold])
        unseen = own[folds == fold], other[others == fold]
        if min(len(part) for part in unseen) > 0:
            found.append(auc(unseen[0] @ direction, unseen[1] @ direction))
    return float(np.mean(found))


def _nearness_auc(bank: Bank, searched: Tensor, generator: np.random.Generator) -> float:
    """Chance that a bank query is nearer to its own gallery's wrong items than to the searched.

    Nearness is the mean of the ten largest scores among as many items on both sides.
    """
    pairs, positives = bank.pairs, bank.positives
    assert pairs is not None and positives is not None
    queries = np.sort(generator.permutation(pairs.shape[0])[:MAX_QUERIES])
    size = min(len(searched), pairs.shape[1])
    items = np.sort(generator.permutation(pairs.shape[1])[:size])
    rows = torch.from_numpy(queries)
    own = _scores(pairs, rows, torch.from_numpy(items))
    for i, query in enumerate(queries):
        inside = np.flatnonzero(np.isin(items, positives[query]))
        own[i, torch.from_numpy(inside)] = -torch.inf
    other = _scores(bank.sim, rows, searched[:size])
    k = min(_NEAREST, size // 2)
    near_own, near_other = (x.topk(k, dim=1).values.mean(dim=1) for x in (own, other))
    usable = torch.isfinite(near_own)
    return auc(near_own[usable], near_other[usable]) if bool(usable.any()) else 0.5


def _discriminant(first: Tensor, second: Tensor) -> Tensor:
    """(d,) Fisher's direction, with a tenth of the mean variance added to every variance."""
    mean_first, mean_second = first.mean(dim=0), second.mean(dim=0)
    a, b = first - mean_first, second - mean_second
    cov = (a.T @ a + b.T @ b) / (len(a) + len(b))
    ridge = _RIDGE * cov.diagonal().mean() + 1e-12
    eye = torch.eye(len(cov), dtype=cov.dtype, device=cov.device)
    return torch.linalg.solve(cov + ridge * eye, mean_first - mean_second)
