"""One run's moving parts: a batch's features, a step, an epoch, the validation figures."""

import math
import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rerank.core import comm
from rerank.core.errors import RerankError
from rerank.train import diagnostics
from rerank.train.data import Batch, PairedData, batches, batches_per_epoch
from rerank.train.heads import Heads, make_heads
from rerank.train.objectives.base import Context, Contrast, Features, Loss, Objective
from rerank.train.objectives.registry import build
from rerank.train.ridge import Start, both_ranks, video_scores
from rerank.train.settings import MAX_TAU, MIN_TAU, TrainSettings, batch_size, learning_rate

Record = dict[str, Any]

# Of a record, what another run of the same settings has otherwise.
TIMINGS = ("seconds", "samples_per_s")


class Diverged(RerankError):
    """A loss or an embedding that is no number any more."""


class Temperature(nn.Module):
    """The learned inverse temperature, exp(log_scale).

    As in CLIP the parameter itself is clamped, after each step: a clamp in `forward` would stop
    its gradient, and a temperature that once passed the bound could never come back.
    """

    def __init__(self, tau: float, *, learn: bool) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(-math.log(tau)), requires_grad=learn)

    def forward(self) -> Tensor:
        """The scale, a scalar."""
        return self.log_scale.exp()

    @torch.no_grad()
    def clamp(self) -> None:
        """Back between MIN_TAU and MAX_TAU."""
        self.log_scale.clamp_(min=-math.log(MAX_TAU), max=-math.log(MIN_TAU))


@dataclass(eq=False)
class Run:
    """The moving parts of a run."""

    train: PairedData
    validation: PairedData
    settings: TrainSettings
    heads: Heads
    objective: Objective
    temperature: Temperature
    optimizer: torch.optim.Optimizer

    @classmethod
    def begin(
        cls, train: PairedData, validation: PairedData, settings: TrainSettings, start: Start
    ) -> "Run":
        """Heads at the start, an objective, and an optimizer for both."""
        device = train.texts.device
        heads = make_heads(
            start, train.texts, train.videos, hidden=settings.hidden, seed=settings.seed
        ).to(device)
        context = Context(train, heads.dim, settings.seed)
        objective = build(settings.objective, context, settings.options).to(device)
        temperature = Temperature(settings.first_tau, learn=settings.learn_tau).to(device)
        shared = [*objective.parameters()]
        matrices = [p for p in (*heads.parameters(), *shared) if p.ndim > 1]
        vectors = [p for p in (*heads.parameters(), *shared) if p.ndim <= 1]
        optimizer = torch.optim.AdamW(
            [
                {"params": matrices, "weight_decay": settings.weight_decay},
                {"params": [*vectors, temperature.log_scale], "weight_decay": 0.0},
            ],
            lr=settings.lr,
            betas=(0.9, 0.98),
        )
        return cls(train, validation, settings, heads, objective, temperature, optimizer)

    def evaluate(self, *, trained: bool = True) -> tuple[Record, Tensor]:
        """Validation figures of the heads as they are, and what each video adds to the score.

        Args:
            trained: whether a map of the objective belongs behind the heads; before the first
                step the heads are the closed form and nothing else.
        """
        self.heads.eval()
        self.objective.eval()
        if trained:
            _refresh_map(self.heads, self.objective, self.train)
        data, tau = self.validation, 1 / float(self.temperature().detach())
        texts, videos = self.heads.texts(data.texts), self.heads.videos(data.videos)
        t2v, v2t = both_ranks(texts, videos, data)
        scores = video_scores(t2v, v2t, data)
        figures = {
            "score": float(scores.mean()),
            **diagnostics.recalls(t2v, v2t, texts, videos, data, self.settings.protocol),
            "tau": tau,
            **diagnostics.shape(texts, videos, data, tau),
        }
        with torch.no_grad():
            t, v = self.heads.text_features(data.texts), self.heads.video_features(data.videos)
            if self.heads.final is not None:
                figures["map"] = diagnostics.moved_by(self.heads.final, torch.cat([t, v]))
            figures |= self.objective.figures(t, v, data)
        return figures, scores

    def epoch(self, epoch: int) -> tuple[Record, Tensor]:
        """One pass over the texts, then the validation figures."""
        s = self.settings
        size = batch_size(s, len(self.train.positives))
        per_epoch = batches_per_epoch(len(self.train.positives), size)
        self.heads.train()
        self.objective.train()
        sums: dict[str, float] = {}
        began, rate = time.perf_counter(), s.lr
        # Draws of this epoch depend on the seed and the epoch alone, on every process alike.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(s.seed * 1_000_003 + epoch)
            order = batches(
                self.train, size=size, seed=s.seed, epoch=epoch, duplicates=s.duplicates
            )
            for number, batch in enumerate(order):
                rate = learning_rate(epoch * per_epoch + number, s.epochs * per_epoch, s)
                loss = self._step(batch, rate, epoch)
                value = float(loss.total.detach())
                if not math.isfinite(value):
                    raise Diverged(
                        f"the loss of {s.objective} became {value} in epoch {epoch + 1}, batch "
                        f"{number + 1}"
                    )
                for name, part in {"loss": value, **loss.parts}.items():
                    sums[name] = sums.get(name, 0.0) + float(part) / per_epoch
        seconds = time.perf_counter() - began
        texts_per_s = len(self.train.positives) / seconds
        if not all(bool(torch.isfinite(p).all()) for p in self.heads.parameters()):
            raise Diverged(f"the heads of {s.objective} became NaN in epoch {epoch + 1}")
        figures, scores = self.evaluate()
        timings = {"seconds": round(seconds, 3), "samples_per_s": round(texts_per_s, 1)}
        return {**sums, "lr": rate, **timings, **figures}, scores

    def _step(self, batch: Batch, rate: float, epoch: int) -> Loss:
        loss = self.objective(self._features(batch, epoch))
        self.optimizer.zero_grad(set_to_none=True)
        if not bool(torch.isfinite(loss.total)):
            return loss  # told by the caller, before any parameter is spoiled
        loss.total.backward()
        self._sum_gradients()
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        nn.utils.clip_grad_norm_(parameters, self.settings.clip)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.temperature.clamp()
        return loss

    def _features(self, batch: Batch, epoch: int) -> Features:
        """The batch's features: this process maps its share and gathers the others'."""
        device = self.train.texts.device
        amp = self.settings.amp == "on" or (self.settings.amp == "auto" and device.type == "cuda")
        mine_t, mine_v = comm.my_rows(len(batch.text_rows)), comm.my_rows(len(batch.video_rows))
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=amp):
            texts = self.heads.text(self.train.texts[batch.text_rows[mine_t]])
            videos = self.heads.video(self.train.videos[batch.video_rows[mine_v]])
        # Norms, similarities and the loss stay in float32: temperatures are small.
        texts = nn.functional.normalize(texts.float(), dim=1)
        videos = nn.functional.normalize(videos.float(), dim=1)
        s = self.settings
        form = Contrast(s.loss, s.used_margin, s.hard_negatives)
        return Features(
            _gathered(texts, mine_t), _gathered(videos, mine_v), batch, self.temperature(), epoch,
            form,
        )  # fmt: skip

    def _sum_gradients(self) -> None:
        """Every process has the whole loss but only its rows' gradient in the heads: add them up.

        The objective and the temperature saw everything: their mean is their gradient.
        """
        if not comm.active():
            return
        own = {id(p) for p in self.heads.parameters()}
        for group in self.optimizer.param_groups:
            for p in group["params"]:
                if p.requires_grad:
                    grad = torch.zeros_like(p) if p.grad is None else p.grad
                    share = 1 if id(p) in own else comm.world_size()
                    p.grad = comm.all_sum(grad) / share


def _gathered(rows: Tensor, mine: slice) -> Tensor:
    """Rows of all processes in order, with gradient through this process's own."""
    if not comm.active():
        return rows
    everyone = comm.gather_rows(rows.detach())
    return torch.cat([everyone[: mine.start], rows, everyone[mine.stop :]])


@torch.no_grad()
def _refresh_map(heads: Heads, objective: Objective, data: PairedData) -> None:
    """Put the objective's map behind the heads, from the training features as they are now."""
    if objective.has_map:
        heads.final = objective.final_map(
            heads.text_features(data.texts), heads.video_features(data.videos)
        )
