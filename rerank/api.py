"""The compositions that the command line and Python users share.

`rerank` rewrites a matrix; `apply` re-ranks both directions of embeddings or scores and returns
what a result file holds. Both are a handful of calls to the floors below.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias, TypeVar

import numpy as np
import torch
from torch import Tensor

from rerank import directions, hubness, reduce, search
from rerank.directions import Direction, Name
from rerank.errors import RerankError
from rerank.io.scores import as_log_scores, kind_of_scores
from rerank.methods.em import EM, Basis
from rerank.methods.sinkhorn import Potentials, Sinkhorn
from rerank.presets import pipeline
from rerank.reduce import TopK
from rerank.reranker import Fitted, FittedPipeline, Label, Pipeline, strongest_label
from rerank.similarity import ArrayLike, Dense, Metric, Pair, Similarity

ScoresAre: TypeAlias = Literal["auto", "similarities", "probabilities"]
Array = TypeVar("Array", np.ndarray, Tensor)

DEFAULT_FOR_EMBEDDINGS = "em+sinkhorn"
DEFAULT_FOR_SCORES = "sinkhorn"
# Where two fits would each take seconds, one converged fit serves both directions.
_ONE_FIT_ELEMENTS = 2**24


def rerank(
    scores: Array,
    method: str = "sinkhorn",
    *,
    tau: float | Literal["auto"] = "auto",
    rho: float | tuple[float, float] = 1.0,
    query_mass: ArrayLike | None = None,
    gallery_mass: ArrayLike | None = None,
    scores_are: ScoresAre = "auto",
    **settings: Any,  # noqa: ANN401  fields of the method
) -> Array:
    """Rewrite a matrix of scores: S + f + g, right in both directions.

    g comes from the fit on S (rows rank columns), f from the fit on its transpose (columns rank
    rows), each with its own query masses and `rho`. Rows of the result rank the gallery for each
    query, columns rank the queries for each gallery item.

    Args:
        scores: (n, m) numpy or torch, rows = queries, higher = better, any scale. Not modified.
        method: a name of `rerank methods` that works on scores, several joined by "+".
        tau: temperature in score units, or "auto".
        rho: softness of the gallery marginal, 1 = every item equally probable; a pair gives one
            for each direction.
        query_mass: (n,) weights of the rows, for example how often a query is asked.
        gallery_mass: (m,) weights of the columns, for example how many captions a video has.
        scores_are: "auto" recognises rows (or columns) that sum to one as probabilities; their
            logarithm is re-ranked and zeros mean "not scored" (-inf in the result).
        **settings: fields of the method's settings class, such as n_iters or tol.

    Returns:
        (n, m), the same kind, dtype and device as `scores`. Half precision is computed in float32.
        For methods that rewrite the row direction only (`rerank methods` says which), the rows.

    The result is transductive: it is fitted on the very queries that it ranks.

    Raises:
        RerankError: not a matrix of real numbers, NaN or infinite entries, unknown settings.

    >>> import numpy as np
    >>> hub = np.array([[0.6, 0.1, 0.7], [0.1, 0.6, 0.7], [0.1, 0.1, 0.9]], dtype=np.float32)
    >>> hub.argmax(axis=1), rerank(hub, tau=0.1).argmax(axis=1)
    (array([2, 2, 2]), array([0, 1, 2]))
    """
    sim = dense(scores, scores_are=scores_are).with_mass(queries=query_mass, gallery=gallery_mass)
    both = directions.from_scores(sim)
    rhos = rho if isinstance(rho, tuple) else (rho, rho)
    rho_t2v, rho_v2t = (None if value == 1.0 else value for value in rhos)
    fits: dict[Name, FittedPipeline | None]
    if rho_t2v == rho_v2t:
        fits = fit_both(pipeline(method, tau=tau, rho=rho_t2v, **settings), both)
    else:
        fits = {
            "t2v": _fit(pipeline(method, tau=tau, rho=rho_t2v, **settings), both["t2v"]),
            "v2t": _fit(pipeline(method, tau=tau, rho=rho_v2t, **settings), both["v2t"]),
        }
    for note in sorted({note for fitted in fits.values() for note in notes_of(fitted)}):
        warnings.warn(note, stacklevel=2)
    return _like(rewritten(both["t2v"].sim, fits).scores(), scores)


def dense(scores: ArrayLike, *, scores_are: ScoresAre = "auto") -> Dense:
    """Stored scores as a similarity; probabilities become logarithms, with a warning that says so.

    Raises:
        RerankError: not a matrix of real numbers, NaN or infinite entries.
    """
    if scores_are not in ("auto", "similarities", "probabilities"):
        raise RerankError(
            f"scores_are: got {scores_are!r}, expected 'auto', 'similarities' or 'probabilities'"
        )
    sim = Dense(scores)
    if scores_are == "similarities":
        return sim
    kind = kind_of_scores(sim.base.cpu().numpy())
    if scores_are == "auto" and kind == "similarities":
        return sim
    if scores_are == "auto":
        side = "rows" if kind == "row-probabilities" else "columns"
        warnings.warn(
            f"{side} of the scores sum to one: taken for probabilities, their logarithm is "
            f"re-ranked and zeros count as not scored; scores_are='similarities' "
            f"(--scores-are similarities) overrides",
            stacklevel=3,
        )
    elif bool((sim.base < 0).any()):
        raise RerankError("scores: negative entries are no probabilities; use 'similarities'")
    logs = torch.from_numpy(as_log_scores(sim.base.cpu().numpy())).to(sim.base)
    return Dense(logs, unscored=True)


def _like(result: Tensor, scores: Array) -> Array:
    if isinstance(scores, Tensor):
        return result.to(dtype=scores.dtype, device=scores.device)
    return result.cpu().numpy().astype(scores.dtype, copy=False)


def _fit(stages: Pipeline, direction: Direction) -> FittedPipeline | None:
    return None if direction.bank is None else stages.fit(direction.bank)


def fit_both(stages: Pipeline, both: Mapping[Name, Direction]) -> dict[Name, FittedPipeline | None]:
    """Fit both directions; a direction without a bank has no fit.

    A large transductive Sinkhorn is solved once where one fit serves both: the marginals of the
    two directions agree and the solution has converged.
    """
    first = _fit(stages, both["t2v"])
    mirrored = None
    if first is not None and both["t2v"].label == both["v2t"].label == "transductive":
        mirrored = _mirror(first, both["t2v"].sim, stages)
    return {"t2v": first, "v2t": mirrored or _fit(stages, both["v2t"])}


def _mirror(first: FittedPipeline, sim: Similarity, stages: Pipeline) -> FittedPipeline | None:
    """The transposed fit, from the potentials of this one, or None where it must be done."""
    n, m = sim.shape
    if n * m < _ONE_FIT_ELEMENTS or not first.stages:
        return None
    last, settings = first.stages[-1], stages.stages[-1]
    if not (isinstance(last, Potentials) and isinstance(settings, Sinkhorn)):
        return None
    if not all(isinstance(stage, Basis) for stage in first.stages[:-1]):
        return None
    converged = last.error <= (settings.tol or 0.0)
    if settings.rho != 1.0 or not converged:
        return None
    for side in (sim, sim.T):
        queries = reduce.query_masses(side, duplicates=settings.duplicates)
        if not torch.allclose(queries, reduce.gallery_masses(side.T), rtol=1e-9, atol=0.0):
            return None
    for stage in first.stages[:-1]:
        sim = stage.transform(sim)
    f = last.complete(sim)
    offset = float(f.double().mean())
    mirrored = replace(
        last,
        query_bias=last.gallery_bias + offset,
        gallery_bias=f - offset,
        offset=last.offset - offset,
    )
    return FittedPipeline((*first.stages[:-1], mirrored))


def rewritten(sim: Similarity, fits: Mapping[Name, FittedPipeline | None]) -> Similarity:
    """S + f + g, texts x videos: columns carry the video bias, rows the text bias.

    The text bias changes no ranking of videos and the video bias none of texts, so both
    directions live in one matrix. Methods that are not one number per gallery item rewrite the
    row direction only.
    """
    forward, backward = fits["t2v"], fits["v2t"]
    if forward is not None:
        sim = forward.transform(sim)
    elif backward is not None and backward.map is not None:
        raise RerankError("one matrix for both directions needs the same map in both")
    if backward is not None and backward.foldable and backward.gallery_bias is not None:
        sim = sim.add_query_bias(backward.gallery_bias)
    return sim


def notes_of(fitted: FittedPipeline | None) -> list[str]:
    """What the stages want the user to know."""
    stages: Sequence[Fitted] = () if fitted is None else fitted.stages
    return [note for stage in stages if (note := getattr(stage, "note", ""))]


@dataclass(frozen=True, eq=False)
class Outcome:
    """One direction, re-ranked.

    Attributes:
        direction: what went in: similarity, bank, warnings.
        fitted: the fitted stages, or None where the direction stays raw.
        sim: the rewritten similarity.
        topk: the k best gallery items per query.
        before: hubness of the raw ranking.
        after: hubness of the rewritten ranking.
        label: which queries the fit used.
        notes: what the user should know, one sentence each.
    """

    direction: Direction
    fitted: FittedPipeline | None
    sim: Similarity
    topk: TopK
    before: hubness.Hubness
    after: hubness.Hubness
    label: Label
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Reranked:
    """Both directions, re-ranked.

    Attributes:
        t2v: texts rank videos.
        v2t: videos rank texts.
        method: what was applied.
        settings: as given.
    """

    t2v: Outcome
    v2t: Outcome
    method: str
    settings: dict[str, Any]

    @property
    def label(self) -> Label:
        """The strongest label of the two."""
        return strongest_label([self.t2v.label, self.v2t.label])

    def scores(self) -> Tensor:
        """The rewritten matrix, texts x videos, S + f + g. Builds n x m."""
        for outcome in (self.t2v, self.v2t):
            if outcome.fitted is not None and not outcome.fitted.foldable:
                raise RerankError(
                    f"--scores: method {self.method!r} rewrites each direction on its own; "
                    f"one matrix cannot hold both"
                )
        fits: dict[Name, FittedPipeline | None] = {
            "t2v": self.t2v.fitted,
            "v2t": self.v2t.fitted,
        }
        return rewritten(self.t2v.direction.sim, fits).scores()


def apply(
    texts: ArrayLike | None = None,
    videos: ArrayLike | None = None,
    *,
    scores: ArrayLike | None = None,
    bank_texts: ArrayLike | None = None,
    bank_videos: ArrayLike | None = None,
    bank_positives: tuple[np.ndarray, ...] | None = None,
    method: str | None = None,
    metric: Metric = "cosine",
    k: int = 10,
    gate: bool = True,
    scores_are: ScoresAre = "auto",
    device: str | torch.device | None = None,
    **settings: Any,  # noqa: ANN401  fields of the method
) -> Reranked:
    """Re-rank both directions of embeddings, or of a texts x videos matrix.

    Args:
        texts: (n, d) numpy or torch.
        videos: (m, d), of the same model.
        scores: (n, m) instead of embeddings; transductive.
        bank_texts: texts that are not test queries; they fit text to video.
        bank_videos: videos outside the test gallery; they fit video to text.
        bank_positives: for each bank text the bank video rows that are right, where known: the
            do-no-harm gate then judges the biases on the bank before they are used.
        method: see `rerank methods`; "em+sinkhorn" for embeddings, "sinkhorn" for scores.
        metric: "cosine" or "dot".
        k: results per query, at most the smaller gallery.
        gate: judge biases on the bank's known pairs, where there are any.
        scores_are: see `rerank`.
        device: where to compute; None = where the tensors are.
        **settings: fields of the stages, such as tau, n_iters, strength.

    Returns:
        A `Reranked`. With no bank both directions are transductive; with a bank, a direction that
        misses its own stays raw with label "none" and a warning.

    Raises:
        RerankError: input that does not fit together, unknown settings.
    """
    if (scores is None) == (texts is None or videos is None):
        raise RerankError("apply: give texts and videos, or scores, not both and not neither")
    if scores is not None:
        if bank_texts is not None or bank_videos is not None:
            raise RerankError(
                "a bank of embeddings cannot be compared with stored scores: "
                "give --videos and --texts, or leave the bank out"
            )
        sim = dense(scores, scores_are=scores_are)
        both = directions.from_scores(sim if device is None else _moved(sim, device))
    else:
        inputs = (texts, videos, bank_texts, bank_videos)
        texts, videos, bank_texts, bank_videos = (_on(x, device) for x in inputs)
        assert texts is not None and videos is not None
        both = directions.from_embeddings(
            texts, videos, bank_texts=bank_texts, bank_videos=bank_videos,
            bank_positives=bank_positives, metric=metric,
        )  # fmt: skip
    return rerank_directions(both, method=method, k=k, gate=gate, **settings)


def rerank_directions(
    both: Mapping[Name, Direction],
    *,
    method: str | None = None,
    k: int = 10,
    gate: bool = True,
    **settings: Any,  # noqa: ANN401  fields of the stages
) -> Reranked:
    """`apply` for directions that are already made."""
    for direction in both.values():
        reduce.check_k(k, direction.sim.shape[1], f"gallery items of {direction.name}")
    embeddings = isinstance(both["t2v"].sim, Pair)
    chosen = method or (DEFAULT_FOR_EMBEDDINGS if embeddings else DEFAULT_FOR_SCORES)
    stages = pipeline(chosen, **settings)
    extra: dict[Name, list[str]] = {"t2v": [], "v2t": []}
    if method is None:
        stages, reason = _drop_em(stages, both)
        for name in extra:
            if reason and both[name].bank is not None:
                extra[name].append(reason)
    fits: dict[Name, FittedPipeline | None]
    if gate and any(_gated(direction) for direction in both.values()):
        fits = {}
        for name, direction in both.items():
            if _gated(direction) and direction.bank is not None:
                from rerank.selection import gated_fit  # heavier than all the rest

                fitted, report = gated_fit(stages, direction.bank)
                fits[name] = (
                    fitted if isinstance(fitted, FittedPipeline) else FittedPipeline((fitted,))
                )
                extra[name] += report.sentences
            else:
                fits[name] = _fit(stages, direction)
    else:
        fits = fit_both(stages, both)
    outcomes = {
        name: _outcome(direction, fits[name], k, extra[name]) for name, direction in both.items()
    }
    return Reranked(outcomes["t2v"], outcomes["v2t"], chosen, dict(settings))


def _gated(direction: Direction) -> bool:
    return direction.bank is not None and direction.bank.positives is not None


def _drop_em(stages: Pipeline, both: Mapping[Name, Direction]) -> tuple[Pipeline, str]:
    """The default pipeline without EM, where EM has nothing to be fitted on or does nothing."""
    em = next((stage for stage in stages.stages if isinstance(stage, EM)), None)
    if em is None:
        return stages, ""
    reason = ""
    if em.strength == 0:
        reason = "EM inactive: its strength is 0"
    elif any(d.bank is not None and d.bank.pairs is None for d in both.values()):
        reason = "EM inactive: it needs both --bank-texts and --bank-videos"
    if not reason:
        return stages, ""
    return Pipeline(tuple(stage for stage in stages.stages if stage is not em)), reason


def _outcome(
    direction: Direction, fitted: FittedPipeline | None, k: int, extra: list[str]
) -> Outcome:
    raw = direction.sim
    sim = raw if fitted is None else fitted.transform(raw)
    wide = min(max(k, 10), raw.shape[1])
    found = search.topk(sim, wide)
    kept = TopK(found.scores[:, :k].contiguous(), found.indices[:, :k].contiguous())
    before = found if sim is raw else search.topk(raw, min(10, raw.shape[1]))
    return Outcome(
        direction=direction,
        fitted=fitted,
        sim=sim,
        topk=kept,
        before=hubness.summary(raw, topk=before),
        after=hubness.summary(sim, topk=found),
        label="none" if fitted is None else fitted.label,
        notes=(*direction.warnings, *extra, *notes_of(fitted)),
    )


def _on(x: ArrayLike | None, device: str | torch.device | None) -> ArrayLike | None:
    if x is None or device is None:
        return x
    tensor = torch.from_numpy(x) if isinstance(x, np.ndarray) and x.flags.writeable else x
    return tensor.to(device) if isinstance(tensor, Tensor) else torch.tensor(tensor).to(device)


def _moved(sim: Dense, device: str | torch.device) -> Dense:
    return replace(sim, base=sim.base.to(device))
