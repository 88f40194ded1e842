"""An HDF5 file as the library sees it, with the heaps of text looked over first.

Text of any length lies in heaps, chains of entries of which each says where the next begins. The
library follows the chain without looking, and an entry that leads to itself makes it go on
forever, where nothing can interrupt it. So what it reads passes through here.
"""

import io
import struct
from pathlib import Path
from typing import Any

from rerank.errors import FormatError

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
