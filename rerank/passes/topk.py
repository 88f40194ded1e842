"""Top-k of a similarity: certified bfloat16 products, or a streamed pass."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from types import ModuleType
from typing import Any

import torch

from rerank.core import comm, progress
from rerank.core.arrays import inner
from rerank.core.errors import RerankError
from rerank.core.exhausted import reserve
from rerank.core.rows import StoredRows, slices
from rerank.core.similarity import Pair, Similarity, place
from rerank.core.torch_state import usual_state
from rerank.passes import certified, gallery, kernel_lists, reduce
from rerank.passes.order import best_of_rows, order_ties
from rerank.passes.reduce import TopK
from rerank.passes.sinkhorn.stored import Held, StoredNumba
from rerank.passes.sinkhorn.sweepers import Sweeper

# Products of so many queries and stored items at once: 34 MB, and as much for the items.
_QUERIES_AT_ONCE, _ITEMS_AT_ONCE = 512, 16384

# What FAISS maps when it is loaded.
_FAISS = 384 << 20
# Queries whose nearest items tell the spacing of the hard negatives, with a standard error of about
# one percent, and how hubs are spread.
SAMPLE = 2000
# As many of them as both ask for.
_NEAREST = 11
_REMEMBERED: ContextVar[dict[Any, TopK | None] | None] = ContextVar("rerank_nearest", default=None)
# The kernel of the last fit, where somebody said to remember.
_LEFT: ContextVar[list[Held | None] | None] = ContextVar("rerank_kernel", default=None)


def faiss_module() -> ModuleType:
    """FAISS, imported when first needed.

    Raises:
        RerankError: not installed.
        MemoryError: it would bring the program down for want of room.
    """
    if "faiss" not in sys.modules:
        reserve(_FAISS)
    try:
        import faiss
    except ImportError as error:
        raise RerankError(
            "FAISS is not installed: install rerank-toolkit[cpu] (faiss-cpu) or "
            "rerank-toolkit[gpu] (faiss-gpu), one of them only; `rerank doctor` shows what is there"
        ) from error
    return faiss


@usual_state()
def topk(sim: Similarity, k: int) -> TopK:
    """The k best gallery items of every query, best first; ties go to the lower index.

    A large float32 `Pair` on a CPU with bfloat16 products is searched by them, and what they may
    have rounded wrongly again in float32 (`rerank.passes.certified`). A stored gallery is read a
    part at a time. The rest streams through `reduce.topk`, on the device of the scores. All are
    exact.

    Queries that are split over processes are searched where they are and gathered: every process
    gets all rows.

    Args:
        sim: (n, m) scores.
        k: between 1 and m.
    """
    if not isinstance(sim, Similarity):
        raise RerankError(
            f"topk: got {type(sim).__name__}, expected a Similarity such as Dense(scores) or "
            f"Pair(queries, gallery)"
        )
    if sim.shard == "queries":
        mine = topk(replace(sim, shard=None), k)
        return TopK(comm.gather_rows(mine.scores), comm.gather_rows(mine.indices))
    if sim.shard == "gallery" or not isinstance(sim, Pair) or sim.dtype != torch.float32:
        return reduce.topk(sim, k)
    k = reduce.check_k(k, sim.shape[1])
    if (found := _from_kernel(sim, k)) is not None:
        return found
    if certified.pays(sim, k):
        return reduce.topk(sim, k)
    if isinstance(sim.gallery, StoredRows) and sim.device.type == "cpu":
        return _in_parts(sim, k)
    return reduce.topk(sim, k)


@contextmanager
def remembering(*sims: Similarity) -> Iterator[None]:
    """Inside, `nearest` finds the lists of these similarities once, and `topk` reads kernels."""
    token, left = _REMEMBERED.set({place(sim): None for sim in sims}), _LEFT.set([None])
    try:
        yield
    finally:
        _REMEMBERED.reset(token)
        _LEFT.reset(left)


def leave(step: Sweeper | None) -> None:
    """Leave the kernel of a fit for the `topk` that follows, instead of the one before."""
    left = _LEFT.get()
    if left is not None:
        left[0] = step.held() if isinstance(step, StoredNumba) else None


def _from_kernel(sim: Pair, k: int) -> TopK | None:
    held = (_LEFT.get() or [None])[0]
    if held is None or sim.shard is not None or k > certified.MOST:
        return None
    found = kernel_lists.topk(held, sim, k)
    return None if found is None else TopK(*found)


def nearest(sim: Similarity, k: int) -> TopK:
    """The k best items of at most 2,000 queries drawn by a seed (`gallery.drawn`), best first.

    Queries that are split over processes stay where they are.
    """
    kept, key = _REMEMBERED.get(), place(sim)
    known = kept is not None and key in kept
    found = kept[key] if kept is not None and known else None
    # A search ends in a collective where the gallery is split: all go, or none.
    enough = reduce.everywhere(sim, found is not None and found.scores.shape[1] >= k)
    if found is None or not enough:
        most = max(k, min(_NEAREST, reduce.total_gallery(sim)))
        found = reduce.topk(gallery.sampled(sim, SAMPLE), most)
        if kept is not None and known:
            kept[key] = found
    return TopK(found.scores[:, :k], found.indices[:, :k])


def _in_parts(sim: Pair, k: int) -> TopK:
    """A stored gallery part by part, each read once for many queries: no copy is ever whole."""
    n, m = sim.shape
    best = TopK(torch.empty((n, 0)), torch.empty((n, 0), dtype=torch.int64))
    with progress.task("top-k", n * -(-m // _ITEMS_AT_ONCE)) as advance:
        for part in slices(m, _ITEMS_AT_ONCE):
            items = sim.augmented_rows("gallery", part).contiguous()
            kept = min(k, part.start + len(items))
            scores, indices = torch.empty((n, kept)), torch.empty((n, kept), dtype=torch.int64)
            for rows in slices(n, _QUERIES_AT_ONCE):
                asked = sim.augmented_rows("queries", rows).contiguous()
                values, places = best_of_rows(inner(asked, items), min(k, len(items)))
                # What was found before has lower indices: `order_ties` keeps it where scores tie.
                values, places = order_ties(
                    torch.cat([best.scores[rows], values], dim=1),
                    torch.cat([best.indices[rows], places + part.start], dim=1),
                )
                scores[rows], indices[rows] = values[:, :kept], places[:, :kept]
                advance(len(asked))
            best = TopK(scores, indices)
    return best
