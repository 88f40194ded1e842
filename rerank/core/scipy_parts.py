"""Parts of scipy, loaded when they are first asked for, and only where there is room for them."""

import sys
from importlib import import_module
from types import ModuleType

from rerank.core.exhausted import reserve

# What its BLAS maps when it is loaded; it waits forever for memory that it does not get.
_ROOM = 192 << 20


def part(name: str) -> ModuleType:
    """A module of scipy.

    >>> float(part("special").ndtr(0.0))
    0.5

    Raises:
        MemoryError: there is no room for what it brings.
    """
    full = f"scipy.{name}"
    if full not in sys.modules:
        reserve(_ROOM)
    return import_module(full)
