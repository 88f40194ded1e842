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
    n, mean, other = moments.mass, moments.queries, moments.items
    gram = moments.qq - torch.outer(mean, mean) / n
    cross = moments.qv - torch.outer(mean, other) / n
    eye = torch.eye(len(mean), dtype=gram.dtype, device=gram.device)
    weight = ridge * float(torch.trace(moments.qq) / n)
    factor = torch.linalg.cholesky(gram + weight * eye)
    w = torch.cholesky_solve(cross - gram, factor)
    return eye + w, -(mean / n) @ w
