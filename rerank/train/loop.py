"""The training loop: heads start closed-form, and are kept trained only if validation says so."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rerank.core import comm, progress
from rerank.core.errors import RerankError
from rerank.core.wording import either, label, option
from rerank.train import checkpoint
from rerank.train.checkpoint import Progress
from rerank.train.data import PairedData
from rerank.train.heads import Heads
from rerank.train.objectives.base import Objective
from rerank.train.objectives.registry import effective, full_settings
from rerank.train.ridge import Start, linear_start
from rerank.train.run import Diverged, Record, Run
from rerank.train.settings import TrainSettings

# Key of the best epoch's video scores beside the kept state.
TOP = "top.scores"


@dataclass(frozen=True, eq=False)
class Trained:
    """What a run gives.

    Attributes:
        heads: the best heads by validation, on the CPU, in evaluation mode; where nothing beat the
            closed form, the closed form.
        name: of the objective; "reconstruction" for a support-set run without captions.
        objective: of the same epoch, with the parts that inference drops.
        start: the closed-form start.
        history: one record for each epoch; record 0 is the start.
        best_epoch: whose heads these are, see `is_kept`; 0 = the start was never beaten.
        tau: the temperature of the best epoch.
    """

    heads: Heads
    name: str
    objective: Objective
    start: Start
    history: list[Record]
    best_epoch: int
    tau: float


def fit_heads(
    train: PairedData,
    validation: PairedData,
    settings: TrainSettings,
    *,
    device: torch.device | str = "cpu",
    checkpoint_path: str | Path | None = None,
    resume: bool = False,
    on_epoch: Callable[[list[Record]], None] | None = None,
) -> Trained:
    """Train projection heads on frozen embeddings.

    Every process of a `torchrun` group calls this with the same arguments; each maps its share of
    a batch, features are gathered, and the result equals that of one process.

    Args:
        train: what is learned from.
        validation: what chooses the start, the epoch, and whether training is kept at all.
        settings: see `TrainSettings`.
        device: where to compute.
        checkpoint_path: written after every epoch by the first process; at the end marked as
            finished.
        resume: go on from `checkpoint_path`; with more epochs also after a run's end.
        on_epoch: called by the first process with all records so far.

    Example:
        >>> import numpy as np
        >>> from rerank.train import TrainSettings, fit_heads, paired, split_by_video
        >>> rng = np.random.default_rng(0)
        >>> hidden, owner = rng.standard_normal((40, 5)), np.repeat(np.arange(40), 3)
        >>> videos = hidden @ rng.standard_normal((5, 8))
        >>> said = hidden[owner] + 0.3 * rng.standard_normal((120, 5))
        >>> data = paired(said @ rng.standard_normal((5, 6)), videos, owner)
        >>> train, validation = split_by_video(data, share=0.25)
        >>> trained = fit_heads(train, validation, TrainSettings(epochs=2))
        >>> trained.history[trained.best_epoch]["score"] >= trained.history[0]["score"]
        True

    Raises:
        RerankError: unusable settings or data, a checkpoint that is missing or of another run, or
            a loss that is no number any more; the last good checkpoint is then still in place.
    """
    settings = completed(settings, captions=train.captions is not None)
    train, validation = train.to(torch.device(device)), validation.to(torch.device(device))
    start = linear_start(train, validation, kind=settings.start)
    run = Run.begin(train, validation, settings, start)
    fingerprint = train.fingerprint() + validation.fingerprint()
    # The map behind the heads is made anew from these after every epoch.
    modules = {
        "text": run.heads.text, "video": run.heads.video,
        "objective": run.objective, "temperature": run.temperature,
    }  # fmt: skip
    keep: dict[str, Any] = {
        "modules": modules, "optimizer": run.optimizer, "settings": settings, "data": fingerprint,
    }  # fmt: skip
    if resume:
        if checkpoint_path is None or not Path(checkpoint_path).exists():
            raise RerankError(
                f"{label('resume')}: there is no checkpoint {checkpoint_path}; start without it"
            )
        state, best = checkpoint.load(checkpoint_path, **keep)
        state.finished = False
        _announce(on_epoch, state)
    else:
        first, scores = run.evaluate(trained=False)
        state = Progress(0, 0, first["score"], [{"epoch": 0, "start": start.kind, **first}])
        best = {**_copy(run), TOP: scores}
        _announce(on_epoch, state)
    with progress.task(f"training {settings.objective}", settings.epochs) as advance:
        advance(state.epoch)
        while state.epoch < settings.epochs:
            if state.epoch - state.best_epoch >= settings.patience:
                break
            try:
                record, scores = run.epoch(state.epoch)
            except Diverged as error:
                kept = ""
                if checkpoint_path is not None and state.epoch:
                    kept = f"the checkpoint of epoch {state.epoch} is kept in {checkpoint_path}; "
                raise RerankError(
                    f"{error}; {kept}{either('start over with --fresh', 'start over')}, "
                    f"with a lower {option('lr')} (now {settings.lr:g})"
                ) from None
            state.epoch += 1
            state.history.append({"epoch": state.epoch, **record})
            top = best[TOP]
            if is_kept(scores, top, start=state.history[0]["score"]):
                state.best_epoch, state.best_score = state.epoch, record["score"]
                best = {**_copy(run), TOP: max(scores, top, key=torch.mean)}
            if checkpoint_path is not None and comm.rank() == 0:
                checkpoint.save(checkpoint_path, best=best, progress=state, **keep)
            _announce(on_epoch, state)
            advance(1)
    state.finished = True
    if checkpoint_path is not None and comm.rank() == 0:
        checkpoint.save(checkpoint_path, best=best, progress=state, **keep)
    run.heads.final = best.get("heads.final")
    for name, module in (("heads", run.heads), ("objective", run.objective)):
        module.load_state_dict(checkpoint.part(best, name))
    return Trained(
        run.heads.cpu().eval(), settings.objective, run.objective.cpu().eval(), start,
        state.history, state.best_epoch, state.history[state.best_epoch]["tau"],
    )  # fmt: skip


def completed(settings: TrainSettings, *, captions: bool) -> TrainSettings:
    """The settings with the objective that this data makes of it, and all its options."""
    name = effective(settings.objective, captions=captions)
    return replace(settings, objective=name, options=full_settings(name, settings.options))


def is_kept(scores: Tensor, top: Tensor, *, start: float) -> bool:
    """Whether an epoch replaces the one that is kept.

    It must beat the start, and not fall behind the best epoch by more than the standard error of
    their paired difference. Among epochs that validation cannot tell apart the later one wins: its
    learning rate has come down, while the highest of many noisy scores is mostly luck.

    Args:
        scores: (q,) what each validation video adds to this epoch's score.
        top: (q,) the same for the best epoch so far.
        start: score of the closed-form start.
    """
    behind = top - scores
    error = float(behind.std(correction=0)) / len(behind) ** 0.5
    return float(scores.mean()) > start and float(behind.mean()) <= error


def _announce(on_epoch: Callable[[list[Record]], None] | None, state: Progress) -> None:
    if on_epoch is not None and comm.rank() == 0:
        on_epoch(state.history)


def _copy(run: Run) -> dict[str, Tensor]:
    """The state of heads and objective as it is now."""
    return {
        f"{prefix}.{name}": tensor.detach().clone()
        for prefix, module in (("heads", run.heads), ("objective", run.objective))
        for name, tensor in module.state_dict().items()
    }
