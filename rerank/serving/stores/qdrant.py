"""Qdrant collections: local mode in a folder, or a running server. Point ids are rows."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from rerank.core.errors import FormatError, RerankError
from rerank.core.wording import option
from rerank.core.words import Space
from rerank.serving.stores.contract import BaseStore, Hits, library
from rerank.serving.stores.registry import store

_METRICS = {"ip": "DOT", "cosine": "COSINE", "l2": "EUCLID"}
_BATCH = 1000


@store(
    "qdrant", help="a Qdrant collection, in a folder or at --url", kind="database",
    package="qdrant-client", order=3,
)  # fmt: skip
@dataclass(frozen=True)
class Qdrant(BaseStore):
    """One Qdrant collection, searched exactly.

    Attributes:
        collection: its name; an alias where a collection was replaced.
        space: what it is compared by.
        url: a running server to load instead of a folder.
    """

    collection: str = "gallery"
    space: Space = "ip"
    url: str | None = None

    @property
    def folder(self) -> bool:
        """See `Store`."""
        return self.url is None

    @property
    def server(self) -> str | None:
        """See `Store`."""
        return self.url

    @property
    def table_name(self) -> str:
        """See `TableStore`."""
        return self.collection

    def named(self, table: str) -> "Qdrant":
        """See `TableStore`."""
        return replace(self, collection=table)

    @contextmanager
    def _client(self, target: Path) -> Iterator[Any]:
        client_of = library("qdrant_client", "qdrant-client").QdrantClient
        try:
            client = client_of(url=self.url) if self.url else client_of(path=str(target))
        except RuntimeError as error:  # another process has the folder open
            raise RerankError(f"{target}: {str(error).splitlines()[0]}") from None
        try:
            yield client
        finally:
            client.close()

    def _models(self) -> Any:  # noqa: ANN401  a module
        return library("qdrant_client.models", "qdrant-client")

    def _aliases(self, client: Any) -> dict[str, str]:  # noqa: ANN401
        return {a.alias_name: a.collection_name for a in client.get_aliases().aliases}

    def exists(self, target: Path) -> bool:
        """See `TableStore`."""
        with self._client(target) as client:
            if self.collection in self._aliases(client):
                return True
            return client.collection_exists(self.collection)

    def write(self, target: Path, vectors: np.ndarray, ids: Sequence[str], *, stamp: str) -> None:
        """See `Store`."""
        models = self._models()
        with self._client(target) as client:
            distance = models.Distance[_METRICS[self.space]]
            params = models.VectorParams(size=vectors.shape[1], distance=distance)
            client.create_collection(self.collection, vectors_config=params)
            for start in range(0, len(ids), _BATCH):
                rows = range(start, min(start + _BATCH, len(ids)))
                points = [
                    models.PointStruct(
                        id=row, vector=vectors[row].tolist(),
                        payload={"id": ids[row]} | ({"export": stamp} if row == 0 else {}),
                    )
                    for row in rows
                ]  # fmt: skip
                client.upsert(self.collection, points=points, wait=True)

    def publish(self, target: Path, staged: str) -> None:
        """See `TableStore`: the name becomes an alias of the new collection.

        An alias is moved at once; between the removal of a collection of that name and the alias
        there is a moment without either.
        """
        models = self._models()
        with self._client(target) as client:
            old = self._aliases(client).get(self.collection)
            changes: list[Any] = []
            if old is not None:
                gone = models.DeleteAlias(alias_name=self.collection)
                changes.append(models.DeleteAliasOperation(delete_alias=gone))
            elif client.collection_exists(self.collection):
                client.delete_collection(self.collection)
            made = models.CreateAlias(collection_name=staged, alias_name=self.collection)
            changes.append(models.CreateAliasOperation(create_alias=made))
            client.update_collection_aliases(change_aliases_operations=changes)
            if old is not None:
                client.delete_collection(old)

    def drop(self, target: Path) -> None:
        """See `TableStore`; what an alias names is published and stays."""
        with self._client(target) as client:
            named = self.collection in self._aliases(client).values()
            if not named and client.collection_exists(self.collection):
                client.delete_collection(self.collection)

    def fingerprint(self, target: Path) -> str:
        """See `Store`: the stamp in the payload of the first item."""
        if not self.exists(target):
            raise FormatError(
                f"{self.url or target}: has no collection {self.collection!r}; give the "
                f"{option('collection')} of the export"
            )
        with self._client(target) as client:
            found = client.retrieve(self.collection, ids=[0])
        return str(found[0].payload.get("export", "")) if found else ""

    def search(
        self, target: Path, queries: np.ndarray, k: int, *, effort: int | None = None
    ) -> Hits:
        """See `Store`."""
        # A folder is always searched exactly, and warns when it is asked to.
        params = self._models().SearchParams(exact=True) if self.url else None
        with self._client(target) as client:
            found = [
                client.query_points(
                    self.collection, query=query.tolist(), limit=k, search_params=params
                ).points
                for query in queries
            ]
            items = client.count(self.collection, exact=True).count
        scores = np.array([[point.score for point in row] for row in found])
        rows = np.array([[point.id for point in row] for row in found], dtype=np.int64)
        return Hits(rows, -(scores**2) if self.space == "l2" else scores, items)

    def snippet(self, target: str) -> str:
        """See `Store`."""
        where = 'url=os.environ["QDRANT_URL"]' if self.url else f"path=str(here / {target!r})"
        return (
            ("import os\n\n" if self.url else "") + "from qdrant_client import QdrantClient\n\n"
            f"client = QdrantClient({where})\n"
            f"found = [client.query_points({self.collection!r}, query=x.tolist(), limit=k).points\n"
            "         for x in q]\n"
            'names = [[point.payload["id"] for point in row] for row in found]\n'
            "scores = [[point.score for point in row] for row in found]\n"
            "client.close()\n"
        )
