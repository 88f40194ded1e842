"""InfoNCE, the baseline: symmetric cross-entropy with several positives.

    L = (contrast(s T V^T) + contrast(s V T^T)) / 2

where captions of one video are positives and never negatives of each other. Source: Oord et al.
2018; CLIP, Radford et al. 2021 (symmetric, learned temperature).
"""

from dataclasses import dataclass

from rerank.train.objectives.base import Context, Features, Loss, Objective
from rerank.train.objectives.registry import objective


@dataclass(frozen=True)
class InfoNCESettings:
    """InfoNCE has no settings of its own."""


@objective(
    "infonce", help="contrast of pairs with the rest of the batch; the baseline",
    settings="InfoNCESettings", source="Oord et al. 2018; Radford et al. 2021", order=0,
)  # fmt: skip
class InfoNCE(Objective):
    """See the module."""

    def __init__(self, settings: InfoNCESettings, context: Context) -> None:
        super().__init__()

    def forward(self, features: Features) -> Loss:
        """The loss of one batch."""
        logits = features.scale * (features.texts @ features.videos.T)
        return Loss(features.contrast(logits, logits.T))
