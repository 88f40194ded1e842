"""Log-probability of the true pairs: the criterion of selection, smooth where R@1 is not.

    log p_i = log sum_{v in positives of i} softmax_v(beta / sigma (S_iv + sum_k w_k B_vk))

With several positives it is the probability that the drawn item is one of them. beta turns scores
into probabilities and is fitted for every candidate, "none" too, so that only rankings compete.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rerank.core import scipy_parts

# A beta to start from.
START = 5.0


@dataclass(frozen=True, eq=False)
class Judged:
    """Queries with known positives against a gallery whose biases they had no part in.

    Attributes:
        scores: (n, m).
        biases: (m, p) candidate columns.
        rows: (q,) query, and columns: (q,) item, of every known pair.
        groups: (n,) numpy, group of each query, for standard errors.
        sigma: unit of temperature, in score units.
    """

    scores: Tensor
    biases: Tensor
    rows: Tensor
    columns: Tensor
    groups: np.ndarray
    sigma: float


def log_prob(judged: Judged, bias: Tensor, beta: Tensor | float) -> Tensor:
    """(n,) log-probability that an item drawn for each query is one of its positives."""
    logits = (judged.scores + bias) * (beta / judged.sigma)
    return _positive(judged, logits) - torch.logsumexp(logits, dim=1)


def _positive(judged: Judged, logits: Tensor) -> Tensor:
    """(n,) log-sum-exp of each query's logits over its positives."""
    found = logits[judged.rows, judged.columns]
    top = torch.full_like(logits[:, 0], -torch.inf)
    top = top.scatter_reduce(0, judged.rows, found.detach(), "amax")
    mass = torch.zeros_like(top).index_add(0, judged.rows, (found - top[judged.rows]).exp())
    return mass.log() + top


def fit_beta(judged: Judged, bias: Tensor, *, start: float = START) -> float:
    """The beta of highest mean log-probability for one fixed bias (m,), by Newton steps.

    Both terms of the log-probability are log-sum-exps, so two moments give both derivatives.
    """
    scores = (judged.scores + bias) / judged.sigma
    chosen = scores[judged.rows, judged.columns]
    beta = start
    for _ in range(12):
        all_mean, all_var = _moments(scores, beta)
        own_mean, own_var = _segment_moments(chosen, judged.rows, len(scores), beta)
        slope = float((own_mean - all_mean).mean())
        curve = float((all_var - own_var).mean())
        step = slope / curve if curve > 0 else (beta if slope > 0 else -beta / 2)
        # A factor of three at most, so that a step from far away cannot jump over the optimum.
        new = min(max(beta + step, beta / 3), 3 * beta, 1e3)
        done = abs(new - beta) < 1e-3 * beta
        beta = max(new, 1e-3)
        if done:
            break
    return beta


def _moments(scores: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    p = torch.softmax(beta * scores, dim=1)
    mean = torch.linalg.vecdot(p, scores)
    return mean, torch.linalg.vecdot(p.mul_(scores), scores) - mean.square()


def _segment_moments(x: Tensor, rows: Tensor, n: int, beta: float) -> tuple[Tensor, Tensor]:
    """Mean and variance of each query's positive scores under their own softmax."""
    top = torch.full((n,), -torch.inf, dtype=x.dtype, device=x.device)
    top = top.scatter_reduce(0, rows, x, "amax")
    weight = (beta * (x - top[rows])).exp()
    zero = torch.zeros_like(top)
    total = zero.index_add(0, rows, weight)
    mean = zero.index_add(0, rows, weight * x) / total
    square = zero.index_add(0, rows, weight * x.square()) / total
    return mean, square - mean.square()


def fit_weights(judged: Sequence[Judged], *, penalty: float) -> tuple[Tensor, float]:
    """Weights w >= 0 of the bias columns and beta, by penalised maximum likelihood.

    Maximises the mean over `judged` of the mean log-probability, minus penalty |w|^2.

    Returns:
        w (p,) and beta.
    """
    minimize = scipy_parts.part("optimize").minimize
    width = judged[0].biases.shape[1]

    def loss(x: np.ndarray) -> tuple[float, np.ndarray]:
        value, slope = penalty * float(x[:-1] @ x[:-1]), np.append(2 * penalty * x[:-1], 0.0)
        for part in judged:
            mean, grad = mean_and_slope(part, x[:-1], float(np.exp(x[-1])))
            value -= mean / len(judged)
            slope = slope - grad / len(judged)
        return value, slope

    start = np.append(np.full(width, 0.2), np.log(START))
    bounds = [(0.0, 3.0)] * width + [(np.log(1e-3), np.log(1e3))]
    found = minimize(
        loss, start, jac=True, method="L-BFGS-B", bounds=bounds,
        options={"maxiter": 60, "ftol": 1e-7},
    )  # fmt: skip
    weights = torch.tensor(found.x[:-1], dtype=torch.float64)
    return weights, float(np.exp(found.x[-1]))


def mean_and_slope(judged: Judged, weights: np.ndarray, beta: float) -> tuple[float, np.ndarray]:
    """Mean log-probability, and its slope by the weights and by log beta.

    With z the logits, P their softmax and P+ that over the positives alone,

        d / d log beta = mean_i sum_v (P+ - P)_iv z_iv
        d / d w_k      = beta / sigma mean_i sum_v (P+ - P)_iv B_vk
    """
    n = len(judged.scores)
    rows, columns = judged.rows, judged.columns
    unit = beta / judged.sigma
    bias = judged.biases @ torch.as_tensor(weights).to(judged.biases)
    logits = (judged.scores + bias).mul_(unit)
    logits.sub_(logits.amax(dim=1, keepdim=True))
    found, own = logits[rows, columns], _positive(judged, logits)
    share = logits.exp()
    total = share.sum(dim=1)
    mine = (found - own[rows]).exp().double()
    moved = float(mine @ found.double())
    moved -= float((torch.linalg.vecdot(share, logits) / total).double().sum())
    mass = torch.zeros(logits.shape[1], dtype=torch.float64, device=mine.device)
    mass.index_add_(0, columns, mine)
    mass -= ((1 / total) @ share).double()
    by_weights = unit * (mass @ judged.biases.double())
    slope = np.append(by_weights.cpu().numpy(), moved) / n
    return float((own - total.log()).double().mean()), slope


def clustered_mean(values: np.ndarray, groups: np.ndarray) -> tuple[float, float]:
    """Mean of values and its standard error when values of one group are not independent."""
    mean = float(values.mean())
    _, inverse = np.unique(groups, return_inverse=True)
    count = int(inverse.max()) + 1
    sums = np.bincount(inverse, weights=values - mean, minlength=count)
    if count < 2:
        return mean, float("inf")
    return mean, float(np.sqrt((sums**2).sum() * count / (count - 1)) / len(values))
