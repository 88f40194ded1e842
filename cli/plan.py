"""`rerank plan`: regime, memory and time of a run before it is made."""

from typing import Annotated, Any

import typer

from rerank_cli.options import Json, Memory, Nouns, with_reading


@with_reading
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
    sweeps: Annotated[int, typer.Option("--sweeps", min=1, help="Sinkhorn steps of a fit.")] = 30,
    nouns: Nouns = None,
    memory: Memory = None,
    json: Json = False,
    *,
    reading: Any,  # noqa: ANN401  rerank.io.Reading
) -> None:
    """Predict memory and time of a run before it is made.

    From files, or from sizes.
    """
    from rerank.core.memory import limit
    from rerank.core.nouns import calling
    from rerank.tasks import plan as planning
    from rerank_cli.console import emit, emit_json

    with limit(memory):
        queries, gallery, dim = planning.asked(texts, videos, dim, reading=reading)
        found = planning.plan(queries, gallery, dim, sweeps=sweeps)
    if json:
        emit_json(found.as_dict())
    else:
        with calling(nouns):
            emit(planning.text(found))
