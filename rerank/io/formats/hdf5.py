"""HDF5, read without trusting it.

An HDF5 file can point out of itself (external links, external storage, virtual datasets), so that
reading it would read other files of the machine, and it can declare far more data than it holds.
Only data inside the file, of a size the file can hold, is read.

HDF5, written whole or not at all, so that a full disk is an error and no crash.
"""

import contextlib
import io
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5d, h5o  # pyright: ignore[reportAttributeAccessIssue]  compiled modules

from rerank.core.errors import FormatError
from rerank.io import cut
from rerank.io.container import Container
from rerank.io.field import NOTHING, Field, afford, empty_field, rows_per_block
from rerank.io.files import PathLike, atomic_path, foreign, named, regular_file
from rerank.io.formats.hdf5_guard import (
    GuardedFile,
    check_size,
    is_unwritten,
    text_attribute,
)
from rerank.io.formats.octave import text_of
from rerank.io.formats.registry import file_format
from rerank.io.formats.told_lists import ids_of_attributes, names_of_attributes
from rerank.io.formats.told_numbers import numbers_of_attributes
from rerank.io.interrupts import signals_wait

_MAX_DEPTH = 32
# One block of rows, where whole chunks of few columns would make a larger one.
_MOST_BYTES = 64 << 20
# MATLAB keeps what belongs to cells and structures apart.
_REFERENCED = ("#refs#", "#subsystem#")
# What to do about a dataset that was created and no more.
_FILL = "write its values, or leave it out of the file"
_TRANSPOSED = "MATLAB_class"
# Octave makes a group of each variable: its type, and its value with columns first.
_VARIABLE = "OCTAVE_NEW_FORMAT"


@file_format(
    "hdf5",
    help="arrays by name, in groups; also MATLAB 7.3 and Octave, the way round they show",
    endings=(".h5", ".hdf5", ".mat"),
    begins=(b"\x89HDF\r\n\x1a\n", b"MATLAB 7.3 MAT-f"),
    order=1,
)
@contextlib.contextmanager
def open_hdf5_container(path: Path) -> Iterator[Container]:
    """The datasets of a file by their path without the leading slash.

    >>> with open_hdf5_container(Path("data_samples/texts.h5")) as found:
    ...     print(sorted(found.fields), found.schema)
    ['embeddings', 'ids'] rerank/1

    Groups are part of the names:

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "v.h5"
    >>> with h5py.File(path, "w") as file:
    ...     file["test/video7"] = np.ones((12, 4))
    >>> with open_hdf5_container(path) as found:
    ...     print({name: field.shape for name, field in found.fields.items()})
    {'test/video7': (12, 4)}
    """
    with path.open("rb") as stream:
        head = stream.read(24)
    if head.startswith(b"MATLAB 5.0") or _is_matlab_4(head):
        raise FormatError(
            f"{path}: is of an older MATLAB format, which is not read; save it with -v7.3, or by "
            "scipy.io.loadmat and numpy.save"
        )
    if head.startswith((b"# Created by Octave", b"Octave-1-")):
        raise FormatError(
            f"{path}: is of a format of Octave, which is not read; save it by csvwrite in Octave"
        )
    with _opened(regular_file(path)) as (file, fields, empty):
        name_of = {field.where: name for name, field in fields.items()}
        numbers = numbers_of_attributes(file, path)
        yield Container(
            path,
            fields,
            schema=text_attribute(file, "rerank_schema", path),
            content_sha256=text_attribute(file, "content_sha256", path),
            attached=lambda item: ids_of_attributes(file, name_of[item.where], path),
            noted=lambda item: names_of_attributes(file, name_of.get(item.where, ""), path),
            told=lambda item: numbers(name_of[item.where]),
            besides=dict.fromkeys(empty, NOTHING),
        )


def _is_matlab_4(head: bytes) -> bool:
    """Whether a file begins as MATLAB 4 does: five small numbers, and a name.

    They are the type of the numbers, rows, columns, whether they are complex, and the length of the
    name.
    """
    if len(head) < 20 or 0 not in head[:4]:
        return False
    for order in ("little", "big"):
        kind, *_, is_complex, length = (
            int.from_bytes(head[at : at + 4], order) for at in range(0, 20, 4)
        )
        digits = f"{kind:04d}"
        known = len(digits) == 4 and digits[0] in "01234" and digits[1] == "0"
        if known and digits[2] in "012345" and digits[3] in "012":
            return is_complex in (0, 1) and 1 < length < 1 << 10
    return False


@contextlib.contextmanager
def open_hdf5(path: PathLike) -> Iterator[tuple[h5py.File, dict[str, Field]]]:
    """An HDF5 file opened for reading, and its datasets by their path without the leading slash.

    Raises:
        FormatError: not HDF5, truncated, or with links, storage or virtual datasets that point out
            of the file.
    """
    with _opened(regular_file(path)) as (file, fields, _):
        yield file, fields


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[h5py.File, dict[str, Field], list[str]]]:
    """The same, and the names of the groups in which nothing lies."""
    with contextlib.ExitStack() as stack:
        with foreign(path, "HDF5"):
            guarded = stack.enter_context(GuardedFile(path))
            file = stack.enter_context(h5py.File(guarded, "r"))
            fields: dict[str, Field] = {}
            empty: list[str] = []
            _walk(file, "", path, fields, empty, {_token(file)})
        yield file, fields, empty


def _token(item: h5py.Group | h5py.Dataset) -> tuple[int, object]:
    info = h5o.get_info(item.id)
    return info.fileno, info.addr


def _walk(
    group: h5py.Group,
    prefix: str,
    path: Path,
    fields: dict[str, Field],
    empty: list[str],
    seen: set[tuple[int, object]],
) -> None:
    """Collect the datasets below a group, and the groups that hold none; both are bounded."""
    if prefix.count("/") > _MAX_DEPTH:
        raise FormatError(f"{path}: groups are nested more than {_MAX_DEPTH} deep; flatten them")
    octave = bool(prefix) and _VARIABLE in group.attrs
    if octave and (text := text_of(group, f"{path}: {named([f'/{prefix[:-1]}'])}", path)):
        fields[prefix[:-1]] = text
        return
    for name in group:
        if (not prefix and name in _REFERENCED) or (octave and name == "type"):
            continue
        # The value of a variable goes by the name of the variable.
        full = prefix[:-1] if octave and name == "value" else f"{prefix}{name}"
        where = f"{path}: {named([f'/{full}'])}"
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
            if not len(item):
                empty.append(full)
            _walk(item, f"{full}/", path, fields, empty, seen)
        elif isinstance(item, h5py.Dataset):
            fields[full] = _field(item, where, path, octave=octave)


def _field(dataset: h5py.Dataset, where: str, path: Path, *, octave: bool) -> Field:
    plist = dataset.id.get_create_plist()
    if plist.get_external_count():
        raise FormatError(f"{where}: keeps its data in other files, which are not read; copy it")
    if plist.get_layout() == h5d.VIRTUAL:
        raise FormatError(f"{where}: is a virtual dataset over other files; copy the data")
    shape = dataset.shape
    if shape is None:
        return empty_field(where, "a dataset without any data", "write it again")
    dtype = dataset.dtype
    extents = tuple(int(extent) for extent in shape)
    turned = _TRANSPOSED in dataset.attrs
    if h5py.check_ref_dtype(dtype) is h5py.Reference and turned:
        return _cells(dataset, where, extents)
    odd, fix = _oddness(dtype)
    unwritten = is_unwritten(dataset)
    if unwritten and not odd:
        what = "a dataset that declares values and was never filled"
        return replace(empty_field(where, what, _FILL), shape=extents)
    if (codes := h5py.check_enum_dtype(dtype)) is not None:
        return _enum(dataset, where, path, {code: name for name, code in codes.items()})
    if (turned or octave) and dtype.kind in "iufb" and len(extents) > 1:
        return Field(
            where,
            extents[::-1],
            dtype,
            lambda start, stop: _columns(dataset, where, start, stop),
            lambda: check_size(dataset, where, path),
        )
    return Field(
        where,
        extents,
        np.dtype("V16") if odd else dtype,
        lambda start, stop: _blocks(dataset, where, start, stop),
        lambda: None if unwritten else check_size(dataset, where, path),
        _map(dataset, where, path) if len(extents) == 2 and not odd else None,
        odd,
        fix,
    )


def _oddness(dtype: np.dtype) -> tuple[str, str]:
    """What a type is where nothing here reads it, and how to store it instead; "" where read."""
    if h5py.check_string_dtype(dtype) is not None:
        return "", ""
    inner = h5py.check_vlen_dtype(dtype)
    if inner is not None:
        return (
            f"ragged: every entry is a list of {inner} of its own (variable) length",
            "store rows of one length as one 2-D dataset, np.stack(rows), the frames of each item "
            "as a dataset of its own under its id, row.reshape(-1, d) with the dimension d of a "
            "frame, which this file does not say, and ids as text",
        )
    if dtype.kind == "O":
        return "made of references into the file", "store the arrays themselves"
    if dtype.kind == "V" and dtype.names:
        return f"a table with the columns {named(list(dtype.names))}", "store each as a dataset"
    return "", ""


def _enum(dataset: h5py.Dataset, where: str, path: Path, names: dict[int, str]) -> Field:
    """Numbers that stand for names, as the names."""

    def blocks(start: int, stop: int) -> Iterator[np.ndarray]:
        for block in _blocks(dataset, where, start, stop):
            made = np.empty(block.shape, dtype=object)
            for place, code in enumerate(block.reshape(-1).tolist()):
                if code not in names:
                    raise FormatError(
                        f"{where}: holds {code}, and its type gives names to {named(sorted(names))}"
                        "; store the names as text"
                    )
                made.reshape(-1)[place] = names[code]
            yield made

    extents = tuple(int(extent) for extent in dataset.shape)
    return Field(
        where, extents, np.dtype(object), blocks, lambda: check_size(dataset, where, path),
        code="[{{v: k for k, v in h5py.check_enum_dtype({0}.dtype).items()}}[i] "
        "for i in {0}[()].ravel().tolist()]",
    )  # fmt: skip


def _columns(dataset: h5py.Dataset, where: str, start: int, stop: int) -> Iterator[np.ndarray]:
    """Rows start..stop of what stores columns first, as MATLAB and Octave do: the columns."""
    row_bytes = dataset.dtype.itemsize * math.prod(dataset.shape[:-1])
    # Reading few columns of many rows costs as much as reading all: larger pieces than elsewhere.
    step = max(1, _MOST_BYTES // max(1, row_bytes))
    for at in range(start, stop, step):
        with foreign(where, "HDF5 data"):
            block = dataset[..., at : min(stop, at + step)].T
        yield block


def _cells(dataset: h5py.Dataset, where: str, extents: tuple[int, ...]) -> Field:
    """A cell array of MATLAB, of texts: one reference to characters for each."""
    count = math.prod(extents)

    def blocks(start: int, stop: int) -> Iterator[np.ndarray]:
        with foreign(where, "a cell array of MATLAB"):
            references = dataset[()].T.reshape(-1)[start:stop]
            made = np.empty(len(references), dtype=object)
            total = 0
            for row, reference in enumerate(references):
                item: Any = dataset.file[reference]
                if not isinstance(item, h5py.Dataset) or item.dtype != np.uint16:
                    raise FormatError(f"{where}: cell {start + row} is no text; store texts")
                plist = item.id.get_create_plist()
                if plist.get_external_count() or plist.get_layout() == h5d.VIRTUAL:
                    raise FormatError(f"{where}: cell {start + row} lies in another file")
                total += int(item.size or 0)
                afford(4 * total, where, what="the text of the cells")
                made[row] = item[()].T.reshape(-1).tobytes().decode("utf-16-le")
        yield made

    return Field(
        where, (count,), np.dtype(object), blocks,
        code="[str().join(map(chr, d[r][()].T.ravel())) for r in {0}[()].T.ravel()]",
    )  # fmt: skip


def _map(dataset: h5py.Dataset, where: str, path: Path) -> Callable[[], np.ndarray] | None:
    """How to map a dataset that lies in the file as one piece of plain numbers, or None."""
    plist, offset = dataset.id.get_create_plist(), dataset.id.get_offset()
    # The size of a block before the file would have to be added to the offset.
    plain = plist.get_layout() == h5d.CONTIGUOUS and dataset.file.userblock_size == 0
    if not plain or offset is None or not dataset.dtype.isnative or dataset.dtype.kind != "f":
        return None

    def mapped() -> np.ndarray:
        # Looked at again: what was cut since would end the program when it is touched.
        check_size(dataset, where, path)
        cut.mapped(path, offset + dataset.id.get_storage_size())
        with foreign(where, "HDF5 data"):
            return np.memmap(path, dataset.dtype, mode="r", offset=offset, shape=dataset.shape)

    return mapped


def _blocks(dataset: h5py.Dataset, where: str, start: int, stop: int) -> Iterator[np.ndarray]:
    """Rows start..stop, in blocks that end where the stored chunks end."""
    if not dataset.shape:
        with foreign(where, "HDF5 data"):
            single = np.asarray(dataset[()]).reshape(1)
        yield single[start:stop]
        return
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

    def __init__(self, file: h5py.File, sink: _Sink, answer: Callable[[], None]) -> None:
        self._file, self._sink, self._answer = file, sink, answer

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
        """Stop early when the disk is full, or when a signal came."""
        self._answer()
        if self._sink.error is not None:
            raise self._sink.error


@contextlib.contextmanager
def create_hdf5(path: PathLike) -> Iterator[Writer]:
    """A new HDF5 file that takes the place of `path` when the body succeeds; see `atomic_path`.

    The same content gives the same bytes: no times are stored. Signals wait for `Writer.check`,
    because HDF5 writes through Python, also while a dataset is dropped.

    Raises:
        FormatError: not writable, or the disk is full.
    """
    with atomic_path(path) as temporary, signals_wait() as answer:
        sink = _Sink(temporary)
        try:
            # Format of HDF5 1.10, which every installation in use reads; it checksums its
            # metadata, which the oldest one does not.
            with h5py.File(sink, "w", libver=("v108", "v110")) as file:
                yield Writer(file, sink, answer)
        except Exception as error:
            # Whatever came of a failed write, the write is what failed.
            if sink.error is not None:
                raise sink.error from error
            raise
        finally:
            sink.close()
        if sink.error is not None:
            raise sink.error
