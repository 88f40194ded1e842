"""Sinkhorn sweeps over a stored kernel exp((S + g0 - row max) / tau) with potentials g0 absorbed.

A sweep then needs v = exp((g - g0) / tau) only. When g has drifted too far from g0 for the range of
the stored numbers, the kernel is built again with the new g.
"""

import math
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rerank.core import comm, progress
from rerank.core.rows import slices as chunks
from rerank.core.similarity import Pair, Similarity
from rerank.passes import panels as panels_of
from rerank.passes.panels import Panels
from rerank.passes.sinkhorn import plain
from rerank.passes.sinkhorn.sweepers import (
    Fresh,
    Plain,
    ScorePanels,
    Sweeper,
    as_array,
    plus,
    potentials,
)
from rerank.passes.threads import Workers, torch_threads

# How far (g - g0) / tau may spread before the kernel is built again, for float32's range: e^-40
# times what is counted of a column, and e^40 times the sum of a row, are still in it.
_DRIFT = 40.0
# Entries raised to less than this would lose too many that were rounded to 0.
_LEAST_POWER = 0.3
# Wider softmaxes are read from the scores, and those in which more than this was rounded to 0.
_LEAST_WIDE, _NOTHING = 0.2, 1e-6
# What bfloat16 rounds away, and what a power of it does, in logarithms.
_ROUNDING, _OF_A_POWER = 2.0**-8, 4e-5
# A column of e^-2 of the average mass or less is light; none is stored larger than e^60 times.
_LIGHT, _HEAVIEST = 2.0, 60.0


@dataclass(frozen=True, eq=False)
class Held:
    """A bfloat16 kernel as it lies in memory: K_ij = exp((S_ij + absorbed_j - top_i) / tau).

    Attributes:
        sim: the scores S, float32 inner products.
        tau: temperature.
        pieces: (a, m) and (n - a, m), the upper halves of float32 numbers.
        absorbed: (m,) float64.
        tops: (n,) float64.
        smallest: entries below it may have been rounded to 0.
        rounding: how far an entry may be off, as a logarithm.
    """

    sim: Pair
    tau: float
    pieces: tuple[Tensor, Tensor]
    absorbed: Tensor
    tops: Tensor
    smallest: float
    rounding: float


class Stored(Sweeper):
    """A kernel kept in memory, in a few pieces so that none has n x m numbers.

    Subclasses say how a panel becomes a piece (`_store`) and how a piece is swept (`_sweep`).
    """

    # Entries below this may have been rounded to 0.
    smallest: float = 1e-33
    drift: float = _DRIFT
    # Share of a column's mass that may be rounded away before it is counted again exactly.
    tolerated: float = 1e-2

    def __init__(self, sim: Similarity, tau: float, log_a: Tensor, panels: ScorePanels) -> None:
        super().__init__(sim, tau, log_a)
        self.panels = panels
        self._pieces: list[tuple[slice, Tensor]] = []
        self._absorbed: Tensor | None = None
        self._built_for: Tensor | None = None
        # Potentials of the last sweep and the log column masses it found.
        self._seen: tuple[Tensor, Tensor] | None = None
        # What does the first sweep, where the kernel needs potentials that are nearly right; and
        # what does all of them, where no kernel of this kind can hold the scores.
        self._first: Sweeper | None = None
        self._instead: Sweeper | None = None
        self._tops = torch.empty(sim.shape[0], dtype=torch.float64, device=sim.device)
        self._stale = True
        self._a = log_a.exp().float()

    @abstractmethod
    def _allocate(self, rows: int, columns: int) -> Tensor:
        """Memory for a piece."""

    @abstractmethod
    def _store(self, panel: Tensor, bias: Tensor, out: Tensor) -> Tensor:
        """Fill `out` with exp((panel + bias - row max) / tau); returns the row maxima (b,)."""

    @abstractmethod
    def _sweep(self, piece: Tensor, v: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
        """Row sums s = K v and column sums K^T (a / s), float64."""

    def _absorb(self, gallery_bias: Tensor) -> Tensor:
        """Begin a kernel that absorbs these potentials; returns the biases of the panels."""
        n, m = self.sim.shape
        if not self._pieces and n:
            half = -(-n // 2)
            for start in range(0, n, half):
                rows = slice(start, min(start + half, n))
                self._pieces.append((rows, self._allocate(rows.stop - rows.start, m)))
        # Columns that will hardly weigh anything are stored larger, lest they are rounded away.
        absorbed = gallery_bias.clone()
        if self._seen is not None:
            at, log_mass = self._seen
            expected = log_mass.double() + (gallery_bias - at).double() / self.tau
            lack = -(expected + math.log(m)) - _LIGHT
            absorbed += (lack.nan_to_num(0).clamp(0, _HEAVIEST) * self.tau).to(absorbed.dtype)
        self._absorbed, self._built_for, self._stale = absorbed, gallery_bias.clone(), False
        return plus(absorbed, self.panels.column)

    def _fill(self, bias: Tensor) -> Iterator[slice]:
        """Store every panel; yields the rows that are done."""
        for rows, panel in self.panels:
            for done, part, out in self._places(rows, panel):
                self._tops[done] = self._store(part, bias, out)
            yield rows

    def _places(self, rows: slice, panel: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Rows of a panel that go to one piece, their scores, and where they are stored."""
        for held, piece in self._pieces:
            low, high = max(rows.start, held.start), min(rows.stop, held.stop)
            if low < high:
                part = panel[low - rows.start : high - rows.start]
                yield slice(low, high), part, piece[low - held.start : high - held.start]

    def __call__(self, gallery_bias: Tensor) -> tuple[Tensor, Tensor]:
        """See `Sweeper`."""
        if self._first is not None:
            first, self._first = self._first, None
            with self._busy():
                f, log_mass = first(gallery_bias)
            self._seen = gallery_bias, log_mass
            return f, log_mass
        if self._instead is not None:
            with self._busy():
                return self._instead(gallery_bias)
        n, m = self.sim.shape
        middle, width = self._spread(gallery_bias)
        fresh = self._stale or width > self.drift
        if fresh:
            bias, middle = self._absorb(gallery_bias), 0.0
            with progress.task("Sinkhorn kernel", n) as advance:
                for rows in self._fill(bias):
                    advance(rows.stop - rows.start)
        assert self._absorbed is not None
        v = ((gallery_bias - self._absorbed).double() / self.tau - middle).exp()
        sums = torch.empty(n, dtype=torch.float64, device=self.sim.device)
        # The last number is the weight of all rows, which says what a smallest entry amounts to.
        total = torch.zeros(m + 1, dtype=torch.float64, device=self.sim.device)
        with progress.task("Sinkhorn sweep", n) as advance:
            for rows, piece in self._pieces:
                sums[rows], columns = self._sweep(piece, v.float(), self._a[rows])
                total[:-1] += columns
                advance(len(piece))
        filled = sums > 0
        total[-1] = (self._a[filled] / sums[filled]).sum()
        if self.sim.shard == "queries":
            total = comm.all_sum(total)
        lse = sums.log() + self._tops / self.tau + middle
        f = potentials(lse, self.panels.row, self.log_a, self.tau)
        lost = total[:-1] < self.smallest / self.tolerated * total[-1]
        log_mass = (total[:-1] * v).log().to(self.sim.dtype)
        if bool(lost.any()):
            # These columns' entries were rounded away: count them exactly, and build a kernel
            # for what that makes of them. A second time in a row, no kernel will do.
            self._stale = True
            with self._busy():
                exact = plain.logsumexp(self.sim, self.tau, over="queries", plus=f)
                log_mass = torch.where(lost, exact + gallery_bias / self.tau, log_mass)
                if fresh and self._seen is not None:
                    self._pieces.clear()
                    self._instead = self._unstored()
        self._seen = gallery_bias, log_mass
        return f, log_mass

    def peaks(
        self, *, query_bias: Tensor, gallery_bias: Tensor, column_shift: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See `Sweeper`; from the stored kernel, one reading of it, where one is there."""
        _, width = self._spread(gallery_bias)
        # Alike in all processes, also in one without rows.
        there = self._absorbed is not None and self._instead is None
        if not there or self._stale or width > self.drift:
            with self._busy():
                return super().peaks(
                    query_bias=query_bias, gallery_bias=gallery_bias, column_shift=column_shift
                )
        assert self._absorbed is not None
        n, m = self.sim.shape
        v = ((gallery_bias - self._absorbed).double() / self.tau).exp().float()
        level = (query_bias.double() + self._tops) / self.tau
        if self.panels.row is not None:
            level = level + self.panels.row / self.tau
        top = torch.cat([level, level.new_full((1,), -torch.inf)]).amax().reshape(1)
        top = comm.all_max(top) if self.sim.shard == "queries" else top
        u = (level - top).exp().float()
        rows = torch.empty((2, n), dtype=torch.float64, device=self.sim.device)
        tops = torch.zeros(m, dtype=torch.float64, device=self.sim.device)
        sums = torch.zeros_like(tops)
        for held, piece in self._pieces:
            rows[:, held], (top, total) = self._peaks(piece, v, u[held])
            tops, sums = torch.maximum(tops, top), sums + total
        if self.sim.shard == "queries":
            tops, sums = comm.all_max(tops), comm.all_sum(sums)
        found = (rows[0] / rows[1]).log(), (tops / sums).log()
        return found[0].to(self.sim.dtype), found[1].to(self.sim.dtype)

    def at(self, tau: float, log_a: Tensor) -> Sweeper | None:  # noqa: ARG002
        """See `Sweeper`."""
        self._pieces.clear()
        self._stale = True
        return None

    def _peaks(self, piece: Tensor, v: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """Largest entry and sum of every row of K v, (2, b), and of every column of u K, (2, m)."""
        rows = torch.empty((2, len(piece)), dtype=torch.float64, device=piece.device)
        columns = torch.zeros((2, piece.shape[1]), dtype=torch.float64, device=piece.device)
        for part in panels_of.slices(*piece.shape):
            block = piece[part].float()
            weighed = block * v
            rows[0, part], rows[1, part] = weighed.amax(dim=1).double(), weighed.sum(dim=1).double()
            block = block.mul_(u[part, None])
            columns[0] = torch.maximum(columns[0], block.amax(dim=0).double())
            columns[1] += block.sum(dim=0)
        return rows, columns

    def _busy(self) -> AbstractContextManager[None]:
        """Where passes with matrix products should run."""
        return nullcontext()

    def _unstored(self) -> Sweeper:
        """The sweep for scores that no kernel of this kind can hold."""
        return Plain(self.sim, self.tau, self.log_a)

    def _spread(self, gallery_bias: Tensor) -> tuple[float, float]:
        """Middle and half-width of how far g is, in tau, from where the kernel was built."""
        if self._built_for is None:
            return 0.0, 0.0
        low, high = torch.aminmax((gallery_bias - self._built_for).double() / self.tau)
        return float(high + low) / 2, float(high - low) / 2


class StoredTorch(Stored):
    """float32 kernel and two matrix-vector products: small sizes, or no Numba."""

    def _allocate(self, rows: int, columns: int) -> Tensor:
        return torch.empty((rows, columns), dtype=torch.float32, device=self.sim.device)

    def _store(self, panel: Tensor, bias: Tensor, out: Tensor) -> Tensor:
        block, top, _ = plain.exp_rows(panel.add_(bias), self.tau)
        out.copy_(block)
        return top.double()

    def _sweep(self, piece: Tensor, v: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
        with torch_threads(1):  # see `plain.sweep`
            sums = piece @ v
            u = torch.where(sums > 0, a / sums, torch.zeros_like(sums))
            return sums.double(), torch.mv(piece.T, u).double()


class StoredNumba(Stored):
    """The fused one-read sweep over a kernel of float32, bfloat16 or 8-bit entries."""

    def __init__(
        self, sim: Similarity, tau: float, log_a: Tensor, panels: Panels, form: torch.dtype, *,
        warm: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(sim, tau, log_a, panels)
        from rerank.passes.sinkhorn.cpu import SMALLEST

        self.form, self._workers, self._source = form, Workers(), panels
        self.smallest = SMALLEST[str(form).removeprefix("torch.")]
        self._rounding = _ROUNDING
        if form == torch.uint8:
            # 8 bits span 2^30 only: absorb potentials that are nearly right, and often.
            self.drift, self.rounded = 3.0, True
            self._first = None if warm else Fresh(sim, tau, log_a, panels)
        self.rounded = self.rounded or panels.half is not None

    def quiet(self) -> AbstractContextManager[None]:
        """See `Sweeper`."""
        return torch_threads(1)

    def _busy(self) -> AbstractContextManager[None]:
        return torch_threads(self._workers.threads)

    def _fill(self, bias: Tensor) -> Iterator[slice]:
        def fill(rows: slice) -> slice:
            for done, part, out in self._places(rows, self._source.block(rows)):
                self._tops[done] = self._store(part, bias, out)
            return rows

        return self._workers.each(fill, self._source.slices(), 4 * self.sim.shape[1])

    def _unstored(self) -> Sweeper:
        return Fresh(self.sim, self.tau, self.log_a, self._source)

    def polish(self, gallery_bias: Tensor) -> tuple[Tensor, Tensor]:
        """See `Sweeper`."""
        if not self.rounded:
            return self(gallery_bias)
        with self._busy():
            full = panels_of.full(self.sim)
            return Fresh(self.sim, self.tau, self.log_a, full)(gallery_bias)

    def at(self, tau: float, log_a: Tensor) -> Sweeper | None:
        """See `Sweeper`: entries are powers of those at this temperature, of bfloat16 ones."""
        power = self.tau / tau
        if not self._holds(self._built_for) or power < _LEAST_POWER:
            return super().at(tau, log_a)
        from rerank.passes.sinkhorn.cpu import SMALLEST, raised

        made = StoredNumba(self.sim, tau, log_a, self._source, self.form, warm=True)
        if power != 1:
            with progress.task("Sinkhorn kernel", self.sim.shape[0]) as advance:
                for rows, piece in self._pieces:
                    raised(self._workers, piece.numpy(), power)
                    advance(rows.stop - rows.start)
        made._pieces, self._pieces = self._pieces, []
        made._absorbed, made._built_for, made._tops = self._absorbed, self._built_for, self._tops
        made._stale, self._stale = False, True
        made.smallest = max(SMALLEST["uint16"], self.smallest**power)
        made._rounding = self._rounding
        if power != 1:
            made._rounding = power * (self._rounding + _OF_A_POWER) + _ROUNDING
        return made

    def biased(self, sim: Similarity, gallery_bias: Tensor) -> Sweeper | None:
        """See `Sweeper`: what is absorbed in a kernel may as well be part of the scores."""
        if not self._holds(self._built_for):
            return None
        assert self._absorbed is not None and self._built_for is not None
        column = plus(gallery_bias, self._source.column)
        source = replace(self._source, column=column)
        made = StoredNumba(sim, self.tau, self.log_a, source, self.form, warm=True)
        made._pieces, self._pieces = self._pieces, []
        made._absorbed = self._absorbed - gallery_bias
        made._built_for = self._built_for - gallery_bias
        made._tops, made.smallest = self._tops, self.smallest
        made._rounding = self._rounding
        made._stale, self._stale = False, True
        return made

    def columns(
        self, t: float, *, query_mass: Tensor, gallery_bias: Tensor
    ) -> tuple[Tensor, Tensor] | None:
        """See `Sweeper`: powers of the entries at this temperature, which stay as they are."""
        power = self.tau / t
        if not self._holds(self._built_for) or not _LEAST_WIDE <= power <= 1:
            return None
        if self.sim.shard is not None or self.smallest**power > _NOTHING:
            return None
        from rerank.passes.sinkhorn.cpu import columns

        assert self._absorbed is not None
        level = (gallery_bias - self._absorbed).double() / t
        v = as_array((level - level.amax()).exp().float())
        found = torch.zeros((2, self.sim.shape[1]), dtype=torch.float64)
        with progress.task("popularity", self.sim.shape[0]) as advance:
            for rows, piece in self._pieces:
                mass = as_array(query_mass[rows].float())
                found += torch.from_numpy(columns(self._workers, piece.numpy(), power, v, mass))
                advance(rows.stop - rows.start)
        return found[0], found[1]

    def cross(self, *, query_bias: Tensor, gallery_bias: Tensor) -> Tensor | None:
        """See `Sweeper`: one bfloat16 product of the kernel and the items around their mean."""
        sim = self.sim
        if not self._holds(gallery_bias) or not panels_of.can_halve(sim, 0, 0):
            return None
        assert isinstance(sim, Pair) and self._absorbed is not None
        v = ((gallery_bias - self._absorbed).double() / self.tau).exp().float()
        level = query_bias.double() + self._tops
        level = level if self.panels.row is None else level + self.panels.row
        u, mass = (level / self.tau).exp().float(), self._a
        mean = panels_of.centre(sim)[1]
        items = torch.cat([(sim.gallery[part] - mean) * v[part, None] for part in chunks(len(v))])
        items = items.bfloat16()
        total = torch.zeros((len(mean), len(mean)), dtype=torch.float64)
        for held, piece in self._pieces:

            def part(rows: slice, held: slice = held, piece: Tensor = piece) -> Tensor:
                of = slice(held.start + rows.start, held.start + rows.stop)
                product = (piece[rows].view(torch.bfloat16) @ items).float().mul_(u[of, None])
                return sim.queries[of].T @ product.addr_(mass[of], mean)

            for product in self._workers.each(part, panels_of.slices(*piece.shape), 4 * len(mean)):
                total += product
        self._pieces.clear()
        self._stale = True
        return total

    def held(self) -> Held | None:
        """The kernel, where it is one of bfloat16 exponentials of float32 scores of embeddings."""
        sim, source = self._source.sim, self._source
        if not self._holds(self._built_for) or len(self._pieces) != 2:
            return None
        if source.half is not None or source.row is not None or not isinstance(sim, Pair):
            return None
        assert self._absorbed is not None
        absorbed = self._absorbed.double()
        absorbed = absorbed if source.column is None else absorbed + source.column
        (_, upper), (_, lower) = self._pieces
        return Held(
            sim, self.tau, (upper, lower), absorbed, self._tops, self.smallest, self._rounding
        )

    def _holds(self, gallery_bias: Tensor | None) -> bool:
        """Whether a bfloat16 kernel is there that serves these potentials."""
        if self.form != torch.uint16 or self._stale or self._instead is not None:
            return False
        return gallery_bias is not None and self._spread(gallery_bias)[1] <= self.drift

    def _allocate(self, rows: int, columns: int) -> Tensor:
        return torch.empty((rows, columns), dtype=self.form)

    def _store(self, panel: Tensor, bias: Tensor, out: Tensor) -> Tensor:
        from rerank.passes.sinkhorn.cpu import build

        return torch.from_numpy(
            build(as_array(panel), as_array(bias), self.tau, out.numpy())
        ).double()

    def _sweep(self, piece: Tensor, v: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
        from rerank.passes.sinkhorn.cpu import sweep

        sums, columns = sweep(self._workers, piece.numpy(), as_array(v), as_array(a))
        return torch.from_numpy(sums).double(), torch.from_numpy(columns)

    def _peaks(self, piece: Tensor, v: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        from rerank.passes.sinkhorn.cpu import peaks

        rows, columns = peaks(self._workers, piece.numpy(), as_array(v), as_array(u))
        return torch.from_numpy(rows).double(), torch.from_numpy(columns).double()
