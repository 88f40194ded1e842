"""`rerank fit` and `rerank search` on files: read, one call, write, say what happened.

A gallery is videos for "t2v" and texts for "v2t"; queries are the other. Heads that `rerank train`
learned travel inside the model file and are applied to everything that is read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rerank import io
from rerank.core.errors import FormatError, RerankError
from rerank.core.pairs import Name, transpose_positives
from rerank.core.rows import StoredRows
from rerank.core.similarity import Pair
from rerank.io import DirectionResult
from rerank.methods.saved import Model, read_model
from rerank.methods.sinkhorn import Potentials
from rerank.passes import reduce
from rerank.passes.reduce import TopK
from rerank.serving.exporting import Exported, check_index, open_index, search_index
from rerank.serving.model import align, check_served, fit_model, label_of, with_manifest
from rerank.serving.online import grown, start, stream
from rerank.serving.searcher import Searcher
from rerank.tasks.read import (
    HEADS,
    Said,
    bytes_of,
    each_through,
    gallery_of,
    heads_of,
    load_heads_from,
    one_file,
    pick_device,
    read,
    sides,
    through,
    write_model,
)


def fit_files(
    out: Path,
    *,
    videos: Path | None,
    texts: Path | None,
    bank_texts: Path | None,
    bank_videos: Path | None,
    bank_gt: Path | None = None,
    direction: Name = "t2v",
    trained: Path | None = None,
    metric: str = "cosine",
    settings: Mapping[str, Any] | None = None,
    keep_bank: bool = False,
    gate: bool = True,
    device: str = "auto",
    pool: str | None = None,
) -> Said:
    """Fit a model of one gallery and write it.

    Raises:
        RerankError: files that are missing or do not fit together; nothing is written then.
    """
    gallery_path, bank_path, other_path = (
        (videos, bank_texts, bank_videos)
        if direction == "t2v"
        else (texts, bank_videos, bank_texts)
    )
    words = ("videos", "texts") if direction == "t2v" else ("texts", "videos")
    if gallery_path is None:
        raise RerankError(f"--{words[0]} is missing: {direction} searches {words[0]}")
    if bank_path is None:
        raise RerankError(
            f"--bank-{words[1]} is missing: unseen queries are served by biases from a bank of "
            f"other {words[1]}; to re-rank known queries use `rerank apply`"
        )
    target = pick_device(device)
    gallery, bank = (read(path, metric, pool) for path in (gallery_path, bank_path))
    other = None if other_path is None else read(other_path, metric, pool)
    if trained is None:
        d = gallery.vectors.shape[1]
        for side in (bank, other):
            if side is not None and side.vectors.shape[1] != d:
                raise FormatError(
                    f"{side.source}: embeddings have d = {side.vectors.shape[1]} but "
                    f"{gallery.source} has d = {d}; both must come from the same model"
                )
    positives = None
    if bank_gt is not None:
        if other is None:
            raise RerankError("--bank-gt needs --bank-texts and --bank-videos, which it refers to")
        pair = (bank, other) if direction == "t2v" else (other, bank)
        positives = tuple(io.read_ground_truth(bank_gt, pair[0].ids, pair[1].ids).positives)
        if direction == "v2t":
            positives = transpose_positives(positives, len(bank))
    data = None if trained is None else bytes_of(trained)
    heads = None if data is None else load_heads_from(data)
    model = fit_model(
        gallery.ids,
        through(heads, gallery.vectors, words[0]),
        through(heads, bank.vectors, words[1]),
        bank_gallery=None if other is None else through(heads, other.vectors, words[0]),
        bank_positives=positives,
        direction=direction,
        metric=metric,  # type: ignore[arg-type]
        keep_bank=keep_bank,
        gate=gate,
        device=target,
        **dict(settings or {}),
    )
    if data is not None:
        kept = {**model.kept, HEADS: torch.from_numpy(np.frombuffer(data, np.uint8).copy())}
        model = with_manifest(replace(model, kept=kept), trained=True)
    write_model(out, model)
    count, d = len(gallery), model.manifest["gallery"]["dimension"]
    double = heads is None and np.float64 in (gallery.vectors.dtype, bank.vectors.dtype)
    swept = any(
        isinstance(stage, Potentials) and stage.tau > 0 and not stage.sparse
        for stage in model.fitted.stages
    )
    lines = [
        f"gallery: {count} {words[0]}, d = {d}; bank: {len(bank)} {words[1]}"
        + ("" if other is None else f" and {len(other)} {words[0]}"),
        f"{direction}: {model.manifest['method']}, label {model.fitted.label}{_numbers(model)}",
        *([f"sweeps: {_regime(len(bank), count, d, target, double=double)}"] if swept else []),
        f"written: {out}" + (" (with its bank, so that the gallery can grow)" if keep_bank else ""),
    ]
    warnings = [*model.manifest["notes"]]
    if gate and bank_gt is None:
        warnings.append("the gate is off: without --bank-gt nothing judges whether the bank helps")
    return Said({**model.manifest, "out": str(out)}, "\n".join(lines), tuple(warnings))


def _regime(n: int, m: int, d: int, device: torch.device, *, double: bool) -> str:
    """How sweeps of so many queries and items are done, without any of their numbers."""
    one = torch.ones((1, 1), dtype=torch.float64 if double else torch.float32, device=device)
    sides = [one.expand(n, d), one.expand(m, d)]
    if device.type == "cpu" and not double:
        sides = [StoredRows(side) for side in sides]  # not looked through, however many
    return reduce.regime(Pair(*sides, metric="dot"))


def _numbers(model: Model) -> str:
    parts = []
    for stage in model.fitted.stages:
        for name, word in (("tau", "tau"), ("n_iters", "iterations"), ("error", "marginal error")):
            value = getattr(stage, name, None)
            if value is not None:
                parts.append(f"{word} {value:.4g}")
    return "".join(f", {part}" for part in parts)


def search_files(
    *,
    model: Path | None,
    videos: Sequence[Path] = (),
    texts: Sequence[Path] = (),
    index: Path | None = None,
    k: int = 10,
    out: Path | None = None,
    online: bool = False,
    weight: float = 1.0,
    decay: float = 1.0,
    save_model: Path | None = None,
    pool: str | None = None,
) -> Said:
    """Rank a gallery for queries that the model has never seen.

    Raises:
        RerankError: a model, gallery, index and queries that do not belong together.
    """
    fitted = None if model is None else read_model(model)
    if fitted is not None:
        check_served(fitted)
    if fitted is None and index is None:
        raise RerankError("--model is missing; only --index can be searched without one")
    if online and (fitted is None or index is not None):
        raise RerankError("--online needs --model and the gallery: an index cannot learn")
    if save_model is not None and not online:
        raise RerankError("--save-model keeps what --online learned; give both, or neither")
    exported: Exported | None = None
    faiss_index: Any = None
    if index is not None:
        exported, faiss_index = open_index(index)
        if fitted is not None:
            check_index(fitted, exported)
        elif exported.manifest["trained"]:
            raise RerankError("--model is missing: queries of this index pass its trained head")
    metric = exported.folding.metric if fitted is None else fitted.manifest["metric"]  # type: ignore[union-attr]
    direction: Name = (exported.manifest if fitted is None else fitted.manifest)["direction"]  # type: ignore[union-attr]
    gallery, queries, words = sides(direction, videos, texts)
    if (index is None) == (len(gallery) == 0):
        raise RerankError(f"give the gallery (--{words[0]}) or --index, one of them")
    asked = read(one_file(queries, words[1]), metric, pool)
    x = each_through(heads_of(fitted), asked.vectors, words[1])
    warnings = []
    label = str(exported.manifest["label"]) if exported is not None else "none"
    if fitted is not None:
        label, said = label_of(fitted, x)
        warnings = [said] if said else []
    if exported is not None:
        ids, found = exported.ids, search_index(exported, faiss_index, x, k)
    else:
        assert fitted is not None and fitted.gallery_ids is not None
        items = gallery_of(fitted, gallery, metric, pool)
        ids = fitted.gallery_ids
        if online:
            rows = align(fitted, *items)
            state = start(fitted, weight=weight, decay=decay)
            found, state = stream(fitted, rows, x, k, state=state)
            after = grown(fitted, state)
            label = "transductive" if label == "transductive" else after.fitted.label
            if save_model is not None:
                write_model(save_model, after)
        else:
            found = Searcher.of(fitted, *items).search(x, k)
    result = DirectionResult(
        asked.ids, ids, found.indices.numpy(), found.scores.numpy(), None, label
    )
    manifest = {"direction": direction, "label": label, "k": k, "queries": len(asked)}
    lines = []
    if out is None:
        manifest["results"] = _named(asked.ids, ids, found)
        lines = [
            f"{entry['query']}\t" + "  ".join(f"{i['id']} {i['score']:.4f}" for i in entry["items"])
            for entry in manifest["results"]
        ]
    else:
        _write_results(out, direction, result, manifest)
        manifest["out"] = str(out)
        lines = [f"{len(asked)} {words[1]} x {k} {words[0]}, label {label}; written: {out}"]
    return Said(manifest, "\n".join(lines), tuple(warnings))


def _write_results(
    out: Path, direction: Name, result: DirectionResult, manifest: Mapping[str, Any]
) -> None:
    if out.suffix.lower() in (".h5", ".hdf5"):
        io.write_results(out, directions={direction: result}, manifest=manifest)
    else:
        io.write_topk(out, {direction: result})


def _named(queries: Sequence[str], ids: Sequence[str], found: TopK) -> list[dict[str, Any]]:
    return [
        {"query": query, "items": [{"id": ids[j], "score": s} for j, s in zip(js, ss, strict=True)]}
        for query, js, ss in zip(
            queries, found.indices.tolist(), found.scores.tolist(), strict=True
        )
    ]
