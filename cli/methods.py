"""`rerank methods`: what `--method` accepts."""

from rerank_cli.options import Json


def methods_command(json: Json = False) -> None:
    """List the methods with source, needs and direction."""
    from rerank.methods.registry import METHODS, settings_of
    from rerank_cli.console import emit, emit_json

    listed = [
        {
            "name": name,
            "what": card.help,
            "source": card.facts.source,
            "needs": list(card.facts.needs),
            "direction": "rows only" if card.facts.rows_only else "both",
            "folds": card.facts.folds,
            "settings": settings_of(card),
        }
        for name, card in METHODS.cards().items()
    ]
    if json:
        emit_json({"methods": listed})
        return
    headers = ["name", "what", "source", "needs", "direction", "folds"]
    rows = [[_cell(entry[key]) for key in headers] for entry in listed]
    widths = [max(len(line[i]) for line in [headers, *rows]) for i in range(len(headers))]
    for line in [headers, *rows]:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        emit("  ".join(cells).rstrip())
    emit("")
    emit(
        "Join names with '+': embeddings first (em, center, alpha-qe), then biases, at most one "
        "row-wise method last: em+sinkhorn, center+nnn."
    )
    emit(
        "rows only: a fit rewrites one direction; the other is a fit on the transpose, which "
        "`rerank apply` does by itself. folds: becomes vectors of an index (`rerank export`)."
    )
    emit("No bank given: the test queries themselves are the bank, and the label says so.")


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(value) if isinstance(value, list) else str(value)
