"""`rerank search`: rank a gallery, or what was exported of it, for queries that are new to it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from rerank import io
from rerank.core import nouns
from rerank.core.errors import RerankError
from rerank.io import DirectionResult
from rerank.io.files import printable
from rerank.methods.directions import Name
from rerank.methods.fusion import Blocks
from rerank.methods.saved import Saved
from rerank.serving.exporting import check_index, open_export, search_export
from rerank.serving.matching import align, check_queries, check_served, label_of
from rerank.serving.model import Model, load
from rerank.serving.searcher import Searcher
from rerank.serving.sidecar import Exported
from rerank.serving.trained import each_through, heads_of
from rerank.serving.watch import look_at
from rerank.tasks.answer import Answer
from rerank.tasks.gallery import look_at_side, read_gallery, read_queries, sides
from rerank.tasks.read import check_said

# Results per query where nobody asks for a number and there are as many items.
_USUAL_K = 10


def search_files(
    *,
    model: Path | None,
    videos: Sequence[Path] = (),
    texts: Sequence[Path] = (),
    index: Path | None = None,
    table: str | None = None,
    url: str | None = None,
    effort: int | None = None,
    k: int | None = None,
    out: Path | None = None,
    confidence: bool = False,
    threshold: float | None = None,
    reading: io.Reading | None = None,
    force: bool = False,
) -> Answer:
    """Rank a gallery for queries that the model has never seen.

    Raises:
        RerankError: a model, gallery, index and queries that do not belong together.
    """
    said = reading or io.Reading()
    io.check_outputs(
        {"--out": out}, (*videos, *texts, model, index, said.text_ids, said.video_ids),
        force=force, kind=kind_of_results(out),
    )  # fmt: skip
    io.check_place(out)
    held = None if model is None else load(model)
    fitted = None if held is None else held.saved
    if fitted is not None:
        check_served(fitted)
    settings = None if held is None else held.confidence
    _check_wanted(
        has_model=fitted is not None, has_index=index is not None,
        sure=confidence or threshold is not None, can_be_sure=settings is not None,
        of_index={"--table": table, "--url": url, "--effort": effort},
    )  # fmt: skip
    exported = None if index is None else _opened(index, fitted, table=table, url=url)
    rows: Tensor | None = None
    metric = exported.folding.metric if fitted is None else fitted.manifest["metric"]  # type: ignore[union-attr]
    direction: Name = (exported.manifest if fitted is None else fitted.manifest)["direction"]  # type: ignore[union-attr]
    gallery, queries, words = sides(direction, videos, texts)
    if index is not None and gallery:
        raise RerankError(f"give the gallery (--{words[0]}) or --index, one of them")
    if index is None and not gallery and (held is None or held.gallery is None):
        raise RerankError(
            f"give the gallery (--{words[0]}) or --index, one of them; only a model of `rerank fit "
            f"--keep-gallery` searches without"
        )
    check_said(said, {"videos": videos, "texts": texts})
    about = held.saved.manifest if held is not None else exported.manifest  # type: ignore[union-attr]
    blocks = Blocks.from_dict(about["blocks"]) if "blocks" in about else None
    asked = read_queries(queries, words[1], metric, said, blocks)
    searched = exported.ids if exported is not None else fitted.gallery_ids  # type: ignore[union-attr]
    look_at_side(asked, words[1], gallery, searched)
    x = each_through(heads_of(fitted), asked.vectors, words[1])
    warnings = []
    label = str(exported.manifest["label"]) if exported is not None else "none"
    if fitted is not None:
        check_queries(fitted, x)
        label, caution = label_of(fitted, x)
        warnings = [note for note in (caution, look_at(fitted, x)) if note]
    if k is None:
        k = min(_USUAL_K, len(searched or ()))
    if exported is not None:
        assert index is not None
        exported, found = search_export(index, x, k, table=table, url=url, effort=effort)
        ids = exported.ids
    else:
        assert fitted is not None and fitted.gallery_ids is not None
        ids = fitted.gallery_ids
        rows = None if held is None else held.gallery
        if gallery or rows is None:
            rows = align(fitted, *read_gallery(fitted, gallery, metric, said, asked))
        found = Searcher.of_aligned(fitted, rows).search(x, k)
    sure, facts = {}, {}
    if settings is not None and (confidence or threshold is not None):
        assert fitted is not None and rows is not None
        sure = vars(Model(fitted, rows).sure(asked.vectors))
        cut = None if threshold is None else settings.cut(threshold)
        facts = {direction: {**settings.as_dict(), "threshold": threshold, "cut": cut}}
    result = DirectionResult(
        asked.ids, ids, found.indices.numpy(), found.scores.numpy(), None, label, **sure
    )
    return _answer(result, direction, k, out, warnings, facts)


def _check_wanted(
    *, has_model: bool, has_index: bool, sure: bool, can_be_sure: bool,
    of_index: Mapping[str, object],
) -> None:  # fmt: skip
    """Refuse options that contradict each other."""
    if not has_model and not has_index:
        raise RerankError("--model is missing; only --index can be searched without one")
    if sure and (has_index or not can_be_sure):
        raise RerankError(
            "--confidence needs --model with a gallery, fitted with it: rerank fit --confidence"
        )
    alone = next((name for name, value in of_index.items() if value is not None), None)
    if not has_index and alone is not None:
        raise RerankError(f"{alone} belongs to --index; leave it out, or give the export")


def _opened(index: Path, fitted: Saved | None, *, table: str | None, url: str | None) -> Exported:
    """An export, of the model if there is one."""
    exported, _ = open_export(index, table=table, url=url)
    if fitted is not None:
        check_index(fitted, exported)
    elif exported.manifest["trained"]:
        raise RerankError("--model is missing: queries of this index pass its trained head")
    return exported


def _answer(
    result: DirectionResult, direction: Name, k: int, out: Path | None, warnings: Sequence[str],
    confidence: Mapping[str, Any],
) -> Answer:  # fmt: skip
    """What was found, written to `out` or told."""
    count, (asked, searched) = len(result.query_ids), nouns.of(direction)
    manifest: dict[str, Any] = {
        "direction": direction, "label": result.label, "k": k, "queries": count,
        **({"confidence": confidence} if confidence else {}),
    }  # fmt: skip
    lines = []
    if out is None:
        manifest["results"] = _named(result, confidence.get(direction, {}).get("cut"))
        lines = [_line(entry) for entry in manifest["results"]]
    else:
        _write_results(out, direction, result, manifest)
        manifest["out"] = str(out)
        what = f"{nouns.counted(count, asked)} x {nouns.counted(k, searched)}"
        lines = [f"{what}, label {result.label}; written: {out}"]
    return Answer(manifest, "\n".join(lines), tuple(warnings))


def kind_of_results(out: Path | None) -> str:
    """What lies at `out` after a search."""
    hdf5 = out is not None and out.suffix.lower() in (".h5", ".hdf5")
    return io.RESULTS_SCHEMA if hdf5 else "rankings"


def _write_results(
    out: Path, direction: Name, result: DirectionResult, manifest: Mapping[str, Any]
) -> None:
    if kind_of_results(out) == io.RESULTS_SCHEMA:
        io.write_results(out, directions={direction: result}, manifest=manifest)
    else:
        io.write_topk(out, {direction: result})


def _line(entry: Mapping[str, Any]) -> str:
    """One query and what was found for it."""
    sure = f"{entry['confidence']:.2f}\t" if "confidence" in entry else ""
    items = "  ".join(f"{printable(item['id'])} {item['score']:.4f}" for item in entry["items"])
    unsure = "no answer at this threshold; nearest: " if entry.get("answered") is False else ""
    return f"{printable(entry['query'])}\t{sure}{unsure}{items}"


def _named(result: DirectionResult, cut: float | None) -> list[dict[str, Any]]:
    """Every query with its items, and how sure the first is where that was asked for."""
    out = []
    for i, query in enumerate(result.query_ids):
        places, scores = result.indices[i].tolist(), result.scores[i].tolist()
        entry: dict[str, Any] = {
            "query": query,
            "items": [
                {"id": result.gallery_ids[j], "score": s}
                for j, s in zip(places, scores, strict=True)
            ],
        }
        if result.confidence is not None and result.no_match is not None:
            entry["confidence"] = float(result.confidence[i])
            entry["no_match"] = float(result.no_match[i])
            if cut is not None:
                entry["answered"] = bool(result.confidence[i] >= cut)
        out.append(entry)
    return out
