"""The plan of a temperature, found once where both directions of a search ask for it.

Where one side is longer, a temperature is chosen by the plan in which each of the shorter side has
one of the longer: that is the same plan from both directions. Its kernel serves both too.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from rerank.core.similarity import Similarity, place
from rerank.methods.temperature import Temperature, auto_tau
from rerank.passes import reduce
from rerank.passes.sinkhorn.sweepers import Sweeper


@dataclass(frozen=True, eq=False)
class _Known:
    """What was asked last, and the answer."""

    asked: Mapping[str, Any]
    found: Temperature


_LAST: ContextVar[list[_Known | None] | None] = ContextVar("rerank_plan", default=None)
# What makes two plans the same, beside the scores; where they start from does not.
_MASSES, _EQUAL = ("log_a", "log_b"), ("slack", "live", "rough")


@contextmanager
def sharing() -> Iterator[None]:
    """Inside, a plan that was just found is not looked for again."""
    token = _LAST.set([None])
    try:
        yield
    finally:
        _LAST.reset(token)


def temperature(**asked: Any) -> Temperature:  # noqa: ANN401  as `auto_tau`
    """`auto_tau`, or what it found the last time where it was asked the same."""
    last = _LAST.get()
    if last is None or asked["graph"] is not None:
        return auto_tau(**asked)
    known = last[0]
    same = known is not None and _same(known.asked, asked)
    # A plan is looked for by all processes together, or by none.
    if known is not None and reduce.everywhere(asked["sim"], same):
        return known.found
    last[0] = None  # with its kernel, before there is another
    found = auto_tau(**asked)
    last[0] = _Known(asked, found)
    return found


def keep(step: Sweeper | None) -> None:
    """Say what has become of the sweep of the last plan: None where it serves no other."""
    last = _LAST.get()
    if last is not None and last[0] is not None:
        last[0] = replace(last[0], found=replace(last[0].found, step=step))


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    def at(asked: Mapping[str, Any]) -> tuple[Similarity, list[Tensor]]:
        return asked["sim"], [asked[name] for name in _MASSES]

    (sim, masses), (other_sim, others) = at(one), at(other)
    if place(sim) != place(other_sim) or sim.shard != other_sim.shard:
        return False
    if any(one[name] != other[name] for name in _EQUAL):
        return False
    return all(torch.equal(x, y) for x, y in zip(masses, others, strict=True))
