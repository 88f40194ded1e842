"""Rows and their names out of whatever a program holds: arrays, lists, tables, tensors."""

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, SupportsFloat, runtime_checkable

import numpy as np
from torch import Tensor

from rerank.core.arrays import HasArray, refuse_sparse
from rerank.core.errors import RerankError
from rerank.core.handed import array_conversion, numpy_of, table_conversion
from rerank.io.column_names import odd_columns
from rerank.io.container import ID_NAMES, MORE_ID_NAMES
from rerank.io.files import named, one_line
from rerank.io.ids import check_ids, first_duplicate
from rerank.io.number_columns import torn, vectors_among
from rerank.io.split_flags import said_by_flags, word_of_flags
from rerank.io.splits import counted_splits, is_named_like_splits, is_of_splits, kind_of_splits


@runtime_checkable
class _Frame(Protocol):
    """A table of pandas or polars, in contrast to one column."""

    columns: Any

    def __getitem__(self, name: Any, /) -> Any: ...  # noqa: ANN401  a column


@runtime_checkable
class _Lazy(Protocol):
    """A query of polars that was not run yet."""

    def collect(self) -> Any: ...  # noqa: ANN401  a frame


@runtime_checkable
class _KnowsNumbers(Protocol):
    """A type of polars."""

    def is_numeric(self) -> bool: ...


@runtime_checkable
class _Nested(Protocol):
    """A type of polars whose entries are lists."""

    inner: Any


class Taken(NamedTuple):
    """Ids, where there are any, rows, and names of their columns, where these are of a table."""

    ids: tuple[str, ...] | None
    rows: np.ndarray
    columns: tuple[str, ...] = ()


def taken_apart(anything: object, role: str) -> Taken:
    """Ids, where there are any, and rows as a numpy array, 2-D or 3-D.

    >>> taken_apart([[1, 2.5]], "texts").rows
    array([[1. , 2.5]])

    Raises:
        RerankError: nothing that holds rows of numbers, or not plainly.
    """
    library = type(anything).__module__.partition(".")[0]
    if isinstance(anything, Tensor):
        return Taken(None, _of_tensor(anything, role))
    if isinstance(anything, memoryview):
        return Taken(None, _of_array(np.asarray(anything), role))
    if library in ("pandas", "polars"):
        return _of_table(anything, role)
    refuse_sparse(anything, role)
    if isinstance(anything, Mapping):
        if not anything:
            raise RerankError(f"{role}: got an empty object, expected {{id: vector}}")
        ids = check_ids(list(anything), f"{role}: ids")
        return Taken(ids, _stacked(list(anything.values()), role))
    if isinstance(anything, np.ndarray):
        return Taken(None, _of_array(anything, role))
    if isinstance(anything, HasArray) and not isinstance(anything, str | bytes):
        return Taken(None, _of_array(_as_numpy(anything, role), role))
    if isinstance(anything, Sequence) and not isinstance(anything, str | bytes):
        return Taken(None, _stacked(anything, role))
    raise RerankError(
        f"{role}: got {type(anything).__name__}, expected an array (n, d), a DataFrame, a list of "
        "vectors, {id: vector} or the path of a file"
    )


def _of_array(array: np.ndarray, role: str) -> np.ndarray:
    if isinstance(array, np.ma.MaskedArray):
        _refuse_masked(array, role, "it: x.filled(value)")
        array = np.asarray(array)
    if array.dtype == object:
        if array.ndim == 1 and len(array):
            return _stacked(list(array), role)
        raise RerankError(f"{role}: got an object array {array.shape}, {_expected(array)}")
    if array.dtype.kind in "SUTV" and array.dtype != "V2":
        raise RerankError(f"{role}: got an array of dtype {array.dtype}, {_expected(array)}")
    if array.ndim not in (2, 3):
        raise RerankError(
            f"{role}: got shape {array.shape}, expected two dimensions, one row for each item"
        )
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        array = array.astype(np.float64)
    return np.asarray(array)


def _refuse_masked(array: object, role: str, way: str) -> None:
    if isinstance(array, np.ma.MaskedArray) and np.ma.is_masked(array):
        raise RerankError(
            f"{role}: got a masked array with masked values, which have no place here; fill {way}"
        )


def _expected(array: np.ndarray) -> str:
    way = array_conversion(array)
    return f"expected numbers{f'; {way}' if way else ''}"


def _as_numpy(anything: HasArray, where: str) -> np.ndarray:
    """What an object of another library makes of itself."""
    try:
        return np.asarray(anything)
    except Exception as error:  # of that library
        raise RerankError(
            f"{where}: numpy makes no array of this {type(anything).__name__} ({one_line(error)}); "
            "give an array (n, d)"
        ) from None


def _of_tensor(tensor: Tensor, role: str) -> np.ndarray:
    return _of_array(numpy_of(tensor, role), role)


def _stacked(items: Sequence[Any], role: str) -> np.ndarray:
    """Vectors one below the other."""
    if not len(items):
        raise RerankError(f"{role}: got an empty list, expected one vector for each item")
    rows = []
    for row, item in enumerate(items):
        if isinstance(item, Tensor):
            item = numpy_of(item, f"{role}: row {row}")
        _refuse_masked(item, f"{role}: row {row}", "each: row.filled(value)")
        try:
            # Whole numbers in lists are meant as numbers; arrays have a type of their own.
            array = np.asarray(item, dtype=None if isinstance(item, HasArray) else np.float64)
        except (TypeError, ValueError, OverflowError, RuntimeError):
            raise RerankError(
                f"{role}: row {row} is {named([item])}, expected a vector of numbers"
            ) from None
        if array.ndim not in (1, 2) or array.dtype.kind not in "fiu":
            raise RerankError(f"{role}: row {row} is {named([item])}, expected a vector of numbers")
        if rows and array.shape != rows[0].shape:
            raise RerankError(
                f"{role}: row {row} has shape {array.shape}, row 0 has {rows[0].shape}; all rows "
                "need the same length"
            )
        rows.append(array)
    made = np.stack(rows)
    if made.dtype.kind in "iu" and all(isinstance(item, list | tuple) for item in items):
        made = made.astype(np.float64)
    return _of_array(made, role)


def _of_table(table: Any, role: str) -> Taken:  # noqa: ANN401  pandas or polars
    """Frames with numbers in columns or vectors in one; series of vectors; ids beside them."""
    if isinstance(table, _Lazy):
        raise RerankError(f"{role}: got a {type(table).__name__}, which has no rows yet; give "
                          "x.collect()")  # fmt: skip
    index = _index_of(table)
    if not isinstance(table, _Frame):
        return Taken(index, _vectors(table, role))
    names = [str(name) for name in table.columns]
    again = first_duplicate(names)
    if again is not None:
        raise RerankError(
            f"{role}: got a DataFrame with two columns called {again[0]!r}; give each a name of "
            "its own"
        )
    by_name = dict(zip(names, table.columns, strict=True))
    known = [name for tier in (ID_NAMES, *MORE_ID_NAMES) for name in tier if name in by_name]
    ids = index
    if known:
        ids = check_ids(_values(table[by_name[known[0]]]), f"{role}: column {known[0]!r}")
    _refuse_splits(table, {name: by_name[name] for name in names if name not in known}, role)
    left = [name for name in names if name not in known]
    numbers = [name for name in left if _is_numeric(table[by_name[name]])]
    others = [name for name in left if name not in numbers]
    lists = [name for name in others if _holds_vectors(table[by_name[name]])]
    if len(lists) > 1:
        raise RerankError(
            f"{role}: got a DataFrame in which {named(lists)} could all be the embeddings; give "
            f"one: df[{[*known[:1], lists[0]]}]"
        )
    if lists or (len(others) == 1 and not numbers):
        # What stands beside a column of vectors is no part of it.
        return Taken(ids, _vectors(table[by_name[(lists or others)[0]]], role))
    texts = [name for name in others if _is_text(table[by_name[name]])]
    at = {name: place for place, name in enumerate(left)}
    odd = torn(left, [at[name] for name in numbers], [at[name] for name in texts])
    if odd is not None:
        raise RerankError(
            f"{role}: column {left[odd]!r} of the DataFrame holds other things than numbers, and "
            "columns beside it are numbers of a vector; correct it"
        )
    found = vectors_among(numbers)
    if found is not None and list(found) == ["values"]:
        # Nor are other numbers beside those of a vector.
        numbers = [numbers[place] for place in found["values"]]
    elif found is None and (out := odd_columns(numbers)):
        raise RerankError(
            f"{role}: got a DataFrame in which {named(out)} {'is' if len(out) == 1 else 'are'} "
            "called otherwise than the other columns of numbers, and would be part of the vector; "
            f"give df.drop(columns={out!r}), or an array with ids= if all columns are the vector"
        )
    if len(numbers) > 1 or (numbers and not others):
        columns = [_numbers(table[by_name[name]], f"{role}: column {name!r}") for name in numbers]
        matrix = np.stack(columns, axis=1)
        rows = _of_array(matrix.astype(np.result_type(matrix.dtype, np.float32)), role)
        # pandas counts columns that have no names.
        counts = all(not isinstance(name, str) for name in table.columns)
        return Taken(ids, rows, () if counts else tuple(numbers))
    way = "" if known else table_conversion(table)
    raise RerankError(
        f"{role}: got a DataFrame with the columns {named(names)}; expected columns of numbers, or "
        f"one column of vectors, and at most one of ids, such as 'id'; give {way or 'df[[...]]'}"
    )


def _refuse_splits(table: Any, columns: Mapping[str, Any], role: str) -> None:  # noqa: ANN401
    """Refuse the rows of several splits, which are never merged."""
    for name, column in columns.items():
        named_so = is_named_like_splits(name) or word_of_flags(name)
        named_so = named_so and not _holds_vectors(table[column])
        if not named_so and (_is_numeric(table[column]) or not _is_text(table[column])):
            continue
        values = [str(value) for value in _values(table[column])]
        flags = said_by_flags(name, values)
        values = list(flags or values)
        if flags or is_of_splits(name, values):
            is_first = f"df[{name!r}] == {_values(table[column])[0]!r}"
            one, every = f"df[{is_first}]", f"df.drop(columns={name!r})"
            if type(table).__module__.startswith("polars"):
                one, every = f"df.filter({is_first})", f"df.drop({name!r})"
            raise RerankError(
                f"{role}: column {name!r} of the DataFrame says that its rows are of several "
                f"{kind_of_splits(values)}: {counted_splits(values)}; give those of one: {one}, or "
                f"for all leave the column out: {every}"
            )


def _numbers(column: Any, where: str) -> np.ndarray:  # noqa: ANN401  pandas or polars
    """A column of numbers, also of those that numpy keeps as objects."""
    with contextlib.suppress(Exception):  # polars has integers that numpy has not
        made = np.asarray(column.to_numpy())
        if made.dtype.kind in "fiu":
            return made
    items = _values(column)
    try:
        return np.array([float(item) for item in items])
    except (TypeError, ValueError):
        row = next(row for row, item in enumerate(items) if not isinstance(item, SupportsFloat))
        raise RerankError(
            f"{where}: row {row} is {named([items[row]])}: a missing value; fill it, or leave the "
            "row out"
        ) from None


def _vectors(column: Any, role: str) -> np.ndarray:  # noqa: ANN401  pandas or polars
    """A column of vectors, in the precision that it says it has."""
    made = _stacked(_values(column), role)
    if made.dtype == np.float64 and isinstance(column.dtype, _Nested):
        inner = column.dtype.inner
        while isinstance(inner, _Nested):
            inner = inner.inner
        if str(inner) in ("Float32", "Float16"):
            return made.astype(str(inner).lower())
    return made


def _holds_vectors(column: Any) -> bool:  # noqa: ANN401  pandas or polars
    """Whether the first entry that is there is a list of numbers, or of such lists."""
    first = next((item for item in _values(column) if item is not None), None)
    if isinstance(first, Tensor):
        return True  # `_stacked` says what is wrong with it
    if isinstance(first, str | bytes) or not isinstance(first, Sequence | HasArray):
        return False
    with contextlib.suppress(Exception):  # of whatever library made it
        return np.asarray(first).dtype.kind in "fiu" and np.ndim(first) in (1, 2)
    return False


def names_given(ids: Any, role: str) -> list[Any]:  # noqa: ANN401  anything that lists names
    """Names in a list, an array, or a column of a table.

    Raises:
        RerankError: a whole table.
    """
    if isinstance(ids, _Frame):
        columns = [str(name) for name in ids.columns]
        raise RerankError(
            f"{role}: ids: got a {type(ids).__name__} with the columns {named(columns)}, expected "
            f"one of them{f', such as df[{columns[0]!r}]' if columns else ''}"
        )
    if isinstance(ids, Tensor):
        ids = numpy_of(ids, f"{role}: ids")
    if isinstance(ids, memoryview):
        ids = np.asarray(ids)
    if not isinstance(ids, Iterable) or (isinstance(ids, np.ndarray) and ids.ndim == 0):
        raise RerankError(f"{role}: ids: got {named([ids])}, expected a list of names")
    return ids.tolist() if isinstance(ids, np.ndarray) and ids.ndim == 1 else list(ids)


def _index_of(table: Any) -> tuple[str, ...] | None:  # noqa: ANN401  pandas or polars
    """Names of the rows, where a table of pandas has other than numbers from 0."""
    index = getattr(table, "index", None)
    if index is None or callable(index) or type(index).__name__ == "RangeIndex":
        return None
    return check_ids(list(index.tolist()), "index")


def _is_text(column: Any) -> bool:  # noqa: ANN401  pandas or polars
    return all(isinstance(item, str) for item in _values(column))


def _is_numeric(column: Any) -> bool:  # noqa: ANN401  pandas or polars
    if isinstance(column.dtype, _KnowsNumbers):
        return bool(column.dtype.is_numeric())
    return getattr(column.dtype, "kind", "O") in "fiu"


def _values(column: Any) -> list[Any]:  # noqa: ANN401  pandas or polars
    return column.to_list()
