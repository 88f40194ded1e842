"""Three different estimates of how much a bank likes each gallery item, in score units.

They fail in different ways: one half-step of a sharp dual-bank Sinkhorn counts only the closest
rivals, the mean of the ten nearest queries is blind to how they are distributed, and a converged
Sinkhorn at a wide temperature sees the whole bank. The gate weighs them by known pairs.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from rerank import reduce
from rerank.errors import RerankError
from rerank.methods.sinkhorn import Sinkhorn
from rerank.reranker import Bank

NAMES = ("dual-bank step", "nearest queries", "wide Sinkhorn")

# In units of sigma, the mean over bank queries of the standard deviation of their scores.
_SHARP, _WIDE = 0.5, 1.0
_NEAREST = 10


@dataclass(frozen=True, eq=False)
class BankBiases:
    """Biases of one gallery from one bank.

    Attributes:
        columns: (m, 3) one column per name in `NAMES`, each with mean zero, in score units.
        sigma: the unit of temperature on this bank, in score units.
    """

    columns: Tensor
    sigma: float


def bank_biases(bank: Bank) -> BankBiases:
    """The three biases of `NAMES` for the gallery of `bank.sim`.

        sharp:    f_b = -tau log (sum_v exp(S_bv / tau) + sum_w exp(S_bw / tau)),  tau = sigma / 2
                  g_v = -tau log sum_b a_b exp((S_bv + f_b) / tau)
        nearest:  g_v = -mean of the ten largest S_bv
        wide:     g of Sinkhorn at sigma

    with v over the gallery, w over the bank's own gallery (none without `bank.pairs`) and a_b the
    query masses (exact duplicates share one).

    Raises:
        RerankError: constant scores, which carry no temperature.
    """
    sim = bank.sim
    mean, sigma = reduce.spread(sim)
    if not sigma > 1e-6 * abs(mean):
        raise RerankError("bank scores are constant: there is nothing to fit; check the bank")
    tau = _SHARP * sigma
    charge = reduce.logsumexp(sim, tau, over="gallery")
    if bank.pairs is not None and bank.pairs is not sim:
        charge = torch.logaddexp(charge, reduce.logsumexp(bank.pairs, tau, over="gallery"))
    log_a = reduce.query_masses(sim).log().to(sim.dtype)
    sharp = -tau * reduce.logsumexp(sim, tau, over="queries", plus=tau * (log_a - charge))
    k = min(_NEAREST, reduce.total_queries(sim))
    nearest = -reduce.mean_topk(sim, k, over="queries")
    wide = Sinkhorn(tau=_WIDE * sigma).fit(bank).gallery_bias
    columns = [bias - reduce.gallery_mean(sim, bias) for bias in (sharp, nearest, wide)]
    return BankBiases(torch.stack(columns, dim=1), sigma)


def unpaired_bias(bank: Bank) -> Tensor:
    """(m,) half of CSLS, -0.5 mean of the ten nearest queries: for banks without known pairs."""
    k = min(_NEAREST, reduce.total_queries(bank.sim))
    bias = -0.5 * reduce.mean_topk(bank.sim, k, over="queries")
    return bias - reduce.gallery_mean(bank.sim, bias)
