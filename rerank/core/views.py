"""An elementwise map of a similarity: what dual softmax and the like need."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rerank.core.errors import RerankError
from rerank.core.similarity import Making, Similarity


@dataclass(frozen=True, eq=False)
class Mapped(Similarity):
    """A similarity passed through an elementwise map of (rows, scores), such as dual softmax.

    Args:
        source: the similarity below.
        function: (rows, (b, m) scores) -> (b, m) scores.
        what: name for messages.
    """

    source: Similarity
    function: Callable[[slice, Tensor], Tensor]
    what: str = "this method"

    @property
    def shape(self) -> tuple[int, int]:  # noqa: D102
        return self.source.shape

    @property
    def dtype(self) -> torch.dtype:  # noqa: D102
        return self.source.dtype

    @property
    def device(self) -> torch.device:  # noqa: D102
        return self.source.device

    @property
    def T(self) -> "Similarity":  # noqa: D102, N802
        raise RerankError(
            f"{self.what} rewrites the row direction only; for the other direction call it on the "
            f"transposed similarity (sim.T) instead of transposing its result"
        )

    @property
    def making(self) -> Making:  # noqa: D102
        made = self.source.making
        return made if self.block_size is None else replace(made, block_size=self.block_size)

    def block(self, rows: slice) -> Tensor:  # noqa: D102
        return self.corrected(self.function(rows, self.source.block(rows)), rows)
