"""Products of small embeddings, kept while many passes ask for the same ones.

A fit of a thousand queries and items makes thirty passes over a few matrices, several over each in
turn. That is made whole once; a pass copies its rows. Larger ones are made block by block whenever
they are asked for.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeAlias

from torch import Tensor

# Numbers of a product that is kept.
MOST = 2**21

# Both sides and their product. Sides that are held keep others from taking their place in memory.
_Kept: TypeAlias = tuple[Tensor, Tensor, Tensor]
_KEPT: ContextVar[list[_Kept] | None] = ContextVar("rerank_products", default=None)


@contextmanager
def keeping() -> Iterator[None]:
    """Inside, the product of small embeddings that was asked for last is kept."""
    token = _KEPT.set([])
    try:
        yield
    finally:
        _KEPT.reset(token)


def are_kept(queries: Tensor, gallery: Tensor) -> bool:
    """Whether products of these sides are to be made whole, for `keep`."""
    return _KEPT.get() is not None and len(queries) * len(gallery) <= MOST


def known(queries: Tensor, gallery: Tensor) -> Tensor | None:
    """(n, m) products of (n, d) and (m, d) rows, where they are kept; not to be written into.

    What is kept else makes room.
    """
    kept, wanted = _KEPT.get() or [], (queries, gallery)
    for *sides, product in kept:
        if all(
            one is other
            or (
                one.data_ptr() == other.data_ptr()
                and (one.shape, one.stride()) == (other.shape, other.stride())
                and one.dtype == other.dtype
            )
            for one, other in zip(sides, wanted, strict=True)
        ):
            return product
    kept.clear()
    return None


def keep(queries: Tensor, gallery: Tensor, product: Tensor) -> Tensor:
    """The product, kept from now on."""
    kept = _KEPT.get()
    if kept is not None:
        kept[:] = [(queries, gallery, product)]
    return product
