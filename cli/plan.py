"""`rerank plan`: regime, memory and time of a run before anything is read."""

from typing import Annotated

import typer

from rerank_cli.options import Json


def plan_command(
    queries: Annotated[float, typer.Option("--queries", help="How many queries, such as 1e6.")],
    gallery: Annotated[float, typer.Option("--gallery", help="How many gallery items.")],
    dim: Annotated[int, typer.Option("--dim", help="Dimension of the embeddings.")] = 512,
    devices: Annotated[
        int, typer.Option("--devices", help="How many processes or GPUs share the queries.")
    ] = 1,
    hardware: Annotated[
        str, typer.Option("--hardware", help="this (measured now), h200, h100 or a100.")
    ] = "this",
    sweeps: Annotated[int, typer.Option("--sweeps", help="Sinkhorn steps of a fit.")] = 30,
    memory: Annotated[
        str | None, typer.Option("--memory", help="Memory of one device, such as 8GB.")
    ] = None,
    json: Json = False,
) -> None:
    """Predict regime, memory and time per stage of `rerank apply`."""
    from dataclasses import replace

    from rerank.core.errors import RerankError
    from rerank.core.memory import parse
    from rerank.tasks import plan as planning
    from rerank.tasks import plan as rates
    from rerank_cli.console import emit, emit_json, table

    if hardware != "this" and hardware not in rates.CARDS:
        raise RerankError(f"--hardware: got {hardware!r}, expected this, {', '.join(rates.CARDS)}")
    if hardware == "this":
        costs = rates.measure(dim)
    else:
        costs = rates.of_card(rates.CARDS[hardware], dim)
    if memory is not None:
        costs = replace(costs, memory=float(parse(memory)))
    found = planning.plan(queries, gallery, dim, devices=devices, costs=costs, sweeps=sweeps)
    if json:
        emit_json(
            {
                "regime": found.regime,
                "devices": devices,
                "hardware": costs.name,
                "measured": costs.measured,
                "seconds": {stage.name: stage.seconds for stage in found.stages},
                "total_seconds": found.seconds,
                "memory_bytes": found.memory,
                "fits": found.fits,
                "notes": list(found.notes),
            }
        )
        return
    rows = [[stage.name, _time(stage.seconds)] for stage in found.stages]
    rows.append(["total", _time(found.seconds)])
    held = [[what, f"{size / 1e9:,.2f} GB"] for what, size in found.memory.items()]
    held.append(["total", f"{sum(found.memory.values()) / 1e9:,.2f} GB"])
    emit(f"{queries:,.0f} queries x {gallery:,.0f} items, d = {dim}, {devices} x {costs.name}")
    emit(f"sweeps: {found.regime}\n")
    emit(table(["stage", "time"], rows))
    emit("")
    emit(table(["memory of one device", ""], held))
    emit("")
    for note in found.notes:
        emit(note)


def _time(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds * 1e3:,.1f} ms"
    if seconds < 120:
        return f"{seconds:,.1f} s"
    if seconds < 7200:
        return f"{seconds / 60:,.1f} min"
    hours = seconds / 3600
    return f"{hours:,.1f} h" if hours < 72 else f"{hours / 24:,.1f} days"
