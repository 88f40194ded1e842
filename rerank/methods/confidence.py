"""How sure a query's first result is, and whether anything in the gallery answers it.

The Sinkhorn plan with a slack *column* (partial transport in the other direction) gives each query
a share for "none of these" beside each item's share. With re-ranked scores S + g,

    share_i = exp((S_ij + g_j) / tau) / (exp z + sum_l exp((S_il + g_l) / tau)),    j the first

tau is 1.5 times the temperature of the re-ranked scores (`rerank.methods.temperature`). z is such
that the mean share of the slack is a fiftieth; for "no match" it is three tenths, where the level
of a query's scores counts for more and the lead of its first result for less:

    confidence = share at a fiftieth        no match = 1 - share at three tenths

On known pairs of a bank both become probabilities by a logistic curve in their log-odds (Platt
1999): right against wrong first results, and the bank's queries with their own items against the
same without. The second takes either for equally likely. Without known pairs both only order
queries.

Measured in `tests/bench/confidence_table.py` against the first score, its lead, and the entropy.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from rerank.core.errors import RerankError
from rerank.core.pairs import as_positives, clusters_of
from rerank.core.similarity import Similarity
from rerank.methods.base import Bank, FittedPipeline
from rerank.methods.marginals import masses
from rerank.methods.sinkhorn import Sinkhorn
from rerank.methods.temperature import auto_tau
from rerank.passes import gallery

_WIDTH = 1.5
_SURE, _ANSWERED = 0.02, 0.3
# Known pairs below which a curve would follow single queries.
_FEWEST = 30
# Target precisions whose cuts are written down.
TARGETS = tuple(round(0.01 * k, 2) for k in range(50, 100))
# Weight of the prior of a curve, in queries: slope 1 and level 0, which change nothing.
_PRIOR = 1.0


@dataclass(frozen=True, eq=False)
class Sure:
    """What is said of every query.

    Attributes:
        confidence: (n,) float32, that the first result is right.
        no_match: (n,) float32, that nothing in the gallery is.
    """

    confidence: np.ndarray
    no_match: np.ndarray


@dataclass(frozen=True)
class Confidence:
    """What turns re-ranked scores into probabilities, numbers only.

    Attributes:
        tau: in score units.
        levels: z of the confidence and of "no match".
        items: size of the gallery that the levels belong to.
        curves: slope and level of the log-odds of each, or None where they are not calibrated.
        cuts: for each target precision of `TARGETS` the confidence from which on it is reached on
            the reference; above 1 where it never is.
    """

    tau: float
    levels: tuple[float, float]
    items: int
    curves: tuple[tuple[float, float], tuple[float, float]] | None
    cuts: tuple[float, ...]

    @property
    def calibrated(self) -> bool:
        """Whether known pairs made probabilities of the shares."""
        return self.curves is not None

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "tau": self.tau, "levels": list(self.levels), "items": self.items,
            "curves": None if self.curves is None else [list(curve) for curve in self.curves],
            "cuts": list(self.cuts),
        }  # fmt: skip

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> "Confidence":
        """What `as_dict` wrote down."""
        curves = found["curves"]
        return cls(
            found["tau"], (found["levels"][0], found["levels"][1]), found["items"],
            None if curves is None else (tuple(curves[0]), tuple(curves[1])), tuple(found["cuts"]),
        )  # fmt: skip

    def of(self, sim: Similarity) -> Sure:
        """Confidence and "no match" of every query of a re-ranked similarity."""
        total, top = _rows(sim, self.tau)
        shares = _shares(total, top, self._levels(sim))
        if self.curves is not None:
            shares = tuple(
                _bent(share, curve) for share, curve in zip(shares, self.curves, strict=True)
            )
        return Sure(shares[0].astype(np.float32), (1 - shares[1]).astype(np.float32))

    def _levels(self, sim: Similarity) -> tuple[float, float]:
        """For a gallery of another size: unmatched scores add up in proportion to it."""
        shift = math.log(sim.shape[1] / self.items)
        return self.levels[0] + shift, self.levels[1] + shift

    def cut(self, precision: float) -> float:
        """The confidence from which on first results are right as often as asked for.

        Raises:
            RerankError: a precision outside .5 to .99.
        """
        if not TARGETS[0] <= precision <= TARGETS[-1]:
            raise RerankError(
                f"threshold: got {precision}, expected a target precision from {TARGETS[0]} to "
                f"{TARGETS[-1]}"
            )
        return self.cuts[math.ceil(round((precision - TARGETS[0]) * 100, 6))]


def confidence_of(sim: Similarity, positives: Sequence[np.ndarray] | None = None) -> Confidence:
    """Read temperature and levels off re-ranked scores, and calibrate where pairs are known.

    Args:
        sim: (n, m) re-ranked scores, of the test queries themselves or of bank pairs.
        positives: for each query the items that are right, where known.

    Raises:
        RerankError: scores without a temperature, or split over processes.

    >>> from rerank.core.similarity import Dense
    >>> noise = torch.randn(60, 60, generator=torch.Generator().manual_seed(0))
    >>> scores = torch.eye(60) + 0.3 * noise
    >>> sure = confidence_of(Dense(scores)).of(Dense(scores))
    >>> right = scores.argmax(dim=1).numpy() == np.arange(60)
    >>> bool(sure.confidence[right].mean() > sure.confidence[~right].mean())
    True
    """
    if sim.shard is not None:
        raise RerankError("confidence is worked out in one process: run it without torchrun")
    found = masses(sim)
    chosen = auto_tau(
        sim, log_a=found.log_a, log_b=found.log_b, slack=max(found.slack, 0.0),
        live=(found.rows, found.columns),
    )  # fmt: skip
    if chosen.tau is None:
        raise RerankError(f"confidence: {chosen.note}; there is nothing to tell right from wrong")
    tau = _WIDTH * chosen.tau
    total, top = _rows(sim, tau)
    levels = (_level(total, _SURE), _level(total, _ANSWERED))
    shares = _shares(total, top, levels)
    known = [] if positives is None else [i for i, rows in enumerate(positives) if len(rows)]
    if positives is None or len(known) < _FEWEST:
        right = shares[0]
        return Confidence(tau, levels, sim.shape[1], None, _cuts(shares[0], right))
    best, without = _without(sim, tau, positives)
    right = np.array([best[i] in positives[i] for i in known], dtype=float)
    share = shares[0][known]
    sure = _curve(share, right)
    alone = _shares(without[0][known], without[1][known], levels)[1]
    both = np.concatenate([shares[1][known], alone])
    answered = _curve(both, np.concatenate([np.ones(len(known)), np.zeros(len(known))]))
    cuts = _cuts(_bent(share, sure), right)
    return Confidence(tau, levels, sim.shape[1], (sure, answered), cuts)


def bank_reference(
    fitted: FittedPipeline | None, pairs: Similarity,
    positives: Sequence[np.ndarray] | None = None,
) -> Similarity:  # fmt: skip
    """Bank pairs as a fit rewrites test queries: the same maps, biases of their own gallery.

    Where pairs are known, the biases of one half of the items come from the queries of the other
    half, as those of a test gallery come from queries that are not about its items.

    Args:
        fitted: what the test queries pass.
        pairs: bank queries x bank gallery.
        positives: for each bank query the items that are right, where known.
    """
    for stage in () if fitted is None else fitted.stages:
        if stage.parts is not None and stage.parts.rewrites:
            pairs = stage.transform(pairs)
    pairs = replace(pairs, left=None, right=None)
    if positives is None:
        own = Sinkhorn().fit(Bank(pairs, pairs=pairs, label="transductive"))
        return own.transform(pairs)
    right = as_positives(positives, *pairs.shape)
    half = clusters_of(right, pairs.shape[1]) % 2
    item_half = np.arange(pairs.shape[1]) % 2
    for query, items in enumerate(right):
        item_half[items] = half[query]
    bias = torch.zeros(pairs.shape[1], dtype=pairs.dtype, device=pairs.device)
    for side in (0, 1):
        asking = torch.from_numpy(np.flatnonzero(half != side)).to(pairs.device)
        items = torch.from_numpy(np.flatnonzero(item_half == side)).to(pairs.device)
        if len(asking) and len(items):
            bank = Bank(gallery.taken(pairs, asking, items))
            bias[items] = Sinkhorn().fit(bank).gallery_bias
    return pairs.add_gallery_bias(bias)


def _rows(sim: Similarity, tau: float) -> tuple[np.ndarray, np.ndarray]:
    """(n,) log of the sum of a row's exp(S / tau), and its largest S / tau."""
    out = np.empty((2, sim.shape[0]))
    for rows, block in sim.blocks():
        scaled = block.double() / tau
        out[0, rows] = torch.logsumexp(scaled, dim=1).cpu()
        out[1, rows] = scaled.amax(dim=1).cpu()
    return out[0], out[1]


def _without(
    sim: Similarity, tau: float, positives: Sequence[np.ndarray]
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """The first item of every query, and `_rows` where its right items are taken out."""
    best, out = np.empty(sim.shape[0], dtype=np.int64), np.empty((2, sim.shape[0]))
    for rows, block in sim.blocks():
        best[rows] = block.argmax(dim=1).cpu()
        own = positives[rows.start : rows.stop]
        places = np.repeat(np.arange(len(own)), [len(items) for items in own])
        block[torch.from_numpy(places), torch.from_numpy(np.concatenate(own))] = -torch.inf
        scaled = block.double() / tau
        out[0, rows] = torch.logsumexp(scaled, dim=1).cpu()
        out[1, rows] = scaled.amax(dim=1).cpu()
    return best, (out[0], out[1])


def _shares(
    total: np.ndarray, top: np.ndarray, levels: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """(n,) share of the first item beside a slack of each level; 0 where nothing is scored."""
    first, second = (
        np.exp(np.where(np.isfinite(top), top - np.logaddexp(total, level), -np.inf))
        for level in levels
    )
    return first, second


def _level(total: np.ndarray, share: float) -> float:
    """Z at which the slack has this mean share, by halving."""
    total = total[np.isfinite(total)]
    low, high = float(total.min()) - 50, float(total.max()) + 50
    for _ in range(80):
        middle = (low + high) / 2
        mean = float(np.mean(1 / (1 + np.exp(np.clip(total - middle, -700, 700)))))
        low, high = (middle, high) if mean < share else (low, middle)
    return (low + high) / 2


def _log_odds(share: np.ndarray) -> np.ndarray:
    inside = np.clip(share, 1e-9, 1 - 1e-9)
    return np.log(inside) - np.log1p(-inside)


def _bent(share: np.ndarray, curve: tuple[float, float]) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(curve[0] * _log_odds(share) + curve[1], -700, 700)))


def _curve(share: np.ndarray, right: np.ndarray) -> tuple[float, float]:
    """Slope and level of the log-odds under which right and wrong are the likeliest."""
    x = np.stack([_log_odds(share), np.ones(len(share))])
    w, prior = np.array([1.0, 0.0]), np.array([1.0, 0.0])
    for _ in range(50):
        p = 1 / (1 + np.exp(-np.clip(w @ x, -700, 700)))
        slope = x @ (right - p) - _PRIOR * (w - prior)
        curve = (x * (p * (1 - p))) @ x.T + _PRIOR * np.eye(2)
        step = np.linalg.solve(curve, slope)
        w = w + step / max(1.0, np.abs(step).max())
        if np.abs(step).max() < 1e-9:
            break
    # More of a share never means less.
    return (float(w[0]), float(w[1])) if w[0] > 0 else (0.0, float(w[1]))


def _cuts(confidence: np.ndarray, right: np.ndarray) -> tuple[float, ...]:
    """The lowest confidence above which the mean of `right` reaches each target; 2 where none."""
    order = np.argsort(-confidence, kind="stable")
    values = confidence[order]
    precision = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    # Equal confidences are taken or left together.
    ends = np.append(values[1:] < values[:-1], True)
    out = []
    for target in TARGETS:
        enough = np.flatnonzero(ends & (precision >= target))
        out.append(float(values[enough[-1]]) if len(enough) else 2.0)
    return tuple(out)
