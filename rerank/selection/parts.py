"""Parts of a bank: which of its pairs belong together, its halves, and what one is to the other."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from rerank.errors import RerankError
from rerank.items import taken
from rerank.reranker import Bank
from rerank.similarity import Pair, Similarity

# Largest part that biases are fitted on and judged with: 4,096 queries x 4,096 items are 64 MB.
MAX_QUERIES = 4096
MAX_GALLERY = 4096


@dataclass(frozen=True, eq=False)
class Half:
    """Rows of one half of a bank.

    Attributes:
        queries: rows of the bank queries, sorted.
        gallery: rows of the bank gallery, sorted.
    """

    queries: Tensor
    gallery: Tensor


@dataclass(frozen=True, eq=False)
class Groups:
    """Connected components of "this query belongs to this item".

    All captions of a video are one group, so that no half holds another caption of a video that
    the other half is judged on. Items without a query and queries without an item stand alone.

    Attributes:
        queries: (n,) group of each query, gallery: (m,) group of each item.
        count: number of groups.
        judged: number of groups with at least one known pair.
    """

    queries: np.ndarray
    gallery: np.ndarray
    count: int
    judged: int


def group_pairs(positives: Sequence[np.ndarray], n_gallery: int) -> Groups:
    """Groups of a bank from its known pairs.

    Raises:
        RerankError: a positive that is no row of the bank gallery.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n = len(positives)
    lengths = np.asarray([len(rows) for rows in positives], dtype=np.int64)
    queries = np.repeat(np.arange(n), lengths)
    items = np.concatenate([np.asarray(rows, dtype=np.int64) for rows in positives] or [[]])
    items = items.astype(np.int64)
    if len(items) and (items.min() < 0 or items.max() >= n_gallery):
        row = int(queries[(items < 0) | (items >= n_gallery)][0])
        raise RerankError(
            f"bank positives: query {row} points outside the {n_gallery} items of the bank "
            f"gallery; positives are rows of bank.pairs"
        )
    size = n + n_gallery
    graph = coo_array((np.ones(len(items), dtype=np.int8), (queries, n + items)), (size, size))
    count, label = connected_components(graph.tocsr(), directed=False)
    judged = len(np.unique(label[queries]))
    return Groups(label[:n], label[n:], int(count), judged)


def halves(groups: Groups, generator: np.random.Generator) -> tuple[Half, Half]:
    """Two random halves of the groups, each with its own queries and its own gallery.

    Groups with pairs are halved exactly, and so are the lonely queries and lonely items.
    A half with more than MAX_QUERIES queries or MAX_GALLERY items is thinned by whole groups.
    """
    kind = np.zeros(groups.count, dtype=np.int64)
    kind[groups.queries] |= 1
    kind[groups.gallery] |= 2
    side = np.full(groups.count, -1)
    for which in (1, 2, 3):
        members = generator.permutation(np.flatnonzero(kind == which))
        side[members[: len(members) // 2]] = 0
        side[members[len(members) // 2 :]] = 1
    made = []
    for here in (0, 1):
        members = generator.permutation(np.flatnonzero(side == here))
        queries = np.bincount(groups.queries, minlength=groups.count)[members].cumsum()
        items = np.bincount(groups.gallery, minlength=groups.count)[members].cumsum()
        keep = np.zeros(groups.count, dtype=bool)
        keep[members[(queries <= MAX_QUERIES) & (items <= MAX_GALLERY)]] = True
        made.append(
            Half(
                torch.from_numpy(np.flatnonzero(keep[groups.queries])),
                torch.from_numpy(np.flatnonzero(keep[groups.gallery])),
            )
        )
    return made[0], made[1]


def part_bank(pairs: Similarity, fit: Half, target: Half, *, label: str) -> Bank:
    """The bank that one half is to the other half's gallery, as the whole is to the real one."""
    return Bank(
        taken(pairs, fit.queries, target.gallery),
        gallery=_gallery_gallery(pairs, fit.gallery, target.gallery),
        pairs=taken(pairs, fit.queries, fit.gallery),
        label=label,  # type: ignore[arg-type]
    )


def _gallery_gallery(pairs: Similarity, first: Tensor, second: Tensor) -> Similarity | None:
    """Bank gallery items against bank gallery items; only embeddings can be compared so."""
    if not isinstance(pairs, Pair) or pairs.left is not None:
        return None
    return replace(
        pairs,
        queries=pairs.gallery[first.to(pairs.device)],
        gallery=pairs.gallery[second.to(pairs.device)],
        query_mass=None,
        gallery_mass=None,
    )
