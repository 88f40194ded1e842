"""What the report and `rerank.plots` draw: curves as numbers, each with what to conclude from it.

A picture holds no colours and no library: the page draws it as SVG, `rerank.plots` with matplotlib.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from rerank.core import nouns
from rerank.core.errors import RerankError
from rerank.metrics.calibration import Calibration
from rerank.metrics.hubness import Hubness
from rerank.metrics.ranks import Ranks


@dataclass(frozen=True, eq=False)
class Picture:
    """Named curves or bars.

    Attributes:
        title: what is shown.
        conclude: one sentence: what to conclude.
        x_label: of the horizontal axis; y_label: of the vertical one.
        y_label: see `x_label`.
        series: (name, x, y) each; for bars x are the places of `ticks`.
        kind: "lines" or "bars".
        x_log: whether the horizontal axis is logarithmic.
        ticks: words below the bars.
        y_top: largest value of the vertical axis, or None.
        y_bottom: smallest value of the vertical axis; 0, or less where a curve is below.
        mark: (x, word) of a vertical line, or None.
    """

    title: str
    conclude: str
    x_label: str
    y_label: str
    series: tuple[tuple[str, np.ndarray, np.ndarray], ...]
    kind: Literal["lines", "bars"] = "lines"
    x_log: bool = False
    ticks: tuple[str, ...] = ()
    y_top: float | None = None
    y_bottom: float | None = None
    mark: tuple[float, str] | None = None


def _first_up(word: str) -> str:
    return word[:1].upper() + word[1:]


def recall_curve(named: Sequence[tuple[str, Ranks]]) -> Picture:
    """R@K against K, of rankings by name, the raw one first."""
    largest = min(100, max(ranks.n_gallery for _, ranks in named))
    ks = np.unique(np.round(np.geomspace(1, largest, 40)).astype(int))
    curves = [(name, ks, np.array([100 * r.hits(int(k)).mean() for k in ks])) for name, r in named]
    name, _, shares = curves[0]
    conclude = f"{_first_up(name)}: {shares[0]:.0f} % of the queries have a right item first."
    if len(curves) > 1:
        gaps = curves[1][2] - curves[0][2]
        best = int(np.abs(gaps).argmax())
        verb = "helps" if gaps[best] > 0 else "harms"
        conclude = (
            f"{_first_up(curves[1][0])} {verb} most at K = {ks[best]} ({gaps[best]:+.1f} points)."
            if abs(gaps[best]) >= 0.05
            else "The two rankings find as much at every K."
        )
    return Picture(
        "Right item among the first K", conclude, "K", "R@K in %", tuple(curves), x_log=True,
        y_top=100,
    )  # fmt: skip


def occurrence_curve(named: Sequence[tuple[str, Hubness]], items: str = "items") -> Picture:
    """How often each item is in a list of k, the most found first."""
    first = named[0][1]
    places = np.arange(1, first.n_items + 1)
    curves = [(name, places, np.sort(of.live_counts)[::-1].astype(float)) for name, of in named]
    even = ("all alike", places[[0, -1]], np.full(2, first.mean))
    conclude = (
        f"{len(first.hubs)} of {nouns.counted(len(places), items)} take "
        f"{100 * first.hub_share:.0f} % of the places; never found: {len(first.antihubs)}."
    )
    if len(named) > 1:
        after = named[1][1]
        change = after.skewness - first.skewness
        flatter = "flatter: fewer hubs" if change < 0 else "steeper: more hubs"
        flatter = flatter if abs(change) >= 0.05 else "as even as before"
        conclude = (
            f"Skewness {first.skewness:.1f} before and {after.skewness:.1f} after, never found "
            f"{len(first.antihubs)} and {len(after.antihubs)}: {flatter}."
        )
    return Picture(
        f"How often each of {nouns.counted(len(places), items)} is found", conclude,
        f"{items}, the most found first", f"lists of {first.k} that hold it", (*curves, even),
        x_log=True,
    )  # fmt: skip


_STEPS = (
    ("worse by >10", -np.inf, -10), ("worse by 2-10", -10, -1), ("worse by 1", -1, 0),
    ("better by 1", 0, 1), ("better by 2-10", 1, 10), ("better by >10", 10, np.inf),
)  # fmt: skip


def rank_changes(before: Ranks, after: Ranks) -> Picture:
    """How many queries got better and worse, and by how many places.

    Raises:
        RerankError: ranks of different queries.
    """
    if not np.array_equal(before.judged, after.judged):
        raise RerankError("rank changes: before and after judge different queries")
    gain = before.values - after.values
    counts = []
    for _, low, high in _STEPS:
        inside = (gain > low) & (gain <= high) if low >= 0 else (gain >= low) & (gain < high)
        counts.append(float(inside.sum()))
    better, worse = int((gain > 0).sum()), int((gain < 0).sum())
    conclude = (
        f"{nouns.counted(better, 'queries')} found the right item earlier, {worse} later, "
        f"{len(gain) - better - worse} at the same place."
    )
    places = np.arange(len(_STEPS), dtype=float)
    return Picture(
        "Places gained and lost", conclude, "change of the rank", "queries",
        (("queries", places, np.array(counts)),), kind="bars",
        ticks=tuple(name for name, _, _ in _STEPS),
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Scores:
    """A sample of scores of right pairs and of others, in the units of the similarity.

    Attributes:
        matched: of right pairs.
        others: of pairs that are not known to be right.
    """

    matched: np.ndarray
    others: np.ndarray

    @property
    def overlap(self) -> float:
        """Chance that another pair scores higher than a right one (ties count half)."""
        ordered = np.sort(self.others)
        low = np.searchsorted(ordered, self.matched, side="left")
        high = np.searchsorted(ordered, self.matched, side="right")
        return float(1 - (low + high).mean() / (2 * len(ordered)))


def score_histogram(scores: Scores, *, bins: int | None = None) -> Picture:
    """Densities of the scores of right pairs and of others.

    Args:
        scores: of both.
        bins: how many; by default as many as the fewer pairs can fill, at most 40.
    """
    fewer = min(len(scores.matched), len(scores.others))
    bins = min(40, max(4, int(1.5 * fewer**0.5))) if bins is None else bins
    known = np.concatenate([scores.matched, scores.others])
    known = known[np.isfinite(known)]
    low, high = np.quantile(known, [0.001, 0.999])
    edges = np.linspace(low, high if high > low else low + 1, bins + 1)
    middle = (edges[1:] + edges[:-1]) / 2
    series = []
    for name, values in (("other pairs", scores.others), ("right pairs", scores.matched)):
        share = np.histogram(values, edges)[0] / max(len(values), 1)
        series.append((name, middle, 100 * share))
    conclude = (
        f"A random other pair scores higher than a right one in {100 * scores.overlap:.1f} % of "
        f"cases; what the two curves share cannot be told apart by a threshold."
    )
    return Picture(
        "Scores of right and other pairs", conclude, "score", "% of the pairs", tuple(series)
    )


def calibration_curve(named: Sequence[tuple[str, Calibration]]) -> Picture:
    """Confidence of the softmax against the share of queries that are right."""
    curves = [(name, 100 * of.confidence, 100 * of.right) for name, of in named]
    ends = np.array([0.0, 100.0])
    errors = [100 * of.error for _, of in named]
    said = f"{_first_up(named[0][0])}: confidence is off by {errors[0]:.0f} points on average"
    for (name, of), error in zip(named[1:], errors[1:], strict=True):
        gap = 100 * float(np.average(of.confidence - of.right, weights=of.counts))
        trust = "too sure" if gap > 2 else "too modest" if gap < -2 else "about right"
        said += f"; {name}: by {error:.0f}, {trust}"
    return Picture(
        "Confidence and truth", f"{said}. Near the diagonal it can be read as a probability.",
        "confidence of the first place in %", "right in %",
        (*curves, ("calibrated", ends, ends)), y_top=100,
    )  # fmt: skip


def temperature_curve(
    taus: np.ndarray, values: np.ndarray, chosen: float, figure: str, *, higher: bool = True,
    drawn_from: str = "",
) -> Picture:  # fmt: skip
    """A figure against the temperature, with the one that was used.

    Args:
        taus: temperatures.
        values: the figure at each.
        chosen: the one that was used.
        figure: its name.
        higher: whether more is better.
        drawn_from: a sentence about the sample that the values are of, where they are of one.
    """
    at = int(np.abs(np.log(taus / chosen)).argmin())
    best = int(values.argmax() if higher else values.argmin())
    room = max(0.5 * float(np.ptp(values)), 0.02 * float(np.abs(values).max()), 1e-3)
    gap = abs(float(values[best] - values[at]))
    conclude = (
        f"The chosen {chosen:.3g} gives {figure} {values[at]:.1f}, the best of these."
        if best == at or gap < 0.05
        else f"The chosen {chosen:.3g} gives {figure} {values[at]:.1f}; {taus[best]:.3g} would "
        f"give {values[best]:.1f}."
    )
    said = f"{conclude} {drawn_from}".rstrip()
    return Picture(
        f"{figure} against the temperature", said, "temperature, in units of the chosen one",
        figure, ((figure, taus / chosen, values),), x_log=True, mark=(1.0, "chosen"),
        y_top=float(values.max()) + room, y_bottom=float(values.min()) - room,
    )  # fmt: skip
