"""One self-contained HTML file: tables, recall and k-occurrence before and after, the hubs.

Takes numbers and returns a string; it reads and writes no files but its own template. Everything
that came from outside (ids, titles) is escaped, the page forbids scripts, and plots are inline SVG
without dates or random names: the same numbers give the same bytes.
"""

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from rerank.core.pairs import WORDS, Name
from rerank.metrics import hubness as hubs
from rerank.metrics import tables
from rerank.metrics.hubness import Hubness
from rerank.metrics.ranks import Ranks
from rerank.metrics.tables import Comparison, Table

# Raw is grey; the others follow a palette that colour-blind readers can tell apart.
_COLOURS = ("#8a97a5", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9")
_MOST_CURVES = 4
_MOST_OCCURRENCES = 3


@dataclass(frozen=True, eq=False)
class Section:
    """One part of the report: a table, its plots, its hubs.

    Attributes:
        title: such as "texts to videos".
        label: which queries the fits used.
        subtitle: what was searched.
        headers: of the table.
        rows: of the table, the raw ranking first.
        recalls: named ranks to draw, the raw ones first.
        occurrences: named hubness to draw, the raw one first; empty where there is none.
        ids: names of the gallery items, or None for their rows.
        items: what the gallery holds, as a plural.
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


def from_comparison(
    comparison: Comparison, ids: Mapping[Name, Sequence[str]] | None = None
) -> list[Section]:
    """A section for every table of a comparison.

    Args:
        comparison: what `rerank.tasks.compare.compare` returned.
        ids: for each direction the names of its gallery items.
    """
    return [
        _of_table(table, None if ids is None else ids.get(table.direction))
        for table in comparison.tables
    ]


def _of_table(table: Table, ids: Sequence[str] | None) -> Section:
    headers, rows = tables.cells(table)
    queries, items = WORDS[table.direction]
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
    )


def before_after(
    direction: Name,
    label: str,
    *,
    before: Ranks,
    after: Ranks,
    hubness_before: Hubness | None = None,
    hubness_after: Hubness | None = None,
    ids: Sequence[str] | None = None,
    headers: Sequence[str],
    rows: Sequence[Sequence[str]],
) -> Section:
    """A section about one re-ranking of one direction, for `rerank eval`.

    Args:
        direction: "t2v" or "v2t".
        label: which queries the fit used.
        before: ranks of the raw scores.
        after: ranks of the rewritten ones.
        hubness_before: of the raw ranking, where known.
        hubness_after: of the rewritten one, where known.
        ids: names of the gallery items.
        headers: of the table.
        rows: of the table, the raw ranking first.
    """
    queries, items = WORDS[direction]
    occurrences = [("raw", hubness_before), ("re-ranked", hubness_after)]
    return Section(
        title=f"{queries} to {items} ({direction})",
        label=label,
        subtitle=f"{len(before)} {queries} against {before.n_gallery} {items}",
        headers=headers,
        rows=rows,
        recalls=[("raw", before), ("re-ranked", after)],
        occurrences=[(name, found) for name, found in occurrences if found is not None],
        ids=ids,
        items=items,
    )


def render(
    sections: Sequence[Section],
    *,
    title: str = "Re-ranking report",
    subtitle: str = "",
    notes: Sequence[str] = (),
) -> str:
    """The whole page as a string.

    Args:
        sections: see `from_comparison` and `before_after`.
        title: heading of the page.
        subtitle: one line below it, such as the input files.
        notes: footnotes.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(
        title=title,
        subtitle=subtitle,
        notes=list(notes),
        sections=[_for_template(section, index) for index, section in enumerate(sections)],
    )


def _for_template(section: Section, index: int) -> dict[str, Any]:
    plots = [_recall_plot(section.recalls, f"recall-{index}")]
    if section.occurrences:
        plots.append(_occurrence_plot(section.occurrences, section.items, f"occurrence-{index}"))
    return {
        "title": section.title,
        "label": section.label,
        "subtitle": section.subtitle,
        "headers": section.headers,
        "rows": section.rows,
        "plots": plots,
        "sentences": _sentences(section),
        "hubs": _hubs(section),
        "item": section.items[:-1],
    }


def _sentences(section: Section) -> list[str]:
    if not section.occurrences:
        return []
    raw = section.occurrences[0][1]
    out = [f"Before: {hubs.sentence(raw, section.items)}"]
    if len(section.occurrences) > 1:
        name, after = section.occurrences[1]
        out.append(
            f"After {name}: skewness {raw.skewness:.1f} -> {after.skewness:.1f}, "
            f"{len(raw.antihubs)} -> {len(after.antihubs)} {section.items} in no list of "
            f"{raw.k}; what were hubs hold {100 * raw.hub_share_of_firsts:.0f} % -> "
            f"{100 * float(after.firsts[raw.hubs].sum()) / after.n_queries:.0f} % of the first "
            f"places."
        )
    return out


def _hubs(section: Section) -> list[dict[str, Any]]:
    if not section.occurrences:
        return []
    raw = section.occurrences[0][1]
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


def _recall_plot(curves: Sequence[tuple[str, Ranks]], salt: str) -> Markup:
    """R@K against K."""

    def draw(axes: Any) -> None:  # noqa: ANN401  matplotlib is imported late
        largest = min(100, max(ranks.n_gallery for _, ranks in curves))
        ks = np.unique(np.round(np.geomspace(1, largest, 40)).astype(int))
        for (name, ranks), colour in zip(curves, _COLOURS, strict=False):
            recalls = [100 * ranks.hits(int(k)).mean() for k in ks]
            axes.plot(ks, recalls, color=colour, label=name, linewidth=1.8)
        axes.set_xscale("log")
        ticks = [k for k in (1, 2, 5, 10, 20, 50, 100) if k <= largest]
        axes.set_xticks(ticks, [str(k) for k in ticks])
        axes.set_xticks([], minor=True)
        axes.set_xlim(1, largest)
        axes.set_ylim(top=100)
        axes.set_xlabel("K")
        axes.set_ylabel("R@K in %")
        axes.set_title("Right answer among the first K")
        axes.legend(frameon=False, loc="lower right")

    return _svg(draw, salt)


def _occurrence_plot(curves: Sequence[tuple[str, Hubness]], items: str, salt: str) -> Markup:
    """How often each item is found, the most found first."""

    def draw(axes: Any) -> None:  # noqa: ANN401  matplotlib is imported late
        first = curves[0][1]
        places = np.arange(1, len(first.counts) + 1)
        for (name, found), colour in zip(curves[:_MOST_OCCURRENCES], _COLOURS, strict=False):
            label = f"{name}: skewness {found.skewness:.1f}, {len(found.antihubs)} never found"
            ordered = np.sort(found.counts)[::-1]
            axes.plot(places, ordered, color=colour, label=label, linewidth=1.8)
        label = f"all equal: {first.mean:.3g} each"
        axes.axhline(first.mean, color="#44525f", linewidth=1, linestyle=(0, (4, 3)), label=label)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:.0f}")
        axes.set_xlim(1, len(first.counts))
        axes.set_ylim(bottom=0)
        axes.set_xlabel(f"{items}, the most found first")
        axes.set_ylabel(f"lists of {first.k} that hold it")
        axes.set_title(f"How often each of the {len(first.counts)} {items} is found")
        axes.legend(frameon=False, loc="upper right")

    return _svg(draw, salt)


def _svg(draw: Any, salt: str) -> Markup:  # noqa: ANN401  a function of axes
    """An inline SVG whose bytes depend on the drawing only."""
    import matplotlib
    from matplotlib.figure import Figure

    style: dict[Any, Any] = {
        "svg.hashsalt": salt,
        "svg.fonttype": "none",
        "font.family": "sans-serif",
        "font.size": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": 11,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.edgecolor": "#8a97a5",
        "axes.grid": True,
        "grid.color": "#e6ebf0",
        "legend.fontsize": 9,
    }
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(5.2, 3.5), layout="constrained")
        draw(figure.add_subplot())
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True)
    text = buffer.getvalue()
    # The metadata hold a date and a version, which are not part of the drawing.
    # Titles come from this file alone, so the drawing holds no foreign text but method names,
    # which matplotlib escapes.
    return Markup(
        re.sub(r"\s*<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.S)
    )
