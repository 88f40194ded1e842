"""MSVD captions for the training scripts: splits, a smaller set for quick runs, and wrong pairs."""

import json
from functools import cache

import numpy as np
import torch
from real_sets import embeddings, folder, video_rows

from rerank.train import PairedData, paired, split_by_video

# Captions of each video that a quick run sees.
QUICK_CAPTIONS = 4


@cache
def split(name: str, *, quick: bool = False) -> PairedData:
    """ "train" or "test"; quick: the first captions of each video only."""
    at = folder() / "msvd"
    texts, text_ids = embeddings(at / f"{name}_texts.h5")
    videos, video_ids = embeddings(at / f"{name}_videos.h5")
    captions = json.loads((at / f"{name}_captions.json").read_text())
    owner = video_rows(at / f"{name}_gt.json", text_ids, video_ids).numpy()
    keep = np.arange(len(owner))
    if quick:
        seen = np.zeros(len(video_ids), dtype=int)
        kept = []
        for row, j in enumerate(owner):
            seen[j] += 1
            if seen[j] <= QUICK_CAPTIONS:
                kept.append(row)
        keep = np.array(kept)
    return paired(
        texts[torch.from_numpy(keep)],
        videos,
        owner[keep],
        captions=[captions[text_ids[i]] for i in keep],
    )


def with_wrong_pairs(
    data: PairedData, *, draw: int, share: float = 0.3
) -> tuple[PairedData, np.ndarray]:
    """The data with a share of the texts given to another video, and which are right (n,)."""
    rng = np.random.default_rng([77, draw])
    owner = np.concatenate(data.positives)
    wrong = rng.random(len(owner)) < share
    shift = rng.integers(1, len(data.videos), len(owner))
    given = np.where(wrong, (owner + shift) % len(data.videos), owner)
    return paired(data.texts, data.videos, given, captions=data.captions), ~wrong


def tuning(fold: int, *, quick: bool, noisy: bool) -> tuple[PairedData, PairedData, PairedData]:
    """Training, validation, and what is measured on: all of the training videos, pairs measured on
    are always right."""
    data = split("train", quick=quick)
    rest, held = split_by_video(data, share=0.2, seed=1000 + fold)
    if noisy:
        rest, _ = with_wrong_pairs(rest, draw=1000 + fold)
    return *split_by_video(rest, seed=fold), held
