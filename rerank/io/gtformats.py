"""The forms in which people write down which text belongs to which video.

Every form becomes one or more *readings*: lists of pairs of names. Files that give captions no id
of their own have several readings, because people name the captions in different ways; the ids at
hand decide which is meant, see `rerank.io.groundtruth`.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from rerank.errors import FormatError
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
        return _records(
            [parse_json(line, f"{path}: line {i}") for i, line in enumerate(lines, 1)], str(path)
        )
    if suffix == ".json" or head in ("{", "["):
        return _json(parse_json(text, str(path)), str(path))
    return _table(text, str(path))


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


def _as_grade(value: object, where: str) -> float:
    try:
        grade = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        grade = float("nan")
    if isinstance(value, bool) or not abs(grade) < float("inf"):
        raise FormatError(f"{where}: {named([value])} is not a grade; expected a number")
    return grade


def _json(content: Any, where: str) -> list[Reading]:  # noqa: ANN401  JSON is any of six types
    if isinstance(content, dict) and isinstance(content.get("sentences"), list):
        # MSR-VTT.
        return _records(content["sentences"], where)
    if isinstance(content, list):
        return _records(content, where)
    if not isinstance(content, dict):
        raise FormatError(f"{where}: is {named([content])}, expected an object or a list")
    if any(isinstance(value, dict) and _captions(value) for value in content.values()):
        # ActivityNet: {video: {"sentences": [...], ...}}
        records = []
        for video, value in content.items():
            if not isinstance(value, dict):
                raise FormatError(
                    f"{where}: the entry {named([video])} is {named([value])}, but others have "
                    "captions"
                )
            records.append({**value, "video_id": video})
        return _records(records, where)
    return [_mapping(content, where)]


def _mapping(content: dict[str, Any], where: str) -> Reading:
    """`{a: b}`, `{a: [b, ...]}` or `{a: {b: grade}}`."""
    pairs: list[Pair] = []
    empty: list[str] = []
    for key, value in content.items():
        place = f"{where}: the entry {named([key])}"
        if isinstance(value, dict):
            found = [Pair(key, item, _as_grade(grade, place)) for item, grade in value.items()]
        elif isinstance(value, list):
            found = [Pair(key, as_name(item, place)) for item in value]
        else:
            found = [Pair(key, as_name(value, place))]
        pairs += found
        if not found:
            empty.append(key)
    return Reading(pairs, empty)


def _captions(record: dict[str, Any]) -> list[str]:
    for name in CAPTION_FIELDS:
        value = record.get(name)
        if isinstance(value, str):
            return [value]
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return value
    return []


def _first(record: dict[str, Any], names: Iterable[str]) -> str | None:
    return next((name for name in names if name in record), None)


def _records(records: Sequence[Any], where: str) -> list[Reading]:
    """A list of objects, each of which names a video and its text or texts."""
    by_id: list[Pair] = []
    by_caption: list[Pair] = []
    by_number: dict[str, list[Pair]] = {"#": [], "_": [], "-": []}
    by_video: list[Pair] = []
    # How many captions of a video came before: MSR-VTT and DiDeMo have one record for each.
    counts: dict[str, int] = {}
    for row, record in enumerate(records):
        place = f"{where}: entry {row}"
        if not isinstance(record, dict):
            raise FormatError(
                f"{place} is {named([record])}, expected an object with a query_id and a video_id"
            )
        video_field = _first(record, VIDEO_FIELDS)
        if video_field is None:
            raise FormatError(
                f"{place} names no video; expected one of {', '.join(VIDEO_FIELDS[:4])}, ..."
            )
        video = as_name(record[video_field], place)
        grade_field = _first(record, GRADE_FIELDS)
        grade = None if grade_field is None else _as_grade(record[grade_field], place)
        text_field = _first(record, TEXT_FIELDS)
        captions = _captions(record)
        if text_field is not None:
            by_id.append(Pair(as_name(record[text_field], place), video, grade))
        elif not captions:
            raise FormatError(
                f"{place} names no text; expected one of {', '.join(TEXT_FIELDS[:4])}, ... or a "
                "caption"
            )
        for caption in captions:
            number = counts.get(video, 0)
            counts[video] = number + 1
            by_caption.append(Pair(caption, video, grade))
            for sign, pairs in by_number.items():
                pairs.append(Pair(f"{video}{sign}{number}", video, grade))
        by_video.append(Pair(video, video, grade))
    readings = []
    if len(by_id) == len(records):
        readings.append(Reading(by_id, [], "by the id of the text"))
    if by_caption:
        readings += [
            Reading(pairs, [], f"as video{sign}0, video{sign}1, ...", fixed=True)
            for sign, pairs in by_number.items()
        ]
        readings.append(Reading(by_caption, [], "by the caption", fixed=True))
        # One text for a video: the paragraph of all its captions goes by the name of the video.
        readings.append(Reading(list(dict.fromkeys(by_video)), [], "by the video", fixed=True))
    return readings + [made for reading in readings if (made := _without_suffix(reading))]


def _without_suffix(reading: Reading) -> Reading | None:
    """The same with video names cut before their file ending; None when they have none."""
    endings = (".mp4", ".avi", ".mkv", ".webm", ".mov", ".mpg", ".wmv", ".3gp", ".flv", ".m4v")

    def cut(name: str) -> str:
        return name[: -len(PurePosixPath(name).suffix)] if name.lower().endswith(endings) else name

    pairs = [
        Pair(
            cut(pair.first) if reading.how == "by the video" else pair.first,
            cut(pair.second),
            pair.grade,
        )
        for pair in reading.pairs
    ]
    if pairs == reading.pairs:
        return None
    return Reading(pairs, [], f"{reading.how}, videos without file ending", reading.fixed)


def _table(text: str, where: str) -> list[Reading]:
    """CSV with a header (JSFusion), TSV with a header (BEIR), or TREC qrels."""
    lines = text.splitlines()
    first = next((line for line in lines if line.strip()), "")
    if not first:
        return [Reading([], [])]
    delimiter = "\t" if "\t" in first else ","
    header = [cell.strip() for cell in first.split(delimiter)]
    if _first(dict.fromkeys(header), (*TEXT_FIELDS, *CAPTION_FIELDS)) and _first(
        dict.fromkeys(header), VIDEO_FIELDS
    ):
        return _records(_rows(text, delimiter, where), where)
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
        grade = _as_grade(cells[3], f"{where}: line {number}")
        pairs.append(Pair(cells[0], cells[2], grade))
    return Reading(pairs, [])
