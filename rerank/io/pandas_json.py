"""Tables as pandas writes them in JSON: by columns, with `orient="split"` and `orient="table"`."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from rerank.io.container import VECTOR_NAMES

_NAMES = {"columns", "index", "data", "index_names", "column_names"}


class PandasTable(NamedTuple):
    """Names of the columns, rows, and the name of each row."""

    columns: list[str]
    rows: list[list[Any]]
    labels: list[Any]


def split_of_pandas(content: dict[str, Any]) -> PandasTable | None:
    """The table in an object of one of these two forms; None in any other.

    >>> split_of_pandas({"columns": ["video"], "index": ["t0"], "data": [["v0"]]})
    PandasTable(columns=['video'], rows=[['v0']], labels=['t0'])
    >>> split_of_pandas({"schema": {"fields": [{"name": "video"}]}, "data": [{"video": "v0"}]})
    PandasTable(columns=['video'], rows=[['v0']], labels=[0])
    """
    rows = content.get("data")
    if not isinstance(rows, list):
        return None
    if "columns" in content and content.keys() <= _NAMES:
        columns, index = content["columns"], content.get("index", list(range(len(rows))))
        if not isinstance(columns, list) or not isinstance(index, list) or len(index) != len(rows):
            return None
        if any(not isinstance(row, list) or len(row) != len(columns) for row in rows):
            return None
        return PandasTable([str(name) for name in columns], rows, index)
    return (
        _with_schema(content.get("schema"), rows) if content.keys() == {"schema", "data"} else None
    )


def _with_schema(schema: object, rows: list[Any]) -> PandasTable | None:
    fields = schema.get("fields") if isinstance(schema, dict) else None
    if not isinstance(schema, dict) or not isinstance(fields, list):
        return None
    names = [str(field.get("name")) for field in fields if isinstance(field, dict)]
    if any(not isinstance(row, dict) or row.keys() - set(names) for row in rows):
        return None
    keys = schema.get("primaryKey") or []
    index = [row.get(keys[0]) for row in rows] if keys else list(range(len(rows)))
    # An index with a name of its own is a column like others.
    columns = [name for name in names if name != "index" or name not in keys]
    return PandasTable(columns, [[row.get(name) for name in columns] for row in rows], index)


def rows_of_columns(content: Mapping[str, Any], ids: Collection[str]) -> list[dict[str, Any]]:
    """The rows of a table that is kept as `{column: {row: value}}`; none in any other object.

    Args:
        content: the object.
        ids: what a column of ids is called; without one the rows are told by their own names, which
            are none where they merely count from 0 beside a column of vectors.

    >>> rows_of_columns({"id": {"0": "a"}, "emb": {"0": [1.0]}}, ["id"])
    [{'id': 'a', 'emb': [1.0]}]
    >>> rows_of_columns({"train": {"a": [1.0]}, "test": {"a": [1.0]}}, ["id"])
    []
    >>> rows_of_columns({"emb": {"0": [1.0], "1": [2.0]}}, ["id"])
    [{'emb': [1.0]}, {'emb': [2.0]}]
    """
    if not content or not all(isinstance(x, dict) and x for x in content.values()):
        return []
    columns: list[dict[str, Any]] = list(content.values())
    rows = columns[0].keys()
    if any(column.keys() != rows for column in columns):
        return []
    words = (name for name in content if name in ids)
    numbered = count_rows(rows) and not {*content}.isdisjoint(VECTOR_NAMES)
    if not numbered and not any(
        all(isinstance(x, str | int) for x in content[name].values()) for name in words
    ):
        return []
    return [{name: column[row] for name, column in content.items()} for row in rows]


def rows_of_labels(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of a table that is kept as `{row: {column: value}}`, where its rows have no names.

    These merely count from 0 then, as pandas counts them.

    >>> rows_of_labels({"0": {"emb": [1.0]}, "1": {"emb": [2.0]}})
    [{'emb': [1.0]}, {'emb': [2.0]}]
    >>> rows_of_labels({"v0": {"emb": [1.0]}, "v1": {"emb": [2.0]}})
    []
    """
    rows = list(content.values())
    if not count_rows(content) or not all(isinstance(row, dict) for row in rows):
        return []
    alike = all(row.keys() == rows[0].keys() for row in rows)
    return rows if alike and not rows[0].keys().isdisjoint(VECTOR_NAMES) else []


def count_rows(names: Iterable[str]) -> bool:
    """Whether two names or more are 0, 1, 2, ... in this order.

    >>> count_rows(["0", "1"]), count_rows(["1", "0"]), count_rows(["0"])
    (True, False, False)
    """
    found = list(names)
    return len(found) > 1 and found == [str(row) for row in range(len(found))]
