"""FAISS indexes over folded vectors: exact, graph and inverted lists.

Files are plain FAISS: `faiss.read_index` opens them without this package.
"""

from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
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
    n_probe: int = 32,
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
