"""NCL's normalisation exactly as published (Park et al., EMNLP 2022)."""

from dataclasses import dataclass
from typing import Literal

import torch

from rerank.core.similarity import Similarity
from rerank.methods.base import Bank, GalleryBias, Reranker, as_bank
from rerank.methods.checks import bank_tau, check_temperature
from rerank.methods.potentials import solve
from rerank.methods.registry import method
from rerank.passes import gallery as items
from rerank.passes import reduce


@method("ncl", help="published loop, temperature from the scores", source="Park et al., EMNLP 2022")
@method(
    "ncl-published",
    help="published loop and logit scale 100",
    source="Park et al., EMNLP 2022",
    preset={"tau": 0.01},
)
@dataclass(frozen=True)
class NCL(Reranker):
    """Gallery bias after one gallery half-step and `n_iters` (query, gallery) steps on the bank.

        b_j = -log sum_i exp(S_ij / tau)
        repeat:  a_i = -log sum_j exp(S_ij / tau + b_j),  b_j = -log sum_i exp(S_ij / tau + a_i)
        S_ij + tau log_softmax(b)_j

    Args:
        tau: temperature in score units, or "auto": half of sigma, the mean over bank queries of
            the standard deviation of their scores. Published: the model's logit scale, that is
            1/100 on cosines of CLIP, as `ncl-published`.
        n_iters: published 4, which does not converge at a logit scale of 100.

    Source: NCL, EMNLP 2022; its routine as in UCoFiA (ICCV 2023). Same numbers in the log domain,
    where exponentials of float32 logits underflow. `Sinkhorn` is the converged form, with masses,
    shared mass of repeated queries and a temperature chosen from the scores.
    """

    tau: float | Literal["auto"] = "auto"
    n_iters: int = 4

    def __post_init__(self) -> None:
        check_temperature(self.tau)

    def fit(self, bank: Similarity | Bank) -> GalleryBias:
        """Run the published loop on bank queries x gallery."""
        bank = as_bank(bank)
        sim = bank.sim
        n, m = sim.shape
        tau = bank_tau(self.tau, sim)
        zeros = {"dtype": sim.dtype, "device": sim.device}
        start = items.neutral(sim, -tau * reduce.logsumexp(sim, tau, over="queries"))
        solution = solve(
            sim, tau, log_a=torch.zeros(n, **zeros), log_b=torch.zeros(m, **zeros),
            n_iters=self.n_iters, relaxation=1.0, init=start,
        )  # fmt: skip
        b = solution.g / tau
        return GalleryBias(tau * (b - items.log_total(sim, b)), bank.label)
