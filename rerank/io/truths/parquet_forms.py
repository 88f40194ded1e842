"""Readings of a ground truth in a table of parquet: whatever the type of a column, as in CSV."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from rerank.core.errors import FormatError
from rerank.io.field import Field, afford
from rerank.io.files import named
from rerank.io.side_words import (
    ANSWER_FIELDS,
    CANDIDATE_LISTS,
    CAPTION_FIELDS,
    GRADE_FIELDS,
    HEADERS,
    NEUTRAL_LISTS,
    TEXT_FIELDS,
    VIDEO_FIELDS,
    VIDEO_LISTS,
    caption_keys,
    first_field,
    is_text_word,
    names_both,
    names_right_item,
    names_sides,
    plain,
    said_by_words,
)
from rerank.io.splits import is_named_like_splits
from rerank.io.truths.listed_ids import with_lists
from rerank.io.truths.records import ENDS, STARTS, Reading, readings_of_records
from rerank.io.truths.unsaid_labels import FEW, refuse_unsaid

_Columns: TypeAlias = dict[str, Sequence[Any]]

_LOOKED_AT = 20_000
# Types that hold one value, or a list of one, in each row, beside text and numbers.
_DECIMAL, _SINGLE = "of the type decimal", ("of the type", "lists of bool", "lists of decimal")
_ORDERS = {"rank", "distance", "dist", *STARTS, *ENDS}


def parquet_readings(path: Path) -> Iterable[Reading]:
    """A table of parquet with columns of both sides, or of captions in lists."""
    from rerank.io.formats.parquet import check_pairs, names_twice
    from rerank.io.opening import open_container, opener

    opener(path)  # which says what else it is
    check_pairs(path)
    for name in names_twice(path):
        if _is_of_pairs(name) or plain(name) in GRADE_FIELDS:
            raise FormatError(
                f"{path}: has two columns {named([name])}; rename one of them, or leave it out"
            )
    with open_container(path) as container:
        fields = {
            name: item for name, item in container.fields.items()
            if name != "values" or not container.columns
        }  # fmt: skip
        if not _may_name_sides(list(fields)):
            raise _unnamed(path, list(fields))
        columns = _columns(path, fields)
        columns |= _decimal_ids(path, fields, list(columns))
        columns |= _beside(path, fields, columns)
    header = list(columns)
    listed = first_field(header, VIDEO_LISTS) and first_field(header, TEXT_FIELDS)
    if not names_sides(header) and not listed:
        raise _unnamed(path, [*header, *(name for name in fields if name not in columns)])
    each: Iterable[tuple[Any, ...]] = zip(*columns.values(), strict=True)
    lists = any(isinstance(value, list) for of in columns.values() for value in of[:1])
    counted = lists or any(caption_keys(tuple(header)))
    if not counted and first_field(header, GRADE_FIELDS) is None:
        each = dict.fromkeys(each)  # ids that come again say nothing new; captions are counted
    rows = [dict(zip(header, row, strict=True)) for row in each]
    return readings_of_records(with_lists(rows), str(path), how="a table", kind="row")


def _may_name_sides(header: Sequence[str]) -> bool:
    """Whether some columns may name both sides, whatever they hold."""
    lists = first_field(header, VIDEO_LISTS) and first_field(header, TEXT_FIELDS)
    words = any(map(is_text_word, header)) and any(
        said_by_words("text", name) == "text-video" for name in header
    )
    return bool(names_both(header) or lists or words)


def _unnamed(path: Path, header: Sequence[str]) -> FormatError:
    return FormatError(
        f"{path}: its columns are {named(header)}; expected columns such as {HEADERS}"
    )


def _columns(path: Path, fields: Mapping[str, Field]) -> _Columns:
    """Names, captions, and grades of whatever type."""
    from rerank.io.formats.parquet import check_name, read_values
    from rerank.io.ids import read_ids

    grade = first_field(fields, GRADE_FIELDS)
    chosen = first_field(fields, (*CANDIDATE_LISTS, *NEUTRAL_LISTS, *CAPTION_FIELDS)) is not None
    answers = {name for name in fields if chosen and plain(name) in ANSWER_FIELDS}
    columns: _Columns = {}
    for name, item in fields.items():
        if item.odd.startswith("lists of") and "string" in item.odd:
            columns[name] = [value or [] for value in read_values(path, name)]
        elif plain(name) in GRADE_FIELDS:
            # What is no grade is said where records are read.
            if _is_plain(item):
                columns[name] = _values(item)
            elif name == grade:
                columns[name] = _told(path, name)
        elif name in answers and _is_plain(item) and item.kind == "integer":
            columns[name] = _values(item)
        elif _is_plain(item) and item.kind in ("text", "integer") and _is_of_pairs(name):
            item.check()
            check_name(path, name)
            columns[name] = read_ids(item)
        elif _is_plain(item) and item.kind == "text":
            try:
                check_name(path, name)
                columns[name] = read_ids(item)
            except FormatError:  # what is no id may say other things, or nothing of use
                with contextlib.suppress(FormatError):
                    columns[name] = _values(item)
    sides = (*VIDEO_LISTS, *VIDEO_FIELDS, *CANDIDATE_LISTS)
    if first_field([name for name in columns if name not in answers], sides) is None:
        numbers = [
            name for name, item in fields.items() if len(item.shape) == 2 and item.kind == "integer"
        ]
        lists = first_field(numbers, sides)
        columns |= {} if lists is None else {lists: _told(path, lists)}
    if not any(map(is_text_word, columns)) and first_field(columns, TEXT_FIELDS) is None:
        # Texts whose ids are numbers, as lists.
        lists = [name for name, item in fields.items() if _is_of_numbers(item)]
        columns |= {name: _told(path, name) for name in lists if is_text_word(name)}
    if any(isinstance(of[0], list) for of in columns.values() if len(of)):
        # Grades of a list of videos are called so, or labels, scores, ...
        for name, item in fields.items():
            one = plain(name).removesuffix("s")
            if name not in columns and one in GRADE_FIELDS and not _is_plain(item):
                columns[name] = _told(path, name)
    return columns


def _is_plain(item: Field) -> bool:
    return not item.odd and len(item.shape) == 1


def _is_of_numbers(item: Field) -> bool:
    """Whether a column holds lists of whole numbers, of one length or of several."""
    if item.odd:
        return item.odd.startswith("lists of") and "int" in item.odd
    return len(item.shape) == 2 and item.kind == "integer"


def _is_of_pairs(name: str) -> bool:
    """Whether a column is called as a side, or as captions."""
    known = {*TEXT_FIELDS, *VIDEO_FIELDS, *CAPTION_FIELDS, "id"}
    return plain(name) in known or names_right_item(name) or any(caption_keys((name,)))


def _values(item: Field) -> list[Any]:
    """A column of text or numbers as Python holds them."""
    item.check()
    found: list[Any] = []
    size = 0
    for part in item.blocks(0, item.shape[0]):
        values = np.asarray(part).tolist()
        # What comes again is one object.
        texts = {id(value): len(value) for value in values if isinstance(value, str | bytes)}
        size += sum(texts.values()) + 8 * len(values)
        afford(size + 32 * len(found), item.where, what="the column")
        found += values
    return found


def _told(path: Path, name: str) -> list[Any]:
    """A column of another type; decimals are the numbers that they are."""
    from rerank.io.formats.parquet import read_values

    return [
        float(value) if isinstance(value, Decimal) else value for value in read_values(path, name)
    ]


def _decimal_ids(
    path: Path, fields: Mapping[str, Field], header: Sequence[str]
) -> Iterator[tuple[str, Sequence[Any]]]:
    """Columns of decimals that name a side which no other names: pandas makes them of ids."""
    from rerank.io.ids import read_ids

    decimals = [
        name for name, item in fields.items()
        if len(item.shape) == 1 and (item.kind == "float" or item.odd.startswith(_DECIMAL))
    ]  # fmt: skip
    captions = any(caption_keys(tuple(header)))
    for side in (VIDEO_FIELDS, TEXT_FIELDS):
        name = first_field(decimals, side)
        if name is None or first_field(header, side) is not None:
            continue
        # Beside captions any number may be called so.
        beside = captions and side is TEXT_FIELDS
        with contextlib.suppress(FormatError) if beside else contextlib.nullcontext():
            yield name, _told(path, name) if fields[name].odd else read_ids(fields[name])


def _beside(path: Path, fields: Mapping[str, Field], columns: _Columns) -> _Columns:
    """The other columns of single values, as far as they may say which pairs are right.

    Raises:
        FormatError: one that is called like a side, which another names, does, see
            `refuse_unsaid`.
    """
    header = list(columns)
    text, video = first_field(header, TEXT_FIELDS), first_field(header, VIDEO_FIELDS)
    found: _Columns = {}
    pairs: list[tuple[str, str]] = []
    if text and video and first_field(header, GRADE_FIELDS) is None:
        first = (map(str, columns[side][:_LOOKED_AT]) for side in (text, video))
        pairs = list(zip(*first, strict=True))
    for name, item in fields.items():
        values = None if name in columns else _singles(path, name, item)
        if values is None:
            continue
        counts = plain(name) in _ORDERS or is_named_like_splits(name)
        many = not counts and len(set(values[:_LOOKED_AT])) > FEW
        if many and (item.kind == "text" or _is_of_pairs(name)):
            continue
        if not many and not _is_of_pairs(name):
            found[name] = values
        elif text and pairs:
            refuse_unsaid([{name: x, text: ""} for x in values[:_LOOKED_AT]], pairs, str(path))
    return found


def _singles(path: Path, name: str, item: Field) -> list[Any] | None:
    """A column that has one value, or a list of one, in each row; None for another."""
    if _is_plain(item):
        try:
            values = _values(item)
        except FormatError:  # of no use here, so it may be anything
            return None
    elif item.shape[1:] == (1,) or (item.odd.startswith(_SINGLE) and "<" not in item.odd):
        try:
            values = _told(path, name)
        except FormatError:  # of no use here, so it may be anything
            return None
    else:
        return None
    values = [each[0] if isinstance(each, list) and len(each) == 1 else each for each in values]
    if any(isinstance(value, list | dict) for value in values):
        return None
    return [None if value != value else value for value in values]
