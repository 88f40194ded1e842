"""What a user said about one file of embeddings, and how a message prints it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rerank.core.shell import word
from rerank.core.wording import either
from rerank.io.frames.pooling import Pooling
from rerank.io.recipes import unpadded_ids

# What stands in the names of arrays of a side.
_WORDS = {
    "texts": ("text", "txt", "caption", "query", "sentence"),
    "videos": ("vid", "image", "img", "visual", "gallery"),
}


@dataclass(frozen=True)
class Wanted:
    """What a user said about one file.

    Attributes:
        dataset: the array, the group, or the array inside every item's group.
        id_column: the array or column of ids.
        embedding_column: the column of vectors; as `dataset`, for tables.
        pooling: how frames become one vector; None refuses frames.
        ids: ids that come from elsewhere; they win over those in the file.
        row_numbers: whether the numbers of the rows are the ids where there are none.
        force_rows: whether they are the ids even where there are some.
        side: "texts" or "videos", for messages that print options.
        ids_from: where the ids come from, for messages.
    """

    dataset: str | None = None
    id_column: str | None = None
    embedding_column: str | None = None
    pooling: Pooling | None = None
    ids: tuple[str, ...] | None = None
    row_numbers: bool = False
    force_rows: bool = False
    side: str = ""
    ids_from: str = "the ids given"

    @property
    def names_parts(self) -> bool:
        """Whether the user named an array or a column of the file, or gave ids."""
        named = (self.dataset, self.id_column, self.embedding_column, self.ids)
        return self.force_rows or any(each is not None for each in named)

    def likely(self, names: Sequence[str]) -> str:
        """The name to print in an example: one that sounds like this side, else not the other.

        >>> Wanted(side="videos").likely(["t", "v"]), Wanted(side="texts").likely(["x", "img"])
        ('v', 'x')
        """
        others = [side for side in _WORDS if side != self.side] if self.side in _WORDS else []
        own = [name for name in names if _sounds_like(self.side, name)]
        return next(
            iter(own or [n for n in names if not any(_sounds_like(x, n) for x in others)]), names[0]
        )

    def say(self, argument: str, name: str) -> str:
        """How to choose a name, as the reader types it."""
        value = f"{self.side}={name}" if self.side else name
        return either(f"--{argument.replace('_', '-')} {word(value)}", f"{argument}={name!r}")

    def unpadded(self, path: Path) -> str:
        """A command that writes the ids of a file without zeros before them, and its option."""
        names = {
            "dataset": self.dataset,
            "id_column": self.id_column,
            "embedding_column": self.embedding_column,
            "pool": None if self.pooling is None else self.pooling.how,
        }
        option = either(f"--{self.side.removesuffix('s') or 'video'}-ids {{}}", 'ids="{}"')
        return unpadded_ids(path, {k: x for k, x in names.items() if x is not None}, option)


def _sounds_like(side: str, name: str) -> bool:
    """Whether a name has a word of a side in it, or is its first letter."""
    words = _WORDS.get(side, ())
    return any(word in name.lower() for word in words) or (
        bool(words) and name.rpartition("/")[2].lower() == side[0]
    )
