"""`rerank update`: items in and out of a model's gallery without refitting the others."""

from collections.abc import Sequence
from pathlib import Path

import torch

from rerank.core.errors import RerankError
from rerank.serving.exporting import check_index, extend, open_export
from rerank.serving.grow import add_items
from rerank.serving.matching import check_served
from rerank.serving.model import Model, load
from rerank.tasks.answer import Answer
from rerank.tasks.read import gallery_of, lines_of, sides


def update_files(
    model: Path,
    *,
    videos: Sequence[Path] = (),
    texts: Sequence[Path] = (),
    remove: Path | None = None,
    index: Path | None = None,
    out: Path | None = None,
    pool: str | None = None,
) -> Answer:
    """Add items to a model's gallery, or take some out, without refitting the others.

    Raises:
        RerankError: a model without its bank, a method whose biases cannot grow, unknown ids.
    """
    held = load(model)
    fitted = held.saved
    check_served(fitted)
    more, other, words = sides(fitted.manifest["direction"], videos, texts)
    if other:
        raise RerankError(f"--{words[1]}: the gallery of this model is {words[0]}")
    if not more and remove is None:
        raise RerankError(f"nothing to do: give new items (--{words[0]}) or --remove")
    before = len(fitted.gallery_ids or ())
    if index is not None and remove is not None:
        raise RerankError(
            f"--index: items cannot be taken out of an index in place; update the model, then "
            f"export again: rerank export --model {out or model} --to faiss --out {index}"
        )
    exported = None
    if index is not None:
        exported, _ = open_export(index)
        check_index(fitted, exported)
        if exported.manifest["to"] != "faiss":
            raise RerankError(
                f"--index: a {exported.manifest['to']} export is not extended in place; update "
                f"the model, then export again"
            )
    gone: list[str] = []
    if remove is not None:
        gone = [line.strip() for line in lines_of(remove) if line.strip()]
        held = held.remove(gone)
    added = 0
    if more:
        ids, vectors = gallery_of(fitted, more, fitted.manifest["metric"], pool)
        added = len(ids)
        held = Model(
            add_items(held.saved, ids, vectors),
            None if held.gallery is None else torch.cat([held.gallery, vectors.to(held.gallery)]),
        )
        if exported is not None and index is not None:
            extend(index, exported, held.saved, ids, vectors)
    fitted = held.saved
    held.save(out or model)
    after = len(fitted.gallery_ids or ())
    manifest = {
        "added": added, "removed": len(gone), "gallery": dict(fitted.manifest["gallery"]),
        "out": str(out or model),
    }  # fmt: skip
    text = (
        f"gallery: {before} -> {after} items ({added} added, {len(gone)} removed), biases of the "
        f"others unchanged; written: {out or model}"
    )
    if index is not None:
        text += f" and {index}"
    return Answer(manifest, text)
