"""`rerank apply` on files: read, re-rank, write, and say what happened."""

import math
import platform
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rerank import comm, io, reduce, runs
from rerank.hubness import Hubness
from rerank.inputs import Inputs, describe_inputs, pick_device, read_inputs
from rerank.io import DirectionResult, Embeddings
from rerank.memory import limit
from rerank.methods.em import Basis
from rerank.methods.sinkhorn import Potentials
from rerank.runs import Outcome, Reranked
from rerank.version import __version__

SCHEMA = "rerank-results/1"


@dataclass(frozen=True, eq=False)
class Report:
    """What `apply_files` did.

    Attributes:
        manifest: everything that the result file says about itself.
        text: the same for a person.
        warnings: what to look at, one sentence each.
        notes: how it went, one sentence each.
    """

    manifest: dict[str, Any]
    text: str
    warnings: tuple[str, ...]
    notes: tuple[str, ...]


def rerank_inputs(
    inputs: Inputs, *, metric: str, k: int, scores_are: str, gate: bool, device: torch.device,
    settings: Mapping[str, Any],
) -> tuple[Reranked, list[str]]:  # fmt: skip
    """`runs.apply` on what was read; also returns what Python would have warned about."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = runs.apply(
            inputs.vectors("texts"),
            inputs.vectors("videos"),
            scores=None if inputs.scores is None else inputs.scores.scores,
            bank_texts=inputs.vectors("bank_texts"),
            bank_videos=inputs.vectors("bank_videos"),
            bank_positives=inputs.bank_positives,
            metric=metric,  # type: ignore[arg-type]
            k=k,
            scores_are=scores_are,  # type: ignore[arg-type]
            gate=gate,
            device=device,
            sharded=inputs.sharded,
            whole_bank=inputs.whole_bank,
            **settings,
        )
    return result, [str(item.message) for item in caught if item.category is UserWarning]


def apply_files(
    *,
    videos: Path | None = None,
    texts: Path | None = None,
    sims: Path | None = None,
    bank_texts: Path | None = None,
    bank_videos: Path | None = None,
    bank_gt: Path | None = None,
    metric: str = "cosine",
    k: int | None = None,
    scores_are: str = "auto",
    gate: bool = True,
    out: Path = Path("reranked.h5"),
    store_scores: bool = False,
    device: str = "auto",
    pool: str | None = None,
    memory: str | None = None,
    model: Path | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Report:
    """Read, re-rank both directions, write `out`, and report.

    Raises:
        RerankError: input, settings or paths that do not work; nothing is written then.
    """
    settings = dict(settings or {})
    sharded = comm.start_from_environment()
    target = pick_device(device)
    whole_bank = sharded and sims is None and runs.wants_whole_bank(
        gated=gate and bank_gt is not None, **{"method": None, **settings}
    )  # fmt: skip
    with limit(memory):
        inputs = read_inputs(
            videos=videos, texts=texts, sims=sims, bank_texts=bank_texts, bank_videos=bank_videos,
            bank_gt=bank_gt, metric=metric, pool=pool, model=model, sharded=sharded,
            whole_bank=whole_bank,
        )  # fmt: skip
        if k is None:
            k = min(10, len(inputs.text_ids), len(inputs.video_ids))
        result, warned = rerank_inputs(
            inputs, metric=metric, k=k, scores_are=scores_are, gate=gate, device=target,
            settings=settings,
        )  # fmt: skip
        regime = _sweeps(result)
        found = {
            "t2v": _direction_result(result.t2v, inputs.text_ids, inputs.video_ids),
            "v2t": _direction_result(result.v2t, inputs.video_ids, inputs.text_ids),
        }
        both = (result.t2v, result.v2t)
        cautions = [*warned, *_said(both, lambda outcome: outcome.direction.warnings)]
        notes = _said(both, lambda outcome: outcome.notes[len(outcome.direction.warnings) :])
        read = _read_lines(inputs)
        matrix = _rows_of(result) if store_scores else None
        if comm.rank() > 0:
            # One output: the first process writes and speaks.
            for _ in matrix or ():
                pass
            comm.barrier()
            return Report({}, "", (), ())
        em_map = _em_map(result)
        manifest = _manifest(
            inputs, result, em_map, folder=out.resolve().parent,
            settings={
                "method": result.method, "metric": None if sims else metric, "k": k,
                "scores_are": scores_are, "gate": gate, "device": target.type, "pool": pool,
                **{key: value for key, value in settings.items() if key != "method"},
            },
        )  # fmt: skip
        io.write_results(
            out,
            directions=found,
            manifest=manifest,
            em_map=em_map,
            scores=matrix,
        )
        comm.barrier()
        said = _text(read, result, out, k, regime, store_scores)
        return Report(manifest, said, tuple(_unique(cautions)), tuple(_unique(notes)))


def _rows_of(result: Reranked) -> Iterator[np.ndarray]:
    """The rewritten matrix a block of rows at a time, all of it in the first process."""
    sim = result.matrix()
    blocks = (block.cpu() for _, block in sim.blocks())
    return (block.numpy() for block in comm.rows_to_first(blocks, dtype=sim.dtype))


def _sweeps(result: Reranked) -> str:
    """How the sweeps of the fit were done; "" for methods that sweep nothing."""
    fitted = [outcome.fitted for outcome in (result.t2v, result.v2t) if outcome.fitted is not None]
    if not any(isinstance(stage, Potentials) for each in fitted for stage in each.stages):
        return ""
    notes = (note for outcome in (result.t2v, result.v2t) for note in outcome.notes)
    sparse = next((note for note in notes if "sparse: " in note), "")
    return sparse[sparse.find("sparse: ") :] or reduce.regime(result.t2v.direction.sim)


def _said(both: Sequence[Outcome], sentences: Callable[[Outcome], Sequence[str]]) -> list[str]:
    """Sentences of both directions, each with the name of its own."""
    return [f"{o.direction.name}: {text}" for o in both for text in sentences(o)]


def _unique(notes: list[str]) -> list[str]:
    """Say once what holds for both directions."""
    bodies = [note.split(": ", 1)[-1] if note[:4] in ("t2v:", "v2t:") else note for note in notes]
    out: list[str] = []
    for note, body in zip(notes, bodies, strict=True):
        text = body if bodies.count(body) > 1 else note
        if text not in out:
            out.append(text)
    return out


def _direction_result(
    outcome: Outcome, query_ids: tuple[str, ...], gallery_ids: tuple[str, ...]
) -> DirectionResult:
    bias = None
    if outcome.fitted is None:
        bias = np.zeros(len(gallery_ids), dtype=np.float32)
    elif outcome.fitted.foldable:
        found = outcome.fitted.gallery_bias
        if found is not None and outcome.direction.sim.shard == "gallery":
            found = comm.gather_rows(found)
        bias = np.zeros(len(gallery_ids)) if found is None else found.cpu().numpy()
    return DirectionResult(
        query_ids=query_ids,
        gallery_ids=gallery_ids,
        indices=outcome.topk.indices.cpu().numpy(),
        scores=outcome.topk.scores.cpu().numpy(),
        gallery_bias=bias,
        label=outcome.label,
    )


def _em_map(result: Reranked) -> np.ndarray | None:
    """The linear map, of the first direction that has one (both share it, but for the gate)."""
    maps = (_map_of(outcome) for outcome in (result.t2v, result.v2t))
    return next((matrix for matrix in maps if matrix is not None), None)


def _map_of(outcome: Outcome) -> np.ndarray | None:
    found = None if outcome.fitted is None else outcome.fitted.map
    return None if found is None else found.cpu().numpy()


def _stored(outcome: Outcome, em_map: np.ndarray | None) -> bool:
    """Whether the file's bias and map are all that this direction's rewriting consists of."""
    if outcome.fitted is None:
        return True
    own = _map_of(outcome)
    return outcome.fitted.foldable and (
        own is None or (em_map is not None and np.array_equal(own, em_map))
    )


def _manifest(
    inputs: Inputs,
    result: Reranked,
    em_map: np.ndarray | None,
    *,
    folder: Path,
    settings: dict[str, Any],
) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "label": result.label,
        "labels": {"t2v": result.t2v.label, "v2t": result.v2t.label},
        "inputs": describe_inputs(inputs, folder=folder),
        "settings": settings,
        "fits": {
            o.direction.name: describe_fit(o)
            | {"stored": _stored(o, em_map), "mapped": _map_of(o) is not None}
            for o in (result.t2v, result.v2t)
        },
        "versions": {
            "rerank": __version__,
            "python": platform.python_version(),
            "torch": str(torch.__version__),
            "numpy": np.__version__,
        },
    }


def _antihub_share(found: Hubness) -> float:
    return len(found.antihubs) / len(found.counts)


def describe_fit(outcome: Outcome) -> dict[str, Any]:
    """The figures of a fit and of its hubness, for the manifest."""
    facts: dict[str, Any] = {
        "hub_skewness_before": round(outcome.before.skewness, 4),
        "hub_skewness_after": round(outcome.after.skewness, 4),
        "antihubs_before": round(_antihub_share(outcome.before), 4),
        "antihubs_after": round(_antihub_share(outcome.after), 4),
        "notes": list(outcome.notes),
    }
    for stage in () if outcome.fitted is None else outcome.fitted.stages:
        if isinstance(stage, Potentials) and math.isfinite(stage.tau):
            facts |= {"tau": stage.tau, "iterations": stage.n_iters, "marginal_error": stage.error}
        elif isinstance(stage, Basis):
            facts |= {"em_shift": stage.shift}
    return facts


def _read_lines(inputs: Inputs) -> list[str]:
    """What was read, a line per file."""
    lines: list[str] = []
    for role, unit in (
        ("texts", "texts"), ("videos", "videos"),
        ("bank_texts", "bank texts"), ("bank_videos", "bank videos"),
    ):  # fmt: skip
        embeddings: Embeddings | None = getattr(inputs, role)
        if embeddings is not None:
            low, mean, high = inputs.norms(role)
            lines.append(
                f"read  {Path(embeddings.source).name}: {embeddings.total_rows} {unit}, "
                f"d = {embeddings.vectors.shape[1]}, norms {low:.3g} to {high:.3g} "
                f"(mean {mean:.3g})"
            )
    if inputs.scores is not None:
        n, m = inputs.scores.total_rows, len(inputs.scores.gallery_ids)
        lines.append(f"read  {Path(inputs.scores.source).name}: {n} texts x {m} videos")
    return lines


def _text(
    read: list[str], result: Reranked, out: Path, k: int, regime: str, store_scores: bool
) -> str:
    shifts = [
        stage.shift
        for o in (result.t2v, result.v2t)
        for stage in (o.fitted.stages if o.fitted is not None else ())
        if isinstance(stage, Basis)
    ]
    moved = f"; EM moved the embeddings by {shifts[0]:.1%} of their norm" if shifts else ""
    swept = [f"sweeps  {regime}"] if regime else []
    lines = [*read, "", f"method  {result.method}{moved}", *swept, ""]
    header = ["", "label", "tau", "steps", "marginal error", "hub skewness", "antihubs"]
    rows = [_row(outcome) for outcome in (result.t2v, result.v2t)]
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    for row in (header, *rows):
        lines.append("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip())
    stored = " and the rewritten matrix" if store_scores else ""
    lines += [
        "",
        f"wrote {out}: top {k} of both directions{stored}",
        f"next  rerank eval --gt gt.json{'' if out.name == 'reranked.h5' else f' --results {out}'}",
    ]
    return "\n".join(lines)


def _row(outcome: Outcome) -> list[str]:
    facts = describe_fit(outcome)
    before, after = outcome.before, outcome.after
    return [
        outcome.direction.name,
        outcome.label,
        f"{facts['tau']:.4g}" if facts.get("tau", 0) > 0 else "-",
        str(facts.get("iterations", "-")),
        f"{facts['marginal_error']:.1e}" if facts.get("tau", 0) > 0 else "-",
        f"{before.skewness:.2f} -> {after.skewness:.2f}",
        f"{_antihub_share(before):.1%} -> {_antihub_share(after):.1%}",
    ]
