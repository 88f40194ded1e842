"""HDF5, written whole or not at all, so that a full disk is an error and no crash."""

import contextlib
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from rerank.io.checks import rows_per_block
from rerank.io.files import PathLike, atomic_path


class _Sink(io.RawIOBase):
    """A file for HDF5 to write to, which keeps the first error instead of handing it on.

    When the disk is full, the library fails a second time while it closes the file, and then
    brings the process down. Here it is left in the belief that all went well; the error is raised
    once the file is closed.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._file = path.open("rb+", buffering=0)
        self.error: OSError | None = None

    def write(self, data: Any) -> int:  # noqa: ANN401  any buffer
        view = memoryview(data).cast("B")
        done = 0
        while self.error is None and done < len(view):
            try:
                done += self._file.write(view[done:]) or 0
            except OSError as error:
                self.error = error
        if self.error is not None:
            # Positions have to go on as if it had been written.
            self._file.seek(len(view) - done, io.SEEK_CUR)
        return len(view)

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401  any buffer
        view = memoryview(buffer).cast("B")
        done = self._file.readinto(view) or 0
        if self.error is not None:
            view[done:] = bytes(len(view) - done)
            done = len(view)
        return done

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def truncate(self, size: int | None = None) -> int:
        try:
            return self._file.truncate(size)
        except OSError as error:
            self.error = self.error or error
            return size or 0

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        super().close()
        self._file.close()


class Writer:
    """What may be written into a new HDF5 file; made by `create_hdf5`."""

    def __init__(self, file: h5py.File, sink: _Sink) -> None:
        self._file, self._sink = file, sink

    def attribute(self, name: str, value: str | bool | int | float, *, group: str = "/") -> None:
        """An attribute of a group."""
        self._file.require_group(group).attrs[name] = value

    def ids(self, name: str, ids: Sequence[str]) -> None:
        """A 1-D dataset of UTF-8 text."""
        self._file.create_dataset(
            name,
            data=np.array(list(ids), dtype=object),
            dtype=h5py.string_dtype("utf-8"),
            track_times=False,
        )
        self.check()

    def dataset(self, name: str, shape: tuple[int, ...], dtype: np.dtype) -> h5py.Dataset:
        """An empty dataset with checksums, to be filled row by row; little-endian."""
        row_bytes = max(1, dtype.itemsize * int(np.prod(shape[1:])))
        # Chunks of about a megabyte, and never larger than the data.
        rows = max(1, min(shape[0], (1 << 20) // row_bytes))
        return self._file.create_dataset(
            name,
            shape=shape,
            dtype=dtype.newbyteorder("<"),
            chunks=(rows, *(max(1, extent) for extent in shape[1:])) if all(shape) else None,
            fletcher32=bool(all(shape)) or None,
            track_times=False,
            fillvalue=None,
        )

    def array(self, name: str, array: np.ndarray) -> None:
        """A dataset with checksums, written block by block."""
        made = self.dataset(name, array.shape, array.dtype)
        if array.size:
            row_bytes = array.dtype.itemsize * int(np.prod(array.shape[1:]))
            step = rows_per_block(row_bytes, made.chunks[0] if made.chunks else 1)
            for start in range(0, len(array), step):
                made[start : start + step] = array[start : start + step]
                self.check()

    def check(self) -> None:
        """Stop early when the disk is full."""
        if self._sink.error is not None:
            raise self._sink.error


@contextlib.contextmanager
def create_hdf5(path: PathLike) -> Iterator[Writer]:
    """A new HDF5 file that takes the place of `path` when the body succeeds; see `atomic_path`.

    The same content gives the same bytes: no times are stored.

    Raises:
        FormatError: not writable, or the disk is full.
    """
    with atomic_path(path) as temporary:
        sink = _Sink(temporary)
        try:
            # Format of HDF5 1.10, which every installation in use reads; it checksums its
            # metadata, which the oldest one does not.
            with h5py.File(sink, "w", libver=("v108", "v110")) as file:
                yield Writer(file, sink)
        except Exception as error:
            # Whatever came of a failed write, the write is what failed.
            if sink.error is not None:
                raise sink.error from error
            raise
        finally:
            sink.close()
        if sink.error is not None:
            raise sink.error
