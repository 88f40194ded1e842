"""Several arrays of numpy in a zip archive. Nothing is ever unpickled."""

import contextlib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from rerank.core.errors import FormatError
from rerank.io.container import ID_NAMES, VECTOR_NAMES, Container
from rerank.io.field import MAX_RATIO, Field, afford, check_packed, rows_per_block
from rerank.io.files import check_whole, foreign, named
from rerank.io.formats.npy import Header, take
from rerank.io.formats.registry import file_format
from rerank.io.recipes import from_object_archive, from_sparse, unzipped

# What scipy.sparse.save_npz writes, and what all of that is.
_SPARSE = {
    "data", "shape", "format", "indices", "indptr", "row", "col", "offsets", "coords", "_is_array",
}  # fmt: skip


@file_format(
    "npz",
    help="arrays of numpy by name, packed or not",
    endings=(".npz",),
    glance="glance_at_npz",
    order=3,
)
@contextlib.contextmanager
def open_npz(path: Path) -> Iterator[Container]:
    """Several arrays in a zip archive, each read as a stream.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "v.npz"
    >>> np.savez(path, embeddings=np.ones((3, 2)), ids=["a", "b", "c"])
    >>> with open_npz(path) as found:
    ...     sorted(found.fields)
    ['embeddings', 'ids']

    Arrays of Python objects are named, and block nothing beside them:

    >>> np.savez(path, embeddings=np.ones((3, 2)), notes=np.array([{}], dtype=object))
    >>> with open_npz(path) as found:
    ...     print(found.fields["notes"].odd)
    an array of Python objects, which only pickle can read
    """
    if not zipfile.is_zipfile(path):
        check_whole(path, "an npz archive")
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
        if not fields:
            raise FormatError(f"{path}: {_without_arrays(path, archive.namelist())}")
        if {"data", "shape", "format"} < fields.keys() <= _SPARSE:
            raise FormatError(f"{path}: is a sparse matrix of scipy; {from_sparse(path)}")
        yield Container(path, fields)


def _without_arrays(path: Path, held: list[str]) -> str:
    if not held:
        return "is a zip archive without arrays of numpy, and empty; name another file"
    return (
        f"is a zip archive without arrays of numpy (it holds {named(held[:3])}); unpack it and "
        f"name the file in it: {unzipped(path)}"
    )


def glance_at_npz(path: Path) -> None:
    """Refuse embeddings and ids that are next to nothing, by what the archive says of them.

    Raises:
        FormatError: they are, or it is no archive.
    """
    with foreign(path, "an npz archive"):
        if not zipfile.is_zipfile(path):
            return  # which is said where it is opened
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    for info in members:
        name = info.filename.removesuffix(".npy")
        if name in (*VECTOR_NAMES, *ID_NAMES):
            check_packed(info.file_size, info.compress_size, f"{path}: {named([name])}")


def _member(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str) -> Field:
    where = f"{path}: {named([name])}"
    if info.file_size > MAX_RATIO * info.compress_size + 1024:
        raise FormatError(f"{where}: declares more data than it can hold; it is damaged")
    with foreign(where, "an array of numpy"), archive.open(info) as stream:
        header = Header(stream, where)
    # Named for what it is when somebody asks for it; others beside it are plain.
    odd = fix = ""
    if header.dtype.hasobject:
        odd = "an array of Python objects, which only pickle can read"
        fix = from_object_archive(path)
    else:
        header.check(info.file_size - header.offset, where)
        if header.dtype.names:
            odd = f"a table with the columns {named(list(header.dtype.names))}"
            fix = "save each column as an array of its own"
    if odd:
        nothing = lambda start, stop: iter(())  # noqa: ARG005, E731
        return Field(where, header.shape, np.dtype("V1"), nothing, odd=odd, fix=fix)
    row_bytes = header.nbytes // max(1, header.shape[0]) if header.shape else header.nbytes

    def check() -> None:
        check_packed(info.file_size, info.compress_size, where)

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
                afford(header.nbytes, where, what="an array that is stored column by column")
                raw = take(stream, header.nbytes, where)
                whole = np.frombuffer(raw, dtype=header.dtype).reshape(header.shape[::-1]).T
                yield whole[start:stop]
                return
            step = rows_per_block(row_bytes)
            for at in range(start, stop, step):
                rows = min(stop - at, step)
                yield header.block(take(stream, rows * row_bytes, where), rows)

    return Field(where, header.shape, header.dtype, blocks, check)
