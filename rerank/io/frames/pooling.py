"""Frames of an item made one vector: the mean or the maximum over those that are there.

Frames are normalised first, as CLIP4Clip does (Luo et al., 2021, `_mean_pooling_for_similarity`),
unless they are to be pooled as stored. Padded frames take no part: those that a mask or a length
leaves out, those of zeros, and those of one other number throughout.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rerank.core.errors import FormatError
from rerank.core.wording import option
from rerank.io.field import MAX_RATIO, Field, afford, check_matrix, read_array, rows_per_block
from rerank.io.files import foreign, named
from rerank.io.frames.contradictions import refuse_swapped
from rerank.io.frames.mask_shapes import as_cube
from rerank.io.frames.masks import frames_there, named_sure, says_something
from rerank.io.frames.one_number import Padding, of_one_number


def how_to_pool() -> str:
    """The way out where frames are not combined.

    >>> how_to_pool()
    'say how to combine them: pool="mean", or pool="max"'
    """
    return f"say how to combine them: {option('pool', 'mean')}, or {option('pool', 'max')}"


@dataclass(frozen=True)
class Pooling:
    """How frames become one vector.

    Attributes:
        how: "mean" or "max".
        raw: take frames as they are stored; otherwise each is divided by its norm first.
    """

    how: str = "mean"
    raw: bool = False

    def of(
        self,
        parts: Iterator[np.ndarray],
        width: int,
        where: str,
        padding: Padding | None = None,
    ) -> np.ndarray:
        """One row (1, d) of frames that come in blocks (f, d); frames of zeros are padding.

        >>> x = np.array([[3.0, 0], [0, 4], [0, 0]])
        >>> Pooling("mean").of(iter([x]), 2, "x"), Pooling("max", raw=True).of(iter([x]), 2, "x")
        (array([[0.5, 0.5]]), array([[3., 4.]]))

        Args:
            parts: blocks of the frames of one item.
            width: d.
            where: the file and the item, for messages.
            padding: what other items of the array showed.

        Raises:
            FormatError: no frame is there.
        """
        usual, alike = _Pooled(self.how, width), _Pooled(self.how, width)
        numbers: set[float] = set()
        for part in parts:
            block = part.astype(np.float64)
            norms = np.linalg.norm(block, axis=1, keepdims=True)
            there = norms[:, 0] != 0
            block = block[there]
            one = of_one_number(block)
            numbers |= set(block[one, 0].tolist())
            if not self.raw:
                with np.errstate(invalid="ignore"):
                    block /= norms[there]
            alike.add(block[one])
            usual.add(block[~one])
        padding = Padding() if padding is None else padding
        if alike.count and not padding.is_left_out(numbers, others=usual.count, where=where):
            usual.join(alike)
        elif usual.count:
            padding.saw_frames()
        if not usual.count:
            raise FormatError(f"{where}: has no frames, or only padding; leave the item out")
        return usual.row()


class _Pooled:
    """Frames on their way to one vector."""

    def __init__(self, how: str, width: int) -> None:
        self.how = how
        self.count = 0
        self.total = np.full(width, -np.inf if how == "max" else 0.0)

    def add(self, block: np.ndarray) -> None:
        """Frames (f, d)."""
        self.count += len(block)
        if self.how == "max":
            self.total = np.maximum(self.total, block.max(axis=0, initial=-np.inf))
        else:
            self.total += block.sum(axis=0)

    def join(self, other: "_Pooled") -> None:
        """The frames of another as well."""
        self.add(other.total[None, :])
        self.count += other.count - 1

    def row(self) -> np.ndarray:
        """(1, d)."""
        return (self.total if self.how == "max" else self.total / self.count)[None, :]


def pooling(pool: str | None, *, raw: bool, where: str) -> Pooling | None:
    """The pooling that was asked for; None where frames are not to be pooled.

    Raises:
        FormatError: a word that is not known.
    """
    if pool in (None, "none"):
        return None
    if pool not in ("mean", "max"):
        raise FormatError(
            f"{where}: pooling {pool!r} is not known; expected 'mean', 'max' or 'none'"
        )
    return Pooling(pool, raw)


def pooled_offsets(frames: Field, offsets: Field, ids: tuple[str, ...], pooling: Pooling) -> Field:
    """One row for each item from stacked frames and where each item starts."""
    check_matrix(frames, "frames")
    if offsets.kind != "integer" or offsets.shape != (len(ids) + 1,):
        raise FormatError(
            f"{offsets.where}: is {offsets.describe()}; expected {len(ids) + 1} integers, one "
            f"more than the {len(ids)} ids"
        )
    ends = read_array(offsets).astype(np.int64)
    if ends[0] != 0 or ends[-1] != frames.shape[0]:
        raise FormatError(
            f"{offsets.where}: runs from {ends[0]} to {ends[-1]}, expected 0 to the number of "
            f"frames, {frames.shape[0]}"
        )
    empty = np.flatnonzero(np.diff(ends) <= 0)
    if empty.size:
        raise FormatError(
            f"{offsets.where}: row {empty[0]} (id {named([ids[empty[0]]])}) has no frames; leave "
            "the item out"
        )

    padding = Padding()

    def blocks(start: int, stop: int) -> Iterator[np.ndarray]:
        for row in range(start, stop):
            parts = _frames_between(frames, int(ends[row]), int(ends[row + 1]))
            where = f"{frames.where}: item {named([ids[row]])}"
            yield pooling.of(parts, frames.shape[1], where, padding)

    return Field(frames.where, (len(ids), frames.shape[1]), frames.dtype, blocks, frames.check)


def pooled_cube(cube: Field, beside: Mapping[str, Field], pooling: Pooling | None) -> Field:
    """One row for each item of (n, frames, d), with the mask or the lengths that stand beside it.

    A single frame needs no pooling.

    Raises:
        FormatError: several frames and no word on how to combine them; a mask that does not fit.
    """
    n, frames, width = cube.shape
    if 0 in cube.shape:
        raise FormatError(f"{cube.where}: is empty {cube.shape}; write it again")
    if cube.kind != "float":
        raise FormatError(f"{cube.where}: is {cube.describe()}, but frames are float numbers")
    if pooling is None and frames > 1:
        raise FormatError(
            f"{cube.where}: every item has up to {frames} rows (frames); {how_to_pool()}"
            + (f"; {cube.fix}" if cube.fix else "")
        )
    afford(8 * frames * width, cube.where, what="a single item")
    mask = None if pooling is None else frames_there(cube, beside)
    padding = Padding()

    def blocks(start: int, stop: int) -> Iterator[np.ndarray]:
        row = start
        for block in cube.blocks(start, stop):
            if pooling is None:
                yield block[:, 0]
                row += len(block)
                continue
            for item in block:
                where, there = f"{cube.where}: row {row}", item
                if mask is not None:
                    refuse_swapped(item, mask[row], where, named_sure(beside, n, frames))
                    there = item[mask[row]]
                yield pooling.of(iter([there]), width, where, padding)
                row += 1

    return Field(cube.where, (n, width), cube.dtype, blocks, cube.check)


def one_matrix(cube: Field, beside: Mapping[str, Field]) -> Field | None:
    """The rows of (1, n, d), which stand for themselves where nothing says that they are frames.

    None where there are more matrices, or a mask or lengths beside it. Held once it is read.
    """
    if cube.shape[0] != 1 or cube.shape[1] < 2 or cube.kind != "float":
        return None
    rows, width = cube.shape[1:]
    if any(says_something(name, item, 1, rows) for name, item in beside.items()):
        return None
    held: list[np.ndarray] = []

    def blocks(start: int, stop: int) -> Iterator[np.ndarray]:
        if not held:
            afford(cube.nbytes, cube.where, what="a matrix with an axis of one before it")
            held.append(np.concatenate(list(cube.blocks(0, 1)))[0])
        yield held[0][start:stop]

    return Field(cube.where, (rows, width), cube.dtype, blocks, cube.check, odd=cube.odd)


def stacked(
    path: Path,
    by_id: Mapping[str, Field],
    pooling: Pooling | None,
    beside: Mapping[str, Mapping[str, Field]] | None = None,
) -> Field:
    """The arrays of all ids as the rows of one matrix; frames are pooled, single ones are rows.

    Args:
        path: the file.
        by_id: the array of each id.
        pooling: how frames become one vector.
        beside: what lies beside the array of an id and says which of its frames are there.
    """
    items = [(item_id, _flat(item)) for item_id, item in by_id.items()]
    first_id, first = items[0]
    width = first.shape[-1]
    for item_id, item in items:
        if item.shape[-1] != width:
            raise FormatError(
                f"{item.where}: the embedding of {named([item_id])} has {item.shape[-1]} "
                f"dimensions, that of {named([first_id])} has {width}; all items need the same "
                "model"
            )
        if 0 in item.shape:
            raise FormatError(f"{item.where}: is empty {item.shape}; leave the item out")
    afford(16 * width, first.where, what="a single row")
    dtype = np.result_type(*{item.dtype.newbyteorder("=") for _, item in items})
    # Where some have several frames, a single one is a frame as well.
    framed = pooling is not None and has_frames([item.shape for _, item in items])

    padding = Padding()

    def row(item_id: str, item: Field) -> np.ndarray:
        if framed and pooling is not None:
            parts = _frames_between(item, 0, item.shape[0])
            if said := (beside or {}).get(item_id):
                there = frames_there(as_cube(item), said)
                parts = _kept(parts, there, item.where, named_sure(said, 1, item.shape[0]))
            return pooling.of(parts, width, item.where, padding)
        return np.concatenate(list(item.blocks(0, item.shape[0]))).reshape(1, width)

    def blocks(start: int, stop: int) -> Iterator[np.ndarray]:
        # Together: a row alone costs its readers more time than its numbers do.
        step = rows_per_block(8 * width)
        for at in range(start, stop, step):
            yield np.concatenate([row(*item) for item in items[at : min(stop, at + step)]])

    def check() -> None:
        # One array under many names would otherwise grow without bound.
        size = size_of(path)
        if sum(item.nbytes for _, item in items) > MAX_RATIO * size:
            raise FormatError(f"{path}: declares more data than a file of {size:,} bytes can hold")
        for _, item in items:
            item.check()

    return Field(f"{path}", (len(items), width), dtype, blocks, check)


def size_of(path: Path) -> int:
    """Bytes of a file, or of the files of a folder."""
    with foreign(path, "a file"):
        if path.is_dir():
            return sum(each.stat().st_size for each in path.rglob("*") if each.is_file())
        return path.stat().st_size


def _flat(item: Field) -> Field:
    """(1, f, d) as (f, d): a batch of one."""
    if len(item.shape) != 3 or item.shape[0] != 1:
        return item
    rows, width = item.shape[1:]

    def blocks(start: int, stop: int) -> Iterator[np.ndarray]:
        for block in item.blocks(0, 1):
            yield block[0, start:stop]

    return Field(item.where, (rows, width), item.dtype, blocks, item.check, odd=item.odd)


def _kept(
    parts: Iterator[np.ndarray], there: np.ndarray | None, where: str, said: Sequence[str]
) -> Iterator[np.ndarray]:
    """Frames of one item that are there."""
    if there is None:
        yield from parts
        return
    frames = np.concatenate(list(parts))
    refuse_swapped(frames, there[0], where, said)
    yield frames[there[0]]


def _frames_between(frames: Field, start: int, stop: int) -> Iterator[np.ndarray]:
    step = rows_per_block(frames.shape[1] * 8)
    for at in range(start, stop, step):
        yield from frames.blocks(at, min(stop, at + step))


def has_frames(shapes: Sequence[tuple[int, ...]]) -> bool:
    """Whether any of some items has several rows."""
    return any(_rows(shape) > 1 for shape in shapes)


def _rows(shape: tuple[int, ...]) -> int:
    return 1 if len(shape) == 1 else shape[-2]
