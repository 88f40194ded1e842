"""The page of a comparison: its tables, and the best method of each in curves and by query."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rerank import io
from rerank.core import nouns
from rerank.core.pairs import positives_of
from rerank.core.similarity import Similarity
from rerank.core.words import Label, Name
from rerank.methods.directions import Direction
from rerank.metrics.browse import Browser, scores_of
from rerank.metrics.page import Queries, from_comparison, render, verdict_of_table
from rerank.metrics.pictures import Picture
from rerank.metrics.ranks import Ranks
from rerank.metrics.tables import Comparison, Table, footnotes
from rerank.tasks.curves import calibrations, temperatures_of, why_no_temperatures
from rerank.tasks.read import Inputs
from rerank.tasks.report import PageWords


def facts_of_files(
    files: Mapping[str, Path | None], banks: Sequence[Path | None], gt: Path
) -> list[tuple[str, str]]:
    """What was compared, for the page."""
    queries, items = nouns.sides()
    called = {"texts": queries.capitalize(), "videos": items.capitalize(), "sims": "Matrix"}
    return [
        *((called[role], "" if path is None else path.name) for role, path in files.items()),
        ("Bank", ", ".join(path.name for path in banks if path is not None)),
        ("Ground truth", gt.name),
    ]


def page_of(
    found: Comparison,
    both: Mapping[Name, Direction],
    truth: io.GroundTruth,
    inputs: Inputs,
    page: PageWords,
    *,
    facts: list[tuple[str, str]],
    subtitle: str,
    groups: Any,  # noqa: ANN401  a word, or ids
) -> str:
    """The page of a comparison.

    Args:
        found: the comparison.
        both: what was compared on.
        truth: what is right.
        inputs: the files as they were read.
        page: the command, captions and thumbnails.
        facts: files and command.
        subtitle: one line below the heading.
        groups: as they were given.
    """
    sims: dict[Name, Similarity] = {name: of.sim for name, of in both.items()}
    right = positives_of(tuple(truth.positives), len(inputs.video_ids))
    drawn: dict[tuple[Name, Label], list[Picture]] = {}
    missing: list[str] = []
    for table in found.tables:
        drawn[table.direction, table.label], why = _curves(table, sims, truth, groups)
        missing += [why] if why else []
    queries = _queries(found, truth, inputs, page)
    return render(
        from_comparison(
            found, {"t2v": inputs.video_ids, "v2t": inputs.text_ids}, drawn=drawn,
            scores={name: scores_of(sims[name], of) for name, of in right.items()},
        ),
        title="Re-ranking methods compared",
        subtitle=subtitle,
        verdicts=[verdict_of_table(table) for table in _told(found.tables)],
        facts=facts,
        queries=queries,
        notes=[*footnotes(found), *dict.fromkeys(missing), *page.unseen(queries)],
    )  # fmt: skip


def _told(tables: Sequence[Table]) -> list[Table]:
    """Tables with a fit; where a direction has none, what there is."""
    fitted = [table for table in tables if table.label != "none"]
    known = {table.direction for table in fitted}
    return fitted + [table for table in tables if table.direction not in known]


def _curves(
    table: Table, sims: Mapping[Name, Similarity], truth: io.GroundTruth,
    groups: Any,  # noqa: ANN401  a word, or ids
) -> tuple[list[Picture], str]:  # fmt: skip
    """Calibration and temperatures of the best method of a table, and why one is missing."""
    name, best = table.direction, next(iter(table.entries), None)
    if best is None or best.fitted is None:
        return [], ""
    taus: dict[Name, float] = {name: float(best.fitted.facts.get("tau") or 0)}
    ranks: dict[Name, tuple[Ranks, Ranks]] = {name: (table.raw.ranks, best.ranks)}
    after: dict[Name, Similarity] = {name: best.fitted.transform(sims[name])}
    drawn = [calibrations(sims, after, taus, ranks, called=best.method)]
    why = why_no_temperatures({name: best.label}, taus)
    if not why:
        drawn.append(
            temperatures_of(
                sims, {name: best.fitted}, taus, best.method, groups=groups,
                positives=tuple(truth.positives),
            )
        )  # fmt: skip
    made = [of[name] for of in drawn if name in of]
    return made, why and f"{name}, {table.label}, {best.method}: {why}"


def _queries(
    found: Comparison, truth: io.GroundTruth, inputs: Inputs, page: PageWords
) -> Queries | None:
    """Query by query: raw scores beside the best method of each direction's first table."""
    both = positives_of(tuple(truth.positives), len(inputs.video_ids))
    browsers: dict[Name, Browser] = {}
    for table in found.tables:
        best = next((entry for entry in table.entries if entry.lists is not None), None)
        if table.direction in browsers or best is None or best.lists is None:
            continue
        if table.raw.lists is None:
            continue
        # Under pooled captions a place counts other items than the lists show.
        same = best.ranks.n_gallery == len(best.hubness.counts) if best.hubness else False
        browsers[table.direction] = Browser(
            table.direction, table.raw.lists, best.lists, both[table.direction],
            table.raw.ranks if same else None, best.ranks if same else None, name=best.method,
        )  # fmt: skip
    if not browsers:
        return None
    return Queries(
        list(browsers.values()), inputs.text_ids, inputs.video_ids,
        **page.read((*inputs.text_ids, *inputs.video_ids)),
    )  # fmt: skip
