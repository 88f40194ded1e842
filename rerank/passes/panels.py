"""Row panels of scores for the fast sweeps: float32, or bfloat16 where only potentials come of it.

    S_ij = <q_i - q0, v_j - v0> + <q_i, v0> + <q0, v_j - v0>

with the means q0 and v0. Embeddings of one model share a large common component, so the first term
is small and survives bfloat16; the others are one number per row and one per column, kept exactly.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from rerank.core import comm, memory
from rerank.core.arrays import FEWEST_ROWS, has_fast_bfloat16, inner_bfloat16
from rerank.core.rows import Each, Rows, StoredRows
from rerank.core.rows import slices as chunks
from rerank.core.similarity import Pair, Similarity

# Rows of a panel: enough for a matrix product, few enough for the cache, where the next step finds
# them: at least _FEWEST numbers, at most _MOST unless that leaves very few rows.
_ROWS, _FEWEST, _MOST = 128, 512 * 1024, 2560 * 1024
# A gallery that is stored is made float32 again for every panel: as many rows of it as the budget
# allows beside everything else, or until that costs next to nothing.
_TALL_SHARE, _TALLEST = 0.5, 256


@dataclass(frozen=True, eq=False)
class Panels:
    """Where the sweeps read scores from: S_ij = panel_ij + row_i + column_j.

    Attributes:
        sim: the similarity, where panels are float32.
        half: centred bfloat16 rows of both sides, where panels are bfloat16.
        row: (n,) float64 constants of the rows, or None for zero.
        column: (m,) constants of the columns, or None for zero.
        tall: whether one panel may take most of the budget, where that saves reading the gallery.
    """

    sim: Similarity
    half: tuple[Tensor, Tensor] | None = None
    row: Tensor | None = None
    column: Tensor | None = None
    tall: bool = False

    @property
    def is_tall(self) -> bool:
        """Whether the gallery is stored, read for every panel, and panels are tall for it."""
        stored = isinstance(self.sim, Pair) and isinstance(self.sim.gallery, StoredRows)
        return self.tall and stored and self.half is None and self.sim.device.type == "cpu"

    def slices(self) -> list[slice]:
        """Where the panels lie."""
        n, m = self.sim.shape
        step = self.sim.block_size
        if self.sim.device.type != "cpu":
            step = self.sim.rows_per_block()
        elif step is None:
            step = tall_rows_of(m, memory.budget()) if self.is_tall else rows_of(m)
        return slices(n, m, step)

    @property
    def block(self) -> Callable[[slice], Tensor]:
        """What makes (b, m) one panel of some rows, which the caller may overwrite."""
        return self.sim.block if self.half is None else partial(_rounded, *self.half)

    def tall_block(self, rows: slice, each: Each) -> Tensor:
        """The same of a gallery that is stored, its parts read side by side by `each`."""
        sim = self.sim
        assert isinstance(sim, Pair) and isinstance(sim.gallery, StoredRows)
        block = sim.gallery.inner(sim.queries[rows], each)
        if sim.left is not None and sim.right is not None:
            block.addmm_(sim.left[rows], sim.right.T)
        return block

    def __iter__(self) -> Iterator[tuple[slice, Tensor]]:
        block = self.block
        for rows in self.slices():
            yield rows, block(rows)


def _rounded(queries: Tensor, gallery: Tensor, rows: slice) -> Tensor:
    return inner_bfloat16(queries[rows], gallery)


def rows_of(m: int) -> int:
    """Rows of a panel of m columns."""
    return max(FEWEST_ROWS, min(_ROWS, _MOST // m), _FEWEST // m)


def tall_rows_of(m: int, budget: float) -> int:
    """Rows of a panel of m stored columns: a multiple of those of any panel."""
    step = rows_of(m)
    return max(1, min(_TALLEST, int(_TALL_SHARE * budget / (4 * m))) // step) * step


def slices(n: int, m: int, rows_per_panel: int | None = None) -> list[slice]:
    """Panels of rows, never all in one, cut alike for any number of threads."""
    step = min(rows_per_panel or rows_of(m), max(1, -(-n // 2)))
    return [slice(start, min(start + step, n)) for start in range(0, n, step)]


def can_halve(sim: Similarity, rows: int, budget: float) -> bool:
    """Whether bfloat16 panels exist for a similarity, fit and are faster than float32 ones here.

    `rows` is how many embeddings would be rounded, on the process that holds most.
    """
    return (
        isinstance(sim, Pair)
        and sim.left is None
        and sim.dtype == torch.float32
        and has_fast_bfloat16(sim.device)
        and 2 * rows * sim.queries.shape[1] <= budget / 4
    )


def full(sim: Similarity, *, tall: bool = False) -> Panels:
    """Panels in the precision of the similarity."""
    return Panels(sim, tall=tall)


def centre(sim: Pair) -> tuple[Tensor, Tensor]:
    """Mean rows (d,) of both sides, over all processes."""
    q0 = _mean(sim.queries, sim.shard == "queries")
    return q0, _mean(sim.gallery, sim.shard == "gallery")


def _mean(rows: Rows, sharded: bool) -> Tensor:
    total = torch.zeros(rows.shape[1] + 1, dtype=torch.float64, device=rows.device)
    total[-1] = len(rows)
    for part in chunks(len(rows)):
        total[:-1] += rows[part].sum(dim=0, dtype=torch.float64)
    if sharded:
        # The same centre everywhere, so that sharding does not change what is rounded.
        total = comm.all_sum(total)
    return (total[:-1] / total[-1]).to(rows.dtype)


def halved(sim: Pair, *, tall: bool = False) -> Panels:
    """Panels of bfloat16 inner products around the means."""
    q0, v0 = centre(sim)
    return Panels(
        sim=sim,
        half=(_centred(sim.queries, q0), _centred(sim.gallery, v0)),
        row=_along(sim.queries, v0).double(),
        column=_along(sim.gallery, q0) - torch.dot(v0, q0),
        tall=tall,
    )


def _along(x: Rows, mean: Tensor) -> Tensor:
    """(n,) products of rows with one vector, the same for any number of threads.

    A product of a matrix and a vector is cut where the threads meet, and sums there in another
    order.
    """
    out = torch.empty(len(x), dtype=mean.dtype, device=x.device)
    for rows in chunks(len(x)):
        out[rows] = (x[rows] * mean).sum(dim=1)
    return out


def _centred(x: Rows, mean: Tensor) -> Tensor:
    """Round to bfloat16 the rows of x - mean, without a float32 copy of the whole."""
    out = torch.empty(x.shape, dtype=torch.bfloat16, device=x.device)
    for rows in chunks(len(x)):
        out[rows] = x[rows] - mean
    return out
