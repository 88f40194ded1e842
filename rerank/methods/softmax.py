"""Inverted softmax over a bank (Smith et al., ICLR 2017): half a Sinkhorn step."""

import math
from dataclasses import dataclass
from typing import Literal

from rerank import items, reduce
from rerank.methods.rows import bank_tau, check_temperature
from rerank.reranker import Bank, GalleryBias, as_bank
from rerank.similarity import Similarity


@dataclass(frozen=True)
class InvertedSoftmax:
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

    def fit(self, bank: Similarity | Bank) -> GalleryBias:
        """Estimate the charge of every gallery item on the bank."""
        bank = as_bank(bank)
        sim = bank.sim
        tau = bank_tau(self.tau, sim)
        lse = reduce.logsumexp(sim, tau, over="queries")
        bias = tau * (math.log(reduce.total_queries(sim)) - lse)
        return GalleryBias(items.neutral(sim, bias), bank.label)
