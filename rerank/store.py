"""A fitted reranker in one file: safetensors, never pickle.

    tensors    "{stage}.{field}", kept tensors "kept.{name}", gallery ids as JSON bytes
    metadata   one JSON text under "rerank": kind, version, classes, scalars, manifest, hash

The hash covers everything that is read back, so a flipped bit is an error and not another
ranking. The same input gives the same bytes. Only dataclasses that this package ships can be
named by a file; nothing is imported because a file says so.
"""

import contextlib
import hashlib
import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, BinaryIO

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

import rerank.methods as methods
from rerank.errors import FormatError, RerankError
from rerank.io.files import atomic_path
from rerank.reranker import LABELS, Fitted, FittedPipeline

KIND = "rerank/fitted"
VERSION = 1
_IDS = "ids.gallery"
_KEPT = "kept."
_Json = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Model:
    """What a model file holds.

    Attributes:
        fitted: the fitted pipeline.
        gallery_ids: names of the gallery items that the biases belong to, or None.
        manifest: settings, hashes and versions, as JSON values.
        kept: tensors stored beside it, such as the bank of `--keep-bank`.
    """

    fitted: FittedPipeline
    gallery_ids: tuple[str, ...] | None = None
    manifest: Mapping[str, Any] = field(default_factory=dict)
    kept: Mapping[str, Tensor] = field(default_factory=dict)


def save(
    path: str | Path,
    fitted: Fitted,
    *,
    gallery_ids: Sequence[str] | None = None,
    manifest: Mapping[str, Any] | None = None,
    kept: Mapping[str, Tensor] | None = None,
) -> None:
    """Write a fitted reranker; `load` gives it back to the bit.

    Args:
        path: the file, replaced as a whole or not at all.
        fitted: a `FittedPipeline` or one fitted stage.
        gallery_ids: names of the gallery items, in the order of the biases.
        manifest: settings, hashes, versions: JSON values only.
        kept: more tensors to keep beside it.

    Raises:
        RerankError: a stage that cannot be stored, or a folder that cannot be written.
    """
    tensors: dict[str, Tensor] = {}
    stages = [_encode(s, str(i), tensors) for i, s in enumerate(_flatten(fitted))]
    for name, tensor in (kept or {}).items():
        tensors[_KEPT + name] = _plain(tensor)
    if gallery_ids is not None:
        text = json.dumps([str(i) for i in gallery_ids]).encode()
        tensors[_IDS] = torch.from_numpy(np.frombuffer(text, dtype=np.uint8).copy())
    document: _Json = {
        "kind": KIND,
        "version": VERSION,
        "label": FittedPipeline(tuple(_flatten(fitted))).label,
        "stages": stages,
        "manifest": dict(manifest or {}),
    }
    try:
        document["hash"] = _digest(document, tensors)
    except (TypeError, ValueError) as error:
        raise RerankError(
            f"{path}: the manifest holds something that JSON cannot ({error}); "
            f"give text, finite numbers, lists and dicts"
        ) from None
    data = safetensors.torch.save(tensors, metadata={"rerank": _text(document)})
    with replacing(path) as file:
        file.write(data)


def load(path: str | Path) -> FittedPipeline:
    """Read a fitted pipeline that `save` wrote, without pickle, on the CPU.

    Raises:
        FormatError: not such a file, damaged, or of another format version.
    """
    return read_model(path).fitted


def read_model(path: str | Path) -> Model:
    """Read everything in a model file; see `load`."""
    document, tensors = _parse(Path(path))
    if document.get("kind") != KIND:
        raise FormatError(
            f"{path}: a rerank file of kind {document.get('kind')!r}, expected {KIND!r} "
            f"as `rerank fit` writes it"
        )
    if document.get("version") != VERSION:
        raise FormatError(
            f"{path}: model format {document.get('version')!r}, this version reads {VERSION}; "
            f"fit again, or use the version of rerank-toolkit that wrote it"
        )
    claimed = document.pop("hash", None)
    if claimed != _digest(document, tensors):
        raise FormatError(
            f"{path}: content does not match its hash, the file is damaged; fit again"
        )
    try:
        fitted = FittedPipeline(tuple(_decode(stage, tensors) for stage in document["stages"]))
        ids = None
        if _IDS in tensors:
            ids = tuple(str(i) for i in json.loads(tensors[_IDS].numpy().tobytes()))
        kept = {n[len(_KEPT) :]: t for n, t in tensors.items() if n.startswith(_KEPT)}
        model = Model(fitted, ids, dict(document["manifest"]), kept)
        if fitted.label != document["label"]:
            raise ValueError(f"label {document['label']!r} is not that of its stages")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FormatError(
            f"{path}: not a model this version can read ({error}); fit again"
        ) from None
    bias = fitted.gallery_bias
    if ids is not None and bias is not None and len(ids) != len(bias):
        raise FormatError(f"{path}: {len(ids)} gallery ids but {len(bias)} biases; fit again")
    return model


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[BinaryIO]:
    """A file that takes the place of `path` when the block ends well, and leaves no trace else."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        yield file


def _parse(path: Path) -> tuple[_Json, dict[str, Tensor]]:
    """The JSON document and the tensors of a file of ours, whatever its kind."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise FormatError(f"{path}: cannot be read ({error.strerror or error})") from None
    try:
        tensors = safetensors.torch.load(data)
        (length,) = struct.unpack("<Q", data[:8])
        metadata = json.loads(data[8 : 8 + length]).get("__metadata__") or {}
    except (safetensors.SafetensorError, ValueError, KeyError, struct.error) as error:
        raise FormatError(
            f"{path}: {_looks_like(data)}, expected a model that `rerank fit` wrote "
            f"(safetensors: {error})"
        ) from None
    try:
        document = json.loads(metadata["rerank"])
        document["kind"]
    except (ValueError, KeyError, TypeError):
        raise FormatError(
            f"{path}: a safetensors file without rerank's description, expected a model "
            f"that `rerank fit` wrote"
        ) from None
    return document, tensors


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


def _flatten(fitted: Fitted) -> Iterator[Fitted]:
    """The stages of pipelines within pipelines, in order."""
    if isinstance(fitted, FittedPipeline):
        for stage in fitted.stages:
            yield from _flatten(stage)
    else:
        yield fitted


def _plain(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().contiguous().clone()


def _encode(value: Any, key: str, tensors: dict[str, Tensor]) -> Any:  # noqa: ANN401  any field
    """JSON for a value; its tensors go to `tensors` under `key`."""
    if isinstance(value, Tensor):
        tensors[key] = _plain(value)
        return {"tensor": key}
    if isinstance(value, np.ndarray):
        tensors[key] = _plain(torch.from_numpy(np.ascontiguousarray(value)))
        return {"array": key}
    if isinstance(value, float):
        # JSON has no NaN or infinity; repr gives every other float back exactly.
        return value if np.isfinite(value) else {"float": repr(float(value))}
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, (tuple, list)):
        return {"tuple": [_encode(v, f"{key}.{i}", tensors) for i, v in enumerate(value)]}
    name = f"{type(value).__module__}.{type(value).__qualname__}"
    if is_dataclass(value) and _known(name) is type(value):
        return {
            "class": name,
            "fields": {
                f.name: _encode(getattr(value, f.name), f"{key}.{f.name}", tensors)
                for f in fields(value)
                if f.init
            },
        }
    raise RerankError(
        f"{name} cannot be stored in a model file: it is not a fitted stage of rerank.methods"
    )


def _decode(value: Any, tensors: Mapping[str, Tensor]) -> Any:  # noqa: ANN401  any field
    """The inverse of `_encode`."""
    if not isinstance(value, dict):
        return value
    if "tensor" in value:
        return tensors[value["tensor"]]
    if "array" in value:
        return tensors[value["array"]].numpy()
    if "float" in value:
        return float(value["float"])
    if "tuple" in value:
        return tuple(_decode(v, tensors) for v in value["tuple"])
    kind = _known(value["class"])
    if kind is None:
        raise ValueError(f"unknown class {value['class']!r}")
    given = {name: _decode(v, tensors) for name, v in value["fields"].items()}
    if given.get("label", "none") not in LABELS:
        raise ValueError(f"unknown label {given['label']!r}")
    return kind(**given)


def _known(name: str) -> type | None:
    """The frozen dataclass that a file may name: one that rerank's own method modules define."""
    module, _, cls = name.rpartition(".")
    allowed = {f"rerank.methods.{m.name}" for m in iter_modules(methods.__path__)}
    if module not in allowed | {"rerank.reranker"}:
        return None
    found = getattr(import_module(module), cls, None)
    if not (isinstance(found, type) and is_dataclass(found) and found.__module__ == module):
        return None
    return found if found.__dataclass_params__.frozen else None  # type: ignore[attr-defined]


def _text(document: Mapping[str, Any]) -> str:
    return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _digest(document: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """Hash of the document and of every tensor's name, type, shape and bytes."""
    digest = hashlib.blake2b(_text(document).encode(), digest_size=32)
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
