"""Tables in text, comma or tab: one row an item, its id and its numbers."""

import contextlib
import csv
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from rerank.core.errors import FormatError
from rerank.io.container import ID_NAMES, MORE_ID_NAMES, Container
from rerank.io.field import Field, afford
from rerank.io.files import named, read_text
from rerank.io.formats.registry import file_format
from rerank.io.number_columns import vectors_among

_ID_NAMES = {name for tier in (ID_NAMES, *MORE_ID_NAMES) for name in tier}


@file_format(
    "csv",
    help="a table in text: an id and one column for each number, or a column of JSON lists",
    endings=(".csv", ".tsv"),
    order=7,
)
@contextlib.contextmanager
def open_csv(path: Path) -> Iterator[Container]:
    r"""A table with a header. Columns of numbers are gathered in the array "values".

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "v.csv"
    >>> _ = path.write_text("id,0,1\na,.5,1\nb,2,3\n")
    >>> with open_csv(path) as found:
    ...     sorted(found.fields), found.columns
    (['id', 'values'], ('0', '1'))
    """
    afford(8 * path.stat().st_size, str(path), what="a table in text")
    header, rows = read_table(read_text(path), str(path))
    if not rows:
        raise FormatError(f"{path}: is a table without a row below its header")
    fields: dict[str, Field] = {}
    numbers: dict[str, np.ndarray] = {}
    numbered: Field | None = None
    for number, name in enumerate(header):
        cells = [row[number] for row in rows]
        where = f"{path}: column {named([name])}"
        made = None if name in _ID_NAMES else _numbers(cells)
        if number == 0 and _names_rows(name, cells, rows):
            # The names that pandas gives to rows, or ids that are whole numbers.
            numbered = _texts(cells, where)
        elif made is not None:
            numbers[name] = made
        else:
            fields[name] = _lists(cells, where) or _texts(cells, where)
    texts = [name for name, item in fields.items() if item.kind == "text"]
    if len(texts) == 1 and texts[0] not in _ID_NAMES:
        fields["ids"] = fields[texts[0]]
    elif not texts and numbered is not None:
        fields["ids"] = numbered
    vectors = None
    if numbers:
        where = f"{path}: its columns of numbers"
        matrix = np.stack(list(numbers.values()), axis=1)
        fields.setdefault("values", _held(matrix, where))
        found = vectors_among(list(numbers))
        if found is not None and fields["values"].where == where:
            parts = {name: _held(matrix[:, list(at)], where) for name, at in found.items()}
            others = {name: item for name, item in fields.items() if name != "values"}
            vectors = {**others, **parts}
    yield Container(path, fields, per_item=False, columns=tuple(numbers), vectors=vectors)


def _names_rows(name: str, cells: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Whether a first column without a name has whole numbers, each once, beside columns of others.

    >>> _names_rows("column 0", ["7", "9"], [["7", ".5"], ["9", ".25"]])
    True
    >>> _names_rows("column 0", ["7", "9"], [["7", "5"], ["9", "2"]])
    False
    """
    if name not in ("column 0", "Unnamed: 0") or not all(cell.isdecimal() for cell in cells):
        return False
    others = (cell for row in rows for cell in row[1:])
    return len(set(cells)) == len(cells) and not all(cell.isdecimal() for cell in others)


def read_table(text: str, where: str) -> tuple[list[str], list[list[str]]]:
    r"""Header and rows of a table in text, by comma, tab or semicolon; a quoted cell may hold them.

    A first line that is all numbers but for its first cell is no header; columns are then called
    "column 0", "column 1", ...

    >>> read_table("id;x\na;1\n", "here")
    (['id', 'x'], [['a', '1']])
    >>> read_table("a,.5\nb,2\n", "here")
    (['column 0', 'column 1'], [['a', '.5'], ['b', '2']])

    Raises:
        FormatError: no table, or a row of another length than the header.
    """
    first = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = max("\t,;|", key=first.count)
    try:
        table = [
            [cell.strip() for cell in row]
            for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
            if row
        ]
    except csv.Error as error:
        raise FormatError(f"{where}: is not a valid table: {error}") from error
    if not table:
        raise FormatError(f"{where}: is a table without a row")
    header = table[0]
    bare = len(header) > 1 and _numbers(header[1:]) is not None and not _is_count(header[1:])
    if bare:
        header = [f"column {number}" for number in range(len(header))]
    else:
        header = [name or f"column {number}" for number, name in enumerate(header)]
        table = table[1:]
    for number, row in enumerate(table, start=1):
        if len(row) != len(header):
            raise FormatError(
                f"{where}: row {number} has {len(row)} columns, the first line has {len(header)}"
            )
    twice = next((name for name in header if header.count(name) > 1), None)
    if twice is not None:
        raise FormatError(f"{where}: the column {named([twice])} is there twice; rename one")
    return header, table


def _is_count(cells: Sequence[str]) -> bool:
    """Whether cells are 0, 1, 2, ...: the names that pandas gives to the columns of an array."""
    start = cells[0]
    return start in ("0", "1") and list(cells) == [str(int(start) + i) for i in range(len(cells))]


def _numbers(cells: Sequence[str]) -> np.ndarray | None:
    try:
        return np.array([float(cell) for cell in cells])
    except ValueError:
        return None


def _lists(cells: Sequence[str], where: str) -> Field | None:
    """A column of JSON lists of numbers, as pandas writes a column of vectors."""
    if not all(cell.startswith("[") and cell.endswith("]") for cell in cells):
        return None
    try:
        # numpy writes vectors without commas.
        rows = [
            json.loads(cell) if "," in cell or " " not in cell.strip("[] ")
            else [float(x) for x in cell.strip("[]").split()]
            for cell in cells
        ]  # fmt: skip
        matrix = np.array(rows, dtype=np.float64)
    except (ValueError, TypeError, RecursionError):
        return None
    return _held(matrix, where) if matrix.ndim == 2 else None


def _texts(cells: Sequence[str], where: str) -> Field:
    array = np.empty(len(cells), dtype=object)
    array[:] = cells
    return _held(array, where)


def _held(array: np.ndarray, where: str) -> Field:
    """An array that is in memory already."""
    return Field(where, array.shape, array.dtype, lambda start, stop: iter([array[start:stop]]))
