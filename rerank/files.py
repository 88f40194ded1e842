"""`rerank apply` on files: read, re-rank, write, and say what happened."""

import json
import os
import platform
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import rerank
from rerank import api, io
from rerank.api import Outcome, Reranked
from rerank.directions import transpose_positives
from rerank.errors import FormatError, RerankError
from rerank.hubness import Hubness
from rerank.io import DirectionResult, Embeddings, ScoreMatrix
from rerank.methods.em import Basis
from rerank.methods.sinkhorn import Potentials

SCHEMA = "rerank-results/1"


@dataclass(frozen=True, eq=False)
class Report:
    """What `apply_files` did.

    Attributes:
        manifest: everything that the result file says about itself.
        text: the same for a person.
        warnings: what to look at, one sentence each.
    """

    manifest: dict[str, Any]
    text: str
    warnings: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Inputs:
    """The files of one run, read and checked."""

    texts: Embeddings | None = None
    videos: Embeddings | None = None
    scores: ScoreMatrix | None = None
    bank_texts: Embeddings | None = None
    bank_videos: Embeddings | None = None
    bank_positives: tuple[np.ndarray, ...] | None = None
    bank_gt: Path | None = None

    @property
    def text_ids(self) -> tuple[str, ...]:
        """Ids of the rows."""
        return self.scores.query_ids if self.scores is not None else _given(self.texts).ids

    @property
    def video_ids(self) -> tuple[str, ...]:
        """Ids of the columns."""
        return self.scores.gallery_ids if self.scores is not None else _given(self.videos).ids


def _given(embeddings: Embeddings | None) -> Embeddings:
    if embeddings is None:
        raise RerankError("give --videos and --texts, or --sims")
    return embeddings


def parse_tau(text: str | None) -> float | str | None:
    """A temperature as typed: a positive number or "auto".

    Raises:
        RerankError: anything else.
    """
    if text is None or text == "auto":
        return text
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not (value > 0 and value != float("inf")):
        raise RerankError(f"--tau: got {text!r}, expected a positive number or 'auto'")
    return value


def read_settings(path: Path) -> dict[str, Any]:
    """Settings as `rerank tune` writes them: a JSON object of method and stage fields.

    Raises:
        FormatError: not a file, not a JSON object.
    """
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise FormatError(f"{path}: not readable as JSON settings ({error})") from error
    if not isinstance(settings, dict):
        raise FormatError(f"{path}: got a JSON {type(settings).__name__}, expected an object")
    return {key: value for key, value in settings.items() if not key.startswith("_")}


def pick_device(name: str) -> torch.device:
    """The device that a name stands for; "auto" takes a GPU where there is one.

    Raises:
        RerankError: "cuda" without CUDA.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise RerankError("--device cuda: no CUDA device is available; use --device cpu or auto")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def read_inputs(
    *,
    videos: Path | None = None,
    texts: Path | None = None,
    sims: Path | None = None,
    bank_texts: Path | None = None,
    bank_videos: Path | None = None,
    bank_gt: Path | None = None,
    metric: str = "cosine",
    pool: str | None = None,
) -> Inputs:
    """Read and check the files of a run.

    Raises:
        RerankError: a combination that makes no sense; FormatError: a file that is not usable.
    """
    if sims is not None:
        if any(path is not None for path in (videos, texts, bank_texts, bank_videos, bank_gt)):
            raise RerankError("--sims stands alone: leave out --videos, --texts and the banks")
        return Inputs(scores=io.read_scores(sims))
    if videos is None or texts is None:
        missing = "--texts" if videos is not None else "--videos"
        raise RerankError(f"{missing} is missing: give --videos and --texts, or --sims")

    def read(path: Path | None) -> Embeddings | None:
        return None if path is None else io.read_embeddings(path, metric=metric, pool=pool)

    found = Inputs(
        texts=read(texts), videos=read(videos), bank_texts=read(bank_texts),
        bank_videos=read(bank_videos), bank_gt=bank_gt,
    )  # fmt: skip
    reference = _given(found.videos)
    for other in (found.texts, found.bank_texts, found.bank_videos):
        if other is not None and other.vectors.shape[1] != reference.vectors.shape[1]:
            raise FormatError(
                f"{other.source}: embeddings have d = {other.vectors.shape[1]} but "
                f"{reference.source} has d = {reference.vectors.shape[1]}; "
                f"both must come from the same model"
            )
    if bank_gt is None:
        return found
    if found.bank_texts is None or found.bank_videos is None:
        raise RerankError("--bank-gt needs --bank-texts and --bank-videos, which it refers to")
    truth = io.read_ground_truth(bank_gt, found.bank_texts.ids, found.bank_videos.ids)
    return replace(found, bank_positives=tuple(truth.positives))


def rerank_inputs(
    inputs: Inputs, *, metric: str, k: int, scores_are: str, gate: bool, device: torch.device,
    settings: Mapping[str, Any],
) -> tuple[Reranked, list[str]]:  # fmt: skip
    """`api.apply` on what was read; also returns what Python would have warned about."""

    def vectors(embeddings: Embeddings | None) -> np.ndarray | None:
        return None if embeddings is None else embeddings.vectors

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = api.apply(
            vectors(inputs.texts),
            vectors(inputs.videos),
            scores=None if inputs.scores is None else inputs.scores.scores,
            bank_texts=vectors(inputs.bank_texts),
            bank_videos=vectors(inputs.bank_videos),
            bank_positives=inputs.bank_positives,
            metric=metric,  # type: ignore[arg-type]
            k=k,
            scores_are=scores_are,  # type: ignore[arg-type]
            gate=gate,
            device=device,
            **settings,
        )
    return result, [str(item.message) for item in caught if item.category is UserWarning]


def apply_files(
    *,
    videos: Path | None = None,
    texts: Path | None = None,
    sims: Path | None = None,
    bank_texts: Path | None = None,
    bank_videos: Path | None = None,
    bank_gt: Path | None = None,
    metric: str = "cosine",
    k: int = 10,
    scores_are: str = "auto",
    gate: bool = True,
    out: Path = Path("reranked.h5"),
    store_scores: bool = False,
    device: str = "auto",
    pool: str | None = None,
    memory: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Report:
    """Read, re-rank both directions, write `out`, and report.

    Raises:
        RerankError: input, settings or paths that do not work; nothing is written then.
    """
    settings = dict(settings or {})
    target = pick_device(device)
    inputs = read_inputs(
        videos=videos, texts=texts, sims=sims, bank_texts=bank_texts, bank_videos=bank_videos,
        bank_gt=bank_gt, metric=metric, pool=pool,
    )  # fmt: skip
    result, warned = rerank_inputs(
        inputs, metric=metric, k=k, scores_are=scores_are, gate=gate, device=target,
        settings=settings,
    )  # fmt: skip
    em_map = _em_map(result)
    manifest = _manifest(
        inputs, result, em_map, folder=out.resolve().parent,
        settings={
            "method": result.method, "metric": None if sims else metric, "k": k,
            "scores_are": scores_are, "gate": gate, "device": target.type, "pool": pool,
            **{key: value for key, value in settings.items() if key != "method"},
        },
    )  # fmt: skip
    io.write_results(
        out,
        directions={
            "t2v": _direction_result(result.t2v, inputs.text_ids, inputs.video_ids),
            "v2t": _direction_result(result.v2t, inputs.video_ids, inputs.text_ids),
        },
        manifest=manifest,
        em_map=em_map,
        scores=result.scores().cpu().numpy() if store_scores else None,
    )
    notes = [*warned]
    for outcome in (result.t2v, result.v2t):
        notes += [f"{outcome.direction.name}: {note}" for note in outcome.notes]
    return Report(manifest, _text(inputs, result, out, k, store_scores), tuple(_unique(notes)))


def _unique(notes: list[str]) -> list[str]:
    """Say once what holds for both directions."""
    bodies = [note.split(": ", 1)[-1] if note[:4] in ("t2v:", "v2t:") else note for note in notes]
    out: list[str] = []
    for note, body in zip(notes, bodies, strict=True):
        text = body if bodies.count(body) > 1 else note
        if text not in out:
            out.append(text)
    return out


def _direction_result(
    outcome: Outcome, query_ids: tuple[str, ...], gallery_ids: tuple[str, ...]
) -> DirectionResult:
    bias = None
    if outcome.fitted is None:
        bias = np.zeros(len(gallery_ids), dtype=np.float32)
    elif outcome.fitted.foldable:
        found = outcome.fitted.gallery_bias
        bias = np.zeros(len(gallery_ids)) if found is None else found.cpu().numpy()
    return DirectionResult(
        query_ids=query_ids,
        gallery_ids=gallery_ids,
        indices=outcome.topk.indices.cpu().numpy(),
        scores=outcome.topk.scores.cpu().numpy(),
        gallery_bias=bias,
        label=outcome.label,
    )


def _em_map(result: Reranked) -> np.ndarray | None:
    """The linear map, of the first direction that has one (both share it, but for the gate)."""
    maps = (_map_of(outcome) for outcome in (result.t2v, result.v2t))
    return next((matrix for matrix in maps if matrix is not None), None)


def _map_of(outcome: Outcome) -> np.ndarray | None:
    found = None if outcome.fitted is None else outcome.fitted.map
    return None if found is None else found.cpu().numpy()


def _stored(outcome: Outcome, em_map: np.ndarray | None) -> bool:
    """Whether the file's bias and map are all that this direction's rewriting consists of."""
    if outcome.fitted is None:
        return True
    own = _map_of(outcome)
    return outcome.fitted.foldable and (own is None or np.array_equal(own, em_map))


def _manifest(
    inputs: Inputs,
    result: Reranked,
    em_map: np.ndarray | None,
    *,
    folder: Path,
    settings: dict[str, Any],
) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "label": result.label,
        "labels": {"t2v": result.t2v.label, "v2t": result.v2t.label},
        "inputs": describe_inputs(inputs, folder=folder),
        "settings": settings,
        "fits": {
            o.direction.name: describe_fit(o)
            | {"stored": _stored(o, em_map), "mapped": _map_of(o) is not None}
            for o in (result.t2v, result.v2t)
        },
        "versions": {
            "rerank": rerank.__version__,
            "python": platform.python_version(),
            "torch": str(torch.__version__),
            "numpy": np.__version__,
        },
    }


def describe_inputs(inputs: Inputs, *, folder: Path) -> dict[str, Any]:
    """Path (relative to the result file), content hash and size of every input."""
    described: dict[str, Any] = {}
    for role in ("texts", "videos", "bank_texts", "bank_videos"):
        embeddings: Embeddings | None = getattr(inputs, role)
        if embeddings is not None:
            described[role] = {
                "path": os.path.relpath(embeddings.source, folder),
                "sha256": embeddings.content_sha256,
                "count": len(embeddings.ids),
                "dim": int(embeddings.vectors.shape[1]),
            }
    if inputs.scores is not None:
        described["sims"] = {
            "path": os.path.relpath(inputs.scores.source, folder),
            "sha256": inputs.scores.content_sha256,
            "count": list(inputs.scores.scores.shape),
        }
    if inputs.bank_gt is not None:
        described["bank_gt"] = {"path": os.path.relpath(inputs.bank_gt, folder)}
    return described


def _antihub_share(found: Hubness) -> float:
    return len(found.antihubs) / len(found.counts)


def describe_fit(outcome: Outcome) -> dict[str, Any]:
    """The figures of a fit and of its hubness, for the manifest."""
    facts: dict[str, Any] = {
        "hub_skewness_before": round(outcome.before.skewness, 4),
        "hub_skewness_after": round(outcome.after.skewness, 4),
        "antihubs_before": round(_antihub_share(outcome.before), 4),
        "antihubs_after": round(_antihub_share(outcome.after), 4),
        "notes": list(outcome.notes),
    }
    for stage in () if outcome.fitted is None else outcome.fitted.stages:
        if isinstance(stage, Potentials):
            facts |= {"tau": stage.tau, "iterations": stage.n_iters, "marginal_error": stage.error}
        elif isinstance(stage, Basis):
            facts |= {"em_shift": stage.shift}
    return facts


def _text(inputs: Inputs, result: Reranked, out: Path, k: int, store_scores: bool) -> str:
    lines: list[str] = []
    for role, unit in (
        ("texts", "texts"), ("videos", "videos"),
        ("bank_texts", "bank texts"), ("bank_videos", "bank videos"),
    ):  # fmt: skip
        embeddings: Embeddings | None = getattr(inputs, role)
        if embeddings is not None:
            low, mean, high = embeddings.norms
            lines.append(
                f"read  {Path(embeddings.source).name}: {len(embeddings.ids)} {unit}, "
                f"d = {embeddings.vectors.shape[1]}, norms {low:.3g} to {high:.3g} "
                f"(mean {mean:.3g})"
            )
    if inputs.scores is not None:
        n, m = inputs.scores.scores.shape
        lines.append(f"read  {Path(inputs.scores.source).name}: {n} texts x {m} videos")
    shifts = [
        stage.shift
        for o in (result.t2v, result.v2t)
        for stage in (o.fitted.stages if o.fitted is not None else ())
        if isinstance(stage, Basis)
    ]
    moved = f"; EM moved the embeddings by {shifts[0]:.1%} of their norm" if shifts else ""
    lines += ["", f"method  {result.method}{moved}", ""]
    header = ["", "label", "tau", "steps", "marginal error", "hub skewness", "antihubs"]
    rows = [_row(outcome) for outcome in (result.t2v, result.v2t)]
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    for row in (header, *rows):
        lines.append("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip())
    stored = " and the rewritten matrix" if store_scores else ""
    lines += [
        "",
        f"wrote {out}: top {k} of both directions{stored}",
        f"next  rerank eval --gt gt.json{'' if out.name == 'reranked.h5' else f' --results {out}'}",
    ]
    return "\n".join(lines)


def _row(outcome: Outcome) -> list[str]:
    facts = describe_fit(outcome)
    before, after = outcome.before, outcome.after
    return [
        outcome.direction.name,
        outcome.label,
        f"{facts['tau']:.4g}" if facts.get("tau", 0) > 0 else "-",
        str(facts.get("iterations", "-")),
        f"{facts['marginal_error']:.1e}" if facts.get("tau", 0) > 0 else "-",
        f"{before.skewness:.2f} -> {after.skewness:.2f}",
        f"{_antihub_share(before):.1%} -> {_antihub_share(after):.1%}",
    ]


def positives_of(truth: io.GroundTruth, n_videos: int) -> tuple[tuple[np.ndarray, ...], ...]:
    """Positives of both directions: per text, and per video."""
    texts = tuple(truth.positives)
    return texts, transpose_positives(texts, n_videos)
