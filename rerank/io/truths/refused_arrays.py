"""Files of arrays that are given as a ground truth: what each is, and what makes one of it.

None of them says which text belongs to which video as a table does, so none is read as one. What
is printed instead runs on the very file.
"""

import math
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rerank.core.errors import FormatError
from rerank.core.wording import either
from rerank.io.container import contents
from rerank.io.field import Field, read_array
from rerank.io.files import check_known, check_unpacked, one_line
from rerank.io.foreign_kinds import (
    ARROW,
    ARROW_STREAM,
    HEAD,
    HTML,
    POINTER,
    TAR,
    foreign_kind,
)
from rerank.io.recipes import (
    is_old_torch,
    is_pickle,
    quoted,
    truth_from_array,
    truth_from_member,
    truth_from_pickle,
    truth_from_torch,
    truth_table,
)
from rerank.io.truths.number_readings import number_readings

_KINDS = "a ground truth is JSON, a table (.csv, .tsv, .parquet) or TREC qrels"
_OTHERS = (
    (b"PAR1", "a parquet table; call it .parquet"), (b"MATLAB", "a file of MATLAB"),
    (b"\xd0\xcf\x11\xe0", "a document of Office; save its sheet as CSV"),
)  # fmt: skip
# A matrix of so many numbers is looked at.
_LOOKED_AT = 50_000_000
# Parts of a file inside each other: splits, queries, lists of grades, and some more.
_DEEPEST = 6
# Names of arrays that hold the texts begin so: query, text, caption, sentence.
_TEXTS = ("q", "t", "c", "s")


class _Array(NamedTuple):
    """An array as far as it matters here: its sizes, what it holds, and how code reaches it.

    The numbers are those of a matrix that is not too large to look at; None of any other.
    """

    shape: tuple[int, ...]
    kind: str
    code: str
    numbers: np.ndarray | None = None


def refuse_arrays(path: Path) -> None:
    """Refuse a file that is no text, by what it is and with the way out.

    >>> import tempfile
    >>> import numpy as np
    >>> path = Path(tempfile.mkdtemp()) / "gt.npy"
    >>> np.save(path, np.array([["t0", "v3"], ["t1", "v5"]]))
    >>> try:
    ...     refuse_arrays(path)
    ... except FormatError as error:
    ...     print(str(error).partition("gt.npy: ")[2].partition(":")[0])
    is an array of numpy (2x2 str64); if each row is a text and its video

    Raises:
        FormatError: it is a pickle, or holds arrays.
    """
    with path.open("rb") as stream:
        head = stream.read(HEAD)
    if is_old_torch(head):
        out = truth_from_torch(path)
        raise FormatError(f"{path}: is a file of torch.save (before 1.6); make JSON of it: {out}")
    if is_pickle(path, head):
        raise FormatError(f"{path}: is a pickle; {truth_from_pickle(path)}")
    if head.startswith(b"\x93NUMPY"):
        from rerank.io.formats.npy import Header

        with path.open("rb") as stream:
            objects = Header(stream, str(path)).dtype.hasobject
        if objects:
            raise FormatError(f"{path}: is an array of Python objects; {truth_from_array(path)}")
        raise FormatError(_of_arrays(path, "npy", "an array of numpy"))
    if head.startswith(b"PK\x03\x04"):
        raise FormatError(_archive(path))
    found = next((what for magic, what in _OTHERS if head.startswith(magic)), foreign_kind(head))
    if found not in (None, HTML, POINTER, TAR, ARROW, ARROW_STREAM):
        raise FormatError(f"{path}: is {found}; {_KINDS}")
    check_unpacked(path, head)
    check_known(path, foreign_kind(head))
    if head.startswith(b"\x89HDF"):
        raise FormatError(_of_arrays(path, "hdf5", "an HDF5 file"))
    if head[4:9] == b"\0\0\0\0{":
        raise FormatError(_of_arrays(path, "safetensors", "a file of safetensors"))


def _archive(path: Path) -> str:
    """What a zip archive is: of torch, of Excel, of numpy, or of anything."""
    names: list[str] = []
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    if any(name.endswith("/data.pkl") for name in names):
        return _torch(path)
    if "xl/workbook.xml" in names:
        return f"{path}: is a workbook of Excel; save its sheet as CSV"
    if any(name.endswith(".npy") for name in names):
        return _of_arrays(path, "npz", "an archive of numpy")
    return f"{path}: is a zip archive; {_KINDS}"


def _of_arrays(path: Path, kind: str, what: str) -> str:
    """A file of arrays, and how to make a table of them where they could be one."""
    from rerank.io.formats.registry import FORMATS

    try:
        with FORMATS[kind].load()(path) as container:
            fields = dict(container.fields)
            numbers = _numbers(*fields.values()) if len(fields) == 1 else None
    except FormatError as error:
        return f"{path}: is {what}: {one_line(str(error).removeprefix(f'{path}: '))}; {_KINDS}"
    if container.columns:
        fields.pop("values", None)
    load, reach = _reached(kind, path)
    arrays = {
        name: _Array(field.shape, _kind(field), reach(name, field), numbers)
        for name, field in fields.items()
    }
    alone = list(fields) == ["embeddings"] and kind == "npy"
    said = fields["embeddings"].describe() if alone else contents(fields)
    objects = [name for name, field in fields.items() if "Python objects" in field.odd]
    if len(objects) == 1 and len(fields) == 1:
        return f"{path}: is {what} ({said}); {truth_from_member(path, objects[0])}"
    return f"{path}: is {what} ({said}); {_table_of(path, load, arrays)}"


def _numbers(field: Field) -> np.ndarray | None:
    """The numbers of a matrix that is not too large to look at."""
    if len(field.shape) != 2 or math.prod(field.shape) > _LOOKED_AT:
        return None
    try:
        return read_array(field, booleans=True)
    except FormatError:
        return None


def _kind(field: Field) -> str:
    return "integer" if field.dtype.kind == "b" and not field.odd else field.kind


def _reached(kind: str, path: Path) -> tuple[str, Callable[[str, Field], str]]:
    """Code that opens a file as `d`, and the code of one of its arrays; `n` is numpy."""
    name = quoted(str(path))
    if kind == "hdf5":
        return f"import h5py, numpy as n; d = h5py.File({name})", _of_hdf5
    load = f"import numpy as n; d = n.load({name})"
    if kind == "safetensors":
        load = f"import numpy as n; from safetensors.numpy import load_file; d = load_file({name})"

    def one(key: str, field: Field) -> str:
        own = "d" if kind == "npy" and key == "embeddings" else f"d[{quoted(key)}]"
        return f"{own}.astype(str)" if field.dtype.kind == "S" else own

    return load, one


def _of_hdf5(key: str, field: Field) -> str:
    """Code of an array of an HDF5 file `d`."""
    if field.code:
        return field.code.format(f"d[{quoted(key)}]")
    return f"d[{quoted(key)}]{'.asstr()' if field.kind == 'text' else ''}[()]"


def _table_of(path: Path, load: str, arrays: Mapping[str, _Array]) -> str:
    """How to make a table of what could be pairs; what a ground truth is, for anything else."""
    rows = either("--text-ids rows --video-ids rows", "ids 0, 1, ... of both sides")
    texts = either("--text-ids rows", "ids 0, 1, ... of the texts")
    lists = [
        name for name, array in arrays.items()
        if len(array.shape) == 1 and array.kind in ("text", "integer")
    ]  # fmt: skip
    if len(lists) == 2 and arrays[lists[0]].shape == arrays[lists[1]].shape:
        lists.sort(key=lambda name: not name.lower().startswith(_TEXTS))
        left, right = (arrays[name].code for name in lists)
        return f"if these are the pairs: {truth_table(path, load, left, right)}"
    if len(arrays) != 1:
        return _KINDS
    (one,) = arrays.values()
    load = f"{load}; x = n.asarray({one.code})"
    if len(one.shape) == 1 and one.kind in ("text", "integer"):
        flags, right = (rows, "the row") if one.kind == "integer" else (texts, "the name")
        return (
            f"if entry i is {right} of the video of text i, make a table, to be read with {flags}: "
            f"{truth_table(path, load, 'n.arange(len(x))', 'x')}"
        )
    if len(one.shape) != 2:
        return _KINDS
    if one.kind == "text" and one.shape[1] == 2:
        made = truth_table(path, load, "x[:, 0]", "x[:, 1]")
        return f"if each row is a text and its video: {made}"
    readings = [] if one.numbers is None else number_readings(one.numbers)
    ways = [
        f"if {reading.says}{f', make a table, to be read with {rows}' if reading.of_rows else ''}: "
        f"{truth_table(path, load, reading.queries, reading.items)}"
        for reading in readings
    ]
    return "; ".join(ways) or _KINDS


def _torch(path: Path) -> str:
    """A file of torch.save: tensors that could be pairs, or plain objects that JSON can hold."""
    from rerank.io.formats.tensors import load_plain

    what = f"{path}: is a file of torch.save"
    try:
        content: Any = load_plain(path)
    except FormatError as error:
        if "holds more than tensors" in str(error):
            out = truth_from_torch(path, all_=True)
            return f"{what} with more than tensors, lists and text; {out}"
        return f"{what}: {one_line(str(error).removeprefix(f'{path}: '))}"
    inside: Any = content
    for _ in range(_DEEPEST):
        if not isinstance(inside, dict | list) or not inside:
            break
        inside = next(iter(inside.values() if isinstance(inside, dict) else inside))
    else:
        return f"{what} with parts inside each other, deeper than pairs are kept; {_KINDS}"
    load = (
        f"import torch, numpy as n; d = torch.load({quoted(str(path))}, "
        f"map_location={quoted('cpu')}, weights_only=True)"
    )
    parts = content if isinstance(content, dict) else {"": content}
    arrays = {
        str(name): found for name, value in parts.items()
        if (found := _tensor(value, f"d[{quoted(name)}]" if name else "d"))
    } if len(parts) <= 2 and all(isinstance(name, str) for name in parts) else {}  # fmt: skip
    if arrays and len(arrays) == len(parts):
        shapes = ", ".join(
            f"{name!r} of {'x'.join(map(str, a.shape))}" if name else "x".join(map(str, a.shape))
            for name, a in arrays.items()
        )
        return f"{what} (tensors: {shapes}); {_table_of(path, load, arrays)}"
    if any(_is_vector(value) for value in parts.values()):
        return f"{what} with vectors, which names no pairs of texts and videos; {_KINDS}"
    return f"{what}; make JSON of it: {truth_from_torch(path)}"


def _tensor(value: Any, code: str) -> _Array | None:  # noqa: ANN401  whatever was saved
    """A tensor, or a list of names or numbers that is none of the few items of one text."""
    import torch

    from rerank.core.handed import numpy_of

    if isinstance(value, torch.Tensor) and value.dim():
        kind = "float" if value.is_floating_point() or value.is_complex() else "integer"
        small = value.dim() == 2 and value.numel() <= _LOOKED_AT and not value.is_complex()
        numbers = numpy_of(value, code) if small else None
        return _Array(tuple(value.shape), kind, code, numbers)
    if isinstance(value, list) and len(value) > 2 and all(isinstance(x, str | int) for x in value):
        return _Array((len(value),), "text" if isinstance(value[0], str) else "integer", code)
    return None


def _is_vector(value: Any) -> bool:  # noqa: ANN401  whatever was saved
    import torch

    return isinstance(value, torch.Tensor) and value.dim() > 0 and value.is_floating_point()
