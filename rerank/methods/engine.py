"""The one engine: two directions, a method and its settings in, both fits out.

Every door calls it: `rerank()`, `apply`, `compare`, `fit`, `tune`, `eval`. So the same input,
method and settings give the same numbers everywhere.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeAlias

import torch
from torch import Tensor

from rerank.core import nouns, products
from rerank.core.errors import RerankError
from rerank.core.similarity import Pair, Similarity
from rerank.core.wording import label, option
from rerank.core.words import Label, Name
from rerank.methods import one_plan
from rerank.methods.align import Aligned
from rerank.methods.base import Bank, Fitted, FittedPipeline, GalleryBias, Pipeline, strongest_label
from rerank.methods.directions import Direction
from rerank.methods.em import Basis
from rerank.methods.marginals import choose, masses
from rerank.methods.registry import canonical, cards_of, pipeline
from rerank.methods.repeats import repeats
from rerank.methods.sinkhorn import Potentials, Sinkhorn
from rerank.passes import reduce

# Evidence: tests/bench/align_table.py.
DEFAULT_FOR_EMBEDDINGS = "sinkhorn+align+sinkhorn"
DEFAULT_FOR_SCORES = "sinkhorn"

# From here on, some hundreds of either side, one converged fit serves both directions.
ONE_FIT_ELEMENTS = 2**18
# Sweeps of large problems round scores: in full precision their solutions are this far off, and a
# fit of the other direction would be as far.
_ONE_FIT_ERROR = 0.05
# From here on a neighbour graph, two passes over all pairs, is cheaper than dozens of sweeps.
SPARSE_FROM = 100_000_000_000
# Where queries have fewer scored items on average than this, their hubs cannot be told from items
# that are right: measured, the best 3 or 5 of each query lose up to 6 points of R@1, the best 10
# gain.
FEWEST_SCORED = 10


@dataclass(frozen=True, eq=False)
class Verdict:
    """What a gate lets through.

    Attributes:
        fitted: the fit, or None where the direction stays raw.
        sentences: what a person should be told.
        facts: figures behind it.
        stages: settings that were fitted as they are; empty where the gate chose by itself.
        report: all that the gate saw, for those who know it; or None.
    """

    fitted: FittedPipeline | None
    sentences: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    stages: Pipeline = Pipeline(())
    report: object = None


# (stages that were asked for, bank, queries x gallery that will be ranked) -> what may be used.
# Where those queries are not known yet, the last is the bank's own similarity.
Gate: TypeAlias = Callable[[Pipeline, Bank, Similarity], Verdict]


@dataclass(frozen=True, eq=False)
class Fit:
    """One direction, fitted.

    Attributes:
        direction: what went in.
        fitted: the fitted stages, or None where the direction stays raw.
        stages: the settings that were fitted; empty behind a gate, which chooses by itself.
        notes: what the engine did besides, one sentence each.
        gate: figures of the gate, where one judged.
        idle: why a stage of the default was left out, or "".
        seen: the direction's similarity as the last stage saw it, where the fit made it.
    """

    direction: Direction
    fitted: FittedPipeline | None
    stages: Pipeline
    notes: tuple[str, ...] = ()
    gate: Mapping[str, Any] | None = None
    idle: str = ""
    seen: Similarity | None = None

    @property
    def label(self) -> Label:
        """Which queries the fit used."""
        return "none" if self.fitted is None else self.fitted.label

    @property
    def facts(self) -> Mapping[str, Any]:
        """Figures of the fit."""
        return {} if self.fitted is None else self.fitted.facts

    @property
    def sentences(self) -> tuple[str, ...]:
        """All that a person should be told about this direction, besides its warnings."""
        return (*self.notes, *(() if self.fitted is None else self.fitted.notes))

    @cached_property
    def sim(self) -> Similarity:
        """The rewritten similarity."""
        raw = self.direction.sim
        if self.fitted is None:
            return raw
        if self.seen is not None and self.fitted.stages:
            return self.fitted.stages[-1].transform(self.seen)
        return self.fitted.transform(raw)


@dataclass(frozen=True, eq=False)
class Run:
    """Both directions, fitted by one method.

    Attributes:
        method: what was fitted, as the registry spells it.
        settings: as given.
        fits: by direction; usually both.
    """

    method: str
    settings: Mapping[str, Any]
    fits: Mapping[Name, Fit]

    @property
    def label(self) -> Label:
        """The strongest label of the directions."""
        return strongest_label([fit.label for fit in self.fits.values()])

    @property
    def t2v(self) -> Fit:
        """Texts rank videos."""
        return self.fits["t2v"]

    @property
    def v2t(self) -> Fit:
        """Videos rank texts."""
        return self.fits["v2t"]

    def __getitem__(self, name: Name) -> Fit:
        return self.fits[name]

    def matrix(self) -> Similarity:
        """S + f + g, texts x videos: columns carry the video bias, rows the text bias.

        The text bias changes no ranking of videos and the video bias none of texts, so both
        directions live in one matrix.

        Raises:
            RerankError: a method that rewrites each direction on its own.
        """
        if self.v2t.direction.own:
            raise RerankError(
                f"{label('scores')}: t2v and v2t are two matrices, and one cannot hold both "
                f"re-ranked; leave {label('scores')} out, the result file has both rankings"
            )
        for fit in self.fits.values():
            if fit.fitted is not None and not fit.fitted.foldable and not self._one_map:
                raise RerankError(
                    f"{label('scores')}: method {self.method!r} rewrites each direction on its "
                    f"own; one matrix cannot hold both"
                )
        return self.rows()

    def rows(self) -> Similarity:
        """As `matrix`; of methods that are not one number per item the row direction only."""
        sim = self.t2v.sim
        back = self.v2t.fitted
        if self.t2v.fitted is None and back is not None and back.map is not None:
            raise RerankError("one matrix for both directions needs the same map in both")
        both = back is not None and (back.foldable or self._one_map)
        if back is not None and both and back.gallery_bias is not None:
            sim = sim.add_query_bias(back.gallery_bias)
        return sim

    @property
    def _one_map(self) -> bool:
        """Whether both directions rewrite the embeddings by the same alignment."""
        fitted = [fit.fitted for fit in self.fits.values()]
        if len(fitted) < 2 or not all(f is not None and f.biased for f in fitted):
            return False
        one, two = ([s for s in f or () if isinstance(s, Aligned)] for f in fitted)
        return len(one) == len(two) > 0 and all(
            a.item_map is b.query_map and not a.linear for a, b in zip(one, two, strict=True)
        )


def default_method(both: Mapping[Name, Direction]) -> str:
    """What is fitted where nothing is asked for."""
    return (
        DEFAULT_FOR_EMBEDDINGS
        if isinstance(next(iter(both.values())).sim, Pair)
        else DEFAULT_FOR_SCORES
    )


@one_plan.sharing()
@products.keeping()
def fit(
    both: Mapping[Name, Direction],
    method: str | None = None,
    settings: Mapping[str, Any] | None = None,
    *,
    each: Mapping[Name, Mapping[str, Any]] | None = None,
    gate: Gate | None = None,
    prior: Mapping[Name, Tensor] | None = None,
) -> Run:
    """Fit both directions.

    Args:
        both: directions as `rerank.methods.directions` makes them; one without a bank stays raw.
        method: a name of `rerank methods`; by default Sinkhorn, alignment and Sinkhorn again on
            embeddings, Sinkhorn on scores; without alignment where a bank's pairs are not known.
        settings: fields of the stages.
        each: further settings of one direction.
        gate: judges a direction whose bank has no test queries, instead of fitting it unseen.
        prior: (m,) numbers of each item, in score units, added to what is fitted.

    Raises:
        RerankError: an unknown method or setting, or a method that cannot be fitted on these.
    """
    given = dict(settings or {})
    name = canonical(default_method(both) if method is None else method)
    if any(direction.sim.shard is not None for direction in both.values()):
        check_shares(name)
    plans: dict[Name, Pipeline] = {
        side: pipeline(name, **{**given, **(each or {}).get(side, {})}) for side in both
    }
    notes: dict[Name, list[str]] = {side: [] for side in both}
    if method is None:
        plans = _without_idle(plans, both, notes)
    for side, direction in both.items():
        if advice := _sparse_advice(name, direction.sim):
            notes[side].append(advice)
    chosen = method is not None or given.get("tau", "auto") != "auto"
    raw = set() if chosen else {side for side, d in both.items() if d.scored < FEWEST_SCORED}
    fits: dict[Name, Fit] = {}
    mirrored: tuple[FittedPipeline, Similarity] | None = None
    shared: _Shared | None = None
    for side, direction in both.items():
        stages, bank = plans[side], direction.bank
        if side in raw:
            said = _too_few(direction, name)
            fits[side] = Fit(direction, None, Pipeline(()), (*notes[side], said))
            continue
        if gate is not None and bank is not None and _judged(direction, bank):
            said = gate(stages, bank, direction.sim)
            told = (*notes[side], *said.sentences)
            fits[side] = Fit(direction, said.fitted, said.stages, told, said.facts or None)
            continue
        fitted, seen = mirrored or (None, None)
        if fitted is None and bank is not None:
            before, done, behind = _behind(shared, stages, bank)
            made, settled, last = Pipeline(stages.stages[done:]).fit_through(behind)
            fitted = FittedPipeline((*before, *made.stages))
            stages = Pipeline((*stages.stages[:done], *settled.stages))
            # Behind an alignment that serves both and comes last, nothing is left to be applied.
            seen = last.sim if bank.sim is direction.sim and made.stages else None
            if side == "t2v" and plans["t2v"] == plans.get("v2t"):
                shared = _shared(fitted, both, last)
                mirrored = _mirror(fitted, both, stages, last)
        fits[side] = Fit(direction, fitted, stages, tuple(notes[side]), seen=seen)
    for side, numbers in (prior or {}).items():
        fits[side] = _with_prior(fits[side], numbers)
    if method is None:
        fits = {side: replace(made, idle=_idle(made.direction)) for side, made in fits.items()}
    return Run(name, given, fits)


def _idle(direction: Direction) -> str:
    """Why a stage of the default on embeddings cannot be fitted on this bank, or nothing."""
    stages = pipeline(DEFAULT_FOR_EMBEDDINGS).stages
    bank = direction.bank
    reasons = () if bank is None else (stage.idle(bank) for stage in stages)
    return next((reason for reason in reasons if reason), "")


def _judged(direction: Direction, bank: Bank) -> bool:
    """Whether a gate has anything to say.

    It has by known pairs, by queries that the bank does not have, and by a gallery of the bank's.
    """
    elsewhere = bank.pairs is not None and bank.pairs is not bank.sim
    return bank.positives is not None or bank.sim is not direction.sim or elsewhere


def _with_prior(fit: Fit, numbers: Tensor) -> Fit:
    """The fit with numbers from outside added to its items, behind all that was fitted.

    A Sinkhorn after them would take them back.
    """
    sim = fit.direction.sim
    stage = GalleryBias(numbers.to(dtype=sim.dtype, device=sim.device), "none")
    before = () if fit.fitted is None else fit.fitted.stages
    return replace(fit, fitted=FittedPipeline((*before, stage)), seen=fit.sim)


def _too_few(direction: Direction, method: str) -> str:
    queries, items = nouns.of(direction.name)
    return (
        f"stays raw: {direction.scored:.3g} scored {items} for each of the {queries} are too few "
        f"to tell hubs; {option('method', method)} re-ranks them all the same"
    )


def check_shares(method: str) -> None:
    """Refuse a method that needs everything in one process.

    Raises:
        RerankError: it does.
    """
    needs = {need for card in cards_of(method) for need in card.facts.needs}
    whole = {"dense matrix": "the whole matrix", "graph": "its neighbour graph"}
    for need, words in whole.items():
        if need in needs:
            raise RerankError(
                f"{option('method', method)}: needs {words} in one process; run it without "
                f"torchrun, or take a method that streams such as sinkhorn, csls or mp"
            )


def _without_idle(
    plans: Mapping[Name, Pipeline], both: Mapping[Name, Direction], notes: dict[Name, list[str]]
) -> dict[Name, Pipeline]:
    """The default pipeline without stages that cannot be fitted on these banks, or do nothing."""
    banks = [direction.bank for direction in both.values() if direction.bank is not None]
    out: dict[Name, Pipeline] = {}
    for side, stages in plans.items():
        kept = []
        for stage in stages.stages:
            reasons = [reason for bank in banks if (reason := stage.idle(bank))]
            if not reasons:
                kept.append(stage)
                continue
            if stage.follows and kept:
                kept.pop()  # it only gave its plan
            if both[side].bank is not None:
                notes[side].append(reasons[0])
        out[side] = Pipeline(tuple(kept))
    return out


def _sparse_advice(method: str, sim: Similarity) -> str:
    """Which method to take where there are too many pairs for dozens of sweeps, or nothing."""
    names = method.split("+")
    pairs = reduce.total_queries(sim) * sim.shape[1]
    if "sinkhorn" not in names or pairs < SPARSE_FROM:
        return ""
    if not isinstance(sim, Pair) or sim.shard is not None:
        return ""
    # An alignment would sweep all pairs for its moments.
    named = names[: names.index("align")] if "align" in names else names
    sparse = "+".join("sinkhorn-sparse" if x == "sinkhorn" else x for x in named)
    return f"{pairs:.0e} pairs take long to sweep: {option('method', sparse)} reads them twice"


@dataclass(frozen=True, eq=False)
class _Shared:
    """Maps that both directions share.

    Attributes:
        fitted: the maps, turned around for the second direction.
        bank: the second direction's bank behind them.
    """

    fitted: FittedPipeline
    bank: Bank


def _shared(first: FittedPipeline, both: Mapping[Name, Direction], last: Bank) -> _Shared | None:
    """An alignment on the test queries, with what is before it, turned around.

    Both directions then compare the same embeddings, and one matrix holds both.
    """
    place = max((i for i, s in enumerate(first.stages) if isinstance(s, Aligned)), default=None)
    if place is None or not all(d.label == "transductive" for d in both.values()):
        return None
    back = both["v2t"].bank
    turned = _turned_around(first.stages[: place + 1])
    if turned is None or back is None:
        return None
    if place + 2 != len(first.stages) or both["v2t"].own:
        return _Shared(turned, turned.transform_bank(back))
    sim = last.sim.T
    return _Shared(turned, replace(back, sim=sim, pairs=sim))


def _turned_around(stages: tuple[Fitted, ...]) -> FittedPipeline | None:
    """Maps of the other direction, where they are those of this one."""
    if not all(isinstance(s, Basis) or (isinstance(s, Aligned) and not s.linear) for s in stages):
        return None
    return FittedPipeline(tuple(s.mirrored if isinstance(s, Aligned) else s for s in stages))


def _behind(
    shared: _Shared | None, stages: Pipeline, bank: Bank
) -> tuple[tuple[Fitted, ...], int, Bank]:
    """Maps that are there already, how many stages they stand for, and the bank behind them."""
    if shared is None:
        return (), 0, bank
    done = 1 + max(i for i, stage in enumerate(stages.stages) if stage.follows)
    return shared.fitted.stages, done, shared.bank


def _mirror(
    first: FittedPipeline, both: Mapping[Name, Direction], stages: Pipeline, seen: Bank
) -> tuple[FittedPipeline, Similarity] | None:
    """The transposed fit, from the potentials of this one, or None where it must be done.

    With it goes the other direction's similarity as its last stage sees it.

    A transductive Sinkhorn is solved once where one fit serves both: the marginals of the two
    directions agree and the solution is as good as sweeps of that size make it.
    """
    if len(both) < 2 or not first.stages:
        return None
    if not all(d.label == "transductive" and not d.own for d in both.values()):
        return None
    sim = both["t2v"].sim
    pairs = reduce.total_queries(sim) * reduce.total_queries(sim.T)
    last, settings = first.stages[-1], stages.stages[-1]
    if pairs < ONE_FIT_ELEMENTS or not isinstance(last, Potentials) or last.before is None:
        return None
    if not isinstance(settings, Sinkhorn) or last.rho != 1 or not last.one_step:
        return None
    before = _turned_around(first.stages[:-1])
    if before is None:
        return None
    if not last.error <= max(settings.tol or 0.0, _ONE_FIT_ERROR):
        return None
    for side in (sim, sim.T):
        queries = reduce.query_masses(side, duplicates=settings.duplicates)
        equal = torch.allclose(queries, reduce.gallery_masses(side.T), rtol=1e-9, atol=0.0)
        if not reduce.everywhere(side, equal):
            return None
    back = both["v2t"].bank
    assert back is not None
    turned = seen.sim.T
    back = replace(back, sim=turned, pairs=turned)
    found = masses(turned, duplicates=settings.duplicates, query_groups=back.query_groups)
    choice = choose(back, found, settings.rho)
    if choice.form not in ("equality", "grouped", "as given"):
        return None
    made = last.mirrored(split=sim.shard == "queries")
    if choice.form == "equality" and math.isfinite(last.tau):
        biased = repeats(
            turned, last.tau, gallery_bias=made.gallery_bias, found=found,
            duplicates=settings.duplicates,
        )  # fmt: skip
        if biased.weight:
            return None
    notes = () if not choice.note else (choice.note,)
    made = replace(made, form=choice.form, marginals=notes)
    return FittedPipeline((*before.stages, made)), turned
