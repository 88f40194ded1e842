"""`rerank plan`: regime, memory and time of a run before it is made."""

from typing import Annotated, Any

import typer

from rerank_cli.options import Json, Memory, Texts, Videos, with_reading


@with_reading
def plan_command(
    texts: Texts = None,
    videos: Videos = None,
    queries: Annotated[
        float | None, typer.Option("--queries", help="How many queries, such as 1e6.")
    ] = None,
    gallery: Annotated[
        float | None, typer.Option("--gallery", help="How many gallery items.")
    ] = None,
    dim: Annotated[int, typer.Option("--dim", min=1, help="Dimension of the embeddings.")] = 512,
    sweeps: Annotated[int, typer.Option("--sweeps", min=1, help="Sinkhorn steps of a fit.")] = 30,
    memory: Memory = None,
    json: Json = False,
    *,
    reading: Any,  # noqa: ANN401  rerank.io.Reading
) -> None:
    """Predict regime, memory and time of `rerank apply`, from files or from sizes.

    Examples: `rerank plan --texts t.h5 --videos v.h5`, `rerank plan --queries 1e6 --gallery 1e5`.
    """
    from rerank.core.memory import limit
    from rerank.tasks import plan as planning
    from rerank.tasks.read import sizes
    from rerank_cli.console import emit, emit_json

    with limit(memory):
        if queries is None or gallery is None:
            queries, gallery, dim = sizes(texts=texts, videos=videos, reading=reading)
        found = planning.plan(queries, gallery, dim, sweeps=sweeps)
    if json:
        emit_json(found.as_dict())
    else:
        emit(planning.text(found))
