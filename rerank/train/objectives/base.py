"""What an objective is: a module that turns a batch's features into a loss, and its own memory.

Its constructor takes the settings, annotated with their class, and a `Context`.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from rerank.core.words import ContrastName
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


@dataclass(frozen=True)
class Contrast:
    """How a pair is set against its negatives; S are logits, s the scale, m the margin.

        infonce   l_ij = -log(exp(S_ij - s m) / (exp(S_ij - s m) + sum_k exp S_ik))
        hinge     l_ij = mean over k of max(0, m + S_ik / s - S_ij / s)

    over the negatives k of row i, or its `hard` hardest ones. The hinge with all negatives is the
    one of the support-set paper (margin .2); one hardest negative is that of EMCL's MMT variant
    (margin .05).

    Attributes:
        loss: "infonce" or "hinge".
        margin: on cosine scale.
        hard: hardest negatives of a row that count; 0 for all.
    """

    loss: ContrastName = "infonce"
    margin: float = 0.0
    hard: int = 0

    def pairs(
        self, logits: Tensor, positive: Tensor, neutral: Tensor | None = None,
        scale: Tensor | float = 1.0,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        """The loss of every known pair, other positives of the same row left out of its contrast.

        A row without negatives has a loss of zero.

        Args:
            logits: (n, m) scores, temperature and biases included.
            positive: (n, m) bool.
            neutral: (n, m) bool, pairs that are neither right nor wrong, or None.
            scale: inverse temperature that is in the logits; the margin is in its units.

        Returns:
            l (p,), rows (p,) and columns (p,), in row-major order of `positive`.
        """
        rows, columns = positive.nonzero(as_tuple=True)
        out = positive if neutral is None else positive | neutral
        wrong = logits.masked_fill(out, EXCLUDED)
        if 0 < self.hard < wrong.shape[1]:
            wrong = wrong.topk(self.hard, dim=1).values
        right = logits[rows, columns]
        if self.loss == "hinge":
            counts = (wrong > EXCLUDED / 2).sum(dim=1).clamp_min(1)
            over = (self.margin + (wrong[rows] - right[:, None]) / scale).clamp_min(0)
            return over.sum(dim=1) / counts[rows], rows, columns
        if self.margin:
            right = right - scale * self.margin
        return functional.softplus(torch.logsumexp(wrong, dim=1)[rows] - right), rows, columns

    def rows(
        self, logits: Tensor, positive: Tensor, neutral: Tensor | None = None,
        scale: Tensor | float = 1.0, weights: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """Mean over rows of the mean over a row's pairs of (weight times) `pairs`.

        Args:
            logits: (n, m).
            positive: (n, m) bool, at least one per row.
            neutral: see `pairs`.
            scale: see `pairs`.
            weights: (n, m) weights of the pairs, or None for one.
        """
        losses, rows, columns = self.pairs(logits, positive, neutral, scale)
        share = 1.0 / positive.sum(dim=1).clamp_min(1)[rows]
        if weights is not None:
            share = share * weights[rows, columns]
        return (losses * share).sum() / max(1, positive.shape[0])


@dataclass(frozen=True, eq=False)
class Features:
    """One batch as the objectives see it, gathered over processes.

    Attributes:
        texts: (b, d) unit features with gradient.
        videos: (u, d) unit features with gradient.
        batch: their rows and the known pairs.
        scale: learned inverse temperature, with gradient.
        epoch: epochs done before this one, counted from 0.
        form: how pairs are set against negatives.
    """

    texts: Tensor
    videos: Tensor
    batch: Batch
    scale: Tensor
    epoch: int
    form: Contrast = Contrast()

    def contrast(
        self, to_videos: Tensor, to_texts: Tensor, weights: Tensor | None = None
    ) -> Tensor:
        """The contrastive loss of this batch, both directions averaged; see `info_nce`."""
        return info_nce(
            to_videos, to_texts, self.batch.positive, weights,
            neutral=self.batch.neutral, form=self.form, scale=self.scale,
        )  # fmt: skip


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

    def figures(self, texts: Tensor, videos: Tensor, data: PairedData) -> Mapping[str, float]:
        """Figures of the objective's own for the log, on unit features of validation data."""
        return {}


def info_nce(
    to_videos: Tensor, to_texts: Tensor, positive: Tensor, weights: Tensor | None = None,
    *, neutral: Tensor | None = None, form: Contrast | None = None, scale: Tensor | float = 1.0,
) -> Tensor:  # fmt: skip
    """Both directions: (contrast of texts x videos + contrast of videos x texts) / 2.

    Args:
        to_videos: (b, u) logits texts x videos.
        to_texts: (u, b) logits videos x texts; the transpose unless each carries its own biases.
        positive: (b, u) bool.
        weights: (b, u) weights of the pairs, or None.
        neutral: (b, u) bool, pairs that are neither right nor wrong, or None.
        form: InfoNCE unless it says otherwise.
        scale: inverse temperature that is in the logits, for margins.
    """
    form = form or Contrast()
    turned = [None if x is None else x.T for x in (neutral, weights)]
    there = form.rows(to_videos, positive, neutral, scale, weights)
    return (there + form.rows(to_texts, positive.T, turned[0], scale, turned[1])) / 2


def nothing(like: Tensor) -> Tensor:
    """A zero for a term that has no rows in this batch."""
    return like.new_zeros(())
