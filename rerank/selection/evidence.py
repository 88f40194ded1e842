"""What labelled pairs say of settings: one number a query, computed once and remembered."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from rerank import reduce
from rerank.directions import Direction, Name
from rerank.methods.em import EM, Basis
from rerank.reranker import Pipeline, transform_bank
from rerank.selection.parts import Groups
from rerank.selection.settings import Settings
from rerank.similarity import Similarity


@dataclass(frozen=True, eq=False)
class Side:
    """One direction with its labels.

    Attributes:
        direction: similarity and bank.
        rows: (p,) query, and columns: (p,) item, of every known pair, sorted by query.
        judged: (q,) queries with a known pair.
        groups: (q,) group of each judged query.
    """

    direction: Direction
    rows: Tensor
    columns: Tensor
    judged: Tensor
    groups: np.ndarray


def make_side(direction: Direction, positives: Sequence[np.ndarray], groups: np.ndarray) -> Side:
    """Labels of one direction: positives per query, and the group of each query."""
    known = [np.unique(np.asarray(rows, dtype=np.int64)) for rows in positives]
    lengths = np.array([len(rows) for rows in known])
    device = direction.sim.device
    rows = torch.from_numpy(np.repeat(np.arange(len(known)), lengths))
    judged = np.flatnonzero(lengths)
    return Side(
        direction,
        rows.to(device),
        torch.from_numpy(np.concatenate(known)).to(device),
        torch.from_numpy(judged).to(device),
        groups[judged],
    )


@dataclass(frozen=True, eq=False)
class Figures:
    """Per judged query of one direction: log-probability of a positive, and R@1; float64."""

    log_prob: np.ndarray
    hits: np.ndarray


class Evidence:
    """Figures of settings on the labelled pairs, each computed once.

    The similarity of the latest settings is kept too, so that only a new temperature of an
    unchanged ranking costs a single pass.
    """

    def __init__(self, sides: Mapping[Name, Side]) -> None:
        self.sides = dict(sides)
        self._known: dict[Settings, dict[Name, Figures]] = {}
        self._latest: tuple[Settings, dict[Name, Similarity]] | None = None
        self._bases: dict[tuple[Name, int | None], Basis] = {}

    def figures(self, settings: Settings) -> dict[Name, Figures]:
        """Per direction. `settings.tau` is the temperature of the probabilities in any case."""
        if settings not in self._known:
            sims = self._similarities(settings.own())
            self._known[settings] = {
                name: _figures(sims[name], side, float(settings.tau or 1.0))
                for name, side in self.sides.items()
            }
        return self._known[settings]

    def objective(self, settings: Settings, groups: np.ndarray) -> float:
        """Mean over directions of the mean log-probability, over queries of some groups."""
        found = self.figures(settings)
        return float(
            np.mean(
                [found[n].log_prob[groups[side.groups]].mean() for n, side in self.sides.items()]
            )
        )

    def _similarities(self, own: Settings) -> dict[Name, Similarity]:
        if self._latest is not None and self._latest[0] == own:
            return self._latest[1]
        sims: dict[Name, Similarity] = {}
        for name in self.sides:
            sims[name] = self._rewrite(name, own)
        self._latest = (own, sims)
        return sims

    def _rewrite(self, name: Name, own: Settings) -> Similarity:
        """One direction, fitted on its bank; without a bank it stays raw."""
        direction = self.sides[name].direction
        sim, bank, stages = direction.sim, direction.bank, own.pipeline().stages
        if bank is None:
            return sim
        if stages and isinstance(stages[0], EM):
            # Bases do not depend on their weight: fitted once for each number of them.
            key = (name, own.n_bases)
            if key not in self._bases:
                self._bases[key] = stages[0].fit(bank)
            basis = replace(self._bases[key], strength=stages[0].strength)
            mapped = transform_bank(basis, bank)
            sim = mapped.sim if sim is bank.sim else basis.transform(sim)
            bank, stages = mapped, stages[1:]
        return Pipeline(stages).fit(bank).transform(sim)


def _figures(sim: Similarity, side: Side, tau: float) -> Figures:
    n = sim.shape[0]
    chosen = reduce.gather_pairs(sim, side.rows, side.columns)
    lowest = torch.full((n,), -torch.inf, dtype=sim.dtype, device=sim.device)
    best = lowest.scatter_reduce(0, side.rows, chosen, "amax")
    weights = ((chosen - best[side.rows]) / tau).exp()
    own = torch.zeros_like(best).index_add(0, side.rows, weights).log() + best / tau
    log_prob = own - reduce.logsumexp(sim, tau, over="gallery")
    better, tied = reduce.count_better(sim, torch.where(torch.isfinite(best), best, 0.0))
    at_best = torch.zeros_like(better).index_add(
        0, side.rows, (chosen == best[side.rows]).to(better.dtype)
    )
    hits = torch.where(better == 0, at_best.double() / tied.clamp_min(1).double(), 0.0)
    # An unscored positive (-inf) is as improbable as can be, not infinitely so.
    log_prob = torch.nan_to_num(log_prob.double(), nan=-1e3, neginf=-1e3)
    return Figures(log_prob[side.judged].cpu().numpy(), hits[side.judged].cpu().numpy())


def split_groups(groups: Groups, folds: int, seed: int) -> np.ndarray:
    """(count,) fold of every group, random and of equal size."""
    generator = np.random.default_rng([seed, 11])
    return generator.permutation(groups.count) % folds
