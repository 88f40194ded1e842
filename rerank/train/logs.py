"""Figures of a run for people: JSON lines and TensorBoard."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rerank.core.errors import RerankError
from rerank.core.wording import label
from rerank.io.files import replacing


def write_jsonl(path: Path, history: Sequence[dict[str, Any]]) -> None:
    """One JSON object a line, one line an epoch; the whole file, so a resumed run repeats none.

    The epoch comes first, by which the file is known again.
    """
    lines = (json.dumps({"epoch": record["epoch"], **record}) + "\n" for record in history)
    with replacing(path) as file:
        file.write("".join(lines).encode())


class TensorBoardLog:
    """Scalars of every epoch in a TensorBoard folder, each epoch once.

    Args:
        folder: where the logs are.
        resume: whether a run goes on whose epochs may be there already; otherwise what is there
            is of an older run, and TensorBoard is told to leave it out.

    Raises:
        RerankError: TensorBoard is not installed.
    """

    def __init__(self, folder: Path, *, resume: bool = False) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise RerankError(
                f"{label('tensorboard')} needs the library: pip install 'rerank-toolkit[train]'"
            ) from None
        there = epochs_in(folder)
        self._writer = SummaryWriter(str(folder), purge_step=0 if there and not resume else None)
        self._written = there if resume else set[int]()

    def add(self, history: Sequence[dict[str, Any]]) -> None:
        """Write the records that are new."""
        for record in history:
            if record["epoch"] in self._written:
                continue
            self._written.add(record["epoch"])
            for name, value in record.items():
                if isinstance(value, (int, float)) and name != "epoch":
                    self._writer.add_scalar(name, value, record["epoch"])
        self._writer.flush()

    def close(self) -> None:
        """Finish the files."""
        self._writer.close()


def epochs_in(folder: Path) -> set[int]:
    """The epochs that a TensorBoard folder holds."""
    if not folder.is_dir() or not any(folder.iterdir()):
        return set()
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    return {event.step for tag in events.Tags()["scalars"] for event in events.Scalars(tag)}
