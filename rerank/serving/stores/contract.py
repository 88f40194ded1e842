"""What a store of vectors must do, and what its files share.

A store is a frozen dataclass of settings. Row j of what it is given is item j; it keeps that number
beside the item's name, and its searches return row numbers.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np

from rerank.core.errors import RerankError
from rerank.core.words import Space
from rerank.io.files import regular_file

Self = TypeVar("Self", bound="TableStore")


@dataclass(frozen=True, eq=False)
class Hits:
    """What a search found.

    Attributes:
        rows: (n, k) int64 row numbers, best first; -1 where fewer were found.
        scores: (n, k) higher is better: inner products for the space "ip", cosines for "cosine",
            minus squared distances for "l2".
        items: how many items the store holds; None where it does not say.
    """

    rows: np.ndarray
    scores: np.ndarray
    items: int | None = None


class Store(Protocol):
    """One way to keep vectors; derive from `BaseStore` for the defaults."""

    @property
    def space(self) -> Space:
        """What it compares by; other than "ip", vectors get one more dimension."""
        ...

    @property
    def graph(self) -> bool:
        """Whether the gallery mean should be taken out, as approximate indexes need it."""
        ...

    @property
    def effort_name(self) -> str:
        """What its searches call their effort; "" where they are exact."""
        ...

    @property
    def folder(self) -> bool:
        """Whether it writes a folder and not a file."""
        ...

    @property
    def server(self) -> str | None:
        """Where the running server is that it loads, or None for files."""
        ...

    def write(self, target: Path, vectors: np.ndarray, ids: Sequence[str], *, stamp: str) -> None:
        """Keep (m, D) float32 vectors in a place that holds nothing yet, with a stamp of them."""
        ...

    def search(
        self, target: Path, queries: np.ndarray, k: int, *, effort: int | None = None
    ) -> Hits:
        """The k best items for each of (n, D) float32 queries, each searched by itself."""
        ...

    def efforts(self, m: int) -> tuple[int, ...]:
        """Rising efforts to try for m items; () where every search is exact."""
        ...

    def settle(self, target: Path, effort: int) -> None:
        """Store the effort with what was written, where the store can."""
        ...

    def fingerprint(self, target: Path) -> str:
        """A text that is another one whenever something else was written."""
        ...

    def snippet(self, target: str) -> str:
        """Lines of Python: `q` (n, D) -> `names` and `scores`; may use `here`, `side`, `about`."""
        ...


@runtime_checkable
class TableStore(Store, Protocol):
    """A store that holds several tables (or collections), each written on its own."""

    @property
    def table_name(self) -> str:
        """The table of this store."""
        ...

    def named(self: Self, table: str) -> Self:
        """The same store with another table."""
        ...

    def exists(self, target: Path) -> bool:
        """Whether the table is there."""
        ...

    def publish(self, target: Path, staged: str) -> None:
        """Give a table that is complete the name of this one, whose content it replaces."""
        ...

    def drop(self, target: Path) -> None:
        """Take the table away, if it is there."""
        ...


@dataclass(frozen=True)
class BaseStore:
    """Defaults: an exact store of one file."""

    @property
    def graph(self) -> bool:
        """See `Store`."""
        return False

    @property
    def effort_name(self) -> str:
        """See `Store`."""
        return ""

    @property
    def folder(self) -> bool:
        """See `Store`."""
        return False

    @property
    def server(self) -> str | None:
        """See `Store`."""
        return None

    def efforts(self, m: int) -> tuple[int, ...]:
        """See `Store`."""
        return ()

    def settle(self, target: Path, effort: int) -> None:
        """See `Store`."""

    def fingerprint(self, target: Path) -> str:
        """See `Store`: the hash of the file."""
        return file_hash(target)

    def snippet(self, target: str) -> str:
        """See `Store`."""
        return "names, scores = [], []  # this store says no more\n"


def library(name: str, install: str) -> Any:  # noqa: ANN401  a module
    """A library, imported when first needed.

    Raises:
        RerankError: not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise RerankError(f"{name} is not installed: pip install {install}") from error


def file_hash(path: Path) -> str:
    """Content hash of a file."""
    digest = hashlib.blake2b(digest_size=16)
    with regular_file(path).open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def rising(first: int, last: int) -> tuple[int, ...]:
    """Efforts from first to last, each about 1.4 times the one before."""
    out, power = [], 1
    while first * power < last:
        out += [first * power, first * power * 3 // 2]
        power *= 2
    return (*sorted({effort for effort in out if effort < last}), last)


def brute_force(vectors: np.ndarray, queries: np.ndarray, k: int, space: Space) -> Hits:
    """Every item compared by the measure of a space; ties go to the lower row.

    Raises:
        ValueError: vectors that are no rows of finite floats.
    """
    if vectors.ndim != 2 or vectors.dtype.kind != "f":
        raise ValueError(f"it holds {vectors.dtype} of shape {vectors.shape}, not rows of floats")
    check_finite(vectors)
    # Each query by itself, so that the batch changes no last bit.
    scores = np.stack([vectors @ query for query in queries])
    if space == "cosine":
        lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(queries, axis=1)[:, None]
        scores = scores / lengths
    if space == "l2":
        scores = 2 * scores - (vectors**2).sum(axis=1) - (queries**2).sum(axis=1)[:, None]
    rows = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return Hits(rows, np.take_along_axis(scores, rows, axis=1), len(vectors))


def check_finite(numbers: np.ndarray) -> None:
    """Refuse an index with what nothing compares with.

    Raises:
        ValueError: NaN or an infinity.
    """
    if not np.isfinite(numbers).all():
        raise ValueError("it holds NaN or infinite numbers")


def arrow_table(vectors: np.ndarray, ids: Sequence[str], stamp: str = "") -> Any:  # noqa: ANN401
    """A pyarrow table of columns `id`, `position` (the row) and `vector`."""
    arrow = library("pyarrow", '"rerank-toolkit[arrow]"')
    flat = arrow.array(np.ascontiguousarray(vectors, dtype=np.float32).reshape(-1))
    column = arrow.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
    rows = arrow.array(np.arange(len(ids), dtype=np.int64))
    table = arrow.table({"id": arrow.array(list(ids)), "position": rows, "vector": column})
    return table.replace_schema_metadata({"rerank": stamp}) if stamp else table


# The same comparisons for people who have numpy only; `vectors` and `q` are there.
NUMPY_SEARCH = {
    "ip": "all_scores = q @ vectors.T\n",
    "cosine": "all_scores = q @ vectors.T / np.linalg.norm(vectors, axis=1)\n",
    "l2": "all_scores = 2 * q @ vectors.T - (vectors**2).sum(axis=1)\n",
}
NUMPY_BEST = (
    'rows = np.argsort(-all_scores, axis=1, kind="stable")[:, :k]\n'
    'names = side["ids"][rows].tolist()\n'
    "scores = np.take_along_axis(all_scores, rows, axis=1).tolist()\n"
)
