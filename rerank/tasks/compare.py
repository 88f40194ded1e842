"""`rerank compare`: methods side by side, each with every kind of bank there is.

Fitting is the first half, judging the second, files the last.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from rerank import io
from rerank.core import nouns
from rerank.core.errors import RerankError
from rerank.core.memory import measured
from rerank.core.pairs import (
    Grades,
    as_grades,
    as_positives,
    transpose_grades,
    transpose_positives,
)
from rerank.core.similarity import Pair, Similarity
from rerank.core.words import Label, Name, Ties
from rerank.io.files import atomic_path
from rerank.io.identify import PAGE
from rerank.methods import engine
from rerank.methods import registry as presets
from rerank.methods.as_typed import parse_tau
from rerank.methods.base import LABELS
from rerank.methods.directions import Direction
from rerank.methods.engine import Fit
from rerank.metrics import crossfit, hubness, protocols
from rerank.metrics.browse import Lists, lists_of
from rerank.metrics.figures import DEFAULT, Figure, find_all
from rerank.metrics.judge import Judgement, bootstrap_of, judge, paired_changes
from rerank.metrics.tables import Comparison, Entry, Skipped, Table
from rerank.metrics.uncertainty import Bootstrap
from rerank.passes import reduce
from rerank.tasks.compare_page import facts_of_files, page_of
from rerank.tasks.costs import with_memory
from rerank.tasks.inspect import read_directions
from rerank.tasks.read import (
    pick_device,
    read_inputs,
    read_truth,
    reading_of,
)
from rerank.tasks.report import PageWords

# What the gate chooses by itself, beside the methods.
GATED = "gated"
# Pipelines that "all" shows beside single methods.
COMPOSED = ("em+sinkhorn", engine.DEFAULT_FOR_EMBEDDINGS)


@dataclass(frozen=True, eq=False)
class _Task:
    """One direction of a comparison with all that every method is measured by."""

    direction: Direction
    right: tuple[np.ndarray, ...]
    grades: Grades | None
    figures: tuple[Figure, ...]
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
        cards = presets.METHODS.cards()
        # What ranks as another does by its formula would be the same row twice.
        names = [name for name, card in cards.items() if not card.facts.ranks_as]
        names += COMPOSED if embeddings else ()
    names = [name for name in dict.fromkeys(names) if name != "none"]
    for name in names:
        if name != GATED:
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
    figures: str | Sequence[str] = DEFAULT,
    grades: Grades | None = None,
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
        figures: names of the registry and of ir_measures; tables are sorted by the first.
        grades: how right each judged video is, {text row: {video row: grade}}.
        protocol: see `rerank.metrics.protocols`.
        transductive: where there is a bank, also fit on the test queries themselves.
        cross_fit: also fit on the other half of the queries, see `rerank.metrics.crossfit`.
        gate: where the bank has known pairs, also show what the do-no-harm gate chooses; without
            them, use less of a correction where the queries look different from the bank's.
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
    wanted = find_all(figures)
    tasks: dict[Name, _Task] = {}
    for name, direction in both.items():
        right = rows if name == "t2v" else transpose_positives(rows, direction.sim.shape[0])
        graded = grades if grades is None or name == "t2v" else transpose_grades(grades)
        tasks[name] = _Task(
            direction, right, graded, wanted, ties,
            pooled=name == "v2t" and protocol == "rank-videos-by-best-caption",
            boot=bootstrap_of(right, direction.sim.shape[1], resamples=resamples, seed=seed),
            seed=seed,
        )  # fmt: skip
    raws: dict[Name, Entry] = {name: _raw(task) for name, task in tasks.items()}
    found: dict[Name, list[Entry | Skipped]] = {name: [] for name in tasks}
    for method, variant in _attempts(both, names, transductive=transductive, gate=gate):
        own = {} if method is None else _own_settings(method, settings or {})
        for name, entry in _attempt(method, variant, own, tasks, raws, gate=gate):
            found[name] = _keeping_best([*found[name], entry])
    if not any(d.bank is not None and d.label != "transductive" for d in both.values()):
        found = {name: [_without_bank(entry) for entry in of] for name, of in found.items()}
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


def _keeping_best(entries: Sequence[Entry | Skipped]) -> list[Entry | Skipped]:
    """Only the best of each label keeps its fit: some are as large as the scores."""
    best: dict[Label, Entry] = {}
    for one in _best_first([entry for entry in entries if isinstance(entry, Entry)]):
        best.setdefault(one.label, one)
    return [
        replace(entry, fitted=None)
        if isinstance(entry, Entry) and entry is not best[entry.label]
        else entry
        for entry in entries
    ]


def _without_bank(entry: Entry | Skipped) -> Entry | Skipped:
    """Without a bank nothing was fitted on one: what asks the gallery alone fitted nothing."""
    if isinstance(entry, Entry) and entry.label == "inductive":
        return replace(entry, label="none")
    return entry


def _gallery_words(name: Name, sim: Similarity) -> str:
    queries, items = nouns.of(name)
    return nouns.against(sim.shape, (queries, items))


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
    def key(entry: Entry) -> tuple[float, str]:
        first = entry.judgement.figures[0]
        value = entry.figures[first.name]
        return (-value if first.facts.higher else value), entry.method

    return tuple(sorted(entries, key=key))


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
        variants.append({name: direction.itself for name, direction in others.items()})
    for method in names:
        for variant in variants if method != GATED else ():
            yield method, variant
    if gate and any(d.bank is not None and d.bank.positives is not None for d in both.values()):
        yield None, both


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
    *,
    gate: bool,
) -> Iterator[tuple[Name, Entry | Skipped]]:
    """Fit both directions by the engine, rank and measure; what cannot be fitted says why."""
    called = GATED if method is None else method
    judge = None
    if gate and any(d.label == "inductive" for d in both.values()):
        from rerank.selection import gate as gates  # heavier than all the rest

        judge = gates.gate() if method is None else gates.watch
    made: dict[Name, Fit | RerankError] = {}
    with measured(next(iter(both.values())).sim.device) as spent:
        try:
            made.update(engine.fit(both, method, settings, gate=judge).fits)
        except RerankError:
            # One direction may do where the other does not.
            for name, direction in both.items():
                try:
                    made[name] = engine.fit({name: direction}, method, settings, gate=judge)[name]
                except RerankError as error:
                    made[name] = error
    for name, direction in both.items():
        found = made[name]
        if method is None and (direction.bank is None or direction.bank.positives is None):
            continue
        if direction.bank is None:
            if method is not None:
                queries = nouns.of(name)[0]
                yield name, Skipped(called, name, f"stays raw: it needs a bank of {queries}")
        elif isinstance(found, RerankError):
            said = " ".join(str(found).split())
            yield name, Skipped(called, name, f"{direction.label}: {said}")
        else:
            yield name, _judged(called, found, tasks[name], raws[name].judgement, spent)


def _judged(
    method: str, fit: Fit, task: _Task, raw: Judgement, fitting: Mapping[str, Any]
) -> Entry | Skipped:
    """Rank and measure one direction of a fit, which took time and memory of its own."""
    sim = task.direction.sim
    try:
        with measured(sim.device) as spent:
            rewritten = fit.sim
            found = _figures(task, rewritten)
            lists = reduce.topk(rewritten, min(10, sim.shape[1]))
    except RerankError as error:
        return Skipped(method, fit.direction.name, f"{fit.label}: {' '.join(str(error).split())}")
    return Entry(
        method=method,
        direction=fit.direction.name,
        label=fit.label,
        figures=found.table(),
        intervals={},
        changes=paired_changes(task.boot, raw, found),
        judgement=found,
        hubness=hubness.summary(rewritten, topk=lists, raw=task.direction.sim),
        lists=Lists(lists.indices.cpu().numpy(), lists.scores.float().cpu().numpy()),
        fit_seconds=fitting["seconds"],
        seconds=fitting["seconds"] + spent["seconds"],
        peak_bytes=max(
            (p for p in (fitting["peak"], spent["peak"]) if p is not None), default=None
        ),
        notes=fit.sentences,
        fitted=fit.fitted,
    )


def _figures(task: _Task, sim: Similarity) -> Judgement:
    """The figures of a similarity under the protocol."""
    right, grades = task.right, task.grades
    if task.pooled:
        sim, right = protocols.pool_captions(sim, right)
        grades = None
    return judge(sim, right, figures=task.figures, ties=task.ties, grades=grades)


def _raw(task: _Task, found: Judgement | None = None) -> Entry:
    """The raw ranking, on the whole gallery unless another judgement is given."""
    whole = found is None
    with measured(task.direction.sim.device) as spent:
        if found is None:
            found = _figures(task, task.direction.sim)
    return Entry(
        method="none",
        direction=task.direction.name,
        label="none",
        figures=found.table(),
        intervals=found.intervals(task.boot),
        changes={},
        judgement=found,
        hubness=hubness.summary(task.direction.sim) if whole else None,
        lists=lists_of(task.direction.sim) if whole else None,
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
                    pool_captions=task.pooled, figures=task.figures, grades=task.grades,
                )  # fmt: skip
        except RerankError as error:
            skipped.append(Skipped(method, name, f"cross-fit: {' '.join(str(error).split())}"))
            continue
        raw = raw or _raw(task, found.before)
        queries, items = nouns.of(name)
        sizes = " and ".join(str(size) for size in found.galleries)
        asked = nouns.counted(len(found.before.ranks), queries)
        gallery = f"{asked} in two halves against {sizes} {items}"
        entries.append(
            Entry(
                method=method, direction=name, label="cross-fit",
                figures=found.after.table(), intervals={},
                changes=paired_changes(task.boot, found.before, found.after),
                judgement=found.after, hubness=None, fit_seconds=spent["seconds"],
                seconds=spent["seconds"], peak_bytes=spent["peak"],
            )
        )  # fmt: skip
    if raw is None:
        return None, skipped
    return Table(name, "cross-fit", raw, _best_first(entries), gallery), skipped


def compare_files(
    gt: Path,
    *,
    videos: Path | None = None,
    texts: Path | None = None,
    sims: Path | None = None,
    bank_texts: Path | None = None,
    bank_videos: Path | None = None,
    bank_gt: Path | None = None,
    bank_sims: Path | None = None,
    methods: str = "all",
    metric: str = "cosine",
    tau: str | None = None,
    figures: str | Sequence[str] = DEFAULT,
    allow_unjudged: bool = False,
    pool: str | None = None,
    device: str = "auto",
    report: Path | None = None,
    page: PageWords | None = None,
    reading: io.Reading | None = None,
    heads: Path | None = None,
    scores_are: str = "auto",
    unscored: str | None = None,
    force: bool = False,
    groups: str = "auto",
    cost: bool = False,
    **options: Any,  # noqa: ANN401  of `compare`
) -> Comparison:
    """Compare methods on files, and write the HTML report where one is asked for.

    With `cost` the memory of every method is measured once more, in a process of its own.

    Raises:
        RerankError: files, ids, settings or a report path that do not work; nothing is written.
    """
    target = pick_device(device)
    parsed = parse_tau(tau)
    find_all(figures)  # a wrong name is found before the work
    said = reading_of(reading, pool)
    page = page or PageWords()
    io.check_outputs(
        {"--report": report},
        (gt, videos, texts, sims, bank_texts, bank_videos, bank_gt, bank_sims, heads, said.text_ids,
         said.video_ids, page.captions, page.thumbnails),
        force=force, kind=PAGE,
    )  # fmt: skip
    with ExitStack() as stack:
        # Opened first: a path that cannot be written is found before the work, not after.
        written = None if report is None else stack.enter_context(atomic_path(report))
        inputs = read_inputs(
            videos=videos, texts=texts, sims=sims, bank_texts=bank_texts,
            bank_videos=bank_videos, bank_gt=bank_gt, bank_sims=bank_sims, metric=metric,
            reading=said, gt=gt, heads=heads, scores_are=scores_are, unscored=unscored,
        )  # fmt: skip
        truth = read_truth(gt, inputs, allow_unjudged=allow_unjudged)
        both = read_directions(inputs, metric=metric, device=target, groups=groups)
        found = compare(
            both,
            tuple(truth.positives),
            methods=methods,
            figures=figures,
            grades=as_grades(truth.graded),
            settings={} if parsed is None else {"tau": parsed},
            **options,
        )
        if cost:
            again = partial(
                _once_more, gt, videos=videos, texts=texts, sims=sims, bank_texts=bank_texts,
                bank_videos=bank_videos, bank_gt=bank_gt, bank_sims=bank_sims, metric=metric,
                tau=tau, figures=figures, allow_unjudged=allow_unjudged, pool=pool, device=device,
                reading=reading, heads=heads, scores_are=scores_are, unscored=unscored,
                groups=groups, **options,
            )  # fmt: skip
            found = with_memory(found, found.methods, again)
        found = replace(found, notes=(*inputs.said_of_files, *found.notes))
        if written is not None:
            files = {"texts": texts, "videos": videos, "sims": sims}
            facts = facts_of_files(files, (bank_texts, bank_videos, bank_gt), gt)
            facts += _facts_of_page(page, methods, found)
            named = " and ".join(path.name for path in files.values() if path is not None)
            html = page_of(
                found, both, truth, inputs, page, facts=facts, groups=groups,
                subtitle=f"{named}, judged by {gt.name}",
            )  # fmt: skip
            written.write_text(html, encoding="utf-8", errors="backslashreplace")
    return found


def _facts_of_page(page: PageWords, methods: str, found: Comparison) -> list[tuple[str, str]]:
    """What a page says of how it was made, beside the files."""
    return [
        ("Methods", methods),
        ("This page by", page.command),
        ("On", page.when),
        ("Protocol", f"{found.protocol}, ties {found.ties}"),
    ]


def _once_more(gt: Path, method: str, **asked: Any) -> Comparison:  # noqa: ANN401  of `compare_files`
    """One method alone; where only memory is asked for, one draw is enough."""
    return compare_files(gt, methods=method, **{**asked, "resamples": 1})
