"""Scores of the best hits of every row, with which items they are: a ranking kept as a matrix.

`torch.topk`, `faiss.Index.search` and the like give two arrays, in which column j is the j-th best
hit of a row and not item j. Read as a matrix it would give every row the same order.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rerank.core.errors import FormatError
from rerank.core.shell import word
from rerank.io.container import LIST_NAMES, Container
from rerank.io.field import Field, afford, declared_bytes
from rerank.io.files import named, write_json
from rerank.io.ids import read_ids
from rerank.io.recipes import hits_as_matrix, hits_as_run
from rerank.io.score_sides import KNOWN, named_so
from rerank.io.side_words import side_of_list

# Steps from a score to the next that all lead down may do so by chance, if they are fewer.
_FEW = 6
# Rows that are looked at first: those of other matrices end it.
_FIRST = 64
# Rows and columns of a matrix alone, and steps in a row of it, of which fewer say nothing.
_FEWEST, _STEPS = 5, 3
# Numbers of which fewer than one in so many occur are names, and no places.
_SPARSE = 4


class _Hits(NamedTuple):
    """Scores of hits, and which items they are, a row for each query.

    Attributes:
        scores: falling along each row, or rising.
        items: of the same shape, numbers or text.
        there: which of them are hits; others fill up a row.
        rising: whether the smallest is the best.
        turned: whether the queries are stored as columns.
    """

    scores: np.ndarray
    items: np.ndarray
    there: np.ndarray
    rising: bool
    turned: bool


def refuse_best_hits(container: Container, stored: Field, name: str) -> None:
    """Refuse scores that fall along every row, beside an array that says of which items they are.

    Args:
        container: the file.
        stored: the matrix as it is stored.
        name: what it is called.

    Raises:
        FormatError: it is a ranking.
    """
    if stored.kind != "float" or len(stored.shape) != 2:
        return
    for other, item in container.fields.items():
        if item is stored or item.shape != stored.shape or item.kind == "other" or item.odd:
            continue
        names_columns = 1 in item.shape and (
            other in KNOWN or other in LIST_NAMES or side_of_list(other) != ""
        )
        if names_columns or (hits := _hits(stored, item)) is None:
            continue
        path, line = container.path, "column" if hits.turned else "row"
        way = f"write the matrix: {hits_as_matrix(path, name, other)}"
        if _count(hits) == 0:
            made, command = hits_as_run(path, name, other)
            reads = f"which rerank eval reads with --results {word(str(made))}"
            way = f"write the ranking, {reads}: {command}"
        raise FormatError(
            f"{path}: {named([name])} has the scores of the best hits of every {line}, in their "
            f"order, and {named([other])} says which items these are: that is a ranking, and no "
            f"matrix texts x videos; {way}; if both stand in the order of the items, leave "
            f"{named([other])} out"
        )


def said_of_order(scores: np.ndarray) -> str:
    """Which lines of a matrix alone all fall, or all rise: "row", "column", or "".

    Lines that differ by one number throughout are no hits, but items of which each has its own.

    >>> x = np.random.default_rng(0).normal(size=(6, 8))
    >>> said_of_order(x), said_of_order(np.sort(x)), said_of_order(np.sort(x, 0))
    ('', 'row', 'column')
    >>> said_of_order(np.zeros((6, 8))), said_of_order(np.arange(48.).reshape(6, 8))
    ('', '')
    """
    if min(scores.shape) < _FEWEST:
        return ""
    for line, lines in (("row", scores), ("column", scores.T)):
        if not (_sorted(lines[:_FIRST]) and _sorted(lines)):
            continue
        left, right = lines[:, :-1], lines[:, 1:]
        if np.count_nonzero(left != right) < _STEPS * len(lines):
            continue
        with np.errstate(invalid="ignore"):
            steps = right - left
        if not np.allclose(steps, steps[:1], equal_nan=True):
            return line
    return ""


def _sorted(lines: np.ndarray) -> bool:
    """Whether all lines fall, or all rise."""
    left, right = lines[:, :-1], lines[:, 1:]
    return bool((left >= right).all() or (left <= right).all())


def write_matrix(source: str | Path, scores: str, items: str, target: str | Path) -> None:
    """Write the scores of hits as a matrix in which column j is item j; messages print this.

    What is no hit is not scored: -inf, and +inf among distances.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> np.savez(folder / "s.npz", D=[[.9, .5, .1], [.8, .7, .2]] * 2, I=[[2, 0, 1], [1, 2, 0]] * 2)
    >>> write_matrix(folder / "s.npz", "D", "I", folder / "m.npz")
    >>> np.load(folder / "m.npz")["scores"][:2].tolist()
    [[0.5, 0.1, 0.9], [0.2, 0.8, 0.7]]

    Args:
        source: the file with both arrays.
        scores: what the array of scores is called.
        items: what the array of places is called.
        target: an npz file, which is written anew.

    Raises:
        FormatError: they are no ranking of numbered items.
    """
    with _opened(source) as container:
        hits = _told(container, scores, items)
        count = _count(hits)
        if not count:
            raise FormatError(f"{source}: {named([items])} holds no places of items")
        n = len(hits.scores)
        afford(n * count * hits.scores.dtype.itemsize, str(source), what="the matrix")
        made = np.full((n, count), np.inf if hits.rising else -np.inf, hits.scores.dtype)
        rows, columns = np.nonzero(hits.there)
        places = hits.items[rows, columns].astype(np.int64) - _first(hits)
        made[rows, places] = hits.scores[rows, columns]
        lists = {
            name: np.array(read_ids(item))
            for name, item in container.fields.items()
            if name not in (scores, items) and _is_list_of(item, (n, count))
        }
    name = "distances" if hits.rising else "scores"
    np.savez(target, **{name: made.T if hits.turned else made}, **lists)  # type: ignore[arg-type]


def write_run(source: str | Path, scores: str, items: str, target: str | Path) -> None:
    """Write the scores of hits as `{query: {item: score}}`; messages print this.

    Queries without names are called by their numbers. Distances are turned, so that the largest is
    the best.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> ids = [["b", "a"], ["a", "c"]] * 3
    >>> np.savez(folder / "s.npz", scores=[[.9, .5], [.8, .7]] * 3, ids=ids)
    >>> write_run(folder / "s.npz", "scores", "ids", folder / "run.json")
    >>> (folder / "run.json").read_text().split()[:5]
    ['{', '"0":', '{', '"b":', '0.9,']

    Args:
        source: the file with both arrays.
        scores: what the array of scores is called.
        items: what the array of items is called.
        target: a JSON file, which is written anew.

    Raises:
        FormatError: they are no ranking.
    """
    with _opened(source) as container:
        hits = _told(container, scores, items)
        n = len(hits.scores)
        lists = {
            name: item for name, item in container.fields.items() if name not in (scores, items)
        }
        found = named_so(lists, "gallery_ids" if hits.turned else "query_ids")
        if found is None:
            fits = [
                item for item in lists.values() if item.kind == "text" and _is_list_of(item, (n,))
            ]
            found = fits[0] if len(fits) == 1 else None
        queries = list(map(str, range(n))) if found is None else list(read_ids(found))
    sign = -1 if hits.rising else 1
    run = {
        query: {
            _text(item): sign * float(score)
            for item, score, there in zip(*row, strict=True)
            if there and np.isfinite(score)
        }
        for query, *row in zip(queries, hits.items, hits.scores, hits.there, strict=True)
    }
    write_json(target, run)


def _opened(source: str | Path):  # noqa: ANN202  a context of one container
    from rerank.io.opening import open_container

    return open_container(Path(source))


def _told(container: Container, scores: str, items: str) -> _Hits:
    fields = container.fields
    found = None
    if scores in fields and items in fields:
        found = _hits(fields[scores], fields[items])
    if found is None:
        raise FormatError(
            f"{container.path}: {named([scores, items])} are not there, or are no scores of the "
            "best hits and which these are"
        )
    return found


def _is_list_of(item: Field, counts: tuple[int, ...]) -> bool:
    return item.kind in ("text", "integer") and len(item.shape) == 1 and item.shape[0] in counts


def _text(item: object) -> str:
    return item if isinstance(item, str) else str(int(item))  # type: ignore[call-overload]


def _hits(stored: Field, item: Field) -> _Hits | None:
    """The scores and the items of hits; None for any other two arrays of one shape."""
    n = stored.shape[0]
    found = None
    item.check()
    for stop in sorted({min(n, _FIRST), n}):
        if stop == n:
            afford(declared_bytes(stored.shape, stored.dtype), stored.where, what="the scores")
        scores, items = _rows(stored, stop), _rows(item, stop)
        if items.dtype.kind in "OSU":
            items = np.array([[_name(x) for x in row] for row in items.tolist()], object)
        found = next(
            (hits for turned in (False, True) if (hits := _of_rows(scores, items, turned=turned))),
            None,
        )
        if found is None:
            return None
    if found is None:
        return None
    steps = (found.scores[:, 1:] != found.scores[:, :-1]) & found.there[:, 1:]
    return found if np.count_nonzero(steps) >= _FEW else None


def _rows(item: Field, stop: int) -> np.ndarray:
    return np.concatenate([np.asarray(block) for block in item.blocks(0, stop)])


def _name(item: object) -> object:
    return item.decode("utf-8", "replace") if isinstance(item, bytes) else item


def _of_rows(scores: np.ndarray, items: np.ndarray, *, turned: bool) -> _Hits | None:
    if turned:
        scores, items = scores.T, items.T
    names = items.dtype.kind == "O"
    if names and not all(isinstance(item, str) for item in items.reshape(-1)):
        return None
    there = items != "" if names else items != -1
    rising = _orders(scores, there, np.less_equal)
    if not rising and not _orders(scores, there, np.greater_equal):
        return None
    if not names and not (np.isfinite(items) & (items == np.floor(items)) & (items >= -1)).all():
        return None
    if any(len(set(row[kept])) < kept.sum() for row, kept in zip(items, there, strict=True)):
        return None
    # Items in the order of the columns, or ranks: column j is item j after all.
    plain = np.arange(items.shape[1])
    if not names and any((items == plain + first).all() for first in (0, 1)):
        return None
    return _Hits(scores, items, there, rising, turned)


def _orders(
    scores: np.ndarray, there: np.ndarray, compare: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> bool:
    """Whether all scores of hits stand in one order along every row."""
    both = there[:, :-1] & there[:, 1:]
    return bool((compare(scores[:, :-1], scores[:, 1:]) | ~both).all())


def _first(hits: _Hits) -> int:
    """The number of the first item: 1 where all items are there, counted from 1."""
    found = hits.items[hits.there]
    return int(found.min() == 1 and found.max() == hits.items.shape[1])


def _count(hits: _Hits) -> int:
    """How many items there are by their places; 0 where numbers are names."""
    if hits.items.dtype.kind == "O" or not hits.there.any():
        return 0
    found = np.unique(hits.items[hits.there])
    count = int(found[-1]) + 1 - _first(hits)
    return count if count <= _SPARSE * len(found) else 0
