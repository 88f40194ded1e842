"""One Python call on a matrix, and the fitting of both directions that everything shares."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, TypeAlias, TypeVar

import numpy as np
import torch
from torch import Tensor

from rerank.core.errors import RerankError
from rerank.core.pairs import Name
from rerank.core.similarity import ArrayLike, Axis, Dense, Similarity
from rerank.io.scores import as_log_scores, kind_of_scores
from rerank.methods import directions
from rerank.methods.base import Fitted, FittedPipeline, Pipeline
from rerank.methods.directions import Direction
from rerank.methods.em import Basis
from rerank.methods.registry import pipeline
from rerank.methods.sinkhorn import Potentials, Sinkhorn
from rerank.passes import reduce

ScoresAre: TypeAlias = Literal["auto", "similarities", "probabilities"]
Array = TypeVar("Array", np.ndarray, Tensor)

# Where two fits would each take seconds, one converged fit serves both directions.
ONE_FIT_ELEMENTS = 2**24
# Sweeps of large problems round scores: in full precision their solutions are this far off, and a
# fit of the other direction would be as far.
_ONE_FIT_ERROR = 0.05


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
            "t2v": fit_one(pipeline(method, tau=tau, rho=rho_t2v, **settings), both["t2v"]),
            "v2t": fit_one(pipeline(method, tau=tau, rho=rho_v2t, **settings), both["v2t"]),
        }
    for note in sorted({note for fitted in fits.values() for note in notes_of(fitted)}):
        warnings.warn(note, stacklevel=2)
    return _like(rewritten(both["t2v"].sim, fits).scores(), scores)


def dense(scores: ArrayLike, *, scores_are: ScoresAre = "auto", sharded: bool = False) -> Dense:
    """Stored scores as a similarity; probabilities become logarithms, with a warning that says so.

    `sharded`: these are this process's share of the rows; what they are is decided for all.

    Raises:
        RerankError: not a matrix of real numbers, NaN or infinite entries.
    """
    if scores_are not in ("auto", "similarities", "probabilities"):
        raise RerankError(
            f"scores_are: got {scores_are!r}, expected 'auto', 'similarities' or 'probabilities'"
        )
    shard: Axis | None = "queries" if sharded else None
    sim = Dense(scores, shard=shard)
    if scores_are == "similarities":
        return sim
    kind = kind_of_scores(sim.base.cpu().numpy(), sharded=sharded)
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
    return Dense(logs, unscored=True, shard=shard)


def _like(result: Tensor, scores: Array) -> Array:
    if isinstance(scores, Tensor):
        return result.to(dtype=scores.dtype, device=scores.device)
    return result.cpu().numpy().astype(scores.dtype, copy=False)


def fit_one(stages: Pipeline, direction: Direction) -> FittedPipeline | None:
    """Fit one direction on its bank; none without a bank."""
    return None if direction.bank is None else stages.fit(direction.bank)


def fit_both(stages: Pipeline, both: Mapping[Name, Direction]) -> dict[Name, FittedPipeline | None]:
    """Fit both directions; a direction without a bank has no fit.

    A large transductive Sinkhorn is solved once where one fit serves both: the marginals of the
    two directions agree and the solution is as good as sweeps of that size make it.
    """
    first = fit_one(stages, both["t2v"])
    mirrored = None
    if first is not None and both["t2v"].label == both["v2t"].label == "transductive":
        mirrored = _mirror(first, both["t2v"].sim, stages)
    return {"t2v": first, "v2t": mirrored or fit_one(stages, both["v2t"])}


def _mirror(first: FittedPipeline, sim: Similarity, stages: Pipeline) -> FittedPipeline | None:
    """The transposed fit, from the potentials of this one, or None where it must be done."""
    n, m = reduce.total_queries(sim), reduce.total_queries(sim.T)
    if n * m < ONE_FIT_ELEMENTS or not first.stages:
        return None
    last, settings = first.stages[-1], stages.stages[-1]
    if not (isinstance(last, Potentials) and isinstance(settings, Sinkhorn)):
        return None
    if not all(isinstance(stage, Basis) for stage in first.stages[:-1]):
        return None
    if settings.rho != 1.0 or not last.error <= max(settings.tol or 0.0, _ONE_FIT_ERROR):
        return None
    for side in (sim, sim.T):
        queries = reduce.query_masses(side, duplicates=settings.duplicates)
        equal = torch.allclose(queries, reduce.gallery_masses(side.T), rtol=1e-9, atol=0.0)
        if not reduce.everywhere(side, equal):
            return None
    for stage in first.stages[:-1]:
        sim = stage.transform(sim)
    f = last.complete(sim)
    offset = reduce.gallery_mean(sim.T, f)
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
