"""Readings of a ground truth in tables of text and lines: headers, qrels, captions, pairs."""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from rerank.core.errors import FormatError
from rerank.io.files import named
from rerank.io.lines import lines_in
from rerank.io.side_words import (
    CANDIDATE_LISTS,
    CAPTION_FIELDS,
    GRADE_FIELDS,
    HEADERS,
    TEXT_FIELDS,
    VIDEO_FIELDS,
    VIDEO_LISTS,
    counts_own_rows,
    first_field,
    names_both,
    plain,
    said_by_words,
    sides_in_words,
)
from rerank.io.text_table import SEPARATOR
from rerank.io.truths.listed_ids import with_lists
from rerank.io.truths.records import (
    LOOKED_AT,
    Pair,
    Reading,
    as_grade,
    reading,
    readings_of_records,
)
from rerank.io.truths.relevance_tables import way_of_relevance

# A list of names or of numbers.
_LIST_IN_A_CELL = re.compile(r"""\[\s*(['"].*['"]|\d+(\s*,\s*\d+)*)\s*\]""")

# Two or more times before a caption, as LSMDC and Charades-STA have them.
_TIMES = re.compile(r"(?P<times>[\d.:]+([\t ]+[\d.:]+)+)(##|\t)")

_LOOKS_LIKE_CAPTIONS = "lines of the id of a video and a caption"


def table_readings(text: str, where: str) -> Iterable[Reading]:
    """A table with a header, TREC qrels, lines of an id and a caption, or columns of pairs."""
    lines = lines_in(text, where)
    if remarks := _remarks(lines):
        lines = lines[remarks:]
        text = "\n".join(lines)
    first = next((line for line in lines if line.strip()), "")
    if not first:
        return []
    delimiter = max("\t,;|", key=first.count)
    header = [cell.strip().strip('"') for cell in first.split(delimiter)]
    blanks = first.split()
    if len(header) == 1 and len(blanks) > 1 and names_both(blanks):
        # Columns kept apart by blanks: no cell has one inside.
        delimiter, header = " ", blanks
        text = "\n".join(" ".join(line.split()) for line in lines)
    if (rows := _named_rows(header, text, delimiter, where)) is not None:
        return readings_of_records(rows, where, how="a table", kind="row")
    rows = _rows_of_words(header, text, delimiter, where)
    if rows is not None:
        return readings_of_records(rows, where, how="a table", kind="row")
    readings: list[Reading] = []
    qrels = _qrels(lines, where)
    if isinstance(qrels, Reading):
        readings.append(qrels)
    numbered = list(_caption_lines(lines))
    readings += numbered
    readings += _pair_lines(lines, delimiter if delimiter in first else None)
    readings += () if numbered else _videos_and_captions(lines)
    if readings:
        return readings
    columns = f"its first line, {named(header)}, does not name a query and a video"
    if way := way_of_relevance([line for line in lines if line.strip()], delimiter, where):
        raise FormatError(f"{where}: {columns}; {way}")
    sides = ((VIDEO_FIELDS, "texts", "query_id"), (TEXT_FIELDS, "videos", "video_id"))
    for fields, lacking, called in sides:
        if len(header) > 1 and (known := first_field(header, fields)) is not None:
            raise FormatError(
                f"{where}: its first line, {named(header)}, names one side, {known!r}; call the "
                f"column that holds the ids of the {lacking} {called!r}"
            )
    raise FormatError(
        f"{where}: {columns if len(header) > 1 else qrels}; expected TREC qrels (query 0 item "
        f"grade), a table with a header that names query and video, such as {HEADERS}, or JSON"
    )


def _named_rows(
    header: Sequence[str], text: str, delimiter: str, where: str
) -> Sequence[dict[str, Any]] | None:
    """The rows of a table whose header names both sides, lists of videos too; None for others."""
    both = len(header) > 1 and names_both(header)
    lists = first_field(header, (*VIDEO_LISTS, *CANDIDATE_LISTS)) is not None
    if not both and not (lists and first_field(header, TEXT_FIELDS) is not None):
        return None
    rows = with_lists(_rows(text, delimiter, where))
    _refuse_lists(header, rows, where)
    listed = any(isinstance(x, list) for row in rows[:1] for x in row.values())
    return rows if both or listed else None


def _rows_of_words(
    header: Sequence[str], text: str, delimiter: str, where: str
) -> Sequence[dict[str, Any]] | None:
    """The rows of a table whose header names both sides in other words, where lines do not show.

    Those are rows that are numbered, and cells that hold lists, or what keeps columns apart.
    """
    if sides_in_words(header) is None:
        return None
    if any(map(counts_own_rows, header)):
        return with_lists(_rows(text, delimiter, where))
    if '"' not in text and "[" not in text:
        return None
    try:
        rows = with_lists(_rows(text, delimiter, where))
    except FormatError:
        return None  # which lines may show
    cells = [cell for row in rows for cell in row.values()]
    odd = any(isinstance(cell, list) or delimiter in cell for cell in cells)
    return rows if odd else None


def _remarks(lines: Sequence[str]) -> int:
    """How many lines stand before a table: "sep=;" of spreadsheets, and remarks without columns.

    >>> _remarks(["# made in May", "query,video"]), _remarks(["#cats, asleep", "a,b"])
    (1, 0)
    """
    if lines and SEPARATOR.fullmatch(lines[0].strip()):
        return 1
    count = next((i for i, line in enumerate(lines) if not line.startswith("#")), 0)
    table = lines[count] if count else ""
    delimiter = max("\t,;|", key=table.count)
    apart = count and delimiter in table and not any(delimiter in line for line in lines[:count])
    return count if apart else 0


def _refuse_lists(header: Sequence[str], rows: Sequence[dict[str, Any]], where: str) -> None:
    """Refuse several names in one cell, where other cells of the column hold one.

    Raises:
        FormatError: there is such a cell in the column of the videos.
    """
    column = first_field(header, (*VIDEO_FIELDS, *VIDEO_LISTS, *CANDIDATE_LISTS))
    if column is None or first_field(header, TEXT_FIELDS) is None:
        return
    for number, row in enumerate(rows, start=1):
        if isinstance(row[column], str) and _LIST_IN_A_CELL.fullmatch(row[column]):
            raise FormatError(
                f"{where}: row {number} has the list {named([row[column]])} in the column "
                f"{named([column])}; write a row for each pair, with a query_id and a video_id"
            )


def _rows(text: str, delimiter: str, where: str) -> list[dict[str, Any]]:
    try:
        # BEIR writes plain tabs; quotes mean something in CSV only.
        quoting = csv.QUOTE_MINIMAL if delimiter in ",;" else csv.QUOTE_NONE
        reader = csv.reader(
            io.StringIO(text, newline=""),
            delimiter=delimiter,
            quoting=quoting,
            strict=True,
            skipinitialspace=True,
        )
        table = [[cell.strip() for cell in row] for row in reader if row]
    except csv.Error as error:
        raise FormatError(f"{where}: is not a valid table: {error}") from error
    header = table[0]
    for number, row in enumerate(table[1:], start=1):
        if len(row) != len(header):
            raise FormatError(
                f"{where}: row {number} has {len(row)} columns, the header has {len(header)}"
            )
    _refuse_twice(header, table[1:], where)
    return [dict(zip(header, row, strict=True)) for row in table[1:]]


def _refuse_twice(header: Sequence[str], rows: Sequence[Sequence[str]], where: str) -> None:
    """Refuse a column that is there twice with different cells: nobody knows which is meant.

    Raises:
        FormatError: there is one, called as texts, videos, captions or grades are.
    """
    first: dict[str, int] = {}
    known = {*TEXT_FIELDS, *VIDEO_FIELDS, *CAPTION_FIELDS, *GRADE_FIELDS}
    for column, name in enumerate(header):
        other = first.setdefault(plain(name), column)
        if other == column or plain(name) not in known:
            continue
        for number, row in enumerate(rows, start=1):
            if row[column] != row[other]:
                raise FormatError(
                    f"{where}: has two columns {named([header[other]])} and {named([name])}, which "
                    f"differ in row {number}; rename one of them, or leave it out"
                )


def _qrels(lines: Sequence[str], where: str) -> Reading | str:
    """`query 0 item grade`, separated by white space; else why it is none.

    Raises:
        FormatError: a line whose grade is none, where all others are qrels.
    """
    pairs = []
    odd = ""
    for number, line in enumerate(lines, start=1):
        cells = line.split()
        if not cells:
            continue
        if len(cells) != 4:
            return f"line {number} has {len(cells)} columns"
        if not (cells[1].upper() == "Q0" or cells[1].lstrip("-").isdecimal()):
            return f"line {number} has {named([cells[1]])} in the column that qrels leave at 0"
        try:
            grade = as_grade(cells[3], f"{where}: line {number}")
        except FormatError as error:
            odd = odd or str(error)
            continue
        pairs.append(Pair(cells[0], cells[2], grade))
    if odd and pairs and all(line.split()[1:2] in ([], ["0"], ["Q0"]) for line in lines):
        raise FormatError(odd)
    if odd:
        return odd.partition(f"{where}: ")[2]
    return reading(pairs, "TREC qrels", fixed=True)


def _caption_lines(lines: Sequence[str]) -> Iterable[Reading]:
    """`video#number caption`, the files of Flickr30k and of w2vv: no header, no qrels."""
    records = []
    for line in lines:
        if not line.strip():
            continue
        name, _, caption = line.strip().replace("\t", " ", 1).partition(" ")
        video, sign, _ = name.partition("#")
        if not sign or not video or not caption.strip():
            return []
        records.append({"text_id": name, "video_id": video, "caption": caption.strip()})
    return readings_of_records(records, "", how="lines of an id and a caption", kind="line")


def _videos_and_captions(lines: Sequence[str]) -> Iterable[Reading]:
    """`video caption`, apart by a blank, a tab, a comma, ..., also with a number between them.

    Only where most lines have words behind the first, as neither pairs nor qrels have.
    """
    whole = [line.strip() for line in lines if line.strip()]
    looked = [_video_and_caption(line) for line in whole[:LOOKED_AT]]
    words = [record["caption"].split() for record in looked if record is not None]
    wordy = sum(len(each) > 1 and any(map(str.isalpha, each)) for each in words)
    if 2 * wordy <= len(looked):
        return
    records = [_video_and_caption(line) for line in whole]
    if None in records:
        return
    for found in readings_of_records(records, "", how=_LOOKS_LIKE_CAPTIONS, kind="line"):
        yield replace(found, captions=True)


def _video_and_caption(line: str) -> dict[str, str] | None:
    """A line taken apart; None where there is but one thing in it."""
    mark = re.search("\t" if "\t" in line else r"[\s,;|]+", line)
    if mark is None:
        return None
    record = {"video_id": line[: mark.start()].strip().rstrip(":").strip('"')}
    caption = line[mark.end() :].strip()
    if timed := _TIMES.match(caption):
        start, end, *_ = timed.group("times").split()
        record |= {"start": start, "end": end}
        caption = caption[timed.end() :].strip()
    number, tab, rest = caption.partition("\t")
    if tab and number.strip().isdecimal():
        record["caption_number"], caption = number.strip(), rest.strip()
    if len(caption) > 1 and caption[0] == caption[-1] == '"':
        caption = caption[1:-1].replace('""', '"')
    record["caption"] = caption
    return record if record["video_id"] and caption else None


def _pair_lines(lines: Sequence[str], delimiter: str | None) -> list[Reading]:
    """Two columns without a header that is known, or three of which the last is a grade."""
    pairs = []
    unknown = None
    for line in lines:
        if not line.strip():
            continue
        cells = [cell.strip() for cell in line.split(delimiter)]
        if len(cells) not in (2, 3) or not all(cells):
            return []
        try:
            grade = float(cells[2]) if len(cells) == 3 else None
        except ValueError:
            if pairs or unknown:
                return []
            unknown = cells
            continue
        pairs.append(Pair(cells[0], cells[1], grade))
    how = f"columns of pairs without a header (one that says more would be {HEADERS})"
    if unknown:
        how = f"columns called {named(unknown)} (names that say more would be {HEADERS})"
    says = said_by_words(*unknown[:2]) if unknown else ""
    readings = [replace(reading(pairs, how), says=says)] if pairs else []
    if len(pairs) > 1 and not unknown:
        first = f"columns called {named(pairs[0][:2])} (names that say more would be {HEADERS})"
        says = said_by_words(*pairs[0][:2])
        # What is a header for sure is no pair.
        kept = [] if says else readings
        readings = [*kept, replace(reading(pairs[1:], first), says=says)]
    return readings
