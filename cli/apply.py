"""`rerank apply`: embeddings or a matrix in, a result file with both directions out."""

from pathlib import Path
from typing import Annotated, Any

import typer

from rerank_cli.groups import Belonging, Reading, with_groups
from rerank_cli.options import (
    BankGt,
    BankSims,
    Bias,
    BiasWeight,
    Captions,
    Device,
    Force,
    Grouped,
    Heads,
    Json,
    ManyBankTexts,
    ManyBankVideos,
    ManySims,
    ManyTexts,
    ManyVideos,
    Memory,
    Method,
    Metric,
    ModelWeights,
    Nouns,
    OneToOne,
    QueryGroups,
    Report,
    ScoresAre,
    Sure,
    Tau,
    Threshold,
    Thumbnails,
    Unscored,
)
from rerank_cli.paging import Page
from rerank_cli.plan import show_plan


@with_groups
def apply_command(
    videos: ManyVideos = None,
    texts: ManyTexts = None,
    sims: ManySims = None,
    bank_texts: ManyBankTexts = None,
    bank_videos: ManyBankVideos = None,
    bank_gt: BankGt = None,
    bank_sims: BankSims = None,
    weights: ModelWeights = None,
    query_groups: QueryGroups = None,
    bias: Bias = None,
    bias_weight: BiasWeight = 1.0,
    confidence: Sure = False,
    threshold: Threshold = None,
    heads: Heads = None,
    method: Method = None,
    metric: Metric = "cosine",
    k: Annotated[
        int | None,
        typer.Option("--k", help="Results per query [default: 10, or all of a smaller gallery]."),
    ] = None,
    tau: Tau = None,
    rho: Annotated[
        float | None, typer.Option("--rho", help="Softness of the gallery marginal, 0 to 1.")
    ] = None,
    scores_are: ScoresAre = "auto",
    unscored: Unscored = None,
    one_to_one: OneToOne = False,
    grouped: Grouped = False,
    settings: Annotated[
        Path | None, typer.Option("--settings", help="Settings written by `rerank tune`.")
    ] = None,
    gate: Annotated[
        bool, typer.Option("--gate/--no-gate", help="Judge biases on the bank's known pairs.")
    ] = True,
    out: Annotated[Path, typer.Option("--out", help="Result file.")] = Path("reranked.h5"),
    scores: Annotated[
        bool, typer.Option("--scores", help="Also store the rewritten matrix (n x m).")
    ] = False,
    report: Report = None,
    captions: Captions = None,
    thumbnails: Thumbnails = None,
    nouns: Nouns = None,
    force: Force = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say regime, memory and time; run nothing.")
    ] = False,
    memory: Memory = None,
    device: Device = "auto",
    json: Json = False,
    *,
    reading: Reading,
) -> None:
    """Re-rank embeddings or a score matrix in both directions.

    With a bank (texts and videos that are not the test set) the fit is inductive; without one it
    is fitted on the test queries themselves and labelled transductive.
    """
    from rerank.core import comm
    from rerank.io import check_outputs
    from rerank.methods.fusion import parse_weights
    from rerank.tasks import apply as files
    from rerank.tasks import read as inputs
    from rerank.tasks.models import one_path, paths_of
    from rerank.tasks.naming import calling
    from rerank.tasks.report import check_report, write_report
    from rerank_cli.console import emit, emit_json, progress, say

    page = Page(report, captions, thumbnails).words()
    roles = (texts, videos, sims, bank_texts, bank_videos)
    files_of_roles = [path for paths in roles for path in paths_of(paths)]
    given = (
        *files_of_roles, bank_gt, bank_sims, bias, heads, settings, out, captions, thumbnails,
        reading.text_ids, reading.video_ids,
    )  # fmt: skip
    check_report(report, given, force=force)
    check_outputs({"--out": out}, (captions, thumbnails))
    first_texts, first_videos = one_path(texts), one_path(videos)
    if dry_run:
        with calling(nouns, texts=first_texts, videos=first_videos):
            sizes = inputs.sizes(
                texts=first_texts, videos=first_videos, sims=one_path(sims), reading=reading
            )
            show_plan(sizes, method, memory=memory, json=json)
        return
    chosen: dict[str, Any] = {
        key: value
        for key, value in {"method": method, "tau": inputs.parse_tau(tau), "rho": rho}.items()
        if value is not None
    }
    groups = Belonging(one_to_one, grouped).groups
    try:
        with progress(), calling(nouns, texts=first_texts, videos=first_videos):
            made = files.apply_files(
                videos=videos, texts=texts, sims=sims, bank_texts=bank_texts,
                bank_videos=bank_videos, bank_gt=bank_gt, bank_sims=bank_sims,
                weights=parse_weights(weights), query_groups=query_groups,
                bias=bias, bias_weight=bias_weight,
                confidence=confidence, threshold=threshold, metric=metric, k=k,
                scores_are=scores_are, unscored=unscored, groups=groups, gate=gate, out=out,
                store_scores=scores, device=device, reading=reading, memory=memory,
                heads=heads, settings=chosen, settings_file=settings, force=force,
            )  # fmt: skip
    finally:
        # gloo aborts at exit where the group is still up.
        comm.stop()
    if not made.manifest:
        return
    if report is not None:
        from rerank.tasks.evaluate_files import judge_results

        with progress(), calling(nouns, texts=first_texts, videos=first_videos):
            judged = judge_results(None, out, device=device, hubs=True)
            write_report(report, judged, words=page)
    if json:
        emit_json(made.manifest)
    else:
        emit(made.text)
    for warning in made.warnings:
        say(f"warning: {warning}")
    for note in made.notes:
        say(f"note: {note}")
    if report is not None:
        say(f"wrote {report}")
