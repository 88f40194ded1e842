"""Records with tensors, as programs keep them in lists: their columns, as of records of JSON."""

from pathlib import Path
from typing import Any

from rerank.io.field import Field
from rerank.io.json_records import are_records, lacking


def columns_of(path: Path, content: object) -> tuple[str, dict[str, Any], dict[str, Field]] | None:
    """What every record of a list has, by name, and what most have and a few lack; None without.

    The list may be the only one in a dictionary of plain values, by whose name it goes then.

    >>> import torch
    >>> box, columns, _ = columns_of(Path("v.pt"), {"data": [{"id": "a", "clip": torch.ones(2)}]})
    >>> box, columns["id"]
    ('data', ['a'])
    """
    import torch

    box, records = "", content
    if isinstance(content, dict):
        lists = [name for name, value in content.items() if are_records(value)]
        others = (value for name, value in content.items() if name not in lists)
        if len(lists) != 1 or not all(
            x is None or isinstance(x, str | int | float) for x in others
        ):
            return None
        box, records = str(lists[0]), content[lists[0]]
    if isinstance(records, tuple):
        records = list(records)
    if not isinstance(records, list) or not are_records(records):
        return None
    tensor = torch.Tensor
    if not any(
        isinstance(value, tensor) and value.dim() for row in records for value in row.values()
    ):
        return None
    known = {name for row in records for name in row if isinstance(name, str)}
    rows = [{name: _plain(row[name]) for name in row if name in known} for row in records]
    # As lists of JSON, of which only the kind matters.
    kinds = [{n: [0.0] if isinstance(x, tensor) else x for n, x in row.items()} for row in rows]
    odd = lacking(path, kinds)
    names = [name for name in rows[0] if all(name in row for row in rows) and name not in odd]
    columns = {name: [row[name] for row in rows] for name in names}
    return (box, columns, odd) if columns or odd else None


def _plain(value: Any) -> Any:  # noqa: ANN401  anything
    """The number of a tensor of one whole number without an axis; any other value as it is."""
    import torch

    one = isinstance(value, torch.Tensor) and not value.dim()
    return int(value) if one and not (value.is_floating_point() or value.is_complex()) else value
