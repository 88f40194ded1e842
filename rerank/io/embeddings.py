"""Embeddings with their ids: read from any file people have, written as the canonical one."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rerank.core.errors import FormatError, RerankError
from rerank.io.container import SCHEMA
from rerank.io.field import Field, bounds, hash_matrix, read_matrix
from rerank.io.files import BLOCK_BYTES, PathLike, named, sha256_of
from rerank.io.formats import open_container
from rerank.io.formats.hdf5 import create_hdf5
from rerank.io.ids import check_count, check_ids, check_unique
from rerank.io.layouts import locate


class Norms(NamedTuple):
    """Euclidean norms of the rows; 0 when there are no rows."""

    min: float
    mean: float
    max: float


@dataclass(frozen=True, eq=False)
class Embeddings:
    """One vector for each id. Everything was checked when it was read; see `read_embeddings`.

    Attributes:
        ids: (N,) unique names.
        vectors: (N, D) float16, float32 or float64, finite; large ones a map of a file.
        source: the file it came from.
        group_ids: (N,) what each row belongs to (the video of a caption), where the file says so.
        total_rows: rows in the file; more than N when a slice was read.
    """

    ids: tuple[str, ...]
    vectors: np.ndarray
    source: str
    group_ids: tuple[str, ...] | None = None
    total_rows: int = 0

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def dim(self) -> int:
        """Dimension D of the vectors."""
        return self.vectors.shape[1]

    @cached_property
    def content_sha256(self) -> str:
        """Hash of ids, vectors and groups, the same for the same content in any kind of file."""
        return _content_hash(self.ids, sha256_of(self.vectors), self.group_ids)

    @cached_property
    def norms(self) -> Norms:
        """Smallest, mean and largest Euclidean norm of the rows."""
        if not len(self.vectors):
            return Norms(0.0, 0.0, 0.0)
        step = max(1, BLOCK_BYTES // (8 * max(1, self.dim)))
        parts = []
        for start in range(0, len(self.vectors), step):
            block = self.vectors[start : start + step].astype(np.float64)
            parts.append(np.linalg.norm(block, axis=1))
        norms = np.concatenate(parts)
        return Norms(float(norms.min()), float(norms.mean()), float(norms.max()))


def _content_hash(ids: Sequence[str], vectors: str, group_ids: Sequence[str] | None) -> str:
    """Of ids, the hash of the vectors, and groups."""
    parts = [sha256_of(ids), vectors]
    if group_ids is not None:
        parts.append(sha256_of(group_ids))
    return sha256_of(parts)


def read_embeddings(
    path: PathLike,
    *,
    rows: slice | None = None,
    dataset: str | None = None,
    pool: str | None = None,
    metric: str = "cosine",
    keep_half: bool = False,
) -> Embeddings:
    """Read embeddings from HDF5, npy, npz, safetensors, torch, parquet or clip-retrieval files.

    The layout is found in the order of `rerank.io.layouts.locate`; what fits two ways is refused.
    Arrays without ids take them from a side-car: for `v.npy` that is `v.ids.json`, `v.ids.txt`,
    `v.json` or `v.txt`. Rows are read and checked in blocks into one array, so a file costs its
    own size in memory. A large one (`memory.is_large`) stays float16 where it is that, and costs
    none: npy, and HDF5 without chunks and compression, are mapped; others are unpacked first, into
    a temporary file without a name.

    Args:
        path: the file (or the folder `img_emb/` of clip-retrieval).
        rows: a slice of the rows, so that a process reads only its share. All ids are still
            checked for duplicates.
        dataset: which array of the file, where more than one could be meant; for a file with one
            array per id the group that holds them ("/" for the whole file).
        pool: "mean" turns the frames of an item into one vector, their arithmetic mean as stored.
            Files with frames are refused without it.
        metric: "cosine" or "dot"; with "cosine" a row of zeros is refused, because it has no
            direction.
        keep_half: float16 stays float16 in memory; otherwise it is widened to float32, unless it
            is large.

    Returns:
        The embeddings, float32 or float64 (float16 with `keep_half` or where large) in native byte
        order; large ones are a map of a file, read-only.

    Raises:
        FormatError: anything the file does not hold as it should, naming file, dataset, row and
            id.
    """
    if metric not in ("cosine", "dot"):
        raise RerankError(f"metric is {metric!r}, expected 'cosine' or 'dot'")
    with open_container(Path(path)) as container:
        found = locate(container, dataset=dataset, pool=pool)
        count = found.rows.shape[0]
        start, stop = bounds(rows, count, str(path))
        vectors = read_matrix(
            found.rows,
            what="embeddings",
            rows=(start, stop),
            row_name=lambda row: f"{row} (id {named([found.ids[row]])})",
            keep_half=keep_half,
            map_large=True,
            zero_rows=metric != "cosine",
        )
        groups = found.group_ids
        made = Embeddings(
            found.ids[start:stop],
            vectors,
            str(path),
            None if groups is None else groups[start:stop],
            count,
        )
        stated = container.content_sha256
    if stated is not None and found.as_stored and stop - start == count:
        # Checksums of HDF5 miss what happened before or beside them.
        _check_hash(made.source, made.content_sha256, stated)
    return made


def hash_embeddings(path: PathLike, *, pool: str | None = None) -> str:
    """`content_sha256` of all embeddings of a file, which are read in blocks and not kept.

    Args:
        path: a file that `read_embeddings` reads.
        pool: see `read_embeddings`.

    Raises:
        FormatError: a file that changed since it was read.
    """
    with open_container(Path(path)) as container:
        found = locate(container, pool=pool)
        made = _content_hash(found.ids, hash_matrix(found.rows), found.group_ids)
        if container.content_sha256 is not None and found.as_stored:
            _check_hash(str(path), made, container.content_sha256)
    return made


def _check_hash(source: str, made: str, stated: str) -> None:
    if made != stated:
        raise FormatError(
            f"{source}: the content does not match the hash stored with it "
            f"({stated[:12]}...); the file is damaged or was edited, write it again"
        )


def write_embeddings(
    path: PathLike,
    ids: Sequence[str],
    vectors: np.ndarray,
    *,
    group_ids: Sequence[str] | None = None,
    **attrs: str | bool | int | float,
) -> None:
    """Write the canonical HDF5 file, schema `rerank/1`, whole or not at all.

    `/embeddings (N, D)` in chunks with checksums, `/ids (N,)`, optional `/group_ids (N,)`, and
    the hash of the content. The same content gives the same bytes.

    Args:
        path: where to; replaced if it exists.
        ids: (N,) unique names.
        vectors: (N, D) float16, float32 or float64, finite.
        group_ids: (N,) what each row belongs to.
        **attrs: attributes of the file, such as `kind`, `model`, `normalized`.

    Raises:
        FormatError: not writable, or the data would not be read back.
        RerankError: an attribute of another type or with a name of the schema.
    """
    where = str(path)
    source = Field(
        where, vectors.shape, vectors.dtype, lambda start, stop: iter([vectors[start:stop]])
    )
    names = check_ids(list(ids), f"{where}: ids")
    groups = None if group_ids is None else check_ids(list(group_ids), f"{where}: group_ids")
    checked = read_matrix(
        source, what="embeddings", row_name=lambda row: _row_name(names, row), keep_half=True
    )
    for given in (names,) if groups is None else (names, groups):
        check_count(given, len(checked), where, "vectors")
    check_unique(names, where)
    stamp = _content_hash(names, sha256_of(checked), groups)
    stated = {"rerank_schema": SCHEMA, "content_sha256": stamp}
    for name, value in attrs.items():
        if name in stated or not isinstance(value, str | bool | int | float):
            raise RerankError(
                f"{where}: attribute {name}={value!r}; expected text or a number, and another "
                f"name than {named(list(stated))}"
            )
    with create_hdf5(path) as out:
        out.array("embeddings", checked)
        out.ids("ids", names)
        if groups is not None:
            out.ids("group_ids", groups)
        for name, value in {**stated, **dict(sorted(attrs.items()))}.items():
            out.attribute(name, value)


def _row_name(ids: Sequence[str], row: int) -> str:
    return f"{row} (id {named([ids[row]])})" if row < len(ids) else str(row)
