"""Rows that say their own number, where nothing but their place in the file tells them apart."""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress

from rerank.core.errors import FormatError, RerankError
from rerank.io.field import Field
from rerank.io.files import named
from rerank.io.ids import is_list, read_ids
from rerank.io.place_names import in_other_order, says_places

# Fewer numbers may be each of 0, 1, ... by chance.
_FEW = 5
# Numbers of rows have less.
_DIGITS = 19


def check_no_order(
    fields: Mapping[str, Field],
    rows: Field,
    ids: Collection[tuple[str, ...]],
    way: str = "",
    axis: int = 0,
) -> None:
    """Refuse a list of another order of rows that have ids: which of them are in it, is not said.

    Args:
        fields: the arrays beside the rows; columns of a table go with their rows.
        rows: the vectors, or scores.
        ids: of the rows, and of the columns where they have some.
        way: how to say that the ids stand as the rows do.
        axis: 1 for the columns of scores.

    Raises:
        FormatError: one such as 'perm' holds 0, 1, ... or 1, 2, ... in another order than the ids.
    """
    for name, item in fields.items():
        if item is rows or not says_places(name):
            continue
        found = _other_order(item, rows.shape[axis])
        if found is not None and found not in ids:
            what = "columns" if axis else "rows"
            meant = f", or say that the ids stand as the {what} do: {way}" if way else ""
            raise FormatError(
                f"{rows.where}: beside its {what} and their ids {name!r} holds another order, "
                f"{', '.join(found[:3])}, ..., and nothing says whether both are in it; store the "
                f"{what} and the ids in one order and leave {name!r} out{meant}"
            )


def check_order(
    fields: Mapping[str, Field],
    rows: Field,
    way: Callable[[str], str] | None = None,
    asked: Callable[[str], bool] = says_places,
) -> None:
    """Refuse rows whose own numbers are in another order, where their places name them.

    Args:
        fields: the columns and arrays beside the rows.
        rows: the vectors.
        way: how to take the numbers of a column as ids; None where that is no way.
        asked: the names that are looked at; of other names than usual not of a few rows.

    Raises:
        FormatError: a column such as 'index' holds 0, 1, ... or 1, 2, ... in another order.
    """
    for name, item in fields.items():
        sure = rows.shape[0] >= _FEW and item.kind in ("integer", "float")
        if (says_places(name) or (sure and asked(name))) and item is not rows:
            found = _other_order(item, rows.shape[0])
            if found is not None:
                ids = f"; if these are the ids: {way(name)}" if way else ""
                raise FormatError(
                    f"{rows.where}: its rows have numbers of their own in another order, as "
                    f"{name!r} is {', '.join(found[:3])}, ..., but would be taken by their places; "
                    f"sort the rows by {name!r}, or leave it out if they stand as meant{ids}"
                )


def check_padded(ids: Sequence[str], where: str, way: Callable[[], str]) -> None:
    """Refuse to name rows by their places, where their ids are numbers with zeros before them.

    A ground truth that writes the same numbers without zeros does not mean the places.

    >>> check_padded(["00", "01", "02"], "v.npz", str)
    >>> check_padded(["1", "00"], "v.npz", lambda: "LINE")
    Traceback (most recent call last):
    rerank.core.errors.FormatError: v.npz: the ids of its rows are the numbers '1', '00' with \
zeros before them, in another order than the rows, so numbers of rows would name other items; if \
the ground truth has them without these zeros, write them so: LINE

    Args:
        ids: of the rows.
        where: the file.
        way: a command that writes them without zeros.

    Raises:
        FormatError: the ids are 0, 1, ... or 1, 2, ... in another order, and some have zeros.
    """
    if not all(each.isdecimal() and len(each) < _DIGITS for each in ids):
        return
    plain = [str(int(each)) for each in ids]
    if plain != list(ids) and in_other_order(plain):
        raise FormatError(
            f"{where}: the ids of its rows are the numbers {named(ids, limit=2)} with zeros before "
            "them, in another order than the rows, so numbers of rows would name other items; if "
            f"the ground truth has them without these zeros, write them so: {way()}"
        )


def counts_rows(item: Field, count: int) -> bool:
    """Whether a column holds the numbers of all rows, in any order."""
    return _numbers_of(item, count) is not None


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
