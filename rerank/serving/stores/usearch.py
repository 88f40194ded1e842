"""A usearch index of float32 vectors; keys are rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rerank.core.errors import FormatError
from rerank.core.words import Space
from rerank.serving.stores.contract import BaseStore, Hits, library, rising
from rerank.serving.stores.registry import store

_METRICS = {"ip": "ip", "cosine": "cos", "l2": "l2sq"}
# Effort with which an item finds its neighbours.
_ADDING = 256
_MOST_EXPANSION = 8192


@store("usearch", help="a usearch graph", package="usearch", effort="expansion", order=6)
@dataclass(frozen=True)
class Usearch(BaseStore):
    """A usearch index, built by the library's own calls.

    Attributes:
        space: what it compares by.
    """

    space: Space = "ip"

    @property
    def graph(self) -> bool:
        """See `Store`."""
        return True

    @property
    def effort_name(self) -> str:
        """See `Store`."""
        return "expansion"

    def write(self, target: Path, vectors: np.ndarray, ids: Sequence[str], *, stamp: str) -> None:
        """See `Store`."""
        index = library("usearch.index", "usearch").Index(
            ndim=vectors.shape[1], metric=_METRICS[self.space], dtype="f32",
            expansion_add=_ADDING,
        )  # fmt: skip
        keys = np.arange(len(vectors), dtype=np.uint64)
        # One thread: the same input gives the same file.
        index.add(keys, np.ascontiguousarray(vectors, dtype=np.float32), threads=1)
        index.save(str(target))

    def search(
        self, target: Path, queries: np.ndarray, k: int, *, effort: int | None = None
    ) -> Hits:
        """See `Store`."""
        index = self._read(target)
        if effort is not None:
            index.expansion_search = max(effort, k)
        rows = np.full((len(queries), k), -1, dtype=np.int64)
        scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
        for i, query in enumerate(queries):
            found = index.search(np.ascontiguousarray(query), k)
            count = len(found.keys)
            rows[i, :count] = found.keys
            distances = np.asarray(found.distances, dtype=np.float32)
            scores[i, :count] = -distances if self.space == "l2" else 1 - distances
        return Hits(rows, scores, len(index))

    def _read(self, target: Path) -> Any:  # noqa: ANN401  a usearch index
        found = library("usearch.index", "usearch").Index.restore(str(target))
        if found is None:
            raise FormatError(f"{target}: not a usearch index; export again")
        return found

    def efforts(self, m: int) -> tuple[int, ...]:
        """See `Store`."""
        return rising(16, min(max(m, 16), _MOST_EXPANSION))

    def snippet(self, target: str) -> str:
        """See `Store`."""
        return (
            "from usearch.index import Index\n\n"
            f"index = Index.restore(str(here / {target!r}))\n"
            'index.expansion_search = about["effort"]\n'
            "found = [index.search(x, k) for x in q]\n"
            'names = [side["ids"][hit.keys.astype(int)].tolist() for hit in found]\n'
            "scores = [hit.distances.tolist() for hit in found]  # of usearch: smaller is better\n"
        )
