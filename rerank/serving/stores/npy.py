"""One .npy file, (m, D) float32."""

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
    brute_force,
)
from rerank.serving.stores.registry import store


@store("npy", help="one .npy file, searched exactly", order=1)
@dataclass(frozen=True)
class Npy(BaseStore):
    """A numpy file.

    Attributes:
        space: what it will be compared by.
    """

    space: Space = "ip"

    def write(self, target: Path, vectors: np.ndarray, ids: Sequence[str], *, stamp: str) -> None:
        """See `Store`."""
        vectors = np.ascontiguousarray(vectors)
        header = np.lib.format.header_data_from_array_1_0(vectors)
        # `np.save` has a buffer of its own, whose last bytes a full disk loses without a word.
        with target.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            file.write(vectors.data)

    def search(
        self, target: Path, queries: np.ndarray, k: int, *, effort: int | None = None
    ) -> Hits:
        """See `Store`."""
        return brute_force(np.load(target, allow_pickle=False), queries, k, self.space)

    def snippet(self, target: str) -> str:
        """See `Store`."""
        return f"vectors = np.load(here / {target!r})\n{NUMPY_SEARCH[self.space]}{NUMPY_BEST}"
