"""A temperature without labels: spacing of the hard negatives times the doubt of the plan.

For both directions A of the scores, with k = min(10, columns // 5) and the k + p largest entries
of each row (p positives are left out: they may be the matches),

    h_A = mean over rows of (mean of the k next entries - the k-th next)
    h   = mean of the two
    P   = Sinkhorn plan at h / 2
    c   = mean of the mean largest row share and the mean largest column share of P
    tau = 1.2 h (1 - c)

h estimates the exponential tail of the hard negatives; 1 - c sharpens where matches are clear.
tau scales with the scores, so cosines, logits and logarithms of probabilities need no setting.

A bank without the test queries is another matter: its queries have no match in the gallery, so
there is no plan to be confident about, and sharp biases charge an item for its one closest bank
query. Half of sigma, the mean standard deviation of a query's scores, is wide enough: measured on
eight pairs of set and direction it beats the rule above on each, by 0.1 to 1.7 points of R@1.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from rerank.core import comm
from rerank.core.similarity import Similarity
from rerank.methods.potentials import solve
from rerank.passes import reduce
from rerank.passes.sinkhorn.sparse import Graph, Sparse

RELIABLE_QUERIES = 500
_NEIGHBOURS = 10
_CONSTANT = 1.2
_BANK_SIGMAS = 0.5


@dataclass(frozen=True)
class Temperature:
    """What the rule found.

    Attributes:
        tau: in score units, or None where the scores do not carry one.
        spacing: h, in score units.
        confidence: c, between 0 and 1.
        note: "" or what the user should know.
    """

    tau: float | None
    spacing: float
    confidence: float
    note: str = ""


def spacing(sim: Similarity, *, positives: int = 1, nearest: Tensor | None = None) -> float:
    """Mean excess of each query's hard negatives over their k-th, in score units.

    Rows with fewer than k + positives scored entries are left out. `nearest` are the best scores
    of every query, best first, where they are known.
    """
    m = reduce.total_gallery(sim)
    k = min(_NEIGHBOURS, m // 5)
    if k < 1 or k + positives > m:
        return 0.0
    if nearest is None or nearest.shape[1] < k + positives:
        nearest = reduce.topk(sim, k + positives).scores
    hard = nearest[:, positives : k + positives]  # (n, k)
    hard = hard[torch.isfinite(hard).all(dim=1)].double()
    total = torch.stack([(hard.mean(dim=1) - hard[:, -1]).sum(), hard.new_tensor(len(hard))])
    if sim.shard == "queries":
        total = comm.all_sum(total)
    return float(total[0] / total[1]) if total[1] > 0 else 0.0


def plan_confidence(
    sim: Similarity, tau: float, *, log_a: Tensor, log_b: Tensor, graph: Graph | None = None
) -> float:
    """Mean of the mean largest row share and the mean largest column share of the plan at tau."""
    step = None if graph is None else Sparse(graph, tau, log_a)
    p = solve(sim, tau, log_a=log_a, log_b=log_b, n_iters=30, tol=1e-2, polish=False, step=step)
    if step is not None:
        rows, cols = step.peaks(query_bias=p.f, gallery_bias=p.g)
        return (_mean_share(rows, comm_axis=False) + _mean_share(cols, comm_axis=False)) / 2
    # After the last gallery step, sum_i exp((S_ij + f_i) / tau) = b_j exp(-g_j / tau).
    rows, cols = reduce.peaks(
        sim, tau, query_bias=p.f, gallery_bias=p.g, column_shift=log_b - p.g / tau
    )
    rows = _mean_share(rows, comm_axis=sim.shard == "queries")
    cols = _mean_share(cols, comm_axis=sim.shard == "gallery")
    return (rows + cols) / 2


def _mean_share(log_share: Tensor, *, comm_axis: bool) -> float:
    share = log_share[torch.isfinite(log_share)].double().exp()
    total = torch.stack([share.sum(), share.new_tensor(float(len(share)))])
    if comm_axis:
        total = comm.all_sum(total)
    return float(total[0] / total[1].clamp_min(1))


def bank_tau(sim: Similarity) -> Temperature:
    """Choose tau for a bank whose queries have no match in the gallery: sigma / 2.

    Returns:
        A `Temperature`; its tau is None for fewer than 10 rows or columns and for constant scores.
    """
    n = reduce.total_queries(sim)
    m = reduce.total_queries(sim.T)
    if min(n, m) < 10:
        return Temperature(
            None, 0.0, 0.0, f"a bank of {n} x {m} scores is too small to fit: scores unchanged"
        )
    mean, sigma = reduce.spread(sim)
    if not sigma > 1e-6 * abs(mean):
        return Temperature(None, 0.0, 0.0, "bank scores are constant: scores unchanged")
    return Temperature(_BANK_SIGMAS * sigma, 0.0, 0.0)


def auto_tau(
    sim: Similarity,
    *,
    log_a: Tensor,
    log_b: Tensor,
    positives: tuple[int, int] = (1, 1),
    graph: Graph | None = None,
) -> Temperature:
    """Choose tau for a similarity from its scores alone.

    Args:
        sim: (n, m) scores.
        log_a: (n,) log masses of the queries.
        log_b: (m,) log masses of the gallery items.
        positives: how many top entries of a row, and of a column, may be matches.
        graph: what stands for all pairs, where they are too many.

    Returns:
        A `Temperature`; its tau is None for fewer than 10 rows or columns and for constant scores.
    """
    n = reduce.total_queries(sim)
    m = reduce.total_queries(sim.T)
    if min(n, m) < 10:
        return Temperature(
            None, 0.0, 0.0, f"{n} x {m} scores are too few for a temperature: scores unchanged"
        )
    near = (None, None) if graph is None else graph.nearest
    h = spacing(sim, positives=positives[0], nearest=near[0]) / 2
    h += spacing(sim.T, positives=positives[1], nearest=near[1]) / 2
    mean, sigma = reduce.spread(sim)
    # Rounding noise of constant scores is not a spacing.
    if not h > 1e-6 * max(sigma, 1e-3 * abs(mean), math.ulp(0.0)):
        return Temperature(None, h, 0.0, "scores are constant: no temperature, scores unchanged")
    c = plan_confidence(sim, h / 2, log_a=log_a, log_b=log_b, graph=graph)
    # A plan that is certain everywhere leaves no doubt to scale by; keep a positive temperature.
    tau = _CONSTANT * h * max(1 - c, 0.02)
    note = ""
    if min(n, m) < RELIABLE_QUERIES:
        note = (
            f"temperature chosen from {max(n, m)} x {min(n, m)} scores: below "
            f"{RELIABLE_QUERIES} it can be off; with labelled pairs, compare with other --tau"
        )
    return Temperature(tau, h, c, note)
