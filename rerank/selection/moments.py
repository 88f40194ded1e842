"""Where the queries of a bank lie, and whether a batch of other queries lies there too.

A model without its bank still knows the mean and covariance of its queries, C = A^T A + r I with
the principal axes A, and how queries that were not in the estimate lie in these units:

    w(x)  = (C + c I)^-1/2 (x - mean),  c the mean variance, 32 axes, the rest alike
    D     = mean over pairs of <w(x), w(y)> - the same of held-out bank queries
    AUC   = Phi(sqrt(D / 2))               a direction that tells both apart, judged on unseen rows
    |w|^2                                  against those of held-out bank queries: another AUC

Pairs of one batch estimate its distance without bias: no row is judged by itself. Rows that say
the same (captions of one video) are no independent witnesses and are not paired.

Source: Chen and Qin, Annals of Statistics 2010, in whitened space.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rerank.core.rows import Rows, slices, thinned
from rerank.selection.foreign import auc

# A batch below this says too little.
FEWEST = 30
# Principal axes that are kept, rows that are enough to estimate them from.
_AXES = 128
_ROWS = 20_000
# Axes, rows and folds of the comparison.
_TOP, _COMPARED, _FOLDS, _STEPS = 32, 2000, 5, 4
_QUANTILES = 101
# Alarm beyond this many standard errors, and at an AUC that is this large at least.
_SURE, _LEAST_AUC = 4.0, 0.6
# Rows with a larger cosine say the same, unless nearly all do.
_SAME, _NEARLY_ALL = 0.5, 0.6


@dataclass(frozen=True, eq=False)
class Moments:
    """Mean and covariance of queries, float32: C = axes^T axes + rest I.

    Attributes:
        mean: (d,).
        axes: (r, d) principal axes, each as long as its deviation above the rest.
        rest: () variance in every direction, the mean of what the axes leave.
        energies: (101,) quantiles of |w|^2 of held-out rows; empty for fewer than 30 rows.
        pairs: (2,) mean and standard deviation of <w(x), w(y)> of held-out rows; empty likewise.
    """

    mean: Tensor
    axes: Tensor
    rest: Tensor
    energies: Tensor
    pairs: Tensor

    @property
    def covariance(self) -> np.ndarray:
        """(d, d) float64."""
        axes = self.axes.double().numpy()
        return axes.T @ axes + float(self.rest) * np.eye(axes.shape[1])


@dataclass(frozen=True)
class Look:
    """How a batch of queries looks beside those of a bank.

    Attributes:
        auc: how well both are told apart, .5 for not at all.
        different: whether that is beyond what chance does.
    """

    auc: float
    different: bool

    @property
    def sentence(self) -> str:
        """What a person should know, or nothing."""
        if not self.different:
            return ""
        return f"these queries look different from the bank's (AUC {said(self.auc)})"


def said(auc: float) -> str:
    """An AUC as text: .93."""
    return f"{auc:.2f}".removeprefix("0")


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
    arrays = (mean, np.ascontiguousarray(axes), np.asarray(rest), *_held_out(x))
    return Moments(*(torch.from_numpy(a.astype(np.float32)) for a in arrays))


@dataclass(frozen=True, eq=False)
class _Units:
    """w(x): mean (d,), axes (r, d) of unit length, their variances (r,), that of the rest."""

    mean: np.ndarray
    axes: np.ndarray
    values: np.ndarray
    rest: float

    @property
    def flat(self) -> bool:
        """Whether there is no variance at all."""
        return not self._ridge > 0

    @property
    def _ridge(self) -> float:
        r, d = self.axes.shape
        return float(self.values.sum() + self.rest * (d - r)) / d

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        y = rows - self.mean
        along = y @ self.axes.T
        left = (y - along @ self.axes) / math.sqrt(self.rest + self._ridge)
        return np.concatenate([along / np.sqrt(self.values + self._ridge), left], axis=1)


def _few(values: np.ndarray, rest: float, axes: np.ndarray, mean: np.ndarray) -> _Units:
    """Units with at most 32 of the axes, whose variances ascend; the others join the rest."""
    d, keep = axes.shape[1], min(_TOP, len(values))
    inside, kept = values[: len(values) - keep], values[len(values) - keep :]
    left = float(inside.sum() + rest * (d - len(values))) / max(1, d - keep)
    return _Units(mean, axes[len(values) - keep :], kept, left)


def _units_of(found: Moments) -> _Units:
    """The units of stored moments."""
    axes = found.axes.double().numpy()
    length = np.linalg.norm(axes, axis=1)
    rest = float(found.rest)
    return _few(
        length**2 + rest, rest, axes / np.maximum(length, 1e-300)[:, None],
        found.mean.double().numpy(),
    )  # fmt: skip


def _units_from(rows: np.ndarray) -> _Units:
    """The units of some rows; their largest axes by a few steps of subspace iteration."""
    mean = rows.mean(axis=0)
    y = rows - mean
    d = y.shape[1]
    width = min(_TOP + 8, d)
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(d, width)))[0]
    for _ in range(_STEPS):
        basis = np.linalg.qr(y.T @ (y @ basis))[0]
    along = y @ basis
    values, turn = np.linalg.eigh(along.T @ along / len(y))
    axes = (basis @ turn).T
    total = float((y**2).sum()) / len(y)
    rest = max(0.0, total - float(values.sum())) / max(1, d - width)
    return _few(np.maximum(values, 0), rest, axes, mean)


def _held_out(x: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Quantiles of |w|^2, and mean and deviation of <w(x), w(y)>, of rows that were left out."""
    rows = thinned(x, 2 * _COMPARED)[:].cpu().double().numpy()
    if len(rows) < FEWEST:
        return np.empty(0), np.empty(0)
    folds = np.random.default_rng(0).permutation(len(rows)) % _FOLDS
    energies, products = [], []
    for fold in range(_FOLDS):
        units = _units_from(rows[folds != fold])
        if units.flat:
            return np.empty(0), np.empty(0)
        w = units(rows[folds == fold])
        energies.append((w**2).sum(axis=1))
        products.append(_products(w)[0])
    every = np.concatenate(products)
    # What the mean's own error adds shrinks with the rows that it is from.
    level = every.mean() * (_FOLDS - 1) / _FOLDS
    steps = np.linspace(0, 1, _QUANTILES)
    return np.quantile(np.concatenate(energies), steps), np.array([level, every.std()])


def _products(w: np.ndarray) -> tuple[np.ndarray, float]:
    """Inner products of pairs that do not say the same, and how many rows these amount to."""
    n = len(w)
    gram = w @ w.T
    length = np.sqrt(np.maximum(np.diagonal(gram), 1e-300))
    above = np.triu_indices(n, 1)
    found = gram[above]
    same = found / (length[above[0]] * length[above[1]]) > _SAME
    share = float(same.mean())
    if share > _NEARLY_ALL:
        return found, float(n)
    return found[~same], n / (1 + share * (n - 1))


def looks(found: Moments, queries: Rows) -> Look | None:
    """Whether a batch of queries looks like those that the moments are of.

    Args:
        found: moments of the bank's queries.
        queries: (n, d) as they are compared.

    Returns:
        None for fewer than 30 queries, or moments that say nothing.
    """
    if len(queries) < FEWEST or not len(found.pairs):
        return None
    units = _units_of(found)
    w = units(thinned(queries, _COMPARED)[:].cpu().double().numpy())
    products, n = _products(w)
    level, spread = found.pairs.double().tolist()
    distance = float(products.mean()) - level
    error = spread * math.sqrt(2 / max(1.0, n * (n - 1)))
    shift, least = (_auc_of(x) for x in (distance, distance - _SURE * error))
    energy = torch.from_numpy((w**2).sum(axis=1))
    wide = auc(energy, found.energies.double())
    chance = math.sqrt((1 / n + 1 / len(found.energies)) / 12)
    moved, wider = least > _LEAST_AUC, wide - _SURE * chance > 0.5 and wide > _LEAST_AUC
    return Look(max(shift, wide) if moved or wider else 0.5, moved or wider)


def _auc_of(distance: float) -> float:
    """Phi(sqrt(D / 2))."""
    return 0.5 * (1 + math.erf(math.sqrt(max(distance, 0.0)) / 2))
