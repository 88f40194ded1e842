"""The door: what every array and every list of ids from a file has to pass, once.

Arrays are read and checked block by block into the one array that is returned, so a file costs its
own size and a few megabytes; what is too large for that is mapped, where it lies or unpacked.
"""

import base64
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from rerank.core import memory, progress
from rerank.core.errors import FormatError
from rerank.core.wording import either, option, with_memory
from rerank.io.files import BLOCK_BYTES, ArrayHash, named
from rerank.io.scratch import Scratch

Kind: TypeAlias = Literal["float", "integer", "text", "other"]
Missing: TypeAlias = Literal["", "-inf", "nan", "inf", "nan or inf"]

# Deflate cannot shrink anything by more than this factor; what declares more is not data.
MAX_RATIO = 1032

# Measured values do not shrink by more than a small part of that; padding and masks do.
_TIGHT = 100
_SMALL = 64 << 20

# How to call each sort of number in a refusal.
_WORDS = {"i": "integers", "u": "integers", "b": "booleans"}


# Numbers as text, at least four of them; words have blanks, and no such length.
_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4}){5,}(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")


def no_check() -> None:
    """For fields whose size was checked when the file was opened."""


@dataclass(frozen=True, eq=False)
class Field:
    """One array inside a file, described but not read yet.

    Attributes:
        where: the file and the place in it, for messages.
        shape: as declared.
        dtype: as declared; `object` for text of any length.
        blocks: `blocks(start, stop)` reads the rows start..stop as consecutive arrays of any
            number of rows each.
        check: raises when the file cannot hold what it declares; called before any memory is
            taken.
        mapped: the whole array as read-only memory over the file, where its rows lie there one
            after the other in native byte order; None elsewhere.
        odd: what it is, in words, where nothing here reads it.
        fix: how to store it so that it can be read, where that is known.
        code: code that reads text from what h5py gives as "{}", where that is no text yet.
        columns: names of its columns, where these are columns of a table.
    """

    where: str
    shape: tuple[int, ...]
    dtype: np.dtype
    blocks: Callable[[int, int], Iterator[np.ndarray]]
    check: Callable[[], None] = no_check
    mapped: Callable[[], np.ndarray] | None = None
    odd: str = ""
    fix: str = ""
    code: str = ""
    columns: tuple[str, ...] = ()

    @property
    def kind(self) -> Kind:
        """What the values are good for."""
        if self.odd:
            return "other"
        if self.dtype.kind == "f" and self.dtype.itemsize <= 8:
            return "float"
        if self.dtype.kind in "iu":
            return "integer"
        return "text" if self.dtype.kind in "OSU" else "other"

    @property
    def nbytes(self) -> int:
        """Declared size."""
        return declared_bytes(self.shape, self.dtype)

    def describe(self) -> str:
        """Shape and type in a few characters, for lists of candidates."""
        if self.odd:
            return f"{'x'.join(map(str, self.shape)) or 'scalar'}, {self.odd}"
        return f"{'x'.join(map(str, self.shape)) or 'scalar'} {self.dtype.name}"


# What an entry without any content is called.
NOTHING = "nothing"


def empty_field(where: str, what: str = NOTHING, fix: str = "") -> Field:
    """An entry that holds no array: null, or an empty list, or what the words say."""
    nothing = lambda start, stop: iter(())  # noqa: ARG005, E731
    return Field(where, (), np.dtype("V1"), nothing, odd=what, fix=fix)


def list_field(where: str, items: object) -> Field:
    """A list of ids that is in memory already.

    Raises:
        FormatError: something else than a list.
    """
    if not isinstance(items, list | tuple):
        raise FormatError(f"{where}: is {named([items])}, expected a list of ids")
    array = np.empty(len(items), dtype=object)
    array[:] = items
    return Field(where, array.shape, array.dtype, lambda start, stop: iter([array[start:stop]]))


def declared_bytes(shape: tuple[int, ...], dtype: np.dtype) -> int:
    """What an array takes; a Python integer, so that it cannot overflow.

    >>> declared_bytes((1 << 40, 1 << 40), np.dtype("f4")) == 1 << 82
    True
    """
    size = dtype.itemsize
    for extent in shape:
        size *= int(extent)
    return size


def check_packed(declared: int, stored: int, where: str) -> None:
    """Refuse an array that grows to a large one from next to nothing when it is unpacked.

    >>> check_packed(10_000_000, 10_000, "here")
    >>> check_packed(1_000_000_000, 1_000_000, "here")
    Traceback (most recent call last):
    rerank.core.errors.FormatError: here: is packed into a thousandth of its 1,000,000,000 bytes, \
so it holds next to nothing; if it is right, save it without compression

    Raises:
        FormatError: it does.
    """
    if declared > _SMALL and declared > _TIGHT * max(1, stored):
        share = "a thousandth" if declared > 500 * stored else "a hundredth"
        raise FormatError(
            f"{where}: is packed into {share} of its {declared:,} bytes, so it holds next to "
            "nothing; if it is right, save it without compression"
        )


def afford(size: int, where: str, *, what: str = "this") -> None:
    """Refuse what would take more memory than this run may use.

    Args:
        size: bytes.
        where: the file and the place in it, for messages.
        what: the word for it.

    Raises:
        FormatError: it would; the message says how much memory it takes.
    """
    if size > memory.budget():
        need = -(-size // 10**8) / 10
        raise FormatError(
            f"{where}: {what} takes {size:,} bytes of memory, more than the {memory.budget():,} "
            f"that this run may use; if that is right, {with_memory(f'{need:g}GB')}"
        )


def rows_per_block(row_bytes: int, multiple: int = 1) -> int:
    """How many rows to read at once; a multiple of the rows that the file stores together."""
    return max(1, BLOCK_BYTES // max(1, row_bytes) // multiple) * multiple


def bounds(rows: slice | None, count: int, where: str) -> tuple[int, int]:
    """First row and end of a slice of `count` rows.

    Raises:
        FormatError: the slice skips rows or runs backwards.
    """
    if rows is None:
        return 0, count
    start, stop, step = rows.indices(count)
    if step != 1:
        raise FormatError(f"{where}: rows can be read in steps of 1 only, got step {step}")
    return start, max(start, stop)


def check_last_axis(field: Field) -> None:
    """No axes of one behind a matrix, where the middle axis would pass for frames.

    Raises:
        FormatError: they are there.
    """
    shape = field.shape
    while len(shape) > 2 and shape[-1] == 1:
        shape = shape[:-1]
    if shape != field.shape and len(shape) == 2 and shape[1] > 1:
        raise FormatError(
            f"{field.where}: is {field.shape}, with an axis of one behind its numbers; store it "
            f"without: x.reshape{shape}"
        )


def check_matrix(field: Field, what: str) -> None:
    """A 2-D array of float16, float32 or float64 with at least one row and one column.

    Raises:
        FormatError: anything else; the message says how to get there.
    """
    dtype = field.dtype
    if field.odd:
        raise FormatError(
            f"{field.where}: is {field.odd}, but {what} are one 2-D array of numbers"
            f"{f'; {field.fix}' if field.fix else ''}"
        )
    if dtype.kind == "f" and dtype.itemsize > 8:
        raise FormatError(f"{field.where}: holds {dtype.name}; store it as float64")
    if dtype in (np.dtype("u2"), np.dtype("V2")):
        raise FormatError(
            f"{field.where}: holds {dtype.name}, which may be bfloat16; {what} are float16, "
            "float32 or float64: save them as float32"
        )
    if dtype.kind == "c":
        raise FormatError(
            f"{field.where}: holds complex numbers ({dtype.name}), but {what} are real; store the "
            "real and the imaginary parts as columns side by side, or the absolute values"
        )
    if dtype.kind in _WORDS:
        raise FormatError(
            f"{field.where}: holds {_WORDS[dtype.kind]} ({dtype.name}), but {what} are float16, "
            "float32 or float64; if the numbers are right, store them as float32"
        )
    if field.kind != "float":
        if field.kind == "text":
            fix = _numbers_in_text(field)
            raise FormatError(
                f"{field.where}: holds {'bytes' if field.fix else 'text'}, but {what} are numbers; "
                f"{field.fix or fix}"
            )
        raise FormatError(f"{field.where}: holds {dtype.name}, but {what} are numbers")
    check_last_axis(field)
    if len(field.shape) == 3:
        raise FormatError(
            f"{field.where}: is 3-D {field.shape}, but {what} are 2-D, one row for each item; "
            f"say how to combine the middle axis (the frames): {option('pool', 'mean')}"
        )
    if len(field.shape) != 2:
        raise FormatError(
            f"{field.where}: is {len(field.shape)}-D {field.shape}, but {what} are 2-D, "
            f"one row for each item{_of_fewer_axes(field.shape) if what == 'embeddings' else ''}"
        )
    if 0 in field.shape:
        raise FormatError(f"{field.where}: is empty {field.shape}; write it again")


def _numbers_in_text(field: Field) -> str:
    """How a text for each row becomes numbers: base64 of float32, or lists that were printed."""
    first = next(iter(field.blocks(0, min(1, field.shape[0]))), np.empty(0)) if field.shape else []
    text = next(iter(np.asarray(first).reshape(-1).tolist()), "")
    text = text.decode("latin1") if isinstance(text, bytes) else str(text)
    if _BASE64.fullmatch(text) and len(base64.b64decode(text)) % 4 == 0:
        return (
            "each looks like the base64 of float32: turn it into a list of floats first, such as "
            "by .map(lambda x: numpy.frombuffer(base64.b64decode(x), 'f4').tolist())"
        )
    return "turn it into lists of floats first, such as by .map(json.loads)"


def _of_fewer_axes(shape: tuple[int, ...]) -> str:
    """How to store more than three axes; "" for fewer."""
    if len(shape) < 4:
        return ""
    kept = (shape[0], *(count for count in shape[1:-1] if count != 1), shape[-1])
    if len(kept) > 3:
        return ", or 3-D with frames: (items, frames, numbers); store it so"
    what = "frames" if len(kept) == 3 else "rows"
    return f"; axes of 1 say nothing: store x.reshape{kept}, which are {what}"


def _check_row(field: Field) -> None:
    """Whatever is read block by block is held a row at a time at least."""
    field.check()
    afford(2 * field.dtype.itemsize * field.shape[1], field.where, what="a single row")


def read_matrix(
    field: Field,
    *,
    what: str,
    rows: tuple[int, int] | None = None,
    row_name: Callable[[int], str],
    column_name: Callable[[int], str] = str,
    keep_half: bool = False,
    map_large: bool = False,
    zero_rows: bool = True,
    missing: Missing = "",
) -> np.ndarray:
    """Read and check rows of a matrix into one new array in native byte order.

    Args:
        field: the matrix.
        what: the word for it in messages, in the plural.
        rows: first row and end; None reads all.
        row_name: row number in the file -> how to call the row, "3 (id 'video3')".
        column_name: column number -> how to call the column.
        keep_half: float16 stays float16; otherwise it is widened to float32.
        map_large: a matrix that `memory.is_large` is neither widened nor held: it is looked
            through and mapped, from its own file or, where that cannot be, from an unpacked one.
        zero_rows: whether a row of zeros may pass.
        missing: what may stand for "not there": nothing, -inf, or -inf and also NaN, +inf, or both.

    Returns:
        (stop - start, d) float16, float32 or float64.

    Raises:
        FormatError: wrong type or shape, NaN, infinity, a forbidden zero row, too few rows in the
            file.
    """
    check_matrix(field, what)
    _check_row(field)
    dtype = np.dtype(f"f{field.dtype.itemsize}")
    start, stop = (0, field.shape[0]) if rows is None else rows
    large = map_large and memory.is_large((stop - start) * field.shape[1])
    if dtype == np.float16 and not (keep_half or large):
        dtype = np.dtype(np.float32)

    def look(at: int, part: np.ndarray) -> None:
        found = _first_bad(part, zero_rows=zero_rows)
        if found is not None and missing:
            part = _present(part, missing)
            found = _first_bad(part, zero_rows=zero_rows)
        if found is not None:
            _refuse(field, what, part, at, found, row_name=row_name, column_name=column_name)

    if large and field.mapped is None:
        return _unpack(field, start, stop, dtype, look)
    if large and field.mapped is not None:
        field.check()
        out = field.mapped()[start:stop]
        parts = _walk(out, start)
    else:
        out = _empty(field, stop - start, dtype)
        parts = _fill(field, out, start, stop)
    for at, part in parts:
        look(at, part)
    return out


def _unpack(
    field: Field, start: int, stop: int, dtype: np.dtype, look: Callable[[int, np.ndarray], None]
) -> np.ndarray:
    """Rows start..stop, looked at and copied to a file that can be mapped, never all held."""
    field.check()
    shape = (stop - start, field.shape[1])
    scratch = Scratch(shape, dtype, field.where)
    with progress.task("unpacking", stop - start) as advance:
        for at, block in _read(field, start, stop):
            part = np.asarray(block, dtype=dtype)
            look(at, part)
            scratch.write(part)
            advance(len(part))
    return scratch.mapped()


def checked_blocks(
    field: Field,
    *,
    what: str,
    row_name: Callable[[int], str],
    zero_rows: bool = True,
    missing: Missing = "",
) -> Iterator[tuple[int, np.ndarray]]:
    """Blocks of a matrix and the number of their first row, checked as by `read_matrix`.

    With `missing` NaN or an infinity is a value: a pair that has no score.

    Raises:
        FormatError: see `read_matrix`.
    """
    check_matrix(field, what)
    _check_row(field)
    for at, block in _read(field, 0, field.shape[0]):
        looked = block
        found = _first_bad(looked, zero_rows=zero_rows)
        if found is not None and missing:
            looked = _present(block, missing)
            found = _first_bad(looked, zero_rows=zero_rows)
        if found is not None:
            _refuse(field, what, looked, at, found, row_name=row_name, column_name=str)
        yield at, block


def in_memory(array: np.ndarray, where: str) -> Field:
    """An array that is there already; read-only views of it are handed on where it is large."""

    def mapped() -> np.ndarray:
        view = array.view()
        view.setflags(write=False)
        return view

    plain = array.dtype.isnative and array.flags.c_contiguous and array.dtype.kind == "f"
    return Field(
        where,
        array.shape,
        array.dtype,
        lambda start, stop: iter([array[start:stop]]),
        mapped=mapped if plain else None,
    )


def hash_matrix(field: Field) -> str:
    """`sha256_of` what `read_matrix` returns for all rows, which are read in blocks and not kept.

    Raises:
        FormatError: too few rows in the file.
    """
    field.check()
    digest = ArrayHash(np.dtype(f"f{field.dtype.itemsize}"), field.shape)
    for _, block in _read(field, 0, field.shape[0]):
        digest.update(block)
    return digest.hexdigest()


def read_array(field: Field, *, booleans: bool = False) -> np.ndarray:
    """A whole array of numbers in native byte order, whatever its values are.

    Args:
        field: the array.
        booleans: whether truth values count as numbers.

    Raises:
        FormatError: not numbers, or not all of it is there.
    """
    if field.odd or field.dtype.kind not in ("iufb" if booleans else "iuf") or not field.shape:
        raise FormatError(f"{field.where}: is {field.describe()}, expected an array of numbers")
    out = _empty(field, field.shape[0], field.dtype.newbyteorder("="))
    for _ in _fill(field, out, 0, field.shape[0]):
        pass
    return out


def _empty(field: Field, rows: int, dtype: np.dtype) -> np.ndarray:
    """Memory for rows of a field, after the file was asked whether it can hold them."""
    field.check()
    shape = (rows, *field.shape[1:])
    size = dtype.itemsize * math.prod(shape)
    if size > memory.budget() and size > memory.available():
        raise FormatError(
            f"{field.where}: {shape} {dtype.name} takes {size:,} bytes of memory, and only "
            f"{memory.available():,} are free; read fewer rows at a time"
        )
    try:
        return np.empty(shape, dtype=dtype)
    except (MemoryError, ValueError) as error:
        raise FormatError(
            f"{field.where}: {shape} {dtype.name} does not fit into memory; read fewer rows at a "
            "time"
        ) from error


def _walk(out: np.ndarray, start: int) -> Iterator[tuple[int, np.ndarray]]:
    """Parts of rows that are there already, as `_fill` yields them."""
    step = rows_per_block(out.itemsize * out.shape[1])
    for at in range(0, len(out), step):
        yield start + at, out[at : at + step]


def _fill(field: Field, out: np.ndarray, start: int, stop: int) -> Iterator[tuple[int, np.ndarray]]:
    """Read rows start..stop into an array; yields every part and the number of its first row."""
    for at, block in _read(field, start, stop):
        part = out[at - start : at - start + len(block)]
        part[...] = block
        yield at, part


def _read(field: Field, start: int, stop: int) -> Iterator[tuple[int, np.ndarray]]:
    """Blocks of rows start..stop as the file has them, no more and no fewer than declared."""
    at = start
    for block in field.blocks(start, stop):
        end = at + len(block)
        if end > stop or block.shape[1:] != field.shape[1:]:
            raise FormatError(f"{field.where}: row {at}: the file does not hold what it declares")
        yield at, block
        at = end
    if at != stop:
        raise FormatError(
            f"{field.where}: ends after row {at - 1}, {stop} were declared; the file is truncated"
        )


def _present(part: np.ndarray, missing: Missing) -> np.ndarray:
    """A copy with a number where "not there" may stand."""
    none = np.isinf(part) if missing.endswith("inf") and missing != "-inf" else np.isneginf(part)
    none |= np.isnan(part) & missing.startswith("nan")
    return np.where(none, part.dtype.type(1), part)


def _first_bad(part: np.ndarray, *, zero_rows: bool) -> int | None:
    """The first row with a value that is not finite, or of zeros or next to it; None: all good."""
    values = part.astype(np.float32) if part.dtype == np.float16 else part
    with np.errstate(over="ignore", invalid="ignore"):
        # One pass and no temporary: a sum of squares that is finite and positive vouches for the
        # whole row. Squares of good numbers can still overflow or vanish, so the rest is looked
        # at again below.
        squares = np.einsum("ij,ij->i", values, values)
    for row in np.flatnonzero(~(np.isfinite(squares) & (squares > 0))):
        line = values[row]
        if not np.isfinite(line).all() or (not zero_rows and np.abs(line).max() < _least(line)):
            return int(row)
    return None


def _least(line: np.ndarray) -> float:
    """The smallest number of a type that has all of its digits."""
    kind = np.dtype(np.float32) if line.dtype.itemsize < 4 else line.dtype
    return float(np.finfo(kind).tiny)


def _refuse(
    field: Field,
    what: str,
    part: np.ndarray,
    first: int,
    row: int,
    *,
    row_name: Callable[[int], str],
    column_name: Callable[[int], str],
) -> None:
    line = part[row]
    place = f"{field.where}: row {row_name(first + row)}"
    bad = np.flatnonzero(~np.isfinite(line))
    if not bad.size and line.any():
        raise FormatError(
            f"{place}: its numbers are below {_least(line):.1e}, where {line.dtype} keeps next to "
            "no digits of them, and it has no direction; scale the embeddings before they are saved"
        )
    if not bad.size:
        raise FormatError(
            f"{place}: is all zeros and has no direction, which cosine needs; leave the item out "
            f"or give {option('metric', 'dot')}"
        )
    column = int(bad[0])
    value = "NaN" if np.isnan(line[column]) else f"{line[column]:+}".replace("inf", "infinity")
    reason = f"{what} have to be finite; compute this row again or leave the item out"
    if value == "NaN" and what == "scores":
        reason += f"; if NaN means 'not scored', say so: {either('--unscored nan', 'nan=True')}"
    if value == "+infinity" and what == "scores":
        way = either("--scores-are distances or --unscored inf", "inf=True")
        reason += f"; if it means 'not scored', as among distances, say so: {way}"
    if value != "NaN" and field.dtype.itemsize == 2 and what != "scores":
        reason = "float16 ends at 65504, so larger numbers became infinite; save float32"
    raise FormatError(f"{place}: {value} in column {column_name(column)}: {reason}")
