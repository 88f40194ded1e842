"""Sinkhorn sweeps over a two-sided neighbour graph and a sampled tail, for N x M beyond sweeping.

Exponentials are summed exactly over the edges, the union of every query's k nearest items and every
item's k nearest queries, and estimated elsewhere from R sampled columns J and R sampled rows I:

    sum_j e_ij  ~  sum_{j in E_i} e_ij + (M - |E_i|) / |J minus E_i|  sum_{j in J minus E_i} e_ij

A graph of one side only leaves items without any edge, which then have no mass at all.
"""

import torch
from torch import Tensor

from rerank import order
from rerank.errors import RerankError
from rerank.kernels.plain import finite_or_zero
from rerank.kernels.sweepers import Sweeper
from rerank.rows import slices
from rerank.similarity import Axis, Pair, Similarity

_SEED = 0


class Sparse(Sweeper):
    """One pass over edges and samples instead of all pairs.

    Attributes:
        edges: number of edges of the graph.
        share: mean share of the column masses that was estimated in the last sweep.
        estimated_error: L1 standard error of the column masses (which sum to one) in that sweep.
    """

    def __init__(
        self, sim: Similarity, tau: float, log_a: Tensor, *, neighbours: int, samples: int = 1024
    ) -> None:
        """Find the neighbours of both sides (two exact passes) and draw the samples.

        Args:
            sim: a `Pair` on one process.
            tau: temperature in score units.
            log_a: (n,) log masses of the queries.
            neighbours: k, on each side.
            samples: R, on each side.
        """
        super().__init__(sim, tau, log_a)
        if not isinstance(sim, Pair) or sim.shard is not None:
            raise RerankError(
                "a sparse fit needs embeddings on one process: give a Pair that is not sharded, "
                "or fit without neighbours"
            )
        n, m = sim.shape
        device = sim.device
        rows, columns, scores = _two_sided(sim, min(neighbours, m), min(neighbours, n))
        self.rows, self.columns, self.scores = rows, columns, scores
        self.edges = len(rows)
        generator = torch.Generator().manual_seed(_SEED)
        self._items = _sample(m, samples, generator).to(device)
        self._queries = _sample(n, samples, generator).to(device)
        # (n, R) and (m, R): thin, so they are kept.
        self._row_tail = _products(sim, "queries", sim.augmented_rows("gallery", self._items))
        self._column_tail = _products(sim, "gallery", sim.augmented_rows("queries", self._queries))
        _strike(self._row_tail, rows, columns, self._items, m)
        _strike(self._column_tail, columns, rows, self._queries, n)
        self._row_weight = _weight(self._row_tail, torch.bincount(rows, minlength=n), m)
        self._column_weight = _weight(self._column_tail, torch.bincount(columns, minlength=m), n)
        self.share, self.estimated_error = 0.0, 0.0

    def __call__(self, gallery_bias: Tensor) -> tuple[Tensor, Tensor]:
        """See `Sweeper`."""
        n, m = self.sim.shape
        g = gallery_bias / self.tau
        near = self.scores / self.tau
        lse, _ = _logsumexp(
            near + g[self.columns], self.rows, n,
            self._row_tail / self.tau + g[self._items], self._row_weight,
        )  # fmt: skip
        log_u = finite_or_zero(self.log_a.double() - lse).to(self.sim.dtype)
        log_mass, tail = _logsumexp(
            near + log_u[self.rows], self.columns, m,
            self._column_tail / self.tau + log_u[self._queries], self._column_weight,
        )  # fmt: skip
        log_mass = log_mass + g.double()
        mass = log_mass.exp()
        self.share = float((mass * tail[0]).sum() / mass.sum())
        self.estimated_error = float((mass * tail[1]).sum())
        return log_u * self.tau, log_mass.to(self.sim.dtype)

    def __str__(self) -> str:
        n, m = self.sim.shape
        return (
            f"sparse: {self.edges:,} of {n * m:,} pairs and {len(self._items):,} samples a side; "
            f"{self.share:.1%} of the mass estimated, standard error {self.estimated_error:.1e}"
        )


def _two_sided(sim: Pair, items: int, queries: int) -> tuple[Tensor, Tensor, Tensor]:
    """Edges of both directions without doubles: rows, columns, scores, ordered by row."""
    n, m = sim.shape
    forward, backward = order.topk(sim, items), order.topk(sim.T, queries)
    arange = torch.arange(max(n, m), device=sim.device)
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


def _weight(tail: Tensor, degree: Tensor, count: int) -> Tensor:
    """How many unsampled pairs each sampled one that is no edge stands for, itself included."""
    drawn = torch.isfinite(tail).sum(dim=1)
    return torch.where(drawn > 0, (count - degree) / drawn.clamp(min=1), 0).double()


def _logsumexp(
    near: Tensor, group: Tensor, groups: int, tail: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor]:
    """Log-sum-exp over a group's edges and its weighted samples, float64.

    Returns:
        The logarithms (groups,), and (2, groups): the share of the samples in the sum, and the
        standard error of the sum relative to it.
    """
    top = torch.full((groups,), float("-inf"), dtype=near.dtype, device=near.device)
    top.scatter_reduce_(0, group, near, "amax")
    top = finite_or_zero(torch.maximum(top, tail.amax(dim=1)))
    edges = torch.zeros(groups, dtype=torch.float64, device=near.device)
    edges.index_add_(0, group, (near - top[group]).double().exp())
    terms = (tail - top[:, None]).exp()
    sampled = terms.sum(dim=1, dtype=torch.float64)
    drawn = torch.isfinite(tail).sum(dim=1).double()
    whole = edges + weight * sampled
    # Variance of a sum of `drawn` of count - degree terms, drawn without repetition.
    spread = terms.double().square().sum(dim=1) - sampled.square() / drawn.clamp(min=1)
    left_out = (1 - 1 / weight.clamp(min=1)).clamp(min=0)
    error = weight * (spread.clamp(min=0) * left_out).sqrt()
    filled = whole.clamp(min=torch.finfo(torch.float64).tiny)
    return whole.log() + top, torch.stack([weight * sampled / filled, error / filled])
