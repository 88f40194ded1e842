"""The forms in which people write down which text belongs to which video.

Every form becomes one or more *readings*: lists of pairs of names. Files that give captions no id
of their own have several readings, because people name the captions in different ways; the ids at
hand decide which is meant, see `rerank.io.groundtruth`.
"""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rerank.errors import FormatError
from rerank.io.files import named, parse_json, read_text
from rerank.io.gtrecords import (
    CAPTION_FIELDS,
    TEXT_FIELDS,
    VIDEO_FIELDS,
    Pair,
    Reading,
    as_grade,
    as_name,
    captions_of,
    first_field,
    readings_of_records,
)


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
