"""Both directions of retrieval, evaluated under a named protocol."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from rerank.core.errors import RerankError
from rerank.core.pairs import Name, Positives, as_positives, clusters_of, transpose_positives
from rerank.core.similarity import ArrayLike, Dense, Similarity
from rerank.metrics import hubness, protocols
from rerank.metrics import ranks as metrics
from rerank.metrics.figures import ranked_measures
from rerank.metrics.ranks import Ranks, Ties
from rerank.metrics.uncertainty import Bootstrap, Combine, Difference, geometric

Sims: TypeAlias = Similarity | ArrayLike | Mapping[Name, Similarity]
NamedPositives: TypeAlias = Mapping[str, str | Sequence[str]]

# Above this many clusters an interval moves by less than what more draws would resolve.
_MANY_CLUSTERS = 5000


@dataclass(frozen=True, eq=False)
class Judgement:
    """What every judged query of one direction got.

    Attributes:
        ranks: of the best positives.
        measures: further measures by name, (q,) each, in percent.
    """

    ranks: Ranks
    measures: dict[str, np.ndarray]

    def figures(self, ks: Sequence[int] = (1, 5, 10)) -> dict[str, float]:
        """R@K and "geo" in percent, MdR, MnR, and the mean of each measure."""
        table = metrics.summary(self.ranks, ks=ks)
        return {
            **{f"R@{k}": table[f"R@{k}"] for k in ks},
            "geo": metrics.geometric_mean(self.ranks),
            **{name: float(values.mean()) for name, values in self.measures.items()},
            "MdR": table["MdR"],
            "MnR": table["MnR"],
        }


def judge(
    sim: Similarity,
    right: Positives,
    *,
    ties: Ties = "expected",
    measures: Sequence[str] = (),
) -> Judgement:
    """Ranks and measures of one direction; one pass for the ranks, one more for the measures.

    Args:
        sim: queries x gallery.
        right: gallery rows per query.
        ties: see `rerank.metrics.ranks`.
        measures: names of ir_measures.
    """
    ranks = metrics.ranks(sim, right, ties=ties)
    return Judgement(ranks, ranked_measures(sim, right, measures, ties=ties) if measures else {})


def evaluate(
    sim: Sims,
    positives: Positives | NamedPositives | None = None,
    *,
    ties: Ties = "expected",
    ks: Sequence[int] = (1, 5, 10),
    protocol: str = "auto",
    measures: Sequence[str] = (),
    query_ids: Sequence[str] | None = None,
    gallery_ids: Sequence[str] | None = None,
) -> dict[Name, dict[str, Any]]:
    """Recall, ranks and hubness of both directions.

    Args:
        sim: texts x videos: a matrix, numpy or torch, or a `Similarity` such as
            `Pair(texts, videos)`, which is streamed. Where each direction was rewritten by
            itself, a dict {"t2v": texts x videos, "v2t": videos x texts}.
        positives: for each text the rows of its videos: a list of lists, a 1-D integer array (one
            video per text), or a dict from text row to video rows. None is the diagonal of a
            square matrix. With `query_ids` and `gallery_ids`, a dict from text id to a video id or
            several.
        ties: how ties are resolved, see `rerank.metrics.ranks`.
        ks: cutoffs of the recalls.
        protocol: see `rerank.metrics.protocols`.
        measures: further measures by their ir_measures name (`MRR`, `MAP`, `nDCG@10`), in percent.
        query_ids: names of the texts, in row order.
        gallery_ids: names of the videos, in row order.

    Returns:
        For "t2v" and "v2t": R@K in percent for each K, "geo" (the geometric mean of R@1, R@5 and
        R@10), MdR, MnR, "queries", "tied_queries", the measures asked for, the "skewness" of the
        10-occurrence, and the "protocol" that was used.

    Raises:
        RerankError: NaN among the scores, or a ground truth that does not fit.

    Example:
        >>> import numpy as np
        >>> found = evaluate(np.array([[0.9, 0.1], [0.8, 0.3]]))
        >>> found["t2v"]["R@1"], found["v2t"]["R@1"]
        (50.0, 100.0)
    """
    sims = both_directions(sim)
    rows = text_positives(sims, positives, query_ids=query_ids, gallery_ids=gallery_ids)
    protocol = protocols.resolve(protocol, rows, _text_shape(sims)[1])
    out: dict[Name, dict[str, Any]] = {}
    for name, (searched, right) in views(sims, rows, protocol=protocol).items():
        found = judge(searched, right, ties=ties, measures=measures)
        out[name] = {
            **found.figures(ks),
            "queries": len(found.ranks),
            "tied_queries": found.ranks.tied_queries,
            "skewness": hubness.summary(sims[name]).skewness,
            "protocol": protocol,
        }
    return out


def both_directions(sim: Sims) -> dict[Name, Similarity]:
    """A similarity of texts x videos, seen from both sides; a dict of directions is kept."""
    if isinstance(sim, Mapping):
        given: dict[Name, Similarity] = {name: sim[name] for name in ("t2v", "v2t") if name in sim}
        if not given or len(given) != len(sim):
            raise RerankError(
                f"directions: got {', '.join(map(str, sim)) or 'none'}, expected 't2v' and 'v2t'"
            )
        return given
    if not isinstance(sim, Similarity):
        sim = Dense(sim, unscored=True)  # type: ignore[arg-type]
    return {"t2v": sim, "v2t": sim.T}


def _text_shape(sims: Mapping[Name, Similarity]) -> tuple[int, int]:
    """(texts, videos)."""
    if "t2v" in sims:
        return sims["t2v"].shape
    videos, texts = sims["v2t"].shape
    return texts, videos


def text_positives(
    sims: Mapping[Name, Similarity],
    positives: Positives | NamedPositives | None,
    *,
    query_ids: Sequence[str] | None = None,
    gallery_ids: Sequence[str] | None = None,
) -> tuple[np.ndarray, ...]:
    """Video rows per text row, from any of the forms that `evaluate` takes."""
    n, m = _text_shape(sims)
    if positives is None:
        if n != m:
            raise RerankError(
                f"positives: {n} texts x {m} videos have no diagonal; say which videos are right"
            )
        return as_positives(np.arange(n), n, m)
    if query_ids is None and gallery_ids is None:
        return as_positives(positives, n, m)  # type: ignore[arg-type]
    if query_ids is None or gallery_ids is None or not isinstance(positives, Mapping):
        raise RerankError(
            "positives by name need a dict from text id to video ids, query_ids and gallery_ids"
        )
    texts, videos = _places(query_ids, n, "query_ids"), _places(gallery_ids, m, "gallery_ids")
    rows: list[list[int]] = [[] for _ in range(n)]
    for text, given in positives.items():
        if text not in texts:
            raise RerankError(f"positives: no text is called {text!r} in query_ids")
        for video in [given] if isinstance(given, str) else given:  # type: ignore[union-attr]
            if video not in videos:
                raise RerankError(
                    f"positives of {text!r}: no video is called {video!r} in gallery_ids"
                )
            rows[texts[text]].append(videos[video])  # type: ignore[index]
    return as_positives(rows, n, m)


def _places(ids: Sequence[str], count: int, what: str) -> dict[str, int]:
    if len(ids) != count:
        raise RerankError(f"{what}: got {len(ids)} names, expected {count}")
    places = {str(name): row for row, name in enumerate(ids)}
    if len(places) != count:
        raise RerankError(f"{what}: some names occur twice; names must be unique")
    return places


def views(
    sims: Mapping[Name, Similarity],
    positives: tuple[np.ndarray, ...],
    *,
    protocol: str = "multi-caption",
) -> dict[Name, tuple[Similarity, tuple[np.ndarray, ...]]]:
    """What each direction ranks under a protocol: queries x gallery, and what is right.

    Args:
        sims: the directions, each with its queries as rows.
        positives: video rows per text.
        protocol: a name of `rerank.metrics.protocols.PROTOCOLS`.
    """
    out: dict[Name, tuple[Similarity, tuple[np.ndarray, ...]]] = {}
    for name, sim in sims.items():
        right = positives if name == "t2v" else transpose_positives(positives, sim.shape[0])
        if name == "v2t" and protocol == "rank-videos-by-best-caption":
            out[name] = protocols.pool_captions(sim, right)
        else:
            out[name] = sim, right
    return out


def ranks_of(
    sims: Mapping[Name, Similarity],
    positives: tuple[np.ndarray, ...],
    *,
    ties: Ties = "expected",
    protocol: str = "multi-caption",
) -> dict[Name, Ranks]:
    """Ranks of every direction under a protocol; see `views`."""
    return {
        name: metrics.ranks(sim, right, ties=ties)
        for name, (sim, right) in views(sims, positives, protocol=protocol).items()
    }


def bootstrap_of(
    right: Sequence[np.ndarray], n_gallery: int, *, resamples: int = 2000, seed: int = 0
) -> Bootstrap:
    """The bootstrap of one direction: its judged queries, clustered by the answers they share.

    Args:
        right: gallery rows per query of this direction (for v2t, the transposed positives).
        n_gallery: number of gallery items.
        resamples: draws for intervals; halved where thousands of clusters leave little to draw.
        seed: of the draws.
    """
    clusters = clusters_of([items for items in right if len(items)], n_gallery)
    many = int(clusters.max(initial=0)) >= _MANY_CLUSTERS
    return Bootstrap(
        clusters,
        resamples=-(-resamples // 2) if many else resamples,
        flips=2000 if many else 10_000,
        seed=seed,
    )


def paired_changes(
    boot: Bootstrap,
    before: Judgement,
    after: Judgement,
    ks: Sequence[int] = (1, 5, 10),
) -> dict[str, Difference]:
    """Changes of R@K, "geo", MnR and the measures, with intervals and p-values from one draw.

    Args:
        boot: see `bootstrap_of`.
        before: of the judged queries.
        after: of the same queries.
        ks: cutoffs of the recalls.
    """
    if not np.array_equal(before.ranks.judged, after.ranks.judged):
        raise RerankError("paired changes: before and after judge different queries")
    cutoffs = sorted({*ks, 1, 5, 10})
    names = [name for name in before.measures if name in after.measures]

    def columns(found: Judgement) -> np.ndarray:
        hits = [100 * found.ranks.hits(k) for k in cutoffs]
        return np.stack([*hits, found.ranks.values, *(found.measures[n] for n in names)], axis=1)

    def pick(index: int) -> Combine:
        return lambda means: means[..., index]

    three = [cutoffs.index(k) for k in (1, 5, 10)]
    figures: dict[str, Combine] = {f"R@{k}": pick(cutoffs.index(k)) for k in ks}
    figures["geo"] = lambda means: geometric(means[..., three])
    figures["MnR"] = pick(len(cutoffs))
    figures |= {name: pick(len(cutoffs) + 1 + i) for i, name in enumerate(names)}
    return boot.differences(columns(before), columns(after), figures)
