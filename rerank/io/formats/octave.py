"""Text as Octave keeps it in HDF5: a matrix of characters, or a cell array of texts."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5d  # pyright: ignore[reportAttributeAccessIssue]  a compiled module

from rerank.io.field import Field, afford
from rerank.io.files import foreign
from rerank.io.formats.hdf5_guard import check_size

_TEXTS, _EMPTY = (b"string", b"sq_string"), "OCTAVE_EMPTY_MATRIX"
_ROWS = "[bytes(r).decode().rstrip(chr(0) + chr(32)) for r in {0}[{1}][()].T.copy()]"
_CELLS = (
    "[bytes({0}[{1}][k][{1}][()].T.copy()).decode() "
    "for k in sorted(set({0}[{1}]) - set([{2}]), key=lambda k: int(k[1:]))]"
)
# What Octave calls the cells of an array: the numbers of their places.
_CELL = re.compile(r"_[0-9]{1,18}")


def text_of(variable: h5py.Group, where: str, path: Path) -> Field | None:
    """The texts of a variable, a list; None where it holds anything else.

    Texts beside other things in one cell array are said to be that where they are asked for.

    Args:
        variable: its group.
        where: the file and the variable, for messages.
        path: the file.
    """
    value = _member(variable, "value")
    if _type(variable) in _TEXTS and isinstance(value, h5py.Dataset):
        return _matrix(value, where, path) if _is_characters(value) else None
    if _type(variable) != b"cell" or not isinstance(value, h5py.Group):
        return None
    names = [str(name) for name in value if name != "dims"]
    count = sum(_is_text(_member(value, name)) for name in names)
    if not count:
        return None
    odd, fix = "", "save it again with Octave"
    unnumbered = [name for name in names if not _CELL.fullmatch(name)]
    if count < len(names):
        odd, fix = "a cell array of more than one text in each cell", "keep one text in each"
    elif unnumbered:
        odd = f"a cell array with a cell {unnumbered[0]!r}, which has no number"
    elif len({int(name[1:]) for name in names}) < len(names):
        odd = "a cell array in which two cells have one number"
    if odd:
        nothing = lambda start, stop: iter(())  # noqa: ARG005, E731
        return Field(where, (len(names),), np.dtype("V1"), nothing, odd=odd, fix=fix)
    return _cells(value, sorted(names, key=lambda name: int(name[1:])), where, path)


def _matrix(value: Any, where: str, path: Path) -> Field:  # noqa: ANN401  a dataset
    """A row of characters for each text, filled up with blanks."""
    count = int(value.shape[-1])

    def blocks(start: int, stop: int) -> Iterator[np.ndarray]:
        afford(8 * int(value.size), where, what="the text of its rows")
        with foreign(where, "text of Octave"):
            rows = value[()].T
        made = np.empty(stop - start, dtype=object)
        made[:] = [row.tobytes().rstrip(b"\0 ") for row in rows[start:stop]]
        yield made

    return Field(
        where, (count,), np.dtype(object), blocks, lambda: check_size(value, where, path),
        code=_ROWS.replace("{1}", '"value"'),
    )  # fmt: skip


def _cells(cells: Any, names: list[str], where: str, path: Path) -> Field:  # noqa: ANN401  a group
    def blocks(start: int, stop: int) -> Iterator[np.ndarray]:
        made, total = np.empty(stop - start, dtype=object), 0
        for at, name in enumerate(names[start:stop]):
            with foreign(where, "a cell array of Octave"):
                text = cells[name]["value"]
                if _EMPTY in text.attrs:
                    made[at] = b""
                    continue
                total += int(text.size)
                afford(8 * total, where, what="the text of the cells")
                check_size(text, where, path)
                made[at] = text[()].T.tobytes()
        yield made

    return Field(
        where, (len(names),), np.dtype(object), blocks,
        code=_CELLS.replace("{1}", '"value"').replace("{2}", '"dims"'),
    )  # fmt: skip


def _member(group: h5py.Group, name: str) -> object:
    """What lies in this file under a name; None where it lies elsewhere or nowhere."""
    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        return None
    found: Any = group[name]
    if isinstance(found, h5py.Dataset):
        plist = found.id.get_create_plist()
        if plist.get_external_count() or plist.get_layout() == h5d.VIRTUAL:
            return None
    return found


def _type(variable: h5py.Group) -> bytes:
    """What Octave says that a variable is."""
    found = _member(variable, "type")
    if not isinstance(found, h5py.Dataset) or found.shape != () or found.dtype.kind != "S":
        return b""
    return bytes(found[()]).rstrip(b"\0") if found.dtype.itemsize < 100 else b""


def _is_characters(value: h5py.Dataset) -> bool:
    return value.dtype.kind in "iu" and value.dtype.itemsize == 1 and len(value.shape or ()) == 2


def _is_text(variable: object) -> bool:
    """Whether a cell is one text; an empty one is kept as its size."""
    if not isinstance(variable, h5py.Group) or _type(variable) not in _TEXTS:
        return False
    value = _member(variable, "value")
    if not isinstance(value, h5py.Dataset):
        return False
    return _EMPTY in value.attrs or (_is_characters(value) and value.shape[-1] == 1)
