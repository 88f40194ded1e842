"""Inverted softmax over a bank (Smith et al., ICLR 2017): half a Sinkhorn step.

Dynamic inverted softmax, the normalisation of QB-Norm (Bogolin et al., CVPR 2022).
"""

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from rerank.core.errors import RerankError
from rerank.core.similarity import Similarity
from rerank.core.words import Label
from rerank.methods.base import Bank, Fitted, GalleryBias, Reranker, as_bank
from rerank.methods.checks import bank_tau, check_columns, check_temperature, rows_only
from rerank.methods.registry import method
from rerank.passes import gallery as items
from rerank.passes import reduce


@method("is", help="inverted softmax", source="Smith et al., ICLR 2017")
@dataclass(frozen=True)
class InvertedSoftmax(Reranker):
    """S_ij - tau log mean_b exp(S_bj / tau): each item is charged what the bank likes it.

    Equal to one gallery half-step of Sinkhorn from f = 0 with every bank query of equal mass.

    Args:
        tau: temperature in score units, or "auto": half of sigma, the mean over bank queries of
            the standard deviation of their scores.

    Source: Smith et al., ICLR 2017 (the published form multiplies: exp(S/tau) / sum exp(S/tau);
    this is tau times its logarithm, up to a constant). MUSE uses tau = 1/30 on cosines.
    """

    tau: float | Literal["auto"] = "auto"

    def __post_init__(self) -> None:
        check_temperature(self.tau)

    def settled(self, bank: Bank) -> "InvertedSoftmax":
        """A temperature from the scores depends on the whole gallery: new items need this one."""
        return replace(self, tau=bank_tau(self.tau, bank.sim))

    per_item: ClassVar[bool] = True

    def fit(self, bank: Similarity | Bank) -> GalleryBias:
        """Estimate the charge of every gallery item on the bank."""
        bank = as_bank(bank)
        sim = bank.sim
        tau = bank_tau(self.tau, sim)
        lse = reduce.logsumexp(sim, tau, over="queries")
        bias = tau * (math.log(reduce.total_queries(sim)) - lse)
        return GalleryBias(items.neutral(sim, bias), bank.label)


_WHAT = "dynamic inverted softmax (dis)"


def active_items(sim: Similarity, *, k: int, min_count: int) -> Tensor:
    """(m,) bool: gallery items that at least `min_count` queries have among their k best."""
    if min_count < 1:
        raise RerankError(f"min_count: got {min_count}, expected at least 1")
    return reduce.k_occurrence(sim, k) >= min_count


def gate(sim: Similarity, active: Tensor) -> Tensor:
    """(n,) 0 or 1: whether a query's own best item is an active one. No other query matters."""
    best = reduce.topk(sim, 1).indices[:, 0]
    return items.at(sim, active.to(sim.device), best).to(sim.dtype)


@method(
    "dis",
    help="inverted softmax where a hub leads",
    source="QB-Norm, CVPR 2022",
    stage="rows",
    folds=False,
    rows_only=True,
)
@method(
    "qb-norm",
    help="published: tau 1/20, k 1",
    source="QB-Norm, CVPR 2022",
    stage="rows",
    folds=False,
    rows_only=True,
    preset={"tau": 0.05, "k": 1, "min_count": 1},
)
@dataclass(frozen=True)
class DynamicInvertedSoftmax(Reranker):
    """S_ij + gate_i h_j, h_j = -tau log sum_b exp(S_bj / tau): charge hubs only where one leads.

    An item is active when some bank query retrieves it among its k best; a query is gated (1) when
    its own best item is active, and keeps its raw row (0) otherwise.

    Args:
        tau: temperature in score units, or "auto": half of sigma, the mean over bank queries of
            the standard deviation of their scores. Published: 1/20 on cosines, as `qb-norm`.
        k: how deep bank queries activate items; published 1.
        min_count: bank queries that must agree; published 1 (DiCoSA's copy uses 3).

    Source: Bogolin et al., CVPR 2022. Active rows are tau times the logarithm of the published
    exp(S/tau) / sum_b exp(S_b/tau), inactive rows are raw, as published. The gate is taken from
    the raw scores at `transform`, one query at a time; the caller's matrix is not overwritten.
    Rows have mixed scales, so the result answers the row direction only.
    """

    tau: float | Literal["auto"] = "auto"
    k: int = 1
    min_count: int = 1

    def __post_init__(self) -> None:
        check_temperature(self.tau)

    def fit(self, bank: Similarity | Bank) -> "GatedBias":
        """Estimate charges and active items on the bank."""
        bank = as_bank(bank)
        sim = bank.sim
        tau = bank_tau(self.tau, sim)
        charge = items.neutral(sim, -tau * reduce.logsumexp(sim, tau, over="queries"))
        active = active_items(sim, k=self.k, min_count=self.min_count)
        return GatedBias(charge, active, tau, bank.label)


@dataclass(frozen=True, eq=False)
class GatedBias(Fitted):
    """One number per gallery item, added to the rows of gated queries only.

    Attributes:
        charge: h (m,), in score units.
        active: (m,) bool, items whose leading a row opens its gate.
        tau: the temperature used.
        label: which queries it was estimated from.
    """

    charge: Tensor
    active: Tensor
    tau: float
    label: Label

    def transform(self, sim: Similarity) -> Similarity:
        """S + gate h; a `Pair` stays one with gate and charge as one more dimension."""
        check_columns(sim, len(self.charge), _WHAT)
        gates = gate(sim, self.active)
        return rows_only(sim.add(gates[:, None], self.charge[:, None]), _WHAT)


def share_gated(fitted: GatedBias, sim: Similarity) -> float:
    """Share of these queries whose gate is open."""
    return float(torch.mean(gate(sim, fitted.active)))
