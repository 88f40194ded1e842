"""Several models of the same texts and videos as one similarity.

    S = sum_k f_k S_k,   f_k = (w_k / h_k) / sum_l (w_l / h_l),   sum_k w_k = 1

h_k is the spacing of the hard negatives (`rerank.methods.temperature`), which brings scores of any
scale to one without labels. Embeddings need no matrix: rows [sqrt(f_1) unit(x_1), ...] have norm
one, and their cosines are S, so a fusion streams, folds and exports as one model.

Weights without labels are those of a linear discriminant between the pairs that the plan P holds
for right and all others,

    w = C^-1 mu,   mu_k = E_P[R_k],   C_kl = E[R_k R_l]        entries below 0 are left out

with R_k = S_k / h_k without the means of its rows and columns, cut off at five deviations. P is the
Sinkhorn plan of the fusion itself, from the model whose plan is the surest on, until the weights
stay. Off the matches C needs no labels at all, and it is what tells a second view (errors of its
own) from a noisy copy of the first (C makes its weight 0). Models that agree on nothing are not
added: which of them is noise, nothing tells.

Source: Fisher's discriminant (Ann. of Eugenics 1936) on the plan's labels; measured in
`tests/bench/fusion_table.py`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from rerank.core.arrays import as_matrix, unit_rows
from rerank.core.errors import RerankError
from rerank.core.similarity import ArrayLike, Dense, Metric, Similarity
from rerank.core.wording import label, option
from rerank.methods.base import Bank
from rerank.methods.marginals import masses
from rerank.methods.sinkhorn import Sinkhorn
from rerank.methods.temperature import Temperature, auto_tau
from rerank.passes import gallery, reduce

Weights: TypeAlias = Literal["auto"] | Sequence[float]

# Pairs that are looked at whole; of more a square of these sides is taken.
_WHOLE, _SIDE = 2**24, 4096
_ROUNDS, _STAYS = 10, 0.005
# Deviations at which residuals are cut off: beyond it a few pairs alone would decide.
_CUT = 5.0
# From how many standard errors on two models agree on their matches.
_AGREED = 4.0
# Models of this weight or less are left out: they cost dimensions and bring nothing.
_LEAST = 0.02


@dataclass(frozen=True)
class Fusion:
    """How models are added.

    Attributes:
        weights: w, one for each model, of sum one.
        spacings: h, in the scores of each.
        by: "given", "plans" (without labels), "pairs" (known ones), or "first" (the first alone,
            because the models agree on nothing).
    """

    weights: tuple[float, ...]
    spacings: tuple[float, ...]
    by: str

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> "Fusion":
        """What `as_dict` wrote down."""
        return cls(tuple(found["weights"]), tuple(found["spacings"]), found["by"])

    @property
    def factors(self) -> tuple[float, ...]:
        """f, one for each model, of sum one."""
        parts = [w / h for w, h in zip(self.weights, self.spacings, strict=True)]
        return tuple(part / sum(parts) for part in parts)

    @property
    def sentence(self) -> str:
        """For a person."""
        shares = ", ".join(f"{weight:.2f}" for weight in self.weights)
        why = {
            "given": "as given", "plans": "from what their plans agree on, without labels",
            "pairs": "from the bank's known pairs",
            "first": "the first alone: the models agree on nothing, so one is near chance, and "
            f"nothing tells which; say it with {option('weights')}",
        }  # fmt: skip
        return f"{len(self.weights)} models with weights {shares} ({why[self.by]})"

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "weights": list(self.weights), "spacings": list(self.spacings), "by": self.by,
        }  # fmt: skip


@dataclass(frozen=True)
class Blocks:
    """How rows of several models become rows of one: kept with a model, for queries to come.

    Attributes:
        widths: dimension of each model.
        scales: sqrt(f) of each; rows of a model with scale 0 are left out.
        metric: "cosine" (rows are made unit first) or "dot".
    """

    widths: tuple[int, ...]
    scales: tuple[float, ...]
    metric: Metric = "cosine"

    @classmethod
    def of(cls, fusion: Fusion, widths: Sequence[int], metric: Metric) -> "Blocks":
        """The blocks of a fusion."""
        return cls(tuple(widths), tuple(factor**0.5 for factor in fusion.factors), metric)

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> "Blocks":
        """What `as_dict` wrote down."""
        return cls(tuple(found["widths"]), tuple(found["scales"]), found["metric"])

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {"widths": list(self.widths), "scales": list(self.scales), "metric": self.metric}

    @property
    def width(self) -> int:
        """Dimension of a joined row."""
        pairs = zip(self.widths, self.scales, strict=True)
        return sum(width for width, scale in pairs if scale)

    def join(self, parts: Sequence[ArrayLike]) -> Tensor:
        """(n, sum d) rows of all models as one, float32, or float64 where a part is.

        Args:
            parts: (n, d_k) rows of every model, in their order.

        Raises:
            RerankError: other models.
        """
        widths = tuple(part.shape[1] for part in parts)
        if widths != self.widths:
            raise RerankError(
                f"fusion: got {len(parts)} models of d = {', '.join(map(str, widths))}, expected "
                f"{len(self.widths)} of d = {', '.join(map(str, self.widths))}"
            )
        if len({len(part) for part in parts}) > 1:
            counts = ", ".join(str(len(part)) for part in parts)
            raise RerankError(f"fusion: got {counts} rows, expected as many of every model")
        kept = [
            (as_matrix(part, "embeddings"), scale)
            for part, scale in zip(parts, self.scales, strict=True)
            if scale
        ]
        unit = self.metric == "cosine"
        rows = [scale * (unit_rows(x, "embeddings") if unit else x) for x, scale in kept]
        dtype = torch.float64 if any(x.dtype == torch.float64 for x in rows) else torch.float32
        return torch.cat([x.to(dtype) for x in rows], dim=1)


def fused_scores(sims: Sequence[Similarity], fusion: Fusion) -> Tensor:
    """(n, m) sum_k f_k S_k; a pair that one model has not scored is not scored."""
    out: Tensor | None = None
    for sim, factor in zip(sims, fusion.factors, strict=True):
        if factor:
            part = sim.scores().mul_(factor)
            out = part if out is None else out + part
    assert out is not None
    return out


def fuse(sims: Sequence[Similarity], weights: Weights = "auto", *, seed: int = 0) -> Fusion:
    """Scales and weights of several models of the same pairs.

    Args:
        sims: (n, m) each, texts x videos in the same order.
        weights: a number for each, or "auto".
        seed: of the sample of very large ones.

    Raises:
        RerankError: weights that fit no model, or scores without a spacing.

    >>> from rerank.core.similarity import Dense
    >>> one = Dense(torch.eye(50) + torch.randn(50, 50, generator=torch.Generator().manual_seed(0)))
    >>> fusion = fuse([one, Dense(3 * one.base)], weights=[1, 1])
    >>> [round(f, 2) for f in fusion.factors], fusion.weights
    ([0.75, 0.25], (0.5, 0.5))
    """
    if not isinstance(weights, str):
        given = _checked(weights, len(sims))
        found = [_temperature(Dense(x, unscored=True)) for x in _corners(sims, seed)]
        return Fusion(given, tuple(f.spacing for f in found), "given")
    if weights != "auto":
        raise RerankError(f"weights: got {weights!r}, expected 'auto' or a number for each model")
    scores = _corners(sims, seed)
    found = [_temperature(Dense(x, unscored=True)) for x in scores]
    spacings = tuple(f.spacing for f in found)
    scaled = [x / h for x, h in zip(scores, spacings, strict=True)]
    chosen = by_plans(scaled, [f.confidence for f in found])
    if chosen is None:
        alone = tuple(float(k == 0) for k in range(len(sims)))
        return Fusion(alone, spacings, "first")
    return Fusion(chosen, spacings, "plans")


def parse_weights(text: str | None) -> Weights:
    """Weights as typed: "auto", or numbers with commas.

    >>> parse_weights("1, .5"), parse_weights(None)
    ((1.0, 0.5), 'auto')
    """
    if text is None or text == "auto":
        return "auto"
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise RerankError(
            f"{label('weights')}: got {text!r}, expected 'auto' or a number for each model, "
            "such as 1,.5"
        ) from None


def _checked(weights: Sequence[float], count: int) -> tuple[float, ...]:
    given = np.asarray(weights, dtype=float)
    if given.shape != (count,) or not np.isfinite(given).all() or (given < 0).any():
        raise RerankError(
            f"weights: got {list(weights)}, expected {count} numbers, one for each model, none "
            "below 0"
        )
    if not given.sum() > 0:
        raise RerankError("weights: all are 0; one model at least needs a weight")
    return tuple((given / given.sum()).tolist())


def _temperature(sim: Similarity) -> Temperature:
    found = masses(sim)
    out = auto_tau(
        sim, log_a=found.log_a, log_b=found.log_b, live=(found.rows, found.columns),
    )  # fmt: skip
    if out.tau is None:
        raise RerankError(f"fusion: {out.note}; a model without a scale cannot be added")
    return out


def _corners(sims: Sequence[Similarity], seed: int) -> list[Tensor]:
    """(n, m) scores of all pairs, or of some items and the queries whose best they are."""
    n, m = sims[0].shape
    if n * m <= _WHOLE:
        return [sim.scores() for sim in sims]
    generator = torch.Generator().manual_seed(seed)
    items = torch.randperm(m, generator=generator)[:_SIDE].sort().values
    best = reduce.topk(sims[0], 1).indices[:, 0].cpu()
    asking = torch.nonzero(torch.isin(best, items))[:, 0]
    rows = asking[torch.randperm(len(asking), generator=generator)[:_SIDE]].sort().values
    return [gallery.corner(sim, rows, items) for sim in sims]


def by_plans(scaled: Sequence[Tensor], confidence: Sequence[float]) -> tuple[float, ...] | None:
    """Weights from what the plans agree on, or None where no two models agree on anything.

    Args:
        scaled: (n, m) S_k / h_k of every model.
        confidence: how sure each one's plan is; the surest of those that agree comes first.
    """
    kept = torch.stack([torch.isfinite(x) for x in scaled]).all(dim=0)
    parts = torch.stack([_residual(x, kept) for x in scaled])
    cov = torch.einsum("anm,bnm->ab", parts, parts) / kept.sum().clamp_min(1)
    alone = torch.eye(len(scaled), dtype=torch.float64)
    means = torch.stack([_at_plan(scaled, weights, parts, kept) for weights in alone])
    # What one model says of the pairs that another holds for right, in standard errors.
    found = means / cov.diagonal().sqrt() * kept.shape[0] ** 0.5
    agreed = torch.where(alone.bool(), 0.0, torch.minimum(found, found.T)) > _AGREED
    if not bool(agreed.any()):
        return None
    start = max(
        (k for k in range(len(scaled)) if bool(agreed[k].any())), key=lambda k: confidence[k]
    )
    weights, mean = alone[start], means[start]
    for _ in range(_ROUNDS):
        new = _discriminant(cov, mean)
        done = bool((new - weights).abs().max() < _STAYS)
        weights = new
        if done:
            break
        mean = _at_plan(scaled, weights, parts, kept)
    weights = torch.where(weights < _LEAST, 0, weights)
    return tuple((weights / weights.sum()).tolist())


def _at_plan(scaled: Sequence[Tensor], weights: Tensor, parts: Tensor, kept: Tensor) -> Tensor:
    """(models,) mean residual of each at the pairs that the plan of a mixture holds for right."""
    mixed = sum(w * x for w, x in zip(weights.tolist(), scaled, strict=True) if w)
    assert isinstance(mixed, Tensor)
    sim = Dense(mixed, unscored=True)
    fitted = Sinkhorn().fit(Bank(sim, pairs=sim, label="transductive"))
    if not np.isfinite(fitted.tau):
        return torch.zeros(len(parts), dtype=torch.float64)
    plan = torch.where(kept, fitted.plan(sim).double(), 0.0)
    return torch.einsum("nm,anm->a", plan, parts) / plan.sum()


def _residual(x: Tensor, kept: Tensor) -> Tensor:
    """Scores without the means of rows and columns, cut off; 0 where one model has none."""
    out = torch.where(kept, x.double(), 0.0)
    for _ in range(4):
        for axis in (1, 0):
            count = kept.sum(dim=axis, keepdim=True).clamp_min(1)
            out = torch.where(kept, out - out.sum(dim=axis, keepdim=True) / count, 0.0)
    limit = _CUT * float((out.square().sum() / kept.sum().clamp_min(1)).sqrt())
    return out.clamp(-limit, limit)


def _discriminant(cov: Tensor, mean: Tensor) -> Tensor:
    """C^-1 mu over the models whose entry is positive, of sum one."""
    out = torch.zeros_like(mean)
    kept = mean > 0
    while bool(kept.any()):
        part = cov[kept][:, kept]
        # Two copies of one model share its weight.
        ridge = 1e-4 * part.diagonal().mean() * torch.eye(len(part), dtype=part.dtype)
        found = torch.linalg.solve(part + ridge, mean[kept])
        if bool((found > 0).all()):
            out[kept] = found
            return out / out.sum()
        places = torch.nonzero(kept)[:, 0]
        kept[places[found <= 0]] = False
    out[int(mean.argmax())] = 1.0
    return out
