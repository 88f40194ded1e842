"""What the report's browser of queries shows: before and after, query by query, with the truth."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rerank.core.similarity import Similarity
from rerank.core.words import Name
from rerank.metrics.pictures import Scores
from rerank.metrics.ranks import Ranks
from rerank.passes import reduce

# Pairs that are drawn as "other" for the histogram of scores.
_OTHERS = 20_000


@dataclass(frozen=True, eq=False)
class Lists:
    """The first places of every query.

    Attributes:
        indices: (n, k) gallery rows, best first, -1 for none.
        scores: (n, k) their scores.
    """

    indices: np.ndarray
    scores: np.ndarray


@dataclass(frozen=True, eq=False)
class Browser:
    """One direction, query by query.

    Attributes:
        direction: "t2v" or "v2t".
        before: first places of the raw ranking.
        after: first places of the re-ranked one, or None where nothing was re-ranked.
        truth: gallery rows that are right for each query; empty without a ground truth.
        rank_before: of the judged queries, or None.
        rank_after: see `rank_before`.
        name: of the re-ranking.
        confidence: (n,) that the first re-ranked result is right, or None.
        no_match: (n,) that nothing is, or None.
    """

    direction: Name
    before: Lists
    after: Lists | None
    truth: Sequence[np.ndarray]
    rank_before: Ranks | None = None
    rank_after: Ranks | None = None
    name: str = "re-ranked"
    confidence: np.ndarray | None = None
    no_match: np.ndarray | None = None

    def as_json(self) -> dict[str, Any]:
        """Plain lists for the page; ids are named once, beside the browsers."""

        def ranks(of: Ranks | None) -> list[float | None]:
            out: list[float | None] = [None] * len(self.before.indices)
            if of is not None:
                for row, value in zip(of.rows.tolist(), of.values.tolist(), strict=True):
                    out[row] = round(value, 1)
            return out

        return {
            "direction": self.direction,
            "name": self.name,
            "before": self.before.indices.tolist(),
            "after": None if self.after is None else self.after.indices.tolist(),
            "beforeScores": _short(self.before.scores),
            "afterScores": None if self.after is None else _short(self.after.scores),
            "truth": [rows.tolist() for rows in self.truth],
            "rankBefore": ranks(self.rank_before),
            "rankAfter": ranks(self.rank_after),
            "confidence": None if self.confidence is None else _shares(self.confidence),
            "noMatch": None if self.no_match is None else _shares(self.no_match),
        }


def _shares(of: np.ndarray) -> list[float]:
    return np.round(of.astype(float), 2).tolist()


def _short(scores: np.ndarray) -> list[list[float | None]]:
    return [
        [float(f"{value:.4g}") if np.isfinite(value) else None for value in row]
        for row in scores.tolist()
    ]


def lists_of(sim: Similarity, k: int = 10) -> Lists:
    """The k first places of every query."""
    found = reduce.topk(sim, min(k, sim.shape[1]))
    return Lists(found.indices.cpu().numpy(), found.scores.float().cpu().numpy())


def scores_of(sim: Similarity, truth: Sequence[np.ndarray], *, seed: int = 0) -> Scores:
    """Scores of all right pairs and of a sample of the others."""
    n, m = sim.shape
    rng = np.random.default_rng(seed)
    per_row = max(1, _OTHERS // n)
    matched, others = [], []
    for rows, block in sim.blocks():
        scores = block.float().cpu().numpy()
        for row, line in zip(range(rows.start, rows.stop), scores, strict=True):
            right = truth[row] if len(truth) else np.empty(0, dtype=np.int64)
            matched.append(line[right])
            drawn = np.setdiff1d(rng.integers(0, m, per_row), right)
            others.append(line[drawn])
    return Scores(np.concatenate(matched), np.concatenate(others))
