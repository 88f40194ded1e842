"""Fit and measure methods side by side, each with every kind of bank there is."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from rerank.core.errors import RerankError
from rerank.core.memory import measured
from rerank.core.pairs import WORDS, Name, as_positives, transpose_positives
from rerank.core.similarity import Similarity
from rerank.methods import registry as presets
from rerank.methods.base import LABELS, Bank, Fitted
from rerank.methods.directions import Direction
from rerank.metrics import crossfit, hubness, protocols
from rerank.metrics import ranks as metrics
from rerank.metrics.figures import ranked_measures
from rerank.metrics.judge import Judgement, bootstrap_of, paired_changes
from rerank.metrics.ranks import Ties
from rerank.metrics.tables import Comparison, Entry, Skipped, Table
from rerank.metrics.uncertainty import Bootstrap


@dataclass(frozen=True, eq=False)
class _Task:
    """One direction of a comparison with all that every method is measured by."""

    direction: Direction
    right: tuple[np.ndarray, ...]
    ks: tuple[int, ...]
    measures: tuple[str, ...]
    ties: Ties
    pooled: bool
    boot: Bootstrap
    seed: int


def resolve_methods(methods: str | Sequence[str], *, embeddings: bool) -> tuple[str, ...]:
    """Method names: "all", names joined by commas, or a sequence.

    Raises:
        RerankError: a name that no method has.
    """
    names = methods.split(",") if isinstance(methods, str) else list(methods)
    names = [name.strip() for name in names if name.strip()]
    if names == ["all"]:
        names = [*presets.METHODS, *(["em+sinkhorn"] if embeddings else [])]
    names = [name for name in dict.fromkeys(names) if name != "none"]
    for name in names:
        presets.pipeline(name)
    if not names:
        raise RerankError("methods: got none, expected 'all' or names such as sinkhorn,nnn")
    return tuple(names)


def compare(
    both: Mapping[Name, Direction],
    positives: Sequence[np.ndarray],
    *,
    methods: str | Sequence[str] = "all",
    ties: Ties = "expected",
    ks: Sequence[int] = (1, 5, 10),
    measures: Sequence[str] = (),
    protocol: str = "auto",
    transductive: bool = False,
    cross_fit: bool = False,
    gate: bool = True,
    resamples: int = 2000,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
) -> Comparison:
    """Fit and evaluate methods side by side.

    Args:
        both: directions as `rerank.methods.directions` makes them, with the banks that were given.
        positives: video rows per text.
        methods: "all", or names of `presets.METHODS`, joined by "+" for pipelines.
        ties: see `rerank.metrics.ranks`.
        ks: cutoffs of the recalls; tables are sorted by the first.
        measures: further measures by their ir_measures name (`MRR`, `MAP`, `nDCG@10`).
        protocol: see `rerank.metrics.protocols`.
        transductive: where there is a bank, also fit on the test queries themselves.
        cross_fit: also fit on the other half of the queries, see `rerank.metrics.crossfit`.
        gate: where the bank has known pairs, also show what the do-no-harm gate chooses.
        resamples: bootstrap draws.
        seed: of the draws and of the cross-fit split.
        settings: fields of the methods; each takes those that it has.

    Raises:
        RerankError: unknown methods, or a ground truth that does not fit. A method that cannot be
            fitted is no error: it is listed with the reason.
    """
    sim = both["t2v"].sim
    names = resolve_methods(methods, embeddings=hasattr(sim, "queries"))
    rows = as_positives(tuple(positives), *sim.shape)
    protocol = protocols.resolve(protocol, rows, sim.shape[1])
    tables: list[Table] = []
    skipped: list[Skipped] = []
    notes: list[str] = []
    for name, direction in both.items():
        right = rows if name == "t2v" else transpose_positives(rows, direction.sim.shape[0])
        task = _Task(
            direction, right, tuple(ks), tuple(measures), ties,
            pooled=name == "v2t" and protocol == "rank-videos-by-best-caption",
            boot=bootstrap_of(right, direction.sim.shape[1], resamples=resamples, seed=seed),
            seed=seed,
        )  # fmt: skip
        raw = _raw(task)
        found = list(_full_gallery(task, names, raw.judgement, transductive, gate, settings or {}))
        tables += _tables(name, raw, found, _gallery_words(name, direction.sim))
        skipped += [entry for entry in found if isinstance(entry, Skipped)]
        if cross_fit:
            table, missing = _cross_fitted(task, names, settings or {})
            tables += [table] if table is not None else []
            skipped += missing
        notes += [f"{name}: {note}" for note in direction.warnings]
    return Comparison(tuple(tables), tuple(skipped), protocol, ties, tuple(notes))


def _gallery_words(name: Name, sim: Similarity) -> str:
    queries, items = WORDS[name]
    return f"{sim.shape[0]} {queries} against {sim.shape[1]} {items}"


def _tables(
    name: Name, raw: Entry, found: Sequence[Entry | Skipped], gallery: str
) -> Iterator[Table]:
    entries = [entry for entry in found if isinstance(entry, Entry)]
    for label in LABELS:
        same = [entry for entry in entries if entry.label == label]
        if same:
            yield Table(name, label, raw, _best_first(same), gallery)
    if not entries:
        yield Table(name, "none", raw, (), gallery)


def _best_first(entries: Sequence[Entry]) -> tuple[Entry, ...]:
    return tuple(sorted(entries, key=lambda e: (-next(iter(e.figures.values())), e.method)))


def _full_gallery(
    task: _Task,
    names: Sequence[str],
    raw: Judgement,
    transductive: bool,
    gate: bool,
    settings: Mapping[str, Any],
) -> Iterator[Entry | Skipped]:
    """Every method on the whole gallery, with each bank there is."""
    direction = task.direction
    own = Bank(direction.sim, pairs=direction.sim, label="transductive")
    banks = [] if direction.bank is None else [direction.bank]
    if transductive and direction.label != "transductive":
        banks.append(own)
    for method in names:
        if not banks:
            queries = WORDS[direction.name][0]
            yield Skipped(method, direction.name, f"stays raw: it needs a bank of {queries}")
        for bank in banks:
            stages = presets.pipeline(method, **_own_settings(method, settings))
            yield _attempt(task, method, bank, partial(stages.fit, bank), raw)
    for bank in banks:
        if gate and bank.positives is not None:
            # The gate weighs candidates of its own beside the pipeline; one row shows its choice.
            default = "em+sinkhorn" if hasattr(direction.sim, "queries") else "sinkhorn"
            yield _attempt(task, "gated", bank, partial(_gated, default, bank), raw)


def _gated(method: str, bank: Bank) -> Fitted:
    from rerank.selection import gated_fit  # heavier than all the rest

    return gated_fit(presets.pipeline(method), bank)[0]


def _own_settings(method: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that some stage of a method has; the others belong to other methods."""
    own: dict[str, Any] = {}
    for key, value in settings.items():
        try:
            presets.pipeline(method, **{key: value})
        except RerankError as error:
            if "no such setting" not in str(error):
                raise
        else:
            own[key] = value
    return own


def _attempt(
    task: _Task, method: str, bank: Bank, fit: Callable[[], Fitted], raw: Judgement
) -> Entry | Skipped:
    """Fit, rank and measure; what cannot be fitted says why."""
    sim = task.direction.sim
    try:
        with measured(sim.device) as spent:
            fitted = fit()
            fit_seconds = time.perf_counter() - spent["start"]
            rewritten = fitted.transform(sim)
            searched, right = _view(task, rewritten)
            ranks = metrics.ranks(searched, right, ties=task.ties)
        found = Judgement(ranks, _measures(task, searched, right))
    except RerankError as error:
        return Skipped(method, task.direction.name, f"{bank.label}: {' '.join(str(error).split())}")
    stages = getattr(fitted, "stages", ())
    return Entry(
        method=method,
        direction=task.direction.name,
        label=fitted.label,
        figures=found.figures(task.ks),
        intervals={},
        changes=paired_changes(task.boot, raw, found, task.ks),
        judgement=found,
        hubness=hubness.summary(rewritten),
        fit_seconds=fit_seconds,
        seconds=spent["seconds"],
        peak_bytes=spent["peak"],
        notes=tuple(note for stage in stages if (note := getattr(stage, "note", ""))),
    )


def _view(task: _Task, sim: Similarity) -> tuple[Similarity, tuple[np.ndarray, ...]]:
    """What is ranked under the protocol, and what is right in it."""
    return protocols.pool_captions(sim, task.right) if task.pooled else (sim, task.right)


def _measures(task: _Task, sim: Similarity, right: tuple[np.ndarray, ...]) -> dict[str, np.ndarray]:
    if not task.measures:
        return {}
    return ranked_measures(sim, right, task.measures, ties=task.ties)


def _raw(task: _Task, found: Judgement | None = None) -> Entry:
    """The raw ranking, on the whole gallery unless another judgement is given."""
    whole = found is None
    with measured(task.direction.sim.device) as spent:
        if found is None:
            sim, right = _view(task, task.direction.sim)
            found = Judgement(metrics.ranks(sim, right, ties=task.ties), {})
    if whole:
        found = Judgement(found.ranks, _measures(task, *_view(task, task.direction.sim)))
    values = {f"R@{k}": 100 * found.ranks.hits(k) for k in task.ks}
    values |= {"MnR": found.ranks.values, **found.measures}
    return Entry(
        method="none",
        direction=task.direction.name,
        label="none",
        figures=found.figures(task.ks),
        intervals={name: task.boot.interval(of) for name, of in values.items()},
        changes={},
        judgement=found,
        hubness=hubness.summary(task.direction.sim) if whole else None,
        fit_seconds=0.0,
        seconds=spent["seconds"],
        peak_bytes=spent["peak"],
    )


def _cross_fitted(
    task: _Task, names: Sequence[str], settings: Mapping[str, Any]
) -> tuple[Table | None, list[Skipped]]:
    """Every method fitted on the other half of the queries, on the reduced galleries."""
    name, sim = task.direction.name, task.direction.sim
    entries: list[Entry] = []
    skipped: list[Skipped] = []
    raw: Entry | None = None
    gallery = ""
    for method in names:
        stages = presets.pipeline(method, **_own_settings(method, settings))
        try:
            with measured(sim.device) as spent:
                found = crossfit.cross_fit(
                    stages, sim, task.right, ties=task.ties, seed=task.seed,
                    pool_captions=task.pooled, measures=task.measures,
                )  # fmt: skip
        except RerankError as error:
            skipped.append(Skipped(method, name, f"cross-fit: {' '.join(str(error).split())}"))
            continue
        raw = raw or _raw(task, found.before)
        queries, items = WORDS[name]
        sizes = " and ".join(str(size) for size in found.galleries)
        gallery = f"{len(found.before.ranks)} {queries} in two halves against {sizes} {items}"
        entries.append(
            Entry(
                method=method, direction=name, label="cross-fit",
                figures=found.after.figures(task.ks), intervals={},
                changes=paired_changes(task.boot, found.before, found.after, task.ks),
                judgement=found.after, hubness=None, fit_seconds=spent["seconds"],
                seconds=spent["seconds"], peak_bytes=spent["peak"],
            )
        )  # fmt: skip
    if raw is None:
        return None, skipped
    return Table(name, "cross-fit", raw, _best_first(entries), gallery), skipped
