"""What programs keep in pickles, written as plain arrays; the recipes in messages call it.

Nothing is read here: whoever trusts a pickle loads it and hands over what was in it.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rerank.io.missing_items import NamesOfItems


def save_plain(content: object, out: str | Path) -> None:
    """Writes `{id: vector}`, frames, records, columns, pairs, tables or tensors as an npz.

    Records become columns, dictionaries in dictionaries groups, and arrays of several shapes, such
    as frames, one for each item. What is made of no numbers and no text is left out; where others
    like it have numbers, an empty array says so to the reader, who names it.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "v.npz"
    >>> save_plain({"ids": ["a", "b"], "clip": [np.ones((3, 2)), np.ones((2, 2))]}, path)
    >>> {name: array.shape for name, array in np.load(path).items()}
    {'a/clip': (3, 2), 'b/clip': (2, 2)}
    >>> save_plain({"a": np.ones(2), "b": np.ones(2), "c": None}, path)
    >>> {name: array.shape for name, array in np.load(path).items()}
    {'a': (2,), 'b': (2,), 'c': (0,)}
    """
    made = _by_item(_joined(_columns(_plain(content))))
    if isinstance(made, list):
        made = dict(enumerate(made))
    if not isinstance(made, dict):
        made = {"embeddings": made}
    arrays = {name: array for name, array in _flat(made) if not array.dtype.hasobject}
    arrays |= dict.fromkeys(_empty(made), np.zeros(0, bool))
    np.savez(out, **arrays)  # type: ignore[arg-type]


def _empty(groups: dict[Any, Any], before: str = "") -> Iterator[str]:
    """Names of what holds nothing, where more beside it holds numbers."""
    full = [name for name, value in groups.items() if _has_numbers(value)]
    gone = [name for name, value in groups.items() if _is_left_out(value)]
    if 1 < len(full) > len(gone):
        like = NamesOfItems(map(str, full)).has
        yield from (f"{before}{x}" for x in gone if _is_nothing(groups[x]) or like(str(x)))
    for name in full:
        if isinstance(groups[name], dict):
            yield from _empty(groups[name], f"{before}{name}/")


def _has_numbers(value: Any) -> bool:  # noqa: ANN401  anything
    if isinstance(value, dict):
        return any(map(_has_numbers, value.values()))
    return not _is_ragged(value) and np.asarray(value).dtype.kind in "fiub" and bool(np.size(value))


def _is_left_out(value: Any) -> bool:  # noqa: ANN401  anything
    if isinstance(value, dict):
        return all(map(_is_left_out, value.values()))
    return np.asarray(value, object if _is_ragged(value) else None).dtype.hasobject


def _is_nothing(value: Any) -> bool:  # noqa: ANN401  anything
    if isinstance(value, dict):
        return all(map(_is_nothing, value.values()))
    return value is None


def _plain(value: Any) -> Any:  # noqa: ANN401  anything
    """Tensors, tables and arrays of objects as arrays, lists and dictionaries."""
    if hasattr(value, "detach"):
        tensor = value.detach().cpu()
        return (tensor.float() if "bfloat" in str(tensor.dtype) else tensor).numpy()
    if hasattr(value, "columns"):
        return _plain(value.to_dict("records"))
    if isinstance(value, np.ndarray) and value.dtype.hasobject:
        return _plain(value.tolist())
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value.decode("latin1") if isinstance(value, bytes) else value


def _columns(value: Any) -> Any:  # noqa: ANN401  anything
    """Pairs of ids and vectors by id, and records as columns of what most of them have."""
    if isinstance(value, dict) and len(value) == 1:
        only = next(iter(value.values()))
        if isinstance(only, list) and only and all(isinstance(row, dict) for row in only):
            return _columns(only)
    if not isinstance(value, list) or not value:
        return value
    if all(
        isinstance(row, list)
        and len(row) == 2
        and isinstance(row[0], str | int)
        and (row[1] is None or _shape(row[1]))
        for row in value
    ) and any(_shape(row[1]) for row in value):
        ids, rows = [row[0] for row in value], [row[1] for row in value]
        # Ids that come again are kept for the reader to name.
        if len(set(ids)) == len(ids):
            return dict(zip(ids, rows, strict=True))
        return {"ids": ids, "embeddings": rows}
    if all(isinstance(row, dict) for row in value):
        held = Counter(name for row in value for name in row)
        names = [name for name, count in held.items() if 2 * count > len(value)]
        return {name: [row.get(name) for row in value] for name in names}
    return value


def _joined(value: Any) -> Any:  # noqa: ANN401  anything
    """Lists of batches, of which the last has fewer rows, as one array each; others as they are.

    One list of matrices may be the frames of each item.

    >>> batches = [np.ones((4, 2)), np.ones((4, 2)), np.ones((1, 2))]
    >>> _joined({"a": batches, "b": batches})["b"].shape, len(_joined({"a": batches})["a"])
    ((9, 2), 3)
    """
    if not isinstance(value, dict) or any(map(_names_rows, value.values())):
        return value
    parts = {name: _rows_of_parts(column) for name, column in value.items()}
    sizes = next((rows for rows in parts.values() if _are_batches(rows)), None)
    alike = [name for name, rows in parts.items() if rows == sizes]
    if len(alike) == 1 and value[alike[0]][0].ndim == 2:
        return value
    return {**value, **{name: np.concatenate(value[name]) for name in alike}}


def _names_rows(column: object) -> bool:
    """Whether a column is a list of text or whole numbers, which may name items."""
    return isinstance(column, list) and type(_first(column)) in (str, int)


def _rows_of_parts(column: object) -> list[int]:
    """The rows of each array of a list of matrices, or cubes, of one width; none for others."""
    if not isinstance(column, list) or not all(
        isinstance(part, np.ndarray) and part.ndim > 1 for part in column
    ):
        return []
    return list(map(len, column)) if len({part.shape[1:] for part in column}) == 1 else []


def _are_batches(rows: list[int]) -> bool:
    return len(rows) > 2 and rows[-1] < rows[0] and set(rows[:-1]) == {rows[0]}


def _by_item(value: Any) -> Any:  # noqa: ANN401  anything
    """Columns of which one holds numbers of several shapes, as a group for each id."""
    if not isinstance(value, dict):
        return value
    ragged = {
        name: column
        for name, column in value.items()
        if _is_ragged(column) and np.asarray(_first(column)).dtype.kind in "fiu"
    }
    if not ragged:
        return value
    count = len(next(iter(ragged.values())))
    lists = [value[name] for name in value if name not in ragged and not _is_ragged(value[name])]
    named = (x for x in lists if _shape(x) == (count,) and len(set(x)) == count)
    ids: Sequence[Any] = next((x for x in named if type(x[0]) is not float), range(count))
    return {
        str(name): {key: column[row] for key, column in ragged.items()}
        for row, name in enumerate(ids)
    }


def _shape(value: Any) -> tuple[int, ...]:  # noqa: ANN401  anything
    if not isinstance(value, list):
        return np.shape(value)
    return (len(value), *(_shape(value[0]) if value else ()))


def _is_ragged(value: object) -> bool:
    return isinstance(value, list) and (
        len(set(map(_shape, value))) > 1 or any(map(_is_ragged, value))
    )


def _first(value: Any) -> Any:  # noqa: ANN401  anything
    if not isinstance(value, list) or not value:
        return value
    return _first(next((each for each in value if each is not None), None))


def _flat(groups: dict[Any, Any], before: str = "") -> Iterator[tuple[str, np.ndarray]]:
    for name, value in groups.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{name}/")
        else:
            yield f"{before}{name}", np.asarray(value, object if _is_ragged(value) else None)
