"""`rerank eval`: exact ranks against a ground truth, before and after."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rerank.core import words
from rerank_cli.groups import Files, Judging, Reading
from rerank_cli.options import Device, Force, Json, Nouns
from rerank_cli.paging import Page

if TYPE_CHECKING:
    from rerank.tasks.judged import Judged

_RESULTS = Path("reranked.h5")


def eval_command(
    *,
    gt: Annotated[
        Path | None,
        typer.Option("--gt", help="Ground truth (JSON variants, CSV, qrels), or 'diagonal'."),
    ] = None,
    results: Annotated[
        Path | None,
        typer.Option(
            "--results",
            help="Result file, or rankings: TREC run, JSON, CSV ... [default: reranked.h5].",
        ),
    ] = None,
    model: Annotated[
        Path | None, typer.Option("--model", help="Judge a model of `rerank fit` on new queries.")
    ] = None,
    files: Files,
    judging: Judging,
    page: Page,
    nouns: Nouns = None,
    force: Force = False,
    device: Device = "auto",
    json: Json = False,
    reading: Reading,
) -> None:
    """Measure a ranking against known pairs, before and after.

    With --videos and --texts (or --sims) and no --results the files are evaluated as they are;
    together with --results they say where its inputs moved to.
    """
    from rerank import RerankError
    from rerank.tasks.naming import calling
    from rerank.tasks.report import write_report
    from rerank_cli.console import emit, emit_json, progress, say

    place = results or _RESULTS
    given = (gt, place, model, files.videos, files.texts, files.sims, reading.text_ids,
             reading.video_ids)  # fmt: skip
    page.check(given, force=force)
    alone = results is None and files.sims is None and page.report is None
    if model is not None and not alone:
        raise RerankError(
            "--model stands with --videos, --texts and --gt alone; leave the rest out"
        )
    if gt is None and page.report is None:
        raise RerankError("--gt is missing: give it, or --report for a page without figures")
    shown_by = page.words()
    remembered = None if model is not None or (results is None and files.given) else place
    with progress(), calling(nouns, texts=files.texts, videos=files.videos, results=remembered):
        judge = _judge(
            gt, results, model, files, judging, reading, device=device, report=page.report
        )
        judged = judge()
        if page.report is not None:
            write_report(page.report, judged, words=shown_by)
        shown = "" if judged.as_json().keys().isdisjoint(("before", "after")) else _text(judged)
    if json:
        emit_json(judged.as_json())
    elif shown:
        emit(shown)
    for note in judged.notes:
        say(f"warning: {note}")
    if page.report is not None:
        say(f"wrote {page.report}")


def _judge(
    gt: Path | None, results: Path | None, model: Path | None, files: Files, judging: Judging,
    reading: Reading, *, device: str, report: Path | None,
) -> Callable[[], "Judged"]:  # fmt: skip
    """What judges a model, files as they are, ranked lists of any program, or a result file."""
    from rerank.tasks import evaluate_files as task
    from rerank.tasks.evaluate_lists import check_lists, is_lists, judge_lists
    from rerank.tasks.evaluate_model import judge_model
    from rerank.tasks.report import check_report

    asked = {**vars(judging), "reading": reading}
    sides = {"videos": files.videos, "texts": files.texts}
    hubs = report is not None
    if model is not None and gt is not None:
        return partial(judge_model, gt, model, **sides, device=device, **asked)
    if results is None and files.given:
        return partial(task.judge_raw, gt, **vars(files), device=device, hubs=hubs, **asked)
    if results is not None and is_lists(results):
        return partial(judge_lists, check_lists(gt, report, results), results, **asked)
    if report is not None:
        check_report(report, task.recorded_files(results or _RESULTS), force=True)
    return partial(
        task.judge_results, gt, results or _RESULTS, **sides, sims=files.sims, device=device,
        hubs=hubs, **asked,
    )  # fmt: skip


def _text(judged: "Judged") -> str:
    from rerank.core import nouns
    from rerank.metrics.uncertainty import too_few
    from rerank.tasks.report import rows_of
    from rerank_cli.console import table

    queries, items = nouns.sides()
    made = [rows_of(judged, name) for name in words.NAMES if name in judged.labels]
    headers, rows = made[0][0], [row for _, some in made for row in some]
    if judged.after is None:
        place = headers.index("p")
        headers, *rows = [[*row[:place], *row[place + 1 :]] for row in (headers, *rows)]
    lines = [table(headers, rows), ""]
    found = judged.as_json()
    tied = sum(
        found[when].get(name, {}).get("tied_queries", 0)
        for when in ("before", "after")
        if when in found
        for name in words.NAMES
    )
    if judged.changes:
        lines.append(
            f"{headers[2]} after: (change [95 % interval]), p: paired by query, clustered by "
            "shared answers, against before"
        )
        few = {name: too_few(of.values()) for name, of in judged.changes.items()}
        lines += [f"{name}: {said}" for name, said in few.items() if said]
    lines.append(f"ties: {judged.ties}{f' ({tied} tied queries)' if tied else ', none occurred'}")
    if judged.distractors:
        lines.append(f"distractors, {items} of no {queries}: {judged.distractors}")

    if judged.unjudged:
        lines.append(f"left out, {queries} without an entry: {judged.unjudged}")
    lines += [said["sentence"] for said in judged.answers.values()]
    if judged.label == "transductive":
        lines.append(
            "transductive: fitted on these very queries; give bank files to apply for an "
            "inductive figure"
        )
    return "\n".join(lines)
