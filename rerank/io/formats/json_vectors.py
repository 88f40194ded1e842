"""Vectors in JSON: an object of vectors by id, lists by name, or records."""

import contextlib
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from rerank.core import memory
from rerank.core.errors import FormatError
from rerank.io.container import Container
from rerank.io.field import Field, afford, rows_per_block
from rerank.io.files import foreign, named, parse_json, read_text
from rerank.io.formats.registry import file_format
from rerank.io.text_table import lines_of, opener


@file_format(
    "json",
    help="{id: vector}, {ids: [...], embeddings: [...]}, records with an id and a vector, or rows",
    endings=(".json", ".jsonl"),
    order=7,
)
@contextlib.contextmanager
def open_json(path: Path) -> Iterator[Container]:
    """Vectors by id, lists by name, or records (one in a line for .jsonl).

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "v.jsonl"
    >>> _ = path.write_text('{"id": "a", "embedding": [1, 2.5]}')
    >>> with open_json(path) as found:
    ...     sorted(found.fields)
    ['embedding', 'id']

    By id, and nothing else:

    >>> path = path.with_suffix(".json")
    >>> _ = path.write_text('{"a": [1, 2.5], "b": [0, 1]}')
    >>> with open_json(path) as found:
    ...     found.per_item, {name: item.shape for name, item in found.fields.items()}
    (True, {'a': (2,), 'b': (2,)})
    """
    size, by_line = 4 * path.stat().st_size, path.suffix.lower() == ".jsonl"
    if by_line and size > memory.COPY_SHARE * memory.budget():
        found = _alike(path)
        if found is not None:
            yield found
            return
    afford(size, str(path), what="JSON")
    text = read_text(path)
    if by_line:
        lines = [line for line in text.split("\n") if line.strip()]
        content: Any = [parse_json(line, f"{path}: line {i}") for i, line in enumerate(lines, 1)]
    else:
        content = parse_json(text, str(path))
    if isinstance(content, dict):
        boxed = [value for value in content.values() if _are_records(value)]
        plain = all(not isinstance(value, list | dict) for value in content.values()
                    if not _are_records(value))  # fmt: skip
        if len(boxed) == 1 and plain:
            content = boxed[0]
    if isinstance(content, list) and content and _is_matrix(content):
        content = {"values": content}
    if _are_records(content):
        names = [name for name in content[0] if all(name in row for row in content)]
        content = {name: [row[name] for row in content] for name in names}
        per_item = False
    else:
        per_item = True
    if not isinstance(content, dict):
        raise FormatError(
            f"{path}: is {named([content])}, expected {{id: vector}} or a list of objects with an "
            "id and an embedding"
        )
    yield Container(
        path,
        {str(name): _field(f"{path}: {named([name])}", value) for name, value in content.items()},
        per_item=per_item,
    )


def _alike(path: Path) -> Container | None:
    """Many records with the same fields: looked at once, and vectors read again when asked for.

    None where they are not alike, which is said of the whole.
    """
    opened, where = opener(path), str(path)

    def records(start: int = 0, stop: int | None = None) -> Iterator[Any]:
        with opened() as stream:
            lines = (line for line in lines_of(stream, where) if line.strip())
            for number, line in enumerate(islice(lines, start, stop), start + 1):
                yield parse_json(line, f"{where}: line {number}")

    widths: dict[str, int] = {}
    words: dict[str, list[Any]] = {}
    count = size = 0
    for record in records():
        if not isinstance(record, dict):
            return None
        if not count:
            widths = {name: len(x) for name, x in record.items() if _is_vector(x)}
            words = {name: [] for name, x in record.items() if type(x) in (str, int)}
        for name, width in widths.items():
            vector = record.get(name)
            if not isinstance(vector, list) or len(vector) != width or not _is_vector(vector):
                return None
        for name, held in words.items():
            if type(record.get(name)) not in (str, int):
                return None
            held.append(record[name])
            size += 64 + len(str(record[name]))
        count += 1
        afford(size, where, what="the text of its records")
    if not widths:
        return None

    def vectors(name: str) -> Field:
        field, width = f"{path}: {named([name])}", widths[name]

        def blocks(start: int, stop: int) -> Iterator[np.ndarray]:
            step = rows_per_block(8 * width)
            found = records(start, stop)
            while rows := [record[name] for record in islice(found, step)]:
                with foreign(field, "numbers"):
                    made = np.array(rows, dtype=np.float64)
                yield made

        return Field(field, (count, width), np.dtype(np.float64), blocks)

    texts = {name: _field(f"{path}: {named([name])}", value) for name, value in words.items()}
    return Container(path, {**texts, **{x: vectors(x) for x in widths}}, per_item=False)


def _is_vector(value: object) -> bool:
    return isinstance(value, list) and bool(value) and set(map(type, value)) <= {int, float}


def _are_records(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, dict) for row in value)


def _is_matrix(value: Sequence[object]) -> bool:
    """Whether a list holds rows of numbers and nothing else."""
    return all(isinstance(row, list) and row and _is_numbers(row) for row in value)


def _field(where: str, value: object) -> Field:
    if isinstance(value, list) and _is_words(value):
        array = np.empty(len(value), dtype=object)
        array[:] = value
        if all(isinstance(item, int) for item in value):
            array = np.array(value)
    elif isinstance(value, list) and value and _is_numbers(value):
        with foreign(where, "numbers"):
            array = np.array(value, dtype=np.float64)
    else:
        return Field(where, (), np.dtype("V1"), lambda start, stop: iter(()), odd=named([value]))
    return Field(where, array.shape, array.dtype, lambda start, stop: iter([array[start:stop]]))


def _is_words(value: Sequence[object]) -> bool:
    """A list of names; one that is missing is said where the names are read."""
    words = [item for item in value if item is not None]
    return bool(words) and all(isinstance(item, str | int) for item in words)


def _is_numbers(value: Sequence[object]) -> bool:
    first = value[0]
    while isinstance(first, list) and first:
        first = first[0]
    return isinstance(first, int | float) and not isinstance(first, bool)
