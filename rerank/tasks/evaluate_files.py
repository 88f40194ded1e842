"""`rerank eval` on files: exact ranks before and after, from a result file or from raw input."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rerank import io
from rerank.core.errors import FormatError
from rerank.core.pairs import positives_of
from rerank.core.similarity import Dense, Pair, Similarity, as_matrix
from rerank.core.words import NAMES, Name, Ties
from rerank.io import Results
from rerank.io.files import folder_of
from rerank.methods import engine
from rerank.methods.base import FittedPipeline, GalleryBias, LinearMap
from rerank.methods.fusion import Fusion
from rerank.metrics.browse import Browser, lists_of, scores_of
from rerank.metrics.figures import DEFAULT, find_all
from rerank.metrics.hubness import Hubness, summary
from rerank.metrics.judge import Judgement
from rerank.metrics.pictures import Picture
from rerank.metrics.ranks import Ranks
from rerank.tasks import apply as files
from rerank.tasks.confidence import judge_confidence
from rerank.tasks.curves import calibrations, temperatures_of, why_no_temperatures
from rerank.tasks.fuse import read_fused
from rerank.tasks.judged import Asked, Judged
from rerank.tasks.page_facts import facts_of, facts_of_inputs
from rerank.tasks.query_groups import BY_IDS
from rerank.tasks.read import (
    Inputs,
    pick_device,
    read_inputs,
    read_truth,
    reading_from,
    with_bias,
)

# Settings of a run that are none of its method's.
_KNOWN = (
    "method", "metric", "k", "scores_are", "unscored", "groups", "gate", "device", "pool",
    "reading", "fusion", "query_groups", "bias", "bias_weight",
)  # fmt: skip


def judge_raw(
    gt: Path | None, *, videos: Path | None = None, texts: Path | None = None,
    sims: Path | None = None,
    metric: str = "cosine", ties: Ties = "expected", allow_unjudged: bool = False,
    scores_are: str = "auto", device: str = "auto", pool: str | None = None,
    figures: str | Sequence[str] = DEFAULT, reading: io.Reading | None = None,
    unscored: str | None = None, hubs: bool = False, heads: Path | None = None,
) -> Judged:  # fmt: skip
    """Evaluate embeddings, or a matrix, as they are; without a ground truth only their hubs.

    Raises:
        RerankError: input that does not fit together.
    """
    wanted = find_all(figures)
    inputs = read_inputs(
        videos=videos, texts=texts, sims=sims, metric=metric, pool=pool, reading=reading, gt=gt,
        scores_are=scores_are, unscored=unscored, heads=heads,
    )  # fmt: skip
    truth = _no_truth(inputs.text_ids, inputs.video_ids)
    if gt is not None:
        truth = read_truth(gt, inputs, allow_unjudged=allow_unjudged)
    both = _raw(inputs, metric=metric, device=pick_device(device))
    found = None if gt is None else Asked(truth, wanted, ties).of(both)
    positives = positives_of(tuple(truth.positives), both["t2v"].shape[1])
    return Judged(
        "none", {"t2v": "none", "v2t": "none"}, ties, found, None,
        truth.distractors, len(truth.unjudged),
        (*inputs.said_of_files, *truth.notes),
        hubness={name: (summary(sim), None) for name, sim in both.items()} if hubs else {},
        gallery_ids={"t2v": inputs.video_ids, "v2t": inputs.text_ids},
        browsers=_browsers(truth, both, None, found, None) if hubs else (),
        scores={name: scores_of(both[name], right) for name, right in positives.items()}
        if hubs and gt is not None else {},
        facts=facts_of_inputs(inputs, gt),
    )  # fmt: skip


def _no_truth(queries: Sequence[str], items: Sequence[str]) -> io.GroundTruth:
    return io.GroundTruth(tuple(np.empty(0, np.int64) for _ in queries), len(items))


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
        truth = _no_truth(*sides)
    else:
        truth = io.read_ground_truth(
            gt, *sides, allow_unjudged=allow_unjudged,
            **(reading or io.Reading()).of_truth(),
        )  # fmt: skip
    asked = Asked(truth, wanted, ties)
    given = {"videos": videos, "texts": texts, "sims": sims}
    try:
        if "fusion" in settings or "query_groups" in settings:
            inputs = read_fused(**_recorded_models(found, results)).inputs
            _check_models(inputs, found, results)
        else:
            inputs = _recorded(found, results, given, reading)
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
    rewritten: dict[Name, Similarity] | None = _stored_rewriting(found, both, target)
    said: tuple[str, ...] = ()
    if rewritten is None:
        # Dual softmax and the like rewrite entry by entry: the same settings on the same files.
        inputs = _with_banks(found, results, inputs, given, reading)
        method = settings["method"]
        with files.caught():
            ready = files.prepare_inputs(
                inputs, method=method, metric=settings["metric"] or "cosine", k=1,
                gate=settings["gate"], device=target, groups=settings.get("groups", "auto"),
            )  # fmt: skip
            with ready.remembering():
                run = engine.fit(
                    ready.both, method, _of_method(settings), gate=ready.gate, prior=ready.prior
                )
        rewritten = {name: run[name].sim for name in both}
        said = (f"{method} is more than a map and a number per item: it was applied again",)
    positives = positives_of(tuple(truth.positives), both["t2v"].shape[1])
    before = after = None
    if gt is not None:
        before, after = asked.of(both), asked.of(rewritten)
    answers = {} if gt is None else judge_confidence(found, positives)
    return Judged(
        found.manifest["label"], found.manifest["labels"], ties, before, after,
        truth.distractors, len(truth.unjudged), (*truth.notes, *said), answers=answers,
        raw=None if gt is None else _untrained(inputs, settings, asked),
        changes={} if before is None or after is None else asked.changes(both, before, after),
        hubness=_hubness(both, rewritten) if hubs else {},
        gallery_ids={"t2v": t2v.gallery_ids, "v2t": t2v.query_ids},
        browsers=_browsers(truth, both, rewritten, before, after, found) if hubs else (),
        scores={name: scores_of(both[name], right) for name, right in positives.items()}
        if hubs and gt is not None else {},
        facts=facts_of(found, results, gt),
        drawn=_drawn(
            found, both, rewritten, None if gt is None else asked,
            {name: (before[name].ranks, after[name].ranks) for name in both}
            if before is not None and after is not None else {},
        ) if hubs else {},
        undrawn=why_no_temperatures(found.manifest["labels"], _taus(found)),
    )  # fmt: skip


def _hubness(
    both: Mapping[Name, Similarity], rewritten: Mapping[Name, Similarity]
) -> dict[Name, tuple[Hubness, Hubness | None]]:
    """Before and after, of each direction."""
    return {name: (summary(raw), summary(rewritten[name], raw=raw)) for name, raw in both.items()}


def _browsers(
    truth: io.GroundTruth,
    both: Mapping[Name, Similarity],
    rewritten: Mapping[Name, Similarity] | None,
    before: Mapping[Name, Judgement] | None,
    after: Mapping[Name, Judgement] | None,
    found: Results | None = None,
) -> tuple[Browser, ...]:
    """Both directions, query by query."""
    positives = positives_of(tuple(truth.positives), both["t2v"].shape[1])
    return tuple(
        Browser(
            name, lists_of(both[name]),
            None if rewritten is None else lists_of(rewritten[name]), positives[name],
            None if before is None else before[name].ranks,
            None if after is None else after[name].ranks,
            confidence=None if found is None else found.directions[name].confidence,
            no_match=None if found is None else found.directions[name].no_match,
        )
        for name in both
    )  # fmt: skip


def _drawn(
    found: Results,
    both: Mapping[Name, Similarity],
    rewritten: Mapping[Name, Similarity],
    asked: Asked | None,
    ranks: Mapping[Name, tuple[Ranks, Ranks]],
) -> dict[Name, tuple[Picture, ...]]:
    """What only the report shows: calibration, and the temperature that was used."""
    settings, taus = found.manifest["settings"], _taus(found)
    drawn = [calibrations(both, rewritten, taus, ranks)]
    if not why_no_temperatures(found.manifest["labels"], taus):
        stored = files.fitted_of(found, both["t2v"].device) or {}
        drawn.append(
            temperatures_of(
                both, stored, taus, settings["method"], settings=_of_method(settings),
                positives=None if asked is None else tuple(asked.truth.positives),
                groups=settings.get("groups", "auto"),
            )
        )  # fmt: skip
    return {name: tuple(of[name] for of in drawn if name in of) for name in both}


def _taus(found: Results) -> dict[Name, float]:
    """Temperatures of the fits, 0 for none."""
    fits = found.manifest["fits"]
    return {name: float(fits[name].get("tau") or 0) for name in NAMES}


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
    """Both directions as they are."""
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


def recorded_files(results: Path) -> tuple[Path, ...]:
    """The files that a result file was made from, as far as they have names.

    Raises:
        FormatError: not a result file.
    """
    manifest, folder = io.read_results(results, scores=False).manifest, folder_of(results)
    reading = reading_from(manifest["settings"].get("reading", {}), folder)
    named = [folder / entry["path"] for entry in manifest["inputs"].values() if "path" in entry]
    beside = (reading.text_ids, reading.video_ids)
    return (*named, *(path for path in beside if path is not None))


def _recorded(
    found: Results, results: Path, given: Mapping[str, Path | None], said: io.Reading | None
) -> Inputs:
    """Read what the manifest names, or where the user says it moved, and check the hashes."""
    settings, recorded = found.manifest["settings"], found.manifest["inputs"]
    folder = folder_of(results)
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
        reading=reading_from(settings.get("reading", {}), folder, said),
        scores_are=settings.get("scores_are", "auto"),
        unscored=settings.get("unscored"),
    )
    _check_hashes(inputs, recorded, roles, paths, results)
    return inputs


def _recorded_models(found: Results, results: Path) -> dict[str, Any]:
    """The models that a fusion was made of, and how they are fused again, for `read_fused`."""
    settings, recorded = found.manifest["settings"], found.manifest["inputs"]
    folder = folder_of(results)
    lost = next((role for role, entry in recorded.items() if "path" not in entry), None)
    paths = {role: folder / entry["path"] for role, entry in recorded.items() if "path" in entry}
    gone = lost or next((role for role, path in paths.items() if not path.exists()), None)
    if gone is not None:
        raise FormatError(f"{results}: the file of its {gone} is not there; run apply again")
    files = {
        role: [path for name, path in paths.items() if name.split(" ")[0] == role]
        for role in ("texts", "videos", "sims", "bank_texts", "bank_videos")
    }
    fusion, groups = settings.get("fusion"), settings.get("query_groups")
    return {
        **{role: given for role, given in files.items() if given},
        "bank_gt": paths.get("bank_gt"),
        "fusion": None if fusion is None else Fusion.from_dict(fusion),
        "query_groups": groups if groups in (None, BY_IDS) else str(folder / groups),
        "metric": settings.get("metric") or "cosine",
        "reading": reading_from(settings.get("reading", {}), folder),
        "pool": settings.get("pool"),
        "scores_are": settings.get("scores_are", "auto"),
        "unscored": settings.get("unscored"),
    }


def _check_models(inputs: Inputs, found: Results, results: Path) -> None:
    """Refuse models whose content is not what the fusion was made from."""
    recorded = found.manifest["inputs"]
    for role, entry in recorded.items():
        name, _, number = role.partition(" ")
        model = inputs.models[int(number or 1) - 1]
        held = model.scores if name == "sims" else getattr(model, name, None)
        if "sha256" in entry and (held is None or held.content_sha256 != entry["sha256"]):
            path = folder_of(results) / entry["path"]
            raise FormatError(
                f"{path}: its content is not what {results} was made from; run apply again"
            )


def _check_hashes(
    inputs: Inputs,
    recorded: Mapping[str, Any],
    roles: tuple[str, ...],
    paths: Mapping[str, Path],
    results: Path,
) -> None:
    for role in roles:
        if role == "heads":
            found = io.sha256_of_file(paths[role])
        else:
            held = {"sims": "scores", "bank_sims": "bank_scores"}.get(role, role)
            read = getattr(inputs, held)
            found = None if read is None else read.content_sha256
        if found != recorded[role]["sha256"]:
            raise FormatError(
                f"{paths[role]}: its content is not what {results} was made from; "
                f"run apply again, or name the original with --{role}"
            )


def _stored_rewriting(
    found: Results, both: Mapping[Name, Similarity], device: torch.device
) -> dict[Name, Similarity] | None:
    """The rewritten similarity of each direction, from stored numbers; None if they do not do."""
    fits = found.manifest["fits"]
    stored = files.fitted_of(found, device)
    if stored is not None:
        return {n: stored[n].transform(sim) if n in stored else sim for n, sim in both.items()}
    if not all(fits[name]["stored"] for name in both):
        return None
    out: dict[Name, Similarity] = {}
    for name, sim in both.items():
        stages = _stages(found, name, device)
        out[name] = FittedPipeline(tuple(stages)).transform(sim)
    return out


def _with_banks(
    found: Results,
    results: Path,
    inputs: Inputs,
    given: Mapping[str, Path | None],
    over: io.Reading | None,
) -> Inputs:
    """The inputs with the banks and the bias that the run had besides."""
    settings, recorded = found.manifest["settings"], found.manifest["inputs"]
    folder = folder_of(results)
    banks = {
        role: folder / recorded[role]["path"]
        for role in ("bank_texts", "bank_videos", "bank_gt", "bank_sims")
        if role in recorded and not inputs.models
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
            **sources,
            **banks,
            metric=settings["metric"] or "cosine",
            scores_are=settings.get("scores_are", "auto"),
            unscored=settings.get("unscored"),
            pool=settings.get("pool"),
            reading=reading_from(settings.get("reading", {}), folder, over),
            heads=inputs.heads_file,
        )
        roles = tuple(role for role in banks if role != "bank_gt")
        _check_hashes(inputs, recorded, roles, banks, results)
    if "bias" not in settings:
        return inputs
    if not settings["bias"] or not (folder / settings["bias"]).exists():
        raise FormatError(f"{results}: the file of its bias is not there; run apply again")
    return with_bias(inputs, folder / settings["bias"], settings["bias_weight"])


def _of_method(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What a run was told for its method."""
    return {key: value for key, value in settings.items() if key not in _KNOWN}


def _stages(found: Results, name: Name, device: torch.device) -> list[LinearMap | GalleryBias]:
    direction = found.directions[name]
    label = found.manifest["labels"][name]
    stages: list[LinearMap | GalleryBias] = []
    if found.em_map is not None and found.manifest["fits"][name]["mapped"]:
        stages.append(LinearMap(torch.from_numpy(found.em_map).to(device), label))
    if direction.gallery_bias is not None:
        stages.append(GalleryBias(torch.from_numpy(direction.gallery_bias).to(device), label))
    return stages
