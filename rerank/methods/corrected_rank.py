"""Methods on ranks: globally-corrected rank and mutual proximity."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from rerank.core.errors import RerankError
from rerank.core.similarity import Similarity
from rerank.core.words import Label
from rerank.methods.base import Bank, Fitted, Reranker, as_bank
from rerank.methods.checks import check_columns, check_whole_rows, mapped, whole_matrix
from rerank.methods.registry import method
from rerank.passes import gallery as items
from rerank.passes import reduce as moments

_GC = "globally-corrected rank (gc)"
_MP = "mutual proximity (mp)"


def sorted_columns(sim: Similarity, what: str) -> Tensor:
    """(m, n) scores of every gallery item against the bank queries, ascending.

    Raises:
        RerankError: too many for a dense matrix, see `rows.MAX_DENSE`.
    """
    return whole_matrix(sim, what).T.contiguous().sort(dim=1).values


def above(columns: Tensor, block: Tensor) -> Tensor:
    """(b, m) how many bank queries score an item strictly higher than this query does."""
    wanted = block.T.contiguous()
    found = torch.searchsorted(columns.to(wanted), wanted, right=True)
    return (columns.shape[1] - found).T.to(block.dtype)


def tie_break(block: Tensor) -> Tensor:
    """A number in (0, 1) that rises with the score within a row, whatever the score's scale."""
    finite = torch.isfinite(block)
    values = torch.where(finite, block, 0.0)
    count = finite.sum(dim=1, keepdim=True).clamp_min(1)
    centred = torch.where(finite, block - values.sum(dim=1, keepdim=True) / count, 0.0)
    scale = (centred.square().sum(dim=1, keepdim=True) / count).sqrt()
    return 0.5 + torch.atan(centred / scale.clamp_min(torch.finfo(block.dtype).tiny)) / math.pi


@method(
    "gc",
    help="rank of the query in each list",
    source="Dinu et al., ICLR workshop 2015",
    needs=("bank", "dense matrix"),
    stage="rows",
    folds=False,
    rows_only=True,
)
@dataclass(frozen=True)
class GloballyCorrectedRank(Reranker):
    """Rank items by the query's place in the item's own list: -(bank queries it prefers) + tie.

    An item's list holds the bank queries, so a hub, which many queries score highly, has this
    query far down. Equal places are ordered by the raw score. Published use is transductive (the
    bank is the test queries); a query outside the bank is placed among the bank's.

    Source: Dinu, Lazaridou and Baroni, ICLR workshop 2015 (GC): rank minus cosine, where the
    cosine only breaks ties; here it is squeezed into (0, 1) so that any score scale does. Needs
    the dense bank matrix and refuses above `rows.MAX_DENSE` numbers. Row direction only.
    """

    def fit(self, bank: Similarity | Bank) -> "SortedColumns":
        """Sort every item's list of bank queries."""
        bank = as_bank(bank)
        return SortedColumns(sorted_columns(bank.sim, _GC), bank.label)


@dataclass(frozen=True, eq=False)
class Counted(Fitted):
    """What counts places in the items' own lists.

    Attributes:
        columns: (m, n_bank) scores of every gallery item, ascending.
        label: which queries it was estimated from.
    """

    columns: Tensor
    label: Label

    def _ready(self, sim: Similarity, what: str) -> Tensor:
        """The columns as a similarity needs them, once it is seen to fit.

        Raises:
            RerankError: another gallery, or a share of one.
        """
        check_columns(sim, len(self.columns), what)
        check_whole_rows(sim, what)
        return self.columns.to(device=sim.device, dtype=sim.dtype)


@dataclass(frozen=True, eq=False)
class SortedColumns(Counted):
    """Fitted globally-corrected rank."""

    def transform(self, sim: Similarity) -> Similarity:
        """Minus the number of bank queries that an item scores higher, plus the tie-break."""
        columns = self._ready(sim, _GC)
        return mapped(sim, lambda rows, block: tie_break(block) - above(columns, block), _GC)


@method(
    "mp",
    help="mutual proximity, Gaussian",
    source="Schnitzer et al., JMLR 2012",
    stage="rows",
    folds=False,
    rows_only=True,
)
@method(
    "mp-empirical",
    help="mutual proximity, by counting",
    source="Schnitzer et al., JMLR 2012",
    needs=("bank", "dense matrix"),
    stage="rows",
    folds=False,
    rows_only=True,
    preset={"form": "empirical"},
)
@dataclass(frozen=True)
class MutualProximity(Reranker):
    """How surely each of query and item finds the other closer than a random one.

        gaussian    log Phi((S_ij - mean_i) / std_i) + log Phi((S_ij - mean_j) / std_j)
        empirical   P(row i below S_ij) P(column j below S_ij), by counting

    Rows are the query's scores over the gallery, columns the item's scores over the bank queries.

    Args:
        form: "gaussian" streams and stores two numbers per item; "empirical" needs the dense bank
            matrix and refuses above `rows.MAX_DENSE` numbers.

    Source: Schnitzer et al., JMLR 2012 (MP), with independence between the two sides, as its
    faster variants and kiez have it. The empirical product is shifted by -1 and its ties broken by
    the raw score; the Gaussian one is its logarithm: same ranking, no saturation at 1. Row
    direction only.
    """

    form: Literal["gaussian", "empirical"] = "gaussian"

    def __post_init__(self) -> None:
        if self.form not in ("gaussian", "empirical"):
            raise RerankError(f"form: got {self.form!r}, expected 'gaussian' or 'empirical'")

    def fit(self, bank: Similarity | Bank) -> "ColumnGaussians | ColumnCounts":
        """Estimate every item's distribution of scores over the bank."""
        bank = as_bank(bank)
        if self.form == "empirical":
            return ColumnCounts(sorted_columns(bank.sim, _MP), bank.label)
        mean, std = moments.column_moments(bank.sim)
        return ColumnGaussians(
            items.neutral(bank.sim, mean), items.neutral(bank.sim, std), bank.label
        )


@dataclass(frozen=True, eq=False)
class ColumnGaussians(Fitted):
    """Fitted Gaussian mutual proximity.

    Attributes:
        mean: (m,) of every item's scores over the bank queries.
        std: (m,) their standard deviation.
        label: which queries it was estimated from.
    """

    mean: Tensor
    std: Tensor
    label: Label

    def transform(self, sim: Similarity) -> Similarity:
        """The log-probability that both sides are closer to each other than to a random other."""
        check_columns(sim, len(self.mean), _MP)
        tiny = torch.finfo(sim.dtype).tiny
        mean = self.mean.to(device=sim.device, dtype=sim.dtype)
        std = self.std.to(mean).clamp_min(tiny)
        standard = moments.standard_rows(sim)

        def proximity(rows: slice, block: Tensor) -> Tensor:
            return log_phi(standard(rows, block)) + log_phi((block - mean) / std)

        return mapped(sim, proximity, _MP)


def log_phi(z: Tensor) -> Tensor:
    """Log of the standard normal distribution function, finite for any finite score."""
    return torch.special.log_ndtr(z.clamp(-1e4, 1e4))


@dataclass(frozen=True, eq=False)
class ColumnCounts(Counted):
    """Fitted empirical mutual proximity."""

    def transform(self, sim: Similarity) -> Similarity:
        """P P' - 1 with P, P' = 1 - a, 1 - b: that is ab - a - b, whose small values are exact."""
        columns = self._ready(sim, _MP)
        m, n = columns.shape

        def proximity(rows: slice, block: Tensor) -> Tensor:
            ordered = block.sort(dim=1).values
            b = (m - torch.searchsorted(ordered, block, right=True)).to(block.dtype) / m
            a = above(columns, block) / n
            # Distinct products are at least 1 / (n m) apart, so ties alone are broken.
            return a * b - a - b + tie_break(block) / (2.0 * n * m)

        return mapped(sim, proximity, _MP)
