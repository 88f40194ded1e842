"""Columns that may say which pairs are right, under a name that says nothing of the kind."""

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from rerank.core.errors import FormatError
from rerank.io.files import named
from rerank.io.side_words import GRADE_FIELDS, first_field, plain
from rerank.io.splits import is_named_like_splits, is_of_splits

_PLACES = {"rank", "distance", "dist"}
_TWO = ({"0", "1"}, {"-1", "1"}, {"true", "false"}, {"yes", "no"})
# What stands where nothing is said; beside one of these alone it says the other.
_NOTHING, _ONE = {"", "none", "nan", "null"}, ({"1"}, {"true"}, {"yes"})
_NO_PART = re.compile(r"(?<=\d)\.0+(?=\]?$)")
# Records that tell, and the share of texts with several pairs whose pairs must differ.
_LOOKED_AT, _MOST = 20_000, 0.5


def refuse_unsaid(
    records: Sequence[Any], pairs: Iterable[tuple[str | None, str]], where: str
) -> None:
    """Ask about a column of two values, such as 0 and 1, that differ between the pairs of a text.

    Every pair would count as right, those of 0 included.

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
    for name in first:
        values = [_word(each.get(name)) for each in records[: len(known)]]
        said = set(values) - _NOTHING
        told = said in _TWO or (said in _ONE and len(set(values)) > 1)
        told = told or (plain(str(name)) in _PLACES and len(set(values)) > 1)
        # Of splits it is asked which is meant.
        told = told and not (is_named_like_splits(str(name)) and is_of_splits(str(name), values))
        if told and _differ(known, values):
            raise FormatError(
                f"{where}: {named([name])} differs between the pairs of one text, and nothing says "
                "which of them are right; call it relevance where 0 is not right, or leave it out "
                "where all are right"
            )


def _word(value: object) -> str:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    word = _NO_PART.sub("", str(value).strip().lower())
    return word[1:-1] if word in ("[0]", "[1]", "[true]", "[false]") else word


def _differ(pairs: Sequence[tuple[str | None, str]], values: Sequence[str]) -> bool:
    """Whether most texts with several videos have different values among them."""
    videos: dict[str, set[str]] = {}
    seen: dict[str, set[str]] = {}
    for (text, video), value in zip(pairs, values, strict=True):
        if text is not None:
            videos.setdefault(text, set()).add(video)
            seen.setdefault(text, set()).add(value)
    several = [text for text, of in videos.items() if len(of) > 1]
    both = sum(len(seen[text]) > 1 for text in several)
    return both > _MOST * len(several)
