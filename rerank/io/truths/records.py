"""Readings of a ground truth: pairs of names, and the records that they are made of.

Files that give captions no id of their own have several readings, because people name captions and
videos in different ways; the ids at hand decide which is meant, see
`rerank.io.truths.ground_truth`. A file that says which side is which (a header, records with named
sides, TREC qrels) has readings that are *fixed*: texts stand on the left, whatever the names look
like.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from rerank.core.errors import FormatError
from rerank.io.files import named
from rerank.io.side_words import (
    CAPTION_FIELDS,
    GRADE_FIELDS,
    TEXT_FIELDS,
    VIDEO_FIELDS,
    VIDEO_LISTS,
    captions_of,
    counts_own_rows,
    first_field,
    names_both,
    of_triplet,
    refers_to_rows,
    sides_in_words,
)
from rerank.io.splits import (
    is_named_like_splits,
    is_of_splits,
    kind_of_splits,
    may_say_split,
    says_by_name,
)
from rerank.io.truths.bare_names import bare, without_ending, without_folder
from rerank.io.truths.choices import with_answers
from rerank.io.truths.judgements import (
    are_beside,
    graded_captions,
    judging_fields,
    one_of,
    refuse_measured,
)
from rerank.io.truths.listed_ids import with_own_ids
from rerank.io.truths.right_items import with_right_items
from rerank.io.truths.unsaid_labels import refuse_unsaid

_NUMBER_FIELDS = ("commentnumber", "captionnumber", "sentencenumber", "captionindex")

_YES_NO = {"true": 1.0, "yes": 1.0, "false": 0.0, "no": 0.0}

# Where the part of a video begins and ends.
STARTS = ("start", "starttime", "starts", "startsec", "startseconds")
ENDS = ("end", "endtime", "ends", "endsec", "endseconds")

_OF_PAIRS = (*TEXT_FIELDS, *VIDEO_FIELDS, *CAPTION_FIELDS, *GRADE_FIELDS)

_COUNTED = re.compile(r"\s*\d{1,18}\s*")

# How readings end whose texts are called by their captions.
BY_CAPTION = ", texts by their caption"

# Lines that tell what a file without a header is.
LOOKED_AT = 200


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
        unnamed: whether that is said by the values of a field alone, and not by its name.
        says: "text-video" or "video-text" where words of the file say which side stands on the
            left and are believed only where the ids do not tell.
        listed: whether its numbers are those of lists in the same file, not of rows elsewhere.
        counted: what the field of the first names is called, and that of the second, where they
            are called like numbers of rows; "" elsewhere.
        doubt: what was taken for granted, in a sentence.
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
    unnamed: bool = False
    says: str = ""
    listed: bool = False
    counted: tuple[str, str] = ("", "")
    doubt: str = ""

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
    """A finite grade; yes and true are 1, no and false are 0.

    Raises:
        FormatError: not a number, or not a finite one.
    """
    if (word := str(value).strip().lower()) in _YES_NO:
        return _YES_NO[word]
    try:
        grade = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        grade = float("nan")
    if word in ("", "none", "nan", "null"):
        held = "holds no grade" if word in ("", "none") else f"{named([value])} is not a grade"
        raise FormatError(
            f"{where}: {held}; expected a number: write 0 where the pair is not right, or leave "
            "the pair out where nobody judged it"
        )
    if not abs(grade) < float("inf"):
        of_words = isinstance(value, str) and grade != grade  # not "inf"
        way = ": write one for each word, 0 where a pair is not right" if of_words else ""
        raise FormatError(f"{where}: {named([value])} is not a grade; expected a number{way}")
    return grade


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
    records, chosen = with_right_items(records, where)
    counted = _counted(records)
    records = with_own_ids(records)
    records = _one_each(_called_plainly(with_answers(_without_triplets(records), where)))
    found = [_record(record, f"{where}: {kind} {row}") for row, record in enumerate(records)]
    found, doubt = _with_grades(records, found, f"{where}: {kind}")
    doubt = doubt or chosen
    refuse_unsaid(records, ((_text_of(each), each.video) for each in found), where)
    parts, unnamed = _by_split(records, found)
    for split, part in parts.items():
        for each in _readings_of_some(part, how):
            yield replace(each, split=split, unnamed=unnamed, counted=counted, doubt=doubt)


def _counted(records: Sequence[Any]) -> tuple[str, str]:
    """The fields of text and video that are called like numbers of rows."""
    names = list(records[0]) if records and isinstance(records[0], dict) else []
    found = (first_field(names, fields) or "" for fields in (TEXT_FIELDS, VIDEO_FIELDS))
    text, video = (x if refers_to_rows(x) else "" for x in found)
    return text, video


def _with_grades(
    records: Sequence[Any], found: Sequence[_Record], place: str
) -> tuple[list[_Record], str]:
    """Records with what they say of how right their pairs are, and what is to be said of that."""
    bare = [row for row, one in enumerate(found) if one.text is None]
    pairs = [(found[row].captions, found[row].video) for row in bare]
    of_captions = judging_fields([records[row] for row in bare], pairs, as_grade) if bare else ()
    made: list[_Record] = []
    field = ""
    for row, one in enumerate(found):
        name = first_field(records[row], of_captions if one.text is None else GRADE_FIELDS)
        grade = None if name is None else as_grade(records[row][name], f"{place} {row}")
        field = field or name or ""
        made.append(one if grade is None else one._replace(grade=grade))
    graded = ((_text_of(one), one.video, one.grade) for one in made)
    return made, refuse_measured(field, graded, place.rpartition(": ")[0])


def _text_of(record: _Record) -> str | None:
    """The id of its text, else its only caption."""
    only = record.captions[0] if len(record.captions) == 1 else None
    return only if record.text is None else record.text


def _by_split(
    records: Sequence[Any], found: Sequence[_Record]
) -> tuple[dict[str, list[_Record]], bool]:
    """Records by what a field says of the split of each; all under "" where none says it.

    Further whether the values of that field alone say so, and not its name.
    """
    names = dict.fromkeys(
        name for record in records[:LOOKED_AT] for name in record if may_be_of_splits(name, record)
    )
    for name in sorted(names, key=lambda each: not is_named_like_splits(each)):
        values = [str(record.get(name) or "none").strip() or "none" for record in records]
        if is_of_splits(name, values):
            made: dict[str, list[_Record]] = {}
            for value, record in zip(values, found, strict=True):
                made.setdefault(value, []).append(record)
            sure = says_by_name(name, values)
            of_items = is_named_like_splits(name) or kind_of_splits(values) == "sides"
            if sure or _are_divided(list(made.values()), of_items=of_items):
                return made, not sure
    return {"": list(found)}, False


def _are_divided(parts: Sequence[Sequence[_Record]], *, of_items: bool) -> bool:
    """Whether parts are things apart, and not captions of two kinds of the same videos.

    `of_items`: numbers and sides, which may be said of videos; so parts have to share some.
    """
    videos = [{one.video for one in part} for part in parts]
    captions = [{each for one in part for each in one.captions} for part in parts]
    once = [sum(map(len, sets)) == len(set().union(*sets)) for sets in (videos, captions)]
    if of_items and once[0]:
        return False
    with_ids = any(one.text is not None for part in parts for one in part)
    return with_ids or once[0] or not once[1]


def may_be_of_splits(name: str, record: Mapping[str, Any]) -> bool:
    """Whether a field may say the split, by its name, or by what it says of one record."""
    if is_named_like_splits(name):
        return True
    said = isinstance(record[name], str) and may_say_split(name, record[name].strip())
    return said and first_field([name], _OF_PAIRS) is None


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


def _without_triplets(records: Sequence[Any]) -> Sequence[Any]:
    """Triplets of a text, what is right and what is not, called as other records are."""
    names = list(records[0]) if records and isinstance(records[0], dict) else []
    if not (called := of_triplet(names)):
        return records
    return [
        {called.get(name, name): value for name, value in each.items()}
        if isinstance(each, dict) else each
        for each in records
    ]  # fmt: skip


def _called_plainly(records: Sequence[Any]) -> Sequence[Any]:
    """Records of two fields that name their sides in other words, by the words that are known."""
    names = list(records[0]) if records and isinstance(records[0], dict) else []
    sides = None if names_both(names) else sides_in_words(names)
    if sides is None:
        return records
    if any(not isinstance(each, dict) or each.keys() != set(names) for each in records):
        return records
    text, video = sides
    # A query is an id, or the caption itself.
    called = {text: "query", video: "video_id"}
    left = {name: called.get(name, name) for name in names if not counts_own_rows(name)}
    return [
        {new: _in_words(each[name]) if name == text else each[name] for name, new in left.items()}
        for each in records
    ]


def _in_words(value: Any) -> Any:  # noqa: ANN401  anything at all
    """A list of whole numbers, which name texts as well as words do, as words; else what it is."""
    if isinstance(value, list) and value and all(type(each) is int for each in value):
        return list(map(str, value))
    return value


def _one_each(records: Sequence[Any]) -> Sequence[Any]:
    """Records in which a text lists its videos, or a video graded captions, as one for each."""
    made: list[Any] = []
    for record in records:
        fields = record if isinstance(record, dict) else {}
        key = first_field(fields, VIDEO_LISTS)
        key = first_field(fields, VIDEO_FIELDS) if key is None else key
        names = None if key is None else fields[key]
        if isinstance(names, list) and names and all(isinstance(x, str | int) for x in names):
            rest = {name: value for name, value in fields.items() if name != key}
            beside = {one_of(x): of for x, of in rest.items() if are_beside(of, names)}
            for row, name in enumerate(names):
                own = {one: of[row] for one, of in beside.items()}
                made.append({**rest, **own, "video_id": name})
        else:
            made += list(graded_captions(fields)) or [record]
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
    number = first_field(record, _NUMBER_FIELDS)
    name = as_name(record[video], place)
    return _Record(
        name,
        None if text is None else as_name(record[text], place),
        captions,
        None,
        _clips(name, record),
        int(record[number]) if number and _COUNTED.fullmatch(str(record[number])) else None,
        place.rpartition(": ")[2],
    )


def _clips(name: str, record: Mapping[str, Any]) -> tuple[str, ...]:
    """What a part of a video is called: video_start, and video_start_end."""
    start, end = first_field(record, STARTS), first_field(record, ENDS)
    if start is None:
        return ()
    alone = f"{name}_{record[start]}"
    return (alone,) if end is None else (alone, f"{alone}_{record[end]}")


def renamed_reading(one: Reading, change: Callable[[str], str]) -> Reading | None:
    """The same with names that are changed; None where two would be one without their folders."""
    names = {*one.empty, *(name for pair in one.pairs for name in pair[:2])}
    if len(set(map(change, names))) < len(set(map(bare, names))):
        return None
    return replace(
        one,
        build=lambda step: [Pair(change(p[0]), change(p[1]), p.grade) for p in one.build(step)],
        empty=tuple(map(change, one.empty)),
    )


def _coco_number(record: _Record) -> str | None:
    name = without_ending(without_folder(record.video))
    digits = re.fullmatch(r"(?:COCO_\w+_)?(\d{1,4000})", name)
    return None if digits is None else str(int(digits.group(1)))


# Every way in which people call a video that a record names.
_VIDEO_NAMES: dict[str, Callable[[_Record], str | None]] = {
    "": lambda record: record.video,
    ", videos without file ending": lambda record: without_ending(record.video),
    ", videos without folder": lambda record: without_folder(record.video),
    ", videos without folder and ending": lambda record: without_ending(
        without_folder(record.video)
    ),
    ", videos as video_start_end": lambda record: record.others[1] if record.others[1:] else None,
    ", videos as video_start": lambda record: record.others[0] if record.others else None,
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
    readings.append(Reading(by_caption, count, fixed=True, turns=False, how=f"{how}{BY_CAPTION}"))
    # One text for a video: the paragraph of all its captions goes by the name of the video.
    right = (
        name
        for name, one in zip(videos, records, strict=True)
        if one.grade is None or one.grade > 0
    )
    by_video = list(dict.fromkeys(Pair(name, name) for name in right))
    by_name = reading(by_video, f"{how}, texts by their video", fixed=True)
    readings.append(replace(by_name, turns=False))
    return readings
