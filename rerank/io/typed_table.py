"""Columns of a table as a container: what its columns of numbers are, gathered."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from rerank.core.errors import FormatError
from rerank.io.container import Container
from rerank.io.field import Field, rows_per_block
from rerank.io.files import named
from rerank.io.number_columns import counted, torn, vectors_among


def table(path: Path, fields: Mapping[str, Field]) -> Container:
    """A table, one row an item; columns of numbers are also gathered in the array "values".

    >>> column = lambda x: Field("", (2,), np.dtype(x), lambda a, b: iter([np.zeros(b - a, x)]))
    >>> found = table(Path("t"), {"id": column("U1"), "f0": column("f4"), "f1": column("i8")})
    >>> found.columns, found.fields["values"].shape
    (('f0', 'f1'), (2, 2))

    Raises:
        FormatError: a column that counts with those of numbers (f0, f1, ...) and holds none.
    """
    fields = dict(fields)
    numbers = _of_numbers(path, fields)
    if len(numbers) < 2 or "values" in fields:
        return Container(path, fields, per_item=False)
    gathered = {"values": _side_by_side(path, fields, numbers)}
    found = vectors_among(numbers)
    vectors = None
    if found is not None:
        # Columns with the vectors that columns of numbers hold beside others.
        vectors = fields | {
            name: _side_by_side(path, fields, [numbers[place] for place in places])
            for name, places in found.items()
        }
    return Container(
        path, fields | gathered, per_item=False, columns=tuple(numbers), vectors=vectors
    )


def _of_numbers(path: Path, fields: Mapping[str, Field]) -> list[str]:
    """Columns of floats, and of whole numbers among those that count with them."""
    names = list(fields)
    plain = {at: fields[name].kind for at, name in enumerate(names) if len(fields[name].shape) == 1}
    floats = {at for at, kind in plain.items() if kind == "float"}
    found = floats | {
        at for run in counted(names).values() if not floats.isdisjoint(run) for at in run
        if plain.get(at) == "integer"
    }  # fmt: skip
    odd = torn(names, found, {at for at, kind in plain.items() if kind == "text"})
    if odd is not None:
        raise FormatError(
            f"{path}: column {named([names[odd]])}: holds {fields[names[odd]].describe()}, and "
            "columns beside it are numbers of a vector; save it as numbers"
        )
    return [names[at] for at in sorted(found)]


def _side_by_side(path: Path, fields: Mapping[str, Field], names: Sequence[str]) -> Field:
    """Columns of numbers as the columns of a matrix."""
    columns = [fields[name] for name in names]

    def blocks(start: int, stop: int) -> Iterator[np.ndarray]:
        step = rows_per_block(8 * len(columns))
        for at in range(start, stop, step):
            end = min(stop, at + step)
            parts = [np.concatenate(list(column.blocks(at, end))) for column in columns]
            yield np.stack([part.astype(np.float64) for part in parts], axis=1)

    shape = (columns[0].shape[0], len(columns))
    return Field(
        f"{path}: its columns of numbers", shape, np.dtype(np.float64), blocks,
        columns=tuple(names),
    )  # fmt: skip
