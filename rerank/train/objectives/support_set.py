"""Support-set bottleneck: write a caption from *other* samples' videos (Patrick et al., ICLR 2021).

    w_ij = softmax over j in S_i of <t_i, v_j> / tau        attention over the support set
    v~_i = sum_j w_ij v_j
    L    = InfoNCE + weight * (-mean log p_decoder(caption_i | v~_i))

S_i is {the text's own videos} ("identity"), the batch ("hybrid"), or the batch without its own
videos ("cross", the paper's best); a memory bank of past videos may enlarge the last two. Without
captions the decoder gives way to an *embedding reconstruction*, which is not the paper's
objective: 1 - cos(g(v~_i), x_i) with x_i the text's centred input embedding.

No code was published. Differs from the paper: a small decoder trained from scratch instead of T5,
InfoNCE instead of the hinge loss, frozen inputs.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from rerank.core.errors import RerankError
from rerank.train.objectives.base import EXCLUDED, Context, Features, Loss, Objective, info_nce
from rerank.train.objectives.captions import caption_tokens
from rerank.train.objectives.decoder import CaptionDecoder
from rerank.train.objectives.queues import FeatureQueue

Support = Literal["identity", "hybrid", "cross"]


@dataclass(frozen=True)
class SupportSetSettings:
    """Settings of the support-set objective.

    Attributes:
        support: "identity", "hybrid" or "cross".
        weight: of the captioning (or reconstruction) term.
        tau: temperature of the attention.
        bank: past videos kept as further support; 0 for none.
        vocabulary: most caption tokens.
        length: tokens kept of a caption.
        width: of the decoder.
        layers: of the decoder.
        captions_per_batch: texts of a batch that are captioned; the first of its random order.
    """

    support: Support = "cross"
    weight: float = 0.5
    tau: float = 0.1
    bank: int = 0
    vocabulary: int = 1000
    length: int = 16
    width: int = 96
    layers: int = 1
    captions_per_batch: int = 256

    def __post_init__(self) -> None:
        if self.support not in get_args(Support):
            raise RerankError(
                f"support: got {self.support!r}, expected one of {', '.join(get_args(Support))}"
            )
        if not self.tau > 0 or self.bank < 0 or self.length < 3 or self.captions_per_batch < 1:
            raise RerankError(
                "tau: above 0; bank: at least 0; length: at least 3; captions_per_batch: at least 1"
            )


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


class SupportSet(Objective):
    """See the module. Captions make it the paper's objective; without them it reconstructs."""

    def __init__(self, settings: SupportSetSettings, context: Context) -> None:
        super().__init__()
        self.settings = settings
        self.bank = FeatureQueue(settings.bank, context.dim)
        data = context.data
        self._tokens, self._texts = None, data.texts - data.texts.mean(dim=0)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(context.seed)
            if data.captions is None:
                self.reconstruct = nn.Sequential(
                    nn.Linear(context.dim, context.dim), nn.GELU(),
                    nn.Linear(context.dim, data.texts.shape[1]),
                )  # fmt: skip
                return
            tokens, vocabulary = caption_tokens(
                data.captions, vocabulary=settings.vocabulary, length=settings.length
            )
            self._tokens = tokens.to(data.texts.device)
            self.decoder = CaptionDecoder(
                context.dim, vocabulary, settings.length,
                width=settings.width, layers=settings.layers,
            )  # fmt: skip

    def _support(self, features: Features, count: int) -> tuple[Tensor, Tensor]:
        """Videos (u + q, d), and which of them the first texts may attend (count, u + q)."""
        batch, kind = features.batch, self.settings.support
        positive = batch.positive[:count]
        if kind == "identity":
            return features.videos, positive
        allowed = ~positive if kind == "cross" else torch.ones_like(positive)
        past, rows = self.bank.contents()
        if not len(past):
            return features.videos, allowed
        # A past video that is in the batch would come twice, and may be a text's own.
        fresh = ~torch.isin(rows, batch.video_rows)
        extra = fresh[None].expand(count, -1)
        return torch.cat([features.videos, past]), torch.cat([allowed, extra], dim=1)

    def forward(self, features: Features) -> Loss:
        """The loss of one batch."""
        s, batch = self.settings, features.batch
        logits = features.scale * (features.texts @ features.videos.T)
        nce = info_nce(logits, logits.T, batch.positive)
        count = min(s.captions_per_batch, len(features.texts))
        videos, allowed = self._support(features, count)
        mixture, some = support_mixture(features.texts[:count], videos, allowed, tau=s.tau)
        rows = batch.text_rows[:count][some]
        if self._tokens is not None:
            name, term = "caption", self.decoder(mixture[some], self._tokens[rows])
        else:
            made = self.reconstruct(mixture[some])
            term = (1 - functional.cosine_similarity(made, self._texts[rows], dim=1)).mean()
            name = "reconstruction"
        if self.training:
            self.bank.push(features.videos, batch.video_rows)
        return Loss(nce + s.weight * term, {"nce": nce.detach(), name: term.detach()})
