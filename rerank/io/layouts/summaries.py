"""Arrays that are made of all items and lie among them as if they were some: mean, std."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rerank.core.errors import FormatError
from rerank.io.files import named
from rerank.io.layouts.wanted import Wanted
from rerank.io.recipes import quoted

_SUMMARIES = {
    "mean", "means", "std", "stds", "var", "variance", "avg", "average", "median", "min", "max",
    "center", "centre", "centroid", "mu", "sigma", "bias", "scale", "norm", "whitening", "pca",
    "mask", "pad", "padding", "null", "zero", "zeros",
}  # fmt: skip
_OF = {"global", "all", "overall", "total", "feat", "feats", "feature", "features", "emb",
       "embedding", "embeddings", "vector", "vectors", "dataset", "train", "test", "video",
       "videos", "text", "texts", "image", "images"}  # fmt: skip
# What a row of a table is called that is made of the others, and how it is.
_MADE = {
    "mean", "means", "avg", "average", "std", "stds", "sum", "total", "totals", "median", "center",
    "centre", "centroid", "count", "min", "max", "var", "25%", "50%", "75%",
}  # fmt: skip
_MADE_BY = (
    lambda x: x.mean(axis=0),
    lambda x: x.sum(axis=0),
    lambda x: x.std(axis=0),
    lambda x: x.std(axis=0, ddof=1),
    lambda x: np.median(x, axis=0),
)
# Of the largest number; tables are saved with a few digits.
_ROUNDING = 1e-4


def refuse_summaries(path: Path, ids: Sequence[str], wanted: Wanted) -> None:
    """Refuse a few names such as mean and std among those of items that are built unlike them.

    Raises:
        FormatError: some are there, which would be items.
    """
    found = [name for name in ids if _is_summary(name)]
    if not found or len(found) * 2 >= len(ids):
        return
    others = [name for name in ids if name not in found]
    # Words may be the names of items: classes, say.
    if not all(any(map(str.isdigit, name)) for name in others) and not _are_codes(others):
        return
    raise FormatError(
        f"{path}: {named(found[:2])} {'is' if len(found) == 1 else 'are'} called unlike the "
        f"{len(others)} items beside {'it' if len(found) == 1 else 'them'}, such as "
        f"{named(others[:1])}; leave {'it' if len(found) == 1 else 'them'} out of this file; if "
        f"all are items: {wanted.say('dataset', '/')}"
    )


def refuse_summary_rows(ids: Sequence[str], rows: np.ndarray, where: str) -> None:
    """Refuse a row that is called the mean, the total or the spread of all others, and is that.

    >>> rows = np.array([[1.0, 0], [0, 4]])
    >>> refuse_summary_rows(["a", "b", "mean"], np.vstack([rows, rows.mean(axis=0)]), "v.csv")
    Traceback (most recent call last):
    rerank.core.errors.FormatError: v.csv: the row 'mean' is made of the 2 others, as its numbers \
show, and would be an item; leave it out: d.drop(["mean"]) of pandas, before it is saved
    >>> refuse_summary_rows(["a", "b", "mean"], np.eye(3), "v.csv")

    Args:
        ids: of the rows.
        rows: (n, d) the vectors.
        where: the file.

    Raises:
        FormatError: such a row is there.
    """
    found = [row for row, name in enumerate(ids) if name.lower() in _MADE]
    if not found or len(ids) < len(found) + 2:
        return
    others = np.delete(rows, found, axis=0).astype(np.float64)
    size = np.abs(others).max()
    if (others == others[0]).all():
        return
    made = [make(others) for make in _MADE_BY]
    # What was added later is made of the first one too, and goes with it.
    if any(np.abs(rows[row] - each).max() <= _ROUNDING * size for row in found for each in made):
        names = [ids[row] for row in found]
        also = len(names) > 1
        listed = ", ".join(map(quoted, names))
        raise FormatError(
            f"{where}: the row{'s' if also else ''} {named(names)} {'are' if also else 'is'} made "
            f"of the {len(others)} others, as {'their' if also else 'its'} numbers show, and would "
            f"be {'items' if also else 'an item'}; leave {'them' if also else 'it'} out: "
            f"d.drop([{listed}]) of pandas, before it is saved"
        )


def _is_summary(name: str) -> bool:
    """Whether a name says that an array is made of all items."""
    words = set(re.split("[_. -]", name.lower()))
    return bool(words & _SUMMARIES) and words <= _SUMMARIES | _OF


def _are_codes(names: Sequence[str]) -> bool:
    """Whether names are as long as each other, and longer than words are: those of YouTube."""
    return len({len(name) for name in names}) == 1 and len(names[0]) > 8 and len(names) > 2
