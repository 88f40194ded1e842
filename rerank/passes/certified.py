"""Top-k by rounded inner products that proves itself, query by query.

Inner products of centred bfloat16 rows are several times faster than float32 ones where the CPU
has instructions for them. With a constant of the query, a rounded score is right to

    e_i = |q - q~| max|v| + |q~| max|v - v~| + 2^-9 max|p| + sums' rounding,

rows and their rounded versions measured, not assumed. Let t be a score that k rounded ones reach.
The k best truly reach t - e_i, so none of them is an item that is rounded to less than t - 2 e_i:
all others are scored again in float32. Where they are too many, the query is ranked by brute force.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rerank.core import memory, progress
from rerank.core.arrays import has_fast_bfloat16, inner, inner_bfloat16
from rerank.core.rows import StoredRows
from rerank.core.rows import slices as chunks
from rerank.core.similarity import Pair, Similarity
from rerank.passes.panels import slices
from rerank.passes.sinkhorn.choose import has_numba

MOST = 64
_FEWEST_ITEMS, _FEWEST_SCORES = 2048, 8 * 1024 * 1024
_BRUTE_ROWS = 64
# Stored rows made float32 at once, 134 MB at d = 512.
_PART = 65536
# Scattered products of one gallery item in so many cost as much as a matrix product of all.
_BRUTE_SHARE = 16


@dataclass(frozen=True, eq=False)
class Rounded:
    """bfloat16 rows x~ around a mean, with what rounding took away.

    Attributes:
        rows: (n, d) bfloat16, x - mean rounded.
        error: (n,) |x - mean - x~|, norm: (n,) |x - mean|, whole: (n,) |x|, all rounded up.
        norm: see `error`.
        whole: see `error`.
        product: (n,) <x, mean of the other side>.
    """

    rows: Tensor
    error: Tensor
    norm: Tensor
    whole: Tensor
    product: Tensor


def pays(sim: Similarity, k: int) -> bool:
    """Whether this road is open for a similarity, and shorter than float32 products."""
    return (
        isinstance(sim, Pair)
        and sim.device.type == "cpu"
        and sim.dtype == torch.float32
        and sim.shard != "gallery"
        and k <= MOST
        and sim.shape[1] >= _FEWEST_ITEMS
        and sim.shape[0] * sim.shape[1] >= _FEWEST_SCORES
        and has_numba()
        and has_fast_bfloat16(sim.device)
        and column_of(sim) is not None
        # Rounded copies of the embeddings; of stored ones a part at a time.
        and (_is_stored(sim) or 2 * sum(sim.shape) * sim.queries.shape[1] < memory.budget() // 4)
    )


def column_of(sim: Pair) -> Tensor | None:
    """(m,) what the correction adds to every query alike; None where queries differ in it."""
    if sim.left is None or sim.right is None:
        return torch.zeros(sim.shape[1])
    if len(sim.left) == 0 or bool((sim.left != sim.left[0]).any()):
        return None
    return sim.right @ sim.left[0]


def topk(sim: Pair, k: int) -> tuple[Tensor, Tensor, int]:
    """Exact k best items of every query, best first; ties go to the lower index.

    Args:
        sim: a similarity for which `pays` is true.
        k: at most 64.

    Returns:
        Scores (n, k), indices (n, k), and how many queries needed brute force.
    """
    n, m = sim.shape
    column = column_of(sim)
    assert column is not None, "the correction differs between queries"
    if isinstance(sim.queries, Tensor) and isinstance(sim.gallery, Tensor):
        with progress.task("top-k", n) as advance:
            return _tensors(sim.queries, sim.gallery, column, k, advance)
    scores, indices, brute = torch.empty((n, 0)), torch.empty((n, 0), dtype=torch.int64), 0
    with progress.task("top-k", n * -(-m // _PART)) as advance:
        for part in chunks(m, _PART):
            items = sim.gallery[part]
            found = []
            for rows in chunks(n, _PART):
                asked, kept = sim.queries[rows], min(k, len(items))
                found.append(_tensors(asked, items, column[part], kept, advance))
                brute += found[-1][2]
            # Earlier parts have the lower indices, which a stable order keeps where scores tie.
            scores = torch.cat([scores, torch.cat([f[0] for f in found])], dim=1)
            indices = torch.cat([indices, torch.cat([f[1] for f in found]) + part.start], dim=1)
            scores, order = torch.sort(scores, dim=1, descending=True, stable=True)
            scores, indices = scores[:, :k], indices.gather(1, order)[:, :k]
    return scores.contiguous(), indices.contiguous(), brute


def _is_stored(sim: Pair) -> bool:
    return isinstance(sim.queries, StoredRows) or isinstance(sim.gallery, StoredRows)


def _tensors(
    queries: Tensor, gallery: Tensor, column: Tensor, k: int, advance: Callable[[int], None]
) -> tuple[Tensor, Tensor, int]:
    """`topk` of sides that are tensors, with one correction per item."""
    from rerank.passes import scan
    from rerank.passes.threads import Workers

    n, m = len(queries), len(gallery)
    queries, gallery = queries.contiguous(), gallery.contiguous()
    q0, v0 = queries.mean(dim=0), gallery.mean(dim=0)
    left, right = rounded(queries, q0, v0), rounded(gallery, v0, q0)
    # <q, v> = <q - q0, v - v0> + <q, v0> + <q0, v - v0>: the second is one number per query.
    shifted = right.product - torch.dot(q0, v0) + column
    within = 2 * slack(left, right, shifted, common=float(q0.norm()))
    scores = torch.empty((n, k))
    indices = torch.empty((n, k), dtype=torch.int64)
    most, ones = most_candidates(m, k), np.ones(m, np.float32)

    def best(rows: slice) -> Tensor:
        panel = inner_bfloat16(left.rows[rows], right.rows).view(torch.uint16)
        exact = (x.numpy() for x in (queries[rows], gallery, column))
        found = scores[rows].numpy(), indices[rows].numpy()
        tried = torch.from_numpy(
            scan.best(
                panel.numpy(), ones, shifted.numpy(), within[rows].numpy(), np.float32(1),
                np.float32(-np.inf), np.float32(0), *exact, most, *found,
            )
        )  # fmt: skip
        return rows.start + (tried > most).nonzero()[:, 0]

    panels, brute = slices(n, m), []
    for rows, undone in zip(panels, Workers().each(best, panels, 2 * m), strict=True):
        brute += undone.tolist()
        advance(rows.stop - rows.start)
    by_brute_force(brute, queries, gallery, column, scores, indices)
    return scores, indices, len(brute)


def by_brute_force(
    brute: list[int], queries: Tensor, gallery: Tensor, column: Tensor, scores: Tensor,
    indices: Tensor,
) -> None:  # fmt: skip
    """Fill the rows of some queries that were left undone."""
    for start in range(0, len(brute), _BRUTE_ROWS):
        rows = torch.tensor(brute[start : start + _BRUTE_ROWS])
        block = inner(queries[rows], gallery).add_(column)
        # Equal scores: a stable order keeps the lowest indices.
        order = torch.argsort(block, dim=1, descending=True, stable=True)[:, : scores.shape[1]]
        scores[rows], indices[rows] = block.gather(1, order), order


def most_candidates(m: int, k: int) -> int:
    """How many of m items are scored one by one, before all are."""
    return max(4 * k, m // _BRUTE_SHARE)


def rounded(rows: Tensor, mean: Tensor, other: Tensor) -> Rounded:
    """Round rows - mean; `other` is the mean of the other side."""
    from rerank.passes import scan

    out = torch.empty(rows.shape, dtype=torch.bfloat16)
    sizes = torch.empty((4, len(rows)))
    read = (x.numpy() for x in (rows, mean, other, out.view(torch.uint16), *sizes))
    scan.rounded(*read)
    error, norm, whole = sizes[:3].sqrt() * (1 + 1e-4)
    return Rounded(out, error, norm, whole, sizes[3])


def slack(left: Rounded, right: Rounded, shifted: Tensor, *, common: float) -> Tensor:
    """(n,) bound on |true score - rounded score - a constant of the query| of any item.

    `common` is |q0|: the part <q0, v> of every score is rounded too, however short the query is.
    """
    d, unit = left.rows.shape[1], 2.0**-24
    longest, lost = float(right.norm.max()), float(right.error.max())
    product = (left.norm + left.error) * (longest + lost)
    rounding = left.error * longest + (left.norm + left.error) * lost
    # The product is stored with 8 bits; sums of d terms lose up to d units of the last place, in
    # the rounded product, in the centred rows, in what they leave out, and in the exact score.
    whole = (2 * left.whole + common) * float(right.whole.max())
    sums = 2 * (d + 4) * unit * (product + whole)
    sums += 8 * unit * float(shifted.abs().max())
    return rounding + 2.0**-9 * (1 + 2**-7) * product + sums
