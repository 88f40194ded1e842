"""Checks at the door: any numpy or torch matrix in, a clean torch tensor out.

Inner products of two sets of rows, by the fastest exact route that this build of torch has.
"""

import warnings
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from rerank.core.errors import RerankError

ArrayLike: TypeAlias = np.ndarray | Tensor

# Elements of one row block: 4 Mi fp32 numbers are 16 MB, a few blocks in flight stay under 100 MB.
BLOCK_ELEMENTS = 4 * 1024 * 1024
# Rows of one block however long they are: a matrix product of fewer is bound by memory.
FEWEST_ROWS = 32


# Floats that are computed with; others, such as those of 8 bits, have no arithmetic of their own.
_REAL = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


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
    if isinstance(x, np.ma.MaskedArray) and np.ma.is_masked(x):
        raise RerankError(f"{what}: got a masked array with masked values; fill them: x.filled(0)")
    if isinstance(x, np.ndarray):
        if not x.dtype.isnative or any(stride < 0 for stride in x.strides):
            x = np.ascontiguousarray(x, dtype=x.dtype.newbyteorder("="))
        if x.dtype.kind != "f":
            raise RerankError(
                f"{what}: got dtype {x.dtype}, expected real floating point; "
                f"convert with .astype('float32')"
            )
        if x.dtype.itemsize > 8:
            x = x.astype(np.float64)
        with warnings.catch_warnings():
            # torch warns about read-only arrays; nothing here writes into its input.
            warnings.simplefilter("ignore", UserWarning)
            x = torch.from_numpy(x)
    if x.layout != torch.strided or x.is_nested or x.is_quantized:
        raise RerankError(
            f"{what}: got a sparse, nested or quantised tensor, expected a dense one; give "
            f"x.to_dense()"
        )
    if x.is_floating_point() and x.dtype not in _REAL:
        raise RerankError(
            f"{what}: got dtype {x.dtype}, expected half, single or double precision; convert "
            f"with .float()"
        )
    if x.ndim != 2:
        raise RerankError(f"{what}: got shape {tuple(x.shape)}, expected two dimensions")
    if not x.is_floating_point():
        raise RerankError(
            f"{what}: got dtype {x.dtype}, expected real floating point; convert with .float()"
        )
    if (x.shape[0] == 0 and not no_rows) or x.shape[1] == 0:
        raise RerankError(
            f"{what}: got shape {tuple(x.shape)}, expected at least one row and column"
        )
    if x.dtype in (torch.float16, torch.bfloat16) and not keep_half:
        x = x.float()
    return x.detach()


def _as_array(x: object, what: str) -> np.ndarray:
    """A matrix out of a list of rows or a frame of numbers."""
    library = type(x).__module__.partition(".")[0]
    if library == "scipy":
        raise RerankError(
            f"{what}: got a sparse {type(x).__name__}, expected a dense array; give x.toarray()"
        )
    if library not in ("pandas", "polars") and not isinstance(x, Sequence) or isinstance(x, str):
        raise RerankError(
            f"{what}: got {type(x).__name__}, expected a numpy array or a torch tensor"
        )
    try:
        return np.ascontiguousarray(x, dtype=None if library in ("pandas", "polars") else float)
    except (ValueError, TypeError) as error:
        raise RerankError(
            f"{what}: got a {type(x).__name__} that is no matrix of numbers ({error})"
        ) from None


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


def unit_rows(x: Tensor, what: str, *, first: int = 0) -> Tensor:
    """Rows divided by their Euclidean norm; see `row_norms`."""
    return x / row_norms(x, what, first=first)


def row_norms(x: Tensor, what: str, *, first: int = 0) -> Tensor:
    """(n, 1) Euclidean norms; a zero row has no direction and is refused.

    `first` is the number of the first row in messages, where x is a block of more.
    """
    norms = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    if not bool((norms > 0).all()):
        row = first + int((~(norms[:, 0] > 0)).nonzero()[0])
        raise RerankError(
            f"{what}: row {row} is zero and has no direction; "
            f"remove it or use metric='dot' (--metric dot)"
        )
    return norms


def _onednn() -> bool:
    """Whether torch carries oneDNN's linear operator, several times MKL's speed off Intel."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


_HAS_ONEDNN = _onednn()


def inner(queries: Tensor, gallery: Tensor) -> Tensor:
    """(b, m) inner products of (b, d) and (m, d) rows, in their own precision, fresh memory."""
    if (
        _HAS_ONEDNN
        and queries.device.type == "cpu"
        and queries.dtype == torch.float32
        and min(*queries.shape, *gallery.shape) > 1
        and not (queries.requires_grad or gallery.requires_grad)
        and torch.backends.mkldnn.enabled  # type: ignore[attr-defined]
    ):
        return torch.ops.mkldnn._linear_pointwise(queries, gallery, None, "none", [], "")
    return queries @ gallery.T


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
