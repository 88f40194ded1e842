"""The search for the settings of highest likelihood, one setting at a time.

The mean log-probability of the true pairs under the plan is smooth in every setting where R@1 is
a staircase, so a few evaluations find its maximum: a log-spaced scan of tau and Brent's method
around the best, then EM strength and bases, then rho, then tau again.
"""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from rerank.selection.evidence import Evidence
from rerank.selection.settings import Settings, tunable

# In units of sigma, the mean standard deviation of a query's scores.
_LOWEST, _HIGHEST, _SCAN = 0.02, 3.0, 8
_BASES = (4, 8, 16, 32)


def start(method: str, tau: float) -> Settings:
    """Where the search of a method begins: its defaults."""
    names = tunable(method)
    settings = Settings(method, tau=tau)
    if "rho" in names:
        settings = replace(settings, rho=1.0)
    if "strength" in names:
        settings = replace(settings, strength=-0.5, n_bases=8)
    return settings


def search(evidence: Evidence, method: str, train: np.ndarray, sigma: float) -> Settings:
    """Settings of highest likelihood on the pairs of some groups ((count,) boolean)."""

    def value(settings: Settings) -> float:
        return evidence.objective(settings, train)

    names = tunable(method)
    grid = [_digits(t) for t in np.geomspace(_LOWEST * sigma, _HIGHEST * sigma, _SCAN).tolist()]
    best = max((start(method, t) for t in grid), key=value)
    best = _refine_tau(best, value, width=grid[1] / grid[0])
    if "strength" in names:
        best = _line(best, "strength", value, (-1.0, 1.0))
    if "n_bases" in names:
        width = _dimension(evidence)
        options = [replace(best, n_bases=k) for k in _BASES if k <= width]
        best = max([best, *options], key=value)
    if "rho" in names:
        best = _line(best, "rho", value, (0.5, 1.0))
    return _refine_tau(best, value, width=1.5) if set(names) - {"tau"} else best


def _dimension(evidence: Evidence) -> int:
    sim = next(iter(evidence.sides.values())).direction.sim
    queries = getattr(sim, "queries", None)
    return 0 if queries is None else int(queries.shape[1])


def _refine_tau(best: Settings, value: Callable[[Settings], float], *, width: float) -> Settings:
    """Brent's method in log tau between best / width and best * width."""
    from scipy.optimize import minimize_scalar

    assert best.tau is not None
    centre, reach = math.log(best.tau), math.log(width)
    tried = [best]

    def loss(x: float) -> float:
        tried.append(replace(best, tau=_digits(math.exp(x))))
        return -value(tried[-1])

    minimize_scalar(
        loss, bounds=(centre - reach, centre + reach), method="bounded",
        options={"maxiter": 6, "xatol": 0.05},
    )  # fmt: skip
    return max(tried, key=value)


def _line(
    best: Settings, name: str, value: Callable[[Settings], float], bounds: tuple[float, float]
) -> Settings:
    """Brent's method in one other setting; the start is kept where nothing is better."""
    from scipy.optimize import minimize_scalar

    tried = [best]

    def loss(x: float) -> float:
        tried.append(replace(best, **{name: round(float(x), 2)}))
        return -value(tried[-1])

    minimize_scalar(loss, bounds=bounds, method="bounded", options={"maxiter": 6, "xatol": 0.03})
    return max(tried, key=value)


def _digits(x: float) -> float:
    """Two significant digits and a half: folds that agree on a temperature then share its work."""
    scale = 10.0 ** (2 - math.floor(math.log10(x)))
    return round(x * scale / 2) * 2 / scale
