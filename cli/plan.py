"""`rerank plan`: regime, memory and time of a run before it is made."""

from typing import Annotated

import typer

from rerank_cli.groups import Reading
from rerank_cli.options import Json, Memory, Method, Nouns


def plan_command(
    texts: Annotated[
        str | None,
        typer.Option("--texts", "--queries", help="A file, or how many queries, such as 1e6."),
    ] = None,
    videos: Annotated[
        str | None,
        typer.Option("--videos", "--gallery", help="A file, or how many gallery items."),
    ] = None,
    dim: Annotated[int, typer.Option("--dim", min=1, help="Dimension of the embeddings.")] = 512,
    method: Method = None,
    sweeps: Annotated[int, typer.Option("--sweeps", min=1, help="Sinkhorn steps of a fit.")] = 30,
    nouns: Nouns = None,
    memory: Memory = None,
    json: Json = False,
    *,
    reading: Reading,
) -> None:
    """Predict memory and time of a run before it is made.

    From files, or from sizes.
    """
    from pathlib import Path

    from rerank.tasks.naming import calling
    from rerank.tasks.plan import asked

    sizes = asked(texts, videos, dim, reading=reading)
    # A size is no file, and so says nothing.
    with calling(nouns, texts=Path(texts or ""), videos=Path(videos or "")):
        show_plan(sizes, method, sweeps=sweeps, memory=memory, json=json)


def show_plan(
    sizes: tuple[float, float, int],
    method: str | None,
    *,
    sweeps: int | None = None,
    memory: str | None = None,
    json: bool = False,
) -> None:
    """Print the plan of a run of this size."""
    from rerank.core.memory import limit
    from rerank.tasks import plan as planning
    from rerank_cli.console import emit, emit_json

    with limit(memory):
        found = planning.plan(*sizes, method=method, sweeps=sweeps or planning.SWEEPS)
    emit_json(found.as_dict()) if json else emit(planning.text(found))
