"""`rerank export`: a fitted gallery as plain vectors for FAISS and vector stores."""

from pathlib import Path
from typing import Annotated

import typer

from rerank.core import words
from rerank_cli.groups import Reading
from rerank_cli.named import (
    complete_indexes,
    complete_spaces,
    complete_stores,
    store_values,
    stores,
)
from rerank_cli.options import Force, Json, Memory

_Index = Annotated[
    str | None,
    typer.Option(
        "--index",
        help=f"FAISS index: {store_values('index')}.",
        autocompletion=complete_indexes,
    ),
]
_Space = Annotated[
    str | None,
    typer.Option(
        "--space",
        help=f"What the store compares by: {store_values('space')}.",
        autocompletion=complete_spaces,
    ),
]


def export_command(
    model: Annotated[Path, typer.Option("--model", help="Model file of `rerank fit`.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="File or folder to write; OUT.npz beside it.")
    ],
    videos: Annotated[
        list[Path] | None,
        typer.Option("--videos", "--gallery", help="The gallery (queries for v2t)."),
    ] = None,
    texts: Annotated[
        list[Path] | None,
        typer.Option("--texts", "--queries", help="Queries to measure with (the gallery for v2t)."),
    ] = None,
    to: Annotated[
        str,
        typer.Option("--to", help=f"Where to. {stores()}", autocompletion=complete_stores),
    ] = "faiss",
    index: _Index = None,
    recall: Annotated[
        float | None,
        typer.Option(
            "--recall", help="Overlap with the exact top 10 to raise the effort to [default: 0.99]."
        ),
    ] = None,
    effort: Annotated[
        int | None, typer.Option("--effort", help="efSearch, nprobe or expansion, as it is.")
    ] = None,
    query_side: Annotated[
        words.QuerySide,
        typer.Option("--query-side", help="mapped, or raw: clients send unit embeddings, no map."),
    ] = "mapped",
    space: _Space = None,
    centre: Annotated[
        bool | None,
        typer.Option("--centre/--no-centre", help="Subtract the gallery mean [default: graphs]."),
    ] = None,
    table: Annotated[
        str | None, typer.Option("--table", help="Table to write [default: gallery].")
    ] = None,
    collection: Annotated[
        str | None, typer.Option("--collection", help="The same for Qdrant.")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace a table or collection that is there.")
    ] = False,
    url: Annotated[
        str | None, typer.Option("--url", help="Running Qdrant or PostgreSQL to load into.")
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", help="NAME=VALUE: any other setting of the store."),
    ] = None,
    memory: Memory = None,
    force: Force = False,
    json: Json = False,
    *,
    reading: Reading,
) -> None:
    """Write a fitted gallery for FAISS or a vector store.

    Vectors are `[v, g]` with ids; the overlap with the exact top 10 is measured.
    Prints and saves (OUT.query.py) the Python that queries the export.
    """
    from rerank.core.memory import limit
    from rerank.tasks import export as task
    from rerank_cli.console import emit, emit_json, progress, say

    settings = {
        "index": index, "space": space, "table": table, "collection": collection, "url": url,
        **task.parse_options(option or ()),
    }  # fmt: skip
    with limit(memory), progress():
        said = task.export_files(
            model, videos=videos or (), texts=texts or (), out=out, to=to, query_side=query_side,
            centre=centre, recall=recall, effort=effort, replace=replace, settings=settings,
            reading=reading, force=force,
        )  # fmt: skip
    for warning in said.warnings:
        say(f"note: {warning}")
    emit_json(said.manifest) if json else emit(said.text)
