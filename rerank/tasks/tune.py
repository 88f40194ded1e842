"""`rerank tune` on files: read, hand over, write the settings."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np

from rerank import io
from rerank.core import nouns
from rerank.core.nouns import counted
from rerank.core.similarity import Pair
from rerank.core.words import Name
from rerank.io.files import atomic_path
from rerank.methods.directions import Direction
from rerank.methods.registry import canonical
from rerank.selection.settings_file import SETTINGS
from rerank.selection.tune import METHODS, TuneReport, tune
from rerank.tasks.inspect import read_directions
from rerank.tasks.read import pick_device, read_inputs, read_truth


def tune_files(
    gt: Path,
    out: Path,
    *,
    videos: Path | None = None,
    texts: Path | None = None,
    sims: Path | None = None,
    bank_texts: Path | None = None,
    bank_videos: Path | None = None,
    bank_sims: Path | None = None,
    heads: Path | None = None,
    methods: str | None = None,
    folds: int = 5,
    seed: int = 0,
    metric: str = "cosine",
    device: str = "auto",
    scores_are: str = "auto",
    unscored: str | None = None,
    reading: io.Reading | None = None,
    force: bool = False,
) -> TuneReport:
    """Tune on files and write the settings as JSON.

    Args:
        gt: labelled pairs; texts without an entry are left out.
        out: settings file.
        videos: embeddings; texts, sims, bank_texts, bank_videos likewise.
        texts: see `videos`.
        sims: see `videos`.
        bank_texts: see `videos`.
        bank_videos: see `videos`.
        bank_sims: see `videos`.
        heads: trained heads that both sides go through first.
        methods: names joined by commas; None = Sinkhorn, and EM before it on embeddings.
        folds: of the nested cross-validation.
        seed: of the folds.
        metric: "cosine" or "dot".
        device: "auto", "cpu" or "cuda".
        scores_are: what `sims` holds (`rerank.methods.kinds`).
        unscored: the number in it that stands for "not scored".
        reading: what the user said about the files.
        force: replace a file of another kind.

    Raises:
        RerankError: files, ids or settings that do not work; nothing is written.
    """
    said = reading or io.Reading()
    io.check_outputs(
        {"--out": out},
        (gt, videos, texts, sims, bank_texts, bank_videos, bank_sims, heads, said.text_ids,
         said.video_ids),
        force=force, kind=SETTINGS,
    )  # fmt: skip
    target = pick_device(device)
    with ExitStack() as stack:
        # Opened first: a path that cannot be written is found before the work, not after.
        page = stack.enter_context(atomic_path(out))
        inputs = read_inputs(
            videos=videos, texts=texts, sims=sims, bank_texts=bank_texts,
            bank_videos=bank_videos, bank_sims=bank_sims, metric=metric, heads=heads,
            scores_are=scores_are, unscored=unscored, reading=said, gt=gt,
        )  # fmt: skip
        truth = read_truth(gt, inputs, allow_unjudged=True)
        both = read_directions(inputs, metric=metric, device=target)
        report = tune_directions(
            both, tuple(truth.positives), methods=methods, folds=folds, seed=seed
        )
        report = replace(report, notes=(*inputs.said_of_files, *truth.notes, *_left_out(truth)))
        page.write_text(report.as_text(), encoding="utf-8")
    return report


def _left_out(truth: io.GroundTruth) -> list[str]:
    """How many texts have no entry."""
    count, total = len(truth.unjudged), len(truth.positives)
    return [f"left out, {nouns.sides()[0]} without an entry: {count} of {total}"] if count else []


def tune_directions(
    both: Mapping[Name, Direction],
    positives: Sequence[np.ndarray],
    *,
    methods: str | Sequence[str] | None = None,
    folds: int = 5,
    seed: int = 0,
) -> TuneReport:
    """`rerank.selection.tune.tune` of methods by name.

    Args:
        both: the directions.
        positives: for each text the video rows that are right; empty = unjudged.
        methods: names, or one text that joins them by commas; None = Sinkhorn, and EM before it
            on embeddings.
        folds: of the nested cross-validation.
        seed: of the folds.
    """
    if methods is None:
        vectors = isinstance(both["t2v"].sim, Pair)
        methods = [name for name in METHODS if vectors or not name.startswith("em")]
    names = methods.split(",") if isinstance(methods, str) else methods
    chosen = [canonical(name.strip()) for name in names]
    return tune(both, positives, methods=chosen, folds=folds, seed=seed)


def outcome(report: TuneReport) -> str:
    """What a person should be told."""
    recalls = ", ".join(
        f"{name} R@1 {raw:.1f} -> {tuned:.1f}" for name, (raw, tuned) in report.recall.items()
    )
    head = f"chosen: {report.settings.method}"
    if report.settings.method == "none":
        head = "chosen: none, nothing gains more than its standard error"
    return (
        f"{head} ({report.label}, {counted(report.n_pairs, 'pairs')}). On pairs that tuning did "
        f"not see ({report.n_folds} folds): {recalls}, log-probability over raw {report.gain:+.4f} "
        f"(standard error {report.error:.4f})"
    )
