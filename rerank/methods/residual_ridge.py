"""The ridge regression that moves one side towards the other: x -> x + (x - mu) W.

With the Gram matrix G about the mean and the cross moments C,

    W = (G + ridge I)^-1 (C - G)
"""

import torch
from torch import Tensor

from rerank.passes.cross import Moments


def residual_ridge(moments: Moments, ridge: float) -> tuple[Tensor, Tensor]:
    """(I + W, -mu W): the ridge regression of the items on the queries, as a step from them.

    A (d, d) system by Cholesky in float64.

    Args:
        moments: of pairs of mass one; their transpose gives the map of the items.
        ridge: in pairs of unit rows; longer rows count by their mean squared norm.
    """
    step, factor = _system(moments, ridge)
    w = torch.cholesky_solve(step, factor)
    mean = moments.queries / moments.mass
    return torch.eye(len(w), dtype=w.dtype, device=w.device) + w, -mean @ w


def predicted(x: Tensor, moments: Moments, ridge: float) -> Tensor:
    """What the map makes of rows (k, d) beside the mean of the items: x - mu + (x - mu) W.

    Of few rows the system is solved for these, so that W is never made.
    """
    step, factor = _system(moments, ridge)
    x = x - moments.queries / moments.mass
    if len(x) < len(step):
        return x + torch.cholesky_solve(x.T, factor).T @ step
    return x + x @ torch.cholesky_solve(step, factor)


def _system(moments: Moments, ridge: float) -> tuple[Tensor, Tensor]:
    """C - G, and the Cholesky factor of G + ridge I."""
    n, mean, other = moments.mass, moments.queries, moments.items
    gram = moments.qq - torch.outer(mean, mean) / n
    cross = moments.qv - torch.outer(mean, other) / n
    eye = torch.eye(len(mean), dtype=gram.dtype, device=gram.device)
    weight = ridge * float(torch.trace(moments.qq) / n)
    return cross - gram, torch.linalg.cholesky(gram + weight * eye)
