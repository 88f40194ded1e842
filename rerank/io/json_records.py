"""Records of JSON: what is one, and columns that one of them lacks, which are never passed over."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rerank.io.container import ID_NAMES, MORE_ID_NAMES, VECTOR_NAMES
from rerank.io.field import Field, list_field
from rerank.io.files import named

_IDS = (*ID_NAMES, *(name for tier in MORE_ID_NAMES for name in tier))


def lacking(path: Path, records: Sequence[Mapping[str, Any]]) -> dict[str, Field]:
    """Vectors and ids that most records have and a few lack, by the name of their column.

    >>> records = [{"id": "a", "clip": [1.0, 2.0]}, {"id": "b", "clip": [0.5, 1.0]}, {"id": "c"}]
    >>> {name: item.odd for name, item in lacking(Path("v.json"), records).items()}
    {'clip': "without a vector in record 2 (id 'c')"}
    """
    held = Counter(name for record in records for name in record if _is_there(record[name]))
    whole = {name for name, count in held.items() if count == len(records)}
    has_ids = not whole.isdisjoint(_IDS)
    has_vectors = any(_is_vector(records[0][name]) for name in whole)
    found: dict[str, Field] = {}
    for name, count in held.items():
        if name in whole or 2 * count < len(records):
            continue
        where = f"{path}: {named([name])}"
        if _is_vector(next(_values(records, name))):
            # One that is null is in the way of a matrix; one without the key is no column.
            if not has_vectors or all(name in record for record in records):
                found[name] = _without(where, name, records)
        elif name in _IDS and not has_ids:
            found[name] = list_field(where, [record.get(name) for record in records])
    return found


def is_document(content: object) -> bool:
    """Whether the only line of a file is all of its vectors, and not the record of one item.

    >>> is_document({"a": [1, 2.5], "b": [0, 1]}), is_document({"id": "a", "embedding": [1, 2.5]})
    (True, False)
    """
    if not isinstance(content, dict):
        return isinstance(content, list) and any(isinstance(x, list | dict) for x in content)
    if any(name in _IDS and isinstance(value, str | int) for name, value in content.items()):
        return False
    lists = [value for value in content.values() if isinstance(value, list) and value]
    if any(isinstance(value[0], list | dict) for value in lists):
        return True
    there = [value for value in content.values() if _is_there(value)]
    by_id = all(isinstance(x, list) or _holds_lists(x) for x in there) and bool(there)
    named_so = any(name in VECTOR_NAMES for name in content)
    return by_id and not named_so and len(there) >= min(2, len(content))


def _holds_lists(value: object) -> bool:
    return isinstance(value, dict) and any(isinstance(x, list | dict) for x in value.values())


def is_record(fields: Mapping[str, Field]) -> bool:
    """Whether the entries of one object are those of one item, from what they hold."""
    ids = any(name in fields and not fields[name].shape for name in _IDS)
    # One vector, and as many entries that are none.
    alone = len(fields) > 1 and sum(bool(item.shape) for item in fields.values()) < 2
    return (
        ids
        or alone
        or any(name in fields and len(fields[name].shape) == 1 for name in VECTOR_NAMES)
    )


def by_one_name(lines: Sequence[Any]) -> dict[str, Any] | None:
    """Lines of one id with its vector each as one object; None for any others.

    >>> by_one_name([{"a": [1, 2.5]}, {"b": [0, 1]}]), by_one_name([{"embedding": [0, 1]}] * 2)
    ({'a': [1, 2.5], 'b': [0, 1]}, None)
    """
    if len(lines) < 2 or not all(isinstance(line, dict) and len(line) == 1 for line in lines):
        return None
    made = {name: value for line in lines for name, value in line.items()}
    return made if len(made) == len(lines) else None


def _without(where: str, name: str, records: Sequence[Mapping[str, Any]]) -> Field:
    row = next(row for row, record in enumerate(records) if not _is_there(record.get(name)))
    ids = (records[row][each] for each in _IDS if isinstance(records[row].get(each), str | int))
    called = next((f" (id {named([each])})" for each in ids), "")
    return Field(
        where,
        (len(records),),
        np.dtype("V1"),
        lambda start, stop: iter(()),  # noqa: ARG005
        odd=f"without a vector in record {row}{called}",
        fix="give it one, or leave that record out",
    )


def _values(records: Sequence[Mapping[str, Any]], name: str) -> Iterator[Any]:
    return (record[name] for record in records if _is_there(record.get(name)))


def _is_there(value: object) -> bool:
    return value is not None and value not in ([], {})


def _is_vector(value: object) -> bool:
    """Whether a value is a list of numbers, or frames."""
    while isinstance(value, list) and value and isinstance(value[0], list):
        value = value[0]
    return isinstance(value, list) and bool(value) and set(map(type, value)) <= {int, float}
