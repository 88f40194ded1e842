"""How many items score above a reference, in both directions, from one matrix product.

A product of matrices and a product of two rows may differ in the last bits, by no more than

    e_i = 2 (d + 4) 2^-24 (|q_i| max|v| + max|c|)

Where a score is further than that from the reference, the item is certainly above or below it;
where it is not, it is scored as the reference was. Rows and columns of a panel of products are
looked at together, each with references of their own.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rerank.core import progress
from rerank.core.arrays import inner
from rerank.core.similarity import Pair, Similarity, where
from rerank.passes import certified
from rerank.passes.panels import slices
from rerank.passes.sinkhorn.choose import has_numba
from rerank.passes.threads import Workers

_FEWEST_SCORES = 8 * 1024 * 1024


@dataclass(frozen=True, eq=False)
class Counts:
    """Of every query, int64: how many items are above its reference, and as good.

    Attributes:
        above: (n,) strictly above it.
        equal: (n,) with exactly its score.
        positives: (n,) positives with exactly that score.
    """

    above: Tensor
    equal: Tensor
    positives: Tensor


def pays(down: Similarity, up: Similarity) -> bool:
    """Whether both directions are of the same embeddings, and many, in memory."""
    return (
        isinstance(down, Pair) and isinstance(up, Pair)
        and down.device.type == "cpu" and down.dtype == torch.float32
        and down.shard is None and up.shard is None
        and down.shape[0] * down.shape[1] >= _FEWEST_SCORES
        and has_numba()
        and certified.column_of(down) is not None and certified.column_of(up) is not None
        and _alike(down.queries, up.gallery) and _alike(down.gallery, up.queries)
    )  # fmt: skip


def _alike(x: object, y: object) -> bool:
    if not isinstance(x, Tensor) or not isinstance(y, Tensor):
        return False
    return where(x) == where(y) or (x.shape == y.shape and torch.equal(x, y))


def both(
    down: Pair, up: Pair, right: tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]
) -> tuple[Counts, Counts]:
    """Counts around the best positive of every query of both directions.

    Args:
        down: a similarity, and up: the other direction, for which `pays` is true.
        up: see `down`.
        right: of each direction rows and items (p,) of its positives.
    """
    from rerank.passes import counting

    assert isinstance(down.queries, Tensor) and isinstance(down.gallery, Tensor)
    queries, gallery = down.queries.contiguous(), down.gallery.contiguous()
    columns = certified.column_of(down), certified.column_of(up)
    assert columns[0] is not None and columns[1] is not None
    sides = (queries, gallery, columns[0], *right[0]), (gallery, queries, columns[1], *right[1])
    found = tuple(_references(*side) for side in sides)
    lengths = torch.linalg.vector_norm(queries, dim=1), torch.linalg.vector_norm(gallery, dim=1)
    lows, highs = zip(
        _ends(found[0][0], lengths[0], lengths[1], columns[0], queries.shape[1]),
        _ends(found[1][0], lengths[1], lengths[0], columns[1], queries.shape[1]),
        strict=True,
    )  # fmt: skip
    n, m = down.shape
    rows = torch.zeros((2, n), dtype=torch.int64)

    def part(panel_rows: slice) -> np.ndarray:
        panel = inner(queries[panel_rows], gallery)
        of_columns = np.zeros((2, m), np.int64)
        counting.count(
            panel.numpy(), panel_rows.start, queries.numpy(), gallery.numpy(), _numpy(columns),
            _numpy(lows), _numpy(highs), _numpy(x[0] for x in found), rows.numpy(), of_columns,
        )  # fmt: skip
        return of_columns

    total, panels = np.zeros((2, m), np.int64), slices(n, m)
    with progress.task("ranks", n) as advance:
        for done, of_columns in zip(panels, Workers().each(part, panels, 4 * m), strict=True):
            total += of_columns
            advance(done.stop - done.start)
    of_items = torch.from_numpy(total)
    return (
        Counts(rows[0], rows[1], found[0][1]),
        Counts(of_items[0], of_items[1], found[1][1]),
    )


def _ends(
    reference: Tensor, own: Tensor, others: Tensor, column: Tensor, d: int
) -> tuple[Tensor, Tensor]:
    """(n,) scores between which an item must be looked at; both infinite without a reference."""
    size = own * float(others.max()) + float(column.abs().max())
    within = 2 * (d + 4) * 2.0**-24 * 1.01 * size
    judged = torch.isfinite(reference)
    low, high = (torch.where(judged, reference + x, torch.inf) for x in (-within, within))
    return low, high


def _numpy(both: object) -> tuple[np.ndarray, ...]:
    return tuple(x.contiguous().numpy() for x in both)  # type: ignore[attr-defined]


def _references(
    queries: Tensor, gallery: Tensor, column: Tensor, rows: Tensor, items: Tensor
) -> tuple[Tensor, Tensor]:
    """(n,) best score of each query's positives, and how many of them have it."""
    from rerank.passes import counting

    read = (x.contiguous().numpy() for x in (queries, gallery, column, rows, items))
    scores = torch.from_numpy(counting.scores_of(*read))
    best = torch.full((len(queries),), -torch.inf)
    best.scatter_reduce_(0, rows, scores, "amax")
    count = torch.zeros(len(queries), dtype=torch.int64)
    return best, count.scatter_add_(0, rows, (scores == best[rows]).long())
