"""Rows that say their own number, where nothing but their place in the file tells them apart."""

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from rerank.core.errors import FormatError, RerankError
from rerank.io.field import Field
from rerank.io.ids import is_list, read_ids

# What columns are called that number rows; pandas calls one of a table in text by nothing.
_NAMES = (
    "index", "idx", "row", "row_index", "row_idx", "row_id", "row_number", "indices", "indexes",
    "__index_level_0__", "Unnamed: 0", "column 0", "order", "perm", "permutation", "sort_idx",
    "sort_index", "sort_order", "shuffle", "shuffle_idx", "position", "row_num", "row_no", "line",
    *(f"{of}_{number}" for of in ("emb", "embedding", "feat", "feature", "vector", "npy")
      for number in ("idx", "index", "row")),
)  # fmt: skip

# What a list is called that puts rows in another order; the other words say nothing more.
_ORDERS = {
    "perm", "permutation", "permutations", "order", "ordering", "sort", "sorted", "argsort",
    "unsort", "unsorted", "inverse", "shuffle", "shuffled", "unshuffle", "restore", "reorder",
}  # fmt: skip
_AROUND = {
    "idx", "idxs", "index", "indices", "indexes", "ids", "inv", "row", "rows", "of", "random",
    "rand", "by", "new", "old", "original",
}  # fmt: skip


def is_order(name: str) -> bool:
    """Whether a list of numbers is called what puts rows in another order.

    >>> [is_order(name) for name in ("inv_perm", "sortIdx", "idx", "group_order", "rank")]
    [True, True, False, False, False]
    """
    leaf = re.sub(r"([a-z])([A-Z])", r"\1_\2", name.rpartition("/")[2])
    words = set(re.findall("[a-z]+", leaf.lower()))
    return bool(words & _ORDERS) and words <= _ORDERS | _AROUND


def check_no_order(
    fields: Mapping[str, Field], rows: Field, ids: Sequence[str], way: str = "", axis: int = 0
) -> None:
    """Refuse a list of another order of rows that have ids: which of them are in it, is not said.

    Args:
        fields: the arrays beside the rows; columns of a table go with their rows.
        rows: the vectors, or scores.
        ids: of the rows.
        way: how to say that the ids stand as the rows do.
        axis: 1 for the columns of scores.

    Raises:
        FormatError: one such as 'perm' holds 0, 1, ... or 1, 2, ... in another order than the ids.
    """
    for name, item in fields.items():
        if item is rows or not is_order(name):
            continue
        found = _other_order(item, rows.shape[axis])
        if found is not None and found != tuple(ids):
            what = "columns" if axis else "rows"
            meant = f", or say that the ids stand as the {what} do: {way}" if way else ""
            raise FormatError(
                f"{rows.where}: beside its {what} and their ids {name!r} holds another order, "
                f"{', '.join(found[:3])}, ..., and nothing says whether both are in it; store the "
                f"{what} and the ids in one order and leave {name!r} out{meant}"
            )


def is_row_number(name: str) -> bool:
    """Whether a column is called as those are that number the rows of a table.

    >>> is_row_number("Index"), is_row_number("f0")
    (True, False)
    """
    return name in _NAMES or name.lower() in _NAMES or is_order(name)


def check_order(
    fields: Mapping[str, Field], rows: Field, way: Callable[[str], str] | None = None
) -> None:
    """Refuse rows whose own numbers are in another order, where their places name them.

    Args:
        fields: the columns and arrays beside the rows.
        rows: the vectors.
        way: how to take the numbers of a column as ids; None where that is no way.

    Raises:
        FormatError: a column such as 'index' holds 0, 1, ... or 1, 2, ... in another order.
    """
    for name, item in fields.items():
        if is_row_number(name) and item is not rows:
            found = _other_order(item, rows.shape[0])
            if found is not None:
                ids = f"; if these are the ids: {way(name)}" if way else ""
                raise FormatError(
                    f"{rows.where}: its rows have numbers of their own in another order, as "
                    f"{name!r} is {', '.join(found[:3])}, ..., but would be taken by their places; "
                    f"sort the rows by {name!r}, or leave it out if they stand as meant{ids}"
                )


def counts_rows(item: Field, count: int) -> bool:
    """Whether a column holds the numbers of all rows, in any order."""
    return _numbers_of(item, count) is not None


def in_other_order(found: Sequence[str]) -> bool:
    """Whether names are the numbers 0, 1, ... or 1, 2, ... of all, and not in their order.

    >>> in_other_order(["1", "0", "2"]), in_other_order(["1", "2"]), in_other_order(["b", "a"])
    (True, False, False)
    """
    usual = [tuple(map(str, range(first, first + len(found)))) for first in (0, 1)]
    return any(tuple(found) != one and set(found) == set(one) for one in usual)


def _other_order(item: Field, count: int) -> tuple[str, ...] | None:
    """What a column holds, where that is the numbers of all rows and not in their order."""
    found = _numbers_of(item, count)
    return found if found is not None and in_other_order(found) else None


def _numbers_of(item: Field, count: int) -> tuple[str, ...] | None:
    """The numbers of all rows that a column holds; None where it holds something else."""
    if item.kind == "other" or not is_list(item) or max(item.shape) != count:
        return None
    with suppress(RerankError):  # no whole numbers
        found = read_ids(item)
        if any(set(found) == set(map(str, range(first, first + count))) for first in (0, 1)):
            return found
    return None
