"""Which marginals suit a fit on the test queries themselves, from counts and from what is known.

Sinkhorn asks every gallery item to be as probable as every other. N queries can ask that of M
items only where N >= M. So, with N distinct live queries and M live items:

    N < M            few queries: each item is wanted by at most one of them (a slack row)
    N < M, grouped   equality: captions of a video all belong to a query that is there
    N = M            equality
    N > M            equality; stated one-to-one, or where each query is known to be of its own
                     thing (texts grouped by ids), queries may have no item (a slack column)

A row or column without any scored entry is dead: it has no mass and counts in neither.
"""

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from rerank.core import comm
from rerank.core.similarity import Similarity
from rerank.core.wording import option
from rerank.core.words import Counting
from rerank.methods.base import Bank
from rerank.passes import reduce

# Fewer queries show little of what they want themselves.
_SHOWN = 500

Form: TypeAlias = Literal["equality", "grouped", "few queries", "one-to-one", "as given"]


@dataclass(frozen=True, eq=False)
class Masses:
    """Masses of the live queries and items.

    Attributes:
        log_a: (n,) log masses of the queries; those of the live ones sum to one.
        log_b: (m,) log masses of the items, which sum to one; -inf where dead.
        live_queries: (n,) bool, live_items: (m,) bool.
        rows: live queries over all processes, columns: live items.
        queries: N, mass of all queries where a distinct one (or a group of them) has mass 1.
        items: M, mass of all items, 1 each.
    """

    log_a: Tensor
    log_b: Tensor
    live_queries: Tensor
    live_items: Tensor
    rows: int
    columns: int
    queries: float
    items: float

    @property
    def slack(self) -> float:
        """Share of the larger side's mass that the other leaves: of items > 0, of queries < 0."""
        larger = max(self.queries, self.items)
        return (self.items - self.queries) / larger if larger > 0 else 0.0

    @property
    def few(self) -> tuple[Tensor, float]:
        """Log masses of the queries beside a slack row, and the mass of that row."""
        return self.log_a + math.log1p(-self.slack), self.slack

    @property
    def T(self) -> "Masses":  # noqa: N802  the mathematical transpose, as in numpy
        """Of the other direction."""
        floor = self.log_b[self.live_items]
        low = float(floor.min()) if len(floor) else 0.0
        return Masses(
            log_a=torch.where(self.live_items, self.log_b, low),
            log_b=torch.where(self.live_queries, self.log_a, -math.inf),
            live_queries=self.live_items, live_items=self.live_queries,
            rows=self.columns, columns=self.rows, queries=self.items, items=self.queries,
        )  # fmt: skip


def masses(
    sim: Similarity,
    *,
    duplicates: Counting = "share",
    query_groups: int | None = None,
) -> Masses:
    """Masses over what is live.

    Args:
        sim: the similarity, with masses of its own or without.
        duplicates: "share" gives exact copies of a query the mass of one.
        query_groups: how many things the queries are about, where several are about one.
    """
    live_queries, live_items = reduce.live(sim)
    weight = reduce.query_weights(sim, duplicates=duplicates)
    rows = reduce.count(live_queries, everywhere=sim.shard == "queries")
    columns = reduce.count(live_items, everywhere=sim.shard == "gallery")
    total = torch.where(live_queries, weight, 0).sum()
    total = float(comm.all_sum(total) if sim.shard == "queries" else total)
    # Given weights have any scale: only their ratios count.
    queries = float(rows) if sim.query_mass is not None else round(total, 6)
    if query_groups is not None:
        queries = min(queries, float(query_groups))
    mass = reduce.gallery_masses(sim)
    held = torch.where(live_items, mass, 0).sum()
    held = float(comm.all_sum(held) if sim.shard == "gallery" else held)
    return Masses(
        log_a=(weight / max(total, math.ulp(0.0))).log().to(sim.dtype),
        log_b=torch.where(live_items, mass / max(held, math.ulp(0.0)), 0).log().to(sim.dtype),
        live_queries=live_queries, live_items=live_items,
        rows=rows, columns=columns, queries=queries, items=float(columns),
    )  # fmt: skip


def centred(x: Tensor, alive: Tensor, *, split: bool) -> tuple[Tensor, float]:
    """X with mean zero over the live ones, 0 for the dead, and the mean that was taken.

    Args:
        x: (k,) one number per row, or per column.
        alive: (k,) bool.
        split: whether they are split over processes.
    """
    total = torch.stack([torch.where(alive, x, 0).double().sum(), alive.double().sum()])
    if split:
        total = comm.all_sum(total)
    mean = float(total[0] / total[1].clamp_min(1))
    return torch.where(alive, x - mean, torch.zeros_like(x)), mean


@dataclass(frozen=True)
class Choice:
    """The marginals of a fit and why.

    Attributes:
        form: see the module.
        rho: softness of the gallery marginal.
        note: "" or the reason, for a person.
    """

    form: Form
    rho: float = 1.0
    note: str = ""


def choose(bank: Bank, found: Masses, rho: float | Literal["auto"]) -> Choice:
    """The marginals to fit a bank with: those that were asked for, or that suit the counts.

    Only where the test queries themselves are fitted on do the counts say anything.
    """
    if rho != "auto":
        return Choice("as given", float(rho))
    if bank.label != "transductive":
        return Choice("equality")
    n, m = found.rows, found.columns
    counted = f"{_counted(bank, found)} for {m:,} items"
    stated = bank.gallery_groups is not None
    as_it_is = f"{option('rho', 0)} if {{}}, which leaves all as it is"
    if found.queries == found.items:
        if max(n, m) >= _SHOWN:
            return Choice("equality")
        way = as_it_is.format("several want one item and others none")
        return Choice("equality", 1.0, f"{counted}: {_alike(bank, found)}; say {way}")
    if found.queries < found.items:
        if bank.gallery_groups is not None and bank.gallery_groups < m:
            way = as_it_is.format("some items have no query")
            note = f"{counted} in groups: every item equally probable; say {way}"
            return Choice("grouped", 1.0, note)
        known = "" if stated else f"{option('grouped')} if several items are of one query, "
        one = "group" if bank.query_groups == round(found.queries) < found.rows else "query"
        many = "groups" if one == "group" else "queries"
        way = known + as_it_is.format(f"several {many} want one item")
        note = f"{counted}: each item counts for one {one} at most; say {way}"
        return Choice("few queries", 1.0, note)
    if bank.query_groups is not None and bank.query_groups >= n:
        own = bank.gallery_groups is None or bank.gallery_groups >= reduce.total_gallery(bank.sim)
        said = ", one-to-one as stated" if own else f" of {bank.gallery_groups:,} groups"
        way = as_it_is.format("several want one item")
        note = f"{counted}{said}: queries may have no item; say {way}"
        return Choice("one-to-one", 1.0, note)
    known = "" if stated else f"{option('one-to-one')} if most queries have no item, "
    way = known + as_it_is.format("many items have no query")
    return Choice("equality", 1.0, f"{counted}: all items count as equally probable; say {way}")


def _alike(bank: Bank, found: Masses) -> str:
    """What is asked of as many queries as there are items."""
    grouped = bank.query_groups == round(found.queries) < found.rows
    return f"each item counts for one {'group' if grouped else 'query'}"


def _counted(bank: Bank, found: Masses) -> str:
    """The queries as they count: copies as one, those of a group together."""
    counting = round(found.queries)
    if counting >= found.rows:
        return f"{found.rows:,} queries"
    if counting == bank.query_groups:
        return f"{found.rows:,} queries of {counting:,} group{'s' if counting > 1 else ''}"
    return f"{counting:,} distinct {'query' if counting == 1 else 'queries'}"
