"""Folders: clip-retrieval, parts of one parquet table, one array of numpy for each id."""

import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from rerank.core.errors import FormatError
from rerank.core.shell import word
from rerank.io.container import ID_NAMES, MORE_ID_NAMES, Container
from rerank.io.field import Field
from rerank.io.files import named, regular_file
from rerank.io.formats.item_folders import items_of_folder
from rerank.io.formats.npy import npy_field
from rerank.io.formats.registry import file_format
from rerank.io.frames.meanings import is_file_of_frames
from rerank.io.ids import find_sidecar
from rerank.io.recipes import from_arrow_folder
from rerank.io.splits import OF_FILES, split_of_file

_TIERS = (ID_NAMES, *MORE_ID_NAMES)
# So many paths are named in an error.
_SHOWN = 5
_PART = re.compile(r"(?P<kind>.+)_emb_(?P<number>\d+)\.npy")


@file_format(
    "folder",
    help="clip-retrieval, parts of a parquet table, or a file of one array for each item",
    folder=True,
    order=8,
)
@contextlib.contextmanager
def open_folder(path: Path) -> Iterator[Container]:
    """A folder of clip-retrieval, of parts of a table, or of one array for each id.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp())
    >>> for name in ("b", "a"):
    ...     np.save(path / f"{name}.npy", np.ones((5, 2), "f4"))
    >>> with open_folder(path) as found:
    ...     list(found.fields)
    ['a', 'b']

    Parts of one table, as Spark writes them:

    >>> import pandas as pd
    >>> path = Path(tempfile.mkdtemp())
    >>> for part in ("part-0", "part-1"):
    ...     pd.DataFrame({"id": [part], "clip": [[1.0, 2.0]]}).to_parquet(path / f"{part}.parquet")
    >>> with open_folder(path) as found:
    ...     found.fields["clip"].shape
    (2, 2)

    Raises:
        FormatError: any other folder, and one with several kinds of embeddings.
    """
    kinds = {match["kind"] for part in path.glob("*.npy") if (match := _PART.fullmatch(part.name))}
    inner = sorted(str(folder) for folder in path.glob("*_emb") if folder.is_dir())
    arrays = sorted(part for part in path.glob("*.npy"))
    tables = [part for part in path.glob("*.parquet") if not part.name.startswith(("_", "."))]
    tables.sort(key=lambda part: _counting(part.name))
    below = sorted(
        str(each) for each in path.iterdir()
        if each.is_dir() and _has_arrays(each) and not (arrays and is_file_of_frames(each.name))
    )  # fmt: skip
    with contextlib.ExitStack() as stack:
        if len(kinds) == 1:
            yield stack.enter_context(open_clip_retrieval(path))
        elif len(inner) == 1 and not (arrays or tables) and set(below) <= set(inner):
            yield stack.enter_context(open_folder(Path(inner[0])))
        elif kinds:
            found = sorted(f"{kind}_emb_*.npy" for kind in kinds)
            raise FormatError(
                f"{path}: has several kinds of embeddings, {named(found)}; move each to a folder "
                "of its own"
            )
        elif inner and not arrays:
            what = "several kinds of embeddings"
            if len(inner) == 1:
                what = "others beside a folder of embeddings"
            found = sorted({*inner, *below})
            raise FormatError(f"{path}: has {what}; give one of {_ways(found)}")
        elif arrays:
            fields = {part.stem: npy_field(regular_file(part)) for part in arrays}
            if below:
                raise FormatError(
                    f"{path}: has arrays and folders of arrays side by side; name one of "
                    f"{_ways(below)}, or move them away"
                )
            yield Container(path, fields)
        elif tables:
            yield _parts(path, [_table(stack, part) for part in tables])
        elif any(path.glob("*.arrow")):
            raise FormatError(
                f"{path}: is a dataset that the library datasets saved; make it a table of "
                f"parquet: {from_arrow_folder(path)}"
            )
        elif datasets := sorted(str(part.parent) for part in path.glob("*/state.json")):
            raise FormatError(f"{path}: holds folders of datasets; name one of {_ways(datasets)}")
        elif (items := items_of_folder(path)) is not None:
            yield items
        elif below:
            raise FormatError(f"{path}: holds folders of arrays; name one of {named(below)}")
        else:
            raise FormatError(
                f"{path}: is a directory; name the file inside it, or a folder of "
                "<id>.npy, .npz, .pt, .h5, .safetensors or .json"
            )


def _counting(name: str) -> tuple[list[str | int], str]:
    """Sorts part-10 after part-2."""
    pieces = enumerate(re.split(r"([0-9]{1,18})", name))
    return [int(piece) if at % 2 else piece for at, piece in pieces], name


def _ways(paths: Sequence[str]) -> str:
    """Some paths, whole, as they are typed in a shell."""
    shown = ", ".join(word(path) for path in paths[:_SHOWN])
    return shown if len(paths) <= _SHOWN else f"{shown} and {len(paths) - _SHOWN} more"


def _has_arrays(folder: Path) -> bool:
    return next(folder.glob("*.npy"), None) is not None


def _table(stack: contextlib.ExitStack, path: Path) -> Container:
    from rerank.io.formats.parquet import open_parquet  # an extra

    return stack.enter_context(open_parquet(regular_file(path)))


def _parts(path: Path, tables: Sequence[Container]) -> Container:
    """Parts of one table, one after the other in the order of their names and numbers."""
    names = list(tables[0].fields)
    odd = next((table for table in tables if list(table.fields) != names), None)
    if odd is not None:
        raise FormatError(f"{odd.path}: has other columns than {tables[0].path}; name one of them")
    fields = {
        name: _joined(f"{path}: column {named([name])}", [table.fields[name] for table in tables])
        for name in names
    }
    if (splits := _splits_of(path, tables)) is not None:
        fields.setdefault(OF_FILES, splits)
    vectors = None
    if tables[0].vectors is not None:
        # Other numbers stand beside those of a vector.
        first, parts = tables[0], [table.vectors or {} for table in tables]
        gathered = [name for name, item in parts[0].items() if first.fields.get(name) is not item]
        vectors = fields | {
            name: _joined(f"{path}: its columns of numbers", [part[name] for part in parts])
            for name in gathered
        }
    return Container(path, fields, per_item=False, columns=tables[0].columns, vectors=vectors)


def _splits_of(path: Path, tables: Sequence[Container]) -> Field | None:
    """The split of each row by the names of the files; None where these say no two."""
    words = [split_of_file(table.path.stem) or "none" for table in tables]
    if len(set(words)) < 2:
        return None
    counts = [max((x.shape[0] for x in t.fields.values() if x.shape), default=0) for t in tables]
    of_rows = np.repeat(np.array(words, dtype=object), counts)

    def blocks(start: int, stop: int) -> Iterator[np.ndarray]:
        yield of_rows[start:stop]

    return Field(f"{path}: the names of its files", of_rows.shape, of_rows.dtype, blocks)


@contextlib.contextmanager
def open_clip_retrieval(path: Path) -> Iterator[Container]:
    """The arrays of clip-retrieval with the ids from its parquet tables.

    Args:
        path: one part, `img_emb_0.npy`, or the folder with all parts, which are put together in
            the order of their numbers.
    """
    parts = [path] if path.is_file() else list(path.glob("*_emb_*.npy"))
    numbered = sorted(
        (int(match["number"]), part)
        for part in parts
        if (match := _PART.fullmatch(part.name)) is not None
    )
    with contextlib.ExitStack() as stack:
        arrays, tables = [], []
        for number, part in numbered:
            arrays.append(npy_field(regular_file(part)))
            table = _table_of(part, number)
            if table is not None:
                tables.append(_table(stack, table))
        if not tables:
            # Only called like clip-retrieval: an array with a side-car, or with ids that are given.
            where = numbered[0][1] if len(arrays) == 1 and find_sidecar(numbered[0][1]) else path
            yield Container(where, {"embeddings": _joined(str(path), arrays)}, per_item=False)
            return
        if len(tables) != len(arrays):
            raise FormatError(
                f"{path}: {len(arrays)} parts of embeddings but {len(tables)} tables "
                "metadata_<number>.parquet; every part needs the table of its number"
            )
        fields = {"embeddings": _joined(str(path), arrays)}
        for tier in _TIERS:
            present = [name for name in tier if all(name in table.fields for table in tables)]
            if present:
                for name in present:
                    fields[name] = _joined(
                        f"{path}: column {named([name])}", [t.fields[name] for t in tables]
                    )
        yield Container(path, fields, per_item=False)


def _table_of(part: Path, number: int) -> Path | None:
    """The parquet table of a part, in `metadata/` beside its folder or next to it."""
    digits = part.stem.rpartition("_")[2]
    for name in dict.fromkeys((f"metadata_{digits}.parquet", f"metadata_{number}.parquet")):
        for folder in (part.parent.parent / "metadata", part.parent / "metadata", part.parent):
            if (folder / name).is_file():
                return folder / name
    return None


def _joined(where: str, fields: Sequence[Field]) -> Field:
    """Several arrays one after the other."""
    shapes = {item.shape[1:] for item in fields}
    dtypes = {item.dtype for item in fields}
    if len(shapes) > 1:
        odd = next(item for item in fields if item.shape[1:] != fields[0].shape[1:])
        raise FormatError(
            f"{odd.where}: is {odd.shape}, but {fields[0].where} is {fields[0].shape}; parts "
            "must have the same width"
        )
    if not fields[0].shape:
        return fields[0]
    ends = np.cumsum([item.shape[0] for item in fields]).tolist()

    def blocks(start: int, stop: int) -> Iterator[np.ndarray]:
        for item, end in zip(fields, ends, strict=True):
            begin = end - item.shape[0]
            low, high = max(start, begin), min(stop, end)
            if low < high:
                yield from item.blocks(low - begin, high - begin)

    dtype = dtypes.pop() if len(dtypes) == 1 else np.result_type(*dtypes)
    return Field(
        fields[0].where if len(fields) == 1 else where,
        (ends[-1], *fields[0].shape[1:]),
        dtype,
        blocks,
        fields[0].check if len(fields) == 1 else _all_checks(fields),
        odd=fields[0].odd,
        fix=fields[0].fix,
        columns=fields[0].columns,
    )


def _all_checks(fields: Sequence[Field]) -> Callable[[], None]:
    def check() -> None:
        for item in fields:
            item.check()

    return check
