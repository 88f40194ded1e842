"""Ground truth: which videos are right for a text, by name, in any form people keep it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from rerank.core.errors import FormatError
from rerank.io.files import PathLike, named
from rerank.io.groundtruth_formats import Pair, Reading, readings_of
from rerank.io.ids import check_unique


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """The right gallery rows of every query row.

    Attributes:
        positives: (n,) arrays int64, rising gallery rows; empty for a query that was not judged.
        gallery_size: m.
        grades: (n,) arrays float64 beside `positives`, or None where the file has no grades.
        ignored: pairs that were skipped because one of their names is not known.
        unknown: those names, each once, in the order of the file.
        source: the file.
    """

    positives: tuple[np.ndarray, ...]
    gallery_size: int
    grades: tuple[np.ndarray, ...] | None = None
    ignored: int = 0
    source: str = ""
    unknown: tuple[str, ...] = ()

    @cached_property
    def unjudged(self) -> np.ndarray:
        """Query rows without a right item, int64."""
        return np.array([i for i, rows in enumerate(self.positives) if not len(rows)], np.int64)

    @cached_property
    def distractors(self) -> int:
        """How many gallery items are right for no query."""
        if not self.positives:
            return self.gallery_size
        return self.gallery_size - len(np.unique(np.concatenate(self.positives)))

    @property
    def n_pairs(self) -> int:
        """Number of right pairs."""
        return sum(len(rows) for rows in self.positives)

    @cached_property
    def T(self) -> "GroundTruth":  # noqa: N802  the mathematical transpose, as in numpy
        """The other direction: for every gallery row its query rows.

        Distractors have none; they are no queries of that direction.
        """
        counts = [len(rows) for rows in self.positives]
        rows = np.repeat(np.arange(len(counts), dtype=np.int64), counts)
        columns = np.concatenate([*self.positives, np.empty(0, np.int64)])
        # Stable, so that the rows stay rising for every column.
        order = np.argsort(columns, kind="stable")
        ends = np.cumsum(np.bincount(columns, minlength=self.gallery_size))[:-1]
        grades = None
        if self.grades is not None:
            flat = np.concatenate([*self.grades, np.empty(0)])[order]
            grades = _frozen(np.split(flat, ends))
        return GroundTruth(
            _frozen(np.split(rows[order], ends)), len(counts), grades, self.ignored, self.source,
            self.unknown,
        )  # fmt: skip


def _frozen(arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    for array in arrays:
        array.setflags(write=False)
    return tuple(arrays)


def read_ground_truth(
    path: PathLike,
    query_ids: Sequence[str],
    gallery_ids: Sequence[str],
    *,
    allow_unjudged: bool = False,
) -> GroundTruth:
    """Read which videos are right for every text; ids are matched by name, never by position.

    JSON `{text: video}`, `{text: [videos]}`, `{text: {video: grade}}`, `{video: [texts]}` (which
    of them it is follows from the ids), a list of `{query_id, video_id, relevance?}`, the files of
    MSR-VTT, VATEX, DiDeMo and ActivityNet, the CSV of JSFusion, TREC qrels, the TSV of BEIR. A
    grade of 0 or less means not right. Captions without an id of their own are found as
    `video#0, video#1, ...` (also with `_` or `-`), by the caption itself, or by the video's name.
    The word `diagonal` in place of a path pairs row i with row i; it has to be asked for.

    Args:
        path: the file, or "diagonal".
        query_ids: (n,) text ids.
        gallery_ids: (m,) video ids.
        allow_unjudged: texts without an entry stay without, and entries with unknown names are
            skipped; otherwise both are errors.

    Raises:
        FormatError: both directions fit, an unknown name, a text without an entry, a key given
            twice, nothing in it.
    """
    check_unique(query_ids, "texts")
    check_unique(gallery_ids, "videos")
    if str(path) == "diagonal":
        return _diagonal(len(query_ids), len(gallery_ids))
    where = str(path)
    texts = {name: row for row, name in enumerate(query_ids)}
    videos = {name: row for row, name in enumerate(gallery_ids)}
    readings = [reading for reading in readings_of(Path(path)) if reading.pairs]
    if not readings:
        raise FormatError(f"{where}: is a ground truth without a single pair; check the file")
    pairs, empty = _decide(readings, texts, videos, where)
    return _build(
        pairs, empty, texts, videos, query_ids, where=where, allow_unjudged=allow_unjudged
    )


def _diagonal(n: int, m: int) -> GroundTruth:
    if n != m:
        raise FormatError(
            f"diagonal: {n} texts and {m} videos; it pairs row i with row i and needs as many of "
            "both; give a ground truth file"
        )
    if not n:
        raise FormatError("diagonal: there are no texts and videos")
    return GroundTruth(_frozen(np.split(np.arange(n, dtype=np.int64), n)), m, source="diagonal")


def _decide(
    readings: Sequence[Reading], texts: dict[str, int], videos: dict[str, int], where: str
) -> tuple[list[Pair], list[str]]:
    """The reading and the direction that the ids fit; pairs come back as (text, video).

    The most pairs with both names known decide. Readings are in order of how literal they are, so
    of equals the first counts; of the two directions of one reading neither does.
    """
    best: tuple[int, Reading, int, int] | None = None
    for reading in readings:
        forward = sum(p.first in texts and p.second in videos for p in reading.pairs)
        backward = 0
        if not reading.fixed:
            backward = sum(p.first in videos and p.second in texts for p in reading.pairs)
        score = max(forward, backward)
        # Shares are compared, because readings differ in the number of their pairs.
        if best is None or score * len(best[1].pairs) > best[0] * len(reading.pairs):
            best = score, reading, forward, backward
    assert best is not None
    score, reading, forward, backward = best
    if not score:
        _refuse_unknown(readings[0], texts, videos, where)
    turned = [Pair(p.second, p.first, p.grade) for p in reading.pairs]
    if forward and backward:
        one_sided = max(forward, backward) == len(reading.pairs) != min(forward, backward)
        same = {p[:2] for p in reading.pairs} == {p[:2] for p in turned}
        if not one_sided and not same:
            odd = next(p for p in reading.pairs if p.first in texts and p.first in videos)
            raise FormatError(
                f"{where}: can be read as text: video and as video: text, because names such as "
                f"{named([odd.first])} are ids of both; give texts and videos different ids, or a "
                "list of {query_id, video_id}"
            )
    return (reading.pairs if forward >= backward else turned), reading.empty


def _refuse_unknown(
    reading: Reading, texts: dict[str, int], videos: dict[str, int], where: str
) -> None:
    pair = reading.pairs[0]
    for name in pair[:2]:
        if name not in texts and name not in videos:
            raise FormatError(
                f"{where}: {named([name])} is neither the id of a text ({named(list(texts)[:2])}, "
                f"...) nor of a video ({named(list(videos)[:2])}, ...); ids are matched by name"
            )
    kind = "texts" if pair.first in texts else "videos"
    raise FormatError(f"{where}: pairs {named([pair.first])} with {named([pair.second])}, both "
                      f"{kind}; expected a text and a video")  # fmt: skip


def _build(
    pairs: Sequence[Pair],
    empty: Sequence[str],
    texts: dict[str, int],
    videos: dict[str, int],
    query_ids: Sequence[str],
    *,
    where: str,
    allow_unjudged: bool,
) -> GroundTruth:
    """Rows for names, with everything that does not fit refused by name."""
    found: list[dict[int, float | None]] = [{} for _ in query_ids]
    ignored = 0
    unknown: dict[str, None] = {}
    judged = set()
    for pair in pairs:
        row, column = texts.get(pair.first), videos.get(pair.second)
        if row is None or column is None:
            if not allow_unjudged:
                side, name = ("text", pair.first) if row is None else ("video", pair.second)
                raise FormatError(
                    f"{where}: {named([name])} is not the id of a {side}; correct it, or skip "
                    "such entries with --allow-unjudged"
                )
            ignored += 1
            unknown |= dict.fromkeys(
                [pair.first] * (row is None) + [pair.second] * (column is None)
            )
            continue
        judged.add(row)
        known = found[row]
        if column in known and known[column] != pair.grade:
            raise FormatError(
                f"{where}: grades {named([pair.second])} for {named([pair.first])} twice, as "
                f"{known[column]} and {pair.grade}; keep one"
            )
        known[column] = pair.grade
    positives, grades = [], []
    graded = any(pair.grade is not None for pair in pairs)
    for row, known in enumerate(found):
        right = sorted((c, g) for c, g in known.items() if g is None or g > 0)
        if not right and not allow_unjudged:
            name = query_ids[row]
            reason = "has no entry"
            if name in empty:
                reason = "has an empty entry"
            elif row in judged:
                reason = "has only grades of 0"
            raise FormatError(
                f"{where}: the text {named([name])} {reason}; add its video, or leave such texts "
                "out of the figures with --allow-unjudged"
            )
        positives.append(np.array([c for c, _ in right], dtype=np.int64))
        grades.append(np.array([1.0 if g is None else g for _, g in right]))
    if not any(len(rows) for rows in positives):
        raise FormatError(f"{where}: has no right video for any of the texts; check the file")
    return GroundTruth(
        _frozen(positives), len(videos), _frozen(grades) if graded else None, ignored, where,
        tuple(unknown),
    )  # fmt: skip
