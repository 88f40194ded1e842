"""Growing banks: past queries join the bank, and each query is ranked only with the past.

For Sinkhorn, column masses of the plan are a running mean over queries,

    f_t = -tau log sum_j exp((S_tj + g_j) / tau)              the new query's row made tight
    M_j <- (decay W M_j + weight exp((S_tj + f_t) / tau)) / (decay W + weight)
    g_j = rho tau (-log m - log M_j)

(online Sinkhorn: Mensch and Peyré, NeurIPS 2020); an inverted softmax is the same with f = 0 and
g_j = -tau log M_j. A query is ranked before it joins, so no ranking depends on a later query.
Since past test queries are used, the label is "online".
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from rerank.core import memory
from rerank.core.errors import RerankError
from rerank.core.similarity import ArrayLike, as_matrix
from rerank.core.words import Metric
from rerank.methods.base import Fitted, FittedPipeline, strongest_label
from rerank.methods.saved import Saved
from rerank.passes import reduce
from rerank.passes.reduce import TopK
from rerank.serving.fold import fold_gallery, fold_queries
from rerank.serving.matching import describe_gallery, item_hashes, with_manifest
from rerank.serving.streamed import stream_gallery

Rule: TypeAlias = Literal["sinkhorn", "is"]

_MASS, _SEEN = "online.log_mass", "online.seen"


@dataclass(frozen=True, eq=False)
class OnlineBank:
    """State after some queries: tensors of the size of the gallery, whatever the stream's length.

    Attributes:
        rule: "sinkhorn" or "is".
        log_mass: (m,) float64 log M.
        total: W, how many bank queries the mean stands for.
        tau: temperature in score units.
        rho: softness of the gallery marginal.
        weight: how many bank queries a past query counts for.
        decay: factor on everything older at each query; 1 forgets nothing.
        seen: content hashes of the queries that joined; an exact repeat does not join again,
            so that one repeated query cannot poison the biases.
        past: how many queries joined.
    """

    rule: Rule
    log_mass: Tensor
    total: float
    tau: float
    rho: float = 1.0
    weight: float = 1.0
    decay: float = 1.0
    seen: frozenset[int] = frozenset()
    past: int = 0

    @property
    def gallery_bias(self) -> Tensor:
        """(m,) float64 biases in the gauge of the masses (centre them before folding)."""
        if self.rule == "is":
            return -self.tau * self.log_mass
        return self.rho * self.tau * (-math.log(len(self.log_mass)) - self.log_mass)

    def join(self, scores: Tensor) -> "OnlineBank":
        """The state after one more query with these (m,) scores (map applied, no bias)."""
        s = scores.double()
        f = 0.0
        if self.rule == "sinkhorn":
            f = -self.tau * torch.logsumexp((s + self.gallery_bias) / self.tau, dim=0)
        old = self.decay * self.total
        total = old + self.weight
        log_old = math.log(old / total) if old > 0 else -math.inf
        mass = torch.logaddexp(
            self.log_mass + log_old, (s + f) / self.tau + math.log(self.weight / total)
        )
        return replace(self, log_mass=mass, total=total, past=self.past + 1)


def start(model: Saved, *, weight: float = 1.0, decay: float = 1.0) -> OnlineBank:
    """The state of a fitted model before its first query, or where an earlier stream ended.

    Args:
        model: with Sinkhorn or an inverted softmax as its last and only bias.
        weight: how many bank queries a past query counts for.
        decay: between 0 and 1.

    Raises:
        RerankError: a method whose bank cannot grow query by query.
    """
    if not (0 < decay <= 1 and weight > 0 and math.isfinite(weight)):
        raise RerankError(
            f"weight, decay: got {weight}, {decay}, expected a positive weight and a decay above 0 "
            f"and at most 1"
        )
    biased = [s for s in model.fitted.stages if not _maps(s)]
    stage = biased[0] if len(biased) == 1 else None
    state = model.manifest.get("online") or {}
    stages = model.manifest.get("stages") or [{}]
    total = float(model.manifest.get("bank", {}).get("count", 0))
    parts = None if stage is None else stage.parts
    if stage is not None and stage.running is not None:
        run = stage.running
        made = OnlineBank("sinkhorn", run.log_mass, total, run.tau, run.rho)
    elif (
        parts is not None
        and parts.gallery_bias is not None
        and "is" in (state.get("rule"), stages[-1].get("method"))
    ):
        tau = state.get("tau") or stages[-1]["settings"]["tau"]
        made = OnlineBank("is", -parts.gallery_bias.double() / tau, total, tau)
    else:
        raise RerankError(
            "this model's bank cannot grow query by query: only Sinkhorn and the inverted softmax "
            "(--method sinkhorn, em+sinkhorn, is, em+is) with a temperature can; fit one of them"
        )
    if _MASS in model.kept:
        made = replace(
            made,
            log_mass=model.kept[_MASS],
            total=state["total"],
            past=state["past"],
            seen=frozenset(model.kept[_SEEN].tolist()),
        )
    return replace(made, weight=weight, decay=decay)


def stream(
    model: Saved, gallery: Tensor, queries: ArrayLike, k: int, *, state: OnlineBank
) -> tuple[TopK, OnlineBank]:
    """Rank queries in their order, each with the bank as the queries before it left it.

    Args:
        model: the fitted model.
        gallery: (m, d) in the model's order (`serving.align`).
        queries: (n, d) in the order in which they were asked.
        k: between 1 and m.
        state: from `start`, or the one that an earlier call returned.

    Returns:
        The results, and the state after the last query.
    """
    maps = FittedPipeline(tuple(s for s in model.fitted.stages if _maps(s)))
    metric = model.manifest["metric"]
    score = _scorer(maps, gallery, metric)
    asked = fold_queries(maps, queries, metric).double()
    k = reduce.check_k(k, len(gallery))
    scores = torch.empty((len(asked), k))
    indices = torch.empty((len(asked), k), dtype=torch.int64)
    seen = set(state.seen)
    hashes = item_hashes(as_matrix(queries, "queries")).tolist()
    for i, (query, name) in enumerate(zip(asked, hashes, strict=True)):
        # One query at a time, in one order of operations: nothing later can change its bits.
        raw = score(query.clone())
        bias = state.gallery_bias
        ranked = raw + (bias - bias.mean())
        best = torch.argsort(-ranked, stable=True)[:k]
        scores[i], indices[i] = ranked[best], best
        if name not in seen:
            seen.add(name)
            state = state.join(raw)
    return TopK(scores, indices), replace(state, seen=frozenset(seen))


def _maps(stage: Fitted) -> bool:
    """Whether a stage maps embeddings."""
    parts = stage.parts
    return parts is not None and (parts.matrix is not None or parts.turn is not None)


def _scorer(maps: FittedPipeline, gallery: Tensor, metric: Metric) -> Callable[[Tensor], Tensor]:
    """A folded query (d,) float64 -> its (m,) scores; large galleries stay as they are stored."""
    if gallery.itemsize <= 4 and memory.is_large(gallery.numel()) and not maps.turns:
        _, items = stream_gallery(maps, gallery, metric)
        return lambda query: torch.from_numpy(items.everything(items.asked(query[None])))
    held = fold_gallery(maps, gallery, metric).double()
    return lambda query: torch.mv(held, query)


def grown(model: Saved, state: OnlineBank) -> Saved:
    """The model with the biases that a stream left behind, labelled "online"."""
    label = strongest_label([model.fitted.label, "online" if state.past else "none"])
    bias = state.gallery_bias
    stages = [
        stage.streamed(bias, label)
        if stage.parts is not None and stage.parts.gallery_bias is not None
        else stage
        for stage in model.fitted.stages
    ]
    kept: Mapping[str, Tensor] = {
        **model.kept,
        _MASS: state.log_mass,
        _SEEN: torch.tensor(sorted(state.seen), dtype=torch.int64),
    }
    return with_manifest(
        replace(model, fitted=FittedPipeline(tuple(stages)), kept=kept),
        label=label,
        online={
            "rule": state.rule, "tau": state.tau, "total": state.total, "past": state.past,
            "weight": state.weight, "decay": state.decay,
        },
        gallery=describe_gallery(model, model.kept["gallery.hashes"]),
    )  # fmt: skip
