"""Arrays of one file that are called by numbers: they may be parts of one, such as batches."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rerank.core.errors import FormatError
from rerank.io.container import VECTOR_NAMES, Container
from rerank.io.field import Field
from rerank.io.files import named
from rerank.io.ids import is_list, read_ids
from rerank.io.recipes import joined_parts

# What arrays are called by the numbers of their rows; numpy says arr_0.
NUMBER = re.compile(r"(?:arr_)?(0|[1-9][0-9]{0,9})")

_COUNTED = re.compile(r"(.*?)[ _.-]*([0-9]{1,10})")
# What stands before the numbers of parts; items of their own are called otherwise.
_WORDS = {
    "arr", "array", "batch", "block", "chunk", "iter", "part", "piece", "rank", "shard", "slice",
    "step", "subset",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Parts:
    """One array in parts: the matrices in order, and the lists of all rows by their names."""

    matrices: tuple[Field, ...]
    lists: Mapping[str, tuple[Field, ...]]


def parts_in(fields: Mapping[str, Field]) -> Parts | None:
    """The parts that all arrays of a file make one of: matrices of one width, counted without gaps.

    Lists may lie beside each part, or be one of all rows. None for arrays that are no parts.

    >>> none = lambda start, stop: iter(())
    >>> one, two = (Field("", (n, 4), np.dtype("f4"), none) for n in (3, 2))
    >>> ids = Field("", (5,), np.dtype(object), none)
    >>> found = parts_in({"batch_0": one, "batch_1": two, "ids": ids})
    >>> None if found is None else list(found.lists)
    ['ids']
    >>> parts_in({"video_0": one, "video_1": two}) is None
    True
    """
    columns: dict[str, dict[int, Field]] = {}
    whole: dict[str, Field] = {}
    for name, item in fields.items():
        counted = _counted(name)
        if counted is None:
            whole[name] = item
        else:
            columns.setdefault(counted[0], {})[counted[1]] = item
    matrices = [name for name, found in columns.items() if _are_matrices(found)]
    if len(matrices) != 1:
        return None
    main = columns.pop(matrices[0])
    order = sorted(main)
    if len(order) < 2 or order != list(range(order[0], order[0] + len(order))) or order[0] > 1:
        return None
    lists = {name: tuple(found[i] for i in order if i in found) for name, found in columns.items()}
    total = sum(item.shape[0] for item in main.values())
    lists |= {name: (item,) for name, item in whole.items()}
    for found in lists.values():
        rows = [main[i].shape[0] for i in order] if len(found) > 1 else [total]
        if [max(item.shape) if _is_names(item) else -1 for item in found] != rows:
            return None
    return Parts(tuple(main[i] for i in order), {_own_name(x, lists): f for x, f in lists.items()})


class SeemsParts(FormatError):
    """Frames of items that are called as parts of one array are.

    Attributes:
        names: what they are called.
    """

    def __init__(self, message: str, names: tuple[str, ...]) -> None:
        super().__init__(message)
        self.names = names


def refuse_pooled_parts(container: Container, names: tuple[str, ...], way: str) -> None:
    """Refuse to pool arrays that are called as parts of one; those of plain numbers name items.

    Args:
        container: the file.
        names: of the arrays that would be pooled.
        way: what says that each is the frames of one item.

    Raises:
        SeemsParts: they are.
    """
    joined = or_joined(container)
    if joined and not all(NUMBER.fullmatch(name) for name in names):
        raise SeemsParts(
            f"{container.path}: {named(names)} are called as parts of one array are, and each "
            f"would become one vector; if each is the frames of one item, say so: {way}{joined}",
            names,
        )


def or_joined(container: Container) -> str:
    """The end of a message: how to join arrays that may be parts of one; "" for others."""
    if container.columns or container.path.is_dir() or parts_in(container.fields) is None:
        return ""
    return f"; if they are parts of one, join them: {joined_parts(container.path)}"


def join_parts(source: str | Path, target: str | Path) -> None:
    """Write the parts in a file as one array, with the lists of its rows; messages print this.

    >>> import h5py, tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> np.savez(folder / "v.npz", batch_0=np.zeros((2, 3)), batch_1=np.ones((1, 3)))
    >>> join_parts(folder / "v.npz", folder / "v.joined.h5")
    >>> with h5py.File(folder / "v.joined.h5") as file:
    ...     file["embeddings"][:, 0].tolist()
    [0.0, 0.0, 1.0]

    Args:
        source: a file with arrays such as `batch_0`, `batch_1`, ...
        target: an HDF5 file, which is written anew.

    Raises:
        FormatError: the file holds no such parts.
    """
    from rerank.io.formats.hdf5 import create_hdf5
    from rerank.io.opening import open_container

    with open_container(Path(source)) as container:
        found = parts_in(container.fields)
        if found is None:
            raise FormatError(f"{source}: holds no parts of one array, counted without a gap")
        count = sum(item.shape[0] for item in found.matrices)
        dtype = np.result_type(*(item.dtype for item in found.matrices))
        with create_hdf5(target) as out:
            made = out.dataset("embeddings", (count, found.matrices[0].shape[1]), dtype)
            at = 0
            for block in _blocks(found.matrices):
                made[at : at + len(block)] = block
                at += len(block)
                out.check()
            for name, lists in found.lists.items():
                out.ids(name, [each for item in lists for each in read_ids(item)])


def _blocks(fields: tuple[Field, ...]) -> Iterator[np.ndarray]:
    for item in fields:
        item.check()
        yield from item.blocks(0, item.shape[0])


def _counted(name: str) -> tuple[str, int] | None:
    """The name without its number, and the number; None where none counts parts.

    `batch_0/ids`, `ids_0` and `ids/batch_0` are parts of `ids`.
    """
    segments = name.split("/")
    for at in reversed(range(len(segments))):
        match = _COUNTED.fullmatch(segments[at])
        if match is None:
            continue
        words = re.split(r"[^a-z]+", match[1].lower())
        counts = words[-1] in _WORDS or words[-1].removesuffix("s") in _WORDS
        if not match[1] or counts:
            rest = "/".join(segments[:at] + segments[at + 1 :])
            return rest or match[1], int(match[2])
        if match[1] in (*VECTOR_NAMES, *_LISTS):
            return "/".join([*segments[:at], match[1], *segments[at + 1 :]]), int(match[2])
    return None


_LISTS = ("ids", "id", "keys", "key", "names", "name")


def _are_matrices(found: Mapping[int, Field]) -> bool:
    """Whether these are matrices of decimals, of one width."""
    alike = all(item.kind == "float" and len(item.shape) == 2 for item in found.values())
    return alike and len({item.shape[1] for item in found.values()}) == 1


def _is_names(item: Field) -> bool:
    return not item.odd and item.kind in ("text", "integer") and is_list(item)


def _own_name(name: str, lists: Mapping[str, object]) -> str:
    """What a list is called in the joined file: without its group, where that is no other's."""
    leaf = name.rpartition("/")[2]
    return leaf if sum(x.rpartition("/")[2] == leaf for x in lists) == 1 else name.replace("/", "_")
