"""The arrays of one file, described, and what was found among them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rerank.io.field import Field

VECTOR_NAMES = (
    "embeddings",
    "features",
    "feats",
    "video_features",
    "text_features",
    "vectors",
    "emb",
)
ID_NAMES = ("ids", "keys", "names", "video_ids")
SCHEMA = "rerank/1"


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
    """

    path: Path
    fields: Mapping[str, Field]
    schema: str | None = None
    id_names: tuple[tuple[str, ...], ...] = (ID_NAMES,)
    per_item: bool = True
    content_sha256: str | None = None


@dataclass(frozen=True, eq=False)
class Found:
    """Embeddings located but not read.

    Attributes:
        rows: the vectors.
        ids: checked, unique.
        group_ids: the group of each row, where the file has it.
        as_stored: whether these are the rows that the hash of the file speaks of.
    """

    rows: Field
    ids: tuple[str, ...]
    group_ids: tuple[str, ...] | None = None
    as_stored: bool = False


def listing(container: Container) -> str:
    """What a file holds, and what was expected, for a refusal."""
    found = [f"{name} ({item.describe()})" for name, item in sorted(container.fields.items())]
    shown = ", ".join(found[:6]) + (f" and {len(found) - 6} more" if len(found) > 6 else "")
    return (
        f"it holds {shown or 'nothing'}; expected a 2-D float array 'embeddings' with 'ids', "
        "or one array per id"
    )
