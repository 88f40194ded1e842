"""Rows that share an id: the frames of an item, where a column counts them.

Captions of a video are stored in the same way, and so are mistakes. So it is never guessed.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import NoReturn

import numpy as np

from rerank.core.errors import FormatError
from rerank.io.container import Container, Found
from rerank.io.field import Field, afford, in_memory
from rerank.io.files import named
from rerank.io.frames.mask_shapes import fits, numbers_of
from rerank.io.frames.meanings import is_frame_number
from rerank.io.frames.pooling import Pooling, how_to_pool, pooled_offsets
from rerank.io.ids import first_duplicate
from rerank.io.layouts.row_ids import Named
from rerank.io.layouts.wanted import Wanted


def frames_by_repeated_ids(
    container: Container,
    siblings: Mapping[str, Field],
    item: Field,
    names: Named,
    wanted: Wanted,
) -> Found | None:
    """Rows of one id as the frames of one item; None where every row has an id of its own.

    None of texts too, which may be captions: these are refused like any ids that come again.

    Raises:
        FormatError: nothing says that they are frames, or how these are combined.
    """
    again = first_duplicate(names.ids)
    if again is None:
        return None
    places = [
        name for name, found in {**container.numbers, **siblings}.items()
        if is_frame_number(name.rpartition("/")[2]) and _counts(found, names)
    ]  # fmt: skip
    if not places:
        _refuse_rounded({**container.numbers, **siblings}, names, again)
    if not places and wanted.side == "texts":
        return None
    if not places:
        _refuse(item, names, again, wanted)
    if wanted.pooling is None:
        raise FormatError(
            f"{item.where}: its {item.shape[0]} rows are the frames of {len(set(names.ids))} "
            f"items, as {named(places[:1])} says; {how_to_pool()}"
        )
    return _pooled(item, names, wanted.pooling)


def _refuse_rounded(fields: Mapping[str, Field], names: Named, again: tuple[str, int, int]) -> None:
    """Refuse whole numbers that come again because their type of decimals cannot hold them all.

    Raises:
        FormatError: an id that comes again is larger than what it holds without a gap.
    """
    each, row, other = again
    found = next((field for field in fields.values() if field.where == names.where), None)
    if found is None or found.kind != "float" or not each.isdecimal():
        return
    whole = 1 << (np.finfo(found.dtype).nmant + 1)
    if int(each) >= whole:
        raise FormatError(
            f"{names.where}: the id {named([each])} stands in row {row} and again in row {other}; "
            f"the ids are {found.dtype.name}, which holds no whole number beyond {whole} but every "
            "second or fewer, so several became one; save them again from where they came, as "
            "int64 or as text"
        )


def _counts(found: Field, names: Named) -> bool:
    """Whether numbers, one for each row, differ among the rows of every id."""
    if not fits(found, "lengths", len(names.ids), 0):
        return False
    pairs = zip(names.ids, numbers_of(found).reshape(-1).tolist(), strict=True)
    return len(set(pairs)) == len(names.ids)


def _pooled(item: Field, names: Named, pooling: Pooling) -> Found:
    """One row for each id, in the order in which these come first."""
    numbers: dict[str, int] = {}
    codes = np.array([numbers.setdefault(each, len(numbers)) for each in names.ids])
    order = np.argsort(codes, kind="stable")
    if (np.diff(codes) < 0).any():
        afford(2 * item.nbytes, item.where, what="frames that are not in the order of their items")
        rows = np.concatenate(list(item.blocks(0, item.shape[0])))
        item = replace(in_memory(rows[order], item.where), check=item.check)
    starts = np.searchsorted(codes[order], np.arange(len(numbers) + 1))
    groups = names.groups
    if groups is not None:
        groups = tuple(groups[order[start]] for start in starts[:-1])
    ids = tuple(numbers)
    rows = pooled_offsets(item, in_memory(starts, names.where), ids, pooling)
    return Found(rows, ids, groups)


def _refuse(item: Field, names: Named, again: tuple[str, int, int], wanted: Wanted) -> NoReturn:
    """Refuse ids that come again, with what they may be.

    Raises:
        FormatError: always.
    """
    each, row, other = again
    pool = "" if wanted.pooling is not None else f" and {how_to_pool()}"
    raise FormatError(
        f"{names.where}: the id {named([each])} stands in row {row} and again in row {other}; if "
        f"the {item.shape[0]} rows are frames of {len(set(names.ids))} items, store 'frame' beside "
        f"the ids, which numbers those of each item from 0{pool}; else ids must be unique (for "
        "captions of one video use a suffix: video7#0, video7#1)"
    )
