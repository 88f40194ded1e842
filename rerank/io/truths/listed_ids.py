"""Lists that stand as text in the cells of a table, and captions with a list of their ids."""

import ast
import json
from collections.abc import Mapping, Sequence
from typing import Any

from rerank.io.side_words import TEXT_FIELDS, captions_of, first_field

_LISTS_OF_IDS = tuple(f"{name}s" for name in TEXT_FIELDS if name.endswith("id"))
_LONGEST = 100_000


def with_own_ids(records: Sequence[Any]) -> Sequence[Any]:
    """Records of several captions and as many ids of them, as one for each; others as they are.

    >>> with_own_ids([{"image": "v", "raw": ["a", "b"], "sentids": [3, 4]}])[1]
    {'image': 'v', 'caption': 'b', 'caption_id': 4}
    """
    first = records[0] if records and isinstance(records[0], Mapping) else {}
    listed = first_field(first, _LISTS_OF_IDS)
    if listed is None or first_field(first, TEXT_FIELDS) is not None:
        return records
    made: list[Any] = []
    for each in records:
        ids = each.get(listed) if isinstance(each, dict) else None
        captions = captions_of(each) if isinstance(ids, list) else []
        if not isinstance(ids, list) or not captions or len(ids) != len(captions):
            return records
        if not all(isinstance(x, str | int) for x in ids):
            return records
        rest = {
            name: x for name, x in each.items()
            if name != listed and not captions_of({name: x})
        }  # fmt: skip
        made += [
            {**rest, "caption": caption, "caption_id": own}
            for caption, own in zip(captions, ids, strict=True)
        ]
    return made


def with_lists(rows: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]]:
    """Rows in which cells hold the lists that they show; only in columns of nothing but lists.

    >>> with_lists([{"id": "[1]", "raw": "['a', 'b']", "n": "[x"}])
    [{'id': [1], 'raw': ['a', 'b'], 'n': '[x'}]
    """
    if not rows:
        return rows
    read: dict[str, list[list[Any]]] = {}
    for name in rows[0]:
        found = [_list_in(row[name]) for row in rows] if _may_list(rows[0][name]) else [None]
        if None not in found:
            read[name] = found  # type: ignore[assignment]
    if not read:
        return rows
    return [{**row, **{name: of[i] for name, of in read.items()}} for i, row in enumerate(rows)]


def _may_list(cell: object) -> bool:
    return isinstance(cell, str) and cell[:1] == "[" and cell[-1:] == "]"


def _list_in(cell: object) -> list[Any] | None:
    """The names or numbers in a cell; None where it is no list of some."""
    if not isinstance(cell, str) or not _may_list(cell) or len(cell) > _LONGEST:
        return None
    try:
        found = json.loads(cell)
    except (ValueError, RecursionError):
        try:
            found = ast.literal_eval(cell)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            return None
    plain = isinstance(found, list) and all(
        isinstance(x, str | int | float) and not isinstance(x, bool) for x in found
    )
    return found if plain and found else None
