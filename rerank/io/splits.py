"""Rows of several splits in one table: which one is meant is asked, and they are never merged."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from rerank.io.container import Container
from rerank.io.field import Field, afford
from rerank.io.files import named
from rerank.io.ids import is_list
from rerank.io.side_words import sounds_like
from rerank.io.split_flags import said_by_flags, said_by_lists, values_as_text, word_of_flags

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
# Words for parts of the rows, where a column is called as what divides them, or beside longer ones.
_SHORT = {
    "tr", "trn", "te", "tst", "ts", "va", "vl", "fit", "calib", "calibration", "heldout", "q", "g",
    "d", "db", "probe", "reference", "support", "distractor", "distractors", "seen", "unseen",
}  # fmt: skip
# What else stands beside them.
_REST = {"", "none", "other", "unused", "rest"}
_STREAMS = {
    "rgb", "flow", "optical_flow", "depth", "motion", "appearance", "audio", "visual", "text",
    "video", "image", "spatial", "temporal", "ocr", "asr", "speech", "clip", "blip", "siglip",
    "clap", "i3d", "c3d", "s3d", "vggish", "slowfast", "resnet", "dino", "bert", "vit",
}  # fmt: skip
_DIVIDES = {"role", "side", "part", "stage", "usage", "use", "purpose", "mode", "type", "kind"}
_OF_STREAMS = {
    "stream", "streams", "view", "modality", "branch", "backbone", "encoder", "model", "feature",
    "feat", "feature_type", "feat_type", "channel",
}  # fmt: skip
# Whose words, whatever they are, say the part of a row; the name may end in one of the others.
_SURE = ("split", "splits", "subset", "partition", "fold")
_ENDS = ("id", "idx", "index", "name", "no", "num", "number", "label")
# More words for sides, which are of anything else where a column is not called as what divides.
_MORE_SIDES = {
    **dict.fromkeys(("visual", "visuals", "vision", "photo", "photos", "picture", "pictures", "pic",
                     "pics", "frame", "frames", "movie", "movies", "v", "i"), "videos"),
    **dict.fromkeys(("language", "lang", "linguistic", "textual", "description", "descriptions",
                     "desc", "title", "titles", "words", "t"), "texts"),
}  # fmt: skip
_HOLDS_SIDES = {"source", "origin", "tower", "media", "medium", "entity", "modal", "content"}
_SOUNDS = re.compile("audios?|sounds?|speech", re.IGNORECASE)


def is_named_like_splits(name: str) -> bool:
    """Whether a column is called as those are that say of which split a row is.

    >>> is_named_like_splits("Split"), is_named_like_splits("embedding")
    (True, False)
    """
    return name.lower() in _COLUMNS or _is_sure(name)


def _is_sure(name: str) -> bool:
    """Whether a column is called as none is that does not divide the rows: cv_fold, split_id."""
    words = re.findall("[a-z]+", name[-32:].lower())
    while len(words) > 1 and words[-1] in _ENDS:
        words.pop()
    return bool(words) and (words[-1] in _SURE or words[-1] == "kfold")


def is_of_splits(name: str, values: Sequence[str]) -> bool:
    """Whether a column by its name, and by its values, says of which split each row is.

    >>> is_of_splits("split", ["a", "b"] * 2), is_of_splits("Set", ["train", "Test"])
    (True, True)
    >>> is_of_splits("set", ["a", "b"] * 2), is_of_splits("split", ["a", "a"])
    (False, False)
    >>> is_of_splits("fold", ["1", "2"] * 2), is_of_splits("mode", ["train", "test"] * 2)
    (True, True)
    >>> is_of_splits("role", ["q", "d"] * 2), is_of_splits("class", ["q", "d"] * 2)
    (True, False)
    >>> is_of_splits("stream", ["rgb", "flow"] * 2), is_of_splits("media", ["video", "image"] * 2)
    (True, False)
    >>> [is_of_splits(name, ["vision", "language"] * 2) for name in ("data_type", "topic")]
    [True, False]
    """
    name, different = name.lower(), set(values)
    if len(different) < 2:
        return False
    several = 2 * len(different) <= len(values)
    if _is_sure(name):
        return several or _are_known(different)
    if name in _COLUMNS:
        counted = several and all(map(str.isdecimal, different))
        return counted or _are_known(different) or _are_parts(name, different)
    sides = _are_sides(different, _MORE_SIDES if _holds_sides(name) else {})
    return len(different) < len(values) and (
        _are_known(different) or sides or _are_parts(name, different)
    )


def _holds_sides(name: str) -> bool:
    """Whether a column is called as those are that say what each row is of."""
    words = re.findall("[a-z]+", name)
    return bool(words) and words[-1] in _DIVIDES | _OF_STREAMS | _HOLDS_SIDES


def _are_parts(name: str, values: set[str]) -> bool:
    """Whether words that are short, or of streams, say the part of a row, as the name does."""
    low = {value.lower() for value in values}
    divides = name in _DIVIDES or name in _COLUMNS
    if {*map(_side, low)} in ({"texts"}, {"videos"}):
        return False
    if low <= _STREAMS and (name in _OF_STREAMS or low & {"rgb", "flow", "optical_flow"}):
        return True
    long = set(filter(is_split_word, low))
    short = low - long - _REST
    return short <= _SHORT and (bool(long) or (divides and bool(short)))


def may_say_split(name: str, value: str) -> bool:
    """Whether one value may be that of a column that says of which split each row is.

    >>> may_say_split("mode", "test"), may_say_split("mode", "a"), may_say_split("split", "a")
    (True, False, True)
    """
    known = value.lower() in _SHORT | _REST | _STREAMS or is_split_word(value)
    more = value.lower() in _MORE_SIDES and _holds_sides(name.lower())
    return is_named_like_splits(name) or known or more or bool(_side(value))


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


def _are_sides(values: set[str], more: Mapping[str, str]) -> bool:
    """Whether rows are of texts and of what is no text, or of sounds and of what is none."""
    sides = {_side(value) or more.get(value.lower(), "") for value in values}
    return "" not in sides and len(sides) > 1


def _side(value: str) -> str:
    return "sounds" if _SOUNDS.fullmatch(value) else sounds_like(value)


def side_of_part(value: str) -> str:
    """The side that the word for a part of the rows says; "" for none.

    >>> side_of_part("vision"), side_of_part("Caption"), side_of_part("test")
    ('videos', 'texts', '')
    """
    return sounds_like(value) or _MORE_SIDES.get(value.lower(), "")


def split_column(container: Container) -> tuple[str, tuple[str, ...]] | None:
    """What says of which split each row is, in words, and what it says; None without any."""
    container = _of_its_group(container)
    columns = {**container.numbers, **container.fields}
    counts = {
        item.shape[0] for name, item in container.fields.items()
        if item.kind == "float" and len(item.shape) > 1 and "/" not in name
    }  # fmt: skip
    listed = [
        name for name, item in columns.items()
        if "/" not in name and _may_be(item) and item.shape[0] in counts
    ]  # fmt: skip
    for name in sorted(listed, key=lambda each: not is_named_like_splits(each)):
        item = columns[name]
        flags = bool(word_of_flags(name))
        if item.kind != "text" and not (flags or is_named_like_splits(name)):
            continue
        values = _values(name, item, flags=flags)
        if flags and (said := said_by_flags(name, values)) is not None:
            return f"its column {name!r} says", said
        if values and item.dtype.kind != "b" and is_of_splits(name, values):
            if name == OF_FILES:
                return "the names of its files say", values
            return f"its column {name!r} says", values
    return _by_lists(container, counts) if len(counts) == 1 else None


def _of_its_group(container: Container) -> Container:
    """The arrays of the one group that holds all, where these are rows with their names."""
    tops = {name.partition("/")[0] for name in container.fields}
    if len(tops) != 1 or not all("/" in name for name in container.fields):
        return container
    inside = {name.partition("/")[2]: item for name, item in container.fields.items()}
    known = {name for tier in container.id_names for name in tier}
    if any(name in known and is_list(item) for name, item in inside.items()):
        return replace(container, fields=inside)
    return container


def _by_lists(container: Container, counts: set[int]) -> tuple[str, tuple[str, ...]] | None:
    """What lists of some of the rows say of each."""
    (count,) = counts
    ids = next(
        (container.fields[name] for tier in container.id_names for name in tier
         if name in container.fields and is_list(container.fields[name])
         and max(container.fields[name].shape) == count), None,
    )  # fmt: skip
    of_matlab = container.path.suffix.lower() == ".mat"
    found = said_by_lists(container.fields, count, ids, from_one=of_matlab)
    if found is None:
        return None
    names, values = found
    return f"its {named(names)} {'say' if len(names) > 1 else 'says'}", values


def _may_be(item: Field) -> bool:
    plain = item.kind in ("text", "integer", "float") or (item.dtype.kind == "b" and not item.odd)
    return plain and is_list(item) and bool(item.shape)


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
    return "sides" if _are_sides(set(values), _MORE_SIDES) else "splits"


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


def _values(name: str, item: Field, *, flags: bool) -> tuple[str, ...]:
    """What a column holds as text; nothing where that says of no split."""
    item.check()
    made: list[str] = []
    for text in values_as_text(item):
        made.append(text)
        if not flags and not may_say_split(name, text):
            return ()
        if len(made) % 65536 == 0:
            afford(64 * len(made), item.where, what="the column of splits")
    return tuple(made)
