"""Which sweep to use: by the size of the problem, the precision, the device and the budget."""

import importlib.util
from dataclasses import dataclass
from functools import cache
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from rerank.core import comm, memory
from rerank.core.similarity import Pair, Similarity
from rerank.passes import panels
from rerank.passes.sinkhorn.stored import StoredNumba, StoredTorch
from rerank.passes.sinkhorn.sweepers import Fresh, Plain, Sweeper

Name: TypeAlias = Literal[
    "log domain",
    "stored float32",
    "stored bfloat16",
    "stored 8-bit",
    "streaming",
    "stored float16",
    "panels",
]

# Up to here compiling anything costs more than it saves.
SMALL = 4 * 1024 * 1024
_SMALL_GPU = 32 * 1024 * 1024
# The share of the budget that a stored kernel may take: embeddings, their copies, an index and
# panels need the rest.
KERNEL_SHARE = 0.45
# The same of a card, where nothing else is kept but float16 embeddings and a panel.
_KERNEL_SHARE_GPU = 0.7
# From so many items on float16 has no room left for those with a light column.
_MOST_STORED_GPU = 1024 * 1024
# A kernel costs about two streamed sweeps to build.
_FEW_SWEEPS = 3


@dataclass(frozen=True)
class Regime:
    """How the sweeps of one fit are done.

    Attributes:
        name: which sweep.
        half: scores from bfloat16 inner products (potentials only, never rankings).
        kernel_bytes: what a stored kernel takes.
    """

    name: Name
    half: bool = False
    kernel_bytes: int = 0

    def __str__(self) -> str:
        text: str = self.name
        if self.half:
            product = "bfloat16" if self.name in ("stored 8-bit", "streaming") else "float16"
            text += f", {product} inner products, last sweep in float32"
        elif self.name == "stored 8-bit":
            text += ", last sweep in float32"
        if self.kernel_bytes:
            text += f" ({self.kernel_bytes / 1e6:,.0f} MB)"
        return text


@cache
def has_numba() -> bool:
    """Whether the extra with the compiled CPU kernels is installed."""
    return importlib.util.find_spec("numba") is not None


def regime(sim: Similarity, *, sweeps: int, rough: bool = False) -> Regime:
    """The regime for a number of sweeps over a similarity; the same on every process.

    Args:
        sim: the similarity.
        sweeps: how many sweeps are expected.
        rough: whether scores may be rounded where that saves time, and nothing makes up for it.
    """
    n, m, budget = largest_share(sim)
    if sim.dtype != torch.float32 or sim.shard == "gallery":
        return Regime("log domain")
    room = KERNEL_SHARE * budget
    stored = sweeps >= _FEW_SWEEPS
    if sim.device.type == "cuda":
        return _gpu_regime(sim, n, m, _KERNEL_SHARE_GPU * budget, stored=stored)
    if stored and 4 * n * m <= room and (n * m <= SMALL or not _has_kernels(sim)):
        return Regime("stored float32", kernel_bytes=4 * n * m)
    if not _has_kernels(sim):
        return Regime("log domain")
    half = panels.can_halve(sim, n + m, budget)
    if stored and 2 * n * m <= room:
        return Regime("stored bfloat16", half=rough and half, kernel_bytes=2 * n * m)
    # 8 bits keep 99 of 100 of the best ten, streaming all: it is slower, and goes first.
    if stored and n * m <= room and 4 * panels.rows_of(m) * m > room:
        return Regime("stored 8-bit", half=half, kernel_bytes=n * m)
    return Regime("streaming", half=half and sweeps >= _FEW_SWEEPS)


def largest_share(sim: Similarity) -> tuple[int, int, int]:
    """Most queries and items that a process holds, and the smallest budget of one.

    Passes end in collectives, so all processes have to take the same road.
    """
    n, m = sim.shape
    budget = memory.budget(sim.device)
    if sim.shard is None:
        return n, m, budget
    n, m, short = comm.all_max(torch.tensor([n, m, -budget], device=sim.device)).tolist()
    return n, m, -short


def _gpu_regime(sim: Similarity, n: int, m: int, room: float, *, stored: bool) -> Regime:
    if stored and n * m <= _SMALL_GPU and 4 * n * m <= room:
        return Regime("stored float32", kernel_bytes=4 * n * m)
    if not (has_triton() and stored):
        return Regime("log domain")
    half = isinstance(sim, Pair) and sim.left is None
    if 2 * n * m <= room and m <= _MOST_STORED_GPU:
        return Regime("stored float16", half=half, kernel_bytes=2 * n * m)
    return Regime("panels", half=half)


@cache
def has_triton() -> bool:
    """Whether the compiler of the GPU kernels is installed."""
    return importlib.util.find_spec("triton") is not None


def _has_kernels(sim: Similarity) -> bool:
    return has_numba() and sim.device.type == "cpu"


def compiled(sim: Similarity) -> bool:
    """Whether compiled loops over float32 panels serve a similarity, and pay at its size.

    The same on every process.
    """
    n, m = sim.shape
    if sim.shard is not None:
        n, m = comm.all_max(torch.tensor([n, m], device=sim.device)).tolist()
    return sim.device.type == "cpu" and sim.dtype == torch.float32 and n * m > SMALL and has_numba()


def sweeper(
    sim: Similarity, tau: float, *, log_a: Tensor, sweeps: int, rough: bool = False,
    warm: bool = False,
) -> Sweeper:  # fmt: skip
    """The sweep of the regime that suits a similarity.

    Args:
        sim: the similarity.
        tau: temperature in score units.
        log_a: (n,) log masses of the queries.
        sweeps: how many calls are expected.
        rough: see `regime`.
        warm: whether the first potentials are nearly right.
    """
    return build(regime(sim, sweeps=sweeps, rough=rough), sim, tau, log_a, warm=warm)


def build(
    chosen: Regime, sim: Similarity, tau: float, log_a: Tensor, *, warm: bool = False
) -> Sweeper:
    """The sweep of a given regime."""
    if chosen.name == "log domain":
        return Plain(sim, tau, log_a)
    if chosen.name in ("stored float16", "panels"):
        from rerank.passes.sinkhorn import gpu as gpu_sweepers

        return gpu_sweepers.make(chosen.name, sim, tau, log_a)
    # A kernel that is kept leaves no room for tall panels.
    tall = chosen.name == "streaming"
    source = panels.full(sim, tall=tall)
    if chosen.half and isinstance(sim, Pair):
        source = panels.halved(sim, tall=tall)
    if chosen.name == "streaming":
        return Fresh(sim, tau, log_a, source)
    if chosen.name == "stored float32":
        return StoredTorch(sim, tau, log_a, source)
    form = {
        "stored float32": torch.float32,
        "stored bfloat16": torch.uint16,
        "stored 8-bit": torch.uint8,
    }[chosen.name]
    return StoredNumba(sim, tau, log_a, source, form, warm=warm)
