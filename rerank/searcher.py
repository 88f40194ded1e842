"""Search the gallery of a fitted model.

Every query is ranked independently of the others: alone it has the same results, to the bit, as
in any batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from rerank import reduce, search
from rerank.fold import Folding, folds, plan_folding
from rerank.reduce import TopK
from rerank.reranker import FittedPipeline
from rerank.serving import align
from rerank.similarity import ArrayLike, Metric, Pair, as_matrix
from rerank.store import Model

# Candidates beyond k that are scored again in float64.
_SPARE = 32
_AT_ONCE = 64


@dataclass(frozen=True, eq=False)
class Searcher:
    """A gallery made ready for queries.

    Attributes:
        ids: names of the items.
        fitted: the fitted pipeline.
        vectors: (m, D) folded items; for methods that do not fold, the embeddings themselves.
        folding: how queries become vectors; None for methods that do not fold.
        metric: as in the fit.
    """

    ids: tuple[str, ...]
    fitted: FittedPipeline
    vectors: Tensor
    folding: Folding | None
    metric: Metric

    @classmethod
    def of(cls, model: Model, ids: Sequence[str], gallery: ArrayLike) -> "Searcher":
        """Match, check and fold the gallery of a model; see `align`."""
        vectors = align(model, ids, gallery)
        metric: Metric = model.manifest["metric"]
        assert model.gallery_ids is not None
        folding = None
        if folds(model.fitted):
            folding, vectors = plan_folding(model.fitted, vectors, metric)
        elif vectors.dtype == torch.float16:
            # Every query will ask for it again.
            vectors = vectors.float()
        return cls(model.gallery_ids, model.fitted, vectors, folding, metric)

    @cached_property
    def _ready(self) -> "Ready":
        return prepare(self.vectors)

    def search(self, queries: ArrayLike, k: int = 10) -> TopK:
        """The k best items of every query, each ranked independently of the others.

        Args:
            queries: (n, d) embeddings.
            k: between 1 and the number of items; never lowered silently.
        """
        k = reduce.check_k(k, len(self.ids))
        if self.folding is not None:
            return exact_topk(self.folding.queries(queries), self.vectors, k, ready=self._ready)
        x = as_matrix(queries, "queries").cpu()
        found = [
            reduce.topk(self.fitted.transform(Pair(row[None], self.vectors, metric=self.metric)), k)
            for row in x
        ]
        return TopK(torch.cat([t.scores for t in found]), torch.cat([t.indices for t in found]))

    def named(self, found: TopK) -> list[list[str]]:
        """Names for the indices of a result."""
        return [[self.ids[j] for j in row] for row in found.indices.tolist()]


class Ready(NamedTuple):
    """What one gallery costs once, however many queries come one by one."""

    pair: Pair
    longest: float


def prepare(gallery: Tensor) -> Ready:
    """Check a gallery of folded vectors and measure its longest."""
    longest = float(torch.linalg.vector_norm(gallery, dim=1).max())
    return Ready(Pair(gallery[:1], gallery, metric="dot"), longest)


def exact_topk(queries: Tensor, gallery: Tensor, k: int, *, ready: Ready | None = None) -> TopK:
    """Top k by inner product in float64, the same for a query alone as in any batch.

    float32 candidates are scored again, row by row; a query whose candidates might miss an item
    by rounding is scored against everything. Ties go to the lower index.

    Args:
        queries: (n, D) float32; gallery: (m, D) float32.
        gallery: see `queries`.
        k: at most m.
        ready: `prepare(gallery)`, for callers that come back.
    """
    m, width = gallery.shape
    pool = min(m, k + _SPARE)
    ready = ready or prepare(gallery)
    pair = replace(ready.pair, queries=queries)
    rough = (search if len(queries) >= _AT_ONCE else reduce).topk(pair, pool)
    # Worst rounding of a float32 sum of `width` products, in any order of summation.
    error = 1.01 * width * 2.0**-24 * ready.longest
    scores = torch.empty((len(queries), k), dtype=torch.float32)
    indices = torch.empty((len(queries), k), dtype=torch.int64)
    g = gallery.numpy()
    for start in range(0, len(queries), _AT_ONCE):
        rows = slice(start, start + _AT_ONCE)
        candidates = rough.indices[rows].sort(dim=1).values.numpy()
        q = queries[rows].double().numpy()
        exact = (g[candidates].astype(np.float64) * q[:, None, :]).sum(axis=2)
        for i in range(len(q)):
            best = np.argsort(-exact[i], kind="stable")[:k]
            limit = float(rough.scores[start + i, -1]) + error * np.linalg.norm(q[i])
            if pool < m and not exact[i, best[-1]] > limit:
                scores[start + i], indices[start + i] = _full_row(q[i], g, k)
                continue
            scores[start + i] = torch.from_numpy(exact[i, best])
            indices[start + i] = torch.from_numpy(candidates[i, best])
    return TopK(scores, indices)


def _full_row(query: np.ndarray, gallery: np.ndarray, k: int) -> tuple[Tensor, Tensor]:
    """One query against everything, in float64."""
    step = 8192
    exact = np.concatenate(
        [
            (gallery[start : start + step].astype(np.float64) * query).sum(axis=1)
            for start in range(0, len(gallery), step)
        ]
    )
    best = np.argsort(-exact, kind="stable")[:k]
    return torch.from_numpy(exact[best]), torch.from_numpy(best)
