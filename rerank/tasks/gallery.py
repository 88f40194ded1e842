"""What the serving commands read: queries, and galleries of one or more files, for a model."""

import warnings
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from rerank.core.errors import RerankError, RerankWarning
from rerank.core.rows import slices
from rerank.core.words import Side
from rerank.io import Embeddings, Reading
from rerank.io.scratch import joined
from rerank.io.swapped_files import said_of_one, said_of_sides
from rerank.methods.fusion import Blocks
from rerank.methods.saved import Saved
from rerank.serving.trained import heads_of, through
from rerank.tasks.column_order import check_columns
from rerank.tasks.fuse import read_rows
from rerank.tasks.read import read_role


def sides(
    direction: str, videos: Sequence[Path], texts: Sequence[Path]
) -> tuple[Sequence[Path], Sequence[Path], tuple[Side, Side]]:
    """(gallery files, query files, their words) of a direction."""
    if direction == "t2v":
        return videos, texts, ("videos", "texts")
    return texts, videos, ("texts", "videos")


def read_queries(
    paths: Sequence[Path], word: str, metric: str, reading: Reading, blocks: Blocks | None = None
) -> Embeddings:
    """The one file of queries, or that of each model where several were fused.

    Raises:
        RerankError: none, or more than one.
    """
    if blocks is not None:
        return read_rows(paths, blocks, reading=reading, word=word)
    if len(paths) != 1:
        raise RerankError(f"--{word}: got {len(paths)} files of queries, expected one")
    return read_role(paths[0], word, reading, metric=metric)


def look_at_side(
    held: Embeddings, word: Side, beside: Sequence[Path], ids: Collection[str] | None
) -> None:
    """Warn of a file that says the other side, where no files of that are read beside it.

    Args:
        held: what the file holds.
        word: the side that it was given as.
        beside: files of the other side, with which it is compared when they are read.
        ids: of the other side, where they are known.
    """
    if not beside and (said := said_of_one(held, word, beside=ids)):
        warnings.warn(said, RerankWarning, stacklevel=2)


def read_gallery(
    model: Saved, paths: Sequence[Path], metric: str, reading: Reading,
    asked: Embeddings | None = None,
) -> tuple[tuple[str, ...], Tensor]:  # fmt: skip
    """One gallery from one or more files, through the model's head; `asked`: queries of it."""
    if not paths:
        raise RerankError("the gallery is missing: --videos, or --texts for v2t")
    word: Side = "videos" if model.manifest["direction"] == "t2v" else "texts"
    if "blocks" in model.manifest:
        blocks = Blocks.from_dict(model.manifest["blocks"])
        joint = read_rows(paths, blocks, reading=reading, word=word)
        return joint.ids, through(None, joint.vectors, word)
    parts = [read_role(path, word, reading, metric=metric) for path in paths]
    ids = tuple(name for part in parts for name in part.ids)
    if len(set(ids)) < len(ids):
        seen: set[str] = set()
        twice = next(name for name in ids if name in seen or seen.add(name))
        raise RerankError(f"{', '.join(map(str, paths))}: {twice!r} is in more than one of them")
    if asked is not None:
        _check_sides(word, parts, asked)
    else:
        for part in parts:
            look_at_side(part, word, (), None)
    widths = {part.vectors.shape[1] for part in parts}
    if len(widths) > 1:
        raise RerankError(f"{', '.join(map(str, paths))}: dimensions differ: {sorted(widths)}")
    # Heads make one space of two.
    compared = [asked] if asked is not None and heads_of(model) is None else []
    for other in (*parts[1:], *compared):
        check_columns(parts[0], other)
    vectors = parts[0].vectors
    if len(parts) > 1:
        dtype = np.result_type(*(part.vectors.dtype for part in parts))
        blocks = (part.vectors[s].astype(dtype) for part in parts for s in slices(len(part)))
        vectors = joined(blocks, (len(ids), *widths), ", ".join(map(str, paths)))
    return ids, through(heads_of(model), vectors, word)


def _check_sides(word: str, gallery: Sequence[Embeddings], asked: Embeddings) -> None:
    """Refuse a gallery and queries that both say the other side; warn where one does.

    Raises:
        RerankError: they do.
    """
    other = "texts" if word == "videos" else "videos"
    for part in gallery:
        for note in said_of_sides({word: part, other: asked}):
            warnings.warn(note, RerankWarning, stacklevel=2)
