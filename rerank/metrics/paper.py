r"""Tables for papers: both directions on one line, best in bold, second underlined, stars.

One layout (`sheet`) and four ways to write it: LaTeX with booktabs, Markdown, HTML, and CSV with a
line for each method and direction. Best and second are marked among rows of one label and the raw
scores, because rows of different labels saw different things.
"""

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rerank.core import nouns
from rerank.core.arrays import pandas_module
from rerank.core.errors import RerankError
from rerank.core.version import __version__
from rerank.core.words import NAMES, Label, Name
from rerank.methods.base import LABELS
from rerank.metrics.figures import Figure, as_text, find_all, tex_text
from rerank.metrics.tables import (
    MEANINGS,
    Comparison,
    Entry,
    Table,
    few_clusters,
    memory_text,
    names_of,
    ranking_of,
)

if TYPE_CHECKING:
    import pandas as pd

# How methods are written in papers; other names stand as they are.
TITLES = {
    "none": "Raw scores",
    "em": "EM",
    "center": "Centring",
    "alpha-qe": "$\\alpha$QE",
    "sinkhorn": "Sinkhorn",
    "sinkhorn-sparse": "Sinkhorn (sparse)",
    "is": "Inverted softmax",
    "dis": "Dynamic inverted softmax",
    "csls": "CSLS",
    "nnn": "NNN",
    "dn": "DN",
    "ncl": "NCL",
    "dualis": "DualIS",
    "dualdis": "DualDIS",
    "dbsn": "DBSN",
    "qb-norm": "QB-Norm",
    "dsl": "Dual softmax",
    "mp": "Mutual proximity",
    "gc": "Globally corrected rank",
    "k-reciprocal": "$k$-reciprocal",
    "align": "Alignment",
    "dsl-camoe": "Dual softmax (CAMoE, CLIP-ViP, InternVideo)",
    "dsl-clip-vip": "Dual softmax (CLIP-ViP)",
    "dsl-internvideo": "Dual softmax (InternVideo)",
    "mp-empirical": "Mutual proximity (empirical)",
    "dbsn-1": "DBSN (one iteration)",
    "emcl": "EMCL (published)",
    "emcl-blockwise": "EMCL (published, blockwise)",
    "gated": "Gated",
}
# Stars of corrected p-values below these.
STARS = ((0.001, "***"), (0.01, "**"), (0.05, "*"))


@dataclass(frozen=True)
class Cell:
    """One number: its text, 1 for best and 2 for second of its block, and its stars."""

    text: str
    place: int = 0
    stars: str = ""


@dataclass(frozen=True)
class Block:
    """Rows that may be compared: a heading, and (method, cells) lines."""

    heading: str
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]


@dataclass(frozen=True)
class Sheet:
    """A table for a paper.

    Attributes:
        groups: (heading, column names) from left to right.
        blocks: the raw rows first, then one block for each label.
        caption: everything a reader has to know.
    """

    groups: tuple[tuple[str, tuple[str, ...]], ...]
    blocks: tuple[Block, ...]
    caption: str


def title(method: str) -> str:
    """A method as papers write it: "em+sinkhorn" -> "EM + Sinkhorn"."""

    def one(part: str) -> str:
        base, dash, kind = part.partition("-published")
        if dash:
            return f"{TITLES.get(base, base)} (published{kind})"
        return TITLES.get(part, part)

    return " + ".join(one(part) for part in method.split("+"))


def sheet(
    comparison: Comparison, columns: str | Sequence[str] | None = None, *, cost: bool = False
) -> Sheet:
    """Lay a comparison out; methods that rank every query alike share a row.

    Args:
        comparison: what was found.
        columns: figures to show, of those that were measured; all by default.
        cost: also time and memory, which differ from run to run; every method then has a row.

    Raises:
        RerankError: a column that was not measured, or nothing to show.
    """
    if not comparison.tables:
        raise RerankError("compare: there is no table to show")
    wanted = _columns(comparison, columns)
    directions: list[Name] = [
        name for name in NAMES if any(t.direction == name for t in comparison.tables)
    ]
    single = [figure for figure in wanted if not (figure.facts.both and len(directions) == 2)]
    summed = [figure for figure in wanted if figure not in single]
    groups = [
        (" to ".join(nouns.of(name)).capitalize(), tuple(figure.name for figure in single))
        for name in directions
        if single
    ]
    if summed:
        groups.append(("Both", tuple(figure.name for figure in summed)))
    if cost:
        groups.append(("Cost", ("Time", "Memory")))
    blocks: list[Block] = []
    whole: dict[Name, Table] = {t.direction: t for t in comparison.tables if t.label != "cross-fit"}
    if whole:
        raw: dict[Name, Entry] = {name: table.raw for name, table in whole.items()}
        blocks.append(Block("", (_row(raw, directions, single, summed, cost=cost),)))
    for label in LABELS:
        tables: dict[Name, Table] = {
            t.direction: t for t in comparison.tables if t.label == label and t.entries
        }
        if tables:
            own_raw = label == "cross-fit"
            blocks.append(
                _block(label, tables, directions, single, summed, own_raw=own_raw, cost=cost)
            )
    return Sheet(tuple(groups), tuple(blocks), _caption(comparison, whole))


def _columns(comparison: Comparison, columns: str | Sequence[str] | None) -> list[Figure]:
    measured = {figure.name: figure for figure in comparison.figures}
    if columns is None:
        return list(measured.values())
    names = [figure.name for figure in find_all(columns)]
    for name in names:
        if name not in measured:
            raise RerankError(
                f"columns: {name!r} was not measured, expected of: {', '.join(measured)}; add it "
                f"to figures"
            )
    return [measured[name] for name in names]


def _block(
    label: Label,
    tables: dict[Name, Table],
    directions: Sequence[Name],
    single: Sequence[Figure],
    summed: Sequence[Figure],
    *,
    own_raw: bool,
    cost: bool,
) -> Block:
    order = [entry.method for table in tables.values() for entry in table.entries]
    raw: dict[Name, Entry] = {name: table.raw for name, table in tables.items()}
    lines = [raw]
    names: dict[str, list[str]] = {}
    for method in dict.fromkeys(order):
        line: dict[Name, Entry] = {
            name: entry
            for name, table in tables.items()
            for entry in table.entries
            if entry.method == method
        }
        ranking = " ".join(name + ranking_of(entry) for name, entry in line.items())
        ranking += method if cost else ""
        if ranking not in names:
            lines.append(line)
        names.setdefault(ranking, []).append(method)
    titles = [title("none"), *(", ".join(map(title, names_of(of))) for of in names.values())]
    values = [_values(line, directions, single, summed) for line in lines]
    figures = [*list(single) * len(directions), *summed]
    places = _places(values, figures)
    stars = _stars(lines[1:], directions, single, len(summed))
    rows = []
    for index, line in enumerate(lines):
        if index == 0 and not own_raw:
            continue
        marks = stars[index - 1] if index else [""] * len(figures)
        rows.append(
            (
                titles[index],
                tuple(
                    Cell(as_text(value, figure.facts), place, mark)
                    for value, figure, place, mark in zip(
                        values[index], figures, places[index], marks, strict=True
                    )
                )
                + (_cost(line) if cost else ()),
            )
        )
    heading = f"{label.capitalize()}: {MEANINGS[label]}"
    return Block("Nothing fitted" if label == "none" else heading, tuple(rows))


def _values(
    line: dict[Name, Entry],
    directions: Sequence[Name],
    single: Sequence[Figure],
    summed: Sequence[Figure],
) -> list[float]:
    """Numbers of one line, direction by direction; NaN where a direction has none."""
    out = [
        line[name].figures[figure.name] if name in line else math.nan
        for name in directions
        for figure in single
    ]
    whole = all(name in line for name in directions)
    return out + [
        sum(line[name].figures[figure.name] for name in directions) if whole else math.nan
        for figure in summed
    ]


def _row(
    line: dict[Name, Entry],
    directions: Sequence[Name],
    single: Sequence[Figure],
    summed: Sequence[Figure],
    *,
    cost: bool,
) -> tuple[str, tuple[Cell, ...]]:
    figures = [*list(single) * len(directions), *summed]
    values = _values(line, directions, single, summed)
    name = next(iter(line.values())).method
    return title(name), tuple(
        Cell(as_text(value, figure.facts)) for value, figure in zip(values, figures, strict=True)
    ) + (_cost(line) if cost else ())


def _cost(line: dict[Name, Entry]) -> tuple[Cell, Cell]:
    """Time of the directions together, which share a fit, and the larger memory."""
    entries = list(line.values())
    seconds = max(e.fit_seconds for e in entries) + sum(e.seconds - e.fit_seconds for e in entries)
    peaks = [e.peak_bytes for e in entries if e.peak_bytes is not None]
    return Cell(f"{seconds:.2f} s"), Cell(memory_text(max(peaks) if peaks else None))


def _places(values: Sequence[Sequence[float]], figures: Sequence[Figure]) -> list[list[int]]:
    """1 and 2 for the best and second-best printed number of every column."""
    out = [[0] * len(figures) for _ in values]
    for column, figure in enumerate(figures):
        # What prints alike is alike.
        shown = [
            None if math.isnan(row[column]) else round(row[column], figure.facts.digits)
            for row in values
        ]
        ranked = sorted({v for v in shown if v is not None}, reverse=figure.facts.higher)
        if len(ranked) < 2:
            continue
        for row, value in enumerate(shown):
            if value in ranked[:2]:
                out[row][column] = 1 + ranked.index(value)
    return out


def _stars(
    lines: Sequence[dict[Name, Entry]],
    directions: Sequence[Name],
    single: Sequence[Figure],
    n_summed: int,
) -> list[list[str]]:
    """Stars of every line; p-values of one column are corrected for its lines (Holm, 1979)."""
    columns: list[list[str]] = []
    for name in directions:
        for figure in single:
            p_values = [
                line[name].changes[figure.name].p
                if name in line and figure.name in line[name].changes
                else math.nan
                for line in lines
            ]
            columns.append([_star(p) for p in holm(p_values)])
    # Sums over both directions have no test of their own.
    columns += [[""] * len(lines)] * n_summed
    return [[column[row] for column in columns] for row in range(len(lines))]


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for their number, step by step; NaN stays.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    known = sorted((p, i) for i, p in enumerate(p_values) if not math.isnan(p))
    out = [math.nan] * len(p_values)
    largest = 0.0
    for step, (p, i) in enumerate(known):
        largest = max(largest, min(1.0, p * (len(known) - step)))
        out[i] = largest
    return out


def _star(p: float) -> str:
    return next((mark for below, mark in STARS if p < below), "")


def _caption(comparison: Comparison, whole: dict[Name, Table]) -> str:
    first = next(iter(whole.values()), comparison.tables[0])
    labels: list[Label] = [t.label for t in comparison.tables if t.entries]
    said = ", ".join(f"{label} ({MEANINGS[label]})" for label in dict.fromkeys(labels))
    facts = [
        f"Re-ranked retrieval, {first.gallery}",
        f"Label: {said or 'none (raw scores)'}",
        f"Protocol {comparison.protocol}, ties {comparison.ties}, rerank {__version__}",
        "Recalls and shares in percent; best in bold, second underlined, among rows of one label "
        "and the raw scores",
        "Stars: paired randomisation test against the raw scores, clustered by shared answers, "
        "corrected for the number of methods (Holm): * p < 0.05, ** p < 0.01, *** p < 0.001",
    ]
    if any(figure.facts.both for figure in comparison.figures):
        facts.append("RSum: R@1, R@5 and R@10 of both directions, added")
    return ". ".join([*facts, *few_clusters(comparison)]) + "."


# --- writing --------------------------------------------------------------------------------------


def latex(
    comparison: Comparison,
    *,
    columns: str | Sequence[str] | None = None,
    caption: str | None = None,
    label: str = "tab:rerank",
    cost: bool = False,
) -> str:
    r"""A table environment with booktabs rules, for `\input`.

    Where booktabs is not loaded its rules become `\hline`, so that it compiles either way. With
    graphicx a table that is wider than the line is scaled to it.

    Args:
        comparison: what was found.
        columns: figures to show; all by default.
        caption: instead of the one made from the facts.
        label: for `\ref`.
        cost: also time and memory.

    Raises:
        RerankError: a column that was not measured.
    """
    made = sheet(comparison, columns, cost=cost)
    width = sum(len(names) for _, names in made.groups)
    head = [""]
    rules, column = [], 2
    for heading, names in made.groups:
        head.append(rf"\multicolumn{{{len(names)}}}{{c}}{{{tex_text(heading)}}}")
        rules.append(rf"\cmidrule{{{column}-{column + len(names) - 1}}}")
        column += len(names)
    lines = [
        rf"% rerank {__version__}; \usepackage{{booktabs}} makes the rules nicer,",
        r"% \usepackage{graphicx} scales a table that is wider than the line",
        r"\begin{table}",
        r"\centering",
        *(
            rf"\providecommand{{\{rule}}}{{\{plain}}}"
            for rule, plain in (
                ("toprule", "hline"), ("midrule", "hline"), ("bottomrule", "hline"),
                ("cmidrule", "cline"),
            )
        ),
        r"\providecommand{\resizebox}[3]{#3}",
        rf"\caption{{{tex_text(caption or made.caption)}}}",
        rf"\label{{{label}}}",
        r"\setbox0=\hbox{\ignorespaces",
        rf"\begin{{tabular}}{{l{'r' * width}}}",
        r"\toprule",
        " & ".join(head) + r" \\",
        " ".join(rules),
        " & ".join(["Method", *(tex_text(n) for _, names in made.groups for n in names)]) + r" \\",
    ]  # fmt: skip
    for block in made.blocks:
        lines.append(r"\midrule")
        if block.heading:
            lines.append(
                rf"\multicolumn{{{width + 1}}}{{l}}{{\emph{{{tex_text(block.heading)}}}}} \\"
            )
        for name, row in block.rows:
            lines.append(" & ".join([_tex_title(name), *map(_tex_cell, row)]) + r" \\")
    fit = r"\ifdim\wd0>\linewidth\resizebox{\linewidth}{!}{\usebox0}\else\usebox0\fi"
    ends = [r"\bottomrule", r"\end{tabular}}", fit, r"\end{table}"]
    return "\n".join([*lines, *ends])


def _tex_title(name: str) -> str:
    return " + ".join(tex_text(part) for part in name.split(" + "))


def _tex_cell(cell: Cell) -> str:
    text = "--" if cell.text == "-" else tex_text(cell.text)
    text = {1: rf"\textbf{{{text}}}", 2: rf"\underline{{{text}}}"}.get(cell.place, text)
    return text + (rf"$^{{{cell.stars}}}$" if cell.stars else "")


def _plain(name: str) -> str:
    return name.replace("$\\alpha$", "α").replace("$k$", "k")


def markdown(
    comparison: Comparison, *, columns: str | Sequence[str] | None = None, cost: bool = False
) -> str:
    """A pipe table with its caption below.

    Raises:
        RerankError: a column that was not measured.
    """
    made = sheet(comparison, columns, cost=cost)

    def line(texts: Iterable[str]) -> str:
        return "| " + " | ".join(text.replace("|", "\\|") for text in texts) + " |"

    def cell(one: Cell) -> str:
        text = {1: f"**{one.text}**", 2: f"<u>{one.text}</u>"}.get(one.place, one.text)
        return text + one.stars.replace("*", "\\*")

    short = {" to ".join(nouns.of(name)).capitalize(): f"{name} " for name in NAMES}
    short |= {"Both": "both ", "Cost": ""}
    headers = [f"{short[heading]}{name}" for heading, names in made.groups for name in names]
    lines = [line(["Method", *headers]), "|---|" + "---:|" * len(headers)]
    for block in made.blocks:
        if block.heading:
            lines.append(line([f"*{block.heading}*", *([""] * len(headers))]))
        lines += [line([_plain(name), *map(cell, row)]) for name, row in block.rows]
    return "\n".join([*lines, "", made.caption.replace("*", "\\*")])


def html(
    comparison: Comparison, *, columns: str | Sequence[str] | None = None, cost: bool = False
) -> str:
    """A table element with its caption; everything foreign is escaped.

    Raises:
        RerankError: a column that was not measured.
    """
    from markupsafe import escape

    made = sheet(comparison, columns, cost=cost)
    names = [name for _, group in made.groups for name in group]

    def cell(one: Cell) -> str:
        text = str(escape(one.text))
        text = {1: f"<b>{text}</b>", 2: f"<u>{text}</u>"}.get(one.place, text)
        return f'<td style="text-align:right">{text}{one.stars and f"<sup>{one.stars}</sup>"}</td>'

    over = "".join(f'<th colspan="{len(group)}">{escape(h)}</th>' for h, group in made.groups)
    lines = [
        "<table>",
        f"<caption>{escape(made.caption)}</caption>",
        f"<thead><tr><th></th>{over}</tr>",
        f"<tr><th>Method</th>{''.join(f'<th>{escape(name)}</th>' for name in names)}</tr></thead>",
    ]
    for block in made.blocks:
        lines.append("<tbody>")
        if block.heading:
            lines.append(
                f'<tr><th colspan="{len(names) + 1}" style="text-align:left">'
                f"{escape(block.heading)}</th></tr>"
            )
        for name, row in block.rows:
            drawn = "".join(map(cell, row))
            lines.append(f'<tr><td style="text-align:left">{escape(_plain(name))}</td>{drawn}</tr>')
        lines.append("</tbody>")
    return "\n".join([*lines, "</table>"])


def records(comparison: Comparison, *, cost: bool = False) -> list[dict[str, Any]]:
    """One dict for each method, label and direction: figures, changes, intervals, p-values.

    Args:
        comparison: what was found.
        cost: also seconds and bytes, which differ from run to run.
    """
    out: list[dict[str, Any]] = []
    seen: set[tuple[str, str, str]] = set()
    for table in comparison.tables:
        for entry in (table.raw, *table.entries):
            # The raw scores of a direction head several tables; cross-fit has its own gallery.
            where = "cross-fit" if table.label == "cross-fit" else entry.label
            key = (entry.method, where, table.direction)
            if key in seen:
                continue
            seen.add(key)
            line: dict[str, Any] = {
                "method": entry.method, "label": where, "direction": table.direction,
                "gallery": table.gallery, "queries": len(entry.ranks),
            }  # fmt: skip
            for name, value in entry.figures.items():
                line[name] = value
                change, own = entry.changes.get(name), entry.intervals.get(name)
                line[f"{name} change"] = math.nan if change is None else change.change
                for side in ("low", "high"):
                    of = change or own
                    line[f"{name} {side}"] = math.nan if of is None else getattr(of, side)
                line[f"{name} p"] = math.nan if change is None else change.p
            out.append({**line, **(entry.cost if cost else {})})
    return out


def csv_text(comparison: Comparison, *, cost: bool = False) -> str:
    """Comma-separated lines, numbers to four decimals, empty where there is none."""
    lines = records(comparison, cost=cost)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(lines[0] if lines else [])

    def shown(value: object) -> object:
        if not isinstance(value, float):
            return value
        return "" if math.isnan(value) else f"{value:.4f}"

    writer.writerows([shown(value) for value in line.values()] for line in lines)
    return buffer.getvalue().rstrip("\n")


def frame(comparison: Comparison) -> "pd.DataFrame":
    """The records as a DataFrame.

    Raises:
        RerankError: pandas is not installed.
    """
    return pandas_module().DataFrame(records(comparison))


def without_nan(value: Any) -> Any:  # noqa: ANN401  recursive over JSON values
    """The same value with None for NaN and infinities, which JSON does not have."""
    if isinstance(value, dict):
        return {str(key): without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
