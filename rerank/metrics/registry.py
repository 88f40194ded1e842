"""Figures by name: what `--figures`, `--columns`, `figures=` and the report can show.

A figure of one's own is a function with a decorator, in a module named by `RERANK_PLUGINS`:

    import rerank

    @rerank.figure("rSum", help="R@1 + R@5 + R@10", digits=1)
    def rsum(ranks):
        return 100 * (ranks.hits(1) + ranks.hits(5) + ranks.hits(10))   # one number per query
"""

from dataclasses import dataclass
from typing import Literal

from rerank.core.registry import Registry


@dataclass(frozen=True)
class FigureFacts:
    """How a figure is made of its queries, and how it is shown.

    Attributes:
        combine: what is made of the queries' numbers: their "mean", "median", "sum", or the
            "geometric" mean of the means of several columns.
        sees: what the function is given. "ranks": the `Ranks` of all judged queries, and it
            returns (q,) or (q, s) numbers. "ranking": for one query the grades of the gallery from
            the first place to the last, (m,) float, NaN where nothing is known, and it returns a
            number.
        higher: whether more is better.
        hits: whether each query is right or wrong, in percent, so that intervals know the edges.
        both: whether tables for papers add both directions in one column.
        digits: decimals in tables.
        order: place in lists.
    """

    combine: Literal["mean", "median", "sum", "geometric"] = "mean"
    sees: Literal["ranks", "ranking"] = "ranks"
    higher: bool = True
    hits: bool = False
    both: bool = False
    digits: int = 1
    order: int = 9


FIGURES: Registry[FigureFacts] = Registry(
    "figure",
    "rerank.metrics",
    FigureFacts,
    {"medr": "mdr", "meanr": "mnr", "geometric mean": "geo"},
)

figure = FIGURES.declare
