"""Taking out the mean: distribution normalisation (a bias) and mean-centring (of embeddings)."""

from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from rerank.core.errors import RerankError
from rerank.core.rows import centred
from rerank.core.similarity import Pair, Similarity
from rerank.core.words import Label
from rerank.methods.base import Bank, Fitted, GalleryBias, Parts, Reranker, as_bank
from rerank.methods.checks import need_pair
from rerank.methods.registry import method
from rerank.passes import gallery as items
from rerank.passes import reduce
from rerank.passes import reduce as moments


@method("dn", help=".25 of the mean over the bank", source="Zhou et al., NeurIPS 2023")
@dataclass(frozen=True)
class DistributionNormalization(Reranker):
    """S_ij - weight mean_b S_bj: each item is charged its mean score over the bank.

    With inner products this is <x - weight mean(bank), v> up to what is constant in a row, so the
    gallery's own mean is not needed, and stored scores do as well as embeddings.

    Args:
        weight: lambda; published .25.

    Source: Zhou et al., NeurIPS 2023 (DN): (x - lambda mu_x) . (v - lambda mu_v), means from 100
    validation samples; here from the whole bank.
    """

    weight: float = 0.25

    per_item: ClassVar[bool] = True

    def fit(self, bank: Similarity | Bank) -> GalleryBias:
        """Estimate every gallery item's mean score on the bank."""
        bank = as_bank(bank)
        mean, _ = moments.column_moments(bank.sim)
        return GalleryBias(items.neutral(bank.sim, -self.weight * mean), bank.label)


@method(
    "center",
    help="each modality minus its mean, unit norm again",
    source="Liang et al., NeurIPS 2022",
    needs=("embeddings", "bank"),
    stage="embeddings",
)
@dataclass(frozen=True)
class Centering(Reranker):
    """x - weight mean of its modality, then unit norm again: closes the modality gap.

    The queries' mean comes from the bank queries (exact copies of a query count once), the
    gallery's from the gallery that is searched. With metric "dot" nothing is renormalised, which
    leaves a bias: `DistributionNormalization` with weight 1.

    Args:
        weight: 1 removes the means.

    Source: Liang et al., NeurIPS 2022 (modality gap); Dinu and Baroni, 2014 for the centring of
    both spaces. Needs embeddings; not a bias, because every vector gets a new norm.
    """

    weight: float = 1.0

    def fit(self, bank: Similarity | Bank) -> "Centred":
        """Estimate both means.

        Raises:
            NeedsEmbeddings: the bank stores scores only.
            RerankError: the bank's scores already carry biases.
        """
        bank = as_bank(bank)
        sim = need_pair(bank.sim, "centring")
        means = moments.embedding_means(
            sim, query_mass=reduce.query_masses(sim), gallery_mass=reduce.gallery_masses(sim)
        )
        return Centred(self.weight * means[0], self.weight * means[1], bank.label)


@dataclass(frozen=True, eq=False)
class Centred(Fitted):
    """Fitted centring.

    Attributes:
        query_mean: (d,) taken from every query.
        gallery_mean: (d,) taken from every gallery item.
        label: which queries it was estimated from.
    """

    query_mean: Tensor
    gallery_mean: Tensor
    label: Label

    def transform(self, sim: Similarity) -> Similarity:
        """Centre both sides, each by its own mean."""
        return self._shift(sim, self.query_mean)

    @property
    def parts(self) -> Parts:  # noqa: D102
        return Parts(centres=(self.query_mean, self.gallery_mean))

    def transform_bank(self, bank: Bank) -> Bank:
        """Centre a bank; the rows of `bank.gallery` are gallery items, not queries."""
        sim = self.transform(bank.sim)
        pairs = bank.pairs
        if pairs is not None:
            pairs = sim if pairs is bank.sim else self.transform(pairs)
        gallery = bank.gallery
        if gallery is not None:
            gallery = self._shift(gallery, self.gallery_mean)
        return replace(bank, sim=sim, pairs=pairs, gallery=gallery)

    def _shift(self, sim: Similarity, query_mean: Tensor) -> Pair:
        pair = need_pair(sim, "centring")
        if pair.queries.shape[1] != len(self.query_mean):
            raise RerankError(
                f"centring was fitted on embeddings of d = {len(self.query_mean)}, got d = "
                f"{pair.queries.shape[1]}; fit on embeddings of the same model"
            )
        unit = pair.metric == "cosine"
        q0, v0 = (mean.to(pair.device, pair.dtype) for mean in (query_mean, self.gallery_mean))
        queries = centred(pair.queries, q0, "queries after centring", unit=unit)
        gallery = centred(pair.gallery, v0, "gallery after centring", unit=unit)
        return replace(pair, queries=queries, gallery=gallery)
