"""What numbers of rows are called, and what numbers are called that are of something else."""

import re
from collections.abc import Sequence

# The index of a table of pandas that has no name.
OF_PANDAS = "__index_level_0__"
# What columns are called that number rows; pandas calls one of a table in text by nothing.
_NAMES = (
    "index", "idx", "row", "row_index", "row_idx", "row_id", "row_number", "indices", "indexes",
    OF_PANDAS, "Unnamed: 0", "column 0", "order", "perm", "permutation", "sort_idx",
    "sort_index", "sort_order", "shuffle", "shuffle_idx", "position", "row_num", "row_no", "line",
    *(f"{of}_{number}" for of in ("emb", "embedding", "feat", "feature", "vector", "npy")
      for number in ("idx", "index", "row")),
)  # fmt: skip

# What else a list beside rows is called that says their places, as indexes of vectors do.
_PLACES = {
    "rows", "pos", "positions", "rowid", "faiss_id", "faiss_ids", "faiss_idx", "faiss_index",
    "vector_id", "vector_ids", "point_id", "point_ids", "internal_id", "internal_ids", "offset",
    "lines", "idxs", "rownum", "row_ids", "row_indices",
}  # fmt: skip
# What numbers are called that are of something else, though each may be there once.
_SOMETHING = {
    "class", "classes", "label", "labels", "category", "categories", "cat", "frame", "frames",
    "count", "counts", "year", "rank", "ranks", "score", "scores", "len", "length", "lengths",
    "duration", "durations", "age", "size", "sizes", "views", "likes", "start", "starts", "end",
    "ends", "group", "groups", "cluster", "clusters", "speaker", "user", "author", "channel",
    "time", "timestamp", "date", "hour", "day", "month", "week", "seed", "fold", "split", "shard",
    "level", "target", "targets", "answer", "answers", "gt", "gold", "match", "matches", "pair",
    "pairs", "positive", "negative", "width", "height", "fps", "price", "rating", "stars",
    "popularity", "topic", "scene", "event", "shot", "segment", "chapter", "episode", "words",
    "tokens", "num", "nearest", "neighbor", "neighbour", "priority", "batch", "epoch",
}  # fmt: skip
# What a list is called that puts rows in another order; the other words say nothing more.
_ORDERS = {
    "perm", "permutation", "permutations", "order", "ordering", "sort", "sorted", "argsort",
    "unsort", "unsorted", "inverse", "shuffle", "shuffled", "unshuffle", "restore", "reorder",
}  # fmt: skip
_AROUND = {
    "idx", "idxs", "index", "indices", "indexes", "ids", "inv", "row", "rows", "of", "random",
    "rand", "by", "new", "old", "original",
}  # fmt: skip


def is_order(name: str) -> bool:
    """Whether a list of numbers is called what puts rows in another order.

    >>> [is_order(name) for name in ("inv_perm", "sortIdx", "idx", "group_order", "rank")]
    [True, True, False, False, False]
    """
    leaf = re.sub(r"([a-z])([A-Z])", r"\1_\2", name.rpartition("/")[2])
    words = set(re.findall("[a-z]+", leaf.lower()))
    return bool(words & _ORDERS) and words <= _ORDERS | _AROUND


def is_row_number(name: str) -> bool:
    """Whether a column is called as those are that number the rows of a table.

    >>> is_row_number("Index"), is_row_number("f0")
    (True, False)
    """
    return name in _NAMES or name.lower() in _NAMES or is_order(name)


def says_places(name: str) -> bool:
    """Whether numbers beside rows are called their places, here or in an index of vectors.

    >>> [says_places(name) for name in ("rows", "faiss_id", "idx", "label", "id")]
    [True, True, True, False, False]
    """
    leaf = re.sub(r"([a-z])([A-Z])", r"\1_\2", name.rpartition("/")[2]).lower()
    return is_row_number(name) or is_row_number(leaf) or leaf in _PLACES


def may_say_places(name: str) -> bool:
    """Whether numbers beside ids, each of which is there once, are not called something else.

    >>> [may_say_places(name) for name in ("i", "pointId", "label_id", "num_frames")]
    [True, True, False, False]
    """
    leaf = re.sub(r"([a-z])([A-Z])", r"\1_\2", name.rpartition("/")[2]).lower()
    return says_places(name) or not _SOMETHING & set(re.findall("[a-z]+", leaf))


def in_other_order(found: Sequence[str]) -> bool:
    """Whether names are the numbers 0, 1, ... or 1, 2, ... of all, and not in their order.

    >>> in_other_order(["1", "0", "2"]), in_other_order(["1", "2"]), in_other_order(["b", "a"])
    (True, False, False)
    """
    usual = [tuple(map(str, range(first, first + len(found)))) for first in (0, 1)]
    return any(tuple(found) != one and set(found) == set(one) for one in usual)
