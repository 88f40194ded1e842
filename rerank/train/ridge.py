"""The closed-form start: the best linear map between two spaces, chosen on validation pairs.

For centred pairs (t, v) the ridge map of videos into the text space is

    B = (V^T V / p + lam s I)^{-1} V^T T / p,     s = mean diagonal of V^T V / p

and the map A of texts into the video space likewise. Each works better for one direction of
retrieval, so the start may also hold both side by side: [t, t A] . [v B, v], each part scaled to
the same mean norm, which averages the two similarities.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rerank.core.errors import RerankError
from rerank.core.pairs import transpose_positives
from rerank.core.similarity import Pair
from rerank.metrics.ranks import Ranks, ranks
from rerank.train.data import PairedData

LAMBDAS = (1e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0)


@dataclass(frozen=True, eq=False)
class Affine:
    """x -> (x - mean) W: mean (d_in,), weight (d_in, d)."""

    mean: Tensor
    weight: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Map rows (b, d_in) -> (b, d)."""
        return (x - self.mean) @ self.weight


@dataclass(frozen=True, eq=False)
class Start:
    """A closed-form pair of maps into one space.

    Attributes:
        kind: "identity", "video-to-text", "text-to-video" or "both".
        texts: map of the texts, videos: map of the videos.
        lam: the ridge weights used, (video-to-text, text-to-video); NaN where there is none.
        score: validation score, the mean reciprocal rank averaged over both directions.
    """

    kind: str
    texts: Affine
    videos: Affine
    lam: tuple[float, float]
    score: float


def both_ranks(texts: Tensor, videos: Tensor, data: PairedData) -> tuple[Ranks, Ranks]:
    """Ranks of joint embeddings by cosine: text to video, and video to text.

    A video counts by its best text; videos without a text are not judged.
    """
    sim = Pair(texts, videos)
    back = transpose_positives(data.positives, len(videos))
    return ranks(sim, data.positives), ranks(sim.T, back)


def score(texts: Tensor, videos: Tensor, data: PairedData) -> float:
    """Mean reciprocal rank of both directions, averaged: what training is judged by, 0 to 1."""
    return float(video_scores(*both_ranks(texts, videos, data), data).mean())


def video_scores(t2v: Ranks, v2t: Ranks, data: PairedData) -> Tensor:
    """(q,) what each judged video adds to the score, times their number q: the mean is the score.

    Captions of one video rise and fall together, so videos are what an error bar counts.
    """
    owner = np.array([rows[0] for rows in data.positives])
    captions = np.bincount(owner, weights=1 / t2v.values, minlength=len(data.videos))[v2t.rows]
    return torch.from_numpy(captions * len(v2t) / len(t2v) + 1 / v2t.values) / 2


def ridge_map(x: Tensor, y: Tensor, lam: float) -> Tensor:
    """(d_x, d_y) W that minimises |x W - y|^2 / p + lam s |W|^2 for centred rows; float64 inside.

    Args:
        x: (p, d_x) centred inputs.
        y: (p, d_y) centred targets.
        lam: weight relative to s, the mean variance of the input dimensions.
    """
    return _Moments.of(x, y).solve(lam)


@dataclass(frozen=True, eq=False)
class _Moments:
    """Second moments of pairs: one pass over the rows serves every lambda."""

    xx: Tensor
    xy: Tensor

    @classmethod
    def of(cls, x: Tensor, y: Tensor) -> "_Moments":
        x, y = x.double(), y.double()
        return cls(x.T @ x / len(x), x.T @ y / len(x))

    def solve(self, lam: float) -> Tensor:
        eye = torch.eye(len(self.xx), dtype=self.xx.dtype, device=self.xx.device)
        ridge = (lam * self.xx.diagonal().mean()).clamp_min(1e-12)
        return torch.linalg.solve(self.xx + ridge * eye, self.xy).float()


def candidates(
    train: PairedData, validation: PairedData, *, lambdas: Sequence[float] = LAMBDAS
) -> dict[str, Start]:
    """Every closed-form start with its validation score, lambda chosen for each direction."""
    text_mean, video_mean = train.texts.mean(dim=0), train.videos.mean(dim=0)
    text, video = train.texts - text_mean, train.videos - video_mean
    i, j = train.pairs
    x, y = text[i.to(text.device)], video[j.to(video.device)]
    d_text, d_video = text.shape[1], video.shape[1]
    nan = float("nan")

    def start(kind: str, weights: tuple[Tensor, Tensor], lam: tuple[float, float]) -> Start:
        scaled = [w / (z @ w).norm(dim=1).mean() for w, z in zip(weights, (text, video))]  # noqa: B905
        t, v = Affine(text_mean, scaled[0]), Affine(video_mean, scaled[1])
        found = score(t(validation.texts), v(validation.videos), validation)
        return Start(kind, t, v, lam, found)

    def best(kind: str, moments: _Moments) -> Start:
        made = []
        for lam in lambdas:
            w = moments.solve(lam)
            if kind == "video-to-text":
                eye = torch.eye(d_text, device=text.device)
                made.append(start(kind, (eye, w), (lam, nan)))
            else:
                eye = torch.eye(d_video, device=text.device)
                made.append(start(kind, (w, eye), (nan, lam)))
        return max(made, key=lambda s: s.score)

    out: dict[str, Start] = {}
    if d_text == d_video:
        eye = torch.eye(d_text, device=text.device)
        t, v = (Affine(torch.zeros_like(text_mean), eye) for _ in range(2))
        raw = score(validation.texts, validation.videos, validation)
        out["identity"] = Start("identity", t, v, (nan, nan), raw)
    back = out["video-to-text"] = best("video-to-text", _Moments.of(y, x))
    there = out["text-to-video"] = best("text-to-video", _Moments.of(x, y))
    out["both"] = start(
        "both",
        (
            torch.cat([back.texts.weight, there.texts.weight], dim=1),
            torch.cat([back.videos.weight, there.videos.weight], dim=1),
        ),
        (back.lam[0], there.lam[1]),
    )
    return out


def linear_start(
    train: PairedData,
    validation: PairedData,
    *,
    kind: str = "auto",
    lambdas: Sequence[float] = LAMBDAS,
) -> Start:
    """One closed-form start: "auto" is the one that validation prefers, the simpler on a tie.

    Raises:
        RerankError: "identity" between spaces of different dimension.
    """
    made = candidates(train, validation, lambdas=lambdas)
    if kind == "auto":
        return max(made.values(), key=lambda s: s.score)
    if kind not in made:
        raise RerankError(
            f"start: got {kind!r} for texts of d = {train.texts.shape[1]} and videos of d = "
            f"{train.videos.shape[1]}, expected one of {', '.join(made)}"
        )
    return made[kind]
