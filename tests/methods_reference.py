"""Dense float64 formulas of the methods, in numpy: each written from its paper, none streamed."""

import numpy as np
from scipy.special import logsumexp
from scipy.stats import norm

from tests.reference import unit


def sigma(bank):
    return bank.std(axis=1).mean()


def inverted_softmax(s, bank, tau):
    return s - tau * (logsumexp(bank / tau, axis=0) - np.log(len(bank)))


def dynamic(s, bank, tau, k=1):
    """QB-Norm, additive."""
    active = np.zeros(s.shape[1], dtype=bool)
    active[np.argsort(-bank, axis=1)[:, :k]] = True
    gate = active[s.argmax(axis=1)]
    return np.where(gate[:, None], s - tau * logsumexp(bank / tau, axis=0), s)


def dual_softmax(s, bank, tau, form="camoe"):
    share = np.exp(s / tau - logsumexp(bank / tau, axis=0))
    return s * share * {"camoe": len(bank), "clip-vip": 1.0, "internvideo": 1 / tau}[form]


def nearest_mean(bank, k):
    return np.sort(bank, axis=0)[::-1][:k].mean(axis=0)


def csls(s, bank, k=10):
    return s - 0.5 * nearest_mean(bank, k)


def nnn(s, bank, alpha=0.75, k=128):
    return s - alpha * nearest_mean(bank, k)


def distribution(queries, gallery, bank_queries, weight=0.25):
    """The full published score, with both means."""
    mu_x, mu_v = bank_queries.mean(axis=0), gallery.mean(axis=0)
    return (queries - weight * mu_x) @ (gallery - weight * mu_v).T


def centred(queries, gallery, bank_queries):
    return unit(queries - bank_queries.mean(axis=0)) @ unit(gallery - gallery.mean(axis=0)).T


def dual_bank_sinkhorn(s, bank, pairs, tau, n_iters):
    """Biases of the searched gallery, mean zero."""
    both = np.concatenate([bank, pairs], axis=1)
    n, m = both.shape
    g = np.zeros(m)
    for _ in range(n_iters):
        f = -tau * (np.log(n) + logsumexp((both + g) / tau, axis=1))
        g = -tau * (np.log(m) + logsumexp((both + f[:, None]) / tau, axis=0))
    g = g[: bank.shape[1]]
    return s + g - g.mean()


def dual_is(s, bank, gallery_bank, tau, tau_gallery):
    product = (
        s / tau - logsumexp(bank / tau, axis=0)
        + s / tau_gallery - logsumexp(gallery_bank / tau_gallery, axis=0)
    )  # fmt: skip
    return product / (1 / tau + 1 / tau_gallery)


def corrected_rank(s, bank):
    """Places only: how many bank queries the item prefers to this query."""
    return -(bank[None] > s[:, None]).sum(axis=1).astype(float)


def mutual_gaussian(s, bank):
    rows = (s - s.mean(axis=1, keepdims=True)) / s.std(axis=1, keepdims=True)
    columns = (s - bank.mean(axis=0)) / bank.std(axis=0)
    return norm.logcdf(rows) + norm.logcdf(columns)


def mutual_empirical(s, bank):
    rows = (s[:, None, :] <= s[:, :, None]).mean(axis=2)
    columns = (bank[None] <= s[:, None]).mean(axis=1)
    return rows * columns - 1


def expanded(queries, gallery, n=10, alpha=3.0):
    s = queries @ gallery.T
    out = queries.copy()
    for i, row in enumerate(s):
        best = np.argsort(-row)[:n]
        out[i] += (np.maximum(row[best], 0) ** alpha) @ gallery[best]
    return unit(out) @ gallery.T


def k_reciprocal(queries, gallery, k1=20, k2=6, weight=0.3):
    """Final distance, by sets and loops on the dense matrix."""
    nodes = np.concatenate([queries, gallery])
    distance = (2 - 2 * nodes @ nodes.T) ** 2
    distance = distance / distance.max(axis=1, keepdims=True)
    order = np.argsort(distance, axis=1, kind="stable")

    def reciprocal(i, k):
        return {j for j in order[i, : k + 1] if i in order[j, : k + 1]}

    weights = np.zeros_like(distance)
    for i in range(len(nodes)):
        full = reciprocal(i, k1)
        members = set(full)
        for j in full:
            half = reciprocal(j, int(np.around(k1 / 2)))
            if len(half & full) > 2 / 3 * len(half):
                members |= half
        members = sorted(members)
        weights[i, members] = np.exp(-distance[i, members])
        weights[i] /= weights[i].sum()
    if k2 > 1:
        weights = np.stack([weights[order[i, :k2]].mean(axis=0) for i in range(len(nodes))])
    n = len(queries)
    shared = np.minimum(weights[:n, None], weights[None, n:]).sum(axis=2)
    jaccard = 1 - shared / (2 - shared)
    return (1 - weight) * jaccard + weight * distance[:n, n:]
