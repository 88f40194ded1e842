"""`rerank compare`: methods side by side."""

from pathlib import Path
from typing import Annotated, Any

import typer

from rerank.core import words
from rerank_cli.named import complete_methods
from rerank_cli.options import (
    FIGURES,
    BankGt,
    BankSims,
    BankTexts,
    BankVideos,
    Captions,
    Device,
    Figures,
    Force,
    Grouped,
    Heads,
    Json,
    Metric,
    Nouns,
    OneToOne,
    Report,
    ScoresAre,
    Sims,
    Tau,
    Texts,
    Thumbnails,
    Unscored,
    Videos,
    groups_of,
    with_reading,
)


@with_reading
def compare_command(
    gt: Annotated[
        Path,
        typer.Option("--gt", help="Ground truth (JSON variants, CSV, qrels), or 'diagonal'."),
    ],
    videos: Videos = None,
    texts: Texts = None,
    sims: Sims = None,
    scores_are: ScoresAre = "auto",
    unscored: Unscored = None,
    one_to_one: OneToOne = False,
    grouped: Grouped = False,
    bank_texts: BankTexts = None,
    bank_videos: BankVideos = None,
    bank_gt: BankGt = None,
    bank_sims: BankSims = None,
    heads: Heads = None,
    methods: Annotated[
        str,
        typer.Option(
            "--methods",
            help="'all', or names joined by commas.",
            autocompletion=complete_methods,
        ),
    ] = "all",
    metric: Metric = "cosine",
    tau: Tau = None,
    protocol: Annotated[
        words.Protocol, typer.Option("--protocol", help="What is ranked, see the documentation.")
    ] = "auto",
    ties: Annotated[
        words.Ties, typer.Option("--ties", help="How equal scores count.")
    ] = "expected",
    figures: Figures = FIGURES,
    transductive: Annotated[
        bool, typer.Option("--transductive", help="With a bank: also fit on the test queries.")
    ] = False,
    cross_fit: Annotated[
        bool, typer.Option("--cross-fit", help="Also fit each half of the queries on the other.")
    ] = False,
    gate: Annotated[
        bool,
        typer.Option("--gate/--no-gate", help="With --bank-gt: also show the do-no-harm gate."),
    ] = True,
    allow_unjudged: Annotated[
        bool, typer.Option("--allow-unjudged", help="Leave texts without an entry out.")
    ] = False,
    resamples: Annotated[
        int, typer.Option("--resamples", min=1, help="Bootstrap draws for the intervals.")
    ] = 2000,
    seed: Annotated[int, typer.Option("--seed", help="Of draws and splits.")] = 0,
    style: Annotated[
        words.Format, typer.Option("--format", help="How the tables are printed.")
    ] = "table",
    cost: Annotated[
        bool, typer.Option("--cost", help="Also show time and memory, which differ every run.")
    ] = False,
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
    """Fit and measure several methods side by side.

    Labels are never mixed, and every change has an interval and a p-value.
    """
    from rerank.metrics.tables import render
    from rerank.tasks import compare as task
    from rerank.tasks.naming import calling
    from rerank_cli.console import emit, progress, say
    from rerank_cli.paging import page_words

    page = page_words(report, captions, thumbnails)
    with progress(), calling(nouns, texts=texts, videos=videos):
        found = task.compare_files(
            gt, videos=videos, texts=texts, sims=sims, scores_are=scores_are,
            unscored=unscored, bank_texts=bank_texts,
            bank_videos=bank_videos, bank_gt=bank_gt, bank_sims=bank_sims, heads=heads,
            methods=methods, metric=metric, tau=tau, protocol=protocol, figures=figures, ties=ties,
            transductive=transductive, cross_fit=cross_fit, gate=gate,
            allow_unjudged=allow_unjudged, resamples=resamples, seed=seed, reading=reading,
            device=device, report=report, page=page, force=force,
            groups=groups_of(one_to_one, grouped),
        )  # fmt: skip
        shown = render(found, "json" if json else style, cost=cost)
    emit(shown)
    if report is not None:
        say(f"wrote {report}")
