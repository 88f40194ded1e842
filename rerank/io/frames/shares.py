"""Which share of the frames of each item counts, or is padding: asked about, never passed over."""

import numpy as np

from rerank.core.errors import FormatError
from rerank.io.field import Field
from rerank.io.frames.mask_shapes import zeros_outside
from rerank.io.frames.meanings import meaning_of, words_in

_SHARE_WORDS = {"ratio", "ratios", "fraction", "fractions", "frac", "fracs", "share", "shares",
                "portion", "portions", "proportion", "proportions", "percent", "percentage", "pct",
                "rel", "relative", "coverage"}  # fmt: skip
_FRAME_WORDS = {"frame", "frames", "video", "clip", "seq", "temporal", "time", "nonpad", "real"}
# How far from whole numbers half precision leaves shares.
_NEAR, _MOST = 1e-3, 0.05


def frames_of_shares(name: str, values: np.ndarray, frames: int) -> np.ndarray | None:
    """How many frames shares of them are, of 1 or of 100; None where they may be of anything.

    >>> frames_of_shares("frame_ratio", np.array([0.5, 1.0, 0.25]), 4)
    array([2, 4, 1])
    >>> frames_of_shares("frame_ratio", np.array([0.3, 1.0]), 4) is None
    True
    >>> frames_of_shares("weight", np.array([0.5, 1.0]), 4) is None
    True
    """
    words = set(words_in(name))
    named_so = bool(words & _SHARE_WORDS)
    if not meaning_of(name) and not (named_so and words <= _SHARE_WORDS | _FRAME_WORDS):
        return None
    if values.dtype.kind != "f" or not np.isfinite(values).all() or not len(values):
        return None
    for whole in (1.0, 100.0) if named_so else (1.0,):
        if values.min() < 0 or values.max() > whole or (whole > 1 and values.max() <= 1):
            continue
        counts = values.astype(np.float64) / whole * frames
        near = np.rint(counts)
        flags = np.isin(near, (0, frames)).all()
        if (np.abs(counts - near) <= min(_MOST, _NEAR * frames)).all() and not flags:
            return near.astype(np.int64)
    return None


def ask_of_shares(name: str, found: Field, values: np.ndarray, cube: Field) -> None:
    """Ask about numbers that may say which share of the frames counts, unless it is all the same.

    Raises:
        FormatError: they may.
    """
    n, frames, _ = cube.shape
    counts = frames_of_shares(name, values, frames)
    if counts is None:
        return
    places = np.arange(frames)
    if any(zeros_outside(cube, places < x[:, None]) for x in (counts, frames - counts)):
        return
    times = "x" if values.max() <= 1 else "x / 100"
    raise FormatError(
        f"{found.where}: its {n} numbers from {values.min():.3g} to {values.max():.3g} may say "
        f"which share of the {frames} frames of an item counts, or is padding; if they do, store "
        f"numpy.rint({times} * {frames}) as 'lengths', or numpy.rint((1 - {times}) * {frames}) "
        "where it is padding; if they do not, leave it out of this file"
    )
