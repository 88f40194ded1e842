"""`apply`: both directions of embeddings or of a matrix, re-ranked, with what a file records."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rerank import directions, hubness, reduce, search, sharding
from rerank.api import ScoresAre, dense, fit_both, fit_one, notes_of, rewritten
from rerank.directions import Direction, Name
from rerank.errors import RerankError
from rerank.methods.em import EM
from rerank.methods.sinkhorn import Sinkhorn
from rerank.presets import pipeline
from rerank.reduce import TopK
from rerank.reranker import FittedPipeline, Label, Pipeline, strongest_label
from rerank.similarity import ArrayLike, Dense, Metric, Pair, Similarity

DEFAULT_FOR_EMBEDDINGS = "em+sinkhorn"
DEFAULT_FOR_SCORES = "sinkhorn"
# Above this many scores the marginals are not looked into: it costs about two more fits.
MAX_SUITED = 50_000_000
# From here on a neighbour graph, two passes over all pairs, is cheaper than dozens of sweeps.
SPARSE_FROM = 100_000_000_000


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

    def matrix(self) -> Similarity:
        """The rewritten similarity, texts x videos, S + f + g, for both directions."""
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
        return rewritten(self.t2v.direction.sim, fits)

    def scores(self) -> Tensor:
        """The rewritten matrix, texts x videos. Builds n x m."""
        return self.matrix().scores()


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
    sharded: bool = False,
    whole_bank: bool = False,
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
        sharded: `texts`, `bank_texts` and the rows of `scores` are this process's share of them
            (`comm.my_rows`), `bank_positives` are those of the whole bank; every process gets the
            whole top-k.
        whole_bank: with `sharded`, `bank_texts` are the whole bank's (see `wants_whole_bank`);
            shares of it are gathered where it is needed.
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
        sim = dense(scores, scores_are=scores_are, sharded=sharded)
        both = directions.from_scores(sim if device is None else _moved(sim, device))
    else:
        gated = gate and bank_positives is not None
        if sharded and not whole_bank:
            whole_bank = wants_whole_bank(method, gated=gated, **settings)
            bank_texts = sharding.whole(bank_texts, "bank texts") if whole_bank else bank_texts
        if sharded and not gated:
            # Those of the whole bank do not fit a share of it, and nobody asks for them.
            bank_positives = None
        inputs = (texts, videos, bank_texts, bank_videos)
        texts, videos, bank_texts, bank_videos = (_on(x, device) for x in inputs)
        assert texts is not None and videos is not None
        both = directions.from_embeddings(
            texts, videos, bank_texts=bank_texts, bank_videos=bank_videos,
            bank_positives=bank_positives, metric=metric,
            sharded=sharded, whole_bank=whole_bank,
        )  # fmt: skip
    return rerank_directions(both, method=method, k=k, gate=gate, **settings)


def wants_whole_bank(
    method: str | None,
    *,
    gated: bool,
    **settings: Any,  # noqa: ANN401  fields of the stages
) -> bool:
    """Whether several processes each need all bank texts to fit a method on embeddings."""
    stages = pipeline(method or DEFAULT_FOR_EMBEDDINGS, **settings)
    return sharding.needs_whole_bank(stages, gated=gated)


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
        items = reduce.total_queries(direction.sim.T)
        reduce.check_k(k, items, f"gallery items of {direction.name}")
    embeddings = isinstance(both["t2v"].sim, Pair)
    chosen = method or (DEFAULT_FOR_EMBEDDINGS if embeddings else DEFAULT_FOR_SCORES)
    stages = pipeline(chosen, **settings)
    sharded = both["t2v"].sim.shard is not None
    if sharded:
        sharding.check_method(chosen, stages)
    extra: dict[Name, list[str]] = {"t2v": [], "v2t": []}
    if method is None:
        stages, reason = _drop_em(stages, both)
        for name in extra:
            if reason and both[name].bank is not None:
                extra[name].append(reason)
    for name, direction in both.items():
        if advice := _sparse_advice(chosen, stages, direction.sim):
            extra[name].append(advice)
    fits: dict[Name, FittedPipeline | None]
    if gate and any(_gated(direction) for direction in both.values()):
        fits = {}
        for name, direction in both.items():
            if _gated(direction) and direction.bank is not None:
                from rerank.selection import gated_fit  # heavier than all the rest

                check = sharding.check_gates_agree if sharded else None
                fitted, report = gated_fit(stages, direction.bank, check=check)
                fits[name] = (
                    fitted if isinstance(fitted, FittedPipeline) else FittedPipeline((fitted,))
                )
                extra[name] += report.sentences
            else:
                fits[name] = fit_one(stages, direction)
    else:
        fits = _fit_suited(stages, both, extra, ask="rho" not in settings)
    outcomes = {
        name: _outcome(direction, fits[name], k, extra[name]) for name, direction in both.items()
    }
    return Reranked(outcomes["t2v"], outcomes["v2t"], chosen, dict(settings))


def _fit_suited(
    stages: Pipeline, both: Mapping[Name, Direction], extra: dict[Name, list[str]], *, ask: bool
) -> dict[Name, FittedPipeline | None]:
    """Fit both directions, with the marginals that the data ask for unless rho was chosen.

    Only where the queries themselves are fitted on: there repeated queries and items without a
    query show, and equality would be wrong for them.
    """
    from rerank.selection import recommend_marginals

    plans: dict[Name, tuple[Pipeline, Direction]] = {}
    for name, direction in both.items():
        pairs = reduce.total_queries(direction.sim) * reduce.total_gallery(direction.sim)
        bank = direction.bank
        if (
            not ask
            or bank is None
            or bank.label != "transductive"
            or pairs > MAX_SUITED
            or not any(isinstance(stage, Sinkhorn) for stage in stages.stages)
        ):
            continue
        found = recommend_marginals(direction.sim)
        if not found.notes:
            continue
        sim = found.apply(bank.sim)
        suited = replace(bank, sim=sim, pairs=sim if bank.pairs is bank.sim else bank.pairs)
        softer = tuple(
            replace(stage, rho=found.rho) if isinstance(stage, Sinkhorn) else stage
            for stage in stages.stages
        )
        plans[name] = Pipeline(softer), replace(direction, bank=suited)
        extra[name] += [f"{note} (--rho 1 overrides)" for note in found.notes]
    if not plans:
        return fit_both(stages, both)
    return {name: fit_one(*plans.get(name, (stages, both[name]))) for name in both}


def _sparse_advice(method: str, stages: Pipeline, sim: Similarity) -> str:
    """Which method to take where there are too many pairs for dozens of sweeps, or nothing."""
    pairs = reduce.total_queries(sim) * sim.shape[1]
    dense = any(isinstance(stage, Sinkhorn) and stage.neighbours is None for stage in stages.stages)
    if not dense or pairs < SPARSE_FROM or not isinstance(sim, Pair) or sim.shard is not None:
        return ""
    sparse = "+".join("sinkhorn-sparse" if x == "sinkhorn" else x for x in method.split("+"))
    return f"{pairs:.0e} pairs take long to sweep: --method {sparse} reads them twice"


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
    items = reduce.total_queries(raw.T)
    found = search.topk(sim, min(max(k, 10), items))
    kept = TopK(found.scores[:, :k].contiguous(), found.indices[:, :k].contiguous())
    before = found if sim is raw else search.topk(raw, min(10, items))
    return Outcome(
        direction=direction,
        fitted=fitted,
        sim=sim,
        topk=kept,
        before=hubness.from_lists(before.indices, items, min(10, max(1, items // 2))),
        after=hubness.from_lists(found.indices, items, min(10, max(1, items // 2))),
        label="none" if fitted is None else fitted.label,
        notes=(*direction.warnings, *extra, *notes_of(fitted)),
    )


def _on(x: ArrayLike | None, device: str | torch.device | None) -> ArrayLike | None:
    if x is None or device is None:
        return x
    if isinstance(x, np.ndarray) and torch.device(device).type == "cpu":
        # Where it is: a large one may be a file mapped into memory.
        return x
    tensor = torch.from_numpy(x) if isinstance(x, np.ndarray) and x.flags.writeable else x
    return tensor.to(device) if isinstance(tensor, Tensor) else torch.tensor(tensor).to(device)


def _moved(sim: Dense, device: str | torch.device) -> Dense:
    return replace(sim, base=sim.base.to(device))
