"""Marginals that suit the data: repeated queries and items without a query, seen without labels.

Sinkhorn asks every gallery item to be as probable as every other. That is wrong where many queries
want the same item, and where many items are wanted by none. Both leave traces in softened plans:

- repeated queries: with the gallery marginal softened (rho = 1/2), items are the clear first
  choice of many queries at once. The variance of "how many queries clearly choose me" then is far
  above its mean; one-to-one data stay below it.
- items without a query: at rho = .7 many items are hardly anybody's choice although queries are
  sure of theirs. Where queries are not sure nothing can be told, and equality costs nothing.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from rerank.core.similarity import Similarity
from rerank.methods.base import Bank
from rerank.methods.potentials import solve
from rerank.methods.temperature import auto_tau
from rerank.passes import gallery as items
from rerank.passes import reduce

# A query clearly chooses an item that has this share of its row of the plan.
_CLEAR = 0.3
# Repeated: variance over mean of the clear choices, and variance beyond Poisson over squared mean
# (the latter stays low where every item has several queries, as captions of a video).
_DISPERSION, _EXCESS = 3.0, 2.0
# Without a query: share of items whose largest entry in any row of the plan is below _FAINT.
_FAINT, _FAINT_SHARE, _SURE = 0.1, 0.12, 0.4
# Near-duplicates: cosine of centred score rows; repeats that this finds are common above _FOUND.
_ALIKE, _FOUND = 0.95, 0.3
_PROFILE = 256
# Near-duplicates are compared in pairs, so their search is bounded.
MAX_COMPARED = 20_000
# Above this many scores the marginals are not looked into: it costs about two more fits.
MAX_SUITED = 50_000_000


@dataclass(frozen=True, eq=False)
class Marginals:
    """Recommended marginals of a similarity, for `Sinkhorn(rho=...)` and `sim.with_mass`.

    Attributes:
        rho: 1 = equality, .9 where items seem to have no query, .7 where queries repeat, .5 where
            they repeat with so much noise that copies cannot be matched.
        query_mass: (n,) masses by which near-duplicates share one query's mass; None = as they are.
        notes: what was found, for a person; empty where nothing speaks against equality.
        dispersion: variance over mean of the number of queries that clearly choose an item.
        faint: share of items that are hardly anybody's choice.
        confidence: mean largest row share of the plan at rho = .7.
    """

    rho: float
    query_mass: Tensor | None
    notes: tuple[str, ...]
    dispersion: float
    faint: float
    confidence: float

    def apply(self, sim: Similarity) -> Similarity:
        """The similarity with the recommended masses."""
        return sim if self.query_mass is None else sim.with_mass(queries=self.query_mass)


EQUALITY = Marginals(1.0, None, (), math.nan, math.nan, math.nan)


def suited(bank: Bank, rho: float | Literal["auto"]) -> Marginals:
    """The marginals to fit a bank with: those that were asked for, or that the queries suggest.

    Only where the test queries themselves are fitted on do repeated queries and items without a
    query show; on a bank it is equality.
    """
    if rho != "auto":
        return replace(EQUALITY, rho=float(rho))
    pairs = reduce.total_queries(bank.sim) * reduce.total_gallery(bank.sim)
    if bank.label != "transductive" or pairs > MAX_SUITED:
        return EQUALITY
    found = recommend_marginals(bank.sim)
    notes = tuple(f"{note} (--rho 1 overrides)" for note in found.notes)
    return replace(found, notes=notes)


def recommend_marginals(sim: Similarity) -> Marginals:
    """Look at the queries that are to be re-ranked, without labels, and recommend marginals.

    Scores without a temperature (constant, or fewer than 10 rows or columns) keep equality.
    Thresholds were set on coco500, cap4video and msvd_aligned, whole, with half of the queries
    dropped, and with Zipf repeats; they are figures of experience, not of theory.
    """
    log_a = reduce.query_masses(sim).log().to(sim.dtype)
    log_b = reduce.gallery_masses(sim).log().to(sim.dtype)
    tau = auto_tau(sim, log_a=log_a, log_b=log_b).tau
    if tau is None:
        return Marginals(1.0, None, (), math.nan, math.nan, math.nan)

    def bias(rho: float) -> Tensor:
        return solve(sim, tau, log_a=log_a, log_b=log_b, n_iters=50, tol=1e-3, rho=rho).g

    dispersion, excess = _choices(sim, bias(0.5), tau)
    faint, confidence = _faint(sim, bias(0.7), tau)
    figures = (dispersion, faint, confidence)
    if dispersion > _DISPERSION and excess > _EXCESS:
        mass, found = _shared_mass(sim)
        text = (
            f"queries seem to repeat (the number of queries that clearly choose an item has "
            f"{dispersion:.1f} times the variance of chance)"
        )
        if mass is not None and found > _FOUND:
            text += f"; {found:.0%} are near-duplicates and share mass, rho = 0.7"
            return Marginals(0.7, mass, (text,), *figures)
        return Marginals(0.5, None, (f"{text}; copies cannot be matched, rho = 0.5",), *figures)
    if confidence > _SURE and faint > _FAINT_SHARE:
        text = f"{faint:.0%} of the gallery items seem to have no query, rho = 0.9"
        return Marginals(0.9, None, (text,), *figures)
    return Marginals(1.0, None, (), *figures)


def _choices(sim: Similarity, gallery_bias: Tensor, tau: float) -> tuple[float, float]:
    """Variance over mean of clear choices per item, and variance beyond Poisson over mean^2."""
    biased = sim.add_gallery_bias(gallery_bias)
    first = reduce.topk(biased, 1)
    share = (first.scores[:, 0] / tau - reduce.logsumexp(biased, tau, over="gallery")).exp()
    clear = first.indices[:, 0][share > _CLEAR]
    counts = reduce.occurrences(biased, clear).double()
    mean, variance = float(counts.mean()), float(counts.var())
    if mean == 0:
        return 0.0, 0.0
    return variance / mean, (variance - mean) / mean**2


def _faint(sim: Similarity, gallery_bias: Tensor, tau: float) -> tuple[float, float]:
    """Share of items below _FAINT in every row of the row-normalised plan; mean largest share."""
    log_rows = reduce.logsumexp(sim, tau, over="gallery", plus=gallery_bias)
    # A row without any scored entry chooses nothing.
    log_rows = torch.where(torch.isfinite(log_rows), log_rows, torch.inf)
    row_max, col_max = reduce.extremes(sim, query_bias=-tau * log_rows, gallery_bias=gallery_bias)
    largest = ((col_max + gallery_bias) / tau).exp()
    confidence = (row_max / tau - log_rows).exp()
    faint = reduce.gallery_mean(sim, (largest < _FAINT).double())
    return faint, reduce.gallery_mean(sim.T, confidence)


def _shared_mass(sim: Similarity) -> tuple[Tensor | None, float]:
    """(n,) 1 / number of near-duplicates including itself, and the share of superfluous queries.

    Queries are compared by their scores against up to 256 items, double-centred, so that stored
    scores and embeddings are treated alike.
    """
    n, m = reduce.total_queries(sim), reduce.total_gallery(sim)
    if n > MAX_COMPARED:
        return None, 0.0
    columns = torch.linspace(0, m - 1, min(m, _PROFILE), device=sim.device).round().long()
    profile = items.scores_at(sim, columns)
    finite = torch.isfinite(profile)
    if not bool(finite.all()):
        profile = torch.where(finite, profile, profile[finite].min())
    profile = profile - profile.mean(dim=0)
    profile = profile - profile.mean(dim=1, keepdim=True)
    profile = profile / torch.linalg.vector_norm(profile, dim=1, keepdim=True).clamp_min(1e-12)
    alike = torch.empty(n, dtype=torch.float64, device=sim.device)
    for start in range(0, n, 1024):
        cosine = profile[start : start + 1024] @ profile.T
        # A query is its own duplicate even where rounding puts its cosine below one.
        alike[start : start + 1024] = (cosine > _ALIKE).sum(dim=1).clamp_min(1)
    mass = 1 / alike
    return items.share_of(sim.T, mass), 1 - float(mass.sum()) / n
