"""One self-contained HTML file about a re-ranking: verdict, figures, queries, hubs, pictures.

Takes numbers and returns a string; it reads and writes no files but its own templates. The page
loads nothing from anywhere. Everything foreign (ids, captions, titles) is escaped or lies as JSON
in a data block that the page's one script writes out as text; a content security policy lets no
other script run. The same numbers give the same bytes.
"""

import base64
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rerank.core import nouns
from rerank.core.version import __version__
from rerank.core.words import Label, Name
from rerank.metrics import hubness as hubs
from rerank.metrics import pictures, tables
from rerank.metrics.browse import Browser
from rerank.metrics.hubness import Hubness
from rerank.metrics.pictures import Picture, Scores
from rerank.metrics.ranks import Ranks
from rerank.metrics.svg import svg
from rerank.metrics.tables import Comparison, Entry, Table
from rerank.metrics.uncertainty import Difference

_MOST_CURVES = 4
_MOST_OCCURRENCES = 3
_TEMPLATES = Path(__file__).with_name("templates")


@dataclass(frozen=True, eq=False)
class Section:
    """One part of the report: a table, its pictures, its hubs.

    Attributes:
        title: such as "texts to videos".
        label: which queries the fits used.
        subtitle: what was searched.
        headers: of the table.
        rows: of the table, the raw ranking first.
        recalls: named ranks to draw, the raw ones first; empty without a ground truth.
        occurrences: named hubness to draw, the raw one first; empty where there is none.
        ids: names of the gallery items, or None for their rows.
        items: what the gallery holds, as a plural.
        scores: of right and other pairs, where known.
        drawn: further pictures.
    """

    title: str
    label: str
    subtitle: str
    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    recalls: Sequence[tuple[str, Ranks]]
    occurrences: Sequence[tuple[str, Hubness]]
    ids: Sequence[str] | None
    items: str
    scores: Scores | None = None
    drawn: Sequence[Picture] = ()


@dataclass(frozen=True, eq=False)
class Queries:
    """What the browser of queries needs.

    Attributes:
        browsers: one for each direction.
        texts: ids of the texts; videos: ids of the videos.
        videos: see `texts`.
        captions: words for ids, where given.
        thumbnails: data URIs for ids, where given.
    """

    browsers: Sequence[Browser]
    texts: Sequence[str]
    videos: Sequence[str]
    captions: Mapping[str, str] = field(default_factory=dict)
    thumbnails: Mapping[str, str] = field(default_factory=dict)


def from_comparison(
    comparison: Comparison,
    ids: Mapping[Name, Sequence[str]] | None = None,
    *,
    scores: Mapping[Name, Scores] | None = None,
    drawn: Mapping[tuple[Name, Label], Sequence[Picture]] | None = None,
) -> list[Section]:
    """A section for every table of a comparison.

    Args:
        comparison: what `rerank.tasks.compare.compare` returned.
        ids: for each direction the names of its gallery items.
        scores: of right and other pairs, shown once for each direction.
        drawn: further pictures of each table.
    """
    left, more = dict(scores or {}), drawn or {}
    return [
        _of_table(
            table, None if ids is None else ids.get(table.direction),
            left.pop(table.direction, None), more.get((table.direction, table.label), ()),
        )
        for table in comparison.tables
    ]  # fmt: skip


def _of_table(
    table: Table, ids: Sequence[str] | None, scores: Scores | None, more: Sequence[Picture]
) -> Section:
    headers, rows = tables.cells(table)
    queries, items = nouns.of(table.direction)
    drawn = [("raw", table.raw), *((e.method, e) for e in table.entries[:_MOST_CURVES])]
    return Section(
        title=f"{queries} to {items} ({table.direction})",
        label=table.label,
        subtitle=f"{tables.MEANINGS[table.label]}; {table.gallery}".capitalize(),
        headers=headers,
        rows=rows,
        recalls=[(name, entry.ranks) for name, entry in drawn],
        occurrences=[(n, e.hubness) for n, e in drawn if e.hubness is not None],
        ids=ids,
        items=items,
        scores=scores,
        drawn=more,
    )


def before_after(
    direction: Name,
    label: str,
    *,
    before: Ranks | None = None,
    after: Ranks | None = None,
    hubness_before: Hubness | None = None,
    hubness_after: Hubness | None = None,
    ids: Sequence[str] | None = None,
    headers: Sequence[str] = (),
    rows: Sequence[Sequence[str]] = (),
    scores: Scores | None = None,
    size: tuple[int, int] | None = None,
    drawn: Sequence[Picture] = (),
) -> Section:
    """A section about one re-ranking of one direction, for `rerank eval`.

    Args:
        direction: "t2v" or "v2t".
        label: which queries the fit used.
        before: ranks of the raw scores, None without a ground truth.
        after: ranks of the rewritten ones.
        hubness_before: of the raw ranking, where known.
        hubness_after: of the rewritten one, where known.
        ids: names of the gallery items.
        headers: of the table.
        rows: of the table, the raw ranking first.
        scores: of right and other pairs.
        size: queries and items, where there are no ranks.
        drawn: further pictures.
    """
    queries, items = nouns.of(direction)
    if before is not None:
        size = len(before), before.n_gallery
    occurrences = [("raw", hubness_before), ("re-ranked", hubness_after)]
    recalls = [("raw", before), ("re-ranked", after)]
    return Section(
        title=f"{queries} to {items} ({direction})",
        label=label,
        subtitle="" if size is None else nouns.against(size, (queries, items)),
        headers=headers,
        rows=rows,
        recalls=[(name, found) for name, found in recalls if found is not None],
        occurrences=[(name, found) for name, found in occurrences if found is not None],
        ids=ids,
        items=items,
        scores=scores,
        drawn=drawn,
    )


def verdict(name: Name, label: Label, figure: str, change: Difference | None) -> str:
    """What a re-ranking did to one direction, in a sentence."""
    queries, items = nouns.of(name)
    what = f"{queries.capitalize()} to {items}"
    if change is None or (label == "none" and change.change == 0):
        return f"{what}: nothing was re-ranked."
    said = f"{figure} {change.before:.1f} before and {change.after:.1f} after"
    if change.low == change.low:
        said += f" ({change.change:+z.1f}, 95 % interval {change.low:z.1f} to {change.high:z.1f})"
    if change.change == 0:
        sure = "no difference"
    elif math.isnan(change.p):
        sure = "not known to be better or worse, too few groups of queries for a test"
    elif change.p < 0.05:
        sure = "better" if change.change > 0 else "worse"
    else:
        sure = "no certain difference"
    return f"{what}: {sure}; {said}, {tables.MEANINGS[label]} ({label})."


def verdict_of_table(table: Table) -> str:
    """The best method of a table against its raw scores, in a sentence."""
    if not table.entries:
        return verdict(table.direction, "none", "", None)
    best: Entry = table.entries[0]
    first = best.judgement.figures[0].name
    change = best.changes.get(first)
    said = verdict(table.direction, table.label, first, change)
    if table.label == "none" and (change is None or change.change == 0):
        return said
    return f"{said} Best of {len(table.entries)}: {best.method}."


def render(
    sections: Sequence[Section],
    *,
    title: str = "Re-ranking report",
    subtitle: str = "",
    verdicts: Sequence[str] = (),
    facts: Sequence[tuple[str, str]] = (),
    queries: Queries | None = None,
    notes: Sequence[str] = (),
    checks: Sequence[Mapping[str, str]] = (),
) -> str:
    """The whole page as a string.

    Args:
        sections: see `from_comparison` and `before_after`.
        title: heading of the page.
        subtitle: one line below it.
        verdicts: sentences on top.
        facts: (name, value) lines about files, command and settings.
        queries: for the browser of queries.
        notes: footnotes.
        checks: what was looked at: `name`, `status`, `found` and `do` each.
    """
    # Not where no page is asked for.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = (_TEMPLATES / "report.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("report.html.j2").render(
        title=title,
        subtitle=subtitle,
        verdicts=list(verdicts),
        facts=[*(fact for fact in facts if fact[1]), ("Made by", f"rerank {__version__}")],
        notes=list(notes),
        checks=list(checks),
        sections=[_for_template(section, index) for index, section in enumerate(sections)],
        data=None if queries is None else Markup(_json(queries)),
        judged=queries is not None and any(one.rank_before is not None for one in queries.browsers),
        moved=queries is not None and any(one.after is not None for one in queries.browsers),
        script=Markup(script),
        script_hash=digest,
    )


def _json(queries: Queries) -> str:
    """Data for the script; no letter of it can end the element that holds it."""
    names = {*queries.texts, *queries.videos}
    found = {
        "texts": list(map(str, queries.texts)),
        "videos": list(map(str, queries.videos)),
        "captions": {str(k): str(v) for k, v in queries.captions.items() if k in names},
        "thumbnails": {str(k): v for k, v in queries.thumbnails.items() if k in names},
        "words": {browser.direction: nouns.of(browser.direction) for browser in queries.browsers},
        "browsers": [browser.as_json() for browser in queries.browsers],
    }
    text = json.dumps(found, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    for letter in "<>&":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text


def _for_template(section: Section, index: int) -> dict[str, Any]:
    drawn: list[Picture] = []
    if section.recalls:
        drawn.append(pictures.recall_curve(section.recalls))
    if len(section.recalls) > 1:
        before, after = section.recalls[0][1], section.recalls[1][1]
        if not np.array_equal(before.values, after.values):
            drawn.append(pictures.rank_changes(before, after))
    if section.occurrences:
        few = section.occurrences[:_MOST_OCCURRENCES]
        drawn.append(pictures.occurrence_curve(few, section.items))
    if section.scores is not None and len(section.scores.matched):
        drawn.append(pictures.score_histogram(section.scores))
    drawn += section.drawn
    return {
        "title": section.title,
        "label": section.label,
        "subtitle": section.subtitle,
        "headers": section.headers,
        "rows": section.rows,
        "pictures": [
            {"svg": svg(one), "conclude": one.conclude, "title": one.title} for one in drawn
        ],
        "sentences": _sentences(section),
        "hubs": _hubs(section),
        "after": len(section.occurrences) > 1,
        "item": nouns.singular(section.items),
    }


def _sentences(section: Section) -> list[str]:
    if not section.occurrences:
        return []
    raw = section.occurrences[0][1]
    found = hubs.sentence(raw, section.items)
    if len(section.occurrences) == 1:
        return [found]
    name, after = section.occurrences[1]
    said = (
        f"After {'re-ranking' if name == 're-ranked' else name}: skewness {raw.skewness:.1f} -> "
        f"{after.skewness:.1f}, {len(raw.antihubs)} -> {len(after.antihubs)} {section.items} in no "
        f"list of {raw.k}"
    )
    if len(raw.hubs):
        held = 100 * float(after.firsts[raw.hubs].sum()) / after.n_queries
        said += f"; what were hubs hold {100 * raw.hub_share_of_firsts:.0f} % -> {held:.0f} % of "
        said += "the first places"
    return [f"Before: {found[0].lower()}{found[1:]}", f"{said}."]


def _hubs(section: Section) -> list[dict[str, Any]]:
    if not section.occurrences:
        return []
    raw = section.occurrences[0][1]
    if not len(raw.hubs):
        return []
    after = section.occurrences[1][1] if len(section.occurrences) > 1 else None
    return [
        {
            "id": str(row if section.ids is None else section.ids[row]),
            "before": first,
            "share": f"{100 * first / raw.n_queries:.1f} %",
            "after": "-" if after is None else int(after.firsts[row]),
        }
        for row, first, _ in raw.top(10)
        if first
    ]
