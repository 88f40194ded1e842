"""Whether few queries are about one topic, seen without labels by what they choose.

Popularity is an accident of hubs where queries are drawn from all that the gallery is about. Where
they are about one topic its items are popular, and rightly so: to correct that takes queries to
items beside the topic. Partial transport alone, which asks only that no item be chosen twice, stays
right. Which it is, the items tell that the queries choose:

    P    plan of few queries beside a slack row;   c_j = sum_i P_ij, sum one
    N    1 / sum_j c_j^2, the number of items chosen
    F    N |sum_j c_j v_j - mu|^2 / mean |v_j - mu|^2 / (1 - N / m)
    r    (F - 1) / (N - 1)

F is 1 for any items drawn by chance, and r the share of an item's scatter that two of them have in
common. Hubs have something in common too, so r is read twice, as scores are and with popularity
corrected: hubs are gone then, a topic is not. With queries drawn at random from sets at hand r is
.036 or less, then .02 or less, and with many hubs .1 and .019; a quarter or a twelfth of COCO that
belongs together has .06 to .39 and .02 to .09.
"""

import torch
from torch import Tensor

from rerank.core import comm
from rerank.core.rows import slices
from rerank.core.similarity import Pair, Similarity
from rerank.methods.marginals import Masses
from rerank.methods.potentials import solve
from rerank.methods.repeats import ramp
from rerank.passes import reduce
from rerank.passes.sinkhorn.sweepers import Sweeper

# F, r, and r without popularity, from which it may be a topic and from which it is one.
_F, _CLOSE, _STILL = (2.5, 3.5), (0.03, 0.05), (0.02, 0.03)
# Steps and marginal error of the plan.
_STEPS, _TOL = 30, 1e-2


def seen(f: float, chosen: float) -> float:
    """0 where queries are drawn from everywhere, to 1 where they seem to be about one topic.

    Args:
        f: F of the scores as they are.
        chosen: N.
    """
    return min(ramp(f, *_F), ramp(_common(f, chosen), *_CLOSE))


def still_seen(f: float, chosen: float) -> float:
    """The same from scores whose popularity is corrected, which hubs do not lift any more."""
    return ramp(_common(f, chosen), *_STILL)


def _common(f: float, chosen: float) -> float:
    """The share r."""
    return (f - 1) / (chosen - 1) if chosen > 1 else 0.0


def concentration(
    sim: Similarity, tau: float, *, found: Masses, step: Sweeper | None = None
) -> tuple[float, float]:
    """F and N; two zeros where nothing is chosen, or everything, or items have no embeddings.

    Args:
        sim: (n, m) scores, n smaller.
        tau: temperature in score units.
        found: masses of both sides.
        step: a sweep of these scores with the masses of few queries, or None.
    """
    if not isinstance(sim, Pair):
        return 0.0, 0.0
    log_a, slack = found.few
    plan = solve(
        sim, tau, log_a=log_a, log_b=found.log_b, n_iters=_STEPS, tol=_TOL, slack=slack,
        polish=False, step=step,
    )  # fmt: skip
    mass = plan.log_asked + found.log_b
    chosen = torch.where(found.live_items, mass.double().exp(), 0)
    even = found.log_b.double().exp()
    parts = torch.stack([chosen.sum(), chosen.square().sum(), _squares(sim, even)])
    parts = comm.all_sum(parts) if sim.shard == "gallery" else parts
    total, squares, scatter = parts.tolist()
    if not total > 0:
        return 0.0, 0.0
    none = torch.zeros(sim.shape[0], dtype=torch.float64, device=sim.device)
    means = [
        reduce.embedding_means(sim, query_mass=none, gallery_mass=x)[1]
        for x in (chosen / total, even)
    ]
    count = total**2 / squares
    scatter -= float(means[1].square().sum())
    left = 1 - count / found.columns
    if not (scatter > 0 and left > 0):
        return 0.0, 0.0
    return count * float((means[0] - means[1]).square().sum()) / scatter / left, count


def _squares(sim: Pair, mass: Tensor) -> Tensor:
    """Sum of mass_j |v_j|^2, of this process's items."""
    out = torch.zeros((), dtype=torch.float64, device=sim.device)
    for rows in slices(len(sim.gallery)):
        out += mass[rows] @ sim.gallery[rows].double().square().sum(dim=1)
    return out
