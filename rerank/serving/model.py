"""Fit once, serve: a model of one gallery that ranks queries it has never seen.

model = fit_model(ids, videos, bank_texts)      # or `rerank fit`
Searcher.of(model, ids, videos).search(texts)   # or `rerank search`, see `searcher`
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from rerank.core import memory
from rerank.core.errors import RerankError
from rerank.core.rows import slices
from rerank.core.similarity import ArrayLike, Metric, Pair, as_matrix
from rerank.io.scratch import joined
from rerank.methods.base import (
    Bank,
    Fitted,
    FittedPipeline,
    Label,
    Pipeline,
    Reranker,
)
from rerank.methods.em import EM
from rerank.methods.registry import cards_of, pipeline
from rerank.methods.saved import Model
from rerank.serving import standins

Name: TypeAlias = Literal["t2v", "v2t"]

SCHEMA = "rerank-model/1"
DEFAULT_METHOD = "em+sinkhorn"
_HASHED_AT_ONCE = 2048


def fit_model(
    gallery_ids: Sequence[str],
    gallery: ArrayLike,
    bank_queries: ArrayLike,
    *,
    bank_gallery: ArrayLike | None = None,
    bank_positives: tuple[np.ndarray, ...] | None = None,
    direction: Name = "t2v",
    method: str | None = None,
    metric: Metric = "cosine",
    keep_bank: bool = False,
    gate: bool = True,
    device: str | torch.device | None = None,
    **settings: Any,  # noqa: ANN401  fields of the method
) -> Model:
    """Fit a reranker of one gallery on a bank of queries that are not the ones to come.

    Args:
        gallery_ids: m names, in the order of `gallery`.
        gallery: (m, d) embeddings that will be searched: videos for "t2v", texts for "v2t".
        bank_queries: (n, d) queries of the same kind as those to come.
        bank_gallery: gallery items that go with the bank queries; EM and methods with two banks
            need them.
        bank_positives: for each bank query the bank gallery rows that are right; turns the gate on.
        direction: "t2v" (texts search videos) or "v2t".
        method: a name of `rerank methods`; by default EM, where it has a bank gallery, and
            Sinkhorn.
        metric: how embeddings are compared.
        keep_bank: store the bank too, so that `add_items` can give new items their bias.
        gate: whether known pairs may veto or shrink the biases.
        device: where to fit.
        **settings: fields of the method, such as tau.

    Raises:
        RerankError: data that do not fit together, or a method that cannot serve unseen queries.
    """
    if len(gallery_ids) != len(gallery):
        raise RerankError(f"gallery: got {len(gallery_ids)} ids for {len(gallery)} rows")
    chosen = method or DEFAULT_METHOD
    _check_servable(chosen)
    stages, notes = pipeline(chosen, **settings), []
    if method is None and bank_gallery is None:
        stages = Pipeline(tuple(s for s in stages.stages if not isinstance(s, EM)))
        notes.append("EM inactive: it needs a bank of both modalities")
    sims = [
        None if rows is None else Pair(_on(rows, device), _on(other, device), metric=metric)
        for rows, other in (
            (bank_queries, gallery),
            (bank_gallery, gallery),
            (None if bank_gallery is None else bank_queries, bank_gallery),
        )
    ]
    assert sims[0] is not None
    bank = Bank(sims[0], gallery=sims[1], pairs=sims[2], positives=bank_positives)
    if gate and bank_positives is not None:
        from rerank.selection import gated_fit  # heavier than all the rest

        gated, report = gated_fit(stages, bank)
        fitted = gated if isinstance(gated, FittedPipeline) else FittedPipeline((gated,))
        used: list[Reranker] = []
        notes += report.sentences
    else:
        fitted, used = _fit_each(stages, bank)
    notes += fitted.notes
    hashes = item_hashes(gallery)
    kept = {"gallery.hashes": hashes, "bank.hashes": item_hashes(bank_queries)}
    if len(bank_queries) > 1:
        # An export teaches its index with them where the bank is not at hand.
        kept |= standins.to_kept(standins.moments_of(sims[0].queries))
    if keep_bank:
        kept["bank.queries"] = as_matrix(bank_queries, "bank").cpu()
        if bank_gallery is not None:
            kept["bank.gallery"] = as_matrix(bank_gallery, "bank gallery").cpu()
    else:
        fitted = fitted.served()
    manifest = {
        "schema": SCHEMA,
        "direction": direction,
        "method": chosen,
        "metric": metric,
        "label": fitted.label,
        "settings": {key: value for key, value in settings.items() if value is not None},
        "stages": [_settings_of(stage) for stage in used],
        "notes": notes,
        "gated": gate and bank_positives is not None,
        "keep_bank": keep_bank,
        "gallery": _described(hashes, gallery),
        "bank": _described(kept["bank.hashes"], bank_queries),
    }
    if bank_gallery is not None:
        manifest["bank_gallery"] = _described(item_hashes(bank_gallery), bank_gallery)
    return Model(fitted, tuple(str(i) for i in gallery_ids), manifest, kept)


def _check_servable(method: str) -> None:
    for card in cards_of(method):
        name = card.name
        if "all queries" in card.facts.needs:
            raise RerankError(
                f"method {name!r} needs all queries at once and cannot serve unseen ones; "
                f"use `rerank apply`, or fit a method that `rerank methods` lists without "
                f"'all queries'"
            )


def _fit_each(stages: Pipeline, bank: Bank) -> tuple[FittedPipeline, list[Reranker]]:
    """Like `Pipeline.fit`, and the settings with which each stage was really fitted."""
    fitted: list[Fitted] = []
    used: list[Reranker] = []
    for stage in stages.stages:
        stage = stage.settled(bank)
        used.append(stage)
        fitted.append(stage.fit(bank))
        bank = fitted[-1].transform_bank(bank)
    return FittedPipeline(tuple(fitted)), used


def _settings_of(stage: Reranker) -> dict[str, Any]:
    assert is_dataclass(stage) and not isinstance(stage, type)
    return {"class": type(stage).__name__, "settings": asdict(stage)}


def _on(x: ArrayLike | None, device: str | torch.device | None) -> Any:  # noqa: ANN401
    if x is None or device is None:
        return x
    return as_matrix(x, "embeddings", keep_half=True).to(device)


def item_hashes(vectors: ArrayLike) -> Tensor:
    """(m,) int64 content hashes of the rows as float32: equal rows have equal hashes."""
    x = as_matrix(vectors, "embeddings", keep_half=True)
    # No list of numbers: small objects between the blocks keep the memory of all of them.
    out = np.empty(len(x), dtype=np.int64)
    for rows in slices(len(x), _HASHED_AT_ONCE):
        block = x[rows].cpu().float() + 0.0  # turns -0.0 into 0.0
        digests = (
            hashlib.blake2b(row.data, digest_size=8).digest() for row in block.contiguous().numpy()
        )
        out[rows] = np.frombuffer(b"".join(digests), dtype="<i8")
    return torch.from_numpy(out)


def _described(hashes: Tensor, vectors: ArrayLike) -> dict[str, Any]:
    digest = hashlib.blake2b(hashes.numpy().tobytes(), digest_size=16).hexdigest()
    return {"count": len(hashes), "dimension": int(vectors.shape[1]), "hash": digest}


def describe_gallery(model: Model, hashes: Tensor) -> dict[str, Any]:
    """The manifest entry of a gallery with these item hashes."""
    digest = hashlib.blake2b(hashes.numpy().tobytes(), digest_size=16).hexdigest()
    return {**model.manifest["gallery"], "count": len(hashes), "hash": digest}


def check_served(model: Model) -> None:
    """Refuse a model file that holds no gallery, such as one saved with `rerank.save` alone."""
    if model.manifest.get("schema") != SCHEMA or model.gallery_ids is None:
        raise RerankError(
            "the model names no gallery: it was saved from Python without one; write it with "
            "`rerank fit`, or give rerank.save(..., gallery_ids=...) and use rerank.load"
        )


def align(model: Model, ids: Sequence[str], vectors: ArrayLike) -> Tensor:
    """The gallery in the model's order, matched by id and checked by content.

    Raises:
        RerankError: items that are missing, new, or other than when the model was fitted; the
            message names the first.
    """
    check_served(model)
    assert model.gallery_ids is not None
    x = as_matrix(vectors, "gallery", keep_half=True).cpu()
    dimension = model.manifest["gallery"]["dimension"]
    if x.shape[1] != dimension:
        raise RerankError(f"gallery: got d = {x.shape[1]}, the model was fitted on d = {dimension}")
    rows = {name: row for row, name in enumerate(ids)}
    missing = [name for name in model.gallery_ids if name not in rows]
    if len(missing) == len(model.gallery_ids):
        raise RerankError(
            f"gallery: none of its {len(rows)} ids is in the model, which was fitted on a gallery "
            f"that begins with {missing[0]!r}; give that gallery, or fit one of this"
        )
    if missing:
        raise RerankError(
            f"gallery: {len(missing)} of the model's {len(model.gallery_ids)} items are missing, "
            f"first {missing[0]!r}; give the gallery that was fitted, or take them out with "
            f"`rerank update --remove`"
        )
    if len(rows) > len(model.gallery_ids):
        known = set(model.gallery_ids)
        new = next(name for name in ids if name not in known)
        raise RerankError(
            f"gallery: {len(rows) - len(model.gallery_ids)} items are not in the model, first "
            f"{new!r}; add them with `rerank update`, or take them out of the file where they were "
            f"removed from the model"
        )
    if tuple(ids) != model.gallery_ids:
        order = torch.tensor([rows[name] for name in model.gallery_ids])
        x = _in_order(x, order)
    changed = (item_hashes(x) != model.kept["gallery.hashes"]).nonzero()
    if len(changed):
        name = model.gallery_ids[int(changed[0])]
        raise RerankError(
            f"gallery: the embeddings of {len(changed)} items are not those that the model was "
            f"fitted on, first {name!r}; fit again on these embeddings"
        )
    return x


def _in_order(x: Tensor, order: Tensor) -> Tensor:
    """Rows in another order; a copy that is large lies in a file as `x` did."""
    if x.dtype == torch.bfloat16 or not memory.is_large(x.numel()):
        return x[order]
    blocks = (x[order[rows]].numpy() for rows in slices(len(order)))
    return as_matrix(joined(blocks, (len(order), x.shape[1]), "gallery"), "gallery", keep_half=True)


def label_of(model: Model, queries: ArrayLike) -> tuple[Label, str]:
    """What results for these queries may be called, and what the user should know.

    Queries that were in the bank were seen: with more than half of them it is transductive.
    """
    label = model.fitted.label
    bank = model.kept.get("bank.hashes")
    if bank is None or label == "none":
        return label, ""
    known = torch.isin(item_hashes(queries), bank)
    count = int(known.sum())
    if count == 0:
        return label, ""
    text = f"{count} of {len(known)} queries are also in the bank that the model was fitted on"
    if 2 * count > len(known):
        return "transductive", f"{text}: this is labelled transductive"
    return label, text


def with_manifest(model: Model, **changes: Any) -> Model:  # noqa: ANN401  JSON values
    """A model with other manifest entries."""
    manifest: Mapping[str, Any] = {**model.manifest, **changes}
    return replace(model, manifest=manifest)
