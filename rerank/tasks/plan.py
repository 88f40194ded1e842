"""What a run of `rerank apply` will take: the regime, the memory, and about how long.

Nothing is modelled twice. The regime and what is copied are asked of the choosers that a run asks
itself, with a pair of that shape which holds no numbers; the time is that of the same passes on a
small problem of the same dimension, times the number of pairs.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from rerank.core import memory, nouns
from rerank.core.errors import RerankError
from rerank.core.similarity import Pair
from rerank.io import Reading
from rerank.methods.engine import DEFAULT_FOR_EMBEDDINGS, DEFAULT_FOR_SCORES, SPARSE_FROM
from rerank.methods.registry import canonical, cards_of
from rerank.passes import reduce
from rerank.passes import topk as search
from rerank.passes.sinkhorn import choose
from rerank.tasks.read import sizes

# The problem that passes are timed on: as large as the roads for large ones ask for.
TIMED = 1024, 6144
# Steps of a fit and of the plan at the temperature's first guess, as they usually are.
SWEEPS, _TAU_STEPS = 30, 15
_PANEL_BYTES = 100e6


@dataclass(frozen=True)
class Plan:
    """What a run will take.

    Attributes:
        queries: texts.
        gallery: videos.
        dim: of the embeddings.
        method: what was planned.
        regime: how Sinkhorn's sweeps are done.
        seconds: by stage, about; starting Python and writing the result are not counted.
        memory: bytes by what is held.
        budget: bytes that may be used.
        notes: what else to know, one sentence each.
    """

    queries: int
    gallery: int
    dim: int
    method: str
    regime: str
    seconds: dict[str, float]
    memory: dict[str, float]
    budget: int
    notes: tuple[str, ...]

    @property
    def total_seconds(self) -> float:
        """Of all stages."""
        return sum(self.seconds.values())

    @property
    def fits(self) -> bool:
        """Whether the memory may be used."""
        return sum(self.memory.values()) <= self.budget

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "queries": self.queries,
            "gallery": self.gallery,
            "dim": self.dim,
            "method": self.method,
            "regime": self.regime,
            "seconds": self.seconds,
            "total_seconds": self.total_seconds,
            "memory_bytes": self.memory,
            "budget_bytes": self.budget,
            "fits": self.fits,
            "notes": list(self.notes),
        }


def shape_of(queries: int, gallery: int, dim: int) -> Pair:
    """A pair of that shape that holds no numbers: every row is the same one in memory."""
    row = torch.zeros((1, dim))
    return Pair(row.expand(queries, dim), row.expand(gallery, dim), _checked=True)  # type: ignore[call-arg]


def plan(
    queries: float,
    gallery: float,
    dim: int = 512,
    *,
    method: str | None = None,
    sweeps: int = SWEEPS,
    timed: bool = True,
) -> Plan:
    """Regime, memory and time of both directions of a transductive run.

    Args:
        queries: texts; gallery: videos.
        gallery: see `queries`.
        dim: of the embeddings; 0 for stored scores.
        method: what is planned; by default what such a run takes.
        sweeps: steps of a fit.
        timed: whether to time the passes; without, all times are 0.

    Raises:
        RerankError: sizes that are no positive whole numbers.

    >>> plan(1e6, 1e6, timed=False).regime.split(",")[0]
    'streaming'
    """
    n, m = (_whole(value, name) for value, name in ((queries, "queries"), (gallery, "gallery")))
    # Stored scores have no dimension; they are there already.
    sim = shape_of(n, m, dim or 1)
    chosen = choose.regime(sim, sweeps=sweeps)
    budget = memory.budget()
    if method is None:
        method = DEFAULT_FOR_EMBEDDINGS if dim else DEFAULT_FOR_SCORES
    method = canonical(method)
    stages = [card.facts.stage for card in cards_of(method)]
    maps = any(stage in ("embeddings", "align") for stage in stages)
    scores = 0.0 if dim else 4.0 * n * m
    copied = sum(4.0 * dim * side for side in (n, m) if not memory.is_large(side * dim))
    held = {
        "embeddings": copied,
        "mapped copy": copied if maps else 0.0,
        "scores": scores,
        "stored kernel": float(chosen.kernel_bytes),
        "panels": min(_PANEL_BYTES, 4.0 * n * m),
        "biases": 8.0 * (n + m),
    }
    seconds = _seconds(chosen, n * m, dim or 1, sweeps, stages) if timed else {}
    notes = ["starting Python and writing the result are not counted"]
    if n * m >= SPARSE_FROM:
        notes.append(f"{n * m:.0e} pairs: --method sinkhorn-sparse reads them twice only")
    if sum(held.values()) > budget:
        notes.append(
            f"needs {sum(held.values()) / 1e9:,.1f} GB, {budget / 1e9:,.1f} GB may be used: "
            f"allow more with --memory"
        )
    return Plan(n, m, dim, method, str(chosen), seconds, held, budget, tuple(notes))


def _whole(value: float, name: str) -> int:
    if not (value >= 1 and float(value).is_integer()):
        raise RerankError(f"--{name}: got {value:g}, expected a whole number such as 1e6")
    return int(value)


def _seconds(
    chosen: choose.Regime, pairs: float, dim: int, sweeps: int, stages: Sequence[str]
) -> dict[str, float]:
    """Each pass on a small problem, times what a run makes of it.

    A stage that adds a bias counts as a Sinkhorn with its temperature, which is the slowest of
    them; an alignment reads all pairs once and multiplies them.
    """
    n, m = TIMED
    generator = torch.Generator().manual_seed(0)
    queries, items = (torch.randn((rows, dim), generator=generator) for rows in (n, m))
    small = Pair(queries, items)
    tau = reduce.spread(small)[1] / 5
    g = torch.zeros(m)
    step = choose.build(chosen, small, tau, torch.full((n,), -math.log(n)))
    first = _best(lambda: step(g), runs=1)
    with step.quiet():
        sweep = _best(lambda: step(g))
    exact = _best(lambda: reduce.logsumexp(small, tau, over="gallery", plus=g))
    lists = _best(lambda: search.topk(small, 10))
    each = pairs / (n * m)
    solve = max(0.0, first - sweep) + exact
    biases = sum(stage == "bias" for stage in stages)
    return {
        "temperature": biases * each * (2 * lists + solve + _TAU_STEPS * sweep),
        "Sinkhorn": biases * each * (solve + sweeps * sweep),
        "alignment": sum(stage == "align" for stage in stages) * each * 2 * exact,
        "second direction": each * exact,
        "top-k, before and after": each * 4 * lists,
    }


def _best(work: Callable[[], object], runs: int = 3) -> float:
    """Seconds; the best of a few runs, because a busy neighbour only ever slows them."""
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def asked(
    texts: str | None, videos: str | None, dim: int, *, reading: Reading | None = None
) -> tuple[float, float, int]:
    """Sizes of what was named: both as files, or both as numbers such as 1e6.

    Raises:
        RerankError: one of each, or nothing.
    """
    numbers = [_number(given) for given in (texts, videos)]
    if numbers[0] is not None and numbers[1] is not None:
        return numbers[0], numbers[1], dim
    if texts is None or videos is None:
        raise RerankError("give --texts and --videos, as files or as numbers such as 1e6")
    if numbers != [None, None]:
        raise RerankError(
            f"plan: got --queries {texts} and --gallery {videos}, expected two files, or two "
            f"numbers such as 1e6"
        )
    return sizes(texts=Path(texts), videos=Path(videos), reading=reading)


def _number(given: str | None) -> float | None:
    try:
        return None if given is None else float(given)
    except ValueError:
        return None


def text(found: Plan) -> str:
    """For a person."""
    queries, items = nouns.sides()
    lines = [
        f"{_many(found.queries, queries)} x {_many(found.gallery, items)}, d = {found.dim}",
        f"method  {found.method}",
        f"sweeps  {found.regime}",
        f"memory  {_size(sum(found.memory.values()))} of {_size(found.budget)}",
    ]
    lines += [f"  {what:<24}{_size(size):>12}" for what, size in found.memory.items() if size]
    if found.seconds:
        lines.append(f"time    about {_time(found.total_seconds)}")
        lines += [
            f"  {what:<24}{_time(spent):>12}" for what, spent in found.seconds.items() if spent
        ]
    return "\n".join([*lines, *found.notes])


def _many(count: int, plural: str) -> str:
    return f"{count:,} {nouns.singular(plural) if count == 1 else plural}"


def _size(size: float) -> str:
    return f"{size / 1e9:,.2f} GB" if size >= 1e8 else f"{size / 1e6:,.1f} MB"


def _time(seconds: float) -> str:
    for limit, unit, size in ((1, "ms", 1e-3), (120, "s", 1), (7200, "min", 60)):
        if seconds < limit:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds / 3600:,.1f} h"
