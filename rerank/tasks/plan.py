"""A cost model: which regime, how much memory and how long, before anything is read.

A run is a number of passes over all n m pairs, counted as the code makes them, times what one pair
costs in each:

    lists       before and after, both directions; the nearest ones for the temperature
    sweeps      steps of a fit and of the temperature's plan: over stored exponentials, or fresh
    builds      of the stored kernel, again when potentials have drifted
    exact       the last float32 sweep, and the other direction's potentials
    shares      the largest share of every row and column, for the temperature

beside moments, maps and files, which cost by the row, and an all-reduce of m floats a sweep. On
this machine the passes themselves are timed on a small problem of the same dimension; those of a
named card are counted in operations over the rates of its data sheet; `tests/bench/plan_check.py`
holds predictions against runs. Queries are split over P devices, the gallery is whole on each.

What one pass costs for every pair it reads: timed here, or counted from a card's data sheet.
"""

import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch

from rerank import io
from rerank.core import memory
from rerank.core.arrays import has_fast_bfloat16
from rerank.core.errors import RerankError
from rerank.core.similarity import Pair
from rerank.methods import engine as api
from rerank.methods import repeats
from rerank.methods.em import EM
from rerank.methods.sinkhorn import Sinkhorn
from rerank.passes import panels, reduce
from rerank.passes import topk as search
from rerank.passes.sinkhorn import choose
from rerank.passes.sinkhorn.choose import Regime
from rerank.passes.sinkhorn.stored import Stored

# The problem that passes are timed on: as large as the roads for large ones ask for.
TIMED = 2048, 8192


@dataclass(frozen=True)
class Card:
    """What the data sheet of an accelerator says.

    Attributes:
        name: of the hardware.
        matrix: floating-point operations a second of bfloat16 inner products.
        exps: exponentials a second.
        bandwidth: bytes of memory read a second.
        link: bytes a second to the other devices.
        memory: bytes that may be used.
    """

    name: str
    matrix: float
    exps: float
    bandwidth: float
    link: float
    memory: float


# Half of the dense bfloat16 rate, 80 % of the copy bandwidth, one exp per special-function slot.
CARDS = {
    "h200": Card("H200", 395e12, 4e12, 3.4e12, 200e9, 125e9),
    "h100": Card("H100 80 GB", 395e12, 4e12, 2.6e12, 200e9, 70e9),
    "a100": Card("A100 80 GB", 155e12, 2.4e12, 1.6e12, 150e9, 70e9),
}


@dataclass(frozen=True)
class Costs:
    """Seconds of each kind of work on one device, for one dimension of the embeddings.

    Attributes:
        name: of the hardware.
        lists: a pair, in the best items of a query; nearest: in those the temperature reads.
        fresh: a pair, in a sweep that computes scores; exact: in a float32 one.
        stored: a pair, in building the kernel of each regime that keeps one, and in its sweep.
        shares: a pair, in `reduce.peaks`.
        checked: a row, in what is asked of embeddings before and between stages.
        moments: a row, in EM's moments; mapped: in a linear map.
        basis: EM itself, whatever the size.
        read: a byte of a file, checked; converted: a number, from float16 to float32.
        link: bytes a second to the other devices; memory: bytes that may be used.
        measured: False for estimates from data sheets.
    """

    name: str
    lists: float
    nearest: float
    fresh: float
    exact: float
    shares: float
    checked: float
    moments: float
    mapped: float
    basis: float
    read: float
    link: float
    memory: float
    stored: dict[str, tuple[float, float]] = field(default_factory=dict)
    converted: float = 0.0
    measured: bool = False


def of_card(card: Card, dim: int) -> Costs:
    """What a data sheet promises for one dimension."""
    product, exp = 2 * dim / card.matrix, 1 / card.exps
    return Costs(
        card.name,
        lists=product + exp / 4,
        nearest=product + exp / 4,
        fresh=product + exp,
        exact=product + exp,
        # A float16 kernel is read twice.
        stored={"stored float16": (product + exp, 4 / card.bandwidth)},
        shares=product + 2 * exp,
        checked=20 * 4 * dim / card.bandwidth,
        # Moments are sums in float64.
        moments=2 * dim * dim / (card.matrix / 8),
        mapped=2 * dim * dim / (card.matrix / 8),
        basis=0.1,
        read=1 / 2e9,
        link=card.link,
        memory=card.memory,
    )


def measure(dim: int, *, clock: Callable[[], float] = time.perf_counter) -> Costs:
    """Time the passes themselves on this machine's CPU, in a few seconds.

    Args:
        dim: of the embeddings.
        clock: seconds; `time.process_time` on one thread is what a busy machine disturbs least.
    """
    generator = torch.Generator().manual_seed(0)
    n, m = TIMED
    queries, items = (torch.randn((rows, dim), generator=generator) for rows in (n, m))
    sim = Pair(queries, items)
    tau = reduce.spread(sim)[1] / 5
    log_a, g = torch.full((n,), -math.log(n)), torch.zeros(m)
    eye = torch.eye(dim)

    def seconds(work: Callable[[], object]) -> float:
        """The best of a few runs: a busy neighbour only ever slows them."""
        times = []
        for _ in range(3):
            start = clock()
            work()
            times.append(clock() - start)
        return min(times)

    def pair(work: Callable[[], object]) -> float:
        return seconds(work) / (n * m)

    log_b = torch.full((m,), -math.log(m))
    exact = pair(lambda: reduce.logsumexp(sim, tau, over="gallery", plus=g))
    fresh, stored = exact, {}
    if choose.has_numba():
        half = has_fast_bfloat16(sim.device)
        streaming = choose.build(Regime("streaming", half=half), sim, tau, log_a)
        fresh = pair(lambda: streaming(g))
        for name, halved in (
            ("stored float32", False),
            ("stored bfloat16", False),
            ("stored 8-bit", half),
        ):
            step = choose.build(Regime(name, half=halved), sim, tau, log_a)  # type: ignore[arg-type]
            assert isinstance(step, Stored)
            # The 8-bit form computes its first sweep afresh, the second one builds the kernel.
            step(g)
            build = pair(partial(step._build, g))
            with step.quiet():
                stored[name] = build, pair(partial(step, g))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.h5"
        io.write_embeddings(path, [str(i) for i in range(m)], items.numpy())
        read = seconds(lambda: io.read_embeddings(path)) / (4 * m * dim)
    # Too many to be read from the cache.
    half = torch.zeros(2**25, dtype=torch.float16)
    masses = {"query_mass": log_a.exp().double(), "gallery_mass": log_b.exp().double()}
    return Costs(
        "this machine's CPU",
        lists=pair(lambda: search.topk(sim, 10)),
        nearest=pair(lambda: reduce.topk(sim, 11)),
        fresh=fresh,
        exact=exact,
        stored=stored,
        shares=pair(
            lambda: reduce.peaks(
                sim, tau, query_bias=torch.zeros(n), gallery_bias=g, column_shift=log_b + 20
            )
        ),
        # Rows are compared and hashed for each fit, in either direction.
        checked=seconds(lambda: Pair(queries, items)) / (n + m)
        + 3 * seconds(lambda: reduce.row_hashes(sim)) / n,
        moments=seconds(lambda: reduce.gram(sim, **masses)) / (n + m),
        mapped=seconds(lambda: sim.map(eye)) / (n + m),
        basis=seconds(lambda: EM().fit(Pair(queries[:64], items[:64]))),
        read=read,
        converted=seconds(lambda: [len(part.float()) for part in half.split(2**21)]) / len(half),
        link=1e9,
        memory=float(memory.budget()),
        measured=True,
    )


_PANEL_BYTES = 100e6
# Steps of the plan at the temperature's first guess, and how often drift has a kernel built again.
_TAU_STEPS = 15
_STEPS_A_BUILD = {"stored float32": 20, "stored bfloat16": 20, "stored 8-bit": 3.5}
# EM maps both sides for the fit, the other direction and either result.
_MAPS = 4


@dataclass(frozen=True)
class Stage:
    """One stage of `rerank apply` and its seconds."""

    name: str
    seconds: float


@dataclass(frozen=True)
class Plan:
    """What a run would cost.

    Attributes:
        regime: how the Sinkhorn sweeps are done.
        stages: in order.
        memory: bytes on each device, by what takes them.
        costs: of the hardware.
        devices: how many share the queries.
        notes: what the figures leave out, one sentence each.
    """

    regime: str
    stages: tuple[Stage, ...]
    memory: dict[str, float]
    costs: Costs
    devices: int
    notes: tuple[str, ...]

    @property
    def seconds(self) -> float:
        """Of all stages."""
        return sum(stage.seconds for stage in self.stages)

    @property
    def fits(self) -> bool:
        """Whether a device holds what it needs."""
        return sum(self.memory.values()) <= self.costs.memory


def plan(
    queries: float,
    gallery: float,
    dim: int,
    *,
    devices: int = 1,
    costs: Costs | None = None,
    sweeps: int = 30,
    em: bool = True,
    both: bool = True,
) -> Plan:
    """Predict regime, memory and time of `rerank apply` without a bank.

    Args:
        queries: n; gallery: m; dim: d of the embeddings.
        gallery: see `queries`.
        dim: see `queries`.
        devices: how many share the queries.
        costs: of one device, for this d; measured here by default.
        sweeps: Sinkhorn steps of a fit.
        em: whether EM comes first.
        both: whether both directions are ranked; one fit serves both of a large problem.

    Raises:
        RerankError: sizes that are not positive.
    """
    n, m, d = float(queries), float(gallery), int(dim)
    if not (1 <= n < math.inf and 1 <= m < math.inf and d >= 1 and devices >= 1 and sweeps >= 1):
        raise RerankError(
            f"plan: got {queries} queries, {gallery} gallery items, d = {dim}, {devices} devices, "
            f"expected positive numbers"
        )
    costs = costs or measure(d)
    share = math.ceil(n / devices)
    pairs, rows, directions = share * m, share + m, 2 if both else 1
    regime, kernel = _regime(pairs, costs)
    reduced = 0.0
    if devices > 1:
        reduced = 2 * (devices - 1) / devices * 4 * m / costs.link + 20e-6 * math.log2(devices)
    exact, panel = costs.exact, _PANEL_BYTES
    if _stays(m * d, costs):
        # A gallery left in its file is made float32 again for every panel.
        tall = panels.tall_rows_of(math.ceil(m), costs.memory)
        exact += d * costs.converted / tall
        panel = max(panel, 0.0 if kernel else 4 * m * tall)
    # Two rounded copies make panels cheaper where they fit, see `kernels.panels.can_halve`.
    fresh = costs.fresh if not costs.measured or 2 * rows * d <= costs.memory / 4 else exact
    build, sweep = costs.stored.get(regime, (0.0, fresh))

    def solve(steps: int) -> float:
        """One loop of `methods.potentials.solve`."""
        builds = 1 + int(steps / _STEPS_A_BUILD.get(regime, math.inf)) if kernel else 0
        # A kernel once rounds away what light columns have, which is counted exactly then.
        once = exact if kernel else 0.0
        # 8 bits cannot hold potentials that are not known yet: the first sweep is a fresh one.
        once += fresh if regime == "stored 8-bit" else 0.0
        return pairs * (builds * build + steps * sweep + once) + steps * reduced

    # The spread of the scores comes from moments of the embeddings.
    temperature = pairs * (2 * costs.nearest + costs.shares) + rows * costs.moments
    temperature += solve(_TAU_STEPS)
    polish = 0.0 if regime == "stored bfloat16" else pairs * exact
    sinkhorn = solve(sweeps) + polish
    # One converged fit serves both directions of a large problem with as many queries as items.
    fits = directions if n * m < api.ONE_FIT_ELEMENTS or n != m else 1
    # Repeats are looked for in a sample of the queries.
    look = 2 * min(share, repeats.ROWS) * m * exact
    moments = fits * (rows * costs.moments + costs.basis) + _MAPS * rows * costs.mapped
    stages = [
        Stage("reading", 4 * d * rows * costs.read),
        Stage("checks", fits * rows * costs.checked),
        Stage("EM", moments if em else 0.0),
        Stage("marginals", directions * look),
        Stage("temperature", fits * temperature),
        Stage("Sinkhorn", fits * sinkhorn),
        Stage("second direction", pairs * exact if fits < directions else 0.0),
        # Lists before and after, for the hubness and the result.
        Stage("top-k", 2 * directions * pairs * costs.lists),
    ]
    # Large sides stay in their files on a CPU, and are mapped and made float32 a block at a time.
    copied = sum(4 * d * side for side in (share, m) if not _stays(side * d, costs))
    held = {
        "embeddings": copied,
        "mapped copy": copied if em else 0.0,
        "stored kernel": kernel,
        "panels": min(panel, 4 * pairs),
        "biases": 8 * rows,
    }
    shown = tuple(stage for stage in stages if stage.seconds)
    made = Plan(regime, shown, held, costs, devices, ())
    return replace(made, notes=_notes(made, n * m, rows, m * d * 4))


def _notes(made: Plan, pairs: float, rows: float, gallery: float) -> tuple[str, ...]:
    """What the figures leave out, and ways out of what they say."""
    costs, notes = made.costs, ["starting Python and writing the result are not counted"]
    if not costs.measured:
        notes.append(f"{costs.name}: estimated from its data sheet, not measured")
    elif made.devices > 1:
        notes.append(f"for accelerators: --hardware {', '.join(CARDS)}")
    if pairs >= api.SPARSE_FROM and made.devices == 1:
        graph = pairs * 2 * costs.nearest
        samples = 4 * rows * Sinkhorn.samples
        notes.append(
            f"--method em+sinkhorn-sparse reads all pairs twice, about {graph / 3600:,.2g} h, "
            f"instead of temperature and Sinkhorn, and holds {samples / 1e9:,.1f} GB of samples"
        )
    if not made.fits:
        need = sum(made.memory.values())
        notes.append(
            f"does not fit: needs {need / 1e9:,.1f} GB a device, {costs.memory / 1e9:,.1f} GB may "
            f"be used; {_way_out(2 * gallery, costs)}"
        )
    return tuple(notes)


def _stays(elements: float, costs: Costs) -> bool:
    """Whether a side is left in its file, as `memory.is_large` decides."""
    return costs.measured and 4 * elements > memory.COPY_SHARE * costs.memory


def _way_out(gallery: float, costs: Costs) -> str:
    if costs.measured:
        return "allow more with --memory"
    if gallery < costs.memory:
        return "use more devices"
    return (
        "the gallery alone is too large for one device: split it too, Pair(shard='gallery'), which "
        "costs a second all-reduce a sweep, or use less d"
    )


def _regime(pairs: float, costs: Costs) -> tuple[str, float]:
    """Name and bytes of the stored kernel, as `kernels.choose` decides."""
    room = choose.KERNEL_SHARE * costs.memory
    sizes = {"stored bfloat16": 2, "stored float16": 2, "stored 8-bit": 1}
    if "stored float32" in costs.stored and pairs <= choose.SMALL:
        return "stored float32", 4 * pairs
    for name in (name for name in sizes if name in costs.stored):
        if sizes[name] * pairs <= room:
            return name, sizes[name] * pairs
    return "streaming" if costs.stored else "log domain", 0.0
