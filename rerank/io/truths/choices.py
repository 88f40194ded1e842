"""Records of a list of candidates and the one of them that is right: by its place, or by name."""

from collections.abc import Mapping, Sequence
from typing import Any

from rerank.core.errors import FormatError
from rerank.io.files import named
from rerank.io.side_words import (
    ANSWER_FIELDS,
    CANDIDATE_LISTS,
    CAPTION_FIELDS,
    GRADE_FIELDS,
    NEUTRAL_LISTS,
    TEXT_FIELDS,
    VIDEO_FIELDS,
    VIDEO_LISTS,
    first_field,
    plain,
)
from rerank.io.truths.judgements import are_beside, one_of

# Beside captions, or lists that are not called candidates, other words than these may be classes.
_SURE = tuple(name for name in ANSWER_FIELDS if not name.startswith(("label", "target")))
_CALLED_SO = ("candidate", "option", "choice")


def with_answers(records: Sequence[Any], where: str) -> Sequence[Any]:
    """Records of candidates and an answer, as records of the one that is right; others as they are.

    >>> with_answers([{"query": "q", "candidates": ["v1", "v0"], "answer": 0}], "gt.json")
    [{'query': 'q', 'video_id': 'v1'}]

    Raises:
        FormatError: an answer is none of its candidates, or it cannot be told what it counts.
    """
    first = records[0] if records and isinstance(records[0], Mapping) else {}
    if (graded := _with_grades(first)) is not None:
        called = {graded: "video_ids"}
        return [{called.get(name, name): x for name, x in each.items()} for each in records]
    listed, answer, right = _fields(first)
    if not right:
        return records
    lists = [_names(each, listed) for each in records]
    answers = [_value(each, answer) for each in records]
    if plain(answer) == "label" and plain(listed) in NEUTRAL_LISTS:
        if len(set(answers)) == 1:
            return records  # a grade of all
        raise FormatError(
            f"{where}: {named([answer])} may say which of its {named([listed])} is right, or grade "
            f"all of them; call it answer_idx in the first case, relevance in the second"
        )
    for row, (names, value) in enumerate(zip(lists, answers, strict=True)):
        if len(names) < 2 or value is None:
            raise FormatError(
                f"{where}: entry {row} has no {named([listed if len(names) < 2 else answer])} as "
                "the first has; give every entry its candidates and the one that is right"
            )
    chosen = _chosen(lists, answers, where, answer)
    return [
        {**{name: x for name, x in each.items() if name not in (listed, answer)}, right: name}
        for each, name in zip(records, chosen, strict=True)
    ]


def _with_grades(first: Mapping[str, Any]) -> str | None:
    """The candidates of a text, where a list of grades, one for each, stands beside them."""
    listed = first_field(first, CANDIDATE_LISTS)
    names = [] if listed is None else _names(first, listed)
    sides = [name for name in first if name != listed]
    if len(names) < 2 or first_field(sides, (*VIDEO_FIELDS, *VIDEO_LISTS)) is not None:
        return None
    lists = (name for name in sides if first_field([one_of(name)], GRADE_FIELDS) is not None)
    return listed if any(are_beside(first[name], names) for name in lists) else None


def _fields(first: Mapping[str, Any]) -> tuple[str, str, str]:
    """The fields of candidates and of the answer, and what that is called; "" where none is."""
    nothing = ("", "", "")
    answer = first_field(first, ANSWER_FIELDS)
    if answer is None or _value(first, answer) is None:
        return nothing
    others = [name for name in first if name != answer]
    listed = first_field(others, (*CANDIDATE_LISTS, *NEUTRAL_LISTS))
    of_any = listed is not None and plain(listed) in CANDIDATE_LISTS
    if of_any and plain(answer) not in _SURE and not plain(str(listed)).startswith(_CALLED_SO):
        return nothing
    if listed is not None and len(_names(first, listed)) > 1:
        sides = [name for name in others if name != listed]
        video = first_field(sides, VIDEO_FIELDS)
        if video is None:
            return listed, answer, "video_id"
        text = first_field(sides, (*TEXT_FIELDS, *CAPTION_FIELDS))
        return (listed, answer, "caption") if text is None and of_any else nothing
    captions = first_field(others, CAPTION_FIELDS)
    if captions is None or len(_names(first, captions)) < 2 or plain(answer) not in _SURE:
        return nothing
    by_video = first_field(others, VIDEO_FIELDS) and first_field(others, TEXT_FIELDS) is None
    return (captions, answer, "caption") if by_video else nothing


def _names(record: object, field: str) -> list[str]:
    """The names in a list of a record; none where it holds anything else."""
    held = record.get(field) if isinstance(record, Mapping) else None
    if not isinstance(held, list) or any(type(x) not in (str, int) for x in held):
        return []
    return [str(x) for x in held]


def _value(record: object, field: str) -> str | int | None:
    """A place or a name; None for anything else."""
    value = record.get(field) if isinstance(record, Mapping) else None
    if isinstance(value, bool):
        return None
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) or (isinstance(value, str) and value) else None


def _chosen(
    lists: Sequence[Sequence[str]], answers: Sequence[str | int | None], where: str, field: str
) -> list[str]:
    """The right name of each list."""
    words = [str(value) for value in answers]
    by_name = [word in names for names, word in zip(lists, words, strict=True)]
    places = [int(word) if word.isdecimal() else -1 for word in words]
    by_place = [0 <= at <= len(names) for names, at in zip(lists, places, strict=True)]
    if all(by_name) and not all(by_place):
        return words
    if not all(by_place):
        row = by_place.index(False) if not any(by_name) else by_name.index(False)
        raise FormatError(
            f"{where}: entry {row} has {named([answers[row]])} as its {named([field])}, which is "
            f"neither one of its candidates, {named(list(lists[row]))}, nor the place of one"
        )
    ends = any(at == len(names) for names, at in zip(lists, places, strict=True))
    start = 0 in places
    if all(by_name) or start == ends:
        what = "may be places or names" if all(by_name) else "may count from 0 or from 1"
        raise FormatError(
            f"{where}: the places {named(sorted(set(places)))} under {named([field])} {what}; "
            "write the name of the right one in place of each"
        )
    return [names[at - ends] for names, at in zip(lists, places, strict=True)]
