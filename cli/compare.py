"""`rerank compare`: methods side by side."""

from pathlib import Path
from typing import Annotated

import typer

from rerank.core.words import Format, Protocol
from rerank_cli.groups import BankFiles, Belonging, Files, Judging, Reading
from rerank_cli.named import complete_methods
from rerank_cli.options import Device, Force, Heads, Json, Nouns, Tau
from rerank_cli.paging import Page


def compare_command(
    *,
    gt: Annotated[
        Path,
        typer.Option("--gt", help="Ground truth (JSON variants, CSV, qrels), or 'diagonal'."),
    ],
    files: Files,
    belonging: Belonging,
    bank: BankFiles,
    heads: Heads = None,
    methods: Annotated[
        str,
        typer.Option(
            "--methods",
            help="'all', or names joined by commas.",
            autocompletion=complete_methods,
        ),
    ] = "all",
    tau: Tau = None,
    protocol: Annotated[
        Protocol, typer.Option("--protocol", help="What is ranked, see the documentation.")
    ] = "auto",
    judging: Judging,
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
    resamples: Annotated[
        int, typer.Option("--resamples", min=1, help="Bootstrap draws for the intervals.")
    ] = 2000,
    seed: Annotated[int, typer.Option("--seed", help="Of draws and splits.")] = 0,
    style: Annotated[
        Format, typer.Option("--format", help="How the tables are printed.")
    ] = "table",
    cost: Annotated[
        bool,
        typer.Option(
            "--cost",
            help="Also show time and memory, which differ every run; each method runs again.",
        ),
    ] = False,
    page: Page,
    nouns: Nouns = None,
    force: Force = False,
    device: Device = "auto",
    json: Json = False,
    reading: Reading,
) -> None:
    """Fit and measure several methods side by side.

    Labels are never mixed, and every change has an interval and a p-value.
    """
    from rerank.metrics.tables import render
    from rerank.tasks import compare as task
    from rerank.tasks.naming import calling
    from rerank_cli.console import emit, progress, say

    words = page.words()
    with progress(), calling(nouns, texts=files.texts, videos=files.videos):
        found = task.compare_files(
            gt, **vars(files), **vars(bank), **vars(judging), heads=heads, methods=methods,
            tau=tau, protocol=protocol, transductive=transductive, cross_fit=cross_fit, gate=gate,
            resamples=resamples, seed=seed, reading=reading, device=device, report=page.report,
            page=words, force=force, groups=belonging.groups, cost=cost,
        )  # fmt: skip
        shown = render(found, "json" if json else style, cost=cost)
    emit(shown)
    if page.report is not None:
        say(f"wrote {page.report}")
