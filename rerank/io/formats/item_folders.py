"""Folders with a file for each item, each with one vector or the frames of one item."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import numpy as np

from rerank.core.errors import FormatError
from rerank.io.container import Container, Told
from rerank.io.field import Field, afford, in_memory, no_check
from rerank.io.files import read_json, regular_file
from rerank.io.formats.registry import by_ending
from rerank.io.frames.meanings import is_file_of_frames
from rerank.io.ids import is_list

# Files of arrays, by their kinds; those of JSON may be anything, and count where they are alone.
_KINDS = ((".pt", ".pth"), (".h5", ".hdf5"), (".npz",), (".safetensors",))
_ENDINGS = tuple(ending for kind in _KINDS for ending in kind) + (".json",)


def items_of_folder(path: Path) -> Container | None:
    """The arrays of a folder of `<id>.pt`, `<id>.h5`, `<id>.npz`, `<id>.safetensors`, `<id>.json`.

    A file of one array is called by its name, `v0`; arrays of files that hold more are called as in
    groups, `v0/features`. None where the files are something else, such as matrices with ids.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp())
    >>> for name in ("b", "a"):
    ...     np.savez(path / f"{name}.npz", clip=np.ones((5, 2), "f4"))
    >>> {name: item.shape for name, item in items_of_folder(path).fields.items()}
    {'a': (5, 2), 'b': (5, 2)}

    Raises:
        FormatError: a file that is not read, two files of one item.
    """
    files = _files_of_items(path)
    if len(files) < 2 or not _begins_with_item(files[0]):
        return None
    stems = [file.stem for file in files]
    if len(set(stems)) < len(files):
        twice = next(file for at, file in enumerate(files) if file.stem in stems[:at])
        raise FormatError(f"{twice}: has the name of another file of an item; keep one of them")
    told: dict[str, Told] = {}
    held: dict[str, dict[str, Field]] = {}
    faults: list[FormatError] = []
    for file in files:
        try:
            held[file.stem] = _arrays(file, told)
        except FormatError as fault:
            faults.append(fault)
            continue
        if _has_ids(held[file.stem]):
            return None
    if faults:
        raise faults[0]
    _refuse_without_vector(held, files)
    if all(len(arrays) == 1 for arrays in held.values()):
        fields = {stem: next(iter(arrays.values())) for stem, arrays in held.items()}
    else:
        fields = {f"{stem}/{name}": x for stem, each in held.items() for name, x in each.items()}
    kept = sum(item.nbytes for item in fields.values() if len(item.shape) == 1)
    afford(kept, str(path), what="the vectors of the files")
    return Container(path, fields, told=lambda item: told.get(item.where, {}))


def _files_of_items(path: Path) -> list[Path]:
    """The files of a folder that are all of one kind, in the order of their names."""
    files = sorted(
        each for each in path.iterdir()
        if each.suffix.lower() in _ENDINGS and not each.name.startswith(".")
        and not is_file_of_frames(each.stem)
    )  # fmt: skip
    present = [kind for kind in _KINDS if any(each.suffix.lower() in kind for each in files)]
    if len(present) > 1:
        return []
    kind = present[0] if present else (".json",)
    return [each for each in files if each.suffix.lower() in kind]


def _begins_with_item(file: Path) -> bool:
    """Whether a file may be one item; JSON with anything else is no reason to complain."""
    if file.suffix.lower() != ".json":
        return True
    try:
        return _has_vector(_arrays(file, {}))
    except FormatError:
        return False


def _has_vector(arrays: Mapping[str, Field]) -> bool:
    return any(item.kind in ("float", "integer") and item.shape for item in arrays.values())


def _refuse_without_vector(held: Mapping[str, Mapping[str, Field]], files: Sequence[Path]) -> None:
    """Refuse files that hold no numbers, where others hold vectors: their items would be lost."""
    lacking = [file for file in files if not _has_vector(held[file.stem])]
    if lacking:
        raise FormatError(
            f"{lacking[0]}: holds no vector, and {len(files) - len(lacking)} files beside it do; "
            "write it again, or move it to another folder"
        )


def _has_ids(arrays: Mapping[str, Field]) -> bool:
    """Whether arrays are a matrix with a name for each row, so that the file is no single item."""
    counts = {x.shape[0] for x in arrays.values() if x.kind == "float" and len(x.shape) > 1}
    names = {max(x.shape) for x in arrays.values() if x.kind == "text" and is_list(x)}
    return bool((counts & names) - {1})


def _arrays(file: Path, told: dict[str, Told]) -> dict[str, Field]:
    """What a file holds, without single values beside it; what is told with it goes to `told`."""
    if file.suffix.lower() == ".json" and (alone := _numbers(file)) is not None:
        return {"values": alone}
    with _opened(file) as container:
        found: dict[str, Field] = {}
        for name, item in container.fields.items():
            if not _says_something(item):
                continue
            item.check()
            found[name] = _kept(item) if len(item.shape) == 1 else _reopened(file, name, item)
            said = container.told(item)
            told[item.where] = {f"{file}: {place}": values for place, values in said.items()}
    return found


def _says_something(item: Field) -> bool:
    """Whether a value may be a vector, or say of frames; not a rate, or a text about an item."""
    of_one = item.kind == "text" and item.shape == (1,)
    return (bool(item.shape) and not of_one) or item.kind == "integer" or item.dtype.kind == "b"


def _opened(file: Path) -> AbstractContextManager[Container]:
    card = by_ending(file.name)
    if card is None:
        raise FormatError(f"{file}: the ending {file.suffix!r} is not known")
    return card.load()(regular_file(file))


def _kept(item: Field) -> Field:
    """A short array, held in memory: opening a file again takes longer than what it holds."""
    if item.odd:
        return item
    afford(item.nbytes, item.where, what="a vector")
    held = np.concatenate([np.empty(0, item.dtype), *item.blocks(0, item.shape[0])])
    return replace(in_memory(held, item.where), fix=item.fix)


def _reopened(file: Path, name: str, item: Field) -> Field:
    """An array of a file that is open only while it is read; thousands would be too many."""

    def blocks(start: int, stop: int) -> Iterator[np.ndarray]:
        with _opened(file) as container:
            yield from container.fields[name].blocks(start, stop)

    return replace(item, blocks=blocks, check=no_check, mapped=None)


def _numbers(file: Path) -> Field | None:
    """A file of JSON that is one list of numbers; None of any other."""
    afford(8 * regular_file(file).stat().st_size, str(file), what="JSON")
    content = read_json(file)
    if not isinstance(content, list) or not content or not all(map(_is_number, content)):
        return None
    return in_memory(np.array(content, dtype=np.float64), str(file))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
