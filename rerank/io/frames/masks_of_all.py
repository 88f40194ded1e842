"""Which frames of items that are kept one by one are there: one array or file that speaks of all.

`lengths (n,)` and `mask (n, frames)` lie beside the items, in their order, which in a folder of
`<id>.npy` the frames have to show; there also `lengths.json`, `mask.json` and `lengths.csv` by id,
and `mask/<id>.npy`.
"""

import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rerank.core.errors import FormatError, RerankWarning
from rerank.io.field import Field, in_memory
from rerank.io.files import named, read_json, regular_file
from rerank.io.formats.npy import npy_field
from rerank.io.frames.doubts import could_be_masks
from rerank.io.frames.mask_shapes import fits, numbers_of
from rerank.io.frames.mask_values import is_flags
from rerank.io.frames.masks_of_each import is_frames, take
from rerank.io.frames.meanings import is_file_of_frames, is_something_else, meaning_of
from rerank.io.frames.shown_order import is_shown
from rerank.io.frames.side_files import called_like
from rerank.io.recipes import by_sorted_names
from rerank.io.text_table import is_number, two_columns

Told = dict[str, dict[str, Field]]

# Files that keep their arrays in the order of their names.
_BY_NAME = (".h5", ".hdf5", ".mat", ".safetensors")
# So many files that are no items are named in a command.
_FEW = 5
_SURE = ("mask", "lengths", "padding")


def without_tables(fields: dict[str, Field]) -> dict[str, Field]:
    """Arrays without those that say of all items beside them which of their frames are there."""
    tables = _tables(fields, [item for item in fields.values() if is_frames(item)])
    return {name: item for name, item in fields.items() if name not in tables} if tables else fields


def _tables(fields: Mapping[str, Field], items: Sequence[Field]) -> dict[str, Field]:
    """Arrays that speak of all items, by their names."""
    found: dict[str, Field] = {}
    for name, table in fields.items():
        if "/" in name or meaning_of(name) not in _SURE or len(table.shape) > 2:
            continue
        # One that speaks of frames itself counts as an item until its shape tells.
        others = [item for item in items if item is not table]
        most = max((item.shape[-2] for item in others), default=0)
        if len(others) > 1 and fits(table, meaning_of(name), len(others), most):
            values = numbers_of(table)
            if table.kind != "float" or len(table.shape) == 1 or is_flags(values):
                found[name] = table
    return found


def said_of_all(path: Path, fields: Mapping[str, Field], items: Mapping[str, Field]) -> Told:
    """For each id with frames what one array or one file says of all of them.

    Args:
        path: the file or folder.
        fields: all arrays in it.
        items: the frames of each id, in the order in which they are kept.

    Raises:
        FormatError: what does not fit, whose order is not known, or what may say it.
    """
    said: Told = {}
    for name, table in _tables(fields, list(items.values())).items():
        rows = numbers_of(table)
        rows = rows.reshape(len(items), -1)
        _check_order(table.where, list(items))
        found = {
            item: _of_item(table.where, row, items[item])
            for item, row in zip(items, rows, strict=True)
        }
        own: Told = {}
        take(name, found, items, own)
        _check_shown(path, Path(table.where), found, own, items)
        _add(own, said)
    _refuse_unknown(fields, items)
    _take_files(path, items, said)
    return said


def _of_item(where: str, row: np.ndarray, item: Field) -> Field:
    """A number, or as many as the item has frames."""
    return in_memory(row if len(row) == 1 else row[: item.shape[-2]], where)


def _check_order(where: str, ids: Sequence[str]) -> None:
    """Refuse what follows an order of names that could be another one: v10 before v2, or behind."""
    counted = [
        [int(x) if at % 2 else x for at, x in enumerate(re.split(r"(\d{1,18})", each))]
        for each in ids
    ]
    if ids == sorted(ids) and counted != sorted(counted):
        raise FormatError(
            f"{where}: says of the items in their order, which may be that of their names "
            f"({named(list(ids[:3]))}) or of the numbers in these; store it by id: a dictionary "
            "lengths.json or mask.json in a folder of arrays"
        )


def _check_shown(
    path: Path, where: Path, found: Mapping[str, Field], said: Told, items: Mapping[str, Field]
) -> None:
    """Refuse what has no ids in a folder, unless any order says the same, or frames show it.

    In a file that keeps its arrays by their names a person is told.
    """
    if not path.is_dir() and path.suffix.lower() not in _BY_NAME:
        return
    rows = [numbers_of(each).reshape(-1).tolist() for each in found.values()]
    own = [[item.shape[-2]] if len(item.shape) > 1 else [1] for item in items.values()]
    if rows in (own, rows[:1] * len(rows)) or is_shown(said, items):
        return
    order = f"the order of the sorted names of the items ({named(list(items)[:3])})"
    if not path.is_dir():
        warnings.warn(
            f"{where}: has no ids, and is taken in {order}; if it has another, store one for each "
            "item, called like the item and '_length' or '_mask'", RerankWarning, stacklevel=2,
        )  # fmt: skip
        return
    stem = "mask" if meaning_of(where.stem) == "mask" else where.stem
    ways = f"a dictionary {stem}.json of each with its id there instead of it"
    if all(np.prod(each.shape) == 1 for each in found.values()):
        ways += f", or lines of an id, a comma and its number in {stem}.csv"
    others = [each.name for each in path.glob("*.npy") if each.stem not in items]
    if list(items) == sorted(items, key=lambda item: f"{item}.npy") and len(others) <= _FEW:
        ways += f"; if that is its order: {by_sorted_names(where, stem, others)}"
    raise FormatError(
        f"{where}: has no ids, and nothing shows that it stands in {order}; store it by id: {ways}"
    )


def _add(more: Told, said: Told) -> None:
    for item, held in more.items():
        said.setdefault(item, {}).update(held)


def _refuse_unknown(fields: Mapping[str, Field], items: Mapping[str, Field]) -> None:
    """Refuse truth values, one for each frame of each item, that may be a mask."""
    held = {id(item) for item in items.values()}
    most = max(item.shape[-2] for item in items.values())
    for name, table in fields.items():
        if (
            "/" in name or id(table) in held or meaning_of(name) in _SURE or table.dtype.kind != "b"
            or table.odd or table.shape != (len(items), most) or is_something_else(name)
        ):  # fmt: skip
            continue
        rows = numbers_of(table)
        if could_be_masks(name, rows) and not (rows.all() or not rows.any()):
            raise FormatError(
                f"{table.where}: its truth values {table.shape} may say which of the frames of the "
                "items count; if they do, call it 'mask', with 1 for a frame that counts; if they "
                "do not, move it away"
            )


def _take_files(path: Path, items: Mapping[str, Field], said: Told) -> None:
    """What files in a folder of arrays say, or those called like one file of them."""
    if path.is_dir():
        files = [
            (file, file.stem) for file in sorted(path.iterdir())
            if file.stem not in items and is_file_of_frames(file.stem) and file.suffix != ".npy"
        ]  # fmt: skip
    else:
        files = called_like(path)
    for file, name in files:
        own: Told = {}
        if file.is_dir():
            found = _of_folder(file, items)
        elif file.suffix in (".json", ".csv"):
            told = read_json(file) if file.suffix == ".json" else _of_lines(file)
            content = _by_id(file, told, items)
            found = {item: _values(file, item, value) for item, value in content.items()}
            if isinstance(told, list) and not path.is_dir():
                raise FormatError(_by_ids(file, path))
            if isinstance(told, list):
                take(name, found, items, own)
                _check_shown(path, file, found, own, items)
        else:
            raise FormatError(_by_ids(file, path))
        take(name, found, items, said)


def _by_ids(file: Path, path: Path) -> str:
    return (
        f"{file}: may say which frames of the items in {path} count; store it there as "
        f"{file.stem}.json, a dictionary of each with its id, or move it away"
    )


def _of_lines(file: Path) -> dict[str, float]:
    """The number of each id, in lines of both; a first line without a number is a header."""
    rows = two_columns(file, "an id and its number")
    if rows and not is_number(rows[0][1]):
        rows = rows[1:]
    odd = next((cell for _, cell in rows if not is_number(cell)), None)
    if odd is not None:
        raise FormatError(f"{file}: holds {named([odd])}, expected an id and a number in each line")
    found = {item.strip(): float(cell) for item, cell in rows}
    if len(found) < len(rows):
        raise FormatError(f"{file}: has {len(rows)} lines for {len(found)} ids; give each id once")
    return found


def _of_folder(folder: Path, items: Mapping[str, Field]) -> dict[str, Field]:
    """The array of each item in a folder of masks."""
    missing = [item for item in items if not (folder / f"{item}.npy").is_file()]
    if missing:
        raise FormatError(
            f"{folder}: has no {named([f'{missing[0]}.npy'])}, one of {len(items)} arrays beside "
            "it; give it one, or move the folder away"
        )
    return {item: npy_field(regular_file(folder / f"{item}.npy")) for item in items}


def _by_id(file: Path, content: Any, items: Mapping[str, Field]) -> dict[str, Any]:  # noqa: ANN401
    """The value of each item in a document."""
    if isinstance(content, list) and len(content) == len(items):
        _check_order(str(file), list(items))
        return dict(zip(items, content, strict=True))
    if not isinstance(content, dict):
        raise FormatError(f"{file}: expected a dictionary of each of the {len(items)} ids")
    found = {item: content.get(item, content.get(f"{item}.npy")) for item in items}
    missing = [item for item, value in found.items() if value is None]
    if missing:
        raise FormatError(
            f"{file}: says nothing of {named(missing[:1])}, one of {len(items)} arrays beside it; "
            "give it a value, or move the file away"
        )
    return found


def _values(file: Path, item: str, value: object) -> Field:
    values = value if isinstance(value, list) else [value]
    if not values or not all(isinstance(each, int | float) for each in values):
        raise FormatError(f"{file}: holds {named([value])}, expected a number or a list of numbers")
    return in_memory(np.array(values), f"{file}: {named([item])}")
