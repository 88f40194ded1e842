"""Vector databases: load folded vectors with ids, and search what was loaded."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from rerank.core.errors import RerankError
from rerank.io.files import replacing
from rerank.serving.fold import Space
from rerank.serving.stores.plain_files import (
    Npy,
    Parquet,
    Store,
    Usearch,
    arrow_table,
    brute_force,
    library,
    no_url,
)

# Name of the collection or table that holds the gallery.
COLLECTION = "gallery"
_BATCH = 1000


def check_new(out: Path) -> None:
    """Refuse a folder that is there already.

    Raises:
        RerankError: it exists.
    """
    if out.exists():
        raise RerankError(f"{out}: exists; remove it or choose another --out")


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder that gets its name when the block ends well, and leaves no trace else."""
    check_new(out)
    temporary = out.with_name(f".{out.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir()
        yield temporary
        temporary.rename(out)
    except OSError as error:
        raise RerankError(f"{out}: cannot be written ({error.strerror or error})") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


class Lancedb:
    """A LanceDB folder with one table of `id`, `position` and `vector`."""

    _METRICS = {"ip": "dot", "cosine": "cosine", "l2": "l2"}

    def write(
        self, out: Path, vectors: np.ndarray, ids: Sequence[str], *, space: Space, url: str | None
    ) -> Path:
        """See `Store`."""
        no_url(url, "lancedb")
        lancedb = library("lancedb", "lancedb")
        with new_folder(out) as folder:
            lancedb.connect(str(folder)).create_table(COLLECTION, arrow_table(vectors, ids))
        return out

    def search(
        self, target: Path | str, queries: np.ndarray, k: int, *, space: Space
    ) -> dict[str, np.ndarray]:
        """See `Store`."""
        table = library("lancedb", "lancedb").connect(str(target)).open_table(COLLECTION)
        rows = [
            table.search(query).distance_type(self._METRICS[space]).limit(k).to_arrow()["position"]
            for query in queries
        ]
        return {"overlap": np.array([row.to_pylist() for row in rows], dtype=np.int64)}


class Qdrant:
    """A Qdrant collection: local mode in a folder, or a server at `url`. Point ids are rows."""

    _METRICS = {"ip": "DOT", "cosine": "COSINE", "l2": "EUCLID"}

    @contextmanager
    def _client(self, target: Path | str) -> Iterator[Any]:
        client_of = library("qdrant_client", "qdrant-client").QdrantClient
        client = client_of(path=str(target)) if isinstance(target, Path) else client_of(url=target)
        try:
            yield client
        finally:
            client.close()

    def write(
        self, out: Path, vectors: np.ndarray, ids: Sequence[str], *, space: Space, url: str | None
    ) -> Path | str:
        """See `Store`."""
        if url is None:
            with new_folder(out) as folder:
                self._fill(folder, vectors, ids, space)
            return out
        self._fill(url, vectors, ids, space)
        return url

    def _fill(
        self, target: Path | str, vectors: np.ndarray, ids: Sequence[str], space: Space
    ) -> None:
        models = library("qdrant_client.models", "qdrant-client")
        with self._client(target) as client:
            if client.collection_exists(COLLECTION):
                raise RerankError(
                    f"Qdrant has a collection {COLLECTION!r} already; remove it first"
                )
            distance = models.Distance[self._METRICS[space]]
            params = models.VectorParams(size=vectors.shape[1], distance=distance)
            client.create_collection(COLLECTION, vectors_config=params)
            for start in range(0, len(ids), _BATCH):
                rows = range(start, min(start + _BATCH, len(ids)))
                points = [
                    models.PointStruct(id=r, vector=vectors[r].tolist(), payload={"id": ids[r]})
                    for r in rows
                ]
                client.upsert(COLLECTION, points=points, wait=True)

    def search(
        self, target: Path | str, queries: np.ndarray, k: int, *, space: Space
    ) -> dict[str, np.ndarray]:
        """See `Store`."""
        models = library("qdrant_client.models", "qdrant-client")
        # A folder is always searched exactly, and warns when it is asked to.
        params = None if isinstance(target, Path) else models.SearchParams(exact=True)
        with self._client(target) as client:
            found = [
                client.query_points(
                    COLLECTION, query=query.tolist(), limit=k, search_params=params
                ).points
                for query in queries
            ]
        return {"overlap": np.array([[p.id for p in row] for row in found], dtype=np.int64)}


class Pgvector:
    """A PostgreSQL table with pgvector: an .sql file for `psql -f`, or straight into `url`."""

    _OPERATORS = {"ip": "<#>", "cosine": "<=>", "l2": "<->"}

    def write(
        self, out: Path, vectors: np.ndarray, ids: Sequence[str], *, space: Space, url: str | None
    ) -> Path | str:
        """See `Store`."""
        create = (
            "CREATE EXTENSION IF NOT EXISTS vector;\n"
            f"CREATE TABLE {COLLECTION} (id text PRIMARY KEY, position bigint NOT NULL, "
            f"embedding vector({vectors.shape[1]}) NOT NULL);\n"
        )
        copy = f"COPY {COLLECTION} (id, position, embedding) FROM STDIN"
        lines = (
            f"{_escaped(name)}\t{row}\t[{','.join(f'{x:.9g}' for x in vector.tolist())}]\n"
            for row, (name, vector) in enumerate(zip(ids, vectors, strict=True))
        )
        if url is None:
            with replacing(out) as file:
                file.write(f"BEGIN;\n{create}{copy};\n".encode())
                file.writelines(line.encode() for line in lines)
                file.write(b"\\.\nCOMMIT;\n")
            return out
        psycopg = library("psycopg", '"psycopg[binary]"')
        try:
            with psycopg.connect(url) as connection, connection.cursor() as cursor:
                cursor.execute(create)
                with cursor.copy(copy) as stream:
                    for line in lines:
                        stream.write(line)
        except psycopg.Error as error:
            raise RerankError(f"PostgreSQL: {str(error).splitlines()[0]}") from None
        return url

    def search(
        self, target: Path | str, queries: np.ndarray, k: int, *, space: Space
    ) -> dict[str, np.ndarray]:
        """See `Store`; an .sql file is read back and compared by brute force."""
        if isinstance(target, Path):
            lines = target.read_text(encoding="utf-8").split("FROM STDIN;\n")[1].split("\n\\.\n")[0]
            texts = [line.rsplit("\t", 1)[1][1:-1] for line in lines.split("\n")]
            vectors = np.array([np.fromstring(text, sep=",") for text in texts], dtype=np.float32)
            return {"overlap": brute_force(vectors, queries, k, space)}
        psycopg = library("psycopg", '"psycopg[binary]"')
        order = f"embedding {self._OPERATORS[space]} %s::vector"
        statement = f"SELECT position FROM {COLLECTION} ORDER BY {order} LIMIT {int(k)}"
        found = []
        with psycopg.connect(target) as connection:
            for query in queries:
                text = f"[{','.join(f'{x:.9g}' for x in query.tolist())}]"
                found.append([row[0] for row in connection.execute(statement, (text,)).fetchall()])
        return {"overlap": np.array(found, dtype=np.int64)}


def _escaped(text: str) -> str:
    """Text for COPY."""
    for char, code in (("\\", "\\\\"), ("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r")):
        text = text.replace(char, code)
    return text


STORES: dict[str, Store] = {
    "npy": Npy(),
    "parquet": Parquet(),
    "qdrant": Qdrant(),
    "lancedb": Lancedb(),
    "pgvector": Pgvector(),
    "usearch": Usearch(),
}
NAMES = ("faiss", *STORES)
# What is a folder of its own, and never replaces one.
FOLDERS = ("qdrant", "lancedb")
