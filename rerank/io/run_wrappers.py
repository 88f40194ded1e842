"""What people put around the rankings in a file of JSON: `{"run": ...}`, one part for each run."""

from collections.abc import Mapping
from typing import Any

from rerank.core.errors import FormatError
from rerank.io.files import named
from rerank.io.run_sides import query_field
from rerank.io.side_words import (
    TEXT_FIELDS,
    direction_of,
    first_field,
    is_text_word,
    plain,
    side_of_ids,
)

# What may list the items of one query.
LISTS = (
    "items", "results", "hits", "ranking", "neighbors", "neighbours", "matches", "docs",
    "documents", "candidates", "retrieved", "predictions", "topk", "ids",
)  # fmt: skip
# What lists the items as well, where nothing above does.
ID_LISTS = (
    "docids", "documentids", "videoids", "imageids", "itemids", "galleryids", "corpusids",
    "clipids", "passageids", "productids", "docnos", "pids", "vids", "videos", "images", "clips",
)  # fmt: skip
# What names the run that an entry is of.
RUNS = ("run", "runid", "runname", "runtag", "tag", "system", "systemid", "model", "method")
# What says how good an item is, the higher the better; how far away; its place.
SCORES = (
    "score", "similarity", "sim", "cosine", "probability", "prob", "logit", "points", "confidence",
)  # fmt: skip
DISTANCES = ("distance", "dist")
RANKS = ("rank", "position", "place")
_WORDS = {
    *LISTS, "run", "runs", "rankings", "data", "lists", "records", "test", "rows", "output",
    "outputs", "result", "default", "prediction", "retrieval", "retrievals", "response",
    "responses",
}  # fmt: skip
# What stands beside rankings and holds none.
_BESIDE = {
    "metric", "metrics", "figures", "measures", "eval", "evaluation", "config", "settings", "args",
    "params", "parameters", "meta", "metadata", "info", "model", "stats", "summary", "timing",
    "timings", "times",
}  # fmt: skip
_ABOUT = ("meta", "metadata", "info", "config")  # as in `mteb_model_meta`
_DEEP = 4
_DIRECTIONS = {"text-video": "t2v", "video-text": "v2t"}


def unwrapped(content: Mapping[str, Any], where: str) -> Any:  # noqa: ANN401  JSON is any of six types
    """The rankings in an object, without what is around and beside them; else the object itself.

    >>> unwrapped({"run": {"q1": {"a": 0.5}}, "name": "bm25"}, "run.json")
    {'q1': {'a': 0.5}}
    >>> unwrapped({"q1": {"a": 0.5}}, "run.json")
    {'q1': {'a': 0.5}}

    Raises:
        FormatError: several runs, of which nobody knows which is meant.
    """
    for _ in range(_DEEP):
        if isinstance(content.get("results"), list):
            return content
        inside = _unwrapped_once(content, where)
        if inside is content or not isinstance(inside, Mapping):
            return inside
        content = inside
    return content


def _unwrapped_once(content: Mapping[str, Any], where: str) -> Any:  # noqa: ANN401
    parts = [key for key, value in content.items() if _holds_queries(key, value)]
    sure = [key for key in parts if _names_its_queries(content[key])]
    parts = sure or parts
    beside = [
        value for key, value in content.items()
        if key not in parts and plain(key) not in _BESIDE and not plain(key).endswith(_ABOUT)
        and not (isinstance(value, list) and _names_queries(key))
    ]  # fmt: skip
    if not parts or (not sure and any(isinstance(x, Mapping | list) and x for x in beside)):
        return content
    if len(parts) == 1 and direction_of(parts[0]) == "":
        return content[parts[0]]
    by_direction = {_DIRECTIONS.get(direction_of(key), key): content[key] for key in parts}
    if by_direction.keys() <= set(_DIRECTIONS.values()) and len(by_direction) == len(parts):
        return by_direction
    raise FormatError(f"{where}: holds the runs {named(parts)}; keep one of them in the file")


def _holds_queries(key: str, value: object) -> bool:
    """Whether something holds the lists of queries, and is not the list of one."""
    told = plain(key) in _WORDS or direction_of(key) != ""
    if isinstance(value, list):
        # Those of one list name items alone.
        return told and _names_its_queries(value)
    if _names_its_queries(value):
        return True
    if not isinstance(value, Mapping) or not value or is_one_list(value):
        return False
    inside = list(value.values())
    if all(isinstance(x, Mapping) for x in inside):
        return told or not any(says_how_good(x) for x in inside)
    return told and all(isinstance(x, Mapping | list) for x in inside)


def _names_its_queries(value: object) -> bool:
    """Whether records name their query each, or queries and the list of each stand side by side."""
    if isinstance(value, Mapping):
        inside = value.get("results")
        records = inside if isinstance(inside, list) else ()
        return lists_beside(value) is not None or bool(records and _names_its_queries(records))
    return (
        isinstance(value, list)
        and bool(value)
        and all(
            isinstance(x, Mapping) and (query_field(x) is not None or lists_beside(x) is not None)
            for x in value
        )
    )


def says_how_good(entry: Mapping[str, Any]) -> bool:
    """Whether an object is what is said of one item: `{"score": 0.5, "rank": 1}`."""
    return first_field(entry, (*SCORES, *DISTANCES, *RANKS)) is not None


def is_one_list(value: Mapping[str, Any]) -> bool:
    """Whether an object holds the list of one query: `{"ids": [...], "scores": [...]}`."""
    return list_of(value, (list,)) is not None


def is_no_list(listed: object) -> bool:
    """Whether an object in the place of the list of one query holds lists or objects of its own.

    >>> is_no_list({"ids": ["a"], "scores": [1]}), is_no_list({"a": {"score": 0.5}})
    (False, False)
    >>> is_no_list({"results": [["a", "b"], ["c"]]}), is_no_list({"q1": {"a": 0.5}})
    (True, True)
    """
    if not isinstance(listed, Mapping):
        return False
    if is_one_list(listed):
        entries = listed[list_of(listed, (list,)) or ""]
        return any(isinstance(x, list) and [isinstance(y, str) for y in x[1:]] != [False]
                   for x in entries)  # fmt: skip
    return any(
        isinstance(x, list) or (isinstance(x, Mapping) and not says_how_good(x))
        for x in listed.values()
    )


def list_of(record: Mapping[str, Any], kinds: tuple[type, ...] = (list, Mapping)) -> str | None:
    """The field of a record that lists its items; None where none does.

    >>> list_of({"docids": ["a"], "hits": ["b"]}), list_of({"qid": 1, "docids": ["a"]})
    ('hits', 'docids')
    """
    return next(
        (
            key for words in (LISTS, ID_LISTS) for key, value in record.items()
            if plain(str(key)) in words and isinstance(value, kinds)
        ),
        None,
    )  # fmt: skip


def lists_beside(content: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """Queries and the list of each, which stand beside each other, as records; None for others.

    >>> lists_beside({"queries": ["q1"], "results": [["b", "a"]], "name": "bm25"})
    [{'query_id': 'q1', 'items': ['b', 'a']}]
    """
    columns = {key: value for key, value in content.items() if isinstance(value, list) and value}
    queries = queries_beside(content)
    if queries is None:
        return None
    columns = {**columns, queries: _names_in(columns[queries])}
    count = len(columns[queries])
    columns = {key: value for key, value in columns.items() if len(value) == count}
    known = (*LISTS, *_WORDS, *ID_LISTS)
    listed = [
        key for word in known for key, value in columns.items()
        if plain(key) == word and all(isinstance(x, list | Mapping) for x in value)
    ]  # fmt: skip
    if not listed:
        return None
    called = {queries: "query_id", listed[0]: "items"}
    rows = zip(*columns.values(), strict=True)
    return [{called.get(k, k): x for k, x in zip(columns, row, strict=True)} for row in rows]


def queries_beside(content: Mapping[str, Any]) -> str | None:
    """The one list of names of queries in an object; None where there is none, or several."""
    found = [
        key for key, value in content.items()
        if isinstance(value, list) and _names_queries(key) and _names_in(value)
    ]  # fmt: skip
    return found[0] if len(found) == 1 else None


def lists_of_no_query(content: Mapping[str, Any]) -> str | None:
    """The field of an object that holds lists of items and nothing that names their queries.

    >>> lists_of_no_query({"ids": [["a"], ["b"]], "distances": [[0.1], [0.2]]})
    'ids'
    """
    key = list_of(content, (list,))
    if key is None or not content[key] or any(map(_names_queries, content)):
        return None
    return key if all(isinstance(x, list) for x in content[key]) else None


def _names_queries(key: str) -> bool:
    return is_text_word(key) or side_of_ids(key) == "texts"


def _names_in(values: list[Any]) -> list[Any]:
    """The names in a list, also of records that name a query each; none where one is no name."""
    ids = (*TEXT_FIELDS, "id")
    fields = [first_field(x, ids) if isinstance(x, Mapping) else None for x in values]
    names = [x if field is None else x[field] for x, field in zip(values, fields, strict=True)]
    good = all(isinstance(x, str | int) and not isinstance(x, bool) for x in names)
    return names if good else []
