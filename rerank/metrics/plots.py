"""The report's pictures with matplotlib: `rerank.plots`, axes in and axes out.

    import rerank
    ax = rerank.plots.recall([("raw", before), ("re-ranked", after)])
    ax.figure.savefig("recall.pdf")

matplotlib is imported when something is drawn.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rerank.core.errors import RerankError
from rerank.metrics import pictures
from rerank.metrics.calibration import Calibration
from rerank.metrics.hubness import Hubness
from rerank.metrics.pictures import Picture, Scores
from rerank.metrics.ranks import Ranks

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Raw is grey; the others follow a palette that colour-blind readers can tell apart.
COLOURS = ("#7f8c9a", "#0072b2", "#d55e00", "#009e73", "#c96fa1", "#1d2733")


def draw(picture: Picture, ax: "Axes | None" = None) -> "Axes":
    """Draw a picture on the given axes, or on new ones.

    Raises:
        RerankError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise RerankError("plots: matplotlib is not installed; pip install matplotlib") from error
    axes: Any = Figure(figsize=(5.2, 3.5), layout="constrained").subplots() if ax is None else ax
    for (name, x, y), colour in zip(picture.series, COLOURS, strict=False):
        if picture.kind == "bars":
            axes.bar(x, y, color=COLOURS[1])
            axes.set_xticks(x, picture.ticks, rotation=30, ha="right")
        else:
            axes.plot(x, y, color=colour, label=name, linewidth=1.8)
    if picture.x_log:
        axes.set_xscale("log")
    if picture.y_top is not None:
        axes.set_ylim(top=picture.y_top)
    if picture.y_bottom is not None:
        axes.set_ylim(bottom=picture.y_bottom)
    if picture.mark is not None:
        axes.axvline(picture.mark[0], color=COLOURS[2], linestyle="--", label=picture.mark[1])
    if picture.kind == "lines":
        axes.legend(frameon=False)
    axes.set_title(picture.title)
    axes.set_xlabel(picture.x_label)
    axes.set_ylabel(picture.y_label)
    return axes


def recall(named: Sequence[tuple[str, Ranks]], ax: "Axes | None" = None) -> "Axes":
    """R@K against K, see `rerank.metrics.pictures.recall_curve`."""
    return draw(pictures.recall_curve(named), ax)


def occurrence(
    named: Sequence[tuple[str, Hubness]], ax: "Axes | None" = None, *, items: str = "items"
) -> "Axes":
    """How often each item is found, see `rerank.metrics.pictures.occurrence_curve`."""
    return draw(pictures.occurrence_curve(named, items), ax)


def rank_changes(before: Ranks, after: Ranks, ax: "Axes | None" = None) -> "Axes":
    """Places gained and lost, see `rerank.metrics.pictures.rank_changes`."""
    return draw(pictures.rank_changes(before, after), ax)


def scores(matched: np.ndarray, others: np.ndarray, ax: "Axes | None" = None) -> "Axes":
    """Scores of right and other pairs, see `rerank.metrics.pictures.score_histogram`."""
    return draw(pictures.score_histogram(Scores(np.asarray(matched), np.asarray(others))), ax)


def calibration(named: Sequence[tuple[str, Calibration]], ax: "Axes | None" = None) -> "Axes":
    """Confidence against truth, see `rerank.metrics.pictures.calibration_curve`."""
    return draw(pictures.calibration_curve(named), ax)


def temperature(
    taus: np.ndarray,
    values: np.ndarray,
    chosen: float,
    ax: "Axes | None" = None,
    *,
    figure: str = "R@1",
) -> "Axes":
    """A figure against the temperature, see `rerank.metrics.pictures.temperature_curve`."""
    points = np.asarray(taus, dtype=float), np.asarray(values, dtype=float)
    return draw(pictures.temperature_curve(*points, chosen, figure), ax)
