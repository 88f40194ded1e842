"""Time to an answer: from scores to a marginal error of 1e-3 and the top 10, ours and the peers'.

    python tests/bench/sinkhorn.py to-error --size 5000 --rounds 3

Everyone starts from the same score matrix, stops by a tolerance of its own that means an L1
distance of 1e-3 of the column masses, and ends with the ten best items of every row. Steps and the
error that was reached are printed beside the times; who ends above 2e-3, by underflow or at the
limit of 2,000 steps, gets no ratio. POT measures L2, so it is given 1e-3 / sqrt(m); it looks every
ten steps. Peers that are not installed are left out.
"""

import importlib.util
import math
import statistics
import time

import numpy as np
import torch

from rerank.core.similarity import Dense
from rerank.methods.potentials import solve

TOL, STEPS, K = 1e-3, 2000, 10
TAUS = (0.05, 0.02, 0.01)


def ours(scores, tau):
    """The solver of every fit, from a stored matrix."""
    log_a, log_b = (torch.full((count,), -math.log(count)) for count in scores.shape)
    found = solve(Dense(scores), tau, log_a=log_a, log_b=log_b, n_iters=STEPS, tol=TOL)
    return found.g, found.n_iters


def log_loop(scores, tau):
    """A log-sum-exp loop in torch; the columns' sums of one step tell the error of the last."""
    n, m = scores.shape
    logits, g = scores / tau, torch.zeros(m)
    for step in range(1, STEPS + 1):
        f = -math.log(n) - torch.logsumexp(logits + g, dim=1)
        mass = torch.logsumexp(logits + f[:, None], dim=0)
        error = float(((mass + g).exp() - 1 / m).abs().sum())
        g = -math.log(m) - mass
        if error <= TOL:
            break
    return tau * g, step


def products(scores, tau):
    """Two matrix-vector products on stored exponentials, shifted by the row maxima."""
    n, m = scores.shape
    kernel = torch.sub(scores, scores.amax(dim=1, keepdim=True)).div_(tau).exp_()
    v = torch.ones(m)
    for step in range(1, STEPS + 1):
        mass = kernel.T @ ((1 / n) / (kernel @ v))
        error = float((v * mass - 1 / m).abs().sum())
        v = (1 / m) / mass
        if not error > TOL:
            break
    return tau * v.log(), step


def pot(method):
    """POT's, which gives its potentials in the log of the solver."""

    def run(scores, tau):
        import ot

        n, m = scores.shape
        cost = 1 - scores.numpy()
        _, log = ot.bregman.sinkhorn(
            np.full(n, 1 / n, cost.dtype), np.full(m, 1 / m, cost.dtype), cost, tau, method=method,
            numItermax=STEPS, stopThr=TOL / math.sqrt(m), log=True, warn=False,
        )  # fmt: skip
        g = log["log_v"] if "log_v" in log else np.log(log["v"])
        return tau * torch.from_numpy(np.asarray(g)), int(log.get("niter", log.get("n_iter", 0)))

    return run


def ott(**options):
    """OTT-JAX in the log domain, with its momentum or Anderson acceleration."""

    def run(scores, tau):
        import jax.numpy as jnp
        from ott.geometry import geometry
        from ott.solvers import linear
        from ott.solvers.linear import acceleration

        chosen = {name: getattr(acceleration, made)() for name, made in options.items()}
        geom = geometry.Geometry(cost_matrix=jnp.asarray(1 - scores.numpy()), epsilon=tau)
        out = linear.solve(geom, threshold=TOL, max_iterations=STEPS, **chosen)
        return torch.from_numpy(np.asarray(out.g).copy()), int(out.n_iters)

    return run


def contenders(*, peers=True):
    """Name -> (scores, tau) -> (g in score units, steps)."""
    found = {"ours": ours, "torch, two products": products, "torch, log-sum-exp loop": log_loop}
    if not peers:
        return found
    if importlib.util.find_spec("ot"):
        found |= {"POT sinkhorn": pot("sinkhorn"), "POT sinkhorn_log": pot("sinkhorn_log")}
    if importlib.util.find_spec("ott"):
        found |= {
            "OTT-JAX": ott(), "OTT-JAX, momentum": ott(momentum="Momentum"),
            "OTT-JAX, Anderson": ott(anderson="AndersonAcceleration"),
        }  # fmt: skip
    return found


def reached(scores, tau, g):
    """L1 distance of the column masses under g, with tight rows, in float64."""
    n, m = scores.shape
    mass = torch.zeros(m, dtype=torch.float64)
    for rows in torch.arange(n).split(512):
        mass += ((scores[rows].double() + g.double()) / tau).softmax(dim=1).sum(dim=0) / n
    return float((mass - 1 / m).abs().sum())


def run(scores, rounds, *, peers=True):
    """Print a table for each temperature."""
    for tau in TAUS:
        spent, ends = {}, {}
        programs = contenders(peers=peers)
        for _ in range(rounds):
            for name, program in programs.items():
                start = time.perf_counter()
                g, steps = program(scores, tau)
                (scores + g.float()).topk(K, dim=1)
                spent.setdefault(name, []).append(time.perf_counter() - start)
                ends[name] = g, steps
        print(f"\ntau {tau}\n| | s | times ours | steps | error |\n|---|---|---|---|---|")
        one = statistics.median(spent["ours"])
        for name, times in spent.items():
            error = reached(scores, tau, ends[name][0])
            ratio = f"{statistics.median(times) / one:.1f}" if error <= 2 * TOL else "-"
            print(
                f"| {name} | {statistics.median(times):.2f} | {ratio} | {ends[name][1]} "
                f"| {error:.1e} |",
                flush=True,
            )
