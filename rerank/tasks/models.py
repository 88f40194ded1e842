"""Several models of the same texts and videos: read, brought to one order, and that order proved.

Where both files name their items, the names decide. Where one does not, scores decide
(`rerank.methods.same_order`): nothing is added up before the order is shown to be the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rerank.core import comm
from rerank.core.errors import RerankError
from rerank.core.similarity import Pair, Similarity, as_matrix
from rerank.io import Embeddings, ScoreMatrix
from rerank.methods.same_order import SameOrder, same_order
from rerank.tasks.read import Inputs

Paths = Path | Sequence[Path] | None


@dataclass(frozen=True)
class Order:
    """Why two models are taken to list the same items in the same order, or why not.

    Attributes:
        source: the file of the second model.
        by: "ids" where both files name texts and videos, else "scores".
        found: what their scores say.
        sentence: for a person.
    """

    source: str
    by: str
    found: SameOrder
    sentence: str

    @property
    def proved(self) -> bool:
        """Whether their scores may be added."""
        return self.by == "ids" or self.found.proved

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {"source": self.source, "by": self.by, **self.found.as_dict()}


def several(*given: Paths) -> bool:
    """Whether more than one file was given for a role."""
    return any(not isinstance(paths, Path) and len(paths or ()) > 1 for paths in given)


def one_path(paths: Paths) -> Path | None:
    """The only file of a role."""
    return paths if isinstance(paths, Path) or paths is None else (paths[0] if paths else None)


def paths_of(paths: Paths) -> tuple[Path, ...]:
    """The files of a role, one for each model."""
    return () if paths is None else (paths,) if isinstance(paths, Path) else tuple(paths)


def files_of_models(files: Mapping[str, Paths], *, sharded: bool = False) -> list[dict[str, Any]]:
    """The files of every model by role.

    Args:
        files: for each role a file of every model: texts, videos and banks, or sims alone.
        sharded: whether each of several processes would read a share, which none may.

    Raises:
        RerankError: not as many files for every role.
    """
    roles = {role: paths_of(paths) for role, paths in files.items() if paths_of(paths)}
    count = max(len(paths) for paths in roles.values())
    for role, paths in roles.items():
        if len(paths) != count:
            option = f"--{role.replace('_', '-')}"
            raise RerankError(
                f"{option}: got {len(paths)} files for {count} models; give one for each model, in "
                "the same order as the others"
            )
    if sharded or comm.world_size() > 1:
        raise RerankError("several models are fused in one process: run it without torchrun")
    return [{role: paths[k] for role, paths in roles.items()} for k in range(count)]


def in_one_order(parts: Sequence[Inputs]) -> tuple[Inputs, ...]:
    """Models with their texts and videos in the order of the first.

    Raises:
        RerankError: items that one model lacks.
    """
    return (parts[0], *(in_order_of(parts[0], part) for part in parts[1:]))


def prove(parts: Sequence[Inputs], *, metric: str = "cosine") -> tuple[Order, ...]:
    """What shows of each model after the first that its items have the order of the first."""
    first = similarity_of(parts[0], metric=metric)
    out = []
    for part in parts[1:]:
        by = "ids" if _named(parts[0]) and _named(part) else "scores"
        found = same_order(first, similarity_of(part, metric=metric))
        out.append(Order(source_of(part), by, found, _sentence(by, found)))
    return tuple(out)


def check_order(orders: Sequence[Order]) -> None:
    """Refuse models whose order is not proved.

    Raises:
        RerankError: the first of them, with the reason.
    """
    for order in orders:
        if not order.proved:
            raise RerankError(
                f"{order.source}: {order.sentence}; nothing was added. Give files with ids, or "
                "--text-ids and --video-ids"
            )


def _sentence(by: str, found: SameOrder) -> str:
    if by == "scores":
        return found.sentence
    level = f"off the diagonal the two correlate by {found.correlation:.3f}"
    if found.proved:
        return f"matched by ids; {level}"
    return (
        f"matched by ids, but {level}: they agree on nothing but their matches, if on these; "
        "look whether one is near chance or its ids are wrong"
    )


def similarity_of(part: Inputs, *, metric: str = "cosine") -> Similarity:
    """Texts x videos of one model, as it is ranked."""
    if part.scores is not None:
        return part.stored.t2v
    texts, videos = (as_matrix(_vectors(part, role), role) for role in ("texts", "videos"))
    return Pair(texts, videos, metric=metric)  # type: ignore[arg-type]


def _vectors(part: Inputs, role: str) -> np.ndarray | torch.Tensor:
    found = part.vectors(role)
    assert found is not None
    return found


def source_of(part: Inputs) -> str:
    """The file that a model is called by."""
    held = part.scores if part.scores is not None else part.videos
    assert held is not None
    return str(held.source)


def _named(part: Inputs) -> bool:
    if part.scores is not None:
        return part.scores.ids_given
    assert part.texts is not None and part.videos is not None
    return part.texts.ids_given and part.videos.ids_given


def in_order_of(first: Inputs, part: Inputs) -> Inputs:
    """A model with its rows in the order of the first, by name where both have names."""
    if first.scores is not None and part.scores is not None:
        return replace(part, scores=_matrix_like(first.scores, part.scores))
    roles = ("texts", "videos", "bank_texts", "bank_videos")
    pairs = {role: (getattr(first, role), getattr(part, role)) for role in roles}
    return replace(
        part,
        bank_positives=first.bank_positives,
        **{role: rows_like(a, b) for role, (a, b) in pairs.items() if a is not None},
    )


def rows_like(first: Embeddings, other: Embeddings) -> Embeddings:
    """Rows in the order of the first, by name where both have names.

    Raises:
        RerankError: items that one of them lacks.
    """
    rows = _places(first.ids, other.ids, first, other)
    if rows is None:
        return other
    groups = None if other.group_ids is None else tuple(other.group_ids[row] for row in rows)
    return replace(other, ids=first.ids, vectors=other.vectors[rows], group_ids=groups)


def _matrix_like(first: ScoreMatrix, other: ScoreMatrix) -> ScoreMatrix:
    rows = _places(first.query_ids, other.query_ids, first, other)
    columns = _places(first.gallery_ids, other.gallery_ids, first, other)
    if rows is None and columns is None:
        return other
    rows = np.arange(len(other.query_ids)) if rows is None else rows
    columns = np.arange(len(other.gallery_ids)) if columns is None else columns
    reverse = None if other.reverse is None else other.reverse[np.ix_(columns, rows)]
    return replace(
        other, scores=other.scores[np.ix_(rows, columns)], query_ids=first.query_ids,
        gallery_ids=first.gallery_ids, reverse=reverse,
    )  # fmt: skip


def _places(
    names: Sequence[str], others: Sequence[str], first: Embeddings | ScoreMatrix,
    other: Embeddings | ScoreMatrix,
) -> np.ndarray | None:  # fmt: skip
    """Where the second has what the first names; None where the order is left as it is."""
    if len(names) != len(others):
        raise RerankError(
            f"{other.source}: has {len(others)} of what {first.source} has {len(names)}; two "
            "models are fused over the same texts and videos"
        )
    if not (first.ids_given and other.ids_given):
        return None
    place = {name: row for row, name in enumerate(others)}
    odd = next((name for name in names if name not in place), None)
    if odd is not None:
        raise RerankError(
            f"{other.source}: has no {odd!r}, which {first.source} has; two models are fused over "
            "the same texts and videos"
        )
    rows = np.array([place[name] for name in names])
    return None if (rows == np.arange(len(rows))).all() else rows
