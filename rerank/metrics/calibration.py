"""Whether the softmax of a ranking means what it says: confidence against the share that is right.

A query's confidence is the largest share of its softmax at a temperature. Where it is calibrated,
of the queries with confidence c a share c has a right item first (Guo et al., ICML 2017).
"""

from dataclasses import dataclass

import numpy as np
import torch

from rerank.core.similarity import Similarity
from rerank.metrics.ranks import Ranks
from rerank.passes import reduce


@dataclass(frozen=True, eq=False)
class Calibration:
    """Queries in bins of equal number, the least confident first.

    Attributes:
        confidence: (b,) mean confidence of a bin.
        right: (b,) share of its queries that have a right item first.
        counts: (b,) queries.
    """

    confidence: np.ndarray
    right: np.ndarray
    counts: np.ndarray

    @property
    def error(self) -> float:
        """Mean gap of confidence and share, weighed by the queries."""
        return float(np.average(np.abs(self.confidence - self.right), weights=self.counts))


def calibration(sim: Similarity, tau: float, ranks: Ranks, *, bins: int = 10) -> Calibration:
    """Confidence and correctness of the judged queries.

    Args:
        sim: (n, m) scores.
        tau: temperature of the softmax over a query's items.
        ranks: of the judged queries.
        bins: at most; each has 5 queries or more, where there are so many.
    """
    none = torch.zeros(sim.shape[1], dtype=sim.dtype, device=sim.device)
    peaks = reduce.row_peaks(sim, tau, gallery_biases=(none,)).double().exp().cpu().numpy()
    sure, right = peaks[0, ranks.rows], ranks.hits(1).astype(float)
    order = np.argsort(sure, kind="stable")
    parts = np.array_split(order, max(1, min(bins, len(order) // 5)))
    return Calibration(
        np.array([sure[part].mean() for part in parts]),
        np.array([right[part].mean() for part in parts]),
        np.array([len(part) for part in parts]),
    )
