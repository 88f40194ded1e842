"""Embeddings with their ids: read from any file people have, written as the canonical one."""

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypedDict, Unpack

import numpy as np
import torch
from torch import Tensor

from rerank.core.errors import FormatError, RerankError, RerankWarning
from rerank.core.handed import readable
from rerank.core.words import Metric, words_of
from rerank.io.container import SCHEMA, Found
from rerank.io.field import Field, bounds, checked_blocks, hash_matrix, in_memory, read_matrix
from rerank.io.files import BLOCK_BYTES, ArrayHash, PathLike, as_path, named, sha256_of
from rerank.io.formats.hdf5 import create_hdf5
from rerank.io.frames.pooling import one_matrix, pooled_cube, pooling
from rerank.io.given import names_given, taken_apart
from rerank.io.id_column import refuse_ids_in_vectors
from rerank.io.id_files import read_id_file
from rerank.io.ids import check_count, check_ids, check_unique
from rerank.io.layouts.locate import locate
from rerank.io.layouts.other_ids import said_of_deeper_ids
from rerank.io.layouts.said_side import SaidSide, said_side
from rerank.io.layouts.summaries import refuse_summary_rows
from rerank.io.layouts.wanted import Wanted
from rerank.io.opening import open_container
from rerank.io.reading import ROWS, side_of


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
        ids_given: False where nothing names the rows; ids are then "0", "1", ...
        columns: names of the dimensions, where these are columns of a table.
        said_side: the side that the names in the file say, where nothing was named by the user.

    >>> Embeddings(("a", "b"), np.ones((2, 3), np.float32), "v.h5")
    Embeddings(2 x 3 float32, ids 'a', 'b', from v.h5)
    """

    ids: tuple[str, ...]
    vectors: np.ndarray
    source: str
    group_ids: tuple[str, ...] | None = None
    total_rows: int = 0
    ids_given: bool = True
    columns: tuple[str, ...] = ()
    said_side: SaidSide = SaidSide()

    def __post_init__(self) -> None:
        _check_count(self.ids, len(self.vectors), self.source)

    def __repr__(self) -> str:
        n, d = self.vectors.shape
        ids = f"ids {named(self.ids, limit=2)}" if self.ids_given else "numbered rows"
        return f"Embeddings({n} x {d} {self.vectors.dtype}, {ids}, from {self.source})"

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

    @property
    def norms(self) -> Norms:
        """Smallest, mean and largest Euclidean norm of the rows."""
        return self._measured[0]

    @property
    def longest(self) -> int:
        """The row with the largest norm; 0 when there are no rows."""
        return self._measured[1]

    @property
    def zeros(self) -> int:
        """How many rows are all zeros."""
        return self._measured[2]

    @cached_property
    def _measured(self) -> tuple[Norms, int, int]:
        if not len(self.vectors):
            return Norms(0.0, 0.0, 0.0), 0, 0
        step = max(1, BLOCK_BYTES // (8 * max(1, self.dim)))
        parts = []
        for start in range(0, len(self.vectors), step):
            block = self.vectors[start : start + step].astype(np.float64)
            parts.append(np.linalg.norm(block, axis=1))
        norms = np.concatenate(parts)
        found = Norms(float(norms.min()), float(norms.mean()), float(norms.max()))
        return found, int(norms.argmax()), int((norms == 0).sum())


def _content_hash(ids: Sequence[str], vectors: str, group_ids: Sequence[str] | None) -> str:
    """Of ids, the hash of the vectors, and groups."""
    parts = [sha256_of(ids), vectors]
    if group_ids is not None:
        parts.append(sha256_of(group_ids))
    return sha256_of(parts)


class Said(TypedDict, total=False):
    """What can be said about one file; see `read_embeddings`."""

    dataset: str | None
    id_column: str | None
    embedding_column: str | None
    ids: Sequence[str] | PathLike | None
    row_numbers: bool
    pool: str | None
    pool_raw: bool
    side: str


def _wanted(path: PathLike, said: Said) -> Wanted:
    ids, id_column = said.get("ids"), said.get("id_column")
    given: tuple[str, ...] | None = None
    source = "the ids given"
    forced = isinstance(ids, str) and ids == ROWS
    if isinstance(ids, str | Path) and not forced:
        side = said.get("side", "")
        given, source = read_id_file(Path(ids), column=id_column, side=side), str(ids)
    elif ids is not None and not forced:
        given = check_ids(list(ids), f"{path}: the ids given")  # type: ignore[arg-type]
    return Wanted(
        said.get("dataset"),
        None if given is not None else id_column,
        said.get("embedding_column"),
        pooling(said.get("pool"), raw=said.get("pool_raw", False), where=str(path)),
        given,
        said.get("row_numbers", False),
        forced,
        said.get("side", ""),
        source,
    )


def read_embeddings(
    path: PathLike,
    *,
    rows: slice | None = None,
    dataset: str | None = None,
    id_column: str | None = None,
    embedding_column: str | None = None,
    ids: Sequence[str] | PathLike | None = None,
    row_numbers: bool = False,
    pool: str | None = None,
    pool_raw: bool = False,
    metric: str = "cosine",
    keep_half: bool = False,
    side: str = "",
) -> Embeddings:
    """Read embeddings from any kind of file in `rerank.io.formats.registry.FORMATS`.

    The layout is found in the order of `rerank.io.layouts.locate`; what fits two ways is refused.
    Arrays without ids take them from a side-car: for `v.npy` that is `v.ids.json`, `v.ids.txt`,
    `v.npy.ids.json` or `v.npy.ids.txt`. Rows are read and checked in blocks into one array, so a
    file costs its own size in memory. A large one (`memory.is_large`) stays float16 where it is
    that, and costs none: npy, and HDF5 without chunks and compression, are mapped; others are
    unpacked first, into a temporary file without a name.

    >>> read_embeddings("data_samples/videos.h5", rows=slice(0, 2))
    Embeddings(2 x 128 float32, ids 'video0144', 'video0384', from data_samples/videos.h5)

    Frames become one vector by `pool`; of several arrays `dataset` takes one:

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "v.npz"
    >>> frames = np.array([[[1.0, 0.0], [0.0, 2.0]]])
    >>> np.savez(path, rgb=frames, flow=-frames, ids=["a"])
    >>> read_embeddings(path, dataset="rgb", pool="mean").vectors
    array([[0.5, 0.5]])
    >>> read_embeddings(path, pool="mean")
    Traceback (most recent call last):
    rerank.core.errors.FormatError: ...

    Args:
        path: the file (or a folder: of clip-retrieval, of parts of a table, of `<id>.npy`).
        rows: a slice of the rows, so that a process reads only its share. All ids are still
            checked for duplicates.
        dataset: which array of the file, where more than one could be meant; for a file with one
            array per id the group that holds them ("/" for the whole file), for one with several
            arrays per id which of them.
        id_column: the array or column of ids.
        embedding_column: the column of vectors of a table.
        ids: ids for the rows in their order, or a file of them (see `read_id_file`), which win
            over those in the file; "rows": the numbers of the rows.
        row_numbers: whether the numbers of the rows are the ids where there are none.
        pool: "mean" or "max" turns the frames of an item into one vector; padding is left out.
            Files with frames are refused without it.
        pool_raw: pool frames as stored; otherwise each is normalised first.
        metric: "cosine" or "dot"; with "cosine" a row of zeros is refused, because it has no
            direction.
        keep_half: float16 stays float16 in memory; otherwise it is widened to float32, unless it
            is large.
        side: "texts" or "videos", for messages that print options.

    Returns:
        The embeddings, float32 or float64 (float16 with `keep_half` or where large) in native byte
        order; large ones are a map of a file, read-only.

    Raises:
        FormatError: anything the file does not hold as it should, naming file, dataset, row and
            id.
    """
    _check_metric(metric)
    said = Said(
        dataset=dataset, id_column=id_column, embedding_column=embedding_column, ids=ids,
        row_numbers=row_numbers, pool=pool, pool_raw=pool_raw, side=side,
    )  # fmt: skip
    wanted = _wanted(path, said)
    with open_container(as_path(path, "read_embeddings")) as container:
        found = locate(container, wanted)
        if note := said_of_deeper_ids(container, found, wanted):
            warnings.warn(note, RerankWarning, stacklevel=2)
        count = found.rows.shape[0]
        start, stop = bounds(rows, count, str(path))
        vectors = read_matrix(
            found.rows,
            what="embeddings",
            rows=(start, stop),
            row_name=lambda row: _row_name(found.ids, row),
            keep_half=keep_half,
            map_large=True,
            zero_rows=metric != "cosine",
        )
        if stop - start == count:
            refuse_summary_rows(found.ids, vectors, str(path))
        groups = found.group_ids
        made = Embeddings(
            found.ids[start:stop],
            vectors,
            str(path),
            None if groups is None else groups[start:stop],
            count,
            found.ids_given,
            found.rows.columns,
            SaidSide() if wanted.names_parts else said_side(container),
        )
        named_here = wanted.ids is not None or wanted.force_rows
        stated = None if named_here else container.content_sha256
    if stated is not None and found.as_stored and stop - start == count:
        # Checksums of HDF5 miss what happened before or beside them.
        _check_hash(made.source, made.content_sha256, stated)
    return made


def _check_metric(metric: str) -> None:
    if metric not in words_of(Metric):
        raise RerankError(f"metric is {metric!r}, expected 'cosine' or 'dot'")


def hash_embeddings(path: PathLike, **said: Unpack[Said]) -> str:
    """`content_sha256` of all embeddings of a file, which are read in blocks and not kept.

    Args:
        path: a file that `read_embeddings` reads.
        **said: see there.

    Raises:
        FormatError: a file that changed since it was read.
    """
    wanted = _wanted(path, said)
    with open_container(Path(path)) as container:
        found = locate(container, wanted)
        made = _content_hash(found.ids, hash_matrix(found.rows), found.group_ids)
        if container.content_sha256 is not None and found.as_stored and wanted.ids is None:
            _check_hash(str(path), made, container.content_sha256)
    return made


def held(
    anything: object,
    *,
    role: str = "embeddings",
    ids: Sequence[str] | PathLike | None = None,
    metric: str = "cosine",
) -> tuple[Embeddings, Any]:
    """`as_embeddings`, and the rows to compute with: arrays and tensors of floats as they are.

    Raises:
        RerankError: as `as_embeddings`.
    """
    if isinstance(anything, Tensor) or type(anything) is np.ndarray:
        rows: Any = readable(anything, role) if isinstance(anything, Tensor) else anything
        if rows.ndim == 2 and _is_float(rows):
            shown = rows
            if isinstance(rows, Tensor):
                shown = rows.cpu()
                shown = (shown.float() if shown.dtype == torch.bfloat16 else shown).numpy()
            refuse_ids_in_vectors(shown, role)
            names = _names_of(ids, role) if ids is not None else _numbers(len(rows))
            _check_count(names, len(rows), role)
            check_unique(names, role)
            return Embeddings(names, shown, role, None, len(rows), ids is not None), rows
    found = as_embeddings(anything, role=role, ids=ids, metric=metric)
    return found, found.vectors


def _is_float(rows: np.ndarray | Tensor) -> bool:
    """Whether an array is of floats that numpy and torch both compute with."""
    if isinstance(rows, Tensor):
        return rows.is_floating_point() and rows.element_size() > 1
    return rows.dtype.kind == "f" and rows.dtype.isnative and rows.dtype.itemsize <= 8


def _numbers(count: int) -> tuple[str, ...]:
    return tuple(map(str, range(count)))


def _names_of(ids: Sequence[str] | PathLike, role: str) -> tuple[str, ...]:
    if isinstance(ids, str | os.PathLike):
        return read_id_file(Path(ids), side=side_of(role))
    return check_ids(names_given(ids, role), f"{role}: ids")


def _check_count(names: Sequence[str], count: int, role: str) -> None:
    if len(names) != count:
        raise RerankError(f"{role}: {len(names)} ids for the {count} rows; every row needs its id")


def as_embeddings(
    anything: object,
    *,
    role: str = "embeddings",
    ids: Sequence[str] | PathLike | None = None,
    pool: str | None = None,
    pool_raw: bool = False,
    metric: str = "cosine",
) -> Embeddings:
    """Embeddings from whatever a program holds them in.

    numpy and torch arrays of any layout, byte order and precision, lists of vectors,
    `{id: vector}`, frames and series of pandas and polars (with vectors in one column or numbers in
    several, and ids in the index or in a column), `Embeddings`, and paths of files. What is not
    copied is never written to.

    >>> as_embeddings([[1.0, 0.0], [0.0, 2.0]], role="texts")
    Embeddings(2 x 2 float64, numbered rows, from texts)
    >>> as_embeddings({"a": [1.0, 0.0]}).ids
    ('a',)
    >>> as_embeddings(np.ones((500, 4)), ids=["a", "b", "c", "d"])
    Traceback (most recent call last):
    rerank.core.errors.RerankError: embeddings: 4 ids for the 500 rows; every row needs its id

    Args:
        anything: the embeddings.
        role: what to call them in messages, such as "texts".
        ids: (N,) names of the rows, or a file of them; they win over those that come with the rows.
        pool: "mean" or "max" over the frames of (n, frames, d).
        pool_raw: pool frames as they are; otherwise each is normalised first.
        metric: with "cosine" a row of zeros is refused.

    Raises:
        RerankError: nothing that embeddings could be made of, or values that are not finite.
    """
    _check_metric(metric)
    if isinstance(anything, Embeddings) and ids is None:
        return anything
    if isinstance(anything, str | os.PathLike):
        side = role if role in ("texts", "videos") else ""
        return read_embeddings(
            anything, ids=ids, row_numbers=True, pool=pool, pool_raw=pool_raw, metric=metric,
            side=side,
        )  # fmt: skip
    groups = None
    if isinstance(anything, Embeddings):
        names, array, groups = anything.ids, anything.vectors, anything.group_ids
        columns = anything.columns
    else:
        names, array, columns = taken_apart(anything, role)
    if ids is not None:
        names = _names_of(ids, role)
    field = in_memory(array, role)
    if array.ndim == 3:
        rows = None if names is not None and len(names) == 1 else one_matrix(field, {})
        how = pooling(pool, raw=pool_raw, where=role)
        field = pooled_cube(field, {}, how) if rows is None else rows
    elif not isinstance(anything, Embeddings):
        refuse_ids_in_vectors(array, role)
    given = names is not None
    made = _numbers(field.shape[0]) if names is None else names
    _check_count(made, field.shape[0], role)
    check_unique(made, role)
    vectors = read_matrix(
        field,
        what="embeddings",
        row_name=lambda row: _row_name(made, row),
        keep_half=True,
        map_large=True,
        zero_rows=metric != "cosine",
    )
    if given:
        refuse_summary_rows(made, vectors, role)
    return Embeddings(made, vectors, role, groups, len(made), given, columns)


def convert_embeddings(
    source: PathLike, target: PathLike, *, metric: str = "dot", **said: Unpack[Said]
) -> tuple[int, int]:
    """Write embeddings of any file as the canonical one, block by block, never held whole.

    Args:
        source: a file that `read_embeddings` reads.
        target: where to; replaced when all went well.
        metric: "cosine" or "dot", which lets rows of zeros through.
        **said: see `read_embeddings`.

    Returns:
        (rows, dimensions).

    Raises:
        FormatError: not readable, or not writable.
    """
    wanted = _wanted(source, said)
    with open_container(Path(source)) as container:
        found: Found = locate(container, wanted)
        dtype = np.dtype(f"f{found.rows.dtype.itemsize}")
        shape = (found.rows.shape[0], found.rows.shape[1])
        digest = ArrayHash(dtype, shape)
        with create_hdf5(target) as out:
            made = out.dataset("embeddings", shape, dtype)
            for at, block in checked_blocks(
                found.rows,
                what="embeddings",
                row_name=lambda row: _row_name(found.ids, row),
                zero_rows=metric != "cosine",
            ):
                part = block.astype(dtype, copy=False)
                made[at : at + len(part)] = part
                digest.update(part)
                out.check()
            out.ids("ids", found.ids)
            if found.group_ids is not None:
                out.ids("group_ids", found.group_ids)
            out.attribute("rerank_schema", SCHEMA)
            stamp = _content_hash(found.ids, digest.hexdigest(), found.group_ids)
            out.attribute("content_sha256", stamp)
        if container.content_sha256 is not None and found.as_stored and wanted.ids is None:
            _check_hash(str(source), stamp, container.content_sha256)
    return shape


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
