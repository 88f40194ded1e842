"""Records of JSON: what is one, and columns that one of them lacks, which are never passed over."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rerank.io.container import ID_NAMES, MORE_ID_NAMES, VECTOR_NAMES
from rerank.io.field import Field, list_field
from rerank.io.files import named

# What is said of vectors, and is no collection of them.
_ABOUT = {
    "meta", "metadata", "info", "config", "configuration", "params", "parameters", "settings",
    "args", "options", "stats", "statistics", "usage", "header", "schema", "model", "preprocessing",
    "normalization", "mean", "std", "dim", "dims", "shape", "shapes", "version", "extra",
}  # fmt: skip
# Objects inside each other that are groups of vectors.
DEEPEST_GROUP = 8
IDS = (*ID_NAMES, *(name for tier in MORE_ID_NAMES for name in tier))


def boxed(content: Mapping[str, Any]) -> tuple[str, list[dict[str, Any]]] | None:
    """The one list of records with vectors in an object, by its name, where nothing else is more.

    What else there is are values and small objects, as answers of a server have them. A list of as
    many entries as records is one more entry of each. What says of itself that it is an answer of
    embeddings, with places of its own, stands in the order of these.

    >>> record = {"object": "embedding", "index": 0, "embedding": [1.0, 2.5]}
    >>> boxed({"object": "list", "data": [record], "usage": {"total_tokens": 3}})[0]
    'data'
    """
    lists = {name: value for name, value in content.items() if are_records(value)}
    whole = {name: value for name, value in lists.items() if any(map(is_vector, value[0].values()))}
    if len(whole) > 1:
        whole = {name: value for name, value in whole.items() if not is_about(name)}
    if len(lists) == 1:
        whole = lists
    if len(whole) != 1:
        return None
    ((box, records),) = whole.items()
    beside = {name: value for name, value in content.items() if name not in lists}
    if not all(is_aside(name, value, len(records)) for name, value in beside.items()):
        return None
    if in_another_order(records):
        records = sorted(records, key=lambda record: record["index"])
    columns = {name: value for name, value in beside.items() if _is_column(value, len(records))}
    if columns:
        rows = zip(*columns.values(), strict=True)
        records = [
            dict(zip(columns, row, strict=True)) | x for row, x in zip(rows, records, strict=True)
        ]
    return box, records


def is_aside(name: str, value: object, count: int) -> bool:
    """Whether what stands beside a list of records is none of theirs, or an entry of each."""
    if is_about(name):
        return True
    if isinstance(value, list):
        words = all(isinstance(item, str | int) for item in value)
        return _is_column(value, count) or not value or (words and name not in IDS)
    vectors = isinstance(value, dict) and (has_vectors(value) or holds_vectors(value))
    return not (vectors and _has_decimals(value))


def _has_decimals(value: object) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return isinstance(value, float) or any(map(_has_decimals, inner))


def is_about(name: str) -> bool:
    """Whether an entry is called what is said of vectors, whatever numbers are in it.

    >>> is_about("model_info"), is_about("videos")
    (True, False)
    """
    return not _ABOUT.isdisjoint(re.split(r"[^a-z]+", name.lower()))


def _is_column(value: object, count: int) -> bool:
    return (
        isinstance(value, list)
        and len(value) == count
        and all(isinstance(item, str | int) for item in value)
    )


def has_vectors(value: Mapping[str, Any], depth: int = 1) -> bool:
    """Whether an object holds a vector, or an object that does."""
    inner = (item for item in value.values() if isinstance(item, dict | list) and item)
    return depth < DEEPEST_GROUP and any(
        has_vectors(item, depth + 1) if isinstance(item, dict) else is_numbers(item)
        for item in inner
    )


def holds_vectors(value: object, depth: int = 0) -> bool:
    """Whether there is a vector in a value, at any depth."""
    if depth > DEEPEST_GROUP:
        return False
    if isinstance(value, dict):
        return any(holds_vectors(each, depth + 1) for each in value.values())
    if are_records(value):
        return any(holds_vectors(each, depth + 1) for each in value)  # type: ignore[attr-defined]
    return is_vector(value)


def is_numbers(value: Sequence[object]) -> bool:
    """Whether a list begins with a number, or a list inside it does."""
    first = value[0]
    while isinstance(first, list) and first:
        first = first[0]
    return isinstance(first, int | float) and not isinstance(first, bool)


def in_another_order(records: Sequence[Mapping[str, Any]]) -> bool:
    """Whether an answer of embeddings has places of its own, and other ones than it shows."""
    if not all(record.get("object") == "embedding" for record in records):
        return False
    places = [record.get("index") for record in records]
    numbers = list(range(len(places)))
    return places != numbers and all(type(x) is int for x in places) and set(places) == set(numbers)


def are_records(value: object) -> bool:
    """Whether a value is a list of objects."""
    return isinstance(value, list) and bool(value) and all(isinstance(row, dict) for row in value)


def lacking(path: Path, records: Sequence[Mapping[str, Any]]) -> dict[str, Field]:
    """Vectors and ids that most records have and a few lack, by the name of their column.

    >>> records = [{"id": "a", "clip": [1.0, 2.0]}, {"id": "b", "clip": [0.5, 1.0]}, {"id": "c"}]
    >>> {name: item.odd for name, item in lacking(Path("v.json"), records).items()}
    {'clip': "without a vector in record 2 (id 'c')"}
    """
    held = Counter(name for record in records for name in record if _is_there(record[name]))
    whole = {name for name, count in held.items() if count == len(records)}
    has_ids = not whole.isdisjoint(IDS)
    has_vectors = any(is_vector(records[0][name]) for name in whole)
    found: dict[str, Field] = {}
    for name, count in held.items():
        if name in whole or 2 * count < len(records):
            continue
        where = f"{path}: {named([name])}"
        if is_vector(next(_values(records, name))):
            # One that is null is in the way of a matrix; one without the key is no column.
            if not has_vectors or all(name in record for record in records):
                found[name] = _without(where, name, records)
        elif name in IDS and not has_ids:
            found[name] = list_field(where, [record.get(name) for record in records])
    return found


def is_document(content: object) -> bool:
    """Whether the only line of a file is all of its vectors, and not the record of one item.

    >>> is_document({"a": [1, 2.5], "b": [0, 1]}), is_document({"id": "a", "embedding": [1, 2.5]})
    (True, False)
    """
    if not isinstance(content, dict):
        return isinstance(content, list) and any(isinstance(x, list | dict) for x in content)
    if any(name in IDS and isinstance(value, str | int) for name, value in content.items()):
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
    ids = any(name in fields and not fields[name].shape for name in IDS)
    # One vector, and as many entries that are none.
    alone = len(fields) > 1 and sum(bool(item.shape) for item in fields.values()) < 2
    return (
        ids
        or alone
        or any(name in fields and len(fields[name].shape) == 1 for name in VECTOR_NAMES)
    )


def words_inside(records: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Words in an object of each record, such as what a database keeps with a vector, by place.

    >>> words_inside([{"id": 1, "payload": {"video": "v1", "year": 7}}])
    {'payload/video': ['v1']}
    """
    first = {name: value for name, value in records[0].items() if isinstance(value, dict)}
    found: dict[str, list[str]] = {}
    for name, inside in first.items():
        objects = [record.get(name) for record in records]
        if not all(isinstance(each, dict) for each in objects):
            continue
        for key in inside:
            words = [each.get(key) for each in objects]  # type: ignore[union-attr]
            if all(isinstance(word, str) for word in words):
                found[f"{name}/{key}"] = words
    return found


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
    ids = (records[row][each] for each in IDS if isinstance(records[row].get(each), str | int))
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


def is_vector(value: object) -> bool:
    """Whether a value is a list of numbers, or frames."""
    while isinstance(value, list) and value and isinstance(value[0], list):
        value = value[0]
    return isinstance(value, list) and bool(value) and set(map(type, value)) <= {int, float}
