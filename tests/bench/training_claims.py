"""What each training paper claims, as one number on held-out features."""

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor


def auc(score: Tensor, right: Tensor) -> float:
    """Probability that a right pair scores above a wrong one."""
    ranks = rankdata(score.double().numpy())
    good = right.numpy()
    n = good.sum()
    return float((ranks[good].sum() - n * (n + 1) / 2) / (n * (len(good) - n)))


def normalisation_error(texts: Tensor, videos: Tensor, wanted: Tensor, tau: float) -> float:
    """L1 distance of mean retrieval probabilities from what the queries want.

    sum_j | mean_i softmax_j(<t_i, v_j> / tau) - wanted_j |, wanted (m,) summing to one.
    """
    mass = torch.zeros(len(videos), dtype=torch.float64)
    for rows in texts.split(2048):
        mass += torch.softmax(rows @ videos.T / tau, dim=1).sum(dim=0, dtype=torch.float64)
    return float((mass / len(texts) - wanted).abs().sum())


def effective_rank(texts: Tensor, videos: Tensor) -> float:
    """exp of the entropy of the normalised eigenvalues of both modalities' mean second moment."""
    moment = texts.T @ texts / len(texts) + videos.T @ videos / len(videos)
    values = torch.linalg.eigvalsh(moment.double()).clamp_min(0)
    p = values / values.sum()
    return float(torch.exp(-(p * p.clamp_min(1e-300).log()).sum()))


def neighbours(raw_texts: Tensor, captions: list[str], owner: np.ndarray, k: int = 5) -> np.ndarray:
    """(m, k) the semantically closest videos of each, none with a caption in common.

    Closeness is the cosine of the centred mean of a video's raw caption embeddings: it does not
    depend on what was learned.
    """
    m = int(owner.max()) + 1
    which = torch.from_numpy(owner)
    mean = torch.zeros((m, raw_texts.shape[1])).index_add_(0, which, raw_texts)
    mean = mean / torch.bincount(which, minlength=m)[:, None]
    mean = torch.nn.functional.normalize(mean - mean.mean(dim=0), dim=1)
    words: list[set[str]] = [set() for _ in range(m)]
    for text, j in zip(captions, owner, strict=True):
        words[j].add(text.lower().strip())
    close = (mean @ mean.T).numpy()
    for a in range(m):
        for b in range(m):
            if a == b or words[a] & words[b]:
                close[a, b] = -2
    return np.argsort(-close, axis=1, kind="stable")[:, :k]


def neighbour_similarity(
    texts: Tensor, videos: Tensor, owner: np.ndarray, near: np.ndarray
) -> dict[str, float]:
    """Mean cosine of texts with the neighbours of their video; also as a z-score."""
    cosines, z = [], []
    for rows in torch.arange(len(texts)).split(2048):
        sims = texts[rows] @ videos.T
        mine = sims.gather(1, torch.from_numpy(near[owner[rows.numpy()]])).mean(dim=1)
        cosines.append(mine)
        z.append((mine - sims.mean(dim=1)) / sims.std(dim=1))
    pairs = (videos[:, None] * videos[torch.from_numpy(near)]).sum(dim=2)
    return {
        "text_neighbour_cos": float(torch.cat(cosines).mean()),
        "text_neighbour_z": float(torch.cat(z).mean()),
        "video_neighbour_cos": float(pairs.mean()),
    }
