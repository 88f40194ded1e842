"""Names of rows and columns of scores that a program holds in a table."""

from collections.abc import Mapping
from typing import Any, TypeAlias

from rerank.core.errors import RerankError
from rerank.core.handed import is_table
from rerank.io.column_names import odd_columns, says_something_else
from rerank.io.files import named
from rerank.io.ids import check_ids, check_unique
from rerank.io.scores import ScoreMatrix

Names: TypeAlias = tuple[tuple[str, ...] | None, tuple[str, ...] | None]

_PLACES = "give x.to_numpy() if rows and columns are meant by their places"
# What is computed of a row of scores and kept beside them.
_OF_A_ROW = {
    "max", "min", "mean", "std", "sum", "median", "argmax", "best", "top", "top1", "pred", "total",
}  # fmt: skip


def names_of_scores(
    scores: Any,  # noqa: ANN401  whatever holds them
    where: str = "scores",
) -> Names:
    """Names of the rows and of the columns; None of a side that only counts from 0, or has none.

    >>> names_of_scores([[0.5, 0.1]])
    (None, None)

    Args:
        scores: a frame of pandas or polars, what was read of a file, or anything without names.
        where: what they are, for messages.

    Raises:
        RerankError: names that are no ids, come twice, or say that a column is no item.
    """
    if isinstance(scores, ScoreMatrix):
        if not scores.ids_given:
            return None, None
        return _unless_rows(scores.query_ids), _unless_rows(scores.gallery_ids)
    if not is_table(scores) or not hasattr(scores, "columns"):
        return None, None
    index = getattr(scores, "index", None)
    rows = None if index is None else _names(index.tolist(), f"{where}: index")
    columns = _names(list(scores.columns), f"{where}: columns")
    if columns is not None and columns == tuple(f"column_{i}" for i in range(len(columns))):
        return rows, None  # of polars, where nothing was said
    if columns is not None and (odd := _no_items(scores, columns)):
        is_called = "is called" if len(odd) == 1 else "are called"
        raise RerankError(
            f"{where}: {named(odd)} among the columns of the DataFrame {is_called} otherwise than "
            f"the other columns, and would be searched like an item; give "
            f"x.drop(columns={odd!r}), or x.to_numpy() if all columns are items"
        )
    return rows, columns


def names_of_both(scores: Any) -> Names:  # noqa: ANN401  whatever holds them
    """The same of one matrix or of {"t2v": texts x videos, "v2t": videos x texts}.

    Raises:
        RerankError: see `names_of_scores`; two matrices whose names say other orders.
    """
    if not isinstance(scores, Mapping) or not set(scores) <= {"t2v", "v2t"} or not scores:
        return names_of_scores(scores)
    rows, columns = names_of_scores(scores["t2v"], "t2v") if "t2v" in scores else (None, None)
    if "v2t" not in scores:
        return rows, columns
    back = names_of_scores(scores["v2t"], "v2t")
    check_turned((rows, columns), back)
    return rows or back[1], columns or back[0]


def check_turned(names: Names, back: Names) -> None:
    """Refuse two matrices whose names say that they are no texts x videos and videos x texts.

    >>> check_turned((("a", "b"), ("x", "y")), (("x", "y"), ("a", "b")))
    >>> check_turned((("a", "b"), ("x", "y")), (("y", "x"), ("a", "b")))
    Traceback (most recent call last):
    rerank.core.errors.RerankError: v2t: its rows are called 'y', 'x', and the columns of t2v 'x', \
'y'; give v2t.loc[t2v.columns, t2v.index]

    Raises:
        RerankError: names that differ, or stand in another order.
    """
    if back == names:
        return  # stored as texts x videos too
    for mine, other, what in ((names[1], back[0], "rows"), (names[0], back[1], "columns")):
        if mine is not None and other is not None and mine != other:
            of = "columns" if what == "rows" else "rows"
            raise RerankError(
                f"v2t: its {what} are called {named(other)}, and the {of} of t2v {named(mine)}; "
                "give v2t.loc[t2v.columns, t2v.index]"
            )


def columns_in_order(scores: ScoreMatrix, bank: ScoreMatrix) -> list[int] | None:
    """Columns of a bank in the order of the scores, by name; None where they stand as they are.

    Raises:
        RerankError: a video that the bank has not.
    """
    mine, own = names_of_scores(scores)[1], names_of_scores(bank)[1]
    if mine is None or own is None or mine == own:
        return None
    place = {name: column for column, name in enumerate(own)}
    odd = next((name for name in mine if name not in place), None)
    if odd is not None:
        raise RerankError(
            f"bank_scores: no column is called {named([odd])}, which scores have; give bank texts "
            "x the same videos, or x.to_numpy() if columns are meant by their places"
        )
    return [place[name] for name in mine]


def _names(raw: list[Any], where: str) -> tuple[str, ...] | None:
    if raw == list(range(len(raw))):
        return None
    try:
        names = check_ids(raw, where)
        check_unique(names, where)
    except RerankError as error:
        raise RerankError(f"{error}; {_PLACES}") from None
    return _unless_rows(names)


def _unless_rows(names: tuple[str, ...]) -> tuple[str, ...] | None:
    return None if names == tuple(map(str, range(len(names)))) else names


def _no_items(scores: Any, columns: tuple[str, ...]) -> list[str]:  # noqa: ANN401  a table
    """Columns called otherwise than all others that all say something else, or whole numbers."""
    odd = odd_columns(columns)
    kinds = dict(zip(columns, map(str, scores.dtypes), strict=True))
    whole = {name for name in odd if kinds[name].lower().startswith(("int", "uint", "bool"))}
    others = [name for name in odd if name not in whole]
    if all(name.lower() in _OF_A_ROW or says_something_else(name) for name in others):
        return odd
    return []
