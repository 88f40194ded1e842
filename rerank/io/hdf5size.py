"""Whether an HDF5 file can hold what it declares, asked before the library reads any of it.

The library takes memory for the declared size, and it trusts the stored size of a chunk: a wrong
one makes it read beyond its buffers.
"""

from pathlib import Path

import h5py
from h5py import h5d, h5z  # pyright: ignore[reportAttributeAccessIssue]  compiled modules

from rerank.errors import FormatError
from rerank.io.checks import MAX_RATIO
from rerank.io.files import foreign
from rerank.io.hdf5text import check_lengths, entry_bytes, is_ragged_text

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
    if found < expected:
        raise FormatError(
            f"{where}: {expected - found} of its {expected} chunks were never written; "
            "the program that wrote it stopped early, run it again"
        )
    if chunk_bytes > stored * MAX_RATIO:
        raise FormatError(f"{where}: declares chunks of {chunk_bytes:,} bytes, more than it holds")
