"""What a comparison of methods found, and how a terminal shows it.

A figure fitted on the test queries and one fitted on a bank answer different questions, so every
(direction, label) is a table of its own, headed by the raw ranking on the same gallery. Tables for
papers, which put both directions on one line, are in `rerank.metrics.paper`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from rerank.core import nouns
from rerank.core.errors import RerankError
from rerank.core.version import __version__
from rerank.core.words import Format, Label, Name, Ties, words_of
from rerank.methods.base import FittedPipeline
from rerank.methods.registry import METHODS
from rerank.metrics.browse import Lists
from rerank.metrics.figures import Figure, as_text
from rerank.metrics.hubness import Hubness
from rerank.metrics.judge import Judgement
from rerank.metrics.ranks import Ranks
from rerank.metrics.uncertainty import Difference, Interval, format_change, too_few

if TYPE_CHECKING:
    import pandas as pd

FORMATS = words_of(Format)


@dataclass(frozen=True, eq=False)
class Entry:
    """One method in one direction.

    Attributes:
        method: its name; "none" is the raw ranking.
        direction: "t2v" or "v2t".
        label: which queries the fit used.
        figures: by name, in the order asked for.
        intervals: of the figures, where the method is "none".
        changes: of the figures against "none" on the same gallery and queries.
        judgement: ranks and figures of every judged query.
        hubness: of the ranking; None under cross-fit, which has two galleries.
        fit_seconds: time to fit.
        seconds: time to fit and to rank every query (under cross-fit also the raw scores).
        peak_bytes: memory above what was held before, None where it cannot be measured.
        notes: what the user should know.
        lists: the first places of every query on the whole gallery, where they were kept.
        fitted: the fit, where it was kept: of the best of a table, for its page.
    """

    method: str
    direction: Name
    label: Label
    figures: dict[str, float]
    intervals: dict[str, Interval]
    changes: dict[str, Difference]
    judgement: Judgement
    hubness: Hubness | None
    fit_seconds: float
    seconds: float
    peak_bytes: int | None
    notes: tuple[str, ...] = ()
    lists: Lists | None = None
    fitted: FittedPipeline | None = None

    @property
    def ranks(self) -> Ranks:
        """Of every judged query."""
        return self.judgement.ranks

    @property
    def cost(self) -> dict[str, float | int | None]:
        """What differs from run to run."""
        return {
            "fit_seconds": self.fit_seconds, "seconds": self.seconds, "peak_bytes": self.peak_bytes
        }  # fmt: skip

    def __repr__(self) -> str:
        said = ", ".join(
            f"{figure.name} {as_text(self.figures[figure.name], figure.facts)}"
            for figure in self.judgement.figures
        )
        return f"Entry({self.method}, {self.direction}, {self.label}: {said})"


@dataclass(frozen=True)
class Skipped:
    """A method that could not be used, and why."""

    method: str
    direction: Name
    reason: str


@dataclass(frozen=True, eq=False)
class Table:
    """Entries that may be compared with one another: one direction, one label, one gallery.

    Attributes:
        direction: "t2v" or "v2t".
        label: of the entries.
        raw: the raw ranking of the same queries on the same gallery.
        entries: best first figure first.
        gallery: what was searched, in words.
    """

    direction: Name
    label: Label
    raw: Entry
    entries: tuple[Entry, ...]
    gallery: str

    def __repr__(self) -> str:
        return f"Table({self.direction}, {self.label}: {len(self.entries)} methods)"


@dataclass(frozen=True, eq=False)
class Comparison:
    """Everything that `rerank compare` found.

    Attributes:
        tables: one for each direction and label.
        skipped: what could not be used, and why.
        protocol: see `rerank.metrics.protocols`.
        ties: how ties were resolved.
        notes: what the user should know.
    """

    tables: tuple[Table, ...]
    skipped: tuple[Skipped, ...]
    protocol: str
    ties: Ties
    notes: tuple[str, ...] = ()

    @property
    def figures(self) -> tuple[Figure, ...]:
        """What was measured, in the order asked for."""
        return self.tables[0].raw.judgement.figures if self.tables else ()

    @property
    def methods(self) -> tuple[str, ...]:
        """What was fitted, without the raw scores."""
        named = (e.method for table in self.tables for e in table.entries)
        return tuple(dict.fromkeys(named))

    def to_latex(self, **options: Any) -> str:  # noqa: ANN401  of paper.latex
        """One table for a paper, see `rerank.metrics.paper.latex`."""
        from rerank.metrics import paper

        return paper.latex(self, **options)

    def to_markdown(self, **options: Any) -> str:  # noqa: ANN401  of paper.markdown
        """The same table for a README, see `rerank.metrics.paper.markdown`."""
        from rerank.metrics import paper

        return paper.markdown(self, **options)

    def to_csv(self, *, cost: bool = False) -> str:
        """One line for each method, label and direction, with changes and intervals."""
        from rerank.metrics import paper

        return paper.csv_text(self, cost=cost)

    def to_html(self, **options: Any) -> str:  # noqa: ANN401  of paper.html
        """The same table as an HTML fragment, see `rerank.metrics.paper.html`."""
        from rerank.metrics import paper

        return paper.html(self, **options)

    def to_pandas(self) -> "pd.DataFrame":
        """The lines of `to_csv`, not rounded, as a DataFrame.

        Raises:
            RerankError: pandas is not installed.
        """
        from rerank.metrics import paper

        return paper.frame(self)

    def to_json(self, *, cost: bool = False) -> dict[str, Any]:
        """Plain numbers, see `to_json`."""
        return to_json(self, cost=cost)

    def __repr__(self) -> str:
        found = [
            f"{table.direction} {table.label} best {table.entries[0].method}"
            for table in self.tables
            if table.entries
        ]
        return f"Comparison({len(self.methods)} methods; {'; '.join(found) or 'nothing fitted'})"

    def __str__(self) -> str:
        return render(self)

    def _repr_html_(self) -> str:
        return self.to_html()


def to_json(comparison: Comparison, *, cost: bool = False) -> dict[str, Any]:
    """Plain numbers of a comparison, without the ranks.

    Args:
        comparison: what was found.
        cost: also seconds and memory, which differ from run to run.
    """
    return {
        "version": __version__,
        "protocol": comparison.protocol,
        "ties": comparison.ties,
        "figures": [figure.name for figure in comparison.figures],
        "tables": [
            {
                "direction": table.direction,
                "label": table.label,
                "gallery": table.gallery,
                "rows": [_entry_json(entry, cost) for entry in (table.raw, *table.entries)],
            }
            for table in comparison.tables
        ],
        "skipped": [asdict(entry) for entry in comparison.skipped],
        "notes": list(comparison.notes),
    }


def _entry_json(entry: Entry, cost: bool) -> dict[str, Any]:
    return {
        "method": entry.method,
        "label": entry.label,
        **entry.figures,
        "queries": len(entry.ranks),
        "tied_queries": entry.ranks.tied_queries,
        "intervals": {name: [of.low, of.high] for name, of in entry.intervals.items()},
        "changes": {
            name: {"change": of.change, "low": of.low, "high": of.high, "p": of.p}
            for name, of in entry.changes.items()
        },
        "skewness": None if entry.hubness is None else entry.hubness.skewness,
        **(entry.cost if cost else {}),
        "notes": list(entry.notes),
    }


MEANINGS: dict[Label, str] = {
    "none": "nothing fitted",
    "inductive": "fitted on a bank without test queries",
    "cross-fit": "fitted on the other half of the queries, whose own items are kept out",
    "transductive": "fitted on the test queries themselves",
}


def heading(table: Table) -> str:
    """What the rows of a table have in common."""
    queries, items = nouns.of(table.direction)
    return (
        f"{queries} to {items} ({table.direction}), {table.label}: {MEANINGS[table.label]}; "
        f"{table.gallery}"
    )


def alike(entries: Sequence[Entry]) -> list[tuple[Entry, ...]]:
    """Entries of one table in groups that rank every query alike, in the order of the first."""
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(ranking_of(entry), []).append(entry)
    return [tuple(group) for group in groups.values()]


def ranking_of(entry: Entry) -> str:
    """The same for entries that rank alike, as far as a table shows."""
    skewness = None if entry.hubness is None else entry.hubness.skewness
    return f"{entry.ranks.values.tobytes().hex()} {entry.figures} {skewness}"


def names_of(methods: Sequence[str]) -> list[str]:
    """Names of methods that rank alike, without those that do so by their formula."""
    cards = METHODS.cards()
    as_another = {name for name in methods if name in cards and cards[name].facts.ranks_as}
    return [name for name in methods if name not in as_another] or list(methods)


def cells(table: Table, *, cost: bool = False) -> tuple[list[str], list[list[str]]]:
    """Headers and rows: the first figure with its interval or change and p-value, the others.

    Methods that rank every query alike share a row, unless their cost is shown.

    Args:
        table: one direction and label.
        cost: also time and memory.
    """
    first, *others = table.raw.judgement.figures
    headers = ["method", first.name, "p", *(figure.name for figure in others), "skew"]
    headers += ["time", "memory"] if cost else []
    rows = []
    groups = [(e,) for e in table.entries] if cost else alike(table.entries)
    for group in [(table.raw,), *groups]:
        entry = group[0]
        row = [
            ", ".join(names_of([each.method for each in group])),
            _main(entry, first),
            p_text(entry.changes.get(first.name)),
            *(as_text(entry.figures[figure.name], figure.facts) for figure in others),
            "-" if entry.hubness is None else f"{entry.hubness.skewness:.2f}",
        ]
        row += [f"{entry.seconds:.2f} s", memory_text(entry.peak_bytes)] if cost else []
        rows.append(row)
    return headers, rows


def _main(entry: Entry, figure: Figure) -> str:
    name, digits = figure.name, figure.facts.digits
    if name in entry.changes:
        return format_change(entry.changes[name], digits)
    value, interval = as_text(entry.figures[name], figure.facts), entry.intervals.get(name)
    if interval is None or math.isnan(interval.low):
        return value
    return f"{value} [{interval.low:.{digits}f}, {interval.high:.{digits}f}]"


def memory_text(size: int | None) -> str:
    """Bytes as tables show them."""
    if size is None:
        return "-"
    return "<1 MB" if size < 1e6 else f"{size / 1e6:.0f} MB"


def p_text(change: Difference | None) -> str:
    """A p-value as tables show it."""
    if change is None or math.isnan(change.p):
        return "-"
    return "<0.001" if change.p < 0.001 else f"{change.p:.3f}"


def render(comparison: Comparison, style: Format = "table", *, cost: bool = False) -> str:
    """A comparison as text in one of `FORMATS`.

    Args:
        comparison: what was found.
        style: "table" for a terminal, else a table for papers, or JSON.
        cost: also time and memory.

    Raises:
        RerankError: an unknown style.
    """
    if style not in FORMATS:
        raise RerankError(f"format: got {style!r}, expected one of {', '.join(FORMATS)}")
    if style == "table":
        parts = [aligned(heading(t), *cells(t, cost=cost)) for t in comparison.tables]
        return "\n\n".join([*parts, "\n".join(footnotes(comparison))])
    if style == "json":
        import json

        from rerank.metrics.paper import without_nan

        return json.dumps(without_nan(to_json(comparison, cost=cost)), ensure_ascii=False)
    draw: dict[str, Callable[..., str]] = {
        "latex": comparison.to_latex,
        "markdown": comparison.to_markdown,
        "csv": comparison.to_csv,
        "html": comparison.to_html,
    }
    return draw[style](cost=cost)


def footnotes(comparison: Comparison) -> list[str]:
    """How to read the tables, and what is missing in them."""
    tied = max((t.raw.ranks.tied_queries for t in comparison.tables), default=0)
    first = comparison.figures[0].name if comparison.figures else "figures"
    lines = [
        f"recalls and shares in percent; {first}: (change [95 % interval]) and p against raw, "
        "paired by query, clustered by shared answers",
        *few_clusters(comparison),
        f"protocol {comparison.protocol}, ties {comparison.ties}"
        + (f" (up to {tied} tied queries)" if tied else "")
        + f", rerank {__version__}",
    ]
    if len({table.label for table in comparison.tables}) > 1:
        lines.append(
            "rows of different labels are not comparable: they were allowed to see different things"
        )
    reasons: dict[str, dict[str, list[str]]] = {}
    for skipped in comparison.skipped:
        of = reasons.setdefault(skipped.reason, {}).setdefault(skipped.method, [])
        of.append(skipped.direction)
    for reason, methods in reasons.items():
        sides: dict[tuple[str, ...], list[str]] = {}
        for method, directions in methods.items():
            sides.setdefault(tuple(dict.fromkeys(directions)), []).append(method)
        lines += [
            f"left out, {' and '.join(side)}: {', '.join(named)}: {reason}"
            for side, named in sides.items()
        ]
    return lines + list(comparison.notes)


def few_clusters(comparison: Comparison) -> list[str]:
    """A note for directions with too few independent queries for an interval, or for a p-value."""
    few: dict[Name, str] = {}
    for table in comparison.tables:
        changes = [of for entry in table.entries for of in entry.changes.values()]
        said = too_few([*table.raw.intervals.values(), *changes])
        if said:
            few.setdefault(table.direction, said)
    return [f"{name}: {said}" for name, said in few.items()]


def aligned(title: str, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Plain columns for a terminal."""
    lines = [headers, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(headers))]
    # The main figure is read from the left, where its value stands.
    sides: list[Callable[[str, int], str]] = [str.ljust, str.ljust]
    sides += [str.rjust] * (len(headers) - 2)
    drawn = [
        "  ".join(side(cell, width) for side, cell, width in zip(sides, line, widths, strict=True))
        for line in lines
    ]
    return "\n".join([title, *(line.rstrip() for line in drawn)])
