"""The state of torch that all numbers here are made in, whatever the caller has set.

Notebooks and training loops set it for the whole program: autocast, inference mode, another default
type or device, TF32 or bfloat16 in place of float32 products. Scores would then be rounded without
a word, or end in an error of torch. Public functions do their work in the usual state and leave the
caller's as it was.
"""

import functools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import torch

_AUTOCAST = ("cpu", "cuda")


@contextmanager
def usual_state() -> Iterator[None]:
    """Inside: float32 on the CPU by default, whole products, no autocast, no inference mode.

    Called, it decorates a function.

    >>> with torch.autocast("cpu", dtype=torch.bfloat16):
    ...     usual_state()(torch.mm)(torch.ones(2, 2), torch.ones(2, 2)).dtype
    torch.float32
    """
    changes = list(_changes())
    if not changes:
        yield
        return
    with ExitStack() as stack:
        for change in changes:
            stack.enter_context(change)
        yield


def _changes() -> Iterator[AbstractContextManager[Any]]:
    """What makes the state the usual one; nothing, mostly, which one query would feel."""
    if torch.is_inference_mode_enabled():
        yield torch.inference_mode(False)
        yield torch.set_grad_enabled(torch.is_grad_enabled())
    for device in _AUTOCAST:
        if torch.is_autocast_enabled(device):
            yield torch.autocast(device, enabled=False)
    if torch.get_default_dtype() != torch.float32:
        yield _for_now(_default_dtype, torch.float32)
    # `torch.get_default_device` takes five times as long.
    if torch.empty(0).device.type != "cpu":
        yield torch.device("cpu")
    for product in _PRODUCTS:
        if product() not in ("none", "ieee"):
            yield _for_now(product, "ieee")


@contextmanager
def _for_now(setting: Callable[..., Any], value: Any) -> Iterator[None]:  # noqa: ANN401  a setting
    """Set something that is set for the whole program, and back."""
    before = setting()
    setting(value)
    try:
        yield
    finally:
        setting(before)


def _default_dtype(*value: torch.dtype) -> torch.dtype:
    for dtype in value:
        torch.set_default_dtype(dtype)
    return torch.get_default_dtype()


def _precision(where: Any, *value: str) -> str:  # noqa: ANN401  a part of torch.backends
    for precision in value:
        where.fp32_precision = precision
    return str(where.fp32_precision)


_OLD = {"ieee": "highest", "tf32": "high", "bf16": "medium"}


def _tf32(*value: str) -> str:
    for precision in value:
        torch.set_float32_matmul_precision(_OLD[precision])
    held = torch.get_float32_matmul_precision()
    return next(new for new, old in _OLD.items() if old == held)


# What says, and with an argument sets, how float32 products are rounded on each device.
_PRODUCTS: tuple[Callable[..., str], ...] = (_tf32,)
if hasattr(torch.backends.cuda.matmul, "fp32_precision"):  # from torch 2.9 on
    _PRODUCTS = (
        functools.partial(_precision, torch.backends.cuda.matmul),
        functools.partial(_precision, torch.backends.mkldnn.matmul),  # type: ignore[attr-defined]
    )
