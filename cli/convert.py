"""`rerank convert`: whatever people hold as the canonical file."""

from pathlib import Path
from typing import Annotated

import typer

from rerank.core import words
from rerank_cli.groups import Reading
from rerank_cli.options import Force, Json, Memory, Unscored


def convert_command(
    source: Annotated[Path, typer.Argument(metavar="IN", help="File or folder to read.")],
    target: Annotated[
        Path,
        typer.Argument(metavar="OUT", help="HDF5 file to write; .json for --what ground-truth."),
    ],
    what: Annotated[
        words.Content, typer.Option("--what", help="What the file holds.")
    ] = "embeddings",
    side: Annotated[
        words.Side | None,
        typer.Option(
            "--side", help="Whose ids, arrays or lists these are [default: videos; as they say]."
        ),
    ] = None,
    unscored: Unscored = None,
    force: Force = False,
    memory: Memory = None,
    json: Json = False,
    *,
    reading: Reading,
) -> None:
    """Write embeddings, scores, pairs or rankings as canonical files.

    Embeddings and scores are read and written block by block and never held whole.
    """
    from rerank.tasks.convert import convert_file
    from rerank_cli.console import emit, emit_json, progress, say

    with progress():
        answer = convert_file(
            source, target, what=what, side=side, reading=reading, unscored=unscored,
            memory=memory, force=force,
        )  # fmt: skip
    if json:
        emit_json(answer.manifest)
    else:
        emit(answer.text)
    for warning in answer.warnings:
        say(f"note: {warning}")
