"""Rehearsals of a bank: biases of one half, judged on the known pairs of the other half.

The other half brings its own gallery, so a judged item is as unknown to the biases' queries as an
item of the real gallery is to the bank. Where the real gallery holds the bank's own items
(`rerank.selection.same_items`), so do both halves.

Three different estimates of how much a bank likes each gallery item, in score units.

They fail in different ways: one half-step of a sharp dual-bank Sinkhorn counts only the closest
rivals, the mean of the ten nearest queries is blind to how they are distributed, and a converged
Sinkhorn at a wide temperature sees the whole bank. The gate weighs them by known pairs.

Parts of a bank: which of its pairs belong together, its halves, and what one is to the other.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from rerank.core.errors import RerankError
from rerank.core.pairs import Groups
from rerank.core.similarity import Pair, Similarity
from rerank.core.words import Label
from rerank.methods.base import Bank, Fitted, Pipeline, Reranker
from rerank.methods.mixed import Mixed
from rerank.methods.sinkhorn import Sinkhorn
from rerank.methods.terms import Soft
from rerank.passes import reduce
from rerank.passes.gallery import taken
from rerank.selection.likelihood import Judged

NAMES = ("dual-bank step", "nearest queries", "wide Sinkhorn")

# In units of sigma, the mean over bank queries of the standard deviation of their scores.
_SHARP, _WIDE = 0.5, 1.0
_NEAREST = 10
# A spread below so much of the mean is rounding.
_ROUNDING = 1e-6


@dataclass(frozen=True, eq=False)
class BankBiases:
    """Biases of one gallery from one bank.

    Attributes:
        columns: (m, 3) one column per name in `NAMES`, each with mean zero, in score units.
        sigma: the unit of temperature on this bank, in score units.
        sharp: the first column as it is given to new items; wide: the third.
        wide: see `sharp`.
        k: how many queries are "nearest"; closest: the mean of that over the gallery.
        closest: see `k`.
    """

    columns: Tensor
    sigma: float
    sharp: Soft
    wide: Soft
    k: int
    closest: float

    def mixed(self, weights: Sequence[float], label: Label) -> Mixed:
        """Their weighted sum."""
        bias = self.columns @ torch.tensor(weights).to(self.columns)
        first, second, third = weights
        soft = tuple(
            replace(term, weight=weight)
            for term, weight in ((self.sharp, first), (self.wide, third))
            if weight
        )
        return Mixed(bias, label, soft, nearest=second, k=self.k, constant=-self.closest)


def alike(sim: Similarity) -> bool:
    """Whether every query scores all items the same, as a single item is: nothing to fit."""
    mean, sigma = reduce.spread(sim)
    return not sigma > _ROUNDING * abs(mean)


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
    if not sigma > _ROUNDING * abs(mean):
        raise RerankError("bank scores are constant: there is nothing to fit; check the bank")
    tau = _SHARP * sigma
    charge = reduce.logsumexp(sim, tau, over="gallery")
    if bank.pairs is not None and bank.pairs is not sim:
        charge = torch.logaddexp(charge, reduce.logsumexp(bank.pairs, tau, over="gallery"))
    log_a = reduce.query_masses(sim).log().to(sim.dtype)
    potential = tau * (log_a - charge)
    sharp = -tau * reduce.logsumexp(sim, tau, over="queries", plus=potential)
    k = min(_NEAREST, reduce.total_queries(sim))
    nearest = -reduce.mean_topk(sim, k, over="queries")
    fitted = Sinkhorn(tau=_WIDE * sigma, rho=1.0).fit(bank)
    wide, term = fitted.gallery_bias, fitted.term
    assert term is not None, "equality at a finite temperature"
    means = [float(reduce.gallery_mean(sim, bias)) for bias in (sharp, nearest, wide)]
    columns = [bias - mean for bias, mean in zip((sharp, nearest, wide), means, strict=True)]
    return BankBiases(
        torch.stack(columns, dim=1), sigma,
        sharp=Soft(1.0, tau, potential, -means[0]),
        wide=replace(term, constant=term.constant - means[2]),
        k=k, closest=-means[1],
    )  # fmt: skip


# Largest part that biases are fitted on and judged with: 4,096 queries x 4,096 items are 64 MB.
MAX_QUERIES = 4096
MAX_GALLERY = 4096


@dataclass(frozen=True, eq=False)
class Half:
    """Rows of one half of a bank.

    Attributes:
        queries: rows of the bank queries, sorted.
        gallery: rows of the bank gallery, sorted.
    """

    queries: Tensor
    gallery: Tensor


def halves(
    groups: Groups, generator: np.random.Generator, *, closed: bool = False
) -> tuple[Half, Half]:
    """Two random halves of the groups, each with its own queries and its own gallery.

    Groups with pairs are halved exactly, and so are the lonely queries and lonely items.
    A half with more than MAX_QUERIES queries or MAX_GALLERY items is thinned by whole groups.

    With `closed` the queries of every group are halved and both halves have all items.
    """
    if closed:
        return _closed_halves(groups, generator)
    kind = np.zeros(groups.count, dtype=np.int64)
    kind[groups.queries] |= 1
    kind[groups.gallery] |= 2
    side = np.full(groups.count, -1)
    for which in (1, 2, 3):
        members = generator.permutation(np.flatnonzero(kind == which))
        side[members[: len(members) // 2]] = 0
        side[members[len(members) // 2 :]] = 1
    made = []
    for here in (0, 1):
        members = generator.permutation(np.flatnonzero(side == here))
        queries = np.bincount(groups.queries, minlength=groups.count)[members].cumsum()
        items = np.bincount(groups.gallery, minlength=groups.count)[members].cumsum()
        keep = np.zeros(groups.count, dtype=bool)
        keep[members[(queries <= MAX_QUERIES) & (items <= MAX_GALLERY)]] = True
        made.append(
            Half(
                torch.from_numpy(np.flatnonzero(keep[groups.queries])),
                torch.from_numpy(np.flatnonzero(keep[groups.gallery])),
            )
        )
    return made[0], made[1]


def _closed_halves(groups: Groups, generator: np.random.Generator) -> tuple[Half, Half]:
    members = generator.permutation(groups.count)
    queries = np.bincount(groups.queries, minlength=groups.count)[members].cumsum()
    items = np.bincount(groups.gallery, minlength=groups.count)[members].cumsum()
    keep = np.zeros(groups.count, dtype=bool)
    keep[members[(queries <= 2 * MAX_QUERIES) & (items <= MAX_GALLERY)]] = True
    rows = generator.permutation(np.flatnonzero(keep[groups.queries]))
    # Every other one, group by group, so that each group is split as evenly as it can be.
    rows = rows[np.argsort(groups.queries[rows], kind="stable")]
    gallery = torch.from_numpy(np.flatnonzero(keep[groups.gallery]))
    first, second = (Half(torch.from_numpy(np.sort(rows[k::2])), gallery) for k in (0, 1))
    return first, second


def part_bank(pairs: Similarity, fit: Half, target: Half, *, label: str) -> Bank:
    """The bank that one half is to the other half's gallery, as the whole is to the real one."""
    return Bank(
        taken(pairs, fit.queries, target.gallery),
        gallery=_gallery_gallery(pairs, fit.gallery, target.gallery),
        pairs=taken(pairs, fit.queries, fit.gallery),
        label=label,  # type: ignore[arg-type]
        judged=True,
    )


def _gallery_gallery(pairs: Similarity, first: Tensor, second: Tensor) -> Similarity | None:
    """Bank gallery items against bank gallery items; only embeddings can be compared so."""
    if not isinstance(pairs, Pair) or pairs.left is not None:
        return None
    return replace(
        pairs,
        queries=pairs.gallery[first.to(pairs.device)],
        gallery=pairs.gallery[second.to(pairs.device)],
        query_mass=None,
        gallery_mass=None,
    )


SPLITS = 3
# Judged blocks are thinned to about this many scores, but never below MIN_JUDGED queries: the
# standard error of a mean log-probability over 256 queries is about 0.1.
MAX_ELEMENTS = 600_000
MIN_JUDGED = 256


@dataclass(frozen=True, eq=False)
class Trial:
    """One half judged by biases of the other.

    Attributes:
        judged: raw scores, the columns of `bank_biases`, and the known pairs.
        given: (m,) bias of the user's stages; None without any, or where it is not a bias.
        rewritten: (n, m) scores of user's stages that are not one number per item, or None.
    """

    judged: Judged
    given: Tensor | None
    rewritten: Tensor | None


def halvings(
    groups: Groups, *, seed: int, closed: bool = False
) -> Iterator[tuple[Half, Half, np.random.Generator]]:
    """Three random halvings of a bank, the same for the same seed, and what draws their trials.

    `closed`: see `halves`.
    """
    generator = np.random.default_rng([seed, 3])
    for _ in range(SPLITS):
        yield *halves(groups, generator, closed=closed), generator


def trial(
    bank: Bank,
    groups: Groups,
    stages: Sequence[Reranker],
    fit: Half,
    target: Half,
    generator: np.random.Generator,
    *,
    lead: Callable[[Bank], Fitted] | None = None,
) -> Trial:
    """One half of a bank judged by biases of the other.

    A `lead` that learns from known pairs is given those of the half that is not judged.
    """
    assert bank.pairs is not None
    part = part_bank(bank.pairs, fit, target, label=bank.label)
    rows, pair_rows, pair_columns = _known(bank, target, generator)
    sim = taken(bank.pairs, rows, target.gallery)
    if lead is not None:
        fitted = lead(replace(part, positives=_inside(bank, fit)))
        part, sim = fitted.transform_bank(part), fitted.transform(sim)
    found = bank_biases(part)
    scores = _finite(sim)
    judged = Judged(
        scores, found.columns, pair_rows.to(sim.device), pair_columns.to(sim.device),
        groups.queries[rows.numpy()], found.sigma,
    )  # fmt: skip
    if not stages:
        return Trial(judged, None, None)
    fitted = Pipeline(tuple(stages)).fit_through(part)[0]
    if not fitted.foldable:
        return Trial(judged, None, _finite(fitted.transform(sim)))
    bias = fitted.gallery_bias
    given = torch.zeros_like(scores[0]) if bias is None else bias.to(scores)
    return Trial(judged, given, None)


def _inside(bank: Bank, half: Half) -> tuple[np.ndarray, ...]:
    """The known pairs of a half, as rows of the half; a group is in it with all its items."""
    assert bank.positives is not None
    items = half.gallery.numpy()
    known = (np.unique(np.asarray(bank.positives[i], dtype=np.int64)) for i in half.queries)
    return tuple(np.searchsorted(items, found) for found in known)


def _known(
    bank: Bank, target: Half, generator: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Judged queries (rows of the bank), and their pairs as (row among them, column of the half).

    Groups are split and thinned whole, so every positive of a judged query is in its half.
    """
    assert bank.positives is not None
    queries = target.queries.numpy()
    queries = queries[[len(bank.positives[i]) > 0 for i in queries]]
    most = max(MIN_JUDGED, MAX_ELEMENTS // max(1, len(target.gallery)))
    queries = np.sort(generator.permutation(queries)[:most])
    known = [np.unique(np.asarray(bank.positives[i], dtype=np.int64)) for i in queries]
    lengths = [len(items) for items in known]
    columns = np.searchsorted(target.gallery.numpy(), np.concatenate(known))
    return (
        torch.from_numpy(queries),
        torch.from_numpy(np.repeat(np.arange(len(queries)), lengths)),
        torch.from_numpy(columns),
    )


def _finite(sim: Similarity) -> Tensor:
    """Scores with unscored entries put at the lowest score: they must not win, nor be infinite."""
    scores = sim.scores()
    finite = torch.isfinite(scores)
    return scores if bool(finite.all()) else torch.where(finite, scores, scores[finite].min())
