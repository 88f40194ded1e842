"""A cost model: which regime, how much memory and how long, before anything is read.

Every stage is a few operations counted exactly and divided by a rate of the hardware:

    inner products   2 n m d      over the matrix rate
    exponentials     n m          over the rate of exp
    stored kernel    n m bytes    over the memory bandwidth
    all-reduce       4 m bytes    over the link, twice (P - 1) / P of them

Queries are split over P devices, the gallery is whole on each. Rates of this machine are measured
in about a second; those of a named card are estimates from data sheets and say so.
"""

import math
import time
from dataclasses import dataclass, replace

import torch

from rerank import memory
from rerank.errors import RerankError
from rerank.kernels.choose import has_numba

_PANEL_BYTES = 100e6
# What `choose` grants a stored kernel of the budget.
_KERNEL_SHARE = 0.45
# Passes of the label-free temperature: two top-k, four reductions.
_TAU_PASSES, _TAU_SWEEPS = 6, 30


@dataclass(frozen=True)
class Rates:
    """What one device does in a second.

    Attributes:
        name: of the hardware.
        matrix: floating-point operations of float32 inner products (of bfloat16 ones on a GPU).
        exps: exponentials.
        bandwidth: bytes of memory read.
        link: bytes to the other devices.
        memory: bytes that may be used.
        gpu: whether it is a GPU: float16 kernels, read twice in a sweep.
        measured: False for estimates from data sheets.
    """

    name: str
    matrix: float
    exps: float
    bandwidth: float
    link: float
    memory: float
    gpu: bool = False
    measured: bool = False


# Half of the dense bfloat16 rate, 80 % of the copy bandwidth, one exp per special-function slot.
CARDS = {
    "h200": Rates("H200", 395e12, 4e12, 3.4e12, 200e9, 125e9, gpu=True),
    "h100": Rates("H100 80 GB", 395e12, 4e12, 2.6e12, 200e9, 70e9, gpu=True),
    "a100": Rates("A100 80 GB", 155e12, 2.4e12, 1.6e12, 150e9, 70e9, gpu=True),
}


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
        rates: of the hardware.
        devices: how many share the queries.
        notes: what the figures leave out, one sentence each.
    """

    regime: str
    stages: tuple[Stage, ...]
    memory: dict[str, float]
    rates: Rates
    devices: int
    notes: tuple[str, ...]

    @property
    def seconds(self) -> float:
        """Of all stages."""
        return sum(stage.seconds for stage in self.stages)

    @property
    def fits(self) -> bool:
        """Whether a device holds what it needs."""
        return sum(self.memory.values()) <= self.rates.memory


def measure() -> Rates:
    """Rates of this machine's CPU, in about a second."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn((1024, 512), generator=generator)
    y = torch.randn((4096, 512), generator=generator)
    big = torch.randn(24_000_000, generator=generator)
    return Rates(
        "this machine's CPU",
        matrix=2 * 1024 * 4096 * 512 / _seconds(lambda: x @ y.T),
        exps=len(big) / _seconds(lambda: big.exp()),
        bandwidth=4 * len(big) / _seconds(lambda: big.sum()),
        link=1e9,
        memory=float(memory.budget()),
        measured=True,
    )


def _seconds(work) -> float:  # noqa: ANN001  a function without arguments
    """The best of a few runs: a busy neighbour only ever slows them."""
    work()
    times = []
    for _ in range(5):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def plan(
    queries: float,
    gallery: float,
    dim: int,
    *,
    devices: int = 1,
    rates: Rates | None = None,
    sweeps: int = 30,
    em: bool = True,
    both: bool = True,
) -> Plan:
    """Predict regime, memory and time of `rerank apply`.

    Args:
        queries: n; gallery: m; dim: d of the embeddings.
        gallery: see `queries`.
        dim: see `queries`.
        devices: how many share the queries.
        rates: of one device; measured here by default.
        sweeps: Sinkhorn steps of a fit.
        em: whether EM comes first.
        both: whether both directions are ranked; one fit serves both.

    Raises:
        RerankError: sizes that are not positive.
    """
    n, m, d = float(queries), float(gallery), int(dim)
    if not (1 <= n < math.inf and 1 <= m < math.inf and d >= 1 and devices >= 1 and sweeps >= 1):
        raise RerankError(
            f"plan: got {queries} queries, {gallery} gallery items, d = {dim}, {devices} devices, "
            f"expected positive numbers"
        )
    rates = rates or measure()
    share = math.ceil(n / devices)
    regime, kernel = _regime(share, m, rates)
    product = 2 * share * m * d / rates.matrix
    panel = product + share * m / rates.exps
    sweep = _sweep(regime, share, m, panel, kernel, rates)
    reduce = 0.0
    if devices > 1:
        reduce = 2 * (devices - 1) / devices * 4 * m / rates.link + 20e-6 * math.log2(devices)
    directions = 2 if both else 1
    stages = [
        Stage("EM: moments", 2 * (share + m) * d * d / rates.matrix if em else 0.0),
        Stage("temperature", _TAU_PASSES * panel + _TAU_SWEEPS * (sweep + reduce)),
        Stage("Sinkhorn", (panel if kernel else 0.0) + sweeps * (sweep + reduce)),
        # Lists before and after, for the hubness and the result.
        Stage("top-k", 2 * directions * (product + share * m / rates.exps / 4)),
    ]
    if not em:
        stages = stages[1:]
    held = {
        "embeddings": 4 * d * (share + m),
        "mapped copy": 4 * d * (share + m),
        "stored kernel": kernel,
        "panels": min(_PANEL_BYTES, 4 * share * m),
        "biases": 8 * (share + m),
    }
    notes = ["reading and writing files is not counted"]
    if not rates.measured:
        notes.append(f"{rates.name}: estimated from its data sheet, not measured")
    made = Plan(regime, tuple(stages), held, rates, devices, tuple(notes))
    if made.fits:
        return made
    need = sum(held.values())
    text = f"needs {need / 1e9:,.1f} GB a device, {rates.memory / 1e9:,.1f} GB may be used"
    return replace(made, notes=(*notes, f"does not fit: {text}; use more devices or less d"))


def _regime(n: float, m: float, rates: Rates) -> tuple[str, float]:
    """Name and bytes of the stored kernel, as `kernels.choose` decides."""
    room = _KERNEL_SHARE * rates.memory
    if rates.gpu:
        return ("stored float16", 2 * n * m) if 2 * n * m <= room else ("streaming", 0.0)
    if not has_numba():
        return "log domain", 0.0
    for name, size in (("stored bfloat16", 2), ("stored 8-bit", 1)):
        if size * n * m <= room:
            return name, size * n * m
    return "streaming", 0.0


def _sweep(regime: str, n: float, m: float, panel: float, kernel: float, rates: Rates) -> float:
    """Seconds of one sweep on one device."""
    if kernel:
        reads = 2 if rates.gpu else 1
        # Unpacking 8 or 16 bits costs about as much as reading 32.
        return reads * (kernel if rates.gpu else 4 * n * m) / rates.bandwidth
    if regime == "log domain":
        return panel + 2 * n * m / rates.exps
    return panel
