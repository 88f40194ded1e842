"""How much too popular a gallery item is with all queries, as far as that is no accident.

Few queries cannot say how often an item should be first, but they all say something about it: its
share of a wide softmax. What its column sum varies by chance is known from how many queries it
rests on, so the rest can be taken back without labels.

    w_ij = softmax_j(S_ij / t);   c_j = sum_i a_i w_ij;   L_j = log(c_j / b_j), centred
    V_j  = (sum_i a_i w_ij^2 / c_j^2 - 1 / N) N / (N - 1)          variance of log c_j by chance
    rho  = max(0, 1 - mean V / mean L^2)                            James and Stein's shrinkage
    bias = -rho t L

Where queries repeat, items are wanted unequally and rightly so: a query's best item, which may be
its own, then gets no vote of it, and an item's sum is that of the queries that have a vote.

Source: James and Stein, 1961, in the form of Efron and Morris, JASA 1973.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rerank.core import comm
from rerank.core.similarity import Pair, Similarity
from rerank.core.views import Mapped
from rerank.methods.marginals import Masses, centred
from rerank.passes import cross, reduce
from rerank.passes.order import gallery_place
from rerank.passes.sinkhorn.sparse import Graph, Sparse
from rerank.passes.sinkhorn.sweepers import Sweeper

# So few of the items that are the best of so many queries are their hubs, and rounds to see all.
_HUBS, _FIRST, _ROUNDS = 0.02, 0.5, 4
# Scores that differ by less of their size are the same.
_SAME = 1e-5
# Sums of probabilities over the queries that are there, the largest of all items; bfloat16 rounds.
_NEAR_ONE = 0.5, 1.02


def popularity(
    sim: Similarity, t: float, *, found: Masses, log_a: Tensor, queries: float,
    graph: Graph | None = None, votes: Tensor | None = None, rounds: int = 1,
    step: Sweeper | None = None,
) -> tuple[Tensor, float]:  # fmt: skip
    """(bias (m,) in score units, rho): what an item's popularity is corrected by.

    In further rounds w is the softmax of the corrected scores, and L still that of the scores
    themselves: what a hub has hidden from a narrow softmax shows then.

    Args:
        sim: (n, m) scores.
        t: width of the softmax in score units.
        found: which queries and items are live, and the masses of the items.
        log_a: (n,) log masses of the queries, which sum to one over the live ones.
        queries: N, what these masses amount to in queries.
        graph: what stands for all pairs, where they are too many.
        votes: (m,) log share of the queries that may vote for an item; all of them by default.
        rounds: how often.
        step: a sweep of these scores, whose kernel is read instead of them where it holds one.
    """
    bias, rho = torch.zeros(sim.shape[1], dtype=sim.dtype, device=sim.device), 0.0
    if queries <= 1:
        return bias, rho
    zero = torch.zeros_like(bias)
    for _ in range(rounds):
        # Log sums over the queries, of a w and of a w^2, the exponential at half the width.
        if graph is not None:
            f, log_c = Sparse(graph, t, log_a)(zero)
            square = Sparse(graph, t / 2, log_a).log_columns(f - t / 2 * log_a)
        elif columns := _columns(sim, t, log_a, bias, step):
            log_c, square = (x.log().to(sim.dtype) for x in columns)
        else:
            seen = sim if rho == 0 else sim.add_gallery_bias(bias)
            f, log_c = reduce.sweep(seen, t, zero, log_a)
            square = reduce.logsumexp(seen, t / 2, over="queries", plus=f - t / 2 * log_a)
        sums = log_c - bias / t, square - 2 * bias / t
        bias, rho = _shrunk(sim, t, sums, found=found, queries=queries, votes=votes)
    return bias, rho


def _columns(
    sim: Similarity, t: float, log_a: Tensor, bias: Tensor, step: Sweeper | None
) -> tuple[Tensor, Tensor] | None:
    """Sum_i a_i w_ij and sum_i a_i w_ij^2, from a kernel or compiled; None where neither does."""
    mass = log_a.double().exp()
    if step is not None and (found := step.columns(t, query_mass=mass, gallery_bias=bias)):
        return found
    return cross.softmax_columns(sim, t, query_mass=mass, gallery_bias=bias)


def _shrunk(
    sim: Similarity, t: float, sums: tuple[Tensor, Tensor], *, found: Masses, queries: float,
    votes: Tensor | None,
) -> tuple[Tensor, float]:  # fmt: skip
    """The bias and rho from log sum_i a_i w_ij and log sum_i a_i w_ij^2."""
    split = sim.shard == "gallery"
    log_c, square = sums[0], sums[1] + math.log(queries)
    alive = found.live_items & torch.isfinite(log_c)
    if votes is not None:
        log_c = log_c - votes
        square = square - 2 * votes
    level, _ = centred(log_c - found.log_b, alive, split=split)
    share = (square - 2 * (log_c + math.log(queries))).double().exp()
    noise = ((share - 1 / queries) * queries / (queries - 1)).clamp_min(0)
    both = torch.stack([torch.where(alive, noise, 0).sum(), level.double().square().sum()])
    noise_sum, level_sum = (comm.all_sum(both) if split else both).tolist()
    rho = max(0.0, 1 - noise_sum / level_sum) if level_sum > 0 else 0.0
    return -rho * t * level, rho


def without_best(
    sim: Similarity, log_a: Tensor, found: Masses, *, but: Tensor | None = None
) -> tuple[Similarity, Tensor]:
    """Scores without the best item of every query, and (m,) log share of the queries that are left.

    Args:
        sim: (n, m) scores.
        log_a: (n,) log masses of the queries, which sum to one over the live ones.
        found: which queries are live.
        but: (m,) bool, items that stay.
    """
    best = reduce.topk(sim, 1).indices
    mass = torch.where(found.live_queries, log_a.double().exp(), 0)
    return without(sim, best, mass, but=but)


def without(
    sim: Similarity, items: Tensor, mass: Tensor, *, but: Tensor | None = None
) -> tuple[Similarity, Tensor]:
    """Scores without some items of every query, and (m,) log share of the queries that are left.

    Args:
        sim: (n, m) scores.
        items: (n, k) places of different items, -1 for none.
        mass: (n,) of the queries, which sum to one.
        but: (m,) bool, items that stay.
    """
    mine = items - gallery_place(sim)[0]
    here = (mine >= 0) & (mine < sim.shape[1])
    mine = torch.where(here, mine, torch.zeros_like(mine))
    if but is not None and len(but):
        here &= ~but[mine]

    def left(rows: slice, block: Tensor) -> Tensor:
        if not block.shape[1]:
            return block  # a process may have no items
        for places, some in zip(
            mine[rows].split(1, dim=1), here[rows].split(1, dim=1), strict=True
        ):
            kept = block.gather(1, places)
            lowest = torch.full_like(kept, -math.inf)
            block = block.scatter_(1, places, torch.where(some, lowest, kept))
        return block

    taken = torch.zeros(sim.shape[1], dtype=torch.float64, device=sim.device)
    taken.index_add_(0, mine[here], mass.double()[:, None].expand_as(mine)[here])
    if sim.shard == "queries":
        taken = comm.all_sum(taken)
    votes = (1 - taken).clamp_min(math.ulp(1.0)).log().to(sim.dtype)
    return Mapped(sim, left, what="popularity", shard=sim.shard), votes


def of_others(
    sim: Similarity, tau: float, t: float, found: Masses, *, hubs: bool = False
) -> Tensor:
    """(m,) bias by the popularity with queries that have another best item.

    Args:
        sim: (n, m) scores.
        tau: temperature in score units, of the masses that queries of one item share.
        t: width of the popularity.
        found: which queries and items are live.
        hubs: whether a few items that are the best of most queries are taken for hubs, of which
            all queries tell, and not for items that so many want.
    """
    but = few_that_many_choose(sim, found) if hubs else None
    log_a, queries = shared_masses(sim, tau, found, but=but)
    left, votes = without_best(sim, log_a, found, but=but)
    rounds = 1 if but is None else _ROUNDS
    return popularity(
        left, t, found=found, log_a=log_a, queries=queries, votes=votes, rounds=rounds
    )[0]


@dataclass(frozen=True, eq=False)
class Votes:
    """What `of_others` says of any item, once the queries have voted.

        bias_j = constant - weight t log (sum_{i in I_j} exp((S_ij + f_i) / t) / sum_{i in I_j} a_i)

    over the queries I_j that have an item which is better than j. An item that voted already gets
    the bias of another that scores like it.

    Attributes:
        weight: of the popularity.
        t: its width, in score units.
        potential: f (n,) of the queries.
        best: (n,) their best scores.
        mass: a (n,), their masses, which sum to one.
        constant: what is left, for a mean of zero.
    """

    weight: float
    t: float
    potential: Tensor
    best: Tensor
    mass: Tensor
    constant: float = 0.0

    def times(self, much: float) -> "Votes":
        """So much of it."""
        return replace(self, weight=much * self.weight, constant=much * self.constant)

    def of(self, bank: Similarity) -> Tensor:
        """(m',) of the items that the queries are compared with."""
        best, f = self.best.to(bank.dtype), self.potential.to(bank.dtype)
        # Products of fewer items may differ in their last bits.
        best = best - _SAME * best.abs().clamp_min(self.t)
        log_a = self.mass.log().to(bank.dtype)

        def worse(rows: slice, block: Tensor) -> Tensor:
            return block.masked_fill_(block >= best[rows, None], -math.inf)

        def voting(rows: slice, block: Tensor) -> Tensor:
            less = block < best[rows, None]
            return torch.where(less, torch.zeros_like(block), -math.inf)

        what = {"what": "popularity", "shard": bank.shard}
        seen = reduce.logsumexp(Mapped(bank, worse, **what), self.t, over="queries", plus=f)
        votes = Mapped(bank, voting, **what)
        cast = reduce.logsumexp(votes, self.t, over="queries", plus=self.t * log_a)
        level = torch.where(torch.isfinite(seen), seen - cast, 0)
        return self.constant - self.weight * self.t * level


def votes_of_others(sim: Similarity, tau: float, t: float, found: Masses) -> tuple[Tensor, Votes]:
    """`of_others`, with mean zero, and what gives it to any item; see there."""
    log_a, queries = shared_masses(sim, tau, found)
    best = reduce.topk(sim, 1).scores[:, 0]
    left, cast = without_best(sim, log_a, found)
    bias, rho = popularity(left, t, found=found, log_a=log_a, queries=queries, votes=cast)
    f = t * (log_a - reduce.logsumexp(left, t, over="gallery"))
    mass = torch.where(found.live_queries, log_a.double().exp(), 0)
    votes = Votes(rho, t, torch.where(torch.isfinite(f), f, 0), best, mass)
    split = sim.shard == "gallery"
    bias, _ = centred(bias, found.live_items, split=split)
    _, mean = centred(votes.of(sim), found.live_items, split=split)
    return bias, replace(votes, constant=-mean)


def few_that_many_choose(sim: Similarity, found: Masses) -> Tensor | None:
    """(m,) bool: 2 % of the items, where these are the best of most queries; else None."""
    most, share = _most_chosen(sim, found)
    if not share > _FIRST:
        return None
    held = torch.zeros(reduce.total_gallery(sim), dtype=torch.bool, device=sim.device)
    held[most.indices[most.values > 0]] = True
    start = gallery_place(sim)[0]
    return held[start : start + sim.shape[1]]


def crowding(sim: Similarity, found: Masses) -> float:
    """Share of the queries whose best items are the 2 % of the items that most choose."""
    return _most_chosen(sim, found)[1]


def _most_chosen(sim: Similarity, found: Masses) -> tuple[torch.return_types.topk, float]:
    """2 % of the items, by how many queries they are the best of, and the share of all these."""
    best = reduce.topk(sim, 1).indices[:, 0][found.live_queries]
    firsts = torch.bincount(best, minlength=reduce.total_gallery(sim)).double()
    firsts = comm.all_sum(firsts) if sim.shard == "queries" else firsts
    most = firsts.topk(max(1, int(_HUBS * found.columns)))
    return most, float(most.values.sum() / firsts.sum().clamp_min(1))


def normalised(sim: Similarity, found: Masses) -> bool:
    """Whether scores are logarithms of an item's probabilities over these queries and more.

    Items that were normalised over all queries are equally popular already; what few of these
    queries say besides is an accident that looks like none. The sums of their exponentials are
    then at most one (but for rounding), and near one where the item's own query is there; those of
    a query, over all items, are not one.
    """
    if isinstance(sim, Pair):
        return False
    sums = reduce.logsumexp(sim, 1.0, over="queries")
    # A process may have no items.
    sums = torch.cat(
        [torch.where(found.live_items, sums, -math.inf), sums.new_full((1,), -math.inf)]
    )
    largest = sums.amax()
    if sim.shard == "gallery":
        largest = comm.all_max(largest)
    if not _NEAR_ONE[0] <= float(largest.exp()) <= _NEAR_ONE[1]:
        return False
    rows = reduce.logsumexp(sim, 1.0, over="gallery").exp()
    far = bool(((rows - 1).abs() > _NEAR_ONE[1] - 1)[found.live_queries].any())
    return bool(comm.all_max(torch.tensor(int(far)))) if sim.shard == "queries" else far


def shared_masses(
    sim: Similarity, tau: float, found: Masses, *, but: Tensor | None = None
) -> tuple[Tensor, float]:
    """((n,) log masses, sum one; N): queries that choose one item share the mass of a query.

    P = softmax_j(S_ij / tau), load_j = sum_i P_ij, a_i = sum_j P_ij / max(1, load_j); items that
    stay out have load 1.
    """
    rows = reduce.logsumexp(sim, tau, over="gallery")
    f = torch.where(found.live_queries, -tau * rows, torch.zeros_like(rows))
    load = reduce.logsumexp(sim, tau, over="queries", plus=f).clamp_min(0)
    if but is not None:
        load = torch.where(but, torch.zeros_like(load), load)
    log_a = reduce.logsumexp(sim, tau, over="gallery", plus=-tau * load) - rows
    log_a = torch.where(found.live_queries, log_a, torch.zeros_like(log_a)).clamp_max(0)
    total = torch.where(found.live_queries, log_a.double().exp(), 0).sum()
    total = float(comm.all_sum(total) if sim.shard == "queries" else total)
    return log_a - math.log(total), total
