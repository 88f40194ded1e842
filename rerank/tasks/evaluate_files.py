"""`rerank eval` on files: exact ranks before and after, from a result file or from raw input."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rerank import io
from rerank.core.errors import FormatError, RerankError
from rerank.core.pairs import positives_of
from rerank.core.similarity import Dense, Pair, Similarity, as_matrix
from rerank.core.words import NAMES, Name, Ties
from rerank.io import Results
from rerank.io.files import atomic_path
from rerank.io.identify import PAGE
from rerank.methods.base import FittedPipeline, GalleryBias, LinearMap
from rerank.metrics.browse import Browser, lists_of, scores_of
from rerank.metrics.figures import DEFAULT, find_all
from rerank.metrics.hubness import summary
from rerank.metrics.judge import Judgement
from rerank.metrics.page import Queries, before_after, render, verdict
from rerank.tasks import apply as files
from rerank.tasks.judged import Asked, Judged
from rerank.tasks.read import (
    Inputs,
    pick_device,
    read_inputs,
    read_truth,
    reading_from,
)


def judge_raw(
    gt: Path, *, videos: Path | None = None, texts: Path | None = None, sims: Path | None = None,
    metric: str = "cosine", ties: Ties = "expected", allow_unjudged: bool = False,
    scores_are: str = "auto", device: str = "auto", pool: str | None = None,
    figures: str | Sequence[str] = DEFAULT, reading: io.Reading | None = None,
    unscored: str | None = None,
) -> Judged:  # fmt: skip
    """Evaluate embeddings, or a matrix, as they are.

    Raises:
        RerankError: input that does not fit together.
    """
    wanted = find_all(figures)
    inputs = read_inputs(
        videos=videos, texts=texts, sims=sims, metric=metric, pool=pool, reading=reading, gt=gt,
        scores_are=scores_are, unscored=unscored,
    )  # fmt: skip
    truth = read_truth(gt, inputs, allow_unjudged=allow_unjudged)
    both = _raw(inputs, metric=metric, device=pick_device(device))
    found = Asked(truth, wanted, ties).of(both)
    return Judged(
        "none", {"t2v": "none", "v2t": "none"}, ties, found, None,
        truth.distractors, len(truth.unjudged), truth.notes,
    )  # fmt: skip


def judge_results(
    gt: Path | None, results: Path, *, videos: Path | None = None, texts: Path | None = None,
    sims: Path | None = None, ties: Ties = "expected", allow_unjudged: bool = False,
    device: str = "auto", hubs: bool = False, figures: str | Sequence[str] = DEFAULT,
    reading: io.Reading | None = None,
) -> Judged:  # fmt: skip
    """Evaluate a result file: the raw similarity before, the rewritten one after.

    Ranks are exact: the inputs that the file names are read again (and checked against their
    content hashes), or the stored matrix is used where they are gone.

    Raises:
        RerankError: inputs that moved or changed; FormatError: not a result file.
    """
    wanted = find_all(figures)
    found = io.read_results(results)
    settings = found.manifest["settings"]
    target = pick_device(device)
    t2v = found.directions["t2v"]
    sides = (t2v.query_ids, t2v.gallery_ids)
    if gt is None:
        truth = io.GroundTruth(tuple(np.empty(0, np.int64) for _ in sides[0]), len(sides[1]))
    else:
        truth = io.read_ground_truth(
            gt, *sides, allow_unjudged=allow_unjudged,
            direction=(reading or io.Reading()).gt_direction,
        )  # fmt: skip
    asked = Asked(truth, wanted, ties)
    given = {"videos": videos, "texts": texts, "sims": sims}
    try:
        inputs = _recorded(found, results, given)
    except FormatError as error:
        if found.scores is None or any(path is not None for path in given.values()):
            raise
        matrix = torch.from_numpy(found.scores).to(target)
        sim = Dense(matrix, unscored=True)
        return Judged(
            found.manifest["label"], found.manifest["labels"], ties, None,
            asked.of({"t2v": sim, "v2t": sim.T}), truth.distractors,
            len(truth.unjudged),
            (*truth.notes, f"only the stored matrix is judged: {error}"),
        )  # fmt: skip
    both = _raw(inputs, metric=settings.get("metric") or "cosine", device=target)
    rewritten = _rewritten(found, results, inputs, both, given, target)
    positives = positives_of(tuple(truth.positives), both["t2v"].shape[1])
    before = after = None
    if gt is not None:
        before, after = asked.of(both), asked.of(rewritten)
    return Judged(
        found.manifest["label"], found.manifest["labels"], ties, before, after,
        truth.distractors, len(truth.unjudged), truth.notes,
        raw=None if gt is None else _untrained(inputs, settings, asked),
        changes={} if before is None or after is None else asked.changes(both, before, after),
        hubness={name: (summary(both[name]), summary(rewritten[name])) for name in both}
        if hubs else {},
        gallery_ids={"t2v": t2v.gallery_ids, "v2t": t2v.query_ids},
        browsers=_browsers(truth, both, rewritten, before, after) if hubs else (),
        scores={name: scores_of(both[name], right) for name, right in positives.items()}
        if hubs and gt is not None else {},
        facts=_facts(found, results, gt),
    )  # fmt: skip


def _browsers(
    truth: io.GroundTruth,
    both: Mapping[Name, Similarity],
    rewritten: Mapping[Name, Similarity],
    before: Mapping[Name, Judgement] | None,
    after: Mapping[Name, Judgement] | None,
) -> tuple[Browser, ...]:
    """Both directions, query by query."""
    positives = positives_of(tuple(truth.positives), both["t2v"].shape[1])
    return tuple(
        Browser(
            name, lists_of(both[name]), lists_of(rewritten[name]), positives[name],
            None if before is None else before[name].ranks,
            None if after is None else after[name].ranks,
        )
        for name in both
    )  # fmt: skip


def _facts(found: Results, results: Path, gt: Path | None) -> tuple[tuple[str, str], ...]:
    """What was done with which files, from the manifest."""
    manifest = found.manifest
    settings = ", ".join(f"{key} {value}" for key, value in sorted(manifest["settings"].items()))
    files = [
        (role.replace("_", " ").capitalize(), _file_fact(entry))
        for role, entry in manifest["inputs"].items()
    ]
    return (
        *files,
        ("Ground truth", "" if gt is None else gt.name),
        ("Result file", results.name),
        ("Method", str(manifest.get("method", ""))),
        ("Settings", settings),
        ("Command", str(manifest.get("command", ""))),
    )


def _file_fact(entry: Mapping[str, Any]) -> str:
    sha = f", sha256 {entry['sha256'][:12]}" if "sha256" in entry else ""
    return f"{Path(entry['path']).name}{sha}"


def _untrained(
    inputs: Inputs, settings: Mapping[str, Any], asked: Asked
) -> dict[Name, Judgement] | None:
    """Figures of the embeddings themselves, where a trained model stands between."""
    if inputs.heads is None or inputs.texts is None or inputs.videos is None:
        return None
    if inputs.texts.vectors.shape[1] != inputs.videos.vectors.shape[1]:
        return None
    sim = Pair(inputs.texts.vectors, inputs.videos.vectors, metric=settings["metric"])
    return asked.of({"t2v": sim, "v2t": sim.T})


def _raw(inputs: Inputs, *, metric: str, device: torch.device) -> dict[Name, Similarity]:
    """Both directions as they are; what a matrix holds was said by apply."""
    if inputs.scores is not None:
        stored = inputs.stored.to(device)
        return {"t2v": stored.t2v, "v2t": stored.t2v.T if stored.v2t is None else stored.v2t}
    texts, videos = (
        as_matrix(found, role).to(device)
        for role in ("texts", "videos")
        if (found := inputs.vectors(role)) is not None
    )
    sim = Pair(texts, videos, metric=metric)  # type: ignore[arg-type]
    return {"t2v": sim, "v2t": sim.T}


def _recorded(found: Results, results: Path, given: Mapping[str, Path | None]) -> Inputs:
    """Read what the manifest names, or where the user says it moved, and check the hashes."""
    settings, recorded = found.manifest["settings"], found.manifest["inputs"]
    folder = results.resolve().parent
    roles = ("sims",) if "sims" in recorded else ("texts", "videos")
    roles += ("heads",) if "heads" in recorded else ()
    lost = [role for role in roles if "path" not in recorded[role] and given.get(role) is None]
    if lost:
        raise FormatError(
            f"{results}: was made in Python from arrays; give the file of its {lost[0]} with "
            f"--{lost[0]}"
        )
    paths = {role: given.get(role) or folder / recorded[role]["path"] for role in roles}
    for role, path in paths.items():
        if not path.exists():
            raise FormatError(
                f"{results}: its input {recorded[role]['path']} is not there; "
                f"say where it is with --{role}"
            )
    inputs = read_inputs(
        sims=paths.get("sims"),
        texts=paths.get("texts"),
        videos=paths.get("videos"),
        heads=paths.get("heads"),
        metric=settings.get("metric") or "cosine",
        pool=settings.get("pool"),
        reading=reading_from(settings.get("reading", {}), folder),
        scores_are=settings.get("scores_are", "auto"),
        unscored=settings.get("unscored"),
    )
    _check_hashes(inputs, recorded, roles, paths, results)
    return inputs


def _check_hashes(
    inputs: Inputs,
    recorded: Mapping[str, Any],
    roles: tuple[str, ...],
    paths: Mapping[str, Path],
    results: Path,
) -> None:
    for role in roles:
        if role == "heads":
            found = hashlib.sha256(paths[role].read_bytes()).hexdigest()
        else:
            held = {"sims": "scores", "bank_sims": "bank_scores"}.get(role, role)
            read = getattr(inputs, held)
            found = None if read is None else read.content_sha256
        if found != recorded[role]["sha256"]:
            raise FormatError(
                f"{paths[role]}: its content is not what {results} was made from; "
                f"run apply again, or name the original with --{role}"
            )


def _rewritten(
    found: Results,
    results: Path,
    inputs: Inputs,
    both: Mapping[Name, Similarity],
    given: Mapping[str, Path | None],
    device: torch.device,
) -> dict[Name, Similarity]:
    """The rewritten similarity of each direction, from the stored numbers where they suffice."""
    fits = found.manifest["fits"]
    if all(fits[name]["stored"] for name in both):
        out: dict[Name, Similarity] = {}
        for name, sim in both.items():
            stages = _stages(found, name, device)
            out[name] = FittedPipeline(tuple(stages)).transform(sim)
        return out
    # Dual softmax and the like rewrite entry by entry: the same settings on the same files.
    settings, recorded = found.manifest["settings"], found.manifest["inputs"]
    folder = results.resolve().parent
    banks = {
        role: folder / recorded[role]["path"]
        for role in ("bank_texts", "bank_videos", "bank_gt", "bank_sims")
        if role in recorded
    }
    if banks:
        for role, path in banks.items():
            if not path.exists():
                raise FormatError(f"{results}: its bank {recorded[role]['path']} is not there")
        sources = {
            role: given[role] or folder / recorded[role]["path"]
            for role in ("texts", "videos", "sims") if role in recorded
        }  # fmt: skip
        inputs = read_inputs(
            texts=sources.get("texts"),
            videos=sources.get("videos"),
            sims=sources.get("sims"),
            bank_sims=banks.get("bank_sims"),
            metric=settings["metric"] or "cosine",
            scores_are=settings.get("scores_are", "auto"),
            unscored=settings.get("unscored"),
            pool=settings.get("pool"),
            reading=reading_from(settings.get("reading", {}), folder),
            heads=inputs.heads_file,
            bank_texts=banks.get("bank_texts"),
            bank_videos=banks.get("bank_videos"),
            bank_gt=banks.get("bank_gt"),
        )
        roles = tuple(role for role in banks if role != "bank_gt")
        _check_hashes(inputs, recorded, roles, banks, results)
    known = {
        "metric", "k", "scores_are", "unscored", "groups", "gate", "device", "pool", "reading",
    }  # fmt: skip
    result, _ = files.rerank_inputs(
        inputs, metric=settings["metric"] or "cosine", k=1,
        gate=settings["gate"], device=device,
        groups=settings.get("groups", "auto"),
        settings={key: value for key, value in settings.items() if key not in known},
    )  # fmt: skip
    return {"t2v": result.t2v.sim, "v2t": result.v2t.sim}


def _stages(found: Results, name: Name, device: torch.device) -> list[LinearMap | GalleryBias]:
    direction = found.directions[name]
    label = found.manifest["labels"][name]
    stages: list[LinearMap | GalleryBias] = []
    if label == "none":
        return stages
    if found.em_map is not None and found.manifest["fits"][name]["mapped"]:
        stages.append(LinearMap(torch.from_numpy(found.em_map).to(device), label))
    if direction.gallery_bias is not None:
        stages.append(GalleryBias(torch.from_numpy(direction.gallery_bias).to(device), label))
    return stages


def write_report(
    path: Path,
    judged: Judged,
    table: Mapping[Name, tuple[list, list]],
    *,
    captions: Mapping[str, str] | None = None,
    thumbnails: Mapping[str, str] | None = None,
) -> None:
    """One self-contained HTML page about a re-ranking.

    Args:
        path: where to.
        judged: with hubness and browsers; without figures where there was no ground truth.
        table: headers and rows per direction, as the terminal shows them; may be empty.
        captions: words for ids.
        thumbnails: data URIs for ids.

    Raises:
        RerankError: raw input, or a result file whose inputs are gone.
    """
    if not judged.browsers:
        raise RerankError("--report needs a result file and the inputs it was made from")
    sections = []
    verdicts = []
    for name in NAMES:
        raw, rewritten = judged.hubness.get(name, (None, None))
        headers, rows = table.get(name, ([], []))
        before = None if judged.before is None else judged.before[name]
        after = None if judged.after is None else judged.after[name]
        ids = judged.gallery_ids[name]
        sections.append(
            before_after(
                name, judged.labels[name],
                before=None if before is None else before.ranks,
                after=None if after is None else after.ranks,
                hubness_before=raw, hubness_after=rewritten, ids=ids,
                headers=headers, rows=rows, scores=judged.scores.get(name),
                size=None if raw is None else (raw.n_queries, len(ids)),
            )
        )  # fmt: skip
        if after is not None:
            figure = after.figures[0].name
            change = judged.changes.get(name, {}).get(figure)
            verdicts.append(verdict(name, judged.labels[name], figure, change))  # type: ignore[arg-type]
    if judged.before is None:
        verdicts.append("No ground truth was given, so nothing says which ranking is better.")
    page = render(
        sections,
        title="Re-ranking, before and after",
        subtitle="" if judged.before is None else f"ties: {judged.ties}",
        verdicts=verdicts,
        facts=[("Label", judged.label), *judged.facts],
        queries=Queries(
            judged.browsers, judged.gallery_ids["v2t"], judged.gallery_ids["t2v"],
            captions or {}, thumbnails or {},
        ),
        notes=judged.notes,
    )  # fmt: skip
    with atomic_path(path) as temporary:
        Path(temporary).write_text(page, encoding="utf-8")


def check_report(report: Path | None, inputs: Sequence[Path | None], *, force: bool) -> None:
    """Refuse a page in the place of an input or of a file of another kind; before the work.

    Raises:
        RerankError: it is one.
    """
    io.check_outputs({"--report": report}, inputs, force=force, kind=PAGE)


def read_captions(path: Path) -> dict[str, str]:
    """Words for ids: a JSON object of strings (lists are joined).

    Raises:
        FormatError: anything else.
    """
    import json

    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise FormatError(f"{path}: not readable as JSON captions ({error})") from error
    if not isinstance(found, dict):
        raise FormatError(
            f"{path}: got a JSON {type(found).__name__}, expected an object {{id: caption}}"
        )
    return {
        key: " / ".join(map(str, value)) if isinstance(value, list) else str(value)
        for key, value in found.items()
    }


_IMAGES = {".jpg": "jpeg", ".jpeg": "jpeg", ".png": "png", ".webp": "webp", ".gif": "gif"}
# A page with more than this of images opens slowly.
_MOST_IMAGE_BYTES = 50_000_000


def read_thumbnails(folder: Path, ids: Sequence[str]) -> dict[str, str]:
    """Images called like ids, as data URIs.

    Raises:
        FormatError: no folder, no image of these ids, or too many bytes.
    """
    import base64

    if not folder.is_dir():
        raise FormatError(f"{folder}: is not a folder; expected images called like the ids")
    wanted, found, total = set(ids), {}, 0
    for path in sorted(folder.iterdir()):
        kind = _IMAGES.get(path.suffix.lower())
        if kind is None or path.stem not in wanted:
            continue
        total += path.stat().st_size
        if total > _MOST_IMAGE_BYTES:
            raise FormatError(
                f"{folder}: its images are larger than {_MOST_IMAGE_BYTES // 10**6} MB together, "
                f"too many for one page; make them smaller, such as 160 pixels wide"
            )
        text = base64.b64encode(path.read_bytes()).decode()
        found[path.stem] = f"data:image/{kind};base64,{text}"
    if not found:
        raise FormatError(f"{folder}: holds no image called like an id, such as {ids[0]}.jpg")
    return found
