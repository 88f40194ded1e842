"""First-in first-out memories of past features, kept in the checkpoint."""

import torch
from torch import Tensor, nn


class FeatureQueue(nn.Module):
    """The last `size` feature rows, without gradient, and the data rows that they came from."""

    features: Tensor
    rows: Tensor
    filled: Tensor

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("features", torch.zeros((size, dim)))
        self.register_buffer("rows", torch.full((size,), -1, dtype=torch.int64))
        self.register_buffer("filled", torch.zeros((), dtype=torch.int64))

    def contents(self) -> tuple[Tensor, Tensor]:
        """Features (q, d) and data rows (q,) now in the queue, oldest last; copies."""
        count = int(self.filled)
        return self.features[:count].clone(), self.rows[:count].clone()

    @torch.no_grad()
    def push(self, features: Tensor, rows: Tensor) -> None:
        """Put a batch in front; what falls off the end is forgotten."""
        if not self.size:
            return
        new = torch.cat([features.detach().to(self.features), self.features])[: self.size]
        new_rows = torch.cat([rows.to(self.rows), self.rows])[: self.size]
        self.features.copy_(new)
        self.rows.copy_(new_rows)
        self.filled.copy_((self.filled + len(features)).clamp(max=self.size))
