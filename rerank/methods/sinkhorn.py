"""Sinkhorn-Knopp normalisation of a similarity (NCL, Park et al., EMNLP 2022; Cuturi 2013)."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial, partialmethod
from typing import Any, Literal

import torch
from torch import Tensor

from rerank.core.errors import RerankError
from rerank.core.similarity import Pair, Similarity
from rerank.core.wording import either, option
from rerank.core.words import Counting, Label
from rerank.methods import equal_items, one_plan, shared_items, topic
from rerank.methods.bank_asking import Asking, asking
from rerank.methods.base import Bank, Fitted, Parts, Reranker, as_bank
from rerank.methods.crowd import Crowd, crowd, overrides
from rerank.methods.marginals import Choice, Masses, centred, choose, masses
from rerank.methods.popular_choices import believed
from rerank.methods.popularity import (
    Votes,
    normalised,
    of_others,
    popularity,
    votes_of_others,
)
from rerank.methods.potentials import Solution, solve
from rerank.methods.registry import method
from rerank.methods.repeats import (
    COSTLY,
    MANY,
    Judge,
    Repeats,
    cost,
    doubted,
    from_both_sides,
    from_shared_items,
    from_unseen_axes,
    repeats,
)
from rerank.methods.score_axes import MOST_ITEMS, as_pair
from rerank.methods.temperature import SCALE_ROWS, Temperature, auto_tau, bank_tau
from rerank.methods.terms import Soft
from rerank.methods.width import USUAL, width
from rerank.passes import reduce
from rerank.passes import topk as search
from rerank.passes.sinkhorn.sparse import Graph, Sparse
from rerank.passes.sinkhorn.sweepers import Sweeper


@method(
    "sinkhorn", help="every item equally probable", source="NCL, EMNLP 2022; Cuturi, NeurIPS 2013"
)
@method(
    "sinkhorn-sparse",
    help="from 128 neighbours and samples: beyond 1e11 pairs",
    source="the same, on a graph",
    needs=("embeddings", "bank", "graph"),
    preset={"neighbours": 128},
)
@dataclass(frozen=True)
class Sinkhorn(Reranker):
    """One number per gallery item that makes every item equally probable over the bank.

        g_j = tau (log b_j - log sum_i exp((S_ij + f_i) / tau))
        f_i = tau (log a_i - log sum_j exp((S_ij + g_j) / tau))

    The plan exp((S + f + g) / tau) then has row masses a and column masses b. Ranking a query's
    gallery needs g only; a hub has a large column sum and gets a negative g.

    Args:
        tau: temperature in score units, or "auto" (`rerank.methods.temperature`): from the
            spacing of the hard negatives on the test queries themselves, half of sigma on a bank.
        n_iters: most (query, gallery) steps.
        tol: stop when the gallery marginal is met within this L1 distance; None = never early.
        rho: 1 asks for the gallery marginal exactly, smaller values pull towards it. "auto" takes
            what suits the test queries themselves: a slack row where they are fewer than the items
            (`rerank.methods.marginals`), their popularity alone where they repeat
            (`rerank.methods.repeats`), else equality; and equality on a bank.
        relaxation: 1 is the plain iteration; above it gallery steps are extrapolated from the ones
            before (`rerank.methods.potentials`), at last by this factor.
        duplicates: "share" gives exact copies of a query one query's mass together, so that a
            repeated query cannot poison the biases; "count" gives each copy a full mass.
        neighbours: None sums over all pairs; k sums over each query's and each item's k nearest
            and estimates the rest from samples, for sizes where all pairs cannot be swept. The
            note says with what error.
        samples: how many queries and items that rest is estimated from, where `neighbours` is
            given; the error falls with its square root, memory and time of a step rise with it.

    Masses other than uniform belong to the data: `sim.with_mass(queries=..., gallery=...)`.

    Source: NCL, EMNLP 2022, whose published routine is `NCL` in `rerank.methods`; plans agree with
    POT's `sinkhorn_log`. Differs from the published code: log domain at any temperature, a
    temperature of its own, shared mass of duplicates, convergence reported.
    """

    tau: float | Literal["auto"] = "auto"
    n_iters: int = 50
    tol: float | None = 1e-3
    rho: float | Literal["auto"] = "auto"
    relaxation: float = 1.4
    duplicates: Counting = "share"
    neighbours: int | None = None
    samples: int = 4096

    def __post_init__(self) -> None:
        if self.tau != "auto":
            if isinstance(self.tau, str):
                raise RerankError(f"tau: got {self.tau!r}, expected a positive number or 'auto'")
            reduce.check_tau(self.tau)
        if self.neighbours is not None and self.neighbours < 1:
            raise RerankError(f"neighbours: got {self.neighbours}, expected at least 1, or None")
        if self.samples < 1:
            raise RerankError(f"samples: got {self.samples}, expected at least 1")

    def fit(self, bank: Similarity | Bank, *, rough: bool = False) -> "Potentials":
        """Estimate the potentials on bank queries x gallery.

        Args:
            bank: what they are estimated on.
            rough: only the plan is wanted: it is met less closely, and rounded where that saves
                time.
        """
        bank = as_bank(bank)
        sim = bank.sim
        search.leave(None)
        # Only a fit on the test queries themselves has matches in the scores.
        transductive = bank.label == "transductive"
        found = masses(
            sim, duplicates=self.duplicates,
            query_groups=bank.query_groups if transductive else None,
        )  # fmt: skip
        choice = choose(bank, found, self.rho)
        if transductive and (alone := _alone(found, bank)):
            return _unchanged(sim, choice, f"{alone}: nothing to compare by")
        turned, near, split = False, self.neighbours, sim.shard == "gallery"
        graph = None if near is None else Graph.of(sim, near, samples=self.samples)
        if self.tau != "auto":
            chosen = _given(sim, float(self.tau), bank.start)
        elif transductive:
            side = _Side(sim, found, graph, bank.start)
            # The same plan, seen from its shorter side.
            turned = found.slack < 0 and choice.form != "grouped"
            chosen = one_plan.temperature(
                **(side.T if turned else side).asked(choice, rough=rough)
            )  # fmt: skip
        else:
            chosen = bank_tau(sim, spaced=not bank.judged)
        tau = chosen.tau
        if tau is None:
            return _unchanged(sim, choice, chosen.note)
        tol = max(self.tol, _PLAN_TOL) if rough and self.tol is not None else self.tol
        problem = _problem(
            sim, chosen, found, choice, graph, sweeps=self.n_iters, warm=bool(tol),
            seen_turned=turned, rough=rough,
        )  # fmt: skip
        # A kernel that was not taken over makes room for another.
        chosen = replace(chosen, step=None)
        one_plan.keep(None)
        problem = self._with_sweep(problem, tau, rough=rough)
        solved = solve(
            problem.sim, tau, log_a=problem.log_a, log_b=problem.log_b, n_iters=self.n_iters,
            tol=tol or 0.0, rho=choice.rho, slack=problem.slack, relaxation=self.relaxation,
            step=problem.step, init=problem.init, polish=not rough,
        )  # fmt: skip
        if not rough:
            problem.leave()
        solution = problem.unwound(solved)
        level, base = centred(solution.g, found.live_items, split=split)
        g, seen, few_wanted, asked, votes = solution.g, Repeats(0.0), Crowd(), Asking(), None
        others = _others(sim, tau, chosen, found)
        if transductive and choice.form in ("equality", "few queries"):
            seen = repeats(
                sim, tau, gallery_bias=level, found=found, duplicates=self.duplicates,
                others=others[0],
            )  # fmt: skip
            copies = self.duplicates == "count"
            seen = seen if graph is not None else believed(sim, found, seen, copies=copies)
            # Where one side is longer, its rest wants nothing.
            if not seen.weight and abs(found.rows - found.columns) < _AS_MANY * found.rows:
                seen = from_both_sides(
                    sim, tau, gallery_bias=level, query_bias=solution.f, found=found, seen=seen,
                    others=others,
                )  # fmt: skip
            for judge in () if graph is not None else _judges(sim, level, chosen, found, choice):
                seen = doubted(from_unseen_axes(seen, found, judge), found, judge)
            if graph is None:
                ratio = partial(shared_items.shared, sim, found=found, copies=copies)
                seen = from_shared_items(seen, found, shared=ratio)
                few_wanted = crowd(sim, found, copies=copies) if seen.cost > COSTLY else few_wanted
        elif bank.label == "inductive" and self.rho == "auto" and not (bank.judged or graph):
            asked = asking(sim, chosen, gallery_bias=level, found=found, others=others[0])
            for judge in _judges(sim, level, chosen, found, choice)[:1] if chosen.spacing else ():
                if asked.doubts(own=judge.own):
                    asked = asked.told(judge.judged(), own=judge.own)
        if weight := max(seen.weight, asked.weight):
            popular = votes_of_others if asked.weight else _without_votes
            alone, votes = popular(sim, tau, USUAL.t * chosen.spacing, found)
            g = (1 - weight) * level + weight * alone
        g, offset = centred((1 - few_wanted.weight) * g, found.live_items, split=split)
        return _potentials(
            asked.share * g, base if asked.weight else offset, solution, problem, seen=seen,
            few_wanted=few_wanted, asked=asked, votes=votes, choice=choice, tau=tau,
            label=bank.label, note=chosen.note, sparse="" if graph is None else str(problem.step),
            step=problem.step if rough else None,
        )  # fmt: skip

    def _with_sweep(self, problem: "_Problem", tau: float, *, rough: bool) -> "_Problem":
        """The problem with a sweep, where it took over none."""
        if problem.step is not None:
            return problem
        # An alignment reads its moments from this kernel, and the best lists come from it.
        step = reduce.sweeper(
            problem.sim, reduce.check_tau(tau), log_a=problem.log_a.to(problem.sim.dtype),
            sweeps=self.n_iters, rough=rough, warm=problem.init is not None,
        )  # fmt: skip
        return replace(problem, step=step)

    fit_plan = partialmethod(fit, rough=True)  # type: ignore[assignment]  a method once bound


@dataclass(frozen=True, eq=False)
class _Side:
    """One side of the test queries and items, for `auto_tau`.

    Attributes:
        sim: the scores.
        found: masses of both sides.
        graph: what stands for all pairs, where they are too many.
        start: potentials of both sides that are nearly right, or None.
    """

    sim: Similarity
    found: Masses
    graph: Graph | None
    start: tuple[Tensor, Tensor] | None

    @property
    def T(self) -> "_Side":  # noqa: N802  the mathematical transpose, as in numpy
        """The other side."""
        graph = None if self.graph is None else self.graph.T
        start = None if self.start is None else (self.start[1], self.start[0])
        return _Side(self.sim.T, self.found.T, graph, start)

    def asked(self, choice: Choice, *, rough: bool) -> dict[str, Any]:
        """What `auto_tau` is asked."""
        found = self.found
        slack = 0.0 if choice.form == "grouped" else found.slack
        few = choice.form in _SHORTER and slack > 0
        kept = few or (slack == 0 and choice.form in _PLAIN)
        return {
            "sim": self.sim, "log_a": found.log_a, "log_b": found.log_b, "slack": slack,
            "live": (found.rows, found.columns), "graph": self.graph,
            "init": None if self.start is None else self.start[1],
            "rough": rough or not kept, "kept": kept,
        }  # fmt: skip


def _given(sim: Similarity, tau: float, start: tuple[Tensor, Tensor] | None) -> Temperature:
    """The temperature that was asked for, where the scores carry it."""
    mean, sigma = reduce.spread(sim, sample=SCALE_ROWS)
    reduce.check_resolution(tau, abs(mean) + sigma, sim.dtype)
    return Temperature(tau, tau / _TAU_OF_SPACING, 0.0, start=start)


@dataclass(frozen=True, eq=False)
class _Problem:
    """What `solve` gets under the chosen marginals.

    Attributes:
        sim: the scores, or their transpose, with the popularity taken out.
        log_a: (n,) log masses of its queries, and log_b: (m,) of its items.
        log_b: see `log_a`.
        slack: mass of the slack row.
        step: a sweep that is there already, or None.
        init: (m,) potentials to start from, or None.
        facts: figures of all that.
        popularity: (m,) biases that went into the scores, or None.
        turned: whether it is the problem of the other direction.
        serves_other: whether the sweep is still that of the temperature's plan, but for masses.
    """

    sim: Similarity
    log_a: Tensor
    log_b: Tensor
    slack: float
    step: Sweeper | None
    init: Tensor | None
    facts: Mapping[str, Any]
    popularity: Tensor | None = None
    turned: bool = False
    serves_other: bool = False

    def leave(self) -> None:
        """Leave the sweep to the lists of best items, and to the other direction."""
        search.leave(self.step)
        one_plan.keep(self.step if self.serves_other else None)

    def unwound(self, found: Solution) -> Solution:
        """The potentials of the scores as they were given."""
        if self.popularity is not None:
            found = replace(found, g=found.g + self.popularity)
        if not self.turned:
            return found
        # Row potentials of the other direction are the biases of these items; without a slack
        # they are one half-step from what they were found for.
        return replace(found, f=found.g if self.slack else found.before, g=found.f)


def _problem(
    sim: Similarity, chosen: Temperature, found: Masses, choice: Choice, graph: Graph | None, *,
    sweeps: int, warm: bool, seen_turned: bool, rough: bool,
) -> _Problem:  # fmt: skip
    """What is to be solved.

    Args:
        sim: the scores.
        chosen: the temperature.
        found: masses of both sides.
        choice: the marginals.
        graph: what stands for all pairs, where they are too many.
        sweeps: most steps that are needed.
        warm: from potentials that are nearly right, where there are any.
        seen_turned: whether the temperature is of the other direction.
        rough: whether only the plan is wanted, which is met less closely: from which side matters.
    """
    tau, step = chosen.tau, None
    assert tau is not None
    turned = choice.form == "one-to-one"
    if seen_turned and not rough and chosen.step is not None and choice.form == "equality":
        # All items equally probable: as good a problem from their side, whose kernel is there.
        step = chosen.step.at(tau, found.T.log_a)
        turned = step is not None
    if turned:
        sim, found = sim.T, found.T
        graph = None if graph is None else graph.T
    chosen = chosen if turned == seen_turned else chosen.T
    log_a, slack, facts, wide = found.log_a, 0.0, {}, None
    few = choice.form in ("few queries", "one-to-one")
    if few:
        log_a, slack = found.few
    if step is None and chosen.step is not None:
        step = chosen.step.at(tau, log_a)
    if few and step is None and graph is None:
        step = reduce.sweeper(
            sim, reduce.check_tau(tau), log_a=log_a.to(sim.dtype), sweeps=sweeps, rough=rough,
            warm=warm and chosen.start is not None,
        )  # fmt: skip
    if few:
        facts = {"slack": slack, "popularity": 0.0}
        if not normalised(sim, found):
            softmax = USUAL.of(chosen.spacing)
            # Passes over all pairs are too long where a graph stands for them.
            if graph is None:
                softmax = width(sim, tau, chosen.spacing, found)
            facts["width"] = softmax.t
            wide, facts["popularity"] = popularity(
                sim, softmax.t, found=found, log_a=found.log_a, queries=found.queries,
                graph=graph, rounds=softmax.rounds, step=step,
            )  # fmt: skip
            tells = graph is None and found.rows > 1
            one = topic.seen(*topic.concentration(sim, tau, found=found, step=step)) if tells else 0
            given, sim = sim, sim.add_gallery_bias(wide)
            step = None if step is None else step.biased(sim, wide)
            if one:
                still = topic.concentration(sim, tau, found=found, step=step)
                one = min(one, topic.still_seen(*still))
            if one:
                facts["topic"], left = one, (1 - one) * wide
                sim = given.add_gallery_bias(left)
                step = None if step is None else step.biased(sim, left - wide)
                wide = left
    if graph is not None:
        step = Sparse(graph if wide is None else graph.biased(wide), tau, log_a)
    init = chosen.start[1] if warm and chosen.start is not None else None
    if init is not None and wide is not None:
        init = init - wide
    serves = step is not None and wide is None and graph is None
    return _Problem(sim, log_a, found.log_b, slack, step, init, facts, wide, turned, serves)


def _without_votes(sim: Similarity, tau: float, t: float, found: Masses) -> tuple[Tensor, None]:
    """(m,) biases of the popularity with others, and nothing that new items could have."""
    return of_others(sim, tau, t, found), None


def _others(
    sim: Similarity, tau: float, chosen: Temperature, found: Masses
) -> tuple[Callable[[], Tensor], Callable[[], Tensor]]:
    """What makes the biases of popularity, with hubs, of this direction and of the other."""
    t = USUAL.t * chosen.spacing
    mine, theirs = (sim, tau, t, found), (sim.T, tau, t, found.T)
    return partial(of_others, *mine, hubs=True), partial(of_others, *theirs, hubs=True)


def _judges(
    sim: Similarity, level: Tensor, chosen: Temperature, found: Masses, choice: Choice
) -> tuple[Judge, ...]:
    """What axes tell of these marginals, whose biases are given: none, some of two kinds."""
    pairs = reduce.total_queries(sim) * reduce.total_gallery(sim)
    few = choice.form != "equality"
    if pairs > equal_items.MOST or (few and pairs > equal_items.MOST_OF_FEW):
        return ()
    if few and found.slack < _ROOMY:
        return ()
    tau, h = chosen.tau, chosen.spacing
    assert tau is not None

    # Found once, where they are asked for.
    told = partial(equal_items.judged, tau=tau, h=h, room=_room if few else None)
    moved = partial(equal_items.moved, sim, level, found)
    out = []
    if isinstance(sim, Pair):
        pair = sim, found
        out.append(Judge(moved, cache(partial(told, lambda: pair))))
    many = found.queries >= MANY * found.items
    if (many or not out) and sim.shard is None and found.columns <= MOST_ITEMS:
        paid = cache(partial(cost, sim, tau, level, found)) if many else None
        own = cache(partial(told, partial(as_pair, sim, found)))
        out.append(Judge(moved, own, own=True, many=paid))
    return tuple(out)


def _room(sim: Similarity, found: Masses) -> tuple[Tensor, Tensor] | None:
    """(m,) biases of the popularity with others, and those of few queries, roughly."""
    few = Choice("few queries")
    chosen = auto_tau(**_Side(sim, found, None, None).asked(few, rough=True))
    if chosen.tau is None:
        return None
    problem = _problem(
        sim, chosen, found, few, None, sweeps=_ROUGHLY, warm=False, seen_turned=False, rough=True
    )
    solved = solve(
        problem.sim, chosen.tau, log_a=problem.log_a, log_b=problem.log_b, n_iters=_ROUGHLY,
        tol=_PLAN_TOL, slack=problem.slack, step=problem.step, polish=False,
    )  # fmt: skip
    alone = of_others(sim, chosen.tau, USUAL.t * chosen.spacing, found, hubs=True)
    return alone, problem.unwound(solved).g


def _potentials(
    bias: Tensor,
    offset: float,
    solution: Solution,
    problem: _Problem,
    *,
    seen: Repeats,
    few_wanted: Crowd,
    asked: Asking,
    votes: Votes | None,
    choice: Choice,
    **facts: Any,  # noqa: ANN401
) -> "Potentials":
    """What was fitted; `facts` are the other fields.

    Potentials are defined up to a constant: g has mean zero, which keeps the scores on their scale
    and the appended index dimension small. A dead item has the mean.
    """
    said = _sentences(
        choice, seen, solution, few_wanted=few_wanted, asked=asked,
        one_topic=problem.facts.get("topic", 0.0),
    )  # fmt: skip
    if not choice.rho:
        # Nothing is corrected, whatever the temperature.
        facts["note"] = ""
    return Potentials(
        query_bias=solution.f + offset, gallery_bias=bias, offset=offset, rho=choice.rho,
        before=None if problem.turned or asked.queries else solution.before, marginals=said,
        strength=asked.share * (1 - asked.weight), uneven=asked.weight,
        votes=None if votes is None else votes.times(asked.share * asked.weight),
        form="repeats" if seen.weight or few_wanted.weight else choice.form,
        n_iters=solution.n_iters, error=solution.error, **{**problem.facts, **facts},
    )  # fmt: skip


# Sides that differ by less of their length are equally long.
_AS_MANY = 0.05
# Marginals of a fit whose plan differs from that of its temperature in nothing else.
_PLAIN = ("equality", "grouped", "as given")
# Marginals of a fit that may take over the kernel of its temperature where one side is longer.
_SHORTER = ("few queries", "one-to-one", "equality")
# A plan that only an alignment is read from is met within this L1 distance.
_PLAN_TOL = 1e-2
# Share of the items that no query can have, from which room for one is no near equality.
_ROOMY = 0.25
# Steps of a fit that is only judged.
_ROUGHLY = 50
# What a given temperature is taken to be of the spacing: about what "auto" gives at c = 1/2.
_TAU_OF_SPACING = 0.6
# A fit that ends above this L1 error has not converged.
_UNCONVERGED = 0.05
# A weight of popularity alone that rounds to 0 %.
_LITTLE = 0.005


def _alone(found: Masses, bank: Bank) -> str:
    """What there is only one of, or ""."""
    if found.rows <= 1 or found.columns <= 1:
        return f"a single {'query' if found.rows <= 1 else 'item'}"
    return "queries of a single group" if bank.query_groups == 1 else ""


def _unchanged(sim: Similarity, choice: Choice, note: str) -> "Potentials":
    n, m = sim.shape
    said = note if note.endswith("no correction") else f"{note}, no correction"
    return Potentials(
        query_bias=torch.zeros(n, dtype=sim.dtype, device=sim.device),
        gallery_bias=torch.zeros(m, dtype=sim.dtype, device=sim.device),
        tau=math.nan, n_iters=0, error=math.nan, offset=0.0, rho=choice.rho, label="none",
        note=said,
    )  # fmt: skip


def _sentences(
    choice: Choice, seen: Repeats, solution: Solution, *, few_wanted: Crowd,
    one_topic: float, asked: Asking = Asking(),
) -> tuple[str, ...]:  # fmt: skip
    """What the user should know of the marginals."""
    little = max(seen.weight, few_wanted.weight) < _LITTLE
    said = [choice.note] if choice.note and little else []
    if one_topic and little:
        said.append(
            f"queries seem to be about one topic, whose items are rightly popular: "
            f"{'no' if one_topic == 1 else f'{1 - one_topic:.0%} of the'} popularity is corrected"
        )
    if few_wanted.weight >= _LITTLE:
        said.append(few_wanted.reason)
    elif seen.weight and little:
        said.append(f"{seen.reason}, but too little to correct items otherwise for it")
    elif seen.weight:
        rest = seen.weight < 1
        most = f"{seen.weight:.0%} of the correction is" if rest else "items are corrected"
        said.append(f"{seen.reason}, so {most} for popularity alone ({overrides()})")
    elif choice.form == "equality" and not choice.note and seen.cost > COSTLY:
        way = f"{option('rho', 0)} if many items have no query, which leaves all as it is"
        said.append(
            f"all items count as asked alike, which makes queries {1 - 1 / seen.cost:.0%} less "
            f"sure of the first of them; say {way}"
        )
    said += asked.sentences
    if solution.error > _UNCONVERGED:
        way = either("--tau", "tau or n_iters")
        said.append(
            f"the fit did not converge in {solution.n_iters} steps (marginal error "
            f"{solution.error:.2f}): take a larger {way}"
        )
    return tuple(said)


@dataclass(frozen=True, eq=False)
class Potentials(Fitted):
    """Fitted Sinkhorn potentials, in score units.

    Attributes:
        query_bias: f (n,) of the bank's queries; the plan is exp((S + f + g) / tau).
        gallery_bias: g (m,), mean zero: all that ranking a query needs.
        tau: the temperature used; NaN where the scores carried none (then both are zero).
        n_iters: steps done.
        error: L1 violation of the gallery marginal before the last gallery half-step.
        offset: what was taken from g to centre it.
        rho: softness of the gallery marginal.
        label: which queries it was estimated from.
        note: "" or what the user should know.
        sparse: "" or from what the sums over all pairs were estimated, and with what error.
        marginals: which marginals and why, one sentence each.
        form: "equality", "grouped", "few queries" (a slack row), "one-to-one" (a slack column),
            "repeats" (popularity alone) or "as given".
        slack: mass of the slack row or column, of the larger side's.
        popularity: share of the popularity that was no accident and is corrected.
        width: of the softmax that it was read from, in score units.
        topic: how surely the queries are about one topic, 0 to 1; so much less is corrected.
        strength: share of g that the queries of a bank carry; popularity alone is not in it.
        uneven: how surely they ask items unevenly, 0 to 1; votes: what of popularity alone then is
            in the biases, or None.
        votes: see `uneven`.
        before: (m,) the gallery potentials, not centred, that f is one half-step from; None where
            nobody needs them any more.
        step: a sweep of this plan that still has its kernel, of a plan to align by; or None.
    """

    query_bias: Tensor
    gallery_bias: Tensor
    tau: float
    n_iters: int
    error: float
    offset: float
    rho: float
    label: Label
    note: str = ""
    sparse: str = ""
    marginals: tuple[str, ...] = ()
    form: str = "equality"
    slack: float = 0.0
    popularity: float | None = None
    width: float | None = None
    topic: float = 0.0
    strength: float = 1.0
    uneven: float = 0.0
    votes: Votes | None = None
    before: Tensor | None = None
    step: Sweeper | None = None

    @property
    def potentials(self) -> tuple[Tensor, Tensor] | None:  # noqa: D102
        if not (math.isfinite(self.tau) and self.one_step):
            return None
        return self.query_bias, self.gallery_bias

    @property
    def one_step(self) -> bool:
        """Whether an item's bias is one gallery half-step from the query potentials."""
        return self.form in _PLAIN

    def transform(self, sim: Similarity) -> Similarity:
        """S_ij + g_j: serves any queries, each independently of the others."""
        return sim.add_gallery_bias(self.gallery_bias)

    @property
    def parts(self) -> Parts:  # noqa: D102
        return Parts(gallery_bias=self.gallery_bias)

    @property
    def facts(self) -> Mapping[str, Any]:  # noqa: D102
        if not math.isfinite(self.tau):
            return {}
        facts = {"tau": self.tau, "iterations": self.n_iters, "marginal_error": self.error}
        facts |= {"marginals": self.form, "rho": self.rho, "slack": self.slack}
        if self.popularity is not None:
            facts |= {"popularity": self.popularity}
        if self.width is not None:
            facts |= {"width": self.width}
        if self.topic:
            facts |= {"topic": self.topic}
        if self.strength < 1:
            facts |= {"strength": self.strength, "uneven": self.uneven}
        return facts | ({"sparse": self.sparse} if self.sparse else {})

    @property
    def notes(self) -> tuple[str, ...]:  # noqa: D102
        return tuple(note for note in (*self.marginals, self.note, self.sparse) if note)

    def served(self) -> "Potentials":
        """Without the bank's own potentials."""
        return replace(self, query_bias=self.query_bias[:0], before=None, votes=None)

    def mirrored(self, *, split: bool = False) -> "Potentials":
        """The same plan seen from the other side; only of one whose biases are one half-step.

        f is one half-step from `before`: so is a bias of the other side's items from its queries.

        Args:
            split: whether the queries of this side are split over processes.
        """
        assert self.before is not None
        f = self.query_bias.double() - self.offset
        level, mean = centred(f, torch.ones_like(f, dtype=torch.bool), split=split)
        return replace(
            self,
            query_bias=(self.before.double() + mean).to(self.before),
            gallery_bias=level.to(self.query_bias),
            offset=mean,
            before=None,
        )

    def rebiased(self, gallery_bias: Tensor) -> "Potentials":
        """With f moved by the change of log m, so that biases and later items keep their gauge.

        `bias_of` gives an item the mass 1 / m of the gallery as it is now.
        """
        if not len(self.query_bias):
            return replace(self, gallery_bias=gallery_bias, before=None)
        shift = self.tau * math.log(len(gallery_bias) / len(self.gallery_bias))
        moved = self.query_bias - shift
        return replace(self, gallery_bias=gallery_bias, query_bias=moved, before=None)

    def grown(self, bank: Similarity) -> Tensor:
        """See `bias_of`; scores without a temperature got no biases."""
        if math.isnan(self.tau):
            return torch.zeros(bank.shape[1], dtype=self.gallery_bias.dtype)
        if not len(self.query_bias):
            raise RerankError(
                f"new items need the bank's potentials; fit again with {option('keep-bank')}"
            )
        return self.bias_of(bank)

    def complete(self, sim: Similarity) -> Tensor:
        """(n,) query potentials of any queries: one half-step with the fitted g.

        f_i = -tau log sum_j exp((S_ij + g_j) / tau) + tau log a_i, with their own masses.
        """
        log_a = reduce.query_masses(sim).log().to(sim.dtype)
        lse = reduce.logsumexp(sim, self.tau, over="gallery", plus=self.gallery_bias)
        return self.tau * (log_a - lse)

    def plan(self, sim: Similarity) -> Tensor:
        """(n, m) the normalised matrix exp((S + f + g) / tau) with f completed on these queries.

        Builds the whole matrix; rows sum to the masses of the queries.
        """
        f = self.complete(sim)
        scores = self.transform(sim).scores()
        return scores.add_(f[:, None]).div_(self.tau).exp_()

    @property
    def term(self) -> Soft | None:
        """`bias_of` as a term of a weighted sum of biases, where an item has one by itself."""
        alone = self.one_step and self.votes is None
        if not (alone and math.isfinite(self.tau) and self.rho > 0):
            return None
        f = self.query_bias - self.offset
        level = -self.tau * math.log(max(1, len(self.gallery_bias)))
        return Soft(self.strength * self.rho, self.tau, f, level - self.offset / self.rho)

    def bias_of(self, bank: Similarity) -> Tensor:
        """(m',) the bias of other gallery items against the same bank queries.

        One gallery half-step with the stored f, in the gauge of `gallery_bias`, each item having
        the mass 1 / m of a fitted one, times `strength`, and what `votes` say: items that were
        fitted get their own g back.
        """
        if not self.one_step:
            raise RerankError(
                f"new items need marginals of equality, and this fit has those of {self.form!r}; "
                f"fit again on the new gallery, or with rho = 1"
            )
        log_b = -math.log(self.gallery_bias.shape[0])
        f = self.query_bias - self.offset
        lse = reduce.logsumexp(bank, self.tau, over="queries", plus=f.to(bank.dtype))
        g = self.strength * (self.rho * self.tau * (log_b - lse) - self.offset)
        return g if self.votes is None else g + self.votes.of(bank).to(g)
