"""The forms in which people write down which text belongs to which video.

Every form becomes one or more *readings*: lists of pairs of names. Files that give captions no id
of their own have several readings, because people name captions and videos in different ways; the
ids at hand decide which is meant, see `rerank.io.groundtruth`. A file that says which side is which
(a header, records with named sides, TREC qrels) has readings that are *fixed*: texts stand on the
left, whatever the names look like.
"""

import contextlib
import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rerank.core.errors import FormatError
from rerank.io.field import Field, afford
from rerank.io.files import named, parse_json, read_text, regular_file
from rerank.io.lines import lines_in
from rerank.io.pandas_json import PandasTable, split_of_pandas
from rerank.io.splits import is_named_like_splits, is_of_splits
from rerank.io.truth_arrays import refuse_arrays

# What tables and records call the two sides, the captions and the grade: letters and digits of the
# name, lower case; the first that is there counts.
TEXT_FIELDS = (
    "queryid", "textid", "captionid", "senid", "sentenceid", "sentid", "annotationid", "annid",
    "descid", "qid", "key", "query", "textidx", "textindex", "queryidx", "queryindex", "textrow",
    "queryrow",
)  # fmt: skip
VIDEO_FIELDS = (
    "videoid", "corpusid", "itemid", "galleryid", "imageid", "docid", "documentid", "clipid",
    "video", "vid", "image", "imagename", "videoname", "filename", "img", "imgid", "item", "doc",
    "passageid", "pid", "videopath", "imagepath", "path", "ytid", "youtubeid", "audio", "audioid",
    "targetid", "target", "clip", "productid", "product", "sku", "asin", "gold", "goldid",
    "positive", "positiveid", "videoidx", "videoindex", "imageidx", "imageindex", "itemidx",
    "itemindex", "videorow", "imagerow", "itemrow",
)  # fmt: skip
# Lists of the videos of one text.
_VIDEO_LISTS = (
    "positives", "pos", "videoids", "imageids", "itemids", "docids", "corpusids", "galleryids",
    "positiveids", "relevant", "relevantids", "relevantdocs", "targets", "targetids", "answers",
    "gold", "golds", "goldids",
)  # fmt: skip
GRADE_FIELDS = (
    "relevance", "grade", "score", "rel", "label", "gain", "relevancescore", "escilabel",
    "judgment", "judgement", "grades", "rating", "relevant", "isrelevant", "match", "ismatch",
    "qrel", "relscore", "iscorrect", "ispositive",
)  # fmt: skip
CAPTION_FIELDS = (
    "caption", "captions", "sentence", "sentences", "description", "descriptions", "encap", "text",
    "comment", "raw", "desc", "query",
)  # fmt: skip
# Other words for the two sides, of two columns and of the two ends of a direction.
_TEXT_WORD = "(txt|text|caption|sentence|sent|query|querie|question)s?"
_VIDEO_WORD = "(vid|video|img|image|doc|document|item|clip|gallery|corpus|passage|product)s?"
_COLUMN = "(id|idx|index|row|name)?s?"
_NUMBER_FIELDS = ("commentnumber", "captionnumber", "sentencenumber", "captionindex")
_NUMBERED_CAPTION = re.compile(r"(caption|sentence|description|text|comment)\d+")
_ENDINGS = tuple(
    ".mp4 .avi .mkv .webm .mov .mpg .mpeg .wmv .3gp .flv .m4v .jpg .jpeg .png .webp .gif .bmp "
    ".wav .flac .mp3 .npy".split()
)
_NUMBERED_NAME = re.compile(r"(.+?)((?:#|_|-)\d+)?", re.DOTALL)
_SPLITS = (
    "test", "testing", "val", "valid", "validate", "validation", "dev", "eval", "train", "training",
    "trainval", "restval",
)  # fmt: skip
# What is said of a file beside its pairs.
_ABOUT = {
    "info", "version", "license", "licenses", "description", "meta", "metadata", "name", "dataset",
    "date", "url", "source", "notes", "comment",
}  # fmt: skip
_WRAPPERS = (
    "database", "data", "annotations", "captions", "records", "pairs", "gt", "groundtruth",
    "qrels", "relevantdocs", "items", "sentences", "images", "videos",
)  # fmt: skip
# A list of names or of numbers.
_LIST_IN_A_CELL = re.compile(r"""\[\s*(['"].*['"]|\d+(\s*,\s*\d+)*)\s*\]""")
# An object with more entries is no wrapper of parts, and no table of columns.
_MOST_PARTS = 100
# Lines that tell what a file without a header is.
_LOOKED_AT = 200
_LOOKS_LIKE_CAPTIONS = "lines of the id of a video and a caption"
HEADERS = "query_id,video_id (or sen_id, key, caption_id, ... and image_id, filename, ...)"


class Pair(NamedTuple):
    """Two names that belong together, and how well; None where nothing is said."""

    first: str
    second: str
    grade: float | None = None


@dataclass(frozen=True)
class Reading:
    """One way to read a file.

    Attributes:
        build: the pairs of names that belong together; of every so many entries only.
        count: how many pairs there are.
        empty: names that have an entry with nothing in it.
        how: what the file was taken for, for messages.
        fixed: the first names are texts, because the file says so.
        turns: whether the sides change places where the user says that videos stand on the left;
            not where the names of the texts are made from those of the videos.
        single: every first name has one second name that is no list.
        missing: what it lacks to be read like this, where it is not whole.
        captions: whether the file looks like lines of a video and a caption, however read.
        split: of which its pairs are, where the file says so.
        says: "text-video" or "video-text" where words of the file say which side stands on the
            left and are believed only where the ids do not tell.
    """

    build: Callable[[int], list[Pair]]
    count: int
    empty: tuple[str, ...] = ()
    how: str = "as written"
    fixed: bool = False
    single: bool = False
    missing: str = ""
    turns: bool = True
    captions: bool = False
    split: str = ""
    says: str = ""

    @property
    def pairs(self) -> list[Pair]:
        """All pairs."""
        return self.build(1)


def reading(
    pairs: Sequence[Pair],
    how: str,
    *,
    empty: Sequence[str] = (),
    fixed: bool = False,
    single: bool = False,
    missing: str = "",
) -> Reading:
    """A reading of pairs that are there already."""
    held = list(pairs)
    return Reading(lambda step: held[::step], len(held), tuple(empty), how, fixed, single, missing)


def as_name(value: object, where: str) -> str:
    """An id as text; whole numbers become their digits.

    Raises:
        FormatError: anything else.
    """
    if isinstance(value, str) and value:
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        value = int(value)
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


# Records of a file have the same few fields, thousands of times.
@lru_cache(maxsize=4096)
def _plain(name: str) -> str:
    lower = name.lower()
    return lower if lower.isalnum() else "".join(char for char in lower if char.isalnum())


def first_field(record: Iterable[str], names: Iterable[str]) -> str | None:
    """The first of some plain names that a record has, as the record writes it.

    >>> first_field(["Query-ID", "video"], TEXT_FIELDS)
    'Query-ID'
    """
    return _first_field(tuple(record), tuple(names))


@lru_cache(maxsize=4096)
def _first_field(record: tuple[str, ...], names: tuple[str, ...]) -> str | None:
    by_name = {_plain(str(name)): name for name in record}
    return next((by_name[name] for name in names if name in by_name), None)


def captions_of(record: dict[str, Any]) -> list[str]:
    """The captions of a record, however they are called; none when it has none.

    >>> captions_of({"caption_1": "a", "caption_2": "b"})
    ['a', 'b']
    >>> captions_of({"sentences": [{"raw": "a"}]})
    ['a']
    """
    numbered, named_so, inside = _caption_keys(tuple(record))
    if len(numbered) > 1 or (numbered and not named_so):
        return [record[key] for key in numbered if isinstance(record[key], str) and record[key]]
    # Some files have the first caption beside the list of all.
    found = max((_captions(record[key]) for key in named_so), key=len, default=[])
    if found:
        return found
    parts = next((record[key] for key in inside if record[key]), None)
    if isinstance(parts, list) and parts and all(isinstance(part, dict) for part in parts):
        return [caption for part in parts for caption in captions_of(part)]
    return []


@lru_cache(maxsize=4096)
def _caption_keys(record: tuple[Any, ...]) -> tuple[tuple[Any, ...], tuple[Any, ...], list[Any]]:
    """Keys of a record that are numbered captions, captions, and lists of parts with captions."""
    by_name = {_plain(str(key)): key for key in record}
    numbered = tuple(key for key in record if _NUMBERED_CAPTION.fullmatch(_plain(str(key))))
    named_so = tuple(by_name[name] for name in CAPTION_FIELDS if name in by_name)
    return numbered, named_so, [by_name[n] for n in ("annotations", "segments") if n in by_name]


def _captions(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list) or not value:
        return []
    if all(isinstance(item, str) for item in value):
        return value
    if all(isinstance(item, dict) for item in value):
        return [caption for item in value for caption in captions_of(item)]
    if all(_is_words(item) for item in value):
        return [" ".join(item) for item in value]
    return []


def _is_words(item: object) -> bool:
    return isinstance(item, list) and bool(item) and all(isinstance(word, str) for word in item)


class _Record(NamedTuple):
    """One object of a list: a video, and the id of its text or its captions or both."""

    video: str
    text: str | None
    captions: list[str]
    grade: float | None
    others: tuple[str, ...] = ()
    number: int | None = None
    entry: str = ""


def readings_of_records(
    records: Sequence[Any], where: str, *, how: str = "records", kind: str = "entry"
) -> Iterator[Reading]:
    """A list of objects, each of which names a video and its text or texts.

    Readings are made as they are asked for: the first nearly always fits.
    """
    records = _one_each(_called_plainly(records))
    found = [_record(record, f"{where}: {kind} {row}") for row, record in enumerate(records)]
    for split, part in _by_split(records, found).items():
        for each in _readings_of_some(part, how):
            yield replace(each, split=split)


def _by_split(records: Sequence[Any], found: Sequence[_Record]) -> dict[str, list[_Record]]:
    """Records by what a field says of the split of each; all under "" where none says it."""
    names = dict.fromkeys(
        name for record in records[:_LOOKED_AT] for name in record if is_named_like_splits(name)
    )
    for name in names:
        values = [str(record.get(name) or "none").strip() or "none" for record in records]
        if is_of_splits(name, values):
            made: dict[str, list[_Record]] = {}
            for value, record in zip(values, found, strict=True):
                made.setdefault(value, []).append(record)
            return made
    return {"": list(found)}


def _readings_of_some(found: Sequence[_Record], how: str) -> Iterator[Reading]:
    """The readings of the records of one split."""
    seen: list[list[str]] = []
    lacking: list[Reading] = []
    for note, change in _VIDEO_NAMES.items():
        names = [change(record) for record in found]
        if names in seen or any(name is None for name in names):
            continue
        seen.append(names)  # type: ignore[arg-type]
        for each in _namings(found, names, f"{how}{note}"):  # type: ignore[arg-type]
            if each.missing:
                lacking.append(each)
            else:
                yield each
    # What is not whole is the last to be believed.
    yield from lacking


def _called_plainly(records: Sequence[Any]) -> Sequence[Any]:
    """Records of two fields that name their sides in other words, by the words that are known."""
    names = list(records[0]) if records and isinstance(records[0], dict) else []
    if not _names_sides(names) or _names_both(names):
        return records
    if any(not isinstance(each, dict) or each.keys() != set(names) for each in records):
        return records
    text_first = _said_by_words(*names) == "text-video"
    text, video = names if text_first else names[::-1]
    # A query is an id, or the caption itself.
    return [{"query": each[text], "video_id": each[video]} for each in records]


def _one_each(records: Sequence[Any]) -> Sequence[Any]:
    """Records in which a text lists its videos, as a record for each pair."""
    made: list[Any] = []
    for record in records:
        fields = record if isinstance(record, dict) else {}
        key = first_field(fields, _VIDEO_LISTS)
        key = first_field(fields, VIDEO_FIELDS) if key is None else key
        names = None if key is None else fields[key]
        if isinstance(names, list) and names and all(isinstance(x, str | int) for x in names):
            rest = {name: value for name, value in fields.items() if name != key}
            made += [{**rest, "video_id": name} for name in names]
        else:
            made.append(record)
    return made


def _record(record: object, place: str) -> _Record:
    if not isinstance(record, dict):
        raise FormatError(
            f"{place} is {named([record])}, expected an object with a query_id and a video_id"
        )
    video = first_field(record, VIDEO_FIELDS)
    text, captions = first_field(record, TEXT_FIELDS), captions_of(record)
    if text == video:
        text = None
    own = first_field(record, ("id",))
    if own is not None and video is None and captions:
        video, own = own, None
    if video is None:
        raise FormatError(
            f"{place} names no video; expected video_id, corpus-id, image_id, item_id, ... among "
            f"{named(list(record))}"
        )
    if text is None and own is not None and (captions or len(record) == 2):
        text = own
    if text is not None and not isinstance(record[text], str | int | float):
        text = None
    said = first_field(record, CAPTION_FIELDS)
    if text is None and not captions and said and isinstance(record[said], int | float):
        raise FormatError(
            f"{place} has the number {named([record[said]])} as its {named([said])}, expected the "
            "text of the caption; if it is the id of the text, call it caption_id"
        )
    if text is None and not captions:
        raise FormatError(
            f"{place} names no text; expected query_id, text_id, caption_id, sen_id, ... or a "
            f"caption among {named(list(record))}"
        )
    grade = first_field(record, GRADE_FIELDS)
    number = first_field(record, _NUMBER_FIELDS)
    start, end = first_field(record, ("start",)), first_field(record, ("end",))
    name = as_name(record[video], place)
    clip = (f"{name}_{record[start]}_{record[end]}",) if start and end else ()
    return _Record(
        name,
        None if text is None else as_name(record[text], place),
        captions,
        None if grade is None or text is None else as_grade(record[grade], place),
        clip,
        int(record[number]) if number and str(record[number]).strip().isdecimal() else None,
        place.rpartition(": ")[2],
    )


def _without_ending(name: str) -> str:
    head, dot, ending = name.rpartition(".")
    whole = head and not head.endswith("/")
    return head if whole and f"{dot}{ending.lower()}" in _ENDINGS else name


def without_endings(ids: Mapping[str, int]) -> dict[str, int] | None:
    """Rows by ids without the endings of files; None where two would be one, or none has any.

    >>> without_endings({"a.jpg": 0, "b.jpg": 1}), without_endings({"a.jpg#0": 0, "b#0": 1})
    ({'a': 0, 'b': 1}, {'a#0': 0, 'b#0': 1})
    >>> without_endings({"a.jpg": 0, "a.png": 1}), without_endings({"a": 0})
    (None, None)
    """
    made = {_bare(name): row for name, row in ids.items()}
    return made if len(made) == len(ids) and made != ids else None


def bare_reading(one: Reading) -> Reading:
    """The same with names without the endings of files."""
    return replace(
        one,
        build=lambda step: [Pair(_bare(p[0]), _bare(p[1]), p.grade) for p in one.build(step)],
        empty=tuple(map(_bare, one.empty)),
    )


def _bare(name: str) -> str:
    stem, number = _NUMBERED_NAME.fullmatch(name).groups(default="")  # type: ignore[union-attr]
    return _without_ending(stem) + number


def _without_folder(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2]


def _coco_number(record: _Record) -> str | None:
    name = _without_ending(_without_folder(record.video))
    digits = re.fullmatch(r"(?:COCO_\w+_)?(\d+)", name)
    return None if digits is None else str(int(digits.group(1)))


# Every way in which people call a video that a record names.
_VIDEO_NAMES: dict[str, Callable[[_Record], str | None]] = {
    "": lambda record: record.video,
    ", videos without file ending": lambda record: _without_ending(record.video),
    ", videos without folder": lambda record: _without_folder(record.video),
    ", videos without folder and ending": lambda record: _without_ending(
        _without_folder(record.video)
    ),
    ", videos as video_start_end": lambda record: record.others[0] if record.others else None,
    ", images by the number in their name": _coco_number,
}


def _namings(records: Sequence[_Record], videos: Sequence[str], how: str) -> list[Reading]:
    """Every way to call the texts of some records, of which the videos are called so."""
    readings: list[Reading] = []
    whole = [i for i, record in enumerate(records) if record.text is not None]
    if whole:
        missing = ""
        if len(whole) < len(records):
            odd = next(record for record in records if record.text is None)
            missing = (
                f"only {len(whole)} of its {len(records)} entries have an id of the text, "
                f"{odd.entry} has none; give every entry one, or name the texts by their videos "
                "(video#0, video#1, ...)"
            )
        pairs = [Pair(str(records[i].text), videos[i], records[i].grade) for i in whole]
        readings.append(reading(pairs, f"{how}, texts by their id", fixed=True, missing=missing))
    if not any(record.captions for record in records):
        return readings
    numbered: list[tuple[int, str, int]] = []
    # How many captions of a video came before: MSR-VTT and DiDeMo have one record for each.
    counts: dict[str, int] = {}
    for i, record in enumerate(records):
        for caption in record.captions:
            number = counts.get(record.video, 0)
            counts[record.video] = number + 1
            numbered.append((i, caption, number if record.number is None else record.number))

    def named_by(pattern: str, first: int, own: Sequence[str]) -> Callable[[int], list[Pair]]:
        return lambda step: [
            Pair(pattern.format(own[i], number + first), videos[i], records[i].grade)
            for i, _, number in numbered[::step]
        ]

    count = len(numbered)
    given = [record.video for record in records]
    for own in [list(videos)] if given == videos else [list(videos), given]:
        for first in (0, 1):
            for pattern in ("{}#{}", "{}_{}", "{}-{}", "{}#enc#{}"):
                example = pattern.format("video", first)
                readings.append(
                    Reading(
                        named_by(pattern, first, own),
                        count,
                        fixed=True,
                        turns=False,
                        how=f"{how}, texts as {example}",
                    )  # fmt: skip
                )
    by_caption: Callable[[int], list[Pair]] = lambda step: [  # noqa: E731
        Pair(caption, videos[i], records[i].grade) for i, caption, _ in numbered[::step]
    ]
    readings.append(
        Reading(by_caption, count, fixed=True, turns=False, how=f"{how}, texts by their caption")
    )
    # One text for a video: the paragraph of all its captions goes by the name of the video.
    by_video = list(dict.fromkeys(Pair(name, name) for name in videos))
    by_name = reading(by_video, f"{how}, texts by their video", fixed=True)
    readings.append(replace(by_name, turns=False))
    return readings


def readings_of(path: Path) -> Iterable[Reading]:
    """All readings of a ground truth file, the most literal first, made as they are asked for.

    >>> found = next(iter(readings_of(Path("data_samples/gt.json"))))
    >>> found.how, len(found.pairs), found.fixed
    ('an object {a: b}', 750, False)

    Raises:
        FormatError: a pickle or another binary file, not a form that is known, an entry of another
            type, a key given twice.
    """
    path = regular_file(path)
    suffix = path.suffix.lower()
    if suffix in (".parquet", ".pq"):
        return _parquet(path)
    refuse_arrays(path)
    afford(2 * path.stat().st_size, str(path), what="a ground truth")
    text = read_text(path)
    where = str(path)
    head = text.lstrip()[:1]
    if suffix == ".jsonl":
        lines = [line for line in text.split("\n") if line.strip()]
        return readings_of_records(
            [parse_json(line, f"{path}: line {i}") for i, line in enumerate(lines, 1)], where
        )
    if suffix == ".json" or head in ("{", "["):
        return _json(parse_json(text, where), where)
    return _table(text, where)


def _parquet(path: Path) -> Iterable[Reading]:
    from rerank.io.formats.parquet import check_pairs, read_lists
    from rerank.io.ids import read_ids
    from rerank.io.opening import open_container, opener

    opener(path)  # which says what else it is
    check_pairs(path)
    with open_container(path) as container:
        columns: dict[str, Any] = {}
        lists = False
        for name, item in container.fields.items():
            if item.odd.startswith("lists of") and "string" in item.odd:
                columns[name], lists = read_lists(path, name), True
                continue
            if item.odd or len(item.shape) != 1:
                continue
            if _plain(name) in GRADE_FIELDS:
                # What is no grade is said where records are read.
                columns[name] = [
                    value for part in item.blocks(0, item.shape[0])
                    for value in np.asarray(part).tolist()
                ]  # fmt: skip
            elif item.kind in ("text", "integer"):
                columns[name] = read_ids(item)
        columns |= _decimal_ids(container.fields, list(columns))
        held = [name for name in container.fields if name not in ("values", *columns)]
    header = list(columns)
    if not _names_sides(header):
        raise FormatError(
            f"{path}: its columns are {named([*header, *held])}; expected columns such as {HEADERS}"
        )
    each: Iterable[tuple[Any, ...]] = zip(*columns.values(), strict=True)
    counted = lists or any(_caption_keys(tuple(header)))
    if not counted and first_field(header, GRADE_FIELDS) is None:
        each = dict.fromkeys(each)  # ids that come again say nothing new; captions are counted
    rows = [dict(zip(header, row, strict=True)) for row in each]
    return readings_of_records(rows, str(path), how="a table", kind="row")


def _decimal_ids(
    fields: Mapping[str, Field], header: Sequence[str]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Columns of decimals that name a side which no other names: pandas makes them of ids."""
    from rerank.io.ids import read_ids

    decimals = [
        name for name, item in fields.items() if item.kind == "float" and len(item.shape) == 1
    ]
    captions = any(_caption_keys(tuple(header)))
    for side in (VIDEO_FIELDS, TEXT_FIELDS):
        name = first_field(decimals, side)
        if name is None or first_field(header, side) is not None:
            continue
        # Beside captions any number may be called so.
        beside = captions and side is TEXT_FIELDS
        with contextlib.suppress(FormatError) if beside else contextlib.nullcontext():
            yield name, read_ids(fields[name])


def _names_sides(header: Sequence[str]) -> bool:
    """Whether a header names both sides, also in other words where it has two columns."""
    return _names_both(header) or (len(header) == 2 and _said_by_words(*header) != "")


def _said_by_words(left: str, right: str) -> str:
    """Which side stands on the left by the words of two columns, or of one direction; "" for none.

    >>> _said_by_words("gallery", "queries"), _said_by_words("txt", "img"), _said_by_words("a", "b")
    ('video-text', 'text-video', '')
    """
    sides = [
        ("text" if re.fullmatch(_TEXT_WORD + _COLUMN, name) else "")
        or ("video" if re.fullmatch(_VIDEO_WORD + _COLUMN, name) else "")
        for name in (_plain(left), _plain(right))
    ]
    return "-".join(sides) if set(sides) == {"text", "video"} else ""


def _direction_of(name: str) -> str:
    """The direction that a name such as t2v or video_to_texts says; "" for none.

    >>> _direction_of("t2v"), _direction_of("Image_to_Text"), _direction_of("test")
    ('text-video', 'video-text', '')
    """
    ends = re.fullmatch("([a-z]+?)(?:2|to)([a-z]+)", _plain(name))
    letters = {"t": "text", "q": "text", "v": "video", "i": "video", "d": "video"}
    return _said_by_words(*(letters.get(end, end) for end in ends.groups())) if ends else ""


def _by_direction(content: dict[str, Any], where: str, inside: str) -> list[Reading]:
    """The readings of `{"t2v": {text: video}}` or of `{"t2v": ..., "v2t": ...}`; none of others.

    Raises:
        FormatError: the two directions say different things.
    """
    said = {key: _direction_of(key) for key in content if _plain(key) not in _ABOUT}
    if not all(said.values()) or len(set(said.values())) < len(said):
        return []
    parts = {
        key: [
            replace(each, says=says)
            for each in _json(content[key], where, inside=f"{inside}: {key!r}")
        ]
        for key, says in sorted(said.items(), key=lambda item: item[1])
        if isinstance(content[key], dict | list) and content[key]
    }
    if len(parts) == 2:
        one, other = parts
        found = [
            {
                (p.second, p.first)
                if said[key] == "video-text" and not part[0].fixed
                else p[:2]: None
                for p in part[0].pairs
                if p.grade is None or p.grade > 0
            }
            for key, part in parts.items()
        ]
        for names, mine, others in ((parts, *found), ([other, one], *found[::-1])):
            odd = next((pair for pair in mine if pair not in others), None)
            if odd is not None:
                yes, no = names
                raise FormatError(
                    f"{where}{inside}: {yes!r} pairs {named([odd[0]])} with {named([odd[1]])}, and "
                    f"{no!r} does not; leave one of them out, or make them say the same"
                )
    return next(iter(parts.values()), [])


def _names_both(header: Sequence[str]) -> bool:
    """Whether a header names a video, and a text or captions."""
    video = first_field(header, VIDEO_FIELDS)
    rest = [name for name in header if name != video]
    numbered = [name for name in rest if _NUMBERED_CAPTION.fullmatch(_plain(name))]
    text = first_field(rest, (*TEXT_FIELDS, *CAPTION_FIELDS))
    return video is not None and (text is not None or bool(numbered))


def _json(content: Any, where: str, *, inside: str = "") -> Iterable[Reading]:  # noqa: ANN401
    """The readings of JSON; `inside` is the place in the file, for messages."""
    place = f"{where}{inside}"
    if isinstance(content, list):
        if content and (_are_pairs(content) or _are_graded(content)):
            return [_list_of_pairs(content, place)]
        return readings_of_records(content, place)
    if not isinstance(content, dict):
        raise FormatError(f"{place}: is {named([content])}, expected an object or a list")
    images, notes = _objects(content.get("images")), _objects(content.get("annotations"))
    if images and notes:
        return _coco(images, notes, place)
    if images and all("sentences" in image for image in images):
        return _karpathy(images, place)
    if (table := split_of_pandas(content)) is not None:
        return _pandas(table, place)
    content = _without_about(content)
    # Parts and columns are few; names of texts are many.
    by_name = {_plain(key): key for key in content} if len(content) <= _MOST_PARTS else {}
    if by_name and (found := _by_direction(content, where, inside)):
        return found
    splits = [by_name[name] for name in _SPLITS if name in by_name]
    if splits and len(splits) == len(content):
        found = [
            replace(each, split="/".join(filter(None, (split, each.split))))
            for split in splits
            if content[split]
            for each in _json(content[split], where, inside=f"{inside}: {split!r}")
        ]
        if not found:
            raise FormatError(f"{place}: its parts {named(splits)} are all empty; fill one")
        return found
    boxed = [by_name[name] for name in _WRAPPERS if name in by_name]
    boxed = [key for key in boxed if _are_objects(content[key]) or (
        isinstance(content[key], dict) and content[key] and not _is_grades(content[key])
    )]  # fmt: skip
    if "sentences" in content and _are_objects(content["sentences"]):
        # MSR-VTT, which lists the videos as well, and the split of each.
        return _json(
            _with_splits(content["sentences"], content.get("videos")), where, inside=inside
        )
    if len(boxed) == 1 and (len(content) == 1 or _plain(boxed[0]) != "videos"):
        return _json(content[boxed[0]], where, inside=f"{inside}: {boxed[0]!r}")
    lists = [key for key, value in content.items() if _are_objects(value)] if by_name else []
    if len(lists) == 1 and _plain(lists[0]) in (*_SPLITS, *_WRAPPERS):
        # The one list of records, beside what is said of it.
        if first_field(content[lists[0]][0], VIDEO_FIELDS) is not None:
            return _json(content[lists[0]], where, inside=f"{inside}: {lists[0]!r}")
    if len(content) == 1 and _are_objects(next(iter(content.values()))):
        key, value = next(iter(content.items()))
        if first_field(value[0], VIDEO_FIELDS) is not None:
            return _json(value, where, inside=f"{inside}: {key!r}")
    inside_key = _key_of_pairs(content) if by_name else None
    if inside_key is not None:
        return _json(content[inside_key], where, inside=f"{inside}: {inside_key!r}")
    if len(content) == 1 and _is_wrapped(next(iter(content.values()))):
        key, value = next(iter(content.items()))
        return _json(value, where, inside=f"{inside}: {key!r}")
    rows = _rows_of_columns(content)
    if rows is not None:
        return readings_of_records(rows, place, how="columns", kind="row")
    if (column := _column_by_text(content)) is not None:
        return _mapping(column, place)
    if any(isinstance(value, dict) and captions_of(value) for value in content.values()):
        # ActivityNet and YouCook: {video: {"sentences": [...], ...}}
        records = []
        for video, value in content.items():
            if not isinstance(value, dict):
                raise FormatError(
                    f"{place}: the entry {named([video])} is {named([value])}, but others have "
                    "captions"
                )
            splits = {name: value[name] for name in value if is_named_like_splits(name)}
            records.append({"captions": captions_of(value), "video_id": video, **splits})
        return chain(readings_of_records(records, place), _captions_by_key(content, place))
    if content and all(_are_objects(value) for value in content.values()):
        return _objects_by_key(content, place)
    if content and all(_names_other(value) for value in content.values()):
        return _objects_by_key({key: [value] for key, value in content.items()}, place)
    return _mapping(content, place)


def _captions_by_key(content: dict[str, Any], where: str) -> Iterator[Reading]:
    """`{text: {"caption": ..., "video_id": ...}}`, where every object says its own video."""
    values = list(content.values())
    if all(isinstance(x, dict) and first_field(x, VIDEO_FIELDS) is not None for x in values):
        records = [{**value, "query_id": key} for key, value in content.items()]
        yield from readings_of_records(records, where)


def _pandas(table: PandasTable, where: str) -> Iterable[Reading]:
    """A table as pandas writes it: by its columns, or texts by their index."""
    header, rows = table.columns, table.rows
    if _names_both(header):
        records = [dict(zip(header, row, strict=True)) for row in rows]
        return readings_of_records(records, where, how="a table of pandas", kind="row")
    video = first_field(header, VIDEO_FIELDS)
    if len(header) == 2 and video is None and (_are_pairs(rows) or not rows):
        how = f"a table of pandas with the columns {named(header)} (such as {HEADERS} say more)"
        return [replace(_list_of_pairs(rows, where), how=how, says=_said_by_words(*header))]
    if video is None or len(set(map(str, table.labels))) < len(rows):
        raise FormatError(
            f"{where}: is a table of pandas with the columns {named(header)}; expected columns "
            f"such as {HEADERS}"
        )
    at = header.index(video)
    return _mapping({str(key): row[at] for key, row in zip(table.labels, rows, strict=True)}, where)


def _column_by_text(content: dict[str, Any]) -> dict[str, Any] | None:
    """The videos of `{"video_id": {text: video}, ...}`, columns by the index of their table."""
    video = first_field(content, VIDEO_FIELDS) if len(content) <= _MOST_PARTS else None
    columns = list(content.values())
    if video is None or not all(isinstance(x, dict) and x for x in columns):
        return None
    if any(column.keys() != content[video].keys() for column in columns):
        return None
    return content[video] if all(isinstance(x, str) for x in content[video].values()) else None


def _key_of_pairs(content: dict[str, Any]) -> str | None:
    """Under which name an object has its pairs, beside what is said of them."""
    found = [
        key for key, value in content.items()
        if isinstance(value, list) and value and (_are_pairs(value) or _are_graded(value))
    ]  # fmt: skip
    if len(found) == 1:
        others = [value for key, value in content.items() if key != found[0]]
        # One video and its captions, cut into words, would look like that.
        plain = len(content[found[0]]) > 1 and _plain(found[0]) in _WRAPPERS
        # So would several, of which one has captions of two words.
        cut = any(isinstance(x, list) and any(isinstance(y, list) for y in x) for x in others)
        whole = _are_graded(content[found[0]]) or plain or bool(others)
        return found[0] if whole and not cut else None
    lists = [key for key, value in content.items() if _are_objects(value)]
    scalars = sum(not isinstance(value, dict | list) for value in content.values())
    if len(lists) == 1 and scalars and scalars + 1 == len(content):
        return lists[0] if first_field(content[lists[0]][0], VIDEO_FIELDS) is not None else None
    return None


def _list_of_pairs(content: Sequence[Any], place: str) -> Reading:
    """`[[a, b], ...]` or `[[a, b, grade], ...]`."""
    pairs = [
        Pair(as_name(a, place), as_name(b, place), *(as_grade(g, place) for g in grade))
        for a, b, *grade in content
    ]
    return reading(pairs, "a list of pairs")


def _are_pairs(content: Sequence[Any]) -> bool:
    return all(_is_pair(item) for item in content)


def _are_graded(content: Sequence[Any]) -> bool:
    """Whether all are two names, in words, and a number."""
    return all(
        isinstance(item, list) and len(item) == 3 and all(isinstance(x, str) for x in item[:2])
        and isinstance(item[2], int | float) for item in content
    )  # fmt: skip


def _without_about(content: dict[str, Any]) -> dict[str, Any]:
    """Splits and lists of pairs without what is said of them beside; anything else as it is."""
    if len(content) > _MOST_PARTS:
        return content
    left = {key: value for key, value in content.items() if _plain(key) not in _ABOUT}
    return (
        left
        if _is_wrapped(left) and all(isinstance(x, dict | list) for x in left.values())
        else content
    )


def _with_splits(records: list[Any], videos: object) -> list[Any]:
    """Records with the split of their video, where another list says it."""
    listed = [video for video in _objects(videos) if "split" in video]
    splits = {
        video[key]: video["split"] for video in listed for key in ("video_id",) if key in video
    }
    if not splits:
        return records
    return [{"split": splits.get(each.get("video_id")), **each} for each in records]


def _is_wrapped(value: object) -> bool:
    """Whether all that an object holds is called like a split or a list of pairs."""
    names = {_plain(key) for key in value} if isinstance(value, dict) else set()
    return bool(names) and names <= {*_SPLITS, *_WRAPPERS}


def _names_other(value: object) -> bool:
    """Whether an object says by name which video, or which text, belongs to its key."""
    if not isinstance(value, dict) or not value or _is_grades(value):
        return False
    return first_field(value, (*VIDEO_FIELDS, *TEXT_FIELDS)) is not None


def _rows_of_columns(content: dict[str, Any]) -> list[dict[str, Any]] | None:
    """`{"query_id": [...], "video_id": [...]}` as rows, also `{"query_id": {"0": ...}}`."""
    if len(content) > _MOST_PARTS or not _names_sides(list(content)):
        return None
    columns = list(content.values())
    if all(isinstance(column, dict) for column in columns):
        if any(column.keys() != columns[0].keys() for column in columns):
            return None
        columns = [list(column.values()) for column in columns]
    if not all(isinstance(column, list) and column for column in columns):
        return None
    if len({len(column) for column in columns}) != 1:
        return None
    return [dict(zip(content, row, strict=True)) for row in zip(*columns, strict=True)]


def _are_objects(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(x, dict) for x in value)


def _objects(value: Any) -> list[Any]:  # noqa: ANN401  JSON is any of six types
    """A list of objects; empty where it is none."""
    return value if _are_objects(value) else []


def _is_pair(item: object) -> bool:
    return (
        isinstance(item, list)
        and len(item) == 2
        and all(isinstance(x, str | int) and not isinstance(x, bool) for x in item)
    )


def _is_grades(value: dict[str, Any]) -> bool:
    return all(isinstance(x, int | float) and not isinstance(x, bool) for x in value.values())


def _objects_by_key(content: dict[str, Any], where: str) -> Iterable[Reading]:
    """`{video: [{"caption": ...}]}`, or `{text: [{"video_id": ...}]}`, or the other way."""
    first = next(iter(content.values()))[0]
    side = "video_id" if captions_of(first) or first_field(first, VIDEO_FIELDS) is None else "query"
    records = [{**item, side: key} for key, items in content.items() for item in items]
    return readings_of_records(records, where)


def _coco(images: list[Any], notes: list[Any], where: str) -> Iterable[Reading]:
    """COCO captions: images with a file name, annotations with an image_id and an id."""
    names = {image.get("id"): image.get("file_name") for image in images}
    # Ids of their own go by many names; "id" is that of COCO itself.
    records = [
        {**note, "caption_id": note["id"]} if note.get("id") is not None else note for note in notes
    ]
    readings = list(readings_of_records(records, where, how="COCO", kind="annotation"))
    if all(isinstance(names.get(note.get("image_id")), str) for note in notes):
        by_name = [{**r, "image_id": names[r["image_id"]]} for r in records]
        readings += readings_of_records(by_name, where, how="COCO, images by name")
    return readings


def _karpathy(images: list[Any], where: str) -> Iterator[Reading]:
    """The splits of Karpathy: images with their sentences."""
    splits: dict[str, list[Any]] = {}
    for image in images:
        splits.setdefault(str(image.get("split") or "none"), []).append(image)
    for split in sorted(splits, key=lambda name: name != "test"):
        for field in ("filename", "imgid", "cocoid", "filepath"):
            if any(field not in image for image in splits[split]):
                continue
            records = [
                {"image_id": image[field], "caption": sentence.get("raw", ""),
                 "caption_id": sentence.get("sentid")}
                for image in splits[split]
                for sentence in image["sentences"]
            ]  # fmt: skip
            if any(record["caption_id"] is None for record in records):
                records = [{k: v for k, v in r.items() if k != "caption_id"} for r in records]
            note = f", the {split} split" if len(splits) > 1 else ""
            how = f"Karpathy's splits{note}, images by {field}"
            for each in readings_of_records(records, where, how=how, kind="sentence"):
                yield replace(each, split=split) if len(splits) > 1 else each


def _mapping(content: dict[str, Any], where: str) -> Iterator[Reading]:
    """`{a: b}`, `{a: [b, ...]}` or `{a: {b: grade}}`; the b may also be captions."""
    pairs: list[Pair] = []
    empty: list[str] = []
    single = True
    lists = [value for value in content.values() if isinstance(value, list) and value]
    # Captions cut into words; [["v1"]] alone is a list of lists and no caption.
    words = len(lists) == len(content) and all(_is_words(x) for value in lists for x in value)
    words = words and max((len(x) for value in lists for x in value), default=0) > 1
    for key, value in content.items():
        if isinstance(value, str) and value:
            pairs.append(Pair(key, value))
            continue
        place = f"{where}: the entry {named([key])}"
        if isinstance(value, dict):
            found = [Pair(key, item, as_grade(grade, place)) for item, grade in value.items()]
        elif isinstance(value, list):
            if words:
                value = [" ".join(item) for item in value]
            found = [Pair(key, as_name(item, place)) for item in value]
        else:
            found = [Pair(key, as_name(value, place))]
        single = single and not isinstance(value, dict | list)
        pairs += found
        if not found:
            empty.append(key)
    shape = "{a: b}" if single else "{a: [b, ...]}"
    if any(pair.grade is not None for pair in pairs):
        shape = "{a: {b: grade}}"
    yield reading(pairs, f"an object {shape}", empty=empty, single=single)
    if all(pair.grade is None for pair in pairs) and not empty:
        # Captions in place of ids: {video: [captions]}.
        records = [
            {"video_id": key, "captions": _captions(value)}
            for key, value in content.items()
            if _captions(value)
        ]
        if len(records) == len(content):
            yield from readings_of_records(records, where, how="an object {video: captions}")


def _table(text: str, where: str) -> Iterable[Reading]:
    """A table with a header, TREC qrels, lines of an id and a caption, or columns of pairs."""
    lines = lines_in(text, where)
    first = next((line for line in lines if line.strip()), "")
    if not first:
        return []
    delimiter = max("\t,;|", key=first.count)
    header = [cell.strip().strip('"') for cell in first.split(delimiter)]
    blanks = first.split()
    if len(header) == 1 and len(blanks) > 1 and _names_both(blanks):
        # Columns kept apart by blanks: no cell has one inside.
        delimiter, header = " ", blanks
        text = "\n".join(" ".join(line.split()) for line in lines)
    _refuse_lists(header, text, delimiter, where)
    if len(header) > 1 and _names_both(header):
        rows = _rows(text, delimiter, where)
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
    raise FormatError(
        f"{where}: {columns if len(header) > 1 else qrels}; expected TREC qrels (query 0 item "
        f"grade), a table with a header that names query and video, such as {HEADERS}, or JSON"
    )


def _refuse_lists(header: Sequence[str], text: str, delimiter: str, where: str) -> None:
    """Refuse several names in one cell, written as a list of Python or JSON.

    Raises:
        FormatError: there is such a cell in the column of the videos.
    """
    column = first_field(header, (*VIDEO_FIELDS, *_VIDEO_LISTS))
    if column is None or first_field(header, TEXT_FIELDS) is None or "[" not in text:
        return
    for number, row in enumerate(_rows(text, delimiter, where), start=1):
        if _LIST_IN_A_CELL.fullmatch(row[column]):
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
    return [dict(zip(header, row, strict=True)) for row in table[1:]]


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
    looked = [_video_and_caption(line) for line in whole[:_LOOKED_AT]]
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
    says = _said_by_words(*unknown[:2]) if unknown else ""
    readings = [replace(reading(pairs, how), says=says)] if pairs else []
    if len(pairs) > 1 and not unknown:
        first = f"columns called {named(pairs[0][:2])} (names that say more would be {HEADERS})"
        says = _said_by_words(*pairs[0][:2])
        # What is a header for sure is no pair.
        kept = [] if says else readings
        readings = [*kept, replace(reading(pairs[1:], first), says=says)]
    return readings
