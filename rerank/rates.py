"""What one pass costs for every pair it reads: timed here, or counted from a card's data sheet."""

import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch

from rerank import io, memory, reduce, search
from rerank.kernels import choose
from rerank.kernels.choose import Regime
from rerank.kernels.stored import Stored
from rerank.methods.em import EM
from rerank.products import has_fast_bfloat16
from rerank.similarity import Pair

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
