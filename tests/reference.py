"""Dense float64 formulas from the papers, in numpy: what the toolkit is compared with."""

import numpy as np
from scipy.special import logsumexp


def unit(x):
    """Rows of unit length."""
    x = np.asarray(x, dtype=np.float64)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def sinkhorn(s, tau, n_iters=2000, a=None, b=None):
    """Potentials (f, g) of the plan exp((S + f + g) / tau) with marginals a, b."""
    s = np.asarray(s, dtype=np.float64)
    n, m = s.shape
    a = np.full(n, 1 / n) if a is None else a
    b = np.full(m, 1 / m) if b is None else b
    g = np.zeros(m)
    for _ in range(n_iters):
        f = tau * (np.log(a) - logsumexp((s + g) / tau, axis=1))
        g = tau * (np.log(b) - logsumexp((s + f[:, None]) / tau, axis=0))
    return f, g


def inverted_softmax(s, tau):
    """tau log of exp(S / tau) / mean_i exp(S / tau)."""
    s = np.asarray(s, dtype=np.float64)
    return s - tau * (logsumexp(s / tau, axis=0) - np.log(len(s)))


def planted(n=60, d=32, noise=0.4, hubs=4, pull=1.0, seed=0):
    """A permuted matching under hubs: (queries, gallery, truth) with truth[i] = i's item.

    Queries lean towards a common direction; the hubs lean there too, so they crowd every list.
    """
    rng = np.random.default_rng(seed)
    gallery = unit(rng.normal(size=(n, d)))
    truth = rng.permutation(n)
    common = unit(rng.normal(size=(1, d)))
    queries = unit(gallery[truth] + noise * unit(rng.normal(size=(n, d))) + 1.5 * common)
    hub_rows = rng.choice(n, hubs, replace=False)
    gallery[hub_rows] = unit(gallery[hub_rows] + pull * common)
    return queries, gallery, truth
