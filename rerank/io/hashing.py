"""Hashes of content: of arrays and ids, so that the kind of file does not matter."""

import hashlib
from collections.abc import Sequence

import numpy as np

from rerank.io.files import BLOCK_BYTES, PathLike, foreign, regular_file


def sha256_of(content: np.ndarray | Sequence[str]) -> str:
    """Hash of the content of an array or of a list of ids, not of the file it lies in.

    An array counts with its shape and its type of number, read row by row in little-endian order,
    so that memory layout and byte order do not matter; float16 counts as the float32 it is
    widened to. A list counts with the length of every entry.

    Returns:
        64 hexadecimal digits.
    """
    if not isinstance(content, np.ndarray):
        digest = hashlib.sha256(f"text {len(content)}\n".encode())
        for start in range(0, len(content), 65536):
            part = [item.encode("utf-8") for item in content[start : start + 65536]]
            digest.update(" ".join(str(len(item)) for item in part).encode() + b"\n")
            digest.update(b"".join(part))
        return digest.hexdigest()
    hashed = ArrayHash(content.dtype, content.shape)
    hashed.update(content)
    return hashed.hexdigest()


class ArrayHash:
    """`sha256_of` an array that arrives in blocks of rows."""

    def __init__(self, dtype: np.dtype, shape: tuple[int, ...]) -> None:
        widened = np.dtype(np.float32) if dtype == np.float16 else dtype
        self._dtype = widened.newbyteorder("<")
        self._digest = hashlib.sha256(f"{self._dtype.str} {tuple(shape)}\n".encode())

    def update(self, rows: np.ndarray) -> None:
        """The next rows."""
        array = rows.reshape(1) if rows.ndim == 0 else rows
        row_bytes = max(1, self._dtype.itemsize * int(np.prod(array.shape[1:])))
        step = max(1, BLOCK_BYTES // row_bytes)
        for start in range(0, len(array), step):
            block = np.ascontiguousarray(array[start : start + step], dtype=self._dtype)
            self._digest.update(block.reshape(-1).view(np.uint8).data)

    def hexdigest(self) -> str:
        """64 hexadecimal digits."""
        return self._digest.hexdigest()


def sha256_of_file(path: PathLike) -> str:
    """Hash of the bytes of a file; 64 hexadecimal digits."""
    path = regular_file(path)
    with foreign(path, "a file"), path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
