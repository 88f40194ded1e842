"""Both directions of retrieval, evaluated under a named protocol."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np

from rerank.core.arrays import pandas_module, refuse_sparse
from rerank.core.errors import RerankError
from rerank.core.pairs import (
    Grades,
    Positives,
    clusters_of,
    transpose_grades,
    transpose_positives,
)
from rerank.core.similarity import ArrayLike, Dense, Similarity
from rerank.core.torch_state import usual_state
from rerank.core.words import NAMES, Name, Ties
from rerank.io.given_scores import names_of_both
from rerank.io.scores import ScoreMatrix
from rerank.metrics import hubness, protocols
from rerank.metrics import ranks as metrics
from rerank.metrics.figures import DEFAULT, Figure, as_text, find_all, tex_text
from rerank.metrics.graded import ranked_measures
from rerank.metrics.named_answers import NamedPositives, answers
from rerank.metrics.ranks import Ranks
from rerank.metrics.uncertainty import Bootstrap, Combine, Difference, Interval


@runtime_checkable
class OneDirection(Protocol):
    """A direction of a result: what was re-ranked."""

    @property
    def sim(self) -> Similarity:
        """Queries x gallery."""
        ...


@runtime_checkable
class TwoDirections(Protocol):
    """A result of both directions, such as `rerank.apply` returns."""

    @property
    def t2v(self) -> OneDirection:
        """Texts rank videos."""
        ...

    @property
    def v2t(self) -> OneDirection:
        """Videos rank texts."""
        ...


Sims: TypeAlias = Similarity | ArrayLike | ScoreMatrix | Mapping[Name, Similarity] | TwoDirections

# Above this many clusters an interval moves by less than what more draws would resolve.
_MANY_CLUSTERS = 5000


@dataclass(frozen=True, eq=False)
class Judgement:
    """What every judged query of one direction got.

    Attributes:
        ranks: of the best positives.
        figures: what was asked for.
        parts: (q, s) numbers of the queries behind each figure, by name.
    """

    ranks: Ranks
    figures: tuple[Figure, ...]
    parts: Mapping[str, np.ndarray]

    def table(self) -> dict[str, float]:
        """The figures by name, recalls and shares in percent."""
        return {figure.name: figure.value(self.parts[figure.name]) for figure in self.figures}

    def intervals(self, boot: Bootstrap) -> dict[str, Interval]:
        """How far each figure would move with other queries."""
        out: dict[str, Interval] = {}
        for figure in self.figures:
            parts = self.parts[figure.name]
            if figure.facts.combine == "median":
                out[figure.name] = boot.median_interval(parts[:, 0])
            elif figure.facts.hits:
                out[figure.name] = boot.share_interval(parts[:, 0])
            else:
                out[figure.name] = boot.interval(parts, figure.combine(len(parts)))
        return out


def judge(
    sim: Similarity,
    right: Positives,
    *,
    figures: Sequence[Figure] | None = None,
    ties: Ties = "expected",
    grades: Grades | None = None,
    ranks: Ranks | None = None,
) -> Judgement:
    """Figures of one direction; one pass for the ranks, one more for whole rankings.

    Args:
        sim: queries x gallery.
        right: gallery rows per query.
        figures: see `rerank.metrics.figures.find_all`; the default ones without.
        ties: see `rerank.metrics.ranks`.
        grades: how right each judged item is, gallery rows per query row.
        ranks: of these positives and ties, where they are known.
    """
    wanted = find_all(DEFAULT) if figures is None else tuple(figures)
    ranks = metrics.ranks(sim, right, ties=ties) if ranks is None else ranks
    parts = {figure.name: figure.parts(ranks) for figure in wanted if figure.of_ranks is not None}
    whole = {
        figure.name: figure.of_ranking or figure.measure
        for figure in wanted
        if figure.of_ranks is None
    }
    if whole:
        found = ranked_measures(sim, right, whole, ties=ties, grades=grades)
        parts |= {name: values[:, None] for name, values in found.items()}
    return Judgement(ranks, wanted, parts)


def judge_all(
    seen: Mapping[Name, tuple[Similarity, tuple[np.ndarray, ...], Grades | None]],
    *,
    figures: Sequence[Figure] | None = None,
    ties: Ties = "expected",
) -> dict[Name, Judgement]:
    """`judge` for every direction of `views`, with one pass for both where they allow it."""
    known: dict[Name, Ranks] = {}
    if len(seen) == len(NAMES):
        down, up = seen.values()
        found = metrics.both_ranks(down[0], up[0], (down[1], up[1]), ties=ties)
        known = dict(zip(seen, found, strict=True))
    return {
        name: judge(
            sim, right, figures=figures, ties=ties, grades=grades, ranks=known.get(name)
        )
        for name, (sim, right, grades) in seen.items()
    }  # fmt: skip


class Evaluation(dict[Name, dict[str, Any]]):
    """Figures per direction, exact in the dict and rounded where they are printed."""

    def _rows(self) -> tuple[list[str], list[list[str]]]:
        names = list(dict.fromkeys(name for found in self.values() for name in found))
        rows = []
        for direction, found in self.items():
            cells = [self._cell(name, found.get(name)) for name in names]
            rows.append([str(direction), *cells])
        return ["", *names], rows

    @staticmethod
    def _cell(name: str, value: Any) -> str:  # noqa: ANN401  figures, counts and a protocol
        if not isinstance(value, float):
            return "" if value is None else str(value)
        try:
            facts = find_all([name])[0].facts
        except RerankError:
            return f"{value:.1f}"
        return as_text(value, facts)

    def __repr__(self) -> str:
        headers, rows = self._rows()
        said = [
            f"{row[0]}: "
            + ", ".join(f"{name} {cell}" for name, cell in zip(headers[1:], row[1:], strict=True))
            for row in rows
        ]
        return "; ".join(said)

    def __str__(self) -> str:
        headers, rows = self._rows()
        widths = [max(map(len, column)) for column in zip(headers, *rows, strict=True)]
        lines = [
            "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
            for line in (headers, *rows)
        ]
        return "\n".join(line.rstrip() for line in lines)

    def to_pandas(self) -> Any:  # noqa: ANN401  a pandas.DataFrame
        """A row for each direction, a column for each figure, not rounded.

        Raises:
            RerankError: pandas is not installed.
        """
        return pandas_module().DataFrame.from_dict(dict(self), orient="index")

    def to_latex(self) -> str:
        """A LaTeX table, rounded as figures are."""
        return latex_rows({"": self})

    def _repr_html_(self) -> str:
        from markupsafe import escape

        headers, rows = self._rows()
        head = "".join(f"<th>{escape(cell)}</th>" for cell in headers)
        body = "".join(
            "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def latex_rows(found: Mapping[str, Evaluation]) -> str:
    """Evaluations one below the other as a LaTeX table; the keys say which is which."""
    lines, columns = [], 0
    for when, evaluation in found.items():
        headers, rows = evaluation._rows()
        if not lines:
            columns = len(headers)
            lines.append(" & ".join(map(tex_text, ["", "", *headers[1:]])) + r" \\")
            lines.append(r"\hline")
        lines += [" & ".join(map(tex_text, [when, *row])) + r" \\" for row in rows]
    return "\n".join([rf"\begin{{tabular}}{{ll{'r' * (columns - 1)}}}", *lines, r"\end{tabular}"])


@usual_state()
def evaluate(
    sim: Sims,
    positives: Positives | NamedPositives | None = None,
    *,
    figures: str | Sequence[str] = (*DEFAULT[:3], "geo", *DEFAULT[3:]),
    ties: Ties = "expected",
    protocol: str = "auto",
    grades: Grades | None = None,
    query_ids: Sequence[str] | None = None,
    gallery_ids: Sequence[str] | None = None,
) -> Evaluation:
    """Figures and hubness of both directions.

    Args:
        sim: texts x videos: a matrix (numpy, torch, lists or a DataFrame), what
            `rerank.read_scores` returned, or a `Similarity` such as `Pair(texts, videos)`, which is
            streamed; what `rerank.apply` returned; or, where each
            direction was rewritten by itself, a dict {"t2v": texts x videos, "v2t": videos x
            texts}.
        positives: for each text the rows of its videos: a list of lists, a 1-D integer array (one
            video per text), or a dict from text row to video rows; or a matrix of the shape of the
            scores that is 1 where a video is right. None is the diagonal of a square matrix. With
            `query_ids` and `gallery_ids`, or a DataFrame of scores that has names, a dict from text
            id to a video id or several. {text: {video: grade}} has grades as well.
        figures: names of the registry and of ir_measures: `R@1`, `MdR`, `RSum`, `nDCG@10`.
        ties: how ties are resolved, see `rerank.metrics.ranks`.
        protocol: see `rerank.metrics.protocols`.
        grades: how right each judged video is, for graded figures: {text row: {video row: grade}};
            0 and less mean judged and not right.
        query_ids: names of the texts, in row order.
        gallery_ids: names of the videos, in row order.

    Returns:
        For "t2v" and "v2t" a dict: the figures asked for (recalls and shares in percent),
        "queries", "tied_queries", the "skewness" of the 10-occurrence, and the "protocol" used.

    Raises:
        RerankError: NaN among the scores, an unknown figure, or a ground truth that does not fit.

    Example:
        >>> import numpy as np
        >>> found = evaluate(np.array([[0.9, 0.1], [0.8, 0.3]]), figures="R@1,MdR")
        >>> found["t2v"]["R@1"], found["v2t"]["R@1"]
        (50.0, 100.0)
    """
    wanted = find_all(figures)
    sims = both_directions(sim)
    rows, own = answers(
        _text_shape(sims),
        positives,
        names_of_both(sim),
        query_ids=query_ids,
        gallery_ids=gallery_ids,
    )
    grades = own if grades is None else grades
    protocol = protocols.resolve(protocol, rows, _text_shape(sims)[1])
    out = Evaluation()
    seen = views(sims, rows, protocol=protocol, grades=grades)
    for name, found in judge_all(seen, figures=wanted, ties=ties).items():
        out[name] = {
            **found.table(),
            "queries": len(found.ranks),
            "tied_queries": found.ranks.tied_queries,
            "skewness": hubness.summary(sims[name], raw=_before(sim, name)).skewness,
            "protocol": protocol,
        }
    return out


def _before(sim: Any, name: Name) -> Similarity | None:  # noqa: ANN401  see `Sims`
    """What a direction of a result was re-ranked from, where the result tells."""
    direction = getattr(getattr(sim, name, None), "direction", None)
    return getattr(direction, "sim", None)


def both_directions(sim: Sims) -> dict[Name, Similarity]:
    """A similarity of texts x videos, seen from both sides; a dict of directions is kept."""
    refuse_sparse(sim, "scores")
    if isinstance(sim, ScoreMatrix):
        sim = _of_file(sim)
    if isinstance(sim, Mapping):
        given: dict[Name, Similarity] = {
            name: _similarity(sim[name]) for name in NAMES if name in sim
        }
        if not given or len(given) != len(sim):
            names = ", ".join(map(str, list(sim)[:3])) + (", ..." if len(sim) > 3 else "")
            raise RerankError(
                f"directions: got {names or 'none'}, expected 't2v' and 'v2t'; the scores come "
                f"first: rerank.evaluate(scores, positives)"
            )
        return given
    if not isinstance(sim, Similarity) and isinstance(sim, TwoDirections):
        return {"t2v": sim.t2v.sim, "v2t": sim.v2t.sim}
    sim = _similarity(sim)
    return {"t2v": sim, "v2t": sim.T}


def _of_file(found: ScoreMatrix) -> Any:  # noqa: ANN401  see `Sims`
    """Scores that were read, of both directions where each has its own."""
    if found.is_of_distances:
        raise RerankError(
            f"evaluate: {found.source} holds distances, of which the smallest is best; give "
            "-x.scores, where x is what was read"
        )
    if found.reverse is None:
        return found.scores
    return {"t2v": found.scores, "v2t": found.reverse}


def _similarity(sim: Any) -> Similarity:  # noqa: ANN401  whatever a user holds
    if isinstance(sim, Similarity):
        return sim
    if isinstance(sim, str):
        raise RerankError(
            f"evaluate: got the text {sim!r}, expected a matrix of texts x videos; files are "
            f"judged by rerank eval --gt ... on the command line"
        )
    return Dense(sim, unscored=True)


def _text_shape(sims: Mapping[Name, Similarity]) -> tuple[int, int]:
    """(texts, videos)."""
    if "t2v" in sims:
        return sims["t2v"].shape
    videos, texts = sims["v2t"].shape
    return texts, videos


def views(
    sims: Mapping[Name, Similarity],
    positives: tuple[np.ndarray, ...],
    *,
    protocol: str = "multi-caption",
    grades: Grades | None = None,
) -> dict[Name, tuple[Similarity, tuple[np.ndarray, ...], Grades | None]]:
    """What each direction ranks under a protocol: queries x gallery, what is right, its grades.

    Args:
        sims: the directions, each with its queries as rows.
        positives: video rows per text.
        protocol: a name of `rerank.metrics.protocols.PROTOCOLS`.
        grades: of video rows, per text row. Videos pooled over captions have none.
    """
    out: dict[Name, tuple[Similarity, tuple[np.ndarray, ...], Grades | None]] = {}
    for name, sim in sims.items():
        if name == "t2v":
            out[name] = sim, positives, grades
            continue
        right = transpose_positives(positives, sim.shape[0])
        if protocol == "rank-videos-by-best-caption":
            out[name] = (*protocols.pool_captions(sim, right), None)
        else:
            out[name] = sim, right, None if grades is None else transpose_grades(grades)
    return out


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


def paired_changes(boot: Bootstrap, before: Judgement, after: Judgement) -> dict[str, Difference]:
    """Changes of every figure but medians, with intervals and p-values from one draw.

    Args:
        boot: see `bootstrap_of`.
        before: of the judged queries.
        after: of the same queries and figures.
    """
    if not np.array_equal(before.ranks.judged, after.ranks.judged):
        raise RerankError("paired changes: before and after judge different queries")
    figures = [
        figure
        for figure in after.figures
        if figure.facts.combine != "median" and figure.name in before.parts
    ]
    if not figures:
        return {}
    places: dict[str, slice] = {}
    start = 0
    for figure in figures:
        width = after.parts[figure.name].shape[1]
        places[figure.name] = slice(start, start + width)
        start += width

    def columns(found: Judgement) -> np.ndarray:
        return np.concatenate([found.parts[figure.name] for figure in figures], axis=1)

    def part(figure: Figure) -> Combine:
        combine, place = figure.combine(len(after.ranks)), places[figure.name]
        return lambda means: combine(means[..., place])

    return boot.differences(
        columns(before),
        columns(after),
        {figure.name: part(figure) for figure in figures},
        shares={f.name: places[f.name].start for f in figures if f.facts.hits},
    )
