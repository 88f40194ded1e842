"""Tables in text of 0 and 1, texts x videos, that are given as a ground truth: what reads them."""

import csv
from collections.abc import Sequence
from pathlib import Path

from rerank.core.wording import either
from rerank.io.recipes import quoted, truth_table

# So many rows tell.
_SAMPLE = 1000
_RIGHT = ("1", "1.0", "true")
_WRONG = ("0", "0.0", "false")


def way_of_relevance(lines: Sequence[str], delimiter: str, where: str) -> str:
    """How to make pairs of a table of 0 and 1, with names of rows and columns or without; or "".

    >>> way_of_relevance([",v0,v1", "t0,0,1", "t1,1,0"], ",", "gt.csv")[:52]
    'if it is 1 where the video of a column is right for '
    >>> way_of_relevance(["text,clip", "t0,v0"], ",", "gt.csv")
    ''

    Args:
        lines: of the file.
        delimiter: what stands between its columns.
        where: the file.
    """
    path = Path(where)
    apart = None if delimiter not in lines[0] else delimiter
    rows = [_cells(line, apart) for line in lines[:_SAMPLE] if line.strip()]
    if len(rows) < 2 or not path.suffix:
        return ""
    names, first = rows[0], rows[1]
    says = (
        "if it is 1 where the video of a column is right for the text of a row, make a table of it"
    )
    by_rows = f", to be read with {either('--text-ids rows --video-ids rows', 'ids 0, 1, ...')}"
    if len(first) > 2 and all(_is_relevance(row, len(first)) for row in rows):
        blanks = "" if apart is None else f", delimiter={_code(apart)}"
        load = f"import numpy as n; x = n.loadtxt({quoted(str(path))}{blanks})"
        return f"{says}{by_rows}: {truth_table(path, load, *_NONZERO)}"
    if apart is None or len(names) != len(first) or len(first) < 3:
        return ""
    if _is_relevance(names[1:], len(names) - 1):
        return ""
    if not all(_is_relevance(row[1:], len(names) - 1) for row in rows[1:]):
        return ""
    load = (
        f"import csv, numpy as n; d = list(csv.reader(open({quoted(str(path))}, "
        f"encoding={quoted('utf-8-sig')}, newline={quoted('')}), delimiter={_code(apart)})); "
        f"p = [(r[0], h) for r in d[1:] for h, y in zip(d[0][1:], r[1:]) if y.strip().lower() in "
        f"({', '.join(map(quoted, _RIGHT))})]"
    )
    counted = names[1:] == [str(at) for at in range(len(names) - 1)]
    made = truth_table(path, load, "[a for a, b in p]", "[b for a, b in p]")
    return f"{says}{by_rows if counted else ''}: {made}"


_NONZERO = ("n.nonzero(x > 0)[0]", "n.nonzero(x > 0)[1]")


def _cells(line: str, delimiter: str | None) -> list[str]:
    if delimiter is None:
        return line.split()
    return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter))]


def _code(delimiter: str) -> str:
    return "chr(9)" if delimiter == "\t" else quoted(delimiter)


def _is_relevance(cells: Sequence[str], count: int) -> bool:
    """Whether all cells say yes or no, also as numpy writes floats."""
    return len(cells) == count and all(map(_is_yes_or_no, cells))


def _is_yes_or_no(cell: str) -> bool:
    if cell.lower() in (*_RIGHT, *_WRONG):
        return True
    try:
        return "e" in cell and float(cell) in (0, 1)
    except ValueError:
        return False
