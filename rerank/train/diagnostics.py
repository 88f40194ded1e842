"""What researchers look at while heads are trained, on validation data."""

import numpy as np
import torch
from torch import Tensor

from rerank.core.pairs import transpose_positives
from rerank.core.similarity import Pair
from rerank.metrics.protocols import pool_captions, resolve
from rerank.metrics.ranks import Ranks, median_rank, ranks, recall_at
from rerank.train.data import PairedData


def recalls(
    t2v: Ranks, v2t: Ranks, texts: Tensor, videos: Tensor, data: PairedData, protocol: str
) -> dict[str, float]:
    """R@1, R@5, R@10 and MdR of both directions under a protocol.

    Args:
        t2v: ranks of the texts.
        v2t: ranks of the videos among all texts.
        texts: (n, d) unit vectors.
        videos: (m, d) unit vectors.
        data: the pairs.
        protocol: a name of `rerank.metrics.protocols.PROTOCOLS`.
    """
    if resolve(protocol, data.positives, len(videos)) == "rank-videos-by-best-caption":
        back = transpose_positives(data.positives, len(videos))
        v2t = ranks(*pool_captions(Pair(texts, videos).T, back))
    out: dict[str, float] = {}
    for name, found in (("t2v", t2v), ("v2t", v2t)):
        out |= {f"{name}_R@{k}": recall_at(found, k) for k in (1, 5, 10)}
        out[f"{name}_MdR"] = median_rank(found)
    return out


def shape(texts: Tensor, videos: Tensor, data: PairedData, tau: float) -> dict[str, float]:
    """Normalisation errors of both directions at a temperature, and the effective rank."""
    i, j = data.pairs
    share = torch.from_numpy(
        np.repeat([1 / len(p) for p in data.positives], [len(p) for p in data.positives])
    )
    to_videos = torch.zeros(len(videos), dtype=torch.float64).index_add_(0, j, share)
    per_video = torch.bincount(j, minlength=len(videos))
    judged = per_video > 0
    to_texts = torch.zeros(len(texts), dtype=torch.float64)
    to_texts.index_add_(0, i, 1 / per_video[j].double())
    return {
        "error_t2v": normalisation_error(texts, videos, to_videos / to_videos.sum(), tau),
        "error_v2t": normalisation_error(
            videos[judged.to(videos.device)], texts, to_texts / to_texts.sum(), tau
        ),
        "effective_rank": effective_rank(texts, videos),
    }


def normalisation_error(queries: Tensor, gallery: Tensor, wanted: Tensor, tau: float) -> float:
    """L1 distance of mean retrieval probabilities from what the queries want, 0 to 2.

        sum_j | mean_i softmax_j(<q_i, g_j> / tau) - wanted_j |

    Args:
        queries: (n, d) unit vectors.
        gallery: (m, d) unit vectors.
        wanted: (m,) masses that sum to one.
        tau: temperature.
    """
    mass = torch.zeros(len(gallery), dtype=torch.float64, device=gallery.device)
    for rows in queries.split(2048):
        mass += torch.softmax(rows @ gallery.T / tau, dim=1).sum(dim=0, dtype=torch.float64)
    return float((mass / len(queries) - wanted.to(mass)).abs().sum())


def effective_rank(texts: Tensor, videos: Tensor) -> float:
    """Exponential of the entropy of the normalised eigenvalues of the mean second moment.

    Of the joint space as cosine sees it, not centred; each modality weighs the same.
    """
    both = torch.cat([texts / len(texts) ** 0.5, videos / len(videos) ** 0.5]).double()
    # The smaller of the two products has the same eigenvalues.
    moment = both @ both.T if len(both) < both.shape[1] else both.T @ both
    values = torch.linalg.eigvalsh(moment).clamp_min(0)
    p = values / values.sum()
    return float(torch.exp(-(p * p.clamp_min(1e-300).log()).sum()))


def moved_by(map_: Tensor, rows: Tensor) -> float:
    """Mean length of x A - x over unit rows x: the share of an embedding that a map moves."""
    return float((rows @ map_ - rows).norm(dim=1).mean())
