"""What only a report shows: calibration, and a figure against the temperature."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from rerank.core import nouns
from rerank.core.errors import RerankError
from rerank.core.similarity import Similarity
from rerank.core.words import Name
from rerank.methods import directions, engine
from rerank.methods.base import FittedPipeline
from rerank.methods.directions import Groups
from rerank.metrics import pictures
from rerank.metrics.calibration import calibration
from rerank.metrics.figures import find_all
from rerank.metrics.hubness import summary
from rerank.metrics.judge import judge, views
from rerank.metrics.pictures import Picture
from rerank.metrics.ranks import Ranks
from rerank.passes.gallery import taken

# Every point of the curve is a fit of its own; of more pairs they would take minutes.
_MOST_PAIRS = 4_000_000
_FACTORS = np.array([0.25, 0.5, 2**-0.5, 1.0, 2**0.5, 2.0, 4.0])


def calibrations(
    before: Mapping[Name, Similarity],
    after: Mapping[Name, Similarity],
    taus: Mapping[Name, float],
    ranks: Mapping[Name, tuple[Ranks, Ranks]],
    *,
    called: str = "re-ranked",
) -> dict[Name, Picture]:
    """Confidence against truth, before and after, of directions with a temperature.

    Args:
        before: the raw similarities.
        after: the rewritten ones.
        taus: temperatures of the fits; 0 for none.
        ranks: before and after.
        called: what the rewriting is called.
    """
    out: dict[Name, Picture] = {}
    for name, (raw, rewritten) in ranks.items():
        tau = taus[name]
        if tau > 0 and np.isfinite(tau) and len(raw) >= 20:
            out[name] = pictures.calibration_curve(
                [
                    ("raw", calibration(before[name], tau, raw)),
                    (called, calibration(after[name], tau, rewritten)),
                ]
            )
    return out


def sample(
    both: Mapping[Name, Similarity],
    positives: Sequence[np.ndarray],
    *,
    most: int = _MOST_PAIRS,
    seed: int = 0,
) -> tuple[Mapping[Name, Similarity], tuple[np.ndarray, ...]]:
    """As large a part of both directions as a curve is drawn from, with what is right in it.

    Videos are drawn at random, and texts that have a right one among them, so that pairs stay
    together; where that is no text, any.

    Args:
        both: the directions.
        positives: video rows per text.
        most: pairs that are few enough.
        seed: of the draws.
    """
    n, m = both["t2v"].shape
    if n * m <= most:
        return both, tuple(positives)
    share, rng = math.sqrt(most / (n * m)), np.random.default_rng(seed)
    videos = np.sort(rng.permutation(m)[: max(1, int(share * m))])
    place = np.full(m, -1)
    place[videos] = np.arange(len(videos))
    found = [place[right][place[right] >= 0] for right in positives]
    texts = np.array([row for row, right in enumerate(found) if len(right)], dtype=np.int64)
    texts = texts if len(texts) else np.arange(n)
    texts = np.sort(rng.permutation(texts)[: max(1, int(share * n))])
    rows = {"t": torch.from_numpy(texts), "v": torch.from_numpy(videos)}
    few: dict[Name, Similarity] = {
        name: taken(sim, rows[name[0]], rows[name[2]]) for name, sim in both.items()
    }
    return few, tuple(found[row] for row in texts.tolist())


def why_no_temperatures(labels: Mapping[Name, str], taus: Mapping[Name, float]) -> str:
    """Why a page has no temperature curve, in a sentence; "" where nothing is in the way."""
    told = set(labels.values())
    if told == {"none"}:
        return ""
    if told != {"transductive"}:
        return (
            "There is no curve of temperatures: this fit is not of these queries alone. Try others "
            "by rerank tune on labelled pairs of the bank."
        )
    if not all(tau > 0 and np.isfinite(tau) for tau in taus.values()):
        return (
            "There is no curve of temperatures and no calibration: this method says no temperature."
        )
    return ""


def at_last_stage(
    both: Mapping[Name, Similarity], fitted: Mapping[Name, FittedPipeline], method: str
) -> tuple[dict[Name, Similarity], str]:
    """What the last stage was fitted on, and its name: the temperature of the others stays.

    Where the fits are not known, the similarities as they are and the whole method.
    """
    if not fitted or any(len(of.stages) < 2 for of in fitted.values()):
        return dict(both), method
    made: dict[Name, Similarity] = {
        name: FittedPipeline(of.stages[:-1]).transform(both[name]) for name, of in fitted.items()
    }
    return {**both, **made}, method.rpartition("+")[2]


def temperatures_of(
    both: Mapping[Name, Similarity],
    fitted: Mapping[str, FittedPipeline],
    taus: Mapping[Name, float],
    method: str,
    *,
    positives: Sequence[np.ndarray] | None = None,
    settings: Mapping[str, Any] | None = None,
    groups: Groups = "auto",
) -> dict[Name, Picture]:
    """R@1, or the hubness without a ground truth, where the last stage had other temperatures.

    Args:
        both: the raw similarities.
        fitted: the fits of some directions or both, where they are known.
        taus: the temperatures that were used, of the directions to draw.
        method: what was applied.
        positives: video rows per text, or None.
        settings: of the method; a tau among them is left out.
        groups: as they were given.
    """
    known: dict[Name, FittedPipeline] = {name: fitted[name] for name in taus if name in fitted}
    sims, last = at_last_stage(both, known if len(known) == len(taus) else {}, method)
    none = tuple(np.empty(0, np.int64) for _ in range(both["t2v"].shape[0]))
    few, truth = sample(sims, none if positives is None else positives)
    right = None if positives is None else views(few, truth)

    def measure(name: Name, sim: Similarity) -> float:
        if right is None:
            return summary(sim, raw=few[name]).skewness
        return judge(sim, right[name][1], figures=find_all("R@1")).table()["R@1"]

    return temperatures(
        few, taus, measure,
        figure="hub skewness" if right is None else "R@1", higher=right is not None, method=last,
        settings={key: value for key, value in (settings or {}).items() if key != "tau"},
        groups=groups, of_all=both["t2v"].shape,
    )  # fmt: skip


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
    of_all: tuple[int, int] | None = None,
) -> dict[Name, Picture]:
    """A figure of fits at other temperatures, from a quarter to four times the one that was used.

    Args:
        both: the raw similarities, or a `sample` of them.
        taus: the temperatures that were used, of the directions to draw.
        measure: the figure of a direction's rewritten similarity.
        figure: its name.
        higher: whether more is better.
        method: what was applied.
        settings: of the method, without tau.
        groups: as they were given.
        of_all: texts and videos, where `both` is a sample of them.
    """
    if not all(tau > 0 and np.isfinite(tau) for tau in taus.values()):
        return {}
    fitted = directions.from_scores(both["t2v"], both["v2t"], groups=groups)
    found: dict[Name, list[float]] = {name: [] for name in taus}
    for factor in _FACTORS:
        for name in taus:
            given = {**(settings or {}), "tau": float(taus[name] * factor)}
            try:
                run = engine.fit({name: fitted[name]}, method, given)
            except RerankError:
                return {}
            found[name].append(measure(name, run[name].sim))
    said = _drawn_from(both["t2v"].shape, of_all)
    return {
        name: pictures.temperature_curve(
            taus[name] * _FACTORS,
            np.array(values),
            taus[name],
            figure,
            higher=higher,
            drawn_from=said,
        )
        for name, values in found.items()
    }


def _drawn_from(part: tuple[int, int], of_all: tuple[int, int] | None) -> str:
    if of_all is None or part == of_all:
        return ""
    (n, m), (texts, videos) = part, nouns.sides()
    return (
        f"Drawn from {n:,} of {of_all[0]:,} {texts} and {m:,} of {of_all[1]:,} {videos}: compare "
        f"its points with each other only."
    )
