"""Numba kernels: the fused one-read Sinkhorn sweep over a stored kernel, and over a fresh panel.

A stored entry is an exponential between 0 and 1 in one of three forms: float32; bfloat16, as the
upper half of a float32; or 8 bits, 5 of exponent and 3 of mantissa, from 2^-30 (and 0) to 1.
All loops release the interpreter's lock; work is cut into parts that do not depend on the number
of threads, so neither do the results.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import extending, njit, types

from rerank.core import scipy_parts
from rerank.core.exhausted import reserve
from rerank.passes.threads import Workers

# Sums may be reordered, but infinities and NaN keep their meaning.
_FAST = {"reassoc", "contract", "nsz", "arcp"}
# Rows whose column sums share one float32 accumulator before it is added to a float64 one.
_FLUSH = 256
_MAX_PARTS = 64
# The 8 bits are read as the top of a float32 with the same exponent field, which is smaller by
# 2^96: one shift decodes them, and the factor goes into the vectors they are multiplied with.
_BASE_8BIT = 96 << 23

# The factor of each form, and its smallest entry that is not 0.
FACTOR = {"float32": 1.0, "uint16": 1.0, "uint8": 2.0**96}
SMALLEST = {"float32": 1e-33, "uint16": 1e-33, "uint8": 2.0**-30}


# What LLVM takes to compile a kernel or to load one; it ends the process where it finds no room.
_LLVM = 96 << 20

# Numba compiles nothing without.
scipy_parts.part("linalg.blas")


def _jit(function: Callable, *, fast: bool = True) -> Callable[..., Any]:
    """Compile when called, and keep the machine code on disk where a folder can be written.

    `fast`: sums may be reordered.
    """
    options = {"nogil": True, "fastmath": _FAST if fast else False, "error_model": "numpy"}
    made: Any
    try:
        made = njit(cache=True, **options)(function)
    except RuntimeError:  # no folder to cache in
        made = njit(**options)(function)
    compiled = made.compile

    def compile_(signature: Any) -> Any:  # noqa: ANN401  numba's
        reserve(_LLVM)
        return compiled(signature)

    made.compile = compile_
    return made


# Numba adds the first argument of these itself.
intrinsic: Any = extending.intrinsic
_I32, _F32 = ir.IntType(32), ir.FloatType()


@intrinsic
def _decode(typingctx: Any, entry: Any) -> Any:  # noqa: ANN401, ARG001  numba's protocol
    """The float32 value of a stored entry, divided by the factor of its form."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ANN401
        (value,) = args
        if entry == types.float32:
            return value
        # bfloat16 is the upper half of a float32; 5 + 3 bits follow the sign bit of one.
        shift = ir.Constant(_I32, 16 if entry == types.uint16 else 20)
        return builder.bitcast(builder.shl(builder.zext(value, _I32), shift), _F32)

    return types.float32(entry), generate


@intrinsic
def _encode(typingctx: Any, value: Any, like: Any) -> Any:  # noqa: ANN401, ARG001
    """Round a float32 in [0, 1] to the form of `like`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ANN401
        number = args[0]
        if like == types.float32:
            return number
        bits = builder.bitcast(number, _I32)
        if like == types.uint16:  # to nearest, ties to even
            odd = builder.and_(builder.lshr(bits, ir.Constant(_I32, 16)), ir.Constant(_I32, 1))
            half = builder.add(odd, ir.Constant(_I32, 0x7FFF))
            rounded = builder.lshr(builder.add(bits, half), ir.Constant(_I32, 16))
            return builder.trunc(rounded, ir.IntType(16))
        offset = builder.sub(bits, ir.Constant(_I32, _BASE_8BIT - (1 << 19)))
        # An exponent field of 0 would be a denormal number, slow on some machines.
        small = builder.icmp_signed("<", offset, ir.Constant(_I32, 1 << 23))
        offset = builder.select(small, ir.Constant(_I32, 0), offset)
        return builder.trunc(builder.lshr(offset, ir.Constant(_I32, 20)), ir.IntType(8))

    return like(types.float32, like), generate


@intrinsic
def _power_of_two(typingctx: Any, exponent: Any) -> Any:  # noqa: ANN401, ARG001
    """2^k as float32 for an int32 k in [-126, 127]."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ANN401
        biased = builder.add(args[0], ir.Constant(_I32, 127))
        return builder.bitcast(builder.shl(biased, ir.Constant(_I32, 23)), _F32)

    return types.float32(types.int32), generate


@intrinsic
def _ordered(typingctx: Any, number: Any) -> Any:  # noqa: ANN401, ARG001
    """An int32 that orders as the float32 does, and back: its own inverse on the bits.

    Compilers do not vectorise maxima of floats, because of NaN; those of integers they do.
    """
    back = number == types.int32

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ANN401
        bits = args[0] if back else builder.bitcast(args[0], _I32)
        sign = builder.ashr(bits, ir.Constant(_I32, 31))
        flipped = builder.xor(bits, builder.and_(sign, ir.Constant(_I32, 0x7FFFFFFF)))
        return builder.bitcast(flipped, _F32) if back else flipped

    return (types.float32 if back else types.int32)(number), generate


@_jit
def _largest(row: np.ndarray, bias: np.ndarray) -> np.float32:
    """Maximum of row + bias."""
    top = np.int32(-(2**31))
    for j in range(row.shape[0]):
        value = _ordered(_decode(row[j]) + bias[j])
        top = value if value > top else top
    return _ordered(top)


@_jit
def _exp2(x: np.float32) -> np.float32:
    """2^x for x <= 0 to 2e-7, exactly 0 below -126; branch-free, so that loops vectorise."""
    clamped = max(x, np.float32(-126.0))
    whole = np.floor(clamped + np.float32(0.5))
    t = clamped - whole
    p = np.float32(1.5403530e-4)
    p = p * t + np.float32(1.3333558e-3)
    p = p * t + np.float32(9.6181291e-3)
    p = p * t + np.float32(5.5504109e-2)
    p = p * t + np.float32(2.4022651e-1)
    p = p * t + np.float32(6.9314718e-1)
    p = p * t + np.float32(1.0)
    value = p * _power_of_two(np.int32(whole))
    return np.float32(0.0) if x < np.float32(-126.0) else value


@_jit
def _exp_row(row: np.ndarray, bias: np.ndarray, scale: np.float32, out: np.ndarray) -> np.float32:
    """Store 2^((row + bias - max) scale) in `out`; returns the maximum (0 if -inf)."""
    top = _largest(row, bias)
    if top == np.float32(-np.inf):
        top = np.float32(0.0)
    for j in range(row.shape[0]):
        out[j] = _encode(_exp2((_decode(row[j]) + bias[j] - top) * scale), out[j])
    return top


@_jit
def _tight_rows(kernel, v, a, factor, i, u, sums):  # noqa: ANN001, ANN202  typed by numba
    """Row sums of rows i to i + 3 against v, and u = a / sum; empty rows get u = 0."""
    k0, k1, k2, k3 = kernel[i], kernel[i + 1], kernel[i + 2], kernel[i + 3]
    s0 = s1 = s2 = s3 = np.float32(0.0)
    for j in range(v.shape[0]):
        s0 += _decode(k0[j]) * v[j]
        s1 += _decode(k1[j]) * v[j]
        s2 += _decode(k2[j]) * v[j]
        s3 += _decode(k3[j]) * v[j]
    sums[i], sums[i + 1], sums[i + 2], sums[i + 3] = s0, s1, s2, s3
    for r in range(4):
        u[r] = a[i + r] * factor / sums[i + r] if sums[i + r] > 0 else np.float32(0.0)


@_jit
def _sweep_rows(kernel, v, a, factor, low, high, sums, acc, total):  # noqa: ANN001, ANN202
    """Rows low to high: their sums against v, and sum_i (a_i / sums_i) K_i added to `total`."""
    m = v.shape[0]
    u = np.empty(4, np.float32)
    i = low
    while i < high:
        stop = min(i + _FLUSH, high)
        for j in range(m):
            acc[j] = np.float32(0.0)
        while i + 4 <= stop:
            # Four rows at a time: the second reading of them comes from the cache.
            _tight_rows(kernel, v, a, factor, i, u, sums)
            u0, u1, u2, u3 = u[0], u[1], u[2], u[3]
            k0, k1, k2, k3 = kernel[i], kernel[i + 1], kernel[i + 2], kernel[i + 3]
            for j in range(m):
                acc[j] += (u0 * _decode(k0[j]) + u1 * _decode(k1[j])) + (
                    u2 * _decode(k2[j]) + u3 * _decode(k3[j])
                )
            i += 4
        while i < stop:
            row = kernel[i]
            s = np.float32(0.0)
            for j in range(m):
                s += _decode(row[j]) * v[j]
            sums[i] = s
            ui = a[i] * factor / s if s > 0 else np.float32(0.0)
            for j in range(m):
                acc[j] += ui * _decode(row[j])
            i += 1
        for j in range(m):
            total[j] += acc[j]


@_jit
def _sweep_parts(kernel, v, a, factor, bounds, first, step, sums, totals):  # noqa: ANN001, ANN202
    acc = np.empty(v.shape[0], np.float32)
    for part in range(first, bounds.shape[0] - 1, step):
        totals[part, :] = 0.0
        _sweep_rows(kernel, v, a, factor, bounds[part], bounds[part + 1], sums, acc, totals[part])


@_jit
def _power(value: np.float32, power: np.float32) -> np.float32:
    """value^power for 0 <= value <= 1; zeros stay zeros."""
    bits = _ordered(value)
    t = _ordered(np.int32((bits & np.int32(0x7FFFFF)) | np.int32(0x3F800000))) - np.float32(1.0)
    # log2(1 + t) to 2e-5, a hundredth of what rounding to bfloat16 loses.
    p = np.float32(0.0452669)
    p = p * t + np.float32(-0.1935135)
    p = p * t + np.float32(0.4152433)
    p = p * t + np.float32(-0.7088646)
    p = p * t + np.float32(1.4418798)
    x = np.float32((bits >> np.int32(23)) - np.int32(127)) + p * t
    found = _exp2(min(x * power, np.float32(0.0)))
    return np.float32(0.0) if bits == np.int32(0) else found


@_jit
def _raise_parts(kernel, power, bounds, first, step):  # noqa: ANN001, ANN202
    """Every entry x as x^power, in place."""
    power = np.float32(power)
    for part in range(first, bounds.shape[0] - 1, step):
        for i in range(bounds[part], bounds[part + 1]):
            row = kernel[i]
            for j in range(row.shape[0]):
                row[j] = _encode(_power(_decode(row[j]), power), row[j])


@_jit
def _column_parts(kernel, power, v, a, bounds, first, step, totals):  # noqa: ANN001, ANN202
    """Sum_i a_i w_ij and sum_i a_i w_ij^2 with w_ij = K_ij^power v_j / sum_j K_ij^power v_j."""
    m, power = v.shape[0], np.float32(power)
    held, acc = np.empty(m, np.float32), np.empty((2, m), np.float32)
    for part in range(first, bounds.shape[0] - 1, step):
        totals[part, :] = 0.0
        for start in range(bounds[part], bounds[part + 1], _FLUSH):
            acc[:] = np.float32(0.0)
            for i in range(start, min(start + _FLUSH, bounds[part + 1])):
                row, s = kernel[i], np.float32(0.0)
                for j in range(m):
                    held[j] = _power(_decode(row[j]), power) * v[j]
                for j in range(m):
                    s += held[j]
                share, mass = np.float32(1.0) / s if s > 0 else np.float32(0.0), a[i]
                for j in range(m):
                    w = held[j] * share
                    acc[0, j] += mass * w
                    acc[1, j] += mass * w * w
            for side in range(2):
                for j in range(m):
                    totals[part, side, j] += acc[side, j]


@_jit
def _peak_parts(kernel, v, u, bounds, first, step, rows, tops, sums):  # noqa: ANN001, ANN202
    """Largest entry and sum of rows of K v, and of columns of u K for each part."""
    m = v.shape[0]
    for part in range(first, bounds.shape[0] - 1, step):
        top, total = tops[part], sums[part]
        for i in range(bounds[part], bounds[part + 1]):
            row, ui = kernel[i], u[i]
            best, s = np.int32(0), np.float32(0.0)
            for j in range(m):
                value = _decode(row[j]) * v[j]
                # No entry is negative: their bits order as they do.
                bits = _ordered(value)
                best = bits if bits > best else best
                s += value
            rows[0, i], rows[1, i] = _ordered(best), s
            for j in range(m):
                value = _decode(row[j]) * ui
                total[j] += value
                top[j] = value if value > top[j] else top[j]


@_jit
def _plan_rows(panel, bias, scale, a, rows, tops, sums):  # noqa: ANN001, ANN202
    """Rows of exp((panel + bias) scale), each scaled to the sum a_i, in place.

    `rows` (2, b) gets their sums and largest entries; `tops`, `sums` (m,) those of the columns.
    """
    m = panel.shape[1]
    held = np.empty(m, np.float32)
    for i in range(panel.shape[0]):
        row = panel[i]
        _exp_row(row, bias, scale, held)
        s = np.float32(0.0)
        for j in range(m):
            s += held[j]
        share = a[i] / s if s > 0 else np.float32(0.0)
        # The largest entry of a row is exp(0).
        rows[0, i], rows[1, i] = share * s, share
        for j in range(m):
            value = held[j] * share
            row[j] = _encode(value, row[j])
            sums[j] += value
            tops[j] = value if value > tops[j] else tops[j]


@_jit
def _exp_rows(panel, bias, scale, out, tops):  # noqa: ANN001, ANN202
    for i in range(panel.shape[0]):
        tops[i] = _exp_row(panel[i], bias, scale, out[i])


@_jit
def _fresh_rows(panel, bias, scale, a, tops, sums, total):  # noqa: ANN001, ANN202
    """Exponentials of each row in a buffer that stays in the cache, their row and column sums."""
    n, m = panel.shape
    acc, row = np.empty(m, np.float32), np.empty(m, np.float32)
    for first in range(0, n, _FLUSH):
        for j in range(m):
            acc[j] = np.float32(0.0)
        for i in range(first, min(first + _FLUSH, n)):
            tops[i] = _exp_row(panel[i], bias, scale, row)
            s = np.float32(0.0)
            for j in range(m):
                s += row[j]
            sums[i] = s
            ui = a[i] / s if s > 0 else np.float32(0.0)
            for j in range(m):
                acc[j] += ui * row[j]
        for j in range(m):
            total[j] += acc[j]


def sweep(
    workers: Workers, kernel: np.ndarray, v: np.ndarray, a: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Row sums s = K v, (n,) float32, and column sums K^T (a / s), (m,) float64."""
    # Equal parts, the same for any number of threads.
    parts = max(1, min(_MAX_PARTS, len(kernel) // _FLUSH))
    bounds = np.linspace(0, len(kernel), parts + 1).astype(np.int64)
    sums = np.empty(len(kernel), np.float32)
    totals = np.empty((parts, len(v)), np.float64)
    factor = np.float32(FACTOR[kernel.dtype.name])
    workers.run(_sweep_parts, (kernel, v * factor, a, factor, bounds), (sums, totals))
    return sums, totals.sum(axis=0)


def raised(workers: Workers, kernel: np.ndarray, power: float) -> None:
    """Raise every entry to a power, in place."""
    parts = max(1, min(_MAX_PARTS, len(kernel) // _FLUSH))
    bounds = np.linspace(0, len(kernel), parts + 1).astype(np.int64)
    workers.run(_raise_parts, (kernel, np.float32(power), bounds), ())


def columns(
    workers: Workers, kernel: np.ndarray, power: float, v: np.ndarray, a: np.ndarray
) -> np.ndarray:
    """(2, m) sum_i a_i w_ij and sum_i a_i w_ij^2, w_ij the shares of K_ij^power v_j in its row."""
    parts = max(1, min(_MAX_PARTS, len(kernel) // _FLUSH))
    bounds = np.linspace(0, len(kernel), parts + 1).astype(np.int64)
    totals = np.empty((parts, 2, len(v)), np.float64)
    workers.run(_column_parts, (kernel, np.float32(power), v, a, bounds), (totals,))
    return totals.sum(axis=0)


def peaks(
    workers: Workers, kernel: np.ndarray, v: np.ndarray, u: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Largest entry and sum of every row of K v, (2, n), and of every column of u K, (2, m)."""
    parts = max(1, min(_MAX_PARTS, len(kernel) // _FLUSH))
    bounds = np.linspace(0, len(kernel), parts + 1).astype(np.int64)
    rows = np.empty((2, len(kernel)), np.float32)
    tops, sums = np.zeros((2, parts, len(v)), np.float32)
    workers.run(_peak_parts, (kernel, v, u, bounds), (rows, tops, sums))
    return rows, np.stack([tops.max(axis=0).astype(np.float64), sums.sum(axis=0, dtype=np.float64)])


def plan(
    panel: np.ndarray, bias: np.ndarray, tau: float, a: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Turn a panel in place into a softmax_j((panel + bias) / tau), rows of mass a.

    Panels are float32, or bfloat16 as uint16.

    Returns:
        Sums and largest entries of the rows, (2, b), and of the columns, (2, m).
    """
    rows, columns = np.empty((2, len(panel)), np.float32), np.zeros((2, len(bias)), np.float32)
    scale = np.float32(1 / (tau * math.log(2)))
    _plan_rows(panel, bias, scale, a, rows, columns[1], columns[0])
    return rows, columns


def build(panel: np.ndarray, bias: np.ndarray, tau: float, out: np.ndarray) -> np.ndarray:
    """Store exp((panel + bias - row max) / tau) in `out`; returns the maxima (b,) float32."""
    tops = np.empty(len(panel), np.float32)
    _exp_rows(panel, bias, np.float32(1 / (tau * math.log(2))), out, tops)
    return tops


def fresh(
    panel: np.ndarray, bias: np.ndarray, tau: float, a: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One sweep over a panel of float32 scores, or bfloat16 ones as uint16.

    Returns:
        Row maxima of panel + bias and row sums of exp((panel + bias - max) / tau), both (b,)
        float32, and the column sums weighted by a / sums, (m,) float64.
    """
    tops, sums = np.empty(len(panel), np.float32), np.empty(len(panel), np.float32)
    total = np.zeros(panel.shape[1])
    _fresh_rows(panel, bias, np.float32(1 / (tau * math.log(2))), a, tops, sums, total)
    return tops, sums, total
