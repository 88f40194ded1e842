"""The do-no-harm gate: a bank may change the ranking only where its own known pairs say it helps.

Biases fitted on one half of the bank are judged on the other half with that half's own gallery,
by the log-probability of the true pairs. "none" and shrunken biases compete. The winner is fitted
again on all of the bank for the real gallery, and shrunk to the strength that suits the incoming
queries (`rerank.selection.drift`). Where they are not known yet, as in a fit for later queries, or
few, it is shrunk by how foreign the bank is to the gallery (`rerank.selection.foreign`).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import cast

import torch
from torch import Tensor

from rerank.core import comm
from rerank.core.errors import RerankError
from rerank.core.pairs import group_pairs
from rerank.core.similarity import Similarity
from rerank.core.wording import either, option
from rerank.core.words import Label
from rerank.methods.align import Align, Aligned, of_known_pairs
from rerank.methods.base import (
    Bank,
    Fitted,
    FittedPipeline,
    LinearMap,
    Pipeline,
    Reranker,
    as_pipeline,
)
from rerank.methods.engine import Gate, Verdict
from rerank.methods.mixed import Mixed
from rerank.passes import reduce
from rerank.selection.candidates import PIPELINE, STACK, Candidate, baselines, judge
from rerank.selection.drift import Corrected, drift
from rerank.selection.foreign import Foreign, foreign_bank, unlike_gallery
from rerank.selection.gate_report import LEAST_WHOLE, GateReport
from rerank.selection.likelihood import fit_weights
from rerank.selection.moments import FEWEST
from rerank.selection.same_items import same_items
from rerank.selection.trials import NAMES, Trial, alike, bank_biases, halvings, trial

# Figures of the gate may differ by rounding between processors of different makes.
_ROUNDING = 1e-3
# With fewer groups of pairs a half has too few to weigh anything by.
MIN_GROUPS = 20

_NOTHING = Candidate("none", 0.0, "", 0.0, 0.0, 0.0)


@dataclass(frozen=True, eq=False)
class _Lead:
    """A map that candidates may come behind.

    Attributes:
        name: "em", "align", or "" for none.
        fitted: on the whole bank, or None for none.
        trials: rehearsals behind it.
    """

    name: str
    fitted: Fitted | None
    trials: Sequence[tuple[Trial, Trial]]

    def shrunken(self, shrink: float, label: Label) -> Fitted | None:
        """The map, that much of it."""
        if self.fitted is None:
            return None
        return self.fitted.weakened(shrink) or _shrunken_map(self.fitted, shrink, label)

    def before(self, fitted: Fitted, shrink: float, label: Label) -> FittedPipeline:
        """That much of the map, and what was fitted behind all of it."""
        mapped = self.shrunken(shrink, label)
        return as_pipeline(fitted) if mapped is None else FittedPipeline((mapped, fitted))


def gate(*, sharded: bool = False) -> Gate:
    """The gate as the engine calls it; with `sharded` all processes must come to one end."""
    return partial(judged, check=agree if sharded else None)


def watch(stages: Pipeline, bank: Bank, sim: Similarity) -> Verdict:
    """A gate that leaves known pairs alone: banks without them are watched as `gate` does."""
    fitted, settled, _ = stages.fit_through(bank)
    if bank.positives is not None:
        return Verdict(fitted, stages=settled)
    return _watched(fitted, settled, bank, None if sim is bank.sim else sim)


def _watched(
    fitted: FittedPipeline, settled: Pipeline, bank: Bank, incoming: Similarity | None
) -> Verdict:
    """What a bank without known pairs gave, as far as it suits what it is used for."""
    if bank.label != "inductive":
        return Verdict(fitted, stages=settled)
    whole = not fitted.biased
    if incoming is None:
        found = None
    else:
        found = drift(bank, incoming, None if whole else partly(fitted))
    foreign = Foreign(None, None)
    if _count(incoming) < FEWEST:
        foreign = unlike_gallery(bank)
    facts = {"drift": None if found is None else found.as_dict(), "foreign": foreign.gallery}
    shrink, why = foreign.shrink, "the bank looks foreign to this gallery"
    if found is not None and found.shrink < shrink:
        shrink, why = found.shrink, found.sentence
    if shrink == 1:
        said = (f"{found.sentence}.",) if found is not None and found.sentence else ()
        return Verdict(fitted, said or _unseen(bank, incoming), facts, settled)
    if shrink == 0 or (whole and shrink < LEAST_WHOLE):
        return Verdict(None, (f"{why}; the ranking stays as it is.",), facts)
    if whole:
        return Verdict(fitted, (f"{why}.",), facts, settled)
    said = f"{why}; {100 * shrink:.0f} % of the correction is used."
    scaled = _scaled(fitted, shrink)
    if shrink < foreign.shrink:
        scaled = tuple(_seen(stage) for stage in scaled)
    return Verdict(FittedPipeline(scaled), (said,), facts, settled)


def _count(incoming: Similarity | None) -> int:
    """How many queries there are to look at."""
    return 0 if incoming is None else reduce.total_queries(incoming)


def _seen(fitted: Fitted) -> Fitted:
    """A stage whose strength the incoming queries decided: they were seen, so it says so."""
    return replace(fitted, label="transductive")  # type: ignore[type-var]  every stage is a dataclass


def _unseen(bank: Bank, incoming: Similarity | None) -> tuple[str, ...]:
    """That hardly anything could be seen, where there were queries but few."""
    if incoming is None or bank.label != "inductive":
        return ()
    count = reduce.total_queries(incoming)
    if count >= FEWEST:
        return ()
    return (
        f"{count} queries are too few to see whether the bank suits them, unless it is far from "
        f"them ({FEWEST} are enough); known pairs of the bank would tell, and "
        f"{either('--method none', 'method=' + repr('none'))} leaves all as it is.",
    )


def partly(fitted: FittedPipeline) -> Corrected:
    """What a strength of a fit makes of queries."""
    return lambda sim, strength: FittedPipeline(_scaled(fitted, strength)).transform(sim)


def _scaled(fitted: FittedPipeline, shrink: float) -> tuple[Fitted, ...]:
    """Stages that do so much of what they did."""
    made: list[Fitted] = []
    for stage in fitted.stages:
        assert stage.parts is not None
        if stage.parts.gallery_bias is not None:
            made.append(stage.rebiased(shrink * stage.parts.gallery_bias))
        elif (weaker := stage.weakened(shrink)) is not None:
            made.append(weaker)
        elif stage.parts.matrix is not None:
            made.append(_shrunken_map(stage, shrink, stage.label))
        else:
            made.append(stage)
    return tuple(made)


def gated_fit(
    pipeline: Pipeline | Sequence[Reranker] | None,
    bank: Bank,
    *,
    incoming: Similarity | None = None,
    seed: int = 0,
) -> tuple[Fitted, GateReport]:
    """Fit on a bank only what its own known pairs show to help.

    Candidates are "none", the stack of three bank biases, and the pipeline that was asked for
    with its bias at strengths 1/4, 1/2, 3/4 and 1; each is judged on halves of the bank that it
    was not fitted on, with and without each map before it: a leading EM stage, and the alignment
    that the known pairs ask for. That is tried only where pairs predict those of other groups
    (Q2 above 0): wrong pairs can raise the log-probability of other wrong ones.

    Args:
        pipeline: stages that were asked for, or None for the stack alone.
        bank: of one direction, with `pairs` and `positives`.
        incoming: queries x gallery that will be ranked, where they are known; 30 or more decide
            how much of the correction is used.
        seed: of the halves and of the foreign-bank classifier.

    Returns:
        The fitted reranker and what the gate saw. The former is a `Mixed` bias; behind an EM
        stage that helps a `FittedPipeline` of a `LinearMap` and one; a pipeline that
        is not one number per item is returned as fitted when it wins. If nothing helps it is a
        `Mixed` bias of zeros labelled "none".

    Raises:
        RerankError: the bank has no known pairs.
    """
    if bank.pairs is None or bank.positives is None:
        raise RerankError(
            "the gate needs known pairs of the bank: give Bank(..., pairs=..., positives=...) "
            f"({option('bank-texts')}, {option('bank-videos')} and {option('bank-gt')}), or fit "
            f"without it ({option('no-gate')})"
        )
    if len(bank.positives) != bank.pairs.shape[0]:
        raise RerankError(
            f"bank positives: got {len(bank.positives)} entries, expected one for each of the "
            f"{bank.pairs.shape[0]} bank queries"
        )
    if bank.pairs.shard is not None or bank.sim.shard == "queries":
        raise RerankError(
            "the gate needs the whole bank in every process: split the searched gallery only"
        )
    stages = pipeline if isinstance(pipeline, Pipeline) else Pipeline(tuple(pipeline or ()))
    found = judged(stages, bank, bank.sim if incoming is None else incoming, seed=seed)
    assert found.fitted is not None and isinstance(found.report, GateReport)
    fitted = found.fitted
    return fitted.stages[0] if len(fitted.stages) == 1 else fitted, found.report


def judged(
    pipeline: Pipeline, bank: Bank, sim: Similarity, *, seed: int = 0,
    check: Callable[[GateReport], None] | None = None,
) -> Verdict:  # fmt: skip
    """See `gated_fit`; banks without known pairs are watched.

    Args:
        pipeline: stages that were asked for, none for the stack alone.
        bank: of one direction.
        sim: queries x gallery that will be ranked; that of the bank where they are not known.
        seed: of the halves and of the foreign-bank classifier.
        check: called with what was found before anything is fitted on it.
    """
    incoming = None if sim is bank.sim else sim
    if bank.positives is None:
        return _watched(*pipeline.fit_through(bank)[:2], bank, incoming)
    bank = replace(bank, judged=True)
    assert bank.pairs is not None and bank.positives is not None
    groups = group_pairs(bank.positives, bank.pairs.shape[1])
    nothing = Mixed(_zeros(bank), "none")
    if groups.judged < MIN_GROUPS:
        note = f"The bank has {groups.judged} groups of known pairs, the gate needs {MIN_GROUPS}"
        return _verdict(nothing, GateReport.unjudged(groups.judged, note))
    if alike(bank.sim):
        # No order could be better than another, whatever the pairs show.
        single = reduce.total_gallery(bank.sim) == 1
        what = "A single item has" if single else "Items that the bank scores alike have"
        return _verdict(nothing, GateReport.unjudged(groups.judged, f"{what} no order to correct"))
    penalty = max(0.02, 5 / groups.judged)
    rest = [stage for stage in pipeline.lasting.stages if not _leading(stage)]
    closed, leads = same_items(bank), list[_Lead]()
    for name, fitted, behind, lead in _maps(pipeline.stages, rest, bank):
        trials = [
            (
                trial(behind, groups, rest, first, second, generator, lead=lead),
                trial(behind, groups, rest, second, first, generator, lead=lead),
            )
            for first, second, generator in halvings(groups, seed=seed, closed=closed)
        ]
        leads.append(_Lead(name, fitted, trials))
    base = baselines(leads[0].trials)
    candidates = [
        found for x in leads for found in judge(x.trials, base, penalty=penalty, lead=x.name)
    ]
    best = choose(candidates)
    chosen = next(lead for lead in leads if lead.name == best.lead)
    weights = torch.zeros(len(NAMES))
    if best.name == STACK:
        trials = [one.judged for pair in chosen.trials for one in pair]
        weights = fit_weights(trials, penalty=penalty)[0]
    report = GateReport(
        chosen=best, candidates=tuple(candidates), foreign=Foreign(None, None), drift=None,
        weights=tuple((best.strength * weights).tolist()),
        n_groups=groups.judged, n_pairs=sum(len(rows) for rows in bank.positives),
    )  # fmt: skip
    if check is not None:
        check(report)
    if report.does_nothing:
        return _verdict(nothing, report)
    behind = bank if chosen.fitted is None else chosen.fitted.transform_bank(bank)
    whole = chosen.before(_bias(best, weights, behind, rest, 1.0), 1.0, bank.label)
    if incoming is not None:
        report = replace(
            report, drift=drift(bank, incoming, partly(whole) if whole.biased else None)
        )
    if _count(incoming) < FEWEST:
        report = replace(report, foreign=foreign_bank(bank, groups, seed=seed))
    if check is not None:
        check(report)
    if report.does_nothing:
        return _verdict(nothing, report)
    if report.shrink < 1:
        part = _bias(best, weights, behind, rest, report.shrink)
        whole = chosen.before(part, report.shrink, bank.label)
    if report.by_queries:
        whole = FittedPipeline(tuple(_seen(stage) for stage in whole.stages))
    return _verdict(whole, report)


def _verdict(fitted: Fitted, report: GateReport) -> Verdict:
    return Verdict(as_pipeline(fitted), report.sentences, report.as_dict(), report=report)


def choose(candidates: Sequence[Candidate]) -> Candidate:
    """The candidate whose gain is surest: the largest gain less its standard error, beyond noise.

    An uncertain gain so ends in a smaller strength, or in nothing.
    """
    sure = [c for c in candidates if c.sure]
    return max(sure, key=lambda c: c.gain - c.error, default=_NOTHING)


def _zeros(bank: Bank) -> Tensor:
    return torch.zeros(bank.sim.shape[1], dtype=bank.sim.dtype, device=bank.sim.device)


def _leading(stage: Reranker) -> bool:
    """Whether a stage is judged as a map, on its own."""
    return stage.maps or stage.by_pairs


def _maps(
    stages: Sequence[Reranker], rest: Sequence[Reranker], bank: Bank
) -> Iterator[tuple[str, Fitted | None, Bank, Callable[[Bank], Fitted] | None]]:
    """No map, a leading linear map (it sees no pairs), and the alignment by pairs.

    Each with its name, its fit on the whole bank, the bank to rehearse on, and what learns from the
    pairs of a half.
    """
    yield "", None, bank, None
    if stages and stages[0].maps:
        basis = stages[0].fit(bank)
        yield "em", basis, basis.transform_bank(bank), None
    asked = next((stage for stage in stages if stage.by_pairs), Align())
    if not any(stage.follows or stage.maps for stage in rest) and not asked.idle(bank):
        fitted = cast(Aligned, asked.fit(bank))
        if fitted.quality > 0 and fitted.share > 0:
            again = partial(of_known_pairs, ridge=fitted.ridge, share=fitted.share)
            yield "align", fitted, bank, again


def _shrunken_map(basis: Fitted, shrink: float, label: Label) -> LinearMap:
    assert basis.parts is not None and basis.parts.matrix is not None
    matrix = basis.parts.matrix
    eye = torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
    return LinearMap(eye + shrink * (matrix - eye), label)


def _bias(
    best: Candidate, weights: Tensor, bank: Bank, rest: Sequence[Reranker], shrink: float
) -> Fitted:
    """The winner fitted on all of the bank for the real gallery, and shrunk."""
    if best.name == "none":
        return Mixed(_zeros(bank), "none")
    if best.name != PIPELINE:
        parts = (shrink * best.strength * weights).tolist()
        found = bank_biases(bank).mixed(parts, bank.label)
        return found.rebiased(found.gallery_bias.to(bank.sim.dtype))
    fitted = Pipeline(tuple(rest)).fit_through(bank)[0]
    if not fitted.foldable:
        return fitted
    much = shrink * best.strength
    bias = _zeros(bank) if fitted.gallery_bias is None else much * fitted.gallery_bias
    # A single stage may tell new items their bias.
    term = fitted.stages[0].term if len(fitted.stages) == 1 else None
    if term is not None:
        return Mixed(bias.to(bank.sim.dtype), bank.label, (term.times(much),))
    if len(rest) == 1 and rest[0].per_item:
        return Mixed(bias.to(bank.sim.dtype), bank.label, settings=rest[0], much=much)
    return Mixed(bias.to(bank.sim.dtype), bank.label, grows=False)


def agree(report: GateReport) -> None:
    """Compare what the gate found in this process with what it found in the others.

    Every process judges the whole bank by itself, from the same seed. A process that chose another
    candidate would wait for the others in passes that they do not make.

    Raises:
        RerankError: they differ by more than rounding.
    """
    best = report.chosen
    name = ("none", STACK, PIPELINE, *NAMES).index(best.name)
    lead = ("", "em", "align").index(best.lead)
    figures = [name, lead, best.strength, report.shrink, best.gain, *report.weights]
    gap = float(comm.disagreement(torch.tensor(figures, dtype=torch.float64)).max())
    if not gap < _ROUNDING:
        raise RerankError(
            f"the gate came to different ends in different processes (off by {gap:.2g}): run all "
            f"of them on the same kind of machine, or give {option('no-gate')}"
        )
