"""The moments of a bank's queries inside a model file, and what they say of a batch."""

from collections.abc import Mapping

from torch import Tensor

from rerank.core.errors import FormatError
from rerank.core.rows import Rows, ready
from rerank.core.similarity import ArrayLike, as_matrix
from rerank.core.wording import either
from rerank.methods.base import FittedPipeline
from rerank.methods.saved import Saved
from rerank.selection.moments import FEWEST, Moments, looks

_PREFIX = "bank.moments."
_FIELDS = ("mean", "axes", "rest", "wide", "along", "pairs")


def to_kept(moments: Moments) -> dict[str, Tensor]:
    """Tensors for a model file."""
    return {_PREFIX + name: getattr(moments, name) for name in _FIELDS}


def from_kept(kept: Mapping[str, Tensor]) -> Moments | None:
    """The inverse; None where a model holds none, such as one of a bank of one query.

    Raises:
        FormatError: tensors of shapes that moments do not have.
    """
    if any(_PREFIX + name not in kept for name in _FIELDS):
        return None
    found = Moments(*(kept[_PREFIX + name] for name in _FIELDS))
    sizes = {len(x) if x.ndim == 1 else -1 for x in (found.wide, found.along)}
    held = found.pairs.shape in ((0,), (3,)) and len(sizes) == 1 and -1 not in sizes
    plain = found.mean.ndim == 1 and found.axes.ndim == 2 and found.rest.ndim == 0
    if not (held and plain and found.axes.shape[1] == len(found.mean)):
        raise FormatError("the moments of the bank in this model do not fit together; fit again")
    return found


def look_at(saved: Saved, queries: ArrayLike) -> str:
    """What a person should know of 30 or more queries that lie elsewhere than the bank's.

    A model that leaves scores as they are has no correction that could be wrong.
    """
    found = from_kept(saved.kept)
    if found is None or len(queries) < FEWEST or _leaves(saved.fitted):
        return ""
    unit = saved.manifest["metric"] == "cosine"
    rows: Rows = ready(as_matrix(queries, "queries"), "queries", unit=unit)
    look = looks(found, rows)
    if look is None or not look.different:
        return ""
    way = either(
        "`rerank fit --method none --no-gate`", '`rerank.fit(..., method="none", gate=False)`'
    )
    return (
        f"{look.sentence}: compare with the raw ranking, which {way} keeps, before you trust the "
        "correction"
    )


def _leaves(fitted: FittedPipeline) -> bool:
    """Whether no ranking is changed: nothing was fitted, or the same number for all items."""
    if fitted.label == "none":
        return True
    if not fitted.foldable or fitted.map is not None:
        return False
    bias = fitted.gallery_bias
    return bias is None or not bool((bias != bias[0]).any())
