"""Rows and columns that hold one number only: padding, items of zeros, what nobody scored.

They say nothing about any item, so they count in no figure of hubness. An item that no list has but
whose scores vary is none of them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from rerank.core import comm
from rerank.core.rows import Rows, slices
from rerank.core.similarity import Axis, Dense, Pair, Similarity
from rerank.passes import gallery
from rerank.passes.order import TopK

# Fewer equal numbers in a line are an accident, not padding.
_LONG = 8
# A padding of rows may hide one of columns, and the other way round.
_LOOKS = 3
_AXES: tuple[Axis, Axis] = ("queries", "gallery")


@dataclass(frozen=True, eq=False)
class Live:
    """What is no padding.

    Attributes:
        queries: (n,) bool, of this process's queries.
        items: (m,) bool, of the whole gallery.
        dead: how many queries, over all processes, and items are padding.
    """

    queries: Tensor
    items: Tensor
    dead: tuple[int, int]

    @property
    def whole(self) -> bool:
        """Whether nothing is padding."""
        return self.dead == (0, 0)

    def part(self, sim: Similarity) -> Similarity:
        """A similarity, or what it was rewritten to, without the padding."""
        if self.whole:
            return sim
        rows, places = (torch.nonzero(side)[:, 0] for side in (self.queries, self.items))
        return gallery.taken(sim, rows, places)

    def back(self, found: TopK) -> TopK:
        """Lists of a `part` with the places of the whole gallery."""
        places = torch.nonzero(self.items)[:, 0]
        return found if self.whole else TopK(found.scores, places[found.indices])


def live(sim: Similarity) -> Live:
    """Which queries and which items of raw scores hold more than one number.

    Of embeddings those that are not all zeros.
    """
    if isinstance(sim, Pair):
        unit = sim.metric == "cosine"  # no row of zeros has a direction
        rows, columns = (_any(x, unit=unit) for x in (sim.queries, sim.gallery))
    elif isinstance(sim, Dense) and sim.shard is None and _vary(sim):
        rows, columns = (torch.ones(k, dtype=torch.bool, device=sim.device) for k in sim.shape)
    else:
        rows, columns = _looked_at(sim)
    split = sim.shard == "gallery"
    items = comm.gather_rows(columns.to(torch.uint8)).bool() if split else columns
    held = _count(sim, rows, "queries"), int(items.sum())
    if 0 in held:
        # Nothing is left beside the padding, so it is none.
        rows, items = torch.ones_like(rows), torch.ones_like(items)
    return Live(rows, items, (_count(sim, ~rows, "queries"), int((~items).sum())))


def _any(x: Rows, *, unit: bool) -> Tensor:
    """(k,) which rows are not all zeros."""
    out = torch.ones(len(x), dtype=torch.bool, device=x.device)
    for rows in slices(0 if unit else len(x)):
        out[rows] = (x[rows] != 0).any(dim=1)
    return out


def _vary(sim: Dense) -> bool:
    """Whether a few entries of every row and of every column show that it is no padding."""

    def lines(of: Tensor) -> bool:
        few = of[:, torch.linspace(0, of.shape[1] - 1, _LONG, dtype=torch.float64).long()]
        scored = few != -torch.inf
        if of.shape[1] < _LONG:
            return bool(scored.any(dim=1).all())
        low = torch.where(scored, few, torch.inf).amin(dim=1)
        return bool((low < few.amax(dim=1)).all())

    return sim.left is None and lines(sim.base) and lines(sim.base.T)


def _looked_at(sim: Similarity) -> tuple[Tensor, Tensor]:
    """(n,) live queries and (m,) live items of this process, from passes over all scores."""
    alive: dict[Axis, Tensor] = {
        axis: torch.ones(count, dtype=torch.bool, device=sim.device)
        for axis, count in zip(_AXES, sim.shape, strict=True)
    }
    for _ in range(_LOOKS):
        lines = _Lines.of(sim, alive)
        dead = lines.padding()
        for axis in _AXES:
            alive[axis] = alive[axis] & ~dead[axis]
        if not any(_count(sim, dead[axis], axis) for axis in _AXES):
            break
    return alive["queries"], alive["gallery"]


def _count(sim: Similarity, flags: Tensor, axis: Axis) -> int:
    """How many lines of an axis are flagged, over all processes."""
    return int(_sum(sim, flags.sum(), axis))


def _sum(sim: Similarity, x: Tensor, axis: Axis) -> Tensor:
    return comm.all_sum(x) if sim.shard == axis else x


@dataclass(frozen=True, eq=False)
class _Lines:
    """Ends of the live rows and columns.

    Attributes:
        sim: the similarity.
        alive: of each axis which lines of this process are looked at.
        high: of each axis the highest score of a line, -inf where it has none.
        flat: of each axis which lines hold one number only.
    """

    sim: Similarity
    alive: Mapping[Axis, Tensor]
    high: Mapping[Axis, Tensor]
    flat: Mapping[Axis, Tensor]

    @classmethod
    def of(cls, sim: Similarity, alive: Mapping[Axis, Tensor]) -> "_Lines":
        """Of the scores between live lines, in one pass."""
        n, m = sim.shape
        ends = {
            axis: torch.full((2, k), -torch.inf, dtype=sim.dtype, device=sim.device)
            for axis, k in zip(_AXES, (n, m), strict=True)
        }
        scored = {axis: torch.zeros_like(alive[axis], dtype=torch.int64) for axis in _AXES}
        for rows, block in _blocks(sim, alive):
            if not block.numel():
                continue  # a process may have no items
            both = torch.stack([torch.where(block == -torch.inf, block, -block), block])
            ends["queries"][:, rows] = both.amax(dim=2)
            ends["gallery"] = torch.maximum(ends["gallery"], both.amax(dim=1))
            there = block != -torch.inf
            scored["queries"][rows] = there.sum(dim=1)
            scored["gallery"] += there.sum(dim=0)
        for axis, other in zip(_AXES, reversed(_AXES), strict=True):
            scored[axis] = _sum(sim, scored[axis], other)
            ends[axis] = comm.all_max(ends[axis]) if sim.shard == other else ends[axis]
        flat = {}
        for axis, other in zip(_AXES, reversed(_AXES), strict=True):
            low, high = -ends[axis][0], ends[axis][1]
            full = _count(sim, scored[other] > 0, other)
            flat[axis] = (low == high) & (scored[axis] == full) & (full >= _LONG)
        return cls(sim, alive, {axis: ends[axis][1] for axis in _AXES}, flat)

    def padding(self) -> dict[Axis, Tensor]:
        """Of each axis which live lines are padding."""
        flat: dict[Axis, Tensor] = {axis: self._some(axis) for axis in _AXES}
        numbers = torch.cat([self.high[axis][flat[axis]] for axis in _AXES])
        numbers = torch.unique(comm.gather_rows(numbers) if self.sim.shard else numbers)
        common = self._common(numbers, flat) if len(numbers) else numbers
        out = {}
        for axis, high in self.high.items():
            odd = flat[axis] & ~torch.isin(high, common)
            out[axis] = self.alive[axis] & (odd | (high == -torch.inf))
        return out

    def _some(self, axis: Axis) -> Tensor:
        """Which live lines hold one number; none where all do."""
        every = _count(self.sim, self.alive[axis], axis) == _count(self.sim, self.flat[axis], axis)
        return torch.zeros_like(self.flat[axis]) if every else self.flat[axis]

    def _common(self, numbers: Tensor, flat: Mapping[Axis, Tensor]) -> Tensor:
        """The numbers that most pairs outside of such lines have as well."""
        others: dict[Axis, Tensor] = {axis: self.alive[axis] & ~flat[axis] for axis in _AXES}
        counts = torch.zeros(len(numbers) + 1, dtype=torch.int64, device=numbers.device)
        for _, block in _blocks(self.sim, others):
            block = block[block != -torch.inf]
            place = torch.searchsorted(numbers, block).clamp(max=len(numbers) - 1)
            counts[:-1] += torch.bincount(place[numbers[place] == block], minlength=len(numbers))
            counts[-1] += len(block)
        counts = comm.all_sum(counts) if self.sim.shard else counts
        return numbers[2 * counts[:-1] > counts[-1]]


def _blocks(sim: Similarity, alive: Mapping[Axis, Tensor]) -> Iterator[tuple[slice, Tensor]]:
    """The blocks of a similarity, -inf outside of what is live."""
    for rows, block in sim.blocks():
        block[~alive["queries"][rows]] = -torch.inf
        block[:, ~alive["gallery"]] = -torch.inf
        yield rows, block
