"""Which gallery items are right for which queries: read, turned around, grouped, graded.

Positives are one array of gallery rows per query, sorted, without repetitions; a query without any
is not judged. Grades say how right an item is: a dict of gallery rows for each graded query, in
which 0 and less mean "judged, and not right".
"""

from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
from torch import Tensor

from rerank.core import scipy_parts
from rerank.core.arrays import refuse_sparse
from rerank.core.errors import RerankError
from rerank.core.handed import numpy_of
from rerank.core.pair_forms import relevance_rows, way_of_pairs
from rerank.core.words import Name

Positives: TypeAlias = (
    Sequence[np.ndarray] | Sequence[Sequence[int]] | Mapping[int, Sequence[int]] | np.ndarray
)
Grades: TypeAlias = Mapping[int, Mapping[int, float]]

# Of each direction what asks and what is searched, as plurals.
WORDS: dict[Name, tuple[str, str]] = {"t2v": ("texts", "videos"), "v2t": ("videos", "texts")}


def as_positives(positives: Positives, n_queries: int, n_gallery: int) -> tuple[np.ndarray, ...]:
    """Gallery rows that are right for each query row, sorted, without repetitions.

    Args:
        positives: one sequence of gallery rows per query; or a 1-D integer array, one gallery row
            per query; or an (n, m) matrix of truth values or of 0 and 1; or a dict from query row
            to gallery rows (absent rows are unjudged).
        n_queries: number of query rows.
        n_gallery: number of gallery rows.

    Raises:
        RerankError: another number of queries, or a row outside the gallery.

    Example:
        >>> [rows.tolist() for rows in as_positives({0: [2, 1]}, 2, 3)]
        [[1, 2], []]
    """
    if type(positives).__module__.partition(".")[0] in ("pandas", "polars"):
        raise RerankError(
            f"positives: got a {type(positives).__name__}, expected {{query: [items]}} or gallery "
            "rows for each query; of a matrix of 0 and 1: df.to_numpy() > 0; of a table of pairs: "
            "{q: [v for a, v in pairs if a == q] for q, _ in pairs}, with pairs = "
            "list(zip(df['query_id'], df['video_id']))"
        )
    refuse_sparse(positives, "positives", "x.toarray() > 0")
    if isinstance(positives, Tensor):
        positives = numpy_of(positives, "positives")
    elif isinstance(positives, memoryview):
        positives = np.asarray(positives)
    if isinstance(positives, Mapping):
        given: Sequence | np.ndarray = _by_row(positives, n_queries)
    else:
        given = positives
    shape = getattr(given, "shape", ())
    if (right := relevance_rows(given, n_queries, n_gallery)) is not None:
        given = right
    elif len(shape) == 2 and getattr(given.dtype, "kind", "i") == "f":  # type: ignore[union-attr]
        raise RerankError(
            f"positives: got a matrix of {shape[0]} x {shape[1]} numbers, expected gallery rows "
            f"for each query; to judge embeddings, rerank.apply(texts, videos).evaluate(gt)"
        )
    scalar = isinstance(given, np.ndarray) and given.ndim == 0
    if isinstance(given, str) or not isinstance(given, Sized) or scalar:
        raise RerankError(
            f"positives: got {str(given)!r}, expected gallery rows for each query; a file is read "
            f"by rerank.read_ground_truth(path, query_ids, gallery_ids).positives"
        )
    if len(given) != n_queries:
        raise RerankError(
            f"positives: got {len(given)} entries, expected one for each of {n_queries} queries"
            f"{way_of_pairs(given)}"
        )
    out = []
    for row, items in enumerate(given):
        if isinstance(items, Tensor):
            items = numpy_of(items, f"positives of query row {row}")
        items = np.atleast_1d(np.asarray(items))
        if items.size and items.dtype.kind not in "iu":
            raise RerankError(
                f"positives of query row {row}: got {items.flat[0]!r}, expected integer "
                f"gallery rows (names are matched by rerank.evaluate(query_ids=, gallery_ids=))"
            )
        # np.unique is slow by the thousand, and one positive needs no sorting.
        items = np.unique(items.astype(np.int64)) if items.size > 1 else items.astype(np.int64)
        if items.size and not (items[0] >= 0 and items[-1] < n_gallery):
            bad = items[0] if items[0] < 0 else items[-1]
            raise RerankError(
                f"positives of query row {row}: got gallery row {bad}, expected 0 to "
                f"{n_gallery - 1}"
            )
        out.append(items)
    return tuple(out)


def _by_row(positives: Mapping[int, Sequence[int]], n_queries: int) -> list[Sequence[int]]:
    for row in positives:
        if not isinstance(row, int | np.integer):
            raise RerankError(
                f"positives: got the key {row!r}, expected query rows (names are matched by "
                f"rerank.evaluate(query_ids=, gallery_ids=))"
            )
        if not 0 <= row < n_queries:
            raise RerankError(
                f"positives: got query row {row}, expected rows from 0 to {n_queries - 1}"
            )
    return [positives.get(row, ()) for row in range(n_queries)]


def transpose_positives(positives: Sequence[np.ndarray], n_gallery: int) -> tuple[np.ndarray, ...]:
    """From gallery rows per query to query rows per gallery item."""
    lengths = [len(rows) for rows in positives]
    queries = np.repeat(np.arange(len(positives)), lengths)
    items = _flat(positives)
    order = np.lexsort((queries, items))
    bounds = np.searchsorted(items[order], np.arange(n_gallery + 1))
    ordered = queries[order].astype(np.int64)
    return tuple(ordered[bounds[j] : bounds[j + 1]] for j in range(n_gallery))


def positives_of(
    positives: Sequence[np.ndarray], n_gallery: int
) -> dict[Name, tuple[np.ndarray, ...]]:
    """Positives of both directions: per text, and per video.

    Args:
        positives: video rows per text.
        n_gallery: number of videos.
    """
    return {"t2v": tuple(positives), "v2t": transpose_positives(positives, n_gallery)}


class GradedRows(Protocol):
    """What a ground truth says of every item it judges, right or not.

    Attributes:
        rows: (n,) arrays of judged gallery rows, one for each query.
        grades: (n,) arrays beside them.
    """

    @property
    def rows(self) -> Sequence[np.ndarray]: ...  # noqa: D102
    @property
    def grades(self) -> Sequence[np.ndarray]: ...  # noqa: D102


def as_grades(judged: GradedRows | None) -> Grades | None:
    """Grades as a dict of dicts; None stays None."""
    if judged is None:
        return None
    return {
        query: {int(j): _grade(grade) for j, grade in zip(rows, grades, strict=True)}
        for query, (rows, grades) in enumerate(zip(judged.rows, judged.grades, strict=True))
    }


def _grade(grade: float) -> float:
    """A whole number where it is one."""
    return int(grade) if float(grade).is_integer() else float(grade)


def transpose_grades(grades: Grades) -> dict[int, dict[int, float]]:
    """From grades of gallery rows per query to grades of query rows per gallery item."""
    out: dict[int, dict[int, float]] = {}
    for query, items in grades.items():
        for item, grade in items.items():
            out.setdefault(item, {})[query] = grade
    return out


@dataclass(frozen=True, eq=False)
class Groups:
    """Connected components of "this query belongs to this item".

    All captions of a video are one group, so that no half holds another caption of a video that
    the other half is judged on. Items without a query and queries without an item stand alone.

    Attributes:
        queries: (n,) group of each query, gallery: (m,) group of each item.
        count: number of groups.
        judged: number of groups with at least one known pair.
    """

    queries: np.ndarray
    gallery: np.ndarray
    count: int
    judged: int


def group_pairs(positives: Sequence[np.ndarray], n_gallery: int) -> Groups:
    """Queries and items that hang together through right answers, directly or through others.

    Raises:
        RerankError: a positive that is no row of the gallery.
    """
    n = len(positives)
    counts = np.array([len(rows) for rows in positives], dtype=np.int64)
    queries = np.repeat(np.arange(n), counts)
    items = _flat(positives)
    if len(items) and (items.min() < 0 or items.max() >= n_gallery):
        row = int(queries[(items < 0) | (items >= n_gallery)][0])
        raise RerankError(
            f"positives: query {row} points outside the gallery of {n_gallery} items; positives "
            f"are gallery rows, counted from 0"
        )
    if counts.max(initial=0) <= 1:
        return _around_items(queries, items, n, n_gallery)
    coo_array = scipy_parts.part("sparse").coo_array
    connected_components = scipy_parts.part("sparse.csgraph").connected_components
    size = n + n_gallery
    graph = coo_array((np.ones(len(items), dtype=np.int8), (queries, n + items)), (size, size))
    count, label = connected_components(graph.tocsr(), directed=False)
    judged = len(np.unique(label[queries]))
    return Groups(label[:n].astype(np.int64), label[n:].astype(np.int64), int(count), judged)


def _around_items(queries: np.ndarray, items: np.ndarray, n: int, n_gallery: int) -> Groups:
    """The same where no query has two positives: what hangs together is an item with its queries.

    Numbered as they come, queries before items, like any connected components.
    """
    centre = np.arange(n + n_gallery)
    centre[queries] = n + items
    _, first, place = np.unique(centre, return_index=True, return_inverse=True)
    number = np.empty_like(first)
    number[np.argsort(first)] = np.arange(len(first))
    label = number[place].astype(np.int64)
    return Groups(label[:n], label[n:], len(first), len(np.unique(items)))


def clusters_of(positives: Sequence[np.ndarray], n_gallery: int) -> np.ndarray:
    """Queries that share a right answer, directly or through others, are one cluster.

    Args:
        positives: gallery rows per query.
        n_gallery: number of gallery items.

    Returns:
        (n,) int64 cluster of every query, numbered from 0; one without positives is alone.
    """
    groups = group_pairs(positives, n_gallery).queries
    return np.unique(groups, return_inverse=True)[1].astype(np.int64)


def _flat(positives: Sequence[np.ndarray]) -> np.ndarray:
    """All gallery rows, query by query, int64."""
    parts = [np.asarray(rows, dtype=np.int64) for rows in positives]
    return np.concatenate([*parts, np.empty(0, dtype=np.int64)])
