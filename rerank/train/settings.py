"""What a training run is told."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_type_hints

from rerank.core.errors import FormatError, RerankError
from rerank.core.typed import fits, word_of
from rerank.core.words import ContrastName, Duplicates, Protocol, StartName

# Chosen with the rate and the epochs on held-out training videos of the published table.
LARGE_BATCH = 4096

# CLIP does not let its logit scale pass 100; the same bound here, and one against a flat softmax.
MIN_TAU, MAX_TAU = 0.01, 100.0
DEFAULT_TAU = 0.1
# The margin of the support-set paper.
HINGE_MARGIN = 0.2


@dataclass(frozen=True)
class TrainSettings:
    """Settings of one run; the defaults are those of the published table.

    Attributes:
        objective: a name of `rerank.train.objectives.registry.OBJECTIVES`.
        options: settings of the objective; missing ones have its defaults.
        start: the closed-form start; "auto" is the one that validation prefers.
        epochs: passes over the texts, at most.
        batch_size: texts in a batch, at most, over all processes; None is 4,096, or a quarter of
            the texts where they are fewer than four such batches.
        lr: top of the schedule.
        weight_decay: of AdamW, on matrices.
        warm_up: share of the steps in which the rate rises; a cosine follows.
        clip: largest norm of the gradient.
        tau: initial temperature, 0.01 to 100; None is 1 / logit_scale, or 0.1 without.
        logit_scale: initial inverse temperature, that of the source model; instead of `tau`.
        learn_tau: train the temperature (as a logarithm, clamped after each step to 0.01 to 100).
        loss: "infonce", or "hinge" as the support-set paper has it.
        margin: of the contrast, on cosine scale; None is 0, and 0.2 for the hinge.
        hard_negatives: hardest negatives of a row that count; 0 for all.
        duplicates: "neutral" takes word-for-word equal captions and equal embeddings out of the
            negatives, "negatives" leaves them in, as published code does.
        hidden: width of the residual MLPs, 0 for linear heads.
        patience: epochs that validation speaks against before training stops.
        val_share: share of the training videos set aside when no validation data is given.
        protocol: under which the log's figures are computed; what is kept does not depend on it.
        seed: of the split, the batches and every draw.
        amp: bfloat16 matrix products: "auto" on a GPU only, "on", "off".
    """

    objective: str = "infonce"
    options: dict[str, Any] = field(default_factory=dict)
    start: StartName = "auto"
    epochs: int = 12
    batch_size: int | None = None
    lr: float = 4e-3
    weight_decay: float = 0.01
    warm_up: float = 0.1
    clip: float = 1.0
    tau: float | None = None
    logit_scale: float | None = None
    learn_tau: bool = True
    loss: ContrastName = "infonce"
    margin: float | None = None
    hard_negatives: int = 0
    duplicates: Duplicates = "neutral"
    hidden: int = 0
    patience: int = 5
    val_share: float = 0.1
    protocol: Protocol = "auto"
    seed: int = 0
    amp: Literal["auto", "on", "off"] = "auto"

    def __post_init__(self) -> None:
        check_types({f.name: getattr(self, f.name) for f in fields(self)}, "")
        for name, low, high in (
            ("epochs", 0, 1_000_000), ("batch_size", 2, 2**31), ("patience", 1, 1_000_000),
            ("hidden", 0, 65_536), ("hard_negatives", 0, 2**31), ("seed", 0, 2**31 - 1),
            ("weight_decay", 0, 1e3), ("margin", 0, 2),
        ):  # fmt: skip
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise RerankError(f"{name}: got {value}, expected {low:,} to {high:,}")
        for name in ("lr", "clip"):
            value = getattr(self, name)
            if not (value > 0 and math.isfinite(value)):
                raise RerankError(f"{name}: got {value}, expected a number above 0")
        if not 0 <= self.warm_up < 1:
            raise RerankError(f"warm_up: got {self.warm_up}, expected a share of the steps below 1")
        if not 0 < self.val_share < 1:
            raise RerankError(f"val_share: got {self.val_share}, expected a share of the videos")
        if self.tau is not None and self.logit_scale is not None:
            raise RerankError(
                f"tau: got {self.tau} and logit_scale {self.logit_scale}, expected one of them: "
                f"tau is 1 / logit_scale"
            )
        for name, value, low, high in (
            ("tau", self.tau, MIN_TAU, MAX_TAU),
            ("logit_scale", self.logit_scale, 1 / MAX_TAU, 1 / MIN_TAU),
        ):
            # A logit scale that was trained against its bound is off by a rounding.
            if value is not None and not low * (1 - 1e-6) <= value <= high * (1 + 1e-6):
                raise RerankError(
                    f"{name}: got {value}, expected {low:g} to {high:g}, where the learned "
                    f"temperature is kept"
                )

    @property
    def first_tau(self) -> float:
        """The temperature that training starts with."""
        if self.logit_scale is not None:
            return 1 / self.logit_scale
        return DEFAULT_TAU if self.tau is None else self.tau

    @property
    def used_margin(self) -> float:
        """The margin, with the default of the loss."""
        if self.margin is not None:
            return self.margin
        return HINGE_MARGIN if self.loss == "hinge" else 0.0


def from_document(document: object, where: str) -> dict[str, Any]:
    """The settings that a JSON document names, checked; what is missing keeps its default.

    Args:
        document: a JSON object whose keys are fields of `TrainSettings`.
        where: the file, for messages.

    Raises:
        FormatError: no object, an unknown name, or a value of another type.
    """
    if not isinstance(document, dict):
        raise FormatError(
            f"{where}: got a JSON {type(document).__name__}, expected an object of settings, such "
            f'as {{"objective": "ncl", "lr": 0.004}}'
        )
    known = [f.name for f in fields(TrainSettings)]
    for name in document:
        if name not in known:
            raise FormatError(
                f"{where}: unknown setting {name!r}, expected of: {', '.join(known)}; settings of "
                f"an objective stand under options"
            )
    try:
        check_types(document, "")
    except RerankError as error:
        raise FormatError(f"{where}: {error}") from None
    return dict(document)


def check_types(values: Mapping[str, Any], where: str) -> None:
    """Every value has the type of its field.

    Raises:
        RerankError: one has not, or is a number that is not finite.
    """
    hints = get_type_hints(TrainSettings)
    for name, value in values.items():
        if not fits(value, hints[name]):
            raise RerankError(f"{where}{name}: got {value!r}, expected {word_of(hints[name])}")


def batch_size(settings: TrainSettings, texts: int) -> int:
    """Texts in a batch: as told, else `LARGE_BATCH` or a quarter of the texts."""
    if settings.batch_size is not None:
        return settings.batch_size
    return max(2, min(LARGE_BATCH, -(-texts // 4)))


def learning_rate(step: int, steps: int, settings: TrainSettings) -> float:
    """Rate of a step counted from 0: linear warm-up to `lr`, then a cosine down to zero."""
    rise = max(1, round(settings.warm_up * steps))
    if step < rise:
        return settings.lr * (step + 1) / rise
    done = (step - rise) / max(1, steps - rise)
    return settings.lr * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
