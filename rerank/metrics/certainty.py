"""Figures of a confidence: does it tell right from wrong, and is it a probability?"""

import numpy as np


def auroc(confidence: np.ndarray, right: np.ndarray) -> float | None:
    """Probability that a right result has the higher confidence of a right and a wrong one.

    Ties count half. None where all are right, or all wrong.

    >>> auroc(np.array([0.9, 0.8, 0.3, 0.1]), np.array([True, False, True, False]))
    0.75
    """
    right = np.asarray(right, dtype=bool)
    positive, negative = int(right.sum()), int((~right).sum())
    if not positive or not negative:
        return None
    _, place, count = np.unique(confidence, return_inverse=True, return_counts=True)
    middle = np.cumsum(count) - (count - 1) / 2
    total = float(middle[place][right].sum())
    return (total - positive * (positive + 1) / 2) / (positive * negative)


def aurc(confidence: np.ndarray, right: np.ndarray) -> float:
    """Mean error over all coverages, the surest queries first; lower is better.

    >>> aurc(np.array([0.9, 0.1]), np.array([True, False]))
    0.25
    """
    order = np.argsort(-np.asarray(confidence), kind="stable")
    wrong = 1.0 - np.asarray(right, dtype=float)[order]
    return float((np.cumsum(wrong) / np.arange(1, len(wrong) + 1)).mean())


def calibration_error(confidence: np.ndarray, right: np.ndarray, bins: int = 10) -> float:
    """Mean distance of confidence and share of right results in bins of equally many queries.

    >>> calibration_error(np.array([0.5, 0.5]), np.array([True, False]), bins=1)
    0.0
    """
    order = np.argsort(confidence, kind="stable")
    confidence, right = np.asarray(confidence, float)[order], np.asarray(right, float)[order]
    parts = [p for p in np.array_split(np.arange(len(order)), bins) if len(p)]
    gaps = (abs(confidence[p].mean() - right[p].mean()) * len(p) for p in parts)
    return float(sum(gaps) / max(1, len(order)))
