"""Numbers of rows that stand in a matrix of scores as its first or last column, or as a row."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rerank.core.errors import FormatError
from rerank.io.container import Container
from rerank.io.field import Field
from rerank.io.ids import read_ids
from rerank.io.recipes import without_ids_among

# Fewer whole numbers may be scores.
_FEW = 5
_FIRST = 64
_LINES = {"column": 1, "row": 0}


def refuse_ids_among(
    container: Container, stored: Field, name: str, names: tuple[Sequence[str], Sequence[str]]
) -> None:
    """Refuse a line of whole numbers, each once, at the edge of a matrix of other numbers.

    Args:
        container: the file.
        stored: the matrix as it is stored.
        name: what it is called.
        names: of its rows and of its columns. Those that have names of their own are no ids.

    Raises:
        FormatError: they are ids of its rows or columns, and would be taken for scores.
    """
    if container.columns and not container.columns[0].startswith("column "):
        return
    found = _ids_among(stored)
    if found is None:
        return
    line, place, ids = found
    own = names[_LINES[line]]
    if any(name != str(number) for number, name in enumerate(own)):
        return
    where = f"{'first' if place == 0 else 'last'} {line}"
    others = "rows" if line == "column" else "columns"
    what = f"counts the {others}"
    if not _counts(ids):
        what = f"holds whole numbers, each once, as ids of {others} are"
    raise FormatError(
        f"{stored.where}: its {where} {what}, and would be taken for scores; write it without: "
        f"{without_ids_among(container.path, name)}"
    )


def write_without(source: str | Path, name: str, target: str | Path) -> None:
    """Write a matrix without the ids among its scores, which name its lines; messages print this.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> np.save(folder / "s.npy", np.c_[np.arange(6), np.full((6, 2), 0.5)])
    >>> write_without(folder / "s.npy", "embeddings", folder / "s.cut.npz")
    >>> np.load(folder / "s.cut.npz")["embeddings"].shape
    (6, 2)

    Args:
        source: the file.
        name: what the matrix is called there.
        target: an npz file, which is written anew.

    Raises:
        FormatError: there are no ids among its scores.
    """
    from rerank.io.opening import open_container

    with open_container(Path(source)) as container:
        stored = container.fields.get(name)
        found = None if stored is None else _ids_among(stored)
        if stored is None or found is None:
            raise FormatError(f"{source}: has no ids among the scores {name!r}")
        line, place, ids = found
        whole = _rows(stored, stored.shape[0])
        arrays = {name: np.delete(whole, place, axis=_LINES[line])}
        if not _counts(ids):
            arrays["row_ids" if line == "column" else "col_ids"] = ids
        arrays |= {
            other: np.array(read_ids(item))
            for other, item in container.fields.items()
            if item.kind in ("text", "integer") and len(item.shape) == 1
        }
    np.savez(target, **arrays)  # type: ignore[arg-type]


def _ids_among(stored: Field) -> tuple[str, int, np.ndarray] | None:
    """A line of ids at the edge: "column" or "row", its place, and its numbers."""
    n, m = stored.shape
    if stored.kind != "float" or min(n, m) < 2:
        return None
    if n > _FIRST and _at_edge(_rows(stored, _FIRST)) is None:
        return None
    return _at_edge(_rows(stored, n))


def _at_edge(scores: np.ndarray) -> tuple[str, int, np.ndarray] | None:
    whole = np.isfinite(scores) & (scores == np.floor(scores)) & (scores >= 0)
    for line, place in (("column", 0), ("column", -1), ("row", 0)):
        axis = _LINES[line]
        numbers = np.take(scores, place, axis)
        others = np.delete(whole, place, axis)
        alone = 2 * np.count_nonzero(others) < others.size
        if alone and len(numbers) >= _FEW and np.take(whole, place, axis).all():
            if len(np.unique(numbers)) == len(numbers):
                return line, place, numbers.astype(np.int64)
    return None


def _counts(ids: np.ndarray) -> bool:
    """Whether ids are the numbers of the rows, which say no more than their places."""
    return any(np.array_equal(ids, np.arange(first, first + len(ids))) for first in (0, 1))


def _rows(item: Field, stop: int) -> np.ndarray:
    return np.concatenate([np.asarray(block) for block in item.blocks(0, stop)])
