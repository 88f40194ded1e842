"""A square matrix that its ground truth shows to be stored the other way."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch

# Fewer right pairs may stand high by chance.
_FEWEST = 20
# So many of them tell.
_ENOUGH = 512
# Right pairs of a model stand above so many of the others, and those of chance above half.
_GOOD = 0.2
# How far from half chance gets, in standard errors.
_SURE = 3.0
# The standard deviation of a place that is anything between 0 and 1.
_SPREAD = 12**-0.5


def seem_turned(scores: torch.Tensor, positives: Sequence[np.ndarray]) -> bool:
    """Whether right pairs stand as by chance in a matrix, and high in it when it is turned.

    Each video counts once: a few that score high everywhere would stand high in either.

    Args:
        scores: (n, n), rows of texts.
        positives: of each text the columns that are right.

    >>> order = np.random.default_rng(0).permutation(40)
    >>> scores = torch.eye(40)[order].T + torch.rand(40, 40, generator=torch.Generator())
    >>> seem_turned(scores, list(order[:, None])), seem_turned(scores.T, list(order[:, None]))
    (True, False)
    """
    if scores.ndim != 2 or scores.shape[0] != scores.shape[1]:
        return False
    pairs = list(_pairs(positives))
    pairs = pairs[:: max(1, len(pairs) // _ENOUGH)]
    if len(pairs) < _FEWEST:
        return False
    texts, videos = torch.from_numpy(np.array(pairs)).T
    if bool((texts == videos).all()):
        return False  # which is the same either way
    rows, columns = (scores.mean(axis, dtype=torch.float32) for axis in (1, 0))
    if not bool(torch.isfinite(rows).all()):
        return False
    # What a whole row or column has more of than others tells nothing of its pairs.
    stored = _mean_place(scores[texts] - columns, videos)
    turned = _mean_place(scores[:, texts].T - rows, videos)
    chance = 0.5 - _SURE * _SPREAD / len(pairs) ** 0.5
    return turned <= min(_GOOD, chance) and stored > max(chance, 2 * turned)


def _pairs(positives: Sequence[np.ndarray]) -> Iterator[tuple[int, int]]:
    """A text for each video that is right for some."""
    seen: set[int] = set()
    for text, videos in enumerate(positives):
        for video in map(int, videos):
            if video not in seen:
                seen.add(video)
                yield text, video


def _mean_place(lines: torch.Tensor, at: torch.Tensor) -> float:
    """Which share of the others of its line stands above a number, on average; half of equals."""
    own = lines.gather(1, at[:, None])
    above, equal = (lines > own).sum(1), (lines == own).sum(1) - 1
    return float(((above + 0.5 * equal) / max(1, lines.shape[1] - 1)).mean())
