"""A weighted sum of biases from one bank, which the bank's queries can give to new items too.

    g_j = sum_k w_k (c_k - tau_k log sum_i exp((S_ij + f_ki) / tau_k)) - w (mean_k largest S_ij + c)

Each term asks an item's own scores against the bank only, once its potentials f_k are fixed.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rerank.core.errors import RerankError
from rerank.core.similarity import Similarity
from rerank.core.wording import either
from rerank.core.words import Label
from rerank.methods.base import Bank, Fitted, Parts, Reranker
from rerank.methods.terms import Soft
from rerank.passes import reduce


@dataclass(frozen=True, eq=False)
class Mixed(Fitted):
    """S_ij -> S_ij + g_j, with what gives new items their bias.

    Attributes:
        gallery_bias: (m,) g in score units.
        label: which queries it is from.
        soft: the terms with a temperature.
        nearest: weight of the mean of the largest scores.
        k: how many those are.
        constant: what is taken from that mean.
        settings: a method whose bias of an item asks its own scores only, or None.
        much: weight of that.
        grows: False where something else is in g, or the bank is gone.
    """

    gallery_bias: Tensor
    label: Label
    soft: tuple[Soft, ...] = ()
    nearest: float = 0.0
    k: int = 10
    constant: float = 0.0
    settings: Reranker | None = None
    much: float = 1.0
    grows: bool = True

    def transform(self, sim: Similarity) -> Similarity:
        """Add the bias; serves any query, one or many, each independently of the others."""
        return sim.add_gallery_bias(self.gallery_bias)

    @property
    def parts(self) -> Parts:  # noqa: D102
        return Parts(gallery_bias=self.gallery_bias)

    def rebiased(self, gallery_bias: Tensor) -> "Mixed":  # noqa: D102
        return replace(self, gallery_bias=gallery_bias)

    def served(self) -> "Mixed":
        """Without the bank's potentials."""
        return replace(self, soft=(), grows=False)

    def grown(self, bank: Similarity) -> Tensor:  # noqa: D102
        if not self.grows:
            again = either(
                "`rerank fit --no-gate --keep-bank`", "rerank.fit(..., gate=False, keep_bank=True)"
            )
            raise RerankError(
                "the bank is not held in a form that gives new items their bias; fit again with "
                f"{again}, or fit again with the new items"
            )
        out = torch.zeros(bank.shape[1], dtype=bank.dtype, device=bank.device)
        for term in self.soft:
            out += term.of(bank)
        if self.nearest:
            k = min(self.k, reduce.total_queries(bank))
            out -= self.nearest * (reduce.mean_topk(bank, k, over="queries") + self.constant)
        if self.settings is not None:
            parts = self.settings.fit(Bank(bank)).parts
            assert parts is not None and parts.gallery_bias is not None
            out += self.much * parts.gallery_bias
        return out
