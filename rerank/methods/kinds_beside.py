"""The scores of a bank beside those that are ranked: of one kind, with a number of its own.

They are taken for what the others were taken for. What stands for "not scored" is looked for in
their own numbers, as a program may pad only one of the two. What they would be taken for alone,
and how wide they spread, shows where the two are of different kinds: that is said, and nothing is
turned round or divided without being asked.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from rerank.core import comm
from rerank.core.arrays import ArrayLike, as_matrix
from rerank.core.errors import RerankError
from rerank.core.similarity import Dense
from rerank.core.wording import option
from rerank.methods.kinds import (
    CHANGED,
    Reading,
    Scores,
    Unscored,
    as_scores,
    facts_of,
    read,
    reading_of,
)

# The same number for a pair that counts as a score in the others, if it is this part as frequent.
_AS_OFTEN = 0.1
# Spread by spread from which two matrices are in different units; logits are 14 and more cosines.
_WIDER = 8.0
_OFF = 3.0  # and so many spreads between their middles
_LINES, _ENTRIES = 256, 2**19
_ROWS = 8  # whose spread tells
_CALLED = {"log-probabilities": "logarithms of match probabilities", "softmax": "a softmax"}


@dataclass(frozen=True, eq=False)
class Beside:
    """The scores of a bank.

    Attributes:
        sim: as they are ranked.
        said: what a person should know of their numbers, one sentence each.
    """

    sim: Dense
    said: tuple[str, ...] = ()


def read_bank(scores: ArrayLike, stored: Scores) -> Beside:
    """Scores of bank queries against the same items, taken for what the first matrix was.

    Args:
        scores: (b, m) numpy or torch, real floating point. Not modified.
        stored: the scores beside which they stand.

    Raises:
        RerankError: no such numbers.
    """
    try:
        sim, reading, said = _read(scores, stored)
    except RerankError as error:
        raise RerankError(f"bank {error}") from None
    found = [said] if said else []
    if odd := _of_another_kind(as_matrix(scores, "scores"), reading, stored) or _elsewhere(
        sim, stored
    ):
        found.append(odd)
    return Beside(sim, tuple(found))


def _read(scores: ArrayLike, stored: Scores) -> tuple[Dense, Reading, str]:
    """The scores, and what is said of a number in them that alone means "not scored"."""
    theirs = stored.reading.unscored
    if stored.said is not None:
        return (*_taken(scores, stored.reading, stored.said), "")
    sim, reading = _taken(scores, stored.reading, None)
    own = reading.unscored
    if own is not None and own != theirs and not _counts(own, reading.share, stored):
        return sim, reading, _sentence(reading)
    if own is None or own != theirs:
        sim, reading = _taken(scores, stored.reading, "none" if theirs is None else theirs)
    return sim, reading, ""


def _taken(scores: ArrayLike, beside: Reading, unscored: Unscored) -> tuple[Dense, Reading]:
    if not beside.divided:
        return read(scores, scores_are=beside.kind, unscored=unscored)
    base = as_matrix(scores, "scores")
    found = reading_of(facts_of(base.cpu().numpy()), scores_are="softmax", unscored=unscored)
    verdict = replace(found.verdict, kind="probabilities")
    out = as_scores(base, replace(found, verdict=verdict))
    share = float((out == -math.inf).double().mean())
    return Dense(out, unscored=True), replace(found, verdict=verdict, share=share)


def _counts(value: float, share: float, stored: Scores) -> bool:
    """Whether the first matrix has a number about as often, and it is a score there."""
    base, sharded = stored.t2v.base, stored.t2v.shard is not None
    if stored.reading.kind in CHANGED or math.isnan(value):
        return False
    value = -value if stored.reading.kind == "distances" else value
    found = torch.stack([(base == value).sum(), torch.tensor(base.numel()).to(base.device)])
    many, total = (comm.all_sum(found) if sharded else found).tolist()
    return many > _AS_OFTEN * share * total


def _sentence(reading: Reading) -> str:
    shown = f"{reading.unscored:g}"
    return (
        f"the bank's scores: {shown} = not scored ({100 * reading.share:.3g} % of the pairs); "
        f"{option('unscored', 'none')} if it is a score"
    )


def _of_another_kind(bank: Tensor, reading: Reading, stored: Scores) -> str:
    """What is said where the bank alone would be taken for another kind, or ""."""
    beside, value = stored.reading, reading.unscored
    if beside.kind == "distances":
        if not _any_below(bank, value) or _any_above(stored):
            return ""
        return _contradict("has negative numbers, which are no distances", "distances")
    facts = facts_of(bank.cpu().numpy())
    alone = reading_of(facts, unscored="none" if value is None else value)
    near = alone.verdict.near and not alone.verdict.ranks
    if beside.kind in CHANGED:
        if alone.kind in CHANGED or not (near or alone.sure):
            return ""
        looks = "distances" if near else alone.kind
        return _contradict(f"looks like {looks}", _CALLED.get(beside.kind, beside.kind))
    if not near and (alone.kind not in CHANGED or not alone.sure):
        return ""
    # Whoever said that both are, say, similarities has scores that look alike.
    sharded = stored.t2v.shard is not None
    theirs = reading_of(facts_of(stored.t2v.base.cpu().numpy(), sharded=sharded), unscored="none")
    if near:
        found = "" if theirs.verdict.near or theirs.kind in CHANGED else "distances"
    else:
        found = "" if theirs.kind in CHANGED else _CALLED.get(alone.kind, alone.kind)
    return _contradict(f"looks like {found}", beside.kind) if found else ""


def _any_below(bank: Tensor, value: float | None) -> bool:
    scored = torch.isfinite(bank) & (bank < 0)
    return bool((scored if value is None else scored & (bank != value)).any())


def _any_above(stored: Scores) -> bool:
    """Whether distances, which were turned round, have some that are negative."""
    found = torch.tensor([float((stored.t2v.base > 0).any())])
    return bool((comm.all_sum(found) if stored.t2v.shard is not None else found)[0])


def _contradict(looks: str, kind: str) -> str:
    return (
        f"the bank's matrix {looks}, and the scores were taken for {kind}; a fit on another kind "
        "of numbers is worth nothing, so write both with one program"
    )


def _elsewhere(bank: Dense, stored: Scores) -> str:
    """What is said where the bank's scores are of another size, or ""."""
    if stored.reading.kind in CHANGED:
        return ""  # as logarithms they are of many sizes
    theirs, own = _Sizes.of(stored.t2v), _Sizes.of(bank)
    if theirs is None or own is None:
        return ""
    alike = 1 / _WIDER < own.spread / theirs.spread < _WIDER
    off = abs(own.middle - theirs.middle) / max(own.spread, theirs.spread)
    if alike and off < _OFF:
        return ""
    turned = stored.reading.kind == "distances"
    return (
        f"half of the bank's scores are {own.reach(turned=turned)}, and of the scores beside them "
        f"{theirs.reach(turned=turned)}, as if of another kind or unit; write both with one program"
    )


@dataclass(frozen=True)
class _Sizes:
    """Sizes of the scores of a sample, which a few lines tell.

    Attributes:
        spread: median standard deviation of a row.
        low: a quarter of them are below.
        middle: half of them are.
        high: a quarter is above.
    """

    spread: float
    low: float
    middle: float
    high: float

    def reach(self, *, turned: bool) -> str:
        """From where to where half of them are, as the file has them."""
        low, high = (-self.high, -self.low) if turned else (self.low, self.high)
        return f"{low:.3g} to {high:.3g}"

    @classmethod
    def of(cls, sim: Dense) -> "_Sizes | None":
        """Sizes; None where too few rows have scores, or most pairs have none: the best lie apart.

        Of several processes the first that has some speaks.
        """
        found = cls._here(sim.base)
        if sim.shard is None:
            return found
        return next((one for one in comm.gather_objects(found) if one is not None), None)

    @classmethod
    def _here(cls, scores: Tensor) -> "_Sizes | None":
        step = max(1, scores.shape[1] * _LINES // _ENTRIES)
        some = scores[:: max(1, len(scores) // _LINES), ::step].double()
        held = torch.isfinite(some)
        count = held.sum(dim=1)
        if (count > 1).sum() < _ROWS or held.double().mean() < 0.5:
            return None
        each = count.clamp(min=1)
        mean = torch.where(held, some, 0).sum(dim=1, keepdim=True) / each[:, None]
        off = torch.where(held, some - mean, 0)
        spread = float((off.square().sum(dim=1) / each).sqrt()[count > 1].median())
        low, middle, high = np.quantile(some[held].numpy(), [0.25, 0.5, 0.75]).tolist()
        return cls(spread, low, middle, high) if spread > 0 else None
