"""One array saved by numpy. Nothing is ever unpickled."""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from rerank.core.errors import FormatError
from rerank.io import cut
from rerank.io.container import Container
from rerank.io.field import Field, declared_bytes, rows_per_block
from rerank.io.files import foreign, named
from rerank.io.formats.registry import file_format
from rerank.io.recipes import from_object_array
from rerank.io.typed_table import table


class Header:
    """What stands at the start of every npy array."""

    def __init__(self, stream: IO[bytes], where: str) -> None:
        with foreign(where, "an array of numpy"), _own_words(where):
            version = npy.read_magic(stream)
            if version == (1, 0):
                header = npy.read_array_header_1_0(stream)
            elif version in ((2, 0), (3, 0)):
                # 3.0 is 2.0 with UTF-8 in the names of columns, which no plain array has.
                header = npy.read_array_header_2_0(stream)
            else:
                raise ValueError(f"version {version} of the format is not known")
            self.shape, self.fortran, self.dtype = header
            self.offset = stream.tell()
        self.nbytes = declared_bytes(self.shape, self.dtype)
        if any(extent < 0 for extent in self.shape):
            raise FormatError(f"{where}: declares a negative size {self.shape}")

    def block(self, raw: bytes, rows: int) -> np.ndarray:
        """Some rows from their bytes."""
        return np.frombuffer(raw, dtype=self.dtype).reshape(rows, *self.shape[1:])

    def check(self, there: int, where: str) -> None:
        """The bytes after the header are those of the array, no more and no fewer."""
        if self.nbytes != there:
            raise FormatError(
                f"{where}: declares {self.nbytes:,} bytes of data but holds {there:,}; the file "
                "is truncated or damaged"
            )


@contextlib.contextmanager
def _own_words(where: str) -> Iterator[None]:
    """What numpy says of a long header is advice for programmers."""
    try:
        yield
    except ValueError as error:
        if "max_header_size" not in str(error):
            raise
        raise FormatError(
            f"{where}: its header has more than 10,000 characters, as of a damaged file or of a "
            "table with hundreds of columns; save the numbers as one plain 2-D array"
        ) from error


@file_format(
    "npy",
    help="one array of numpy, its ids in a side-car; parts of clip-retrieval with their tables",
    endings=(".npy",),
    begins=(b"\x93NUMPY",),
    order=2,
)
@contextlib.contextmanager
def open_npy(path: Path) -> Iterator[Container]:
    """One array, of which only the rows asked for are read.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "v.npy"
    >>> np.save(path, np.ones((3, 2), "f4"))
    >>> with open_npy(path) as found:
    ...     found.fields["embeddings"].describe()
    '3x2 float32'

    Records are a table:

    >>> np.save(path, np.array([("a", 1, 2)], dtype="U1, f4, f4"))
    >>> with open_npy(path) as found:
    ...     sorted(found.fields), found.columns
    (['f0', 'f1', 'f2', 'values'], ('f1', 'f2'))
    """
    if re.fullmatch(r".+_emb_\d+", path.stem):
        from rerank.io.formats.folders import open_clip_retrieval  # which reads parts of npy

        with open_clip_retrieval(path) as container:
            yield container
        return
    field = npy_field(path)
    if field.dtype.names:
        yield table(path, {name: _column(field, name) for name in field.dtype.names})
    else:
        yield Container(path, {"embeddings": field}, per_item=False)


def _column(field: Field, name: str) -> Field:
    """One column of an array of records; a column may hold vectors itself."""
    assert field.dtype.fields is not None
    columns: Any = field.dtype.fields
    record = columns[name][0]
    dtype, shape = record.base, record.shape
    where = f"{field.where}: column {named([name])}"
    if len(field.shape) != 1:
        raise FormatError(
            f"{field.where}: is a table of the shape {field.shape}; save it as a list"
        )

    def blocks(start: int, stop: int) -> Iterator[np.ndarray]:
        for block in field.blocks(start, stop):
            yield np.ascontiguousarray(block[name])

    odd = f"a table with the columns {named(list(dtype.names))}" if dtype.names else ""
    return Field(where, (*field.shape, *shape), dtype, blocks, field.check, odd=odd)


def npy_field(path: Path) -> Field:
    """The array of a file."""
    with foreign(path, "an array of numpy"), path.open("rb") as stream:
        header = Header(stream, str(path))
    if header.dtype.hasobject:
        raise FormatError(
            f"{path}: holds Python objects, which only pickle can read; {from_object_array(path)}"
        )
    header.check(path.stat().st_size - header.offset, str(path))

    def mapped() -> np.ndarray:
        # Looked at again: what was cut since would end the program when it is touched.
        header.check(path.stat().st_size - header.offset, str(path))
        cut.mapped(path, header.offset + header.nbytes)
        with foreign(path, "an array of numpy"):
            return np.memmap(
                path,
                dtype=header.dtype,
                mode="r",
                offset=header.offset,
                shape=header.shape,
                order="F" if header.fortran else "C",
            )

    def blocks(start: int, stop: int) -> Iterator[np.ndarray]:
        if not header.nbytes:
            return
        row_bytes = header.nbytes // max(1, header.shape[0] if header.shape else 1)
        step = rows_per_block(row_bytes)
        if header.fortran:
            whole = mapped()
            for at in range(start, stop, step):
                yield whole[at : min(stop, at + step)]
            return
        with contextlib.ExitStack() as stack:
            with foreign(path, "an array of numpy"):
                stream = stack.enter_context(path.open("rb", buffering=0))
                stream.seek(header.offset + start * row_bytes, os.SEEK_SET)
            for at in range(start, stop, step):
                rows = min(stop - at, step)
                yield header.block(take(stream, rows * row_bytes, str(path)), rows)

    row_by_row = header.dtype.isnative and not header.fortran
    return Field(
        str(path), header.shape, header.dtype, blocks, mapped=mapped if row_by_row else None
    )


def take(stream: IO[bytes], size: int, where: str) -> bytes:
    """So many bytes.

    Raises:
        FormatError: there are fewer.
    """
    parts = []
    while size:
        with foreign(where, "an array of numpy"):
            part = stream.read(size)
        if not part:
            raise FormatError(f"{where}: ends too early; the file is truncated")
        parts.append(part)
        size -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
