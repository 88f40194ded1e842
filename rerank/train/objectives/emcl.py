"""EMCL: the EM layer inside the contrastive loss (Jin et al., NeurIPS 2022).

On the stacked unit features X = [V; T] of a batch,

    X' = X + beta Y,   Y = X Z diag(1 / d) Z^T,     Z, d from `rerank.methods.em.em_basis`

starting from one row m repeated, which follows the batches by momentum:
m <- momentum m + (1 - momentum) mean_b M. The loss is InfoNCE on the cosine of X'. As published,
the gradient flows through the residual X only; `gradient="through"` lets it through Y too.

Differs from the published code: no X Z loop over rows (same arithmetic through X^T X); rows are
texts and distinct videos instead of text-conditioned videos; m is saved with the checkpoint; at
inference one map is fitted on the training features, at the statistics of an average batch, so
that no result depends on how test items are batched.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from rerank.methods.em import em_basis, reconstruction
from rerank.train.objectives.base import Context, Features, Loss, Objective
from rerank.train.objectives.registry import (
    check_choice,
    check_positive,
    check_range,
    objective,
)


@dataclass(frozen=True)
class EMCLSettings:
    """Settings of EMCL, at the values of the published training.

    Attributes:
        n_bases: K.
        n_iters: E-steps.
        lamd: temperature of the responsibilities (divides).
        beta: weight of the reconstruction.
        momentum: of the initial row.
        gradient: "residual" stops it in the reconstruction, as published; "through" does not.
    """

    n_bases: int = 32
    n_iters: int = 9
    lamd: float = 1.0
    beta: float = 3.0
    momentum: float = 0.9
    gradient: Literal["residual", "through"] = "residual"

    def __post_init__(self) -> None:
        check_choice(self, "gradient", ("residual", "through"))
        check_range(
            self, {"n_bases": 1, "n_iters": 1, "momentum": 0, "beta": -1e6},
            {"momentum": 1, "n_bases": 4096, "n_iters": 1000, "beta": 1e6},
        )  # fmt: skip
        check_positive(self, "lamd")


def published_row(n_bases: int, seed: int) -> Tensor:
    """(1, K) the published initial row: Gaussian, then each entry divided by its own size."""
    generator = torch.Generator().manual_seed(seed)
    row = torch.randn((1, n_bases), generator=generator) * (2.0 / n_bases) ** 0.5
    return row / (1e-6 + row.abs())


@objective(
    "emcl", help="EM basis decomposition inside the loss, and one map behind the heads",
    settings="EMCLSettings", source="Jin et al., NeurIPS 2022", order=1,
)  # fmt: skip
class EMCL(Objective):
    """See the module; the initial row is the buffer `row` (1, K)."""

    has_map = True
    row: Tensor
    rows_per_batch: Tensor

    def __init__(self, settings: EMCLSettings, context: Context) -> None:
        super().__init__()
        self.settings = settings
        self.register_buffer("row", published_row(settings.n_bases, context.seed))
        # Mean texts and videos in a batch: the strength of the map depends on the number of rows.
        self.register_buffer("rows_per_batch", torch.zeros(2))

    def basis(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Bases (d, K) and scale (K,) of stacked rows (b, d), from the current initial row."""
        s = self.settings
        # A copy: the buffer moves before the backward pass that may need it.
        logits = torch.outer(rows.sum(dim=0), self.row[0].to(rows.dtype, copy=True))
        return em_basis(rows.T @ rows, logits, n_iters=s.n_iters, lamd=s.lamd)

    def layer(self, rows: Tensor) -> Tensor:
        """X + beta Y for stacked rows (b, d); in training the initial row follows."""
        s = self.settings
        source = rows.detach() if s.gradient == "residual" else rows
        bases, scale = self.basis(source)
        out = rows + s.beta * (source @ reconstruction(bases, scale))
        if self.training:
            with torch.no_grad():
                mean = (rows.detach().mean(dim=0) @ bases.detach() / scale.detach())[None]
                self.row.mul_(s.momentum).add_((1 - s.momentum) * mean.to(self.row.dtype))
        return out

    def forward(self, features: Features) -> Loss:
        """The loss of one batch."""
        count = len(features.videos)
        moved = self.layer(torch.cat([features.videos, features.texts]))
        moved = functional.normalize(moved, dim=1)
        videos, texts = moved[:count], moved[count:]
        if self.training:
            seen = self.rows_per_batch.new_tensor([len(texts), count])
            first = bool(self.rows_per_batch[0] == 0)
            self.rows_per_batch.copy_(seen if first else 0.9 * self.rows_per_batch + 0.1 * seen)
        logits = features.scale * (texts @ videos.T)
        return Loss(features.contrast(logits, logits.T))

    @torch.no_grad()
    def final_map(self, texts: Tensor, videos: Tensor) -> Tensor | None:
        """A = I + beta R, (d, d), at the statistics of an average batch of these features."""
        s = self.settings
        n_texts, n_videos = self.rows_per_batch.tolist()
        if n_texts == 0:  # before the first batch there is nothing to follow
            return None
        texts, videos = texts.double(), videos.double()
        gram = n_texts / len(texts) * texts.T @ texts + n_videos / len(videos) * videos.T @ videos
        colsum = n_texts * texts.mean(dim=0) + n_videos * videos.mean(dim=0)
        logits = torch.outer(colsum, self.row[0].double())
        bases, scale = em_basis(gram, logits, n_iters=s.n_iters, lamd=s.lamd)
        eye = torch.eye(gram.shape[0], dtype=gram.dtype, device=gram.device)
        return (eye + s.beta * reconstruction(bases, scale)).float()
