"""Files that only name rows: ids in lines, a JSON list, or a column of a table."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from rerank.core.errors import FormatError
from rerank.core.wording import option
from rerank.io.container import ID_NAMES, MORE_ID_NAMES, Container, contents, side_in
from rerank.io.field import Field
from rerank.io.files import named, read_text, regular_file
from rerank.io.ids import check_ids, check_unique, first_duplicate, read_ids, read_sidecar
from rerank.io.lines import lines_in
from rerank.io.opening import open_container
from rerank.io.place_names import may_say_places
from rerank.io.row_numbers import check_order
from rerank.io.side_words import TEXT_FIELDS, VIDEO_FIELDS, first_field, sounds_like

# Of more columns of numbers each is one of a vector.
_WIDE = 64


def read_id_file(path: Path, *, column: str | None = None, side: str = "") -> tuple[str, ...]:
    r"""The ids of a file, in their order.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "ids.txt"
    >>> _ = path.write_text("a\nb\n")
    >>> read_id_file(path)
    ('a', 'b')
    >>> _ = path.with_suffix(".csv").write_text("video_id,duration\na,3\nb,5\n")
    >>> read_id_file(path.with_suffix(".csv"))
    ('a', 'b')

    Args:
        path: text with one id in a line, a JSON list, or a table (.csv, .tsv, .parquet) or any
            other file of arrays with a column or array of ids.
        column: which one; by default the only one, or one that is called like ids.
        side: "texts" or "videos": of several columns those are believed first that are called like
            ids of this side, and last those of the other.

    Raises:
        FormatError: no ids, or several columns that could be them.
    """
    path = regular_file(path)
    if path.suffix.lower() in (".txt", ".json", ".lst"):
        ids = read_sidecar(path)[0]
        check_unique(ids, str(path))
        return ids
    if path.suffix.lower() in (".csv", ".tsv") and column is None:
        bare = _one_column(path)
        if bare is not None:
            check_unique(bare, str(path))
            return bare
    with open_container(path) as container:
        lists = {
            name: item
            for name, item in container.fields.items()
            if item.kind in ("text", "integer") and len(item.shape) == 1
        }
        if column is not None:
            if column not in container.fields:
                raise FormatError(
                    f"{path}: there is no {column!r}; it holds {contents(container.fields)}"
                )
            chosen = column
        else:
            known = _called_like_ids(lists, side)
            names = known or list(lists)
            if not names or (len(names) > 1 and not known):
                raise FormatError(
                    f"{path}: its columns are {named(sorted(container.fields))}; say which one "
                    f"holds the ids: {option('id-column', 'NAME')}"
                )
            chosen = names[0]
        named_so = container.fields[chosen]
        ids = read_ids(named_so)
        check_unique(ids, str(path))
        beside = _beside(container, named_so, side)
        check_order(beside, replace(named_so, where=str(path)), asked=may_say_places)
    return ids


def _beside(container: Container, ids: Field, side: str) -> dict[str, Field]:
    """The columns beside that of the ids; not another one of the same, nor of the other side."""
    values = container.fields.get("values")
    parts = {
        name: _column_of(values, place)
        for place, name in enumerate(container.columns)
        if values is not None and len(container.columns) < _WIDE
    }
    found = {**container.numbers, **container.fields}
    if container.columns:
        found.pop("values", None)  # all of them as one array
    return {
        name: item for name, item in {**parts, **found}.items()
        if item is not ids and (side_in(name) or sounds_like(name)) in ("", side)
    }  # fmt: skip


def _column_of(values: Field, place: int) -> Field:
    """One of the columns of numbers that were gathered in an array."""

    def blocks(start: int, stop: int) -> Iterator[np.ndarray]:
        for block in values.blocks(start, stop):
            yield block[:, place : place + 1]

    return replace(values, shape=(values.shape[0], 1), blocks=blocks, mapped=None)


def _called_like_ids(lists: Mapping[str, Field], side: str) -> list[str]:
    """Names of columns that are called like ids, the most likely first.

    What names a row twice is believed after what does not.
    """
    known = [name for tier in (ID_NAMES, *MORE_ID_NAMES) for name in tier if name in lists]
    if len(known) == 1:
        return known
    again = {name: first_duplicate(read_ids(lists[name])) is not None for name in known}

    def doubt(name: str) -> tuple[bool, int]:
        spoken = side_in(name) if side else ""
        return again[name], 0 if side and spoken == side else 1 if not spoken else 2

    return sorted(known, key=doubt)


def _one_column(path: Path) -> tuple[str, ...] | None:
    """Ids of a table of one column, else None. A name of columns in front is its header."""
    lines = [line.strip() for line in lines_in(read_text(path), path)]
    cells = [line.strip('"') for line in lines if line]
    if not cells or any(mark in line for line in cells for mark in "\t,;|"):
        return None
    if first_field(cells[:1], (*TEXT_FIELDS, *VIDEO_FIELDS, "id", "ids", "name", "names")):
        cells = cells[1:]
    return check_ids(cells, str(path))
