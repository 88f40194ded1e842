"""Products of small embeddings, kept while many passes ask for the same ones.

A fit of a thousand queries and items makes thirty passes over the same few matrices. Each is made
whole once; a pass copies its rows. Larger ones are made block by block whenever they are asked for.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeAlias

from torch import Tensor

# Numbers of one product, and products at a time: the scores and their other direction.
MOST, _COUNT = 2**21, 2

# Both sides and their products. Sides that are held keep others from taking their place in memory.
_Kept: TypeAlias = tuple[Tensor, Tensor, Tensor]
_KEPT: ContextVar[list[_Kept] | None] = ContextVar("rerank_products", default=None)


@contextmanager
def keeping() -> Iterator[None]:
    """Inside, products of small embeddings are made once."""
    token = _KEPT.set([])
    try:
        yield
    finally:
        _KEPT.reset(token)


def are_kept(queries: Tensor, gallery: Tensor) -> bool:
    """Whether products of these sides are to be made whole, for `keep`."""
    return _KEPT.get() is not None and len(queries) * len(gallery) <= MOST


def known(queries: Tensor, gallery: Tensor) -> Tensor | None:
    """(n, m) products of (n, d) and (m, d) rows, where they are kept; not to be written into."""
    kept, wanted = _KEPT.get() or [], (queries, gallery)
    for at, (*sides, product) in enumerate(kept):
        if all(
            one is other
            or (
                one.data_ptr() == other.data_ptr()
                and (one.shape, one.stride()) == (other.shape, other.stride())
                and one.dtype == other.dtype
            )
            for one, other in zip(sides, wanted, strict=True)
        ):
            kept.append(kept.pop(at))
            return product
    return None


def keep(queries: Tensor, gallery: Tensor, product: Tensor) -> Tensor:
    """The product, which takes the place of that which was not asked for longest."""
    kept = _KEPT.get()
    if kept is not None:
        del kept[: max(0, len(kept) + 1 - _COUNT)]
        kept.append((queries, gallery, product))
    return product
