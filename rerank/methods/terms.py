"""A bias that an item gets from its own scores against a bank, once the bank's side is fixed."""

from dataclasses import dataclass, replace

from torch import Tensor

from rerank.core.similarity import Similarity
from rerank.passes import reduce


@dataclass(frozen=True, eq=False)
class Soft:
    """One term: constant - tau log sum_i exp((S_ij + potential_i) / tau), times a weight."""

    weight: float
    tau: float
    potential: Tensor
    constant: float

    def times(self, much: float) -> "Soft":
        """So much of it."""
        return replace(self, weight=much * self.weight)

    def of(self, bank: Similarity) -> Tensor:
        """(m',) of the items that bank queries are compared with."""
        f = self.potential.to(bank.dtype)
        found = reduce.logsumexp(bank, self.tau, over="queries", plus=f)
        return self.weight * (self.constant - self.tau * found)
