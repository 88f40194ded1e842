"""Files beside a file of frames that say which of them count: `v_mask.npy` beside `v.npy`."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np

from rerank.core.errors import FormatError, RerankError
from rerank.io.container import VECTOR_NAMES, side_in
from rerank.io.field import Field, in_memory, read_array
from rerank.io.files import named, read_json, read_text, regular_file
from rerank.io.frames.mask_shapes import fits, zeros_outside
from rerank.io.frames.masks import frames_there
from rerank.io.frames.meanings import is_file_of_frames, meaning_of
from rerank.io.lines import lines_in
from rerank.io.opening import open_container

_MARKS = ("_", ".", "-")
_ARRAYS = (".npy", ".npz", ".h5", ".hdf5", ".pt", ".pth", ".safetensors")
_LISTS = (".json", ".txt")
_OTHERS = (".csv", ".tsv", ".parquet", ".pkl", ".pickle", ".jsonl", ".mat")


def of_side_files(
    path: Path, cube: Field, beside: Mapping[str, Field], side: str
) -> dict[str, Field]:
    """Masks and lengths of a file of frames that lie in files called like it, by what they say.

    Args:
        path: the file of frames.
        cube: (n, frames, d).
        beside: what lies in the file.
        side: "texts" or "videos", "" where nothing says it.

    Raises:
        FormatError: one that is not read, or one of no name that fits these frames.
    """
    if not path.is_file():
        return {}
    found: dict[str, Field] = {}
    for file, name in called_like(path):
        if not file.is_file() or _is_of_other(name, side):
            continue
        if (item := _read(file, name)) is not None and name not in found:
            found[name] = item
    if found or any(is_file_of_frames(name) for name in beside):
        return found
    for file in sorted(each for each in path.parent.iterdir() if each != path):
        name = file.stem
        if is_file_of_frames(name) and file.suffix == ".npy" and not _is_of_other(name, side):
            _ask(path, file, name, cube)
    return {}


def called_like(path: Path) -> list[tuple[Path, str]]:
    """Files and folders that are called like a file and what says which frames count: that word."""
    others = sorted(each for each in path.parent.iterdir() if each != path)
    found = [(file, _said_of(path, file.stem)) for file in others]
    return [(file, name) for file, name in found if is_file_of_frames(name)]


def _is_of_other(name: str, side: str) -> bool:
    """Whether a name speaks of the other side."""
    return bool(side) and side_in(name) not in ("", side)


def _said_of(path: Path, name: str) -> str:
    """What a file called like another is beyond that, without the mark between; "" for no such."""
    for own in dict.fromkeys((path.name, path.stem, _without_word(path.stem))):
        for mark in _MARKS:
            if own and name.startswith(own + mark):
                return name[len(own) + 1 :]
            if own and name.endswith(mark + own):
                return name[: -len(own) - 1]
    return ""


def _without_word(stem: str) -> str:
    """`video` of `video_features`."""
    for mark in _MARKS:
        head, _, last = stem.rpartition(mark)
        if head and last.lower() in VECTOR_NAMES:
            return head
    return stem


def _read(file: Path, name: str) -> Field | None:
    """A mask or numbers of frames in a file; None where it holds something else, such as frames."""
    if file.suffix.lower() in _LISTS:
        return _listed(file)
    if file.suffix.lower() in _OTHERS:
        raise FormatError(_to_store(file))
    if file.suffix.lower() not in _ARRAYS:
        return None
    with open_container(file) as container:
        arrays = {
            key: item for key, item in container.fields.items()
            if not item.odd and item.dtype.kind in "iufb" and 0 < len(item.shape) < 5
        }  # fmt: skip
        usual = [key for key in arrays if meaning_of(key) == meaning_of(name)]
        if len(arrays) != 1 and len(usual) != 1:
            raise FormatError(
                f"{file}: may say which frames in a file beside it count, and holds "
                f"{named(sorted(container.fields))}; store one array there, or move it away"
            )
        item = arrays[usual[0] if len(usual) == 1 else next(iter(arrays))]
        if item.kind == "float" and len(item.shape) > 2 and item.shape[-1] > 1:
            return None  # frames of another split, say
        return in_memory(read_array(item, booleans=True), str(file))


def _listed(file: Path) -> Field | None:
    """Numbers in lines, or lists of them in JSON."""
    try:
        if file.suffix.lower() == ".json":
            values = read_json(file)
        else:
            lines = lines_in(read_text(regular_file(file)), file)
            values = [int(line) for line in lines if line.strip()]
        array = np.array(values)
    except (RerankError, ValueError, TypeError):
        array = np.array("")
    if array.dtype.kind not in "iufb" or not array.ndim:
        raise FormatError(_to_store(file))
    return in_memory(array, str(file))


def _to_store(file: Path) -> str:
    return (
        f"{file}: may say which frames in a file beside it count; store it as {file.stem}.npy, "
        "or move it away"
    )


def _ask(path: Path, file: Path, name: str, cube: Field) -> None:
    """Refuse a file of no frames by its name that says which of these count, and leaves some out.

    Raises:
        FormatError: it does.
    """
    there = None
    with suppress(FormatError):
        item = _read(file, name)
        if item is not None and fits(item, meaning_of(name), *cube.shape[:2]):
            there = frames_there(cube, {name: item})
    if there is not None and not zeros_outside(cube, there):
        raise FormatError(
            f"{file}: may say which of the frames in {path} count; if it does, call it "
            f"{path.stem}_{name}{file.suffix}; if it does not, move it away"
        )
