"""A reranker is fitted on a bank and rewrites a similarity; a fitted one is tiny.

    settings -- fit(bank) --> fitted -- transform(sim) --> sim

Nearly every fitted reranker is a `LinearMap` of the embeddings, (d, d), or a `GalleryBias`, one
number per gallery item; `FittedPipeline` shows both as `.map` and `.gallery_bias`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor

from rerank.core.errors import RerankError
from rerank.core.similarity import Similarity

Label: TypeAlias = Literal["none", "inductive", "online", "cross-fit", "transductive"]

# From the least to the most that was known about the test queries.
LABELS: tuple[Label, ...] = ("none", "inductive", "online", "cross-fit", "transductive")


def strongest_label(labels: Sequence[str]) -> Label:
    """The label of a whole whose parts have these labels: the one that used most."""
    for label in labels:
        if label not in LABELS:
            raise RerankError(f"label: got {label!r}, expected one of {', '.join(LABELS)}")
    return max((LABELS[LABELS.index(label)] for label in labels), key=LABELS.index, default="none")  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class Bank:
    """What a reranker may be estimated from, for one direction, kept apart from the test queries.

    Attributes:
        sim: bank queries x gallery that will be searched.
        gallery: bank gallery x gallery that will be searched, for methods with two banks.
        pairs: bank queries x bank gallery, for EM, dual-bank Sinkhorn and the do-no-harm gate.
        positives: for each bank query the bank gallery rows that are right, where known.
        label: how the bank was obtained; "inductive" when no test query is in it.
    """

    sim: Similarity
    gallery: Similarity | None = None
    pairs: Similarity | None = None
    positives: tuple[np.ndarray, ...] | None = None
    label: Label = "inductive"

    def __post_init__(self) -> None:
        strongest_label([self.label])
        n, m = self.sim.shape
        for other, axis, count, what in (
            (self.gallery, 1, m, "gallery items"),
            (self.pairs, 0, n, "bank queries"),
        ):
            if other is not None and other.shape[axis] != count:
                raise RerankError(f"bank: got {other.shape[axis]} {what}, expected {count}")


class Fitted(Protocol):
    """Frozen tensors that rewrite a similarity."""

    @property
    def label(self) -> Label:
        """Which queries it was estimated from."""
        ...

    def transform(self, sim: Similarity) -> Similarity:
        """A new, rewritten similarity."""
        ...


class Reranker(Protocol):
    """Frozen settings that can be fitted."""

    def fit(self, bank: Similarity | Bank) -> Fitted:
        """Estimate from a bank; a bare similarity is taken for the test queries themselves."""
        ...


def as_bank(bank: Similarity | Bank) -> Bank:
    """A bare similarity is the transductive setting: its queries are the ones to be ranked.

    The careful reading is the default; wrap it in `Bank(...)` to say that no test query is in it.
    """
    if isinstance(bank, Bank):
        return bank
    if isinstance(bank, Similarity):
        return Bank(bank, pairs=bank, label="transductive")
    raise RerankError(
        f"fit: got {type(bank).__name__}, expected a Similarity such as Pair(queries, gallery) "
        f"or Dense(scores), or a Bank"
    )


@dataclass(frozen=True, eq=False)
class LinearMap:
    """x -> x A on both sides; A is (d, d)."""

    matrix: Tensor
    label: Label

    def transform(self, sim: Similarity) -> Similarity:
        """Map the embeddings of both sides (unit norm again when the metric is cosine)."""
        return sim.map(self.matrix)


@dataclass(frozen=True, eq=False)
class GalleryBias:
    """S_ij -> S_ij + g_j; one number per gallery item, (m,), in score units."""

    gallery_bias: Tensor
    label: Label

    def transform(self, sim: Similarity) -> Similarity:
        """Add the bias; serves any query, one or many, each independently of the others."""
        return sim.add_gallery_bias(self.gallery_bias)


@dataclass(frozen=True)
class Pipeline:
    """Stages fitted in order, each on what the one before made of the bank."""

    stages: tuple[Reranker, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "stages", tuple(self.stages))

    def fit(self, bank: Similarity | Bank) -> "FittedPipeline":
        """Fit every stage on the bank as the stages before it left it."""
        bank = as_bank(bank)
        fitted: list[Fitted] = []
        for stage in self.stages:
            fitted.append(stage.fit(bank))
            if len(fitted) < len(self.stages):
                bank = transform_bank(fitted[-1], bank)
        return FittedPipeline(tuple(fitted))


def transform_bank(fitted: Fitted, bank: Bank) -> Bank:
    """Rewrite the similarities of a bank, as the next stage must see them."""
    own = getattr(fitted, "transform_bank", None)
    if own is not None:
        # A stage that treats the two modalities differently knows which side is which.
        return own(bank)
    if isinstance(fitted, LinearMap) or hasattr(fitted, "matrix"):
        # One bank similarity is often the same object as another; keep them shared.
        sim = fitted.transform(bank.sim)
        gallery = None if bank.gallery is None else fitted.transform(bank.gallery)
        pairs = sim if bank.pairs is bank.sim else bank.pairs
        if bank.pairs is not None and bank.pairs is not bank.sim:
            pairs = fitted.transform(bank.pairs)
        return replace(bank, sim=sim, gallery=gallery, pairs=pairs)
    # A gallery bias belongs to the searched gallery; the bank's own gallery has none.
    sim = fitted.transform(bank.sim)
    return replace(bank, sim=sim, gallery=None, pairs=sim if bank.pairs is bank.sim else None)


@dataclass(frozen=True)
class FittedPipeline:
    """Fitted stages, applied in order."""

    stages: tuple[Fitted, ...]

    @property
    def label(self) -> Label:
        """The strongest label of the stages."""
        return strongest_label([stage.label for stage in self.stages])

    def transform(self, sim: Similarity) -> Similarity:
        """Apply every stage."""
        for stage in self.stages:
            sim = stage.transform(sim)
        return sim

    @property
    def foldable(self) -> bool:
        """Whether the whole is one linear map and one number per gallery item."""
        return all(hasattr(s, "matrix") or hasattr(s, "gallery_bias") for s in self.stages)

    @property
    def map(self) -> Tensor | None:
        """The (d, d) linear map of all stages, or None where no stage maps embeddings."""
        matrices = [stage.matrix for stage in self.stages if hasattr(stage, "matrix")]  # type: ignore[attr-defined]
        if not matrices:
            return None
        out = matrices[0]
        for matrix in matrices[1:]:
            out = out @ matrix.to(out)
        return out

    @property
    def gallery_bias(self) -> Tensor | None:
        """The (m,) bias of all stages, or None where no stage adds one."""
        biases = [s.gallery_bias for s in self.stages if hasattr(s, "gallery_bias")]  # type: ignore[attr-defined]
        return torch.stack([b.to(biases[0]) for b in biases]).sum(dim=0) if biases else None

    def __iter__(self) -> Iterator[Fitted]:
        return iter(self.stages)
