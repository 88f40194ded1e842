"""A fitted reranker in one file: safetensors, never pickle.

    tensors    "{stage}.{field}", kept tensors "kept.{name}", gallery ids as JSON bytes
    document   kind, version, classes, scalars, manifest (see `rerank.io.tensorfile`)

Only dataclasses that this package ships can be named by a file; nothing is imported because a
file says so.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

import numpy as np
import torch
from torch import Tensor

import rerank.methods as methods
from rerank.core.errors import FormatError, RerankError
from rerank.io import tensorfile
from rerank.io.files import one_line
from rerank.methods.base import LABELS, Fitted, FittedPipeline

KIND = "rerank/fitted"
VERSION = 1
_IDS = "ids.gallery"
_KEPT = "kept."
# Kept embeddings, by the names that `serving` gives them.
_ROWS = (f"{_KEPT}gallery.vectors", f"{_KEPT}bank.queries", f"{_KEPT}bank.gallery")
_Json = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Saved:
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
    if not isinstance(path, str | Path) or isinstance(fitted, str | Path):
        raise RerankError(
            f"save: got {type(path).__name__} and {type(fitted).__name__}, expected a path and "
            f"what was fitted: save(path, fitted)"
        )
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
    tensorfile.write(path, tensors, document)


def encode(fits: Mapping[str, Fitted]) -> tuple[_Json, dict[str, Tensor]]:
    """Fitted pipelines as JSON and tensors; equal tensors of several of them are kept once.

    Raises:
        RerankError: a stage that cannot be stored.
    """
    tensors: dict[str, Tensor] = {}
    document = {
        name: [_encode(s, f"{name}.{i}", tensors) for i, s in enumerate(_flatten(fitted.served()))]
        for name, fitted in fits.items()
    }
    same: dict[str, str] = {}
    kept: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        twin = next(
            (k for k, t in kept.items() if t.dtype == tensor.dtype and torch.equal(t, tensor)), None
        )
        if twin is None:
            kept[key] = tensor
        else:
            same[key] = twin
    return {"fits": document, "same": same}, kept


def decode(document: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, FittedPipeline]:
    """What `encode` was given, on the CPU.

    Raises:
        FormatError: not what `encode` makes.
    """
    try:
        found = {**tensors, **{key: tensors[twin] for key, twin in document["same"].items()}}
        return {
            name: FittedPipeline(tuple(_decode(stage, found) for stage in stages))
            for name, stages in document["fits"].items()
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FormatError(f"not fits this version can read ({error}); apply again") from None


def at_rest(fitted: FittedPipeline) -> FittedPipeline:
    """The same fit with all its tensors on the CPU, as a file would give it back."""
    tensors: dict[str, Tensor] = {}
    stages = [_encode(stage, str(i), tensors) for i, stage in enumerate(_flatten(fitted))]
    return FittedPipeline(tuple(_decode(stage, tensors) for stage in stages))


def load(path: str | Path) -> FittedPipeline:
    """Read a fitted pipeline that `save` wrote, without pickle, on the CPU.

    Raises:
        FormatError: not such a file, damaged, or of another format version.
    """
    return read_model(path).fitted


def read_model(path: str | Path) -> Saved:
    """Read everything in a model file; see `load`."""
    document, tensors = tensorfile.read(path, KIND, made_by="`rerank fit`", versions=(VERSION,))
    try:
        fitted = FittedPipeline(tuple(_decode(stage, tensors) for stage in document["stages"]))
        ids = None
        if _IDS in tensors:
            ids = tuple(str(i) for i in json.loads(tensors[_IDS].numpy().tobytes()))
        kept = {n[len(_KEPT) :]: t for n, t in tensors.items() if n.startswith(_KEPT)}
        model = Saved(fitted, ids, dict(document["manifest"]), kept)
        if fitted.label != document["label"]:
            raise ValueError(f"label {document['label']!r} is not that of its stages")
        _check_numbers(tensors)
        _check_kept(model)
        bias = fitted.gallery_bias
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError) as error:
        raise FormatError(
            f"{path}: not a model this version can read ({one_line(error)}); fit again"
        ) from None
    if ids is not None and bias is not None and len(ids) != len(bias):
        raise FormatError(f"{path}: {len(ids)} gallery ids but {len(bias)} biases; fit again")
    return model


def _check_numbers(tensors: Mapping[str, Tensor]) -> None:
    """Whoever wrote the file: NaN is no number, and vectors lie in rows."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and bool(tensor.isnan().any()):
            raise ValueError(f"{name} holds NaN")
        if name in _ROWS and (tensor.ndim != 2 or not tensor.is_floating_point()):
            raise ValueError(f"{name} is {tuple(tensor.shape)} {tensor.dtype}, expected rows")
        if name.endswith(".hashes") and (tensor.ndim != 1 or tensor.dtype != torch.int64):
            raise ValueError(f"{name} is {tuple(tensor.shape)} {tensor.dtype}, expected hashes")


def _check_kept(model: Saved) -> None:
    """Whoever wrote the file: what is kept of the items and of the bank belongs to all of them."""
    kept, ids = model.kept, model.gallery_ids
    if "gallery" in model.manifest and "gallery.hashes" not in kept:
        raise ValueError("gallery.hashes is missing")
    for name in ("gallery.hashes", "gallery.vectors"):
        if ids is not None and name in kept and len(kept[name]) != len(ids):
            raise ValueError(f"{len(kept[name])} rows of {name} for {len(ids)} items")
    if "bank.queries" in kept and len(kept["bank.queries"]) != len(kept["bank.hashes"]):
        raise ValueError(f"{len(kept['bank.hashes'])} hashes for another number of bank queries")


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
    if module not in allowed - {__name__}:
        return None
    found = getattr(import_module(module), cls, None)
    if not (isinstance(found, type) and is_dataclass(found) and found.__module__ == module):
        return None
    return found if found.__dataclass_params__.frozen else None  # type: ignore[attr-defined]
