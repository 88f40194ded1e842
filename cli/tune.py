"""`rerank tune`: settings chosen on labelled pairs."""

from pathlib import Path
from typing import Annotated, Any

import typer

from rerank_cli.named import complete_methods
from rerank_cli.options import (
    BankSims,
    BankTexts,
    BankVideos,
    Device,
    Force,
    Heads,
    Json,
    Metric,
    ScoresAre,
    Sims,
    Texts,
    Unscored,
    Videos,
    with_reading,
)


@with_reading
def tune_command(
    gt: Annotated[
        Path, typer.Option("--gt", help="Labelled pairs of a validation set, or 'diagonal'.")
    ],
    out: Annotated[
        Path, typer.Option("--out", help="Settings file (JSON) for `rerank apply --settings`.")
    ],
    videos: Videos = None,
    texts: Texts = None,
    sims: Sims = None,
    scores_are: ScoresAre = "auto",
    unscored: Unscored = None,
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
    metric: Metric = "cosine",
    device: Device = "auto",
    force: Force = False,
    as_json: Json = False,
    *,
    reading: Any,  # noqa: ANN401  rerank.io.Reading
) -> None:
    """Choose method and settings on labelled pairs.

    By the likelihood of the pairs; "none" always competes.
    """
    from rerank.tasks import tune as files
    from rerank_cli.console import emit, emit_json, progress, say, table

    with progress():
        report = files.tune_files(
            gt, out, videos=videos, texts=texts, sims=sims, scores_are=scores_are,
            unscored=unscored, bank_texts=bank_texts, bank_videos=bank_videos, bank_sims=bank_sims,
            heads=heads, methods=method, folds=folds, seed=seed,
            metric=metric, device=device, reading=reading, force=force,
        )  # fmt: skip
    say(f"wrote {out}")
    if as_json:
        emit_json(report.as_dict())
        return
    headers = ("method", "tau", "rho", "strength", "bases", "log-probability")
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
    emit(files.outcome(report))
