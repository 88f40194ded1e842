"""Memories of past features, each data row once and at its newest, kept in the checkpoint."""

import torch
from torch import Tensor, nn


class FeatureQueue(nn.Module):
    """At most `size` past feature rows, without gradient, and the data rows that they came from.

    A batch enters in a random order, so that of a batch larger than the queue every row has the
    same chance to stay; a row that is there already is replaced; what is oldest falls off.
    """

    features: Tensor
    rows: Tensor
    filled: Tensor

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("features", torch.zeros((size, dim)))
        self.register_buffer("rows", torch.full((size,), -1, dtype=torch.int64))
        self.register_buffer("filled", torch.zeros((), dtype=torch.int64))

    def contents(self, *, without: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Features (q, d) and data rows (q,) now in the queue, oldest last; copies.

        Args:
            without: data rows to leave out, those of the batch at hand.
        """
        count = int(self.filled)
        features, rows = self.features[:count].clone(), self.rows[:count].clone()
        if without is None or not count:
            return features, rows
        fresh = ~torch.isin(rows, without.to(rows))
        return features[fresh], rows[fresh]

    @torch.no_grad()
    def push(self, features: Tensor, rows: Tensor) -> None:
        """Put a batch in front; what falls off the end is forgotten."""
        if not self.size:
            return
        order = torch.randperm(len(rows))[: self.size].to(rows.device)
        features, rows = features.detach()[order].to(self.features), rows[order].to(self.rows)
        old, old_rows = self.contents(without=rows)
        new = torch.cat([features, old])[: self.size]
        count = len(new)
        self.features[:count] = new
        self.rows[:count] = torch.cat([rows, old_rows])[: self.size]
        self.rows[count:] = -1
        self.filled.fill_(count)
