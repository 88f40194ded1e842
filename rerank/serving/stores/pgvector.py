"""A PostgreSQL table with pgvector: an .sql file for `psql -f`, or straight into a server."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from rerank.core.errors import FormatError, RerankError
from rerank.core.shell import word as typed_word
from rerank.core.wording import option
from rerank.core.words import Space
from rerank.serving.stores.contract import BaseStore, Hits, brute_force, file_hash, library
from rerank.serving.stores.registry import store

_OPERATORS = {"ip": "<#>", "cosine": "<=>", "l2": "<->"}


@store(
    "pgvector", help="a PostgreSQL table: an .sql file, or straight into --url", kind="database",
    package="psycopg[binary]", order=5,
)  # fmt: skip
@dataclass(frozen=True)
class Pgvector(BaseStore):
    """One PostgreSQL table with `id`, `position` and `embedding`, searched exactly.

    Attributes:
        table: its name.
        space: what it is compared by.
        url: a running server to load instead of writing an .sql file.
    """

    table: str = "gallery"
    space: Space = "ip"
    url: str | None = None

    @property
    def server(self) -> str | None:
        """See `Store`."""
        return self.url

    @property
    def table_name(self) -> str:
        """See `TableStore`."""
        return self.table

    def named(self, table: str) -> "Pgvector":
        """See `TableStore`."""
        return replace(self, table=table)

    @property
    def _name(self) -> str:
        """The table's name as SQL."""
        return '"' + self.table.replace('"', '""') + '"'

    @contextmanager
    def _connection(self) -> Iterator[Any]:
        psycopg = library("psycopg", '"psycopg[binary]"')
        try:
            with psycopg.connect(self.url) as connection:
                yield connection
        except psycopg.Error as error:
            raise RerankError(f"PostgreSQL: {str(error).splitlines()[0]}") from None

    def _create(self, width: int) -> str:
        return (
            "CREATE EXTENSION IF NOT EXISTS vector;\n"
            f"CREATE TABLE {self._name} (id text PRIMARY KEY, position bigint NOT NULL, "
            f"embedding vector({width}) NOT NULL);\n"
        )

    def write(self, target: Path, vectors: np.ndarray, ids: Sequence[str], *, stamp: str) -> None:
        """See `Store`."""
        create = self._create(vectors.shape[1])
        copy = f"COPY {self._name} (id, position, embedding) FROM STDIN"
        if self.url is None:
            with target.open("wb") as file:
                file.write(f"BEGIN;\n{create}{copy};\n".encode())
                file.writelines(line.encode() for line in _lines(vectors, ids))
                file.write(b"\\.\nCOMMIT;\n")
            return
        with self._connection() as connection, connection.cursor() as cursor:
            cursor.execute(create)
            with cursor.copy(copy) as stream:
                for line in _lines(vectors, ids):
                    stream.write(line)
            cursor.execute(f"COMMENT ON TABLE {self._name} IS 'rerank {stamp}'")

    def exists(self, target: Path) -> bool:
        """See `TableStore`."""
        with self._connection() as connection:
            return bool(connection.execute("SELECT to_regclass(%s)", (self._name,)).fetchone()[0])

    def publish(self, target: Path, staged: str) -> None:
        """See `TableStore`: one transaction."""
        with self._connection() as connection:
            connection.execute(f"DROP TABLE IF EXISTS {self._name}")
            connection.execute(f"ALTER TABLE {self.named(staged)._name} RENAME TO {self._name}")

    def drop(self, target: Path) -> None:
        """See `TableStore`."""
        with self._connection() as connection:
            connection.execute(f"DROP TABLE IF EXISTS {self._name}")

    def fingerprint(self, target: Path) -> str:
        """See `Store`: the table's comment, or the hash of the file."""
        if self.url is None:
            return file_hash(target)
        if not self.exists(target):
            raise FormatError(
                f"PostgreSQL has no table {self.table!r}; give the {option('table')} of the export"
            )
        with self._connection() as connection:
            statement = "SELECT obj_description(to_regclass(%s))"
            said = connection.execute(statement, (self._name,)).fetchone()[0]
        return str(said or "").removeprefix("rerank ")

    def search(
        self, target: Path, queries: np.ndarray, k: int, *, effort: int | None = None
    ) -> Hits:
        """See `Store`; an .sql file is read back and compared by brute force."""
        if self.url is None:
            return brute_force(_read(target), queries, k, self.space)
        distance = f"embedding {_OPERATORS[self.space]} %s::vector"
        statement = (
            f"SELECT position, {distance} AS distance FROM {self._name} ORDER BY distance "
            f"LIMIT {int(k)}"
        )
        found = []
        with self._connection() as connection:
            for query in queries:
                found.append(connection.execute(statement, (_text(query),)).fetchall())
            items = connection.execute(f"SELECT count(*) FROM {self._name}").fetchone()[0]
        rows = np.array([[hit[0] for hit in row] for row in found], dtype=np.int64)
        distances = np.array([[hit[1] for hit in row] for row in found])
        scores = {"ip": -distances, "cosine": 1 - distances, "l2": -(distances**2)}
        return Hits(rows, scores[self.space], items)

    def snippet(self, target: str) -> str:
        """See `Store`."""
        return (
            "import os\n\nimport psycopg\n\n"
            + ("" if self.url else f"# First: psql -f {typed_word(target)} $DATABASE_URL\n")
            + f"statement = '''SELECT id, embedding {_OPERATORS[self.space]} %s::vector\n"
            f"    AS distance FROM {self._name} ORDER BY distance LIMIT %s'''\n"
            'with psycopg.connect(os.environ["DATABASE_URL"]) as connection:\n'
            "    found = [connection.execute(statement, (str(x.tolist()), k)).fetchall() "
            "for x in q]\n"
            "names = [[hit[0] for hit in row] for row in found]\n"
            "scores = [[hit[1] for hit in row] for row in found]  # smaller is better\n"
        )


def _lines(vectors: np.ndarray, ids: Sequence[str]) -> Iterable[str]:
    """Rows for COPY."""
    for row, (name, vector) in enumerate(zip(ids, vectors, strict=True)):
        yield f"{_escaped(name)}\t{row}\t{_text(vector)}\n"


def _text(vector: np.ndarray) -> str:
    return f"[{','.join(f'{x:.9g}' for x in vector.tolist())}]"


def _read(target: Path) -> np.ndarray:
    """(m, D) vectors of an .sql file."""
    lines = target.read_text(encoding="utf-8").split("FROM STDIN;\n")[1].split("\n\\.\n")[0]
    texts = [line.rsplit("\t", 1)[1][1:-1] for line in lines.split("\n")]
    return np.array([np.array(text.split(","), dtype=np.float32) for text in texts])


def _escaped(text: str) -> str:
    """Text for COPY."""
    for char, code in (("\\", "\\\\"), ("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r")):
        text = text.replace(char, code)
    return text
