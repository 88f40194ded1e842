"""Inverted softmax over a bank (Smith et al., ICLR 2017): half a Sinkhorn step."""

import math
from dataclasses import dataclass
from typing import Literal

from rerank import reduce
from rerank.errors import RerankError
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
    this is tau times its logarithm).
    """

    tau: float | Literal["auto"] = "auto"

    def __post_init__(self) -> None:
        if self.tau != "auto":
            if isinstance(self.tau, str):
                raise RerankError(f"tau: got {self.tau!r}, expected a positive number or 'auto'")
            reduce.check_tau(self.tau)

    def fit(self, bank: Similarity | Bank) -> GalleryBias:
        """Estimate the charge of every gallery item on the bank."""
        bank = as_bank(bank)
        sim = bank.sim
        tau = self.tau if self.tau != "auto" else 0.5 * reduce.spread(sim)[1]
        lse = reduce.logsumexp(sim, reduce.check_tau(tau), over="queries")
        return GalleryBias(tau * (math.log(reduce.total_queries(sim)) - lse), bank.label)
