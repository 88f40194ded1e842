"""Vectors in JSON: an object of vectors by id, lists by name, or records."""

import contextlib
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np

from rerank.core import memory
from rerank.core.errors import FormatError
from rerank.io.container import LIST_NAMES, VECTOR_NAMES, Container
from rerank.io.field import Field, afford, empty_field, rows_per_block
from rerank.io.files import foreign, named, parse_json, read_text
from rerank.io.formats.registry import file_format
from rerank.io.frames.meanings import is_something_else
from rerank.io.frames.unlike_lengths import padded, widths_of
from rerank.io.ids import ids_by_row
from rerank.io.json_answers import raised, records_below
from rerank.io.json_document import NotInPieces, Places, entries
from rerank.io.json_records import (
    DEEPEST_GROUP,
    IDS,
    are_records,
    boxed,
    by_one_name,
    has_vectors,
    holds_vectors,
    in_another_order,
    is_aside,
    is_document,
    is_numbers,
    is_record,
    lacking,
    words_inside,
)
from rerank.io.json_tables import columns_of, hold_vectors, names_of_rows, split_in_fields
from rerank.io.pandas_json import rows_of_columns, rows_of_labels
from rerank.io.text_table import lines_of, opener
from rerank.io.typed_table import table

# More lists of rows in one object are the frames of its items.
_MOST_LISTS = 8
# Bytes that a number in a list takes.
_NUMBER = 32
# Arrays of numpy have no more dimensions, and embeddings three.
_DEEPEST = 32
# What is larger is no number of anything.
_LARGEST = 1 << 62
# Bytes of a line that is looked at for whether it is a document of its own.
_LONGEST_LINE = 1 << 20
# The largest float64, as a whole number too.
_MOST = int(np.finfo(np.float64).max)
# What MongoDB calls the types of ids in JSON.
_WRAPS = ("$oid", "$uuid", "$numberInt", "$numberLong")
# Bytes that each name in an object takes, what describes its array, and each word of a list.
_NAME, _FIELD, _WORD = 500, 1200, 64


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
    size, by_line = 4 * path.stat().st_size, _is_by_line(path)
    if size > memory.COPY_SHARE * memory.budget():
        with path.open("rb") as stream:
            found = _alike(path) if by_line else _in_pieces(path, stream)
            if found and path.suffix.lower() == ".jsonl" and is_record(found.fields):
                found = _alike(path)
            if found is not None:
                yield found
                return
    afford(size, str(path), what="JSON")
    text = read_text(path)
    if by_line:
        lines = [line for line in text.split("\n") if line.strip()]
        content: Any = [parse_json(line, f"{path}: line {i}") for i, line in enumerate(lines, 1)]
        content = by_one_name(content) or content
    else:
        content = parse_json(text, str(path))
        if path.suffix.lower() == ".jsonl" and not is_document(content):
            content = [content]
    if (columns := columns_of(content)) is not None:
        yield _table(path, *columns)
        return
    box, content = _records_in(content) or ("", content)
    if isinstance(content, list) and content and _is_matrix(content):
        content = {"values": content}
    per_item = not are_records(content)
    odd: dict[str, Field] = {}
    if not per_item:
        records: Any = content
        odd = lacking(path, records)
        names = [name for name in records[0] if all(name in row for row in records)]
        content = {name: [row[name] for row in records] for name in names if name not in odd}
        if hold_vectors(content):
            found = _table(path, content)
            yield replace(found, fields={**found.fields, **odd})
            return
        content |= words_inside(records)
    if not isinstance(content, dict):
        raise FormatError(
            f"{path}: is {named([content])}, expected {{id: vector}} or a list of objects with an "
            "id and an embedding"
        )
    fields = {name: _named_field(path, name, value) for name, value in _flat(content)}
    yield Container(path, fields | odd, per_item=per_item, boxed=box)


def _table(path: Path, columns: Mapping[str, list[Any]], nested: bool = False) -> Container:
    """A table of which columns of numbers are the vectors; names of rows are believed last."""
    found = table(path, {name: _named_field(path, name, x) for name, x in columns.items()})
    return replace(found, id_names=(*found.id_names, names_of_rows(columns)), nested=nested)


def _records_in(content: object) -> tuple[str, list[Any]] | None:
    """The records of a document or of lines, and the place of their list, where it has a name."""
    if isinstance(content, dict):
        if rows := rows_of_columns(content, IDS) or rows_of_labels(content):
            return "", rows
        found = records_below(content) or boxed(content)
        return found and (found[0], raised(found[1]))
    return ("", raised(content)) if are_records(content) else None  # type: ignore[arg-type]


def _is_by_line(path: Path) -> bool:
    """Whether a file has a document in each line, by its name and by its first two lines."""
    if path.suffix.lower() == ".jsonl":
        return _has_lines(path)
    with foreign(path, "JSON"), path.open("rb") as stream:
        first = stream.readline(_LONGEST_LINE)
        if not (first.startswith(b"{") and first.rstrip().endswith(b"}") and first[-1:] == b"\n"):
            return False
        return next((line for line in stream if line.strip()), b"")[:1] == b"{"


def _has_lines(path: Path) -> bool:
    """Whether there is more than one line, and the first is no mere bracket."""
    with foreign(path, "JSON"), path.open("rb") as stream:
        pieces = iter(partial(stream.read, _LONGEST_LINE), b"")
        first, ended = b"", False
        for piece in pieces:
            head, line_end, rest = (b"", b"", piece) if ended else piece.lstrip().partition(b"\n")
            first, ended = first or head.strip()[:2], ended or bool(line_end)
            if ended and rest.strip():
                return first not in (b"[", b"{")
    return False


def _flat(
    content: Mapping[str, Any], before: str = "", depth: int = 1
) -> Iterator[tuple[str, Any]]:
    """Names and values; objects of vectors inside each other are groups, as in HDF5."""
    for key, value in content.items():
        name = f"{before}{key}"
        if isinstance(value, dict) and depth < DEEPEST_GROUP and has_vectors(value):
            yield from _flat(value, f"{name}/", depth + 1)
        else:
            yield name, value


def _alike(path: Path) -> Container | None:
    """Many records with the same fields: looked at once, and vectors read again when asked for.

    None where they are not alike, which is said of the whole.
    """
    opened, where = opener(path), str(path)

    def records(start: int = 0, stop: int | None = None) -> Iterator[Any]:
        with opened() as stream:
            lines = (line for line in lines_of(stream, where) if line.strip())
            for number, line in enumerate(islice(lines, start, stop), start + 1):
                yield _one_record(parse_json(line, f"{where}: line {number}"))

    found = _Records(path)
    return found.container(records) if all(map(found.add, records())) else None


def _one_record(line: Any) -> Any:  # noqa: ANN401  anything at all
    """A line as the one record that it comes to; any other line as it is."""
    # One entry alone may be an id with its vectors.
    made = raised([line]) if isinstance(line, dict) and len(line) > 1 else []
    return made[0] if len(made) == 1 else line


def _in_pieces(path: Path, stream: IO[bytes]) -> Container | None:
    """One long document: looked at once, and vectors read again when asked for.

    None where it is of another shape, which is said of the whole.
    """
    where = str(path)
    lists: dict[str, _Records | _Rows] = {}
    places: dict[str, Places] = {}
    vectors, widths = Places(stream, where), array("q")
    fields: dict[str, Field | int] = {}
    size, plain, nested = 0, True, 0
    try:
        for entry in entries(path):
            name, value = "values" if entry.key is None else entry.key, entry.value
            if entry.inside or entry.key is None:
                if name not in lists:
                    lists[name] = _Records(path) if isinstance(value, dict) else _Rows(path, name)
                    places[name] = Places(stream, where)
                    fields[name] = _field(where, None)  # its place among the others
                places[name].add(entry)
                if len(lists) > _MOST_LISTS or not lists[name].add(value):
                    return None
                continue
            if isinstance(value, dict) and (has_vectors(value) or holds_vectors(value)):
                return None
            inner = value.values() if isinstance(value, dict) else [[]]
            nested += not any(isinstance(each, dict | list) for each in inner)
            plain = plain and not (isinstance(value, list) and value) and is_aside(name, value, 0)
            if _is_vector(value) and float in map(type, value):
                if max(value) > _MOST or min(value) < -_MOST:
                    return None  # no float64
                fields[name] = len(widths)
                vectors.add(entry)
                widths.append(len(value))
            else:
                fields[name] = _named_field(path, name, value)
                size += _WORD * len(value) if isinstance(value, list) else 0
            size += _NAME + len(name)
            afford(size, where, what="the text of its entries")
    except NotInPieces:
        return None
    of_records = any(isinstance(found, _Records) for found in lists.values())
    # Objects in an object without a list may be a table.
    if nested == len(fields) or (of_records and not (plain and len(lists) == 1)):
        return None
    for name, found in lists.items():
        if isinstance(found, _Records):
            made = found.container(places[name].values) if found.in_order() else None
            return made and replace(made, boxed="" if fields.keys() == {"values"} else name)
        fields[name] = found.field(places[name].values)
    members, alike = _Members(where, fields, vectors, widths), None
    if (split := split_in_fields(path, members)) is not None:
        return split
    if len(widths) == len(fields) and min(widths) == max(widths):
        alike = _matrix(where, (len(widths), widths[0]), vectors.values)
    else:
        afford(_FIELD * len(fields), where, what="what describes its arrays")
    return Container(path, members, per_item=True, alike=alike)


class _Members(Mapping[str, Field]):
    """The arrays of an object; one vector of many is described when it is asked for."""

    def __init__(
        self, where: str, made: Mapping[str, Field | int], vectors: Places, widths: Sequence[int]
    ) -> None:
        self.where, self.made, self.vectors, self.widths = where, made, vectors, widths

    def __getitem__(self, name: str) -> Field:
        found = self.made[name]
        if isinstance(found, Field):
            return found
        where = f"{self.where}: {named([name])}"
        return _one(where, found, self.widths[found], self.vectors)

    def __iter__(self) -> Iterator[str]:
        return iter(self.made)

    def __len__(self) -> int:
        return len(self.made)


class _Records:
    """What records with the same fields hold: words, and vectors of which the length is known."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.widths: dict[str, int] = {}
        self.words: dict[str, list[Any]] = {}
        self.count = self.size = 0

    def add(self, record: object) -> bool:
        """One more; whether it is like the others."""
        if not isinstance(record, dict):
            return False
        if not self.count:
            self.widths = {name: len(x) for name, x in record.items() if _is_vector(x)}
            self.words = {
                name: [] for name, x in record.items() if type(_unwrapped(x)) in (str, int)
            }
        for name, width in self.widths.items():
            vector = record.get(name)
            if not isinstance(vector, list) or len(vector) != width or not _is_vector(vector):
                return False
        for name, held in self.words.items():
            word = _unwrapped(record.get(name))
            if type(word) not in (str, int):
                return False
            held.append(word)
            self.size += 64 + len(str(word))
        self.count += 1
        afford(self.size, str(self.path), what="the text of its records")
        return bool(self.widths)

    def in_order(self) -> bool:
        """Whether they stand in the order of places that they say they have."""
        kept = [self.words.get(name, []) for name in ("object", "index")]
        rows = zip(*kept, strict=False)
        return not in_another_order([{"object": what, "index": at} for what, at in rows] or [{}])

    def container(self, records: Callable[[int, int], Iterator[Any]]) -> Container | None:
        """Their fields, with vectors out of records that are read again; None without a record."""
        if not self.count:
            return None
        fields = {name: _named_field(self.path, name, x) for name, x in self.words.items()}

        def of(name: str, start: int, stop: int) -> Iterator[Any]:
            return (record[name] for record in records(start, stop))

        for name, width in self.widths.items():
            field = f"{self.path}: {named([name])}"
            fields[name] = _matrix(field, (self.count, width), partial(of, name))
        return Container(self.path, fields, per_item=False)


class _Rows:
    """Rows of numbers of one length."""

    def __init__(self, path: Path, name: str) -> None:
        self.where = f"{path}: {named([name])}"
        self.count = self.width = 0

    def add(self, row: object) -> bool:
        """One more; whether it is like the others."""
        if not isinstance(row, list) or not _is_vector(row):
            return False
        self.width = self.width or len(row)
        self.count += 1
        return len(row) == self.width

    def field(self, rows: Callable[[int, int], Iterator[Any]]) -> Field:
        """The matrix of them, which are read again."""
        return _matrix(self.where, (self.count, self.width), rows)


def _matrix(where: str, shape: tuple[int, int], rows: Callable[[int, int], Iterator[Any]]) -> Field:
    """Rows that are read when they are asked for."""

    def blocks(start: int, stop: int) -> Iterator[np.ndarray]:
        step, found = rows_per_block(_NUMBER * shape[1]), rows(start, stop)
        while part := list(islice(found, step)):
            with foreign(where, "numbers"):
                made = np.array(part, dtype=np.float64)
            part.clear()  # not beside the next ones
            yield made

    return Field(where, shape, np.dtype(np.float64), blocks)


def _one(where: str, row: int, width: int, vectors: Places) -> Field:
    """One vector of many."""

    def blocks(start: int, stop: int) -> Iterator[np.ndarray]:
        for value in vectors.values(row, row + 1):
            with foreign(where, "numbers"):
                made = np.array(value, dtype=np.float64)
            yield made[start:stop]

    return Field(where, (width,), np.dtype(np.float64), blocks)


def _is_vector(value: object) -> bool:
    return isinstance(value, list) and bool(value) and set(map(type, value)) <= {int, float}


def _is_matrix(value: Sequence[object]) -> bool:
    """Whether a list holds rows of numbers and nothing else."""
    return all(isinstance(row, list) and row and is_numbers(row) for row in value)


def _unwrapped(value: Any) -> Any:  # noqa: ANN401  anything at all
    """The text of an id that MongoDB wraps with its type; any other value as it is.

    >>> _unwrapped({"$oid": "5f"}), _unwrapped({"a": "5f"})
    ('5f', {'a': '5f'})
    """
    if isinstance(value, dict) and len(value) == 1:
        ((kind, text),) = value.items()
        if kind in _WRAPS and isinstance(text, str):
            return text
    return value


def _named_field(path: Path, name: str, value: object) -> Field:
    """A value by its name; what is called labels and the like may be of any shape."""
    where = f"{path}: {named([name])}"
    try:
        return _field(where, ids_by_row(name, value) or value)
    except FormatError:
        if name in (*VECTOR_NAMES, *LIST_NAMES) or not is_something_else(name):
            raise
        return empty_field(where, "lists of several lengths, or of more than numbers")


def _field(where: str, value: object) -> Field:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        value = list(map(_unwrapped, value))
    if isinstance(value, list) and _is_words(value):
        array = np.empty(len(value), dtype=object)
        array[:] = value
        if all(isinstance(item, int) for item in value):
            array = np.array(value)
    elif isinstance(value, list) and (frames := _frames(where, value)) is not None:
        return frames
    elif isinstance(value, list) and value and is_numbers(value):
        array = _array(where, value)
    elif isinstance(value, list) and (flags := _flags(value)) is not None:
        array = flags
    elif type(value) is int and abs(value) < _LARGEST:
        one = np.array([value])
        return Field(where, (), one.dtype, lambda start, stop: iter([one[start:stop]]))
    elif value is None or value in ([], {}):
        return empty_field(where)
    else:
        return Field(where, (), np.dtype("V1"), lambda start, stop: iter(()), odd=named([value]))
    return Field(where, array.shape, array.dtype, lambda start, stop: iter([array[start:stop]]))


def _frames(where: str, value: list[Any]) -> Field | None:
    """Items of several numbers of frames; None for anything else, such as as many of each.

    Raises:
        FormatError: a frame that is longer than another.
    """
    counts = {len(item) if isinstance(item, list) else -1 for item in value}
    if len(counts) < 2 or not (widths := widths_of(value)):
        return None
    if len(widths) > 1:
        (item, frame, held), (other, place, here) = widths[:2]
        raise FormatError(
            f"{where}: entry {item}, frame {frame} holds {held:,}, entry {other}, frame {place} "
            f"holds {here:,}; write as many numbers in each frame"
        )
    shape = (len(value), max(counts), widths[0][2])

    def items(start: int, stop: int) -> Iterator[np.ndarray]:
        for item in value[start:stop]:
            with foreign(where, "numbers"):
                made = np.array(item, dtype=np.float64)
            yield made.reshape(len(item), shape[2])

    return padded(where, shape, np.dtype(np.float64), items)


def _flags(value: list[Any]) -> np.ndarray | None:
    """Rows of true and false, all of one length; None for anything else."""
    rows = [row for row in value if isinstance(row, list) and set(map(type, row)) == {bool}]
    if len(rows) < len(value) or len(set(map(len, rows))) != 1:
        return None
    return np.array(rows)


def _array(where: str, value: list[Any]) -> np.ndarray:
    """An array of numbers.

    Raises:
        FormatError: rows of different lengths, or anything else between the numbers.
    """
    with foreign(where, "numbers"):
        try:
            return np.array(value, dtype=np.float64)
        except (ValueError, TypeError) as error:
            odd = _odd_one(value)
            if not odd:
                raise
            raise FormatError(f"{where}: {odd}") from error


def _odd_one(value: list[Any], place: str = "entry", depth: int = 1) -> str:
    """What keeps nested lists from being an array, in words; "" where nothing does."""
    if depth > _DEEPEST:
        return f"holds lists inside each other more than {_DEEPEST} deep, expected rows of numbers"
    if set(map(type, value)) <= {int, float}:
        return ""
    sizes = [len(item) if isinstance(item, list) else -1 for item in value]
    for number, (item, size) in enumerate(zip(value, sizes, strict=True)):
        if size < 0 and not isinstance(item, int | float | None):
            return f"{place} {number} is {named([item])}, expected a number"
        if size != sizes[0]:
            first, here = _held(value[0]), _held(item)
            return f"{place} 0 {first}, {place} {number} {here}; write as many numbers in each"
    lists = (item for item in value if isinstance(item, list))
    each = (_odd_one(x, f"{place} {i}:", depth + 1) for i, x in enumerate(lists))
    return next(filter(None, each), "")


def _held(value: object) -> str:
    """What an entry of a matrix is, in words."""
    if value is None:
        return "holds nothing"
    return f"holds {len(value):,}" if isinstance(value, list) else "is a number"


def _is_words(value: Sequence[object]) -> bool:
    """A list of names; one that is missing is said where the names are read."""
    words = [item for item in value if item is not None]
    return bool(words) and all(isinstance(item, str | int) for item in words)
