"""alpha query expansion (Radenovic, Tolias and Chum, TPAMI 2019)."""

from dataclasses import dataclass, replace

import torch

from rerank.core.errors import RerankError
from rerank.core.similarity import Similarity, unit_rows
from rerank.core.words import Label
from rerank.methods.base import Bank, Fitted, Reranker, as_bank
from rerank.methods.checks import need_pair
from rerank.methods.registry import method
from rerank.passes import gallery as items
from rerank.passes import reduce

_WHAT = "query expansion (alpha-qe)"


@method(
    "alpha-qe",
    help="query plus its 10 nearest items, alpha 3",
    source="Radenovic et al., TPAMI 2019",
    needs=("embeddings",),
    stage="embeddings",
    folds=False,
)
@dataclass(frozen=True)
class AlphaQE(Reranker):
    """x + sum of cos(x, v)^alpha v over the query's `n` nearest gallery items, then unit norm.

    Each query uses the gallery and itself only: nothing is fitted, and one query can be served.

    Args:
        n: neighbours, at most the gallery; published 10 (recommended range).
        alpha: exponent; published 3. Negative cosines count as 0.

    Source: Radenovic et al., TPAMI 2019, for image retrieval within one modality. Between
    modalities it pulls the query towards its own best items; it needs embeddings and does not
    fold, because the query itself is rewritten. The transpose of the result ranks the expanded
    queries; to expand the other modality, call it on the transpose.
    """

    n: int = 10
    alpha: float = 3.0

    def __post_init__(self) -> None:
        if self.n < 1:
            raise RerankError(f"n: got {self.n}, expected at least 1 neighbour")

    def fit(self, bank: Similarity | Bank) -> "Expansion":
        """Nothing is estimated.

        Raises:
            NeedsEmbeddings: the bank stores scores only.
        """
        need_pair(as_bank(bank).sim, _WHAT)
        return Expansion(self.n, self.alpha)


@dataclass(frozen=True)
class Expansion(Fitted):
    """alpha query expansion, which has no fitted numbers.

    Attributes:
        n: neighbours.
        alpha: exponent of the cosine.
        label: "inductive": no query but the expanded one is used.
    """

    n: int
    alpha: float
    label: Label = "inductive"

    def transform(self, sim: Similarity) -> Similarity:
        """Expand every query from its own nearest gallery items."""
        pair = need_pair(sim, _WHAT)
        nearest = reduce.topk(pair, self.n).indices
        expanded = torch.empty(pair.queries.shape, dtype=pair.dtype, device=pair.device)
        # The neighbours of a chunk are (b, n, d) numbers.
        step = max(1, 2**22 // (self.n * pair.queries.shape[1]))
        for start in range(0, len(nearest), step):
            rows = slice(start, start + step)
            x = pair.queries[rows]
            near = items.at(pair, pair.gallery, nearest[rows])
            cosine = torch.cosine_similarity(near, x[:, None], dim=2).clamp_min(0)
            expanded[rows] = x + (cosine.pow(self.alpha)[:, :, None] * near).sum(dim=1)
        if pair.metric == "cosine":
            expanded = unit_rows(expanded, "queries after expansion")
        return replace(pair, queries=expanded)
