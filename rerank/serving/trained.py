"""Heads that `rerank train` learned, which travel inside a model file."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rerank.core.similarity import ArrayLike, as_matrix
from rerank.methods.saved import Saved

# The file that `rerank train` wrote, kept whole inside a model.
HEADS = "heads.file"


def heads_of(saved: Saved | None) -> Any:  # noqa: ANN401  rerank.train.heads.Heads
    """The trained heads that travel inside a model, or None."""
    if saved is None or HEADS not in saved.kept:
        return None
    return load_heads_from(saved.kept[HEADS].numpy().tobytes())


def kept_heads(data: bytes) -> dict[str, Tensor]:
    """Tensors for a model file."""
    return {HEADS: torch.from_numpy(np.frombuffer(data, np.uint8).copy())}


def load_heads_from(data: bytes) -> Any:  # noqa: ANN401  rerank.train.heads.Heads
    """Heads from the bytes of a file that `rerank train` wrote."""
    from rerank.train.saved_heads import load_heads  # torch.nn and more, for trained models only

    with TemporaryDirectory() as folder:
        path = Path(folder) / "trained.safetensors"
        path.write_bytes(data)
        return load_heads(path)


def through(heads: Any, vectors: ArrayLike, word: str) -> Tensor:  # noqa: ANN401
    """Embeddings as the model sees them: through the trained head of their kind, if any."""
    if heads is None:
        return as_matrix(vectors, word, keep_half=True)
    return (heads.texts if word == "texts" else heads.videos)(vectors)


def each_through(heads: Any, vectors: ArrayLike, word: str) -> Tensor:  # noqa: ANN401
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
