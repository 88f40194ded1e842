"""Rows of several splits in one table: which one is meant is asked, and they are never merged."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from rerank.io.container import Container
from rerank.io.field import Field, afford
from rerank.io.ids import is_list

# Columns that name the split of a row, the first of them whatever its values are.
_COLUMNS = ("split", "subset", "partition", "set", "phase", "fold")
_KNOWN = {
    "test", "testing", "val", "valid", "validation", "dev", "train", "training", "trainval",
    "restval", "query", "gallery",
}  # fmt: skip


def is_named_like_splits(name: str) -> bool:
    """Whether a column is called as those are that say of which split a row is.

    >>> is_named_like_splits("Split"), is_named_like_splits("embedding")
    (True, False)
    """
    low = name[-12:].lower()
    return low in _COLUMNS or low.endswith("_split")


def is_of_splits(name: str, values: Sequence[str]) -> bool:
    """Whether a column by its name, and by its values, says of which split each row is.

    >>> is_of_splits("split", ["a", "b"] * 2), is_of_splits("Set", ["train", "Test"])
    (True, True)
    >>> is_of_splits("set", ["a", "b"] * 2), is_of_splits("split", ["a", "a"])
    (False, False)
    """
    name, different = name.lower(), set(values)
    if len(different) < 2:
        return False
    if name == _COLUMNS[0] or name.endswith("_split"):
        return 2 * len(different) <= len(values) or _are_known(different)
    return name in _COLUMNS and _are_known(different)


def _are_known(values: set[str]) -> bool:
    return {value.lower() for value in values} <= _KNOWN


def split_column(container: Container) -> tuple[str, tuple[str, ...]] | None:
    """The column that says of which split each row is, and what it says; None without one."""
    named = [name for name in container.fields if is_named_like_splits(name)]
    if not named:
        return None
    counts = {
        item.shape[0] for name, item in container.fields.items()
        if item.kind == "float" and len(item.shape) > 1 and "/" not in name
    }  # fmt: skip
    for name in named:
        item = container.fields[name]
        if item.kind not in ("text", "integer") or not is_list(item) or item.shape[0] not in counts:
            continue
        values = _values(item)
        if is_of_splits(name, values):
            return name, values
    return None


def counted_splits(values: Sequence[str]) -> str:
    """The splits and their rows, for messages.

    >>> counted_splits(["test", "train", "train"])
    "'test' (1 row), 'train' (2 rows)"
    """
    found = Counter(values).most_common(8)
    return ", ".join(f"{x!r} ({k} row{'s' if k > 1 else ''})" for x, k in sorted(found))


def only_rows(container: Container, chosen: np.ndarray) -> Container:
    """A table with some of its rows.

    Args:
        container: the table.
        chosen: (n,) booleans.
    """

    def of(item: Field) -> Field:
        fits = bool(item.shape) and item.shape[0] == len(chosen)
        return _some_rows(item, chosen) if fits else item

    vectors = container.vectors
    return replace(
        container,
        fields={name: of(item) for name, item in container.fields.items()},
        vectors=None if vectors is None else {name: of(item) for name, item in vectors.items()},
        numbers={name: of(item) for name, item in container.numbers.items()},
        alike=None,
        content_sha256=None,
    )


def _some_rows(item: Field, chosen: np.ndarray) -> Field:
    at = np.flatnonzero(chosen)

    def blocks(start: int, stop: int) -> Iterator[np.ndarray]:
        if start >= stop:
            return
        row = int(at[start])
        for block in item.blocks(row, int(at[stop - 1]) + 1):
            part = block[chosen[row : row + len(block)]]
            row += len(block)
            if len(part):
                yield part

    return replace(item, shape=(len(at), *item.shape[1:]), blocks=blocks, mapped=None)


def _values(item: Field) -> tuple[str, ...]:
    item.check()
    made: list[str] = []
    for block in item.blocks(0, item.shape[0]):
        for value in np.asarray(block).reshape(-1).tolist():
            text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
            made.append("" if value is None else text)
        afford(64 * len(made), item.where, what="the column of splits")
    return tuple(made)
