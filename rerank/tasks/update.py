"""`rerank update` and `rerank export` on files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from rerank.core.errors import RerankError
from rerank.io.files import replacing
from rerank.methods.saved import Model, read_model
from rerank.serving import exporting
from rerank.serving.exporting import Exported, check_index, open_index
from rerank.serving.grow import add_items, remove_items
from rerank.serving.model import check_served
from rerank.serving.stores import indexes
from rerank.tasks.read import (
    HEADS,
    Said,
    each_through,
    folded_head,
    gallery_of,
    heads_of,
    lines_of,
    one_file,
    read,
    sides,
    through,
    write_model,
)


def update_files(
    model: Path,
    *,
    videos: Sequence[Path] = (),
    texts: Sequence[Path] = (),
    remove: Path | None = None,
    index: Path | None = None,
    out: Path | None = None,
    pool: str | None = None,
) -> Said:
    """Add items to a model's gallery, or take some out, without refitting the others.

    Raises:
        RerankError: a model without its bank, a method whose biases cannot grow, unknown ids.
    """
    fitted = read_model(model)
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
    opened = None
    if index is not None:
        opened = open_index(index)
        check_index(fitted, opened[0])
    gone: list[str] = []
    if remove is not None:
        gone = [line.strip() for line in lines_of(remove) if line.strip()]
        fitted = remove_items(fitted, gone)
    added = 0
    if more:
        ids, vectors = gallery_of(fitted, more, fitted.manifest["metric"], pool)
        added = len(ids)
        fitted = add_items(fitted, ids, vectors)
        if opened is not None and index is not None:
            _extend(index, *opened, fitted, ids, vectors)
    write_model(out or model, fitted)
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
    return Said(manifest, text)


def _extend(
    path: Path,
    exported: Exported,
    index: Any,  # noqa: ANN401  a FAISS index
    model: Model,
    ids: Sequence[str],
    vectors: Tensor,  # noqa: ANN401
) -> None:
    """Add items to a FAISS export in the folding that it was built with."""
    bias = model.fitted.gallery_bias
    rows = exported.folding.gallery(vectors, None if bias is None else bias[-len(ids) :])
    indexes.add_items(index, rows)
    data = indexes.index_bytes(index)
    manifest = {
        **exported.manifest,
        "gallery": dict(model.manifest["gallery"]),
        "fitted": exporting.fitted_hash(model.fitted),
        "hash": exporting.content_hash(data),
    }
    grown_export = Exported((*exported.ids, *ids), exported.folding, manifest, exported.head)
    with replacing(path) as file:
        file.write(data)
    exporting.write_side_car(path, grown_export, vectors.shape[1])


def export_files(
    model: Path,
    *,
    out: Path,
    videos: Sequence[Path] = (),
    texts: Sequence[Path] = (),
    bank_videos: Path | None = None,
    bank_texts: Path | None = None,
    to: str,
    index: str = "flat",
    query_side: str = "mapped",
    space: str = "ip",
    centre: bool | None = None,
    effort: int | None = None,
    url: str | None = None,
    pool: str | None = None,
) -> Said:
    """Write folded vectors for FAISS, a file or a store, and measure what a search finds.

    Raises:
        RerankError: as `rerank.serving.exporting.export`.
    """
    fitted = read_model(model)
    check_served(fitted)
    metric = fitted.manifest["metric"]
    gallery, queries, words = sides(fitted.manifest["direction"], videos, texts)
    banks = {"videos": bank_videos, "texts": bank_texts}
    if banks[words[0]] is not None:
        raise RerankError(f"--bank-{words[0]}: the queries of this model are {words[1]}")
    items = gallery_of(fitted, gallery, metric, pool)
    asked = bank = None
    if queries:
        vectors = read(one_file(queries, words[1]), metric, pool).vectors
        asked = each_through(heads_of(fitted), vectors, words[1])
    if (path := banks[words[1]]) is not None:
        bank = through(heads_of(fitted), read(path, metric, pool).vectors, words[1])
    made = exporting.export(
        fitted, *items, out, to=to, index=index, query_side=query_side, space=space,  # type: ignore[arg-type]
        centre=centre, queries=asked, bank=bank, effort=effort, url=url,
        head=folded_head(heads_of(fitted), words[1]),
    )  # fmt: skip
    recall = made.manifest["recall"]
    figures = ", ".join(
        f"{what} {recall[name]:.4f}"
        for name, what in (
            ("overlap", "found"),
            ("overlap_graph", "by its graph"),
            ("overlap_without_bias", "the same index without the bias"),
        )
        if name in recall
    )
    if "distances" in recall:
        figures += (
            f"; distances per query {recall['distances']:.0f}, without the bias "
            f"{recall['distances_without_bias']:.0f}"
        )
    source = recall["queries_from"]
    asked_of = source if source == "stand-ins" else f"queries from the {source}"
    lines = [
        f"{len(made.ids)} items to {to}, label {made.manifest['label']}; written: {out} and "
        f"{exporting.side_car(out).name}",
        f"overlap with the exact top {recall['k']}, {recall['queries']} {asked_of}: {figures}",
    ]
    warnings = []
    stood_in = {"gallery": "gallery items as queries", "stand-ins": "stand-ins for queries"}
    if recall["queries_from"] in stood_in:
        warnings.append(
            f"measured with {stood_in[recall['queries_from']]}; give --{words[1]} for a figure "
            f"that counts"
        )
    if recall.get("taught_by") == 0 and made.folding.has_bias:
        warnings.append(
            f"the model does not say where queries lie (an earlier version wrote it, or its bank "
            f"is one query), so the index loses recall to the bias; give --bank-{words[1]}, or fit "
            f"again with a larger bank"
        )
    if HEADS in fitted.kept:
        how = "x @ head + head_bias of the side-car" if made.head else "an MLP, in the model only"
        warnings.append(f"queries must pass the trained head before the map: {how}")
    return Said({**made.manifest, "out": str(out)}, "\n".join(lines), tuple(warnings))
