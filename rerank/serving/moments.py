"""Where the queries of a bank lie: their mean and principal axes, kept in the model file.

A model without its bank still knows the mean and covariance of its queries, C = A^T A + r I with
the principal axes A, which is enough to notice queries of another kind.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rerank.core.rows import Rows, slices, thinned

# Principal axes that a model file holds, and rows that are enough to estimate them from.
_AXES = 128
_ROWS = 20_000
_PREFIX = "bank.moments."


@dataclass(frozen=True, eq=False)
class Moments:
    """Mean and covariance of queries, float32: C = axes^T axes + rest I.

    Attributes:
        mean: (d,).
        axes: (r, d) principal axes, each as long as its deviation above the rest.
        rest: () variance in every direction, the mean of what the axes leave.
    """

    mean: Tensor
    axes: Tensor
    rest: Tensor

    @property
    def covariance(self) -> np.ndarray:
        """(d, d) float64."""
        axes = self.axes.double().numpy()
        return axes.T @ axes + float(self.rest) * np.eye(axes.shape[1])


def moments_of(queries: Rows) -> Moments:
    """Moments of at most 20,000 evenly spaced rows, as they are compared (unit for cosine)."""
    x = thinned(queries, _ROWS)
    d = x.shape[1]
    total, square = np.zeros(d), np.zeros((d, d))
    for part in slices(len(x)):
        total += x[part].cpu().double().numpy().sum(axis=0)
    mean = total / len(x)
    for part in slices(len(x)):
        centred = x[part].cpu().double().numpy() - mean
        square += centred.T @ centred
    values, vectors = np.linalg.eigh(square / len(x))
    values = np.maximum(values, 0)
    top = slice(max(0, len(values) - _AXES), None)
    below = values[: top.start]
    rest = float(below.mean()) if len(below) else 0.0
    axes = (vectors[:, top] * np.sqrt(values[top] - rest)).T
    arrays = (mean, np.ascontiguousarray(axes), np.asarray(rest))
    return Moments(*(torch.from_numpy(a.astype(np.float32)) for a in arrays))


def to_kept(moments: Moments) -> dict[str, Tensor]:
    """Tensors for a model file."""
    return {_PREFIX + name: getattr(moments, name) for name in ("mean", "axes", "rest")}


def from_kept(kept: Mapping[str, Tensor]) -> Moments | None:
    """The inverse; None where a model holds none, such as one of a bank of one query."""
    if _PREFIX + "mean" not in kept:
        return None
    return Moments(*(kept[_PREFIX + name] for name in ("mean", "axes", "rest")))
