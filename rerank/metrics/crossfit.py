"""Cross-fit: every query is re-ranked by biases that other queries gave, on a gallery of its own.

The judged queries are split into two halves that share no right answer. Each half is ranked with
biases fitted on the other half, and the other half's own gallery items are kept out, because a
fit on the queries of an item pulls that very item down, whoever asks. The galleries are therefore
smaller than the full one: raw scores are ranked on the same reduced galleries beside it, and
neither may be compared with figures of the full gallery.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from rerank.core.errors import RerankError
from rerank.core.pairs import Grades, as_positives, clusters_of
from rerank.core.similarity import Dense, Pair, Similarity
from rerank.core.wording import option
from rerank.core.words import Ties
from rerank.methods.base import Bank, Reranker
from rerank.metrics import protocols
from rerank.metrics.figures import Figure
from rerank.metrics.judge import Judgement, judge
from rerank.metrics.ranks import Ranks


@dataclass(frozen=True, eq=False)
class Half:
    """One half of the queries on its reduced gallery.

    Attributes:
        sim: these queries x reduced gallery.
        bank: the other half's queries against the same reduced gallery.
        positives: rows of the reduced gallery that are right.
        queries: (n_half,) rows in the full similarity.
        gallery: rows of the full gallery that are left.
    """

    sim: Similarity
    bank: Bank
    positives: tuple[np.ndarray, ...]
    queries: np.ndarray
    gallery: np.ndarray


@dataclass(frozen=True, eq=False)
class CrossFit:
    """All judged queries on the reduced galleries, raw and re-ranked.

    Attributes:
        before: raw scores.
        after: biases of the other half.
        galleries: sizes of the two reduced galleries.
    """

    before: Judgement
    after: Judgement
    galleries: tuple[int, int]


def subset(sim: Similarity, queries: np.ndarray, gallery: np.ndarray) -> Similarity:
    """Some queries against some gallery items, corrections and masses included.

    Raises:
        RerankError: a similarity that neither stores scores nor embeddings.
    """
    rows = torch.from_numpy(np.asarray(queries)).to(sim.device)
    columns = torch.from_numpy(np.asarray(gallery)).to(sim.device)

    def of(values: torch.Tensor | None, index: torch.Tensor) -> torch.Tensor | None:
        return None if values is None else values[index]

    thin = {
        "left": of(sim.left, rows),
        "right": of(sim.right, columns),
        "query_mass": of(sim.query_mass, rows),
        "gallery_mass": of(sim.gallery_mass, columns),
    }
    if isinstance(sim, Pair):
        return replace(sim, queries=sim.queries[rows], gallery=sim.gallery[columns], **thin)
    if isinstance(sim, Dense):
        return replace(sim, base=sim.base[rows][:, columns], **thin)
    raise RerankError(
        f"cross-fit: got {type(sim).__name__}, expected a Pair or Dense before any elementwise map"
    )


def halves(sim: Similarity, positives: Sequence[np.ndarray], *, seed: int = 0) -> tuple[Half, Half]:
    """Split the judged queries in two that share no right answer, each with its reduced gallery.

    Args:
        sim: (n, m) queries x gallery.
        positives: gallery rows per query; queries without any are left out.
        seed: of the split.

    Raises:
        RerankError: all queries hang together through shared answers, so they cannot be split.
    """
    n, m = sim.shape
    rows_of = as_positives(tuple(positives), n, m)
    judged = np.flatnonzero([len(items) > 0 for items in rows_of])
    clusters = clusters_of([rows_of[row] for row in judged], m)
    count = int(clusters.max(initial=-1)) + 1
    if count < 2:
        raise RerankError(
            f"cross-fit: {len(judged)} judged queries share their right answers, so no two halves "
            f"are independent; give a bank instead ({option('bank-texts')}, "
            f"{option('bank-videos')})"
        )
    order = np.random.default_rng(seed).permutation(count)
    sizes = np.bincount(clusters, minlength=count)
    # The first clusters of a random order, up to half of the queries but at least one cluster.
    taken = int(np.searchsorted(np.cumsum(sizes[order]), len(judged) / 2, side="right"))
    in_first = np.zeros(count, dtype=bool)
    in_first[order[: min(max(taken, 1), count - 1)]] = True
    side = in_first[clusters]
    return (
        _half(sim, rows_of, judged[side], judged[~side]),
        _half(sim, rows_of, judged[~side], judged[side]),
    )


def _half(
    sim: Similarity, rows_of: Sequence[np.ndarray], own: np.ndarray, other: np.ndarray
) -> Half:
    m = sim.shape[1]
    theirs = np.unique(np.concatenate([rows_of[row] for row in other]))
    kept = np.setdiff1d(np.arange(m), theirs)
    place = np.full(m, -1, dtype=np.int64)
    place[kept] = np.arange(len(kept))
    bank = Bank(
        subset(sim, other, kept),
        gallery=_gallery_bank(sim, theirs, kept),
        pairs=subset(sim, other, theirs),
        label="cross-fit",
    )
    right = tuple(place[rows_of[row]] for row in own)
    return Half(subset(sim, own, kept), bank, right, own, kept)


def _gallery_bank(sim: Similarity, theirs: np.ndarray, kept: np.ndarray) -> Similarity | None:
    """The other half's gallery items against the reduced gallery; scores alone cannot say."""
    if not isinstance(sim, Pair) or sim.left is not None:
        return None
    both = replace(sim, queries=sim.gallery, query_mass=None)
    return subset(both, theirs, kept)


def cross_fit(
    stages: Reranker,
    sim: Similarity,
    positives: Sequence[np.ndarray],
    *,
    ties: Ties = "expected",
    seed: int = 0,
    pool_captions: bool = False,
    figures: Sequence[Figure] | None = None,
    grades: Grades | None = None,
) -> CrossFit:
    """Rank every judged query with biases fitted on the half it is not in.

    Args:
        stages: settings, for example `presets.pipeline("sinkhorn")`.
        sim: (n, m) queries x gallery.
        positives: gallery rows per query.
        ties: see `rerank.metrics.ranks`.
        seed: of the split.
        pool_captions: video to text under `rank-videos-by-best-caption`.
        figures: see `rerank.metrics.figures.find_all`; the default ones without.
        grades: of gallery rows, per query row.

    Raises:
        RerankError: the queries cannot be split, or the method cannot be fitted.
    """
    parts = halves(sim, positives, seed=seed)
    before: list[Judgement] = []
    after: list[Judgement] = []
    for half in parts:
        fitted = stages.fit(half.bank)
        for found, scored in ((before, half.sim), (after, fitted.transform(half.sim))):
            right, graded = half.positives, _grades_of(half, grades)
            if pool_captions:
                scored, right = protocols.pool_captions(scored, right)
                graded = None
            found.append(judge(scored, right, figures=figures, ties=ties, grades=graded))
    rows = np.concatenate([half.queries for half in parts])
    return CrossFit(
        _joined(before, rows, sim.shape[0]),
        _joined(after, rows, sim.shape[0]),
        (len(parts[0].gallery), len(parts[1].gallery)),
    )


def _joined(parts: Sequence[Judgement], rows: np.ndarray, n: int) -> Judgement:
    """Both halves in the order of the queries."""
    order = np.argsort(rows)
    judged = np.zeros(n, dtype=bool)
    judged[rows] = True
    better, tied, positives = (
        np.concatenate([getattr(part.ranks, name) for part in parts])[order]
        for name in ("better", "tied", "tied_positives")
    )
    largest = max(part.ranks.n_gallery for part in parts)
    ranks = Ranks(better, tied, positives, largest, judged, parts[0].ranks.ties)
    both = {
        name: np.concatenate([part.parts[name] for part in parts])[order] for name in parts[0].parts
    }
    return Judgement(ranks, parts[0].figures, both)


def _grades_of(half: Half, grades: Grades | None) -> Grades | None:
    """Grades in rows of a half; those of items that are kept out are gone."""
    if grades is None:
        return None
    place = {int(row): new for new, row in enumerate(half.gallery)}
    return {
        new: {place[j]: grade for j, grade in grades.get(int(row), {}).items() if j in place}
        for new, row in enumerate(half.queries)
    }
