"""Right items as arrays and lists hold them: truth values, item numbers, pairs of rows, grades.

What says which pairs are right is read as that; what fits two ways is asked about.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from rerank.core.errors import RerankError
from rerank.core.handed import numpy_of


def relevance_rows(given: object, n_queries: int, n_gallery: int) -> list[np.ndarray] | None:
    """Gallery rows of each query where a matrix of the shape of the scores is 1; None of others.

    A row of item numbers that is as long as the gallery would name items again, if it is of 0 and
    1 only; of two items it need not, see `one_way`.

    >>> [rows.tolist() for rows in relevance_rows([[0, 1, 0], [1, 0, 1]], 2, 3)]
    [[1], [0, 2]]
    >>> relevance_rows([[0, 1], [1, 2]], 2, 3) is None
    True
    """
    made = _matrix_of(given, n_queries, n_gallery)
    if made is None or (made.dtype.kind in "iu" and n_gallery < _FEW) or not _says_yes(made):
        return None
    return [np.flatnonzero(row) for row in made]


# Of so few items all can be right for a query.
_FEW = 3


def one_way(given: Any, n_queries: int, n_gallery: int) -> Any:  # noqa: ANN401  of a program
    """The same, or a dict of the pairs that it holds; what fits two ways is refused.

    Arrays in a list, as `GroundTruth.positives` are, hold item numbers.

    >>> one_way([(0, 1), (1, 0), (2, 1)], 3, 2)
    {0: 1, 1: 0, 2: 1}
    >>> one_way([(0, 2), (1, 0), (2, 1)], 3, 3)
    Traceback (most recent call last):
    rerank.core.errors.RerankError: positives: got 3 rows of two numbers, which are pairs of a \
query and its item, or the two right items of each query; give dict(x) for pairs, or \
dict(enumerate(x)) for items

    Raises:
        RerankError: pairs of rows that may be items, grades, or truth values of two items.
    """
    if _holds_arrays(given):
        return given
    matrix = _matrix_of(given, n_queries, n_gallery)
    if matrix is not None:
        _refuse_numbers(matrix, given)
    pairs = _two_columns(given)
    if pairs is None or len(pairs) != n_queries or n_queries < 2:
        return given
    counted = np.arange(n_queries)
    turned = bool((pairs[:, 1] == counted).all())
    if not turned and not (np.sort(pairs[:, 0]) == counted).all():
        return given
    queries, items = pairs[:, ::-1].T if turned else pairs.T
    if (queries == items).all() or not (items < n_gallery).all() or (items < 0).any():
        return given
    if n_queries > n_gallery:
        # Numbers of queries that are none of items.
        return dict(zip(queries.tolist(), items.tolist(), strict=True))
    listed = _listed(given)
    way = f"{{q: i for i, q in {listed}}}" if turned else f"dict({listed})"
    order = "an item and its query" if turned else "a query and its item"
    raise RerankError(
        f"positives: got {n_queries} rows of two numbers, which are pairs of {order}, or the two "
        f"right items of each query; give {way} for pairs, or dict(enumerate({listed})) for items"
    )


def _refuse_numbers(matrix: np.ndarray, given: object) -> None:
    """Refuse numbers in the shape of the scores that do not say plainly what is right."""
    listed = _listed(given)
    plain = "x" if hasattr(given, "tolist") else "np.asarray(x)"
    graded = f"{{i: dict(enumerate(row)) for i, row in enumerate({listed})}}"
    n, m = matrix.shape
    if matrix.dtype.kind in "iu" and m >= _FEW and not _says_yes(matrix):
        raise RerankError(
            f"positives: got whole numbers in the shape of the scores, {n} x {m}, which are not "
            f"only 0 and 1; give {graded} for grades, {plain} > 0 for what is right above 0, or "
            f"dict(enumerate({listed})) for items"
        )
    # Both items in their order are a list of both.
    if matrix.dtype.kind in "iu" and m == 2 and _says_yes(matrix) and (matrix != (0, 1)).any():
        raise RerankError(
            "positives: got 0 and 1 for two items, which say of each whether it is right, or are "
            f"their numbers; give {plain} > 0 for what is right, or dict(enumerate({listed})) for "
            "items"
        )
    if matrix.dtype.kind == "f" and _are_grades(matrix):
        raise RerankError(
            f"positives: got numbers in the shape of the scores, {n} x {m}, expected 0 and 1; give "
            f"{graded} for grades, or {plain} > 0 for what is right above 0"
        )


def _listed(given: object) -> str:
    return "x.tolist()" if hasattr(given, "tolist") else "x"


def way_of_pairs(given: object) -> str:
    """How to make a dict of pairs of a query and its item; "" of what is no rows of two numbers."""
    if _two_columns(given) is None:
        return ""
    return (
        "; of pairs of a query and its item give {q: [i for a, i in pairs if a == q] for q, _ in "
        f"pairs}}, with pairs = {_listed(given)}"
    )


def _matrix_of(given: Any, n: int, m: int) -> np.ndarray | None:  # noqa: ANN401  of a program
    """An array of the shape of the scores, also of lists of as many numbers as there are items."""
    if isinstance(given, Tensor):
        given = numpy_of(given, "positives")
    if isinstance(given, np.ndarray):
        fits = given.shape == (n, m) and given.size and given.dtype.kind in "biuf"
        return given if fits else None
    if not isinstance(given, list | tuple) or len(given) != n or not n or not m:
        return None
    if not all(isinstance(row, _ROWS) and len(row) == m for row in given):
        return None
    try:
        rows = [numpy_of(row, "positives") if isinstance(row, Tensor) else row for row in given]
        made = np.asarray(rows)
    except (TypeError, ValueError, OverflowError):
        return None
    return made if made.shape == (n, m) and made.dtype.kind in "biuf" else None


_ROWS = (list, tuple, np.ndarray, Tensor)


def _says_yes(matrix: np.ndarray) -> bool:
    """Whether it is of truth values, or of 0 and 1 only."""
    return matrix.dtype == bool or bool(((matrix == 0) | (matrix == 1)).all())


def _are_grades(matrix: np.ndarray) -> bool:
    """Whether floats are whole numbers from 0, which embeddings and scores are not."""
    if _says_yes(matrix) or not np.isfinite(matrix).all() or matrix.min() < 0:
        return False
    return bool((matrix == np.rint(matrix)).all())


def _holds_arrays(given: object) -> bool:
    """Whether it is a list of arrays, and not one array or lists of numbers."""
    return (
        isinstance(given, list | tuple)
        and bool(given)
        and all(isinstance(row, np.ndarray | Tensor) for row in given)
    )


def _two_columns(given: Any) -> np.ndarray | None:  # noqa: ANN401  of a program
    """(k, 2) whole numbers of an array or of lists; None of anything else."""
    if isinstance(given, Tensor):
        given = numpy_of(given, "positives")
    if isinstance(given, Sequence) and not isinstance(given, str | bytes):
        if not all(isinstance(row, list | tuple) and len(row) == 2 for row in given):
            return None
        try:
            given = np.asarray(given)
        except (TypeError, ValueError, OverflowError):
            return None
    if not isinstance(given, np.ndarray) or given.ndim != 2 or given.shape[1] != 2:
        return None
    return given if len(given) and given.dtype.kind in "iu" else None
