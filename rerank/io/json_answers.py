"""Answers of programs in JSON: records that lie deeper, or whose vectors do, as plain records."""

from collections.abc import Mapping, Sequence
from typing import Any

from rerank.io.json_records import (
    DEEPEST_GROUP,
    IDS,
    are_records,
    boxed,
    holds_vectors,
    is_about,
    is_aside,
    is_vector,
)

# What a request is called by who made it; the answer may have an id of its own.
_REQUESTS = ("custom_id", "recordId", "record_id")
# Ids of a database, which count where a record has no others.
_STORED = ("_id",)


def records_below(content: Mapping[str, Any]) -> tuple[str, list[dict[str, Any]]] | None:
    """The one list of records in objects of a document, by its place; None for any other document.

    Objects that say the name they are kept by, as those of Pinecone, are records as well.

    >>> points = [{"id": "a", "vector": [1.0, 2.5]}]
    >>> records_below({"result": {"points": points, "next": None}, "status": "ok"})[0]
    'result/points'
    >>> records_below({"vectors": {"a": {"id": "a", "values": [1.0, 2.5]}}})
    ('vectors', [{'id': 'a', 'values': [1.0, 2.5]}])
    """
    box, inner = [], content
    while len(box) < DEEPEST_GROUP:
        found = boxed(inner)
        if found is not None and any(map(holds_vectors, found[1])):
            return "/".join((*box, found[0])), found[1]
        if box and _say_their_names(inner):
            return "/".join(box), list(inner.values())
        deep = _deep(inner)
        ((name, value), *others) = deep.items() or [("", None)]
        beside = (each for each in inner.items() if each[0] != name)
        if others or not isinstance(value, dict) or not all(is_aside(*x, 0) for x in beside):
            return None
        box.append(name)
        inner = value
    return None


def raised(records: Sequence[Any]) -> list[Any]:
    """Records with what an object in each holds as entries of their own, where vectors lie there.

    What holds several answers becomes a record for each of them, in the order of `index`.

    >>> raised([{"id": "a", "vector": {"text": [1.0, 2.5]}, "payload": {"year": 7}}])
    [{'text': [1.0, 2.5], 'id': 'a'}]
    >>> raised([{"id": 7, "vector": {"text": [1.0, 2.5]}, "payload": {"video": "v1"}}])
    [{'payload': {'video': 'v1'}, 'text': [1.0, 2.5], 'id': 7}]
    >>> raised([{"custom_id": "q", "response": {"body": {"data": [{"embedding": [1.0, 2.5]}]}}}])
    [{'embedding': [1.0, 2.5], 'id': 'q'}]
    """
    made = [_rows(record) for record in records]
    through = {next(iter(_deep(each))) for each, rows in zip(records, made, strict=True) if rows}
    if len(through) != 1:
        return list(records)
    pairs = zip(records, made, strict=True)
    return [row for record, rows in pairs for row in (rows or [_with_its_name(record, {})])]


def _rows(record: object) -> list[dict[str, Any]]:
    """What the vectors in a record come to; nothing where none lie deeper, or it is not clear."""
    if not isinstance(record, dict) or any(map(is_vector, record.values())):
        return []
    found = _innermost(record)
    ours = _with_its_name(record, found[0]) if found else {}
    if len(found) < 2:
        said = _words_beside(record)
        return [{**said, **row, **ours, **_vectors(row)} for row in found]
    if any(name in record for name in _REQUESTS):
        return [{**row, **ours, "id": f"{ours['id']}:{at}"} for at, row in enumerate(found)]
    # Parts of one item, such as its frames, are not told from items here.
    return [] if any(name in IDS for name in ours) else found


def _words_beside(record: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """The words in the objects of a record that hold no vectors, as a database keeps them."""
    objects = {
        name: {key: x for key, x in value.items() if isinstance(x, str)}
        for name, value in record.items()
        if isinstance(value, dict) and not holds_vectors(value)
    }
    return {name: words for name, words in objects.items() if words}


def _innermost(value: dict[str, Any], depth: int = 0) -> list[dict[str, Any]]:
    """The objects that hold vectors themselves, by one way through what holds them."""
    if any(map(is_vector, value.values())):
        return [{name: x for name, x in value.items() if is_vector(x) or _is_plain(x)}]
    deep = _deep(value)
    if len(deep) != 1 or depth > DEEPEST_GROUP:
        return []
    (inner,) = deep.values()
    if isinstance(inner, dict):
        return _innermost(inner, depth + 1)
    if not are_records(inner):
        return []
    places = [each.get("index") for each in inner]
    if all(type(at) is int for at in places) and sorted(places) == list(range(len(places))):
        inner = [inner[places.index(at)] for at in range(len(places))]
    rows = [row for each in inner for row in _innermost(each, depth + 1)]
    asked = ("index", "object")  # of one answer, not of all
    return [{name: x for name, x in row.items() if name not in asked} for row in rows]


def _with_its_name(record: dict[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
    """The words and whole numbers of a record, with the id by which its vector is asked for."""
    plain = {name: x for name, x in record.items() if _is_plain(x)}
    name = next((name for name in _REQUESTS if name in plain), None)
    if name is not None:
        return {"id": plain[name]}
    if record.get("object") == "list":
        return {}  # what is said of the answer
    name = next((name for name in _STORED if name in plain), None)
    if name is not None and not any(each in IDS for each in (*plain, *row)):
        plain["id"] = plain[name]
    return plain


def _say_their_names(content: Mapping[str, Any]) -> bool:
    """Whether every object has its own name among its entries, and a vector."""
    return bool(content) and all(
        isinstance(value, dict)
        and any(value.get(each) == name for each in ("id", "_id", "key"))
        and any(map(is_vector, value.values()))
        for name, value in content.items()
    )


def _vectors(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: x for name, x in row.items() if is_vector(x)}


def _deep(content: Mapping[str, Any]) -> dict[str, Any]:
    """The entries that hold vectors, at any depth; of several not those that speak of vectors."""
    found = {name: value for name, value in content.items() if holds_vectors(value)}
    others = {name: value for name, value in found.items() if not is_about(name)}
    return others if len(found) > 1 else found


def _is_plain(value: object) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool)
