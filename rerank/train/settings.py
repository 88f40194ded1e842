"""What a training run is told."""

import math
from dataclasses import dataclass, field
from typing import Any, Literal

from rerank.core.errors import RerankError

# Chosen with the rate and the epochs on held-out training videos of the published table.
LARGE_BATCH = 4096


@dataclass(frozen=True)
class TrainSettings:
    """Settings of one run; the defaults are those of the published table.

    Attributes:
        objective: "infonce", "emcl", "ncl", "support-set" or "cali-nce".
        options: settings of the objective; missing ones have its defaults.
        start: the closed-form start; "auto" is the one that validation prefers.
        epochs: passes over the texts, at most.
        batch_size: texts in a batch, over all processes; None is 4,096, or a quarter of the texts
            where they are fewer than four such batches.
        lr: top of the schedule.
        weight_decay: of AdamW, on matrices.
        warm_up: share of the steps in which the rate rises; a cosine follows.
        clip: largest norm of the gradient.
        tau: initial temperature.
        learn_tau: train it (as a logarithm, not below 0.01).
        hidden: width of the residual MLPs, 0 for linear heads.
        patience: epochs that validation speaks against before training stops.
        val_share: share of the training videos set aside when no validation data is given.
        seed: of the split, the batches and every draw.
        amp: bfloat16 matrix products: "auto" on a GPU only, "on", "off".
    """

    objective: str = "infonce"
    options: dict[str, Any] = field(default_factory=dict)
    start: Literal["auto", "identity", "video-to-text", "text-to-video", "both"] = "auto"
    epochs: int = 12
    batch_size: int | None = None
    lr: float = 4e-3
    weight_decay: float = 0.01
    warm_up: float = 0.1
    clip: float = 1.0
    tau: float = 0.1
    learn_tau: bool = True
    hidden: int = 0
    patience: int = 5
    val_share: float = 0.1
    seed: int = 0
    amp: Literal["auto", "on", "off"] = "auto"

    def __post_init__(self) -> None:
        for name, low in (("epochs", 0), ("batch_size", 2), ("patience", 1), ("hidden", 0)):
            value = getattr(self, name)
            if value is not None and value < low:
                raise RerankError(f"{name}: got {value}, expected at least {low}")
        for name in ("lr", "clip", "tau"):
            value = getattr(self, name)
            if not (value > 0 and math.isfinite(value)):
                raise RerankError(f"{name}: got {value}, expected a positive number")
        if not 0 <= self.warm_up < 1:
            raise RerankError(f"warm_up: got {self.warm_up}, expected a share of the steps")
        if not self.weight_decay >= 0:
            raise RerankError(f"weight_decay: got {self.weight_decay}, expected at least 0")
        if self.start not in ("auto", "identity", "video-to-text", "text-to-video", "both"):
            raise RerankError(
                f"start: got {self.start!r}, expected auto, identity, video-to-text, "
                f"text-to-video or both"
            )
        if self.amp not in ("auto", "on", "off"):
            raise RerankError(f"amp: got {self.amp!r}, expected 'auto', 'on' or 'off'")


def batch_size(settings: TrainSettings, texts: int) -> int:
    """Texts in a batch: as told, else `LARGE_BATCH` or a quarter of the texts."""
    if settings.batch_size is not None:
        return settings.batch_size
    return max(2, min(LARGE_BATCH, texts // 4))


def learning_rate(step: int, steps: int, settings: TrainSettings) -> float:
    """Rate of a step counted from 0: linear warm-up to `lr`, then a cosine down to zero."""
    rise = max(1, round(settings.warm_up * steps))
    if step < rise:
        return settings.lr * (step + 1) / rise
    done = (step - rise) / max(1, steps - rise)
    return settings.lr * 0.5 * (1 + math.cos(math.pi * done))
