"""Rows too many to be held, in a file that has no name.

What cannot be mapped where it lies (compressed, in chunks, in the other byte order) is unpacked
once, and what has to be computed is written once; either is mapped from there. The file is never
to be seen in a folder, so nothing is left of it, however the program ends.

Every process of several (`torchrun`) unpacks what it reads for itself; all copies of one machine
have to fit on its disk.
"""

import os
import shutil
import tempfile
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import IO

import numpy as np

from rerank.core import memory
from rerank.core.errors import FormatError
from rerank.core.wording import with_memory
from rerank.io.files import one_line


class Scratch:
    """Rows of an array, written in order and mapped into memory when all are there."""

    def __init__(self, shape: tuple[int, int], dtype: np.dtype, where: str) -> None:
        """Find a disk with room.

        Args:
            shape: (n, d) of the whole.
            dtype: in native byte order.
            where: what the rows are, for messages.

        Raises:
            FormatError: no room; the message says how much is needed, and the ways out.
        """
        self._shape, self._dtype, self._where = shape, np.dtype(dtype), where
        self._nbytes = self._dtype.itemsize * shape[0] * shape[1]
        self._copies = int(os.environ.get("LOCAL_WORLD_SIZE") or 1)
        self._folder = self._roomy()
        self._file: IO[bytes] = self._created()

    def _roomy(self) -> Path:
        reasons = []
        for folder in _folders():
            try:
                free = shutil.disk_usage(folder).free
            except OSError as error:
                reasons.append(f"{folder} cannot be used ({error.strerror or one_line(error)})")
                continue
            if not os.access(folder, os.W_OK):
                reasons.append(f"{folder} cannot be written")
            elif free < self._nbytes * self._copies:
                reasons.append(f"{folder} has {free:,} left")
            else:
                return folder
        raise self._refused(" and ".join(dict.fromkeys(reasons)))

    def _created(self) -> IO[bytes]:
        try:
            # Unlinked at once, or without a name from the beginning where the system can do that.
            return tempfile.TemporaryFile(dir=self._folder)
        except OSError as error:
            raise self._refused(f"{self._folder}: {one_line(error)}") from error

    def _refused(self, reason: str) -> FormatError:
        count = self._shape[0] * self._shape[1]
        hold = -(-memory.budget_for(count) // 10**9)
        each = f"in each of {self._copies} processes " if self._copies > 1 else ""
        return FormatError(
            f"{self._where}: is too large to be held and takes {self._nbytes:,} bytes of disk "
            f"{each}for as long as the program runs, but {reason}; set TMPDIR to a folder with "
            f"room, or, to hold it, {with_memory(f'{hold}GB')}"
        )

    def write(self, rows: np.ndarray) -> None:
        """The next rows."""
        try:
            self._file.write(np.ascontiguousarray(rows, dtype=self._dtype).reshape(-1).data)
        except OSError as error:
            raise self._refused(one_line(error)) from error

    def mapped(self) -> np.ndarray:
        """All rows as read-only memory over the file, which lives as long as they do."""
        try:
            # Network disks and quotas may say at the end that there is no room.
            with self._file:
                self._file.flush()
                return np.memmap(self._file, self._dtype, mode="r", shape=self._shape)
        except OSError as error:
            raise self._refused(one_line(error)) from error


def joined(parts: Iterable[np.ndarray], shape: tuple[int, int], where: str) -> np.ndarray:
    """Blocks of rows one after the other as one array, in a file where they are large.

    Args:
        parts: blocks of float16, float32 or float64, all of one type.
        shape: (n, d) of the whole.
        where: what the rows are, for messages.
    """
    parts = iter(parts)
    first = next(parts)
    if not memory.is_large(shape[0] * shape[1]):
        return np.concatenate([first, *parts])
    scratch = Scratch(shape, first.dtype, where)
    for part in chain((first,), parts):
        scratch.write(part)
    return scratch.mapped()


def _folders() -> list[Path]:
    """Where temporary rows may lie, the user's word first."""
    if os.environ.get("TMPDIR"):
        return [Path(os.environ["TMPDIR"])]
    # /tmp is memory on many systems, which this is there to save.
    return [Path("/var/tmp"), Path(tempfile.gettempdir())]
