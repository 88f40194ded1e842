"""Arrays saved by numpy: npy and npz. Nothing is ever unpickled."""

import contextlib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy

from rerank.core.errors import FormatError
from rerank.io.container import Container
from rerank.io.field import MAX_RATIO, Field, rows_per_block
from rerank.io.files import foreign, named

PICKLE_RECIPE = (
    "a pickle can run any program when it is read, so it is not read here; if you trust it: "
    "python -c \"import pickle, numpy as n; d = pickle.load(open('IN.pkl', 'rb')); "
    "n.savez('OUT.npz', ids=[str(k) for k in d], "
    "embeddings=n.stack([n.asarray(x, 'float32').ravel() for x in d.values()]))\""
)


class _Header:
    """What stands at the start of every npy array."""

    def __init__(self, stream: IO[bytes], where: str) -> None:
        with foreign(where, "an array of numpy"):
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
        if self.dtype.hasobject:
            raise FormatError(
                f"{where}: holds Python objects, which only pickle can read; {PICKLE_RECIPE}; ids "
                "are saved without pickle by np.array(ids, dtype=str)"
            )
        if any(extent < 0 for extent in self.shape):
            raise FormatError(f"{where}: declares a negative size {self.shape}")

    @property
    def nbytes(self) -> int:
        size = self.dtype.itemsize
        for extent in self.shape:
            size *= extent
        return size

    def check(self, there: int, where: str) -> None:
        """The bytes after the header are those of the array, no more and no fewer."""
        if self.nbytes != there:
            raise FormatError(
                f"{where}: declares {self.nbytes:,} bytes of data but holds {there:,}; the file "
                "is truncated or damaged"
            )


@contextlib.contextmanager
def open_npy(path: Path) -> Iterator[Container]:
    """One array; mapped into memory, so that only the rows asked for are read."""
    with foreign(path, "an array of numpy"), path.open("rb") as stream:
        header = _Header(stream, str(path))
    header.check(path.stat().st_size - header.offset, str(path))

    def mapped() -> np.ndarray:
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
        whole = mapped()
        step = rows_per_block(header.nbytes // max(1, header.shape[0]))
        for at in range(start, stop, step):
            yield whole[at : min(stop, at + step)]

    row_by_row = header.dtype.isnative and not header.fortran
    item = Field(
        str(path), header.shape, header.dtype, blocks, mapped=mapped if row_by_row else None
    )
    yield Container(path, {"embeddings": item}, per_item=False)


@contextlib.contextmanager
def open_npz(path: Path) -> Iterator[Container]:
    """Several arrays in a zip archive, each read as a stream."""
    with contextlib.ExitStack() as stack:
        with foreign(path, "an npz archive"):
            archive = stack.enter_context(zipfile.ZipFile(path))
        fields: dict[str, Field] = {}
        for info in archive.infolist():
            name = info.filename.removesuffix(".npy")
            if name in fields:
                raise FormatError(f"{path}: {named([name])} is in the archive twice")
            if info.filename.endswith(".npy"):
                fields[name] = _member(path, archive, info, name)
        yield Container(path, fields)


def _member(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str) -> Field:
    where = f"{path}: {named([name])}"
    if info.file_size > MAX_RATIO * info.compress_size + 1024:
        raise FormatError(f"{where}: declares more data than it can hold; it is damaged")
    with foreign(where, "an array of numpy"), archive.open(info) as stream:
        header = _Header(stream, where)
    header.check(info.file_size - header.offset, where)
    row_bytes = header.nbytes // max(1, header.shape[0]) if header.shape else 0

    def blocks(start: int, stop: int) -> Iterator[np.ndarray]:
        if not row_bytes:
            return
        with contextlib.ExitStack() as stack:
            with foreign(where, "an array of numpy"):
                stream = stack.enter_context(archive.open(info))
                # A stream has no other way to the data than through what is before it.
                stream.seek(header.offset + (0 if header.fortran else start * row_bytes))
            if header.fortran:
                # Stored column by column, so a row is not to be had without all of it.
                raw = _take(stream, header.nbytes, where)
                whole = np.frombuffer(raw, dtype=header.dtype).reshape(header.shape[::-1]).T
                yield whole[start:stop]
                return
            step = rows_per_block(row_bytes)
            for at in range(start, stop, step):
                rows = min(stop - at, step)
                raw = _take(stream, rows * row_bytes, where)
                block = np.frombuffer(raw, dtype=header.dtype)
                yield block.reshape(rows, *header.shape[1:])

    return Field(where, header.shape, header.dtype, blocks)


def _take(stream: IO[bytes], size: int, where: str) -> bytes:
    with foreign(where, "an array of numpy"):
        raw = stream.read(size)
    if len(raw) != size:
        raise FormatError(f"{where}: ends too early; the file is truncated")
    return raw
