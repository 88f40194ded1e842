"""What kind of numbers a matrix of scores holds, and the scores that are ranked."""

import warnings
from typing import Literal, TypeAlias

import torch

from rerank.core.errors import RerankError
from rerank.core.similarity import ArrayLike, Axis, Dense
from rerank.io.scores import as_log_scores, kind_of_scores

ScoresAre: TypeAlias = Literal["auto", "similarities", "probabilities"]


def dense(scores: ArrayLike, *, scores_are: ScoresAre = "auto", sharded: bool = False) -> Dense:
    """Stored scores as a similarity; probabilities become logarithms, with a warning that says so.

    `sharded`: these are this process's share of the rows; what they are is decided for all.

    Raises:
        RerankError: not a matrix of real numbers, NaN or infinite entries.
    """
    if scores_are not in ("auto", "similarities", "probabilities"):
        raise RerankError(
            f"scores_are: got {scores_are!r}, expected 'auto', 'similarities' or 'probabilities'"
        )
    shard: Axis | None = "queries" if sharded else None
    sim = Dense(scores, shard=shard)
    if scores_are == "similarities":
        return sim
    kind = kind_of_scores(sim.base.cpu().numpy(), sharded=sharded)
    if scores_are == "auto" and kind == "similarities":
        return sim
    if scores_are == "auto":
        side = "rows" if kind == "row-probabilities" else "columns"
        warnings.warn(
            f"{side} of the scores sum to one: taken for probabilities, their logarithm is "
            f"re-ranked and zeros count as not scored; scores_are='similarities' "
            f"(--scores-are similarities) overrides",
            stacklevel=3,
        )
    elif bool((sim.base < 0).any()):
        raise RerankError("scores: negative entries are no probabilities; use 'similarities'")
    logs = torch.from_numpy(as_log_scores(sim.base.cpu().numpy())).to(sim.base)
    return Dense(logs, unscored=True, shard=shard)
