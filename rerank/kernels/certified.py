"""Top-k by rounded inner products that proves itself, query by query.

Inner products of centred bfloat16 rows are several times faster than float32 ones where the CPU
has instructions for them. The best C > k of them are scored again in float32. Every gallery item
left out scored at most t, the smallest rounded score kept, so it truly scores at most t + e_i with

    e_i = |q - q~| max|v| + |q~| max|v - v~| + 2^-8 max|p| + sums' rounding,

rows and their rounded versions measured, not assumed. Where the k-th exact score is above that,
the k best are found for certain; other queries are ranked again by brute force in float32.
"""

import math

import numpy as np
import torch
from torch import Tensor

from rerank import memory, progress
from rerank.arrays import FEWEST_ROWS
from rerank.kernels.choose import has_numba
from rerank.kernels.panels import centre
from rerank.products import has_fast_bfloat16, inner, inner_bfloat16
from rerank.similarity import Pair, Similarity

_MOST = 64
_FEWEST_ITEMS, _FEWEST_SCORES = 2048, 16 * 1024 * 1024
_BRUTE_ROWS = 64
# Scores in one panel: 32 MB of bfloat16.
_PANEL_ELEMENTS = 16 * 1024 * 1024


def pays(sim: Similarity, k: int) -> bool:
    """Whether this road is open for a similarity, and shorter than float32 products."""
    return (
        isinstance(sim, Pair)
        and sim.device.type == "cpu"
        and sim.dtype == torch.float32
        and sim.shard != "gallery"
        and k <= _MOST
        and sim.shape[1] >= _FEWEST_ITEMS
        and sim.shape[0] * sim.shape[1] >= _FEWEST_SCORES
        and has_numba()
        and has_fast_bfloat16(sim.device)
        and column_of(sim) is not None
        # Two rounded copies of the embeddings.
        and 2 * sum(sim.shape) * sim.queries.shape[1] < memory.budget() // 4
    )


def column_of(sim: Pair) -> Tensor | None:
    """(m,) what the correction adds to every query alike; None where queries differ in it."""
    if sim.left is None or sim.right is None:
        return torch.zeros(sim.shape[1])
    if len(sim.left) == 0 or bool((sim.left != sim.left[0]).any()):
        return None
    return sim.right @ sim.left[0]


def topk(sim: Pair, k: int) -> tuple[Tensor, Tensor, int]:
    """Exact k best items of every query, in no order within a row.

    Args:
        sim: a similarity for which `pays` is true.
        k: at most 64.

    Returns:
        Scores (n, k), indices (n, k), and how many queries needed brute force.
    """
    from rerank.kernels import scan
    from rerank.kernels.cpu import Workers, _bounds

    n, m = sim.shape
    kept = min(m, 2 * k + 16)
    column = column_of(sim)
    assert column is not None, "the correction differs between queries"
    if sim.shard is None:
        q0, v0 = centre(sim)
    else:
        q0, v0 = sim.queries.mean(dim=0), sim.gallery.mean(dim=0)
    queries, query_error, query_norm = _rounded(sim.queries, q0)
    gallery, item_error, item_norm = _rounded(sim.gallery, v0)
    # <q, v> = <q - q0, v - v0> + <q, v0> + <q0, v - v0>: the second is one number per query.
    shifted = (sim.gallery.double() @ q0.double() - torch.dot(q0.double(), v0.double())).float()
    shifted += column
    constant = (sim.queries.double() @ v0.double()).float()
    slack = _slack(sim, query_error, query_norm, item_error, item_norm, shifted)
    scores = torch.empty((n, k))
    indices = torch.empty((n, k), dtype=torch.int64)
    workers, brute = Workers(), []
    step = max(FEWEST_ROWS, _PANEL_ELEMENTS // m)
    with progress.task("top-k", n) as advance:
        for start in range(0, n, step):
            rows = slice(start, min(start + step, n))
            panel = inner_bfloat16(queries[rows], gallery).view(torch.uint16).numpy()
            count = len(panel)
            places = np.empty((count, kept), np.int64)
            floors, found = np.empty(count, np.float32), np.empty((count, kept), np.float32)
            bounds = _bounds(count, 8)
            workers.run(scan.candidates, (panel, shifted.numpy(), bounds), (places, floors))
            workers.run(
                scan.exact,
                (sim.queries[rows].numpy(), sim.gallery.numpy(), column.numpy(), places, bounds),
                (found,),
            )
            best, order = torch.topk(torch.from_numpy(found), k, dim=1)
            scores[rows], indices[rows] = best, torch.from_numpy(places).gather(1, order)
            left_out = torch.from_numpy(floors) + constant[rows] + slack[rows]
            if kept < m:
                # Equal scores go to the lower index, which may have been left out: not certain.
                brute += (start + (best[:, -1] <= left_out).nonzero()[:, 0]).tolist()
            advance(count)
    for start in range(0, len(brute), _BRUTE_ROWS):
        rows = torch.tensor(brute[start : start + _BRUTE_ROWS])
        block = inner(sim.queries[rows], sim.gallery).add_(column)
        # Equal scores: a stable order keeps the lowest indices.
        order = torch.argsort(block, dim=1, descending=True, stable=True)[:, :k]
        scores[rows], indices[rows] = block.gather(1, order), order
    return scores, indices, len(brute)


def _rounded(rows: Tensor, mean: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """bfloat16 rows of rows - mean, the norms of what rounding took away, and of the rows."""
    out = torch.empty(rows.shape, dtype=torch.bfloat16)
    error, norm = torch.empty(len(rows)), torch.empty(len(rows))
    for start in range(0, len(rows), 4096):
        part = slice(start, start + 4096)
        centred = rows[part] - mean
        out[part] = centred
        error[part] = torch.linalg.vector_norm(centred - out[part].float(), dim=1)
        norm[part] = torch.linalg.vector_norm(centred, dim=1)
    return out, error, norm


def _slack(
    sim: Pair,
    query_error: Tensor,
    query_norm: Tensor,
    item_error: Tensor,
    item_norm: Tensor,
    shifted: Tensor,
) -> Tensor:
    """(n,) bound on |true score - rounded score - constant| of any item."""
    d, unit = sim.queries.shape[1], 2.0**-24
    longest = float(item_norm.max())
    product = (query_norm + query_error) * (longest + float(item_error.max()))
    rounding = query_error * longest + (query_norm + query_error) * float(item_error.max())
    # The product is stored with 8 bits; sums of d terms lose up to d units of the last place, in
    # the rounded product, in the centred rows, and in the exact score it is compared with.
    whole = sim.queries.norm(dim=1) * float(sim.gallery.norm(dim=1).max())
    sums = 2 * (d + 4) * unit * (product + whole) + 8 * unit * float(shifted.abs().max())
    return rounding + 2.0**-8 * product * 0.5 * (1 + 2**-7) + sums + math.ulp(0.0)
