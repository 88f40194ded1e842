"""CSLS and NNN: an item is charged its closeness to its k nearest bank queries."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from rerank.core.errors import RerankError
from rerank.core.similarity import Similarity
from rerank.methods.base import Bank, GalleryBias, Reranker, as_bank
from rerank.methods.registry import method
from rerank.passes import gallery as items
from rerank.passes import reduce


def closeness(sim: Similarity, k: int) -> Tensor:
    """(m,) mean of every gallery item's k largest scores over the bank queries.

    Of fewer than k where fewer queries scored the item; the mean of the others where none did.
    """
    return items.neutral(sim, reduce.mean_topk(sim, k, over="queries", scored=True))


def _check(k: int) -> None:
    if k < 1:
        raise RerankError(f"k: got {k}, expected at least 1")


@method("csls", help="half the mean of 10 nearest queries", source="Conneau et al., ICLR 2018")
@dataclass(frozen=True)
class CSLS(Reranker):
    """S_ij - r_j / 2, r_j = mean of item j's k largest scores over the bank queries.

    Args:
        k: neighbours, at most the bank's queries; published 10.

    Source: Conneau et al., ICLR 2018 (MUSE): 2 S_ij - r_i - r_j. Halved, so that scores keep their
    scale, and without the query's own r_i, which changes no ranking of its row; in this form an
    unseen query can be served.
    """

    k: int = 10

    def __post_init__(self) -> None:
        _check(self.k)

    per_item: ClassVar[bool] = True

    def fit(self, bank: Similarity | Bank) -> GalleryBias:
        """Estimate the closeness of every gallery item to the bank."""
        bank = as_bank(bank)
        return GalleryBias(-0.5 * closeness(bank.sim, self.k), bank.label)


@method("nnn", help=".75 of the mean of 128 nearest queries", source="Chowdhury et al., EMNLP 2024")
@dataclass(frozen=True)
class NNN(Reranker):
    """S_ij - alpha r_j, r_j = mean of item j's k largest scores over the bank queries.

    Args:
        alpha: weight; .75 as the authors recommend (the package's own default is .5).
        k: neighbours, at most the bank's queries; 128 as recommended (the package: 256).

    Source: Chowdhury et al., EMNLP 2024 (`nnn-retrieval`), whose scores these are.
    """

    alpha: float = 0.75
    k: int = 128

    def __post_init__(self) -> None:
        _check(self.k)

    per_item: ClassVar[bool] = True

    def fit(self, bank: Similarity | Bank) -> GalleryBias:
        """Estimate the closeness of every gallery item to the bank."""
        bank = as_bank(bank)
        return GalleryBias(-self.alpha * closeness(bank.sim, self.k), bank.label)
