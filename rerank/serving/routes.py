"""Approximate indexes that know their queries: routes learned from queries, or stand-ins for them.

A graph or a partition made of items alone leads each item's kind to its like. Queries of another
modality lie elsewhere, and a bias spreads their results over items that are no neighbours of each
other; few hubs, which are everybody's neighbours, are easier to find. Three cures:

    views    places of items among the queries that want them, to build any index on
    linked   items that one query wants are neighbours
    grouped  lists of items that the same queries want; a query probes the lists in which queries
             like it find most

Sources: Chen et al., VLDB 2024 (RoarGraph); Jaiswal et al., 2022 (OOD-DiskANN); Vecchiato et al.,
SIGIR 2024 (directions of lists, learned to rank them).
"""

import numpy as np
import torch
from torch import Tensor

from rerank.core.rows import thinned
from rerank.core.similarity import Pair
from rerank.passes import reduce
from rerank.passes import reduce as moments
from rerank.passes import topk as search

MOST_QUERIES = 20_000
# Best items of a query that are linked, and that a list should hold; with more links a search finds
# more and compares more.
_LINKED, _WANTED = 16, 10
# Chosen on held-out bank queries: how far the two sides are brought together, the share of the
# smallest directions, and the temperature in standard deviations of an item's scores.
_POWER, _RIDGE, _SOFT = 0.2, 0.003, 0.5
# Of the learning of directions: passes, queries a step, step in units of the start's size, and the
# scales that the start is tried at.
_EPOCHS, _BATCH, _STEP, _SCALES = 20, 256, 0.02, (1.0, 2.0, 5.0, 10.0, 20.0, 40.0)


def linked(neighbours: np.ndarray, items: Tensor, asked: Tensor) -> np.ndarray:
    """A graph with more links between items that the same query wants.

    Those that follow each other in a query's top 16, and its first and all others, are linked both
    ways as long as an item has free slots; the links that are there stay. At most 20,000 queries
    are followed. The cost is one exact search of the items for them.

    Args:
        neighbours: (m, slots) int32 rows, -1 where free.
        items: (m, D) folded items.
        asked: (p, D) folded queries of a bank, or stand-ins.
    """
    m, slots = neighbours.shape
    asked = thinned(asked, MOST_QUERIES)  # type: ignore[assignment]
    routes = search.topk(Pair(asked, items, metric="dot"), min(_LINKED, m)).indices.numpy()
    ends = routes[:, 1:]
    starts = np.stack([routes[:, :-1], np.broadcast_to(routes[:, :1], ends.shape)], axis=2)
    new = np.stack([starts.ravel(), ends.repeat(2)], axis=1)
    rows, places = np.nonzero(neighbours >= 0)
    old = np.stack([rows, neighbours[rows, places]], axis=1)
    # In order of precedence: what is there, then query by query.
    edges = np.concatenate([old, np.stack([new, new[:, ::-1]], axis=1).reshape(-1, 2)])
    first = np.sort(np.unique(edges[:, 0] * m + edges[:, 1], return_index=True)[1])
    edges = edges[first[np.argsort(edges[first, 0], kind="stable")]]
    place = np.arange(len(edges)) - np.searchsorted(edges[:, 0], edges[:, 0])
    edges, place = edges[place < slots], place[place < slots]
    out = np.full_like(neighbours, -1)
    out[edges[:, 0], place] = edges[:, 1]
    return out


def views(items: Tensor, asked: Tensor, *, own: float = 1.0) -> tuple[Tensor, Tensor]:
    """Where items lie for the queries that want them, and the map of queries to there.

        z_j = sum_p P_pj x_p,  P_pj = softmax over p of (s_pj - u_p) / tau,
        u_p = tau log sum_j exp(s_pj / tau)

    is the mean query that item j serves. Its view is the unit sum of unit z_j C^-a and `own` times
    unit, centred v_j C^a, with the covariance C of the queries: <z C^-a, v C^a> = <z, v>, and both
    sides spread alike. A query x belongs at x C^-a.

    Args:
        items: (m, D) folded items.
        asked: (p, D) folded queries of a bank, or stand-ins, of which at most 20,000 are used;
            columns in which all agree (the bias) take no part and are 0 in the views. Where all
            columns agree, an item's view is the item.
        own: weight of the item itself.

    Returns:
        (m, D) float32 views, and the symmetric (D, D) float32 map C^-a.
    """
    asked = thinned(asked, MOST_QUERIES)  # type: ignore[assignment]
    pair = Pair(asked, items, metric="dot")
    live = (asked != asked[:1]).any(dim=0)
    tau = _SOFT * float(moments.column_moments(pair)[1].mean())
    if not bool(live.any()) or tau == 0:
        return items.clone(), torch.eye(items.shape[1])
    x = asked * live
    values, vectors = np.linalg.eigh(np.cov(x.double().T.numpy()))
    values = np.maximum(values, 0) + _RIDGE * np.maximum(values, 0).mean()
    spread, whitened = (
        torch.from_numpy((vectors * values**a) @ vectors.T) for a in (_POWER, -_POWER)
    )
    mean = items.mean(dim=0, dtype=torch.float64)
    u = reduce.logsumexp(pair, tau, over="gallery")
    out = torch.empty_like(items)
    # In blocks, or float64 copies of the whole gallery would pile up.
    for rows, block in pair.T.blocks():
        z = (torch.softmax(block / tau - u, dim=1) @ x).double()
        self_view = ((items[rows].double() - mean) * live) @ spread
        out[rows] = _unit(_unit(z @ whitened) + own * _unit(self_view)).float()
    return out, whitened.float()


def grouped(items: Tensor, asked: Tensor, n_lists: int) -> tuple[np.ndarray, np.ndarray]:
    """Lists of items that the same queries want, and the directions in which to look for them.

    Lists are clusters of `views`. A query x probes the lists with the largest <x, w_c>; these
    directions start at C^-a centre_c, times a scale, and are learned by

        maximise  sum_p mean_j log softmax_c <x_p, w_c> at c = list of j,  j in the top 10 of p

    with Adam from a fixed seed.

    Args:
        items: (m, D) folded items.
        asked: (p, D) folded queries of a bank, or stand-ins, of which at most 20,000 are used.
        n_lists: number of lists.

    Returns:
        (m,) int64 list of each item, and (n_lists, D) float32 directions.
    """
    asked = thinned(asked, MOST_QUERIES)  # type: ignore[assignment]
    seen, whitened = views(items, asked)
    centres, lists = _clusters(seen.numpy(), n_lists)
    wanted = search.topk(Pair(asked, items, metric="dot"), min(_WANTED, len(items))).indices
    start = torch.from_numpy(centres) @ whitened
    return lists, _directions(asked, torch.from_numpy(lists)[wanted], start).numpy()


def _directions(asked: Tensor, lists: Tensor, start: Tensor) -> Tensor:
    """Directions (c, D) whose inner products rank the (p, k) lists that each query wants."""

    def loss(w: Tensor, rows: Tensor) -> Tensor:
        logits = torch.log_softmax(asked[rows] @ w.T, dim=1)
        return -logits.gather(1, lists[rows]).mean()

    some = torch.arange(len(asked))[:: max(1, len(asked) // 2000)]
    # Callers may serve without gradients.
    with torch.inference_mode(False), torch.enable_grad():
        asked, lists, start = asked.clone(), lists.clone(), start.clone()
        scale = min(_SCALES, key=lambda s: float(loss(s * start, some)))
        w = (scale * start).requires_grad_()
        step = _STEP * float(w.detach().square().mean().sqrt())
        optimiser = torch.optim.Adam([w], lr=step)
        slower = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, _EPOCHS)
        generator = torch.Generator().manual_seed(0)
        for _ in range(_EPOCHS):
            for rows in torch.randperm(len(asked), generator=generator).split(_BATCH):
                optimiser.zero_grad()
                loss(w, rows).backward()
                optimiser.step()
            slower.step()
        return w.detach()


def _clusters(x: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Spherical k-means of unit rows: unit centres, and the nearest of each row."""
    faiss = search.faiss_module()
    means = faiss.Kmeans(x.shape[1], count, niter=25, spherical=True, seed=1)
    means.train(x)
    return means.centroids, means.index.search(x, 1)[1][:, 0]


def _unit(x: Tensor) -> Tensor:
    return torch.nn.functional.normalize(x, dim=1)
