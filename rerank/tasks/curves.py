"""What only a report shows: calibration, and a figure against the temperature."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from rerank.core.errors import RerankError
from rerank.core.similarity import Similarity
from rerank.core.words import Name
from rerank.methods import directions, engine
from rerank.methods.directions import Groups
from rerank.metrics import pictures
from rerank.metrics.calibration import calibration
from rerank.metrics.pictures import Picture
from rerank.metrics.ranks import Ranks

# Every point of the curve is a fit of its own; of more pairs they would take minutes.
_MOST_PAIRS = 4_000_000
_FACTORS = np.array([0.25, 0.5, 2**-0.5, 1.0, 2**0.5, 2.0, 4.0])


def calibrations(
    before: Mapping[Name, Similarity],
    after: Mapping[Name, Similarity],
    taus: Mapping[Name, float],
    ranks: Mapping[Name, tuple[Ranks, Ranks]],
) -> dict[Name, Picture]:
    """Confidence against truth, before and after, of directions with a temperature.

    Args:
        before: the raw similarities.
        after: the rewritten ones.
        taus: temperatures of the fits; 0 for none.
        ranks: before and after.
    """
    out: dict[Name, Picture] = {}
    for name, (raw, rewritten) in ranks.items():
        tau = taus[name]
        if tau > 0 and np.isfinite(tau) and len(raw) >= 20:
            out[name] = pictures.calibration_curve(
                [
                    ("raw", calibration(before[name], tau, raw)),
                    ("re-ranked", calibration(after[name], tau, rewritten)),
                ]
            )
    return out


def temperatures(
    both: Mapping[Name, Similarity],
    taus: Mapping[Name, float],
    measure: Callable[[Name, Similarity], float],
    *,
    figure: str,
    higher: bool = True,
    method: str | None = None,
    settings: Mapping[str, Any] | None = None,
    groups: Groups = "auto",
    own: bool = False,
) -> dict[Name, Picture]:
    """A figure of fits at other temperatures, from a quarter to four times the one that was used.

    Args:
        both: the raw similarities.
        taus: the temperatures that were used.
        measure: the figure of a direction's rewritten similarity.
        figure: its name.
        higher: whether more is better.
        method: what was applied.
        settings: of the method, without tau.
        groups: as they were given.
        own: whether each direction has scores of its own.
    """
    n, m = both["t2v"].shape
    if n * m > _MOST_PAIRS or not all(tau > 0 and np.isfinite(tau) for tau in taus.values()):
        return {}
    fitted = directions.from_scores(both["t2v"], both["v2t"] if own else None, groups=groups)
    found: dict[Name, list[float]] = {name: [] for name in both}
    for factor in _FACTORS:
        for name, direction in fitted.items():
            given = {**(settings or {}), "tau": float(taus[name] * factor)}
            try:
                run = engine.fit({name: direction}, method, given)
            except RerankError:
                return {}
            found[name].append(measure(name, run[name].sim))
    return {
        name: pictures.temperature_curve(
            taus[name] * _FACTORS, np.array(values), taus[name], figure, higher=higher
        )
        for name, values in found.items()
    }
