"""A number beside columns of a vector whose names do not count: asked about, never joined."""

import numpy as np

from rerank.core.errors import FormatError
from rerank.io.column_names import odd_columns, says_something_else
from rerank.io.container import Container
from rerank.io.field import Field
from rerank.io.files import named
from rerank.io.layouts.wanted import Wanted
from rerank.io.number_columns import counted

# So many rows tell of what size the numbers of a column are.
_SOME = 500


def ask_of_odd_columns(container: Container, item: Field, wanted: Wanted) -> None:
    """Refuse columns of numbers of which a few are called otherwise than all others.

    Raises:
        FormatError: there are some, and nobody said which columns are the vector.
    """
    names = item.columns
    if wanted.dataset is not None or wanted.embedding_column is not None or counted(names):
        return
    sizes = _sizes(item) if any(map(says_something_else, names)) else ()
    odd = odd_columns(names, sizes)
    if odd:
        also = len(odd) > 1
        usual = next(name for name in names if name not in odd)
        raise FormatError(
            f"{container.path}: {named(odd)} {'are' if also else 'is'} called otherwise than its "
            f"other columns of numbers, such as {named([usual])}, and would be part of the vector; "
            f"leave {'them' if also else 'it'} out of this file, or give "
            f"{wanted.say('embedding_column', 'values')} if all columns of numbers are the vector"
        )


def _sizes(item: Field) -> tuple[float, ...]:
    """About how large the numbers of each column are."""
    rows = np.concatenate(list(item.blocks(0, min(_SOME, item.shape[0]))))
    with np.errstate(invalid="ignore"):
        sizes = np.median(np.abs(np.nan_to_num(rows)), axis=0)
    return tuple(map(float, sizes))
