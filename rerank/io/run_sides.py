"""Which fields of a ranking name the query and the item: the names that ground truths know, too."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from rerank.io.pandas_json import rows_of_columns, split_of_pandas
from rerank.io.side_words import (
    TEXT_FIELDS,
    VIDEO_FIELDS,
    first_field,
    is_text_word,
    is_video_word,
)


def query_field(record: Iterable[Any]) -> str | None:
    """The field of a record that names the query; other words count where but one is there.

    >>> query_field(["qid", "docno"]), query_field(["caption", "image"]), query_field(["a", "b"])
    ('qid', 'caption', None)
    """
    names = list(record)
    # Beside a bare id a text is that of an item.
    others = [] if "id" in names else names
    return first_field(names, TEXT_FIELDS) or _only(others, is_text_word)


def item_field(record: Iterable[Any], query: str) -> str | None:
    """The field of a record that names the item.

    >>> item_field(["q_id", "gallery"], "q_id"), item_field(["q_id", "id"], "q_id")
    ('gallery', 'id')
    """
    names = [name for name in record if name != query]
    known = first_field(names, ("galleryid", *VIDEO_FIELDS, "id"))
    if isinstance(record, Mapping):
        # What holds none may be a list that is missing.
        names = [name for name in names if record[name] is not None]
    return known or _only(names, is_video_word)


def _only(names: Iterable[Any], is_one: Callable[[str], bool]) -> str | None:
    found = [name for name in names if is_one(str(name))]
    return found[0] if len(found) == 1 else None


def rows_of_pandas(content: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """The records of a ranking that pandas wrote as one table; None for anything else.

    >>> rows_of_pandas({"query_id": {"0": "q"}, "video_id": {"0": "v"}, "score": {"0": 0.5}})
    [{'query_id': 'q', 'video_id': 'v', 'score': 0.5}]
    >>> rows_of_pandas({"q1": {"v1": 0.5}, "q2": {"v1": 0.2}}) is None
    True
    """
    if (table := split_of_pandas(dict(content))) is not None:
        return [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    query = query_field(content)
    if query is None or item_field(content, query) is None:
        return None
    return rows_of_columns(content, [query]) or None
