"""What the serving commands read and say: embeddings, galleries of several files, trained heads."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rerank import io
from rerank.errors import FormatError, RerankError
from rerank.io import Embeddings
from rerank.io.scratch import joined
from rerank.rows import slices
from rerank.similarity import as_matrix
from rerank.store import Model, save

# The file that `rerank train` wrote, kept whole inside a model.
HEADS = "heads.file"


@dataclass(frozen=True, eq=False)
class Said:
    """What a command did.

    Attributes:
        manifest: for a program.
        text: for a person.
        warnings: what to look at, one sentence each.
    """

    manifest: dict[str, Any]
    text: str
    warnings: tuple[str, ...] = ()


def write_model(out: Path, model: Model) -> None:
    """Write everything in a model."""
    save(out, model.fitted, gallery_ids=model.gallery_ids, manifest=model.manifest, kept=model.kept)


def read(path: Path, metric: str, pool: str | None) -> Embeddings:
    """Read embeddings."""
    return io.read_embeddings(path, metric=metric, pool=pool)  # type: ignore[arg-type]


def sides(
    direction: str, videos: Sequence[Path], texts: Sequence[Path]
) -> tuple[Sequence[Path], Sequence[Path], tuple[str, str]]:
    """(gallery files, query files, their words) of a direction."""
    if direction == "t2v":
        return videos, texts, ("videos", "texts")
    return texts, videos, ("texts", "videos")


def one_file(paths: Sequence[Path], word: str) -> Path:
    """The one file of queries.

    Raises:
        RerankError: none, or more than one.
    """
    if len(paths) != 1:
        raise RerankError(f"--{word}: got {len(paths)} files of queries, expected one")
    return paths[0]


def gallery_of(
    model: Model, paths: Sequence[Path], metric: str, pool: str | None
) -> tuple[tuple[str, ...], Tensor]:
    """One gallery from one or more files, through the model's head."""
    if not paths:
        raise RerankError("the gallery is missing: --videos, or --texts for v2t")
    word = "videos" if model.manifest["direction"] == "t2v" else "texts"
    parts = [read(path, metric, pool) for path in paths]
    ids = tuple(name for part in parts for name in part.ids)
    if len(set(ids)) < len(ids):
        twice = next(name for name in ids if ids.count(name) > 1)
        raise RerankError(f"{', '.join(map(str, paths))}: {twice!r} is in more than one of them")
    widths = {part.vectors.shape[1] for part in parts}
    if len(widths) > 1:
        raise RerankError(f"{', '.join(map(str, paths))}: dimensions differ: {sorted(widths)}")
    vectors = parts[0].vectors
    if len(parts) > 1:
        dtype = np.result_type(*(part.vectors.dtype for part in parts))
        blocks = (part.vectors[s].astype(dtype) for part in parts for s in slices(len(part)))
        vectors = joined(blocks, (len(ids), *widths), ", ".join(map(str, paths)))
    return ids, through(heads_of(model), vectors, word)


def bytes_of(path: Path) -> bytes:
    """A whole file."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise FormatError(f"{path}: cannot be read ({error.strerror or error})") from None


def lines_of(path: Path) -> list[str]:
    """Lines of a text file."""
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(f"{path}: not a text file of ids, one a line ({error})") from None


def heads_of(model: Model | None) -> Any:  # noqa: ANN401  rerank.train.heads.Heads
    """The trained heads that travel inside a model, or None."""
    if model is None or HEADS not in model.kept:
        return None
    return load_heads_from(model.kept[HEADS].numpy().tobytes())


def load_heads_from(data: bytes) -> Any:  # noqa: ANN401  rerank.train.heads.Heads
    """Heads from the bytes of a file that `rerank train` wrote."""
    from rerank.train.model import load_heads  # torch.nn and more, for trained models only

    with TemporaryDirectory() as folder:
        path = Path(folder) / "trained.safetensors"
        path.write_bytes(data)
        return load_heads(path)


def through(heads: Any, vectors: np.ndarray, word: str) -> Tensor:  # noqa: ANN401
    """Embeddings as the model sees them: through the trained head of their kind, if any."""
    if heads is None:
        return as_matrix(vectors, word, keep_half=True)
    return (heads.texts if word == "texts" else heads.videos)(vectors)


def each_through(heads: Any, vectors: np.ndarray, word: str) -> Tensor:  # noqa: ANN401
    """The same for queries, every one by itself, so that the batch changes no last bit."""
    if heads is None:
        return through(heads, vectors, word)
    return torch.cat([through(heads, row[None], word) for row in vectors])


def folded_head(heads: Any, word: str) -> dict[str, np.ndarray]:  # noqa: ANN401
    """The query head as one affine map; nothing without a head, or where it is an MLP."""
    if heads is None or heads.text.hidden or heads.video.hidden:
        return {}
    weight, bias = heads.folded()[0 if word == "texts" else 1]
    names = ("head", "head_bias")
    return {n: t.detach().numpy() for n, t in zip(names, (weight, bias), strict=True)}
