"""What a search of an export finds of the exact top 10, and the effort that it takes."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rerank.core.errors import RerankError
from rerank.core.rows import thinned
from rerank.core.similarity import ArrayLike, as_matrix
from rerank.core.wording import label
from rerank.methods.saved import Saved
from rerank.serving.searcher import exact_topk

K = 10
# Enough for an overlap to three digits; more would make an export slow.
_MEASURED_QUERIES = 500
# Two scores this close are one place in the ranking.
_TIE = 1e-6


def measured_with(saved: Saved, vectors: Tensor, queries: ArrayLike | None) -> tuple[Tensor, str]:
    """Queries to measure with, and where they came from: "texts", "videos", "bank" or "gallery".

    The given ones, else the bank where the model holds it, else gallery items; at most 500.
    """
    source = "videos" if saved.manifest["direction"] == "v2t" else "texts"
    if queries is None:
        queries, source = saved.kept.get("bank.queries"), "bank"
    if queries is None:
        queries, source = vectors, "gallery"
    sample = thinned(as_matrix(queries, "queries").cpu(), _MEASURED_QUERIES)[:]
    return sample.float(), source


class Truth:
    """The exact top k of some queries, and how much of it a search has found."""

    def __init__(self, queries: Tensor, items: Tensor) -> None:
        self.k = min(K, len(items))
        self._queries, self._items = queries.double(), items.double()
        self._last = exact_topk(queries, items, self.k).scores[:, -1].double()

    def overlap(self, rows: Tensor | np.ndarray) -> float:
        """Mean share of the k found rows that score as well as the exact k-th."""
        hits = torch.empty(len(rows), dtype=torch.float64)
        rows = torch.as_tensor(rows)
        for i, (query, last, found) in enumerate(zip(self._queries, self._last, rows, strict=True)):
            good = found[found >= 0].unique()
            scale = max(1.0, float(query.norm()))
            hits[i] = (self._items[good] @ query >= last - _TIE * scale).sum()
        return float(hits.mean()) / self.k


@dataclass(frozen=True)
class Reached:
    """What was found.

    Attributes:
        overlap: measured share of the exact top k.
        effort: with which it was measured; None for an exact search.
    """

    overlap: float
    effort: int | None


def reach(
    overlap: Callable[[int | None], float], efforts: tuple[int, ...], target: float
) -> Reached:
    """Raise the effort until the measured overlap reaches the target.

    Args:
        overlap: measures with an effort.
        efforts: rising; () for an exact search.
        target: overlap between 0 and 1 that is wanted.

    Returns:
        The least effort that is enough, or the largest of all where none is.

    Raises:
        RerankError: a target that is no share.
    """
    if not 0 < target <= 1:
        raise RerankError(f"{label('recall')}: got {target:g}, expected a share above 0, up to 1")
    if not efforts:
        return Reached(overlap(None), None)
    found = 0.0
    for effort in efforts:
        found = overlap(effort)
        if found >= target:
            return Reached(found, effort)
    return Reached(found, efforts[-1])
