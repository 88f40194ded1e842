"""FAISS indexes over folded vectors: exact, graph and inverted lists.

Files are plain FAISS: `faiss.read_index` opens them without this package.
"""

from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from rerank.core.errors import FormatError, RerankError
from rerank.core.similarity import Pair
from rerank.passes.topk import faiss_module, topk
from rerank.serving.fold import Space
from rerank.serving.routes import grouped, linked, views

IndexKind: TypeAlias = Literal["flat", "hnsw", "ivf"]

# Up to here a graph is built on one thread, so that the same input gives the same file.
_ONE_THREAD_ITEMS = 100_000
# Queries that choose between two partitions.
_JUDGES = 500
# Weight of an item itself in its view, from which a graph is built.
_OWN = 2.0


def space_of(kind: IndexKind) -> tuple[Space, bool]:
    """What a kind of FAISS index needs: (space, whether the mean is subtracted)."""
    if kind not in ("flat", "hnsw", "ivf"):
        raise RerankError(f"index: got {kind!r}, expected flat, hnsw or ivf")
    return ("l2" if kind == "ivf" else "ip"), kind == "hnsw"


def build_index(
    vectors: Tensor,
    kind: IndexKind = "flat",
    *,
    ef_search: int = 128,
    n_probe: int = 64,
    asked: Tensor | None = None,
) -> Any:  # noqa: ANN401  a FAISS index
    """A FAISS index over folded item vectors, which `faiss.read_index` opens anywhere.

    Args:
        vectors: (m, D) float32, folded for `space_of(kind)`.
        kind: "flat" is exact, "hnsw" a graph on inner products, "ivf" lists on Euclidean distance.
        ef_search: effort of an HNSW search; stored in the index.
        n_probe: lists that an IVF search reads; stored in the index.
        asked: (p, D) folded queries of a bank, or stand-ins; an approximate index made with them
            finds more of what queries of their kind want (`rerank.serving.routes`).

    Raises:
        RerankError: FAISS is not installed.
    """
    faiss = faiss_module()
    space_of(kind)
    x = np.ascontiguousarray(vectors.numpy(), dtype=np.float32)
    m, width = x.shape
    if kind == "flat":
        index = faiss.IndexFlatIP(width)
        index.add(x)
        return index
    threads = faiss.omp_get_max_threads()
    if m <= _ONE_THREAD_ITEMS:
        faiss.omp_set_num_threads(1)
    try:
        if kind == "hnsw":
            return _graph(x, ef_search, asked)
        return _lists(x, n_probe, asked)
    finally:
        faiss.omp_set_num_threads(threads)


def _graph(x: np.ndarray, ef_search: int, asked: Tensor | None) -> Any:  # noqa: ANN401
    faiss = faiss_module()
    index = faiss.IndexHNSWFlat(x.shape[1], 32, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = 200
    index.hnsw.efSearch = ef_search
    if asked is None:
        index.add(x)
        return index
    items = torch.from_numpy(x)
    index.add(views(items, asked, own=_OWN)[0].numpy())
    # The graph is that of the views; what a search compares are the items.
    faiss.copy_array_to_vector(x.view(np.uint8).ravel(), faiss.downcast_index(index.storage).codes)
    # The slots of an item begin with those of level 0, in which a search ends.
    offsets = faiss.vector_to_array(index.hnsw.offsets)[:-1].astype(np.int64)
    slots = offsets[:, None] + np.arange(index.hnsw.nb_neighbors(0))
    neighbours = faiss.vector_to_array(index.hnsw.neighbors)
    neighbours[slots] = linked(neighbours[slots], items, asked)
    faiss.copy_array_to_vector(neighbours, index.hnsw.neighbors)
    return index


def _lists(x: np.ndarray, n_probe: int, asked: Tensor | None) -> Any:  # noqa: ANN401
    faiss = faiss_module()
    m, width = x.shape
    n_lists = max(1, min(int(4 * m**0.5), m // 39))
    plain = faiss.IndexIVFFlat(faiss.IndexFlatL2(width), width, n_lists, faiss.METRIC_L2)
    plain.train(x)
    plain.add(x)
    plain.nprobe = min(n_probe, n_lists)
    if asked is None or len(asked) < 4:
        return plain
    # Where queries lie as items do, lists of items find as much: other queries judge.
    judging = torch.zeros(len(asked), dtype=torch.bool)
    judging[:: max(4, len(asked) // _JUDGES)] = True
    judges, items = asked[judging], torch.from_numpy(x)
    best = topk(Pair(judges, items, metric="dot"), min(10, m)).indices
    taught = _taught(x, plain, asked[~judging])
    hits = [_found(index, judges, best, plain.nprobe) for index in (plain, taught)]
    return taught if hits[1] > hits[0] else plain


def _found(index: Any, queries: Tensor, best: Tensor, n_probe: int) -> int:  # noqa: ANN401
    """How many best items an IVF index finds, at its effort and at 1/8, 1/4 and 1/2 of it."""
    total = 0
    for share in (8, 4, 2, 1):
        index.nprobe = max(1, n_probe // share)
        rows = search_rows(index, queries, best.shape[1])
        total += int((rows[:, :, None] == best[:, None]).sum())
    index.nprobe = n_probe
    return total


def _taught(x: np.ndarray, plain: Any, asked: Tensor) -> Any:  # noqa: ANN401  FAISS indexes
    """An IVF index like `plain` whose lists know their queries."""
    faiss = faiss_module()
    lists, directions = grouped(torch.from_numpy(x), asked, plain.nlist)
    probe = faiss.IndexFlatIP(x.shape[1])
    probe.add(directions)
    index = faiss.IndexIVFFlat(probe, x.shape[1], plain.nlist, faiss.METRIC_L2)
    index.nprobe = plain.nprobe
    _add_to(index, x, lists)
    return index


def _add_to(index: Any, x: np.ndarray, lists: np.ndarray) -> None:  # noqa: ANN401
    """Add items to given lists of an IVF index."""
    pointer = faiss_module().swig_ptr
    index.is_trained = True
    # A name keeps the array while FAISS reads it.
    held = np.ascontiguousarray(lists, dtype=np.int64)
    index.add_core(len(x), pointer(x), None, pointer(held))


def effort(kind: IndexKind, value: int | None) -> dict[str, int]:
    """Arguments of `build_index` for one number of effort.

    Raises:
        RerankError: below 1, or given for an exact index.
    """
    if value is None:
        return {}
    if value < 1:
        raise RerankError(f"--effort: got {value}, expected at least 1")
    if kind == "flat":
        raise RerankError("--effort: a flat index is exact; it belongs to --index hnsw or ivf")
    return {"ef_search": value} if kind == "hnsw" else {"n_probe": value}


def search_rows(index: Any, queries: Tensor, k: int) -> Tensor:  # noqa: ANN401  a FAISS index
    """(n, k) int64 rows, best first; -1 where an approximate search found fewer."""
    return search_counted(index, queries, k)[0]


def search_counted(index: Any, queries: Tensor, k: int) -> tuple[Tensor, float]:  # noqa: ANN401
    """The same, and how many distances a query took on average (without those to list centres)."""
    faiss = faiss_module()
    counters = (faiss.cvar.hnsw_stats, faiss.cvar.indexIVF_stats)
    for counter in counters:
        counter.reset()
    rows = index.search(np.ascontiguousarray(queries.numpy()), k)[1]
    taken = sum(counter.ndis for counter in counters) / len(queries)
    return torch.from_numpy(rows), taken or float(index.ntotal)


def add_items(index: Any, vectors: Tensor) -> None:  # noqa: ANN401  a FAISS index
    """Add later items to an index.

    In an IVF index whose lists know their queries (`rerank.serving.routes`) each goes to the list of the
    item most like it, because its own queries are not known.
    """
    x = np.ascontiguousarray(vectors.numpy(), dtype=np.float32)
    if not hasattr(index, "quantizer") or index.quantizer.metric_type == index.metric_type:
        index.add(x)
        return
    faiss = faiss_module()
    kept, lists = index.invlists, np.empty(index.ntotal, dtype=np.int64)
    for row in range(index.nlist):
        if kept.list_size(row) == 0:  # has no array of ids
            continue
        lists[faiss.rev_swig_ptr(kept.get_ids(row), kept.list_size(row))] = row
    effort, index.nprobe = index.nprobe, index.nlist
    nearest = index.search(x, 1)[1][:, 0]
    index.nprobe = effort
    _add_to(index, x, lists[nearest])


def search_each(index: Any, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:  # noqa: ANN401
    """Scores and rows of every query searched by itself: the batch changes no last bit.

    Raises:
        RerankError: an approximate index found fewer than k items.
    """
    found = [index.search(np.ascontiguousarray(row[None].numpy()), k) for row in queries]
    scores = torch.from_numpy(np.concatenate([s for s, _ in found]))
    rows = torch.from_numpy(np.concatenate([r for _, r in found]))
    if bool((rows < 0).any()):
        query = int((rows < 0).any(dim=1).nonzero()[0])
        raise RerankError(
            f"query {query}: the approximate index found fewer than k = {k} items; export again "
            f"with a higher --effort, or search with --videos"
        )
    return scores, rows


def index_bytes(index: Any) -> bytes:  # noqa: ANN401  a FAISS index
    """What `faiss.write_index` would write."""
    return faiss_module().serialize_index(index).tobytes()


def read_index(path: Path) -> Any:  # noqa: ANN401  a FAISS index
    """`faiss.read_index` with an error that names the file.

    Raises:
        FormatError: the file is no index.
        RerankError: FAISS is missing.
    """
    faiss = faiss_module()
    try:
        return faiss.read_index(str(path))
    except RuntimeError as error:
        line = str(error).splitlines()[-1]
        raise FormatError(f"{path}: not a FAISS index that can be read ({line})") from None
