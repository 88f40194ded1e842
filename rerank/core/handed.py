"""Tensors as programs hand them over, as plain ones whose numbers can be read.

How to make floats of tensors, arrays and tables that hold something else.
"""

import contextlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rerank.core.errors import RerankError


def readable(x: Tensor, what: str, *, scores: bool = False) -> Tensor:
    """A dense tensor of plain type, without gradient and pending signs; no numbers are converted.

    Args:
        x: any tensor; one that is plain is returned as it is.
        what: name for messages.
        scores: whether it holds scores, in which -inf stands for what is absent.

    Raises:
        RerankError: its numbers are not there, or not in a form to compute with.

    >>> readable(torch.ones(2, 2).to_sparse(), "texts")
    Traceback (most recent call last):
    rerank.core.errors.RerankError: texts: got a sparse tensor, expected a dense one; give \
x.to_dense()
    """
    if torch.nn.parameter.is_lazy(x) or x.device.type == "meta":
        raise RerankError(f"{what}: {_WITHOUT}; fill it on a real device, such as 'cpu'")
    if x.is_quantized:
        raise RerankError(
            f"{what}: got a quantised tensor, expected real numbers; give x.dequantize()"
        )
    if x.is_nested:
        return _of_nested(x, what, scores=scores)
    if _dispatch(type(x)) is not _dispatch(Tensor):
        raise RerankError(_wrapped(x, what, _FILL[scores]))
    if x.layout != torch.strided:
        kind = "sparse tensor" if "sparse" in str(x.layout) else f"tensor of {x.layout}"
        raise RerankError(f"{what}: got a {kind}, expected a dense one; give {_dense(x)}")
    if type(x) is not Tensor:
        x = x.detach().as_subclass(Tensor)
    if x.requires_grad:
        x = x.detach()
    x = x.resolve_conj().resolve_neg()
    if way := _absent(x):
        raise RerankError(f"{what}: {_WITHOUT}; {way}")
    return x


_WITHOUT = "got a tensor without numbers"
# What stands for absent entries, of embeddings and of scores, as Python writes it.
_FILL = ("0.0", "float('-inf')")


def _dispatch(kind: type) -> object:
    """What computes with a kind of tensors."""
    return getattr(kind, "__torch_dispatch__", None)


def _dense(x: Tensor) -> str:
    """How to make a sparse tensor dense."""
    if x.is_floating_point() and x.element_size() == 1:
        return "x.float().to_dense()"
    return "x.to_dense()"


def _wrapped(x: Tensor, what: str, fill: str) -> str:
    """What is wrong with a tensor that computes in a way of its own."""
    kind = type(x).__name__
    if kind == "FakeTensor":
        return f"{what}: {_WITHOUT} ({kind}); give one that was made outside of its mode"
    ways = {"to_tensor": f"x.to_tensor({fill})", "full_tensor": "x.full_tensor()"}
    way = next((code for name, code in ways.items() if hasattr(x, name)), "")
    return f"{what}: got a {kind}, expected a plain tensor{f'; give {way}' if way else ''}"


def _of_nested(x: Tensor, what: str, *, scores: bool) -> Tensor:
    """Rows of one length one below the other."""
    parts = [readable(part, what) for part in x.unbind()]
    odd = next((row for row, part in enumerate(parts) if part.shape != parts[0].shape), None)
    if odd is None:
        return torch.stack(parts) if parts else torch.empty(0, 0)
    # Rows of scores can be filled up, and frames; vectors of several lengths are of several models.
    fills = parts[0].ndim == (1 if scores else 2)
    way = f"torch.nested.to_padded_tensor(x, {_FILL[scores]})" if fills else "a dense tensor"
    raise RerankError(
        f"{what}: got a nested tensor in which row {odd} has shape {tuple(parts[odd].shape)} and "
        f"row 0 has {tuple(parts[0].shape)}, expected rows of one length; give {way}"
    )


def _absent(x: Tensor) -> str:
    """What to do about a tensor whose numbers are not in memory; "" where they are."""
    if not x.numel() or x.device.type not in ("cpu", "cuda"):
        return ""
    try:
        x.data_ptr()
        held = 0 if x._is_zerotensor() else x.untyped_storage().nbytes()
    except RuntimeError:
        return "call this outside of torch.func, with the tensor that is mapped"
    # A view of memory that was freed reads whatever lies there now.
    last = sum((size - 1) * stride for size, stride in zip(x.shape, x.stride(), strict=True))
    if held >= (x.storage_offset() + last + 1) * x.element_size():
        return ""
    return "its memory was freed; gather it first"


def conversion(dtype: torch.dtype) -> str:
    """How to make numbers of a type that is not computed with single precision.

    >>> conversion(torch.float8_e5m2), conversion(torch.complex64)
    ('convert with .float()', 'give x.real, or x.abs()')
    """
    if dtype.is_complex:
        return "give x.real, or x.abs()"
    try:
        torch.empty(1, dtype=dtype).float()
    except RuntimeError:  # several numbers in a byte
        return "unpack it to single precision"
    return "convert with .float()"


def numpy_of(x: Tensor, what: str) -> np.ndarray:
    """A tensor as numpy has it, without a copy where it can be; bfloat16 becomes float32.

    Args:
        x: any tensor.
        what: name for messages.

    Raises:
        RerankError: as `readable`; or a type that numpy has not.

    >>> numpy_of(torch.ones(1, dtype=torch.bfloat16), "texts")
    array([1.], dtype=float32)
    """
    x = readable(x, what).cpu()
    if x.dtype == torch.bfloat16:
        x = x.float()
    try:
        return x.numpy()
    except TypeError:
        raise RerankError(
            f"{what}: got {x.dtype}, expected float32, float64, float16 or bfloat16; "
            f"{conversion(x.dtype)}"
        ) from None


def numbers_of(given: object, what: str) -> np.ndarray:
    """A float64 array of its own of the numbers of some items, such as weights.

    Args:
        given: what numpy makes an array of, or any tensor.
        what: name for messages.

    Raises:
        RerankError: not real numbers.

    >>> numbers_of([1, "2.5"], "bias")
    array([1. , 2.5])
    """
    if isinstance(given, Tensor):
        given = numpy_of(given, what)
    try:
        made = np.asarray(given)
        if made.dtype.kind not in "cmM":
            return np.array(made, dtype=np.float64)
    except Exception:  # of whatever library made them
        pass
    raise RerankError(f"{what}: not all of it are numbers; give a list of real ones")


def array_conversion(x: np.ndarray) -> str:
    """How to make floats of an array, which was tried; "" where its entries are no numbers.

    >>> array_conversion(np.ones(2, "i4")), array_conversion(np.zeros(2, "M8[s]"))
    ("convert with .astype('float32')", '')
    """
    if x.dtype.kind == "c":
        return "give x.real, or abs(x)"
    ways: dict[str, Callable[[], object]] = {
        "convert with .astype('float32')": lambda: x.astype("float32"),
        "give np.array(x.tolist(), dtype='float32')": lambda: np.array(x.tolist(), "float32"),
    }
    if x.dtype.names:
        names = x.dtype.names
        said = "give np.stack([x[name] for name in x.dtype.names], axis=-1)"
        ways = {said: lambda: np.stack([x[name] for name in names], axis=-1)}
    # Dates become numbers, which say nothing.
    return "" if x.dtype.kind in "mM" else _first_that_works(ways)


def is_table(anything: object) -> bool:
    """Whether it is of pandas or polars."""
    return type(anything).__module__.partition(".")[0] in ("pandas", "polars")


def of_nullable(table: Any) -> np.ndarray | None:  # noqa: ANN401  pandas or polars
    """Floats of a frame of pandas whose types could say that some are missing, and none is.

    None for any other table: numpy makes objects of `Float32` and `float32[pyarrow]`.
    """
    if not hasattr(table, "columns") or type(table).__module__.partition(".")[0] != "pandas":
        return None
    kinds = [str(kind).lower() for kind in table.dtypes]
    if not kinds or not all(kind.startswith(_FLOATS) for kind in kinds):
        return None
    if bool(table.isna().to_numpy().any()):
        return None
    wide = any("64" in kind or kind.startswith("double") for kind in kinds)
    return np.ascontiguousarray(table.to_numpy(dtype=np.float64 if wide else np.float32))


_FLOATS = ("float", "double", "halffloat")


def table_conversion(table: Any) -> str:  # noqa: ANN401  pandas or polars
    """How to make a matrix of floats of a table or a column, which was tried; "" where none is."""
    ways: dict[str, Callable[[], object]] = {}
    if not hasattr(table, "columns"):
        ways["np.stack(x)"] = lambda: np.stack(table)
    elif type(table).__module__.partition(".")[0] == "pandas":
        ways["x.astype('float32')"] = lambda: table.astype("float32")
    else:
        ways["x.cast(polars.Float32)"] = lambda: table.cast(sys.modules["polars"].Float32)
    columns = table.dtypes if hasattr(table, "columns") else [table.dtype]
    kinds = [str(kind).lower() for kind in columns]
    # Dates become numbers, which say nothing, and complex ones lose a part.
    return "" if any(kind.startswith(_NO_FLOATS) for kind in kinds) else _first_that_works(ways)


_NO_FLOATS = ("date", "time", "duration", "period", "interval", "complex")


def _first_that_works(ways: Mapping[str, Callable[[], object]]) -> str:
    """The first of some pieces of code that gives floats."""
    for said, way in ways.items():
        with contextlib.suppress(Exception):  # of whatever library made it
            made = np.asarray(way())
            if made.dtype.kind == "f" and made.size:
                return said
    return ""
