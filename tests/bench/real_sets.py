"""Real similarities for the measuring scripts, read from the folder that RERANK_DATA names."""

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
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
    if bool(scores.isnan().any()):
        raise ValueError("scores must not be NaN: a comparison with NaN counts as a hit")
    top = (scores == scores.amax(dim=1, keepdim=True)) & (scores > -torch.inf)
    return (top & right).sum(dim=1).double() / top.sum(dim=1).clamp_min(1)


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


def one_caption_rows(data: RealSet, seed: int = 0) -> Tensor:
    """One random text of every video, in the order of the videos."""
    generator = torch.Generator().manual_seed(seed)
    first: dict[int, int] = {}
    for row in torch.randperm(len(data.video_of), generator=generator).tolist():
        first.setdefault(int(data.video_of[row]), row)
    return torch.tensor([first[video] for video in sorted(first)])


def one_caption_each(data: RealSet, seed: int = 0) -> Tensor:
    """Scores of one random text of every video, in the order of the videos."""
    return data.sim.scores()[one_caption_rows(data, seed)]


def one_clip_each(seed: int = 0) -> Tensor:
    """ESC-50 prompts x one random clip of every class."""
    base = folder() / "esc50_clap"
    texts, text_ids = embeddings(base / "texts.h5")
    clips, clip_ids = embeddings(base / "videos.h5")
    right = json.loads((base / "gt.json").read_text())
    row = {clip: i for i, clip in enumerate(clip_ids)}
    generator = torch.Generator().manual_seed(seed)
    chosen = []
    for text in text_ids:
        own = right[text] if isinstance(right[text], list) else [right[text]]
        chosen.append(row[own[int(torch.randint(len(own), (1,), generator=generator))]])
    return Pair(texts, clips[torch.tensor(chosen)]).scores()


def class_rows() -> tuple[Tensor, Tensor, Tensor]:
    """ESC-50 prompts, all clips, and which of them are right, (n, m) boolean."""
    base = folder() / "esc50_clap"
    texts, text_ids = embeddings(base / "texts.h5")
    clips, clip_ids = embeddings(base / "videos.h5")
    found = json.loads((base / "gt.json").read_text())
    row = {clip: i for i, clip in enumerate(clip_ids)}
    right = torch.zeros((len(texts), len(clips)), dtype=torch.bool)
    for i, text in enumerate(text_ids):
        own = found[text] if isinstance(found[text], list) else [found[text]]
        right[i, [row[clip] for clip in own]] = True
    return texts, clips, right


def classes() -> tuple[Tensor, Tensor]:
    """Scores of ESC-50 prompts x all clips, and which of them are right."""
    texts, clips, right = class_rows()
    return Pair(texts, clips).scores(), right


def log_percent(name: str = "softmax_percent_bf16.npy") -> Tensor:
    """Logarithms of the stored softmax in percent, -inf where it rounded to nothing."""
    stored = torch.from_numpy(np.load(folder() / "match_probabilities" / name)).float()
    return torch.where(stored > 0, (stored / 100).log(), -torch.inf)


def log_odds(side: str) -> Tensor:
    """Log-odds of one direction of the match probabilities, texts x videos, -inf = unscored."""
    both = torch.load(
        folder() / "match_probabilities" / "two_directions.pth", weights_only=True
    )  # fmt: skip
    stored = both[side].float()
    scores = torch.where(stored <= -100, -torch.inf, stored)
    return scores if side == "t2v" else scores.T


def one_to_one_sets(names: Sequence[str] = ()) -> Iterator[tuple[str, Tensor]]:
    """(set and direction, square scores with the match on the diagonal) of every set at hand."""
    loaders: dict[str, Callable[[], tuple[Tensor, Tensor]]] = {
        "msrvtt100": lambda: _square(load_pair("msrvtt100")),
        "esc50": lambda: (one_clip_each(),) * 2,
        "coco500": lambda: _square(load_pair("coco500")),
        "msvd": lambda: (one_caption_each(load_pair("msvd_aligned")),) * 2,
        "cap_video": lambda: _square(load_scores("cap4video", "video_scores")),
        "cap_title": lambda: _square(load_scores("cap4video", "titles_scores")),
        "softmax": lambda: (log_percent(),) * 2,
        "log-odds": lambda: (log_odds("t2v"), log_odds("v2t")),
    }
    for name, load in loaders.items():
        if names and name not in names:
            continue
        down, up = load()
        yield f"{name} t2v", down
        yield f"{name} v2t", up.T.contiguous()


def _square(data: RealSet) -> tuple[Tensor, Tensor]:
    """Texts x their own videos, for both directions."""
    scores = data.sim.scores()[:, data.video_of]
    return scores, scores
