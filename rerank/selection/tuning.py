"""Tuning on labelled pairs by maximum likelihood, nested so that its report was not tuned."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rerank import reduce
from rerank.directions import Direction, Name, transpose_positives
from rerank.errors import RerankError
from rerank.reranker import Label, strongest_label
from rerank.selection.descent import search
from rerank.selection.evidence import Evidence, Side, make_side, split_groups
from rerank.selection.likelihood import clustered_mean
from rerank.selection.parts import group_pairs
from rerank.selection.settings import Settings, tunable

METHODS = ("sinkhorn", "em+sinkhorn")


@dataclass(frozen=True)
class Tried:
    """A method, judged on pairs that its settings were not tuned on.

    Attributes:
        settings: tuned on all pairs.
        gain: nested mean log-probability over that of raw scores at their best temperature, nats.
        error: standard error over groups of pairs.
    """

    settings: Settings
    gain: float
    error: float


@dataclass(frozen=True)
class TuneReport:
    """Result of `tune`.

    Attributes:
        settings: of the method that gains most, or "none" where none gains more than the
            standard error.
        tried: every method.
        recall: per direction R@1 in percent of raw scores and of the whole procedure, choice of
            the method included, on pairs that it did not see.
        gain: log-probability likewise, in nats; error: its standard error.
        label: which queries the corrections were estimated from.
        n_pairs: labelled pairs; n_folds: of the nested cross-validation.
    """

    settings: Settings
    tried: tuple[Tried, ...]
    recall: dict[str, tuple[float, float]]
    gain: float
    error: float
    label: Label
    n_pairs: int
    n_folds: int

    def as_dict(self) -> dict[str, Any]:
        """The settings file: settings at the top, what was measured under "_tuned"."""
        return {
            **self.settings.own().as_dict(),
            "_tuned": {
                "label": self.label,
                "pairs": self.n_pairs,
                "folds": self.n_folds,
                "log_probability_gain": self.gain,
                "standard_error": self.error,
                "recall_at_1": {k: {"raw": v[0], "tuned": v[1]} for k, v in self.recall.items()},
                "tried": [
                    {**t.settings.own().as_dict(), "gain": t.gain, "standard_error": t.error}
                    for t in self.tried
                ],
            },
        }


def tune(
    directions: Mapping[Name, Direction],
    positives: Sequence[np.ndarray],
    *,
    methods: Sequence[str] = METHODS,
    folds: int = 5,
    seed: int = 0,
) -> TuneReport:
    """Choose method and settings on labelled pairs; "none" always competes.

    Corrections are estimated from the directions' banks without labels (the queries themselves
    where there is no bank); labels only choose settings, one set for both directions. Pairs are
    split by video, so that the figures of a fold come from settings that never saw its videos.

    Args:
        directions: of `rerank.directions`.
        positives: for each text the video rows that are right; empty = unjudged.
        methods: names for `--method`.
        folds: of the nested cross-validation.
        seed: of the folds.

    Raises:
        RerankError: an unknown method, fewer groups of pairs than folds, constant scores.
    """
    names = [m for m in dict.fromkeys(methods) if m != "none"]
    for method in names:
        tunable(method)
    sim = directions["t2v"].sim
    if len(positives) != sim.shape[0]:
        raise RerankError(
            f"positives: got {len(positives)} entries, expected one for each of the "
            f"{sim.shape[0]} texts"
        )
    groups = group_pairs(positives, sim.shape[1])
    if groups.judged < 2 * folds or folds < 2:
        raise RerankError(
            f"tune: got {groups.judged} independent groups of labelled pairs and {folds} folds; "
            f"at least 2 folds with 2 groups each are needed"
        )
    mean, sigma = reduce.spread(sim)
    if not sigma > 1e-6 * abs(mean):
        raise RerankError("scores are constant: there is nothing to tune; check the embeddings")
    sides: dict[Name, Side] = {"t2v": make_side(directions["t2v"], positives, groups.queries)}
    if "v2t" in directions:
        back = transpose_positives(list(positives), sim.shape[1])
        sides["v2t"] = make_side(directions["v2t"], back, groups.gallery)
    evidence = Evidence(sides)
    fold = split_groups(groups, folds, seed)

    everything = np.ones(groups.count, dtype=bool)
    nested: dict[str, list[Settings]] = {}
    final: dict[str, Settings] = {}
    for method in ("none", *names):
        nested[method] = [search(evidence, method, fold != k, sigma) for k in range(folds)]
        final[method] = search(evidence, method, everything, sigma)
    tried = tuple(Tried(final[m], *_gain(evidence, nested[m], nested["none"], fold)) for m in names)
    best = max(tried, key=lambda t: t.gain, default=None)
    chosen = final["none"]
    if best is not None and best.gain > best.error:
        chosen = best.settings
    # The whole procedure: in each fold the method that is best on the other folds.
    picked = [
        max(
            (nested[m][k] for m in nested),
            key=lambda s, k=k: evidence.objective(s, fold != k),
        )
        for k in range(folds)
    ]
    gain, error = _gain(evidence, picked, nested["none"], fold)
    return TuneReport(
        settings=chosen.own(), tried=tried, recall=_recall(evidence, picked, nested["none"], fold),
        gain=gain, error=error, label=strongest_label([d.label for d in directions.values()]),
        n_pairs=sum(len(rows) for rows in positives), n_folds=folds,
    )  # fmt: skip


def _gain(
    evidence: Evidence, picked: Sequence[Settings], none: Sequence[Settings], fold: np.ndarray
) -> tuple[float, float]:
    """Nested log-probability gain and its standard error, both directions of equal weight."""
    values, groups = [], []
    for name, side in evidence.sides.items():
        mine = _nested(evidence, picked, name, fold, "log_prob")
        raw = _nested(evidence, none, name, fold, "log_prob")
        # A direction with fewer queries counts as much as the other.
        weight = 1 / (len(mine) * len(evidence.sides))
        values.append((mine - raw) * weight)
        groups.append(side.groups)
    together = np.concatenate(values)
    mean, error = clustered_mean(together, np.concatenate(groups))
    return mean * len(together), error * len(together)


def _recall(
    evidence: Evidence, picked: Sequence[Settings], none: Sequence[Settings], fold: np.ndarray
) -> dict[str, tuple[float, float]]:
    return {
        name: (
            100 * float(_nested(evidence, none, name, fold, "hits").mean()),
            100 * float(_nested(evidence, picked, name, fold, "hits").mean()),
        )
        for name in evidence.sides
    }


def _nested(
    evidence: Evidence, picked: Sequence[Settings], name: Name, fold: np.ndarray, field: str
) -> np.ndarray:
    """Each query's figure under the settings that were tuned without its fold."""
    groups = evidence.sides[name].groups
    out = np.empty(len(groups))
    for k, settings in enumerate(picked):
        mine = fold[groups] == k
        out[mine] = getattr(evidence.figures(settings)[name], field)[mine]
    return out
