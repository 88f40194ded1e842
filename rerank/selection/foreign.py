"""Does the bank come from where the gallery comes from?

A bank cannot see from its own pairs that its queries come from elsewhere. A linear classifier of
bank gallery against searched gallery can: where it tells them apart on items it has not seen, the
biases are about another domain and are shrunk.
"""

import hashlib

import numpy as np
import torch
from torch import Tensor

from rerank.reranker import Bank
from rerank.selection.parts import Groups, subset
from rerank.similarity import Pair, Similarity

MAX_ITEMS = 2000
_FOLDS = 5
_PROFILE = 256
_MAX_HASHED = 50_000
_RIDGE = 0.1


def shrinkage(auc: float | None) -> float:
    """clip(2 (1 - AUC), 0, 1): 1 where the bank cannot be told from the gallery, 0 where always."""
    return 1.0 if auc is None else float(min(max(2 * (1 - auc), 0.0), 1.0))


def foreign_auc(bank: Bank, groups: Groups, *, seed: int = 0) -> float | None:
    """AUC of a cross-fitted linear classifier of bank gallery against searched gallery.

    Embeddings are classified where the similarities hold them; stored scores are described by
    their scores against up to 256 bank queries, leaving out the items that belong to those.
    At most 2,000 items of either side, 5 folds. None with fewer than 20 items on a side.
    """
    generator = np.random.default_rng([seed, 7])
    own, other = _features(bank, groups, generator)
    if min(len(own), len(other)) < 4 * _FOLDS:
        return None
    folds, others = (hashes % _FOLDS for hashes in (_hashes(own, seed), _hashes(other, seed)))
    found = []
    for fold in range(_FOLDS):
        direction = _discriminant(own[folds != fold], other[others != fold])
        unseen = own[folds == fold], other[others == fold]
        if min(len(part) for part in unseen) > 0:
            found.append(auc(unseen[0] @ direction, unseen[1] @ direction))
    return float(np.mean(found))


def _features(bank: Bank, groups: Groups, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Rows that describe bank gallery items and searched items, float64."""
    pairs, sim = bank.pairs, bank.sim
    assert pairs is not None
    # One item of every group: further captions of one video would tell the classifier nothing
    # but that video.
    order = generator.permutation(pairs.shape[1])
    _, first = np.unique(groups.gallery[order], return_index=True)
    items = generator.permutation(order[first])
    others = np.arange(sim.shape[1])
    if len(others) > _MAX_HASHED:
        others = np.sort(generator.permutation(others)[:_MAX_HASHED])
    if isinstance(pairs, Pair) and isinstance(sim, Pair):
        own = pairs.gallery[torch.from_numpy(items[:MAX_ITEMS])]
        return own.double(), _sample(sim.gallery[torch.from_numpy(others)]).double()
    # At most half of the groups ask, so that the items of the others are left to be classified.
    asking = generator.permutation(groups.count)[: groups.count // 2]
    queries = np.flatnonzero(np.isin(groups.queries, asking))
    queries = np.sort(generator.permutation(queries)[:_PROFILE])
    items = items[~np.isin(groups.gallery[items], groups.queries[queries])][:MAX_ITEMS]
    rows = torch.from_numpy(queries)
    return (
        _columns(pairs, rows, torch.from_numpy(items)).double(),
        _sample(_columns(sim, rows, torch.from_numpy(others))).double(),
    )


def _columns(sim: Similarity, rows: Tensor, columns: Tensor) -> Tensor:
    """Scores of some items against some queries, (items, queries), unscored ones at the lowest."""
    scores = subset(sim, rows, columns).scores().T
    finite = torch.isfinite(scores)
    return scores if bool(finite.all()) else torch.where(finite, scores, scores[finite].min())


def _sample(rows: Tensor) -> Tensor:
    """At most MAX_ITEMS rows, the same ones in whatever order they are given."""
    return rows[torch.from_numpy(np.argsort(_hashes(rows, 0), kind="stable")[:MAX_ITEMS])]


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


def _discriminant(first: Tensor, second: Tensor) -> Tensor:
    """(d,) Fisher's direction, with a tenth of the mean variance added to every variance."""
    mean_first, mean_second = first.mean(dim=0), second.mean(dim=0)
    a, b = first - mean_first, second - mean_second
    cov = (a.T @ a + b.T @ b) / (len(a) + len(b))
    ridge = _RIDGE * cov.diagonal().mean() + 1e-12
    eye = torch.eye(len(cov), dtype=cov.dtype, device=cov.device)
    return torch.linalg.solve(cov + ridge * eye, mean_first - mean_second)


def auc(positive: Tensor, negative: Tensor) -> float:
    """Probability that a positive exceeds a negative, ties counting one half."""
    ordered = negative.sort().values
    below = torch.searchsorted(ordered, positive.contiguous(), right=False)
    upto = torch.searchsorted(ordered, positive.contiguous(), right=True)
    return float((below + upto).double().mean() / (2 * len(negative)))
