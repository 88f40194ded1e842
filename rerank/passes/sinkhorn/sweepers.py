"""Sinkhorn sweeps as objects that remember: g -> (f, log column masses), one class per regime.

All results are those of the log domain. Here are the sweeps that read scores anew every time;
`rerank.passes.sinkhorn.stored` has those that keep their exponentials.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from rerank.core import comm, progress
from rerank.core.rows import slices as chunks
from rerank.core.similarity import Similarity
from rerank.passes import panels as panels_of
from rerank.passes.panels import Panels
from rerank.passes.sinkhorn import plain
from rerank.passes.threads import Workers


class ScorePanels(Protocol):
    """Row panels and what they leave out: S_ij = panel_ij + row_i + column_j."""

    @property
    def row(self) -> Tensor | None:
        """(n,) float64 constants of the rows, or None for zero."""
        ...

    @property
    def column(self) -> Tensor | None:
        """(m,) constants of the columns, or None for zero."""
        ...

    def __iter__(self) -> Iterator[tuple[slice, Tensor]]:
        """(rows, (b, m) scores)."""
        ...


class Sweeper(ABC):
    """One pass of Sinkhorn, `plain.sweep`, prepared for many calls.

    Attributes:
        rounded: whether scores or exponentials are coarser than float32, so that the last pass of
            a fit should be `polish`.
    """

    rounded: bool = False

    def __init__(self, sim: Similarity, tau: float, log_a: Tensor) -> None:
        self.sim, self.tau, self.log_a = sim, tau, log_a

    @abstractmethod
    def __call__(self, gallery_bias: Tensor) -> tuple[Tensor, Tensor]:
        """(f (n,), c (m,)) of `plain.sweep` for these gallery potentials."""

    def polish(self, gallery_bias: Tensor) -> tuple[Tensor, Tensor]:
        """The same in full precision."""
        return self(gallery_bias)

    def peaks(
        self, *, query_bias: Tensor, gallery_bias: Tensor, column_shift: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Largest log share of every row (n,) and of every column (m,); see `plain.peaks`."""
        return plain.peaks(
            self.sim, self.tau, query_bias=query_bias, gallery_bias=gallery_bias,
            column_shift=column_shift,
        )  # fmt: skip

    def quiet(self) -> AbstractContextManager[None]:
        """Where the loop around the sweeps should run."""
        return nullcontext()

    def at(self, tau: float, log_a: Tensor) -> "Sweeper | None":  # noqa: ARG002
        """The sweep at another temperature, made of what this one holds and then has no more.

        None where it holds nothing that would save time.
        """
        return None

    def biased(self, sim: Similarity, gallery_bias: Tensor) -> "Sweeper | None":  # noqa: ARG002
        """The sweep of `sim`, the same scores with a number added per item; as `at`."""
        return None

    def columns(
        self,
        t: float,
        *,
        query_mass: Tensor,
        gallery_bias: Tensor,  # noqa: ARG002
    ) -> tuple[Tensor, Tensor] | None:
        """`rerank.passes.cross.softmax_columns` at a temperature t, rounded, from what is held.

        None where nothing is that would save time. What is held stays.
        """
        return None

    def cross(self, *, query_bias: Tensor, gallery_bias: Tensor) -> Tensor | None:  # noqa: ARG002
        """(d, d) T^T P V of the plan and the embeddings, rounded, from what is held; or None.

        What is held is given up.
        """
        return None


class Plain(Sweeper):
    """The log domain in plain torch; exact in any precision."""

    def __call__(self, gallery_bias: Tensor) -> tuple[Tensor, Tensor]:
        """See `Sweeper`."""
        return plain.sweep(self.sim, self.tau, gallery_bias, self.log_a)


class Fresh(Sweeper):
    """Row panels computed anew at every call and swept by Numba while they are in the cache."""

    def __init__(self, sim: Similarity, tau: float, log_a: Tensor, panels: Panels) -> None:
        super().__init__(sim, tau, log_a)
        self.panels, self._workers = panels, Workers()
        self.rounded = panels.half is not None

    def __call__(self, gallery_bias: Tensor) -> tuple[Tensor, Tensor]:
        """See `Sweeper`."""
        from rerank.passes.sinkhorn.cpu import fresh

        n, m = self.sim.shape
        bias = as_array(plus(gallery_bias, self.panels.column))
        a = as_array(self.log_a.exp())
        lse = torch.empty(n, dtype=torch.float64)
        mass = np.zeros(m)

        # Threads share the work inside a tall panel, where others have a panel each.
        tall = self.panels.is_tall

        def each(part: Callable[[slice], None], parts: Sequence[slice]) -> Iterator[None]:
            return self._workers.each(part, parts, 1)

        def sweep(rows: slice) -> np.ndarray:
            panel = as_array(
                self.panels.tall_block(rows, each) if tall else self.panels.block(rows)
            )

            def part(inside: slice) -> np.ndarray:
                of = slice(rows.start + inside.start, rows.start + inside.stop)
                tops, sums, total = fresh(panel[inside], bias, self.tau, a[of])
                lse[of] = log_sum(tops, sums, self.tau)
                return total

            parts = list(chunks(len(panel), panels_of.rows_of(m)))
            if len(parts) == 1:
                return part(parts[0])
            totals = self._workers.map(part, parts)
            return np.sum(list(totals), axis=0)

        panels = self.panels.slices()
        with progress.task("Sinkhorn sweep", n) as advance:
            totals = map(sweep, panels) if tall else self._workers.each(sweep, panels, 4 * m)
            for rows, total in zip(panels, totals, strict=True):
                mass += total
                advance(rows.stop - rows.start)
        f = potentials(lse, self.panels.row, self.log_a, self.tau)
        total = torch.from_numpy(mass)
        if self.sim.shard == "queries":
            total = comm.all_sum(total)
        log_mass = total.log().to(self.sim.dtype)
        lost = total < plain.TINY_MASS
        if bool(lost.any()):
            exact = plain.logsumexp(self.sim, self.tau, over="queries", plus=f)
            log_mass = torch.where(lost, exact + gallery_bias / self.tau, log_mass)
        return f, log_mass

    def polish(self, gallery_bias: Tensor) -> tuple[Tensor, Tensor]:
        """See `Sweeper`."""
        if not self.rounded:
            return self(gallery_bias)
        full = panels_of.full(self.sim, tall=self.panels.tall)
        return Fresh(self.sim, self.tau, self.log_a, full)(gallery_bias)


def as_array(x: Tensor) -> np.ndarray:
    """The numpy view that the kernels take: contiguous, bfloat16 as its 16 bits, else float32."""
    if x.dtype == torch.bfloat16:
        return x.contiguous().view(torch.uint16).numpy()
    return x.float().contiguous().numpy()


def plus(gallery_bias: Tensor, column: Tensor | None) -> Tensor:
    """Biases of the columns with the constants that panels leave out."""
    return gallery_bias if column is None else gallery_bias + column


def log_sum(tops: np.ndarray, sums: np.ndarray, tau: float) -> Tensor:
    """Log-sum-exp of rows from their maxima and the sums of what is below, float64."""
    with np.errstate(divide="ignore"):
        return torch.from_numpy(np.log(sums.astype(np.float64)) + tops.astype(np.float64) / tau)


def potentials(lse: Tensor, row: Tensor | None, log_a: Tensor, tau: float) -> Tensor:
    """Query potentials tau (log a - lse), with 0 for rows without any finite score."""
    if row is not None:
        lse = lse + row / tau
    f = plain.finite_or_zero(log_a.double() - lse) * tau
    return f.to(log_a.dtype)
