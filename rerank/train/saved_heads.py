"""Trained heads in one file: safetensors, never pickle, with their own kind of file.

`is_trained_model` tells such a file from a fitted reranker; `load_heads` gives the heads back.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rerank.core.errors import FormatError
from rerank.io import tensorfile
from rerank.train.heads import Head, Heads
from rerank.train.ridge import Affine

KIND = "rerank/trained"
VERSION = 1


def save_heads(
    path: str | Path, heads: Heads, *, manifest: Mapping[str, Any] | None = None
) -> None:
    """Write trained heads; the decoder, queues and optimizer of training are not in the file.

    Args:
        path: the file, replaced as a whole or not at all.
        heads: the heads.
        manifest: objective, settings and validation figures, as JSON values.
    """
    document = {
        "kind": KIND,
        "version": VERSION,
        "hidden": heads.text.hidden,
        "shapes": {"text": list(heads.text.shape), "video": list(heads.video.shape)},
        "has_map": heads.final is not None,
        "manifest": dict(manifest or {}),
    }
    tensorfile.write(path, heads.state_dict(), document)


def load_heads(path: str | Path) -> Heads:
    """Read trained heads, on the CPU: `.texts(x)` and `.videos(x)` map raw embeddings.

    Raises:
        FormatError: not such a file, damaged, or of another format version.
    """
    return read_trained(path)[0]


def read_trained(path: str | Path) -> tuple[Heads, dict[str, Any]]:
    """The heads and the manifest of a trained model; see `load_heads`."""
    document, tensors = tensorfile.read(path, KIND, made_by="`rerank train`")
    if document.get("version") != VERSION:
        raise FormatError(
            f"{path}: model format {document.get('version')!r}, this version reads {VERSION}; "
            f"train again, or use the version of rerank-toolkit that wrote it"
        )
    try:
        heads = empty_heads(document["shapes"], document["hidden"], document["has_map"])
        heads.load_state_dict(tensors)
        manifest = dict(document["manifest"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        text = " ".join(str(error).split())
        raise FormatError(
            f"{path}: not a model this version can read ({text}); train again"
        ) from None
    return heads.eval(), manifest


def is_trained_model(path: str | Path) -> bool:
    """Whether a file is a model that `rerank train` wrote (the header alone is read)."""
    return tensorfile.kind_of(path) == KIND


def empty_heads(shapes: Mapping[str, Any], hidden: int, has_map: bool) -> Heads:
    """Heads of these shapes (d_in, d), to be filled with a state."""
    made: list[Head] = []
    for side in ("text", "video"):
        d_in, d = (int(n) for n in shapes[side])
        start = Affine(torch.zeros(d_in), torch.zeros((d_in, d)))
        made.append(Head(start, 1.0, hidden=int(hidden)))
    dim = made[0].shape[1]
    final: Tensor | None = torch.zeros((dim, dim)) if has_map else None
    return Heads(made[0], made[1], final)
