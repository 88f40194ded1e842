"""Files of vectors: write folded vectors with ids, and search what was written.

All of them can compare by inner product; "cosine" and "l2" are for servers that cannot. Libraries
are imported when used; each names itself when it is missing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor

from rerank.core.errors import RerankError
from rerank.io.files import replacing
from rerank.serving.fold import Space
from rerank.serving.routes import linked, views


class Store(Protocol):
    """One way to keep vectors."""

    def write(
        self, out: Path, vectors: np.ndarray, ids: Sequence[str], *, space: Space, url: str | None
    ) -> Path | str:
        """Keep (m, D) float32 vectors; returns where they are."""
        ...

    def search(
        self, target: Path | str, queries: np.ndarray, k: int, *, space: Space
    ) -> dict[str, np.ndarray]:
        """(n, k) rows found by each kind of search that the store has, by name of the figure."""
        ...


def library(name: str, install: str) -> Any:  # noqa: ANN401  a module
    """A library, imported when first needed.

    Raises:
        RerankError: not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise RerankError(f"{name} is not installed: pip install {install}") from error


def no_url(url: str | None, name: str) -> None:
    """Refuse `--url` for what is a file."""
    if url is not None:
        raise RerankError(f"--url: {name} is a file; leave --url out")


def brute_force(vectors: np.ndarray, queries: np.ndarray, k: int, space: Space) -> np.ndarray:
    """Brute force by the store's own measure."""
    scores = queries @ vectors.T
    if space == "cosine":
        scores = scores / np.linalg.norm(vectors, axis=1)
    if space == "l2":
        scores = 2 * scores - (vectors**2).sum(axis=1)
    return np.argsort(-scores, axis=1, kind="stable")[:, :k]


class Npy:
    """One .npy file, (m, D) float32."""

    def write(
        self, out: Path, vectors: np.ndarray, ids: Sequence[str], *, space: Space, url: str | None
    ) -> Path:
        """See `Store`."""
        no_url(url, "npy")
        with replacing(out) as file:
            np.save(file, np.ascontiguousarray(vectors))
        return out

    def search(
        self, target: Path | str, queries: np.ndarray, k: int, *, space: Space
    ) -> dict[str, np.ndarray]:
        """See `Store`."""
        return {"overlap": brute_force(np.load(target, allow_pickle=False), queries, k, space)}


class Parquet:
    """A parquet file with columns `id` (text) and `vector` (list of D float32)."""

    def write(
        self, out: Path, vectors: np.ndarray, ids: Sequence[str], *, space: Space, url: str | None
    ) -> Path:
        """See `Store`."""
        no_url(url, "parquet")
        parquet = library("pyarrow.parquet", '"rerank-toolkit[arrow]"')
        with replacing(out) as file:
            parquet.write_table(arrow_table(vectors, ids), file)
        return out

    def search(
        self, target: Path | str, queries: np.ndarray, k: int, *, space: Space
    ) -> dict[str, np.ndarray]:
        """See `Store`."""
        column = library("pyarrow.parquet", "pyarrow").read_table(target)["vector"]
        flat = column.combine_chunks().flatten().to_numpy()
        return {"overlap": brute_force(flat.reshape(len(column), -1), queries, k, space)}


def arrow_table(vectors: np.ndarray, ids: Sequence[str]) -> Any:  # noqa: ANN401  a pyarrow table
    """Columns `id`, `position` (the row) and `vector`."""
    arrow = library("pyarrow", '"rerank-toolkit[arrow]"')
    flat = arrow.array(np.ascontiguousarray(vectors, dtype=np.float32).reshape(-1))
    column = arrow.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
    rows = arrow.array(np.arange(len(ids), dtype=np.int64))
    return arrow.table({"id": arrow.array(list(ids)), "position": rows, "vector": column})


@dataclass(frozen=True, eq=False)
class Usearch:
    """A usearch index of float32 vectors; keys are rows. A graph, so the mean is taken out.

    With `asked`, (p, D) folded queries of a bank or stand-ins, the graph is that of the items'
    views, with more links (`rerank.serving.routes`), and leads to what such queries want.
    """

    asked: Tensor | None = None

    _METRICS: ClassVar = {"ip": "ip", "cosine": "cos", "l2": "l2sq"}
    # Effort with which an item finds its neighbours, and its own weight in its view.
    _EFFORT, _OWN = 512, 2.0

    def write(
        self, out: Path, vectors: np.ndarray, ids: Sequence[str], *, space: Space, url: str | None
    ) -> Path:
        """See `Store`.

        Raises:
            RerankError: usearch did not write the vectors that it was given.
        """
        no_url(url, "usearch")
        usearch = library("usearch.index", "usearch").Index
        index = usearch(
            ndim=vectors.shape[1], metric=self._METRICS[space], dtype="f32",
            expansion_add=self._EFFORT,
        )  # fmt: skip
        keys = np.arange(len(vectors), dtype=np.uint64)
        # The index refers to this array, so what lies in it when the index is saved is kept.
        held = np.array(vectors, dtype=np.float32, order="C")
        if self.asked is not None:
            held[:] = views(torch.from_numpy(held), self.asked, own=self._OWN)[0].numpy()
        index.add(keys, held, copy=False, threads=1)
        held[:] = vectors
        data = np.frombuffer(bytearray(index.save()), dtype=np.uint8)
        if self.asked is not None:
            slots = _slots(data, *vectors.shape)
            counts, rows = np.split(data[slots].view(np.int32), [1], axis=1)
            rows = np.where(np.arange(rows.shape[1]) < counts, rows, -1)
            rows = linked(rows, torch.from_numpy(held), self.asked)
            counts = (rows >= 0).sum(axis=1, keepdims=True)
            data[slots] = np.hstack([counts, rows]).astype(np.int32).view(np.uint8)
        file_bytes = data.tobytes()
        if not np.array_equal(usearch.restore(file_bytes).get(keys), held):
            raise _other_usearch()
        with replacing(out) as file:
            file.write(file_bytes)
        return out

    def search(
        self, target: Path | str, queries: np.ndarray, k: int, *, space: Space
    ) -> dict[str, np.ndarray]:
        """See `Store`."""
        index = library("usearch.index", "usearch").Index.restore(str(target))
        found = {}
        for name, exact in (("overlap", True), ("overlap_graph", False)):
            keys = index.search(queries, k, exact=exact).keys
            found[name] = np.asarray(keys).astype(np.int64).reshape(len(queries), -1)
        return found


def _slots(data: np.ndarray, m: int, width: int) -> np.ndarray:
    """(m, 4 + 4 slots) places, in the bytes of a usearch file, of each item's links on level 0.

    The file is two 32-bit sizes, the vectors, 64 bytes that begin with "usearch", five 64-bit
    numbers, a 16-bit level for each item, and for each item its key (8 bytes), level (2) and
    lists of links, level 0 first: a 32-bit count, and so many of its 32-bit slots in use.

    Raises:
        RerankError: the bytes are no such file.
    """
    start = 8 + 4 * m * width
    numbers = data[start + 64 : start + 104].view(np.uint64).astype(np.int64)
    levels = data[start + 104 : start + 104 + 2 * m].view(np.int16).astype(np.int64)
    if data[start : start + 7].tobytes() != b"usearch" or numbers[0] != m or len(levels) != m:
        raise _other_usearch()
    upper, lowest = 4 + 4 * numbers[1:3]
    ends = start + 104 + 2 * m + np.cumsum(10 + lowest + levels * upper)
    if ends[-1] != len(data):
        raise _other_usearch()
    slots = (ends - lowest - levels * upper)[:, None] + np.arange(lowest)
    links = data[slots].view(np.int32)
    if (links[:, 0] > numbers[2]).any() or (links[:, 1:] >= m).any() or (links < 0).any():
        raise _other_usearch()
    return slots


def _other_usearch() -> RerankError:
    return RerankError(
        "usearch: this version keeps its files in another way; install the version that "
        "constraints.txt names"
    )
