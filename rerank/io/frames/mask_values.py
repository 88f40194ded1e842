"""What the values of a mask say: which frames count, and which are padding."""

import numpy as np

from rerank.core.errors import FormatError
from rerank.io.field import Field

# What is added to the scores of padding is as low as this, or lower.
_FAR_BELOW = -1e3
# What stands for 0 where a logarithm is taken of it.
_NEXT_TO_NOTHING = 1e-3


def is_added(values: np.ndarray) -> bool:
    """Whether a mask is one that is added to scores: 0 counts, and what is far below does not.

    >>> is_added(np.array([0, -np.inf])), is_added(np.array([0, -1]))
    (True, False)
    """
    if values.dtype.kind == "b" or not values.size or np.max(values) != 0:
        return False
    below = values[values != 0]
    return bool(below.size) and bool((below <= _FAR_BELOW).all())


def is_flags(values: np.ndarray) -> bool:
    """Whether values are the usual ones of a mask, which say nothing but which frames count.

    >>> [is_flags(np.array(x)) for x in ([1, 0], [0, -1e9], [1, 1e-9], [1, -1], [3, 0])]
    [True, True, True, False, False]
    """
    if np.isin(values, (0, 1)).all() or is_added(values):
        return True
    if values.min(initial=1) <= 0:
        return False
    return bool(values.min() < values.max()) and kept_by(values) is not None


def kept_by(values: np.ndarray) -> np.ndarray | None:
    """Which frames the values of a mask keep; None where they do not say.

    A positive number keeps beside 0 alone, 1 also beside -1 or next to nothing.

    >>> [kept_by(np.array(x)).tolist() for x in ([1, 0], [255, 0], [1, -1], [1, 1e-9])]
    [[True, False], [True, False], [True, False], [True, False]]
    >>> kept_by(np.array([0, -1e4])).tolist(), kept_by(np.array([0.2, 0.8, 0]))
    ([True, False], None)
    """
    if values.dtype.kind == "b":
        return values
    if is_added(values):
        return values == 0
    seen = np.unique(values)
    if len(seen) > 2 or not np.isfinite(seen).all():
        return None
    least, most = (seen[0], seen[-1]) if len(seen) else (0, 0)
    if least >= 0 and (least in (0, most)):
        return values > 0
    if most == 1 and (least == -1 or 0 < least <= _NEXT_TO_NOTHING):
        return values == 1
    return None


def refuse_values(found: Field, values: np.ndarray, n: int, frames: int) -> None:
    """Refuse a mask whose values may mean anything.

    Raises:
        FormatError: always.
    """
    some = ", ".join(f"{x:g}" for x in np.unique(values)[:3])
    raise FormatError(
        f"{found.where}: its values, such as {some}, do not say which of the {frames} frames of an "
        f"item count; store a 'mask' ({n}, {frames}) of 1 for a frame that counts and 0 for "
        "any other"
    )
