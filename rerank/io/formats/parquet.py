"""Parquet: tables with a column of lists, or of numbers; needs the extra `[arrow]`."""

import contextlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np

from rerank.core.errors import FormatError, RerankError
from rerank.io.container import VECTOR_NAMES, Container
from rerank.io.field import MAX_RATIO, Field, afford, check_packed, rows_per_block
from rerank.io.files import foreign, named
from rerank.io.formats.registry import file_format
from rerank.io.frames.meanings import is_something_else
from rerank.io.frames.unlike_lengths import padded
from rerank.io.number_columns import counted
from rerank.io.recipes import from_bytes_column
from rerank.io.typed_table import table

if TYPE_CHECKING:
    import pyarrow

# A ground truth with more rows has bytes to tell them apart: as many rows for each at most.
_FEW_ROWS, _ROWS_PER_BYTE = 1 << 18, 16
# Columns of numbers are the dimensions of vectors, which are some thousands.
_MOST_COLUMNS = 10_000
# Bytes that a listed item takes at least, in memory.
_ENTRY = 64
# Items with frames that are looked at together.
_FRAMED = 64
# Bytes of one text; neither a name nor a caption comes near.
_LONGEST = 1 << 20


def import_arrow() -> Any:  # noqa: ANN401  a module
    """The module `pyarrow.parquet`.

    Raises:
        RerankError: it is not installed; the message says how to.
    """
    try:
        import pyarrow.parquet as arrow
    except ImportError as error:
        raise RerankError(
            "parquet needs pyarrow, which is not installed: pip install 'rerank-toolkit[arrow]'"
        ) from error
    return arrow


@file_format(
    "parquet",
    help="a table: a column of lists and one of ids, or one column for each number; needs [arrow]",
    endings=(".parquet", ".pq"),
    begins=(b"PAR1",),
    glance="check_width",
    order=6,
)
@contextlib.contextmanager
def open_parquet(path: Path) -> Iterator[Container]:
    """A table: one row an item, one column of lists (or several of numbers), one of ids.

    >>> import tempfile
    >>> import pyarrow as pa
    >>> from pyarrow.parquet import write_table
    >>> path = Path(tempfile.mkdtemp()) / "v.parquet"
    >>> write_table(pa.table({"id": ["a", "b"], "embedding": [[1.0, 2.0], [3.0, 4.0]]}), path)
    >>> with open_parquet(path) as found:
    ...     found.fields["embedding"].shape
    (2, 2)
    >>> write_table(pa.table({"id": ["a"], "f0": [1.0], "f1": [2.0], "fps": [25.0]}), path)
    >>> with open_parquet(path) as found:
    ...     found.columns, found.vectors["values"].shape
    (('f0', 'f1', 'fps'), (1, 2))
    """
    arrow = import_arrow()
    import pyarrow.types as types

    with contextlib.ExitStack() as stack:
        check_width(path)
        with foreign(path, "parquet"):
            schema = arrow.read_schema(path)
            # What comes again is held once, however often it comes.
            again = [
                column.name
                for column in schema
                if types.is_string(column.type) or types.is_binary(column.type)
            ]
            file = stack.enter_context(
                arrow.ParquetFile(path, read_dictionary=again, pre_buffer=False)
            )
            schema = file.schema_arrow
            often = Counter(schema.names)
            single = [column for column in schema if often[column.name] == 1]
        chunks = cache(partial(_chunks, path, file))
        alone = not _holds_vectors(single)
        flags = any(_is_list(each.type) and _is_list(each.type.value_type) for each in single)
        columns = {
            each.name: _column(
                path, file, each, chunks,
                framed=each.name in VECTOR_NAMES or (alone and not is_something_else(each.name)),
                flags=flags,
            )
            for each in single
        }  # fmt: skip
        found = table(path, columns)
        # What pandas calls the names of rows are the last that are believed.
        index = tuple(column.name for column in single if column.name in _index_names(schema))
        texts = tuple(name for name in index if found.fields[name].kind == "text")
        yield replace(found, id_names=(*found.id_names, texts))


def _index_names(schema: "pyarrow.Schema") -> list[str]:
    """Columns that were the index of a table of pandas; those that counted rows are none."""
    try:
        named_so = json.loads((schema.metadata or {})[b"pandas"])["index_columns"]
        return [name for name in named_so if isinstance(name, str)]
    except (KeyError, TypeError, ValueError, RecursionError):
        return []  # of another program


_Chunks = Callable[[], Mapping[str, Sequence[Any]]]


def _chunks(path: Path, file: Any) -> Mapping[str, Sequence[Any]]:  # noqa: ANN401  no stubs
    """What the file says of every column, for each group of its rows."""
    found: dict[str, list[Any]] = {}
    with foreign(path, "parquet"):
        groups = [file.metadata.row_group(at) for at in range(file.metadata.num_row_groups)]
        for chunk in (group.column(at) for group in groups for at in range(group.num_columns)):
            found.setdefault(chunk.path_in_schema.partition(".")[0], []).append(chunk)
    return found


def _check_text(path: Path, chunks: _Chunks, name: str) -> None:
    """Refuse text that is next to nothing, again and again, and text that no name is as long as."""
    said = chunks().get(name, ())
    unpacked = sum(chunk.total_uncompressed_size for chunk in said)
    stored = sum(chunk.total_compressed_size for chunk in said)
    check_packed(unpacked, min(stored, path.stat().st_size), f"{path}: column {named([name])}")
    _check_declared(path, chunks, name, 0)
    _check_longest(path, chunks, name)


def _check_longest(path: Path, chunks: _Chunks, name: str) -> None:
    """Refuse texts of which one is longer than any name, by the bytes that all of them take."""
    for chunk in chunks().get(name, ()):
        if chunk.total_uncompressed_size > _LONGEST * (chunk.num_values + 1):
            raise _too_long(f"{path}: column {named([name])}")


def check_name(path: Path, name: str) -> None:
    """Refuse a column of names that cannot be some before a text of it is read.

    Raises:
        FormatError: a text in it is longer than any name, by the bytes that all of them take; or
            the file is damaged.
    """
    arrow = import_arrow()
    with contextlib.ExitStack() as stack:
        with foreign(path, "parquet"):
            file = stack.enter_context(arrow.ParquetFile(path, pre_buffer=False))
        _check_longest(path, partial(_chunks, path, file), name)


def _too_long(where: str) -> FormatError:
    return FormatError(
        f"{where}: holds a text of more than {_LONGEST:,} bytes, which no name and no caption has; "
        "correct it"
    )


def _check_declared(path: Path, chunks: _Chunks, name: str, itemsize: int) -> None:
    """Refuse a column that declares more than the file can hold, or more than may be held."""
    size, said = path.stat().st_size, chunks().get(name, ())
    declared = max((chunk.num_values * itemsize for chunk in said), default=0)
    unpacked = max((chunk.total_uncompressed_size for chunk in said), default=0)
    where = f"{path}: column {named([name])}"
    if declared > MAX_RATIO * size + (1 << 20):
        raise FormatError(
            f"{where}: declares {declared:,} bytes, more than a file of {size:,} bytes can hold; "
            "it is damaged or not to be trusted"
        )
    afford(unpacked, where, what="one group of its rows")


def check_width(path: Path) -> None:
    """Refuse a table with more columns than any vector has dimensions.

    Raises:
        FormatError: it has them, or it is damaged.
    """
    arrow = import_arrow()
    with foreign(path, "parquet"):
        width = int(arrow.read_metadata(path).num_columns)
    if width > _MOST_COLUMNS:
        raise FormatError(
            f"{path}: has {width:,} columns, and at most {_MOST_COLUMNS:,} are read; save each "
            "vector as one list, in a column of lists"
        )


def check_pairs(path: Path) -> None:
    """Refuse a ground truth whose rows cannot all be different pairs.

    Raises:
        FormatError: it has far more rows than its bytes can tell apart, or it is damaged.
    """
    arrow = import_arrow()
    with foreign(path, "parquet"):
        rows = int(arrow.read_metadata(path).num_rows)
    size = path.stat().st_size
    if rows > max(_FEW_ROWS, _ROWS_PER_BYTE * size):
        raise FormatError(
            f"{path}: declares {rows:,} rows in {size:,} bytes, which hold the same pairs again "
            "and again; keep each pair once, or, if it is right, save it as a table in text (.tsv)"
        )


def names_twice(path: Path) -> list[str]:
    """Names that several columns have, of which none is read.

    Raises:
        FormatError: it is damaged.
    """
    arrow = import_arrow()
    with foreign(path, "parquet"):
        often = Counter(arrow.read_schema(path).names)
    return [name for name, count in often.items() if count > 1]


def _column(
    path: Path,
    file: Any,  # noqa: ANN401  no stubs
    column: "pyarrow.Field",
    chunks: _Chunks,
    *,
    framed: bool,
    flags: bool,
) -> Field:
    """One column as an array: lists are the rows of a matrix, and lists of them frames.

    Args:
        path: the file.
        file: the same, opened.
        column: what the file says of the column.
        chunks: what it says of each group of rows.
        framed: whether lists of lists may be frames here.
        flags: whether lists of truth values may be masks, as beside frames.
    """
    import pyarrow
    import pyarrow.types as types

    name, where = column.name, f"{path}: column {named([column.name])}"
    count = int(file.metadata.num_rows)
    kind = column.type
    if isinstance(kind, pyarrow.BaseExtensionType):  # such as arrow.uuid
        kind = kind.storage_type
    if _is_list(kind):
        inner = kind.value_type
        if framed and _is_list(inner) and types.is_floating(inner.value_type):
            return _frames(file, name, where, inner, partial(_check_declared, path, chunks, name))
        of_flags = flags and types.is_boolean(inner) and _are_alike(file, name, where)
        if not (types.is_floating(inner) or types.is_integer(inner) or of_flags):
            return _odd(where, (count,), f"lists of {inner}")
        dtype = np.dtype(inner.to_pandas_dtype())
        _check_declared(path, chunks, name, dtype.itemsize)
        first, width = (0, kind.list_size) if types.is_fixed_size_list(kind) else _first_width(
            file, name, where
        )  # fmt: skip

        def blocks(start: int, stop: int) -> Iterator[np.ndarray]:
            step = rows_per_block(width * dtype.itemsize)
            for at, part in _batches(file, name, start, stop, step, where):
                yield _rows_of(part, at, width, first, where)

        return Field(where, (count, width), dtype, blocks)
    value = kind.value_type if types.is_dictionary(kind) else kind
    texts = ("string", "large_string", "string_view", "binary", "large_binary", "binary_view")
    check = partial(_check_declared, path, chunks, name, 0)
    if str(value) in texts or types.is_fixed_size_binary(value):
        check = partial(_check_text, path, chunks, name)
        return Field(
            where, (count,), np.dtype(object), _values(file, name, where), check,
            fix="" if "string" in str(value) else
            "if these are the bytes of float32, as x.tobytes() gives, make lists of them: "
            f"{from_bytes_column(path, name)}",
        )  # fmt: skip
    if types.is_integer(value) or types.is_floating(value):
        dtype = np.dtype(value.to_pandas_dtype())
        return Field(where, (count,), dtype, _values(file, name, where), check)
    if types.is_boolean(value):
        return Field(where, (count,), np.dtype(bool), _values(file, name, where), check)
    return _odd(where, (count,), f"of the type {kind}")


def _holds_vectors(columns: Sequence["pyarrow.Field"]) -> bool:
    """Whether a column is of lists of decimals, or columns of decimals count."""
    import pyarrow.types as types

    lists = (column.type.value_type for column in columns if _is_list(column.type))
    numbers = [column.name for column in columns if types.is_floating(column.type)]
    return any(map(types.is_floating, lists)) or bool(counted(numbers))


def _is_list(kind: Any) -> bool:  # noqa: ANN401  no stubs
    import pyarrow.types as types

    return types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)


def _frames(
    file: Any,  # noqa: ANN401  no stubs
    name: str,
    where: str,
    inner: Any,  # noqa: ANN401  no stubs
    check: Callable[[int], None],
) -> Field:
    """A column of lists of vectors: the frames of each item, of which there may be fewer."""
    dtype, count = np.dtype(inner.value_type.to_pandas_dtype()), int(file.metadata.num_rows)
    check(dtype.itemsize)
    most = width = 0
    for _, part in _batches(file, name, 0, count, _FRAMED, where):
        frames = _lengths(part.flatten(), where)
        most = max(most, int(_lengths(part, where).max(initial=0)))
        width = width or int(next(iter(frames[frames > 0]), 0))
    if not width:
        return _odd(where, (count,), f"lists of {inner} without any")

    def items(start: int, stop: int) -> Iterator[np.ndarray]:
        for at, part in _batches(file, name, start, stop, _FRAMED, where):
            ends = np.cumsum(_lengths(part, where))
            frames = part.flatten()
            odd = np.flatnonzero(_lengths(frames, where) != width)
            if odd.size:
                row = int(np.searchsorted(ends, odd[0], side="right"))
                frame = int(odd[0] - (ends[row - 1] if row else 0))
                raise FormatError(
                    f"{where}: row {at + row}, frame {frame} has {len(frames[int(odd[0])] or ())} "
                    f"values, others have {width}; all frames need the same length"
                )
            yield from np.split(_rows_of(frames, at, width, 0, where), ends[:-1])

    return padded(where, (count, most, width), dtype, items)


def _lengths(part: Any, where: str) -> np.ndarray:  # noqa: ANN401  no stubs
    """How much each list holds; none for one that is missing."""
    with foreign(where, "parquet"):
        lengths = part.value_lengths().to_numpy(zero_copy_only=False)
    return np.nan_to_num(lengths.astype(np.float64)).astype(np.int64)


def read_values(path: Path, name: str) -> list[Any]:
    """A column of any type as Python holds it, such as lists of text, yes and no, or decimals.

    Raises:
        FormatError: damaged, or more than this run may hold.
    """
    arrow = import_arrow()
    with contextlib.ExitStack() as stack:
        with foreign(path, "parquet"):
            file = stack.enter_context(arrow.ParquetFile(path, pre_buffer=False))
        _check_text(path, partial(_chunks, path, file), name)
        found: list[Any] = []
        size = 0
        with foreign(path, "parquet"):
            for batch in file.iter_batches(batch_size=4096, columns=[name]):
                part = batch.column(0).to_pylist()
                found += part
                size += sum(len(item) if isinstance(item, list | dict) else 1 for item in part)
                afford(64 * size, str(path), what=f"the column {name!r}")
    return found


def read_records(
    path: Path, judge: Callable[[Mapping[str, bool]], None]
) -> Iterator[dict[str, Any]]:
    """The rows of a table, each as an object; text that comes again is held once.

    Args:
        path: the file.
        judge: told of all columns, and whether each is of lists, before a row is read.

    Raises:
        FormatError: damaged, or more than this run may hold.
    """
    import pyarrow.types as types

    arrow = import_arrow()
    check_width(path)
    with contextlib.ExitStack() as stack:
        with foreign(path, "a parquet table"):
            plain = stack.enter_context(arrow.ParquetFile(path, pre_buffer=False))
            leaves = [plain.schema.column(at) for at in range(len(plain.schema))]
            again = [leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"]
            schema = plain.schema_arrow
        judge({column.name: types.is_nested(column.type) for column in schema})
        chunks = cache(partial(_chunks, path, plain))
        for name, said in chunks().items():
            # Whatever it holds, no value takes less than that.
            _check_declared(path, chunks, name, 8)
            entries = sum(chunk.num_values for chunk in said)
            afford(_ENTRY * entries, f"{path}: column {named([name])}", what="a ranking of it")
        with foreign(path, "a parquet table"):
            file = stack.enter_context(
                arrow.ParquetFile(path, read_dictionary=again, pre_buffer=False)
            )
        # Lists of what is held once are not read across groups.
        groups = (
            file.iter_batches(batch_size=4096, row_groups=[group])
            for group in range(file.metadata.num_row_groups)
        )
        batches = chain.from_iterable(groups)
        while True:
            with foreign(path, "a parquet table"):
                batch = next(batches, None)
                if batch is None:
                    return
                columns = [_plain(column) for column in batch.columns]
            for row in zip(*columns, strict=True):
                yield dict(zip(schema.names, row, strict=True))


def _plain(array: Any) -> list[Any]:  # noqa: ANN401  no stubs
    """Values of Python, as `to_pylist` gives them; what comes again is one object."""
    import pyarrow
    import pyarrow.types as types

    if isinstance(array, pyarrow.DictionaryArray):
        words = array.dictionary.to_pylist()
        return [None if at is None else words[at] for at in array.indices.to_pylist()]
    kind = array.type
    if types.is_list(kind) or types.is_large_list(kind):
        values, made, at = _plain(array.flatten()), [], 0
        for length in array.value_lengths().to_pylist():
            made.append(None if length is None else values[at : at + length])
            at += length or 0
        return made
    if types.is_struct(kind):
        names = [field.name for field in kind]
        rows = zip(*map(_plain, array.flatten()), strict=True) if names else []
        there = array.is_valid().to_pylist()
        return [
            dict(zip(names, row, strict=True)) if valid else None
            for row, valid in zip(rows, there, strict=True)
        ]
    return array.to_pylist()


def _odd(where: str, shape: tuple[int, ...], what: str) -> Field:
    """A column that is listed but not read."""
    return Field(
        where, shape, np.dtype("V1"), lambda start, stop: iter(()), odd=what,
        fix="store ids as text and vectors as lists of floats",
    )  # fmt: skip


def _first_width(file: Any, name: str, where: str) -> tuple[int, int]:  # noqa: ANN401  no stubs
    """The first row that holds something, and how much."""
    at = 0
    with foreign(where, "parquet"):
        for batch in file.iter_batches(batch_size=1024, columns=[name]):
            lengths = batch.column(0).value_lengths().to_numpy(zero_copy_only=False)
            there = np.flatnonzero(~np.isnan(lengths.astype(np.float64)))
            if there.size:
                return at + int(there[0]), int(lengths[there[0]])
            at += len(batch)
    return 0, 0


def _are_alike(file: Any, name: str, where: str) -> bool:  # noqa: ANN401  no stubs
    """Whether all lists of a column have one length."""
    count = int(file.metadata.num_rows)
    seen: set[int] = set()
    for _, part in _batches(file, name, 0, count, 65536, where):
        seen.update(_lengths(part, where).tolist())
    return len(seen) == 1


def _batches(
    file: Any,  # noqa: ANN401  no stubs
    name: str,
    start: int,
    stop: int,
    step: int,
    where: str,
) -> Iterator[tuple[int, Any]]:
    """Consecutive pieces of one column between two rows; other row groups are not read."""
    with foreign(where, "parquet"):
        sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
        ends = np.cumsum(sizes)
        groups = [i for i in range(len(sizes)) if ends[i] > start and ends[i] - sizes[i] < stop]
        if not groups:
            return
        at = int(ends[groups[0]] - sizes[groups[0]])
        batches = file.iter_batches(batch_size=step, row_groups=groups, columns=[name])
    while True:
        with foreign(where, "parquet"):
            batch = next(batches, None)
            if batch is None:
                return
            low, high = max(start - at, 0), min(stop - at, len(batch))
            part = batch.column(0).slice(low, high - low) if high > low else None
        if part is not None:
            yield at + low, part
        at += len(batch)


def _rows_of(
    part: Any,  # noqa: ANN401  no stubs
    at: int,
    width: int,
    first: int,
    where: str,
) -> np.ndarray:
    """A piece of a list column as a matrix."""
    with foreign(where, "parquet"):
        lengths = part.value_lengths().to_numpy(zero_copy_only=False)
        values = part.flatten()
        missing = values.null_count
        flat = values.to_numpy(zero_copy_only=False)
    odd = np.flatnonzero(~(lengths == width))
    if odd.size:
        got = lengths[odd[0]]
        raise FormatError(
            f"{where}: row {at + odd[0]} has {'nothing' if np.isnan(got) else f'{int(got)} values'}"
            f", row {first} has {width} values; all rows need the same length: drop the row, or "
            "compute it again"
        )
    if missing or flat.size != len(lengths) * width:
        raise FormatError(f"{where}: a value is missing in the rows from {at}; fill or drop them")
    return flat.reshape(len(lengths), width)


def _values(file: Any, name: str, where: str) -> Any:  # noqa: ANN401  no stubs
    import pyarrow

    def blocks(start: int, stop: int) -> Iterator[np.ndarray]:
        for _, part in _batches(file, name, start, stop, 65536, where):
            with foreign(where, "parquet"):
                if isinstance(part, pyarrow.ExtensionArray):
                    part = part.storage
                if isinstance(part, pyarrow.DictionaryArray):
                    _check_lengths(part.dictionary, where)
                    # One object for what comes again.
                    words = _objects(part.dictionary.to_pylist())
                    rows = part.indices.to_numpy(zero_copy_only=False)
                    array = np.empty(len(rows), dtype=object)
                    there = ~np.isnan(rows.astype(np.float64))
                    array[there] = words[rows[there].astype(np.int64)]
                elif part.null_count == 0 and str(part.type) in _NUMBERS:
                    array = part.to_numpy(zero_copy_only=False)
                else:
                    array = _objects(part.to_pylist())
            yield array

    return blocks


def _check_lengths(texts: Any, where: str) -> None:  # noqa: ANN401  no stubs
    """Refuse a text that is no name before Python holds it."""
    import pyarrow.types as types

    if not len(texts) or not (types.is_string(texts.type) or types.is_binary(texts.type)):
        return
    ends = np.frombuffer(texts.buffers()[1], np.int32)[texts.offset :][: len(texts) + 1]
    if int(np.diff(ends).max()) > _LONGEST:
        raise _too_long(where)


_NUMBERS = (
    "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    "halffloat", "float", "double",
)  # fmt: skip


def _objects(items: Sequence[object]) -> np.ndarray:
    """Values as an array; bytes as the text they are, or as the UUID."""
    array = np.empty(len(items), dtype=object)
    array[:] = [_text_of(item) if isinstance(item, bytes) else item for item in items]
    return array


def _text_of(raw: bytes) -> str | bytes | UUID:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        return UUID(bytes=raw) if len(raw) == 16 else raw
    return text if text.isprintable() or len(raw) != 16 else UUID(bytes=raw)
