"""A parquet file with columns `id`, `position` and `vector`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rerank.core.words import Space
from rerank.serving.stores.contract import (
    NUMPY_BEST,
    NUMPY_SEARCH,
    BaseStore,
    Hits,
    arrow_table,
    brute_force,
    library,
)
from rerank.serving.stores.registry import store


@store("parquet", help="one parquet file: id, position, vector", package="pyarrow", order=2)
@dataclass(frozen=True)
class Parquet(BaseStore):
    """A parquet file.

    Attributes:
        space: what it will be compared by.
    """

    space: Space = "ip"

    def write(self, target: Path, vectors: np.ndarray, ids: Sequence[str], *, stamp: str) -> None:
        """See `Store`."""
        parquet = library("pyarrow.parquet", '"rerank-toolkit[arrow]"')
        parquet.write_table(arrow_table(vectors, ids), target)

    def search(
        self, target: Path, queries: np.ndarray, k: int, *, effort: int | None = None
    ) -> Hits:
        """See `Store`."""
        parquet = library("pyarrow.parquet", '"rerank-toolkit[arrow]"')
        column = parquet.ParquetFile(target).read(["vector"])["vector"]
        flat = column.combine_chunks().flatten().to_numpy()
        return brute_force(flat.reshape(len(column), -1), queries, k, self.space)

    def snippet(self, target: str) -> str:
        """See `Store`."""
        return (
            "import pyarrow.parquet\n\n"
            f'column = pyarrow.parquet.ParquetFile(here / {target!r}).read()["vector"]\n'
            "vectors = column.combine_chunks().flatten().to_numpy().reshape(len(column), -1)\n"
            f"{NUMPY_SEARCH[self.space]}{NUMPY_BEST}"
        )
