"""`rerank fit`: a gallery and a bank in, one model file that serves unseen queries out."""

from pathlib import Path
from typing import Annotated

import typer

from rerank.core import words
from rerank_cli.groups import Fitting, Prior, Reading
from rerank_cli.options import (
    BankGt,
    Device,
    Force,
    Heads,
    Json,
    ManyBankTexts,
    ManyBankVideos,
    ManyTexts,
    ManyVideos,
    Memory,
    Metric,
    ModelWeights,
    Nouns,
    Rho,
    Sure,
)


def fit_command(
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="Model file to write.")] = Path(
        "model.safetensors"
    ),
    videos: ManyVideos = None,
    texts: ManyTexts = None,
    bank_texts: ManyBankTexts = None,
    bank_videos: ManyBankVideos = None,
    bank_gt: BankGt = None,
    weights: ModelWeights = None,
    prior: Prior,
    confidence: Sure = False,
    direction: Annotated[
        words.Name,
        typer.Option("--direction", help="t2v: texts search --videos; v2t: videos search --texts."),
    ] = "t2v",
    heads: Heads = None,
    fitting: Fitting,
    rho: Rho = None,
    metric: Metric = "cosine",
    keep_bank: Annotated[
        bool, typer.Option("--keep-bank", help="Store the bank, so that the gallery can grow.")
    ] = False,
    keep_gallery: Annotated[
        bool,
        typer.Option(
            "--keep-gallery", help="Store the gallery, so that the model searches on its own."
        ),
    ] = False,
    nouns: Nouns = None,
    memory: Memory = None,
    device: Device = "auto",
    force: Force = False,
    json: Json = False,
    reading: Reading,
) -> None:
    """Fit a gallery once, so that new queries can be served.

    `rerank search` then answers queries it has never seen.
    Needs the gallery (--videos) and --bank-texts; --bank-videos lets EM in, and --bank-gt the gate.
    """
    from rerank.core.memory import limit
    from rerank.methods.fusion import parse_weights
    from rerank.tasks import fit as task
    from rerank.tasks.naming import calling, first
    from rerank_cli.console import emit, emit_json, progress, say

    chosen = fitting.chosen(rho=rho)
    named = calling(nouns, texts=first(texts, bank_texts), videos=first(videos, bank_videos))
    with limit(memory), progress(), named:
        said = task.fit_files(
            out, videos=videos, texts=texts, bank_texts=bank_texts, bank_videos=bank_videos,
            bank_gt=bank_gt, weights=parse_weights(weights), confidence=confidence, **vars(prior),
            direction=direction, heads=heads, metric=metric, settings=chosen,
            settings_file=fitting.settings, keep_bank=keep_bank, keep_gallery=keep_gallery,
            gate=fitting.gate, device=device, reading=reading, force=force,
        )  # fmt: skip
    for warning in said.warnings:
        say(f"note: {warning}")
    emit_json(said.manifest) if json else emit(said.text)
