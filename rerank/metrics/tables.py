"""What a comparison of methods found, and how it is printed.

A figure fitted on the test queries and one fitted on a bank answer different questions, so every
(direction, label) is a table of its own, headed by the raw ranking on the same gallery.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias, get_args

from rerank.core.errors import RerankError
from rerank.core.pairs import WORDS, Name
from rerank.methods.base import Label
from rerank.metrics.hubness import Hubness
from rerank.metrics.judge import Judgement
from rerank.metrics.ranks import Ranks, Ties
from rerank.metrics.uncertainty import Difference, Interval, format_change

Format: TypeAlias = Literal["table", "markdown", "latex"]
FORMATS: tuple[Format, ...] = get_args(Format)


@dataclass(frozen=True, eq=False)
class Entry:
    """One method in one direction.

    Attributes:
        method: its name; "none" is the raw ranking.
        direction: "t2v" or "v2t".
        label: which queries the fit used.
        figures: R@K and geo, further measures in percent, MdR, MnR, in this order.
        intervals: of R@K, MnR and the measures, where the method is "none".
        changes: of the figures against "none" on the same gallery and queries.
        judgement: ranks and measures of every judged query.
        hubness: of the ranking; None under cross-fit, which has two galleries.
        fit_seconds: time to fit.
        seconds: time to fit and to rank every query (under cross-fit also the raw scores).
        peak_bytes: memory above what was held before, None where it cannot be measured.
        notes: what the user should know.
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

    @property
    def ranks(self) -> Ranks:
        """Of every judged query."""
        return self.judgement.ranks


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
        entries: best R@1 first.
        gallery: what was searched, in words.
    """

    direction: Name
    label: Label
    raw: Entry
    entries: tuple[Entry, ...]
    gallery: str


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


def to_json(comparison: Comparison) -> dict[str, Any]:
    """Plain numbers of a comparison, without the ranks."""
    return {
        "protocol": comparison.protocol,
        "ties": comparison.ties,
        "tables": [
            {
                "direction": table.direction,
                "label": table.label,
                "gallery": table.gallery,
                "rows": [_entry_json(entry) for entry in (table.raw, *table.entries)],
            }
            for table in comparison.tables
        ],
        "skipped": [asdict(entry) for entry in comparison.skipped],
        "notes": list(comparison.notes),
    }


def _entry_json(entry: Entry) -> dict[str, Any]:
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
        "fit_seconds": entry.fit_seconds,
        "seconds": entry.seconds,
        "peak_bytes": entry.peak_bytes,
        "notes": list(entry.notes),
    }


MEANINGS: dict[Label, str] = {
    "none": "raw scores",
    "inductive": "fitted on a bank without test queries",
    "online": "fitted on the queries seen before",
    "cross-fit": "fitted on the other half of the queries, whose own items are kept out",
    "transductive": "fitted on the test queries themselves",
}


def heading(table: Table) -> str:
    """What the rows of a table have in common."""
    queries, items = WORDS[table.direction]
    return (
        f"{queries} to {items} ({table.direction}), {table.label}: {MEANINGS[table.label]}; "
        f"{table.gallery}"
    )


def cells(table: Table) -> tuple[list[str], list[list[str]]]:
    """Headers and rows: the figures, the change of R@K first, with its interval and p-value."""
    # The figures come in the order of the table: recalls, geo, further measures, MdR, MnR.
    first, *others = table.raw.figures
    headers = ["method", first, "p", *others, "skew", "time", "memory"]
    rows = []
    for entry in (table.raw, *table.entries):
        figures = entry.figures
        rows.append(
            [
                entry.method,
                _main(entry, first),
                _p(entry.changes.get(first)),
                *(f"{figures[name]:.1f}" for name in others),
                "-" if entry.hubness is None else f"{entry.hubness.skewness:.2f}",
                f"{entry.seconds:.2f} s",
                _memory(entry.peak_bytes),
            ]
        )
    return headers, rows


def _main(entry: Entry, name: str) -> str:
    if name in entry.changes:
        return format_change(entry.changes[name])
    value, interval = entry.figures[name], entry.intervals.get(name)
    if interval is None or not interval.low == interval.low:
        return f"{value:.1f}"
    return f"{value:.1f} [{interval.low:.1f}, {interval.high:.1f}]"


def _memory(size: int | None) -> str:
    if size is None:
        return "-"
    return "<1 MB" if size < 1e6 else f"{size / 1e6:.0f} MB"


def _p(change: Difference | None) -> str:
    if change is None or not change.p == change.p:
        return "-"
    return "<0.001" if change.p < 0.001 else f"{change.p:.3f}"


def render(comparison: Comparison, style: Format = "table") -> str:
    """All tables as text, for a terminal, a Markdown file or a LaTeX document.

    Raises:
        RerankError: an unknown style.
    """
    if style not in FORMATS:
        raise RerankError(f"format: got {style!r}, expected {', '.join(FORMATS)} or json")
    draw = {"table": _aligned, "markdown": _markdown, "latex": _latex}[style]
    parts = [draw(heading(table), *cells(table)) for table in comparison.tables]
    comment = {"table": "", "markdown": "- ", "latex": "% "}[style]
    tail = [f"{comment}{line}" for line in footnotes(comparison)]
    return "\n\n".join([*parts, "\n".join(tail)])


def footnotes(comparison: Comparison) -> list[str]:
    """How to read the tables, and what is missing in them."""
    tied = max((t.raw.ranks.tied_queries for t in comparison.tables), default=0)
    lines = [
        "R@K in percent; (change [95 % interval]) and p against raw, paired by query, clustered by "
        "shared answers",
        f"protocol {comparison.protocol}, ties {comparison.ties}"
        + (f" (up to {tied} tied queries)" if tied else ""),
        "rows of different labels are not comparable: they were allowed to see different things",
    ]
    reasons: dict[tuple[str, str], list[str]] = {}
    for skipped in comparison.skipped:
        reasons.setdefault((skipped.direction, skipped.reason), []).append(skipped.method)
    lines += [
        f"left out, {direction} {', '.join(methods)}: {reason}"
        for (direction, reason), methods in reasons.items()
    ]
    return lines + list(comparison.notes)


def _aligned(title: str, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
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


def _markdown(title: str, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def line(texts: Sequence[str]) -> str:
        return "| " + " | ".join(text.replace("|", "\\|") for text in texts) + " |"

    rule = "|---|---|" + "---:|" * (len(headers) - 2)
    return "\n".join([f"**{title}**", "", line(headers), rule, *map(line, rows)])


_LATEX = {"&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$", "<": r"$<$"}


def _latex(title: str, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def line(texts: Sequence[str]) -> str:
        return " & ".join("".join(_LATEX.get(c, c) for c in text) for text in texts) + r" \\"

    return "\n".join(
        [
            f"% {title}",
            rf"\begin{{tabular}}{{ll{'r' * (len(headers) - 2)}}}",
            r"\hline",
            line(headers),
            r"\hline",
            *map(line, rows),
            r"\hline",
            r"\end{tabular}",
        ]
    )
