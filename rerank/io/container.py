"""The arrays of one file, described, and what was found among them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from rerank.io.field import Field

# What is told with an array, by name: of itself, then of what it lies in, then of the file, "".
Told: TypeAlias = Mapping[str, Mapping[str, Field]]

VECTOR_NAMES = (
    "embeddings",
    "features",
    "feats",
    "video_features",
    "text_features",
    "image_features",
    "vectors",
    "emb",
    "embedding",
    "feature",
    "vector",
    "embeds",
    "video_embeddings",
    "text_embeddings",
    "image_embeddings",
    "video_embeds",
    "text_embeds",
    "image_embeds",
)
ID_NAMES = ("ids", "keys", "names", "video_ids")
# What else ids are called, in the order in which they are believed.
MORE_ID_NAMES = (
    ("id", "key", "name", "video_id"),
    ("text_ids", "image_ids", "caption_ids", "query_ids", "gallery_ids"),
    ("text_id", "image_id", "caption_id", "query_id", "sen_id", "doc_id", "uuid"),
    ("image_path", "video_path", "file_name", "filename", "path", "url"),
)
# What lists of ids are called that are no arrays: in metadata and in attributes.
LIST_NAMES = (
    *ID_NAMES, *(name for tier in MORE_ID_NAMES for name in tier), "index", "filenames", "files",
)  # fmt: skip
# What stands beside frames: which of them are there, or how many.
MASK_NAMES = ("mask", "masks", "video_mask", "frame_mask", "attention_mask")
LENGTH_NAMES = ("lengths", "length", "num_frames", "n_frames", "frame_counts")
SCHEMA = "rerank/1"
_SIDE_WORDS = {
    "texts": ("text", "texts", "txt", "caption", "captions", "query", "sentence", "sen"),
    "videos": ("video", "videos", "vid", "image", "images", "img", "gallery", "audio"),
}


def nothing_attached(item: Field) -> Mapping[str, Any]:  # noqa: ARG001  as of any container
    """For containers whose arrays have nothing told with them."""
    return {}


@dataclass(frozen=True, eq=False)
class Container:
    """The arrays of one file by name; a slash in a name is a group.

    Attributes:
        path: the file, for messages and for side-cars.
        fields: name -> array, not read yet.
        schema: what the file says it is, "rerank/1", where it says so.
        id_names: names of id arrays, the first tuple with a match decides.
        per_item: whether one array per id is a layout of this kind of file.
        content_sha256: hash of ids and vectors, where the file states it.
        columns: names of the columns of the array "values", which tables are gathered in.
        vectors: the arrays among which vectors are looked for, where those of a table are told
            from other columns of numbers; None: all.
        attached: an array -> lists of ids that are told with it and are no arrays, such as
            attributes, by their names.
        noted: the same of lists of names that are not called as ids usually are.
        told: an array -> numbers that are told with it and are no arrays.
        alike: all arrays as the rows of one, where each is a vector of one length, named by its id.
        numbers: columns of a table in text that may number its rows or their frames, or say the
            split of each, by their names; its columns of numbers are no arrays of their own.
        boxed: the list that its records stand in, where that has a name.
        besides: what is no array, in words, by its name: groups without anything, numbers, text.
        nested: whether it is a table that is kept by the names of its columns and of its rows, as
            rankings are too.
    """

    path: Path
    fields: Mapping[str, Field]
    schema: str | None = None
    id_names: tuple[tuple[str, ...], ...] = (ID_NAMES, *MORE_ID_NAMES)
    per_item: bool = True
    content_sha256: str | None = None
    columns: tuple[str, ...] = ()
    vectors: Mapping[str, Field] | None = None
    alike: Field | None = None
    attached: Callable[[Field], Mapping[str, Field]] = nothing_attached
    noted: Callable[[Field], Mapping[str, Field]] = nothing_attached
    told: Callable[[Field], Told] = nothing_attached
    numbers: Mapping[str, Field] = field(default_factory=dict)
    besides: Mapping[str, str] = field(default_factory=dict)
    boxed: str = ""
    nested: bool = False


@dataclass(frozen=True, eq=False)
class Found:
    """Embeddings located but not read.

    Attributes:
        rows: the vectors.
        ids: checked, unique; row numbers where none are given.
        group_ids: the group of each row, where the file has it.
        as_stored: whether these are the rows that the hash of the file speaks of.
        ids_given: False where the ids are row numbers.
    """

    rows: Field
    ids: tuple[str, ...]
    group_ids: tuple[str, ...] | None = None
    as_stored: bool = False
    ids_given: bool = True


def listing(container: Container) -> str:
    """What a file holds, and what was expected, for a refusal."""
    return (
        f"it holds {contents(container.fields)}; expected a 2-D float array 'embeddings' with "
        "'ids', or one array per id"
    )


def contents(fields: Mapping[str, Field]) -> str:
    """The arrays of a file, a few of them, with their shapes."""
    found = [f"{name!r} ({fields[name].describe()})" for name in sorted(fields)[:8]]
    more = f" and {len(fields) - 8} more" if len(fields) > 8 else ""
    return ", ".join(found) + more or "nothing"


def side_in(name: str) -> str:
    """The side that a name speaks of, or nothing.

    >>> side_in("text_mask"), side_in("mask")
    ('texts', '')
    """
    words = name.rpartition("/")[2].lower().split("_")
    found = [side for side, called in _SIDE_WORDS.items() if any(w in called for w in words)]
    return found[0] if len(found) == 1 else ""
