"""Fit a reranker of one gallery on a bank of queries that are not the ones to come."""

from collections.abc import Sequence
from dataclasses import asdict, is_dataclass
from typing import Any

import numpy as np
import torch

from rerank.core.errors import RerankError
from rerank.core.pairs import WORDS
from rerank.core.similarity import ArrayLike, Pair, as_matrix, pair_called
from rerank.core.words import Metric, Name
from rerank.methods import engine
from rerank.methods.base import Bank, FittedPipeline, Reranker, as_pipeline
from rerank.methods.confidence import bank_reference, confidence_of
from rerank.methods.directions import Direction
from rerank.methods.fusion import Blocks
from rerank.methods.mixed import Mixed
from rerank.methods.registry import canonical, cards_of, name_of
from rerank.methods.saved import Saved, at_rest
from rerank.selection.moments import moments_of
from rerank.serving.grow import add_items
from rerank.serving.matching import SCHEMA, described, item_hashes, with_manifest
from rerank.serving.watch import to_kept

DEFAULT_METHOD = engine.DEFAULT_FOR_EMBEDDINGS


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
    blocks: Blocks | None = None,
    confidence: bool = False,
    bias: ArrayLike | None = None,
    **settings: Any,  # noqa: ANN401  fields of the method
) -> Saved:
    """Fit a reranker of one gallery on a bank of queries that are not the ones to come.

    Args:
        gallery_ids: m names, in the order of `gallery`.
        gallery: (m, d) embeddings that will be searched: videos for "t2v", texts for "v2t".
        bank_queries: (n, d) queries of the same kind as those to come.
        bank_gallery: gallery items that go with the bank queries; EM and methods with two banks
            need them.
        bank_positives: for each bank query the bank gallery rows that are right; turns the gate on.
        direction: "t2v" (texts search videos) or "v2t".
        method: a name of `rerank methods`; by default Sinkhorn, behind an alignment where the
            pairs of the bank are known.
        metric: how embeddings are compared.
        keep_bank: store the bank too, so that `add_items` can give new items their bias.
        gate: whether known pairs, and how the bank's gallery lies to this one, may veto or shrink
            the biases.
        device: where to fit.
        blocks: where the rows are those of several models, how they were joined.
        bias: (m,) a number of each item from outside, in score units, added to what is fitted.
        confidence: whether to learn from the bank's pairs how sure a first result is.
        **settings: fields of the method, such as tau.

    Raises:
        RerankError: data that do not fit together, or a method that cannot serve unseen queries.
    """
    if len(gallery_ids) != len(gallery):
        raise RerankError(f"gallery: got {len(gallery_ids)} ids for {len(gallery)} rows")
    chosen = canonical(DEFAULT_METHOD if method is None else method)
    _check_servable(chosen)
    sim, bank = _bank_of(
        gallery, bank_queries, bank_gallery, bank_positives, direction, metric, device
    )
    asked: dict[Name, Direction] = {direction: Direction(direction, sim, bank)}
    judge = None
    if gate and (bank.pairs is not None or bank.positives is not None):
        from rerank.selection.gate import gate as gate_of  # heavier than all the rest

        judge = gate_of()
    prior: dict[Name, torch.Tensor] = {} if bias is None else {direction: torch.as_tensor(bias)}
    found = engine.fit(asked, method, settings, gate=judge, prior=prior)[direction]
    fitted = found.fitted
    if fitted is None:
        # The bank was found out, and the model leaves the ranking as it is.
        fitted = as_pipeline(Mixed(torch.zeros(len(gallery), dtype=sim.dtype), "none"))
    hashes = item_hashes(gallery)
    kept = {"gallery.hashes": hashes, "bank.hashes": item_hashes(bank_queries)}
    if len(bank_queries) > 1:
        # What queries of this kind look like, where the bank is not at hand.
        kept |= to_kept(moments_of(sim.queries))
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
        "stages": [_settings_of(stage) for stage in found.stages.lasting.stages],
        "notes": list(found.sentences),
        "gated": gate and bank_positives is not None,
        "keep_bank": keep_bank,
        "gallery": described(hashes, gallery),
        "bank": described(kept["bank.hashes"], bank_queries),
    }
    if confidence:
        manifest["confidence"] = _confidence(fitted, bank)
    if sim.device.type != "cpu":
        # A model serves from the CPU, wherever it was fitted.
        fitted = at_rest(fitted)
        kept = {name: tensor.cpu() for name, tensor in kept.items()}
    if blocks is not None:
        manifest["blocks"] = blocks.as_dict()
    if bank_gallery is not None:
        manifest["bank_gallery"] = described(item_hashes(bank_gallery), bank_gallery)
    made = Saved(fitted, tuple(str(i) for i in gallery_ids), manifest, kept)
    if not keep_bank:
        return made
    said = _does_not_grow(made, gallery[:1])
    return with_manifest(
        made, grows=not said, notes=[*manifest["notes"], *([said] if said else [])]
    )


def _bank_of(
    gallery: ArrayLike, bank_queries: ArrayLike, bank_gallery: ArrayLike | None,
    positives: tuple[np.ndarray, ...] | None, direction: Name, metric: Metric,
    device: str | torch.device | None,
) -> tuple[Pair, Bank]:  # fmt: skip
    """Bank queries x gallery, and the bank with its own gallery."""
    words = WORDS[direction]
    asks, owns = (f"bank_{word}" for word in words)
    # Made ready once, as `apply` does: dividing by the norm again differs in the last bit.
    rows, asked, own = (_on(x, device) for x in (gallery, bank_queries, bank_gallery))
    searched = pair_called((words[1], words[1]), rows[:1], rows, metric=metric).gallery
    sim = pair_called((asks, words[1]), asked, searched, metric=metric)
    if own is None:
        return sim, Bank(sim, positives=positives)
    beside = pair_called((owns, words[1]), own, searched, metric=metric)
    pairs = pair_called((asks, owns), asked, own, metric=metric)
    return sim, Bank(sim, gallery=beside, pairs=pairs, positives=positives)


def _confidence(fitted: FittedPipeline, bank: Bank) -> dict[str, Any]:
    """How sure first results of the bank's queries are, learned from its pairs."""
    if bank.pairs is None:
        raise RerankError(
            "confidence is learned from pairs of the bank: give texts and videos of the bank, "
            "and their known pairs for probabilities"
        )
    reference = bank_reference(fitted, bank.pairs, bank.positives)
    return confidence_of(reference, bank.positives).as_dict()


def _does_not_grow(made: Saved, item: ArrayLike) -> str:
    """Why items cannot be added later, found by adding one."""
    name = "new"
    while name in (made.gallery_ids or ()):
        name += "'"
    try:
        add_items(made, [name], as_matrix(item, "gallery", keep_half=True).cpu())
    except RerankError as error:
        return f"items cannot be added to this model later: {error}"
    return ""


def _check_servable(method: str) -> None:
    for card in cards_of(method):
        if "all queries" in card.facts.needs:
            raise RerankError(
                f"method {card.name!r} needs all queries at once and cannot serve unseen ones; "
                f"use `rerank apply`, or fit a method that `rerank methods` lists without "
                f"'all queries'"
            )


def _settings_of(stage: Reranker) -> dict[str, Any]:
    assert is_dataclass(stage) and not isinstance(stage, type)
    return {"method": name_of(stage), "settings": asdict(stage)}


def _on(x: ArrayLike | None, device: str | torch.device | None) -> Any:  # noqa: ANN401
    if x is None or device is None:
        return x
    return as_matrix(x, "embeddings", keep_half=True).to(device)
