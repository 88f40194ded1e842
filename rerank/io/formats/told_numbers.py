"""Numbers that are told with arrays and are no arrays: attributes of HDF5, lists in metadata."""

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path

import h5py
import numpy as np

from rerank.core.errors import FormatError
from rerank.io.container import Told
from rerank.io.field import Field, in_memory
from rerank.io.files import foreign, named, parse_json
from rerank.io.frames.meanings import is_place, meaning_of

# More numbers belong in an array.
_MOST = 1 << 22


def numbers_of_attributes(file: h5py.File, path: Path) -> Callable[[str], Told]:
    """Attributes that are numbers: of an array, of the groups it lies in, and of the file."""

    @cache
    def at(place: str) -> Mapping[str, Field]:
        where = f"{path}: {named([f'/{place}'])}: attribute" if place else f"{path}: attribute"
        with foreign(path, "HDF5"):
            attributes = file[place or "/"].attrs
            keys = list(attributes)
        return _numbers({key: _attribute(attributes, key) for key in keys}, where)

    def told(name: str) -> Told:
        places = [name.rsplit("/", depth)[0] for depth in range(name.count("/") + 1)]
        return {place: at(place) for place in (*places, "")}

    return told


def numbers_of_metadata(metadata: Mapping[str, str], path: Path) -> Told:
    """Lists of numbers in the metadata of a file."""
    return {"": _numbers(metadata, f"{path}: metadata")}


def _attribute(attributes: h5py.AttributeManager, key: str) -> object:
    """The value of an attribute that is text or not too many numbers; None for any other."""
    # What is of a type that nothing reads speaks of something else.
    with suppress(OSError, TypeError, ValueError, KeyError, RuntimeError):
        kept = attributes.get_id(key)
        if kept.shape is None or math.prod(kept.shape) > _MOST or len(kept.shape) > 2:
            return None
        if kept.dtype.kind in "iufb":
            return np.asarray(attributes[key])
        if _says_frames(key) and not kept.shape and h5py.check_string_dtype(kept.dtype):
            text = attributes[key]
            return text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    return None


def _says_frames(name: str) -> bool:
    return bool(meaning_of(name)) or is_place(name)


def _numbers(values: Mapping[str, object], where: str) -> dict[str, Field]:
    """Those that are numbers; a text may hold a list of them in JSON where its name says so."""
    found: dict[str, Field] = {}
    for name, value in values.items():
        place = f"{where} {named([name])}"
        if isinstance(value, str):
            array = _list_in(value, place) if _says_frames(name) else None
        else:
            array = value
        if isinstance(array, np.ndarray) and array.dtype.kind in "iufb" and array.size:
            found[name] = in_memory(array, place) if array.shape else _single(array, place)
    return found


def _list_in(text: str, place: str) -> np.ndarray | None:
    if text.lstrip()[:1] != "[" or len(text) > 8 * _MOST:
        return None
    with suppress(FormatError, ValueError, OverflowError):
        return np.array(parse_json(text, place))
    return None


def _single(value: np.ndarray, place: str) -> Field:
    one = value.reshape(1)
    return Field(place, (), one.dtype, lambda start, stop: iter([one[start:stop]]))
