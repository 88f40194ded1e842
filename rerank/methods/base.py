"""A reranker is fitted on a bank and rewrites a similarity; a fitted one is tiny.

    settings -- fit(bank) --> fitted -- transform(sim) --> sim

Nearly every fitted reranker is a `LinearMap` of the embeddings, (d, d), or a `GalleryBias`, one
number per gallery item; `FittedPipeline` shows both as `.map` and `.gallery_bias`.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from rerank.core.errors import RerankError
from rerank.core.similarity import Similarity
from rerank.core.torch_state import usual_state
from rerank.core.words import Label
from rerank.methods.terms import Soft

# From the least to the most that was known about the test queries.
LABELS: tuple[Label, ...] = ("none", "inductive", "cross-fit", "transductive")


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
        query_groups: how many things the queries of `sim` are about, as many as there are where
            each has its own; None = not known.
        gallery_groups: the same of the gallery items, such as videos of captions.
        start: potentials of the queries and the items of `sim` that are nearly right, or None.
        judged: whether known pairs judge what is fitted on it, so that nothing need be guessed.
    """

    sim: Similarity
    gallery: Similarity | None = None
    pairs: Similarity | None = None
    positives: tuple[np.ndarray, ...] | None = None
    label: Label = "inductive"
    query_groups: int | None = None
    gallery_groups: int | None = None
    start: tuple[Tensor, Tensor] | None = None
    judged: bool = False

    def __post_init__(self) -> None:
        strongest_label([self.label])
        if not isinstance(self.sim, Similarity):
            raise RerankError(
                f"Bank: got {type(self.sim).__name__}, expected a Similarity such as "
                f"Pair(bank, gallery) or Dense(scores)"
            )
        n, m = self.sim.shape
        for other, axis, count, what in (
            (self.gallery, 1, m, "gallery items"),
            (self.pairs, 0, n, "bank queries"),
        ):
            if other is not None and other.shape[axis] != count:
                raise RerankError(f"bank: got {other.shape[axis]} {what}, expected {count}")


@dataclass(frozen=True, eq=False)
class Turn:
    """A map of either side: queries q M + s, items (1 - x) v + x unit(v A + a).

    Queries stay linear, so <q M + s, v~> is <q M, v~> and the number <s, v~> of the item.

    Attributes:
        query_matrix: (d, d) M.
        query_shift: (d,) s.
        item_matrix: (d, d) A.
        item_shift: (d,) a.
        share: x.
        unit: whether the image of an item gets norm one; not where the metric is "dot".
    """

    query_matrix: Tensor
    query_shift: Tensor
    item_matrix: Tensor
    item_shift: Tensor
    share: float
    unit: bool = True


@dataclass(frozen=True, eq=False)
class Parts:
    """A fitted stage of the family "one linear map and one number per gallery item".

    Attributes:
        matrix: (d, d) map of both sides, x -> x A, or None.
        gallery_bias: (m,) numbers in score units, or None.
        centres: what queries and what items lose before anything else, two (d,), or None.
        unit: whether mapped rows get unit norm again where the metric is cosine.
        turn: a map of either side, which also drops all biases before it, or None.
    """

    matrix: Tensor | None = None
    gallery_bias: Tensor | None = None
    centres: tuple[Tensor, Tensor] | None = None
    unit: bool = True
    turn: Turn | None = None

    @property
    def rewrites(self) -> bool:
        """Whether it rewrites embeddings."""
        return not (self.matrix is None and self.centres is None and self.turn is None)


class Fitted(ABC):
    """Frozen tensors that rewrite a similarity, and what they can say and do.

    A stage overrides what it has; the defaults are those of a stage outside the family, without
    facts, that serves as it is and cannot grow.
    """

    label: Label

    @abstractmethod
    def transform(self, sim: Similarity) -> Similarity:
        """A new, rewritten similarity."""

    @property
    def parts(self) -> Parts | None:
        """What it is made of, or None where it is no linear map and no number per item."""
        return None

    @property
    def facts(self) -> Mapping[str, Any]:
        """Figures of the fit by name, JSON values: tau, iterations, marginal_error, em_shift."""
        return {}

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know, one sentence each."""
        return ()

    @property
    def potentials(self) -> tuple[Tensor, Tensor] | None:
        """Numbers per bank query and per item that a fit on similar scores can start from."""
        return None

    def transform_bank(self, bank: Bank) -> Bank:
        """The similarities of a bank as the next stage must see them.

        A map rewrites all of them; a gallery bias belongs to the searched gallery, and the bank's
        own gallery has none.
        """
        sim = self.transform(bank.sim)
        shared = bank.pairs is bank.sim
        if self.parts is not None and self.parts.matrix is not None:
            # One bank similarity is often the same object as another; keep them shared.
            gallery = None if bank.gallery is None else self.transform(bank.gallery)
            pairs = bank.pairs if bank.pairs is None or shared else self.transform(bank.pairs)
            return replace(bank, sim=sim, gallery=gallery, pairs=sim if shared else pairs)
        return replace(bank, sim=sim, gallery=None, pairs=sim if shared else None)

    def served(self) -> "Fitted":
        """The part that unseen queries need."""
        return self

    def weakened(self, share: float) -> "Fitted | None":
        """The same with that share of its strength, where it knows how to; else None."""
        return None

    def rebiased(self, gallery_bias: Tensor) -> "Fitted":
        """The same stage for a gallery with these biases, more items or fewer.

        Raises:
            RerankError: a stage that holds more than one number per item.
        """
        raise RerankError(
            f"this method ({type(self).__name__}) holds more than one number per item, so items "
            f"cannot be added or removed; fit again with the gallery as it is now"
        )

    @property
    def term(self) -> Soft | None:
        """The bias as a term that new items can have, where it is one; see `Mixed`."""
        return None

    def grown(self, bank: Similarity) -> Tensor:
        """(m',) biases of new gallery items, from bank queries x new items.

        Raises:
            RerankError: a stage whose items are not scored one by one.
        """
        raise RerankError(
            f"{type(self).__name__} cannot give a bias to new items; fit again on the new gallery"
        )


class Reranker(ABC):
    """Frozen settings that can be fitted."""

    def __init_subclass__(cls, **given: Any) -> None:  # noqa: ANN401
        """Let the fit of any method run in torch's usual state."""
        super().__init_subclass__(**given)
        if "fit" in cls.__dict__:
            cls.fit = usual_state()(cls.fit)  # type: ignore[method-assign]

    @abstractmethod
    def fit(self, bank: "Similarity | Bank") -> Fitted:
        """Estimate from a bank; a bare similarity is taken for the test queries themselves."""

    # Whether its fitted form is a linear map of both sides.
    maps: ClassVar[bool] = False
    # Whether the bias of an item depends on that item's scores against the bank alone.
    per_item: ClassVar[bool] = False
    # Whether it takes the plan of the stage before it and then stands in its place.
    follows: ClassVar[bool] = False
    # Whether it can be fitted on known pairs instead of a plan.
    by_pairs: ClassVar[bool] = False

    def fit_after(self, plan: Fitted, bank: "Bank") -> Fitted:
        """Fit in the place of a fitted stage, on the bank that this was fitted on."""
        return self.fit(bank)

    def fit_plan(self, bank: "Bank") -> Fitted:
        """Fit where only the plan is wanted, for the stage that follows."""
        return self.fit(bank)

    def idle(self, bank: "Bank") -> str:
        """Why it cannot be fitted on a bank or would do nothing; "" where it works."""
        return ""

    def varied(self, fitted: Fitted) -> Fitted | None:
        """The fit of these settings from one of others that differ in strength alone, if it can."""
        return None

    def settled(self, bank: "Bank") -> "Reranker":
        """The settings with what is chosen from the whole gallery written down as a number."""
        return self

    def scaled(self, **settings: Any) -> "Reranker":  # noqa: ANN401  fields
        """The same settings with those of the given that it has."""
        own = {f.name for f in fields(self)}  # type: ignore[arg-type]
        return replace(self, **{k: v for k, v in settings.items() if k in own})  # type: ignore[type-var]


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
class LinearMap(Fitted):
    """x -> x A on both sides; A is (d, d)."""

    matrix: Tensor
    label: Label

    def transform(self, sim: Similarity) -> Similarity:
        """Map the embeddings of both sides (unit norm again when the metric is cosine)."""
        return sim.map(self.matrix)

    @property
    def parts(self) -> Parts:  # noqa: D102
        return Parts(matrix=self.matrix)


@dataclass(frozen=True, eq=False)
class GalleryBias(Fitted):
    """S_ij -> S_ij + g_j; one number per gallery item, (m,), in score units."""

    gallery_bias: Tensor
    label: Label

    def transform(self, sim: Similarity) -> Similarity:
        """Add the bias; serves any query, one or many, each independently of the others."""
        return sim.add_gallery_bias(self.gallery_bias)

    @property
    def parts(self) -> Parts:  # noqa: D102
        return Parts(gallery_bias=self.gallery_bias)

    def rebiased(self, gallery_bias: Tensor) -> "GalleryBias":  # noqa: D102
        return replace(self, gallery_bias=gallery_bias)


@dataclass(frozen=True)
class Pipeline(Reranker):
    """Stages fitted in order, each on what the one before made of the bank."""

    stages: tuple[Reranker, ...]

    def __post_init__(self) -> None:
        given: Any = self.stages
        if isinstance(given, str):
            from rerank.methods.registry import pipeline  # which makes pipelines itself

            given = pipeline(given).stages
        stages = (given,) if isinstance(given, Reranker) else tuple(given)
        for stage in stages:
            if not isinstance(stage, Reranker):
                raise RerankError(
                    f"Pipeline: got {type(stage).__name__}, expected settings such as "
                    f"Pipeline((EM(), Sinkhorn())), or a name such as Pipeline('em+sinkhorn')"
                )
        object.__setattr__(self, "stages", stages)

    def fit(self, bank: Similarity | Bank) -> "FittedPipeline":
        """Fit every stage on the bank as the stages before it left it."""
        return self.fit_through(as_bank(bank))[0]

    def fit_through(self, bank: Bank) -> "tuple[FittedPipeline, Pipeline, Bank]":
        """The fit, the settings with what was chosen from the bank, and the last stage's bank."""
        before = bank
        fitted: list[Fitted] = []
        settled: list[Reranker] = []
        for place, stage in enumerate(self.stages):
            plan = fitted.pop() if stage.follows and place and self._replaced(place - 1) else None
            bank = bank if plan is None else before
            stage = stage.settled(bank)
            settled.append(stage)
            if plan is not None:
                fitted.append(stage.fit_after(plan, bank))
            else:
                fitted.append(stage.fit_plan(bank) if self._replaced(place) else stage.fit(bank))
            if place + 1 < len(self.stages):
                before, bank = bank, fitted[-1].transform_bank(bank)
                if plan is not None:
                    bank = replace(bank, start=plan.potentials)
        return FittedPipeline(tuple(fitted)), Pipeline(tuple(settled)), bank

    def _replaced(self, place: int) -> bool:
        """Whether a stage only gives its plan to the next one."""
        from rerank.methods.sinkhorn import Sinkhorn  # which is a stage itself

        later = self.stages[place + 1 :]
        return bool(later) and later[0].follows and isinstance(self.stages[place], Sinkhorn)

    @property
    def lasting(self) -> "Pipeline":
        """The stages that a fit consists of: without those that only gave a plan."""
        kept = (s for i, s in enumerate(self.stages) if not self._replaced(i))
        return Pipeline(tuple(kept))


@dataclass(frozen=True)
class FittedPipeline(Fitted):
    """Fitted stages, applied in order."""

    stages: tuple[Fitted, ...]

    @property
    def label(self) -> Label:  # type: ignore[override]
        """The strongest label of the stages."""
        return strongest_label([stage.label for stage in self.stages])

    def transform(self, sim: Similarity) -> Similarity:
        """Apply every stage."""
        for stage in self.stages:
            sim = stage.transform(sim)
        return sim

    @property
    def foldable(self) -> bool:
        """Whether the whole is one linear map of both sides and one number per gallery item."""
        return self.biased and not self.turns and all(p.centres is None for p in self._parts())

    @property
    def biased(self) -> bool:
        """Whether the whole is a map of the embeddings and one number per gallery item."""
        return all(s.parts is not None for s in self.stages)

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The maps of either side, in order."""
        return tuple(parts.turn for parts in self._parts() if parts.turn is not None)

    @property
    def map(self) -> Tensor | None:
        """The (d, d) linear map of all stages, or None where no stage maps embeddings."""
        out: Tensor | None = None
        for parts in self._parts():
            if parts.matrix is not None:
                out = parts.matrix if out is None else out @ parts.matrix.to(out)
        return out

    @property
    def gallery_bias(self) -> Tensor | None:
        """The (m,) bias of all stages, or None where no stage adds one."""
        biases = [p.gallery_bias for p in self._parts() if p.gallery_bias is not None]
        return torch.stack([b.to(biases[0]) for b in biases]).sum(dim=0) if biases else None

    @property
    def parts(self) -> Parts | None:
        """Map and bias of the whole, where every stage has such parts."""
        return Parts(self.map, self.gallery_bias, unit=self.unit) if self.foldable else None

    @property
    def unit(self) -> bool:
        """Whether mapped rows get unit norm again where the metric is cosine."""
        return all(parts.unit for parts in self._parts())

    @property
    def facts(self) -> Mapping[str, Any]:
        """Those of all stages; of the later one where two have the same name."""
        return {key: value for stage in self.stages for key, value in stage.facts.items()}

    @property
    def notes(self) -> tuple[str, ...]:
        """Those of all stages."""
        return tuple(note for stage in self.stages for note in stage.notes)

    def transform_bank(self, bank: Bank) -> Bank:
        """Through every stage."""
        for stage in self.stages:
            bank = stage.transform_bank(bank)
        return bank

    def served(self) -> "FittedPipeline":
        """What unseen queries need of every stage."""
        return FittedPipeline(tuple(stage.served() for stage in self.stages))

    def _parts(self) -> Iterator[Parts]:
        return (stage.parts for stage in self.stages if stage.parts is not None)

    def __iter__(self) -> Iterator[Fitted]:
        return iter(self.stages)


def as_pipeline(fitted: Fitted) -> FittedPipeline:
    """One stage as a pipeline of one; pipelines within pipelines become one."""
    if isinstance(fitted, FittedPipeline):
        return FittedPipeline(tuple(s for stage in fitted.stages for s in as_pipeline(stage)))
    return FittedPipeline((fitted,))
