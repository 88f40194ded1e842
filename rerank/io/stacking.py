"""One row for each item, from frames or from one array per item."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from rerank.errors import FormatError
from rerank.io.checks import MAX_RATIO, Field, check_matrix, rows_per_block
from rerank.io.files import foreign, named


def pooled_offsets(frames: Field, offsets: Field, ids: tuple[str, ...]) -> Field:
    """One averaged row for each item from stacked frames and where each item starts."""
    check_matrix(frames, "frames")
    if offsets.kind != "integer" or offsets.shape != (len(ids) + 1,):
        raise FormatError(
            f"{offsets.where}: is {offsets.describe()}; expected {len(ids) + 1} integers, one "
            f"more than the {len(ids)} ids"
        )
    offsets.check()
    ends = np.concatenate([block.astype(np.int64) for block in offsets.blocks(0, len(ids) + 1)])
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

    def blocks(start: int, stop: int) -> Iterator[np.ndarray]:
        for row in range(start, stop):
            yield _mean_of(frames, int(ends[row]), int(ends[row + 1]))

    return Field(frames.where, (len(ids), frames.shape[1]), frames.dtype, blocks, frames.check)


def stacked(path: Path, by_id: Mapping[str, Field], *, frames: bool) -> Field:
    """The arrays of all ids as the rows of one matrix."""
    items = list(by_id.items())
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
    dtype = np.result_type(*{item.dtype.newbyteorder("=") for _, item in items})

    def blocks(start: int, stop: int) -> Iterator[np.ndarray]:
        for _, item in items[start:stop]:
            if frames:
                yield _mean_of(item, 0, item.shape[0])
            else:
                yield np.concatenate(list(item.blocks(0, width)))[None, :]

    def check() -> None:
        # One array under many names would otherwise grow without bound.
        with foreign(path, "a file"):
            size = path.stat().st_size
        if sum(item.nbytes for _, item in items) > MAX_RATIO * size:
            raise FormatError(f"{path}: declares more data than a file of {size:,} bytes can hold")
        for _, item in items:
            item.check()

    return Field(f"{path}", (len(items), width), dtype, blocks, check)


def _mean_of(frames: Field, start: int, stop: int) -> np.ndarray:
    """Mean of some frames as one row, summed in float64 and block by block."""
    total = np.zeros(frames.shape[1], dtype=np.float64)
    step = rows_per_block(frames.shape[1] * 8)
    for at in range(start, stop, step):
        for block in frames.blocks(at, min(stop, at + step)):
            total += block.sum(axis=0, dtype=np.float64)
    return (total / (stop - start))[None, :]
