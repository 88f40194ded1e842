"""Lists of names that are told with arrays and are no arrays: attributes of HDF5, metadata.

Those that ids are usually called count everywhere. Others may be of anything, and are kept apart.
"""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import h5py
import numpy as np

from rerank.core.errors import FormatError
from rerank.io.container import LIST_NAMES
from rerank.io.field import Field, list_field
from rerank.io.files import foreign, named, parse_json
from rerank.io.side_words import axis_of_list, side_of_ids


def ids_of_attributes(file: h5py.File, name: str, path: Path) -> dict[str, Field]:
    """Lists of ids in the attributes of an array, of the groups it lies in, and of the file."""
    found: dict[str, Field] = {}
    for place in _places(name):
        with foreign(path, "HDF5"):
            attributes = file[place].attrs
            for key in LIST_NAMES:
                if key not in found and key in attributes:
                    found |= _attribute(attributes, key, f"{path}: attribute {named([key])}")
    return found


def names_of_attributes(file: h5py.File, name: str, path: Path) -> dict[str, Field]:
    """Lists in the same attributes that have other names; numbers where they are called ids."""
    found: dict[str, Field] = {}
    for place in _places(name):
        with foreign(path, "HDF5"):
            attributes = file[place].attrs
            keys = list(attributes)
        for key in keys:
            if key in found or key in LIST_NAMES:
                continue
            # What is of a type that nothing reads speaks of something else.
            with suppress(FormatError, OSError, TypeError, ValueError, KeyError, RuntimeError):
                made = _attribute(attributes, key, f"{path}: attribute {named([key])}")
                found |= {key: x for key, x in made.items() if _are_names(key, x)}
    return found


def names_of_metadata(metadata: Mapping[str, str], path: Path) -> dict[str, Field]:
    """Lists in metadata that have other names than ids usually have; numbers as in attributes."""
    found: dict[str, Field] = {}
    for key, text in metadata.items():
        if key not in LIST_NAMES and text.lstrip()[:1] == "[":
            where = f"{path}: metadata {named([key])}"
            with suppress(FormatError):
                made = list_field(where, parse_json(text, where))
                found |= {key: made} if _are_names(key, made) else {}
    return found


def _places(name: str) -> list[str]:
    """An array, the groups it lies in, and the file."""
    inside = [name.rsplit("/", depth)[0] for depth in range(name.count("/") + 1)] if name else []
    return [*inside, "/"]


def _attribute(attributes: h5py.AttributeManager, key: str, where: str) -> dict[str, Field]:
    """One attribute as a list, read when it is asked for; a text may hold a list in JSON."""
    told = attributes.get_id(key)
    is_text = h5py.check_string_dtype(told.dtype) is not None
    if told.shape == () and is_text:
        text = attributes[key]
        text = text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
        return {key: list_field(where, parse_json(text, where))} if text[:1] == "[" else {}
    plain = is_text or not (told.dtype.hasobject or told.dtype.names)
    if told.shape is None or len(told.shape) not in (1, 2) or not plain:
        return {}
    rows = lambda start, stop: iter([np.asarray(attributes[key])[start:stop]])  # noqa: E731
    return {key: Field(where, told.shape, told.dtype, rows)}


def _are_names(key: str, found: Field) -> bool:
    """Whether a list holds text, or whole numbers under a name of ids, of rows or of columns."""
    types: set[type] = {"text": {str}, "integer": {int}}.get(found.kind, set())
    if found.dtype.kind == "O" and h5py.check_string_dtype(found.dtype) is None:  # out of JSON
        types = {type(x) for part in found.blocks(0, found.shape[0]) for x in part}
    called_ids = side_of_ids(key) != "" or axis_of_list(key) is not None
    return types == {str} or (called_ids and bool(types) and types <= {str, int})
