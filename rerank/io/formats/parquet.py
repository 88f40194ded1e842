"""Parquet with a list column, and the folders of clip-retrieval; needs the extra `[arrow]`."""

import contextlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rerank.core.errors import FormatError, RerankError
from rerank.io.container import ID_NAMES, Container
from rerank.io.field import Field, rows_per_block
from rerank.io.files import foreign, named, regular_file
from rerank.io.formats.npy import open_npy
from rerank.io.ids import find_sidecar

if TYPE_CHECKING:
    import pyarrow

# What tables call ids, in the order in which they are believed.
TABLE_ID_NAMES = (ID_NAMES, ("id", "key", "name", "video_id"), ("image_path", "video_path"))

_PART = re.compile(r"(?P<kind>.+)_emb_(?P<number>\d+)\.npy")


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


@contextlib.contextmanager
def open_parquet(path: Path) -> Iterator[Container]:
    """A table: one row an item, one column of lists, one of ids."""
    arrow = import_arrow()
    with contextlib.ExitStack() as stack:
        with foreign(path, "parquet"):
            file = stack.enter_context(arrow.ParquetFile(path))
            schema = file.schema_arrow
            fields = {
                column.name: _column(path, file, column)
                for column in schema
                if schema.names.count(column.name) == 1
            }
        yield Container(path, fields, id_names=TABLE_ID_NAMES, per_item=False)


def _column(path: Path, file: Any, column: "pyarrow.Field") -> Field:  # noqa: ANN401  no stubs
    """One column as an array: lists are the rows of a matrix."""
    import pyarrow.types as types

    where = f"{path}: column {named([column.name])}"
    count = int(file.metadata.num_rows)
    kind = column.type
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        inner = kind.value_type
        if not (types.is_floating(inner) or types.is_integer(inner)):
            return Field(where, (count, 0), np.dtype("V1"), _nothing)
        width = kind.list_size if types.is_fixed_size_list(kind) else _first_width(file, column)
        dtype = np.dtype(inner.to_pandas_dtype())

        def blocks(start: int, stop: int) -> Iterator[np.ndarray]:
            step = rows_per_block(width * dtype.itemsize)
            for at, part in _batches(file, column.name, start, stop, step, where):
                yield _rows_of(part, at, width, where)

        return Field(where, (count, width), dtype, blocks)
    if types.is_string(kind) or types.is_large_string(kind) or types.is_dictionary(kind):
        return Field(where, (count,), np.dtype(object), _values(file, column.name, where))
    if types.is_integer(kind):
        dtype = np.dtype(kind.to_pandas_dtype())
        return Field(where, (count,), dtype, _values(file, column.name, where))
    return Field(where, (count,), np.dtype("V1"), _nothing)


def _nothing(start: int, stop: int) -> Iterator[np.ndarray]:
    """For columns that are listed but cannot be read."""
    return iter(())


def _first_width(file: Any, column: "pyarrow.Field") -> int:  # noqa: ANN401  no stubs
    for batch in file.iter_batches(batch_size=1, columns=[column.name]):
        if len(batch) and batch.column(0)[0].is_valid:
            return len(batch.column(0)[0])
    return 0


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


def _rows_of(part: Any, at: int, width: int, where: str) -> np.ndarray:  # noqa: ANN401  no stubs
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
            f", row 0 has {width} values; all rows need the same length"
        )
    if missing or flat.size != len(lengths) * width:
        raise FormatError(f"{where}: a value is missing in the rows from {at}; fill or drop them")
    return flat.reshape(len(lengths), width)


def _values(file: Any, name: str, where: str) -> Any:  # noqa: ANN401  no stubs
    def blocks(start: int, stop: int) -> Iterator[np.ndarray]:
        for _, part in _batches(file, name, start, stop, 65536, where):
            with foreign(where, "parquet"):
                array = np.empty(len(part), dtype=object)
                array[:] = part.to_pylist()
            yield array

    return blocks


def open_folder(path: Path) -> contextlib.AbstractContextManager[Container]:
    """A folder of clip-retrieval: `img_emb/img_emb_0.npy, ...` beside `metadata/`.

    Raises:
        FormatError: any other folder.
    """
    parts = sorted(path.glob("*_emb_*.npy"))
    kinds = {match["kind"] for part in parts if (match := _PART.fullmatch(part.name))}
    if len(kinds) == 1:
        return open_clip_retrieval(path)
    inner = sorted(str(folder) for folder in path.glob("*_emb") if folder.is_dir())
    if inner or kinds:
        found = inner or sorted(f"{kind}_emb_*.npy" for kind in kinds)
        raise FormatError(f"{path}: has several kinds of embeddings; name one of {named(found)}")
    raise FormatError(f"{path}: is a directory; name the file inside it")


@contextlib.contextmanager
def open_clip_retrieval(path: Path) -> Iterator[Container]:
    """The arrays of clip-retrieval with the ids from its parquet tables.

    Args:
        path: one part, `img_emb_0.npy`, or the folder with all parts, which are put together in
            the order of their numbers.
    """
    parts = [path] if path.is_file() else list(path.glob("*_emb_*.npy"))
    numbered = sorted(
        (int(match["number"]), part)
        for part in parts
        if (match := _PART.fullmatch(part.name)) is not None
    )
    with contextlib.ExitStack() as stack:
        arrays, tables = [], []
        for number, part in numbered:
            opened = stack.enter_context(open_npy(regular_file(part)))
            arrays.append(opened.fields["embeddings"])
            table = _table_of(part, number)
            if table is not None:
                tables.append(stack.enter_context(open_parquet(regular_file(table))))
        if not tables:
            # Only called like clip-retrieval: an array with a side-car, like any other.
            if len(arrays) == 1 and find_sidecar(numbered[0][1]) is not None:
                yield Container(numbered[0][1], {"embeddings": arrays[0]}, per_item=False)
                return
        if len(tables) != len(arrays):
            raise FormatError(
                f"{path}: {len(arrays)} parts of embeddings but {len(tables)} tables "
                "metadata_<number>.parquet; every part needs the table of its number"
            )
        fields = {"embeddings": _joined(str(path), arrays)}
        for tier in TABLE_ID_NAMES:
            present = [name for name in tier if all(name in table.fields for table in tables)]
            if present:
                for name in present:
                    fields[name] = _joined(
                        f"{path}: column {named([name])}", [t.fields[name] for t in tables]
                    )
                break
        yield Container(path, fields, id_names=TABLE_ID_NAMES, per_item=False)


def _table_of(part: Path, number: int) -> Path | None:
    """The parquet table of a part, in `metadata/` beside its folder or next to it."""
    digits = part.stem.rpartition("_")[2]
    for name in dict.fromkeys((f"metadata_{digits}.parquet", f"metadata_{number}.parquet")):
        for folder in (part.parent.parent / "metadata", part.parent / "metadata", part.parent):
            if (folder / name).is_file():
                return folder / name
    return None


def _joined(where: str, fields: Sequence[Field]) -> Field:
    """Several arrays one after the other."""
    shapes = {item.shape[1:] for item in fields}
    dtypes = {item.dtype for item in fields}
    if len(shapes) > 1:
        odd = next(item for item in fields if item.shape[1:] != fields[0].shape[1:])
        raise FormatError(
            f"{odd.where}: is {odd.shape}, but {fields[0].where} is {fields[0].shape}; parts "
            "must have the same width"
        )
    if not fields[0].shape:
        return fields[0]
    ends = np.cumsum([item.shape[0] for item in fields]).tolist()

    def blocks(start: int, stop: int) -> Iterator[np.ndarray]:
        for item, end in zip(fields, ends, strict=True):
            begin = end - item.shape[0]
            low, high = max(start, begin), min(stop, end)
            if low < high:
                yield from item.blocks(low - begin, high - begin)

    dtype = dtypes.pop() if len(dtypes) == 1 else np.result_type(*dtypes)
    return Field(
        fields[0].where if len(fields) == 1 else where,
        (ends[-1], *fields[0].shape[1:]),
        dtype,
        blocks,
    )
