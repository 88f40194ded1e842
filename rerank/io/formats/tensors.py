"""Tensors saved by safetensors and by torch; neither is ever unpickled."""

import contextlib
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from rerank.core.errors import FormatError
from rerank.io.container import LIST_NAMES, Container
from rerank.io.field import NOTHING, Field, empty_field, list_field, rows_per_block
from rerank.io.files import check_whole, foreign, named, parse_json
from rerank.io.formats.registry import file_format
from rerank.io.formats.told_lists import names_of_metadata
from rerank.io.formats.told_numbers import numbers_of_metadata
from rerank.io.frames.meanings import is_something_else
from rerank.io.frames.unlike_lengths import padded
from rerank.io.ids import ids_by_row
from rerank.io.pages import let_go, lies_in
from rerank.io.pickle_parts import Walk, walk
from rerank.io.recipes import (
    from_old_torch,
    from_pickle,
    from_torch_lists,
    from_torch_objects,
    is_old_torch,
    joined_records,
    joined_torch,
    named_torch,
)
from rerank.io.tensor_records import columns_of

# Bytes of a description that is looked at twice.
_LOOKED_AT = 1 << 20
# Bytes of one that is searched for tensors; how a pickle names what makes one.
_GLANCED, _MADE = 64 << 20, re.compile(rb"c[\w.]+\n\w+\n")
# Containers inside each other in what is read, and in what nothing reads.
_READ_DEPTH, _DEEPEST = 8, 100
# Bytes of a block whose pages are given back.
_WORTH = 1 << 20
# What may stand in the place of a tensor.
_NUMBER, _TEXT = "a single number", "text"
_NO_ARRAYS = (NOTHING, _NUMBER, _TEXT)

# Lists in the metadata that are arrays like others.
_LISTS = tuple(name for name in LIST_NAMES if name.endswith("ids"))


@file_format(
    "safetensors",
    help="tensors by name; ids as a JSON list in the metadata, or in a side-car",
    endings=(".safetensors",),
    heavy=True,
    glance="glance_at_safetensors",
    order=4,
)
@contextlib.contextmanager
def open_safetensors(path: Path) -> Iterator[Container]:
    """Tensors by name; ids as a JSON list in the metadata ("ids", "video_ids"), or in a side-car.

    >>> import tempfile
    >>> from safetensors.numpy import save_file
    >>> path = Path(tempfile.mkdtemp()) / "v.safetensors"
    >>> save_file({"clip": np.ones((2, 3))}, path, metadata={"ids": '["a", "b"]'})
    >>> with open_safetensors(path) as found:
    ...     sorted(found.fields)
    ['clip', 'ids']

    bfloat16, which numpy does not have, is widened:

    >>> import torch
    >>> from safetensors.torch import save_file as save_tensors
    >>> save_tensors({"clip": torch.ones(2, 3, dtype=torch.bfloat16)}, path)
    >>> with open_safetensors(path) as found:
    ...     found.fields["clip"].describe()
    '2x3 float32'
    """
    from safetensors import safe_open

    with contextlib.ExitStack() as stack:
        fields: dict[str, Field] = {}
        with foreign(path, "safetensors"):
            # Through torch, because numpy has no bfloat16.
            file: Any = stack.enter_context(safe_open(path, framework="pt"))
            metadata = file.metadata() or {}
            for name in file.keys():  # noqa: SIM118  not a mapping
                view = file.get_slice(name)
                shape = tuple(view.get_shape())
                probe = file.get_tensor(name) if not shape else view[0:0]
                where = f"{path}: {named([name])}"
                rows = _slices(view if shape else probe.reshape(1))
                fields[name] = _tensor_field(where, shape, probe.dtype, rows, path)
        more = lambda item: _lists_in(metadata, path, LIST_NAMES)  # noqa: ARG005, E731
        told = lambda item: numbers_of_metadata(metadata, path)  # noqa: ARG005, E731
        noted = lambda item: names_of_metadata(metadata, path)  # noqa: ARG005, E731
        lists = _lists_in(metadata, path)
        yield Container(path, lists | fields, attached=more, noted=noted, told=told)


def _lists_in(
    metadata: Mapping[str, str], path: Path, names: Sequence[str] = _LISTS
) -> dict[str, Field]:
    """Lists of ids in the metadata."""
    found: dict[str, Field] = {}
    for name in names:
        # Under other names than ours there may be anything.
        if name in metadata and (name == "ids" or metadata[name].lstrip().startswith("[")):
            where = f"{path}: metadata {named([name])}"
            found[name] = list_field(where, parse_json(metadata[name], where))
    return found


def _slices(view: Any) -> Callable[[int, int], Any]:  # noqa: ANN401  made by safetensors
    return lambda start, stop: view[start:stop]


def _tensor_field(
    where: str,
    shape: tuple[int, ...],
    dtype: Any,  # noqa: ANN401  a torch.dtype; torch is imported by who has one
    rows: Callable[[int, int], Any],
    path: Path | None = None,
) -> Field:
    """A tensor by its rows, which may be views of memory over the file `path`."""
    import torch

    widened = dtype == torch.bfloat16
    try:
        plain = np.dtype(str(dtype).removeprefix("torch.").replace("bfloat16", "float32"))
    except TypeError:
        # 8-bit floats and quantised numbers have no numpy name; refused when asked for.
        return Field(
            where,
            shape,
            np.dtype("V1"),
            lambda start, stop: iter(()),
            odd=f"of the type {str(dtype).removeprefix('torch.')}",
            fix="save tensor.float()",
        )

    def blocks(start: int, stop: int) -> Iterator[np.ndarray]:
        row_bytes = plain.itemsize * int(np.prod(shape[1:], dtype=object))
        step = rows_per_block(row_bytes)
        over_file: bool | None = None
        for at in range(start, stop, step):
            with foreign(where, "a tensor"):
                part = rows(at, min(stop, at + step))
                block = (part.float() if widened else part).numpy()
            yield block
            # To look where memory lies takes longer than to read a short vector.
            if path is None or part.nbytes < _WORTH or not part.is_contiguous():
                continue
            if over_file is None:
                over_file = lies_in(path, part.data_ptr())
            if over_file:
                let_go(part.data_ptr(), part.nbytes)

    return Field(where, shape, plain, blocks)


@file_format(
    "torch",
    help="a tensor, or a dictionary of tensors and of lists of ids, saved by torch.save",
    endings=(".pt", ".pth"),
    heavy=True,
    glance="glance_at_torch",
    order=5,
)
@contextlib.contextmanager
def open_torch(path: Path) -> Iterator[Container]:
    """A tensor, or a dictionary of tensors and id lists, written by `torch.save`.

    Read with `weights_only=True`, and mapped: the data is then cut out of the file, so that a
    storage cannot reach beyond it.

    >>> import tempfile, torch
    >>> path = Path(tempfile.mkdtemp()) / "v.pt"
    >>> torch.save({"embeddings": torch.ones(2, 3), "ids": ["a", "b"]}, path)
    >>> with open_torch(path) as found:
    ...     found.fields["embeddings"].describe(), found.fields["ids"].shape
    ('2x3 float32', (2,))

    Records, and a tensor for each id:

    >>> torch.save([{"id": "a", "clip": torch.ones(3)}, {"id": "b", "clip": torch.ones(3)}], path)
    >>> with open_torch(path) as found:
    ...     found.fields["clip"].describe()
    '2x3 float32'
    >>> torch.save({"clip": {"a": torch.ones(3), "b": torch.ones(3)}}, path)
    >>> with open_torch(path) as found:
    ...     sorted(found.fields)
    ['clip/a', 'clip/b']
    """
    content = load_plain(path)
    fields: dict[str, Field] = {}
    records = columns_of(path, content)
    box, parts, odd = records or ("", content, {})
    # Each part takes bytes in the file; more visits than bytes go round the same ones.
    _collect(path, "", parts, fields, depth=0, left=[path.stat().st_size])
    if records is not None:
        fields = {name: _joined_as_records(path, box, parts, item) for name, item in fields.items()}
    besides = {name: item.odd for name, item in fields.items() if item.odd in _NO_ARRAYS}
    fields = {name: item for name, item in fields.items() if name not in besides}
    if not fields and isinstance(content, dict | list | tuple) and content:
        raise FormatError(_too_deep(path))
    if not fields and not isinstance(content, dict | list | tuple):
        raise FormatError(f"{path}: holds {named([content])}, expected tensors")
    yield Container(path, fields | odd, per_item=records is None, besides=besides, boxed=box)


def glance_at_safetensors(path: Path) -> None:
    """Refuse a damaged file, one of empty tensors, and lists of ids that are no JSON.

    Raises:
        FormatError: it is one.
    """
    from safetensors import safe_open

    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        held = path.stat().st_size - 8 - length
        count = stream.read(length).count(b'"data_offsets"') if held >= 0 else 0
    if count > held >= 0:
        raise FormatError(
            f"{path}: declares {count:,} tensors in {held:,} bytes, so there are empty ones; "
            "leave them out"
        )
    with foreign(path, "safetensors"), safe_open(path, framework="numpy") as file:
        metadata = file.metadata() or {}
    _lists_in(metadata, path)


def glance_at_torch(path: Path) -> None:
    """Refuse another kind of file, one that no walk comes to the end of, and one that is too deep.

    Raises:
        FormatError: it is one.
    """
    _check_archive(path)
    with foreign(path, "a file of torch.save"), zipfile.ZipFile(path) as archive:
        parts = (each for each in archive.infolist() if each.filename.endswith("/data.pkl"))
        small = next((each for each in parts if each.file_size <= _GLANCED), None)
        lists = small is not None and _is_of_lists(archive.read(small))
        met, depth = Walk()
        if small is not None and small.file_size <= _LOOKED_AT:
            met, depth = walk(archive.read(small))
    if met > path.stat().st_size:
        raise FormatError(_endless(path))
    if depth > _DEEPEST:
        raise FormatError(_too_deep(path))
    if lists:
        raise FormatError(
            f"{path}: holds numbers in lists, and no tensors; make arrays of it: "
            f"{from_torch_lists(path)}"
        )


def _is_of_lists(content: bytes) -> bool:
    """Whether what was pickled names nothing that is made, as each tensor does, and has numbers."""
    return _MADE.search(content) is None and b"G" in content and content[2:3] in (b"}", b"]")


def _endless(path: Path) -> str:
    return f"{path}: holds the same parts again and again; save a plain dictionary of tensors"


def _too_deep(path: Path) -> str:
    return (
        f"{path}: is of dictionaries or lists inside each other, deeper than embeddings are kept; "
        "save a plain dictionary of tensors"
    )


_GLOBAL = re.compile(r"GLOBAL ([\w.]+)")


def _check_archive(path: Path) -> None:
    """Refuse what torch.save does not write today, by what it is.

    Raises:
        FormatError: it is something else.
    """
    with foreign(path, "a file of torch.save"):
        if not zipfile.is_zipfile(path):
            check_whole(path, "a file of torch.save")
            with path.open("rb") as stream:
                old = is_old_torch(stream.read(32))
            raise FormatError(
                f"{path}: is not in the zip format of torch.save (1.6 or newer); "
                + (
                    f"write it again: {from_old_torch(path)}"
                    if old
                    else f"if it is a pickle: {from_pickle(path)}"
                )
            )
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    if any(info.filename.endswith(("/constants.pkl", "/code/")) or "/code/" in info.filename
           for info in members):  # fmt: skip
        raise FormatError(
            f"{path}: is a program of TorchScript, a model and no embeddings; save what the model "
            "gives for every item"
        )
    if any(info.compress_type != zipfile.ZIP_STORED for info in members):
        raise FormatError(f"{path}: is compressed, which torch.save never does; save it again")


def load_plain(path: Path) -> Any:  # noqa: ANN401  whatever was saved
    """What torch.save wrote: tensors and plain objects, nothing that a program would have to make.

    Raises:
        FormatError: something else is in it, or it is something else.
    """
    import pickle

    import torch

    _check_archive(path)
    with foreign(path, "a file of torch.save"):
        try:
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except pickle.UnpicklingError as error:
            wanted = _GLOBAL.search(str(error))
            if wanted is None:
                raise
            raise FormatError(
                f"{path}: holds more than tensors, lists and text ({wanted[1]}); "
                f"{from_torch_objects(path)}"
            ) from error


def _collect(
    path: Path, name: str, value: object, fields: dict[str, Field], *, depth: int, left: list[int]
) -> None:
    import torch

    left[0] -= 1
    if left[0] < 0:
        raise FormatError(_endless(path))
    where = f"{path}: {named([name])}" if name else str(path)
    if isinstance(value, torch.Tensor):
        fields[name or "embeddings"] = _found_tensor(where, value, path)
    elif (ids := ids_by_row(name, value)) is not None:
        fields[name] = list_field(where, ids)
    elif isinstance(value, dict) and value and depth < _READ_DEPTH:
        for key, item in value.items():
            _collect(
                path, f"{name}/{key}" if name else str(key), item, fields, depth=depth + 1,
                left=left,
            )  # fmt: skip
    elif type(value) is int and "/" in name and not is_something_else(name):
        # It may be the number of the frames of one item.
        one = np.array([value])
        fields[name] = Field(where, (), one.dtype, lambda start, stop: iter([one[start:stop]]))
    elif isinstance(value, list) and (rows := _rows_of_tensors(value)) is not None:
        fields[name or "embeddings"] = replace(rows(where), fix=_way_of_rows(path, name, value))
    elif isinstance(value, list | tuple) and isinstance(_first(value), str | int):
        fields[name or "list"] = list_field(where, value)
    elif isinstance(value, list | tuple) and len(set(map(type, value))) > 1 and depth < _READ_DEPTH:
        for number, item in enumerate(value):
            _collect(
                path, f"{name}/{number}" if name else str(number), item, fields, depth=depth + 1,
                left=left,
            )  # fmt: skip
    elif isinstance(value, set | frozenset):
        fields[name or "list"] = Field(
            where,
            (len(value),),
            np.dtype("V1"),
            lambda start, stop: iter(()),
            odd="a set, whose order is not that of the rows",
            fix="save a list",
        )
    elif isinstance(value, list | tuple) and value:
        fields[name or "embeddings"] = Field(
            where,
            (len(value),),
            np.dtype("V1"),
            lambda start, stop: iter(()),
            odd=f"a list of {type(value[0]).__name__}",
            fix=_way_of_list(path, name, value),
        )
    elif name and (plain := _plain_word(value)):
        fields[name] = empty_field(where, plain)


_JOIN = "if they are parts of one, join them: "


def _way_of_list(path: Path, name: str, value: Sequence[Any]) -> str:
    """What to do with a list: matrices of one width may be parts of one, such as batches."""
    made, other = from_torch_lists(path), _way_of_rows(path, name, value)
    if not other:
        return f"make arrays of it: {made}"
    if any(part.dim() != 2 for part in value):
        return other
    return f"if each is the frames of one item, make arrays of it: {made}; {other}"


# So many tensors in a list may each be an array of its own.
_NAMES = ("first", "second", "third", "fourth")


def _naming(path: Path, value: Sequence[Any]) -> str:
    """What names the few tensors of a list, such as those of both sides; "" for other lists."""
    import torch

    several = [isinstance(part, torch.Tensor) and part.dim() > 1 for part in value]
    if not 2 <= sum(several) <= len(value) <= len(_NAMES):
        return ""
    one, other = [name for name, many in zip(_NAMES, several, strict=False) if many][:2]
    return (
        f"if they are arrays of their own, as of both sides, name them: "
        f"{named_torch(path, _NAMES[: len(value)])}, then --dataset videos={one} "
        f"--dataset texts={other}, or the other way round"
    )


def _way_of_rows(path: Path, name: str, value: Sequence[Any]) -> str:
    """What else a list of matrices of one width may be than the frames of items."""
    apart = "" if name else _naming(path, value)
    return "; ".join(filter(None, (apart, _joining(path, name, value))))


def _joining(path: Path, name: str, value: Sequence[Any]) -> str:
    """What joins matrices of one width; "" for what are none."""
    import torch

    matrices = all(isinstance(part, torch.Tensor) and part.dim() in (2, 3) for part in value)
    # A key may be a number.
    known = not any(key.isdigit() for key in name.split("/"))
    if not (matrices and known) or len({part.shape[1:] for part in value}) > 1:
        return ""
    return f"{_JOIN}{joined_torch(path, name)}"


def _joined_as_records(path: Path, box: str, columns: Any, item: Field) -> Field:  # noqa: ANN401
    """A column of records, which are joined whole where all they hold are lists of rows."""
    import torch

    before, join, _ = item.fix.partition(_JOIN)
    if not join:
        return item
    rows = all(
        isinstance(x, list | tuple) or (isinstance(x, torch.Tensor) and x.dim())
        for column in columns.values()
        for x in column
    )
    if not rows:
        return replace(item, fix=before.removesuffix("; "))
    return replace(item, fix=before + join + joined_records(path, box))


def _plain_word(value: object) -> str:
    """What stands in the place of a tensor, in words; "" for what is none of these."""
    if value is None or value in ([], (), {}):
        return NOTHING
    if isinstance(value, int | float):
        return _NUMBER
    return _TEXT if isinstance(value, str | bytes) else ""


def _rows_of_tensors(value: Sequence[Any]) -> Callable[[str], Field] | None:
    """A list of vectors, or of frames, of one length and type as one array; None for any other."""
    import torch

    if not value or not all(isinstance(row, torch.Tensor) for row in value):
        return None
    first = value[0]
    if any(row.layout != torch.strided or row.is_quantized or row.is_nested for row in value):
        return None
    if first.dim() not in (1, 2) or any(
        row.dim() != first.dim() or row.shape[-1] != first.shape[-1] or row.dtype != first.dtype
        for row in value
    ):
        return None
    if first.dim() == 2:
        return lambda where: _frames(where, value)
    shape = (len(value), len(first))
    rows = lambda start, stop: torch.stack([row.detach() for row in value[start:stop]])  # noqa: E731
    return lambda where: _tensor_field(where, shape, first.dtype, rows)


def _frames(where: str, value: Sequence[Any]) -> Field:
    """Frames of each item, of which there may be fewer."""
    shape = (len(value), max(map(len, value)), value[0].shape[-1])
    made = [_found_tensor(where, item, None) for item in value]
    nothing = np.empty((0, shape[2]), made[0].dtype)

    def items(start: int, stop: int) -> Iterator[np.ndarray]:
        for each in made[start:stop]:
            yield np.concatenate([nothing, *each.blocks(0, each.shape[0])])

    return made[0] if made[0].odd else padded(where, shape, made[0].dtype, items)


def _first(value: Sequence[object]) -> object:
    """The first entry that is there; a missing name is said where names are read."""
    return next((item for item in value if item is not None), None)


def _found_tensor(where: str, value: Any, path: Path | None) -> Field:  # noqa: ANN401  a torch.Tensor
    import torch

    if value.layout != torch.strided or value.is_quantized or value.is_nested:
        return Field(
            where,
            () if value.is_nested else tuple(value.shape),
            np.dtype("V1"),
            lambda start, stop: iter(()),
            odd="a sparse, nested or quantised tensor",
            fix="save a plain one, tensor.dequantize()"
            if value.is_quantized
            else "save a dictionary of the tensors of each item, by its id"
            if value.is_nested
            else "save a plain one, tensor.to_dense()",
        )
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        raise FormatError(
            f"{where}: declares {value.numel():,} numbers but stores fewer; save "
            "tensor.contiguous()"
        )
    plain = value.detach().resolve_neg()
    rows = plain if plain.shape else plain.reshape(1)
    return _tensor_field(
        where, tuple(plain.shape), plain.dtype, lambda start, stop: rows[start:stop], path
    )
