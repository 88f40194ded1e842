"""What several processes may share: which methods, which bank, and that they came to one end.

Queries and bank queries are split over processes, galleries of videos are held whole. That serves
every method made of passes over row panels; the rest is refused here, before anything is fitted.
"""

from functools import reduce

import torch
from torch import Tensor

from rerank import comm
from rerank.arrays import ArrayLike, as_matrix
from rerank.errors import RerankError
from rerank.methods.dual_bank import DualIS
from rerank.methods.dual_dynamic import DualDIS
from rerank.methods.sinkhorn import Sinkhorn
from rerank.presets import METHODS
from rerank.reranker import Pipeline
from rerank.selection.biases import NAMES
from rerank.selection.candidates import PIPELINE, STACK
from rerank.selection.report import GateReport

# Figures of the gate may differ by rounding between processors of different makes.
_ROUNDING = 1e-3
# What rows may be stored as.
_KINDS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def check_method(method: str, stages: Pipeline) -> None:
    """Refuse a method that needs everything in one process.

    Raises:
        RerankError: it does.
    """
    dense = [x for x in method.split("+") if x != "none" and "dense matrix" in METHODS[x].needs]
    sparse = any(
        isinstance(stage, Sinkhorn) and stage.neighbours is not None for stage in stages.stages
    )
    if dense or sparse:
        what = "its neighbour graph" if sparse else "the whole matrix"
        raise RerankError(
            f"--method {method}: needs {what} in one process; run it without torchrun, or take a "
            f"method that streams such as sinkhorn, csls or mp"
        )


def needs_whole_bank(stages: Pipeline, *, gated: bool) -> bool:
    """Whether every process needs all texts of the bank.

    The gate does, which judges all known pairs, and so does a stage that compares the bank's own
    gallery with the searched one: from video to text both are texts, and shares of both would
    leave most pairs out.
    """
    return gated or any(isinstance(stage, DualIS | DualDIS) for stage in stages.stages)


def whole(rows: ArrayLike | None, what: str) -> Tensor | None:
    """The rows of all processes, in every process, of a type that holds them all."""
    if rows is None:
        return None
    mine = as_matrix(rows, what, keep_half=True, no_rows=True)
    # A share that is large to its process is left half, a smaller one may have been widened.
    there = comm.all_max(torch.tensor([int(mine.dtype == kind) for kind in _KINDS])).tolist()
    kinds = [kind for kind, is_there in zip(_KINDS, there, strict=True) if is_there]
    return comm.gather_rows(mine.to(reduce(torch.promote_types, kinds)).contiguous())


def check_gates_agree(report: GateReport) -> None:
    """Compare what the gate found in this process with what it found in the others.

    Every process judges the whole bank by itself, from the same seed. A process that chose another
    candidate would wait for the others in passes that they do not make.

    Raises:
        RerankError: they differ by more than rounding.
    """
    best = report.chosen
    name = ("none", STACK, PIPELINE, *NAMES).index(best.name)
    figures = [name, best.mapped, best.strength, report.shrink, best.gain, *report.weights]
    gap = float(comm.disagreement(torch.tensor(figures, dtype=torch.float64)).max())
    if not gap < _ROUNDING:
        raise RerankError(
            f"the gate came to different ends in different processes (off by {gap:.2g}): run all "
            f"of them on the same kind of machine, or give --no-gate"
        )
