"""Moments of weighted pairs of a query and an item: what a linear map between two sides needs.

With weights P (n, m), row sums a and column sums b, and rows T (n, d), V (m, d):

    T^T diag(a) T,  V^T diag(b) V,  T^T P V      (d, d) each
    T^T a,  V^T b                                (d,)
    sum P

A plan is read in row panels and forgotten; known pairs are a list. Sums over processes that share
an axis end in a collective, so shares give the numbers of the whole.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from rerank.core import comm, progress
from rerank.core.arrays import inner, inner_bfloat16
from rerank.core.rows import Rows, StoredRows, slices
from rerank.core.similarity import Pair, Similarity, place
from rerank.passes import panels
from rerank.passes.reduce import masses_moments
from rerank.passes.sinkhorn.choose import compiled, largest_share
from rerank.passes.sinkhorn.plain import row_maxima
from rerank.passes.sinkhorn.sweepers import Sweeper, as_array, plus
from rerank.passes.threads import Workers

# Rounded copies of all items pay from so many queries on.
_FEWEST_ROUNDED = 256


@dataclass(frozen=True, eq=False)
class Moments:
    """Sums over pairs, float64; two of them add up.

    Attributes:
        mass: () sum of the weights.
        queries: (d,) weighted sum of the queries; items: (d,) of the items.
        qq: (d, d) second moment of the queries; vv: of the items; qv: between them.
    """

    mass: Tensor
    queries: Tensor
    items: Tensor
    qq: Tensor
    vv: Tensor
    qv: Tensor

    def __add__(self, other: "Moments") -> "Moments":
        return Moments(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def __sub__(self, other: "Moments") -> "Moments":
        return Moments(*(getattr(self, f.name) - getattr(other, f.name) for f in fields(self)))

    def scaled(self, factor: float) -> "Moments":
        """With all weights times a number."""
        return Moments(*(factor * getattr(self, f.name) for f in fields(self)))

    @property
    def T(self) -> "Moments":  # noqa: N802  the other direction
        """Items as queries."""
        return Moments(self.mass, self.items, self.queries, self.vv, self.qq, self.qv.T)


@dataclass(frozen=True, eq=False)
class PlanMoments:
    """What one pass over a plan finds.

    Attributes:
        moments: with the plan's own masses, which sum to about one.
        of_queries: share of the mass that lies in the largest entry of its row; of_items: of its
            column.
        of_items: see `of_queries`.
    """

    moments: Moments
    of_queries: float
    of_items: float

    @property
    def confidence(self) -> float:
        """Mean of both shares."""
        return (self.of_queries + self.of_items) / 2


def plan_moments(
    sim: Pair,
    tau: float,
    *,
    gallery_bias: Tensor,
    query_mass: Tensor,
    query_bias: Tensor | None = None,
    step: Sweeper | None = None,
) -> PlanMoments:
    """Moments of the plan P_ij = a_i softmax_j((S_ij + g_j) / tau), in one pass over the pairs.

    Args:
        sim: embeddings of both sides.
        tau: temperature in score units.
        gallery_bias: (m,) g.
        query_mass: (n,) a, summing to one over all processes.
        query_bias: (n,) f with P = exp((S + f + g) / tau), where the gallery is split over
            processes and no row is whole.
        step: a sweep of this plan, whose kernel is read instead of the scores where it holds one.
    """
    if step is not None and (made := _of_kernel(sim, tau, gallery_bias, query_mass, step)):
        return made
    n, m = sim.shape
    kind = {"dtype": torch.float64, "device": sim.device}
    d = sim.queries.shape[1]
    qv = torch.zeros((d, d), **kind)
    a, largest = torch.zeros(n, **kind), torch.zeros(n, **kind)
    b, tallest = torch.zeros(m, **kind), torch.zeros(m, **kind)
    bias = gallery_bias.to(sim.device, sim.dtype)
    if query_bias is None and compiled(sim) and isinstance(sim.gallery, Tensor):
        found = _swept(sim, tau, bias, query_mass)
        a, largest, b, tallest, qv = found
        return _gathered(sim, a, largest, b, tallest, qv, rounded=True)
    with progress.task("moments of the plan", n) as advance:
        for rows, block in sim.blocks():
            block.add_(bias).div_(tau)
            if query_bias is None:
                block.sub_(block.amax(dim=1, keepdim=True)).exp_()
                held = query_mass[rows].double() / block.sum(dim=1, dtype=torch.float64)
                block.mul_(held[:, None].to(block.dtype))
            else:
                block.add_((query_bias[rows, None] / tau).to(block.dtype)).exp_()
            a[rows] = block.sum(dim=1, dtype=torch.float64)
            largest[rows] = row_maxima(block).double()
            b += block.sum(dim=0, dtype=torch.float64)
            tallest = torch.maximum(tallest, block.amax(dim=0).double())
            qv += sim.queries[rows].double().T @ _times(block, sim.gallery)
            advance(len(block))
    return _gathered(sim, a, largest, b, tallest, qv)


def _of_kernel(
    sim: Pair, tau: float, gallery_bias: Tensor, query_mass: Tensor, step: Sweeper
) -> PlanMoments | None:
    """The moments from a stored kernel, or None where it is not one of this plan."""
    if sim.shard is not None or place(step.sim) != place(sim) or step.tau != tau:
        return None
    if not torch.allclose(step.log_a.double().exp(), query_mass, rtol=1e-4, atol=0.0):
        return None
    with step.quiet():
        f, log_mass = step(gallery_bias)
        shift = log_mass.double().to(sim.dtype) - gallery_bias / tau
        rows, columns = step.peaks(query_bias=f, gallery_bias=gallery_bias, column_shift=shift)
    with progress.task("moments of the plan", len(f)):
        qv = step.cross(query_bias=f, gallery_bias=gallery_bias)
    if qv is None:
        return None
    b = log_mass.double().exp()
    largest, tallest = query_mass * rows.double().exp(), b * columns.double().exp()
    return _gathered(sim, query_mass, largest, b, tallest, qv, rounded=True)


def _swept(
    sim: Pair, tau: float, bias: Tensor, query_mass: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Sums and largest entries of rows and columns, and T^T P V, by the compiled sweep.

    Where bfloat16 products are fast, scores and weights are rounded to it, items around their mean:
    an alignment moves by less than the noise of any of its pairs.
    """
    n, m = sim.shape
    assert isinstance(sim.gallery, Tensor)
    most_queries, most_items, budget = largest_share(sim)
    rounds = panels.can_halve(sim, most_queries + most_items, budget)
    source = panels.halved(sim) if rounds else panels.full(sim)
    weigh = _weighing(source, plus(bias, source.column), tau, query_mass.float())
    rows_found = torch.empty((2, n), dtype=torch.float64)
    columns = torch.zeros((2, m), dtype=torch.float64)
    qv = torch.zeros((sim.queries.shape[1],) * 2, dtype=torch.float64)

    def part(rows: slice) -> tuple[Tensor, Tensor]:
        of_rows, of_columns, product = weigh(rows)
        rows_found[:, rows] = of_rows.double()
        # Weights of a few hundred rows: their sums are exact enough in float32.
        return of_columns, sim.queries[rows].T @ product

    parts, workers = panels.slices(n, m), Workers()
    with progress.task("moments of the plan", n) as advance:
        for rows, (found, product) in zip(parts, workers.each(part, parts, 8 * m), strict=True):
            columns[0] += found[0]
            columns[1] = torch.maximum(columns[1], found[1].double())
            qv += product
            advance(rows.stop - rows.start)
    return rows_found[0], rows_found[1], columns[0], columns[1], qv


def _weighing(
    source: panels.Panels, bias: Tensor, tau: float, masses: Tensor
) -> Callable[[slice], tuple[Tensor, Tensor, Tensor]]:
    """A function of a slice of rows: sums and largest weights of them and of columns, and P V."""
    from rerank.passes.sinkhorn.cpu import plan

    sim = source.sim
    assert isinstance(sim, Pair) and isinstance(sim.gallery, Tensor)
    mean = None if source.half is None else panels.centre(sim)[1]
    turned = (sim.gallery if source.half is None else source.half[1]).T.contiguous()

    def weigh(rows: slice) -> tuple[Tensor, Tensor, Tensor]:
        panel = source.block(rows).contiguous()
        found = plan(as_array(panel), bias.numpy(), tau, masses[rows].numpy())
        of_rows, of_columns = (torch.from_numpy(x) for x in found)
        if mean is None:
            return of_rows, of_columns, inner(panel, turned)
        product = inner_bfloat16(panel, turned).float()
        return of_rows, of_columns, product.add_(of_rows[0, :, None] * mean)

    return weigh


def softmax_columns(
    sim: Similarity, tau: float, *, query_mass: Tensor, gallery_bias: Tensor | None = None,
    rough: bool = True,
) -> tuple[Tensor, Tensor] | None:  # fmt: skip
    """Column sums of a softmax of every row, and of its squares, in one pass; or None.

        w_ij = softmax_j((S_ij + g_j) / tau);   sum_i a_i w_ij   and   sum_i a_i w_ij^2

    both (m,) float64.

    None where there is no compiled sweep for the similarity: two passes in the log domain serve
    then.

    Args:
        sim: (n, m) scores.
        tau: temperature in score units.
        query_mass: (n,) a; 0 of a query that takes no part.
        gallery_bias: (m,) g; zero by default.
        rough: whether scores and weights may be rounded to bfloat16 where that is faster.
    """
    if not (isinstance(sim, Pair) and isinstance(sim.gallery, Tensor)):
        return None
    if sim.shard == "gallery" or not compiled(sim):
        return None
    from rerank.passes.sinkhorn.cpu import plan

    n, m = sim.shape
    most_queries, most_items, budget = largest_share(sim)

    rounds = rough and most_queries >= _FEWEST_ROUNDED
    rounds = rounds and panels.can_halve(sim, most_queries + most_items, budget)
    source = panels.halved(sim) if rounds else panels.full(sim)
    given = torch.zeros(m, dtype=sim.dtype) if gallery_bias is None else gallery_bias
    bias = as_array(plus(given, source.column))
    mass = query_mass.float()
    inverse = torch.where(mass > 0, 1 / mass, torch.zeros_like(mass))

    def part(rows: slice) -> tuple[np.ndarray, Tensor]:
        panel = source.block(rows).contiguous()
        _, columns = plan(as_array(panel), bias, tau, as_array(mass[rows]))
        return columns[0], inverse[rows] @ panel.float().square_()

    total = torch.zeros((2, m), dtype=torch.float64)
    parts, workers = panels.slices(n, m), Workers()
    with progress.task("popularity", n) as advance:
        found = workers.each(part, parts, 8 * m)
        for rows, (of_columns, of_squares) in zip(parts, found, strict=True):
            total[0] += torch.from_numpy(of_columns)
            total[1] += of_squares
            advance(rows.stop - rows.start)
    sums, squares = comm.all_sum(total) if sim.shard == "queries" else total
    return sums, squares


def _gathered(
    sim: Pair, a: Tensor, largest: Tensor, b: Tensor, tallest: Tensor, qv: Tensor, *,
    rounded: bool = False,
) -> PlanMoments:  # fmt: skip
    """What the parts of all processes come to."""
    if sim.shard == "queries":
        b, qv, tallest = comm.all_sum(b), comm.all_sum(qv), comm.all_max(tallest)
    elif sim.shard == "gallery":
        a, qv, largest = comm.all_sum(a), comm.all_sum(qv), comm.all_max(largest)
    kind = torch.float32 if rounded else torch.float64
    qq, queries = masses_moments(sim.queries, a, products=kind)
    vv, items = masses_moments(sim.gallery, b, products=kind)
    sums = torch.stack([a.sum(), largest.sum(), tallest.sum()])
    if sim.shard == "queries":
        qq, queries, sums[:2] = comm.all_sum(qq), comm.all_sum(queries), comm.all_sum(sums[:2])
    elif sim.shard == "gallery":
        vv, items, sums[2:] = comm.all_sum(vv), comm.all_sum(items), comm.all_sum(sums[2:])
    shares = (sums[1:] / sums[0].clamp_min(1e-300)).tolist()
    return PlanMoments(Moments(sums[0], queries, items, qq, vv, qv), *shares)


def _times(block: Tensor, gallery: Rows) -> Tensor:
    """(b, d) float64 panel times the gallery, whose rows may be stored."""
    if not isinstance(gallery, StoredRows):
        return (block @ gallery).double()
    out = torch.zeros((len(block), gallery.shape[1]), dtype=torch.float64, device=block.device)
    for part in slices(len(gallery)):
        out += block[:, part] @ gallery[part]
    return out


def pair_moments(sim: Pair, queries: Tensor, items: Tensor) -> Moments:
    """Moments of known pairs of mass one: query `queries[p]` belongs to item `items[p]`.

    Args:
        sim: embeddings of both sides, whole in this process.
        queries: (p,) rows; items: (p,) rows.
        items: see `queries`.
    """
    n, m = sim.shape
    d = sim.queries.shape[1]
    qv = torch.zeros((d, d), dtype=torch.float64, device=sim.device)
    queries, items = queries.to(sim.device), items.to(sim.device)
    for part in slices(len(queries)):
        left, right = sim.queries[queries[part]], sim.gallery[items[part]]
        qv += left.double().T @ right.double()
    a = torch.bincount(queries, minlength=n).double()
    b = torch.bincount(items, minlength=m).double()
    qq, first = masses_moments(sim.queries, a)
    vv, second = masses_moments(sim.gallery, b)
    return Moments(a.sum(), first, second, qq, vv, qv)
