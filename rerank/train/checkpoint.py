"""The state of a run after an epoch, in one file, so that a killed run goes on where it was.

All draws come from (seed, epoch), so no random state is stored and a resumed run equals an
uninterrupted one to the bit. A run that is resumed with more epochs takes the learning rate of the
longer schedule from there on.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rerank.core.errors import FormatError
from rerank.core.wording import either
from rerank.io import tensorfile
from rerank.train.settings import TrainSettings

KIND = "rerank/checkpoint"
# What may differ from the settings that a run was started with: it can be extended.
EXTENSIBLE = ("epochs", "patience", "protocol")


@dataclass(eq=False)
class Progress:
    """Where a run is.

    Attributes:
        epoch: epochs done.
        best_epoch: the epoch whose heads are kept; 0 is the closed-form start.
        best_score: its validation score.
        history: one JSON record for each epoch, the start included.
        finished: whether the run came to its end; it can still be extended.
    """

    epoch: int
    best_epoch: int
    best_score: float
    history: list[dict[str, Any]]
    finished: bool = False


def save(
    path: str | Path,
    *,
    modules: Mapping[str, nn.Module],
    optimizer: torch.optim.Optimizer,
    best: Mapping[str, Tensor],
    progress: Progress,
    settings: TrainSettings,
    data: str,
) -> None:
    """Write the state; the last good file stays until the new one is complete."""
    tensors = {f"best.{name}": t for name, t in best.items()}
    for prefix, module in modules.items():
        tensors |= {f"{prefix}.{name}": t for name, t in module.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": t for name, t in state.items()}
    document = {
        "kind": KIND, "settings": asdict(settings), "data": data, "progress": asdict(progress),
    }  # fmt: skip
    tensorfile.write(path, tensors, document)


def load(
    path: str | Path,
    *,
    modules: Mapping[str, nn.Module],
    optimizer: torch.optim.Optimizer,
    settings: TrainSettings,
    data: str,
) -> tuple[Progress, dict[str, Tensor]]:
    """Put a saved state into modules and optimizer: (progress, best state).

    Raises:
        FormatError: not a checkpoint, of another objective, settings, dimension or data.
    """
    document, tensors = tensorfile.read(path, KIND, made_by="`rerank train`")
    start_over = either("start over with --fresh", "start over without resume=True")
    start_over += ", or resume with what it was started with"
    theirs, ours = document["settings"], asdict(settings)
    for name in ("objective", *(n for n in ours if n not in EXTENSIBLE)):
        if theirs.get(name) != ours[name]:
            raise FormatError(
                f"{path}: a checkpoint with {name} = {theirs.get(name)!r}, this run has "
                f"{ours[name]!r}; {start_over}"
            )
    state = {prefix: part(tensors, prefix) for prefix in (*modules, "best")}
    for prefix, module in modules.items():
        for name, tensor in module.state_dict().items():
            found = state[prefix].get(name)
            if found is None or found.shape != tensor.shape:
                got = "nothing" if found is None else f"shape {tuple(found.shape)}"
                raise FormatError(
                    f"{path}: {prefix}.{name}: got {got}, expected {tuple(tensor.shape)}: a "
                    f"checkpoint of another dimension; {start_over}"
                )
    if document["data"] != data:
        raise FormatError(f"{path}: a checkpoint of other training data; {start_over}")
    for prefix, module in modules.items():
        module.load_state_dict(state[prefix])
    plain = optimizer.state_dict()
    moments: dict[int, dict[str, Tensor]] = {}
    for key, tensor in part(tensors, "optimizer").items():
        index, _, name = key.partition(".")
        moments.setdefault(int(index), {})[name] = tensor
    optimizer.load_state_dict({"state": moments, "param_groups": plain["param_groups"]})
    return Progress(**document["progress"]), state["best"]


def peek(path: str | Path) -> Progress:
    """Where the run of a checkpoint is.

    Raises:
        FormatError: not a checkpoint, or a damaged one.
    """
    document, _ = tensorfile.read(path, KIND, made_by="`rerank train`")
    return Progress(**document["progress"])


def part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix.`, without it."""
    start = f"{prefix}."
    return {name[len(start) :]: t for name, t in tensors.items() if name.startswith(start)}
