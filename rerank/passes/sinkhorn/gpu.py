"""Sinkhorn sweeps on a GPU: from embeddings, from panels, or from a stored float16 kernel."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from rerank.core import comm, memory
from rerank.core.similarity import Pair, Similarity
from rerank.passes.panels import centre
from rerank.passes.sinkhorn import gpu_kernels as gpu
from rerank.passes.sinkhorn import plain
from rerank.passes.sinkhorn.stored import Stored
from rerank.passes.sinkhorn.sweepers import Plain, Sweeper, potentials

# Numbers in a panel: 256 MB of float16, so that launches cost nothing beside the work; and rows of
# one over a large gallery, fewer of which would leave a product nothing to share.
_PANEL_ELEMENTS, _PANEL_ROWS = 128 * 1024 * 1024, 1024
# The share of the budget that a panel may take for that.
_PANEL_SHARE = 0.125


class HalfPanels:
    """Row panels in float16 around the means of both sides, or the scores as they are.

    float16 has 3 bits more than bfloat16 at the same speed, and inner products of centred rows fit
    its range; rows are scaled so that the longest ones have norm 1. Panels have an even number of
    columns, the last of which stand for no item: their bias is -inf.
    """

    def __init__(self, sim: Similarity) -> None:
        self.sim, self.row, self.column = sim, None, None
        self._sides: tuple[Tensor, Tensor] | None = None
        self.factor = 1.0
        if isinstance(sim, Pair) and sim.left is None:
            q0, v0 = centre(sim)
            queries, gallery = sim.queries[:] - q0, sim.gallery[:] - v0
            scale = [_longest(side, sim) for side in (queries, gallery)]
            self.factor = scale[0] * scale[1]
            self._sides = (
                gpu.padded(queries / scale[0], torch.float16),
                gpu.padded(gallery / scale[1], torch.float16, rows=gpu.even(len(gallery))),
            )
            self.row = (sim.queries @ v0).double()
            self.column = (sim.gallery @ q0) - torch.dot(v0, q0)

    @property
    def sides(self) -> tuple[Tensor, Tensor] | None:
        """Half-precision rows of both sides, where the scores are inner products."""
        return self._sides

    def bias(self, gallery_bias: Tensor) -> Tensor:
        """Biases of the columns in the units of the panels."""
        whole = gallery_bias if self.column is None else gallery_bias + self.column
        return self.with_padding(whole / self.factor, -math.inf)

    def with_padding(self, x: Tensor, value: float) -> Tensor:
        """Numbers of the items, (m,) or (b, m), with a value for the columns that are none."""
        more = gpu.even(x.shape[-1]) - x.shape[-1]
        return torch.nn.functional.pad(x, (0, more), value=value) if more else x

    def __iter__(self) -> Iterator[tuple[slice, Tensor]]:
        if self._sides is None:
            for rows, block in self.sim.blocks():
                yield rows, self.with_padding(block, 0.0)
            return
        queries, gallery = self._sides
        room = int(_PANEL_SHARE * memory.budget(gallery.device)) // (2 * len(gallery))
        most = max(_PANEL_ELEMENTS // len(gallery), min(_PANEL_ROWS, room))
        step = max(1, min(most, -(-len(queries) // 2)))
        for start in range(0, len(queries), step):
            rows = slice(start, min(start + step, len(queries)))
            yield rows, queries[rows] @ gallery.T


def _longest(rows: Tensor, sim: Similarity) -> float:
    """The largest norm of any row, over all processes; 1 where there is none."""
    norms = torch.linalg.vector_norm(rows, dim=1)
    top = norms.amax() if len(norms) else norms.new_zeros(())
    if sim.shard is not None:
        top = comm.all_max(top)
    return float(top) or 1.0


class _OnGpu(Sweeper):
    """What the streamed sweeps share: constants of rows, collectives, columns that underflowed."""

    def __init__(
        self, sim: Similarity, tau: float, log_a: Tensor, panels: HalfPanels | None = None
    ) -> None:
        super().__init__(sim, tau, log_a)
        self.panels = HalfPanels(sim) if panels is None else panels
        self.rounded = self.panels.sides is not None
        self.tau_units = tau / self.panels.factor

    def polish(self, gallery_bias: Tensor) -> tuple[Tensor, Tensor]:
        """See `Sweeper`."""
        return plain.sweep(self.sim, self.tau, gallery_bias, self.log_a)

    def _f(self, lse: Tensor) -> Tensor:
        return potentials(lse, self.panels.row, self.log_a, self.tau)


class FromPanels(_OnGpu):
    """One matrix product per sweep: a panel, its rows, its columns while it is at hand."""

    def __call__(self, gallery_bias: Tensor) -> tuple[Tensor, Tensor]:
        """See `Sweeper`."""
        n, m = self.sim.shape
        bias = self.panels.bias(gallery_bias)
        lse = torch.empty(n, dtype=torch.float64, device=self.sim.device)
        mass = torch.zeros(m, dtype=torch.float64, device=self.sim.device)
        for rows, panel in self.panels:
            lse[rows], columns = gpu.panel_sweep(panel, bias, self.tau_units, self.log_a[rows])
            mass += columns[:m]
        f = self._f(lse)
        if self.sim.shard == "queries":
            mass = comm.all_sum(mass)
        lost = mass < plain.TINY_MASS
        log_mass = mass.log().to(self.sim.dtype)
        if bool(lost.any()):
            exact = plain.logsumexp(self.sim, self.tau, over="queries", plus=f)
            log_mass = torch.where(lost, exact + gallery_bias / self.tau, log_mass)
        return f, log_mass


class StoredHalf(Stored):
    """A float16 kernel, read twice per sweep."""

    smallest = gpu.STORED_SMALLEST
    drift = 4.0
    rounded = True

    def __init__(self, sim: Similarity, tau: float, log_a: Tensor) -> None:
        self._panels = HalfPanels(sim)
        super().__init__(sim, tau, log_a, self._panels)
        # float16 spans little: the first potentials come from a streamed sweep.
        self._first = FromPanels(sim, tau, log_a, self._panels)

    def _unstored(self) -> Sweeper:
        return FromPanels(self.sim, self.tau, self.log_a, self._panels)

    def polish(self, gallery_bias: Tensor) -> tuple[Tensor, Tensor]:
        """See `Sweeper`."""
        return Plain(self.sim, self.tau, self.log_a)(gallery_bias)

    def _allocate(self, rows: int, columns: int) -> Tensor:
        shape = rows, gpu.even(columns)
        return torch.empty(shape, dtype=torch.float16, device=self.sim.device)

    def _store(self, panel: Tensor, bias: Tensor, out: Tensor) -> Tensor:
        factor = self._panels.factor
        bias = self._panels.with_padding(bias / factor, -math.inf)
        return gpu.store_panel(panel, bias, self.tau / factor, out) * factor

    def _sweep(self, piece: Tensor, v: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
        sums, columns = gpu.stored_sweep(piece, self._panels.with_padding(v, 0.0), a)
        return sums, columns[: len(v)]

    def _peaks(self, piece: Tensor, v: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        return super()._peaks(piece[:, : len(v)], v, u)


def make(name: str, sim: Similarity, tau: float, log_a: Tensor) -> Sweeper:
    """The sweep "panels" or "stored float16" of a similarity on a GPU."""
    made = StoredHalf if name == "stored float16" else FromPanels
    return made(sim, tau, log_a)
