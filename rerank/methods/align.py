"""Alignment of the two sides in closed form: each row moves towards what its partners look like.

A plan P (n, m) says who belongs to whom: that of the Sinkhorn before it, or 0 and 1 of known pairs.
With moments about the weighted means mu_t, mu_v of both sides (`rerank.passes.cross`),

    G_t = T^T diag(P 1) T,   G_v = V^T diag(P^T 1) V,   C = T^T P V          (d, d) each
    W_t = (G_t + ridge I)^-1 (C - G_t)               the ridge regression of v_j - t_i on t_i
    W_v = (G_v + ridge I)^-1 (C^T - G_v)
    t~  = (1 - x) t + x unit(t + (t - mu_t) W_t),    v~ likewise,    S' = <t~, v~>

S' is an inner product again, so a second Sinkhorn needs nothing new. Neither mean moves: moving one
onto the other is a bias of the items, which a damped Sinkhorn does not take back.

Served, the norm of the queries is the constant nu (their root mean square), and a query is q M + s:

    M = (1 - x) I + (x / nu) (I + W_t),   s = -(x / nu) mu_t W_t
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from rerank.core.errors import NeedsEmbeddings, RerankError
from rerank.core.pairs import group_pairs
from rerank.core.rows import Rows, blended, mapped, shifted
from rerank.core.similarity import Pair, Similarity
from rerank.core.wording import either, option
from rerank.core.words import Label
from rerank.methods.base import Bank, Fitted, Parts, Reranker, Turn, as_bank
from rerank.methods.registry import method
from rerank.methods.residual_ridge import predicted, residual_ridge
from rerank.methods.sinkhorn import Potentials, Sinkhorn
from rerank.methods.unseen_axes import trust
from rerank.passes import reduce
from rerank.passes.cross import Moments, PlanMoments, pair_moments, plan_moments

# Pairs of mass one that say "stay where you are".
_RIDGE = 10.0
_GRID = (1.0, 3.0, 10.0, 30.0)
# Share of the aligned rows where pairs are known.
_KNOWN = 0.5
# A plan with less of its mass in the largest entries carries more noise than signal.
_UNSURE, _SURE = 0.25, 0.5
# Where nearly all of it is there, little is left to gain.
_EASY, _SLOPE = 1.64, 1.33
# So many pairs halve the doubt about the map.
_PAIRS = 50.0
# A smaller share moves nothing that anybody could measure.
_LEAST = 0.05
_FOLDS = 5


@method(
    "align",
    help="both sides towards their partners, after sinkhorn; a second one follows",
    source="ridge regression on the plan",
    needs=("embeddings", "bank"),
    stage="align",
)
@dataclass(frozen=True)
class Align(Reranker):
    """A linear map of each side towards the other, from a plan or from known pairs.

    Without known pairs it takes the plan of the Sinkhorn before it, on the test queries themselves,
    and stands in its place: that bias is dropped, and a second Sinkhorn follows on the aligned
    embeddings, as in "sinkhorn+align+sinkhorn". The share x then follows from what is measured:

        x = u clip(4 c - 1, 0, 1) min(1, 1.64 - 1.33 c) max(0, 2 f - 1) n / (n + 50)

    with the confidence c of the plan and n the smaller of queries and items: nothing is done where
    the plan is hardly right, and less where nearly everything is right; nor below .05. c is the
    share of its mass in the largest entry of each query (or item, where these are more: captions of
    a video share it). f is how firm the marginals are: rho, or the share of the items' mass that
    few queries fill. Nothing is done where Sinkhorn found other marginals (repeats): its biases are
    no plan then. u is 1 where items are sparse; where they are dense a plan can be sure and wrong,
    and u is what the alignment is worth on axes that had no say in it
    (`rerank.methods.unseen_axes`).

    With a bank of known pairs the map comes from them, x is .5, and the ridge is the one of the
    best held-out prediction (`pair_fit`); where the pairs predict nothing, x is 0.

    Args:
        ridge: how many pairs say "stay"; "auto" is 10 on a plan, and held-out prediction's choice
            of 1, 3, 10 and 30 on known pairs.
        share: x, between 0 and 1; "auto" is the rule above.
    """

    ridge: float | Literal["auto"] = "auto"
    share: float | Literal["auto"] = "auto"

    follows: ClassVar[bool] = True
    by_pairs: ClassVar[bool] = True

    def __post_init__(self) -> None:
        ridge, share = self.ridge, self.share
        if ridge != "auto" and (isinstance(ridge, str) or not 0 < ridge < math.inf):
            raise RerankError(f"ridge: got {ridge!r}, expected a positive number or 'auto'")
        if share != "auto" and (isinstance(share, str) or not 0 <= share <= 1):
            raise RerankError(f"share: got {share!r}, expected a number from 0 to 1 or 'auto'")

    def idle(self, bank: Bank) -> str:
        """Scores alone and banks without known pairs cannot be aligned."""
        if self.share == 0:
            return "alignment inactive: its share is 0"
        if not isinstance(bank.sim, Pair):
            return "alignment inactive: it rewrites embeddings, and these are scores"
        if bank.label != "transductive" and not _paired(bank):
            return (
                "alignment inactive: a bank without known pairs does not say what belongs together "
                f"({option('bank-gt')} gives them)"
            )
        return ""

    def fit(self, bank: Similarity | Bank) -> "Aligned":
        """Fit on known pairs of a bank, or on the plan of a `Sinkhorn` of its own.

        Raises:
            NeedsEmbeddings: the bank stores scores only.
            RerankError: a bank that is not the test queries, without known pairs.
        """
        bank = as_bank(bank)
        _need_embeddings(bank.sim)
        if bank.label == "transductive":
            return self.fit_after(Sinkhorn().fit_plan(bank), bank)
        if not _paired(bank) and bank.label == "cross-fit":
            raise RerankError(
                "align: learns from known pairs, and the other half of the queries is handed over "
                "without its own, whatever bank is given; leave out align or "
                + either("--cross-fit", "cross_fit=True")
            )
        if not _paired(bank):
            raise RerankError(
                "align: a bank without known pairs does not say what belongs together; give "
                + either("--bank-texts, --bank-videos and --bank-gt", "Bank(pairs=, positives=)")
                + ", or leave align out"
            )
        return self._from_pairs(bank)

    def fit_after(self, plan: Fitted, bank: Bank) -> "Aligned":
        """Fit on the plan of a fitted Sinkhorn, on the bank that this was fitted on."""
        if bank.label != "transductive":
            return self.fit(bank)
        sim = _need_embeddings(bank.sim)
        if not isinstance(plan, Potentials):
            raise RerankError(
                f"align: follows a plan, got {type(plan).__name__}; write sinkhorn+align"
            )
        if not math.isfinite(plan.tau):
            return _unmoved(sim)
        mass = reduce.query_masses(sim)
        form = {
            "gallery_bias": plan.gallery_bias + plan.offset, "query_mass": mass,
            "query_bias": plan.complete(sim) if sim.shard == "gallery" else None,
        }  # fmt: skip
        found = plan_moments(sim, plan.tau, **form, step=plan.step)
        sure = _sure(found, plan, sim)
        # As many pairs of mass one as the masses are worth (Kish): n where they are equal.
        square = mass.square().sum()
        pairs = 1 / float(reduce.everywhere_sum(sim, square, over="queries"))
        ridge = _RIDGE if self.ridge == "auto" else float(self.ridge)
        share, unseen = self.share, 1.0
        if share == "auto":
            n, m = reduce.total_queries(sim), reduce.total_gallery(sim)
            share = plan_share(sure, n, m, _firm(plan))
            if share:
                unseen = trust(sim, found.moments, pairs, tau=plan.tau, ridge=ridge, **form)
        moments = found.moments.scaled(pairs / float(found.moments.mass))
        share = unseen * float(share)
        if self.share == "auto" and share < _LEAST:
            share = 0.0
        made = solved(moments, ridge, share, unit=sim.metric == "cosine")
        label = _label(bank, made.share)
        return replace(made, label=label, linear=False, confidence=sure, unseen=unseen)

    def _from_pairs(self, bank: Bank) -> "Aligned":
        assert bank.positives is not None
        pairs = _need_embeddings(bank.pairs)
        if pairs.shard is not None:
            raise RerankError(
                "align: needs the whole bank in every process; run it without torchrun, or with "
                "the gate"
            )
        found = held_out(pairs, bank.positives, _GRID if self.ridge == "auto" else (self.ridge,))
        ridge, quality = max(found.quality.items(), key=lambda item: item[1])
        share = self.share
        if share == "auto":
            share = _KNOWN if quality > 0 else 0.0
        made = solved(found.moments, ridge, float(share), unit=pairs.metric == "cosine")
        return replace(made, label=_label(bank, made.share), linear=True, quality=quality)


@dataclass(frozen=True, eq=False)
class Aligned(Fitted):
    """A fitted alignment.

    Attributes:
        query_map: (d, d) I + W of the queries; query_shift: (d,) -mu W.
        query_shift: see `query_map`.
        item_map: (d, d) and item_shift: (d,) likewise of the items.
        item_shift: see `item_map`.
        share: x; 0 leaves the embeddings as they are.
        norm: nu, root mean square norm of the mapped queries; item_norm: of the mapped items.
        item_norm: see `norm`.
        unit: whether mapped rows get norm one ("cosine").
        linear: whether queries are divided by nu, as they are served, instead of their own norm.
        ridge: that was used.
        label: which queries it was estimated from.
        confidence: of the plan; NaN from known pairs.
        quality: Q2, share of the target's variance that held-out pairs predict; NaN from a plan.
        unseen: u, what axes without a say in the plan left of the share.
    """

    query_map: Tensor
    query_shift: Tensor
    item_map: Tensor
    item_shift: Tensor
    share: float
    norm: float
    item_norm: float
    unit: bool
    ridge: float
    linear: bool = False
    label: Label = "none"
    confidence: float = math.nan
    quality: float = math.nan
    unseen: float = 1.0

    @property
    def turn(self) -> Turn:
        """The linear form that is served."""
        eye = torch.eye(len(self.query_map), dtype=self.query_map.dtype).to(self.query_map)
        scale = self.share / self.norm
        return Turn(
            query_matrix=(1 - self.share) * eye + scale * self.query_map,
            query_shift=scale * self.query_shift,
            item_matrix=self.item_map,
            item_shift=self.item_shift,
            share=self.share,
            unit=self.unit,
        )

    def weakened(self, share: float) -> "Aligned":
        """See `Fitted`."""
        return replace(self, share=share * self.share)

    @property
    def mirrored(self) -> "Aligned":
        """The same alignment for the other direction; only of one that is not linear."""
        assert not self.linear
        return replace(
            self, query_map=self.item_map, query_shift=self.item_shift, item_map=self.query_map,
            item_shift=self.query_shift, norm=self.item_norm, item_norm=self.norm,
        )  # fmt: skip

    def transform(self, sim: Similarity) -> Similarity:
        """Inner products of the aligned embeddings; biases that the similarity carries are dropped.

        Raises:
            NeedsEmbeddings: scores only.
            RerankError: embeddings of another dimension.
        """
        pair = self._checked(sim)
        if not self.share:
            return pair
        if self.linear:
            turn = self.turn
            m, s = turn.query_matrix.to(pair.device), turn.query_shift.to(pair.device)
            queries = mapped(pair.queries, m.to(pair.dtype), "queries", unit=False)
            queries = shifted(queries, s.to(pair.dtype))
        else:
            queries = self._blend(pair.queries, self.query_map, self.query_shift, "queries")
        gallery = self._blend(pair.gallery, self.item_map, self.item_shift, "gallery")
        return replace(pair, queries=queries, gallery=gallery, metric="dot")

    def transform_bank(self, bank: Bank) -> Bank:
        """Both sides of every similarity; the rows of `bank.gallery` are items, not queries."""
        sim = self.transform(bank.sim)
        pairs, gallery = bank.pairs, bank.gallery
        if pairs is not None:
            pairs = sim if pairs is bank.sim else self.transform(pairs)
        if gallery is not None:
            held = self._checked(gallery)
            a, b = self.item_map, self.item_shift
            gallery = replace(
                held, queries=self._blend(held.queries, a, b, "bank gallery"),
                gallery=self._blend(held.gallery, a, b, "gallery"), metric="dot",
            )  # fmt: skip
        return replace(bank, sim=sim, pairs=pairs, gallery=gallery)

    @property
    def parts(self) -> Parts:  # noqa: D102
        return Parts(turn=self.turn)

    @property
    def facts(self) -> Mapping[str, Any]:  # noqa: D102
        facts: dict[str, Any] = {"align_share": self.share}
        if math.isfinite(self.confidence):
            facts["plan_confidence"] = self.confidence
        if self.unseen < 1:
            facts["align_unseen"] = self.unseen
        if math.isfinite(self.quality):
            facts |= {"align_ridge": self.ridge, "align_q2": self.quality}
        return facts

    @property
    def notes(self) -> tuple[str, ...]:  # noqa: D102
        if math.isfinite(self.quality) and self.share == 0:
            return (
                f"alignment inactive: the bank's pairs do not predict each other "
                f"(Q2 {self.quality:+.2f})",
            )
        return ()

    def _blend(self, x: Rows, matrix: Tensor, shift: Tensor, what: str) -> Rows:
        matrix, shift = (a.to(device=x.device, dtype=x.dtype) for a in (matrix, shift))
        return blended(x, matrix, shift, self.share, f"{what} after align", unit=self.unit)

    def _checked(self, sim: Similarity) -> Pair:
        pair = _need_embeddings(sim)
        d = pair.queries.shape[1]
        if d != len(self.query_map):
            raise RerankError(
                f"align: was fitted on embeddings of d = {len(self.query_map)}, got d = {d}; fit "
                f"on embeddings of the same model"
            )
        return replace(pair, left=None, right=None)


def plan_share(confidence: float, queries: int, items: int, firm: float = 1.0) -> float:
    """The share x of a plan; see `Align`.

    Args:
        confidence: c.
        queries: of the plan; items: likewise.
        items: see `queries`.
        firm: f, how firm the marginals are.

    >>> round(plan_share(0.5, 400, 400), 2), plan_share(0.25, 400, 400)
    (0.87, 0.0)
    """
    ramp = min(1.0, max(0.0, (confidence - _UNSURE) / (_SURE - _UNSURE)))
    easy = min(1.0, _EASY - _SLOPE * confidence)
    n = min(queries, items)
    return ramp * easy * max(0.0, 2 * firm - 1) * n / (n + _PAIRS)


def _sure(found: PlanMoments, plan: Potentials, sim: Similarity) -> float:
    """How sure the plan is of the partner of each row of the longer side.

    Captions of one video share it: none can have most of it. Items that few queries leave without
    one have a largest entry too, which says nothing.
    """
    n, m = reduce.total_queries(sim), reduce.total_gallery(sim)
    if n > m or plan.form == "few queries":
        return found.of_queries
    return found.of_items if n < m else found.confidence


def _firm(plan: Potentials) -> float:
    """How much of the marginals holds: the softness, or what few queries fill of the items."""
    if plan.form == "few queries":
        return 1 - plan.slack
    # Biases of another form than one half-step from the queries do not make a plan.
    return plan.rho if plan.one_step else 0.0


def solved(moments: Moments, ridge: float, share: float, *, unit: bool) -> Aligned:
    """The alignment that moments of pairs of mass one ask for.

    A (d, d) system also where there are fewer pairs than d: the dual system of size n has the same
    solution, to 3e-15, and the moments of size d are there anyway.

    Args:
        moments: of a plan or of known pairs.
        ridge: in pairs of unit rows; longer rows count by their mean squared norm.
        share: x.
        unit: whether images get norm one.
    """
    query_map, query_shift = residual_ridge(moments, ridge)
    item_map, item_shift = residual_ridge(moments.T, ridge)
    return Aligned(
        query_map=query_map, query_shift=query_shift, item_map=item_map, item_shift=item_shift,
        norm=_norm(moments, query_map, query_shift) if unit else 1.0,
        item_norm=_norm(moments.T, item_map, item_shift) if unit else 1.0,
        share=share, unit=unit, ridge=ridge,
    )  # fmt: skip


def _norm(moments: Moments, matrix: Tensor, shift: Tensor) -> float:
    """Root mean square norm of the mapped queries."""
    square = torch.trace(matrix.T @ moments.qq @ matrix) + moments.mass * shift @ shift
    square = square + 2 * shift @ (matrix.T @ moments.queries)
    return float((square / moments.mass).clamp_min(1e-24).sqrt())


@dataclass(frozen=True, eq=False)
class HeldOut:
    """What known pairs say of each other.

    Attributes:
        moments: of all of them.
        quality: Q2 for each ridge, of the side that is predicted worse.
    """

    moments: Moments
    quality: Mapping[float, float]


def held_out(
    pairs: Pair, positives: tuple[np.ndarray, ...], ridges: tuple[float, ...], *, seed: int = 0
) -> HeldOut:
    """Q2 of known pairs, whole groups left out in 5 folds.

        Q2 = 1 - sum |y - y^|^2 / sum |y - mean y|^2

    with y the mean of a row's partners and y^ what the map of the other folds makes of the row.
    Captions of one item count as one. Against the mean of the target, never of the step y - x: the
    map x -> -x predicts the step of wrong pairs well.

    Args:
        pairs: bank queries x bank gallery.
        positives: for each query the items that are right.
        ridges: to try.
        seed: of the folds.
    """
    groups = group_pairs(positives, pairs.shape[1])
    rows, columns = _listed(positives)
    fold = np.random.default_rng([seed, 11]).permutation(groups.count) % _FOLDS
    sides = torch.from_numpy(fold[groups.queries[rows.numpy()]])
    parts = [pair_moments(pairs, rows[sides == k], columns[sides == k]) for k in range(_FOLDS)]
    whole = parts[0]
    for part in parts[1:]:
        whole = whole + part
    asked = _Partners.of(pairs, rows, columns, groups.queries, fold)
    searched = _Partners.of(pairs.T, columns, rows, groups.gallery, fold)
    lost = {ridge: np.zeros((2, 2)) for ridge in ridges}
    for k in range(_FOLDS):
        rest = whole - parts[k]
        if not float(rest.mass) > 0:
            continue
        for ridge in ridges:
            for place, (side, moments) in enumerate(((asked, rest), (searched, rest.T))):
                lost[ridge][place] += side.lost(k, moments, ridge)
    quality = {r: float((1 - x[:, 0] / np.maximum(x[:, 1], 1e-300)).min()) for r, x in lost.items()}
    return HeldOut(whole, quality)


def _listed(positives: tuple[np.ndarray, ...]) -> tuple[Tensor, Tensor]:
    """Row and column of every known pair."""
    rows = np.repeat(np.arange(len(positives)), [len(found) for found in positives])
    columns = np.concatenate([np.empty(0, np.int64), *positives]).astype(np.int64)
    return torch.from_numpy(rows), torch.from_numpy(columns)


def of_known_pairs(bank: Bank, *, ridge: float, share: float) -> Aligned:
    """The alignment of a bank's known pairs at a ridge and a share that are settled.

    What the pairs say of each other is not asked again, which takes most of the time of a fit.
    """
    pairs = _need_embeddings(bank.pairs)
    assert bank.positives is not None
    moments = pair_moments(pairs, *_listed(bank.positives))
    made = solved(moments, ridge, share, unit=pairs.metric == "cosine")
    return replace(made, label=_label(bank, made.share), linear=True)


@dataclass(frozen=True, eq=False)
class _Partners:
    """Rows of one side and the mean of their partners, groups of equal weight.

    Attributes:
        rows: (k, d); targets: (k, d) float64; weight: (k,); fold: (k,).
    """

    rows: Tensor
    targets: Tensor
    weight: Tensor
    fold: Tensor

    @classmethod
    def of(
        cls, pairs: Pair, rows: Tensor, columns: Tensor, groups: np.ndarray, fold: np.ndarray
    ) -> "_Partners":
        known, place, counts = torch.unique(rows, return_inverse=True, return_counts=True)
        d = pairs.gallery.shape[1]
        total = torch.zeros((len(known), d), dtype=torch.float64, device=pairs.device)
        total.index_add_(0, place.to(pairs.device), pairs.gallery[columns].double())
        mine = groups[known.numpy()]
        _, back, sizes = np.unique(mine, return_inverse=True, return_counts=True)
        return cls(
            pairs.queries[known].double(),
            total / counts[:, None].to(total),
            torch.from_numpy(1 / sizes[back]).to(total),
            torch.from_numpy(fold[mine]).to(pairs.device),
        )

    def lost(self, fold: int, moments: Moments, ridge: float) -> np.ndarray:
        """Weighted squared errors of the map and of the mean, on a fold that neither saw."""
        here = self.fold == fold
        other = moments.items / moments.mass
        x, y, weight = self.rows[here], self.targets[here], self.weight[here]
        error = (y - other - predicted(x, moments, ridge)).square().sum(dim=1)
        spread = (y - other).square().sum(dim=1)
        return np.array([float(weight @ error), float(weight @ spread)])


def _label(bank: Bank, share: float) -> Label:
    """Embeddings that stay as they are owe the bank nothing."""
    return bank.label if share else "none"


def _unmoved(sim: Pair) -> Aligned:
    """The alignment where scores carried no temperature."""
    d = sim.queries.shape[1]
    eye = torch.eye(d, dtype=torch.float64, device=sim.device)
    zero = torch.zeros(d, dtype=torch.float64, device=sim.device)
    return Aligned(
        query_map=eye, query_shift=zero, item_map=eye, item_shift=zero, share=0.0, norm=1.0,
        item_norm=1.0, unit=sim.metric == "cosine", ridge=_RIDGE,
    )  # fmt: skip


def _paired(bank: Bank) -> bool:
    """Whether a bank knows what belongs together."""
    return (
        bank.pairs is not None
        and bank.positives is not None
        and any(len(rows) for rows in bank.positives)
    )


def _need_embeddings(sim: Similarity | None) -> Pair:
    if not isinstance(sim, Pair):
        raise NeedsEmbeddings.by("align rewrites embeddings", sim)
    return sim
