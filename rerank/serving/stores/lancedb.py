"""A LanceDB folder of tables with `id`, `position` and `vector`."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from rerank.core.errors import FormatError
from rerank.core.wording import option
from rerank.core.words import Space
from rerank.serving.stores.contract import BaseStore, Hits, arrow_table, library
from rerank.serving.stores.registry import store

_METRICS = {"ip": "dot", "cosine": "cosine", "l2": "l2"}


@store("lancedb", help="a table of a LanceDB folder", kind="database", package="lancedb", order=4)
@dataclass(frozen=True)
class Lancedb(BaseStore):
    """One table of a LanceDB folder, searched exactly.

    Attributes:
        table: its name.
        space: what it is compared by.
    """

    table: str = "gallery"
    space: Space = "ip"

    @property
    def folder(self) -> bool:
        """See `Store`."""
        return True

    @property
    def table_name(self) -> str:
        """See `TableStore`."""
        return self.table

    def named(self, table: str) -> "Lancedb":
        """See `TableStore`."""
        return replace(self, table=table)

    def _open(self, target: Path) -> Any:  # noqa: ANN401  a connection
        return library("lancedb", "lancedb").connect(str(target))

    def _table(self, target: Path) -> Any:  # noqa: ANN401  a LanceDB table
        if not self.exists(target):
            raise FormatError(
                f"{target}: has no table {self.table!r}; give the {option('table')} of the export"
            )
        return self._open(target).open_table(self.table)

    def exists(self, target: Path) -> bool:
        """See `TableStore`."""
        return (target / f"{self.table}.lance").exists()

    def write(self, target: Path, vectors: np.ndarray, ids: Sequence[str], *, stamp: str) -> None:
        """See `Store`."""
        self._open(target).create_table(self.table, arrow_table(vectors, ids, stamp))

    def publish(self, target: Path, staged: str) -> None:
        """See `TableStore`: a new version of the table, committed at once."""
        content = self.named(staged)._table(target).to_arrow()
        self._open(target).create_table(self.table, content, mode="overwrite")
        self.named(staged).drop(target)

    def drop(self, target: Path) -> None:
        """See `TableStore`."""
        self._open(target).drop_table(self.table, ignore_missing=True)

    def fingerprint(self, target: Path) -> str:
        """See `Store`: the stamp in the table's schema."""
        found = (self._table(target).schema.metadata or {}).get(b"rerank", b"")
        return found.decode()

    def search(
        self, target: Path, queries: np.ndarray, k: int, *, effort: int | None = None
    ) -> Hits:
        """See `Store`."""
        table, rows, scores = self._table(target), [], []
        for query in queries:
            found = table.search(query).distance_type(_METRICS[self.space]).limit(k).to_arrow()
            rows.append(found["position"].to_pylist())
            distances = found["_distance"].to_numpy()
            scores.append(-distances if self.space == "l2" else 1 - distances)
        return Hits(np.array(rows, dtype=np.int64), np.array(scores), table.count_rows())

    def snippet(self, target: str) -> str:
        """See `Store`."""
        return (
            "import lancedb\n\n"
            f"table = lancedb.connect(str(here / {target!r})).open_table({self.table!r})\n"
            f'found = [table.search(x).distance_type("{_METRICS[self.space]}").limit(k).to_list()\n'
            "         for x in q]\n"
            'names = [[hit["id"] for hit in row] for row in found]\n'
            "# Smaller is better.\n"
            'scores = [[hit["_distance"] for hit in row] for row in found]\n'
        )
