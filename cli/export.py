"""`rerank export`: a fitted gallery as plain vectors for FAISS and vector stores."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from rerank_cli.options import Json, Memory


class TargetName(StrEnum):
    """Where the vectors go."""

    faiss = "faiss"
    npy = "npy"
    parquet = "parquet"
    qdrant = "qdrant"
    lancedb = "lancedb"
    pgvector = "pgvector"
    usearch = "usearch"


class IndexName(StrEnum):
    """Kinds of FAISS index."""

    flat = "flat"
    hnsw = "hnsw"
    ivf = "ivf"


class SideName(StrEnum):
    """What clients send."""

    mapped = "mapped"
    raw = "raw"


class SpaceName(StrEnum):
    """What the store compares by."""

    ip = "ip"
    cosine = "cosine"
    l2 = "l2"


def export_command(
    model: Annotated[Path, typer.Option("--model", help="Model file of `rerank fit`.")],
    out: Annotated[Path, typer.Option("--out", help="File or folder to write; OUT.npz beside it.")],
    videos: Annotated[
        list[Path] | None, typer.Option("--videos", help="The gallery (queries for v2t).")
    ] = None,
    texts: Annotated[
        list[Path] | None,
        typer.Option("--texts", help="Queries to measure with (the gallery for v2t)."),
    ] = None,
    bank_videos: Annotated[
        Path | None, typer.Option("--bank-videos", help="v2t: as --bank-texts.")
    ] = None,
    bank_texts: Annotated[
        Path | None,
        typer.Option(
            "--bank-texts",
            help="Bank of the fit, for hnsw, ivf and usearch [default: kept in the model].",
        ),
    ] = None,
    to: Annotated[TargetName, typer.Option("--to", help="Where to.")] = TargetName.faiss,
    index: Annotated[IndexName, typer.Option("--index", help="FAISS index.")] = IndexName.flat,
    effort: Annotated[
        int | None, typer.Option("--effort", help="hnsw: efSearch; ivf: lists read.")
    ] = None,
    queries: Annotated[
        SideName, typer.Option("--queries", help="raw: clients send unit embeddings, no map.")
    ] = SideName.mapped,
    space: Annotated[
        SpaceName, typer.Option("--space", help="What the store compares by.")
    ] = SpaceName.ip,
    centre: Annotated[
        bool | None,
        typer.Option("--centre/--no-centre", help="Subtract the gallery mean [default: graphs]."),
    ] = None,
    url: Annotated[
        str | None, typer.Option("--url", help="Running Qdrant or PostgreSQL to load into.")
    ] = None,
    pool: Annotated[
        str | None, typer.Option("--pool", help="How frames become one vector: mean.")
    ] = None,
    memory: Memory = None,
    json: Json = False,
) -> None:
    """Write `[v, g]` vectors with ids, search them, and print the overlap with the exact top 10."""
    from rerank.core.memory import limit
    from rerank.tasks import update as serve_update
    from rerank_cli.console import emit, emit_json, progress, say

    with limit(memory), progress():
        said = serve_update.export_files(
            model, videos=videos or (), texts=texts or (), out=out, to=to.value, index=index.value,
            bank_videos=bank_videos, bank_texts=bank_texts,
            query_side=queries.value, space=space.value, centre=centre, effort=effort, url=url,
            pool=pool,
        )  # fmt: skip
    for warning in said.warnings:
        say(f"note: {warning}")
    emit_json(said.manifest) if json else emit(said.text)
