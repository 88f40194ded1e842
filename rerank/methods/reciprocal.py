"""k-reciprocal re-ranking (Zhong et al., CVPR 2017) on sparse neighbour sets."""

from dataclasses import dataclass
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from rerank.core import scipy_parts
from rerank.core.errors import RerankError
from rerank.core.similarity import Pair, Similarity
from rerank.core.words import Label
from rerank.methods.base import Bank, Fitted, Reranker, as_bank
from rerank.methods.checks import mapped, need_pair
from rerank.methods.registry import method
from rerank.passes import reduce

# scipy ships no types for its matrices: csr unless a name says csc.
Sparse: TypeAlias = Any

_WHAT = "k-reciprocal re-ranking"
# Queries and gallery items together. All of their similarities are computed (not stored).
MAX_ITEMS = 20_000


@method(
    "k-reciprocal",
    help="reciprocal-neighbour sets, k1 20, k2 6, .3",
    source="Zhong et al., CVPR 2017",
    needs=("embeddings", "all queries", "dense matrix"),
    stage="rows",
    folds=False,
    rows_only=True,
)
@dataclass(frozen=True)
class KReciprocal(Reranker):
    """Mix squared distances with the Jaccard distance of reciprocal-neighbour sets.

    Queries and gallery items are nodes of one graph. A node's set holds the nodes that are among
    its k1 nearest while it is among theirs, and the half-k1 sets of members that overlap with it
    by more than two thirds; members weigh exp(-distance), averaged over the k2 nearest nodes.

        score = -((1 - weight) Jaccard_ij + weight D_ij / max_x D_ix),   D = (2 - 2 cos)^2

    Args:
        k1: neighbours; published 20.
        k2: nodes averaged (query expansion of the sets); published 6; 1 = none.
        weight: lambda, share of the original distance; published .3.

    Source: Zhong et al., CVPR 2017; the published code squares the distances that it is given, as
    here. A method for one modality: between modalities most neighbours of a text are texts. It
    needs embeddings and all queries at once, so it is always transductive, and it refuses more
    than `MAX_ITEMS` queries and gallery items together. Differs from the published code: sets are
    sparse and rows are produced in blocks, so no (n + m)^2 matrix is stored. Row direction only.
    """

    k1: int = 20
    k2: int = 6
    weight: float = 0.3

    def __post_init__(self) -> None:
        if not 1 <= self.k2 <= self.k1 + 1:
            raise RerankError(
                f"k1, k2: got {self.k1}, {self.k2}, expected k1 at least 1 and k2 from 1 to k1 + 1"
            )
        if not 0 <= self.weight <= 1:
            raise RerankError(f"weight: got {self.weight}, expected between 0 and 1")

    def fit(self, bank: Similarity | Bank) -> "Reciprocal":
        """Nothing is estimated beforehand; the graph is that of the queries to be ranked.

        Raises:
            NeedsEmbeddings: the bank stores scores only.
        """
        need_pair(as_bank(bank).sim, _WHAT)
        return Reciprocal(self.k1, self.k2, self.weight)


@dataclass(frozen=True)
class Reciprocal(Fitted):
    """k-reciprocal re-ranking of whatever queries it is handed, all together.

    Attributes:
        k1: neighbours.
        k2: nodes averaged.
        weight: share of the original distance.
        label: always "transductive".
    """

    k1: int
    k2: int
    weight: float
    label: Label = "transductive"

    def transform(self, sim: Similarity) -> Similarity:
        """Minus the mixed distance, in [-1, 0].

        Raises:
            RerankError: too many items, or too few for k1.
        """
        pair = need_pair(sim, _WHAT)
        n, m = pair.shape
        if pair.shard is not None:
            raise RerankError(f"{_WHAT} needs all items in one process; run it on one process")
        if n + m > MAX_ITEMS:
            raise RerankError(
                f"{_WHAT} compares all {n} queries and {m} gallery items with each other: "
                f"{(n + m) ** 2 * 4 / 1e9:.1f} GB as the dense matrix, the limit is {MAX_ITEMS} "
                f"items; split the queries, or take a method that streams such as sinkhorn"
            )
        # The metric of the graph is cosine, so that a distance lies between 0 and 4.
        queries, gallery = (
            torch.nn.functional.normalize(x[:]) for x in (pair.queries, pair.gallery)
        )
        nodes = torch.cat([queries, gallery])
        order = reduce.topk(
            Pair(nodes, nodes, "dot"), reduce.check_k(self.k1 + 1, n + m, "nodes")
        ).indices
        largest = _largest_distance(nodes)
        sets = neighbour_sets(nodes, order.cpu().numpy(), largest, k1=self.k1, k2=self.k2)
        ours, theirs = sets[:n], sets[n:].tocsc()
        graph = Pair(queries, gallery, "dot", block_size=pair.block_size)

        def rescore(rows: slice, block: Tensor) -> Tensor:
            near = (2 - 2 * block).square_().div_(largest[rows, None])
            far = torch.from_numpy(jaccard_distance(ours[rows], theirs)).to(block)
            return far.mul_(self.weight - 1).sub_(near, alpha=self.weight)

        return mapped(graph, rescore, _WHAT)


def _largest_distance(nodes: Tensor) -> Tensor:
    """(n + m,) the largest squared distance of every node, squared: the published scale."""
    out = torch.empty(len(nodes), dtype=nodes.dtype, device=nodes.device)
    for rows, block in Pair(nodes, nodes, "dot").blocks():
        out[rows] = (2 - 2 * block.amin(dim=1)).square()
    return out


def neighbour_sets(
    nodes: Tensor, order: np.ndarray, largest: Tensor, *, k1: int, k2: int
) -> Sparse:
    """(N, N) sparse weights of every node's reciprocal set, rows summing to one.

    Args:
        nodes: (N, d) unit rows.
        order: (N, k1 + 1) nearest nodes, best first, the node itself among them.
        largest: (N,) scale of the distances.
        k1: neighbours.
        k2: nodes averaged.
    """
    full = _reciprocal(order)
    half = _reciprocal(order[:, : int(np.around(k1 / 2)) + 1])
    # common[i, c]: how much of the half-set of member c lies in the set of i.
    common = (full @ half.T).multiply(full).tocsr()
    sizes = np.asarray(half.sum(axis=1)).ravel()
    common.data[common.data <= 2 / 3 * sizes[common.indices]] = 0
    common.eliminate_zeros()
    common.data[:] = 1
    members = (full + common @ half).tocsr()
    members.sort_indices()
    rows = np.repeat(np.arange(len(order)), np.diff(members.indptr))
    members.data = _weights(nodes, largest, rows, members.indices)
    members = _sparse().diags(1 / np.asarray(members.sum(axis=1)).ravel()) @ members
    if k2 == 1:
        return members.tocsr()
    count = len(order)
    mean = _sparse().csr_matrix(
        (np.full(count * k2, 1 / k2), order[:, :k2].ravel(), np.arange(0, count * k2 + 1, k2)),
        shape=(count, count),
    )
    return (mean @ members).tocsr()


def _sparse() -> ModuleType:
    return scipy_parts.part("sparse")


def _reciprocal(order: np.ndarray) -> Sparse:
    """(N, N) 1 where each of two nodes is in the other's row of `order`."""
    count, k = order.shape
    indptr = np.arange(0, count * k + 1, k)
    ones = np.ones(count * k)
    forward = _sparse().csr_matrix((ones, order.ravel(), indptr), shape=(count, count))
    return forward.multiply(forward.T).tocsr()


def _weights(nodes: Tensor, largest: Tensor, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """exp(-distance) of the given pairs of nodes, in chunks."""
    out = np.empty(len(rows))
    step = max(1, 2**22 // nodes.shape[1])
    for start in range(0, len(rows), step):
        i = torch.from_numpy(rows[start : start + step]).to(nodes.device)
        j = torch.from_numpy(columns[start : start + step].astype(np.int64)).to(nodes.device)
        cosine = (nodes[i] * nodes[j]).sum(dim=1)
        distance = (2 - 2 * cosine).square() / largest[i]
        out[start : start + step] = torch.exp(-distance).double().cpu().numpy()
    return out


def jaccard_distance(ours: Sparse, theirs: Sparse) -> np.ndarray:
    """(b, m) 1 - sum min / (2 - sum min) of sets that each sum to one; `theirs` is csc."""
    out = np.empty((ours.shape[0], theirs.shape[0]))
    for row in range(ours.shape[0]):
        own = slice(ours.indptr[row], ours.indptr[row + 1])
        starts = theirs.indptr[ours.indices[own]]
        counts = theirs.indptr[ours.indices[own] + 1] - starts
        # All entries of the columns in question, column after column.
        ends = np.cumsum(counts)
        place = np.arange(ends[-1]) + np.repeat(starts - ends + counts, counts)
        shared = np.minimum(theirs.data[place], np.repeat(ours.data[own], counts))
        common = np.bincount(theirs.indices[place], weights=shared, minlength=theirs.shape[0])
        out[row] = 1 - common / (2 - common)
    return out
