"""Which captions of (videos, captions, videos) are there: what masks and counts beside it say.

They are what masks and lengths beside frames are: a caption of a video stands where a frame of an
item does, and is called otherwise. So they are read by the same code, and what only may say it is
asked about.
"""

import re
from collections.abc import Iterator, Mapping

import numpy as np

from rerank.core.errors import FormatError
from rerank.io.container import LENGTH_NAMES, MASK_NAMES
from rerank.io.field import Field, read_array
from rerank.io.frames.mask_shapes import fits, numbers_of
from rerank.io.frames.masks import frames_there
from rerank.io.frames.meanings import meaning_of, words_in

# Words for captions, which stand where frames do, and for what is of something else.
_CAPTIONS = {
    "cap", "caps", "caption", "captions", "query", "queries", "sentence", "sentences", "sent",
    "sents", "sen", "text", "texts", "txt", "txts",
}  # fmt: skip
_OTHERS = {"video", "videos", "vid", "frame", "frames", "clip", "clips", "image", "img", "audio",
           "token", "tokens", "word", "words"}  # fmt: skip
# Names that leave no doubt: one that does not fit is refused.
_SURE = ("query_mask", "text_mask", "caption_mask", "mask")
_COUNTS = {"captions_per_video", "lengths", "length", "num_captions", "n_captions",
           "caption_counts"}  # fmt: skip
# Where the last caption of each video stands among all, or how many there are so far.
_ENDS = re.compile(r"cut_?off_?points?_*|(caption|query|text|sentence)_(ends|cumsum|offsets)")


def captions_there(
    fields: Mapping[str, Field], cube: Field, captions: int, present: np.ndarray
) -> np.ndarray:
    """(videos x captions,) whether a caption is there, as a mask or a count beside it says.

    Args:
        fields: the arrays of the file.
        cube: the scores.
        captions: of each video, with padding.
        present: (videos x captions,) rows that hold more than one number.

    Raises:
        FormatError: one that does not fit, or an array that may be one.
    """
    videos = cube.shape[0]
    room = present.reshape(videos, captions)
    if captions == 1:
        return np.ones(videos, dtype=bool)
    beside: dict[str, Field] = {}
    for name, item in fields.items():
        if item is cube:
            continue
        leaf = name.rpartition("/")[2]
        shaped = _flat(item, videos, captions)
        if _ENDS.fullmatch(leaf) and fits(item, "lengths", videos, captions):
            beside[f"frame_lengths_{len(beside)}"] = _counts_of_ends(item, room)
        elif leaf in _SURE and not fits(shaped, "mask", videos, captions):
            raise FormatError(
                f"{item.where}: is {item.describe()}, but there are {videos} videos with up to "
                f"{captions} captions; expected a mask ({videos}, {captions}) of the captions that "
                "are there"
            )
        elif any(fits(shaped, meaning, videos, captions) for meaning in ("mask", "lengths")):
            beside[_as_of_frames(leaf, beside)] = shaped
        elif item.kind == "text" and item.shape == (videos, captions):
            beside[f"{leaf} {len(beside)}"] = item
    try:
        there = frames_there(_rows(cube, room), beside)
    except FormatError as error:
        raise FormatError(_of_captions(str(error), beside)) from None
    return np.ones(present.shape, bool) if there is None else there.reshape(-1)


def is_caption_mask(name: str) -> bool:
    """Whether an array is called a mask of captions.

    >>> is_caption_mask("query_masks"), is_caption_mask("video_mask"), is_caption_mask("valid")
    (True, False, False)
    """
    leaf = name.rpartition("/")[2]
    return bool(_CAPTIONS & set(words_in(leaf))) and _as_of_frames(leaf, {}) == "frame_mask"


def _as_of_frames(name: str, used: Mapping[str, Field]) -> str:
    """What an array would be called beside frames.

    >>> [_as_of_frames(name, {}) for name in ("query_masks", "num_captions", "cap_len")]
    ['frame_mask', 'lengths', 'frame_lengths']
    >>> _as_of_frames("video_mask", {}), _as_of_frames("labels", {})
    ('other video_mask', 'labels')
    """
    words = words_in(name)
    if _OTHERS.intersection(words) and name not in _COUNTS:
        made = f"other {name}"
    else:
        made = "_".join("frame" if word in _CAPTIONS else word for word in words)
        usual = {"mask": "frame_mask", "lengths": "frame_lengths", "padding": "padding_mask"}
        counted = {"num", "n", "nb", "count", "counts", "number"} & set(words)
        if name in _COUNTS or (counted and _CAPTIONS & set(words)):
            made = "lengths"  # of captions, never of whole videos
        elif meaning_of(made) in usual and "frame" in made:
            made = usual[meaning_of(made)]
        elif name not in (*MASK_NAMES, *LENGTH_NAMES) and not _CAPTIONS & set(words):
            made = name
    while made in used:
        made += "_"
    return made


def _flat(item: Field, videos: int, captions: int) -> Field:
    """A mask of all captions in one list, as one of each video."""
    if item.odd or item.shape not in ((videos * captions,), (1, videos * captions)):
        return item
    if item.dtype.kind not in "iufb":
        return item

    def blocks(start: int, stop: int) -> Iterator[np.ndarray]:
        yield read_array(item, booleans=True).reshape(videos, captions)[start:stop]

    return Field(item.where, (videos, captions), item.dtype, blocks, item.check)


def _rows(cube: Field, present: np.ndarray) -> Field:
    """(videos, captions, 1) ones for captions that have scores, and zeros for padding."""
    rows = present[:, :, None].astype(np.float32)

    def blocks(start: int, stop: int) -> Iterator[np.ndarray]:
        yield rows[start:stop]

    return Field(cube.where, rows.shape, rows.dtype, blocks)


def _counts_of_ends(item: Field, present: np.ndarray) -> Field:
    """How many captions each video has, by where the last one stands, or how many came before.

    Raises:
        FormatError: places that are no such, or that fit both ways.
    """
    videos, captions = present.shape
    ends = numbers_of(item).reshape(-1).astype(np.int64)
    ways = [np.diff(ends, prepend=before) for before in (-1, 0)]
    good = [way for way in ways if way.min() >= 1 and way.max() <= captions]
    if not good:
        raise FormatError(
            f"{item.where}: says that videos have {ways[0].min()} to {ways[0].max()} captions, "
            f"and the block has room for {captions}; check it, or leave it out of this file"
        )
    if len(good) == 2:
        # They differ in the first video, of which rows of padding tell how many it has.
        good = [way for way in good if (way == present.sum(axis=1)).all()] or good
    if len(good) == 2:
        raise FormatError(
            f"{item.where}: may say where the last caption of each video stands, or how many there "
            "are so far; store how many each has as 'num_captions'"
        )
    counts = good[0]

    def blocks(start: int, stop: int) -> Iterator[np.ndarray]:
        yield counts[start:stop]

    return Field(item.where, counts.shape, counts.dtype, blocks)


def _of_captions(text: str, beside: Mapping[str, Field]) -> str:
    """What is said of frames of items, of captions of videos."""
    heads = [item.where for item in beside.values() if text.startswith(item.where)]
    head = max(heads, key=len, default="")
    rest = text[len(head) :]
    for word, other in (("frames", "captions"), ("frame", "caption"), ("an item", "a video"),
                        ("each item", "each video")):  # fmt: skip
        rest = re.sub(rf"\b{word}\b", other, rest)
    return head + rest
