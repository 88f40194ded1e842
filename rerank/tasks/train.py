"""`rerank train` on files: read, check, train, keep what is best, and say what happened."""

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rerank import io
from rerank.core import comm, nouns
from rerank.core.errors import FormatError, RerankError, RerankWarning
from rerank.core.nouns import counted
from rerank.core.shell import words as typed_words
from rerank.io import tensorfile
from rerank.io.files import beside, named
from rerank.io.identify import LOG, PAIR_SCORES
from rerank.io.swapped_files import said_of_sides
from rerank.metrics.ranks import summary
from rerank.tasks.read import check_said, read_role
from rerank.train import checkpoint as checkpoints
from rerank.train.data import PairedData, paired, split_by_video
from rerank.train.logs import TensorBoardLog, write_jsonl
from rerank.train.loop import Trained, completed, fit_heads
from rerank.train.ridge import both_ranks
from rerank.train.run import TIMINGS, Record
from rerank.train.saved_heads import KIND, save_heads
from rerank.train.settings import TrainSettings

# Equal captions are common and teach nothing about test videos; more of them are the same texts.
_SAME_TEXTS = 0.5


@dataclass(frozen=True, eq=False)
class TrainReport:
    """What `train_files` did.

    Attributes:
        manifest: objective, settings, validation and test figures, as in the heads' file.
        text: the same for a person.
        warnings: what a person should know, a sentence each.
    """

    manifest: dict[str, Any]
    text: str
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Files:
    """The three files of one split."""

    videos: Path
    texts: Path
    gt: Path


@dataclass(frozen=True, eq=False)
class Split:
    """One split as it was read.

    Attributes:
        name: "training", "validation" or "test".
        data: the pairs; texts without a video are left out.
        text_ids: of the texts that are kept.
        video_ids: of the videos.
        hashes: of the content of every file, by its option.
        unknown: names in the ground truth that are no ids here.
        skipped: pairs that were left out for such names.
        alone: texts without a right video.
    """

    name: str
    data: PairedData
    text_ids: tuple[str, ...]
    video_ids: tuple[str, ...]
    hashes: dict[str, str]
    unknown: tuple[str, ...] = ()
    skipped: int = 0
    alone: int = 0

    def notes(self) -> list[str]:
        """What was left out, a sentence each."""
        out = []
        if self.skipped:
            out.append(
                f"{self.name} ground truth: {counted(self.skipped, 'pairs')} with unknown ids "
                f"{'is' if self.skipped == 1 else 'are'} left out: {named(self.unknown)}"
            )
        if self.alone:
            texts, videos = nouns.sides()
            one = nouns.singular(videos)
            out.append(f"{self.name}: left out, {texts} without a right {one}: {self.alone}")
        return out


@dataclass(frozen=True)
class Extras:
    """Files of a run beside its splits, and how it deals with earlier ones.

    Attributes:
        captions: JSON `{text id: caption}` for the support-set objective and for duplicates.
        settings: the settings file, to be hashed.
        log: JSONL with one record for each epoch; `<out>.jsonl` by default.
        tensorboard: folder of TensorBoard logs, or None.
        pair_scores: where to write the confidence in each training pair (cali-nce only).
        resume: go on from the checkpoint.
        fresh: start over beside the checkpoint of an unfinished run.
        allow_overlap: train although validation or test data is among the training data.
    """

    captions: Path | None = None
    settings: Path | None = None
    log: Path | None = None
    tensorboard: Path | None = None
    pair_scores: Path | None = None
    resume: bool = False
    fresh: bool = False
    allow_overlap: bool = False


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
    files: Files,
    *,
    name: str = "training",
    prefix: str = "",
    captions: Path | None = None,
    reading: io.Reading | None = None,
) -> Split:
    """One split from its files.

    Args:
        files: embeddings may be any file or folder that `io.read_embeddings` reads.
        name: for messages.
        prefix: of the options that named the files.
        captions: the words of the texts; of validation and test they are used where all are there.
        reading: what the user said about the files; ids that it names are of the training split.

    Raises:
        FormatError: an unusable file, or captions that do not match the training texts.
    """
    said = reading or io.Reading()
    diagonal = str(files.gt) == "diagonal"
    texts, videos = (
        read_role(
            path, role if not prefix else f"{prefix}{role}", said, metric="dot",
            row_numbers=diagonal, named_by=files.gt,
        )
        for path, role in ((files.texts, "texts"), (files.videos, "videos"))
    )  # fmt: skip
    for note in said_of_sides({"texts": texts, "videos": videos}):
        warnings.warn(note, RerankWarning, stacklevel=2)
    truth = io.read_ground_truth(
        files.gt, texts.ids, videos.ids, allow_unjudged=True, **said.of_truth(f"{prefix}gt")
    )
    words = None
    if captions is not None:
        words = read_captions(captions, texts.ids, all_or_none=name != "training")
    data = paired(
        texts.vectors, videos.vectors, truth.positives, captions=words, what=str(files.texts)
    )
    kept = tuple(name for name, rows in zip(texts.ids, truth.positives, strict=True) if len(rows))
    hashes = {
        f"{prefix}videos": videos.content_sha256,
        f"{prefix}texts": texts.content_sha256,
        f"{prefix}gt": "diagonal" if diagonal else io.sha256_of_file(files.gt),
    }
    return Split(
        name, data, kept, videos.ids, hashes, truth.unknown, truth.ignored,
        len(texts.ids) - len(kept),
    )  # fmt: skip


def read_captions(
    path: Path, text_ids: tuple[str, ...], *, all_or_none: bool = False
) -> list[str] | None:
    """The caption of every text, from JSON `{text id: caption}`; more entries are ignored.

    Args:
        path: the file.
        text_ids: whose captions are wanted.
        all_or_none: None, instead of an error, where some are missing.

    Raises:
        FormatError: not such a file, or a text without a caption.
    """
    found = io.read_json(path)
    if not isinstance(found, dict):
        raise FormatError(
            f"{path}: got a JSON {type(found).__name__}, expected an object {{text id: caption}}"
        )
    missing = [name for name in text_ids if not isinstance(found.get(name), str)]
    if missing and all_or_none:
        return None
    if missing:
        raise FormatError(
            f"{path}: no caption for {len(missing)} of {len(text_ids)} texts, the first is "
            f"{missing[0]!r}; the keys must be the ids of --texts"
        )
    return [found[name] for name in text_ids]


def check_apart(one: Split, other: Split) -> list[str]:
    """What the first split shares with the other, a sentence each; equal captions only as a note.

    Raises:
        RerankError: videos, or most texts, of the other are in the first, by id or by content.
    """
    keys = [(d.videos, d.texts) for d in (one.data, other.data)]
    shared: list[tuple[str, int, int, str]] = []
    texts, videos = nouns.sides()
    for what, mine, theirs, column in (
        (videos, one.video_ids, other.video_ids, 0),
        (texts, one.text_ids, other.text_ids, 1),
    ):
        known = set(mine)
        by_id = [name for name in theirs if name in known]
        if by_id:
            shared.append((f"{what} by id", len(by_id), len(theirs), by_id[0]))
            continue
        rows = _row_hashes(keys[0][column])
        same = [i for i, key in enumerate(_row_list(keys[1][column])) if key in rows]
        if same and (what == videos or len(same) > _SAME_TEXTS * len(theirs)):
            shared.append(
                (f"{what} with equal embeddings", len(same), len(theirs), theirs[same[0]])
            )
        elif same:
            shared.append((f"{what} with equal embeddings", len(same), 0, theirs[same[0]]))
    out = []
    for what, count, total, first in shared:
        if total:
            raise RerankError(
                f"{other.name} overlaps {one.name}: {count} of {total} {what}, the first is "
                f"{first!r}; figures would be of what was learned; give other files, or "
                f"--allow-overlap"
            )
        out.append(
            f"{other.name} shares {count} {what} with {one.name} (the first is {first!r}), of "
            f"other {videos}: the same captions"
        )
    return out


def _row_list(rows: torch.Tensor) -> list[bytes]:
    plain = np.ascontiguousarray((rows + 0.0).numpy())
    return [hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in plain]


def _row_hashes(rows: torch.Tensor) -> set[bytes]:
    return set(_row_list(rows))


def train_files(
    train: Files,
    *,
    out: Path,
    settings: TrainSettings,
    validation: Files | None = None,
    test: Files | None = None,
    extras: Extras | None = None,
    reading: io.Reading | None = None,
    device: str = "cpu",
    force: bool = False,
) -> TrainReport:
    """Train heads on files and write them.

    Every file, those of the test split included, is read and checked before training.

    Args:
        train: the training split.
        out: the heads; the checkpoint of the run lies beside it, `<out>.checkpoint`, also after
            its end, so that it can be extended.
        settings: see `TrainSettings`.
        validation: its files; without them a share of the training videos is set aside.
        test: measured once, after training.
        extras: see `Extras`.
        reading: what the user said about the files.
        device: where to compute.
        force: replace files of another kind.

    Raises:
        RerankError: unusable files or settings, splits that overlap, a checkpoint in the way, or
            a loss that is no number any more.
        KeyboardInterrupt: with a message that names the checkpoint and how to go on.
    """
    extras = extras or Extras()
    if extras.pair_scores is not None and settings.objective != "cali-nce":
        raise RerankError("--pair-scores needs --objective cali-nce: no other estimates confidence")
    for path in (out, extras.log, extras.pair_scores):
        if path is not None and not path.absolute().parent.is_dir():
            raise RerankError(f"{path}: its folder does not exist; create it or choose another")
    settings = completed(settings, captions=extras.captions is not None)
    checkpoint = beside(out, ".checkpoint")
    said = reading or io.Reading()
    _check_places(
        {"--out": out, "its checkpoint": checkpoint, "--log": extras.log or log_beside(out),
         "--pair-scores": extras.pair_scores},
        [train, validation, test], said, extras, force=force,
    )  # fmt: skip
    _check_checkpoint(checkpoint, out, settings, extras, force=force)
    for path in (out, extras.log, extras.pair_scores):
        io.check_place(path)
    whole = read_split(train, captions=extras.captions, reading=said)
    splits = [whole]
    for files, name, prefix in ((validation, "validation", "val-"), (test, "test", "test-")):
        if files is not None:
            splits.append(
                read_split(files, name=name, prefix=prefix, captions=extras.captions, reading=said)
            )
    warnings = [note for split in splits for note in split.notes()]
    if not extras.allow_overlap:
        for i, other in enumerate(splits):
            warnings += [note for one in splits[:i] for note in check_apart(one, other)]
    _check_dimensions(splits)
    tested = splits[-1] if test is not None else None
    if validation is None:
        data, held = split_by_video(whole.data, share=settings.val_share, seed=settings.seed)
    else:
        data, held = whole.data, splits[1].data
    trained = _train(data, held, settings, checkpoint, extras, out, device)
    manifest = _manifest(trained, settings, data, splits, extras)
    if tested is not None:
        manifest["test"] = _figures(trained, tested.data)
    if comm.rank() == 0:
        save_heads(out, trained.heads, manifest=manifest)
        if extras.pair_scores is not None:
            _write_pair_scores(extras.pair_scores, trained, whole)
    return TrainReport(
        manifest, _text(manifest, out, trained.history, test or train, reading), tuple(warnings)
    )


def log_beside(out: Path) -> Path:
    """Where the log of a run lies unless it is said."""
    return beside(out, ".jsonl")


def _check_places(
    outputs: Mapping[str, Path | None], splits: Sequence[Files | None], reading: io.Reading,
    extras: Extras, *, force: bool,
) -> None:  # fmt: skip
    """No output is an input or a file of another kind, and what was said is of files read here.

    Raises:
        RerankError: one of them.
    """
    given = [split for split in splits if split is not None]
    inputs = [path for split in given for path in (split.texts, split.videos, split.gt)]
    io.check_outputs(
        outputs, (*inputs, extras.captions, extras.settings, reading.text_ids, reading.video_ids),
        force=force,
        kind={"--out": KIND, "--log": LOG,
              "--pair-scores": PAIR_SCORES},
    )  # fmt: skip
    roles = {"texts": given[0].texts, "videos": given[0].videos}
    for place, split in enumerate(given[1:]):
        roles |= {f"{place}-texts": split.texts, f"{place}-videos": split.videos}
    check_said(reading, roles)


def _check_checkpoint(
    path: Path, out: Path, settings: TrainSettings, extras: Extras, *, force: bool
) -> None:
    """A checkpoint is there exactly where this run may use it.

    Raises:
        RerankError: it is missing, in the way, or of a run that has nothing left to do.
    """
    if extras.resume and extras.fresh:
        raise RerankError("--resume goes on from a checkpoint and --fresh starts over: give one")
    if extras.resume and not path.exists():
        raise RerankError(f"--resume: there is no checkpoint {path}; start without --resume")
    if not path.exists():
        return
    if extras.fresh:
        io.check_outputs([path], force=force, kind=checkpoints.KIND)
        return
    try:
        state = checkpoints.peek(path)
    except FormatError as error:
        ours = tensorfile.kind_of(path) == checkpoints.KIND
        raise FormatError(
            f"{error}; start over with --fresh{'' if ours else ' --force'}, or choose another --out"
        ) from None
    if not extras.resume:
        if not state.finished:
            raise RerankError(
                f"{path}: the checkpoint of a run that did not end; go on from it with --resume, "
                f"or start over with --fresh"
            )
        return
    if not (state.finished and out.exists()):
        return
    if state.epoch >= settings.epochs:
        raise RerankError(
            f"{path}: its run has done {state.epoch} epochs; extend it with --epochs above "
            f"{state.epoch}, or start over with --fresh"
        )
    if state.epoch - state.best_epoch >= settings.patience:
        raise RerankError(
            f"{path}: its run stopped after epoch {state.epoch}, {state.epoch - state.best_epoch} "
            f"epochs after the best; extend it with --patience above {settings.patience}, or "
            f"start over with --fresh"
        )


def _check_dimensions(splits: list[Split]) -> None:
    """All splits live in the same two spaces.

    Raises:
        RerankError: one does not.
    """
    first = splits[0].data
    for split in splits[1:]:
        for what, ours, theirs in (
            ("texts", first.texts, split.data.texts), ("videos", first.videos, split.data.videos),
        ):  # fmt: skip
            if ours.shape[1] != theirs.shape[1]:
                raise RerankError(
                    f"{split.name} {what}: got d = {theirs.shape[1]}, the training {what} have "
                    f"{ours.shape[1]}; give embeddings of the same model"
                )


def _train(
    data: PairedData, held: PairedData, settings: TrainSettings, checkpoint: Path,
    extras: Extras, out: Path, device: str,
) -> Trained:  # fmt: skip
    """`fit_heads` with logs; an interrupt leaves with a message."""
    board = None
    if extras.tensorboard is not None and not comm.rank():
        board = TensorBoardLog(extras.tensorboard, resume=extras.resume)
    log = extras.log or log_beside(out)
    done = [0]

    def on_epoch(history: list[Record]) -> None:
        done[0] = history[-1]["epoch"]
        write_jsonl(log, history)
        if board is not None:
            board.add(history)

    if extras.fresh and comm.rank() == 0:
        checkpoint.unlink(missing_ok=True)
    try:
        return fit_heads(
            data, held, settings, device=device, checkpoint_path=checkpoint,
            resume=extras.resume, on_epoch=on_epoch,
        )  # fmt: skip
    except KeyboardInterrupt:
        if not checkpoint.exists():
            raise KeyboardInterrupt(
                "interrupted in the first epoch: there is no checkpoint yet; start again"
            ) from None
        raise KeyboardInterrupt(
            f"interrupted after epoch {done[0]}: the checkpoint is {checkpoint}; go on with the "
            f"same command and --resume, or start over with --fresh"
        ) from None
    finally:
        if board is not None:
            board.close()


def _figures(trained: Trained, data: PairedData) -> dict[str, dict[str, float]]:
    t2v, v2t = both_ranks(trained.heads.texts(data.texts), trained.heads.videos(data.videos), data)
    return {"t2v": summary(t2v), "v2t": summary(v2t)}


def _manifest(
    trained: Trained, settings: TrainSettings, data: PairedData, splits: list[Split],
    extras: Extras,
) -> dict[str, Any]:  # fmt: skip
    inputs = {name: hash_ for split in splits for name, hash_ in split.hashes.items()}
    for name, path in (("captions", extras.captions), ("settings", extras.settings)):
        if path is not None:
            inputs[name] = io.sha256_of_file(path)
    chosen = trained.history[trained.best_epoch]
    return {
        "objective": trained.name,
        "settings": asdict(settings),
        "start": trained.start.kind,
        "best_epoch": trained.best_epoch,
        "epochs": len(trained.history) - 1,
        "linear": trained.heads.text.hidden == 0,
        "tau": trained.tau,
        # No timings: the same input and seed give the same file.
        "validation": {k: v for k, v in chosen.items() if k not in TIMINGS},
        "validation_start": {k: v for k, v in trained.history[0].items() if k not in TIMINGS},
        "duplicate_texts": data.duplicates,
        "skipped_pairs": {s.name: s.skipped for s in splits if s.skipped},
        "unknown_ids": {s.name: list(s.unknown[:20]) for s in splits if s.unknown},
        "inputs": inputs,
    }


def _text(
    manifest: Mapping[str, Any], out: Path, history: list[Record], served: Files,
    reading: io.Reading | None,
) -> str:  # fmt: skip
    start, best = manifest["validation_start"], manifest["validation"]
    lines = [
        f"{manifest['objective']}: validation R@1 t2v {start['t2v_R@1']:.1f} -> "
        f"{best['t2v_R@1']:.1f}, v2t {start['v2t_R@1']:.1f} -> {best['v2t_R@1']:.1f} "
        f"(epoch {manifest['best_epoch']} of {manifest['epochs']}, "
        f"start: {manifest['start']})"
    ]
    seconds = [record["seconds"] for record in history if "seconds" in record]
    if seconds:
        lines.append(f"{np.median(seconds):.2g} s an epoch")
    if manifest["best_epoch"] == 0:
        lines.append("training did not beat the closed-form start on validation: that is kept")
    if manifest["duplicate_texts"]:
        what = "are no negatives of each other"
        if manifest["settings"]["duplicates"] != "neutral":
            what = "count as negatives of each other"
        texts, videos = nouns.sides()
        lines.append(f"{texts} that say the same of another {nouns.singular(videos)}: "
                     f"{manifest['duplicate_texts']}; such pairs {what}")  # fmt: skip
    if "test" in manifest:
        test = manifest["test"]
        lines.append(f"test R@1 t2v {test['t2v']['R@1']:.1f}, v2t {test['v2t']['R@1']:.1f}")
    words = ["rerank", "apply", "--heads", str(out)]
    words += ["--texts", str(served.texts), "--videos", str(served.videos)]
    words += [] if reading is None else reading.as_options()
    lines += [
        f"wrote {out}; --tau {manifest['tau']:.4g} is the temperature it was trained at",
        f"next  {typed_words(words)}",
    ]
    return "\n".join(lines)


def _write_pair_scores(path: Path, trained: Trained, split: Split) -> None:
    """JSON `{text id: [confidence in each of its videos, in the order of the video rows]}`."""
    objective: Any = trained.objective.cpu()
    i, j = split.data.pairs
    with torch.no_grad():
        texts = trained.heads.text_features(split.data.texts)[i]
        videos = trained.heads.video_features(split.data.videos)[j]
    scores: dict[str, list[float]] = {}
    for row, value in zip(i.tolist(), objective.confidence(texts, videos).tolist(), strict=True):
        scores.setdefault(split.text_ids[row], []).append(round(value, 6))
    io.write_json(path, scores)
