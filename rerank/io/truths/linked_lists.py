"""Ground truths in several lists of one document, which refer to each other by numbers or keys.

`{"clips": [{"clip_id", "name"}], "queries": [{"query_id", "clip_id"}]}`, also with a third list of
pairs, or `{"queries": [names], "videos": [names], "pairs": [[3, 5], ...]}`, whose numbers count in
the lists of names. What the items are called in the files of vectors is seen from the ids.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from rerank.core.errors import FormatError
from rerank.io.files import named
from rerank.io.side_words import (
    CAPTION_FIELDS,
    TEXT_FIELDS,
    VIDEO_FIELDS,
    first_field,
    is_text_word,
    plain,
)
from rerank.io.truths.records import Reading, readings_of_records

_MOST, _DIGITS = 20, 18
_REFERS = re.compile("(.+?)(ids?|idx|index|no|number)?")
# COCO has these beside; they are no side.
_NO_SIDE = {"licenses", "categories"}

_Rows = list[dict[str, Any]]


class _Link(NamedTuple):
    """A field of a list, which refers to the rows of another by what one of its fields says."""

    field: str
    to: str
    rows: dict[str, dict[str, Any]]


def linked_readings(content: dict[str, Any], where: str) -> Iterator[Reading] | None:
    """The readings of lists that refer to each other; None where none does, or none needs to.

    >>> clips = [{"clip_id": 7, "name": "a"}]
    >>> content = {"clips": clips, "queries": [{"query_id": "q", "clip_id": 7}]}
    >>> [each.pairs[0][:2] for each in linked_readings(content, "gt.json")]
    [('q', '7'), ('q', 'a')]
    """
    if not 2 <= len(content) <= _MOST:
        return None
    lists = {
        name: rows for name, value in content.items()
        if plain(name) not in _NO_SIDE and (rows := _rows(value))
    }  # fmt: skip
    found = [
        (name, links) for name, rows in lists.items() if (links := _links(name, rows, lists))
    ]  # fmt: skip
    if len(found) != 1:
        return None
    name, links = found[0]
    of_texts = [link for link in links if _is_of_texts(link)]
    if len(links) > 2 or (len(links) == 2 and len(of_texts) != 1) or not _needs(links, content):
        return None
    if len(links) == 1:
        # A side that a row says itself is not the one that it refers to by another field.
        side = first_field(lists[name][0], TEXT_FIELDS if of_texts else VIDEO_FIELDS)
        if side not in (None, links[0].field):
            return None
    return _readings(name, lists[name], links, of_texts, where)


def _rows(value: object) -> _Rows:
    """The rows of a list of objects, or of objects by their keys; none of anything else."""
    if isinstance(value, dict) and all(isinstance(x, dict) for x in value.values()):
        return [{"id": key, **of} for key, of in value.items()]
    whole = isinstance(value, list) and all(isinstance(x, dict) for x in value)
    return list(value) if whole else []  # type: ignore[call-overload]


def _key(value: object) -> str:
    """A number or a name as text; "" for anything else."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and (isinstance(value, bool) or abs(value) >= 10**_DIGITS):
        return ""
    return str(value) if isinstance(value, str | int) else ""


def _singulars(name: str) -> set[str]:
    low = plain(name)
    return {low, low.removesuffix("s"), low.removesuffix("es"), re.sub("ies$", "y", low)}


def _own_ids(name: str) -> set[str]:
    return {f"{one}id" for one in _singulars(name)}


def _links(name: str, rows: _Rows, lists: Mapping[str, _Rows]) -> list[_Link]:
    """The fields of a list that refer to another."""
    found: list[_Link] = []
    for field in rows[0]:
        stem = plain(str(field))
        bare = _REFERS.fullmatch(stem)
        if bare is None or stem == "id" or bare.group(1) in _singulars(name):
            continue
        wanted = {_key(row.get(field)) for row in rows}
        if "" in wanted:
            continue
        for other, items in lists.items():
            same = [key for key in items[0] if plain(str(key)) == stem]
            if other == name or not (same or bare.group(1) in _singulars(other)):
                continue
            own = [key for key in items[0] if plain(str(key)) in _own_ids(other)]
            for key in (*same, "id", *own):
                by_key = {_key(row.get(key)): row for row in items}
                if wanted <= by_key.keys() and len(by_key) == len(items):
                    found.append(_Link(field, other, by_key))
                    break
    return found


def _is_of_texts(link: _Link) -> bool:
    return first_field([link.field], TEXT_FIELDS) is not None or _are_texts(link.to)


def _are_texts(name: str) -> bool:
    return is_text_word(name) or plain(name) in (*CAPTION_FIELDS, "searches", "annotations")


def _needs(links: Sequence[_Link], content: dict[str, Any]) -> bool:
    """Whether the list that refers to others does not say it all by itself."""
    known = (*VIDEO_FIELDS, *TEXT_FIELDS)
    return any(
        all(key.isdecimal() for key in link.rows)
        or first_field([link.field], known) is None
        or isinstance(content[link.to], dict)
        for link in links
    )


def _readings(
    name: str, rows: _Rows, links: Sequence[_Link], of_texts: Sequence[_Link], where: str
) -> Iterator[Reading]:
    """By everything that texts and items may be called."""
    link = next((each for each in links if each not in of_texts), links[0])
    there = [link.rows[_key(row[link.field])] for row in rows]
    if len(links) == 2:
        text_link = of_texts[0]
        texts, videos = [text_link.rows[_key(row[text_link.field])] for row in rows], there
    elif of_texts:
        texts, videos = there, rows
    else:
        texts, videos = rows, there
    said = bool(of_texts) or _are_texts(name) or first_field([link.field], VIDEO_FIELDS)
    sides = (*TEXT_FIELDS, *VIDEO_FIELDS, "id")
    rest = [
        {key: value for key, value in row.items() if plain(str(key)) not in sides}
        for row in rows
    ]  # fmt: skip
    for text in _names(texts, [each.field for each in links]):
        for video in _names(videos, [each.field for each in links] if of_texts else []):
            records = [
                {**beside, "query_id": one[text], "video_id": other[video]}
                for beside, one, other in zip(rest, texts, videos, strict=True)
            ]
            how = f"lists that refer to each other, texts by {text!r}, items by {video!r}"
            for each in readings_of_records(records, where, how=how):
                yield replace(each, fixed=bool(said), listed=True)


def _names(rows: _Rows, links: Sequence[str]) -> list[str]:
    """Fields by which rows may be called: their ids, and whatever text tells them apart."""
    distinct = {id(row): row for row in rows}.values()
    found = []
    for key in rows[0]:
        values = [_key(row.get(key)) for row in distinct]
        called = plain(str(key)) in (*TEXT_FIELDS, *VIDEO_FIELDS, "id") or _is_id(str(key))
        tells = len(set(values)) == len(values) and all(
            isinstance(row.get(key), str) for row in distinct
        )
        if key not in links and "" not in values and (called or tells):
            found.append(key)
    return found


def _is_id(key: str) -> bool:
    return plain(key).endswith("id")


def paired_lists(content: dict[str, Any], key: str, where: str) -> Iterator[Reading] | None:
    """A list of pairs of numbers that count, or are ids, in two other lists of the document.

    >>> content = {"queries": ["q", "r"], "videos": ["a", "b"], "pairs": [[0, 1]]}
    >>> next(paired_lists(content, "pairs", "gt.json")).pairs[0][:2]
    ('q', 'b')

    Returns:
        Readings; None where there are no such lists.

    Raises:
        FormatError: numbers that no list has a name for, or that could be names as well.
    """
    pairs = content[key]
    lists = [name for name, value in content.items() if name != key and holds_names(value)]
    texts = [name for name in lists if _are_texts(name)]
    numbers = all(
        isinstance(pair, list) and all(isinstance(x, int) for x in pair[:2]) for pair in pairs
    )
    if len(lists) != 2 or len(texts) != 1 or not numbers:
        return None
    text, video = texts[0], next(name for name in lists if name not in texts)
    if _rows(content[text]) and _rows(content[video]):
        rows = [{text: pair[0], video: pair[1], **_grade(pair)} for pair in pairs]
        return linked_readings({text: content[text], video: content[video], key: rows}, where)
    if not (_are_names(content[text]) and _are_names(content[video])):
        return None
    one, other = (
        _named_by(content[name], [pair[at] for pair in pairs], f"{where}: {named([key])}", name)
        for at, name in enumerate((text, video))
    )
    records = [
        {"query_id": one(pair[0]), "video_id": other(pair[1]), **_grade(pair)} for pair in pairs
    ]
    found = readings_of_records(records, where, how="pairs of places in lists of names")
    return (replace(each, listed=True) for each in found)


def holds_names(value: object) -> bool:
    """Whether something is a list of names, or of objects, or objects by their keys."""
    return _are_names(value) or bool(_rows(value))


def _grade(pair: Sequence[Any]) -> dict[str, Any]:
    return {"relevance": pair[2]} if len(pair) > 2 else {}


def _are_names(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(_key(x) for x in value)


def _named_by(
    names: Sequence[Any], numbers: Sequence[int], where: str, name: str
) -> Callable[[int], str]:
    """What the numbers of one side mean: places in a list from 0, or the names in it."""
    keys = [_key(each) for each in names]
    places = all(0 <= number < len(keys) for number in numbers)
    called = {str(number) for number in numbers} <= set(keys)
    if places and called and any(keys[number] != str(number) for number in numbers):
        raise FormatError(
            f"{where}: has numbers that could be names in {named([name])}, or places in it; write "
            "the pairs as names in quotes, without the lists beside them"
        )
    if called:
        return str
    if places:
        return lambda number: keys[number]
    odd = next(number for number in numbers if not 0 <= number < len(keys))
    raise FormatError(
        f"{where}: has the number {odd}, and {named([name])} has {len(keys)} names, counted from "
        "0; write the pairs as names"
    )
