"""Dual-bank Sinkhorn (DBSN, ACM MM 2025): biases from bank queries against two galleries.

DualDIS (DBNorm, Wang et al., EMNLP 2023): two dynamic inverted softmaxes, multiplied.
"""

import math
from dataclasses import dataclass, fields
from typing import Literal

import torch
from torch import Tensor

from rerank.core.errors import RerankError
from rerank.core.rows import equal
from rerank.core.similarity import Pair, Similarity
from rerank.core.wording import option
from rerank.core.words import Label
from rerank.methods.base import Bank, Fitted, GalleryBias, Reranker, as_bank
from rerank.methods.checks import bank_tau, check_columns, check_temperature, mapped
from rerank.methods.inverted_softmax import active_items
from rerank.methods.potentials import solve
from rerank.methods.registry import method
from rerank.passes import gallery as items
from rerank.passes import reduce


@dataclass(frozen=True, eq=False)
class Beside(Similarity):
    """Two similarities of the same queries side by side: scores against [first, second]."""

    first: Similarity
    second: Similarity

    @property
    def shape(self) -> tuple[int, int]:  # noqa: D102
        return self.first.shape[0], self.first.shape[1] + self.second.shape[1]

    @property
    def dtype(self) -> torch.dtype:  # noqa: D102
        return self.first.dtype

    @property
    def device(self) -> torch.device:  # noqa: D102
        return self.first.device

    @property
    def T(self) -> Similarity:  # noqa: D102, N802
        raise RerankError("two galleries side by side have no transpose")

    def block(self, rows: slice) -> Tensor:  # noqa: D102
        both = [self.first.block(rows), self.second.block(rows).to(self.dtype)]
        return self.corrected(torch.cat(both, dim=1), rows)


def beside(first: Similarity, second: Similarity) -> Similarity:
    """Scores of the same queries against two galleries, (n, m1 + m2), first gallery first.

    Where galleries are split over processes, so is the joint one: a share of each, side by side.
    Two plain `Pair`s of the same queries become one, whose passes are the fast ones.
    """
    if first.shape[0] != second.shape[0]:
        raise RerankError(f"got {first.shape[0]} and {second.shape[0]} queries, expected the same")
    if first.shard == "gallery" and second.shard is None:
        second = items.my_share(second)
    if first.shard != second.shard:
        raise RerankError(
            f"two galleries cannot be joined: one is split over processes by {first.shard}, "
            f"the other by {second.shard}; split both alike"
        )
    if (
        isinstance(first, Pair)
        and isinstance(second, Pair)
        and first.left is None
        and second.left is None
        and first.metric == second.metric
        and equal(first.queries, second.queries)
        # Stored rows are not joined: that would copy them.
        and isinstance(first.gallery, Tensor)
        and isinstance(second.gallery, Tensor)
    ):
        gallery = torch.cat([first.gallery, second.gallery.to(first.gallery)])
        given = {f.name: getattr(first, f.name) for f in fields(Pair) if f.init}
        return Pair(**{**given, "gallery": gallery, "gallery_mass": None})
    return Beside(
        first, second, block_size=first.block_size,
        query_mass=first.query_mass, shard=first.shard,
    )  # fmt: skip


def two_galleries(bank: Bank, what: str) -> Similarity:
    """Bank queries against the searched gallery and, beside it, the bank's own gallery."""
    if bank.pairs is None or _same(bank.pairs, bank.sim):
        raise RerankError(
            f"{what} needs a bank gallery besides the bank queries: give "
            f"both sides of the bank ({option('bank-texts')} and {option('bank-videos')}); "
            f"with one gallery it is sinkhorn"
        )
    return beside(bank.sim, bank.pairs)


def _same(one: Similarity, two: Similarity) -> bool:
    """Whether two similarities are one: the transductive bank, perhaps transposed twice."""
    if one is two:
        return True
    # Shares may be empty, and so the same, in some processes; one of the two may be whole.
    return reduce.everywhere(two if one.shard is None else one, _same_here(one, two))


def _same_here(one: Similarity, two: Similarity) -> bool:
    if one.shape != two.shape:
        return False
    if isinstance(one, Pair) and isinstance(two, Pair):
        return equal(one.gallery, two.gallery)
    first = slice(0, 1)
    return torch.equal(one.block(first), two.block(first))


@method(
    "dbsn",
    help="Sinkhorn on two galleries",
    source="DBSN, ACM MM 2025",
    needs=("bank", "gallery bank"),
)
@method(
    "dbsn-1",
    help="the same, one iteration",
    source="DBSN, ACM MM 2025",
    needs=("bank", "gallery bank"),
    preset={"n_iters": 1},
)
@method(
    "dbsn-published",
    help="published temperature .01",
    source="DBSN, ACM MM 2025",
    needs=("bank", "gallery bank"),
    preset={"tau": 0.01},
)
@dataclass(frozen=True)
class DualBankSinkhorn(Reranker):
    """Sinkhorn of the bank queries on [gallery, bank gallery]; the searched gallery's biases stay.

        f_b = -tau log sum_j exp((S_bj + g_j) / tau)       j over both galleries
        g_j = -tau log sum_b exp((S_bj + f_b) / tau)

    The bank gallery takes up the queries that belong to it, so that the searched gallery is
    charged only for what it attracts beyond that.

    Args:
        tau: temperature in score units, or "auto": half of sigma, the mean over bank queries of
            the standard deviation of their scores on the searched gallery. Published 1/100 on
            cosines, as `dbsn-published`.
        n_iters: (query, gallery) steps; published 10. One is enough to be useful (`dbsn-1`).

    Source: Pan et al., ACM MM 2025 (arXiv 2508.02538). Differs from the published code: log
    domain, and nothing beside biases is kept, so unseen queries are served.
    """

    tau: float | Literal["auto"] = "auto"
    n_iters: int = 10

    def __post_init__(self) -> None:
        check_temperature(self.tau)

    def fit(self, bank: Similarity | Bank) -> GalleryBias:
        """Estimate the biases.

        Raises:
            RerankError: the bank has no gallery of its own.
        """
        bank = as_bank(bank)
        sim = two_galleries(bank, "dual-bank sinkhorn (dbsn)")
        tau = bank_tau(self.tau, bank.sim)
        (n, mine), both = sim.shape, reduce.total_gallery(sim)
        zeros = {"dtype": sim.dtype, "device": sim.device}
        solution = solve(
            sim, tau, log_a=torch.full((n,), -math.log(reduce.total_queries(sim)), **zeros),
            log_b=torch.full((mine,), -math.log(both), **zeros),
            n_iters=self.n_iters, relaxation=1.0,
        )  # fmt: skip
        g = solution.g[: bank.sim.shape[1]]
        return GalleryBias(g - reduce.gallery_mean(bank.sim, g), bank.label)


@method(
    "dualis",
    help="inverted softmax by two banks",
    source="DBNorm, EMNLP 2023",
    needs=("bank", "gallery bank"),
    whole_bank=True,
)
@method(
    "dualis-published",
    help="published temperatures",
    source="DBNorm, EMNLP 2023",
    needs=("bank", "gallery bank"),
    preset={"tau": 1.99, "tau_gallery": 0.3333333333333333},
    whole_bank=True,
)
@dataclass(frozen=True)
class DualIS(Reranker):
    """S_ij + g_j, charged by a bank of queries and a bank of gallery items at once.

        g_j = -(log sum_b exp(S_bj / tau) + log sum_c exp(G_cj / tau_gallery))
              / (1 / tau + 1 / tau_gallery)

    with S the scores of bank queries and G those of bank gallery items against the gallery.

    Args:
        tau: temperature of the bank queries, or "auto": half of their sigma.
        tau_gallery: temperature of the bank gallery, or "auto": its whole sigma, which on
            `msvd_aligned` is better than half of it in both directions.
            Published: 1.99 and 1/3 on cosines, as `dualis-published`; so warm, they charge
            little more than the mean.

    Source: Wang et al., EMNLP 2023 (DBNorm), in the corrected form of DBSN's copy (the original
    ignored the test similarities). The published form multiplies two inverted softmaxes; this is
    its logarithm divided by 1/tau + 1/tau_gallery, which puts it on the scale of the scores.
    """

    tau: float | Literal["auto"] = "auto"
    tau_gallery: float | Literal["auto"] = "auto"

    def __post_init__(self) -> None:
        check_temperature(self.tau)
        check_temperature(self.tau_gallery, "tau_gallery")

    def fit(self, bank: Similarity | Bank) -> GalleryBias:
        """Estimate the charges.

        Raises:
            RerankError: the bank has no gallery of its own.
        """
        bank = as_bank(bank)
        gallery = gallery_bank(bank, "dual inverted softmax (dualis)")
        tau, tau_gallery = (
            bank_tau(self.tau, bank.sim),
            bank_tau(self.tau_gallery, gallery, share=GALLERY_SHARE),
        )
        charge = joint_charge(
            log_sums(bank.sim, tau), tau, log_sums(gallery, tau_gallery), tau_gallery,
        )  # fmt: skip
        return GalleryBias(charge, bank.label)


# Items of one modality spread less, and a colder bank gallery charges their near-duplicates only.
GALLERY_SHARE = 1.0


def gallery_bank(bank: Bank, what: str) -> Similarity:
    """Bank gallery x gallery, or the sentence that says how to give it."""
    if bank.gallery is None:
        raise RerankError(
            f"{what} needs a bank gallery besides the bank queries: give "
            f"both sides of the bank ({option('bank-texts')} and {option('bank-videos')})"
        )
    return bank.gallery


def log_sums(sim: Similarity, tau: float) -> Tensor:
    """(m,) log sum_i exp(S_ij / tau) over the rows, defined for every item."""
    return items.neutral(sim, reduce.logsumexp(sim, tau, over="queries"))


def joint_charge(lse: Tensor, tau: float, other: Tensor, other_tau: float) -> Tensor:
    """-(lse + other) / (1 / tau + 1 / other_tau), in score units."""
    return -(lse + other.to(lse)) / (1 / tau + 1 / other_tau)


_WHAT = "dual dynamic inverted softmax (dualdis)"
# Below this score the logarithm is continued by its tangent: order is kept, nothing is NaN.
_LOG_FLOOR = 1e-6


@method(
    "dualdis",
    help="product of two gated softmaxes",
    source="DBNorm, EMNLP 2023",
    needs=("bank", "gallery bank"),
    stage="rows",
    folds=False,
    rows_only=True,
    whole_bank=True,
)
@method(
    "dualdis-published",
    help="published temperatures",
    source="DBNorm, EMNLP 2023",
    needs=("bank", "gallery bank"),
    stage="rows",
    folds=False,
    rows_only=True,
    preset={"tau": 1.99, "tau_gallery": 0.3333333333333333},
    whole_bank=True,
)
@dataclass(frozen=True)
class DualDIS(Reranker):
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
class DualGated(Fitted):
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
