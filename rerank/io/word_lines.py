"""Lines of a name and the numbers of its vector: what is one, and what its parts are."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from rerank.core.errors import FormatError
from rerank.io.files import foreign, named
from rerank.io.text_table import is_number

# A name may hold any other blank.
_BLANKS = re.compile(r"[ \t]+")
# What numbers of vectors have, and numbers of anything may lack.
_DECIMAL = re.compile(r"[.eE]")
# Bytes in which two lines stand.
_HEAD = 1 << 20


class Shape(NamedTuple):
    """How many numbers a line has, and how many lines there are, where the first says so."""

    width: int
    lines: int | None


def has_named_vectors(path: Path) -> bool:
    """Whether a text begins with a name and a vector, or with how many of them there are."""
    with foreign(path, "a text file"), path.open("rb") as stream:
        head = stream.read(_HEAD)
    lines = head.decode("utf-8-sig", "replace").splitlines()
    whole = lines if len(head) < _HEAD else lines[:-1]
    return shape_of([line for line in whole if line.strip()][:2]) is not None


def shape_of(lines: Iterable[str]) -> Shape | None:
    """What the first two lines say; None where they are no names with vectors.

    >>> shape_of(["v0 0.1 2", "v1 3 4"]), shape_of(["2 3", "7 1 2 3"]), shape_of(["q 0 v 1"])
    (Shape(width=2, lines=None), Shape(width=3, lines=2), None)
    """
    first, second = ([_cells(line) for line in lines] + [[], []])[:2]
    if len(first) == 2 and all(cell.isdecimal() for cell in first):
        count, width = map(int, first)
        vector = len(second) > width > 1 and all(map(is_number, second[-width:]))
        return Shape(width, count) if vector else None
    width = len(first) - 1
    if width < 2 or is_number(first[0]) or not all(map(is_number, first[1:])):
        return None
    decimal = any(map(_DECIMAL.search, first[1:]))
    alike = not second or all(map(is_number, second[-2:]))
    return Shape(width, None) if decimal and alike else None


def taken_apart(line: str, shape: Shape, where: str) -> tuple[str, list[str]]:
    """The name and the numbers of a line.

    >>> taken_apart("New York 0.1 0.2", Shape(2, None), "v.txt: line 1")
    ('New York', ['0.1', '0.2'])

    Raises:
        FormatError: more numbers than others have, or fewer.
    """
    cells = _cells(line)
    name, numbers = cells[: -shape.width], cells[-shape.width :]
    # Where the first line says how many, a name may end with a number.
    more = len(name) > 1 and shape.lines is None and is_number(name[-1])
    if not name or more or not is_number(numbers[0]):
        held = next(
            (i for i, cell in enumerate(cells[:0:-1]) if not is_number(cell)), len(cells) - 1
        )
        raise FormatError(
            f"{where} ({named(cells[:1])}) has {held} numbers, expected {shape.width} as in the "
            "first; compute it again, or leave it out"
        )
    return " ".join(name), numbers


def _cells(line: str) -> list[str]:
    return _BLANKS.split(line.strip(" \t\r\n"))
