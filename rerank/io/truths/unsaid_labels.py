"""Columns that may say which pairs are right, under a name that says nothing of the kind."""

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from rerank.core.errors import FormatError
from rerank.io.files import named
from rerank.io.side_words import (
    CAPTION_FIELDS,
    GRADE_FIELDS,
    TEXT_FIELDS,
    VIDEO_FIELDS,
    VIDEO_LISTS,
    counts_own_rows,
    first_field,
    plain,
)
from rerank.io.splits import is_named_like_splits, is_of_splits

_PLACES = {"rank", "distance", "dist"}
_TWO = ({"0", "1"}, {"-1", "1"}, {"true", "false"}, {"yes", "no"})
# What stands where nothing is said; beside one of these alone it says the other.
_NOTHING, _ONE = {"", "none", "nan", "null"}, ({"1"}, {"true"}, {"yes"})
_NO_PART = re.compile(r"(?<=\d)\.0+(?=\]?$)")
# Records that tell, and the share of texts with several pairs whose pairs must differ.
_LOOKED_AT, _MOST, _NEARLY_ALL = 20_000, 0.5, 0.9
# More different words are names, captions, classes, ...
FEW = 5
_SIDES = {*TEXT_FIELDS, *VIDEO_FIELDS, *VIDEO_LISTS, *CAPTION_FIELDS, "id"}
# When something is or how long it takes, and what counts or names things.
_TIMES = (
    "start|begin|end|stop|from|to|times?|timestamps?|durations?|lengths?|secs?|seconds?|ms|dates?|"
    "years?|months?|days?|hours?|frames?|ids?|idx|index|number|num|no|names?|paths?|urls?"
)
_TIME = re.compile(rf"(.*[\W_])?({_TIMES})|({_TIMES})[\W_].*|.*(time|number)", re.IGNORECASE)


def refuse_unsaid(
    records: Sequence[Any], pairs: Iterable[tuple[str | None, str]], where: str
) -> None:
    """Ask about a column of a few values, or of numbers, that differ between the pairs of a text.

    Every pair would count as right, those of 0 included. What is said of videos alone, or of
    texts, names, counts and times is left alone.

    Args:
        records: the entries of a ground truth.
        pairs: text, where it is known, and video of each of them.
        where: the file.

    Raises:
        FormatError: there is such a column, and none that is called as grades are.
    """
    first = records[0] if records and isinstance(records[0], Mapping) else {}
    if first_field(first, GRADE_FIELDS) is not None:
        return
    known = list(islice(pairs, _LOOKED_AT))
    # A caption may be that of several videos by chance.
    own = first_field(first, TEXT_FIELDS)
    for name in first:
        if name == own:
            continue
        values = [_word(each.get(name)) for each in records[: len(known)]]
        # Of splits it is asked which is meant.
        if is_named_like_splits(str(name)) and is_of_splits(str(name), values):
            continue
        sure = _is_known(str(name), values) and _differ(known, values, _MOST)
        if sure or (
            _may_judge(str(name), values) and _judges(known, values, by_id=own is not None)
        ):
            way = "call it relevance where 0 is not right"
            if not sure and not any(_is_number(word) and float(word) <= 0 for word in values):
                way = "write it as relevance, a number that is 0 where a pair is not right"
            raise FormatError(
                f"{where}: {named([name])} differs between the pairs of one text, and nothing says "
                f"which of them are right; {way}, or leave it out where all are right"
            )


def _is_known(name: str, values: Sequence[str]) -> bool:
    """Whether a column holds a yes and a no, or is called like places in a ranking."""
    said = set(values) - _NOTHING
    several = len(set(values)) > 1
    return said in _TWO or (several and (said in _ONE or plain(name) in _PLACES))


def _may_judge(name: str, values: Sequence[str]) -> bool:
    """Whether a column is of a few values, or of numbers, and of nothing else by its name."""
    rows = counts_own_rows(name) and plain(name) not in ("order", "position")
    if rows or plain(name) in _SIDES or is_of_splits(name, values):
        return False
    if _TIME.fullmatch(re.sub(r"([a-z])([A-Z])", r"\1_\2", name)):
        return False
    said = set(values) - _NOTHING
    numbers = all(map(_is_number, said))
    if len(said) < 2 or (len(said) > FEW and not numbers) or any(x[0] in "[{" for x in said):
        return False
    # What is another for each pair names or counts it.
    return len(said) < len(values) or (numbers and not all(map(_is_whole, said)))


def _judges(pairs: Sequence[tuple[str | None, str]], values: Sequence[str], *, by_id: bool) -> bool:
    """Whether values differ between the pairs of a text and are not said of its videos."""
    of_video: dict[str, set[str]] = {}
    of_text: dict[str | None, set[str]] = {}
    texts: dict[str, set[str | None]] = {}
    for (text, video), value in zip(pairs, values, strict=True):
        of_video.setdefault(video, set()).add(value)
        of_text.setdefault(text, set()).add(video)
        texts.setdefault(video, set()).add(text)
    several = sum(len(videos) > 1 for videos in of_text.values())
    if not by_id and several <= _MOST * len(of_text):
        return False
    again = [video for video, of in texts.items() if len(of) > 1]
    if again:
        once = all(len(of_video[video] - _NOTHING) < 2 for video in again)
        return not once and _differ(pairs, values, _MOST)
    # Of videos that come once only words are believed, where each text has several of them.
    words = not all(map(_is_number, set(values) - _NOTHING))
    return words and _differ(pairs, values, _NEARLY_ALL)


def _is_number(word: str) -> bool:
    try:
        return abs(float(word)) < float("inf")
    except ValueError:
        return False


def _is_whole(word: str) -> bool:
    return float(word).is_integer()


def _word(value: object) -> str:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, float):
        value = int(value) if value.is_integer() else value
        return str(value)
    word = _NO_PART.sub("", str(value).strip().lower())
    return word[1:-1] if word in ("[0]", "[1]", "[true]", "[false]") else word


def _differ(pairs: Sequence[tuple[str | None, str]], values: Sequence[str], share: float) -> bool:
    """Whether more than a share of the texts with several videos have different values of them."""
    videos: dict[str, set[str]] = {}
    seen: dict[str, set[str]] = {}
    for (text, video), value in zip(pairs, values, strict=True):
        if text is not None:
            videos.setdefault(text, set()).add(video)
            seen.setdefault(text, set()).add(value)
    several = [text for text, of in videos.items() if len(of) > 1]
    both = sum(len(seen[text]) > 1 for text in several)
    return both > share * len(several)
