"""The forms in which people write down which text belongs to which video.

Every form becomes one or more *readings*: lists of pairs of names. Files that give captions no id
of their own have several readings, because people name the captions in different ways; the ids at
hand decide which is meant, see `rerank.io.groundtruth`.

Lists of records that name a video and its text, and all the ways to call that text.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from rerank.core.errors import FormatError
from rerank.io.files import named, parse_json, read_text

# What tables and records call the two sides and the grade; the first that is there counts.
TEXT_FIELDS = (
    "query_id",
    "query-id",
    "text_id",
    "caption_id",
    "sen_id",
    "sentence_id",
    "annotation_id",
    "qid",
    "key",
)
VIDEO_FIELDS = (
    "video_id",
    "corpus-id",
    "item_id",
    "gallery_id",
    "image_id",
    "doc_id",
    "docid",
    "videoID",
    "video",
    "vid",
)
GRADE_FIELDS = ("relevance", "grade", "score", "rel")
_VIDEO_ENDINGS = tuple(".mp4 .avi .mkv .webm .mov .mpg .wmv .3gp .flv .m4v".split())
CAPTION_FIELDS = ("caption", "captions", "sentence", "sentences", "description", "enCap", "text")


class Pair(NamedTuple):
    """Two names that belong together, and how well; None where nothing is said."""

    first: str
    second: str
    grade: float | None = None


@dataclass(frozen=True)
class Reading:
    """One way to read a file.

    Attributes:
        pairs: names that belong together.
        empty: names that have an entry with nothing in it.
        how: how the first names were made, for messages.
        fixed: the first names are known to be texts.
    """

    pairs: list[Pair]
    empty: list[str]
    how: str = "as written"
    fixed: bool = False


def as_name(value: object, where: str) -> str:
    """An id as text; integers become their digits.

    Raises:
        FormatError: anything else.
    """
    if isinstance(value, str) and value:
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise FormatError(f"{where}: {named([value])} is not an id; expected text or an integer")


def as_grade(value: object, where: str) -> float:
    """A finite grade.

    Raises:
        FormatError: not a number, or not a finite one.
    """
    try:
        grade = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        grade = float("nan")
    if isinstance(value, bool) or not abs(grade) < float("inf"):
        raise FormatError(f"{where}: {named([value])} is not a grade; expected a number")
    return grade


def captions_of(record: dict[str, Any]) -> list[str]:
    """The captions of a record, however they are called; none when it has none."""
    for name in CAPTION_FIELDS:
        value = record.get(name)
        if isinstance(value, str):
            return [value]
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return value
    return []


def first_field(record: dict[str, Any], names: Iterable[str]) -> str | None:
    """The first of some names that a record has."""
    return next((name for name in names if name in record), None)


class _Record(NamedTuple):
    """One object of a list: a video, and the id of its text or its captions or both."""

    video: str
    text: str | None
    captions: list[str]
    grade: float | None


def readings_of_records(records: Sequence[Any], where: str) -> list[Reading]:
    """A list of objects, each of which names a video and its text or texts."""
    found = [_record(record, f"{where}: entry {row}") for row, record in enumerate(records)]
    cut = [record._replace(video=_without_ending(record.video)) for record in found]
    readings = _namings(found, "")
    return readings if cut == found else readings + _namings(cut, ", videos without file ending")


def _record(record: object, place: str) -> _Record:
    if not isinstance(record, dict):
        raise FormatError(
            f"{place} is {named([record])}, expected an object with a query_id and a video_id"
        )
    video = first_field(record, VIDEO_FIELDS)
    if video is None:
        raise FormatError(
            f"{place} names no video; expected one of {', '.join(VIDEO_FIELDS[:4])}, ..."
        )
    text, captions = first_field(record, TEXT_FIELDS), captions_of(record)
    if text is None and not captions:
        raise FormatError(
            f"{place} names no text; expected one of {', '.join(TEXT_FIELDS[:4])}, ... or a caption"
        )
    grade = first_field(record, GRADE_FIELDS)
    return _Record(
        as_name(record[video], place),
        None if text is None else as_name(record[text], place),
        captions,
        None if grade is None else as_grade(record[grade], place),
    )


def _without_ending(name: str) -> str:
    path = PurePosixPath(name)
    return name[: -len(path.suffix)] if path.suffix.lower() in _VIDEO_ENDINGS else name


def _namings(records: Sequence[_Record], note: str) -> list[Reading]:
    """Every way to call the texts of some records."""
    readings = []
    if records and all(record.text is not None for record in records):
        pairs = [Pair(str(r.text), r.video, r.grade) for r in records]
        readings.append(Reading(pairs, [], f"by the id of the text{note}"))
    if not any(record.captions for record in records):
        return readings
    numbered = []
    # How many captions of a video came before: MSR-VTT and DiDeMo have one record for each.
    counts: dict[str, int] = {}
    for record in records:
        for caption in record.captions:
            number = counts.get(record.video, 0)
            counts[record.video] = number + 1
            numbered.append((record, caption, number))
    for sign in "#_-":
        pairs = [Pair(f"{r.video}{sign}{number}", r.video, r.grade) for r, _, number in numbered]
        readings.append(Reading(pairs, [], f"as video{sign}0, video{sign}1, ...{note}", fixed=True))
    by_caption = [Pair(caption, r.video, r.grade) for r, caption, _ in numbered]
    # One text for a video: the paragraph of all its captions goes by the name of the video.
    by_video = list(dict.fromkeys(Pair(r.video, r.video, r.grade) for r in records))
    return [
        *readings,
        Reading(by_caption, [], f"by the caption{note}", fixed=True),
        Reading(by_video, [], f"by the video{note}", fixed=True),
    ]


def readings_of(path: Path) -> list[Reading]:
    """All readings of a ground truth file, the most literal first.

    Raises:
        FormatError: not a form that is known, an entry of another type, a key given twice.
    """
    text = read_text(path)
    head = text.lstrip()[:1]
    suffix = path.suffix.lower()
    if suffix == ".jsonl":
        lines = [line for line in text.split("\n") if line.strip()]
        return readings_of_records(
            [parse_json(line, f"{path}: line {i}") for i, line in enumerate(lines, 1)], str(path)
        )
    if suffix == ".json" or head in ("{", "["):
        return _json(parse_json(text, str(path)), str(path))
    return _table(text, str(path))


def _json(content: Any, where: str) -> list[Reading]:  # noqa: ANN401  JSON is any of six types
    if isinstance(content, dict) and isinstance(content.get("sentences"), list):
        # MSR-VTT.
        return readings_of_records(content["sentences"], where)
    if isinstance(content, list):
        return readings_of_records(content, where)
    if not isinstance(content, dict):
        raise FormatError(f"{where}: is {named([content])}, expected an object or a list")
    if any(isinstance(value, dict) and captions_of(value) for value in content.values()):
        # ActivityNet: {video: {"sentences": [...], ...}}
        records = []
        for video, value in content.items():
            if not isinstance(value, dict):
                raise FormatError(
                    f"{where}: the entry {named([video])} is {named([value])}, but others have "
                    "captions"
                )
            records.append({**value, "video_id": video})
        return readings_of_records(records, where)
    return [_mapping(content, where)]


def _mapping(content: dict[str, Any], where: str) -> Reading:
    """`{a: b}`, `{a: [b, ...]}` or `{a: {b: grade}}`."""
    pairs: list[Pair] = []
    empty: list[str] = []
    for key, value in content.items():
        place = f"{where}: the entry {named([key])}"
        if isinstance(value, dict):
            found = [Pair(key, item, as_grade(grade, place)) for item, grade in value.items()]
        elif isinstance(value, list):
            found = [Pair(key, as_name(item, place)) for item in value]
        else:
            found = [Pair(key, as_name(value, place))]
        pairs += found
        if not found:
            empty.append(key)
    return Reading(pairs, empty)


def _table(text: str, where: str) -> list[Reading]:
    """CSV with a header (JSFusion), TSV with a header (BEIR), or TREC qrels."""
    lines = text.splitlines()
    first = next((line for line in lines if line.strip()), "")
    if not first:
        return [Reading([], [])]
    delimiter = "\t" if "\t" in first else ","
    header = [cell.strip() for cell in first.split(delimiter)]
    if first_field(dict.fromkeys(header), (*TEXT_FIELDS, *CAPTION_FIELDS)) and first_field(
        dict.fromkeys(header), VIDEO_FIELDS
    ):
        return readings_of_records(_rows(text, delimiter, where), where)
    return [_qrels(lines, where)]


def _rows(text: str, delimiter: str, where: str) -> list[dict[str, Any]]:
    try:
        # BEIR writes plain tabs; quotes mean something in CSV only.
        quoting = csv.QUOTE_MINIMAL if delimiter == "," else csv.QUOTE_NONE
        reader = csv.reader(
            io.StringIO(text, newline=""), delimiter=delimiter, quoting=quoting, strict=True
        )
        table = [row for row in reader if row]
    except csv.Error as error:
        raise FormatError(f"{where}: is not a valid table: {error}") from error
    header = [cell.strip() for cell in table[0]]
    for number, row in enumerate(table[1:], start=1):
        if len(row) != len(header):
            raise FormatError(
                f"{where}: row {number} has {len(row)} columns, the header has {len(header)}"
            )
    return [dict(zip(header, row, strict=True)) for row in table[1:]]


def _qrels(lines: Sequence[str], where: str) -> Reading:
    """`query 0 item grade`, separated by white space."""
    pairs = []
    for number, line in enumerate(lines, start=1):
        cells = line.split()
        if not cells:
            continue
        if len(cells) != 4:
            raise FormatError(
                f"{where}: line {number} has {len(cells)} columns; expected TREC qrels (query 0 "
                "item grade), a table with a header that names query and video, or JSON"
            )
        grade = as_grade(cells[3], f"{where}: line {number}")
        pairs.append(Pair(cells[0], cells[2], grade))
    return Reading(pairs, [])
