"""Tables in text, read a piece at a time, so that a long one costs no more than a short one."""

import contextlib
import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np

from rerank.core.errors import FormatError
from rerank.io.container import ID_NAMES, MORE_ID_NAMES
from rerank.io.field import afford
from rerank.io.files import check_known, check_unpacked, foreign, named, read_text, regular_file
from rerank.io.foreign_kinds import HEAD, foreign_kind
from rerank.io.lines import lines_in

_DELIMITERS = "\t,;|"
# Characters of a piece; the cells made of them take several times as much.
_PIECE = 1 << 21
# Longer lines are asked about before they are put together.
_LINE = 1 << 24
# Each takes some time of its own, whatever stands in it.
_MOST_COLUMNS = 50_000
# Arrow counts bytes of a block in 32 bits.
_LONGEST = 1 << 30
# Bytes that the cells of one row take, for each of its characters.
_CELLS = 30

_ID_NAMES = {name for tier in (ID_NAMES, *MORE_ID_NAMES) for name in tier}

# What spreadsheets put before a table.
SEPARATOR = re.compile(r'"?sep=."?')

Rows: TypeAlias = list[list[str]]
Opened: TypeAlias = Callable[[], contextlib.AbstractContextManager[IO[str]]]


@dataclass(frozen=True, eq=False)
class TextTable:
    """A table whose header is known and whose rows are read when asked for.

    Attributes:
        where: the file, for messages.
        header: names of the columns, each once.
        bare: whether the first line is a row already.
        texts: places of the columns that such a line has beside its numbers.
    """

    where: str
    header: tuple[str, ...]
    bare: bool
    _opened: Opened
    _delimiter: str
    texts: tuple[int, ...] = ()

    def pieces(self) -> Iterator["Piece"]:
        """All rows, some at a time; the cells as they stand in the file.

        Raises:
            FormatError: no table.
        """
        with self._opened() as stream:
            held = _Held(lines_of(stream, self.where), self.where)
            rows = _rows(held, self._delimiter)
            if not self.bare:
                next(rows, None)
            number = 1
            while (piece := self._piece(held, rows, number)) is not None:
                yield piece
                number += piece.count

    def _piece(self, held: "_Held", rows: Iterator[list[str]], number: int) -> "Piece | None":
        """The next rows: as lines, or taken apart where cells hold line ends or quotes."""
        lines: list[str] = []
        cells: Rows = []
        left, width = _PIECE, len(self.header)
        # A cell in quotes, without a quote in it.
        quoted = re.compile(rf'"(?<![^{self._delimiter}]")[^"]*"(?![^{self._delimiter}\r\n])')
        while left > 0:
            held.size = 0
            line = next(held, None)
            if line is None:
                break
            if line in ("\n", "\r", "\r\n"):
                continue
            left -= 8 * width + len(line)
            if cells or '"' in line and '"' in quoted.sub("", line):
                cells += _rows(_Held(iter(lines), self.where), self._delimiter)
                lines, held.back = [], line
                cells.append(next(rows))
            else:
                lines.append(line)
        if not lines and not cells:
            return None
        return Piece(self.where, width, self._delimiter, number, lines, cells)


@dataclass(frozen=True, eq=False)
class Piece:
    """Some rows of a table, taken apart as far as somebody asks.

    Attributes:
        where: the file, for messages.
        width: the columns of its header.
        delimiter: what stands between cells.
        number: of its first row, from 1.
        lines: rows as they stand in the file, or none, and instead
        cells: rows that were taken apart.
    """

    where: str
    width: int
    delimiter: str
    number: int
    lines: list[str]
    cells: Rows

    @property
    def count(self) -> int:
        """How many rows."""
        return len(self.lines) or len(self.cells)

    @cached_property
    def rows(self) -> Rows:
        """The cells.

        Raises:
            FormatError: no table, or a row of another length than the header.
        """
        rows = self.cells or list(_rows(_Held(iter(self.lines), self.where), self.delimiter))
        for number, row in enumerate(rows, start=self.number):
            if len(row) != self.width:
                raise FormatError(
                    f"{self.where}: row {number} has {len(row)} columns, the first line has "
                    f"{self.width}"
                )
        return rows

    def column(self, place: int) -> list[str]:
        """The cells of one column."""
        if not self.cells and not any('"' in line for line in self.lines):
            parts = [line.rstrip("\r\n").split(self.delimiter, place + 1) for line in self.lines]
            if min(map(len, parts)) > place:
                return [part[place] for part in parts]
        found = self._by_arrow([place], "string")
        return [row[place] for row in self.rows] if found is None else found.column(0).to_pylist()

    def numbers(self, places: Sequence[int]) -> np.ndarray | None:
        """Columns of numbers, (rows, places) float64, by a fast reader: that of Arrow.

        None where it is not there, or where any cell is no number.
        """
        found = self._by_arrow(places, "float64")
        if found is None:
            return None
        made = np.empty((self.count, len(places)))
        for at, column in enumerate(found.columns):
            made[:, at] = column.to_numpy()
        # Arrow takes nan(1) for a number, which Python does not.
        odd = np.isnan(made).any() and any("(" in line for line in self.lines)
        return None if odd else made

    def _by_arrow(self, places: Sequence[int], kind: str) -> Any:  # noqa: ANN401  a pyarrow.Table, or None
        """Columns of one type; None where cells or rows are not of it, for the slow reader."""
        if not self.lines or not places or "rows" in self.__dict__:
            return None
        try:
            import pyarrow as pa
            from pyarrow import csv as arrow
        except ImportError:
            return None
        data = "".join(self.lines).encode()
        if len(data) >= _LONGEST:
            return None
        names = [f"f{place}" for place in range(self.width)]
        wanted = [names[place] for place in places]
        reading = arrow.ReadOptions(
            use_threads=False, column_names=names, block_size=len(data) + 1
        )  # fmt: skip
        types = arrow.ConvertOptions(
            include_columns=wanted, column_types=dict.fromkeys(wanted, kind), null_values=[]
        )
        try:
            found = arrow.read_csv(
                pa.BufferReader(data), read_options=reading, convert_options=types,
                parse_options=arrow.ParseOptions(delimiter=self.delimiter),
            )  # fmt: skip
        except (pa.ArrowException, ValueError):
            return None
        return found if found.num_rows == self.count else None


def open_table(path: Path) -> TextTable:
    """The table in a file of UTF-8, or of UTF-16 that says so.

    Raises:
        FormatError: no table.
    """
    return _table(opener(path), str(path))


def opener(path: Path) -> Opened:
    """Opens a file of UTF-8, or of UTF-16 that says so, line ends as they are, as often as asked.

    Raises:
        FormatError: no ordinary file, or a packed one; while it is open, one of another encoding.
    """
    path = regular_file(path)
    with foreign(path, "a text file"), path.open("rb") as stream:
        head = stream.read(HEAD)
    check_unpacked(path, head)
    check_known(path, foreign_kind(head))
    encoding = "utf-16" if head.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"

    @contextlib.contextmanager
    def opened() -> Iterator[IO[str]]:
        with contextlib.ExitStack() as stack:
            with foreign(path, "a text file"):
                stream = stack.enter_context(path.open(encoding=encoding, newline=""))
            try:
                yield stream
            except UnicodeDecodeError as error:
                raise FormatError(
                    f"{path}: line {_undecodable(path, encoding)} is not UTF-8; save the file as "
                    "UTF-8"
                ) from error

    return opened


def two_columns(path: Path, what: str) -> list[tuple[str, str]]:
    """The rows of a table of two columns, by tab or comma, its first line included.

    Args:
        path: of text.
        what: a row is, for messages, as "an id and its number".

    Raises:
        FormatError: a row of more or of fewer, or no table.
    """
    lines = lines_in(read_text(path), path)
    mark = "\t" if lines and "\t" in lines[0] else ","
    found: list[tuple[str, str]] = []
    try:
        for row in csv.reader(lines, delimiter=mark):
            if not row:
                continue
            if len(row) != 2:
                cells = f"{len(row)} column{'' if len(row) == 1 else 's'}"
                raise FormatError(f"{path}: row {len(found) + 1} is not {what}: it has {cells}")
            found.append((row[0], row[1]))
    except csv.Error as error:
        raise FormatError(f"{path}: row {len(found) + 1} is not {what}: {error}") from error
    return found


def read_table(text: str, where: str) -> tuple[list[str], Rows]:
    r"""Header and rows of a table in text, by comma, tab or semicolon; a quoted cell may hold them.

    A first line that is all numbers but for its first cell is no header; columns are then called
    "column 0", "column 1", ...

    >>> read_table("id;x\na; 1\n", "here")
    (['id', 'x'], [['a', '1']])
    >>> read_table("sep=;\nid;x\na; 1\n", "here")
    (['id', 'x'], [['a', '1']])
    >>> read_table("a,.5\nb,2\n", "here")
    (['column 0', 'column 1'], [['a', '.5'], ['b', '2']])

    Raises:
        FormatError: no table, or a row of another length than the header.
    """
    table = _table(partial(io.StringIO, text, newline=""), where)
    rows = [[cell.strip() for cell in row] for piece in table.pieces() for row in piece.rows]
    return list(table.header), rows


def _table(opened: Opened, where: str) -> TextTable:
    with opened() as stream:
        first, skipped = _first_line(stream, where)
    delimiter = max(_DELIMITERS, key=first.count)

    @contextlib.contextmanager
    def below() -> Iterator[IO[str]]:
        with opened() as stream:
            for _ in range(skipped):
                stream.readline()
            yield stream

    with below() as stream:
        rows = _rows(_Held(lines_of(stream, where), where), delimiter)
        header, second = ([cell.strip() for cell in next(rows, [])] for _ in range(2))
    if not header:
        raise FormatError(f"{where}: is a table without a row")
    if len(header) > _MOST_COLUMNS:
        raise FormatError(
            f"{where}: has {len(header):,} columns, and tables in text are read up to "
            f"{_MOST_COLUMNS:,}; save a matrix as .npy or .npz"
        )
    # numpy.savetxt puts it in front of the names.
    header[0] = header[0].removeprefix("#").strip()
    bare = len(header) > 1 and all(map(is_number, header[1:])) and not _is_count(header[1:])
    bare = bare and not _are_names(header[1:], second[1:])
    texts = (0,) if bare else _texts_of_row(header, second)
    bare = bare or bool(texts)
    header = [
        f"column {number}" if bare or not name else name for number, name in enumerate(header)
    ]
    if len(set(header)) < len(header):
        twice = next(name for name, often in Counter(header).items() if often > 1)
        raise FormatError(f"{where}: the column {named([twice])} is there twice; rename one")
    return TextTable(where, tuple(header), bare, below, delimiter, texts)


def _texts_of_row(first: Sequence[str], second: Sequence[str]) -> tuple[int, ...]:
    """Where a first line that is a row like the second has text; () where it is a header.

    >>> _texts_of_row([".5", "1.5", "v0"], [".25", "3.5", "v1"])
    (2,)
    >>> _texts_of_row(["0", "1", "id"], [".25", "3.5", "v1"])
    ()
    """
    numbers = [at for at, cell in enumerate(first) if is_number(cell)]
    texts = tuple(at for at, cell in enumerate(first) if not is_number(cell))
    if len(second) != len(first) or len(numbers) < 2 or len(numbers) <= len(texts):
        return ()
    cells, below = ([row[at] for at in numbers] for row in (first, second))
    if any(first[at].lower() in _ID_NAMES for at in texts):
        return ()
    alike = all(is_number(cell) or not cell for cell in below) and not any(
        is_number(second[at]) for at in texts
    )
    if not alike or _is_count(cells) or _are_names(cells, below):
        return ()
    # Names of columns are whole numbers; of those a name that differs by its digits is a row's.
    halves = 2 * sum(not cell.lstrip("+-").isdecimal() for cell in cells) > len(cells)
    counted = any(_pattern(first[at]) == _pattern(second[at]) for at in texts)
    return texts if halves or (counted and texts) else ()


def _pattern(cell: str) -> str:
    return re.sub(r"\d+", "0", cell)


def _first_line(stream: IO[str], where: str) -> tuple[str, int]:
    """The line of the header, and the number of lines with remarks (# ..., sep=;) before it."""
    remark = ""
    for number, line in enumerate(lines_of(stream, where)):
        if not line.strip():
            continue
        cells = any(map(line.count, _DELIMITERS))
        if line.startswith("#") and not cells or not number and SEPARATOR.fullmatch(line.strip()):
            remark = remark or line
        elif remark and not cells:
            break  # one column throughout, whose name begins so
        else:
            return line, number if remark else 0
    return remark, 0


def lines_of(stream: IO[str], where: str) -> Iterator[str]:
    """Lines with their ends, none put together that this run may not hold."""
    while line := stream.readline(_LINE):
        while len(line) >= _LINE and not line.endswith(("\n", "\r")):
            afford(_CELLS * len(line), where, what="a single line")
            more = stream.readline(_LINE)
            line += more
            if not more:
                break
        yield line


class _Held:
    """Lines handed on, and how much of them the row that is being read holds."""

    def __init__(self, lines: Iterator[str], where: str) -> None:
        self.lines, self.where, self.size = lines, where, 0
        self.back: str | None = None  # a line that was looked at only

    def __iter__(self) -> "_Held":
        return self

    def __next__(self) -> str:
        line, self.back = self.back, None
        if line is None:
            line = next(self.lines)
        self.size += len(line)
        if self.size > _LINE:
            afford(_CELLS * self.size, self.where, what="a single row")
        return line


def _rows(held: _Held, delimiter: str) -> Iterator[list[str]]:
    """Rows that hold something."""
    reader: Any = csv.reader(held, delimiter=delimiter, strict=True)
    while True:
        held.size = 0
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise FormatError(f"{held.where}: is not a valid table: {error}") from error
        if row is None:
            return
        if row:
            yield row


def _undecodable(path: Path, encoding: str) -> int:
    """The number of the first line that cannot be decoded."""
    if encoding == "utf-16":
        return 1
    with path.open("rb") as stream:
        for number, line in enumerate(iter(partial(stream.readline, _LINE), b""), start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return number
    return 1


def is_number(cell: str) -> bool:
    """Whether a cell is a number.

    >>> is_number("1e-3"), is_number("7_1")
    (True, False)
    """
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell  # which Python takes for the mark of thousands


def _are_names(header: Sequence[str], below: Sequence[str]) -> bool:
    """Whether whole numbers, each another, stand over numbers that are none: ids of columns.

    >>> _are_names(["7", "12", "3"], [".5", "2", "1"]), _are_names(["7", "12", "3"], list("521"))
    (True, False)
    """
    whole = len(header) > 2 and all(map(str.isdecimal, header)) and len(set(header)) == len(header)
    cells = [cell for cell in below if cell]
    return whole and all(map(is_number, cells)) and not all(map(str.isdecimal, cells))


def _is_count(cells: Sequence[str]) -> bool:
    """Whether cells are 0, 1, 2, ...: the names that pandas gives to the columns of an array."""
    start = cells[0]
    return start in ("0", "1") and list(cells) == [str(int(start) + i) for i in range(len(cells))]
