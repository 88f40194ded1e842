"""Figures of a run for people: JSON lines and TensorBoard."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rerank.core.errors import RerankError
from rerank.io.files import replacing


def write_jsonl(path: Path, history: Sequence[dict[str, Any]]) -> None:
    """One JSON object a line, one line an epoch; the whole file, so a resumed run repeats none."""
    with replacing(path) as file:
        file.write("".join(json.dumps(record) + "\n" for record in history).encode())


class TensorBoardLog:
    """Scalars of every epoch in a TensorBoard folder.

    Raises:
        RerankError: TensorBoard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise RerankError(
                "--tensorboard needs the library: pip install 'rerank-toolkit[train]'"
            ) from None
        self._writer = SummaryWriter(str(folder))
        self._written = 0

    def add(self, history: Sequence[dict[str, Any]]) -> None:
        """Write the records that are new."""
        for record in history[self._written :]:
            for name, value in record.items():
                if isinstance(value, (int, float)) and name != "epoch":
                    self._writer.add_scalar(name, value, record["epoch"])
        self._written = len(history)
        self._writer.flush()

    def close(self) -> None:
        """Finish the files."""
        self._writer.close()
