"""Choose training settings on training videos alone: no test file is opened.

    RERANK_DATA=... python tests/bench/training_settings.py < settings.jsonl

A line is a JSON object of `TrainSettings` (and `"noisy": true` for the ground truth with wrong
pairs). Every fold sets a fifth of the training videos aside to measure on; the rest is split and
trained as in the table. Wrong pairs are trained and early-stopped on, never measured on.
"""

import argparse
import json
import sys
import time

import numpy as np
from real_sets import embeddings, folder, video_rows

from rerank.metrics.ranks import recall_at
from rerank.train import PairedData, TrainSettings, candidates, fit_heads, paired, split_by_video
from rerank.train.ridge import both_ranks


def training_data(*, noisy: bool) -> PairedData:
    """The training split of the MSVD features."""
    at = folder() / "msvd"
    texts, text_ids = embeddings(at / "train_texts.h5")
    videos, video_ids = embeddings(at / "train_videos.h5")
    gt = video_rows(
        at / ("train_gt_noisy30.json" if noisy else "train_gt.json"), text_ids, video_ids
    )
    captions = json.loads((at / "train_captions.json").read_text())
    return paired(texts, videos, gt.numpy(), captions=[captions[i] for i in text_ids])


def split(fold: int, *, noisy: bool) -> tuple[PairedData, PairedData, PairedData]:
    """Training, validation, and what is measured on, always with right pairs."""
    rest, held = split_by_video(training_data(noisy=noisy), share=0.2, seed=1000 + fold)
    if noisy:
        _, held = split_by_video(training_data(noisy=False), share=0.2, seed=1000 + fold)
    return *split_by_video(rest, seed=fold), held


def measured(texts, videos, data: PairedData) -> list[float]:  # noqa: ANN001  tensors
    """R@1 and mean reciprocal rank, text to video and video to text."""
    found = both_ranks(texts, videos, data)
    return [
        f(r) for r in found for f in (lambda r: recall_at(r, 1), lambda r: (100 / r.values).mean())
    ]


def main() -> None:
    """Print one line for each line of settings, the closed-form starts first."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folds", type=int, default=4)
    folds = range(parser.parse_args().folds)
    print("R@1 and MRR text to video, R@1 and MRR video to text, mean MRR")
    starts: dict[str, list[list[float]]] = {}
    for fold in folds:
        train, validation, held = split(fold, noisy=False)
        for kind, start in candidates(train, validation).items():
            row = measured(start.texts(held.texts), start.videos(held.videos), held)
            starts.setdefault(kind, []).append(row)
    for kind, rows in starts.items():
        show(rows, kind)
    for line in filter(str.strip, sys.stdin):
        told = json.loads(line)
        noisy = told.pop("noisy", False)
        rows, began = [], time.perf_counter()
        for fold in folds:
            train, validation, held = split(fold, noisy=noisy)
            heads = fit_heads(train, validation, TrainSettings(**told, seed=fold)).heads
            rows.append(measured(heads.texts(held.texts), heads.videos(held.videos), held))
        show(rows, f"{line.strip()}  {(time.perf_counter() - began) / len(folds):.0f} s")


def show(rows: list[list[float]], name: str) -> None:
    """Means over folds."""
    mean = np.mean(rows, axis=0)
    print(" ".join(f"{x:6.2f}" for x in (*mean, (mean[1] + mean[3]) / 2)), name, flush=True)


if __name__ == "__main__":
    main()
