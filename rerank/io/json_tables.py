"""Tables in JSON of which columns of numbers are the vectors, as pandas writes them.

They are kept as `{column: {row: number}}`, `{row: {column: number}}`, as names beside rows, or as
rows alone. Which of two names is a column is told by names that count: 0, 1, 2, ... or dim_0, ...
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rerank.io.container import Container
from rerank.io.field import Field
from rerank.io.ids import is_list, read_ids
from rerank.io.json_records import IDS, is_vector
from rerank.io.number_columns import counted, vectors_among
from rerank.io.pandas_json import count_rows, split_of_pandas

# What the numbers of a vector are called, before they are counted.
_DIMENSION = re.compile(
    "(dim|dimension|f|feat|feature|e|emb|embed|embedding|x|vec|vector|latent|component|comp|pc"
    "|col|column)s?"
)
INDEX = "index"
# What a table of rows and names holds.
_SPLIT = {"columns", "index", "data"}


class Columns(NamedTuple):
    """Columns of a table by name, and whether it was kept by the names of both."""

    values: dict[str, list[Any]]
    nested: bool = False


def columns_of(content: object) -> Columns | None:
    """The columns of a table of which some count and are numbers; None of anything else.

    >>> columns_of({"0": {"a": 0.5, "b": 1.5}, "1": {"a": 2.0, "b": 2.5}})[0]
    {'0': [0.5, 1.5], '1': [2.0, 2.5], 'index': ['a', 'b']}
    >>> columns_of({"a": {"f0": 0.5, "f1": 2.0}})[0]
    {'f0': [0.5], 'f1': [2.0], 'index': ['a']}
    >>> columns_of({"columns": ["id", "0", "1"], "data": [["a", 0.5, 1.5]]})[0]
    {'id': ['a'], '0': [0.5], '1': [1.5]}
    >>> columns_of([["a", 0.5, 1.5], ["b", 2.0, 2.5]])[0]
    {'id': ['a', 'b'], '0': [0.5, 2.0], '1': [1.5, 2.5]}

    Where rows and columns are numbered alike nobody knows which are which:

    >>> columns_of({"0": {"0": 0.5, "1": 1.5}, "1": {"0": 2.0, "1": 2.5}})
    """
    if isinstance(content, list):
        return _of_rows(content)
    if not isinstance(content, dict):
        return None
    if (table := split_of_pandas(content)) is not None:
        names = dict.fromkeys(table.columns)
        if len(names) < len(table.columns) or not table.rows:
            return None
        columns = dict(zip(names, map(list, zip(*table.rows, strict=True)), strict=True))
        return Columns(_labelled(columns, table.labels)) if hold_vectors(columns) else None
    return _of_objects(content)


def hold_vectors(columns: Mapping[str, Sequence[Any]]) -> bool:
    """Whether columns that count are the numbers of a vector, and half of all numbers or more.

    >>> hold_vectors({"f0": [0.5], "f1": [1], "id": ["a"]}), hold_vectors({"f0": [1], "f1": [2]})
    (True, False)
    >>> hold_vectors({"f0": [0.5], "f1": [1.5], "embedding": [[1.0, 2.0]]})
    False
    """
    if any(isinstance(x, dict) or is_vector(x) for each in columns.values() for x in each[:1]):
        return False
    runs = counted(list(columns)).values()
    if not runs:
        return False
    held = list(columns.values())
    numbers = list(map(_is_numbers, held))
    decimals = [of and float in map(type, x) for of, x in zip(numbers, held, strict=True)]
    found = [run for run in runs if 2 * sum(numbers[at] for at in run) > len(run)]
    of_vectors = sum(len(run) for run in found if any(decimals[at] for at in run))
    return of_vectors > 0 and 2 * of_vectors >= sum(numbers)


def _is_numbers(values: Sequence[Any]) -> bool:
    """Whether a column holds numbers, of which a few may be missing."""
    kinds = set(map(type, values))
    return bool(kinds & {int, float}) and kinds <= {int, float, type(None)}


def _labelled(columns: dict[str, list[Any]], labels: Sequence[Any]) -> dict[str, list[Any]]:
    """The same with the names of rows, where no column has ids."""
    has_ids = any(name in IDS for name in columns) or INDEX in columns
    return columns if has_ids else {**columns, INDEX: list(labels)}


def names_of_rows(columns: Mapping[str, Sequence[Any]]) -> tuple[str, ...]:
    """The column of names of rows, where these are more than their numbers."""
    labels = list(map(str, columns.get(INDEX, ())))
    return () if not labels or labels == ["0"] or count_rows(labels) else (INDEX,)


def _of_rows(content: Sequence[Any]) -> Columns | None:
    """Rows of one name and numbers, as they are without names of columns."""
    if not content or not all(isinstance(row, list) for row in content):
        return None
    width = len(content[0])
    if width < 3 or any(len(row) != width for row in content):
        return None
    columns = list(map(list, zip(*content, strict=True)))
    texts = [at for at, held in enumerate(columns) if all(isinstance(x, str) for x in held)]
    if texts != [0]:
        return None
    ids = columns.pop(0)
    # Whole numbers throughout may be anything, such as a duration.
    if not all(_is_numbers(held) and float in map(type, held) for held in columns):
        return None
    return Columns({"id": ids, **{str(at): held for at, held in enumerate(columns)}})


def _of_objects(content: Mapping[str, Any]) -> Columns | None:
    """A table that is kept by the names of its columns and of its rows."""
    inside = list(content.values())
    if not inside or not all(isinstance(x, dict) and x for x in inside):
        return None
    names = inside[0].keys()
    if any(each.keys() != names for each in inside):
        return None
    if any(isinstance(x, dict | list) for each in inside for x in each.values()):
        return None
    by_column: dict[str, list[Any]] = {}
    by_row: dict[str, list[Any]] = {}
    if counted(list(content)):
        by_column = {name: list(each.values()) for name, each in content.items()}
    if counted(list(names)):  # else nothing is held twice
        by_row = {name: [each[name] for each in inside] for name in names}
    outer, inner = (_counts_as(each) if hold_vectors(each) else 0 for each in (by_column, by_row))
    # Of names that count and of numbers, the numbers may be those of the rows.
    unclear = (outer, inner) == (0, 1) and counted(list(content)) and hold_vectors(by_column)
    if outer == inner or unclear:
        return None
    if outer > inner:
        return Columns(_labelled(by_column, list(names)), nested=True)
    return Columns(_labelled(by_row, list(content)), nested=True)


def _counts_as(columns: Mapping[str, Any]) -> int:
    """2 where names that count are called as numbers of vectors, 1 for mere numbers, else 0."""
    stems = [stem.rstrip("_-. ").lower() for stem in counted(list(columns))]
    if any(_DIMENSION.fullmatch(stem) for stem in stems):
        return 2
    return int("" in stems)


def split_in_fields(path: Path, fields: Mapping[str, Field]) -> Container | None:
    """The same of names beside a long matrix, which is not held; None for anything else."""
    data, named = fields.get("data"), fields.get("columns")
    if not fields.keys() <= _SPLIT or data is None or named is None or len(data.shape) != 2:
        return None
    if not is_list(named) or max(named.shape) != data.shape[1]:
        return None
    names = read_ids(named)
    if not counted(names) or len(set(names)) < len(names):
        return None
    found: dict[str, Field] = {"values": _chosen(data, range(len(names)), names)}
    index, last = fields.get(INDEX), ()
    if index is not None and index.kind in ("text", "integer") and index.shape == data.shape[:1]:
        found[INDEX], last = index, names_of_rows({INDEX: read_ids(index)})
    among, vectors = vectors_among(names), None
    if among is not None:
        parts = {name: _chosen(data, places, names) for name, places in among.items()}
        vectors = found | parts
    made = Container(path, found, per_item=False, columns=names, vectors=vectors)
    return replace(made, id_names=(*made.id_names, last))


def _chosen(data: Field, places: Sequence[int], names: Sequence[str]) -> Field:
    """Some columns of a matrix."""
    at = list(places)

    def blocks(start: int, stop: int) -> Iterator[np.ndarray]:
        return (block[:, at] for block in data.blocks(start, stop))

    shape, columns = (data.shape[0], len(at)), tuple(names[place] for place in at)
    return Field(data.where, shape, data.dtype, blocks, columns=columns)
