"""What a user can say about files that could be read in more than one way."""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from rerank.core.errors import RerankError
from rerank.core.words import GtDirection, Pool, Side, words_of

# The word that stands for row numbers in place of a file of ids.
ROWS = "rows"


def _option(default: Any, help: str) -> Any:  # noqa: ANN401  a field of a dataclass
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class Reading:
    """How to read files that could be read in more than one way.

    The names of arrays and columns may be given for all files, `resnet`, or for one side,
    `videos=resnet`; a name for all files counts in those that have it. Banks follow the side that
    they belong to.

    Attributes:
        pool: "mean" or "max" over the frames of an item; "none" refuses frames.
        pool_raw: pool frames as they are stored; otherwise each is normalised first, as CLIP4Clip
            does.
        dataset: the array to take of a file that holds several, or the group; `gt=test` is the
            split to read of a ground truth, `bank-gt=train` that of the bank's.
        id_column: the array or column that holds the ids.
        embedding_column: the column of a table that holds the vectors.
        text_ids: a file with the ids of the texts, or "rows" for row numbers.
        video_ids: the same for the videos.
        gt_direction: which side stands on the left in the ground truth.
        sims_rows: which side the rows of a score matrix are.

    >>> Reading(dataset=("videos=resnet", "clip")).named("dataset", "videos")
    ('resnet', True)
    >>> Reading(dataset=("videos=resnet", "clip")).named("dataset", "bank_texts")
    ('clip', False)
    """

    pool: Pool | None = _option(None, "How the frames of an item become one vector.")
    pool_raw: bool = _option(False, "Pool frames as stored, not normalised first.")
    dataset: tuple[str, ...] = _option(
        (), "Array or group to take of a file with several: NAME, or videos=NAME."
    )
    id_column: tuple[str, ...] = _option((), "Array or column of the ids: NAME, or videos=NAME.")
    embedding_column: tuple[str, ...] = _option(
        (), "Column of a table with the vectors: NAME, or texts=NAME."
    )
    text_ids: Path | None = _option(
        None, "Ids of the texts (.txt, .json, .csv, .parquet), or 'rows' for row numbers."
    )
    video_ids: Path | None = _option(None, "Ids of the videos, or 'rows' for row numbers.")
    gt_direction: GtDirection = _option("auto", "Which side stands on the left in the truth.")
    sims_rows: Side = _option("texts", "Which side the rows of --sims are.")

    def __post_init__(self) -> None:
        for name, kind in (("pool", Pool), ("gt_direction", GtDirection), ("sims_rows", Side)):
            value = getattr(self, name)
            if value is not None and value not in words_of(kind):
                raise RerankError(
                    f"--{name.replace('_', '-')}: got {value!r}, expected one of "
                    f"{', '.join(words_of(kind))}"
                )
        for name in ("dataset", "id_column", "embedding_column"):
            value = getattr(self, name)
            object.__setattr__(self, name, (value,) if isinstance(value, str) else tuple(value))

    def named(self, setting: str, role: str) -> tuple[str | None, bool]:
        """The name that a setting gives for a role, and whether it was given for this side only."""
        side = side_of(role)
        bare: str | None = None
        for text in getattr(self, setting):
            head, equals, name = text.partition("=")
            if equals and (head in words_of(Side) or is_truth(head)):
                if head in (side, role):
                    return name, True
            else:
                bare = text
        return bare, False

    def of_truth(self, role: str = "gt") -> dict[str, Any]:
        """What was said of a ground truth, as `read_ground_truth` takes it.

        >>> Reading(dataset=("test", "gt=val")).of_truth()
        {'direction': 'auto', 'split': 'val', 'role': 'gt'}
        """
        name, own = self.named("dataset", role)
        return {
            "direction": self.gt_direction, "split": name if own else None, "role": role,
        }  # fmt: skip

    def ids_of(self, role: str) -> Path | None:
        """The file with the ids of a role, or the word "rows", which holds for its bank as well."""
        given = {"texts": self.text_ids, "videos": self.video_ids}.get(side_of(role))
        return given if role in words_of(Side) or str(given) == ROWS else None

    def as_dict(self) -> dict[str, Any]:
        """What differs from the defaults, as JSON values."""
        out: dict[str, Any] = {}
        for each in fields(self):
            value = getattr(self, each.name)
            if value != each.default:
                out[each.name] = list(value) if isinstance(value, tuple) else value
                if isinstance(value, Path):
                    out[each.name] = str(value)
        return out

    def as_options(self) -> list[str]:
        """The same as typed on a command line.

        >>> Reading(pool="mean", pool_raw=True, dataset=("clip",)).as_options()
        ['--pool', 'mean', '--pool-raw', '--dataset', 'clip']
        """
        typed: list[str] = []
        for name, value in self.as_dict().items():
            flag = f"--{name.replace('_', '-')}"
            for each in value if isinstance(value, list) else [value]:
                typed += [flag] if each is True else [flag, str(each)]
        return typed


def is_truth(role: str) -> bool:
    """Whether a role is that of a ground truth: "gt", "bank-gt", "val-gt".

    >>> is_truth("bank-gt"), is_truth("texts")
    (True, False)
    """
    return role in ("gt", "bank-gt", "val-gt", "test-gt")


def side_of(role: str) -> str:
    """The side, texts or videos, that a role such as "bank_texts" belongs to."""
    return "texts" if role.endswith("texts") else "videos" if role.endswith("videos") else ""
