"""Ids: text that names a row, checked once, whatever it was stored as."""

from collections.abc import Sequence

import numpy as np

from rerank.errors import FormatError
from rerank.io.checks import Field
from rerank.io.files import foreign, named


def check_ids(raw: Sequence[object] | np.ndarray, where: str, *, first: int = 0) -> tuple[str, ...]:
    """Ids as text: UTF-8 decoded, integers as their decimal digits.

    Args:
        raw: strings, bytes or integers.
        where: the file and the place in it, for messages.
        first: number of the first entry, for messages.

    Raises:
        FormatError: an entry that is empty, not UTF-8, of another type, or holds a NUL, naming it.
    """
    if isinstance(raw, np.ndarray):
        with foreign(where, "text"):
            raw = raw.tolist()
    made = []
    for row, item in enumerate(raw, start=first):
        if isinstance(item, bytes):
            try:
                item = item.decode("utf-8")
            except UnicodeDecodeError as error:
                raise FormatError(
                    f"{where}: the id in row {row} is not UTF-8 ({named([item])}); "
                    "write ids as UTF-8 text"
                ) from error
        elif isinstance(item, int) and not isinstance(item, bool):
            item = str(item)
        if not isinstance(item, str):
            raise FormatError(
                f"{where}: the id in row {row} is {named([item])}, expected text or an integer"
            )
        problem = _id_problem(item)
        if problem:
            raise FormatError(f"{where}: the id in row {row} {problem}; correct it")
        made.append(item)
    return tuple(made)


def _id_problem(item: str) -> str | None:
    if not item:
        return "is empty"
    if "\0" in item:
        # HDF5 would cut the id here without a word.
        return f"holds a NUL character ({named([item])})"
    if not item.isascii() and any("\ud800" <= char <= "\udfff" for char in item):
        return f"is not UTF-8 ({named([item])})"
    return None


def first_duplicate(ids: Sequence[str]) -> tuple[str, int, int] | None:
    """The first id that comes again, and the two rows; None when all differ."""
    if len(set(ids)) == len(ids):
        return None
    seen: dict[str, int] = {}
    for row, item in enumerate(ids):
        if item in seen:
            return item, seen[item], row
        seen[item] = row
    return None


def check_unique(ids: Sequence[str], where: str) -> None:
    """No id twice.

    Raises:
        FormatError: naming the first that comes again and both rows.
    """
    found = first_duplicate(ids)
    if found:
        item, row, again = found
        raise FormatError(
            f"{where}: the id {named([item])} stands in row {row} and again in row {again}; "
            "ids must be unique (for captions of one video use a suffix: video7#0, video7#1)"
        )


def check_count(ids: Sequence[str], count: int, where: str, of: str) -> None:
    """As many ids as rows.

    Raises:
        FormatError: the counts differ.
    """
    if len(ids) != count:
        raise FormatError(
            f"{where}: {len(ids)} ids for the {count} rows of {of}; every row needs its id"
        )


def read_ids(field: Field) -> tuple[str, ...]:
    """All ids of a 1-D field of text or integers; not checked for duplicates.

    Raises:
        FormatError: not 1-D, of another type, or see `check_ids`.
    """
    if len(field.shape) != 1 or field.kind not in ("text", "integer"):
        raise FormatError(
            f"{field.where}: is {field.describe()}; ids are a list of text or integers"
        )
    field.check()
    made: list[str] = []
    for block in field.blocks(0, field.shape[0]):
        made.extend(check_ids(block, field.where, first=len(made)))
    if len(made) != field.shape[0]:
        raise FormatError(f"{field.where}: holds {len(made)} of {field.shape[0]} declared ids")
    return tuple(made)
