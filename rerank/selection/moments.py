"""Where the queries of a bank lie, and whether a batch of other queries lies there too.

A model without its bank still knows the mean and covariance of its queries, C = A^T A + r I with
the principal axes A, and how queries that were not in the estimate lie in these units:

    w(x)  = (C + c I)^-1/2 (x - mean),  c the mean variance, the largest axes, the rest alike
    D     = mean over pairs of <w(x), w(y)> - the same of held-out bank queries, 32 axes
    AUC   = Phi(sqrt(D / 2))               a direction that tells both apart, judged on unseen rows
    wide  = |w|^2, 128 axes                length along axes that the bank's queries hardly have
    along = (x - mean)' C (x - mean)       length along those that they have most of

wide and along are compared with those of held-out bank queries, two more AUC. Pairs of one batch
estimate its distance without bias: no row is judged by itself. Rows that say the same (captions of
one video) are no independent witnesses and are not paired; copies count once on both sides, since
one that was left out would lie where the others of its kind do (`rerank.selection.distinct`).

A turned batch keeps its norms, and its mean where that is near zero: only where its length lies
tells. Of queries that lie nearly alike in all directions (short captions) a turn leaves nothing
to see but less length along the few axes that stand out, so both lengths are looked at, and with
all axes that are kept.

Source: Chen and Qin, Annals of Statistics 2010, in whitened space.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rerank.core.rows import Rows, slices, thinned
from rerank.selection.distinct import distinct_rows

# A batch below this says too little.
FEWEST = 30
# Principal axes that are kept, rows that are enough to estimate them from.
_AXES = 128
_ROWS = 20_000
# Axes of the distance; rows, folds and steps of the comparison. Folds leave out a tenth: an
# estimate from fewer rows is further from the rows that it has not seen.
_TOP, _COMPARED, _FOLDS, _STEPS = 32, 2000, 10, 4
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
        wide: (101,) quantiles of |w|^2 of held-out rows; empty for fewer than 30 rows.
        along: (101,) the same of (x - mean)' C (x - mean).
        pairs: (3,) mean and standard deviation of <w(x), w(y)> of held-out rows, and how many rows
            there were; empty likewise.
    """

    mean: Tensor
    axes: Tensor
    rest: Tensor
    wide: Tensor
    along: Tensor
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
    """Moments of at most 20,000 evenly spaced rows, as they are compared (unit for cosine).

    Copies count once.
    """
    x = _once(thinned(queries, _ROWS))
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


def _once(rows: Rows) -> Rows:
    """The same without copies."""
    places = distinct_rows(rows)
    return rows if len(places) == len(rows) else rows[places.to(rows.device)]


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

    def few(self) -> "_Units":
        """The same with at most 32 of the axes; the others join the rest."""
        r, d = self.axes.shape
        keep = min(_TOP, r)
        order = np.argsort(self.values)
        inside, kept = order[: r - keep], order[r - keep :]
        left = float(self.values[inside].sum() + self.rest * (d - r)) / max(1, d - keep)
        return _Units(self.mean, self.axes[kept], self.values[kept], left)

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """W of each row."""
        along, left = self._split(rows)
        left /= math.sqrt(self.rest + self._ridge)
        return np.concatenate([along / np.sqrt(self.values + self._ridge), left], axis=1)

    def lengths(self, rows: np.ndarray) -> np.ndarray:
        """(2, n) wide and along of each row."""
        along, left = self._split(rows)
        square, beside = along**2, (left**2).sum(axis=1)
        wide = square @ (1 / (self.values + self._ridge)) + beside / (self.rest + self._ridge)
        return np.stack([wide, square @ self.values + beside * self.rest])

    def _split(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Coordinates along the axes, and what they leave of each row."""
        y = rows - self.mean
        along = y @ self.axes.T
        return along, y - along @ self.axes


def _units_of(found: Moments) -> _Units:
    """The units of stored moments."""
    axes = found.axes.double().numpy()
    length = np.linalg.norm(axes, axis=1)
    rest = float(found.rest)
    unit = axes / np.maximum(length, 1e-300)[:, None]
    return _Units(found.mean.double().numpy(), unit, length**2 + rest, rest)


def _units_from(rows: np.ndarray) -> _Units:
    """The units of some rows; their largest axes by a few steps of subspace iteration.

    It starts anywhere: the axes of all rows would know those that are left out.
    """
    mean = rows.mean(axis=0)
    y = rows - mean
    d = y.shape[1]
    width = min(_AXES, d)
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(d, min(width + 8, d))))[0]
    for _ in range(_STEPS):
        basis = np.linalg.qr(y.T @ (y @ basis))[0]
    along = y @ basis
    values, turn = np.linalg.eigh(along.T @ along / len(y))
    values, axes = np.maximum(values[-width:], 0), (basis @ turn).T[-width:]
    total = float((y**2).sum()) / len(y)
    rest = max(0.0, total - float(values.sum())) / max(1, d - width)
    return _Units(mean, axes, values, rest)


def _held_out(x: Rows) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Quantiles of wide and along, and facts of <w(x), w(y)>, of rows that were left out."""
    nothing = np.empty(0), np.empty(0), np.empty(0)
    rows = thinned(x, 2 * _COMPARED)[:].cpu().double().numpy()
    if len(rows) < FEWEST:
        return nothing
    folds = np.random.default_rng(0).permutation(len(rows)) % _FOLDS
    lengths, products = [], []
    for fold in range(_FOLDS):
        units = _units_from(rows[folds != fold])
        if units.flat:
            return nothing
        seen = rows[folds == fold]
        lengths.append(units.lengths(seen))
        products.append(_products(units.few()(seen))[0])
    every = np.concatenate(products)
    # What the mean's own error adds shrinks with the rows that it is from.
    level = every.mean() * (_FOLDS - 1) / _FOLDS
    steps = np.linspace(0, 1, _QUANTILES)
    wide, along = np.quantile(np.concatenate(lengths, axis=1), steps, axis=1).T
    return wide, along, np.array([level, every.std(), len(rows)])


def _products(w: np.ndarray) -> tuple[np.ndarray, float]:
    """Inner products of pairs that do not say the same, and how many rows these amount to."""
    n = len(w)
    found, same = _same(w)
    share = float(same.mean())
    if share > _NEARLY_ALL:
        return found, float(n)
    return found[~same], n / (1 + share * (n - 1))


def _same(w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Inner product of every pair of rows, and whether the two say the same."""
    gram = w @ w.T
    length = np.sqrt(np.maximum(np.diagonal(gram), 1e-300))
    above = np.triu_indices(len(w), 1)
    found = gram[above]
    return found, found / (length[above[0]] * length[above[1]]) > _SAME


def looks(found: Moments, queries: Rows) -> Look | None:
    """Whether a batch of queries looks like those that the moments are of.

    Copies count once. Of fewer than 30 only `wide` is compared, by the mean of its logarithm: a
    single query of another kind can lie beyond all that the bank has, but two of the same kind say
    nothing of how a kind is spread.

    Args:
        found: moments of the bank's queries.
        queries: (n, d) as they are compared.

    Returns:
        None for no queries, or moments that say nothing.
    """
    if not len(queries) or not len(found.pairs):
        return None
    units = _units_of(found)
    rows = _once(thinned(queries, _COMPARED))[:].cpu().double().numpy()
    wide, along = (torch.from_numpy(x) for x in units.lengths(rows))
    w = units.few()(rows)
    if len(rows) < FEWEST:
        return _look_at_few(found, wide, w)
    products, n = _products(w)
    level, spread, held = found.pairs.double().tolist()
    distance = float(products.mean()) - level
    # Of both samples: the bank's mean has an error too, which all pairs of the batch share.
    pairs = 2 / max(1.0, n * (n - 1)) + 2 / (held * (held - 1)) + 4 / (n * held)
    error = spread * math.sqrt(pairs)
    # What was seen, and the least that it can have been.
    seen = [(_auc_of(distance), _auc_of(distance - _SURE * error), _LEAST_AUC)]
    chance = _SURE * math.sqrt((1 / n + 1 / held) / 12)
    for more, less in ((wide, found.wide), (found.along, along)):
        told = auc(more.double(), less.double())
        seen.append((told, told - chance, 0.5))
    told = [value for value, least, level in seen if least > level and value > _LEAST_AUC]
    return Look(max(told, default=0.5), bool(told))


def _look_at_few(found: Moments, wide: Tensor, w: np.ndarray) -> Look | None:
    """A look at fewer than 30 queries; None where it shows nothing."""
    n = len(wide)
    held = found.wide.double().clamp_min(1e-300).log()
    above = float((wide.clamp_min(1e-300).log().mean() - held.mean()) / held.std())
    # Queries of one topic are one witness.
    same = _same(w)[1].mean() if n > 1 else 0.0
    if above * math.sqrt(n / (1 + float(same) * (n - 1))) < _SURE:
        return None
    return Look(auc(wide, found.wide.double()), True)


def _auc_of(distance: float) -> float:
    """Phi(sqrt(D / 2))."""
    return 0.5 * (1 + math.erf(math.sqrt(max(distance, 0.0)) / 2))


def auc(positive: Tensor, negative: Tensor) -> float:
    """Probability that a positive exceeds a negative, ties counting one half."""
    ordered = negative.sort().values
    below = torch.searchsorted(ordered, positive.contiguous(), right=False)
    upto = torch.searchsorted(ordered, positive.contiguous(), right=True)
    return float((below + upto).double().mean() / (2 * len(negative)))
