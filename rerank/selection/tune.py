"""Tuning on labelled pairs by maximum likelihood, nested so that its report was not tuned.

Settings that tuning chooses, and the similarity that they make of a direction.

What labelled pairs say of settings: one number a query, computed once and remembered.

The search for the settings of highest likelihood, one setting at a time.

The mean log-probability of the true pairs under the plan is smooth in every setting where R@1 is
a staircase, so a few evaluations find its maximum: a log-spaced scan of tau and Brent's method
around the best, then EM strength and bases, then rho, then tau again.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rerank.core import scipy_parts
from rerank.core.errors import RerankError
from rerank.core.pairs import Groups, group_pairs, transpose_positives
from rerank.core.similarity import Pair, Similarity
from rerank.core.words import Label, Name
from rerank.io.files import PathLike, write_text
from rerank.methods import registry as presets
from rerank.methods.base import Fitted, Pipeline, strongest_label
from rerank.methods.directions import Direction
from rerank.passes import reduce
from rerank.selection.likelihood import clustered_mean
from rerank.selection.settings_file import settings_text

# What tuning may set; a method has those that one of its stages has.
TUNED = ("tau", "rho", "strength", "n_bases")


@dataclass(frozen=True)
class Settings:
    """A method and the settings that were tuned; None = the method has none, or its default.

    Attributes:
        method: a name for `--method`, "none" included.
        tau: temperature in score units.
        rho: softness of the gallery marginal.
        strength: weight of the EM reconstruction.
        n_bases: number of EM bases.
    """

    method: str
    tau: float | None = None
    rho: float | None = None
    strength: float | None = None
    n_bases: int | None = None

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> "Settings":
        """From a JSON object; keys that are not settings are left alone."""
        return cls(**{f.name: values[f.name] for f in fields(cls) if f.name in values})

    def as_dict(self) -> dict[str, str | float | int | None]:
        """For JSON."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def own(self) -> "Settings":
        """Without the settings that no stage of the method has."""
        names = tunable(self.method)
        return replace(self, **{name: None for name in TUNED if name not in names})

    def pipeline(self) -> Pipeline:
        """The stages, unfitted."""
        values = {name: getattr(self, name) for name in tunable(self.method)}
        return presets.pipeline(self.method, **values)


def tunable(method: str) -> tuple[str, ...]:
    """Which of `TUNED` the stages of a method have.

    Raises:
        RerankError: an unknown method.
    """
    have = {setting.name for card in presets.cards_of(method) for setting in card.settings}
    return tuple(name for name in TUNED if name in have)


@dataclass(frozen=True, eq=False)
class Side:
    """One direction with its labels.

    Attributes:
        direction: similarity and bank.
        rows: (p,) query, and columns: (p,) item, of every known pair, sorted by query.
        judged: (q,) queries with a known pair.
        groups: (q,) group of each judged query.
    """

    direction: Direction
    rows: Tensor
    columns: Tensor
    judged: Tensor
    groups: np.ndarray


def make_side(direction: Direction, positives: Sequence[np.ndarray], groups: np.ndarray) -> Side:
    """Labels of one direction: positives per query, and the group of each query."""
    known = [np.unique(np.asarray(rows, dtype=np.int64)) for rows in positives]
    lengths = np.array([len(rows) for rows in known])
    device = direction.sim.device
    rows = torch.from_numpy(np.repeat(np.arange(len(known)), lengths))
    judged = np.flatnonzero(lengths)
    return Side(
        direction,
        rows.to(device),
        torch.from_numpy(np.concatenate(known)).to(device),
        torch.from_numpy(judged).to(device),
        groups[judged],
    )


@dataclass(frozen=True, eq=False)
class Figures:
    """Per judged query of one direction: log-probability of a positive, and R@1; float64."""

    log_prob: np.ndarray
    hits: np.ndarray


class Evidence:
    """Figures of settings on the labelled pairs, each computed once.

    The similarity of the latest settings is kept too, so that only a new temperature of an
    unchanged ranking costs a single pass.
    """

    def __init__(self, sides: Mapping[Name, Side]) -> None:
        self.sides = dict(sides)
        self._known: dict[Settings, dict[Name, Figures]] = {}
        self._latest: tuple[Settings, dict[Name, Similarity]] | None = None
        self._maps: dict[tuple[Name, int | None], Fitted] = {}

    def figures(self, settings: Settings) -> dict[Name, Figures]:
        """Per direction. `settings.tau` is the temperature of the probabilities in any case."""
        if settings not in self._known:
            sims = self._similarities(settings.own())
            self._known[settings] = {
                name: _figures(sims[name], side, float(settings.tau or 1.0))
                for name, side in self.sides.items()
            }
        return self._known[settings]

    def objective(self, settings: Settings, groups: np.ndarray) -> float:
        """Mean over directions of the mean log-probability, over queries of some groups."""
        found = self.figures(settings)
        return float(
            np.mean(
                [found[n].log_prob[groups[side.groups]].mean() for n, side in self.sides.items()]
            )
        )

    def _similarities(self, own: Settings) -> dict[Name, Similarity]:
        if self._latest is not None and self._latest[0] == own:
            return self._latest[1]
        sims: dict[Name, Similarity] = {}
        for name in self.sides:
            sims[name] = self._rewrite(name, own)
        self._latest = (own, sims)
        return sims

    def _rewrite(self, name: Name, own: Settings) -> Similarity:
        """One direction, fitted on its bank; without a bank it stays raw."""
        direction = self.sides[name].direction
        sim, bank, stages = direction.sim, direction.bank, own.pipeline().stages
        if bank is None:
            return sim
        if stages and stages[0].maps:
            # A map does not depend on its weight: fitted once for each number of bases.
            key = (name, own.n_bases)
            if key not in self._maps:
                self._maps[key] = stages[0].fit(bank)
            basis = stages[0].varied(self._maps[key]) or stages[0].fit(bank)
            mapped = basis.transform_bank(bank)
            sim = mapped.sim if sim is bank.sim else basis.transform(sim)
            bank, stages = mapped, stages[1:]
        return Pipeline(stages).fit(bank).transform(sim)


def _figures(sim: Similarity, side: Side, tau: float) -> Figures:
    n = sim.shape[0]
    chosen = reduce.gather_pairs(sim, side.rows, side.columns)
    lowest = torch.full((n,), -torch.inf, dtype=sim.dtype, device=sim.device)
    best = lowest.scatter_reduce(0, side.rows, chosen, "amax")
    weights = ((chosen - best[side.rows]) / tau).exp()
    own = torch.zeros_like(best).index_add(0, side.rows, weights).log() + best / tau
    log_prob = own - reduce.logsumexp(sim, tau, over="gallery")
    better, tied = reduce.count_better(sim, torch.where(torch.isfinite(best), best, 0.0))
    at_best = torch.zeros_like(better).index_add(
        0, side.rows, (chosen == best[side.rows]).to(better.dtype)
    )
    hits = torch.where(better == 0, at_best.double() / tied.clamp_min(1).double(), 0.0)
    # An unscored positive (-inf) is as improbable as can be, not infinitely so.
    log_prob = torch.nan_to_num(log_prob.double(), nan=-1e3, neginf=-1e3)
    return Figures(log_prob[side.judged].cpu().numpy(), hits[side.judged].cpu().numpy())


def split_groups(groups: Groups, folds: int, seed: int) -> np.ndarray:
    """(count,) fold of every group, random and of equal size."""
    generator = np.random.default_rng([seed, 11])
    return generator.permutation(groups.count) % folds


# In units of sigma, the mean standard deviation of a query's scores.
_LOWEST, _HIGHEST, _SCAN = 0.02, 3.0, 8
_BASES = (4, 8, 16, 32)


def start(method: str, tau: float) -> Settings:
    """Where the search of a method begins: its defaults."""
    names = tunable(method)
    settings = Settings(method, tau=tau)
    if "rho" in names:
        settings = replace(settings, rho=1.0)
    if "strength" in names:
        settings = replace(settings, strength=-0.5, n_bases=8)
    return settings


def search(evidence: Evidence, method: str, train: np.ndarray, sigma: float) -> Settings:
    """Settings of highest likelihood on the pairs of some groups ((count,) boolean)."""

    def value(settings: Settings) -> float:
        return evidence.objective(settings, train)

    names = tunable(method)
    grid = [_digits(t) for t in np.geomspace(_LOWEST * sigma, _HIGHEST * sigma, _SCAN).tolist()]
    best = max((start(method, t) for t in grid), key=value)
    best = _refine_tau(best, value, width=grid[1] / grid[0])
    if "strength" in names:
        best = _line(best, "strength", value, (-1.0, 1.0))
    if "n_bases" in names:
        width = _dimension(evidence)
        options = [replace(best, n_bases=k) for k in _BASES if k <= width]
        best = max([best, *options], key=value)
    if "rho" in names:
        best = _line(best, "rho", value, (0.5, 1.0))
    return _refine_tau(best, value, width=1.5) if set(names) - {"tau"} else best


def _dimension(evidence: Evidence) -> int:
    sim = next(iter(evidence.sides.values())).direction.sim
    return int(sim.queries.shape[1]) if isinstance(sim, Pair) else 0


def _refine_tau(best: Settings, value: Callable[[Settings], float], *, width: float) -> Settings:
    """Brent's method in log tau between best / width and best * width."""
    minimize_scalar = scipy_parts.part("optimize").minimize_scalar
    assert best.tau is not None
    centre, reach = math.log(best.tau), math.log(width)
    tried = [best]

    def loss(x: float) -> float:
        tried.append(replace(best, tau=_digits(math.exp(x))))
        return -value(tried[-1])

    minimize_scalar(
        loss, bounds=(centre - reach, centre + reach), method="bounded",
        options={"maxiter": 6, "xatol": 0.05},
    )  # fmt: skip
    return max(tried, key=value)


def _line(
    best: Settings, name: str, value: Callable[[Settings], float], bounds: tuple[float, float]
) -> Settings:
    """Brent's method in one other setting; the start is kept where nothing is better."""
    minimize_scalar = scipy_parts.part("optimize").minimize_scalar
    tried = [best]

    def loss(x: float) -> float:
        tried.append(replace(best, **{name: round(float(x), 2)}))
        return -value(tried[-1])

    minimize_scalar(loss, bounds=bounds, method="bounded", options={"maxiter": 6, "xatol": 0.03})
    return max(tried, key=value)


def _digits(x: float) -> float:
    """Two significant digits and a half: folds that agree on a temperature then share its work."""
    scale = 10.0 ** (2 - math.floor(math.log10(x)))
    return round(x * scale / 2) * 2 / scale


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


@dataclass(frozen=True, repr=False)
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
        notes: what the user should know about the files.
    """

    settings: Settings
    tried: tuple[Tried, ...]
    recall: dict[str, tuple[float, float]]
    gain: float
    error: float
    label: Label
    n_pairs: int
    n_folds: int
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        tuned = ", ".join(f"{key} {value}" for key, value in self.chosen.items())
        return (
            f"TuneReport({tuned}; log-probability {self.gain:+.4f} (error {self.error:.4f}), "
            f"{self.n_pairs} pairs, label {self.label})"
        )

    @property
    def chosen(self) -> dict[str, Any]:
        """Method and settings, as arguments of `rerank.apply`; those it has not are left out."""
        return {k: v for k, v in self.settings.own().as_dict().items() if v is not None}

    def as_text(self) -> str:
        """The settings file of `rerank apply --settings`."""
        return settings_text(self.as_dict())

    def save(self, path: PathLike) -> None:
        """Write the settings file, replaced as a whole or not at all.

        Raises:
            RerankError: a path that cannot be written.
        """
        write_text(Path(path), [self.as_text()])

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
        directions: of `rerank.methods.directions`.
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
