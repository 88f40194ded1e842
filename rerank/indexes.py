"""FAISS indexes over folded vectors: exact, graph and inverted lists.

Files are plain FAISS: `faiss.read_index` opens them without this package.
"""

from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from rerank.errors import FormatError, RerankError
from rerank.fold import Space
from rerank.search import faiss_module

IndexKind: TypeAlias = Literal["flat", "hnsw", "ivf"]

# Up to here a graph is built on one thread, so that the same input gives the same file.
_ONE_THREAD_ITEMS = 100_000


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
) -> Any:  # noqa: ANN401  a FAISS index
    """A FAISS index over folded item vectors, which `faiss.read_index` opens anywhere.

    Args:
        vectors: (m, D) float32, folded for `space_of(kind)`.
        kind: "flat" is exact, "hnsw" a graph on inner products, "ivf" lists on Euclidean distance.
        ef_search: effort of an HNSW search; stored in the index.
        n_probe: lists that an IVF search reads; stored in the index.

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
            index = faiss.IndexHNSWFlat(width, 32, faiss.METRIC_INNER_PRODUCT)
            index.hnsw.efConstruction = 200
            index.hnsw.efSearch = ef_search
        else:
            n_lists = max(1, min(int(4 * m**0.5), m // 39))
            index = faiss.IndexIVFFlat(faiss.IndexFlatL2(width), width, n_lists, faiss.METRIC_L2)
            index.nprobe = min(n_probe, n_lists)
            index.train(x)
        index.add(x)
    finally:
        faiss.omp_set_num_threads(threads)
    return index


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
    return torch.from_numpy(index.search(np.ascontiguousarray(queries.numpy()), k)[1])


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
