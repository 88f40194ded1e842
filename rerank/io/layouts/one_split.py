"""The rows of one split, where a column says of which split each row is."""

from dataclasses import replace

import numpy as np

from rerank.core.errors import FormatError
from rerank.io.container import Container
from rerank.io.files import named
from rerank.io.ids import is_list
from rerank.io.layouts.wanted import Wanted
from rerank.io.several_vectors import several_of_each
from rerank.io.split_flags import LEFT_OUT
from rerank.io.splits import (
    counted_splits,
    kind_of_splits,
    only_rows,
    side_of_part,
    split_column,
)


def rows_of_one_split(container: Container, wanted: Wanted) -> tuple[Container, Wanted]:
    """The rows of the split that is meant, where a column says of which split each row is.

    Raises:
        FormatError: rows of several splits, and no word on which is meant.
    """
    found, several = split_column(container), None
    elsewhere = wanted.force_rows or wanted.ids is not None
    if found is None and not (elsewhere and wanted.dataset is None):
        several = several_of_each(container, wanted.id_column)
    if found is None and several is None:
        return container, wanted
    who, values = found or ("", several[2] if several else ())
    said = wanted.dataset
    if said == "/" and several is None:
        return container, replace(wanted, dataset=None)
    array = container.fields.get(said or "")
    if said is None or said not in values or (array is not None and not is_list(array)):
        also = ""
        if said is not None:
            also = f", and the array with {wanted.say('embedding_column', said)}"
        order = sorted(set(values), key=_after_the_likely)
        own = [word for word in order if wanted.side and side_of_part(word) == wanted.side]
        first = own[0] if own else wanted.likely(order)
        if several is not None:
            raise FormatError(
                f"{container.path}: has several vectors of an id, such as {named([several[1]])}, "
                f"and its column {several[0]!r} tells them apart: {counted_splits(values)}; say "
                f"which is meant: {wanted.say('dataset', first)}{also}"
            )
        raise FormatError(
            f"{container.path}: {who} that its rows are of several {kind_of_splits(values)}: "
            f"{counted_splits(values)}; say which is meant: {wanted.say('dataset', first)}, or "
            f"{wanted.say('dataset', '/')} for all{also}"
        )
    chosen = np.array([value == said for value in values])
    ids = wanted.ids
    if ids is not None and len(ids) == len(values):
        ids = tuple(each for each, kept in zip(ids, chosen, strict=True) if kept)
    return only_rows(container, chosen), replace(wanted, dataset=None, ids=ids)


def _after_the_likely(split: str) -> tuple[bool, bool, str]:
    """Sorts a test split first, and rows that are called deleted, or not valid, last."""
    return split.lower() != "test", split in {*LEFT_OUT, "not valid", "not kept"}, split
