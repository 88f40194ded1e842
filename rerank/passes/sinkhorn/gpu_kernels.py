"""Triton kernels for Sinkhorn's sweeps on a GPU, as functions of tensors.

Exponents are kept in base 2: with c = log2(e) / tau, exp((S + g) / tau) = 2^(c S + c g). Sums are
float32 over at most a few thousand terms and are added up in float64 outside.
Set TRITON_INTERPRET=1 before importing this module to run it on a CPU.
"""

# ruff: noqa: ANN001, ANN202  (Triton types the arguments of its kernels)

import functools
import math
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

import torch
import triton
import triton.language as tl
from torch import Tensor

# Stored exponentials are multiplied by this, so that 2^-28 is still a normal float16.
STORED_SCALE = 2.0**14
STORED_SMALLEST = 2.0**-30
LOG2E = 1 / math.log(2)

# Columns come in such multiples: loads of 16 bytes and tensor cores need rows that begin evenly.
EVEN = 64

_jit: Any = triton.jit
P = ParamSpec("P")
R = TypeVar("R")


@_jit
def _panel_rows(
    panel, stride, bias, tops, sums, n, m, scale, BM: tl.constexpr, BN: tl.constexpr
):  # fmt: skip
    """Maximum and sum of 2^(scale panel_ij + bias_j) over the columns."""
    rows = tl.program_id(0) * BM + tl.arange(0, BM)
    columns = tl.arange(0, BN)
    base = panel + rows[:, None].to(tl.int64) * stride
    top = tl.full((BM,), float("-inf"), tl.float32)
    total = tl.zeros((BM,), tl.float32)
    for start in range(0, m, BN):
        cols = start + columns
        inside = cols < m
        value = tl.load(base + cols[None, :], mask=(rows[:, None] < n) & inside[None, :], other=0.0)
        shift = tl.load(bias + cols, mask=inside, other=float("-inf"))
        t = value.to(tl.float32) * scale + shift[None, :]
        new = tl.maximum(top, tl.max(t, axis=1))
        safe = tl.where(new == float("-inf"), 0.0, new)
        total = total * tl.exp2(top - safe) + tl.sum(tl.exp2(t - safe[:, None]), axis=1)
        top = new
    tl.store(tops + rows, top, mask=rows < n)
    tl.store(sums + rows, total, mask=rows < n)


@_jit
def _panel_columns(
    panel, stride, bias, shift, partial, n, m, span, scale, BM: tl.constexpr, BN: tl.constexpr
):  # fmt: skip
    """Sums over a span of rows of 2^(scale panel_ij + bias_j + shift_i)."""
    cols = tl.program_id(0) * BN + tl.arange(0, BN)
    inside = cols < m
    g = tl.load(bias + cols, mask=inside, other=float("-inf"))
    first = tl.program_id(1) * span
    last = tl.minimum(first + span, n)
    acc = tl.zeros((BM, BN), tl.float32)
    for start in range(first, last, BM):
        rows = start + tl.arange(0, BM)
        held = rows < last
        value = tl.load(
            panel + rows[:, None].to(tl.int64) * stride + cols[None, :],
            mask=held[:, None] & inside[None, :], other=0.0,
        )  # fmt: skip
        log_u = tl.load(shift + rows, mask=held, other=float("-inf"))
        acc += tl.exp2(value.to(tl.float32) * scale + g[None, :] + log_u[:, None])
    place = tl.program_id(1).to(tl.int64) * m + cols
    tl.store(partial + place, tl.sum(acc, axis=0), mask=inside)


@_jit
def _store_panel(
    panel, stride, bias, tops, out, out_stride, n, m, scale, factor,
    BM: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    """Write factor 2^(scale panel_ij + bias_j - tops_i) in the type of `out`."""
    rows = tl.program_id(0) * BM + tl.arange(0, BM)
    cols = tl.program_id(1) * BN + tl.arange(0, BN)
    held = (rows[:, None] < n) & (cols[None, :] < m)
    row = rows[:, None].to(tl.int64)
    value = tl.load(panel + row * stride + cols[None, :], mask=held, other=0.0).to(tl.float32)
    g = tl.load(bias + cols, mask=cols < m, other=float("-inf"))
    top = tl.load(tops + rows, mask=rows < n, other=0.0)
    t = tl.where(held, tl.exp2(value * scale + g[None, :] - top[:, None]) * factor, 0.0)
    tl.store(out + row * out_stride + cols[None, :], t.to(out.dtype.element_ty), mask=held)


@_jit
def _stored_rows(
    kernel, stride, v, sums, n, m, BM: tl.constexpr, BN: tl.constexpr
):  # fmt: skip
    """Row sums K v."""
    rows = tl.program_id(0) * BM + tl.arange(0, BM)
    columns = tl.arange(0, BN)
    base = kernel + rows[:, None].to(tl.int64) * stride
    acc = tl.zeros((BM, BN), tl.float32)
    for start in range(0, m, BN):
        cols = start + columns
        inside = cols < m
        value = tl.load(base + cols[None, :], mask=(rows[:, None] < n) & inside[None, :], other=0.0)
        acc += value.to(tl.float32) * tl.load(v + cols, mask=inside, other=0.0)[None, :]
    tl.store(sums + rows, tl.sum(acc, axis=1), mask=rows < n)


@_jit
def _stored_columns(
    kernel, stride, u, partial, n, m, span, BM: tl.constexpr, BN: tl.constexpr
):  # fmt: skip
    """Column sums u K over a span of rows."""
    cols = tl.program_id(0) * BN + tl.arange(0, BN)
    inside = cols < m
    first = tl.program_id(1) * span
    last = tl.minimum(first + span, n)
    acc = tl.zeros((BM, BN), tl.float32)
    for start in range(first, last, BM):
        rows = start + tl.arange(0, BM)
        held = rows < last
        value = tl.load(
            kernel + rows[:, None].to(tl.int64) * stride + cols[None, :],
            mask=held[:, None] & inside[None, :], other=0.0,
        )  # fmt: skip
        acc += value.to(tl.float32) * tl.load(u + rows, mask=held, other=0.0)[:, None]
    place = tl.program_id(1).to(tl.int64) * m + cols
    tl.store(partial + place, tl.sum(acc, axis=0), mask=inside)


def _splits(programs: int, most: int, device: torch.device) -> int:
    """Into how many spans the long axis is cut, so that every multiprocessor has work."""
    if device.type != "cuda":
        return min(2, most)  # the interpreter: still exercise the sum over spans
    wanted = 8 * torch.cuda.get_device_properties(device).multi_processor_count
    return max(1, min(most, -(-wanted // programs)))


def even(count: int) -> int:
    """The next multiple of what rows are padded to."""
    return -(-count // EVEN) * EVEN


def padded(x: Tensor, dtype: torch.dtype, *, rows: int | None = None) -> Tensor:
    """The rows of x in another type, with zeros up to an even depth and to so many rows."""
    out = torch.zeros((rows or len(x), even(x.shape[1])), dtype=dtype, device=x.device)
    out[: len(x), : x.shape[1]] = x
    return out


def _launched(
    function: Callable[Concatenate[Tensor, P], R],
) -> Callable[Concatenate[Tensor, P], R]:
    """The function, on the device of its first argument, whose rows must lie in one piece each."""

    @functools.wraps(function)
    def run(x: Tensor, *args: P.args, **kwargs: P.kwargs) -> R:
        if x.stride(1) != 1:
            raise ValueError(
                f"{function.__name__}: got strides {tuple(x.stride())}, expected rows whose "
                f"numbers follow each other; call .contiguous() before"
            )
        with torch.cuda.device_of(x):
            return function(x, *args, **kwargs)

    return run


@_launched
def panel_sweep(panel: Tensor, bias: Tensor, tau: float, log_a: Tensor) -> tuple[Tensor, Tensor]:
    """One sweep over a panel of scores (b, m), any floating type.

    Returns:
        lse (b,) float64 of (panel + bias) / tau over the columns, and the column sums (m,) float64
        of exp((panel + bias) / tau - lse + log_a).
    """
    n, m = panel.shape
    scale = LOG2E / tau
    shifted = (bias.double() * scale).float()
    tops = torch.empty(n, dtype=torch.float32, device=panel.device)
    sums = torch.empty_like(tops)
    # Long rows: one exponential per entry, and few exchanges between threads.
    _panel_rows[(triton.cdiv(n, 2),)](
        panel, panel.stride(0), shifted, tops, sums, n, m, scale, BM=2, BN=4096, num_warps=8
    )
    lse = (tops.double() + sums.double().log2()) / LOG2E
    shift = torch.where(torch.isfinite(lse), log_a.double() - lse, -math.inf) * LOG2E
    blocks = triton.cdiv(m, 256)
    splits = _splits(blocks, max(1, n // 64), panel.device)
    span = triton.cdiv(n, splits)
    partial = torch.empty((triton.cdiv(n, span), m), dtype=torch.float32, device=panel.device)
    _panel_columns[(blocks, len(partial))](
        panel,
        panel.stride(0),
        shifted,
        shift.float(),
        partial,
        n,
        m,
        span,
        scale,
        BM=16,
        BN=256,
        num_warps=8,
    )
    return lse, partial.sum(dim=0, dtype=torch.float64)


@_launched
def store_panel(panel: Tensor, bias: Tensor, tau: float, out: Tensor) -> Tensor:
    """Fill `out` (b, m) float16 with STORED_SCALE exp((panel + bias - top) / tau).

    Returns:
        The row maxima (b,) float64 of panel + bias, 0 for rows without a finite score.
    """
    n, m = panel.shape
    scale = LOG2E / tau
    shifted = (bias.double() * scale).float()
    tops = torch.empty(n, dtype=torch.float32, device=panel.device)
    sums = torch.empty_like(tops)
    # Long rows: one exponential per entry, and few exchanges between threads.
    _panel_rows[(triton.cdiv(n, 2),)](
        panel, panel.stride(0), shifted, tops, sums, n, m, scale, BM=2, BN=4096, num_warps=8
    )
    tops = torch.where(torch.isfinite(tops), tops, torch.zeros_like(tops))
    _store_panel[(triton.cdiv(n, 8), triton.cdiv(m, 512))](
        panel,
        panel.stride(0),
        shifted,
        tops,
        out,
        out.stride(0),
        n,
        m,
        scale,
        STORED_SCALE,
        BM=8,
        BN=512,
        num_warps=8,
    )
    return tops.double() / scale


@_launched
def stored_sweep(kernel: Tensor, v: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
    """Row sums s = K v and column sums K^T (a / s) of a kernel in float16, both float64."""
    n, m = kernel.shape
    sums = torch.empty(n, dtype=torch.float32, device=kernel.device)
    _stored_rows[(triton.cdiv(n, 4),)](
        kernel, kernel.stride(0), v.float(), sums, n, m, BM=4, BN=2048, num_warps=8
    )  # fmt: skip
    u = torch.where(sums > 0, a.float() / sums, torch.zeros_like(sums))
    blocks = triton.cdiv(m, 512)
    splits = _splits(blocks, max(1, n // 64), kernel.device)
    span = triton.cdiv(n, splits)
    partial = torch.empty((triton.cdiv(n, span), m), dtype=torch.float32, device=kernel.device)
    _stored_columns[(blocks, len(partial))](
        kernel, kernel.stride(0), u, partial, n, m, span, BM=16, BN=512, num_warps=8
    )
    return sums.double() / STORED_SCALE, partial.sum(dim=0, dtype=torch.float64)
