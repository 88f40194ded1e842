"""Real similarities for the measuring scripts, read from the folder that RERANK_DATA names."""

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import h5py
import torch
from torch import Tensor

from rerank.core.similarity import Dense, Pair, Similarity


@dataclass(frozen=True, eq=False)
class RealSet:
    """Texts x videos with the video of each text (every text has one; a video may have several)."""

    name: str
    sim: Similarity
    video_of: Tensor


def folder() -> Path:
    """The data folder; without the variable the script ends with a sentence."""
    name = os.environ.get("RERANK_DATA")
    if not name or not Path(name).is_dir():
        sys.exit("set RERANK_DATA to the folder of real embeddings")
    return Path(name)


def embeddings(path: Path) -> tuple[Tensor, list[str]]:
    """Vectors and ids of one file."""
    with h5py.File(path) as file:
        return torch.from_numpy(file["embeddings"][:]).float(), list(file["ids"].asstr()[:])


def video_rows(gt: Path, texts: list[str], videos: list[str]) -> Tensor:
    """Row of the right video for each text."""
    right = json.loads(gt.read_text())
    row = {video: i for i, video in enumerate(videos)}
    first = [right[text] if isinstance(right[text], str) else right[text][0] for text in texts]
    return torch.tensor([row[video] for video in first])


def load_pair(name: str, prefix: str = "") -> RealSet:
    """A set of embeddings: coco500, msrvtt100, msvd_aligned (prefix "bank_" for its bank)."""
    base = folder() / name
    texts, text_ids = embeddings(base / f"{prefix}texts.h5")
    videos, video_ids = embeddings(base / f"{prefix}videos.h5")
    right = video_rows(base / f"{prefix}gt.json", text_ids, video_ids)
    return RealSet(f"{prefix}{name}", Pair(texts, videos), right)


def load_scores(name: str, file: str) -> RealSet:
    """A set of stored scores: cap4video."""
    base = folder() / name
    with h5py.File(base / f"{file}.h5") as source:
        scores = torch.from_numpy(source["scores"][:]).float()
        texts, videos = (list(source[key].asstr()[:]) for key in ("query_ids", "gallery_ids"))
    return RealSet(f"{name}/{file}", Dense(scores), video_rows(base / "gt.json", texts, videos))


def all_sets() -> list[RealSet]:
    """Every set at hand, the small one last."""
    return [
        load_pair("coco500"),
        load_scores("cap4video", "video_scores"),
        load_scores("cap4video", "titles_scores"),
        load_pair("msvd_aligned"),
        load_pair("msrvtt100"),
    ]


def floored(data: RealSet, keep: int = 50) -> RealSet:
    """Every row's scores outside its `keep` best raised to its worst kept score."""
    scores = data.sim.scores()
    edge = scores.topk(keep, dim=1).values[:, -1:]
    return RealSet(f"{data.name}, top {keep}", Dense(torch.maximum(scores, edge)), data.video_of)


def hits(scores: Tensor, right: Tensor) -> Tensor:
    """Expected R@1 of each row over random orders of tied items; right (n, m) is boolean."""
    if not bool(torch.isfinite(scores).all()):
        raise ValueError("scores must be finite: a comparison with NaN counts as a hit")
    top = scores == scores.amax(dim=1, keepdim=True)
    return (top & right).sum(dim=1).double() / top.sum(dim=1)


def recall(
    data: RealSet, *, video_bias: Tensor | None = None, text_bias: Tensor | None = None
) -> tuple[float, float]:
    """R@1 in percent, text to video and video to text (a video counts by its best caption)."""
    scores = data.sim.scores()
    right = data.video_of[:, None] == torch.arange(scores.shape[1])
    t2v = scores if video_bias is None else scores + video_bias
    v2t = scores.T if text_bias is None else scores.T + text_bias
    return (
        100 * float(hits(t2v, right).mean()),
        100 * float(hits(v2t, right.T).mean()),
    )
