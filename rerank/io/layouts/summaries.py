"""Arrays that are made of all items and lie among them as if they were some: mean, std."""

import re
from collections.abc import Sequence
from pathlib import Path

from rerank.core.errors import FormatError
from rerank.io.files import named
from rerank.io.layouts.wanted import Wanted

_SUMMARIES = {
    "mean", "means", "std", "stds", "var", "variance", "avg", "average", "median", "min", "max",
    "center", "centre", "centroid", "mu", "sigma", "bias", "scale", "norm", "whitening", "pca",
    "mask", "pad", "padding", "null", "zero", "zeros",
}  # fmt: skip
_OF = {"global", "all", "overall", "total", "feat", "feats", "feature", "features", "emb",
       "embedding", "embeddings", "vector", "vectors", "dataset", "train", "test", "video",
       "videos", "text", "texts", "image", "images"}  # fmt: skip


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


def _is_summary(name: str) -> bool:
    """Whether a name says that an array is made of all items."""
    words = set(re.split("[_. -]", name.lower()))
    return bool(words & _SUMMARIES) and words <= _SUMMARIES | _OF


def _are_codes(names: Sequence[str]) -> bool:
    """Whether names are as long as each other, and longer than words are: those of YouTube."""
    return len({len(name) for name in names}) == 1 and len(names[0]) > 8 and len(names) > 2
