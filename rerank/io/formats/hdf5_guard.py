"""An HDF5 file as the library sees it, with the heaps of text looked over first.

Text of any length lies in heaps, chains of entries of which each says where the next begins. The
library follows the chain without looking, and an entry that leads to itself makes it go on
forever, where nothing can interrupt it. So what it reads passes through here.

Text in HDF5, which the library reads with too much trust.

Text of any length is stored as a list of (length, place), and the library takes memory for the
length before it looks at the place: one wrong byte can cost 4 GB. So the lengths are added up
first, from the bytes of the file; together they cannot exceed it.

Whether an HDF5 file can hold what it declares, asked before the library reads any of it.

The library takes memory for the declared size, and it trusts the stored size of a chunk: a wrong
one makes it read beyond its buffers.
"""

import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5d, h5z  # pyright: ignore[reportAttributeAccessIssue]  compiled modules

from rerank.core.errors import FormatError
from rerank.io.field import MAX_RATIO, check_packed
from rerank.io.files import PathLike, foreign, named

# How a heap begins: its name, its version, three zeros.
_HEAP = b"GCOL\x01\0\0\0"
_ENTRY = struct.Struct("<HHIQ")

# Heaps are read a page at a time at first, never in the middle of anything large.
_SEARCHED = 1 << 16


class GuardedFile(io.RawIOBase):
    """A file for HDF5 to read from, which refuses heaps that would not be left again."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._file = path.open("rb", buffering=0)
        self._size = path.stat().st_size
        self._checked: set[int] = set()

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401  any buffer
        """Fill a buffer from the present position, and look over the heaps in it."""
        view = memoryview(buffer).cast("B")
        start, done = self._file.tell(), 0
        while done < len(view):
            step = self._file.readinto(view[done:])
            if not step:
                break
            done += step
        raw = bytes(view[: done if done <= _SEARCHED else len(_HEAP)])
        at = raw.find(_HEAP)
        while at >= 0:
            self._check_heap(start + at)
            at = raw.find(_HEAP, at + 1)
        self._file.seek(start + done)
        return done

    def _check_heap(self, start: int) -> None:
        if start in self._checked:
            return
        self._file.seek(start)
        head = self._file.read(16) or b""
        size = int.from_bytes(head[8:16], "little")
        heap = b""
        if 16 <= size <= self._size - start:
            heap = head + (self._file.read(size - 16) or b"")
        at = 16
        while heap and at + _ENTRY.size <= size:
            number, _, _, length = _ENTRY.unpack_from(heap, at)
            # Entry 0 is what is still free, and counts its own header.
            step = length if number == 0 else _ENTRY.size + (length + 7) // 8 * 8
            if step < 8 or at + step > size:
                heap = b""
            at += step
        if len(heap) != size or not heap:
            raise FormatError(
                f"{self._path}: the text at byte {start:,} is damaged; the file has to be written "
                "again"
            )
        self._checked.add(start)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a position."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """The present position."""
        return self._file.tell()

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def close(self) -> None:
        """Close the file."""
        super().close()
        self._file.close()


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


# What a filter adds to a chunk; others change its size as they like.
_ADDED = {h5z.FILTER_SHUFFLE: 0, h5z.FILTER_FLETCHER32: 4}


def check_size(dataset: h5py.Dataset, where: str, path: Path) -> None:
    """Refuse a dataset that the file cannot hold.

    Raises:
        FormatError: it declares more than there is, was not written to its end, or its chunks
            have sizes they cannot have.
    """
    item_bytes = dataset.dtype.itemsize
    if is_ragged_text(dataset):
        item_bytes = entry_bytes(dataset)
    declared = item_bytes
    for extent in dataset.shape:
        declared *= int(extent)
    if declared == 0:
        return
    with foreign(where, "HDF5 data"):
        layout = dataset.id.get_create_plist().get_layout()
    if layout == h5d.CHUNKED:
        _check_chunks(dataset, where, path, declared)
    elif layout == h5d.CONTIGUOUS:
        with foreign(where, "HDF5 data"):
            stored, offset = int(dataset.id.get_storage_size()), dataset.id.get_offset()
        size = path.stat().st_size
        if offset is None or stored > size or offset + stored > size or declared > stored:
            raise _too_much(where, declared, 0 if offset is None else max(0, size - offset))
    if len(dataset.shape) == 1 and is_ragged_text(dataset):
        check_lengths(dataset, where, path)


def is_unwritten(dataset: h5py.Dataset) -> bool:
    """Whether a dataset has a size, and nothing was ever written into it.

    HDF5 gives zeros for it, which nobody measured. Where its place in the file is damaged, that is
    for `check_size` to say, of a dataset that is used.
    """
    if not dataset.size:
        return False
    seen: list[int] = []
    try:
        layout = dataset.id.get_create_plist().get_layout()
        if layout != h5d.CHUNKED:
            return layout == h5d.CONTIGUOUS and dataset.id.get_offset() is None
        dataset.id.chunk_iter(lambda chunk: seen.append(chunk.size) or 1)  # one is enough
    except Exception:  # noqa: BLE001  of any kind, as damage has it
        return False
    return not seen


def _too_much(where: str, declared: int, there: int) -> FormatError:
    return FormatError(
        f"{where}: declares {declared:,} bytes, but the file has only {there:,} for it; it is "
        "truncated, was never filled, or is not to be trusted"
    )


def _check_chunks(dataset: h5py.Dataset, where: str, path: Path, declared: int) -> None:
    size = path.stat().st_size
    with foreign(where, "HDF5 data"):
        plist = dataset.id.get_create_plist()
        filters = [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]
        chunk_bytes = entry_bytes(dataset)
        expected = 1
        for extent, side in zip(dataset.shape, dataset.chunks or (), strict=True):
            expected *= -(-int(extent) // int(side))
            chunk_bytes *= int(side)
        found = stored = 0
        odd: list[int] = []

        def visit(chunk: h5d.StoreInfo) -> None:
            nonlocal found, stored
            found += 1
            stored += chunk.size
            used = [f for i, f in enumerate(filters) if not chunk.filter_mask >> i & 1]
            # Without compression the size is known, with it there has to be something besides
            # the checksum.
            added = [_ADDED.get(f) for f in used]
            least = chunk_bytes if None not in added else 1
            least += sum(extra or 0 for extra in added)
            wrong = chunk.size < least or (None not in added and chunk.size != least)
            if wrong or chunk.byte_offset + chunk.size > size:
                odd.append(chunk.size)

        dataset.id.chunk_iter(visit)
    if odd:
        raise FormatError(
            f"{where}: {len(odd)} of its chunks cannot be of the stored size (one has {odd[0]:,} "
            f"bytes, {chunk_bytes:,} before compression); the file is damaged or truncated"
        )
    room = stored * (MAX_RATIO if filters else 1)
    if declared > room or stored > size:
        raise _too_much(where, declared, min(stored, size))
    check_packed(declared, stored, where)
    if found < expected:
        raise FormatError(
            f"{where}: {expected - found} of its {expected} chunks were never written; "
            "the program that wrote it stopped early, run it again"
        )
    if chunk_bytes > stored * MAX_RATIO:
        raise FormatError(f"{where}: declares chunks of {chunk_bytes:,} bytes, more than it holds")
