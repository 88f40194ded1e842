"""HDF5, read without trusting it.

An HDF5 file can point out of itself (external links, external storage, virtual datasets), so that
reading it would read other files of the machine, and it can declare far more data than it holds.
Only data inside the file, of a size the file can hold, is read.
"""

import contextlib
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
from h5py import h5d, h5o  # pyright: ignore[reportAttributeAccessIssue]  compiled modules

from rerank.errors import FormatError
from rerank.io.checks import Field, rows_per_block
from rerank.io.files import PathLike, foreign, named, regular_file
from rerank.io.hdf5guard import GuardedFile
from rerank.io.hdf5size import check_size

_MAX_DEPTH = 32
# One block of rows, where whole chunks of few columns would make a larger one.
_MOST_BYTES = 64 << 20
_MAGIC = b"\x89HDF\r\n\x1a\n"


def is_hdf5(path: Path) -> bool:
    """Whether the file starts like HDF5."""
    with path.open("rb") as stream:
        return stream.read(8) == _MAGIC


@contextlib.contextmanager
def open_hdf5(path: PathLike) -> Iterator[tuple[h5py.File, dict[str, Field]]]:
    """An HDF5 file opened for reading, and its datasets by their path without the leading slash.

    Raises:
        FormatError: not HDF5, truncated, or with links, storage or virtual datasets that point out
            of the file.
    """
    path = regular_file(path)
    with contextlib.ExitStack() as stack:
        with foreign(path, "HDF5"):
            guarded = stack.enter_context(GuardedFile(path))
            file = stack.enter_context(h5py.File(guarded, "r"))
            fields: dict[str, Field] = {}
            _walk(file, "", path, fields, {_token(file)})
        yield file, fields


def _token(item: h5py.Group | h5py.Dataset) -> tuple[int, object]:
    info = h5o.get_info(item.id)
    return info.fileno, info.addr


def _walk(
    group: h5py.Group,
    prefix: str,
    path: Path,
    fields: dict[str, Field],
    seen: set[tuple[int, object]],
) -> None:
    """Collect the datasets below a group; depth and repeated groups are bounded."""
    if prefix.count("/") > _MAX_DEPTH:
        raise FormatError(f"{path}: groups are nested more than {_MAX_DEPTH} deep; flatten them")
    for name in group:
        where = f"{path}: {named([f'/{prefix}{name}'])}"
        link = group.get(name, getlink=True)
        if isinstance(link, h5py.ExternalLink):
            raise FormatError(
                f"{where}: is a link to another file ({named([link.filename])}), which is not "
                "followed; copy the data into this file"
            )
        if not isinstance(link, h5py.HardLink):
            raise FormatError(f"{where}: is a soft link, which is not followed; copy the data")
        item = group[name]
        if isinstance(item, h5py.Group):
            token = _token(item)
            if token in seen:
                raise FormatError(f"{where}: is a group that appears twice or holds itself")
            seen.add(token)
            _walk(item, f"{prefix}{name}/", path, fields, seen)
        elif isinstance(item, h5py.Dataset):
            fields[f"{prefix}{name}"] = _field(item, where, path)


def _field(dataset: h5py.Dataset, where: str, path: Path) -> Field:
    plist = dataset.id.get_create_plist()
    if plist.get_external_count():
        raise FormatError(f"{where}: keeps its data in other files, which are not read; copy it")
    if plist.get_layout() == h5d.VIRTUAL:
        raise FormatError(f"{where}: is a virtual dataset over other files; copy the data")
    shape = dataset.shape
    if shape is None:
        raise FormatError(f"{where}: is a dataset without any data; write it again")
    dtype = dataset.dtype
    if dtype.kind == "O" and h5py.check_string_dtype(dtype) is None:
        # References or ragged arrays: named for what they are when somebody asks for them.
        dtype = np.dtype("V16")
    return Field(
        where,
        tuple(int(extent) for extent in shape),
        dtype,
        lambda start, stop: _blocks(dataset, where, start, stop),
        lambda: check_size(dataset, where, path),
        _map(dataset, where, path),
    )


def _map(dataset: h5py.Dataset, where: str, path: Path) -> Callable[[], np.ndarray] | None:
    """How to map a dataset that lies in the file as one piece of plain numbers, or None."""
    plist, offset = dataset.id.get_create_plist(), dataset.id.get_offset()
    # The size of a block before the file would have to be added to the offset.
    plain = plist.get_layout() == h5d.CONTIGUOUS and dataset.file.userblock_size == 0
    if not plain or offset is None or not dataset.dtype.isnative or dataset.dtype.kind != "f":
        return None

    def mapped() -> np.ndarray:
        with foreign(where, "HDF5 data"):
            return np.memmap(path, dataset.dtype, mode="r", offset=offset, shape=dataset.shape)

    return mapped


def _blocks(dataset: h5py.Dataset, where: str, start: int, stop: int) -> Iterator[np.ndarray]:
    """Rows start..stop, in blocks that end where the stored chunks end."""
    row_bytes = dataset.dtype.itemsize * int(np.prod(dataset.shape[1:], dtype=object))
    chunk = dataset.chunks[0] if dataset.chunks else 1
    step = rows_per_block(row_bytes, chunk)
    if dataset.chunks and step * row_bytes > _MOST_BYTES:
        # Chunks of few columns: better unpacked several times than side by side in memory.
        chunk_bytes = dataset.dtype.itemsize * math.prod(dataset.chunks)
        step = min(step, max(1, max(_MOST_BYTES, chunk_bytes) // row_bytes))
    at = start
    while at < stop:
        end = min(stop, (at // step + 1) * step)
        with foreign(where, "HDF5 data"):
            block = dataset[at:end]
        yield block
        at = end
