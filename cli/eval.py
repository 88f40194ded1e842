"""`rerank eval`: exact ranks against a ground truth, before and after."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rerank_cli.options import Device, DeviceName, Json, Metric, MetricName, Sims, Texts, Videos

if TYPE_CHECKING:
    from rerank.judging import Judged


class TiesName(StrEnum):
    """What to do where scores are equal."""

    expected = "expected"
    mid = "mid"
    optimistic = "optimistic"
    pessimistic = "pessimistic"


def eval_command(
    gt: Annotated[
        Path,
        typer.Option("--gt", help="Ground truth (JSON variants, CSV, qrels), or 'diagonal'."),
    ],
    results: Annotated[
        Path | None, typer.Option("--results", help="Result file [default: reranked.h5].")
    ] = None,
    videos: Videos = None,
    texts: Texts = None,
    sims: Sims = None,
    metric: Metric = MetricName.cosine,
    ties: Annotated[
        TiesName, typer.Option("--ties", help="How equal scores count.")
    ] = TiesName.expected,
    allow_unjudged: Annotated[
        bool, typer.Option("--allow-unjudged", help="Leave texts without an entry out.")
    ] = False,
    pool: Annotated[
        str | None, typer.Option("--pool", help="How frames become one vector: mean.")
    ] = None,
    device: Device = DeviceName.auto,
    json: Json = False,
) -> None:
    """Evaluate ./reranked.h5, before and after; or raw embeddings or a matrix.

    With --videos and --texts (or --sims) and no --results the files are evaluated as they are;
    together with --results they say where its inputs moved to.
    """
    from rerank import judging
    from rerank_cli.console import emit, emit_json, progress, say

    raw = results is None and (videos is not None or texts is not None or sims is not None)
    with progress():
        if raw:
            judged = judging.judge_raw(
                gt, videos=videos, texts=texts, sims=sims, metric=metric.value,
                ties=ties.value, allow_unjudged=allow_unjudged, device=device.value, pool=pool,
            )  # fmt: skip
        else:
            judged = judging.judge_results(
                gt, results or Path("reranked.h5"), videos=videos, texts=texts, sims=sims,
                ties=ties.value, allow_unjudged=allow_unjudged, device=device.value,
            )  # fmt: skip
    for note in judged.notes:
        say(f"warning: {note}")
    if json:
        emit_json(judged.as_json())
    else:
        emit(_text(judged))


def _text(judged: "Judged") -> str:
    from rerank_cli.console import table

    found = judged.as_json()
    keys = ["R@1", "R@5", "R@10", "MdR", "MnR"]
    rows = []
    for name in ("t2v", "v2t"):
        for when in ("raw", "before", "after"):
            if when in found:
                figures = found[when][name]
                label = judged.labels[name] if when == "after" else "raw"
                if when == "before" and judged.raw is not None:
                    label = "trained"
                cells = [f"{figures[key]:.1f}" for key in keys]
                rows.append([f"{name} {when}", label, *cells, str(figures["queries"])])
        if "before" in found and "after" in found:
            gains = [found["after"][name][k] - found["before"][name][k] for k in keys]
            rows.append([f"{name} change", "", *[f"{gain:+.1f}" for gain in gains], ""])
    lines = [table(["", "label", *keys, "queries"], rows), ""]
    tied = sum(found[when][n].get("tied_queries", 0) for when in ("before", "after")
               if when in found for n in ("t2v", "v2t"))  # fmt: skip
    lines.append(f"ties: {judged.ties}{f' ({tied} tied queries)' if tied else ', none occurred'}")
    if judged.distractors:
        lines.append(f"{judged.distractors} gallery videos have no text: distractors, no queries")
    if judged.unjudged:
        lines.append(f"{judged.unjudged} texts without an entry were left out")
    if judged.label == "transductive":
        lines.append(
            "transductive: fitted on these very queries; give bank files to apply for an "
            "inductive figure"
        )
    return "\n".join(lines)
