"""Rows that repeat the first ones at the end of both sides, as padding of processes leaves them."""

from pathlib import Path

import numpy as np

from rerank.io.embeddings import Embeddings
from rerank.io.recipes import without_last_rows

# So many rows at the end are looked at; padding is less than a batch of every process.
_LAST = 4096


def said_of_padding(texts: Embeddings, videos: Embeddings) -> str:
    """What to know of rows without ids of which the last are the first again, on both sides.

    >>> rows = np.arange(20.0).reshape(10, 2)
    >>> held = Embeddings(tuple("0123456789ab"), np.r_[rows, rows[:2]], "x", ids_given=False)
    >>> said_of_padding(held, held)[:68]
    'x and x: the last 2 of the 12 rows of both repeat the first 2, bit b'

    Args:
        texts: one side.
        videos: the other.

    Returns:
        A warning, or "".
    """
    count = len(texts)
    if texts.ids_given or videos.ids_given or len(videos) != count:
        return ""
    found = next((k for k in _repeats(texts.vectors) if _is_repeat(videos.vectors, k)), 0)
    if not found:
        return ""
    files = [Path(held.source) for held in (texts, videos)]
    way = f"leave them out of both, x[:-{found}]"
    if all(path.suffix == ".npy" and path.is_file() for path in files):
        way = f"leave them out: {without_last_rows(files, found)}"
    return (
        f"{texts.source} and {videos.source}: the last {found} of the {count} rows of both repeat "
        f"the first {found}, bit by bit, as the padding of a DistributedSampler does; they count "
        f"twice and tie; {way}"
    )


def _repeats(rows: np.ndarray) -> list[int]:
    """How many of the last rows are the first again, most first."""
    most = min(len(rows) // 2, _LAST)
    if not most:
        return []
    alike = np.flatnonzero((rows[len(rows) - most :] == rows[0]).all(axis=1))
    return [k for k in (most - alike).tolist() if _is_repeat(rows, k)]


def _is_repeat(rows: np.ndarray, count: int) -> bool:
    """Whether the last rows are the first, which differ from each other."""
    if not np.array_equal(rows[-count:], rows[:count]):
        return False
    return len(np.unique(rows[:count], axis=0)) == count
