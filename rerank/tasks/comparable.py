"""Whether embeddings of two sides can be compared: one model, and products that floats hold."""

from collections.abc import Callable

import numpy as np
import torch

from rerank.core.arrays import strained
from rerank.core.errors import FormatError
from rerank.io import Embeddings
from rerank.io.files import named
from rerank.tasks.column_order import check_columns


def check_widths(reference: Embeddings, *others: Embeddings | None) -> None:
    """Refuse embeddings of different models, as their dimensions and the names of these show.

    Raises:
        FormatError: another dimension than that of `reference`, or columns with other names.
    """
    d = reference.vectors.shape[1]
    for other in others:
        if other is not None and other.vectors.shape[1] != d:
            raise FormatError(
                f"{other.source}: embeddings have d = {other.vectors.shape[1]} but "
                f"{reference.source} has d = {d}; both must come from the same model"
            )
        if other is not None:
            check_columns(reference, other)


def check_lengths(
    *sides: Embeddings | None, highest: Callable[[Embeddings], float] = lambda x: x.norms.max
) -> None:
    """Refuse rows too long or short for inner products of two sides, by file and row.

    Args:
        sides: both; nothing is looked at where one is not there.
        highest: the largest norm of a side, where this process has not all of its rows.

    Raises:
        FormatError: such a row.
    """
    held = [side for side in sides if side is not None]
    if len(held) < len(sides):
        return
    lengths = {str(number): highest(side) for number, side in enumerate(held)}
    dtypes = [torch.from_numpy(np.empty(0, side.vectors.dtype)).dtype for side in held]
    said = strained(lengths, torch.promote_types(*dtypes))
    if said is None:
        return
    which, how = said
    side, norm = held[int(which)], lengths[which]
    row = "a row"
    if side.norms.max == norm:
        row = f"row {side.longest} (id {named([side.ids[side.longest]])})"
    raise FormatError(f"{side.source}: {row} has norm {norm:.1e}, {how}")
