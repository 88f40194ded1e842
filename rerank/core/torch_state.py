"""The state of torch that all numbers here are made in, whatever the caller has set.

Notebooks and training loops set it for the whole program: autocast, inference mode, another default
type or device, TF32 or bfloat16 in place of float32 products. Scores would then be rounded without
a word, or end in an error of torch. Public functions do their work in the usual state and leave the
caller's as it was.
"""

import functools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
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
    with ExitStack() as stack:
        if torch.is_inference_mode_enabled():
            grad = torch.is_grad_enabled()
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.set_grad_enabled(grad))
        for device in _AUTOCAST:
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        if torch.get_default_dtype() != torch.float32:
            stack.enter_context(_for_now(_default_dtype, torch.float32))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        for product in _products():
            if product() not in ("none", "ieee"):
                stack.enter_context(_for_now(product, "ieee"))
        yield


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


def _products() -> tuple[Callable[..., str], ...]:
    """What says, and with an argument sets, how float32 products are rounded on each device."""
    cuda, mkldnn = torch.backends.cuda.matmul, torch.backends.mkldnn
    if hasattr(cuda, "fp32_precision"):
        return tuple(
            functools.partial(_precision, where)
            for where in (cuda, mkldnn.matmul)  # type: ignore[attr-defined]
        )
    return (_tf32,)  # torch before 2.9


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
