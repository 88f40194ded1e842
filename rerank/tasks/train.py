"""`rerank train` on files: read, train, keep what is best, and say what happened."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from rerank import io
from rerank.core import comm
from rerank.core.errors import FormatError, RerankError
from rerank.io.files import replacing
from rerank.metrics.ranks import summary
from rerank.train.data import PairedData, paired, split_by_video
from rerank.train.logs import TensorBoardLog, write_jsonl
from rerank.train.loop import Record, Trained, fit_heads
from rerank.train.objectives import full_settings
from rerank.train.objectives.cali_nce import CaliNCE
from rerank.train.ridge import both_ranks
from rerank.train.saved_heads import save_heads
from rerank.train.settings import TrainSettings


@dataclass(frozen=True, eq=False)
class TrainReport:
    """What `train_files` did.

    Attributes:
        manifest: objective, settings, validation and test figures, as in the model file.
        text: the same for a person.
    """

    manifest: dict[str, Any]
    text: str


@dataclass(frozen=True)
class Files:
    """The three files of one split."""

    videos: Path
    texts: Path
    gt: Path


def split_of(name: str, videos: Path | None, texts: Path | None, gt: Path | None) -> Files | None:
    """All three files of a split, or none; `name` is "", "val-" or "test-", as in the options.

    Raises:
        RerankError: some of the three without the others.
    """
    if videos is None and texts is None and gt is None:
        return None
    if videos is None or texts is None or gt is None:
        raise RerankError(
            f"give --{name}videos, --{name}texts and --{name}gt together, or none of them"
        )
    return Files(videos, texts, gt)


def read_split(
    files: Files, *, captions: Path | None = None, pool: str | None = None
) -> tuple[PairedData, tuple[str, ...]]:
    """One split from its files, and the ids of the texts that are kept.

    Raises:
        FormatError: an unusable file, or captions that do not match the texts.
    """
    texts = io.read_embeddings(files.texts, metric="dot")
    videos = io.read_embeddings(files.videos, metric="dot", pool=pool)
    truth = io.read_ground_truth(files.gt, texts.ids, videos.ids, allow_unjudged=True)
    words = None if captions is None else read_captions(captions, texts.ids)
    data = paired(
        texts.vectors, videos.vectors, truth.positives, captions=words, what=str(files.texts)
    )
    kept = tuple(name for name, rows in zip(texts.ids, truth.positives, strict=True) if len(rows))
    return data, kept


def read_captions(path: Path, text_ids: tuple[str, ...]) -> list[str]:
    """The caption of every text, from JSON `{text id: caption}`; more entries are ignored.

    Raises:
        FormatError: not such a file, or a text without a caption.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise FormatError(f"{path}: not readable as JSON captions ({error})") from None
    if not isinstance(found, dict):
        raise FormatError(
            f"{path}: got a JSON {type(found).__name__}, expected an object {{text id: caption}}"
        )
    missing = [name for name in text_ids if not isinstance(found.get(name), str)]
    if missing:
        raise FormatError(
            f"{path}: no caption for {len(missing)} of {len(text_ids)} texts, the first is "
            f"{missing[0]!r}; the keys must be the ids of --texts"
        )
    return [found[name] for name in text_ids]


def train_files(
    train: Files,
    *,
    out: Path,
    settings: TrainSettings,
    validation: Files | None = None,
    test: Files | None = None,
    captions: Path | None = None,
    pool: str | None = None,
    device: str = "cpu",
    resume: bool = False,
    log: Path | None = None,
    tensorboard: Path | None = None,
    pair_scores: Path | None = None,
) -> TrainReport:
    """Train heads on files and write the model.

    Args:
        train: the training split.
        out: the model; the checkpoint of a run lies beside it, `<out>.checkpoint`, until it ends.
        settings: see `TrainSettings`.
        validation: its files; without them a share of the training videos is set aside.
        test: read once, after training.
        captions: JSON `{text id: caption}` for the support-set objective.
        pool: how frames become one vector, "mean".
        device: where to compute.
        resume: go on from the checkpoint where there is one.
        log: JSONL with one record for each epoch; `<out>.jsonl` by default.
        tensorboard: folder of TensorBoard logs, or None.
        pair_scores: where to write the confidence in each training pair (cali-nce only).

    Raises:
        RerankError: unusable files or settings, or a loss that is no number any more.
    """
    if pair_scores is not None and settings.objective != "cali-nce":
        raise RerankError("--pair-scores needs --objective cali-nce: no other estimates confidence")
    settings = replace(settings, options=full_settings(settings.objective, settings.options))
    everything, text_ids = read_split(train, captions=captions, pool=pool)
    if validation is None:
        data, held = split_by_video(everything, share=settings.val_share, seed=settings.seed)
    else:
        data, (held, _) = everything, read_split(validation, pool=pool)
    checkpoint = out.with_name(out.name + ".checkpoint")
    board = None if tensorboard is None or comm.rank() else TensorBoardLog(tensorboard)
    log = log or out.with_name(out.name + ".jsonl")

    def on_epoch(history: list[Record]) -> None:
        write_jsonl(log, history)
        if board is not None:
            board.add(history)

    trained = fit_heads(
        data, held, settings, device=device, checkpoint_path=checkpoint, resume=resume,
        on_epoch=on_epoch,
    )  # fmt: skip
    manifest = _manifest(trained, settings, train)
    if test is not None:
        manifest["test"] = _figures(trained, read_split(test, pool=pool)[0])
    if comm.rank() == 0:
        save_heads(out, trained.heads, manifest=manifest)
        if pair_scores is not None:
            _write_pair_scores(pair_scores, trained, everything, text_ids)
        checkpoint.unlink(missing_ok=True)
    if board is not None:
        board.close()
    return TrainReport(manifest, _text(manifest, out))


def _figures(trained: Trained, data: PairedData) -> dict[str, dict[str, float]]:
    t2v, v2t = both_ranks(trained.heads.texts(data.texts), trained.heads.videos(data.videos), data)
    return {"t2v": summary(t2v), "v2t": summary(v2t)}


def _manifest(trained: Trained, settings: TrainSettings, files: Files) -> dict[str, Any]:
    timing = ("samples_per_s",)
    chosen = trained.history[trained.best_epoch]
    return {
        "objective": settings.objective,
        "settings": asdict(settings),
        "start": trained.start.kind,
        "best_epoch": trained.best_epoch,
        "epochs": len(trained.history) - 1,
        "linear": trained.heads.text.hidden == 0,
        # No timings: the same input and seed give the same file.
        "validation": {k: v for k, v in chosen.items() if k not in timing},
        "validation_start": {k: v for k, v in trained.history[0].items() if k not in timing},
        "inputs": {
            name: hashlib.sha256(path.read_bytes()).hexdigest()
            for name, path in (("videos", files.videos), ("texts", files.texts), ("gt", files.gt))
        },
    }


def _text(manifest: Mapping[str, Any], out: Path) -> str:
    start, best = manifest["validation_start"], manifest["validation"]
    lines = [
        f"{manifest['objective']}: validation R@1 t2v {start['t2v_R@1']:.1f} -> "
        f"{best['t2v_R@1']:.1f}, v2t {start['v2t_R@1']:.1f} -> {best['v2t_R@1']:.1f} "
        f"(epoch {manifest['best_epoch']} of {manifest['epochs']}, "
        f"start: {manifest['start']})"
    ]
    if manifest["best_epoch"] == 0:
        lines.append("training did not beat the closed-form start on validation: that is kept")
    if "test" in manifest:
        test = manifest["test"]
        lines.append(f"test R@1 t2v {test['t2v']['R@1']:.1f}, v2t {test['v2t']['R@1']:.1f}")
    return "\n".join([*lines, f"wrote {out}"])


def _write_pair_scores(
    path: Path, trained: Trained, data: PairedData, text_ids: tuple[str, ...]
) -> None:
    """JSON `{text id: [confidence in each of its videos, in the order of the video rows]}`."""
    objective = trained.objective.cpu()
    assert isinstance(objective, CaliNCE)
    i, j = data.pairs
    with torch.no_grad():
        texts = trained.heads.text_features(data.texts)[i]
        videos = trained.heads.video_features(data.videos)[j]
    scores: dict[str, list[float]] = {}
    for row, value in zip(i.tolist(), objective.confidence(texts, videos).tolist(), strict=True):
        scores.setdefault(text_ids[row], []).append(round(value, 6))
    with replacing(path) as file:
        file.write(json.dumps(scores, indent=0).encode())
