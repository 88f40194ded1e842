"""Rows of several splits in one table: which one is meant is asked, and they are never merged."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from rerank.io.container import Container
from rerank.io.field import Field, afford
from rerank.io.ids import is_list
from rerank.io.side_words import sounds_like

# Columns that name the split of a row, the first of them whatever its values are.
_COLUMNS = ("split", "subset", "partition", "set", "phase", "fold")
_PART = (
    "train|training|trainval|restval|test|testing|val|valid|validate|validation|dev|eval|"
    "evaluation|holdout|query|gallery"
)
_WORD = re.compile(rf"({_PART})([ _-]?(set|split))?[ _-]?[a-d]?\d{{0,4}}k?", re.IGNORECASE)
_NUMBERED = re.compile(rf"({'|'.join(_COLUMNS)})\d{{1,3}}")
# What stands beside the name of a split.
_OF_PAIRS = {"gt", "groundtruth", "ground", "truth", "qrels", "pairs", "queries", "data", "labels"}
# What a folder of tables says of its rows by the names of its files, as a column.
OF_FILES = "file_split"
_SOUNDS = re.compile("audios?|sounds?|speech", re.IGNORECASE)


def is_named_like_splits(name: str) -> bool:
    """Whether a column is called as those are that say of which split a row is.

    >>> is_named_like_splits("Split"), is_named_like_splits("embedding")
    (True, False)
    """
    low = name[-12:].lower()
    return low in _COLUMNS or low.endswith("_split")


def is_of_splits(name: str, values: Sequence[str]) -> bool:
    """Whether a column by its name, and by its values, says of which split each row is.

    >>> is_of_splits("split", ["a", "b"] * 2), is_of_splits("Set", ["train", "Test"])
    (True, True)
    >>> is_of_splits("set", ["a", "b"] * 2), is_of_splits("split", ["a", "a"])
    (False, False)
    >>> is_of_splits("fold", ["1", "2"] * 2), is_of_splits("mode", ["train", "test"] * 2)
    (True, True)
    """
    name, different = name.lower(), set(values)
    if len(different) < 2:
        return False
    several = 2 * len(different) <= len(values)
    if name == _COLUMNS[0] or name.endswith("_split"):
        return several or _are_known(different)
    if name in _COLUMNS:
        return _are_known(different) or (several and all(map(str.isdecimal, different)))
    return len(different) < len(values) and (_are_known(different) or _are_sides(different))


def may_say_split(name: str, value: str) -> bool:
    """Whether one value may be that of a column that says of which split each row is.

    >>> may_say_split("mode", "test"), may_say_split("mode", "a"), may_say_split("split", "a")
    (True, False, True)
    """
    return is_named_like_splits(name) or is_split_word(value) or bool(_side(value))


def says_by_name(name: str, values: Sequence[str]) -> bool:
    """Whether a column is surely of splits: called so, and not of numbers that may be others.

    >>> says_by_name("subset", ["train", "test"]), says_by_name("fold", ["1", "2"])
    (True, False)
    """
    sure = name.lower() == _COLUMNS[0] or name.lower().endswith("_split")
    return sure or (is_named_like_splits(name) and not all(map(str.isdecimal, set(values))))


def is_split_word(value: str) -> bool:
    """Whether something is called as splits are.

    >>> [is_split_word(each) for each in ("Test", "val2017", "test_1k", "testA", "tester")]
    [True, True, True, True, False]
    """
    return _WORD.fullmatch(value) is not None


def is_split_key(key: str) -> bool:
    """Whether a key of an object is called as one of several splits of a ground truth.

    >>> [is_split_key(key) for key in ("train_gt", "qrels-test", "fold1", "Split_2", "testimony")]
    [True, True, True, True, False]
    """
    left = [piece for piece in re.split(r"[\W_]+", key.lower()) if piece and piece not in _OF_PAIRS]
    return is_split_word(" ".join(left)) or _NUMBERED.fullmatch("".join(left)) is not None


def split_of_file(name: str) -> str:
    """The split that the name of a file says, without its ending; "" for none.

    >>> [split_of_file(name) for name in ("train-00000-of-00001", "msrvtt_test", "part-0")]
    ['train', 'test', '']
    """
    return next((piece for piece in re.split(r"[\W_]+", name) if is_split_word(piece)), "")


def _are_known(values: set[str]) -> bool:
    return all(map(is_split_word, values))


def _are_sides(values: set[str]) -> bool:
    """Whether rows are of texts and of what is no text, or of sounds and of what is none."""
    sides = set(map(_side, values))
    return "" not in sides and len(sides) > 1


def _side(value: str) -> str:
    return "sounds" if _SOUNDS.fullmatch(value) else sounds_like(value)


def split_column(container: Container) -> tuple[str, tuple[str, ...]] | None:
    """The column that says of which split each row is, and what it says; None without one."""
    columns = {**container.numbers, **container.fields}
    listed = [name for name, item in columns.items() if "/" not in name and _may_be(item)]
    if not listed:
        return None
    counts = {
        item.shape[0] for name, item in container.fields.items()
        if item.kind == "float" and len(item.shape) > 1 and "/" not in name
    }  # fmt: skip
    for name in sorted(listed, key=lambda each: not is_named_like_splits(each)):
        item = columns[name]
        if item.shape[0] not in counts:
            continue
        if item.kind != "text" and not is_named_like_splits(name):
            continue
        values = _values(name, item)
        if values and is_of_splits(name, values):
            return name, values
    return None


def _may_be(item: Field) -> bool:
    return item.kind in ("text", "integer", "float") and is_list(item) and bool(item.shape)


def counted_splits(values: Sequence[str]) -> str:
    """The splits and their rows, for messages.

    >>> counted_splits(["test", "train", "train"])
    "'test' (1 row), 'train' (2 rows)"
    """
    found = Counter(values).most_common(8)
    return ", ".join(f"{x!r} ({k} row{'s' if k > 1 else ''})" for x, k in sorted(found))


def kind_of_splits(values: Sequence[str]) -> str:
    """What rows are divided into, for messages.

    >>> kind_of_splits(["test", "train"]), kind_of_splits(["text", "video"])
    ('splits', 'sides')
    """
    return "sides" if _are_sides(set(values)) else "splits"


def only_rows(container: Container, chosen: np.ndarray) -> Container:
    """A table with some of its rows.

    Args:
        container: the table.
        chosen: (n,) booleans.
    """

    def of(item: Field) -> Field:
        fits = bool(item.shape) and item.shape[0] == len(chosen)
        return _some_rows(item, chosen) if fits else item

    vectors = container.vectors
    return replace(
        container,
        fields={name: of(item) for name, item in container.fields.items()},
        vectors=None if vectors is None else {name: of(item) for name, item in vectors.items()},
        numbers={name: of(item) for name, item in container.numbers.items()},
        alike=None,
        content_sha256=None,
    )


def _some_rows(item: Field, chosen: np.ndarray) -> Field:
    at = np.flatnonzero(chosen)

    def blocks(start: int, stop: int) -> Iterator[np.ndarray]:
        if start >= stop:
            return
        row = int(at[start])
        for block in item.blocks(row, int(at[stop - 1]) + 1):
            part = block[chosen[row : row + len(block)]]
            row += len(block)
            if len(part):
                yield part

    return replace(item, shape=(len(at), *item.shape[1:]), blocks=blocks, mapped=None)


def _values(name: str, item: Field) -> tuple[str, ...]:
    """What a column holds as text; nothing where that says of no split."""
    item.check()
    made: list[str] = []
    for block in item.blocks(0, item.shape[0]):
        for value in np.asarray(block).reshape(-1).tolist():
            if isinstance(value, float) and value.is_integer():
                value = int(value)
            text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
            made.append("" if value is None else text)
            if not may_say_split(name, made[-1]):
                return ()
        afford(64 * len(made), item.where, what="the column of splits")
    return tuple(made)
