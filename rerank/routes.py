"""Approximate indexes that know their queries: routes learned from a bank of them.

A graph or a partition made of items alone leads each item's kind to its like. Queries of another
modality lie elsewhere, and a bias spreads their results over items that are no neighbours of each
other; few hubs, which are everybody's neighbours, are easier to find. Three cures:

    linked   items that one query wants are neighbours, for bank queries and mixtures of near ones
    grouped  lists of items that the same queries want; a query probes the lists near it
    views    places of items among the queries that want them, to build any index on

Sources: Chen et al., VLDB 2024 (RoarGraph); Jaiswal et al., 2022 (OOD-DiskANN).
"""

import numpy as np
import torch
from torch import Tensor

from rerank import moments, reduce, search
from rerank.similarity import Pair

# Best items of a query that are linked; with more of them or more queries a search finds more and
# compares more.
_LINKED = 32
_PARTNERS = 10
_MOST_QUERIES = 20_000
# Chosen on held-out bank queries: how far the two sides are brought together, the share of the
# smallest directions, and the temperature in standard deviations of an item's scores.
_POWER, _RIDGE, _SOFT = 0.2, 0.003, 0.5


def linked(neighbours: np.ndarray, items: Tensor, asked: Tensor) -> np.ndarray:
    """A graph with more links between items that the same query wants.

    Those that follow each other in a query's top 32, and its first and all others, are linked both
    ways as long as an item has free slots; the links that are there stay. At most 20,000 queries
    of the bank are followed; mixtures of near ones add up to half a query for each item. The cost
    is one exact search of the items for them.

    Args:
        neighbours: (m, slots) int32 rows, -1 where free.
        items: (m, D) folded items.
        asked: (p, D) folded queries of a bank.
    """
    m, slots = neighbours.shape
    asked = _filled(_thinned(asked, _MOST_QUERIES), min(m // 2, _MOST_QUERIES))
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
        asked: (p, D) folded queries of a bank, of which at most 20,000 are used; columns in which
            all agree (the bias) take no part and are 0 in the views. Where all columns agree, an
            item's view is the item.
        own: weight of the item itself.

    Returns:
        (m, D) float32 views, and the symmetric (D, D) float32 map C^-a.
    """
    asked = _thinned(asked, _MOST_QUERIES)
    pair = Pair(asked, items, metric="dot")
    live = _live(asked)
    if not bool(live.any()):
        return items.clone(), torch.eye(items.shape[1])
    x, v = (asked * live).double(), (items * live).double()
    tau = _SOFT * float(moments.column_moments(pair)[1].mean())
    u = reduce.logsumexp(pair, tau, over="gallery")
    z = torch.empty_like(v)
    for rows, block in pair.T.blocks():
        z[rows] = torch.softmax(block.double() / tau - u.double(), dim=1) @ x
    values, vectors = np.linalg.eigh(np.cov(x.T.numpy()))
    values = np.maximum(values, 0) + _RIDGE * np.maximum(values, 0).mean()
    spread, whitened = (
        torch.from_numpy((vectors * values**a) @ vectors.T) for a in (_POWER, -_POWER)
    )
    self_view = v @ spread
    seen = _unit(z @ whitened) + own * _unit(self_view - self_view.mean(dim=0))
    return _unit(seen).float(), whitened.float()


def grouped(items: Tensor, asked: Tensor, n_lists: int) -> tuple[np.ndarray, np.ndarray]:
    """Lists of items that the same queries want, and the directions in which to look for them.

    Lists are clusters of `views`. A query x probes the lists with the largest
    <x C^-a, centre> = <x, C^-a centre>.

    Args:
        items: (m, D) folded items.
        asked: (p, D) folded queries of a bank.
        n_lists: number of lists.

    Returns:
        (m,) int64 list of each item, and (n_lists, D) float32 directions.
    """
    seen, whitened = views(items, asked)
    centres, assigned = _clusters(seen.numpy(), n_lists)
    return assigned, centres @ whitened.numpy()


def _clusters(x: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Spherical k-means of unit rows: unit centres, and the nearest of each row."""
    faiss = search.faiss_module()
    means = faiss.Kmeans(x.shape[1], count, niter=25, spherical=True, seed=1)
    means.train(x)
    return means.centroids, means.index.search(x, 1)[1][:, 0]


def _thinned(asked: Tensor, count: int) -> Tensor:
    """At most so many queries, evenly spaced."""
    if len(asked) <= count:
        return asked
    return asked[torch.linspace(0, len(asked) - 1, count).long()]


def _filled(asked: Tensor, count: int) -> Tensor:
    """Queries filled up to `count` with mixtures w a + (1 - w) b of near ones.

    w is uniform in [0, 1], b one of the 10 nearest to a; the length is w |a| + (1 - w) |b|.
    """
    live, missing = _live(asked), count - len(asked)
    if missing <= 0 or not bool(live.any()):
        return asked
    x = asked[:, live]
    near = search.topk(Pair(x, x, metric="dot"), min(_PARTNERS + 1, len(x))).indices
    rng = np.random.default_rng(0)
    a = torch.from_numpy(rng.integers(len(x), size=missing))
    b = near[a, torch.from_numpy(rng.integers(near.shape[1], size=missing))]
    w = torch.from_numpy(rng.random((missing, 1), dtype=np.float32))
    mixed = w * asked[a] + (1 - w) * asked[b]
    length = w * x[a].norm(dim=1, keepdim=True) + (1 - w) * x[b].norm(dim=1, keepdim=True)
    mixed[:, live] = length * _unit(mixed[:, live])
    return torch.cat([asked, mixed])


def _live(asked: Tensor) -> Tensor:
    """(D,) columns in which queries differ."""
    return (asked != asked[:1]).any(dim=0)


def _unit(x: Tensor) -> Tensor:
    return torch.nn.functional.normalize(x, dim=1)
