"""The numbers of the items, stored as a column of the vectors: never part of these."""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from rerank.core.errors import FormatError, RerankError
from rerank.io.field import Field, in_memory
from rerank.io.recipes import without_id_column

# Fewer rows may hold such numbers by chance: some that count, and any others.
_FEW, _FEW_OTHERS = 5, 10
# So many rows tell whether it is worth while to look at all.
_SOME = 500
# From here on every number of half precision is whole.
_WHOLE_HALF = 1024


def refuse_id_column(rows: Field, *, path: Path, name: str, id_column: str = "") -> None:
    """Refuse vectors of a file whose first or last column holds the numbers of the items.

    Args:
        rows: (n, d) the vectors.
        path: the file.
        name: of the array in it.
        id_column: of the list of ids in it, where a user named one.

    Raises:
        FormatError: with a command that writes vectors without this column, and ids.
    """
    if found := _id_column(rows):
        place, shown = found
        raise FormatError(
            f"{rows.where}: {_said(place, shown)}; take it out, and as ids where the rows have no "
            f"other: {without_id_column(path, name, place, id_column)}"
        )


def refuse_ids_in_vectors(rows: np.ndarray, role: str) -> None:
    """The same of an array that a program holds.

    >>> vectors = np.random.default_rng(0).normal(size=(6, 3))
    >>> refuse_ids_in_vectors(vectors, "texts")
    >>> refuse_ids_in_vectors(np.c_[np.arange(6), vectors], "texts")
    Traceback (most recent call last):
    rerank.core.errors.RerankError: texts: the first column holds whole numbers, another in every \
row (0, 1, 2, ...), and the others do not, so it is no part of the vectors but names the items; \
leave it out, x[:, 1:], or give {id: vector}: dict(zip(map(int, x[:, 0]), x[:, 1:]))

    Args:
        rows: (n, d).
        role: what the rows are called in messages.

    Raises:
        RerankError: its first or last column holds the numbers of the items.
    """
    if rows.ndim != 2 or rows.dtype.kind != "f":
        return
    if found := _id_column(in_memory(rows, role)):
        place, shown = found
        rest, column = ("x[:, 1:]", "x[:, 0]") if place == 0 else ("x[:, :-1]", "x[:, -1]")
        raise RerankError(
            f"{role}: {_said(place, shown)}; leave it out, {rest}, or give {{id: vector}}: "
            f"dict(zip(map(int, {column}), {rest}))"
        )


def cut_id_column(
    source: str | Path, target: str | Path, name: str, place: int, id_column: str = ""
) -> None:
    """Write vectors without the column that numbers them, with their ids; messages print this.

    The ids are those that the rows have beside them, else the numbers of the column.

    >>> import h5py, tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> np.save(folder / "v.npy", np.array([[7, 0.5, 0.5], [3, 0.5, 0.1]]))
    >>> cut_id_column(folder / "v.npy", folder / "v.h5", "embeddings", 0)
    >>> with h5py.File(folder / "v.h5") as file:
    ...     file["embeddings"].shape, file["ids"].asstr()[:].tolist()
    ((2, 2), ['7', '3'])

    Args:
        source: the file.
        target: an HDF5 file, which is written anew.
        name: of the array, in the new file too.
        place: 0 for the first column, -1 for the last.
        id_column: as in `refuse_id_column`.

    Raises:
        FormatError: the file holds no such array.
    """
    from rerank.io.formats.hdf5 import create_hdf5
    from rerank.io.layouts.group_names import fields_below
    from rerank.io.layouts.row_ids import ids_of_rows
    from rerank.io.layouts.wanted import Wanted
    from rerank.io.opening import open_container

    with open_container(Path(source)) as container:
        fields = {**container.fields, **(container.vectors or {})}
        full = next((x for x in fields if x == name or x.endswith(f"/{name}")), None)
        if full is None:
            raise FormatError(f"{source}: there is no array {name!r}")
        rows, folder = fields[full], full.rpartition("/")[0]
        siblings = fields_below(fields, folder)
        wanted = Wanted(id_column=id_column or None)
        own = ids_of_rows(container, siblings, rows, wanted)
        if own is None and folder:
            own = ids_of_rows(container, fields, rows, wanted)
        width = rows.shape[-1] - 1
        count = math.prod(rows.shape[:-1])
        numbers: list[int] = []
        with create_hdf5(target) as out:
            made = out.dataset(name, (count, width), rows.dtype)
            for block in _blocks(rows, rows.shape[0]):
                start = len(numbers)
                numbers += block[:, place].astype(np.int64).tolist()
                made[start : len(numbers)] = block[:, 1:] if place == 0 else block[:, :-1]
                out.check()
            ids = own[0] if own is not None else tuple(map(str, numbers))
            out.ids(id_column or "ids", ids)
            if own is not None and own[1] is not None:
                out.ids("group_ids", own[1])


def _said(place: int, shown: str) -> str:
    which = "first" if place == 0 else "last"
    return (
        f"the {which} column holds whole numbers, another in every row ({shown}, ...), and the "
        "others do not, so it is no part of the vectors but names the items"
    )


def _id_column(rows: Field) -> tuple[int, str] | None:
    """0 or -1 for the first or the last column that numbers the rows, and what it begins with."""
    count = rows.shape[0]
    if count < _FEW or rows.shape[-1] < 3 or rows.kind != "float":
        return None
    head = np.concatenate(list(_blocks(rows, min(count, _SOME)))).astype(np.float64)
    with np.errstate(invalid="ignore"):
        broken = (head != np.floor(head)).any(axis=0)
    for place in (0, -1):
        others = np.delete(broken, place)
        if broken[place] or 2 * others.sum() < len(others) or not _differ(head[:, place]):
            continue
        column = head[:, place]
        if count > len(head):
            parts = [block[:, place] for block in _blocks(rows, count)]
            column = np.concatenate(parts).astype(np.float64)
        half = rows.dtype.itemsize == 2 and column.min() >= _WHOLE_HALF
        if not half and _number_rows(column):
            return place, ", ".join(f"{x:.0f}" for x in column[:3])
    return None


def _number_rows(column: np.ndarray) -> bool:
    """Whether numbers, in any order, count rows, or are those of more rows than a few."""
    if not _differ(column) or (column != np.floor(column)).any():
        return False
    counts = column.max() - column.min() == len(column) - 1
    return bool(counts) or len(column) >= _FEW_OTHERS


def _differ(column: np.ndarray) -> bool:
    fine = np.isfinite(column).all() and column.min() >= 0
    return bool(fine) and len(np.unique(column)) == len(column)


def _blocks(rows: Field, count: int) -> Iterator[np.ndarray]:
    """(k, d) some rows after others; what has an axis of one before or behind the rows without."""
    for block in rows.blocks(0, count):
        yield np.asarray(block).reshape(-1, rows.shape[-1])
