"""Where `rerank apply` spends its time: own seconds of each stage, by wrapping what it calls."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import rerank.methods.em
import rerank.methods.sinkhorn
from rerank import io
from rerank.core import similarity
from rerank.methods import engine as api
from rerank.methods.potentials import Solution
from rerank.tasks import apply as files
from rerank.tasks import apply as runs

# Stage, owner and name of what is timed. Time inside a nested one counts for that one alone.
WRAPPED = (
    ("reading", files, "read_fused"),
    ("EM", rerank.methods.em.EM, "fit"),
    ("EM", similarity.Pair, "map"),
    ("marginals", rerank.methods.sinkhorn, "repeats"),
    ("temperature", rerank.methods.sinkhorn, "auto_tau"),
    ("Sinkhorn", rerank.methods.sinkhorn, "solve"),
    ("second direction", api, "_mirror"),
    ("top-k", runs.search, "topk"),
    ("writing", files, "describe_inputs"),
    ("writing", io, "write_results"),
)


def timed_apply(
    texts: Path,
    videos: Path,
    out: Path,
    *,
    clock: Callable[[], float] = time.perf_counter,
    **settings: Any,  # noqa: ANN401
) -> dict[str, float]:
    """Seconds of each stage of one `apply_files`, with "other", and the steps of its fits."""
    spent: dict[str, float] = {stage: 0.0 for stage, _, _ in WRAPPED}
    nested: list[float] = []
    steps = {"steps": 0.0}

    def wrap(stage: str, function: Callable) -> Callable:
        def call(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
            nested.append(0.0)
            start = clock()
            try:
                found = function(*args, **kwargs)
            finally:
                whole = clock() - start
                spent[stage] += whole - nested.pop()
                if nested:
                    nested[-1] += whole
            if isinstance(found, Solution):
                steps["steps"] = max(steps["steps"], found.n_iters)
            return found

        return call

    patches = [
        mock.patch.object(owner, name, wrap(stage, getattr(owner, name)))
        for stage, owner, name in WRAPPED
    ]
    for patch in patches:
        patch.start()
    try:
        start = clock()
        files.apply_files(texts=texts, videos=videos, out=out, settings=settings)
        whole = clock() - start
    finally:
        for patch in patches:
            patch.stop()
    return spent | {"checks": whole - sum(spent.values()), "total": whole} | steps
