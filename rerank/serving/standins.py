"""Stand-ins for a bank's queries: gallery items moved to where its queries lie.

A model without its bank still knows where queries lie, from their mean and covariance. A stand-in
for a query is a gallery item under the linear map that takes the gallery's mean mu_v and
covariance C_v to the mean mu_q and covariance C_q of the bank, and moves items least:

    x = mu_q + (v - mu_v) T,  T = C_v^-1/2 (C_v^1/2 C_q C_v^1/2)^1/2 C_v^-1/2

so stand-ins spread as queries do and have neighbours as items have. Indexes are taught with them
(`rerank.serving.routes`); no bias is ever fitted on them.

Sources: optimal transport of Gaussians, Peyre and Cuturi 2019, remark 2.31; indexes for queries
that lie apart: Jaiswal et al. 2022 (OOD-DiskANN).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rerank.core.errors import RerankError
from rerank.core.rows import Rows, slices, thinned
from rerank.core.similarity import Metric, as_matrix, unit_rows

# Principal axes that a model file holds, and rows that are enough to estimate them from.
_AXES = 128
_ROWS = 20_000
# Share of the mean variance that every direction has at least: few rows span few directions.
_RIDGE = 0.01
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
    mean, covariance = _mean_and_covariance(queries)
    values, vectors = np.linalg.eigh(covariance)
    values = np.maximum(values, 0)
    top = slice(max(0, len(values) - _AXES), None)
    below = values[: top.start]
    rest = float(below.mean()) if len(below) else 0.0
    axes = (vectors[:, top] * np.sqrt(values[top] - rest)).T
    arrays = (mean, np.ascontiguousarray(axes), np.asarray(rest))
    return Moments(*(torch.from_numpy(x.astype(np.float32)) for x in arrays))


def to_kept(moments: Moments) -> dict[str, Tensor]:
    """Tensors for a model file."""
    return {_PREFIX + name: getattr(moments, name) for name in ("mean", "axes", "rest")}


def from_kept(kept: Mapping[str, Tensor]) -> Moments | None:
    """The inverse; None where a model holds none, as those of earlier versions."""
    if _PREFIX + "mean" not in kept:
        return None
    return Moments(*(kept[_PREFIX + name] for name in ("mean", "axes", "rest")))


def stand_ins(moments: Moments, items: Tensor, metric: Metric) -> Tensor:
    """(m, d) float32 stand-ins for queries, one for each of (m, d) gallery items.

    Args:
        moments: of the queries, as they are compared.
        items: embeddings of gallery items, several times as many as dimensions or all there are.
        metric: with "cosine" both sides are unit.

    Raises:
        RerankError: another dimension than the moments have.
    """
    if items.shape[1] != len(moments.mean):
        raise RerankError(
            f"gallery: got d = {items.shape[1]}, the bank's queries have d = {len(moments.mean)}"
        )
    v = as_matrix(items, "gallery").cpu()
    if metric == "cosine":
        v = unit_rows(v, "gallery")
    mean, covariance = _mean_and_covariance(v)
    there, back = _power(covariance, 0.5), _power(covariance, -0.5)
    middle = there @ _ridged(moments.covariance) @ there
    matrix = back @ _power(middle, 0.5, ridge=0.0) @ back
    x = moments.mean.double() + (v.double() - torch.from_numpy(mean)) @ torch.from_numpy(matrix)
    return (unit_rows(x, "stand-ins") if metric == "cosine" else x).float()


def _mean_and_covariance(rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    x = thinned(rows, _ROWS)
    d = x.shape[1]
    total, square = np.zeros(d), np.zeros((d, d))
    for part in slices(len(x)):
        total += x[part].cpu().double().numpy().sum(axis=0)
    mean = total / len(x)
    for part in slices(len(x)):
        centred = x[part].cpu().double().numpy() - mean
        square += centred.T @ centred
    return mean, square / len(x)


def _ridged(covariance: np.ndarray) -> np.ndarray:
    d = len(covariance)
    return covariance + (_RIDGE * np.trace(covariance) / d + 1e-12) * np.eye(d)


def _power(covariance: np.ndarray, power: float, *, ridge: float = _RIDGE) -> np.ndarray:
    values, vectors = np.linalg.eigh(_ridged(covariance) if ridge else covariance)
    return (vectors * np.maximum(values, 1e-24) ** power) @ vectors.T
