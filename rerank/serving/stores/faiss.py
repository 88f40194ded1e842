"""FAISS indexes: exact, graph and inverted lists. Plain files: `faiss.read_index` opens them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from rerank.core.errors import FormatError
from rerank.core.words import Space
from rerank.passes.topk import faiss_module
from rerank.serving.searcher import exact_topk
from rerank.serving.stores.contract import BaseStore, Hits, check_finite, rising
from rerank.serving.stores.registry import store

# Up to here an index is built on one thread, so that the same input gives the same file.
_ONE_THREAD_ITEMS = 100_000
_LINKS, _EF_CONSTRUCTION = 32, 200
_MOST_EF = 8192


@store(
    "faiss", help="a FAISS index: flat (exact), hnsw or ivf", package="faiss-cpu",
    effort="efSearch or nprobe", order=0,
)  # fmt: skip
@dataclass(frozen=True)
class Faiss(BaseStore):
    """A FAISS index, built by the library's own calls.

    Attributes:
        index: "flat" is exact, "hnsw" a graph on inner products, "ivf" lists on distances.
    """

    index: Literal["flat", "hnsw", "ivf"] = "flat"

    @property
    def space(self) -> Space:
        """See `Store`: lists need distances, which one more dimension makes of inner products."""
        return "l2" if self.index == "ivf" else "ip"

    @property
    def graph(self) -> bool:
        """See `Store`."""
        return self.index != "flat"

    @property
    def effort_name(self) -> str:
        """See `Store`."""
        return {"flat": "", "hnsw": "efSearch", "ivf": "nprobe"}[self.index]

    def write(self, target: Path, vectors: np.ndarray, ids: Sequence[str], *, stamp: str) -> None:
        """See `Store`."""
        faiss = faiss_module()
        threads = faiss.omp_get_max_threads()
        if len(vectors) <= _ONE_THREAD_ITEMS:
            faiss.omp_set_num_threads(1)
        try:
            built = self._built(np.ascontiguousarray(vectors, dtype=np.float32))
        finally:
            faiss.omp_set_num_threads(threads)
        target.write_bytes(faiss.serialize_index(built).data)

    def _built(self, x: np.ndarray) -> Any:  # noqa: ANN401  a FAISS index
        faiss = faiss_module()
        m, width = x.shape
        if self.index == "flat":
            index = faiss.IndexFlatIP(width)
        elif self.index == "hnsw":
            index = faiss.IndexHNSWFlat(width, _LINKS, faiss.METRIC_INNER_PRODUCT)
            index.hnsw.efConstruction = _EF_CONSTRUCTION
        else:
            index = faiss.IndexIVFFlat(faiss.IndexFlatL2(width), width, lists(m), faiss.METRIC_L2)
            index.train(x)
        index.add(x)
        return index

    def search(
        self, target: Path, queries: np.ndarray, k: int, *, effort: int | None = None
    ) -> Hits:
        """See `Store`."""
        index = read_index(target)
        faiss = faiss_module()
        made = faiss.METRIC_L2 if self.index == "ivf" else faiss.METRIC_INNER_PRODUCT
        if index.metric_type != made:
            raise ValueError("it compares by another measure than it was made for")
        k = min(k, max(1, index.ntotal))  # fewer than the side-car names are refused by who asked
        if self.index == "flat":
            vectors = index.reconstruct_n(0, index.ntotal)
            check_finite(vectors)
            items = torch.from_numpy(vectors)
            found = exact_topk(torch.from_numpy(queries), items, k)
            return Hits(found.indices.numpy(), found.scores.numpy(), index.ntotal)
        if effort is not None:
            self._set(index, effort)
        each = [index.search(np.ascontiguousarray(row[None]), k) for row in queries]
        scores = np.concatenate([scores for scores, _ in each])
        rows = np.concatenate([rows for _, rows in each])
        return Hits(rows, -scores if self.space == "l2" else scores, index.ntotal)

    def efforts(self, m: int) -> tuple[int, ...]:
        """See `Store`: an ivf that reads all its lists is exact."""
        if self.index == "ivf":
            return rising(1, lists(m))
        return () if self.index == "flat" else rising(16, min(max(m, 16), _MOST_EF))

    def settle(self, target: Path, effort: int) -> None:
        """See `Store`: FAISS searches with it when it reads the file."""
        index = read_index(target)
        self._set(index, effort)
        target.write_bytes(faiss_module().serialize_index(index).data)

    def _set(self, index: Any, effort: int) -> None:  # noqa: ANN401  a FAISS index
        if not self.effort_name:  # a flat index compares with every item
            return
        faiss_module().ParameterSpace().set_index_parameter(index, self.effort_name, effort)

    def snippet(self, target: str) -> str:
        """See `Store`."""
        return (
            "import faiss\n\n"
            f"index = faiss.read_index(str(here / {target!r}))  # knows its {self.effort_name}\n"
            if self.effort_name
            else f"import faiss\n\nindex = faiss.read_index(str(here / {target!r}))\n"
        ) + 'scores, rows = index.search(q, k)\nnames = side["ids"][rows].tolist()\n'


def lists(m: int) -> int:
    """How many lists an ivf of m items has: FAISS's rule, with 39 items or more to a list."""
    return max(1, min(int(4 * m**0.5), m // 39))


def add_rows(target: Path, vectors: np.ndarray) -> tuple[int, bytes]:
    """How many items an index has, and its bytes with more; the file itself stays as it is."""
    index = read_index(target)
    held = int(index.ntotal)
    index.add(np.ascontiguousarray(vectors, dtype=np.float32))
    return held, faiss_module().serialize_index(index).tobytes()


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
