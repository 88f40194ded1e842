"""What tables and records call the two sides, captions, grades and directions.

Names count by their letters and digits in lower case; of several the first that is there counts.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any

from rerank.io.place_names import is_row_number

# What tables and records call the two sides, the captions and the grade: letters and digits of the
# name, lower case; the first that is there counts.
TEXT_FIELDS = (
    "queryid", "textid", "captionid", "senid", "sentenceid", "sentid", "annotationid", "annid",
    "descid", "audiocapid", "qid", "key", "query", "textidx", "textindex", "queryidx", "queryindex",
    "textrow", "queryrow",
)  # fmt: skip

VIDEO_FIELDS = (
    "videoid", "corpusid", "itemid", "galleryid", "imageid", "docid", "docno", "documentid",
    "clipid", "video", "vid", "image", "imagename", "videoname", "filename", "img", "imgid", "item",
    "doc", "passageid", "pid", "videopath", "imagepath", "path", "ytid", "youtubeid", "audio",
    "audioid", "targetid", "target", "clip", "productid", "product", "sku", "asin", "gold",
    "goldid", "positive", "positiveid", "videoidx", "videoindex", "imageidx", "imageindex",
    "itemidx", "itemindex", "videorow", "imagerow", "itemrow",
)  # fmt: skip

# Lists of the videos of one text.
VIDEO_LISTS = (
    "positives", "pos", "videoids", "imageids", "itemids", "docids", "corpusids", "galleryids",
    "positiveids", "relevant", "relevantids", "relevantdocs", "targets", "targetids", "answers",
    "gold", "golds", "goldids",
)  # fmt: skip

# Lists of what one of is right, beside an answer; those of the second kind are right without one.
CANDIDATE_LISTS = (
    "candidates", "options", "choices", "candidateids", "candidatevideos", "candidatevideoids",
    "candidateimages", "candidateimageids", "candidateitems", "candidateitemids", "videos",
    "images", "items", "texts",
)  # fmt: skip
NEUTRAL_LISTS = ("videoids", "imageids", "itemids", "docids", "corpusids", "galleryids")

# Which of them is right: its place, or its name.
_ANSWERS = ("answer", "correct", "gt", "gold", "positive", "target", "label", "right", "true")
ANSWER_FIELDS = (
    *(f"{word}{kind}" for word in _ANSWERS for kind in ("idx", "index", "place", "position")),
    "answer", "answerid", "correctanswer", "correctoption", "correctchoice", "correct", "correctid",
    "gold", "goldid", "target", "targetid", "positive", "positiveid", "label",
)  # fmt: skip

GRADE_FIELDS = (
    "relevance", "grade", "score", "rel", "label", "gain", "relevancescore", "escilabel",
    "judgment", "judgement", "grades", "rating", "relevant", "isrelevant", "match", "ismatch",
    "qrel", "relscore", "iscorrect", "ispositive",
)  # fmt: skip

CAPTION_FIELDS = (
    "caption", "captions", "sentence", "sentences", "description", "descriptions", "encap", "text",
    "comment", "raw", "desc", "query",
)  # fmt: skip

# Other words for the two sides, of two columns and of the two ends of a direction.
_TEXT_WORD = "(txt|text|caption|sentence|sent|query|querie|question)s?"

_VIDEO_WORD = "(vid|video|img|image|doc|document|item|clip|gallery|corpus|passage|product)s?"

# What stands at the ends of a direction.
_ENDS = {
    "t": "text", "q": "text", "v": "video", "i": "video", "d": "video", "a": "video", "m": "video",
    **dict.fromkeys(("audio", "audios", "sound", "music", "motion"), "video"),
}  # fmt: skip

# Sides of a matrix by name; a clip and a product are other things as well.
_MATRIX_SIDE = "(vid|video|img|image|doc|document|gallery|corpus|passage|audio)s?"
_LETTERS = {"v": "video", "i": "image", "t": "text"}
_SHORT_PAIRS = {
    "vt": "video-text", "it": "video-text", "vxt": "video-text", "ixt": "video-text",
    "tv": "text-video", "ti": "text-video", "txv": "text-video", "txi": "text-video",
}  # fmt: skip
_BETWEEN = {"x", "by", "vs", "times", "versus", "are"}
_OF_SCORES = "sims?|scores?|logits?|similarit(y|ies)|matri(x|ces)|mat|dists?|distances?|s"
# Words for what is of two sides and no matrix of them.
_NO_MATRIX = {
    "retrieval", "matching", "pairs", "pair", "dataset", "search", "alignment", "contrastive",
    "model", "embeddings", "features", "mask", "ids", "joint", "cross",
}  # fmt: skip

_COLUMN = "(id|idx|index|row|name)?s?"

# Fields of triplets.
_ITEM = "(video|image|item|doc|document|passage|clip)?(id|name)?s?"
_POSITIVE = re.compile(f"pos(itive)?s?{_ITEM}")
_NEGATIVE = re.compile(f"(hard)?neg(ative)?s?{_ITEM}\\d*")
_ANCHOR = re.compile(r"anchor(text|caption|query|sentence)?(id)?s?")

# What a column of the right items is called beside one of others.
_RIGHT = "gt|groundtruth|gold|true|correct|target|relevant|positive|expected"
_RIGHT_ITEM = re.compile(
    rf"({_RIGHT})(vid|video|img|image|doc|document|item|clip|passage|product|audio)(id|name|file)?"
    r"|(video|vid|image|img|item)(id)?(gt|groundtruth)"
)

# An index, two sides and a grade.
_MOST_COLUMNS = 4

_NUMBERED_CAPTION = re.compile(r"(caption|sentence|description|text|comment)\d+")

HEADERS = "query_id,video_id (or sen_id, key, caption_id, ... and image_id, filename, ...)"


# Records of a file have the same few fields, thousands of times.
@lru_cache(maxsize=4096)
def plain(name: str) -> str:
    """A name by its letters and digits, in lower case.

    >>> plain("Query-ID")
    'queryid'
    """
    lower = name.lower()
    return lower if lower.isalnum() else "".join(char for char in lower if char.isalnum())


def first_field(record: Iterable[str], names: Iterable[str]) -> str | None:
    """The first of some plain names that a record has, as the record writes it.

    >>> first_field(["Query-ID", "video"], TEXT_FIELDS)
    'Query-ID'
    """
    return _first_field(tuple(record), tuple(names))


@lru_cache(maxsize=4096)
def _first_field(record: tuple[str, ...], names: tuple[str, ...]) -> str | None:
    by_name = {plain(str(name)): name for name in record}
    return next((by_name[name] for name in names if name in by_name), None)


def captions_of(record: dict[str, Any]) -> list[str]:
    """The captions of a record, however they are called; none when it has none.

    >>> captions_of({"caption_1": "a", "caption_2": "b"})
    ['a', 'b']
    >>> captions_of({"sentences": [{"raw": "a"}]})
    ['a']
    """
    numbered, named_so, inside = caption_keys(tuple(record))
    if len(numbered) > 1 or (numbered and not named_so):
        return [record[key] for key in numbered if isinstance(record[key], str) and record[key]]
    # Some files have the first caption beside the list of all.
    found = max((captions_in(record[key]) for key in named_so), key=len, default=[])
    if found:
        return found
    parts = next((record[key] for key in inside if record[key]), None)
    if isinstance(parts, list) and parts and all(isinstance(part, dict) for part in parts):
        return [caption for part in parts for caption in captions_of(part)]
    return []


@lru_cache(maxsize=4096)
def caption_keys(record: tuple[Any, ...]) -> tuple[tuple[Any, ...], tuple[Any, ...], list[Any]]:
    """Keys of a record that are numbered captions, captions, and lists of parts with captions."""
    by_name = {plain(str(key)): key for key in record}
    numbered = tuple(key for key in record if _NUMBERED_CAPTION.fullmatch(plain(str(key))))
    named_so = tuple(by_name[name] for name in CAPTION_FIELDS if name in by_name)
    return numbered, named_so, [by_name[n] for n in ("annotations", "segments") if n in by_name]


def captions_in(value: object) -> list[str]:
    """The captions in a value: a text, texts, or records with captions."""
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list) or not value:
        return []
    if all(isinstance(item, str) for item in value):
        return value
    if all(isinstance(item, dict) for item in value):
        return [caption for item in value for caption in captions_of(item)]
    if all(is_words(item) for item in value):
        return [" ".join(item) for item in value]
    return []


def is_words(item: object) -> bool:
    """Whether something is a list of texts."""
    return isinstance(item, list) and bool(item) and all(isinstance(word, str) for word in item)


def names_sides(header: Sequence[str]) -> bool:
    """Whether a header names both sides, also in other words where it has two columns."""
    return names_both(header) or sides_in_words(header) is not None


def sides_in_words(header: Sequence[str]) -> tuple[str, str] | None:
    """The columns of texts and of videos, where there are but numbers of rows and grades beside.

    >>> sides_in_words(["", "image_idx", "caption_idx"]), sides_in_words(["a", "b"])
    (('caption_idx', 'image_idx'), None)
    """
    if len(header) > _MOST_COLUMNS:
        return None
    left = [name for name in header if not counts_own_rows(name)]
    sides = [name for name in left if first_field([name], GRADE_FIELDS) is None]
    says = said_by_words(*sides) if len(sides) == 2 else ""
    if not says:
        return None
    return (sides[0], sides[1]) if says == "text-video" else (sides[1], sides[0])


def of_triplet(header: Sequence[str]) -> dict[str, str]:
    """What the fields of a triplet are called otherwise: its text, and what is right for it.

    >>> of_triplet(["anchor", "pos", "neg"]), of_triplet(["query_id", "positive", "negative"])
    ({'anchor': 'query', 'pos': 'video_id'}, {})
    """
    words = {name: plain(name) for name in header}
    anchor = next((name for name, word in words.items() if _ANCHOR.fullmatch(word)), None)
    positive = next((name for name, word in words.items() if _POSITIVE.fullmatch(word)), None)
    negative = any(map(_NEGATIVE.fullmatch, words.values()))
    video = first_field(header, VIDEO_FIELDS)
    made: dict[str, str] = {}
    if anchor and (positive or video) and not first_field(header, (*TEXT_FIELDS, *CAPTION_FIELDS)):
        made[anchor] = "query"
    if positive and video is None and (anchor or negative):
        made[positive] = "video_id"
    return made


def _of_choice(header: Sequence[str]) -> dict[str, str]:
    """What a list of candidates with an answer beside it is called otherwise."""
    listed = first_field(header, CANDIDATE_LISTS)
    others = [name for name in header if name != listed]
    graded = (name for name in others if plain(name).removesuffix("s") in GRADE_FIELDS)
    answer = first_field(others, ANSWER_FIELDS) or next(graded, None)
    if listed is None or answer is None:
        return {}
    sides = [name for name in header if name not in (listed, answer)]
    of_video = first_field(sides, VIDEO_FIELDS) is not None
    return {listed: "caption" if of_video else "video_id", answer: "answer"}


def names_right_item(name: str) -> bool:
    """Whether a column is called the right item of a text.

    >>> [names_right_item(name) for name in ("gt_video", "correctVideoId", "pred_video", "video")]
    [True, True, False, False]
    """
    return _RIGHT_ITEM.fullmatch(plain(name)) is not None


def counts_own_rows(name: str) -> bool:
    """Whether a column counts the rows of its own table, as the index of pandas: "", "index".

    >>> counts_own_rows(""), counts_own_rows("index"), counts_own_rows("video_index")
    (True, True, False)
    """
    return not name or is_row_number(name)


def said_by_words(left: str, right: str) -> str:
    """Which side stands on the left by the words of two columns, or of one direction; "" for none.

    >>> said_by_words("gallery", "queries"), said_by_words("txt", "img"), said_by_words("a", "b")
    ('video-text', 'text-video', '')
    """
    sides = [
        ("text" if re.fullmatch(_TEXT_WORD + _COLUMN, name) else "")
        or ("video" if re.fullmatch(_VIDEO_WORD + _COLUMN, name) else "")
        for name in (plain(left), plain(right))
    ]
    return "-".join(sides) if set(sides) == {"text", "video"} else ""


def is_text_word(name: str) -> bool:
    """Whether a list or a column is called as queries are.

    >>> is_text_word("queries"), is_text_word("Caption_ids"), is_text_word("videos")
    (True, True, False)
    """
    return re.fullmatch(_TEXT_WORD + _COLUMN, plain(name)) is not None


def is_video_word(name: str) -> bool:
    """Whether a list or a column is called as items are.

    >>> is_video_word("images"), is_video_word("clip_id"), is_video_word("queries")
    (True, True, False)
    """
    return said_by_words("text", name) == "text-video"


def names_one_side(name: str) -> bool:
    """Whether a column is called as the ids of one side are.

    >>> names_one_side("vid"), names_one_side("qid"), names_one_side("video_length")
    (True, True, False)
    """
    if is_text_word(name) or is_video_word(name):
        return True
    ids = plain(name).endswith(("id", "idx", "index"))
    return ids and plain(name) in (*TEXT_FIELDS, *VIDEO_FIELDS)


def side_of_ids(name: str) -> str:
    """The side whose ids a list is said to hold by its name; "" where it says none.

    >>> [side_of_ids(name) for name in ("qids", "txt_ids", "vids", "video_names", "ids", "videos")]
    ['texts', 'texts', 'videos', 'videos', '', '']
    """
    leaf = plain(name.rpartition("/")[2])
    if re.fullmatch(f"{_TEXT_WORD}(id|name)s?|qids?", leaf):
        return "texts"
    return "videos" if re.fullmatch(f"{_VIDEO_WORD}(id|name)s?|vids?", leaf) else ""


# What else lists beside scores are called, and the words around their side that say no more.
_OTHER_TEXTS = "prompt|description|utterance"
_OTHER_VIDEOS = "audio|sound|music|song|photo|picture|movie|did"
_OF_LIST = "id|ids|name|names|list|key|keys|path|paths|file|files|filename|filenames|stem|stems"
_AROUND_LIST = "test|val|eval|all|my|the|of|for|str"


def side_of_list(name: str) -> str:
    """The side whose names a list beside scores is said to hold; "" where it says none or both.

    >>> [side_of_list(name) for name in ("txt_ids", "test_video_names", "products", "audioFiles")]
    ['texts', 'videos', 'videos', 'videos']
    >>> [side_of_list(name) for name in ("gt_video_ids", "text_lengths", "video_text", "x")]
    ['', '', '', '']
    """
    leaf = re.sub(r"([a-z])([A-Z])", r"\1_\2", name.rpartition("/")[2]).lower()
    words = [word for word in re.findall("[a-z]+", leaf) if not re.fullmatch(_AROUND_LIST, word)]
    left = [word for word in words if not re.fullmatch(_OF_LIST, word)] or words
    if len(left) != 1:
        return ""
    word = left[0]
    for side, others in (("texts", _OTHER_TEXTS), ("videos", _OTHER_VIDEOS)):
        if re.fullmatch(f"({others})s?(id|name|path|file)?s?", word):
            return side
    return "" if refers_to_rows(word) else sounds_like(word)


def axis_of_list(name: str) -> int | None:
    """0 for a list that is said to name what is stored as rows, 1 for columns.

    >>> [axis_of_list(name) for name in ("rownames", "col_labels", "x")]
    [0, 1, None]
    """
    kinds = "(id|name|label|key)?s?"
    for axis, words in enumerate(("row", "col|column")):
        if re.fullmatch(f"({words})s?{kinds}", plain(name.rpartition("/")[2])):
            return axis
    return None


def refers_to_rows(name: str) -> bool:
    """Whether the field of a side tells its items by rows of another table: "video_index".

    >>> refers_to_rows("video_index"), refers_to_rows("textIdx"), refers_to_rows("video_id")
    (True, True, False)
    >>> refers_to_rows("index")
    False
    """
    return not counts_own_rows(name) and plain(name).endswith(("idx", "index", "row"))


def sounds_like(name: str) -> str:
    """The side that a list is called like, though it may hold no ids; "" for none.

    >>> [sounds_like(name) for name in ("captions", "clips", "vids", "arr_1")]
    ['texts', 'videos', 'videos', '']
    """
    words = "texts" if is_text_word(name) else ""
    videos = "videos" if is_video_word(name) else ""
    return side_of_ids(name) or words or videos


def direction_of(name: str) -> str:
    """The direction that a name such as t2v or video_to_texts says; "" for none.

    >>> [direction_of(name) for name in ("t2v", "Image_to_Text", "a2t", "test")]
    ['text-video', 'video-text', 'video-text', '']
    """
    ends = re.fullmatch("([a-z]+?)(?:2|to)([a-z]+)", plain(name))
    return said_by_words(*map(_end, ends.groups())) if ends else ""


def _end(word: str) -> str:
    """What stands at an end of a direction, in a word."""
    return _ENDS.get(word, word)


def direction_in(name: str) -> str:
    """The direction that some words of a name say, or what it is counted per; "" for none.

    >>> [direction_in(name) for name in ("v2t_sim", "simsI2T", "clip/audio_to_text_1k")]
    ['video-text', 'video-text', 'video-text']
    >>> [direction_in(name) for name in ("logits_per_image", "logits_per_text", "sims", "v2t_t2v")]
    ['video-text', 'text-video', '', '']

    Two sides after each other are rows and columns:

    >>> [direction_in(name) for name in ("videos_x_texts", "text_video", "sim_vt", "clip_text_sim")]
    ['video-text', 'text-video', 'video-text', '']
    """
    words = re.findall("[a-z0-9]+", re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower())
    parts = ["".join(words[at : at + many]) for many in (1, 3) for at in range(len(words))]
    per = [
        said_by_words(_end(after), other)
        for word, after in pairwise(words) if word == "per" for other in ("text", "video")
    ]  # fmt: skip
    found = {*map(direction_of, parts), *per} - {""} or set(_rows_first(words))
    return found.pop() if len(found) == 1 else ""


def _rows_first(words: Sequence[str]) -> Iterator[str]:
    """The directions that two sides after each other say, of rows and of columns."""
    if _NO_MATRIX.intersection(words):
        return
    alone = all(re.fullmatch(_OF_SCORES, word) or word in _SHORT_PAIRS for word in words)
    for word in {*words, "".join(words)}:  # of vXt as well
        if word in _SHORT_PAIRS and (alone or "v" in word):
            yield _SHORT_PAIRS[word]
    sides = [word for word in words if word not in _BETWEEN]
    for left, right in pairwise(sides):
        ends = [_LETTERS.get(end, end) for end in (left, right)]
        if all(re.fullmatch(f"{_TEXT_WORD}|{_MATRIX_SIDE}", end) for end in ends):
            audio = ["video" if end.startswith("audio") else end for end in ends]
            if said := said_by_words(*audio):
                yield said
        side = left if right in ("rows", "row") else right if left == "rows" else ""
        if re.fullmatch(f"{_TEXT_WORD}|{_MATRIX_SIDE}", side):
            yield said_by_words(side, "text") or said_by_words(side, "video")


def names_both(header: Sequence[str]) -> bool:
    """Whether a header names a video, and a text or captions."""
    called = of_triplet(header) or _of_choice(header)
    header = [called.get(name, name) for name in header] if called else header
    video = first_field(header, VIDEO_FIELDS) or next(filter(names_right_item, header), None)
    rest = [name for name in header if name != video]
    numbered = [name for name in rest if _NUMBERED_CAPTION.fullmatch(plain(name))]
    text = first_field(rest, (*TEXT_FIELDS, *CAPTION_FIELDS))
    return video is not None and (text is not None or bool(numbered))
