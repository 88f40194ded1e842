"""Lines of a TREC run, told by the first of them."""

from pathlib import Path

from rerank.core.shell import word
from rerank.io.text_table import is_number

_COLUMNS = 6
# What stands in the second column, where nothing is said.
_ITERATION = ("Q0", "0")


def are_run_lines(head: str) -> bool:
    r"""Whether a text begins with lines of a TREC run: query, Q0, item, rank, score, tag.

    The last line may be cut.

    >>> are_run_lines("q1 Q0 v3 1 0.9 mine\nq1 Q0 v2 2 0.8 m"), are_run_lines("q1 0 v3 1\n")
    (True, False)
    """
    *whole, last = head.splitlines() or [""]
    cells = [line.split() for line in whole or [last] if line.strip()]
    return bool(cells) and all(
        len(line) == _COLUMNS
        and line[1].upper() in _ITERATION
        and line[3].isdecimal()
        and is_number(line[4])
        for line in cells
    )


def said_of_run(path: Path) -> str:
    """What is said of a ranking in the place of embeddings or of a matrix."""
    return (
        f"{path}: holds lines of a TREC run, which are a ranking and no embeddings or scores; "
        f"rerank eval --results {word(str(path))} --gt GT judges it"
    )
