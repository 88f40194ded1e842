"""Weights of several models from known pairs: those under which the pairs are the likeliest.

    log p_i = log sum_{v in positives of i} softmax_v(sum_k w_k S_iv / h_k)

The mean over queries is concave in w, so there is one maximum; w_k >= 0. It is taken over both
directions, texts among videos and videos among texts.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from rerank.core import scipy_parts
from rerank.core.pairs import transpose_positives
from rerank.core.similarity import Similarity
from rerank.methods.fusion import Fusion, fuse
from rerank.selection.likelihood import Judged, log_prob


def fuse_by_pairs(sims: Sequence[Similarity], positives: Sequence[np.ndarray]) -> Fusion:
    """Scales and weights of several models, from bank texts x bank videos with known pairs.

    Args:
        sims: (n, m) each.
        positives: for each text the videos that are right.

    Raises:
        RerankError: scores without a spacing.
    """
    spacings = fuse(sims, weights=[1.0] * len(sims)).spacings
    scaled = [sim.scores().double() / h for sim, h in zip(sims, spacings, strict=True)]
    turned = transpose_positives(tuple(positives), sims[0].shape[1])
    sides = [_Side(scaled, positives), _Side([x.T for x in scaled], turned)]
    found = _maximum(sides, len(sims))
    return Fusion(tuple((found / found.sum()).tolist()), spacings, "pairs")


class _Side:
    """One direction: its judged queries and their right items."""

    def __init__(self, scores: Sequence[Tensor], positives: Sequence[np.ndarray]) -> None:
        asked = [i for i, rows in enumerate(positives) if len(rows)]
        self._scores = torch.stack([x[asked] for x in scores])  # (models, n, m)
        counts = torch.tensor([len(positives[i]) for i in asked])
        self._rows = torch.arange(len(asked)).repeat_interleave(counts)
        self._columns = torch.from_numpy(np.concatenate([positives[i] for i in asked]))

    def mean(self, weights: Tensor) -> Tensor:
        """Mean log-probability of the known pairs."""
        mixed = torch.tensordot(weights, self._scores, dims=1)
        judged = Judged(
            mixed, mixed[:0], self._rows, self._columns, np.empty(0), 1.0,
        )  # fmt: skip
        return log_prob(judged, mixed.new_zeros(mixed.shape[1]), 1.0).mean()


def _maximum(sides: Sequence[_Side], count: int) -> np.ndarray:
    minimize = scipy_parts.part("optimize").minimize

    def loss(x: np.ndarray) -> tuple[float, np.ndarray]:
        leaf = torch.tensor(x, dtype=torch.float64, requires_grad=True)
        value = sum(side.mean(leaf) for side in sides) / len(sides)
        assert isinstance(value, Tensor)
        (grad,) = torch.autograd.grad(-value, leaf)
        return -float(value.detach()), grad.numpy()

    start = np.full(count, 1.0 / count)
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(0.0, 100.0)] * count)
    return found.x if found.x.sum() > 0 else start
