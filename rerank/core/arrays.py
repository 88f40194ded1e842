"""Checks at the door: any numpy or torch matrix in, a clean torch tensor out.

Inner products of two sets of rows, by the fastest exact route that this build of torch has.
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from numbers import Real
from textwrap import shorten
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from rerank.core.errors import RerankError
from rerank.core.handed import (
    array_conversion,
    conversion,
    is_table,
    of_nullable,
    readable,
    table_conversion,
)
from rerank.core.wording import option

ArrayLike: TypeAlias = np.ndarray | Tensor

# Elements of one row block: 4 Mi fp32 numbers are 16 MB, a few blocks in flight stay under 100 MB.
BLOCK_ELEMENTS = 4 * 1024 * 1024
# Rows of one block however long they are: a matrix product of fewer is bound by memory.
FEWEST_ROWS = 32


# Floats that are computed with; others, such as those of 8 bits, have no arithmetic of their own.
_REAL = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
# What matrices of scores are called in messages; in these -inf stands for "not scored".
_OF_SCORES = ("scores", "t2v", "v2t")


@runtime_checkable
class HasArray(Protocol):
    """What numpy can make an array of: frames of pandas and polars, arrays of other libraries."""

    def __array__(self) -> np.ndarray: ...


@runtime_checkable
class Sparse(Protocol):
    """A sparse matrix."""

    def toarray(self) -> np.ndarray:
        """The same, dense."""
        ...


def as_matrix(x: ArrayLike, what: str, *, keep_half: bool = False, no_rows: bool = False) -> Tensor:
    """A 2-D floating tensor over the caller's memory; half precision becomes float32.

    Args:
        x: numpy or torch; also a list of rows, or a frame of pandas or polars.
        what: name for messages.
        keep_half: leave half precision as it is.
        no_rows: allow an empty share of rows that are split over processes.

    Raises:
        RerankError: not 2-D, empty, or not real floating point.
    """
    if not isinstance(x, np.ndarray | Tensor):
        x = _as_array(x, what)
    if isinstance(x, np.ndarray):
        x = _of_numpy(x, what)
    else:
        x = readable(x, what, scores=what in _OF_SCORES)
    if x.is_floating_point() and x.dtype not in _REAL:
        raise RerankError(
            f"{what}: got dtype {x.dtype}, expected half, single or double precision; "
            f"{conversion(x.dtype)}"
        )
    if x.ndim != 2:
        raise RerankError(f"{what}: got shape {tuple(x.shape)}, expected two dimensions")
    if not x.is_floating_point():
        raise RerankError(
            f"{what}: got dtype {x.dtype}, expected real floating point; {conversion(x.dtype)}"
        )
    if (x.shape[0] == 0 and not no_rows) or x.shape[1] == 0:
        raise RerankError(
            f"{what}: got shape {tuple(x.shape)}, expected at least one row and column"
        )
    if x.dtype in (torch.float16, torch.bfloat16) and not keep_half:
        x = x.float()
    return x


def _refuse_masked(x: object, what: str, way: str) -> None:
    if isinstance(x, np.ma.MaskedArray | np.ma.core.MaskedConstant) and np.ma.is_masked(x):
        fill = "-np.inf" if what in _OF_SCORES else "0"
        raise RerankError(
            f"{what}: got a masked array with masked values; fill them: {way.format(fill)}"
        )


def _of_numpy(x: np.ndarray, what: str) -> Tensor:
    """A tensor over an array of floats, of which byte order and strides may be any."""
    _refuse_masked(x, what, "x.filled({})")
    if not x.dtype.isnative or any(stride < 0 for stride in x.strides):
        x = np.ascontiguousarray(x, dtype=x.dtype.newbyteorder("="))
    if x.dtype in (np.dtype("u2"), np.dtype("V2")):
        raise RerankError(
            f"{what}: got dtype {x.dtype}, which may be the bits of bfloat16; give "
            f"torch.from_numpy(x.view('i2')).view(torch.bfloat16), or float32"
        )
    if x.dtype.kind != "f":
        way = array_conversion(x)
        raise RerankError(
            f"{what}: got dtype {x.dtype}, expected real floating point{f'; {way}' if way else ''}"
        )
    if x.dtype.itemsize > 8:
        x = x.astype(np.float64)
    with warnings.catch_warnings():
        # torch warns about read-only arrays; nothing here writes into its input.
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(x)


def refuse_sparse(x: object, what: str, way: str = "x.toarray()") -> None:
    """Refuse a sparse matrix, some of which are dictionaries as well.

    Raises:
        RerankError: it is one.
    """
    if isinstance(x, Sparse):
        raise RerankError(
            f"{what}: got a sparse {type(x).__name__}, expected a dense array; give {way}"
        )


def is_rows(x: object) -> bool:
    """Whether this is a tuple of rows of numbers, as a list of rows is.

    >>> is_rows(((1, 2.5), (0, 1))), is_rows(([[1.0]], [[1.0]])), is_rows([[1.0]])
    (True, False, False)
    """
    if not isinstance(x, tuple) or not x:
        return False
    return all(
        getattr(row, "ndim", 0) == 1
        or (isinstance(row, tuple | list) and bool(row) and isinstance(row[0], Real))
        for row in x
    )


def _as_array(x: object, what: str) -> np.ndarray:
    """A matrix out of a list of rows or a frame of numbers."""
    refuse_sparse(x, what)
    if isinstance(x, memoryview):
        return np.asarray(x)
    rows = x if isinstance(x, Sequence) and not isinstance(x, str | bytes | bytearray) else None
    if rows is None and not isinstance(x, HasArray):
        raise RerankError(
            f"{what}: got {type(x).__name__}, expected a numpy array or a torch tensor"
        )
    try:
        if rows is not None:
            # Whole numbers in lists are meant as numbers; those of an array have their own type.
            return np.ascontiguousarray([_row(row, what) for row in rows], dtype=float)
        return _of_table(np.ascontiguousarray(x), x, what)
    except RerankError:
        raise
    except Exception as error:  # of whatever library made it
        said = shorten(str(error), 200)
        raise RerankError(
            f"{what}: got a {type(x).__name__} that is no matrix of numbers ({said})"
        ) from None


def _row(row: object, what: str) -> object:
    """A row of a list, as numpy reads it."""
    _refuse_masked(row, what, "numpy.ma.stack(x).filled({})")
    if isinstance(row, Tensor):
        row = readable(row, what)
        if row.dtype.is_complex:
            raise RerankError(f"{what}: got rows of {row.dtype}; {conversion(row.dtype)}")
        row = row.cpu().double().numpy()
    if isinstance(row, np.ndarray) and row.dtype.kind in "cmM":
        raise RerankError(f"{what}: got rows of dtype {row.dtype}, expected real floating point")
    return row


def _of_table(made: np.ndarray, table: object, what: str) -> np.ndarray:
    """What numpy made of a table; what is no matrix of floats is refused in the table's words."""
    if made.dtype.kind == "f" or not is_table(table):
        return made
    if (floats := of_nullable(table)) is not None:
        return floats
    way = table_conversion(table)
    raise RerankError(
        f"{what}: got a {type(table).__name__} of dtype {made.dtype}, expected real floating "
        f"point{f'; give {way}' if way else ''}"
    )


def _first_bad_row(x: Tensor, *, allow_minus_inf: bool = False) -> int | None:
    """Index of the first row with NaN or an infinity, found without a boolean copy of x."""
    step = max(1, BLOCK_ELEMENTS // x.shape[1])
    for start in range(0, x.shape[0], step):
        block = x[start : start + step]
        low, high = torch.aminmax(block)
        fine_low = bool(torch.isfinite(low)) or (allow_minus_inf and float(low) == float("-inf"))
        fine_high = bool(torch.isfinite(high)) or (allow_minus_inf and float(high) == float("-inf"))
        if fine_low and fine_high:
            continue
        ok = torch.isfinite(block)
        if allow_minus_inf:
            ok |= block == float("-inf")
        bad = (~ok).any(dim=1).nonzero()
        if len(bad):
            return start + int(bad[0])
    return None


def check_finite(x: Tensor, what: str, *, unscored: bool = False) -> None:
    """Refuse NaN and infinities by row (-inf allowed as "not scored" when `unscored`)."""
    row = _first_bad_row(x, allow_minus_inf=unscored)
    if row is not None:
        raise RerankError(
            f"{what}: row {row} has NaN or infinite values; remove the row or fix what wrote it"
        )


# Norms between these lose no digits to squares that overflow or underflow.
_SAFE = {torch.float64: (1e-140, 1e150)}
_SAFE_SINGLE = 1e-16, 1e18


def unit_rows(x: Tensor, what: str, *, first: int = 0) -> Tensor:
    """Rows divided by their Euclidean norm, in steps where squares leave the range of the type.

    A row that is zero, or so small that its digits are lost, is refused; see `row_norms`.
    """
    norms = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    if _all_safe(norms):
        return x / norms
    x = x / _tops(x, what, first=first)
    return x / torch.linalg.vector_norm(x, dim=1, keepdim=True)


def row_norms(x: Tensor, what: str, *, first: int = 0) -> Tensor:
    """(n, 1) Euclidean norms; a zero row has no direction and is refused.

    `first` is the number of the first row in messages, where x is a block of more.

    Raises:
        RerankError: a zero row, or a norm that the type does not carry; it names the first.
    """
    norms = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    if _all_safe(norms):
        return norms
    tops = _tops(x, what, first=first)
    norms = tops * torch.linalg.vector_norm(x / tops, dim=1, keepdim=True)
    if not bool(torch.isfinite(norms).all()):
        row = first + int((~torch.isfinite(norms[:, 0])).nonzero()[0])
        raise RerankError(
            f"{what}: row {row} is longer than {_named(x)} carries; scale the embeddings"
        )
    return norms


def _all_safe(norms: Tensor) -> bool:
    """Whether all norms are right to the last digits; NaN is not."""
    low, high = _SAFE.get(norms.dtype, _SAFE_SINGLE)
    return bool(((norms > low) & (norms < high)).all())


def _tops(x: Tensor, what: str, *, first: int) -> Tensor:
    """(n, 1) largest entries; rows without any digits are refused."""
    tops = x.abs().amax(dim=1, keepdim=True)
    bad = (tops[:, 0] < torch.finfo(x.dtype).tiny).nonzero()
    if len(bad):
        row = int(bad[0])
        if float(tops[row]) > 0:
            raise RerankError(
                f"{what}: row {first + row} is shorter than {_named(x)} carries; scale the "
                f"embeddings"
            )
        raise RerankError(
            f"{what}: row {first + row} is zero and has no direction; "
            f"remove it or use {option('metric', 'dot')}"
        )
    return tops


def _named(x: Tensor) -> str:
    return str(x.dtype).removeprefix("torch.")


def check_products(
    queries: Tensor, gallery: Tensor, called: tuple[str, str] = ("queries", "gallery")
) -> None:
    """Refuse rows whose inner products leave the range of their type, by name.

    Raises:
        RerankError: products that overflow, or that all vanish.
    """
    if not len(queries) or not len(gallery):
        return  # a process may have no rows
    sides = dict(zip(called, (queries, gallery), strict=True))
    lengths, places = {}, {}
    for name, x in sides.items():
        norms = row_norms_or_zero(x)
        places[name] = int(norms.argmax())
        lengths[name] = float(norms[places[name]])
    said = strained(lengths, queries.dtype)
    if said is not None:
        name, how = said
        raise RerankError(f"{name}: row {places[name]} has norm {lengths[name]:.1e}, {how}")


def strained(lengths: Mapping[str, float], dtype: torch.dtype) -> tuple[str, str] | None:
    """The side whose longest row makes inner products leave the range of a type, and what to do.

    Their squares too, which fits are made of.

    >>> strained({"texts": 1.0, "videos": 1e30}, torch.float32)[0]
    'videos'
    >>> strained({"texts": 1.0, "videos": 1e6}, torch.float32)
    """
    info = torch.finfo(dtype)
    # Nothing is made of what squares lose below; above they take whole rankings with them.
    low, high = info.tiny * 1e3, min(0.01 * _SAFE.get(dtype, _SAFE_SINGLE)[1], info.max / 16)
    product = math.prod(lengths.values())
    if product == 0 or (low <= product <= high and max(lengths.values()) <= high):
        return None
    name = max(lengths, key=lambda side: abs(np.log10(max(lengths[side], info.tiny))))
    how = "vanish" if product < low else "overflow"
    return name, (
        f"and inner products or their squares {how} in {str(dtype).removeprefix('torch.')}; scale "
        f"the embeddings, or use {option('metric', 'cosine')}"
    )


def row_norms_or_zero(x: Tensor) -> Tensor:
    """(n,) float64 norms, 0 of a zero row."""
    step = max(1, BLOCK_ELEMENTS // x.shape[1])
    parts = [torch.linalg.vector_norm(part.double(), dim=1) for part in x.split(step)]
    return torch.cat(parts) if parts else x.new_zeros(0, dtype=torch.float64)


def _onednn() -> bool:
    """Whether torch carries oneDNN's linear operator, several times MKL's speed off Intel."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


_HAS_ONEDNN = _onednn()


def inner(queries: Tensor, gallery: Tensor) -> Tensor:
    """(b, m) inner products of (b, d) and (m, d) rows, in their own precision, fresh memory.

    Equal gallery rows have equal products, so that ties are ties.
    """
    if (
        _HAS_ONEDNN
        and queries.device.type == "cpu"
        and queries.dtype == torch.float32
        and min(*queries.shape, *gallery.shape) > 1
        and not (queries.requires_grad or gallery.requires_grad)
        and torch.backends.mkldnn.enabled  # type: ignore[attr-defined]
    ):
        return torch.ops.mkldnn._linear_pointwise(queries, gallery, None, "none", [], "")
    out = queries @ gallery.T
    if queries.dtype == torch.float64 and not out.requires_grad:
        _tie(out, gallery)
    return out


def _tie(out: Tensor, gallery: Tensor) -> None:
    """Give equal rows of the gallery the products of the first of them, in place.

    Float64 products of equal rows may differ in the last bit by their place in the matrix.
    """
    bits = (gallery + 0.0).contiguous().view(torch.int64)
    odd = 2 * torch.arange(1, bits.shape[1] + 1, device=bits.device) + 1
    # Integer sums wrap around and do not depend on their order.
    hashes = ((bits ^ (bits >> 29)) * odd).sum(dim=1)
    ordered, place = torch.sort(hashes, stable=True)
    again = (ordered[1:] == ordered[:-1]).nonzero()[:, 0] + 1
    if not len(again):
        return
    same = torch.zeros(len(place), dtype=torch.bool, device=place.device)
    same[again] = True
    start = torch.cummax(torch.where(same, 0, torch.arange(len(place), device=place.device)), 0)
    first, copy = place[start.values[again]], place[again]
    equal = (gallery[first] == gallery[copy]).all(dim=1)
    out[:, copy[equal]] = out[:, first[equal]]


def pandas_module() -> Any:  # noqa: ANN401  the module
    """pandas, imported when first needed.

    Raises:
        RerankError: not installed.
    """
    try:
        import pandas
    except ImportError as error:
        raise RerankError("pandas is not installed: pip install pandas") from error
    return pandas


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 products run on instructions of their own here."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    if device.type != "cpu" or not _HAS_ONEDNN:
        return False
    # oneDNN also "supports" bfloat16 by emulation; only dot-product instructions make it fast.
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def inner_bfloat16(queries: Tensor, gallery: Tensor) -> Tensor:
    """(b, m) bfloat16 inner products of bfloat16 rows: for statistics, never for ranking."""
    return queries @ gallery.T
