"""Score matrices: read from files, and recognised for what their numbers are."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from rerank.core.errors import FormatError, RerankError
from rerank.io.container import Container
from rerank.io.field import Field, bounds, check_matrix, hash_matrix, read_matrix, rows_per_block
from rerank.io.files import PathLike, named, sha256_of
from rerank.io.formats import open_container
from rerank.io.ids import check_count, check_unique, find_sidecar, read_ids, read_sidecar

ScoreKind: TypeAlias = Literal["similarities", "row-probabilities", "column-probabilities"]

_KINDS_OF_FILE = (".npy", ".npz", ".h5", ".hdf5")


@dataclass(frozen=True, eq=False)
class ScoreMatrix:
    """Scores of n queries (rows) against m gallery items (columns); all finite.

    Attributes:
        scores: (n, m) float32 or float64.
        query_ids: (n,) names of the rows.
        gallery_ids: (m,) names of the columns.
        source: the file it came from.
        ids_given: False when the file has no ids; they are then "0", "1", ...
        total_rows: rows in the file; more than n when a slice was read.
    """

    scores: np.ndarray
    query_ids: tuple[str, ...]
    gallery_ids: tuple[str, ...]
    source: str
    ids_given: bool = True
    total_rows: int = 0

    @cached_property
    def content_sha256(self) -> str:
        """Hash of the scores and the ids, the same for the same content in any kind of file."""
        parts = [sha256_of(self.query_ids), sha256_of(self.gallery_ids), sha256_of(self.scores)]
        return sha256_of(parts)


def read_scores(
    path: PathLike, *, dataset: str | None = None, rows: slice | None = None
) -> ScoreMatrix:
    """Read a matrix of scores, queries x gallery, from .npy, .npz or .h5.

    npz and HDF5 hold `scores` (or exactly one 2-D float array) with `query_ids` and `gallery_ids`.
    A `.npy` has ids in `v.query_ids.json` and `v.gallery_ids.json` (or `.txt`) beside it. Without
    any ids rows and columns are called "0", "1", ... and `ids_given` is False.

    Args:
        path: the file.
        dataset: the array to take, where more than one could be meant.
        rows: a slice of the rows, so that a process reads only its share.

    Returns:
        The scores, float32 (also for float16 files) or float64, in native byte order.

    Raises:
        FormatError: integers, complex numbers, NaN, infinities of either sign, 3-D, empty, ids
            that are double or too few, ids for one side only; naming file, row and id.
    """
    if Path(path).suffix.lower() not in _KINDS_OF_FILE and Path(path).is_file():
        raise FormatError(
            f"{path}: scores are read from {', '.join(_KINDS_OF_FILE)}; convert the file to one "
            "of them"
        )
    with open_container(Path(path)) as container:
        item = _find(container, dataset)
        where = item.where
        check_matrix(item, "scores")
        item.check()
        shape = item.shape
        query_ids, gallery_ids, given = _both_ids(container, item)
        start, stop = bounds(rows, shape[0], where)
        scores = read_matrix(
            item,
            what="scores",
            rows=(start, stop),
            row_name=lambda row: f"{row} (query {named([query_ids[row]])})",
            column_name=lambda column: f"{column} (item {named([gallery_ids[column]])})",
        )
    return ScoreMatrix(scores, query_ids[start:stop], gallery_ids, str(path), given, shape[0])


def hash_scores(path: PathLike) -> str:
    """`content_sha256` of all scores of a file, which are read in blocks and not kept.

    Raises:
        FormatError: a file that changed since it was read.
    """
    with open_container(Path(path)) as container:
        item = _find(container, None)
        query_ids, gallery_ids, _ = _both_ids(container, item)
        return sha256_of([sha256_of(query_ids), sha256_of(gallery_ids), hash_matrix(item)])


def _find(container: Container, dataset: str | None) -> Field:
    path, fields = container.path, container.fields
    if dataset is not None:
        chosen = fields.get(dataset.strip("/"))
        if chosen is None:
            raise FormatError(
                f"{path}: there is no {dataset!r}; it holds {named(sorted(fields)) or 'nothing'}"
            )
        return chosen
    if container.schema is not None and "scores" not in fields:
        raise FormatError(
            f"{path}: is of the schema {named([container.schema])} and holds no score matrix; "
            "give embeddings as embeddings, or run apply with --scores"
        )
    if "scores" in fields:
        return fields["scores"]
    if len(fields) == 1:
        # Whatever is wrong with it is said when it is read.
        return next(iter(fields.values()))
    found = [name for name, item in fields.items() if item.kind == "float" and len(item.shape) == 2]
    if len(found) == 1:
        return fields[found[0]]
    if found:
        raise FormatError(
            f"{path}: {named(found)} could all be the scores; name the right one 'scores' or give "
            f"dataset={found[0]!r}"
        )
    raise FormatError(
        f"{path}: holds {named(sorted(fields)) or 'nothing'}; expected a 2-D float array 'scores'"
    )


def _both_ids(container: Container, item: Field) -> tuple[tuple[str, ...], tuple[str, ...], bool]:
    """Names of the rows and of the columns, and whether the file has them."""
    queries = _ids(container, "query_ids", item.shape[0], item.where)
    gallery = _ids(container, "gallery_ids", item.shape[1], item.where)
    if (queries is None) != (gallery is None):
        there, missing = "query_ids", "gallery_ids"
        if queries is None:
            there, missing = missing, there
        raise FormatError(f"{container.path}: has {there} but no {missing}; give both or neither")
    query_ids = queries or tuple(map(str, range(item.shape[0])))
    gallery_ids = gallery or tuple(map(str, range(item.shape[1])))
    return query_ids, gallery_ids, queries is not None


def _ids(container: Container, name: str, count: int, where: str) -> tuple[str, ...] | None:
    """Ids of one side: from the file, else from a side-car, else None."""
    path = container.path
    field = container.fields.get(name)
    source = str(path)
    if field is None and container.schema is not None:
        # A result file keeps them with its directions.
        field = container.fields.get(f"t2v/{name}")
    if field is not None:
        source, ids = field.where, read_ids(field)
    else:
        side = find_sidecar(path, tiers=((f".{name}.json", f".{name}.txt"),))
        if side is None:
            return None
        source, ids = str(side), read_sidecar(side)[0]
    check_count(ids, count, source, where)
    check_unique(ids, source)
    return ids


def kind_of_scores(
    scores: np.ndarray, *, tolerance: float = 1e-3, sharded: bool = False
) -> ScoreKind:
    """What a matrix holds: plain similarities, or probabilities along its rows or columns.

    Probabilities are at least 0 and sum to 1 within `tolerance` along every row (or every
    column); a matrix of fewer than 2 x 2 entries is never taken for one. Where rows and columns
    both sum to 1, rows are named.

    Args:
        scores: (n, m) scores.
        tolerance: how far a sum may be from 1.
        sharded: `scores` are this process's share of the rows; all processes get one answer.
    """
    if scores.ndim != 2 or scores.shape[1] < 2:
        return "similarities"
    negative, rows_fit, columns = _sums(scores, tolerance)
    rows = len(scores)
    if sharded:
        import torch  # for what processes exchange only

        from rerank.core import comm

        rows = sum(comm.gather_counts(rows))
        negative = not comm.everywhere(not negative)
        rows_fit = comm.everywhere(rows_fit)
        columns = comm.all_sum(torch.from_numpy(columns)).numpy()
    if negative or rows < 2:
        return "similarities"
    if rows_fit:
        return "row-probabilities"
    return "column-probabilities" if (np.abs(columns - 1) <= tolerance).all() else "similarities"


def _sums(scores: np.ndarray, tolerance: float) -> tuple[bool, bool, np.ndarray]:
    """Whether an entry is negative, whether every row sums to one, and the sums of the columns.

    The first negative entry ends the reading: no sum matters then.
    """
    step = rows_per_block(8 * scores.shape[1])
    columns = np.zeros(scores.shape[1])
    rows_fit = True
    for start in range(0, len(scores), step):
        block = scores[start : start + step]
        # NaN fails the comparison as well, and is refused elsewhere.
        if not block.min() >= 0:
            return True, False, columns
        # Infinities and huge numbers sum to something that is not 1, quietly.
        with np.errstate(over="ignore"):
            rows_fit = rows_fit and bool(
                (np.abs(block.sum(axis=1, dtype=np.float64) - 1) <= tolerance).all()
            )
            columns += block.sum(axis=0, dtype=np.float64)
    return False, rows_fit, columns


def as_log_scores(scores: np.ndarray) -> np.ndarray:
    """Logarithm of probabilities, in the same type; -inf ("not scored") where they are 0.

    Raises:
        RerankError: a negative entry.
    """
    if scores.size and scores.min() < 0:
        row, column = np.argwhere(scores < 0)[0]
        raise RerankError(
            f"scores: row {row}, column {column} is {scores[row, column]}, but probabilities are "
            "not negative; say that they are similarities"
        )
    with np.errstate(divide="ignore"):
        return np.log(scores)
