"""What belongs to gallery items, wherever they are: the gallery may be split over processes.

Part of the floor of `reduce`. Places count over the whole gallery; what is held per item, (m, ...),
is this process's share of it where the gallery is split. Every function is a look-up or a sum in
one process, and ends in a collective otherwise.
"""

from dataclasses import replace

import torch
from torch import Tensor

from rerank.core import comm
from rerank.core.errors import RerankError
from rerank.core.rows import Rows
from rerank.core.similarity import Dense, Pair, Similarity
from rerank.passes.order import gallery_place

# Scores that are kept for several passes: 64 MB in float32.
_FEW = 2**24


def at(sim: Similarity, held: Rows, places: Tensor) -> Tensor:
    """What is held for the gallery items at some places: (*places.shape, ...) of (m, ...)."""
    if sim.shard != "gallery":
        return held[places]
    offset, _ = gallery_place(sim)
    mine = places - offset
    here = (mine >= 0) & (mine < sim.shape[1])
    flags = held.dtype == torch.bool
    kind = torch.uint8 if flags else held.dtype
    out = torch.zeros((*places.shape, *held.shape[1:]), dtype=kind, device=sim.device)
    out[here] = held[mine[here]].to(kind)
    # One process has the item, the others add zeros.
    out = comm.all_sum(out)
    return out.bool() if flags else out


def taken(sim: Similarity, rows: Tensor, places: Tensor) -> Similarity:
    """Some queries against the gallery items at some places, corrections included, not split."""
    rows, places = rows.to(sim.device), places.to(sim.device)
    changes = {
        "left": None if sim.left is None else sim.left[rows],
        "right": None if sim.right is None else at(sim, sim.right, places),
        "query_mass": None if sim.query_mass is None else sim.query_mass[rows],
        "gallery_mass": None if sim.gallery_mass is None else at(sim, sim.gallery_mass, places),
        "shard": None if sim.shard == "gallery" else sim.shard,
    }
    if isinstance(sim, Pair):
        gallery = at(sim, sim.gallery, places)
        return replace(sim, queries=sim.queries[rows], gallery=gallery, **changes)
    if isinstance(sim, Dense):
        base = at(sim, sim.base[rows].T, places).T
        return replace(sim, base=base, **changes)
    base = torch.empty((len(rows), sim.shape[1]), dtype=sim.dtype, device=sim.device)
    for panel, block in sim.blocks():
        here = (rows >= panel.start) & (rows < panel.stop)
        base[here] = block[rows[here] - panel.start]
    out = Dense(at(sim, base.T, places).T, unscored=True, shard=changes["shard"])
    return replace(out, query_mass=changes["query_mass"], gallery_mass=changes["gallery_mass"])


def kept(sim: Similarity) -> Similarity:
    """The scores themselves where they are few, for several passes that would make them again."""
    few = sim.shape[0] * sim.shape[1] <= _FEW
    if not isinstance(sim, Pair) or sim.shard is not None or not few:
        return sim
    scores = Dense(sim.scores(), unscored=True)
    return replace(scores, query_mass=sim.query_mass, gallery_mass=sim.gallery_mass)


def share_of(sim: Similarity, x: Tensor) -> Tensor:
    """(m, ...) this process's part of what is known for every item of the whole gallery."""
    offset, _ = gallery_place(sim)
    return x[offset : offset + sim.shape[1]]


def my_share(sim: Similarity) -> Similarity:
    """The same similarity with a gallery that every process holds split between them.

    Raises:
        RerankError: neither embeddings nor stored scores.
    """
    rows = comm.my_rows(sim.shape[1])
    changes = {
        "right": None if sim.right is None else sim.right[rows],
        "gallery_mass": None if sim.gallery_mass is None else sim.gallery_mass[rows],
        "shard": "gallery",
    }
    if isinstance(sim, Pair):
        return replace(sim, gallery=sim.gallery[rows], **changes)
    if isinstance(sim, Dense):
        return replace(sim, base=sim.base[:, rows], **changes)
    raise RerankError(
        f"a gallery of {type(sim).__name__} cannot be split over processes: give embeddings or "
        f"stored scores, or run in one process"
    )


def neutral(sim: Similarity, bias: Tensor) -> Tensor:
    """A bias whose undefined entries (items that no query scored) are the mean of the rest."""
    finite = torch.isfinite(bias)
    total = torch.stack([torch.where(finite, bias, 0).double().sum(), finite.double().sum()])
    if sim.shard == "gallery":
        total = comm.all_sum(total)
    return torch.where(finite, bias, (total[0] / total[1].clamp_min(1)).to(bias.dtype))


def log_total(sim: Similarity, x: Tensor) -> Tensor:
    """Logarithm of sum_j exp(x_j) over all gallery items, for one number x (m,) per item."""
    total = torch.logsumexp(x, dim=0)
    return comm.all_logsumexp(total) if sim.shard == "gallery" else total


def scores_at(sim: Similarity, places: Tensor) -> Tensor:
    """(N, c) scores of all queries, of every process, against the gallery items at c places."""
    mine = places - gallery_place(sim)[0]
    here = (mine >= 0) & (mine < sim.shape[1])
    out = torch.zeros((sim.shape[0], len(places)), dtype=sim.dtype, device=sim.device)
    for rows, block in sim.blocks():
        out[rows, here] = block[:, mine[here]]
    if sim.shard == "queries":
        return comm.gather_rows(out)
    return comm.all_sum(out) if sim.shard == "gallery" else out


def mine(sim: Similarity, places: Tensor) -> Tensor:
    """Those of the queries at some places that this process holds, counted from its first."""
    if sim.shard != "queries":
        return places
    offset, _ = gallery_place(sim.T)
    return places[(places >= offset) & (places < offset + sim.shape[0])] - offset


def some_queries(sim: Similarity, places: Tensor) -> Similarity:
    """The queries at some places, in order, against the whole gallery, without their masses.

    Places count over all processes; where queries are split each keeps its own of them.
    """
    places = mine(sim, places)
    if isinstance(sim, Pair | Dense) and _all_of(places, sim.shape[0]):
        return replace(sim, query_mass=None)
    changes = {"left": None if sim.left is None else sim.left[places], "query_mass": None}
    if isinstance(sim, Pair):
        return replace(sim, queries=sim.queries[places], **changes)
    if isinstance(sim, Dense):
        return replace(sim, base=sim.base[places], **changes)
    base = torch.empty((len(places), sim.shape[1]), dtype=sim.dtype, device=sim.device)
    for panel, block in sim.blocks():
        here = (places >= panel.start) & (places < panel.stop)
        base[here] = block[places[here] - panel.start]
    return Dense(base, unscored=True, shard=sim.shard)


def spread_out(sim: Similarity, alive: Tensor, count: int) -> Tensor:
    """Places of `count` live queries over all processes, evenly spread; all where there are fewer.

    Args:
        sim: the similarity.
        alive: (n,) bool, of this process's queries.
        count: how many.
    """
    split = sim.shard == "queries"
    flags = comm.gather_rows(alive.to(torch.uint8)).bool() if split else alive
    places = torch.nonzero(flags)[:, 0]
    step = torch.linspace(0, len(places) - 1, min(count, len(places)), dtype=torch.float64)
    return places[step.round().long().to(places.device)]


def drawn(sim: Similarity, count: int) -> Tensor | None:
    """Places of `count` queries drawn by a seed, in order; None where there are no more than that.

    Of a similarity that is split over processes nothing is drawn.
    """
    n = sim.shape[0]
    if n <= count or sim.shard is not None:
        return None
    places = torch.randperm(n, generator=torch.Generator().manual_seed(0))[:count]
    return places.sort().values.to(sim.device)


def sampled(sim: Similarity, count: int) -> Similarity:
    """At most `count` of the queries against the whole gallery; see `drawn`."""
    places = drawn(sim, count)
    return sim if places is None else some_queries(sim, places)


def corner(sim: Similarity, queries: Tensor, places: Tensor) -> Tensor:
    """(a, b) scores of the queries and items at some places over all processes, to all of them."""
    out = _corner(sim, queries, places).scores()
    return comm.gather_rows(out) if sim.shard == "queries" else out


def corner_sides(sim: Pair, queries: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
    """((a, d), (b, d)) what `corner` is the products of, corrections as further dimensions."""
    out = _corner(sim, queries, places)
    assert isinstance(out, Pair)
    left, right = out.augmented()
    return (comm.gather_rows(left) if sim.shard == "queries" else left), right


def _corner(sim: Similarity, queries: Tensor, places: Tensor) -> Similarity:
    """The queries of this process and the items at some places over all processes."""
    some = some_queries(sim, queries)
    if isinstance(some, Pair | Dense) and not sim.shard and _all_of(places, sim.shape[1]):
        return some
    return taken(some, torch.arange(some.shape[0]), places)


def _all_of(places: Tensor, count: int) -> bool:
    """Whether these are all places, in order: what is taken there is what there is."""
    return len(places) == count and bool((places == torch.arange(count).to(places)).all())
