"""NCL: Sinkhorn biases inside the contrastive loss (Park et al., EMNLP 2022).

With S = s T V^T of the batch, and queues of past features adding query rows,

    b_j = log mass_j - log sum_i exp(S_ij + a_i)      one number per video
    a_i = log mass_i - log sum_j exp(S_ij + b_j)

after a first gallery step and `n_iters` (query, gallery) steps; the loss is cross-entropy of
S + b, texts to videos, and of S^T + a', videos to texts, where a' comes from the batch's and the
queue's videos against the batch's texts.

Differs from the published routine: log domain where float32 would underflow; the queue's size,
which the paper does not state, and what is in it: rows drawn from whole batches, none of which is
in the batch at hand; and, where a video has several captions, the mass of an item is that of the
queries that want it ("matched") instead of a uniform one.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from rerank.train.objectives.base import Context, Features, Loss, Objective
from rerank.train.objectives.queues import FeatureQueue
from rerank.train.objectives.registry import check_choice, check_range, objective


@dataclass(frozen=True)
class NCLSettings:
    """Settings of NCL.

    Attributes:
        n_iters: (query, gallery) steps after the first gallery step; 4 as published.
        queue: past texts, and past videos, that extend the query side; 0 for none.
        gradient: let it flow through the biases, as the published routine does by default.
        marginals: "matched" gives a gallery item the mass of the queries that want it, "uniform"
            the same to all.
    """

    n_iters: int = 4
    queue: int = 1024
    gradient: bool = True
    marginals: Literal["matched", "uniform"] = "matched"

    def __post_init__(self) -> None:
        check_range(self, {"n_iters": 0, "queue": 0}, {"n_iters": 10_000, "queue": 10_000_000})
        check_choice(self, "marginals", ("matched", "uniform"))


# Within this range of logits a float32 kernel loses nothing; beyond it the log domain is needed.
_KERNEL_RANGE = 60.0


def sinkhorn_biases(
    logits: Tensor, *, n_iters: int = 4, log_b: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Row biases (n,) and column biases (m,) of dense logits (n, m), differentiable.

    One gallery step, then `n_iters` (query, gallery) steps. With P = exp(S + a + b) every column
    of P sums to exactly its mass. Logits of moderate range use one exponential and matrix-vector
    products, others the log domain; both give the same numbers.

    Args:
        logits: (n, m), temperature included.
        n_iters: steps after the first gallery step.
        log_b: (m,) log masses of the columns, summing to one; uniform by default.
    """
    n, m = logits.shape
    if log_b is None:
        log_b = logits.new_full((m,), -math.log(m))
    low, high = (float(x) for x in torch.aminmax(logits.detach()))
    if high - low < _KERNEL_RANGE:
        middle = (low + high) / 2
        kernel = (logits - middle).exp()
        row, column = _scalings(kernel, n_iters, log_b.exp())
        return row.log(), column.log() - middle
    row = logits.new_full((n,), -math.log(n))
    column = log_b - torch.logsumexp(logits + row[:, None], dim=0)
    for _ in range(n_iters):
        row = -math.log(n) - torch.logsumexp(logits + column, dim=1)
        column = log_b - torch.logsumexp(logits + row[:, None], dim=0)
    return row, column


def _scalings(kernel: Tensor, n_iters: int, b: Tensor) -> tuple[Tensor, Tensor]:
    """Scalings u (n,), v (m,) with the column sums of diag(u) K diag(v) equal to b."""
    n = kernel.shape[0]
    u = kernel.new_full((n,), 1 / n)
    v = b / (u @ kernel)
    for _ in range(n_iters):
        u = 1 / (n * (kernel @ v))
        v = b / (u @ kernel)
    return u, v


@objective(
    "ncl", help="Sinkhorn biases of the batch and a queue inside the loss",
    settings="NCLSettings", source="Park et al., EMNLP 2022", order=2,
)  # fmt: skip
class NCL(Objective):
    """See the module."""

    def __init__(self, settings: NCLSettings, context: Context) -> None:
        super().__init__()
        self.settings = settings
        self._data = context.data
        self.text_queue = FeatureQueue(settings.queue, context.dim)
        self.video_queue = FeatureQueue(settings.queue, context.dim)

    def _bias(
        self, logits: Tensor, past: Tensor, gallery: Tensor, scale: Tensor, positive: Tensor,
        wanted_by_past: Tensor,
    ) -> Tensor:  # fmt: skip
        """(m,) gallery biases of batch logits (n, m) extended by past queries (q, d).

        `wanted_by_past` (q, m) marks the items that are right for a past query.
        """
        log_b = None
        if self.settings.marginals == "matched":
            # Each query shares its mass among its positives; a past one without any wants each.
            right = torch.cat([positive, wanted_by_past]).to(logits.dtype)
            some = right.sum(dim=1, keepdim=True)
            mass = torch.where(some > 0, right / some.clamp_min(1), 1 / right.shape[1]).sum(dim=0)
            log_b = (mass / mass.sum()).log()
        if len(past):
            logits = torch.cat([logits, scale * (past @ gallery.T)])
        if not self.settings.gradient:
            logits = logits.detach()
        return sinkhorn_biases(logits, n_iters=self.settings.n_iters, log_b=log_b)[1]

    def forward(self, features: Features) -> Loss:
        """The loss of one batch."""
        texts, videos, scale = features.texts, features.videos, features.scale
        batch, known = features.batch, self._data.known
        logits = scale * (texts @ videos.T)
        # What the batch holds is a query already.
        past_t, rows_t = self.text_queue.contents(without=batch.text_rows)
        past_v, rows_v = self.video_queue.contents(without=batch.video_rows)
        b = self._bias(
            logits, past_t, videos, scale, batch.positive, known(rows_t, batch.video_rows)
        )
        a = self._bias(
            logits.T, past_v, texts, scale, batch.positive.T, known(batch.text_rows, rows_v).T
        )
        loss = features.contrast(logits + b, logits.T + a)
        if self.training:
            self.text_queue.push(texts, batch.text_rows)
            self.video_queue.push(videos, batch.video_rows)
        counts = {"past_texts": len(past_t), "past_videos": len(past_v)}
        parts = {name: logits.new_tensor(float(count)) for name, count in counts.items()}
        return Loss(loss, {"bias_std": b.detach().std(correction=0), **parts})
