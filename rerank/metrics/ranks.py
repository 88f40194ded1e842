"""Exact ranks of the right answers, and the figures that papers report.

Nothing is sorted: the rank of a query follows from three counts, taken in one pass over the row
panels of any similarity. With a = the score of the query's best positive,

    better G = #{j: S_j > a},  tied t = #{j: S_j = a},  tied positives p = #{positives: S_j = a}

and ties are resolved by one of

    expected     the average over all orders of the tied items: rank G + (t + 1) / (p + 1),
                 P(rank <= K) = 1 - C(t - p, K - G) / C(t, K - G)   (0 if K <= G)
    mid          the middle of the tied block, G + (t + 1) / 2, with QB-Norm's and CE's hit rules
    optimistic   a positive comes first: G + 1
    pessimistic  the negatives come first: G + t - p + 1

The reference score is taken from the very block it is compared with: a matrix product of another
shape may differ in the last bit, and then a query would not even tie with itself.

Recalls are in percent. Published tools differ: CLIP4Clip's `compute_metrics` emits one rank per
tied column, so that ties give more ranks than queries.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from rerank.core import progress
from rerank.core.errors import RerankError
from rerank.core.pairs import Positives, as_positives
from rerank.core.similarity import Pair, Similarity
from rerank.core.words import Ties, words_of
from rerank.passes import certified_counts

TIES = words_of(Ties)


@dataclass(frozen=True, eq=False)
class Ranks:
    """Counts around the best positive of every judged query, and the ranks they imply.

    Attributes:
        better: (q,) int64 gallery items strictly above the best positive.
        tied: (q,) int64 gallery items with exactly its score, positives included.
        tied_positives: (q,) int64 positives among them.
        n_gallery: number of gallery items.
        judged: (n,) bool, which queries have a positive; q of them do.
        ties: how ties are resolved.
    """

    better: np.ndarray
    tied: np.ndarray
    tied_positives: np.ndarray
    n_gallery: int
    judged: np.ndarray
    ties: Ties = "expected"

    def __len__(self) -> int:
        return len(self.better)

    @property
    def rows(self) -> np.ndarray:
        """(q,) rows of the judged queries."""
        return np.flatnonzero(self.judged)

    @property
    def unjudged(self) -> int:
        """How many rows have no positive and are no queries."""
        return len(self.judged) - len(self)

    @property
    def tied_queries(self) -> int:
        """How many queries have a wrong item that ties with their best positive."""
        return int((self.tied > self.tied_positives).sum())

    @property
    def values(self) -> np.ndarray:
        """(q,) float64 rank of each judged query, counted from 1."""
        better, tied, positives = self.better, self.tied, self.tied_positives
        if self.ties == "expected":
            return better + (tied + 1) / (positives + 1)
        if self.ties == "mid":
            return better + (tied + 1) / 2
        return (better + 1 + (tied - positives if self.ties == "pessimistic" else 0)).astype(float)

    def hits(self, k: int) -> np.ndarray:
        """(q,) float64 probability that each judged query has a positive among its first k."""
        k = _check_cutoff(k)
        if self.ties == "mid":
            # The published code tests the 0-based mid rank with `== 0` for R@1 and `< k` beyond.
            values = self.values
            return (values == 1 if k == 1 else values < k + 1).astype(float)
        if self.ties != "expected":
            return (self.values <= k).astype(float)
        return 1.0 - _miss_probability(k - self.better, self.tied, self.tied_positives)


def _miss_probability(places: np.ndarray, tied: np.ndarray, positives: np.ndarray) -> np.ndarray:
    """P(no positive in the first `places` of t tied items) = C(t - p, places) / C(t, places).

    As the product over i < p of (t - places - i) / (t - i): exact, and no factorial overflows.
    """
    places = np.clip(places, 0, tied)
    miss = np.ones(len(tied))
    for i in range(int(positives.max(initial=0))):
        some = (positives > i) & (miss > 0)
        if not some.any():
            break
        left = tied[some] - i
        miss[some] *= np.maximum(left - places[some], 0) / left
    return miss


def _check_ties(ties: str) -> Ties:
    if ties not in TIES:
        raise RerankError(f"ties: got {ties!r}, expected one of {', '.join(TIES)}")
    return ties  # type: ignore[return-value]


def _check_cutoff(k: int) -> int:
    if int(k) != k or k < 1:
        raise RerankError(f"k: got {k}, expected a whole number of at least 1")
    return int(k)


def ranks(sim: Similarity, positives: Positives, *, ties: Ties = "expected") -> Ranks:
    """Rank of the best positive of every query, exactly, in one pass.

    Works on every similarity; the other direction is `ranks(sim.T, transposed positives)`. A score
    of -inf means "not scored": such items tie among themselves, below every scored one. Only
    exactly equal scores tie.

    Args:
        sim: (n, m) queries x gallery.
        positives: see `rerank.core.pairs.as_positives`; queries without any are unjudged, counted,
            and not ranked.
        ties: "expected", "mid", "optimistic" or "pessimistic".

    Raises:
        RerankError: a NaN among the scores, positives that do not fit, or no judged query.
    """
    _check_ties(ties)
    n, m = sim.shape
    if sim.shard == "gallery":
        raise RerankError("ranks: the gallery is split over processes; split the queries instead")
    rows_of = as_positives(positives, n, m)
    counts = np.array([len(items) for items in rows_of])
    judged = counts > 0
    if not judged.any():
        raise RerankError("positives: no query has any, so there is nothing to evaluate")
    starts = np.concatenate([[0], np.cumsum(counts)])
    query = torch.from_numpy(np.repeat(np.arange(n), counts)).to(sim.device)
    item = torch.from_numpy(np.concatenate(rows_of)).to(sim.device)
    out = torch.zeros((3, n), dtype=torch.int64, device=sim.device)
    with progress.task("ranks", n) as advance:
        for panel, block in sim.blocks():
            # The maximum of anything with a NaN is a NaN: one reduction, no boolean copy.
            if bool(torch.isnan(block.amax())):
                raise RerankError(
                    f"scores: query row {_nan_row(panel, block)} has NaN, so no rank is defined; "
                    f"fix what wrote it (an item that was not scored is -inf)"
                )
            pairs = slice(int(starts[panel.start]), int(starts[panel.stop]))
            row = query[pairs] - panel.start
            scores = block[row, item[pairs]]
            best = block.new_full((len(block),), -torch.inf)
            best.scatter_reduce_(0, row, scores, "amax")
            above = _count(block > best[:, None])
            out[0, panel] = above
            out[1, panel] = _count(block >= best[:, None]) - above
            out[2, panel].scatter_add_(0, row, (scores == best[row]).long())
            advance(len(block))
    better, tied, tied_positives = out.cpu().numpy()[:, judged]
    return Ranks(better, tied, tied_positives, m, judged, ties)


def both_ranks(
    down: Similarity, up: Similarity, right: tuple[Positives, Positives], *, ties: Ties = "expected"
) -> tuple[Ranks, Ranks]:
    """`ranks` of two directions; in one pass where both are of the same embeddings and many.

    Args:
        down: queries x gallery, and up: its items as queries.
        up: see `down`.
        right: positives of each.
        ties: as in `ranks`.
    """
    if not certified_counts.pays(down, up):
        return ranks(down, right[0], ties=ties), ranks(up, right[1], ties=ties)
    assert isinstance(down, Pair) and isinstance(up, Pair)
    _check_ties(ties)
    found = [as_positives(of, *sim.shape) for of, sim in zip(right, (down, up), strict=True)]
    judged = [np.array([len(items) > 0 for items in of]) for of in found]
    if not (judged[0].any() and judged[1].any()):
        raise RerankError("positives: no query has any, so there is nothing to evaluate")
    pairs = [
        (torch.from_numpy(np.repeat(np.arange(len(of)), [len(items) for items in of])),
         torch.from_numpy(np.concatenate(of)))
        for of in found
    ]  # fmt: skip
    counts = certified_counts.both(down, up, (pairs[0], pairs[1]))
    made = []
    for of, some, sim in zip(counts, judged, (down, up), strict=True):
        better, tied, positives = (x.numpy()[some] for x in (of.above, of.equal, of.positives))
        made.append(Ranks(better, tied, positives, sim.shape[1], some, ties))
    return made[0], made[1]


def _count(mask: torch.Tensor) -> torch.Tensor:
    """(b,) how many are true in every row."""
    if mask.device.type != "cpu":
        return mask.sum(dim=1)
    # Torch makes 64-bit numbers of all before it adds them, numpy counts bytes: ten times faster.
    rows = mask.numpy()
    return torch.tensor([np.count_nonzero(row) for row in rows], dtype=torch.int64)


def _nan_row(panel: slice, block: torch.Tensor) -> int:
    return panel.start + int(torch.isnan(block).any(dim=1).nonzero()[0])


def recall_at(ranks: Ranks, k: int) -> float:
    """R@k: percentage of queries with a positive among their first k (expected over ties)."""
    return 100.0 * float(ranks.hits(k).mean())


def median_rank(ranks: Ranks) -> float:
    """MdR: median rank of the best positive, counted from 1."""
    return float(np.median(ranks.values))


def mean_rank(ranks: Ranks) -> float:
    """MnR: mean rank of the best positive, counted from 1."""
    return float(ranks.values.mean())


def summary(ranks: Ranks, *, ks: Sequence[int] = (1, 5, 10)) -> dict[str, float]:
    """The usual table: R@K in percent, MdR, MnR, and how many queries there were.

    Returns:
        {"R@1", ..., "MdR", "MnR", "queries", "tied_queries"}; the last two are counts.
    """
    return {
        **{f"R@{_check_cutoff(k)}": recall_at(ranks, k) for k in ks},
        "MdR": median_rank(ranks),
        "MnR": mean_rank(ranks),
        "queries": len(ranks),
        "tied_queries": ranks.tied_queries,
    }
