"""DualDIS (DBNorm, Wang et al., EMNLP 2023): two dynamic inverted softmaxes, multiplied."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from rerank import items, reduce
from rerank.methods.dual_bank import GALLERY_SHARE, gallery_bank, joint_charge, log_sums
from rerank.methods.dynamic import active_items
from rerank.methods.rows import (
    bank_tau,
    check_columns,
    check_temperature,
    mapped,
)
from rerank.reranker import Bank, Label, as_bank
from rerank.similarity import Similarity

_WHAT = "dual dynamic inverted softmax (dualdis)"
# Below this score the logarithm is continued by its tangent: order is kept, nothing is NaN.
_LOG_FLOOR = 1e-6


@dataclass(frozen=True)
class DualDIS:
    """The product of two dynamic inverted softmaxes, by bank queries and by bank gallery items.

    With a query's top item active in both banks, in one, in none, its row becomes

        both            S + g_j, as `DualIS`
        queries only    S + tau (log S - log sum_b exp(S_bj / tau))
        gallery only    S + tau_gallery (log S - log sum_c exp(G_cj / tau_gallery))
        none            S

    Args:
        tau: temperature of the bank queries, or "auto": half of their sigma.
        tau_gallery: temperature of the bank gallery, or "auto": its whole sigma.
            Published: 1.99 and 1/3 on cosines, as `dualdis-published`.
        k: how deep banks activate items; published 1.

    Source: Wang et al., EMNLP 2023, in the corrected form of DBSN's copy, each factor on its own
    copy of S. Each row is the logarithm of the published product times the row's own temperature,
    and rank for rank the same where scores are positive; for scores of 0 and below, where the
    published product turns their order around, the logarithm is continued downwards. Row
    direction only.
    """

    tau: float | Literal["auto"] = "auto"
    tau_gallery: float | Literal["auto"] = "auto"
    k: int = 1

    def __post_init__(self) -> None:
        check_temperature(self.tau)
        check_temperature(self.tau_gallery, "tau_gallery")

    def fit(self, bank: Similarity | Bank) -> "DualGated":
        """Estimate both charges and both sets of active items.

        Raises:
            RerankError: the bank has no gallery of its own.
        """
        bank = as_bank(bank)
        gallery = gallery_bank(bank, _WHAT)
        tau, tau_gallery = (
            bank_tau(self.tau, bank.sim),
            bank_tau(self.tau_gallery, gallery, share=GALLERY_SHARE),
        )
        return DualGated(
            log_sum=log_sums(bank.sim, tau),
            log_sum_gallery=log_sums(gallery, tau_gallery),
            active=active_items(bank.sim, k=self.k, min_count=1),
            active_gallery=active_items(gallery, k=self.k, min_count=1),
            tau=tau,
            tau_gallery=tau_gallery,
            label=bank.label,
        )


@dataclass(frozen=True, eq=False)
class DualGated:
    """Fitted DualDIS.

    Attributes:
        log_sum: (m,) log sum over bank queries of exp(S / tau).
        log_sum_gallery: (m,) the same over bank gallery items at tau_gallery.
        active: (m,) bool, items that lead a bank query's ranking.
        active_gallery: (m,) bool, items that lead a bank gallery item's ranking.
        tau: temperature of the bank queries.
        tau_gallery: temperature of the bank gallery.
        label: which queries it was estimated from.
    """

    log_sum: Tensor
    log_sum_gallery: Tensor
    active: Tensor
    active_gallery: Tensor
    tau: float
    tau_gallery: float
    label: Label

    def transform(self, sim: Similarity) -> Similarity:
        """Rewrite every row by its own two gates."""
        check_columns(sim, len(self.log_sum), _WHAT)
        best = reduce.topk(sim, 1).indices[:, 0]
        one = items.at(sim, self.active.to(sim.device), best)
        two = items.at(sim, self.active_gallery.to(sim.device), best)
        first = self.log_sum.to(device=sim.device, dtype=sim.dtype)
        second = self.log_sum_gallery.to(first)
        joint = joint_charge(first, self.tau, second, self.tau_gallery)

        def rewrite(rows: slice, block: Tensor) -> Tensor:
            q, g = one[rows, None], two[rows, None]
            logs = continued_log(block)
            by_queries = block + self.tau * (logs - first)
            by_gallery = block + self.tau_gallery * (logs - second)
            mixed = torch.where(q, by_queries, torch.where(g, by_gallery, block))
            return torch.where(q & g, block + joint, mixed)

        return mapped(sim, rewrite, _WHAT)


def continued_log(scores: Tensor) -> Tensor:
    """Log of the scores, continued below 1e-6 by its tangent."""
    low = math.log(_LOG_FLOOR) + (scores - _LOG_FLOOR) / _LOG_FLOOR
    return torch.where(scores > _LOG_FLOOR, scores.clamp_min(_LOG_FLOOR).log(), low)
