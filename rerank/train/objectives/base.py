"""What an objective is: a module that turns a batch's features into a loss, and its own memory."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from rerank.train.data import Batch, PairedData

# Stands for "not in this sum"; unlike -inf it leaves no NaN in a gradient of an empty row.
EXCLUDED = -1e30


@dataclass(frozen=True, eq=False)
class Context:
    """What an objective may know when it is built.

    Attributes:
        data: the training data.
        dim: dimension of the joint space.
        seed: of everything it draws.
    """

    data: PairedData
    dim: int
    seed: int


@dataclass(frozen=True, eq=False)
class Features:
    """One batch as the objectives see it, gathered over processes.

    Attributes:
        texts: (b, d) unit features with gradient.
        videos: (u, d) unit features with gradient.
        batch: their rows and the known pairs.
        scale: learned inverse temperature, with gradient.
        epoch: epochs done before this one, counted from 0.
    """

    texts: Tensor
    videos: Tensor
    batch: Batch
    scale: Tensor
    epoch: int


@dataclass(frozen=True, eq=False)
class Loss:
    """What to minimise, and its parts for the log."""

    total: Tensor
    parts: Mapping[str, Tensor] = field(default_factory=dict)


class Objective(nn.Module, ABC):
    """A loss with its own parameters and memory; both are in its `state_dict`.

    Memory (queues, momentum rows) is changed by `forward` in training mode only. An objective
    with a map behind the heads sets `has_map` and overrides `final_map`.
    """

    has_map: ClassVar[bool] = False

    @abstractmethod
    def forward(self, features: Features) -> Loss:
        """The loss of one batch."""

    def final_map(self, texts: Tensor, videos: Tensor) -> Tensor | None:
        """A (d, d) map that belongs behind the heads at inference, from training features."""
        return None


def pair_losses(logits: Tensor, positive: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The loss of every known pair, other positives of the same row left out of its contrast.

        l_ij = -log(exp S_ij / (exp S_ij + sum over negatives k of i of exp S_ik))

    Args:
        logits: (n, m) scores, temperature and biases included.
        positive: (n, m) bool.

    Returns:
        l (p,), rows (p,) and columns (p,), in row-major order of `positive`.
    """
    rows, columns = positive.nonzero(as_tuple=True)
    negatives = torch.logsumexp(logits.masked_fill(positive, EXCLUDED), dim=1)
    return functional.softplus(negatives[rows] - logits[rows, columns]), rows, columns


def contrast(logits: Tensor, positive: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean over rows of the mean over a row's pairs of (weight times) `pair_losses`.

    Args:
        logits: (n, m); positive: (n, m) bool, at least one per row.
        positive: see `logits`.
        weights: (n, m) weights of the pairs, or None for one.
    """
    losses, rows, columns = pair_losses(logits, positive)
    share = 1.0 / positive.sum(dim=1).clamp_min(1)[rows]
    if weights is not None:
        share = share * weights[rows, columns]
    return (losses * share).sum() / positive.shape[0]


def info_nce(
    to_videos: Tensor, to_texts: Tensor, positive: Tensor, weights: Tensor | None = None
) -> Tensor:
    """Both directions: (contrast of texts x videos + contrast of videos x texts) / 2.

    Args:
        to_videos: (b, u) logits texts x videos.
        to_texts: (u, b) logits videos x texts; the transpose unless each carries its own biases.
        positive: (b, u) bool.
        weights: (b, u) weights of the pairs, or None.
    """
    back = None if weights is None else weights.T
    return (contrast(to_videos, positive, weights) + contrast(to_texts, positive.T, back)) / 2
