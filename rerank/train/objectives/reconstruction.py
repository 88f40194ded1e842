"""Embedding reconstruction: what the support-set bottleneck is without captions.

    L = contrast + weight * mean (1 - cos(g(v~_i), x_i))

with v~_i the mixture of the text's support set (see `support`), x_i the text's centred input
embedding and g a small network. This is not the objective of the support-set paper (Patrick et al.,
ICLR 2021): no caption is written.
"""

from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from rerank.train.objectives.base import Context
from rerank.train.objectives.registry import check_choice, check_positive, check_range, objective
from rerank.train.objectives.support import FromSupport, Support


@dataclass(frozen=True)
class ReconstructionSettings:
    """Settings of the reconstruction.

    Attributes:
        support: "identity", "hybrid" or "cross".
        weight: of the reconstruction.
        tau: temperature of the attention.
        bank: past videos kept as further support; 0 for none.
        texts_per_batch: texts of a batch that are reconstructed; the first of its random order.
    """

    support: Support = "cross"
    weight: float = 0.5
    tau: float = 0.1
    bank: int = 0
    texts_per_batch: int = 1024

    def __post_init__(self) -> None:
        check_choice(self, "support", get_args(Support))
        check_positive(self, "tau")
        check_range(
            self, {"weight": 0, "bank": 0, "texts_per_batch": 1},
            {"weight": 1e6, "bank": 10_000_000},
        )  # fmt: skip


@objective(
    "reconstruction", help="text embeddings rebuilt from other samples' videos; no captions",
    settings="ReconstructionSettings", source="after Patrick et al., ICLR 2021", order=4,
)  # fmt: skip
class Reconstruction(FromSupport):
    """See the module."""

    said = "reconstruction"

    def __init__(self, settings: ReconstructionSettings, context: Context) -> None:
        super().__init__(settings, context.dim, settings.texts_per_batch)
        texts = context.data.texts
        # Inputs that never change stay outside the checkpoint.
        self._texts = texts - texts.mean(dim=0)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(context.seed)
            self.rebuild = nn.Sequential(
                nn.Linear(context.dim, context.dim), nn.GELU(),
                nn.Linear(context.dim, texts.shape[1]),
            )  # fmt: skip

    def term(self, mixture: Tensor, rows: Tensor) -> Tensor:
        """How far what is rebuilt lies from the texts."""
        return (1 - functional.cosine_similarity(self.rebuild(mixture), self._texts[rows])).mean()
