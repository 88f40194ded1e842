"""Tensors and one JSON text in a safetensors file, hashed and written as a whole or not at all."""

import hashlib
import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from rerank.errors import FormatError
from rerank.store import replacing


def write(path: str | Path, tensors: Mapping[str, Tensor], document: Mapping[str, Any]) -> None:
    """Write; the same input gives the same bytes. `document` holds JSON values and a "kind"."""
    plain = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    complete = {**document, "hash": _digest(document, plain)}
    data = safetensors.torch.save(plain, metadata={"rerank": _text(complete)})
    with replacing(path) as file:
        file.write(data)


def read(path: str | Path, kind: str, *, made_by: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The document and the tensors of a file of this kind.

    Raises:
        FormatError: unreadable, of another kind, or damaged.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
        tensors = safetensors.torch.load(data)
        document = _document(data)
    except OSError as error:
        raise FormatError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError, struct.error) as error:
        raise FormatError(
            f"{path}: not a safetensors file of rerank, expected one that {made_by} wrote ({error})"
        ) from None
    if document.get("kind") != kind:
        raise FormatError(
            f"{path}: a rerank file of kind {document.get('kind')!r}, expected {kind!r} "
            f"as {made_by} writes it"
        )
    claimed = document.pop("hash", None)
    if claimed != _digest(document, tensors):
        raise FormatError(
            f"{path}: content does not match its hash, the file is damaged; train again"
        )
    return document, tensors


def kind_of(path: str | Path) -> str | None:
    """The kind that a rerank file says it is; None for any other file. Reads the header only."""
    try:
        with Path(path).open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > 100_000_000:  # safetensors itself refuses longer headers
                return None
            header = json.loads(file.read(length))
        return json.loads(header["__metadata__"]["rerank"])["kind"]
    except (OSError, ValueError, KeyError, TypeError, struct.error):
        return None


def _document(data: bytes) -> dict[str, Any]:
    (length,) = struct.unpack("<Q", data[:8])
    document = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["rerank"])
    if not isinstance(document, dict):
        raise ValueError("its description is not a JSON object")
    return document


def _text(document: Mapping[str, Any]) -> str:
    return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _digest(document: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.blake2b(_text(document).encode(), digest_size=32)
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
