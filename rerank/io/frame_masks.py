"""Which frames of an item are there: what masks and lengths beside them say, and what may say it.

Names that say it are taken. What only may say it is asked about where it makes a difference; it is
never passed over.
"""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Literal, TypeAlias

import numpy as np

from rerank.core.errors import FormatError
from rerank.io.container import (
    ID_NAMES,
    LENGTH_NAMES,
    MASK_NAMES,
    MORE_ID_NAMES,
    VECTOR_NAMES,
    side_in,
)
from rerank.io.field import Field, read_array

Meaning: TypeAlias = Literal["mask", "padding", "lengths", "mask?", "lengths?", ""]

# What stands before the last word of a name without making its meaning another one.
_OF_FRAMES = {
    "video", "vid", "frame", "frames", "feat", "feats", "feature", "features", "clip", "clips",
    "seq", "sequence", "image", "img", "visual", "token", "tokens", "text", "txt", "caption",
    "query", "sentence", "sen", "attention", "attn", "valid", "is",
}  # fmt: skip
_MASK_WORDS = {"mask", "masks"}
_LENGTH_WORDS = {"len", "lens", "length", "lengths", "seqlen", "seqlens", "nframes",
                 "numframes", "vlen", "flen"}  # fmt: skip
_COUNT_WORDS = {"num", "n", "nb", "count", "counts"}
_COUNTED = {"frames", "clips", "valid", "segments", "tokens", "frame", "clip", "segment", "token"}
_PADDING_WORDS = {"pad", "padding", "padded"}
_MAY_BE_MASKS = {"valid", "invalid", "ignore", "ignored", "keep", "kept", "drop", "dropped", "used",
                 "present", "exists", "observed", "available", "missing", "real"}  # fmt: skip
# What is counted and is no frame.
_OTHER_COUNTS = {
    "captions", "sentences", "queries", "texts", "videos", "images", "views", "likes", "objects",
    "persons", "people", "faces", "shots",
}  # fmt: skip
# Single words that may stand for the number of frames.
_MAY_BE_LENGTHS = {"n", "t", "end", "ends", "num", "size", "sizes", "frames", "valid", "used"}
# What numbers beside frames are called that say nothing of frames.
_SOMETHING_ELSE = _OTHER_COUNTS | {
    "id", "ids", "key", "keys", "name", "names", "index", "indices", "idx", "uuid", "gid", "row",
    "rows", "label", "labels", "class", "classes", "category", "categories", "cat", "y", "target",
    "targets", "gt", "group", "groups", "cluster", "clusters", "topic", "topics", "genre", "tag",
    "tags", "type", "kind", "split", "splits", "fold", "folds", "part", "shard", "batch", "epoch",
    "seed", "rank", "ranks", "order", "position", "positions", "pos", "offset", "offsets", "start",
    "starts", "begin", "time", "times", "timestamp", "timestamps", "ts", "date", "year", "month",
    "day", "week", "hour", "minute", "second", "seconds", "score", "scores", "weight", "weights",
    "rating", "ratings", "stars", "grade", "grades", "relevance", "rel", "level", "difficulty",
    "quality", "confidence", "prob", "probs", "age", "gender", "lang", "language", "speaker",
    "camera", "cam", "source", "domain", "dataset", "version", "fps", "rate", "hz", "width",
    "height", "channels", "bitrate", "caption", "query", "title", "user", "author", "person",
    "answer", "choice", "highlight", "highlights", "saliency", "keyframe", "action", "event",
    "dup", "popularity", "price", "stock", "size_bytes", "bytes",
}  # fmt: skip


def _words_in(name: str) -> list[str]:
    leaf = re.sub(r"([a-z])([A-Z])", r"\1_\2", name.rpartition("/")[2]).lower()
    return re.findall(r"[a-z]+", leaf)


def is_something_else(name: str) -> bool:
    """Whether numbers are called what is known to say nothing of frames.

    >>> is_something_else("group_id"), is_something_else("end")
    (True, False)
    """
    known = (*VECTOR_NAMES, *ID_NAMES, *(each for tier in MORE_ID_NAMES for each in tier))
    words = set(_words_in(name))
    return name in known or bool(words & _SOMETHING_ELSE) or "is" in words or "has" in words


@lru_cache(maxsize=4096)
def meaning_of(name: str) -> Meaning:
    """What an array says of frames by its name; with a question mark what it may say.

    >>> [meaning_of(name) for name in ("mask", "video_lengths", "num_clips", "key_padding_mask")]
    ['mask', 'lengths', 'lengths', 'padding']
    >>> [meaning_of(name) for name in ("missing_mask", "len_s", "ids", "num_captions")]
    ['mask?', 'lengths?', '', '']
    """
    if name in MASK_NAMES:
        return "mask"
    if name in LENGTH_NAMES:
        return "lengths"
    words = _words_in(name)
    said, last = set(words), words[-1] if words else ""
    if said & _OTHER_COUNTS:
        return ""
    if said & _PADDING_WORDS and said <= _PADDING_WORDS | _OF_FRAMES | {"mask", "key", "src"}:
        return "padding"
    if last in _MASK_WORDS | {"valid"} and said <= _OF_FRAMES | _MASK_WORDS:
        return "mask"
    if last in _LENGTH_WORDS and said <= _OF_FRAMES | _LENGTH_WORDS:
        return "lengths"
    if said & _COUNT_WORDS and said & _COUNTED and said <= _OF_FRAMES | _COUNT_WORDS | _COUNTED:
        return "lengths"
    if said & (_MASK_WORDS | _PADDING_WORDS | _MAY_BE_MASKS):
        return "mask?"
    return "lengths?" if said & (_LENGTH_WORDS | {"num", "count", "counts"}) else ""


def says_something(name: str, found: Field, n: int, frames: int) -> bool:
    """Whether an array says, or may say, which of (n, frames) count."""
    meaning = meaning_of(name)
    if name in (*MASK_NAMES, *LENGTH_NAMES):
        return True
    return bool(meaning) and _fits(found, meaning, n, frames)


def frames_there(cube: Field, beside: Mapping[str, Field]) -> np.ndarray | None:
    """(n, frames) booleans: which frames of (n, frames, d) are there; None where nothing says so.

    Raises:
        FormatError: a mask or lengths that do not fit, or an array that may be one.
    """
    n, frames, _ = cube.shape
    side = next((side_in(name) for name, other in beside.items() if other is cube), "")
    of_side = {
        name: found
        for name, found in beside.items()
        if found is not cube and not (side and side_in(name) not in ("", side))
    }
    for name in (*MASK_NAMES, *LENGTH_NAMES):
        if name in of_side:
            return _strictly(of_side[name], cube, masks=name in MASK_NAMES)
    asked: list[tuple[Field, Meaning]] = []
    for wanted in ("mask", "lengths", "padding"):
        for name, found in of_side.items():
            if meaning_of(name) != wanted:
                continue
            if found.odd and found.shape[:1] == (n,):
                raise FormatError(f"{found.where}: is {found.describe()}; store it as one array")
            if not _fits(found, wanted, n, frames):
                continue
            # Whose frames these are is not said, and a name that speaks of texts may mean others.
            other = not side and side_in(name) == "texts"
            there = None if other else _taken(found, wanted, n, frames)
            if there is not None:
                return there
            asked.append((found, wanted))
    for name, found in of_side.items():
        meaning = meaning_of(name)
        if meaning.endswith("?") and _fits(found, meaning, n, frames):
            asked.append((found, meaning))
    for found, meaning in asked:
        _ask(found, meaning, cube)
    known = [found for found, _ in asked]
    for name, found in of_side.items():
        if found is not cube and not any(found is other for other in known):
            _ask_by_values(name, found, cube)
    return None


def _ask_by_values(name: str, found: Field, cube: Field) -> None:
    """Refuse an array with an unknown name whose values may say which frames count."""
    n, frames, _ = cube.shape
    if is_something_else(name):
        return
    if _fits(found, "lengths", n, frames):
        if could_be_lengths(name, numbers_of(found).reshape(-1), np.full(n, frames)):
            _ask(found, "lengths?", cube)
    elif _fits(found, "mask", n, frames) and could_be_masks(
        name, numbers_of(found).reshape(n, frames)
    ):
        _ask(found, "mask?", cube)


def could_be_lengths(name: str, values: np.ndarray, frames: np.ndarray) -> bool:
    """Whether whole numbers, one for each item, look like numbers of frames.

    As a rule the longest item has all frames. Zeros and ones are flags.

    >>> could_be_lengths("zzz", np.array([3, 5, 1]), np.array([5, 5, 5]))
    True
    >>> could_be_lengths("zzz", np.array([3, 4, 1]), np.array([5, 5, 5]))
    False
    """
    if not (np.isfinite(values).all() and (values == np.floor(values)).all() and len(values)):
        return False
    if values.min() < 0 or (values > frames).any() or values.max() <= 1:
        return False
    words = _words_in(name)
    if len(words) == 1 and words[0] in _MAY_BE_LENGTHS or meaning_of(name).endswith("?"):
        return True
    return values.min() >= 1 and bool((values == frames).any())


def could_be_masks(name: str, rows: Sequence[np.ndarray] | np.ndarray) -> bool:
    """Whether zeros and ones, one for each frame, look like masks: they change once, one way.

    >>> could_be_masks("zzz", np.array([[1, 1, 0], [1, 0, 0]]))
    True
    >>> could_be_masks("zzz", np.array([[1, 0, 1], [1, 0, 0]]))
    False
    """
    if not all(np.isin(row, (0, 1)).all() for row in rows):
        return False
    if meaning_of(name) == "mask?":
        return True
    steps = [np.diff(np.asarray(row).reshape(-1).astype(np.int8)) for row in rows]
    return any(all((way * step >= 0).all() for step in steps) for way in (1, -1))


def _fits(found: Field, meaning: Meaning, n: int, frames: int) -> bool:
    """Whether an array has the shape and the type of its meaning."""
    if found.odd:
        return False
    if meaning.startswith("lengths"):
        return found.shape in _lengths_of(n) and (
            found.kind in ("integer", "float") or _is_list_of_numbers(found)
        )
    return found.dtype.kind in "iufb" and found.shape in _masks_of(n, frames)


def _lengths_of(n: int) -> tuple[tuple[int, ...], ...]:
    return ((n,), (n, 1), *(((), (1,), (1, 1)) if n == 1 else ()))


def _masks_of(n: int, frames: int) -> tuple[tuple[int, ...], ...]:
    one: tuple[tuple[int, ...], ...] = ((frames,), (frames, 1)) if n == 1 else ()
    return ((n, frames), (n, frames, 1), (n, 1, frames), *one)


def _is_list_of_numbers(found: Field) -> bool:
    """Whether a list of Python, which may hold anything, holds whole numbers only."""
    if found.dtype != object or len(found.shape) != 1:
        return False
    return all(type(x) is int for block in found.blocks(0, found.shape[0]) for x in block)


def numbers_of(found: Field) -> np.ndarray:
    """All values of a small array, or of a list of whole numbers."""
    if found.shape and found.dtype != object:
        return read_array(found, booleans=True)
    rows = found.shape[0] if found.shape else 1
    parts = [np.reshape(block, -1) for block in found.blocks(0, rows)]
    return np.array(np.concatenate(parts).tolist())


def _strictly(found: Field, cube: Field, *, masks: bool) -> np.ndarray:
    """What an array says whose name leaves no doubt: it fits, or it is refused."""
    n, frames, _ = cube.shape
    if masks and _fits(found, "mask", n, frames):
        return (numbers_of(found) != 0).reshape(n, frames)
    if _fits(found, "lengths", n, frames):
        lengths = numbers_of(found).reshape(-1)
        if (lengths > frames).any() or (lengths < 1).any():
            row = int(np.flatnonzero((lengths > frames) | (lengths < 1))[0])
            raise FormatError(
                f"{found.where}: row {row} says {lengths[row]:g} frames, expected 1 to {frames}"
            )
        return np.arange(frames) < lengths[:, None]
    raise FormatError(
        f"{found.where}: is {found.describe()}, but the frames are {cube.shape}; expected a "
        f"mask ({n}, {frames}) or {n} lengths"
    )


def _taken(found: Field, meaning: Meaning, n: int, frames: int) -> np.ndarray | None:
    """What an array says that has the values of its meaning; None where it has others."""
    values = numbers_of(found)
    if meaning == "lengths":
        lengths = values.reshape(-1)
        good = np.isin(lengths, np.arange(1, frames + 1)).all()
        return np.arange(frames) < lengths[:, None] if good else None
    if not np.isin(values, (0, 1)).all():
        return None
    ones = (values != 0).reshape(n, frames)
    if meaning == "mask":
        return ones if ones.any(axis=1).all() else None
    # Of torch: True is padding. It is believed where padding comes last in every item.
    last = (np.diff(ones.astype(np.int8), axis=1) >= 0).all() and not ones.all(axis=1).any()
    return ~ones if last else None


def _ask(found: Field, meaning: Meaning, cube: Field) -> None:
    """Refuse an array that may say which frames count, unless it makes no difference."""
    n, frames, _ = cube.shape
    values = numbers_of(found)
    if meaning.startswith("lengths"):
        lengths = values.reshape(-1)
        # By a name that says it, more than there are may be those before some were left out.
        most = np.inf if meaning == "lengths" else frames
        good = ((lengths >= 0) & (lengths <= most) & (lengths == np.floor(lengths))).all()
        if not good or _zeros_outside(cube, np.arange(frames) < lengths[:, None]):
            return
        raise FormatError(
            f"{found.where}: its {n} whole numbers from {lengths.min():g} to {lengths.max():g} may "
            f"say how many of the {frames} frames of an item count; if they do, store it as "
            "'lengths', with at least 1 for each; if they do not, leave it out of this file"
        )
    if not np.isin(values, (0, 1)).all():
        return
    ones = (values != 0).reshape(n, frames)
    if _zeros_outside(cube, ones) or _zeros_outside(cube, ~ones):
        return
    raise FormatError(
        f"{found.where}: its zeros and ones {found.shape} may say which of the {frames} frames of "
        "an item count; if they do, store it as 'mask', with 1 for a frame that counts and at "
        "least one for each item; if they do not, leave it out of this file"
    )


def _zeros_outside(cube: Field, there: np.ndarray) -> bool:
    """Whether all frames that are not there are zeros, which are padding anyway."""
    if there.all():
        return True
    row = 0
    for block in cube.blocks(0, cube.shape[0]):
        if block[~there[row : row + len(block)]].any():
            return False
        row += len(block)
    return True
