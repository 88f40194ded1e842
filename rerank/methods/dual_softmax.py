"""Dual softmax (CAMoE, Cheng et al., 2021) in the forms that published code uses."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from rerank.core.errors import RerankError
from rerank.core.similarity import Similarity
from rerank.core.words import Label
from rerank.methods.base import Bank, Fitted, Reranker, as_bank
from rerank.methods.checks import bank_tau, check_columns, check_temperature, mapped
from rerank.methods.registry import method
from rerank.passes import gallery as items
from rerank.passes import reduce

Form = Literal["camoe", "clip-vip", "internvideo"]

_WHAT = "dual softmax (dsl)"


@method(
    "dsl",
    help="scores times their softmax over the queries",
    source="CAMoE, 2021",
    stage="rows",
    folds=False,
    rows_only=True,
)
@method(
    "dsl-camoe",
    help="published: tau .01",
    source="CAMoE, 2021; EMCL-Net++",
    stage="rows",
    folds=False,
    rows_only=True,
    preset={"tau": 0.01, "form": "camoe"},
)
@method(
    "dsl-clip-vip",
    help="published: tau .01",
    source="CLIP-ViP, ICLR 2023; T-MASS",
    stage="rows",
    folds=False,
    rows_only=True,
    preset={"tau": 0.01, "form": "clip-vip"},
    ranks_as="dsl-camoe",
)
@method(
    "dsl-internvideo",
    help="published: logits times their softmax",
    source="InternVideo, 2022",
    stage="rows",
    folds=False,
    rows_only=True,
    preset={"tau": 0.01, "form": "internvideo"},
    ranks_as="dsl-camoe",
)
@dataclass(frozen=True)
class DualSoftmax(Reranker):
    """Scores times their own softmax over the queries, P_ij = exp(S_ij/tau) / sum_b exp(S_bj/tau).

        camoe         S_ij P_ij N            (N bank queries)
        clip-vip      S_ij P_ij              (also T-MASS)
        internvideo   (S_ij / tau) P_ij      (logits times the softmax of the logits)

    At one temperature the three differ by a constant factor and rank alike.

    Args:
        tau: temperature in score units, or "auto": half of sigma, the mean over bank queries of
            the standard deviation of their scores. Published: 1/100 on cosines for CLIP-ViP,
            T-MASS and InternVideo, and for CAMoE's at test time in EMCL-Net++ (its class default,
            1000 on logits, makes the softmax flat).
        form: which of the three.

    The softmax runs over the bank, which for the published transductive use is the test queries;
    a query outside the bank is compared with the bank's sums, so one query can be served.

    Source: Cheng et al., 2021; CLIP-ViP, ICLR 2023; InternVideo, 2022. As published, a negative
    score is multiplied too: scores should be positive where it matters, as cosines of CLIP are.
    It is an elementwise map: the result answers the row direction only and does not fold.
    """

    tau: float | Literal["auto"] = "auto"
    form: Form = "camoe"

    def __post_init__(self) -> None:
        check_temperature(self.tau)
        if self.form not in ("camoe", "clip-vip", "internvideo"):
            raise RerankError(
                f"form: got {self.form!r}, expected 'camoe', 'clip-vip' or 'internvideo'"
            )

    def fit(self, bank: Similarity | Bank) -> "SoftmaxWeights":
        """Estimate the softmax denominator of every gallery item on the bank."""
        bank = as_bank(bank)
        tau = bank_tau(self.tau, bank.sim)
        log_sum = items.neutral(bank.sim, reduce.logsumexp(bank.sim, tau, over="queries"))
        count = float(reduce.total_queries(bank.sim))
        factor = {"camoe": count, "clip-vip": 1.0, "internvideo": 1.0 / tau}[self.form]
        return SoftmaxWeights(log_sum, tau, factor, bank.label)


@dataclass(frozen=True, eq=False)
class SoftmaxWeights(Fitted):
    """Fitted dual softmax.

    Attributes:
        log_sum: (m,) log sum_b exp(S_bj / tau).
        tau: the temperature used.
        factor: constant of the published form.
        label: which queries it was estimated from.
    """

    log_sum: Tensor
    tau: float
    factor: float
    label: Label

    def transform(self, sim: Similarity) -> Similarity:
        """Factor S exp(S / tau - log_sum), elementwise."""
        check_columns(sim, len(self.log_sum), _WHAT)
        log_sum = self.log_sum.to(device=sim.device, dtype=sim.dtype)

        def weigh(rows: slice, block: Tensor) -> Tensor:
            return (block / self.tau).sub_(log_sum).exp_().mul_(block).mul_(self.factor)

        return mapped(sim, weigh, _WHAT)
