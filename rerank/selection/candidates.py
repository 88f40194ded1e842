"""Candidates of the gate and how each did on pairs that it was not fitted on."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from rerank.selection.likelihood import (
    START,
    Judged,
    clustered_mean,
    fit_beta,
    fit_weights,
    log_prob,
)
from rerank.selection.trials import Trial

STRENGTHS = (0.25, 0.5, 0.75, 1.0)
PIPELINE, STACK = "pipeline", "stack"
# A gain within so many standard errors of zero is noise.
SURE = 2.0
# Log-probabilities of single numbers are rounded in this place: less is the gain of no bias.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Candidate:
    """A correction and its figures against raw scores.

    Attributes:
        name: "stack", "pipeline" or "none".
        strength: what its bias is multiplied with.
        lead: the map that it comes behind: "em", "align", or "" for none.
        gain: held-out mean log-probability of the true pairs less that of raw scores, in nats.
        error: standard error of the gain, over groups of pairs.
        recall_gain: the same for R@1, in points.
    """

    name: str
    strength: float
    lead: str
    gain: float
    error: float
    recall_gain: float

    @property
    def mapped(self) -> bool:
        """Whether it comes behind a map."""
        return self.lead != ""

    @property
    def sure(self) -> bool:
        """Whether it gains beyond noise, and takes no right answer from the first place."""
        return self.gain > max(SURE * self.error, _ROUNDING) and self.recall_gain >= 0


@dataclass(frozen=True, eq=False)
class Baseline:
    """Raw scores of one judged half: log-probability and hit of each query, (n,)."""

    log_prob: Tensor
    hits: Tensor


def baselines(trials: Sequence[tuple[Trial, Trial]]) -> list[tuple[Baseline, Baseline]]:
    """What doing nothing achieves; beta comes from the other half, as for every candidate."""
    made = []
    for pair in trials:
        both = []
        for test, train in (pair, pair[::-1]):
            none = torch.zeros_like(test.judged.scores[0])
            beta = fit_beta(train.judged, torch.zeros_like(train.judged.scores[0]))
            both.append(Baseline(log_prob(test.judged, none, beta), hits(test.judged, none)))
        made.append((both[0], both[1]))
    return made


def judge(
    trials: Sequence[tuple[Trial, Trial]],
    base: Sequence[tuple[Baseline, Baseline]],
    *,
    penalty: float,
    lead: str = "",
) -> list[Candidate]:
    """Figures of every candidate; weights, strengths' betas: from the half that is not judged.

    Args:
        trials: pairs of `rerank.selection.trials.trial`.
        base: of `baselines`, on scores before any map.
        penalty: of the stack's weights.
        lead: the map that the trials are behind; then it alone is a candidate too.
    """
    scores: dict[tuple[str, float], _Scores] = {}
    for pair, raw in zip(trials, base, strict=True):
        for test, train, against in ((*pair, raw[0]), (*pair[::-1], raw[1])):
            for name, strengths, fit_bias, bias, seen, held in _options(
                train, test, penalty=penalty, mapped=lead != ""
            ):
                beta = START
                for strength in strengths:
                    beta = fit_beta(seen, strength * fit_bias, start=beta)
                    entry = scores.setdefault((name, strength), _Scores([], [], []))
                    entry.gains.append(log_prob(held, strength * bias, beta) - against.log_prob)
                    entry.hits.append(hits(held, strength * bias) - against.hits)
                    entry.groups.append(held.groups)
    return [entry.candidate(*key, lead=lead) for key, entry in scores.items()]


def _options(
    train: Trial, test: Trial, *, penalty: float, mapped: bool
) -> list[tuple[str, Sequence[float], Tensor, Tensor, Judged, Judged]]:
    """(name, strengths, bias on train, bias on test, train, test) of every family."""
    seen, held = train.judged, test.judged
    made = []
    if mapped:
        zero = torch.zeros_like
        made.append(("none", (1.0,), zero(seen.scores[0]), zero(held.scores[0]), seen, held))
    weights = fit_weights([seen], penalty=penalty)[0].to(seen.biases)
    made.append((STACK, STRENGTHS, seen.biases @ weights, held.biases @ weights, seen, held))
    if train.given is not None and test.given is not None:
        made.append((PIPELINE, STRENGTHS, train.given, test.given, seen, held))
    if train.rewritten is not None and test.rewritten is not None:
        # Not one number per item, so there is nothing to scale: all of it or nothing.
        seen, held = replace(seen, scores=train.rewritten), replace(held, scores=test.rewritten)
        zero = torch.zeros_like
        made.append((PIPELINE, (1.0,), zero(seen.scores[0]), zero(held.scores[0]), seen, held))
    return made


@dataclass(frozen=True, eq=False)
class _Scores:
    """One candidate's figures, a tensor per trial."""

    gains: list[Tensor]
    hits: list[Tensor]
    groups: list[np.ndarray]

    def candidate(self, name: str, strength: float, *, lead: str) -> Candidate:
        gains = torch.cat(self.gains).double().cpu().numpy()
        gain, error = clustered_mean(gains, np.concatenate(self.groups))
        recall = 100 * float(torch.cat(self.hits).mean())
        return Candidate(name, strength, lead, gain, error, recall)


def hits(judged: Judged, bias: Tensor) -> Tensor:
    """(n,) chance that a positive comes first, over random orders of tied items."""
    scores = judged.scores + bias
    top = scores == scores.amax(dim=1, keepdim=True)
    right = torch.zeros_like(top)
    right[judged.rows, judged.columns] = True
    return (top & right).sum(dim=1).double() / top.sum(dim=1)
