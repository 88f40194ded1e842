"""Support-set bottleneck: write a caption from *other* samples' videos (Patrick et al., ICLR 2021).

    L = contrast + weight * (-mean log p_decoder(caption_i | v~_i))

v~_i is the mixture of the text's support set (see `support`); "cross" is the paper's best.

No code was published. Differs from the paper: a small decoder trained from scratch instead of T5,
InfoNCE instead of the hinge loss unless it is asked for (`loss="hinge"`, margin .2), frozen inputs.
Without captions this is no captioning and is called what it is, `reconstruction`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor

from rerank.core.errors import RerankError
from rerank.train.data import PairedData
from rerank.train.objectives.base import Context
from rerank.train.objectives.captions import learn_vocabulary, log_frequencies, unigram_loss
from rerank.train.objectives.decoder import CaptionDecoder
from rerank.train.objectives.registry import check_choice, check_positive, check_range, objective
from rerank.train.objectives.support import FromSupport, Support, support_mixture

# Validation captions that the log is measured on.
_LOGGED = 512


@dataclass(frozen=True)
class SupportSetSettings:
    """Settings of the support-set objective.

    Attributes:
        support: "identity", "hybrid" or "cross".
        weight: of the captioning term; 10 as published.
        tau: temperature of the attention.
        bank: past videos kept as further support; 0 for none.
        vocabulary: most caption tokens.
        length: tokens kept of a caption.
        width: of the decoder.
        layers: of the decoder.
        captions_per_batch: texts of a batch that are captioned; the first of its random order.
    """

    support: Support = "cross"
    weight: float = 10.0
    tau: float = 0.1
    bank: int = 0
    vocabulary: int = 500
    length: int = 16
    width: int = 64
    layers: int = 1
    captions_per_batch: int = 1024

    def __post_init__(self) -> None:
        check_choice(self, "support", get_args(Support))
        check_positive(self, "tau")
        check_range(
            self,
            {"weight": 0, "bank": 0, "vocabulary": 8, "length": 3, "width": 4, "layers": 1,
             "captions_per_batch": 1},
            {"weight": 1e6, "bank": 10_000_000, "vocabulary": 1_000_000, "length": 4096,
             "width": 65536, "layers": 64},
        )  # fmt: skip
        if self.width % 4:
            raise RerankError(f"width: got {self.width}, expected a multiple of 4, the heads")


@objective(
    "support-set", help="captions written from other samples' videos; needs --captions",
    settings="SupportSetSettings", source="Patrick et al., ICLR 2021", order=3,
    needs="captions", otherwise="reconstruction",
)  # fmt: skip
class SupportSet(FromSupport):
    """See the module."""

    said = "caption"

    def __init__(self, settings: SupportSetSettings, context: Context) -> None:
        super().__init__(settings, context.dim, settings.captions_per_batch)
        data = context.data
        captions = data.captions or ()
        self._words = learn_vocabulary(
            captions, vocabulary=settings.vocabulary, length=settings.length
        )
        tokens = self._words.encode(captions)
        self._log_p = log_frequencies(tokens, len(self._words))
        self._tokens = tokens.to(data.texts.device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(context.seed)
            self.decoder = CaptionDecoder(
                context.dim, len(self._words), settings.length,
                width=settings.width, layers=settings.layers, log_p=self._log_p,
            )  # fmt: skip

    def term(self, mixture: Tensor, rows: Tensor) -> Tensor:
        """How badly the captions are written from the mixtures."""
        return self.decoder(mixture, self._tokens[rows])

    @torch.no_grad()
    def figures(self, texts: Tensor, videos: Tensor, data: PairedData) -> Mapping[str, float]:
        """Loss of captions that were not trained on.

        From their own mixtures, from the mixtures of other captions, from token frequencies alone.
        """
        if data.captions is None:
            return {}
        some = torch.linspace(0, len(texts) - 1, min(_LOGGED, len(texts))).long().unique()
        allowed = torch.ones((len(some), len(videos)), dtype=torch.bool, device=texts.device)
        own = data.known(some, torch.arange(len(videos))).to(texts.device)
        if self.settings.support != "hybrid":
            allowed = own if self.settings.support == "identity" else ~own
        mixture, _ = support_mixture(texts[some], videos, allowed, tau=self.settings.tau)
        tokens = self._words.encode([data.captions[i] for i in some.tolist()]).to(texts.device)
        order = torch.randperm(len(some), generator=torch.Generator().manual_seed(0))
        return {
            "caption_held_out": float(self.decoder(mixture, tokens)),
            "caption_shuffled": float(self.decoder(mixture[order.to(mixture.device)], tokens)),
            "caption_unigram": unigram_loss(tokens.cpu(), self._log_p),
        }
