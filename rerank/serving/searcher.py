"""Search the gallery of a fitted model.

Every query is ranked independently of the others: alone it has the same results, to the bit, as
in any batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rerank.core import memory
from rerank.core.rows import StoredRows, slices
from rerank.core.similarity import ArrayLike, Pair, as_matrix
from rerank.core.words import Metric
from rerank.methods.base import FittedPipeline
from rerank.methods.saved import Saved
from rerank.passes import reduce
from rerank.passes import topk as search
from rerank.passes.reduce import TopK
from rerank.serving.fold import Folding, folds, plan_folding
from rerank.serving.matching import align
from rerank.serving.streamed import Streamed, stream_gallery

# Candidates beyond k that are scored again in float64.
_SPARE = 32
_AT_ONCE = 64


@dataclass(frozen=True, eq=False)
class Searcher:
    """A gallery made ready for queries.

    Attributes:
        ids: names of the items.
        fitted: the fitted pipeline.
        vectors: (m, D) folded items, or what scores them where they stay as they are stored; for
            methods that do not fold, the embeddings themselves.
        folding: how queries become vectors; None for methods that do not fold.
        metric: as in the fit.
    """

    ids: tuple[str, ...]
    fitted: FittedPipeline
    vectors: Tensor | Streamed | StoredRows
    folding: Folding | None
    metric: Metric

    @classmethod
    def of(cls, model: Saved, ids: Sequence[str], gallery: ArrayLike) -> "Searcher":
        """Match, check and fold the gallery of a model; see `align`."""
        return cls.of_aligned(model, align(model, ids, gallery))

    @classmethod
    def of_aligned(cls, model: Saved, found: Tensor) -> "Searcher":
        """The same for a gallery that is the model's, in its order."""
        metric: Metric = model.manifest["metric"]
        assert model.gallery_ids is not None
        vectors: Tensor | Streamed | StoredRows = found
        folding = None
        large = found.itemsize <= 4 and memory.is_large(found.numel())
        if folds(model.fitted):
            # Turned items have a norm of their own for each share, so they are copied.
            fold = stream_gallery if large and not model.fitted.turns else plan_folding
            folding, vectors = fold(model.fitted, found, metric)
        elif large:
            vectors = Pair(found[:1], found, metric=metric).gallery
        else:
            # Every query will ask for it again.
            vectors = as_matrix(found, "gallery")
        return cls(model.gallery_ids, model.fitted, vectors, folding, metric)

    @cached_property
    def _ready(self) -> "Held | Streamed":
        assert not isinstance(self.vectors, StoredRows)
        return prepare(self.vectors)

    def search(self, queries: ArrayLike, k: int = 10) -> TopK:
        """The k best items of every query, each ranked independently of the others.

        Args:
            queries: (n, d) embeddings.
            k: between 1 and the number of items; never lowered silently.
        """
        k = reduce.check_k(k, len(self.ids))
        if self.folding is not None and not isinstance(self.vectors, StoredRows):
            return exact_topk(self.folding.queries(queries), self.vectors, k, ready=self._ready)
        assert not isinstance(self.vectors, Streamed)
        x = as_matrix(queries, "queries").cpu()
        found = [
            reduce.topk(self.fitted.transform(Pair(row[None], self.vectors, metric=self.metric)), k)
            for row in x
        ]
        return TopK(torch.cat([t.scores for t in found]), torch.cat([t.indices for t in found]))

    def named(self, found: TopK) -> list[list[str]]:
        """Names for the indices of a result."""
        return [[self.ids[j] for j in row] for row in found.indices.tolist()]


@dataclass(frozen=True, eq=False)
class Held:
    """Items of a gallery that is held folded; the counterpart of `Streamed`.

    Attributes:
        gallery: (m, D) float32 folded items.
        checked: a similarity of the gallery with any queries.
        longest: largest norm of an item.
    """

    gallery: Tensor
    checked: Pair
    longest: float

    def __len__(self) -> int:
        return len(self.gallery)

    def asked(self, queries: Tensor) -> Tensor:
        """Folded queries, (n, D), as they are."""
        return queries

    def pair(self, asked: Tensor) -> Pair:
        """The scores in float32."""
        return replace(self.checked, queries=asked)

    def rounding(self, asked: Tensor) -> np.ndarray:
        """(n,) worst rounding of a float32 sum of D products, in any order of summation."""
        error = 1.01 * self.gallery.shape[1] * 2.0**-24 * self.longest
        return error * np.linalg.norm(asked.double().numpy(), axis=1)

    def exact(self, asked: Tensor, candidates: np.ndarray) -> np.ndarray:
        """(n, p) scores in float64 of some items (n, p), each computed by itself."""
        items = self.gallery.numpy()[candidates].astype(np.float64)
        return (items * asked.double().numpy()[:, None, :]).sum(axis=2)

    def everything(self, asked: Tensor) -> np.ndarray:
        """(m,) scores in float64 of one query against all items, the bits of `exact`."""
        items, query = self.gallery.numpy(), asked[0].double().numpy()
        parts = [(items[s].astype(np.float64) * query).sum(axis=1) for s in slices(len(items))]
        return np.concatenate(parts)


def prepare(gallery: Tensor | Streamed) -> Held | Streamed:
    """Check a gallery of folded vectors and measure its longest; of stored ones that is known."""
    if isinstance(gallery, Streamed):
        return gallery
    longest = float(torch.linalg.vector_norm(gallery, dim=1).max())
    return Held(gallery, Pair(gallery[:1], gallery, metric="dot"), longest)


def exact_topk(
    queries: Tensor,
    gallery: Tensor | Streamed,
    k: int,
    *,
    ready: Held | Streamed | None = None,
) -> TopK:
    """Top k by inner product in float64, the same for a query alone as in any batch.

    float32 candidates are scored again, row by row; a query whose candidates might miss an item
    by rounding is scored against everything. Ties go to the lower index.

    Args:
        queries: (n, D) float32; gallery: (m, D) float32, or a gallery that stays as it is stored.
        gallery: see `queries`.
        k: at most m.
        ready: `prepare(gallery)`, for callers that come back.
    """
    items: Any = ready or prepare(gallery)
    pool = min(len(items), k + _SPARE)
    asked = items.asked(queries)
    rough = (search if len(queries) >= _AT_ONCE else reduce).topk(items.pair(asked), pool)
    limits = rough.scores[:, -1].double().numpy() + items.rounding(asked)
    scores = torch.empty((len(queries), k), dtype=torch.float32)
    indices = torch.empty((len(queries), k), dtype=torch.int64)
    for start in range(0, len(queries), _AT_ONCE):
        rows = slice(start, min(start + _AT_ONCE, len(queries)))
        candidates = rough.indices[rows].sort(dim=1).values.numpy()
        exact = items.exact(asked[rows], candidates)
        for i, (values, names) in enumerate(zip(exact, candidates, strict=True), start=start):
            best = np.argsort(-values, kind="stable")[:k]
            if pool < len(items) and not values[best[-1]] > limits[i]:
                values, names = items.everything(asked[i : i + 1]), np.arange(len(items))
                best = np.argsort(-values, kind="stable")[:k]
            scores[i], indices[i] = torch.from_numpy(values[best]), torch.from_numpy(names[best])
    return TopK(scores, indices)
