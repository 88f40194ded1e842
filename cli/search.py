"""`rerank search`: new queries against the gallery of a fitted model."""

from pathlib import Path
from typing import Annotated

import typer

from rerank_cli.groups import Reading
from rerank_cli.options import Force, Json, K, Memory, Nouns, Sure, Threshold


def search_command(
    model: Annotated[
        Path | None, typer.Option("--model", help="Model file of `rerank fit`.")
    ] = None,
    videos: Annotated[
        list[Path] | None,
        typer.Option(
            "--videos", "--gallery", help="Gallery embeddings, several files if it has grown."
        ),
    ] = None,
    texts: Annotated[
        list[Path] | None,
        typer.Option("--texts", "--queries", help="New queries (the gallery for v2t)."),
    ] = None,
    index: Annotated[
        Path | None, typer.Option("--index", help="What `rerank export` wrote, instead.")
    ] = None,
    table: Annotated[
        str | None,
        typer.Option("--table", "--collection", help="Table of the export [default: gallery]."),
    ] = None,
    url: Annotated[
        str | None, typer.Option("--url", help="Running Qdrant or PostgreSQL of the export.")
    ] = None,
    effort: Annotated[
        int | None,
        typer.Option("--effort", help="Of an approximate index [default: stored with it]."),
    ] = None,
    k: K = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Write results: .h5, .json, .jsonl, .parquet or .trec."),
    ] = None,
    confidence: Sure = False,
    threshold: Threshold = None,
    nouns: Nouns = None,
    memory: Memory = None,
    force: Force = False,
    json: Json = False,
    *,
    reading: Reading,
) -> None:
    """Rank the gallery of a model or an export for new queries.

    Each query is ranked by itself.
    Results go to --out, or to the terminal: one line a query.
    """
    from rerank.core.memory import limit
    from rerank.tasks import search as task
    from rerank.tasks.naming import calling, first
    from rerank_cli.console import emit, emit_json, progress, say

    named = calling(nouns, texts=first(texts), videos=first(videos))
    with limit(memory), progress(), named:
        said = task.search_files(
            model=model, videos=videos or (), texts=texts or (), index=index, table=table,
            url=url, effort=effort, k=k, out=out, confidence=confidence, threshold=threshold,
            reading=reading, force=force,
        )  # fmt: skip
    for warning in said.warnings:
        say(f"warning: {warning}")
    if out is None:
        say(f"label {said.manifest['label']}")
    emit_json(said.manifest) if json else emit(said.text)
