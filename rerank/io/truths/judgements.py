"""By which fields records of captions judge their pairs; some of the words say other things too."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from rerank.core.errors import FormatError
from rerank.io.files import named
from rerank.io.side_words import CAPTION_FIELDS, GRADE_FIELDS, TEXT_FIELDS, first_field, plain

# Beside captions these may be classes of videos, or how good a caption is.
_LOOSE = ("label", "score", "rating", "match")
# What may be measured, or given on a scale on which the lowest is above 0.
_MEASURED = ("score", "rating", "match", "label", "relevancescore", "relscore")
_SCALES = ("rating", "label", "match")
# Those that are of relevance may well be grades of what is right.
_OF_RELEVANCE = ("relevancescore", "relscore")
# Texts with several videos, of all, that show judgements of several degrees.
_SEVERAL = 0.1


def judging_fields(
    records: Sequence[Mapping[str, Any]],
    pairs: Sequence[tuple[Sequence[str], str]],
    as_grade: Callable[[object, str], float],
) -> tuple[str, ...]:
    """Plain names of the fields that are grades of pairs of a caption and a video.

    Args:
        records: those without an id of their text.
        pairs: the captions and the video of each.
        as_grade: what makes a grade of a value.
    """
    there = {name for name in _LOOSE if any(first_field(each, (name,)) for each in records)}
    several = bool(there) and any(len(captions) > 1 for captions, _ in pairs)
    return tuple(
        field for field in GRADE_FIELDS
        if field not in there or (not several and _judges(field, records, pairs, as_grade))
    )  # fmt: skip


def _judges(
    field: str,
    records: Sequence[Mapping[str, Any]],
    pairs: Sequence[tuple[Sequence[str], str]],
    as_grade: Callable[[object, str], float],
) -> bool:
    """Whether a field of numbers says how right a pair is, as far as its values show."""
    grades: dict[str, float | None] = {}
    of_text: dict[str, set[str]] = {}
    right: set[str] = set()
    for record, (captions, video) in zip(records, pairs, strict=True):
        name = first_field(record, (field,))
        if name is None or not captions:
            continue
        word = str(record[name])
        if word not in grades:
            grades[word] = None
            with suppress(FormatError):
                grades[word] = as_grade(record[name], "")
        grade = grades[word]
        of_text.setdefault(captions[0], set()).add(video)
        right |= {captions[0]} if grade is not None and grade > 0 else set()
    known = [grade for grade in grades.values() if grade is not None]
    if not known:
        return False  # words for classes
    if len(known) < len(grades) or len(known) <= 2 or len(right) == len(of_text):
        return True
    return sum(len(videos) > 1 for videos in of_text.values()) >= _SEVERAL * len(of_text)


def refuse_measured(
    field: str, graded: Iterable[tuple[str | None, str, float | None]], where: str
) -> str:
    """Refuse grades that are measured, or on a scale, all above 0: every pair would be right.

    Whole numbers called scores or relevance are those of TREC, of which what is above 0 is right.
    Of decimals that are called relevance this is what comes back, in a sentence.

    Args:
        field: what the grades are called.
        graded: text, where it is known, video and grade of each pair.
        where: the file.

    Raises:
        FormatError: they differ between the pairs of a text.
    """
    if plain(field) not in _MEASURED:
        return ""
    of_text: dict[str, dict[str, float]] = {}
    whole = True
    for text, video, grade in graded:
        if grade is None:
            continue
        if grade <= 0:
            return ""
        whole = whole and grade.is_integer()
        if text is not None:
            of_text.setdefault(text, {})[video] = grade
    unlike = next((x for x in of_text.values() if len(set(x.values())) > 1), None)
    if unlike is None or (whole and plain(field) not in _SCALES):
        return ""
    shown = named(sorted(set(unlike.values())))
    told = f"{where}: its grades {named([field])}, such as {shown} of one text, are all above 0"
    if plain(field) in _OF_RELEVANCE:
        return f"{told}, so every pair counts as right; write 0 where one is not"
    raise FormatError(
        f"{told}, so every pair would be right; write 0 where a pair is not right, or call it "
        "relevance where all are right"
    )


def graded_captions(record: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A record for each caption of a list, where each has its own grade; none of other records.

    >>> [*graded_captions({"video_id": "v", "captions": ["a", "b"], "labels": [1, 0]})][1]
    {'video_id': 'v', 'captions': 'b', 'label': 0}
    """
    key = first_field(record, CAPTION_FIELDS)
    listed = None if key is None else record[key]
    if key is None or not isinstance(listed, list) or not listed:
        return
    if first_field(record, (*TEXT_FIELDS, "id")) not in (None, key):
        return
    if all(isinstance(part, str) for part in listed):
        beside = {one_of(name): name for name in record if are_beside(record[name], listed)}
        grade = first_field(beside, GRADE_FIELDS)
        if grade is None:
            return
        values = record[beside[grade]]
        rest = {name: value for name, value in record.items() if name != beside[grade]}
        for caption, value in zip(listed, values, strict=True):
            yield {**rest, key: caption, grade: value}
    elif all(isinstance(part, dict) for part in listed):
        grade = first_field(listed[0], GRADE_FIELDS)
        if grade is not None and all(grade in part for part in listed):
            for part in listed:
                yield {**record, key: [part], grade: part[grade]}


def are_beside(value: object, names: Sequence[object]) -> bool:
    """Whether something is a list of a number, or of yes and no, for every name."""
    return (
        isinstance(value, list)
        and len(value) == len(names)
        and all(isinstance(x, int | float) for x in value)
    )


def one_of(name: str) -> str:
    """What one of several is called: the label of labels."""
    one = name.removesuffix("s")
    return one if first_field([one], GRADE_FIELDS) is not None else name
