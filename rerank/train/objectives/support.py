"""What a text sees of *other* samples' videos, and the loss that two objectives make of it.

    w_ij = softmax over j in S_i of <t_i, v_j> / tau        attention over the support set
    v~_i = sum_j w_ij v_j
    L    = contrast + weight * what v~_i says of text i

S_i is {the text's own videos} ("identity"), the batch ("hybrid"), or the batch without its own
videos ("cross"); a memory bank of past videos may enlarge the last two (Patrick et al., ICLR 2021).
"""

from abc import abstractmethod
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from rerank.train.objectives.base import EXCLUDED, Features, Loss, Objective, nothing
from rerank.train.objectives.queues import FeatureQueue

Support = Literal["identity", "hybrid", "cross"]


class FromSupport(Objective):
    """A contrast, and a term of what the first texts of a batch see.

    Args:
        settings: with `support`, `weight`, `tau` and `bank`.
        dim: of the features.
        most: texts of a batch that the term is about.
    """

    said: ClassVar[str]  # what the log calls the term

    def __init__(self, settings: Any, dim: int, most: int) -> None:  # noqa: ANN401
        super().__init__()
        self.settings, self.most = settings, most
        self.bank = FeatureQueue(settings.bank, dim)

    @abstractmethod
    def term(self, mixture: Tensor, rows: Tensor) -> Tensor:
        """The loss of mixtures (p, d) of the texts in these rows (p,) of the data."""

    def forward(self, features: Features) -> Loss:
        """The loss of one batch."""
        s, batch = self.settings, features.batch
        logits = features.scale * (features.texts @ features.videos.T)
        nce = features.contrast(logits, logits.T)
        count = min(self.most, len(features.texts))
        videos, allowed = support_of(s.support, features, count, self.bank)
        mixture, some = support_mixture(features.texts[:count], videos, allowed, tau=s.tau)
        rows = batch.text_rows[:count][some]
        term = self.term(mixture[some], rows) if len(rows) else nothing(nce)
        if self.training:
            self.bank.push(features.videos, batch.video_rows)
        return Loss(nce + s.weight * term, {"nce": nce.detach(), self.said: term.detach()})


def support_mixture(
    texts: Tensor, videos: Tensor, allowed: Tensor, *, tau: float
) -> tuple[Tensor, Tensor]:
    """Attention-weighted mixture of each text's support set.

    Args:
        texts: (b, d) unit features; videos: (u, d) unit features.
        videos: see `texts`.
        allowed: (b, u) bool, the support sets.
        tau: temperature.

    Returns:
        v~ (b, d), zero where the support set is empty, and which rows have one (b,) bool.
    """
    logits = (texts @ videos.T / tau).masked_fill(~allowed, EXCLUDED)
    some = allowed.any(dim=1)
    weights = torch.softmax(logits, dim=1) * some[:, None]
    return weights @ videos, some


def support_of(
    kind: Support, features: Features, count: int, bank: FeatureQueue
) -> tuple[Tensor, Tensor]:
    """Videos (u + q, d), and which of them the first texts may attend (count, u + q)."""
    positive = features.batch.positive[:count]
    if kind == "identity":
        return features.videos, positive
    allowed = ~positive if kind == "cross" else torch.ones_like(positive)
    # A past video that is in the batch would come twice, and may be a text's own; others are not.
    past, _ = bank.contents(without=features.batch.video_rows)
    if not len(past):
        return features.videos, allowed
    extra = allowed.new_ones((count, len(past)))
    return torch.cat([features.videos, past]), torch.cat([allowed, extra], dim=1)
