"""What names beside frames say: masks, lengths, padding, or nothing of frames."""

import re
from functools import lru_cache
from typing import Literal, TypeAlias

from rerank.io.container import ID_NAMES, LENGTH_NAMES, MASK_NAMES, MORE_ID_NAMES, VECTOR_NAMES

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
_PADDING_WORDS = {"pad", "pads", "padding", "padded"}
# A name that leaves no doubt that numbers count frames of padding.
NUMBER_OF_PADDING = "num_padding"
# What is said of frames that do not count.
_NOT_THERE = _PADDING_WORDS | {"invalid", "ignore", "ignored", "drop", "dropped", "missing"}
# Numbers for each frame of which zeros leave a frame out.
_WEIGHT_WORDS = {"weight", "weights", "w", "attn", "attention", "attentions", "alpha", "alphas",
                 "importance"}  # fmt: skip
_MAY_BE_MASKS = {"valid", "invalid", "ignore", "ignored", "keep", "kept", "drop", "dropped", "used",
                 "present", "exists", "observed", "available", "missing", "real"}  # fmt: skip
# What is counted and is no frame.
_OTHER_COUNTS = {
    "captions", "sentences", "queries", "texts", "videos", "images", "views", "likes", "objects",
    "persons", "people", "faces", "shots",
}  # fmt: skip
# Single words that may stand for the number of frames.
_MAY_BE_LENGTHS = {"n", "t", "end", "ends", "num", "size", "sizes", "frames", "valid", "used"}
_PLACES = {"offset", "offsets", "start", "starts", "begin", "begins", "indptr", "ptr", "cu",
           "seqlens", "splits", "row", "bounds", "boundaries", "ends"}  # fmt: skip
# How the first of the frames that count is called, and what the one behind them is called then.
_BOUNDS = {"starts": "ends", "start": "end", "begin": "end", "first": "last", "from": "to"}
# How the last frame that counts is called, and what a place is called.
_LAST = {"last", "final", "eos", "eot", "stop", "end", "ends", "max"}
_AT = {"idx", "index", "indices", "pos", "position", "positions", "place"}
# What one of several rows of an item is called.
_PARTS = {"frame", "clip", "segment", "shot", "chunk", "window"}
_OF_WORDS = {"text", "txt", "caption", "query", "sentence", "sen", "token", "tokens"}
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


def words_in(name: str) -> list[str]:
    """The words of the last part of a name.

    >>> words_in("clip/numFrames_2")
    ['num', 'frames']
    """
    leaf = re.sub(r"([a-z])([A-Z])", r"\1_\2", name.rpartition("/")[2]).lower()
    return re.findall(r"[a-z]+", leaf)


def is_something_else(name: str) -> bool:
    """Whether numbers are called what is known to say nothing of frames.

    >>> [is_something_else(name) for name in ("group_id", "end", "frame_idx", "max_idx")]
    [True, False, True, False]
    """
    known = (*VECTOR_NAMES, *ID_NAMES, *(each for tier in MORE_ID_NAMES for each in tier))
    words = set(words_in(name))
    if name in known or "is" in words or "has" in words:
        return True
    return bool(words & _SOMETHING_ELSE) and not says_last(name)


@lru_cache(maxsize=4096)
def meaning_of(name: str) -> Meaning:
    """What an array says of frames by its name; with a question mark what it may say.

    >>> [meaning_of(name) for name in ("mask", "video_lengths", "num_clips", "key_padding_mask")]
    ['mask', 'lengths', 'lengths', 'padding']
    >>> [meaning_of(name) for name in ("pad", "num_pad", "padding_length", "padded_length")]
    ['padding', 'padding', 'padding', 'mask?']
    >>> [meaning_of(name) for name in ("missing_mask", "len_s", "ids", "num_captions")]
    ['mask?', 'lengths?', '', '']
    """
    if name in MASK_NAMES:
        return "mask"
    if name in LENGTH_NAMES:
        return "lengths"
    words = words_in(name)
    said, last = set(words), words[-1] if words else ""
    if said & _OTHER_COUNTS:
        return ""
    if said & _PADDING_WORDS and said <= _PADDING_WORDS | _OF_FRAMES | {"mask", "key", "src"}:
        return "padding"
    if says_number_of_padding(name):
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


def is_file_of_frames(name: str) -> bool:
    """Whether a file or a folder is called what says which frames count; a split may be `valid`.

    >>> is_file_of_frames("lengths"), is_file_of_frames("valid")
    (True, False)
    """
    return meaning_of(name) in ("mask", "lengths", "padding") and name.lower() != "valid"


def may_be_length(name: str) -> bool:
    """Whether a name may say the number of frames.

    >>> may_be_length("end"), may_be_length("age")
    (True, False)
    """
    words = words_in(name)
    single = len(words) == 1 and words[0] in _MAY_BE_LENGTHS
    return single or says_last(name) or meaning_of(name).endswith("?")


def is_of_words(name: str) -> bool:
    """Whether a name speaks of the words of a text.

    >>> is_of_words("num_tokens"), is_of_words("num_frames")
    (True, False)
    """
    return bool(_OF_WORDS & set(words_in(name)))


def says_last(name: str) -> bool:
    """Whether numbers are called the last frame that counts, or the place of an end.

    >>> says_last("last_frame"), says_last("max_idx"), says_last("idx"), says_last("end")
    (True, True, False, False)
    """
    said = set(words_in(name))
    alone = said & {"last", "final", "eos", "eot", "stop"}
    if not said <= _LAST | _AT | _OF_FRAMES:
        return False
    return bool(alone) or (bool(said & _LAST) and bool(said & (_AT | {"frame", "frames", "valid"})))


def says_number_of_padding(name: str) -> bool:
    """Whether a name says that numbers count frames of padding.

    >>> says_number_of_padding("n_pad"), says_number_of_padding("pad")
    (True, False)
    """
    said = set(words_in(name))
    # What is padded has the length of all.
    counts = _COUNT_WORDS if "padded" in said else _COUNT_WORDS | _LENGTH_WORDS
    counted = said & _PADDING_WORDS and said & counts
    return bool(counted) and said <= _PADDING_WORDS | _OF_FRAMES | _COUNTED | counts


def says_absent(name: str) -> bool:
    """Whether numbers are called what does not count.

    >>> says_absent("num_missing"), says_absent("num_frames")
    (True, False)
    """
    said = set(words_in(name))
    return bool(said & _NOT_THERE) and not ("padded" in said and said & _LENGTH_WORDS)


def is_place(name: str) -> bool:
    """Whether numbers are called the places where something begins, of frames or of anything.

    >>> is_place("frame_offsets"), is_place("caption_offsets")
    (True, False)
    """
    said = set(words_in(name))
    frames = _OF_FRAMES - _OTHER_COUNTS - _SOMETHING_ELSE
    return bool(said & (_PLACES - {"row"})) and said <= _PLACES | frames


def counts_of_videos(name: str) -> bool:
    """Whether numbers are called counts of frames, which may be those of whole videos.

    >>> [counts_of_videos(name) for name in ("num_frames", "frame_counts", "lengths")]
    [True, True, False]
    """
    return meaning_of(name) == "lengths" and bool(_COUNT_WORDS & set(words_in(name)))


def is_frame_number(name: str) -> bool:
    """Whether numbers, one for each row, are called the place of a frame among those of its item.

    >>> is_frame_number("frame"), is_frame_number("frame_idx"), is_frame_number("num_frames")
    (True, True, False)
    """
    said = set(words_in(name))
    return bool(said & _PARTS) and said <= _PARTS | _AT | {"id", "no", "num", "number", "video"}


def is_weight(name: str) -> bool:
    """Whether numbers for each frame are called weights of them.

    >>> is_weight("frame_weights"), is_weight("scores")
    (True, False)
    """
    said = set(words_in(name))
    return bool(said & _WEIGHT_WORDS) and said <= _WEIGHT_WORDS | _OF_FRAMES


def end_of(name: str) -> str:
    """What the last frame is called where a name says the first one; "" for any other name.

    >>> end_of("start_frame"), end_of("startIdx"), end_of("start_time")
    ('end_frame', 'endIdx', '')
    """
    said = set(words_in(name))
    for first, last in _BOUNDS.items():
        if first in said and said <= _OF_FRAMES | {first, "idx", "index", "pos", "position"}:
            return re.sub(first, last, name, count=1, flags=re.IGNORECASE)
    return ""
