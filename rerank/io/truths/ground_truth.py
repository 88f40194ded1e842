"""Ground truth: which videos are right for a text, by name, in any form people keep it."""

import contextlib
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from rerank.core import nouns
from rerank.core.errors import FormatError
from rerank.core.wording import either, option
from rerank.io.files import PathLike, as_path, named, to_json, write_text
from rerank.io.ids import check_unique
from rerank.io.place_names import in_other_order
from rerank.io.truths.bare_names import CHANGES, renamed, stem_of
from rerank.io.truths.forms import readings_of
from rerank.io.truths.pair_splits import Decision, UnfitError, Wanted, first_of_splits, of_one_split
from rerank.io.truths.records import BY_CAPTION as _BY_CAPTION
from rerank.io.truths.records import Pair, Reading, renamed_reading

# So many pairs tell one reading from another.
_SAMPLE = 20_000
# And so many where only a reading with many pairs that fit is looked for: so many of them are seen.
_FEWER, _SEEN = 1_000, 20


@dataclass(frozen=True, eq=False)
class Graded:
    """All judgements of every query, those that say "not right" included.

    Attributes:
        rows: (n,) arrays int64, rising gallery rows that were judged.
        grades: (n,) arrays float64 beside them; 0 or less: not right.
    """

    rows: tuple[np.ndarray, ...]
    grades: tuple[np.ndarray, ...]


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
        graded: all judgements with their grades, for measures that use them; None where the file
            has no grades.
        notes: what was taken for granted, one sentence each.

    >>> truth = read_ground_truth("diagonal", ["t0", "t1"], ["v0", "v1"])
    >>> truth
    GroundTruth(2 pairs of 2 queries and 2 items, from diagonal)
    """

    positives: tuple[np.ndarray, ...]
    gallery_size: int
    grades: tuple[np.ndarray, ...] | None = None
    ignored: int = 0
    source: str = ""
    unknown: tuple[str, ...] = ()
    graded: Graded | None = None
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return (
            f"GroundTruth({self.n_pairs} pairs of {len(self.positives)} queries and "
            f"{self.gallery_size} items, from {self.source})"
        )

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
        n = len(self.positives)
        positives, grades = _turned(self.positives, self.grades, self.gallery_size)
        graded = None
        if self.graded is not None:
            rows, levels = _turned(self.graded.rows, self.graded.grades, self.gallery_size)
            graded = Graded(rows, levels or ())
        return GroundTruth(
            positives, n, grades, self.ignored, self.source, self.unknown, graded, self.notes
        )


def _turned(
    rows: Sequence[np.ndarray], values: Sequence[np.ndarray] | None, width: int
) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...] | None]:
    """Lists of columns by row as lists of rows by column, with the values beside them."""
    counts = [len(columns) for columns in rows]
    flat = np.repeat(np.arange(len(counts), dtype=np.int64), counts)
    columns = np.concatenate([*rows, np.empty(0, np.int64)])
    # Stable, so that the rows stay rising for every column.
    order = np.argsort(columns, kind="stable")
    lengths = np.bincount(columns, minlength=width)
    turned = None
    if values is not None:
        turned = _frozen(_parts(np.concatenate([*values, np.empty(0)])[order], lengths))
    return _frozen(_parts(flat[order], lengths)), turned


def _parts(values: np.ndarray, counts: Sequence[int] | np.ndarray) -> list[np.ndarray]:
    """Consecutive parts of these lengths; many short ones take numpy's `split` far longer."""
    ends = np.cumsum(counts).tolist()
    return [values[start:end] for start, end in zip([0, *ends], ends, strict=False)]


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
    direction: str = "auto",
    split: str | None = None,
    role: str = "gt",
    by_rows: str = "",
) -> GroundTruth:
    """Read which videos are right for every text; ids are matched by name, never by position.

    JSON `{text: video}`, `{text: [videos]}`, `{text: {video: grade}}`, `{video: [texts]}` (which
    of them it is follows from the ids, and is said), `{video: [captions]}`, a list of
    `{query_id, video_id, relevance?}`, wrapped or split into `{"test": [...]}`; the files of
    MSR-VTT, VATEX, DiDeMo, ActivityNet, YouCook, COCO and of Karpathy's splits; tables with a
    header (comma, tab, semicolon, bar, parquet), TREC qrels, the TSV of BEIR, lines of an id and a
    caption as those of Flickr30k.

    A file that names its sides (a header, records, qrels) is believed: texts are the queries,
    whatever the ids look like. A grade of 0 or less means not right. Captions without an id of
    their own are found as `video#0, video#1, ...` (also with `_` or `-`), by the caption itself, or
    by the video's name. The word `diagonal` in place of a path pairs row i with row i, or texts
    `video#0, video#1, ...` with their video; it has to be asked for.

    >>> read_ground_truth("data_samples/gt.json", ["text0001"], ["video0314"], allow_unjudged=True)
    GroundTruth(1 pairs of 1 queries and 1 items, from data_samples/gt.json)
    >>> read_ground_truth("diagonal", ["v0#0", "v0#1", "v1#0"], ["v0", "v1"]).positives[1]
    array([0])

    Args:
        path: the file, or "diagonal".
        query_ids: (n,) text ids.
        gallery_ids: (m,) video ids.
        allow_unjudged: texts without an entry stay without, and entries with unknown names are
            skipped; otherwise both are errors.
        direction: which side stands on the left in the file, "text-video" or "video-text"; "auto"
            believes the file, and looks at the ids where it says nothing.
        split: the one to read of a file with several, "/" for all; by default the one that names
            these texts.
        role: the option that named the file, for messages.
        by_rows: what a message says of how to name both sides by the numbers of their rows, where
            the caller has a way.

    Raises:
        FormatError: several splits name these texts, the file says another direction than the ids,
            both directions fit, an unknown name, a text without an entry, a key given twice,
            nothing in it.
    """
    check_unique(query_ids, "texts")
    check_unique(gallery_ids, "videos")
    path = as_path(path, "read_ground_truth")
    if str(path) == "diagonal":
        return _diagonal(query_ids, gallery_ids, by_rows)
    where = str(path)
    texts = {name: row for row, name in enumerate(query_ids)}
    videos = {name: row for row, name in enumerate(gallery_ids)}

    def fitting(
        texts: dict[str, int], videos: dict[str, int], change: Callable[[str], str] | None
    ) -> Decision:
        readings = (reading for reading in readings_of(Path(path)) if reading.count)
        changed = partial(renamed_reading, change=change or str)
        return of_one_split(
            readings if change is None else filter(None, map(changed, readings)),
            partial(
                _decide,
                texts=texts,
                videos=videos,
                where=where,
                direction=direction,
                by_rows=bool(by_rows),
            ),
            texts,
            videos,
            Wanted(where, split, role, allow_unjudged),
        )

    try:
        found = fitting(texts, videos, None)
    except UnfitError:
        for change, without in CHANGES:
            named_so = renamed(texts, change), renamed(videos, change)
            if named_so == (None, None):
                continue
            with contextlib.suppress(FormatError):
                sides = named_so[0] or texts, named_so[1] or videos
                found = fitting(*sides, change)
                note = f"{where}: names no id as it is written; names are matched without {without}"
                found, (texts, videos) = found._replace(notes=(*found.notes, note)), sides
                break
        else:
            raise
    return _build(found, texts, videos, query_ids, where=where, allow_unjudged=allow_unjudged)


def convert_ground_truth(
    source: PathLike,
    target: PathLike,
    *,
    query_ids: Sequence[str] | None = None,
    gallery_ids: Sequence[str] | None = None,
    direction: str = "auto",
    split: str | None = None,
) -> int:
    r"""Write any ground truth as JSON records that name their sides.

    `[{"query_id": text, "video_id": video, "relevance": grade}, ...]`; a grade only where the file
    has one. With the ids of both sides pairs are found as by `read_ground_truth`, and those of
    other names are left out; without them the file is taken as it stands.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "gt.tsv").write_text("query-id\tcorpus-id\tscore\nq1\tv7\t2\n")
    >>> convert_ground_truth(folder / "gt.tsv", folder / "gt.json")
    1
    >>> (folder / "gt.json").read_text()
    '[\n{"query_id": "q1", "video_id": "v7", "relevance": 2}\n]\n'

    Args:
        source: a file that `read_ground_truth` reads.
        target: where to; replaced whole or not at all.
        query_ids: text ids.
        gallery_ids: video ids.
        direction: see `read_ground_truth`.
        split: the one to write of a file with several, "/" for all.

    Returns:
        How many pairs were written.

    Raises:
        FormatError: nothing that is one, or one that does not say which side is which.
    """
    if query_ids is not None and gallery_ids is not None:
        pairs = _found_pairs(source, query_ids, gallery_ids, direction, split)
    else:
        pairs = _stated_pairs(as_path(source, "source"), direction, split)
    count = 0

    def pieces() -> Iterator[str]:
        nonlocal count
        yield "["
        for text, video, grade in pairs:
            record: dict[str, object] = {"query_id": text, "video_id": video}
            if grade is not None:
                record["relevance"] = int(grade) if float(grade).is_integer() else float(grade)
            yield f"{',' if count else ''}\n{to_json(record)}"
            count += 1
        yield "\n]\n"

    write_text(target, pieces())
    return count


def _found_pairs(
    source: PathLike,
    query_ids: Sequence[str],
    gallery_ids: Sequence[str],
    direction: str,
    split: str | None,
) -> Iterator[Pair]:
    truth = read_ground_truth(
        source, query_ids, gallery_ids, allow_unjudged=True, direction=direction, split=split
    )
    graded = truth.graded
    for row, text in enumerate(query_ids):
        rows = truth.positives[row] if graded is None else graded.rows[row]
        grades = [None] * len(rows) if graded is None else graded.grades[row].tolist()
        for item, grade in zip(rows.tolist(), grades, strict=True):
            yield Pair(text, gallery_ids[int(item)], grade)


def _stated_pairs(source: Path, direction: str, split: str | None) -> Iterator[Pair]:
    """The pairs of a file that says, or of which the user says, which side is which."""
    readings = (reading for reading in readings_of(source) if reading.count)
    for reading in first_of_splits(readings, Wanted(str(source), split, "gt", True)):
        yield from _stated(source, reading, direction)


def _stated(source: Path, reading: Reading, direction: str) -> Iterator[Pair]:
    if not reading.turns:
        raise FormatError(
            f"{source}: is {reading.how}, which has no ids of texts; give {_ids_of_both()}"
        )
    if not reading.fixed and direction == "auto":
        direction = reading.says or direction
    if not reading.fixed and direction == "auto":
        raise FormatError(
            f"{source}: is {reading.how}, which does not say which side is which; give "
            f"{_direction('text-video')} or {_direction('video-text')}, or {_ids_of_both()}"
        )
    turned = direction == "video-text"
    for pair in reading.pairs:
        yield Pair(pair.second, pair.first, pair.grade) if turned else pair


def _diagonal(query_ids: Sequence[str], gallery_ids: Sequence[str], by_rows: str) -> GroundTruth:
    n, m = len(query_ids), len(gallery_ids)
    if not n:
        raise FormatError("diagonal: there are no texts and videos")
    rows = list(range(n))
    if n != m:
        place = {name: row for row, name in enumerate(gallery_ids)}
        found = [place.get(name.rpartition("#")[0]) for name in query_ids]
        if None in found:
            queries, items = nouns.sides()
            raise FormatError(
                f"diagonal: {n} {queries} and {m} {items}; it pairs row i with row i and needs as "
                "many of both; give a ground truth file"
            )
        rows = [row for row in found if row is not None]
    elif tuple(query_ids) != tuple(gallery_ids):
        _check_places(query_ids, gallery_ids, by_rows)
    split = np.split(np.array(rows, dtype=np.int64), n)
    return GroundTruth(_frozen(split), m, source="diagonal")


def _check_places(query_ids: Sequence[str], gallery_ids: Sequence[str], by_rows: str) -> None:
    """Refuse rows that are paired by their places and have another order of their own.

    Raises:
        FormatError: the same ids on both sides in another order, or numbers that count one side.
    """
    for side, ids in zip(nouns.sides(), (query_ids, gallery_ids), strict=True):
        if in_other_order(ids):
            raise FormatError(
                f"diagonal: pairs row i with row i, but the {side} have numbers of their own in "
                f"another order, {', '.join(ids[:3])}, ...; sort the rows by them, or leave them "
                "out if they stand as meant, or give a ground truth file of these ids"
            )
    row, said = _first_elsewhere(query_ids, gallery_ids)
    if row is not None:
        way = by_rows or either("", "the numbers of the rows as both ids")
        way = f"{way} if rows are meant, or " if way else ""
        raise FormatError(
            f"diagonal: pairs row i with row i, but {said} "
            f"(row {row} is {query_ids[row]!r} and {gallery_ids[row]!r}); give {way}a ground "
            "truth file of these ids"
        )


def _first_elsewhere(
    query_ids: Sequence[str], gallery_ids: Sequence[str]
) -> tuple[int | None, str]:
    """The first row whose item stands elsewhere by its name, and what the names say."""
    queries, items = nouns.sides()
    known = set(gallery_ids)
    hashed = [name.rpartition("#")[0] for name in query_ids]
    numbered = [stem_of(name) for name in query_ids]
    others = [stem_of(name) for name in gallery_ids]
    for names, of, fits, said in (
        (query_ids, gallery_ids, set(query_ids) == known, "both sides have the same ids"),
        (hashed, gallery_ids, known.issuperset(hashed), f"the {queries} are called after {items}"),
        (numbered, gallery_ids, set(numbered) == known, f"the {queries} are called after {items}"),
        (numbered, others, set(numbered) == set(others) and len(set(others)) == len(others),
         f"the {queries} are called after {items}"),
    ):  # fmt: skip
        if fits:
            pairs = enumerate(zip(names, of, strict=True))
            row = next((row for row, (one, other) in pairs if one != other), None)
            return row, f"{said} in another order"
    return None, ""


def _shares(
    reading: Reading, texts: dict[str, int], videos: dict[str, int], step: int
) -> tuple[int, int, int, int]:
    """Pairs that were looked at; those known forward, backward; names known on either side."""
    pairs = reading.build(step)
    forward = sum(p.first in texts and p.second in videos for p in pairs)
    backward = sum(p.first in videos and p.second in texts for p in pairs)
    known = sum((p.first in texts) + (p.second in videos) for p in pairs)
    if not reading.fixed:
        known = max(known, sum((p.first in videos) + (p.second in texts) for p in pairs))
    return len(pairs), forward, backward, known


def _decide(
    readings: Iterable[Reading],
    texts: dict[str, int],
    videos: dict[str, int],
    where: str,
    direction: str,
    enough: int = 0,
    *,
    by_rows: bool = False,
) -> Decision:
    """The reading and the direction that the ids fit; pairs come back as (text, video).

    The largest share of pairs with both names known decides. Readings are in order of how literal
    they are, so of equals the first counts; of the two directions of one reading neither does. A
    reading that says which side is which counts in that direction only. Of a reading some pairs
    are looked at; of one that fits only if `enough` of its pairs do, fewer.
    """
    best: tuple[float, Reading] | None = None
    nearest: tuple[tuple[float, bool], Reading] | None = None
    against: Reading | None = None
    seen: list[Reading] = []
    for reading in readings:
        seen.append(reading)
        step = max(1, reading.count // _SAMPLE, min(reading.count // _FEWER, enough // _SEEN))
        looked, forward, backward, known = _shares(reading, texts, videos, step)
        if direction == "video-text" and reading.fixed and reading.turns:
            forward, backward = backward, forward
        if reading.fixed and backward and not forward and against is None:
            against = reading if _turned_pair(reading, texts, videos, direction) else None
        usable = forward if reading.fixed else max(forward, backward)
        if direction != "auto" and not reading.fixed:
            usable, other = (
                (forward, backward) if direction == "text-video" else (backward, forward)
            )
            if other and not usable and against is None:
                against = reading if _turned_pair(reading, texts, videos, direction) else None
        share = usable / looked
        if share and (best is None or share > best[0]):
            best = share, reading
        near = (known / looked, reading.captions)
        if nearest is None or near > nearest[0]:
            nearest = near, reading
        if share == 1:
            break  # no later one can fit better
    if nearest is None:
        raise FormatError(f"{where}: is a ground truth without a single pair; check the file")
    if best is None:
        if against is not None:
            _refuse_contradiction(against, texts, videos, where, direction)
        said = nearest[1].missing or _unknown(nearest[1], seen, texts, videos)
        raise UnfitError(f"{where}: {said}", nearest[0][0])
    reading = best[1]  # type: ignore[index]
    if reading.missing:
        raise FormatError(f"{where}: {reading.missing}")
    if by_rows:
        _check_rows(reading, texts, videos, where, direction)
    turned = [Pair(p.second, p.first, p.grade) for p in reading.pairs]
    if reading.fixed or direction != "auto":
        backwards = direction == "video-text" and reading.turns
        pairs = turned if backwards else reading.pairs
        said = (reading.doubt,) if reading.doubt else ()
        return Decision(pairs, reading.empty, said, reading.listed)
    pairs = reading.pairs
    _, forward, backward, _ = _shares(reading, texts, videos, 1)
    if forward and backward and (forward == backward or forward < len(pairs)):
        if reading.says:
            pairs = turned if reading.says == "video-text" else pairs
            return Decision(pairs, reading.empty, listed=reading.listed)
        _check_one_way(pairs, turned, texts, videos, where)
    if not backward or forward == len(pairs):
        return Decision(pairs, reading.empty, listed=reading.listed)
    if reading.single and len({p.second for p in pairs}) < len(pairs):
        odd = pairs[0]
        raise FormatError(
            f"{where}: gives {named([odd.first])}, the id of a video, one {named([odd.second])}, "
            f"the id of a text that others have as well: {_sides()} seem to be swapped; "
            f"if they are not, give {_direction('video-text')}"
        )
    note = (
        f"{where} is read as video: text, because its first names, such as "
        f"{named([pairs[0].first])}, are ids of the videos"
    )
    return Decision(turned, reading.empty, (note,), reading.listed)


def _check_rows(
    reading: Reading, texts: dict[str, int], videos: dict[str, int], where: str, direction: str
) -> None:
    """Refuse numbers that are called rows and name other rows, where ids are numbers too."""
    sides = (("text", texts), ("video", videos))
    sides = sides[::-1] if direction == "video-text" and reading.turns else sides
    for place, (field, (side, ids)) in enumerate(zip(reading.counted, sides, strict=True)):
        if not field or reading.listed:
            continue
        names = [pair.second if place else pair.first for pair in reading.pairs]
        if not all(name.isdecimal() and int(name) < len(ids) for name in names):
            continue
        odd = next((name for name in names if ids.get(name, int(name)) != int(name)), None)
        if odd is not None:
            rows = either(f"--{side}-ids rows", f"0, 1, ... as the ids of the {side}s")
            raise FormatError(
                f"{where}: {named([field])} is called like numbers of rows, but {named([odd])} is "
                f"the id of row {ids[odd]}; if rows are meant, from 0: {rows}; if ids are meant, "
                f"call it {side}_id"
            )


def _sides() -> str:
    return either("--videos and --texts", "the ids of videos and texts")


def _direction(value: str) -> str:
    return either(f"--gt-direction {value}", f'direction="{value}"')


def _text_ids() -> str:
    return either("one a line in a file for --text-ids", "with query_ids=")


def _ids_of_both() -> str:
    return either("the ids with --text-ids and --video-ids", "query_ids= and gallery_ids=")


def _check_one_way(
    pairs: Sequence[Pair],
    turned: Sequence[Pair],
    texts: dict[str, int],
    videos: dict[str, int],
    where: str,
) -> None:
    """Refuse what can be read both ways, unless both say the same."""
    if {p[:2] for p in pairs} == {p[:2] for p in turned}:
        return
    odd = next((p for p in pairs if p.first in texts and p.first in videos), pairs[0])
    raise FormatError(
        f"{where}: can be read as text: video and as video: text, because names such as "
        f"{named([odd.first])} are ids of both; say which stands on the left with "
        f"{_direction('text-video')} or {_direction('video-text')}, or give a list of "
        "{query_id, video_id}"
    )


def _turned_pair(
    reading: Reading, texts: dict[str, int], videos: dict[str, int], direction: str
) -> Pair | None:
    """A pair that can stand the other way only; one of names of both sides may lack its partner."""
    left, right = (videos, texts) if direction == "video-text" else (texts, videos)
    found = (p for p in reading.pairs if p.first in right and p.second in left)
    return next((pair for pair in found if pair.first not in left), None)


def _refuse_contradiction(
    reading: Reading,
    texts: dict[str, int],
    videos: dict[str, int],
    where: str,
    direction: str,
) -> None:
    pair = _turned_pair(reading, texts, videos, direction)
    assert pair is not None
    if direction == "video-text":
        raise FormatError(
            f"{where}: {_direction('video-text')} says that videos come first, but "
            f"{named([pair.first])} is the id of a text and {named([pair.second])} of a video; "
            f"leave it out, or {_sides()} are swapped"
        )
    if not reading.fixed:
        raise FormatError(
            f"{where}: {_direction('text-video')} says that texts come first, but "
            f"{named([pair.first])} is the id of a video and {named([pair.second])} of a text; "
            f"leave it out, or {_sides()} are swapped"
        )
    raise FormatError(
        f"{where}: is {reading.how}, in which texts come first, but {named([pair.first])} is the "
        f"id of a video and {named([pair.second])} of a text; {_direction('video-text')} reads it "
        f"the other way, or {_sides()} are swapped"
    )


def _unknown(
    reading: Reading,
    readings: Sequence[Reading],
    texts: dict[str, int],
    videos: dict[str, int],
) -> str:
    """Why no pair of a reading has two names that are known; it is the nearest of several."""
    pair = reading.build(1)[0]
    if reading.captions and pair.second in videos:
        if any(" " in name for name in [*texts][:20]):
            by_caption = next((one for one in readings if one.how.endswith(_BY_CAPTION)), reading)
            return (
                "looks like lines of the id of a video and a caption, and no text is called "
                f"{named([by_caption.build(1)[0].first])} or {named([pair.first])} (texts are "
                f"{named(list(texts)[:2])}, ...): write the captions alike, or give a table with "
                "the header caption,video_id"
            )
        return (
            "looks like lines of the id of a video and a caption, and no text is called "
            f"{named([pair.first])} (texts are {named(list(texts)[:2])}, ...): call the texts "
            f"video#0, video#1, ..., or by their captions, {_text_ids()}, or give a table with "
            "the header query_id,video_id"
        )
    names = (pair.first, pair.second)
    for name in reversed(names) if reading.captions else names:
        if name not in texts and name not in videos:
            one, other = map(nouns.singular, nouns.sides())
            return (
                f"is read as {reading.how}, and {named([name])} is neither the id of a "
                f"{one} ({named(list(texts)[:2])}, ...) nor of a {other} "
                f"({named(list(videos)[:2])}, ...); ids are matched by name"
                f"{_way_out(name, readings, texts, videos)}"
            )
    side, ids, name = ("video", videos, pair.second)
    if pair.first not in texts:
        side, ids, name = ("text", texts, pair.first)
    other = "text" if side == "video" else "video"
    return (
        f"pairs {named([pair.first])} with {named([pair.second])}, and {named([name])} is not the "
        f"id of a {side} ({named(list(ids)[:2])}, ...) but of a {other}; expected a text and a "
        f"video{_way_out(name, readings, texts, videos)}"
    )


def _way_out(
    name: str, readings: Sequence[Reading], texts: dict[str, int], videos: dict[str, int]
) -> str:
    """What may be done about a name that is not known."""
    if any(reading.listed for reading in readings):
        return _hint(name, texts, videos, listed=True) or (
            "; its numbers are those of lists in the file, so the ids of both sides have to be "
            "names that stand there"
        )
    return _as_rows(readings, texts, videos) or _hint(name, texts, videos)


def _hint(name: str, texts: dict[str, int], videos: dict[str, int], *, listed: bool = False) -> str:
    """What small difference keeps a name from being known; `listed`: a number is of no row."""
    changes = {
        "without '.0' (numbers were saved as decimals)": name.removesuffix(".0"),
        "with '.0' (numbers were saved as decimals)": f"{name}.0",
        "without leading zeros": name.lstrip("0"),
        "without blanks at its ends": name.strip(),
        "without its file ending": name.rpartition(".")[0],
        "without its folder": name.rpartition("/")[2],
        "without its folder and file ending": name.rpartition("/")[2].rpartition(".")[0],
        "in lower case": name.lower(),
        "without quotes": name.strip("'\""),
        "in the other Unicode form (NFC)": unicodedata.normalize("NFC", name),
        "in the other Unicode form (NFD)": unicodedata.normalize("NFD", name),
    }
    for what, changed in changes.items():
        if changed != name and changed in texts.keys() | videos.keys():
            side = "texts" if changed in texts else "videos"
            return f"; {what} it would be {named([changed])} of the {side}: write both alike"
    numbered = len(name) < 19 and name.isdecimal() and not listed
    if numbered and (way := _rows_as_ids(int(name), texts, videos)):
        return f"; if the file holds numbers of rows, from 0: {way}"
    if len(name.split()) > 2 and not any(" " in known for known in [*texts][:20]):
        return (
            f"; it looks like a caption: call the texts by their captions, {_text_ids()}, or put "
            "their ids in its place"
        )
    return ""


def _rows_as_ids(row: int, texts: dict[str, int], videos: dict[str, int]) -> str:
    """How to call the sides by the numbers of their rows; "" where that names no such row."""
    sides = {"text": texts, "video": videos}
    named_yet = {side for side, ids in sides.items() if _are_rows(ids)}
    if row >= max((len(ids) for side, ids in sides.items() if side not in named_yet), default=0):
        return ""
    left = [side for side in sides if side not in named_yet]
    of = "both sides" if len(left) == 2 else f"the {left[0]}s"
    return either(" ".join(f"--{side}-ids rows" for side in left), f"give ids 0, 1, ... of {of}")


def _as_rows(readings: Sequence[Reading], texts: dict[str, int], videos: dict[str, int]) -> str:
    """How to call the sides by the numbers of their rows, where every text then has its pairs."""
    rows = [{str(row): row for row in range(len(ids))} for ids in (texts, videos)]
    for sides in (("text",), ("video",), ("text", "video")):
        left = rows[0] if "text" in sides else texts
        right = rows[1] if "video" in sides else videos
        for reading in readings:
            if not all(p.first in left and p.second in right for p in reading.build(len(left))):
                continue
            pairs = reading.pairs
            whole = all(p.first in left and p.second in right for p in pairs)
            if whole and len({p.first for p in pairs}) == len(left):
                of = "both sides" if len(sides) == 2 else f"the {sides[0]}s"
                flags = " ".join(f"--{side}-ids rows" for side in sides)
                way = either(flags, f"give ids 0, 1, ... of {of}")
                return f"; if the file holds numbers of rows, from 0: {way}"
    return ""


def _are_rows(ids: dict[str, int]) -> bool:
    return all(ids.get(str(row)) == row for row in ids.values())


def _build(
    decided: Decision,
    texts: dict[str, int],
    videos: dict[str, int],
    query_ids: Sequence[str],
    *,
    where: str,
    allow_unjudged: bool,
) -> GroundTruth:
    """Rows for names, with everything that does not fit refused by name."""
    pairs, empty, notes, _ = decided
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
                    f"such entries with {option('allow-unjudged')}"
                    f"{_hint(name, texts, videos, listed=decided.listed)}"
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
    graded = any(pair.grade is not None for pair in pairs)
    counts = [len(known) for known in found]
    column = np.array([c for known in found for c in known], dtype=np.int64)
    level = [1.0 if g is None else g for known in found for g in known.values()]
    row = np.repeat(np.arange(len(counts)), counts)
    # Rising columns in every row.
    order = np.lexsort((column, row))
    row, column, level = row[order], column[order], np.array(level, dtype=np.float64)[order]
    is_right = level > 0
    right = np.bincount(row[is_right], minlength=len(counts))
    if not allow_unjudged and not right.all():
        without = int(np.argmin(right > 0))
        name = query_ids[without]
        reason = "has no entry"
        if name in empty:
            reason = "has an empty entry"
        elif without in judged:
            reason = "has only grades of 0"
        raise FormatError(
            f"{where}: the text {named([name])} {reason}; add its video, or leave such texts "
            f"out of the figures with {option('allow-unjudged')}"
        )
    positives, grades = _parts(column[is_right], right), _parts(level[is_right], right)
    rows, levels = positives, grades
    if not is_right.all():
        rows, levels = _parts(column, counts), _parts(level, counts)
    if not any(len(rows) for rows in positives):
        raise FormatError(f"{where}: has no right video for any of the texts; check the file")
    return GroundTruth(
        _frozen(positives),
        len(videos),
        _frozen(grades) if graded else None,
        ignored,
        where,
        tuple(unknown),
        Graded(_frozen(rows), _frozen(levels)) if graded else None,
        notes,
    )
