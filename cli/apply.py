"""`rerank apply`: embeddings or a matrix in, a result file with both directions out."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rerank_cli.groups import Belonging, Fitting, ManyBanks, ManyFiles, Prior, Reading
from rerank_cli.options import (
    Device,
    Force,
    Heads,
    Json,
    K,
    Memory,
    ModelWeights,
    Nouns,
    QueryGroups,
    Rho,
    Sure,
    Threshold,
)
from rerank_cli.paging import Page
from rerank_cli.plan import show_plan

if TYPE_CHECKING:
    from rerank.tasks.answer import Answer


def apply_command(
    *,
    files: ManyFiles,
    banks: ManyBanks,
    weights: ModelWeights = None,
    query_groups: QueryGroups = None,
    prior: Prior,
    confidence: Sure = False,
    threshold: Threshold = None,
    heads: Heads = None,
    fitting: Fitting,
    k: K = None,
    rho: Rho = None,
    belonging: Belonging,
    out: Annotated[Path, typer.Option("--out", "-o", help="Result file.")] = Path("reranked.h5"),
    scores: Annotated[
        bool, typer.Option("--scores", help="Also store the rewritten matrix (n x m).")
    ] = False,
    page: Page,
    nouns: Nouns = None,
    force: Force = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say regime, memory and time; run nothing.")
    ] = False,
    memory: Memory = None,
    device: Device = "auto",
    json: Json = False,
    reading: Reading,
) -> None:
    """Re-rank embeddings or a score matrix in both directions.

    With a bank (texts and videos that are not the test set) the fit is inductive; without one it
    is fitted on the test queries themselves and labelled transductive.
    """
    from rerank.core import comm
    from rerank.methods.fusion import parse_weights
    from rerank.tasks import apply as task
    from rerank.tasks.naming import calling
    from rerank.tasks.read import sizes
    from rerank_cli.console import progress

    words = page.words()
    given = (
        *files.paths, *banks.paths, prior.bias, heads, fitting.settings, reading.text_ids,
        reading.video_ids,
    )  # fmt: skip
    page.check(given, force=force, out=out)
    named = calling(nouns, texts=files.first["texts"], videos=files.first["videos"])
    if dry_run:
        with named:
            found = sizes(**files.first, reading=reading, mapped=heads is not None)
            show_plan(found, fitting.method, memory=memory, json=json)
        return
    chosen, groups = fitting.chosen(rho=rho), belonging.groups
    with named:
        try:
            with progress():
                made = task.apply_files(
                    **vars(files), **vars(banks), **vars(prior), weights=parse_weights(weights),
                    query_groups=query_groups, confidence=confidence, threshold=threshold, k=k,
                    groups=groups, gate=fitting.gate, out=out, store_scores=scores, device=device,
                    reading=reading, memory=memory, heads=heads, settings=chosen,
                    settings_file=fitting.settings, force=force,
                )  # fmt: skip
        finally:
            # gloo aborts at exit where the group is still up.
            comm.stop()
        if not made.manifest:
            return
        if page.report is not None:
            from rerank.tasks.evaluate_files import judge_results
            from rerank.tasks.report import write_report

            with progress():
                judged = judge_results(None, out, device=device, hubs=True)
                write_report(page.report, judged, words=words)
    _show(made, page.report, json=json)


def _show(made: "Answer", report: Path | None, *, json: bool) -> None:
    from rerank_cli.console import emit, emit_json, say

    emit_json(made.manifest) if json else emit(made.text)
    for warning in made.warnings:
        say(f"warning: {warning}")
    for note in made.notes:
        say(f"note: {note}")
    if report is not None:
        say(f"wrote {report}")
