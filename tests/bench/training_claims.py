"""What each training paper claims, as one number on held-out features.

Normalisation error and effective rank are in `rerank.train.diagnostics`: the log has them too.
"""

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


def neighbour_similarity(videos: Tensor, near: np.ndarray) -> np.ndarray:
    """(m,) mean cosine of each video with its neighbours."""
    close = (videos[:, None] * videos[torch.from_numpy(near)]).sum(dim=2)
    return close.mean(dim=1).double().numpy()
