"""Whether frames themselves show that what is said of items without their ids follows their order.

Frames that are left out are then padding by their values: zeros, one vector that stands nowhere
else, or the last frame again.
"""

from collections.abc import Mapping
from contextlib import suppress

import numpy as np

from rerank.core.errors import FormatError
from rerank.io.field import Field
from rerank.io.frames.mask_shapes import as_cube
from rerank.io.frames.masks import frames_there

Said = Mapping[str, Mapping[str, Field]]


def is_shown(said: Said, items: Mapping[str, Field]) -> bool:
    """Whether all frames that are left out are padding by their values; what fails is said later.

    Args:
        said: for each id what says which of its frames count.
        items: the frames of each id.
    """
    blank: np.ndarray | None = None
    kept_rows: list[np.ndarray] = []
    with suppress(FormatError):
        for item_id, item in items.items():
            cube = as_cube(item)
            there = frames_there(cube, said.get(item_id, {}))
            rows = np.concatenate(list(cube.blocks(0, 1)))[0]
            kept, left = (rows, rows[:0]) if there is None else (rows[there[0]], rows[~there[0]])
            if len(left) and left.any() and not _repeats(kept, left):
                blank = left[0] if blank is None else blank
                if not (left == blank).all():
                    return False
            if len(kept):
                kept_rows.append(kept[-1])
    return blank is None or not any((row == blank).all() for row in kept_rows)


def _repeats(kept: np.ndarray, left: np.ndarray) -> bool:
    """Whether what is left out is the last frame again, which itself is no copy."""
    again = len(kept) > 1 and bool((left == kept[-1]).all())
    return again and not bool((kept[-2] == kept[-1]).all())
