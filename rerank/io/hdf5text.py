"""Text in HDF5, which the library reads with too much trust.

Text of any length is stored as a list of (length, place), and the library takes memory for the
length before it looks at the place: one wrong byte can cost 4 GB. So the lengths are added up
first, from the bytes of the file; together they cannot exceed it.
"""

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from rerank.errors import FormatError
from rerank.io.files import PathLike, foreign, named

_DEFLATE, _SHUFFLE = 1, 2


def is_ragged_text(dataset: h5py.Dataset) -> bool:
    """Whether every entry has a length of its own."""
    info = h5py.check_string_dtype(dataset.dtype)
    return info is not None and info.length is None


def entry_bytes(dataset: h5py.Dataset) -> int:
    """Bytes of one entry as stored: for text a length, the place, and a number in that place."""
    if is_ragged_text(dataset):
        return 4 + dataset.file.id.get_create_plist().get_sizes()[0] + 4
    return dataset.id.get_type().get_size()


def check_lengths(dataset: h5py.Dataset, where: str, path: Path) -> None:
    """Refuse text that would be longer than the file it lies in.

    Raises:
        FormatError: it would be.
    """
    limit = path.stat().st_size
    total = 0
    with foreign(where, "HDF5 text"):
        entry = np.dtype([("length", "<u4"), ("place", f"V{entry_bytes(dataset) - 4}")])
        for raw in _raw(dataset, entry.itemsize, path):
            whole = len(raw) // entry.itemsize * entry.itemsize
            total += int(np.frombuffer(raw[:whole], entry)["length"].sum(dtype=np.uint64))
            if total > limit:
                break
    if total > limit:
        raise FormatError(
            f"{where}: declares text of {total:,} bytes or more in a file of {limit:,}; the file "
            "is damaged"
        )


def _raw(dataset: h5py.Dataset, entry_bytes: int, path: Path) -> Iterator[bytes]:
    """The stored bytes of a 1-D dataset, as far as they can be had without its conversion."""
    count = dataset.shape[0]
    if dataset.chunks is None:
        offset = dataset.id.get_offset()
        if offset is not None:
            with path.open("rb") as stream:
                stream.seek(offset)
                yield stream.read(count * entry_bytes)
        return
    plist = dataset.id.get_create_plist()
    filters = [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]
    if not set(filters) <= {_DEFLATE, _SHUFFLE}:
        return
    rows = dataset.chunks[0]
    for start in range(0, count, rows):
        skipped, raw = dataset.id.read_direct_chunk((start,))
        for number in reversed(range(len(filters))):
            if skipped >> number & 1:
                continue
            if filters[number] == _DEFLATE:
                raw = zlib.decompressobj().decompress(raw, rows * entry_bytes)
            else:
                raw = np.frombuffer(raw, np.uint8).reshape(entry_bytes, -1).T.tobytes()
        # The last chunk is stored whole; what is beyond the end means nothing.
        yield raw[: min(rows, count - start) * entry_bytes]


def text_attribute(file: h5py.File | h5py.Group, name: str, path: PathLike) -> str | None:
    """A text attribute; None when there is none of this name.

    Raises:
        FormatError: it is there and is not UTF-8 text.
    """
    with foreign(path, "HDF5"):
        value: Any = file.attrs.get(name)
        if isinstance(value, np.ndarray) and value.shape in ((), (1,)):
            value = value.reshape(-1)[0]
        if isinstance(value, bytes):
            value = value.decode("utf-8")
        if isinstance(value, str):
            # h5py hands on bytes that are not UTF-8 as lone surrogates.
            value.encode("utf-8")
    if value is not None and not isinstance(value, str):
        raise FormatError(f"{path}: the attribute {name!r} is {named([value])}, expected text")
    return value
