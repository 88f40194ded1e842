"""`rerank demo`: the whole walk on sample data that ships with the package."""

from pathlib import Path
from typing import Annotated

import typer


def demo_command(
    folder: Annotated[
        Path, typer.Argument(metavar="[FOLDER]", help="New folder for the files.")
    ] = Path("rerank-demo"),
) -> None:
    """Write sample data to a folder, re-rank it and make a report."""
    from rerank.core.shell import words as typed_words
    from rerank.tasks import demo
    from rerank_cli.app import app
    from rerank_cli.console import emit

    commands = demo.commands(folder)
    program = typer.main.get_command(app)
    with demo.all_or_none(folder):
        written = demo.write_samples(folder)
        emit(f"wrote {len(written)} files of sample data to {folder}")
        for command in commands:
            emit(f"\n$ {typed_words(('rerank', *command))}\n")
            program.main(list(command), prog_name="rerank", standalone_mode=False)
    emit("\nThese four commands were run; yours take your own files:\n")
    for command in commands:
        emit(f"  {typed_words(('rerank', *command))}")
    emit(f"\nnow open {folder / 'report.html'} in a browser")
