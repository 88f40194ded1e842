"""Hubness, measured and explained.

N_k counts how often a gallery item is among the k best of a query. Were all items equally easy to
find, N_k would be binomial with mean n k / m; in high dimensions a few *hubs* crowd the lists and
many *antihubs* are in none (Radovanović, Nanopoulos and Ivanović, JMLR 2010).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from rerank.core import nouns
from rerank.core.errors import RerankError
from rerank.core.rows import Rows, ready, slices
from rerank.core.similarity import Pair, Similarity
from rerank.passes import gallery, padding, reduce
from rerank.passes import topk as search

# An item is a hub where it is in more than this many times the mean number of lists (the rule of
# scikit-hubness, whose "2 k" assumes as many queries as items).
HUB_FACTOR = 2.0
# From this share of first places on, the default gained 16 points of R@1 or more in all 8 cells of
# tests/bench/inspect_table.py; below it, between +2 and +20, whatever else was looked at.
MANY_FIRSTS = 0.25


@dataclass(frozen=True, eq=False)
class Hubness:
    """How unevenly the k best lists of n queries fall on m gallery items.

    Attributes:
        k: length of the lists.
        n_queries: number of queries.
        counts: (m,) int64 N_k of every gallery item.
        firsts: (m,) int64 N_1, how often every item comes first.
        live: (m,) bool, which items count; those of padding do not. None for all.
    """

    k: int
    n_queries: int
    counts: np.ndarray
    firsts: np.ndarray
    live: np.ndarray | None = None

    @property
    def live_counts(self) -> np.ndarray:
        """N_k of the items that count."""
        return self.counts if self.live is None else self.counts[self.live]

    @property
    def n_items(self) -> int:
        """Number of items that count."""
        return len(self.live_counts)

    @property
    def mean(self) -> float:
        """Mean of N_k: n k / m."""
        return float(self.live_counts.mean())

    @property
    def skewness(self) -> float:
        """Third standardised moment of N_k; 0 for a constant count."""
        return skewness(self.live_counts)

    @property
    def skewness_by_chance(self) -> float:
        """Skewness were every item equally likely in every list: of a binomial(n, k / m)."""
        p = self.k / self.n_items
        variance = self.n_queries * p * (1 - p)
        return (1 - 2 * p) / math.sqrt(variance) if variance > 0 else 0.0

    @property
    def robin_hood(self) -> float:
        """Share of the places that would have to move for all items to have as many (0 to 1)."""
        moved = np.abs(self.live_counts - self.mean).sum()
        return float(moved / (2 * max(1, self.counts.sum())))

    @property
    def gini(self) -> float:
        """Gini index of N_k: 0 when all are equal, towards 1 when one item has every place."""
        ordered = np.sort(self.live_counts)
        m = len(ordered)
        weights = 2 * np.arange(1, m + 1) - m - 1
        return float((weights * ordered).sum() / (m * max(1, ordered.sum())))

    @property
    def hubs(self) -> np.ndarray:
        """Gallery rows with N_k above twice the mean, the largest first (ties by row)."""
        rows = np.flatnonzero(self.counts > HUB_FACTOR * self.mean)
        return rows[np.argsort(-self.counts[rows], kind="stable")]

    @property
    def antihubs(self) -> np.ndarray:
        """Gallery rows that are in no list."""
        lost = self.counts == 0
        return np.flatnonzero(lost if self.live is None else lost & self.live)

    @property
    def antihub_share(self) -> float:
        """Share of the items that are in no list (0 to 1)."""
        return len(self.antihubs) / self.n_items

    @property
    def hub_share(self) -> float:
        """Share of all places in the k best lists that hubs hold (0 to 1)."""
        return float(self.counts[self.hubs].sum() / max(1, self.counts.sum()))

    @property
    def hub_share_of_firsts(self) -> float:
        """Share of the first places that hubs hold (0 to 1)."""
        return float(self.firsts[self.hubs].sum() / self.n_queries)

    def top(self, count: int = 10) -> list[tuple[int, int, int]]:
        """The items that absorb most first places: (gallery row, N_1, N_k), most first."""
        order = np.lexsort((np.arange(len(self.firsts)), -self.counts, -self.firsts))
        order = order if self.live is None else order[self.live[order]]
        return [(int(j), int(self.firsts[j]), int(self.counts[j])) for j in order[:count]]

    def as_dict(self, ids: Sequence[str] | None = None, *, top: int = 10) -> dict:
        """Numbers for JSON, with the named top items.

        Args:
            ids: names of the gallery items; their rows without.
            top: how many items to name.
        """
        return {
            "k": self.k,
            "queries": self.n_queries,
            "gallery": self.n_items,
            "skewness": self.skewness,
            "skewness_by_chance": self.skewness_by_chance,
            "robin_hood": self.robin_hood,
            "gini": self.gini,
            "max": int(self.counts.max()),
            "hubs": len(self.hubs),
            "antihubs": len(self.antihubs),
            "antihub_percent": 100 * self.antihub_share,
            "hub_share_percent": 100 * self.hub_share,
            "hub_share_of_top1_percent": 100 * self.hub_share_of_firsts,
            "top": [
                {"id": ids[j] if ids is not None else j, "top1": first, f"top{self.k}": count}
                for j, first, count in self.top(top)
            ],
        }


def skewness(counts: np.ndarray) -> float:
    """Third standardised (population) moment, 0 where nothing varies."""
    centred = np.asarray(counts, dtype=np.float64) - np.mean(counts)
    variance = np.mean(centred**2)
    return float(np.mean(centred**3) / variance**1.5) if variance > 0 else 0.0


def summary(
    sim: Similarity,
    k: int = 10,
    *,
    topk: reduce.TopK | None = None,
    raw: Similarity | None = None,
    most: int | None = None,
) -> Hubness:
    """Hubness of a gallery as its queries see it; one top-k pass, or none where one is given.

    Queries and items of padding, which hold one number only, do not count.

    Args:
        sim: (n, m) queries x gallery.
        k: length of the lists; a gallery of fewer items lowers it to half the gallery.
        topk: lists already computed, at least k long (shorter ones lower k).
        raw: what `sim` was rewritten from, which says what is padding; itself by default.
        most: count over so many queries, drawn by a seed, where there are more.
    """
    live = padding.live(sim if raw is None else raw)
    m = int(live.items.sum())
    k = depth(k, m)
    if topk is None or not live.whole:
        part = live.part(sim)
        found = search.topk(part if most is None else gallery.sampled(part, most), k)
        topk = live.back(found)
    k = min(k, topk.indices.shape[1])
    items = None if live.whole else live.items.cpu().numpy()
    return replace(from_lists(scored_lists(topk), len(live.items), k), live=items)


def depth(k: int, m: int) -> int:
    """How long the lists are that hubs of m items are counted in.

    Lists as long as the gallery hold every item once and say nothing.
    """
    return k if k < m else max(1, m // 2)


def scored_lists(topk: reduce.TopK) -> Tensor:
    """(n, k) gallery rows of lists, -1 where an item has no score and is nobody's neighbour."""
    return torch.where(topk.scores == -math.inf, -1, topk.indices)


def from_lists(indices: Tensor | np.ndarray, n_gallery: int, k: int | None = None) -> Hubness:
    """Hubness of lists of gallery rows, best first; -1 stands for no entry.

    Args:
        indices: (n, K) gallery rows.
        n_gallery: number of gallery items m.
        k: use the first k of each list; all by default.
    """
    lists = indices.cpu().numpy() if isinstance(indices, Tensor) else np.asarray(indices)
    if lists.ndim != 2 or not lists.size:
        raise RerankError(f"lists: got shape {lists.shape}, expected (queries, k)")
    length = min(k or lists.shape[1], lists.shape[1])

    def occurrences(part: np.ndarray) -> np.ndarray:
        return np.bincount(part[part >= 0].ravel(), minlength=n_gallery)

    return Hubness(length, len(lists), occurrences(lists[:, :length]), occurrences(lists[:, :1]))


@dataclass(frozen=True)
class Geometry:
    """Shape of the two clouds of unit vectors.

    Attributes:
        gap: distance between the mean text and the mean video (Liang et al., NeurIPS 2022).
        text_anisotropy: mean cosine of two different texts; near 0 for an isotropic cloud.
        video_anisotropy: the same for videos.
        text_rank: effective rank of the centred texts, exp of the entropy of their singular
            values (Roy and Vetterli, EUSIPCO 2007); at most d.
        video_rank: the same for videos.
        dimension: d.
    """

    gap: float
    text_anisotropy: float
    video_anisotropy: float
    text_rank: float
    video_rank: float
    dimension: int


def geometry(pair: Pair) -> Geometry:
    """Modality gap, anisotropy and effective rank; texts are the queries of the pair."""
    texts = ready(pair.queries, "queries", unit=True)
    videos = ready(pair.gallery, "gallery", unit=True)
    text_mean, video_mean = _mean(texts), _mean(videos)
    return Geometry(
        gap=float(torch.linalg.vector_norm(text_mean - video_mean)),
        text_anisotropy=_mean_cosine(text_mean, len(texts)),
        video_anisotropy=_mean_cosine(video_mean, len(videos)),
        text_rank=effective_rank(texts),
        video_rank=effective_rank(videos),
        dimension=texts.shape[1],
    )


def _mean_cosine(mean: Tensor, n: int) -> float:
    """Mean inner product of two different unit vectors: (n^2 |mean|^2 - n) / (n (n - 1))."""
    return float((n * mean.square().sum() - 1) / (n - 1)) if n > 1 else 0.0


def _mean(x: Rows) -> Tensor:
    """(d,) float64 mean row, a block at a time."""
    total = torch.zeros(x.shape[1], dtype=torch.float64, device=x.device)
    for rows in slices(len(x)):
        total += x[rows].sum(dim=0, dtype=torch.float64)
    return total / len(x)


def effective_rank(x: Rows) -> float:
    """Exponential of the entropy of the singular values of the centred rows of x (n, d)."""
    covariance = torch.zeros((x.shape[1],) * 2, dtype=torch.float64, device=x.device)
    mean = _mean(x)
    for rows in slices(len(x)):
        block = x[rows].double() - mean
        covariance += block.T @ block
    # Squared singular values below the rounding of float64 are zero, not noise to be counted.
    values = torch.linalg.eigvalsh(covariance)
    values = values[values > values.max() * 1e-14].sqrt()
    shares = values / values.sum()
    return float(torch.exp(-(shares * shares.log()).sum())) if len(values) else 0.0


def sentence(hubness: Hubness, items: str = "videos") -> str:
    """What the numbers mean, in plain words.

    Args:
        hubness: of the direction at hand.
        items: what the gallery holds, as a plural.
    """
    m, hubs, antihubs = hubness.n_items, len(hubness.hubs), len(hubness.antihubs)
    gallery = nouns.counted(m, items)
    if _too_few(hubness):
        return (
            f"Too few queries to judge: {nouns.counted(hubness.n_queries, 'lists')} of {hubness.k} "
            f"cannot tell {gallery} apart; use at least {-(-2 * m // hubness.k)} queries."
        )
    skews = (
        f"skewness {hubness.skewness:z.1f}, chance alone gives {hubness.skewness_by_chance:z.1f}"
    )
    never = f"{'is' if antihubs == 1 else 'are'} never among the first {hubness.k} ({skews})."
    if not hubs:
        return f"No hubs: nothing is found unusually often, and {antihubs} of {gallery} {never}"
    return (
        f"{'Strong' if is_strong(hubness) else 'Some'} hubness: {hubs} of {gallery} "
        f"({100 * hubs / m:.0f} %) {'holds' if hubs == 1 else 'hold'} "
        f"{100 * hubness.hub_share_of_firsts:.0f} % of the first places, and {antihubs} {never}"
    )


def rise(before: Hubness, after: Hubness) -> str:
    """What to say where a re-ranking makes counts more unequal, as they are shown; "" elsewhere.

    It need not be worse: Sinkhorn equalises what is wanted most, not the ten best.
    """
    rises = []
    if round(after.skewness, 2) > round(before.skewness, 2):
        rises.append(f"skewness {before.skewness:z.2f} -> {after.skewness:z.2f}")
    if round(after.antihub_share, 3) > round(before.antihub_share, 3):
        rises.append(f"antihubs {before.antihub_share:.1%} -> {after.antihub_share:.1%}")
    if not rises:
        return ""
    return f"hubs weigh more than before ({', '.join(rises)}); a ground truth tells if it helps"


def _too_few(hubness: Hubness) -> bool:
    return hubness.n_queries * hubness.k < 2 * hubness.n_items


def is_strong(hubness: Hubness) -> bool:
    """Whether hubs hold so many first places that re-ranking has helped wherever it was tried."""
    skewed = hubness.skewness > 2 * hubness.skewness_by_chance
    return hubness.hub_share_of_firsts >= MANY_FIRSTS and skewed and not _too_few(hubness)


def advice(found: Sequence[Hubness]) -> str:
    """What to do about all directions together."""
    if any(map(is_strong, found)):
        return "Re-rank with rerank apply, best with a bank of other queries."
    if all(map(_too_few, found)):
        return "Look again with more queries."
    return "This does not tell what re-ranking gains: measure it with rerank compare --gt."
