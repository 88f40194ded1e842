"""Sinkhorn sweeps over a two-sided neighbour graph and a sampled tail, for N x M beyond sweeping.

Exponentials are summed exactly over the edges, the union of every query's k nearest items and every
item's k nearest queries, and estimated elsewhere from R sampled columns J and R sampled rows I:

    sum_j e_ij  ~  sum_{j in E_i} e_ij + (M - |E_i|) / |J minus E_i|  sum_{j in J minus E_i} e_ij

A graph of one side only leaves items without any edge, which then have no mass at all.
"""

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from rerank.core.errors import NeedsEmbeddings, RerankError
from rerank.core.rows import slices
from rerank.core.similarity import Axis, Pair, Similarity
from rerank.passes import order
from rerank.passes.sinkhorn.plain import exp_over, finite_or_zero
from rerank.passes.sinkhorn.sweepers import Sweeper

_SEED = 0
# Best scores of a row that are kept beside the edges: enough for a temperature.
_NEAREST = 16
# Sampled scores that are exponentiated at once: as many as the cache holds; and on a card, where a
# launch has to be worth it.
_BLOCK, _BLOCK_GPU = 1024 * 1024, 64 * 1024 * 1024


@dataclass(frozen=True, eq=False)
class Graph:
    """Scores of the edges and of the samples; temperatures and potentials come later.

    Attributes:
        sim: where they are from.
        rows: (E,) query of every edge, columns: (E,) its item, scores: (E,).
        items: (R,) the sampled items, queries: (R,) the sampled queries.
        row_tail: (n, R) scores of every query and the sampled items, -inf where an edge is.
        column_tail: (m, R) the same for every item and the sampled queries.
        nearest: the best scores of every query and of every item, best first.
    """

    sim: Pair
    rows: Tensor
    columns: Tensor
    scores: Tensor
    items: Tensor
    queries: Tensor
    row_tail: Tensor
    column_tail: Tensor
    nearest: tuple[Tensor, Tensor]

    @classmethod
    def of(cls, sim: Similarity, neighbours: int, *, samples: int) -> Self:
        """Find the neighbours of both sides (two exact passes) and draw the samples.

        Args:
            sim: a `Pair` on one process.
            neighbours: k, on each side.
            samples: R, on each side.

        Raises:
            NeedsEmbeddings: stored scores.
            RerankError: several processes.
        """
        if not isinstance(sim, Pair):
            raise NeedsEmbeddings.by("a sparse fit finds neighbours among embeddings", sim)
        if sim.shard is not None:
            raise RerankError(
                "a sparse fit runs on one process: give a Pair that is not sharded, or fit "
                "without neighbours"
            )
        n, m = sim.shape
        forward = order.topk(sim, min(neighbours, m))
        backward = order.topk(sim.T, min(neighbours, n))
        rows, columns, scores = _two_sided(forward, backward)
        generator = torch.Generator().manual_seed(_SEED)
        items = _sample(m, samples, generator).to(sim.device)
        queries = _sample(n, samples, generator).to(sim.device)
        # Thin, so they are kept.
        row_tail = _products(sim, "queries", sim.augmented_rows("gallery", items))
        column_tail = _products(sim, "gallery", sim.augmented_rows("queries", queries))
        _strike(row_tail, rows, columns, items, m)
        _strike(column_tail, columns, rows, queries, n)
        nearest = forward.scores[:, :_NEAREST].clone(), backward.scores[:, :_NEAREST].clone()
        return cls(sim, rows, columns, scores, items, queries, row_tail, column_tail, nearest)

    def biased(self, gallery_bias: Tensor) -> "Graph":
        """The same of scores with one number added per item."""
        bias = gallery_bias.to(self.scores)
        return replace(
            self,
            sim=self.sim.add_gallery_bias(gallery_bias),
            scores=self.scores + bias[self.columns],
            row_tail=self.row_tail + bias[self.items],
            column_tail=self.column_tail + bias[:, None],
        )

    @property
    def T(self) -> "Graph":  # noqa: N802  the mathematical transpose, as in numpy
        """The same of the other direction."""
        return Graph(
            sim=self.sim.T, rows=self.columns, columns=self.rows, scores=self.scores,
            items=self.queries, queries=self.items, row_tail=self.column_tail,
            column_tail=self.row_tail, nearest=(self.nearest[1], self.nearest[0]),
        )  # fmt: skip


class Sparse(Sweeper):
    """One pass over edges and samples instead of all pairs."""

    def __init__(self, graph: Graph, tau: float, log_a: Tensor) -> None:
        super().__init__(graph.sim, tau, log_a)
        n, m = self.sim.shape
        self.graph = graph
        self._by_row = _Side(graph.rows, graph.columns, graph.row_tail, graph.items, m)
        self._by_column = _Side(graph.columns, graph.rows, graph.column_tail, graph.queries, n)
        self._last = torch.zeros(m, dtype=self.sim.dtype, device=self.sim.device)

    def __call__(self, gallery_bias: Tensor) -> tuple[Tensor, Tensor]:
        """See `Sweeper`. The column masses are scaled to the sum that exact ones have."""
        self._last = gallery_bias
        log_u, log_mass, _ = self._sums(gallery_bias)
        return log_u * self.tau, log_mass.to(self.sim.dtype)

    def _sums(self, gallery_bias: Tensor) -> tuple[Tensor, Tensor, list["_Sums"]]:
        """Log u (n,), log column masses (m,), and the sums over both axes that they come from."""
        g = gallery_bias / self.tau
        by_row = _Sums(self._by_row, self.graph.scores, self.tau, g)
        log_u = finite_or_zero(self.log_a.double() - by_row.log).to(self.sim.dtype)
        by_column = _Sums(self._by_column, self.graph.scores, self.tau, log_u)
        # Sampled rows and sampled columns do not agree on the whole mass; without this the
        # iteration would drift by their difference and never end.
        log_mass = by_column.log + g.double()
        log_mass += torch.logsumexp(self.log_a.double(), 0) - torch.logsumexp(log_mass, 0)
        return log_u, log_mass, [by_row, by_column]

    def peaks(
        self, *, query_bias: Tensor, gallery_bias: Tensor, column_shift: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See `Sweeper`."""
        scores, tau = self.graph.scores, self.tau
        rows = _Sums(self._by_row, scores, tau, gallery_bias / tau)
        columns = _Sums(self._by_column, scores, tau, query_bias / tau)
        return rows.top - rows.log, columns.top - columns.log

    def log_columns(self, query_bias: Tensor) -> Tensor:
        """(m,) log sum_i exp((S_ij + f_i) / tau)."""
        found = _Sums(self._by_column, self.graph.scores, self.tau, query_bias / self.tau)
        return found.log.to(self.sim.dtype)

    def doubt(self) -> tuple[float, float]:
        """How far the column masses of the last sweep can be trusted.

        Returns:
            The share of them that was estimated, and their L1 standard error (they sum to one):
            of their own samples, and of the samples in the row sums that they divide by.
        """
        graph = self.graph
        log_u, log_mass, (by_row, by_column) = self._sums(self._last)
        mass = log_mass.exp()
        edges = (graph.scores + self._last[graph.columns]) / self.tau + log_u[graph.rows]
        passed = (edges.double().exp() * by_row.error()[graph.rows]).square()
        variance = (mass * by_column.error()).square().index_add_(0, graph.columns, passed)
        share = (mass * by_column.share()).sum() / mass.sum()
        return float(share), float(variance.sqrt().sum())

    def __str__(self) -> str:
        n, m = self.sim.shape
        share, error = self.doubt()
        return (
            f"sparse: {len(self.graph.rows):,} of {n * m:,} pairs and "
            f"{len(self.graph.items):,} samples a side; {share:.1%} of the mass estimated, "
            f"estimated error {error:.1e}"
        )


def _two_sided(forward: order.TopK, backward: order.TopK) -> tuple[Tensor, Tensor, Tensor]:
    """Edges of both directions without doubles: rows, columns, scores, ordered by row."""
    (n, items), (m, queries) = forward.indices.shape, backward.indices.shape
    arange = torch.arange(max(n, m), device=forward.indices.device)
    rows = torch.cat([arange[:n].repeat_interleave(items), backward.indices.flatten()])
    columns = torch.cat([forward.indices.flatten(), arange[:m].repeat_interleave(queries)])
    scores = torch.cat([forward.scores.flatten(), backward.scores.flatten()])
    keys, place = torch.sort(rows * m + columns)
    first = torch.ones_like(keys, dtype=torch.bool)
    first[1:] = keys[1:] != keys[:-1]
    place = place[first]
    return rows[place], columns[place], scores[place]


def _sample(count: int, samples: int, generator: torch.Generator) -> Tensor:
    """Some of `count` indices without repetition, in order; all of them where they are few."""
    return torch.randperm(count, generator=generator)[: min(samples, count)].sort().values


def _products(sim: Pair, side: Axis, others: Tensor) -> Tensor:
    """Scores of one side against a few rows of the other."""
    count = sim.shape[side == "gallery"]
    return torch.cat([sim.augmented_rows(side, rows) @ others.T for rows in slices(count)])


def _strike(tail: Tensor, own: Tensor, other: Tensor, sampled: Tensor, count: int) -> None:
    """Set to -inf the sampled scores that are edges, which are summed as such."""
    place = torch.full((count,), -1, dtype=torch.int64, device=tail.device)
    place[sampled] = torch.arange(len(sampled), device=tail.device)
    seen = place[other]
    tail[own[seen >= 0], seen[seen >= 0]] = float("-inf")


class _Side:
    """What the sums over one side read.

    Attributes:
        own: (E,) this end of every edge, other: (E,) the other end.
        tail: (groups, R) sampled scores, sampled: (R,) whose they are.
        drawn: (groups,) how many samples are no edges.
        weight: (groups,) how many pairs each of them stands for, itself included.
    """

    def __init__(
        self, own: Tensor, other: Tensor, tail: Tensor, sampled: Tensor, count: int
    ) -> None:
        self.own, self.other, self.tail, self.sampled = own, other, tail, sampled
        self.drawn = torch.isfinite(tail).sum(dim=1)
        left = count - torch.bincount(own, minlength=len(tail))
        self.weight = torch.where(self.drawn > 0, left / self.drawn.clamp(min=1), 0).double()


class _Sums:
    """Sums of exp(S / tau + plus) over each group's edges and its weighted samples, in float64.

    Attributes:
        log: (groups,) their logarithms.
        top: (groups,) the largest exponent.
    """

    def __init__(self, side: _Side, scores: Tensor, tau: float, plus: Tensor) -> None:
        near = scores / tau + plus[side.other]
        groups, samples = side.tail.shape
        top = torch.full((groups,), float("-inf"), dtype=near.dtype, device=near.device)
        top = finite_or_zero(top.scatter_reduce_(0, side.own, near, "amax"))
        self._side = side
        self._sampled, self._squares, self._whole = torch.zeros(
            (3, groups), dtype=torch.float64, device=near.device
        )
        block = _BLOCK if near.device.type == "cpu" else _BLOCK_GPU
        step = max(1, block // max(1, samples))
        for start in range(0, groups, step):
            rows = slice(start, start + step)
            tail = side.tail[rows] / tau + plus[side.sampled]
            top[rows] = torch.maximum(top[rows], tail.amax(dim=1))
            terms = exp_over(tail.sub_(top[rows, None]), 1.0)
            self._sampled[rows] = terms.sum(dim=1, dtype=torch.float64)
            self._squares[rows] = terms.square_().sum(dim=1, dtype=torch.float64)
        self._whole.index_add_(0, side.own, (near - top[side.own]).double().exp())
        self._whole += side.weight * self._sampled
        self.top, self.log = top, self._whole.log() + top

    def share(self) -> Tensor:
        """(groups,) share of a sum that was estimated."""
        return self._side.weight * self._sampled / self._whole

    def error(self) -> Tensor:
        """(groups,) standard error of a sum, relative to it.

        That of a total estimated from r of its terms, drawn without repetition:
        (r / (r - 1)) times their squared distances from their mean. One term says nothing about
        its error, which then is taken to be as large as itself.
        """
        weight, drawn = self._side.weight, self._side.drawn
        spread = self._squares - self._sampled.square() / drawn.clamp(min=1)
        spread = spread * drawn / (drawn - 1).clamp(min=1)
        spread = torch.where(drawn == 1, self._sampled.square(), spread)
        left_out = (1 - 1 / weight.clamp(min=1)).clamp(min=0)
        return weight * (spread.clamp(min=0) * left_out).sqrt() / self._whole
