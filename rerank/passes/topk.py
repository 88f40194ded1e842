"""Top-k of a similarity: certified bfloat16 products, FAISS, or a streamed pass; all exact."""

from dataclasses import replace
from types import ModuleType

import torch
from torch import Tensor

from rerank.core import comm, progress
from rerank.core.errors import RerankError
from rerank.core.rows import slices
from rerank.core.similarity import Pair, Similarity
from rerank.passes import certified, reduce
from rerank.passes.order import order_ties
from rerank.passes.reduce import TopK

# FAISS's GPU indexes return no more than this.
_GPU_MAX_K = 2048
_QUERIES_AT_ONCE = 4096
# A multiple of the 1024 that FAISS itself multiplies at once; 34 MB at 512 dimensions.
_ITEMS_AT_ONCE = 16384


def faiss_module() -> ModuleType:
    """FAISS, imported when first needed.

    Raises:
        RerankError: not installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise RerankError(
            "FAISS is not installed: install rerank-toolkit[cpu] (faiss-cpu) or "
            "rerank-toolkit[gpu] (faiss-gpu), one of them only; `rerank doctor` shows what is there"
        ) from error
    return faiss


def topk(sim: Similarity, k: int) -> TopK:
    """The k best gallery items of every query, best first; ties go to the lower index.

    A large float32 `Pair` on a CPU with bfloat16 products is searched by them, and what they may
    have rounded wrongly again in float32 (`kernels.certified`). Any other float32 `Pair` is
    searched by FAISS's exact inner products on the embeddings with the corrections as extra
    dimensions, [q, left] . [v, right], a part of the gallery at a time. The rest, or more than
    2,048 results on a GPU index, streams through `reduce.topk`. All are exact.

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
    if certified.pays(sim, k):
        return reduce.topk(sim, k)
    if sim.device.type != "cpu":
        return _gpu_topk(sim, k)
    return _exact(sim, k)


def _exact(sim: Pair, k: int) -> TopK:
    """FAISS on the CPU: the gallery part by part, so that no copy of it is ever whole."""
    faiss = faiss_module()
    n, m = sim.shape
    best = TopK(torch.empty((n, 0)), torch.empty((n, 0), dtype=torch.int64))
    with progress.task("top-k", n * -(-m // _ITEMS_AT_ONCE)) as advance:
        for part in slices(m, _ITEMS_AT_ONCE):
            items = sim.augmented_rows("gallery", part).contiguous().numpy()
            kept = min(k, part.start + len(items))
            scores, indices = torch.empty((n, kept)), torch.empty((n, kept), dtype=torch.int64)
            for rows in slices(n, _QUERIES_AT_ONCE):
                asked = sim.augmented_rows("queries", rows).contiguous().numpy()
                found = faiss.knn(
                    asked, items, min(k, len(items)), metric=faiss.METRIC_INNER_PRODUCT
                )
                values, places = (torch.from_numpy(x) for x in found)
                # What was found before has lower indices: `order_ties` keeps it where scores tie.
                values, places = order_ties(
                    torch.cat([best.scores[rows], values], dim=1),
                    torch.cat([best.indices[rows], places + part.start], dim=1),
                )
                scores[rows], indices[rows] = values[:, :kept], places[:, :kept]
                advance(len(asked))
            best = TopK(scores, indices)
    return best


def _gpu_topk(sim: Pair, k: int) -> TopK:
    """FAISS on the GPU where its build and k allow it, the exact torch pass otherwise."""
    try:
        faiss = faiss_module()
    except RerankError:
        return reduce.topk(sim, k)
    if getattr(faiss, "get_num_gpus", lambda: 0)() == 0 or k > _GPU_MAX_K:
        return reduce.topk(sim, k)
    queries, gallery = sim.augmented()
    device = sim.device.index or 0
    index = faiss.GpuIndexFlatIP(faiss.StandardGpuResources(), gallery.shape[1])
    index.add(gallery.contiguous().cpu().numpy())
    found = _search(index, queries.cpu(), k)
    target = torch.device("cuda", device)
    return TopK(found.scores.to(target), found.indices.to(target))


def _search(index, queries: Tensor, k: int) -> TopK:  # noqa: ANN001  any FAISS index
    n = len(queries)
    scores = torch.empty((n, k), dtype=torch.float32)
    indices = torch.empty((n, k), dtype=torch.int64)
    with progress.task("top-k", n) as advance:
        for start in range(0, n, _QUERIES_AT_ONCE):
            part = queries[start : start + _QUERIES_AT_ONCE].contiguous().numpy()
            found, rows = index.search(part, k)
            scores[start : start + len(part)] = torch.from_numpy(found)
            indices[start : start + len(part)] = torch.from_numpy(rows)
            advance(len(part))
    return TopK(*order_ties(scores, indices))
