"""`rerank update`: items in and out of a model's gallery without refitting the others."""

from collections.abc import Sequence
from pathlib import Path

import torch

from rerank import io
from rerank.core.errors import RerankError
from rerank.core.nouns import counted
from rerank.core.shell import words as typed_words
from rerank.methods.saved import KIND
from rerank.serving.exporting import check_index, extend, open_export
from rerank.serving.grow import add_items
from rerank.serving.matching import check_served
from rerank.serving.model import Model, load
from rerank.tasks.answer import Answer
from rerank.tasks.gallery import read_gallery, sides
from rerank.tasks.read import check_said, lines_of


def update_files(
    model: Path,
    *,
    videos: Sequence[Path] = (),
    texts: Sequence[Path] = (),
    remove: Path | None = None,
    index: Path | None = None,
    out: Path | None = None,
    reading: io.Reading | None = None,
    force: bool = False,
) -> Answer:
    """Add items to a model's gallery, or take some out, without refitting the others.

    Raises:
        RerankError: a model without its bank, a method whose biases cannot grow, unknown ids.
    """
    said = reading or io.Reading()
    # The model is replaced by the updated one unless another name is given.
    io.check_outputs(
        {"--out": out or model}, (*videos, *texts, remove, index, said.text_ids, said.video_ids),
        force=force, kind=KIND,
    )  # fmt: skip
    io.check_place(out or model)
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
            f"export again: {_export(out or model, index, words[0], held.gallery is None)}"
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
        check_said(said, {words[0]: more})
        ids, vectors = read_gallery(fitted, more, fitted.manifest["metric"], said)
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
        f"gallery: {before} -> {counted(after, 'items')} ({added} added, {len(gone)} removed), "
        f"biases of the others unchanged; written: {out or model}"
    )
    if index is not None:
        text += f" and {index}"
    return Answer(manifest, text)


def _export(model: Path, index: Path, word: str, bare: bool) -> str:
    """The command that writes the index of an updated model anew."""
    gallery = f" --{word} GALLERY" if bare else ""
    places = typed_words(("--model", str(model), "--to", "faiss", "--out", str(index)))
    return f"rerank export {places}{gallery}"
