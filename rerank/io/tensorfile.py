"""Tensors and one JSON text in a safetensors file, hashed and written as a whole or not at all.

The hash covers everything that is read back, so a flipped bit is an error and not another
ranking. The same input gives the same bytes.
"""

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

from rerank.core import memory
from rerank.core.errors import FormatError, RerankError
from rerank.io.files import foreign, no_room, one_line, regular_file, replacing

# What JSON of another shape than ours raises.
_ODD = (ValueError, KeyError, TypeError, AttributeError, RecursionError)
# The library itself refuses longer headers.
_LONGEST_HEADER = 100_000_000
# For files that are often given in place of another: (kind found, kind expected) -> what to do.
_WAYS_OUT = {
    ("rerank/trained", "rerank/fitted"): (
        "; it holds trained heads: make a model of them with `rerank fit --heads HEADS "
        "--videos v.h5 --bank-texts bank.h5 --out model.safetensors`, then use --model "
        "model.safetensors"
    ),
    ("rerank/checkpoint", "rerank/trained"): (
        "; it is a run in progress: finish it with `rerank train ... --resume`"
    ),
}


def write(path: str | Path, tensors: Mapping[str, Tensor], document: Mapping[str, Any]) -> None:
    """Write; the same input gives the same bytes. `document` holds JSON values and a "kind".

    Raises:
        RerankError: a document that JSON cannot hold, or a folder that cannot be written.
    """
    plain = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    try:
        complete = {**document, "hash": _digest(document, plain)}
    except (TypeError, ValueError) as error:
        raise RerankError(
            f"{path}: the manifest holds something that JSON cannot ({error}); "
            f"give text, finite numbers, lists and dicts"
        ) from None
    data = safetensors.torch.save(plain, metadata={"rerank": _text(complete)})
    with replacing(path) as file:
        file.write(data)


def read(
    path: str | Path, kind: str, *, made_by: str, versions: tuple[Any, ...] = ()
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The document and the tensors of a file of this kind, on the CPU. Nothing is unpickled.

    Args:
        path: the file.
        kind: what its document must say that it is.
        made_by: the command that writes such files, "`rerank fit`".
        versions: values of "version" that can be read; none: any.

    Raises:
        FormatError: unreadable, of another kind or version, or damaged.
    """
    path = Path(path)
    again = f"{made_by.strip('`').removeprefix('rerank ')} again"
    regular_file(path)
    size = 2 * path.stat().st_size  # its bytes and the tensors made of them
    if size > max(memory.budget(), memory.available()):
        raise FormatError(
            f"{path}: takes {size:,} bytes of memory, and only {memory.available():,} are free"
        )
    with foreign(path, "a file"):
        data = path.read_bytes()
    try:
        tensors = safetensors.torch.load(data)
        (length,) = struct.unpack("<Q", data[:8])
        metadata = json.loads(data[8 : 8 + length]).get("__metadata__") or {}
    except MemoryError as error:
        raise no_room(path) from error
    except (safetensors.SafetensorError, *_ODD, struct.error) as error:
        raise FormatError(
            f"{path}: {_looks_like(data)}, expected a file that {made_by} wrote "
            f"(safetensors: {one_line(error)})"
        ) from None
    try:
        document = json.loads(metadata["rerank"])
        claimed = document.pop("hash", None)
        digest = _digest(document, tensors)
        found = document["kind"]
    except _ODD:
        raise FormatError(
            f"{path}: a safetensors file without rerank's description, expected one "
            f"that {made_by} wrote"
        ) from None
    if found != kind:
        raise FormatError(
            f"{path}: a rerank file of kind {one_line(repr(found))}, expected {kind!r} as "
            f"{made_by} writes it"
            f"{_WAYS_OUT.get((str(found), kind), '')}"
        )
    if versions and document.get("version") not in list(versions):
        raise FormatError(
            f"{path}: format {one_line(repr(document.get('version')))}, this version reads "
            f"{', '.join(map(str, versions))}; {again}, or use the version of rerank-toolkit "
            f"that wrote it"
        )
    if claimed != digest:
        raise FormatError(f"{path}: content does not match its hash, the file is damaged; {again}")
    return document, tensors


def kind_of(path: str | Path) -> str | None:
    """The kind that a rerank file says it is; None for any other file. Reads the header only."""
    try:
        with regular_file(path).open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > _LONGEST_HEADER:
                return None
            header = json.loads(file.read(length))
        return json.loads(header["__metadata__"]["rerank"])["kind"]
    except (OSError, MemoryError, *_ODD, struct.error):
        return None


def _looks_like(data: bytes) -> str:
    """What a foreign file is, from its first bytes."""
    if not data:
        return "an empty file"
    for magic, what in (
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
        (b"PK\x03\x04", "a zip archive such as .npz or .pt (pickle inside is never read)"),
        (b"\x93NUMPY", "a .npy array"),
        (b"\x80", "a pickle, which is never read"),
    ):
        if data.startswith(magic) and not (magic == b"\x80" and data[1:2] > b"\x05"):
            return what
    return "not a safetensors file, or one that was cut short"


def _text(document: Mapping[str, Any]) -> str:
    return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _digest(document: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """Hash of the document and of every tensor's name, type, shape and bytes."""
    digest = hashlib.blake2b(_text(document).encode(), digest_size=32)
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        flat = tensor.reshape(-1)
        if flat.stride(0) != 1:  # a few numbers may keep the stride that they were expanded with
            flat = torch.empty(len(flat), dtype=flat.dtype).copy_(flat)
        digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()
