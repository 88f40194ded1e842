"""One number per item, such as a prior of another model or how often it was bought."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rerank.core.errors import FormatError, RerankError
from rerank.io.files import PathLike, read_json, regular_file
from rerank.io.text_table import two_columns

# What a row of a table is.
_ROW = "an id and its number"


def item_numbers(
    given: PathLike | Mapping[str, float] | Sequence[float] | np.ndarray, ids: Sequence[str]
) -> np.ndarray:
    """(m,) float64 numbers in the order of the ids.

    Args:
        given: numbers in that order, `{id: number}`, or a file: npy, JSON (a list or an object), or
            CSV and TSV of two columns, an id and its number, with or without a header.
        ids: (m,) names of the items.

    Raises:
        RerankError: an item without a number, another count, or what is no finite number.

    >>> item_numbers({"b": 2, "a": 1}, ["a", "b"])
    array([1., 2.])
    >>> item_numbers([1.0], ["a", "b"])
    Traceback (most recent call last):
    rerank.core.errors.RerankError: bias: got 1 numbers, expected one for each of the 2 items
    """
    where = "bias"
    if isinstance(given, str | Path):
        where, given = str(given), _read(Path(given))
    if isinstance(given, Mapping):
        odd = next((name for name in ids if name not in given), None)
        if odd is not None:
            raise RerankError(f"{where}: has no number for {odd!r}; every item needs one")
        given = [given[name] for name in ids]
    from rerank.core.handed import numbers_of  # torch, for what is there only

    numbers = numbers_of(given, where)
    if numbers.shape != (len(ids),):
        count = len(numbers) if numbers.ndim == 1 else f"an array of {numbers.shape}"
        raise RerankError(
            f"{where}: got {count} numbers, expected one for each of the {len(ids)} items"
        )
    if not np.isfinite(numbers).all():
        row = int(np.flatnonzero(~np.isfinite(numbers))[0])
        raise RerankError(f"{where}: the number of {ids[row]!r} is {numbers[row]}")
    return numbers


def _read(path: Path) -> Any:  # noqa: ANN401  numbers, or a mapping
    kind = path.suffix.lower()
    if kind == ".json":
        return read_json(path)
    if kind in (".csv", ".tsv", ".txt"):
        return _table(path)
    if kind != ".npy":
        raise FormatError(f"{path}: expected .npy, .json, .csv or .tsv with a number per item")
    regular_file(path)
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise FormatError(f"{path}: cannot be read as npy ({error})") from None


def _table(path: Path) -> dict[str, float]:
    rows = two_columns(path, _ROW)
    if rows and math.isnan(_number(rows[0][1])):
        del rows[0]  # a header
    found: dict[str, float] = {}
    for line, (name, number) in enumerate(rows, start=1):
        if math.isnan(_number(number)):
            raise FormatError(f"{path}: row {line} is not {_ROW}: {[name, number]}")
        if name in found:
            raise FormatError(f"{path}: {name!r} is there twice")
        found[name] = _number(number)
    return found


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
