"""`rerank eval`: exact ranks against a ground truth, before and after."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rerank.core import words
from rerank_cli.options import (
    FIGURES,
    Captions,
    Device,
    Figures,
    Force,
    Json,
    Metric,
    Nouns,
    Report,
    ScoresAre,
    Sims,
    Texts,
    Thumbnails,
    Unscored,
    Videos,
    with_reading,
)

if TYPE_CHECKING:
    from rerank.tasks.judged import Judged


@with_reading
def eval_command(
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
    videos: Videos = None,
    texts: Texts = None,
    sims: Sims = None,
    scores_are: ScoresAre = "auto",
    unscored: Unscored = None,
    metric: Metric = "cosine",
    ties: Annotated[
        words.Ties, typer.Option("--ties", help="How equal scores count.")
    ] = "expected",
    allow_unjudged: Annotated[
        bool, typer.Option("--allow-unjudged", help="Leave texts without an entry out.")
    ] = False,
    figures: Figures = FIGURES,
    report: Report = None,
    captions: Captions = None,
    thumbnails: Thumbnails = None,
    nouns: Nouns = None,
    force: Force = False,
    device: Device = "auto",
    json: Json = False,
    *,
    reading: Any,  # noqa: ANN401  rerank.io.Reading
) -> None:
    """Measure a ranking against known pairs, before and after.

    With --videos and --texts (or --sims) and no --results the files are evaluated as they are;
    together with --results they say where its inputs moved to.
    """
    from rerank import RerankError
    from rerank.tasks import evaluate_files as judging
    from rerank.tasks.evaluate_lists import check_lists, is_lists, judge_lists
    from rerank.tasks.evaluate_model import judge_model
    from rerank.tasks.naming import calling
    from rerank.tasks.report import check_report, write_report
    from rerank_cli.console import emit, emit_json, progress, say
    from rerank_cli.paging import page_words

    place = results or Path("reranked.h5")
    check_report(
        report, (gt, place, model, videos, texts, sims, captions, thumbnails, reading.text_ids,
                 reading.video_ids), force=force,
    )  # fmt: skip
    if model is not None and (results is not None or sims is not None or report is not None):
        raise RerankError(
            "--model stands with --videos, --texts and --gt alone; leave the rest out"
        )
    if gt is None and report is None:
        raise RerankError("--gt is missing: give it, or --report for a page without figures")
    page = page_words(report, captions, thumbnails)
    asked: dict[str, Any] = {
        "ties": ties, "allow_unjudged": allow_unjudged, "figures": figures,
        "reading": reading,
    }  # fmt: skip
    raw = results is None and (videos is not None or texts is not None or sims is not None)
    remembered = None if raw or model is not None else place
    with progress(), calling(nouns, texts=texts, videos=videos, results=remembered):
        if model is not None and gt is not None:
            judged = judge_model(gt, model, videos=videos, texts=texts, device=device, **asked)
        elif raw:
            judged = judging.judge_raw(
                gt, videos=videos, texts=texts, sims=sims, scores_are=scores_are,
                unscored=unscored, metric=metric, device=device, hubs=report is not None, **asked,
            )  # fmt: skip
        elif results is not None and is_lists(results):
            judged = judge_lists(check_lists(gt, report, results), results, **asked)
        else:
            judged = judging.judge_results(
                gt, place, videos=videos, texts=texts, sims=sims, device=device,
                hubs=report is not None, **asked,
            )  # fmt: skip
        if report is not None:
            write_report(report, judged, words=page)
        shown = "" if judged.as_json().keys().isdisjoint(("before", "after")) else _text(judged)
    if json:
        emit_json(judged.as_json())
    elif shown:
        emit(shown)
    for note in judged.notes:
        say(f"warning: {note}")
    if report is not None:
        say(f"wrote {report}")


def _text(judged: "Judged") -> str:
    from rerank.core import nouns
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
            f"{headers[2]} after: (change [95 % interval]), p: paired by query against before"
        )
        if any(one.low != one.low for of in judged.changes.values() for one in of.values()):
            lines.append("no interval: fewer than 10 groups of queries that share no right answer")
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
