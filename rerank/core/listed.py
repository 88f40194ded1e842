"""Scores of the items that a ranking lists, and nothing of the others."""

from dataclasses import dataclass

import torch
from torch import Tensor

from rerank.core.errors import RerankError
from rerank.core.similarity import Similarity


@dataclass(frozen=True, eq=False)
class Listed(Similarity):
    """Lists of the best items of every query; what is not listed was not scored, -inf.

    Args:
        items: (n, k) int64 gallery rows, -1 behind the end of a shorter list.
        values: (n, k) their scores.
        count: m, how many gallery items there are.

    >>> lists = Listed(torch.tensor([[2, 0], [1, -1]]), torch.tensor([[0.9, 0.5], [0.3, 0.0]]), 3)
    >>> lists.scores().tolist()
    [[0.5, -inf, 0.8999999761581421], [-inf, 0.30000001192092896, -inf]]
    """

    items: Tensor
    values: Tensor
    count: int

    @property
    def shape(self) -> tuple[int, int]:  # noqa: D102
        return self.items.shape[0], self.count

    @property
    def dtype(self) -> torch.dtype:  # noqa: D102
        return self.values.dtype

    @property
    def device(self) -> torch.device:  # noqa: D102
        return self.values.device

    @property
    def T(self) -> Similarity:  # noqa: D102, N802
        raise RerankError(
            "lists of the best items of each query say nothing of the other direction"
        )

    def block(self, rows: slice) -> Tensor:  # noqa: D102
        items, values = self.items[rows], self.values[rows]
        # One more column takes what stands behind the end of a list.
        out = values.new_full((len(items), self.count + 1), -torch.inf)
        out.scatter_(1, torch.where(items < 0, self.count, items), values)
        return self.corrected(out[:, : self.count].contiguous(), rows)
