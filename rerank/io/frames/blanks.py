"""What stands for nothing behind the last frame of an item: -1, NaN, no text; whatever its name."""

from collections.abc import Sequence

import numpy as np

from rerank.io.field import Field

# Texts that name nothing.
_NO_TEXT = {"", "<pad>", "[pad]", "pad", "nan", "none"}


def behind_blanks(rows: Sequence[np.ndarray] | np.ndarray) -> list[np.ndarray] | None:
    """Which frames stand before what stands for nothing; None where items do not end in it.

    It is NaN, or one number below zero. None too where all items have the same end.

    >>> behind_blanks([np.array([0.0, 2.0]), np.array([0.0, np.nan])])
    [array([ True,  True]), array([ True, False])]
    >>> behind_blanks([np.array([0, 2]), np.array([0, -1])])
    [array([ True,  True]), array([ True, False])]
    >>> behind_blanks([np.array([1, 2]), np.array([1, 0])]) is None
    True
    """
    values = [np.asarray(row, dtype=np.float64).reshape(-1) for row in rows]
    there = [~np.isnan(row) for row in values]
    if all(kept.all() for kept in there):
        least = min(row.min(initial=0) for row in values)
        there = [row != least for row in values]
        if least >= 0 or any(
            (row[kept] < 0).any() for row, kept in zip(values, there, strict=True)
        ):
            return None
    return _ends(there)


def behind_no_text(found: Field, n: int, frames: int) -> list[np.ndarray] | None:
    """Which frames have a text before those at the end of an item that have none.

    >>> from rerank.io.field import in_memory
    >>> behind_no_text(in_memory(np.array([["a", "b"], ["a", "<pad>"]]), "here"), 2, 2)
    [array([ True,  True]), array([ True, False])]
    """
    if found.kind != "text" or found.shape not in ((n, frames), (n, frames, 1)):
        return None
    found.check()
    texts = [text for block in found.blocks(0, n) for text in np.reshape(block, -1).tolist()]
    plain = [x.decode("utf-8", "replace") if isinstance(x, bytes) else x for x in texts]
    if not all(x is None or isinstance(x, str) for x in plain):
        return None
    there = np.array([x is not None and x.strip().lower() not in _NO_TEXT for x in plain])
    return _ends(list(there.reshape(n, frames)))


def _ends(there: list[np.ndarray]) -> list[np.ndarray] | None:
    """What was found, where it is what rows of several lengths end with."""
    if all(kept.all() for kept in there) or not all(len(kept) and kept[0] for kept in there):
        return None
    if any((np.diff(kept.astype(np.int8)) > 0).any() for kept in there):
        return None
    alike = [kept.tolist() for kept in there].count(there[0].tolist())
    return None if 1 < len(there) == alike else there
