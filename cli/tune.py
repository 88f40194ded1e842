"""`rerank tune`: settings chosen on labelled pairs."""

from pathlib import Path
from typing import Annotated

import typer

from rerank_cli.groups import Files, Reading
from rerank_cli.named import complete_methods
from rerank_cli.options import BankSims, BankTexts, BankVideos, Device, Force, Heads, Json, Nouns


def tune_command(
    *,
    gt: Annotated[
        Path, typer.Option("--gt", help="Labelled pairs of a validation set, or 'diagonal'.")
    ],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="Settings file (JSON) for `rerank apply --settings`."),
    ],
    files: Files,
    bank_texts: BankTexts = None,
    bank_videos: BankVideos = None,
    bank_sims: BankSims = None,
    heads: Heads = None,
    method: Annotated[
        str | None,
        typer.Option(
            "--method",
            help="Methods to choose from, joined by commas.",
            autocompletion=complete_methods,
        ),
    ] = None,
    folds: Annotated[
        int, typer.Option("--folds", min=2, help="Of the nested cross-validation.")
    ] = 5,
    seed: Annotated[int, typer.Option("--seed", help="Of the folds.")] = 0,
    nouns: Nouns = None,
    device: Device = "auto",
    force: Force = False,
    as_json: Json = False,
    reading: Reading,
) -> None:
    """Choose method and settings on labelled pairs.

    By the likelihood of the pairs; "none" always competes.
    """
    from rerank.tasks import tune as task
    from rerank.tasks.naming import calling
    from rerank_cli.console import emit, emit_json, progress, say, table

    with progress(), calling(nouns, texts=files.texts, videos=files.videos):
        report = task.tune_files(
            gt, out, **vars(files), bank_texts=bank_texts, bank_videos=bank_videos,
            bank_sims=bank_sims, heads=heads, methods=method, folds=folds, seed=seed,
            device=device, reading=reading, force=force,
        )  # fmt: skip
    for note in report.notes:
        say(f"note: {note}")
    say(f"wrote {out}")
    if as_json:
        emit_json(report.as_dict())
        return
    headers = ("method", "tau", "rho", "strength", "bases", "log-probability over raw")
    rows = [
        (
            tried.settings.method,
            *(
                "" if value is None else f"{value:.4g}"
                for value in list(tried.settings.own().as_dict().values())[1:]
            ),
            f"{tried.gain:+.4f} ({tried.error:.4f})",
        )
        for tried in report.tried
    ]
    emit(table(headers, rows))
    emit(task.outcome(report))
