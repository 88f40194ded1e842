"""Fit and measure methods side by side, each with every kind of bank there is."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from rerank.core.errors import RerankError
from rerank.core.memory import measured
from rerank.core.pairs import WORDS, Name, as_positives, transpose_positives
from rerank.core.similarity import Pair, Similarity
from rerank.methods import engine
from rerank.methods import registry as presets
from rerank.methods.base import LABELS, Bank
from rerank.methods.directions import Direction
from rerank.methods.engine import Fit
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
    names = resolve_methods(methods, embeddings=isinstance(sim, Pair))
    rows = as_positives(tuple(positives), *sim.shape)
    protocol = protocols.resolve(protocol, rows, sim.shape[1])
    tasks: dict[Name, _Task] = {}
    for name, direction in both.items():
        right = rows if name == "t2v" else transpose_positives(rows, direction.sim.shape[0])
        tasks[name] = _Task(
            direction, right, tuple(ks), tuple(measures), ties,
            pooled=name == "v2t" and protocol == "rank-videos-by-best-caption",
            boot=bootstrap_of(right, direction.sim.shape[1], resamples=resamples, seed=seed),
            seed=seed,
        )  # fmt: skip
    raws: dict[Name, Entry] = {name: _raw(task) for name, task in tasks.items()}
    found: dict[Name, list[Entry | Skipped]] = {name: [] for name in tasks}
    for method, variant in _attempts(both, names, transductive=transductive, gate=gate):
        own = {} if method is None else _own_settings(method, settings or {})
        for name, entry in _attempt(method, variant, own, tasks, raws):
            found[name].append(entry)
    tables: list[Table] = []
    skipped: list[Skipped] = []
    for name, task in tasks.items():
        tables += _tables(name, raws[name], found[name], _gallery_words(name, task.direction.sim))
        skipped += [entry for entry in found[name] if isinstance(entry, Skipped)]
        if cross_fit:
            table, missing = _cross_fitted(task, names, settings or {})
            tables += [table] if table is not None else []
            skipped += missing
    notes = (f"{name}: {note}" for name, d in both.items() for note in d.warnings)
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


Both: TypeAlias = Mapping[Name, Direction]


def _attempts(
    both: Both, names: Sequence[str], *, transductive: bool, gate: bool
) -> Iterator[tuple[str | None, Both]]:
    """Every method with each kind of bank there is; None is what the gate chooses by itself."""
    variants: list[Both] = [both]
    others: dict[Name, Direction] = {
        name: d for name, d in both.items() if d.label != "transductive"
    }
    if transductive and others:
        variants.append({name: _by_itself(direction) for name, direction in others.items()})
    for method in names:
        for variant in variants:
            yield method, variant
    if gate and any(d.bank is not None and d.bank.positives is not None for d in both.values()):
        yield None, both


def _by_itself(direction: Direction) -> Direction:
    """A direction whose bank are the test queries themselves."""
    sim = direction.sim
    return replace(direction, bank=Bank(sim, pairs=sim, label="transductive"))


def _own_settings(method: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that some stage of a method has; the others belong to other methods."""
    known = {setting.name for card in presets.cards_of(method) for setting in card.settings}
    return {key: value for key, value in settings.items() if key in known}


def _attempt(
    method: str | None,
    both: Both,
    settings: Mapping[str, Any],
    tasks: Mapping[Name, _Task],
    raws: Mapping[Name, Entry],
) -> Iterator[tuple[Name, Entry | Skipped]]:
    """Fit both directions by the engine, rank and measure; what cannot be fitted says why."""
    called = method or "gated"
    gate = None
    if method is None:
        from rerank.selection.gate import gate as gate_of  # heavier than all the rest

        gate = gate_of()
    made: dict[Name, Fit | RerankError] = {}
    with measured(next(iter(both.values())).sim.device) as spent:
        try:
            made.update(engine.fit(both, method, settings, gate=gate).fits)
        except RerankError:
            # One direction may do where the other does not.
            for name, direction in both.items():
                try:
                    made[name] = engine.fit({name: direction}, method, settings, gate=gate)[name]
                except RerankError as error:
                    made[name] = error
    for name, direction in both.items():
        found = made[name]
        if method is None and (direction.bank is None or direction.bank.positives is None):
            continue
        if direction.bank is None:
            if method is not None:
                queries = WORDS[name][0]
                yield name, Skipped(called, name, f"stays raw: it needs a bank of {queries}")
        elif isinstance(found, RerankError):
            said = " ".join(str(found).split())
            yield name, Skipped(called, name, f"{direction.label}: {said}")
        else:
            yield name, _judged(called, found, tasks[name], raws[name].judgement, spent["seconds"])


def _judged(
    method: str, fit: Fit, task: _Task, raw: Judgement, fit_seconds: float
) -> Entry | Skipped:
    """Rank and measure one direction of a fit."""
    sim = task.direction.sim
    try:
        with measured(sim.device) as spent:
            rewritten = fit.sim
            searched, right = _view(task, rewritten)
            ranks = metrics.ranks(searched, right, ties=task.ties)
        found = Judgement(ranks, _measures(task, searched, right))
    except RerankError as error:
        return Skipped(method, fit.direction.name, f"{fit.label}: {' '.join(str(error).split())}")
    return Entry(
        method=method,
        direction=fit.direction.name,
        label=fit.label,
        figures=found.figures(task.ks),
        intervals={},
        changes=paired_changes(task.boot, raw, found, task.ks),
        judgement=found,
        hubness=hubness.summary(rewritten),
        fit_seconds=fit_seconds,
        seconds=fit_seconds + spent["seconds"],
        peak_bytes=spent["peak"],
        notes=fit.sentences,
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
