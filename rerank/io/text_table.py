"""Tables in text, read a piece at a time, so that a long one costs no more than a short one."""

import contextlib
import csv
import io
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, TypeAlias

from rerank.core.errors import FormatError
from rerank.io.field import afford
from rerank.io.files import check_unpacked, foreign, named, regular_file

_DELIMITERS = "\t,;|"
# Characters of a piece; the cells made of them take several times as much.
_PIECE = 1 << 20
# Longer lines are asked about before they are put together.
_LINE = 1 << 24
# Each takes some time of its own, whatever stands in it.
_MOST_COLUMNS = 50_000
# Bytes that the cells of one row take, for each of its characters.
_CELLS = 30

Rows: TypeAlias = list[list[str]]
Opened: TypeAlias = Callable[[], contextlib.AbstractContextManager[IO[str]]]


@dataclass(frozen=True, eq=False)
class TextTable:
    """A table whose header is known and whose rows are read when asked for.

    Attributes:
        where: the file, for messages.
        header: names of the columns, each once.
        bare: whether the first line is a row already.
    """

    where: str
    header: tuple[str, ...]
    bare: bool
    _opened: Opened
    _delimiter: str

    def pieces(self) -> Iterator[Rows]:
        """All rows, some at a time; the cells as they stand in the file.

        Raises:
            FormatError: no table, or a row of another length than the header.
        """
        with self._opened() as stream:
            rows = _rows(stream, self._delimiter, self.where)
            if not self.bare:
                next(rows, None)
            piece: Rows = []
            left, width = _PIECE, len(self.header)
            for number, row in enumerate(rows, start=1):
                if len(row) != width:
                    raise FormatError(
                        f"{self.where}: row {number} has {len(row)} columns, the first line has "
                        f"{width}"
                    )
                piece.append(row)
                left -= 8 * width + sum(map(len, row))
                if left < 0:
                    yield piece
                    piece, left = [], _PIECE
            if piece:
                yield piece


def open_table(path: Path) -> TextTable:
    """The table in a file of UTF-8, or of UTF-16 that says so.

    Raises:
        FormatError: no table.
    """
    path = regular_file(path)
    with foreign(path, "a text file"), path.open("rb") as stream:
        head = stream.read(8)
    check_unpacked(path, head)
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

    return _table(opened, str(path))


def read_table(text: str, where: str) -> tuple[list[str], Rows]:
    r"""Header and rows of a table in text, by comma, tab or semicolon; a quoted cell may hold them.

    A first line that is all numbers but for its first cell is no header; columns are then called
    "column 0", "column 1", ...

    >>> read_table("id;x\na; 1\n", "here")
    (['id', 'x'], [['a', '1']])
    >>> read_table("a,.5\nb,2\n", "here")
    (['column 0', 'column 1'], [['a', '.5'], ['b', '2']])

    Raises:
        FormatError: no table, or a row of another length than the header.
    """
    table = _table(partial(io.StringIO, text, newline=""), where)
    rows = [[cell.strip() for cell in row] for piece in table.pieces() for row in piece]
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
        header = [cell.strip() for cell in next(_rows(stream, delimiter, where), [])]
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
    header = [
        f"column {number}" if bare or not name else name for number, name in enumerate(header)
    ]
    if len(set(header)) < len(header):
        twice = next(name for name, often in Counter(header).items() if often > 1)
        raise FormatError(f"{where}: the column {named([twice])} is there twice; rename one")
    return TextTable(where, tuple(header), bare, below, delimiter)


def _first_line(stream: IO[str], where: str) -> tuple[str, int]:
    """The line of the header, and the number of lines with remarks (# ...) before it."""
    remark = ""
    for number, line in enumerate(_lines(stream, where)):
        if not line.strip():
            continue
        cells = any(map(line.count, _DELIMITERS))
        if line.startswith("#") and not cells:
            remark = remark or line
        elif remark and not cells:
            break  # one column throughout, whose name begins so
        else:
            return line, number if remark else 0
    return remark, 0


def _lines(stream: IO[str], where: str) -> Iterator[str]:
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

    def __init__(self, stream: IO[str], where: str) -> None:
        self.lines, self.where, self.size = _lines(stream, where), where, 0

    def __iter__(self) -> "_Held":
        return self

    def __next__(self) -> str:
        line = next(self.lines)
        self.size += len(line)
        if self.size > _LINE:
            afford(_CELLS * self.size, self.where, what="a single row")
        return line


def _rows(stream: IO[str], delimiter: str, where: str) -> Iterator[list[str]]:
    """Rows that hold something."""
    held = _Held(stream, where)
    reader: Any = csv.reader(held, delimiter=delimiter, strict=True)
    while True:
        held.size = 0
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise FormatError(f"{where}: is not a valid table: {error}") from error
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


def _is_count(cells: Sequence[str]) -> bool:
    """Whether cells are 0, 1, 2, ...: the names that pandas gives to the columns of an array."""
    start = cells[0]
    return start in ("0", "1") and list(cells) == [str(int(start) + i) for i in range(len(cells))]
