"""Records that name two videos, one of which is called the right one, as `gt_video` is."""

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from rerank.core.errors import FormatError
from rerank.io.files import named
from rerank.io.side_words import (
    GRADE_FIELDS,
    VIDEO_FIELDS,
    first_field,
    names_right_item,
    plain,
)

_LOOKED_AT = 20_000
_YES_NO = {"", "0", "1", "true", "false", "yes", "no", "none", "nan", "null"}
# Right items by these names, or something else: classes, references, ...
_MAYBE = ("goldid", "positiveid", "targetid", "gold")


def with_right_items(records: Sequence[Any], where: str) -> tuple[Sequence[Any], str]:
    """Records whose video is the one that is called right, and what is said of the other.

    >>> with_right_items([{"query": "q", "video": "v1", "gt_video": "v0"}], "g.csv")[0]
    [{'query': 'q', 'video_id': 'v0'}]
    >>> with_right_items([{"query": "q", "video": "v1", "pred_video": "v0"}], "g.csv")[0]
    [{'query': 'q', 'video': 'v1', 'pred_video': 'v0'}]

    Raises:
        FormatError: it cannot be told which of two counts.
    """
    first = records[0] if records and isinstance(records[0], Mapping) else {}
    other = first_field([name for name in first if not names_right_item(name)], VIDEO_FIELDS)
    called = [name for name in first if names_right_item(name) and _are_names(records, name)]
    if not called:
        if other is not None:
            _ask_of_maybe(records, other, where)
        return records, ""
    right, *more = called
    odd = next((name for name in more if _apart(records, right, name) is not None), None)
    if odd is not None:
        raise _asked(where, right, odd, _apart(records, right, odd))
    row = None if other is None else _apart(records, right, other)
    dropped = set(called)
    note = ""
    if other is not None and row is None:
        return records, ""
    if other is not None:
        grade = first_field(first, GRADE_FIELDS)
        if grade is not None and plain(grade) != "score":
            if any(_word(each, grade) in ("0", "0.0", "false", "no") for each in records):
                return records, ""  # which judges the other
            raise _asked(where, right, other, row)
        dropped |= {name for name in (other, grade) if name is not None}
        note = f"{where}: {named([right])} is read as the right item, and {named([other])} is not"
    kept = (
        {name: x for name, x in each.items() if name not in dropped} | {"video_id": each[right]}
        if isinstance(each, Mapping) and right in each else each
        for each in records
    )  # fmt: skip
    return list(kept), note


def _ask_of_maybe(records: Sequence[Any], other: str, where: str) -> None:
    """Ask about ids of another item beside that of each record, of the same items.

    Raises:
        FormatError: there are some.
    """
    maybe = first_field([name for name in records[0] if name != other], _MAYBE)
    if maybe is None or (row := _apart(records, maybe, other)) is None:
        return
    known, said = (
        {_word(each, name) for each in islice(records, _LOOKED_AT)} for name in (other, maybe)
    )
    if known & said - _YES_NO:
        raise _asked(where, maybe, other, row)


def _asked(where: str, one: str, other: str, row: int | None) -> FormatError:
    return FormatError(
        f"{where}: {named([one])} and {named([other])} name different items in entry {row}, and "
        "nothing says which is right; leave one of them out"
    )


def _apart(records: Sequence[Any], one: str, other: str) -> int | None:
    """The first record in which two fields differ."""
    rows = enumerate(records)
    return next((row for row, each in rows if _word(each, one) != _word(each, other)), None)


def _are_names(records: Sequence[Any], name: str) -> bool:
    return any(_word(each, name) not in _YES_NO for each in islice(records, _LOOKED_AT))


def _word(record: object, name: str) -> str:
    value = record.get(name) if isinstance(record, Mapping) else None
    return str(value).strip().lower() if not isinstance(value, str) else value.strip()
