"""`rerank export`: a fitted gallery as vectors for a store, searched and measured."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rerank import io
from rerank.core.errors import RerankError
from rerank.core.nouns import counted
from rerank.core.torch_state import usual_state
from rerank.io.outputs import check_ending
from rerank.serving import exporting
from rerank.serving.matching import align, check_served
from rerank.serving.model import Model, load
from rerank.serving.sidecar import Exported, holds_export, side_car
from rerank.serving.snippets import command, snippet_path, snippet_text
from rerank.serving.stores.registry import make_store
from rerank.serving.trained import HEADS
from rerank.tasks.answer import Answer
from rerank.tasks.gallery import look_at_side, read_gallery, read_queries, sides
from rerank.tasks.read import check_said


def parse_options(given: Sequence[str]) -> dict[str, Any]:
    """`NAME=VALUE` as settings; a value that is JSON is read as such.

    Raises:
        RerankError: no "=".
    """
    found: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise RerankError(f"--option: got {text!r}, expected NAME=VALUE")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


@usual_state()
def export(
    model: Model | str | Path,
    out: str | Path,
    *,
    to: str = "faiss",
    gallery: Any = None,  # noqa: ANN401  embeddings in any form
    queries: Any = None,  # noqa: ANN401
    recall: float | None = None,
    **options: Any,  # noqa: ANN401  of `rerank.serving.exporting.export`
) -> Exported:
    """A fitted gallery as plain vectors in a store, searched and measured.

    Beside `out` go ids and map (`out.npz`) and a script that queries it (`out.query.py`).

    Args:
        model: a `Model`, or a file that `Model.save` or `rerank fit` wrote.
        out: the file or folder to write.
        to: a name of a store, such as "faiss", "npy" or "qdrant".
        gallery: the embeddings that the model was fitted on, where it does not hold them.
        queries: embeddings to measure the searches with.
        recall: overlap with the exact top 10 that is wanted of an approximate index.
        **options: query_side, centre, effort, replace, force; settings of the store: index="hnsw".

    Returns:
        What lies beside the export; `.manifest["recall"]` is what was measured.

    Raises:
        RerankError: a method that does not fold, another gallery, a library that is missing.

    >>> import numpy as np, tempfile
    >>> from rerank.tasks.fit import fit
    >>> rng = np.random.default_rng(0)
    >>> model = fit(rng.normal(size=(30, 8)), bank_texts=rng.normal(size=(40, 8)), tau=0.1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     export(model, Path(folder) / "videos.npy", to="npy")
    Exported(30 items to npy, found 1.0000 of the exact top 10, label inductive)
    """
    if isinstance(out, Model):
        raise RerankError("export: got a Model as the place to write: rerank.export(model, out)")
    held = model if isinstance(model, Model) else load(model)
    held = held if gallery is None else held.with_gallery(gallery)
    if recall is not None:
        options["recall"] = recall
    return held.export(to, out, queries=queries, **options)


def export_files(
    model: Path,
    *,
    out: Path,
    videos: Sequence[Path] = (),
    texts: Sequence[Path] = (),
    to: str = "faiss",
    query_side: str = "mapped",
    centre: bool | None = None,
    recall: float | None = None,
    effort: int | None = None,
    replace: bool = False,
    settings: Mapping[str, Any] | None = None,
    reading: io.Reading | None = None,
    force: bool = False,
) -> Answer:
    """Write folded vectors for a store, and measure what a search finds.

    Raises:
        RerankError: as `rerank.serving.exporting.export`.
    """
    if recall is not None and effort is not None:
        raise RerankError("--recall raises the effort by itself; give it or --effort")
    said = reading or io.Reading()
    store = make_store(to, **dict(settings or {}))
    table = exporting.table_of(store)
    inputs = (model, *videos, *texts, said.text_ids, said.video_ids)
    _check_places(out, table, inputs, force=force)
    check_ending(out, f"--out {out}", to)
    held = load(model)
    fitted = held.saved
    check_served(fitted)
    metric = fitted.manifest["metric"]
    gallery, queries, words = sides(fitted.manifest["direction"], videos, texts)
    check_said(said, {"videos": videos, "texts": texts})
    asked = read_queries(queries, words[1], metric, said) if queries else None
    if gallery or held.gallery is None:
        names, vectors = read_gallery(fitted, gallery, metric, said, asked)
        held = dataclasses.replace(held, gallery=align(fitted, names, vectors))
    elif asked is not None:
        look_at_side(asked, words[1], (), fitted.gallery_ids)
    made = export(
        held, out, to=to, queries=asked, query_side=query_side,
        centre=centre, recall=recall, effort=effort, replace=replace, force=force,
        **dict(settings or {}),
    )  # fmt: skip
    found, reached = made.manifest["recall"], made.manifest["effort"]
    with_effort = ""
    if reached is not None:
        with_effort = f" with {made.manifest['effort_name']} {reached}, stored with the index"
    script = snippet_path(out, table)
    source = found["queries_from"]
    source = f"--{source}" if source in words else f"the {source}"
    lines = [
        f"{counted(len(made.ids), 'items')} to {to}, label {made.manifest['label']}; written: "
        f"{out}, {side_car(out, table).name} and {script.name}",
        f"overlap with the exact top {found['k']}, {counted(found['queries'], 'queries')} from "
        f"{source}: found {found['overlap']:.4f}{with_effort}",
        f"query it: {command(script, found['k'])}",
        "",
        snippet_text(out, made, store),
    ]
    warnings = []
    if found["wanted"] is not None and found["overlap"] < found["wanted"]:
        warnings.append(
            f"this index does not reach --recall {found['wanted']:g}: at its largest "
            f"{made.manifest['effort_name']}, {reached}, it finds {found['overlap']:.4f}; "
            f"--to faiss --index flat is exact"
        )
    if found["queries_from"] == "gallery":
        warnings.append(
            f"measured with gallery items as queries; give --{words[1]} for a figure that counts"
        )
    if HEADS in fitted.kept:
        how = "the script does it" if made.head else "an MLP, in the model only"
        warnings.append(f"queries must pass the trained head before the map: {how}")
    return Answer({**made.manifest, "out": str(out)}, "\n".join(lines), tuple(warnings))


def _check_places(
    out: Path, table: str, inputs: Sequence[Path | None], *, force: bool
) -> None:  # fmt: skip
    """Refuse to write over an input, or over a file that no export is.

    Raises:
        RerankError: one of them.
    """
    beside = side_car(out, table)
    io.check_outputs(
        {"--out": out, "its side-car": beside, "its script": snippet_path(out, table)}, inputs
    )  # fmt: skip
    if out.is_file() and not force and not holds_export(out, table):
        raise RerankError(
            f"--out {out}: is there and is no export with its side-car; choose another name, or "
            "replace it with --force"
        )
    exporting.check_beside(out, table, force=force)
    io.check_place(beside)
