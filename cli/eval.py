"""`rerank eval`: exact ranks against a ground truth, before and after."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rerank.core import words
from rerank_cli.options import (
    FIGURES,
    Device,
    Figures,
    Force,
    Json,
    Metric,
    ScoresAre,
    Sims,
    Texts,
    Unscored,
    Videos,
    with_reading,
)

if TYPE_CHECKING:
    from rerank.tasks.evaluate_files import Judged


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
    report: Annotated[
        Path | None,
        typer.Option("--report", help="Also write one HTML page; it works without --gt too."),
    ] = None,
    captions: Annotated[
        Path | None, typer.Option("--captions", help="For the page: JSON {id: caption}.")
    ] = None,
    thumbnails: Annotated[
        Path | None, typer.Option("--thumbnails", help="For the page: folder of ID.jpg or .png.")
    ] = None,
    force: Force = False,
    device: Device = "auto",
    json: Json = False,
    *,
    reading: Any,  # noqa: ANN401  rerank.io.Reading
) -> None:
    """Evaluate ./reranked.h5, before and after; or raw embeddings or a matrix.

    With --videos and --texts (or --sims) and no --results the files are evaluated as they are;
    together with --results they say where its inputs moved to.
    """
    from rerank import RerankError
    from rerank.tasks import evaluate_files as judging
    from rerank.tasks.evaluate_lists import check_lists, is_lists, judge_lists
    from rerank.tasks.evaluate_model import judge_model
    from rerank_cli.console import emit, emit_json, progress, say

    place = results or Path("reranked.h5")
    judging.check_report(
        report, (gt, place, model, videos, texts, sims, captions, thumbnails, reading.text_ids,
                 reading.video_ids), force=force,
    )  # fmt: skip
    if model is not None and (results is not None or sims is not None or report is not None):
        raise RerankError(
            "--model stands with --videos, --texts and --gt alone; leave the rest out"
        )
    if gt is None and report is None:
        raise RerankError("--gt is missing: give it, or --report for a page without figures")
    asked: dict[str, Any] = {
        "ties": ties, "allow_unjudged": allow_unjudged, "figures": figures,
        "reading": reading,
    }  # fmt: skip
    raw = results is None and (videos is not None or texts is not None or sims is not None)
    with progress():
        if model is not None and gt is not None:
            judged = judge_model(gt, model, videos=videos, texts=texts, device=device, **asked)
        elif raw:
            if gt is None:
                raise RerankError("--gt is missing: raw files are judged by a ground truth")
            judged = judging.judge_raw(
                gt, videos=videos, texts=texts, sims=sims, scores_are=scores_are,
                unscored=unscored, metric=metric, device=device, **asked,
            )  # fmt: skip
        elif results is not None and is_lists(results):
            judged = judge_lists(check_lists(gt, report, results), results, **asked)
        else:
            judged = judging.judge_results(
                gt, place, videos=videos, texts=texts, sims=sims, device=device,
                hubs=report is not None, **asked,
            )  # fmt: skip
    if report is not None:
        rows: dict[words.Name, tuple[list[str], list[list[str]]]] = {
            name: _rows(judged, name) for name in words.NAMES if judged.before is not None
        }
        ids = [one for of in judged.gallery_ids.values() for one in of]
        judging.write_report(
            report, judged, rows,
            captions=None if captions is None else judging.read_captions(captions),
            thumbnails=None if thumbnails is None else judging.read_thumbnails(thumbnails, ids),
        )  # fmt: skip
        say(f"wrote {report}")
        if gt is None:
            return
    for note in judged.notes:
        say(f"warning: {note}")
    if json:
        emit_json(judged.as_json())
    else:
        emit(_text(judged))


def _rows(judged: "Judged", name: words.Name) -> tuple[list[str], list[list[str]]]:
    """Headers and rows of one direction; the first figure after carries its change."""
    from rerank.metrics.figures import as_text
    from rerank.metrics.tables import p_text
    from rerank.metrics.uncertainty import format_change

    found = judged.as_json()
    shown = next(one for one in (judged.before, judged.after) if one is not None)[name].figures
    first = shown[0]
    rows = []
    for when in ("raw", "before", "after"):
        if when not in found:
            continue
        figures = found[when][name]
        label = judged.labels[name] if when == "after" else "raw"
        if when == "before" and judged.raw is not None:
            label = "trained"
        cells = [as_text(figures[one.name], one.facts) for one in shown]
        change = judged.changes.get(name, {}).get(first.name) if when == "after" else None
        if change:
            cells[0] = format_change(change, first.facts.digits)
        rows.append([f"{name} {when}", label, *cells, p_text(change), str(figures["queries"])])
    return ["", "label", *(one.name for one in shown), "p", "queries"], rows


def _text(judged: "Judged") -> str:
    from rerank_cli.console import table

    made = [_rows(judged, name) for name in words.NAMES if name in judged.labels]
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
        lines.append(f"{judged.distractors} gallery videos have no text: distractors, no queries")
    if judged.unjudged:
        lines.append(f"{judged.unjudged} texts without an entry were left out")
    if judged.label == "transductive":
        lines.append(
            "transductive: fitted on these very queries; give bank files to apply for an "
            "inductive figure"
        )
    return "\n".join(lines)
