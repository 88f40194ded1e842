"""Which side a file says its rows are of, by what its arrays and its ids are called."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from rerank.io.container import Container, side_in
from rerank.io.field import Field
from rerank.io.ids import is_list
from rerank.io.layouts.array_shapes import is_rows
from rerank.io.side_words import side_of_ids, sounds_like

# Files of more arrays hold one for each item, whose names are ids.
_FEW = 32


class SaidSide(NamedTuple):
    """The one side that the names in a file say.

    Attributes:
        side: "texts" or "videos"; "" where they say none, or both.
        name: of an array of rows that says so, else of a list of ids.
        of_rows: whether it is an array of rows.
    """

    side: str = ""
    name: str = ""
    of_rows: bool = False


def said_side(container: Container) -> SaidSide:
    """The side that arrays of rows and lists of ids say, where nothing is called like the other.

    >>> from pathlib import Path
    >>> said_side(Container(Path("x.h5"), {}))
    SaidSide(side='', name='', of_rows=False)
    """
    names = {**container.fields, **(container.vectors or {})}
    if len(names) > _FEW or container.schema is not None:
        return SaidSide()
    found = sorted(_said(names), key=lambda each: not each.of_rows)
    spoken = {_spoken(name) for name in names} - {""}
    sides = {each.side for each in found}
    return found[0] if len(sides) == 1 and spoken <= sides else SaidSide()


def _said(names: dict[str, Field]) -> Iterator[SaidSide]:
    """What each array of rows and each list of ids says."""
    for name, item in names.items():
        if re.search(r"\d", name):
            continue  # one of several, or an id
        listed = item.kind in ("text", "integer") and is_list(item)
        side = _spoken(name) if is_rows(item) else side_of_ids(name) if listed else ""
        if side:
            yield SaidSide(side, name, is_rows(item))


def _spoken(name: str) -> str:
    """The side that a name speaks of, in any words."""
    return side_in(name) or sounds_like(name)
