"""`rerank update`: items in and out of a model's gallery without refitting the others."""

from pathlib import Path
from typing import Annotated

import typer

from rerank_cli.groups import Reading
from rerank_cli.options import Force, Json, Memory


def update_command(
    model: Annotated[Path, typer.Option("--model", help="Model file of `rerank fit --keep-bank`.")],
    videos: Annotated[
        list[Path] | None,
        typer.Option("--videos", "--gallery", help="New items of a t2v model."),
    ] = None,
    texts: Annotated[
        list[Path] | None, typer.Option("--texts", "--queries", help="New items of a v2t model.")
    ] = None,
    remove: Annotated[
        Path | None, typer.Option("--remove", help="Text file of ids to take out, one a line.")
    ] = None,
    index: Annotated[
        Path | None, typer.Option("--index", help="FAISS index of this model to add the items to.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Model to write [default: replace --model].")
    ] = None,
    memory: Memory = None,
    force: Force = False,
    json: Json = False,
    *,
    reading: Reading,
) -> None:
    """Add items to a model, or take them out, without a refit.

    New items get their bias from the stored bank.
    """
    from rerank.core.memory import limit
    from rerank.tasks import update as task
    from rerank_cli.console import emit, emit_json, progress

    with limit(memory), progress():
        said = task.update_files(
            model, videos=videos or (), texts=texts or (), remove=remove, index=index, out=out,
            reading=reading, force=force,
        )  # fmt: skip
    emit_json(said.manifest) if json else emit(said.text)
