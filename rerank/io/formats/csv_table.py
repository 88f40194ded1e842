"""Tables in text, comma or tab: one row an item, its id and its numbers."""

import contextlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from rerank.core import memory
from rerank.core.errors import FormatError
from rerank.io.container import ID_NAMES, MORE_ID_NAMES, Container
from rerank.io.field import Field
from rerank.io.files import named
from rerank.io.formats.registry import file_format
from rerank.io.frames.meanings import is_frame_number
from rerank.io.number_columns import counted, torn, vectors_among
from rerank.io.place_names import says_places
from rerank.io.several_vectors import tells_vectors_apart
from rerank.io.side_words import names_one_side
from rerank.io.split_flags import word_of_flags
from rerank.io.splits import is_named_like_splits
from rerank.io.text_table import Piece, Rows, TextTable, is_number, open_table

_COMMA = re.compile(r"[-+]?\d+,\d+(e[-+]?\d+)?", re.IGNORECASE)
# Fewer numbers in a cell are no vector for certain.
_FEW = 8
# What numbers beside vectors may say of the rows, by their names.
_SAYS_OF_ROWS = (
    says_places, is_named_like_splits, word_of_flags, is_frame_number, tells_vectors_apart,
)  # fmt: skip
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

    All rows are looked at once; of a long table nothing is kept, and its rows are read again where
    they are asked for. An empty cell among numbers is a missing number.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "v.csv"
    >>> _ = path.write_text("id,0,1\na,.5,1\nb,2,3\n")
    >>> with open_csv(path) as found:
    ...     sorted(found.fields), found.columns
    (['id', 'values'], ('0', '1'))

    Vectors as lists in one column, as pandas writes them:

    >>> _ = path.write_text('id,clip\na,"[.5, 1]"\nb,"[2, 3]"\n'.replace("[.", "[0."))
    >>> with open_csv(path) as found:
    ...     found.fields["clip"].describe()
    '2x2 float64'
    """
    columns = _Columns(open_table(path))
    if not columns.count:
        raise FormatError(f"{path}: is a table without a row below its header")
    columns.check()
    header = columns.table.header
    numbers = [place for place in columns.numbers if place or not columns.names_rows]
    gathered = set(columns.numbers)
    fields: dict[str, Field] = {}
    numbered: Field | None = None
    for place, name in enumerate(header):
        where = f"{path}: column {named([name])}"
        if place == 0 and columns.names_rows:
            # The names that pandas gives to rows, or ids that are whole numbers.
            numbered = columns.texts(place, where)
            if names_one_side(name):
                fields[name] = numbered
        elif place in columns.lists:
            fields[name] = columns.vectors(place, where)
        elif place not in gathered:
            fields[name] = columns.texts(place, where)
    texts = [name for name, item in fields.items() if item.kind == "text"]
    if len(texts) == 1 and texts[0] not in _ID_NAMES:
        fields["ids"] = fields[texts[0]]
    elif not texts and numbered is not None:
        fields["ids"] = numbered
    names = tuple(header[place] for place in numbers)
    vectors = None
    if numbers:
        where = f"{path}: its columns of numbers"
        fields.setdefault("values", columns.matrix(numbers, where))
        found = vectors_among(names)
        if found is not None and fields["values"].where == where:
            parts = {
                name: columns.matrix([numbers[i] for i in at], where) for name, at in found.items()
            }
            others = {name: item for name, item in fields.items() if name != "values"}
            vectors = {**others, **parts}
    numbering = {
        name: columns.matrix([place], f"{path}: column {named([name])}")
        for place, name in enumerate(header)
        if place in gathered
        and any(says(name) for says in _SAYS_OF_ROWS)
    }  # fmt: skip
    if numbered is not None:
        numbering[header[0]] = numbered
    yield Container(path, fields, per_item=False, columns=names, vectors=vectors, numbers=numbering)


@dataclass(frozen=True, eq=False)
class _Kept:
    """Some rows that stay: columns of numbers, columns of vectors, and the cells of all others."""

    count: int
    numbers: np.ndarray
    lists: dict[int, np.ndarray]
    texts: dict[int, np.ndarray]

    @property
    def size(self) -> int:
        """Bytes that it takes, about."""
        letters = sum(64 + len(cell) for cells in self.texts.values() for cell in cells)
        return self.numbers.nbytes + sum(part.nbytes for part in self.lists.values()) + letters


@dataclass(frozen=True)
class _Unlike:
    """Why a column of lists is no matrix."""

    odd: str
    fix: str = "all rows need the same length"


@dataclass
class _Columns:
    """What every column of a table holds, found in one walk over all rows.

    Attributes:
        table: the rows.
        count: how many there are.
        numbers: places of the columns in which every cell is a number or empty.
        filled: places of those with a number at least.
        lists: place -> length of the lists of numbers of a column.
        unlike: place -> what is wrong with the lists of a column.
        cells: place -> the first row whose cell is no number, and that cell.
        mixed: places of those with numbers and other cells.
        names_rows: whether the first column has whole numbers that name the rows.
        kept: the rows, where the table is small.
        fresh: place -> the lists of the piece that was looked at last.
    """

    table: TextTable
    count: int = 0
    numbers: list[int] = field(default_factory=list)
    filled: set[int] = field(default_factory=set)
    lists: dict[int, int] = field(default_factory=dict)
    unlike: dict[int, _Unlike] = field(default_factory=dict)
    cells: dict[int, tuple[int, str]] = field(default_factory=dict)
    mixed: set[int] = field(default_factory=set)
    names_rows: bool = False
    kept: list[_Kept] | None = field(default_factory=list)
    fresh: dict[int, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        header = self.table.header
        self.numbers = [place for place, name in enumerate(header) if name not in _ID_NAMES]
        self.names_rows = header[0] in ("column 0", "Unnamed: 0") or names_one_side(header[0])
        seen: set[str] = set()
        counts, left = True, memory.COPY_SHARE * memory.budget()
        for piece in self.table.pieces():
            known = (self.numbers, dict(self.lists))
            made = self._find(piece)
            if self.names_rows:
                # Whole numbers, each once, beside columns of others.
                cells = [cell.strip() for cell in piece.column(0)]
                seen.update(cells)
                self.names_rows = len(seen) == self.count and all(map(str.isdecimal, cells))
                beside = [at for at in range(1, len(header)) if at not in self.table.texts]
                counts = (
                    counts and self.names_rows
                    and all(row[at].strip().isdecimal() for row in piece.rows for at in beside)
                )  # fmt: skip
            if self.count > piece.count and known != (self.numbers, self.lists):
                self.kept = None  # what was kept lacks a column of text
            if self.kept is not None:
                kept = self._keep(piece, made)
                left -= kept.size
                self.kept = [*self.kept, kept] if left > 0 else None
        self.names_rows = self.names_rows and not counts
        if not self.filled.issuperset(self.numbers):
            self.numbers = [place for place in self.numbers if place in self.filled]
            self.kept = None

    def _find(self, piece: Piece) -> np.ndarray:
        """Look at some more rows; their columns of numbers."""
        first = self.count == 0
        self.fresh = {}
        before = set(self.numbers)
        self.numbers, filled, cells, made = _numeric(piece, self.numbers)
        self.filled |= filled
        self.cells |= {place: (self.count + row, cell) for place, (row, cell) in cells.items()}
        if not first:  # what comes now was numbers before
            self.mixed |= set(cells)
        self.mixed |= {at for at in cells if any(map(is_number, piece.column(at)))}
        asked = set(range(len(self.table.header))) - set(self.numbers) if first else set(self.lists)
        # Lists that stand where numbers were before are text.
        for place in sorted(asked - (set() if first else before)):
            self._find_lists(place, piece.column(place))
        self.count += piece.count
        return made

    def _find_lists(self, place: int, cells: list[str]) -> None:
        width = self.lists.pop(place, 0)
        found = _as_matrix(cells)
        if found is not None and width in (0, found.shape[1]):
            self.lists[place] = found.shape[1]
            self.fresh[place] = found
            return
        for number, cell in enumerate(map(str.strip, cells)):
            if cell.startswith("[") and cell.endswith("]") and "..." in cell:
                self.unlike[place] = _Unlike(
                    f"text in which numpy left numbers out ('...', row {self.count + number})",
                    "save .tolist() of every vector",
                )
                return
            found = _list_of(cell)
            if found is None:
                if 2 * sum(map(_is_listed, cells)) > len(cells):
                    self.unlike[place] = _Unlike(
                        f"without a list of numbers in row {self.count + number}, which holds "
                        f"{named([cell]) if cell else 'nothing'}",
                        "give it one, or leave that row out",
                    )
                return
            width = width or len(found)
            if len(found) != width:
                self.unlike[place] = _Unlike(
                    f"made of lists of several lengths: {width} in row 0, {len(found)} in row "
                    f"{self.count + number}"
                )
                return
        self.lists[place] = width

    def check(self) -> None:
        """Refuse columns that are numbers of one vector by their names, but of which some are none.

        Left out without a word, they would make the vectors shorter.
        """
        header, numbers = self.table.header, set(self.numbers)
        commas = {at for at, (_, cell) in self.cells.items() if _COMMA.fullmatch(cell.strip())}
        counting = {at for run in counted(header).values() for at in run}
        place = torn(header, numbers | commas, self.cells.keys() - self.mixed - commas)
        if self.table.bare:
            # All other columns begin with a number.
            left = numbers.union(self.table.texts)
            place = next((at for at in range(len(header)) if at not in left), None)
        elif place is None and (commas & counting or not (counting or self.lists)):
            place = min(commas, default=None)
        elif place is None and not (numbers or self.lists):
            # One row without numbers, in a table of them.
            rows = {self.cells[at][0] for at in counting if at in self.mixed}
            place = min(counting) if len(rows) == 1 and counting <= self.mixed else None
        if place is None:
            return
        row, cell = self.cells.get(place, (0, ""))
        what, fix = "no number", "correct the cell"
        if place in commas:
            what, fix = "a number with a decimal comma", "save the table with decimal points"
        raise FormatError(
            f"{self.table.where}: column {named([header[place]])}: row {row} holds "
            f"{named([cell])}, {what}, and columns beside it are numbers of a vector; {fix}"
        )

    def _keep(self, piece: Piece, made: np.ndarray) -> _Kept:
        texts = set(range(len(self.table.header))) - set(self.numbers) - set(self.lists)
        if self.names_rows:
            texts.add(0)
        return _Kept(
            piece.count,
            made,
            {at: self.fresh[at] if at in self.fresh else _lists(piece, at) for at in self.lists},
            {place: _texts(piece, place) for place in sorted(texts)},
        )

    def _walk(
        self, start: int, stop: int, kept: Callable[[_Kept], Any], make: Callable[[Piece], Any]
    ) -> Iterator[Any]:
        """Something of rows start..stop: out of what was kept, or made of the file."""
        at = 0
        for piece in self.kept if self.kept is not None else self.table.pieces():
            low, high = max(start - at, 0), min(stop - at, piece.count)
            if low < high:
                found = kept(piece) if isinstance(piece, _Kept) else make(piece)
                yield found[low:high]
            at += piece.count
            if at >= stop:
                return

    def matrix(self, places: Sequence[int], where: str) -> Field:
        """Columns of numbers side by side."""
        rank = {place: number for number, place in enumerate(self.numbers)}
        at = [rank[place] for place in places]
        columns = slice(at[0], at[-1] + 1) if at == list(range(at[0], at[-1] + 1)) else at

        def blocks(start: int, stop: int) -> Iterator[np.ndarray]:
            return self._walk(
                start, stop, lambda kept: kept.numbers[:, columns],
                lambda piece: _numbers(piece, places),
            )  # fmt: skip

        named_so = () if self.table.bare else tuple(self.table.header[place] for place in places)
        shape = (self.count, len(places))
        return Field(where, shape, np.dtype(np.float64), blocks, columns=named_so)

    def vectors(self, place: int, where: str) -> Field:
        """A column of lists of numbers."""

        def blocks(start: int, stop: int) -> Iterator[np.ndarray]:
            return self._walk(
                start, stop, lambda kept: kept.lists[place], lambda piece: _lists(piece, place)
            )

        shape = (self.count, self.lists[place])
        return Field(where, shape, np.dtype(np.float64), blocks)

    def texts(self, place: int, where: str) -> Field:
        """A column of text; the cells without blanks around them."""
        wrong = self.unlike.get(place)
        if wrong is not None:
            return Field(
                where, (self.count,), np.dtype("V1"), lambda start, stop: iter(()), odd=wrong.odd,
                fix=wrong.fix,
            )  # fmt: skip

        def blocks(start: int, stop: int) -> Iterator[np.ndarray]:
            return self._walk(
                start, stop, lambda kept: kept.texts[place], lambda piece: _texts(piece, place)
            )

        return Field(where, (self.count,), np.dtype(object), blocks)


def _numbers(piece: Piece, places: Sequence[int]) -> np.ndarray:
    found = piece.numbers(places)
    return _matrix(piece.rows, places) if found is None else found


def _lists(piece: Piece, place: int) -> np.ndarray:
    cells = piece.column(place)
    found = _as_matrix(cells)
    return np.array([_list_of(cell.strip()) for cell in cells]) if found is None else found


def _texts(piece: Piece, place: int) -> np.ndarray:
    return np.array([*map(str.strip, piece.column(place))], dtype=object)


def _numeric(
    piece: Piece, places: list[int]
) -> tuple[list[int], set[int], dict[int, tuple[int, str]], np.ndarray]:
    """Of some columns: those of numbers and empty cells only, and those with a number at least.

    Further the first cell of the others that is none, and the numbers.
    """
    found = piece.numbers(places)
    if found is not None:
        return places, set(places), {}, found
    rows = piece.rows
    with contextlib.suppress(ValueError):
        return places, set(places), {}, _matrix(rows, places, empty=False)
    good: list[int] = []
    filled: set[int] = set()
    odd: dict[int, tuple[int, str]] = {}
    for place in places:
        there = [(number, row[place]) for number, row in enumerate(rows) if row[place].strip()]
        wrong = next((found for found in there if not is_number(found[1])), None)
        if wrong is not None:
            odd[place] = wrong
            continue
        good.append(place)
        if there:
            filled.add(place)
    return good, filled, odd, _matrix(rows, good)


def _matrix(rows: Rows, places: Sequence[int], *, empty: bool = True) -> np.ndarray:
    """Columns of numbers; where `empty` may stand for "missing", as NaN.

    Raises:
        ValueError: a cell that is none.
    """
    shape = (len(rows), len(places))
    if places and list(places) == list(range(places[0], places[0] + len(places))):
        side_by_side = itemgetter(slice(places[0], places[-1] + 1))
        cells = list(chain.from_iterable(map(side_by_side, rows)))
    else:
        cells = [row[place] for row in rows for place in places]
    if "_" in "".join(cells):
        raise ValueError("Python takes 1_0 for 10")
    try:
        return np.fromiter(map(float, cells), np.float64, len(cells)).reshape(shape)
    except ValueError:
        if not empty:
            raise
    made = (float(cell) if cell.strip() else np.nan for cell in cells)
    return np.fromiter(made, np.float64, len(cells)).reshape(shape)


def _as_matrix(cells: Sequence[str]) -> np.ndarray | None:
    """Lists with commas as rows, by the fast reader; None where it has no say.

    So are numbers without brackets.
    """
    bare = [cell.strip() for cell in cells]
    if not all(cell[:1] == "[" and cell[-1:] == "]" for cell in bare):
        return _without_brackets(bare)
    width = bare[0].count(",") + 1
    lines = [f"{cell[1:-1]}\n" for cell in bare]
    return Piece("", width, ",", 1, lines, []).numbers(range(width))


def _without_brackets(cells: Sequence[str]) -> np.ndarray | None:
    """As many decimals in each cell, with blanks or commas between them; None for anything else.

    A few may be a time or a box, and whole numbers words of a text by their places.

    >>> _without_brackets(["0.5 1 2 3 4 5 6 7", "0 0 0 0 0 0 0 0"]).shape
    (2, 8)
    >>> _without_brackets(["0.5 2.5"]), _without_brackets(["1 2 3 4 5 6 7 8"])
    (None, None)
    """
    width = len(cells[0].replace(",", " ").split())
    if width < _FEW or not any("." in cell for cell in cells) or any("_" in x for x in cells):
        return None
    parts = [cell.replace(",", " ").split() for cell in cells]
    if any(len(row) != width for row in parts):
        return None
    try:
        return np.array(parts, dtype=np.float64)
    except ValueError:
        return None


def _is_listed(cell: str) -> bool:
    return _list_of(cell.strip()) is not None


def _list_of(cell: str) -> list[float] | None:
    """The numbers of a JSON list, or of a vector as numpy prints it; None for anything else."""
    if not (cell.startswith("[") and cell.endswith("]")):
        return None
    try:
        # numpy writes vectors without commas.
        made = (
            json.loads(cell) if "," in cell or " " not in cell.strip("[] ")
            else [float(x) for x in cell.strip("[]").split()]
        )  # fmt: skip
        if not all(type(x) in (int, float) for x in made):
            return None
        return [float(x) for x in made] or None
    except (ValueError, TypeError, OverflowError, RecursionError):
        return None
