"""Growing galleries: new items get their bias from the stored bank, old ones keep theirs.

The bias of an item depends on its own scores against the bank only, once the bank's side is
fixed: Sinkhorn's query potentials, or the temperature of an inverted softmax. So adding an item
costs one pass of the bank over that item. `rerank fit --keep-bank` stores what is needed.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from rerank.core.errors import RerankError
from rerank.core.similarity import ArrayLike, Pair, as_matrix, pair_called
from rerank.core.wording import either, label
from rerank.core.words import Metric
from rerank.methods.base import Bank, Fitted, FittedPipeline, Reranker
from rerank.methods.registry import METHODS
from rerank.methods.saved import Saved
from rerank.serving.matching import (
    check_dimension,
    check_served,
    describe_gallery,
    dimension_of,
    item_hashes,
    with_manifest,
)


def add_items(model: Saved, ids: Sequence[str], vectors: ArrayLike) -> Saved:
    """A model of a larger gallery: old biases as they are, new items charged by the stored bank.

    An item that is already in the gallery would get its own bias again, up to how far the fit had
    converged.

    Args:
        model: fitted with `keep_bank`.
        ids: p names that are not in the gallery yet.
        vectors: (p, d) embeddings of the same model.

    Raises:
        RerankError: no stored bank, a method that has no bias for a single item, ids that are
            there already, or another dimension.
    """
    check_served(model)
    assert model.gallery_ids is not None
    bank = model.kept.get("bank.queries")
    if bank is None:
        raise RerankError(
            "the model does not hold its bank, so new items have no bias; fit it again with "
            f"{either('`rerank fit --keep-bank`', 'rerank.fit(..., keep_bank=True)')}"
        )
    known = set(model.gallery_ids)
    names = [str(name) for name in ids]
    twice = next((name for name in names if name in known), None)
    if twice is not None or len(set(names)) < len(names):
        raise RerankError(
            f"item {twice if twice is not None else 'ids given twice'!r} is in the gallery "
            f"already; give new items only, or remove it first with "
            f"{either('`rerank update --remove`', 'model.remove(ids)')}"
        )
    new = as_matrix(vectors, "new items", keep_half=True).cpu()
    if len(new) != len(names):
        raise RerankError(f"new items: got {len(names)} ids for {len(new)} rows")
    check_dimension(new, dimension_of(model), what="new items")
    metric: Metric = model.manifest["metric"]
    sim: Any = pair_called(("the bank", "new items"), bank, new, metric=metric)
    banks = model.kept.get("bank.gallery")
    gallery: Any = None if banks is None else Pair(banks, new, metric=metric)
    stages: list[Fitted] = []
    for position, stage in enumerate(model.fitted.stages):
        seen = Bank(sim, gallery=gallery)
        if _maps(stage):
            stages.append(stage)
            seen = stage.transform_bank(seen)
            sim, gallery = seen.sim, seen.gallery
            continue
        bias = _bias_of(stage, seen, _settings(model, position))
        assert stage.parts is not None and stage.parts.gallery_bias is not None
        old = stage.parts.gallery_bias
        stages.append(stage.rebiased(torch.cat([old, bias.to(old)])))
        sim, gallery = sim.add_gallery_bias(bias.to(sim.dtype)), None
    hashes = torch.cat([model.kept["gallery.hashes"], item_hashes(new)])
    return with_manifest(
        replace(
            model,
            fitted=FittedPipeline(tuple(stages)),
            gallery_ids=(*model.gallery_ids, *names),
            kept={**model.kept, "gallery.hashes": hashes},
        ),
        gallery=describe_gallery(model, hashes),
    )


def remove_items(model: Saved, ids: Sequence[str]) -> Saved:
    """A model of a smaller gallery; the items that stay keep their biases.

    Raises:
        RerankError: an id that is not in the gallery, or nothing would be left.
    """
    check_served(model)
    assert model.gallery_ids is not None
    rows = {name: row for row, name in enumerate(model.gallery_ids)}
    unknown = next((name for name in ids if name not in rows), None)
    if unknown is not None:
        raise RerankError(f"{label('remove')}: {unknown!r} is not in the model's gallery")
    gone = set(ids)
    keep = torch.tensor([row for name, row in rows.items() if name not in gone], dtype=torch.int64)
    if len(keep) == 0:
        raise RerankError(f"{label('remove')}: nothing would be left of the gallery")
    hashes = model.kept["gallery.hashes"][keep]
    kept = {**model.kept, "gallery.hashes": hashes}
    return with_manifest(
        replace(
            model,
            fitted=FittedPipeline(tuple(_kept(stage, keep) for stage in model.fitted.stages)),
            gallery_ids=tuple(name for name in model.gallery_ids if name not in gone),
            kept=kept,
        ),
        gallery=describe_gallery(model, hashes),
    )


def _settings(model: Saved, position: int) -> Reranker | None:
    """The settings that fitted a stage, where its bias can be had for items alone."""
    stages = model.manifest.get("stages", [])
    if position >= len(stages):
        return None
    settings = METHODS.find(stages[position]["method"]).load()(**stages[position]["settings"])
    return settings if settings.per_item else None


def _maps(stage: Fitted) -> bool:
    """Whether a stage rewrites embeddings only, so that it holds nothing per item."""
    return stage.parts is not None and stage.parts.gallery_bias is None


def _bias_of(stage: Fitted, bank: Bank, settings: Reranker | None) -> Tensor:
    if settings is not None:
        parts = settings.fit(bank).parts
        assert parts is not None and parts.gallery_bias is not None
        return parts.gallery_bias
    return stage.grown(bank.sim)


def _kept(stage: Fitted, keep: Tensor) -> Fitted:
    """The stage with the biases of the items that stay."""
    if _maps(stage):
        return stage
    if stage.parts is None or stage.parts.gallery_bias is None:
        return stage.rebiased(torch.empty(0))  # which says why it cannot
    return stage.rebiased(stage.parts.gallery_bias[keep])
