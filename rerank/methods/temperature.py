"""A temperature without labels: spacing of the hard negatives times the doubt of the plan.

For both directions A of the scores, with k = min(10, columns // 5) and the k + p largest entries
of each row (p positives are left out: they may be the matches),

    h_A = (.9 k / (k - 1)) mean over rows of (mean of the k next entries - the k-th next)
    h   = the smaller of the two; one with k < 2 does not count
    P   = Sinkhorn plan at h / 2, with a slack row where there are fewer queries than items
    c   = mean of the mean largest row share and the mean largest share of an item's mass in P
    tau = 1.2 h (1 - c)

Of more than 2,000 rows the tail is read from 2,000 drawn by a seed.

h estimates the exponential tail of the hard negatives: k of them exceed their smallest by
h (k - 1) / k, which is brought to k = 10. Few rows say little about the tail of a column and give a
far too large one, so the smaller h counts. 1 - c sharpens where matches are clear.
tau scales with the scores, so cosines, logits and logarithms of probabilities need no setting.

A bank without the test queries is another matter: its queries have no match in the gallery, so
there is no plan to be confident about, and sharp biases charge an item for its one closest bank
query. Half of sigma, the mean standard deviation of a query's scores, is wide enough: measured on
eight pairs of set and direction it beats the rule above on each, by 0.1 to 1.7 points of R@1.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rerank.core import comm
from rerank.core.similarity import Similarity
from rerank.core.wording import option
from rerank.methods.potentials import Solution, solve
from rerank.passes import reduce
from rerank.passes import topk as search
from rerank.passes.sinkhorn.sparse import Graph, Sparse
from rerank.passes.sinkhorn.sweepers import Sweeper

RELIABLE_QUERIES = 500
_NEIGHBOURS = 10
_CONSTANT = 1.2
_BANK_SIGMAS = 0.5
# Rows that tell the scale of the scores.
SCALE_ROWS = 50
# Most steps to the plan whose confidence is read.
_STEPS = 30


@dataclass(frozen=True)
class Temperature:
    """What the rule found.

    Attributes:
        tau: in score units, or None where the scores do not carry one.
        spacing: h, in score units.
        confidence: c, between 0 and 1.
        note: "" or what the user should know.
        start: (n,) and (m,) potentials of the plan that c was read from, or None.
        step: the sweep of that plan, whose kernel a fit can take over, where asked for.
    """

    tau: float | None
    spacing: float
    confidence: float
    note: str = ""
    start: tuple[Tensor, Tensor] | None = None
    step: Sweeper | None = None

    @property
    def T(self) -> "Temperature":  # noqa: N802  the mathematical transpose, as in numpy
        """The same, seen from the other side."""
        start = None if self.start is None else (self.start[1], self.start[0])
        return replace(self, start=start, step=None)


def spacing(
    sim: Similarity,
    *,
    positives: int = 1,
    nearest: Tensor | None = None,
    columns: int | None = None,
) -> float:
    """Mean excess of each query's hard negatives over their k-th, brought to k = 10 (score units).

    Rows with fewer than k + positives scored entries are left out; NaN where no row is left.

    Args:
        sim: the similarity.
        positives: how many top entries of a row may be matches.
        nearest: the best scores of every query, best first, where they are known.
        columns: how many items have a score at all; all of them by default.
    """
    m = reduce.total_gallery(sim) if columns is None else columns
    k = min(_NEIGHBOURS, m // 5)
    if k < 2 or k + positives > m:
        return math.nan
    if nearest is None or nearest.shape[1] < k + positives:
        nearest = search.nearest(sim, k + positives).scores
    hard = nearest[:, positives : k + positives]  # (n, k)
    hard = hard[torch.isfinite(hard).all(dim=1)].double()
    total = torch.stack([(hard.mean(dim=1) - hard[:, -1]).sum(), hard.new_tensor(len(hard))])
    if sim.shard == "queries":
        total = comm.all_sum(total)
    correction = (1 - 1 / _NEIGHBOURS) * k / (k - 1)
    return float(total[0] / total[1]) * correction if total[1] > 0 else math.nan


def _confidence(sim: Similarity, tau: float, step: Sweeper, plan: Solution, log_b: Tensor) -> float:
    """Mean of the mean largest row share and the mean largest column share of a plan.

    A column's share is one of the item's whole mass, of which a slack row may have most.
    """
    # After the last gallery step, sum_i exp((S_ij + f_i) / tau) = asked b_j exp(-g_j / tau).
    rows, cols = step.peaks(
        query_bias=plan.f, gallery_bias=plan.g,
        column_shift=log_b + plan.log_asked - plan.g / tau,
    )  # fmt: skip
    rows = _mean_share(rows, comm_axis=sim.shard == "queries")
    cols = _mean_share(cols + plan.log_asked, comm_axis=sim.shard == "gallery")
    return (rows + cols) / 2


def _mean_share(log_share: Tensor, *, comm_axis: bool) -> float:
    share = log_share[torch.isfinite(log_share)].double().exp()
    total = torch.stack([share.sum(), share.new_tensor(float(len(share)))])
    if comm_axis:
        total = comm.all_sum(total)
    return float(total[0] / total[1].clamp_min(1))


def bank_tau(sim: Similarity, *, spaced: bool = False) -> Temperature:
    """Choose tau for a bank whose queries have no match in the gallery: sigma / 2.

    Args:
        sim: (n, m) scores.
        spaced: whether the spacing is wanted, which takes a sample of nearest lists.

    Returns:
        A `Temperature`; its tau is None for fewer than 10 rows or columns and for constant scores.
    """
    n = reduce.total_queries(sim)
    m = reduce.total_queries(sim.T)
    if min(n, m) < 10:
        return Temperature(
            None, 0.0, 0.0, f"a bank of {n} x {m} scores is too small to fit: no correction"
        )
    mean, sigma = reduce.spread(sim)
    if not sigma > 1e-6 * abs(mean):
        return Temperature(None, 0.0, 0.0, "bank scores are constant: no correction")
    near = min(spacing(sim), spacing(sim.T)) if spaced else 0.0
    return Temperature(_BANK_SIGMAS * sigma, near, 0.0)


def auto_tau(
    sim: Similarity,
    *,
    log_a: Tensor,
    log_b: Tensor,
    slack: float = 0.0,
    live: tuple[int, int] | None = None,
    positives: tuple[int, int] = (1, 1),
    graph: Graph | None = None,
    init: Tensor | None = None,
    rough: bool = True,
    kept: bool = False,
) -> Temperature:
    """Choose tau for a similarity from its scores alone.

    Args:
        sim: (n, m) scores.
        log_a: (n,) log masses of the queries, which sum to one.
        log_b: (m,) log masses of the gallery items, which sum to one.
        slack: share of the items' mass that the queries leave.
        live: how many queries and items have a scored entry; all by default.
        positives: how many top entries of a row, and of a column, may be matches.
        graph: what stands for all pairs, where they are too many.
        init: (m,) gallery potentials that are nearly right.
        rough: whether scores may be rounded for the plan.
        kept: whether the sweep of the plan, with its kernel, is returned too.

    Returns:
        A `Temperature`; its tau is None for scores without a spacing.
    """
    n, m = live or (reduce.total_queries(sim), reduce.total_queries(sim.T))
    near = (None, None) if graph is None else graph.nearest
    sides = (
        spacing(sim, positives=positives[0], nearest=near[0], columns=m),
        spacing(sim.T, positives=positives[1], nearest=near[1], columns=n),
    )
    if all(math.isnan(side) for side in sides):
        return Temperature(
            None,
            0.0,
            0.0,
            f"rows and columns hold too few scores for a temperature ({n} x {m} have any): "
            "no correction",
        )
    mean, sigma = reduce.spread(sim, sample=SCALE_ROWS)
    # Rounding noise of constant scores is no spacing, nor are the ties of a side that was cut.
    least = 1e-6 * max(sigma, 1e-3 * abs(mean), math.ulp(0.0))
    h = min((side for side in sides if side > least), default=0.0)
    if not h:
        what = "scores are constant"
        if sigma > 1e-6 * abs(mean):
            what = (
                "the best scores of nearly every row are equal (one that stands for 'not scored' "
                f"is named with {option('unscored')})"
            )
        return Temperature(None, h, 0.0, f"{what}: no temperature, no correction")
    sharp, log_a = h / 2, log_a + math.log1p(-slack)
    if graph is None:
        step = reduce.sweeper(
            sim, sharp, log_a=log_a, sweeps=_STEPS, rough=rough, warm=init is not None
        )
    else:
        step = Sparse(graph, sharp, log_a)
    plan = solve(
        sim, sharp, log_a=log_a, log_b=log_b, slack=slack, n_iters=_STEPS, tol=1e-2, polish=False,
        step=step, init=init,
    )  # fmt: skip
    c = _confidence(sim, sharp, step, plan, log_b)
    # A plan that is certain everywhere leaves no doubt to scale by; keep a positive temperature.
    tau = _CONSTANT * h * max(1 - c, 0.02)
    note = ""
    if min(n, m) < RELIABLE_QUERIES:
        note = (
            f"temperature chosen from {max(n, m)} x {min(n, m)} scores: below "
            f"{RELIABLE_QUERIES} it can be off; with labelled pairs, compare with other "
            f"{option('tau')}"
        )
    return Temperature(tau, h, c, note, (plan.f, plan.g), step if kept else None)
