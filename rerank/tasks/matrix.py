"""One Python call on a matrix of scores."""

import warnings
from typing import Any, Literal, TypeVar

import numpy as np
from torch import Tensor

from rerank.core.errors import RerankError, RerankWarning
from rerank.core.similarity import ArrayLike
from rerank.core.torch_state import usual_state
from rerank.core.words import Name, ScoresAre
from rerank.methods import directions, engine
from rerank.methods.directions import Groups
from rerank.methods.kinds import Unscored, read_both

Array = TypeVar("Array", np.ndarray, Tensor)


@usual_state()
def rerank(
    scores: Array,
    method: str | None = None,
    *,
    tau: float | Literal["auto"] = "auto",
    rho: float | tuple[float | None, float | None] | None = None,
    query_mass: ArrayLike | None = None,
    gallery_mass: ArrayLike | None = None,
    scores_are: ScoresAre = "auto",
    groups: Groups = "auto",
    unscored: Unscored = None,
    **settings: Any,  # noqa: ANN401  fields of the method
) -> Array:
    """Rewrite a matrix of scores: S + f + g, right in both directions.

    g comes from the fit on S (rows rank columns), f from the fit on its transpose (columns rank
    rows), each with its own query masses and `rho`. Rows of the result rank the gallery for each
    query, columns rank the queries for each gallery item.

    Args:
        scores: (n, m) numpy, torch, a list of rows or a frame of pandas or polars; rows = queries,
            higher = better, any scale. Not modified.
        method: a name of `rerank methods` that works on scores, several joined by "+"; None is
            Sinkhorn, but for a direction with less than 10 scored pairs a query, which stays raw.
        tau: temperature in score units, or "auto".
        rho: softness of the gallery marginal, 1 = every item equally probable, None = what the
            queries suggest; a pair gives one for each direction.
        query_mass: (n,) weights of the rows, for example how often a query is asked.
        gallery_mass: (m,) weights of the columns, for example how many captions a video has.
        scores_are: "similarities", "logits", "softmax", "probabilities" (of a match, each pair its
            own), "log-probabilities", "log-odds", "distances", or "auto", which reads it off the
            numbers and says so. Logarithms of a softmax and log-odds of probabilities are
            re-ranked.
        unscored: the number that stands for "not scored"; None recognises it, "none" has none.
            -inf always means that, NaN where it is said. The result has -inf there.
        groups: what is known of rows and columns: "one-to-one", "grouped" (those of the longer
            side come in groups, such as captions of a video), or an id for every row, the same
            where rows belong together (or for every column). With "auto" fewer queries than items
            are taken for few queries, and more for several of an item.
        **settings: fields of the method's settings class, such as n_iters or tol.

    Returns:
        (n, m), the same kind, dtype and device as `scores`; an array for a list. Half precision is
        computed in float32.
        For methods that rewrite the row direction only (`rerank methods` says which), the rows.

    The result is transductive: it is fitted on the very queries that it ranks.

    Raises:
        RerankError: not a matrix of real numbers, undeclared NaN or +inf, unknown settings.

    >>> import numpy as np
    >>> hub = np.array([[0.6, 0.1, 0.7], [0.1, 0.6, 0.7], [0.1, 0.1, 0.9]], dtype=np.float32)
    >>> hub.argmax(axis=1), rerank(hub, tau=0.1).argmax(axis=1)
    (array([2, 2, 2]), array([0, 1, 2]))
    """
    if method is not None and not isinstance(method, str):
        raise RerankError(
            f"rerank: got {type(scores).__name__} and {type(method).__name__}, expected one matrix "
            f"of scores; embeddings of two sides go to rerank.apply(texts, videos)"
        )
    found = read_both(scores, scores_are=scores_are, unscored=unscored)
    if found.sentence:
        warnings.warn(found.sentence, RerankWarning, stacklevel=3)
    sim = found.t2v.with_mass(queries=query_mass, gallery=gallery_mass)
    rhos = rho if isinstance(rho, tuple) else (rho, rho)
    each: dict[Name, dict[str, Any]] = {
        "t2v": {} if rhos[0] is None else {"rho": rhos[0]},
        "v2t": {} if rhos[1] is None else {"rho": rhos[1]},
    }
    both = directions.from_scores(sim, groups=groups, scored=found.scored)
    run = engine.fit(both, method, {"tau": tau, **settings}, each=each)
    said = [(*fit.direction.warnings, *fit.sentences) for fit in (run.t2v, run.v2t)]
    notes = (
        note if all(note in x for x in said) else f"{name}: {note}"
        for name, mine in zip(("t2v", "v2t"), said, strict=True)
        for note in mine
    )
    for note in dict.fromkeys(notes):
        warnings.warn(note, RerankWarning, stacklevel=3)
    return _like(run.rows().scores(), scores)


def _like(result: Tensor, scores: Any) -> Any:  # noqa: ANN401  what was given
    library = type(scores).__module__.partition(".")[0]
    if library == "pandas":
        return type(scores)(result.cpu().numpy(), index=scores.index, columns=scores.columns)
    if library == "polars":
        return type(scores)(result.cpu().numpy(), schema=scores.columns)
    if isinstance(scores, Tensor):
        return result.to(dtype=scores.dtype, device=scores.device)
    made = result.cpu().numpy()
    dtype = getattr(scores, "dtype", None)
    return made.astype(dtype, copy=False) if isinstance(dtype, np.dtype) else made
