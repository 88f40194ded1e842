"""What divides the rows of a file beside a column of words: truth values, and lists of some rows.

`is_test` or `deleted` has a truth value for each row; `train_idx` and `test_idx` list the places of
some rows, and `test_ids` their names. Whatever they are, they are made the words of a column.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

import numpy as np

from rerank.core.errors import RerankError
from rerank.io.field import Field, read_array
from rerank.io.ids import is_list, read_ids
from rerank.io.side_words import sounds_like

_SPLITS = {
    "train", "training", "trainval", "test", "testing", "val", "valid", "validation", "dev", "eval",
    "evaluation", "holdout", "heldout", "query", "queries", "gallery", "probe", "tr", "te", "tst",
    "trn", "calibration", "distractor", "distractors", "seen", "unseen",
}  # fmt: skip
# Rows that are called so are none of those that count.
LEFT_OUT = {
    "invalid", "deleted", "removed", "excluded", "dropped", "discarded", "ignored", "unavailable",
}  # fmt: skip
_KEPT = {"included", "keep", "kept", "exclude", "ignore", "discard", "drop", "remove"}
_ROUND = {
    "is", "in", "for", "of", "mask", "masks", "flag", "flags", "set", "split", "row", "rows",
    "sample", "samples", "item", "items", "indicator", "data", "to", "be",
}  # fmt: skip
_PLACES = {"idx", "idxs", "index", "indices", "indexes", "inds", "ind", "rows", "loc", "locs"}
_NAMES = {"ids", "names", "keys", "list", "videos", "files", "id", "items"}
_TRUE, _FALSE = {"1", "true", "yes", "y", "t"}, {"0", "false", "no", "n", "f"}


def _words(name: str) -> list[str]:
    leaf = re.sub(r"([a-z])([A-Z])", r"\1_\2", name.rpartition("/")[2]).lower()
    return re.findall("[a-z]+", leaf.replace("held_out", "heldout").replace("hold_out", "holdout"))


def is_split(name: str) -> bool:
    """Whether a name is that of a split, such as of the rows for tests.

    >>> is_split("test"), is_split("Train_set"), is_split("v0")
    (True, True, False)
    """
    words = [word for word in _words(name) if word not in _ROUND]
    return len(words) == 1 and words[0] in _SPLITS


def word_of_flags(name: str) -> str:
    """What truth values say of a row by their name: of which split it is; "" for anything else.

    >>> [word_of_flags(name) for name in ("is_test", "test_mask", "valid", "isQuery", "deleted")]
    ['test', 'test', 'valid', 'query', 'deleted']
    >>> [word_of_flags(name) for name in ("is_text", "text", "mask", "is_good", "test_score")]
    ['text', '', '', '', '']
    """
    words = _words(name)
    left = [word for word in words if word not in _ROUND]
    if len(left) != 1:
        return ""
    of_side = words[0] in ("is", "in") and sounds_like(left[0])
    return left[0] if left[0] in _SPLITS | LEFT_OUT | _KEPT or of_side else ""


def said_by_flags(name: str, values: Sequence[str]) -> tuple[str, ...] | None:
    """The words that truth values say of the rows; None where they are none, or all are one.

    >>> said_by_flags("is_test", ["True", "False", "False"])
    ('test', 'not test', 'not test')
    """
    word, low = word_of_flags(name), [value.strip().lower() for value in values]
    if not word or not set(low) <= _TRUE | _FALSE or len(set(low)) != 2:
        return None
    return tuple(word if value in _TRUE else f"not {word}" for value in low)


def said_by_lists(
    fields: Mapping[str, Field], count: int, ids: Field | None, *, from_one: bool
) -> tuple[list[str], tuple[str, ...]] | None:
    """Names of the lists of some rows, and what they say of each row; None without any.

    Args:
        fields: all arrays.
        count: of the rows.
        ids: the names of the rows.
        from_one: whether the first row is the row 1.
    """
    found = {
        name: (word, rows)
        for name, item in fields.items()
        if (word := _word_of_list(name)) and is_list(item) and not item.odd and item is not ids
        for rows in (_rows_of(item, count, name, ids, from_one=from_one),) if rows
    }  # fmt: skip
    if not found:
        return None
    of_row: list[list[str]] = [[] for _ in range(count)]
    for word, rows in found.values():
        for row in rows:
            of_row[row].append(word)
    rest = "none" if len(found) > 1 else f"not {next(iter(found.values()))[0]}"
    values = tuple("+".join(words) or rest for words in of_row)
    return (list(found), values) if len(set(values)) > 1 else None


def _word_of_list(name: str) -> str:
    """The split of which a list is said to hold the rows; "" for none."""
    words = _words(name)
    inside = set(_words(name.rpartition("/")[0])) & {"split", "splits", "indices", "idx"}
    spoken = [word for word in words if word in _SPLITS - {"valid"} or word == "valid" != words[-1]]
    left = set(words) - set(spoken) - _PLACES - _NAMES - _ROUND
    if len(spoken) != 1 or left:
        return ""
    of_rows = set(words) & (_PLACES | _NAMES)
    return spoken[0] if of_rows or inside or len(words) == 1 else ""


def _rows_of(
    item: Field, count: int, name: str, ids: Field | None, *, from_one: bool
) -> list[int] | None:
    """The rows that a list holds, by their places or by their names; None where it holds others."""
    size = max(item.shape, default=0)
    if not 0 < size < count:
        return None
    if item.kind == "integer" and not (ids is not None and set(_words(name)) & _NAMES):
        places = read_array(item).reshape(-1).astype(np.int64)
        places = places - (from_one or int(places.max()) == count)
        good = places.min() >= 0 and places.max() < count and len(set(places.tolist())) == size
        return places.tolist() if good else None
    if item.kind in ("text", "integer") and ids is not None:
        with suppress(RerankError):
            at = {each: row for row, each in enumerate(read_ids(ids))}
            names = read_ids(item)
            return [at[each] for each in names] if at.keys() >= set(names) else None
    return None


def values_as_text(item: Field) -> Iterator[str]:
    """What a list holds, as text, whatever it is of."""
    for block in item.blocks(0, item.shape[0]):
        for value in np.asarray(block).reshape(-1).tolist():
            if isinstance(value, float) and value.is_integer():
                value = int(value)
            text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
            yield "" if value is None else text
