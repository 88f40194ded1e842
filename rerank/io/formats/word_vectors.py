"""Vectors in lines of text, as GloVe and word2vec write them: a name and numbers, with blanks."""

import contextlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO

import numpy as np

from rerank.core.errors import FormatError
from rerank.io.container import Container
from rerank.io.field import Field, afford, list_field, rows_per_block
from rerank.io.files import named
from rerank.io.formats.registry import file_format
from rerank.io.text_table import lines_of, opener
from rerank.io.word_lines import Shape, shape_of, taken_apart


@file_format(
    "words",
    help="lines of a name and numbers with blanks between them (GloVe, word2vec), also in .txt",
    endings=(".glove", ".w2v"),
    order=8,
)
@contextlib.contextmanager
def open_words(path: Path) -> Iterator[Container]:
    r"""Lines of a name and a vector; a first line with how many there are may stand before them.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "v.txt"
    >>> _ = path.write_text("2 3\nthe 0.1 0.2 0.3\nNew York 1 2 3\n")
    >>> with open_words(path) as found:
    ...     found.fields["embeddings"].shape, next(found.fields["ids"].blocks(0, 2)).tolist()
    ((2, 3), ['the', 'New York'])
    >>> _ = path.write_text("the 0.1 0.2 0.3\nof 1 2\n")
    >>> with open_words(path) as found:
    ...     pass
    Traceback (most recent call last):
    rerank.core.errors.FormatError: ...: line 2 ('of') has 2 numbers, ...
    """
    where = str(path)
    with opener(path)() as stream:
        shape = shape_of(line for _, line in islice(_lines(stream, where), 2))
    if shape is None:
        raise FormatError(f"{path}: is no text of names with vectors, such as 'v0 0.1 0.2'")
    ids: list[str] = []
    size = 0
    with opener(path)() as stream:
        for number, line in _rows(_lines(stream, where), shape):
            ids.append(taken_apart(line, shape, f"{where}: line {number}")[0])
            size += 64 + len(ids[-1])
            afford(size, where, what="its names")
    if shape.lines is not None and shape.lines != len(ids):
        raise FormatError(
            f"{path}: its first line says {shape.lines:,} vectors, and it holds {len(ids):,}; the "
            "file was cut short, or the line is of another one"
        )

    def blocks(start: int, stop: int) -> Iterator[np.ndarray]:
        step = rows_per_block(32 * shape.width)
        with opener(path)() as stream:
            rows = islice(_rows(_lines(stream, where), shape), start, stop)
            while part := list(islice(rows, step)):
                yield np.array([_numbers(line, shape, f"{where}: line {at}") for at, line in part])

    vectors = Field(where, (len(ids), shape.width), np.dtype(np.float64), blocks)
    yield Container(
        path, {"ids": list_field(f"{where}: names", ids), "embeddings": vectors}, per_item=False
    )


def _lines(stream: IO[str], where: str) -> Iterator[tuple[int, str]]:
    return ((at, line) for at, line in enumerate(lines_of(stream, where), 1) if line.strip())


def _rows(lines: Iterator[tuple[int, str]], shape: Shape) -> Iterator[tuple[int, str]]:
    """The lines behind the one that counts them."""
    return islice(lines, 0 if shape.lines is None else 1, None)


def _numbers(line: str, shape: Shape, where: str) -> list[float]:
    name, cells = taken_apart(line, shape, where)
    try:
        return list(map(float, cells))
    except ValueError:
        raise FormatError(f"{where} ({named([name])}): {named(cells)} are no numbers") from None
