"""Score matrices, read from files."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from rerank.core.errors import FormatError, RerankError
from rerank.core.wording import either, option
from rerank.io.container import Container, side_in
from rerank.io.field import (
    Field,
    afford,
    bounds,
    check_matrix,
    checked_blocks,
    hash_matrix,
    read_array,
    read_matrix,
)
from rerank.io.files import PathLike, as_path, named, sha256_of
from rerank.io.formats.hdf5 import create_hdf5
from rerank.io.id_files import read_id_file
from rerank.io.ids import (
    check_count,
    check_unique,
    find_sidecar,
    is_list,
    read_ids,
    read_sidecar,
)
from rerank.io.opening import open_container
from rerank.io.reading import ROWS
from rerank.io.truth_words import direction_of, plain, said_by_words

# What people call a matrix of scores, texts x videos, in the order in which they are believed.
SCORE_NAMES = (
    "scores", "t2v", "sims", "sim_matrix", "sim", "similarity", "similarities", "logits",
    "similarity_matrix", "values",
)  # fmt: skip
_REVERSE = "v2t"
SCORES_SCHEMA = "rerank-scores/1"
# What else the names of rows and columns are called.
_SAME = {
    "query_ids": ("queries", "text_ids", "texts", "caption_ids", "captions", "query_names"),
    "gallery_ids": (
        "gallery", "items", "video_ids", "videos", "image_ids", "images", "item_ids", "doc_ids",
        "gallery_names",
    ),
}  # fmt: skip
# What a matrix is called of which the smallest numbers are the best.
_DISTANCES = ("distance", "distances", "dist", "dists", "distmat", "distancematrix")
_MASKS = ("query_mask", "text_mask", "caption_mask", "mask")


@dataclass(frozen=True, eq=False)
class ScoreMatrix:
    """Scores of n queries (rows) against m gallery items (columns); -inf stands for "not scored".

    Attributes:
        scores: (n, m) float32 or float64.
        query_ids: (n,) names of the rows.
        gallery_ids: (m,) names of the columns.
        source: the file it came from.
        ids_given: False when the file has no ids; they are then "0", "1", ...
        total_rows: rows in the file; more than n when a slice was read.
        reverse: (m, n) scores of the other direction, where they are no transpose of the first.
        called: the name of its array, "" where it has none.

    >>> ScoreMatrix(np.ones((2, 3), np.float32), ("a", "b"), ("x", "y", "z"), "s.npz")
    ScoreMatrix(2 x 3 float32, from s.npz)
    """

    scores: np.ndarray
    query_ids: tuple[str, ...]
    gallery_ids: tuple[str, ...]
    source: str
    ids_given: bool = True
    total_rows: int = 0
    reverse: np.ndarray | None = None
    called: str = ""

    def __repr__(self) -> str:
        n, m = self.scores.shape
        both = ", both directions" if self.reverse is not None else ""
        return f"ScoreMatrix({n} x {m} {self.scores.dtype}{both}, from {self.source})"

    @property
    def is_of_distances(self) -> bool:
        """Whether its name says that the smallest numbers are the best."""
        return plain(self.called.rpartition("/")[2]) in _DISTANCES

    @cached_property
    def content_sha256(self) -> str:
        """Hash of the scores and the ids, the same for the same content in any kind of file."""
        parts = [sha256_of(self.query_ids), sha256_of(self.gallery_ids), sha256_of(self.scores)]
        if self.reverse is not None:
            parts.append(sha256_of(self.reverse))
        return sha256_of(parts)


@dataclass(frozen=True, eq=False)
class _Located:
    """A matrix found in a file, and the names of its rows and columns."""

    rows: Field
    query_ids: tuple[str, ...]
    gallery_ids: tuple[str, ...]
    given: bool
    reverse: Field | None
    called: str = ""


def read_scores(
    path: PathLike,
    *,
    dataset: str | None = None,
    rows: slice | None = None,
    sims_rows: str = "texts",
    query_ids: PathLike | None = None,
    gallery_ids: PathLike | None = None,
    nan: bool = False,
) -> ScoreMatrix:
    r"""Read a matrix of scores, queries x gallery, from any kind of file of arrays.

    Named arrays hold `scores`, `t2v`, `sims`, ... (or exactly one 2-D float array) with `query_ids`
    and `gallery_ids`; tables the ids of the queries in a column of text and those of the gallery as
    the names of the others. A `.npy` has ids in `v.query_ids.json` and `v.gallery_ids.json` (or
    `.txt`) beside it. Without any ids rows and columns are called "0", "1", ... and `ids_given` is
    False. A 3-D array (videos, captions, videos), as CLIP4Clip builds it for several captions of a
    video, becomes one row for each caption, called `video#k`; its padding, rows of one number, is
    dropped, and so are the rows that a `query_mask` leaves out.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "s.npz"
    >>> np.savez(path, scores=np.ones((3, 2)), query_ids=list("abc"), gallery_ids=list("xy"))
    >>> read_scores(path).scores.shape
    (3, 2)
    >>> read_scores(path, sims_rows="videos").query_ids
    ('x', 'y')
    >>> _ = path.with_suffix(".csv").write_text("query,x,y\na,.5,-inf\nb,.25,1\n")
    >>> read_scores(path.with_suffix(".csv")).scores
    array([[0.5 , -inf],
           [0.25, 1.  ]])

    Args:
        path: the file.
        dataset: the array to take, where more than one could be meant.
        rows: a slice of the rows, so that a process reads only its share.
        sims_rows: which side the rows are as stored: "texts", or "videos" for a matrix that is to
            be turned.
        query_ids: a file with the names of the rows, or "rows".
        gallery_ids: a file with the names of the columns, or "rows".
        nan: NaN stands for "not scored", as -inf does.

    Returns:
        The scores, float32 (also for float16 files) or float64, in native byte order.

    Raises:
        FormatError: integers, complex numbers, NaN, +inf, empty, ids that are
            double or too few, ids for one side only; naming file, row and id.
    """
    names = (query_ids, gallery_ids)
    with open_container(as_path(path, "read_scores")) as container:
        found = _located(container, dataset, sims_rows, names)
        start, stop = bounds(rows, found.rows.shape[0], found.rows.where)
        scores = _read(found.rows, found.query_ids, found.gallery_ids, (start, stop), nan=nan)
        reverse = None
        other = _own_reverse(found)
        if other is not None:
            reverse = _read(other, found.gallery_ids, found.query_ids, None, nan=nan)
    return ScoreMatrix(
        scores, found.query_ids[start:stop], found.gallery_ids, str(path), found.given,
        found.rows.shape[0], reverse, found.called,
    )  # fmt: skip


def _own_reverse(found: _Located) -> Field | None:
    """The matrix of the other direction, unless it is the transpose of the first."""
    if found.reverse is None:
        return None
    # Blocks of one are not those of the other, so both are cut alike.
    n, step = found.reverse.shape[0], max(1, (16 << 20) // max(1, 8 * found.reverse.shape[1]))
    turned = _transposed(found.rows)
    for at in range(0, n, step):
        stop = min(n, at + step)
        one, other = (
            np.concatenate(list(item.blocks(at, stop))) for item in (found.reverse, turned)
        )
        if not np.array_equal(one, other, equal_nan=True):
            return found.reverse
    return None


def _read(
    item: Field, queries: tuple[str, ...], gallery: tuple[str, ...], rows: tuple[int, int] | None,
    *, nan: bool,
) -> np.ndarray:  # fmt: skip
    return read_matrix(
        item,
        what="scores",
        rows=rows,
        row_name=lambda row: f"{row} (query {named([queries[row]])})",
        column_name=lambda column: f"{column} (item {named([gallery[column]])})",
        missing="nan" if nan else "-inf",
    )


def hash_scores(
    path: PathLike, *, dataset: str | None = None, sims_rows: str = "texts",
    query_ids: PathLike | None = None, gallery_ids: PathLike | None = None,
) -> str:  # fmt: skip
    """`content_sha256` of all scores of a file, which are read in blocks and not kept.

    Args:
        path: a file that `read_scores` reads.
        dataset: see `read_scores`, as for all others.
        sims_rows: see there.
        query_ids: see there.
        gallery_ids: see there.

    Raises:
        FormatError: a file that changed since it was read.
    """
    with open_container(Path(path)) as container:
        found = _located(container, dataset, sims_rows, (query_ids, gallery_ids))
        parts = [sha256_of(found.query_ids), sha256_of(found.gallery_ids), hash_matrix(found.rows)]
        other = _own_reverse(found)
        if other is not None:
            parts.append(hash_matrix(other))
        return sha256_of(parts)


def convert_scores(
    source: PathLike, target: PathLike, *, dataset: str | None = None, sims_rows: str = "texts",
    query_ids: PathLike | None = None, gallery_ids: PathLike | None = None,
    unscored: float | None = None,
) -> tuple[int, int]:  # fmt: skip
    """Write a matrix of any file as HDF5 with `scores`, `query_ids` and `gallery_ids`.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> np.save(folder / "s.npy", np.array([[0.5, -np.inf, np.nan]]))
    >>> convert_scores(folder / "s.npy", folder / "s.h5", unscored=float("nan"))
    (1, 3)
    >>> read_scores(folder / "s.h5").scores
    array([[ 0.5, -inf, -inf]])

    Args:
        source: a file that `read_scores` reads.
        target: where to; replaced when all went well.
        dataset: see `read_scores`, as for all others.
        sims_rows: see there.
        query_ids: see there.
        gallery_ids: see there.
        unscored: the number, or NaN, that stands for "not scored" besides -inf; written as -inf.

    Returns:
        (texts, videos).

    Raises:
        FormatError: not readable, or not writable.
    """
    with open_container(Path(source)) as container:
        found = _located(container, dataset, sims_rows, (query_ids, gallery_ids))
        shape = (found.rows.shape[0], found.rows.shape[1])
        parts = {"scores": found.rows}
        if found.reverse is not None:
            parts = {"t2v": found.rows, "v2t": found.reverse}
        nan = unscored is not None and math.isnan(unscored)
        with create_hdf5(target) as out:
            out.attribute("rerank_schema", SCORES_SCHEMA)
            for name, item in parts.items():
                dtype = np.dtype(f"f{item.dtype.itemsize}")
                made = out.dataset(name, (item.shape[0], item.shape[1]), dtype)
                for at, block in checked_blocks(
                    item, what="scores", row_name=str, missing="nan" if nan else "-inf"
                ):
                    if unscored is not None:
                        none = np.isnan(block) if nan else block == block.dtype.type(unscored)
                        block = np.where(none, block.dtype.type(-np.inf), block)
                    made[at : at + len(block)] = block
                    out.check()
            if found.given:
                out.ids("query_ids", found.query_ids)
                out.ids("gallery_ids", found.gallery_ids)
    return shape


def _located(
    container: Container,
    dataset: str | None,
    sims_rows: str,
    names: tuple[PathLike | None, PathLike | None],
) -> _Located:
    if sims_rows not in ("texts", "videos"):
        raise RerankError(f"sims_rows is {sims_rows!r}, expected 'texts' or 'videos'")
    item = _find(container, dataset)
    called = next((name for name, field in container.fields.items() if field is item), "")
    if sims_rows == "texts" and (dataset is not None or item is not container.fields.get(_REVERSE)):
        _check_name(container, item, called)
    if len(item.shape) == 3 and item.kind == "float":
        return _captions(container, item, names)
    check_matrix(item, "scores")
    item.check()
    reverse = None
    other = container.fields.get(_REVERSE)
    if other is not None and other is not item and dataset is None:
        check_matrix(other, "scores")
        if other.shape == item.shape[::-1]:
            reverse = other
        else:
            raise FormatError(
                f"{other.where}: is {other.shape}, but {item.where} is {item.shape}; v2t has the "
                "videos as rows"
            )
    if sims_rows == "videos":
        item = _transposed(item)
        if reverse is not None:
            raise FormatError(
                f"{container.path}: holds both t2v and v2t, of which t2v has the texts as rows; "
                f"leave out {option('sims-rows')}"
            )
    if item is container.fields.get(_REVERSE) and dataset is None:
        # The other direction alone: its rows are the videos.
        item = _transposed(item)
    queries, gallery, given = _both_ids(container, item, names, turned=sims_rows == "videos")
    kept = _kept(container, item.shape[0])
    if kept is not None:
        item, queries = _rows_of(item, kept), tuple(queries[i] for i in kept)
        if reverse is not None:
            reverse = _transposed(_rows_of(_transposed(reverse), kept))
    return _Located(item, queries, gallery, given, reverse, called)


def _find(container: Container, dataset: str | None) -> Field:
    path, fields = container.path, container.fields
    if dataset is not None:
        chosen = fields.get(dataset.strip("/"))
        if chosen is None:
            raise FormatError(
                f"{path}: there is no {dataset!r}; it holds {named(sorted(fields)) or 'nothing'}"
            )
        return chosen
    if container.schema not in (None, SCORES_SCHEMA) and "scores" not in fields:
        raise FormatError(
            f"{path}: is of the schema {named([container.schema])} and holds no score matrix; "
            f"give embeddings as embeddings{either(', or run apply with --scores', '')}"
        )
    for name in SCORE_NAMES:
        if name in fields:
            return fields[name]
    if len(fields) == 1:
        # Whatever is wrong with it is said when it is read.
        return next(iter(fields.values()))
    found = [name for name, item in fields.items() if item.kind == "float" and len(item.shape) == 2]
    if len(found) == 1:
        return fields[found[0]]
    if found:
        raise FormatError(
            f"{path}: {named(found)} could all be the scores; name the right one 'scores' or give "
            f"{either(f'--dataset {found[0]}', f'dataset={found[0]!r}')}"
        )
    ranking = ""
    if fields and all(item.odd.startswith("{") for item in fields.values()):
        ranking = "; {query: {item: score}} is a ranking: rerank eval --results reads it"
    raise FormatError(
        f"{path}: holds {named(sorted(fields)) or 'nothing'}; expected a 2-D float array "
        f"'scores'{ranking}"
    )


def _check_name(container: Container, item: Field, name: str) -> None:
    """Refuse a matrix that its name calls videos x texts, where ids of two lengths do not differ.

    Raises:
        FormatError: such as i2t.
    """
    if direction_of(name.rpartition("/")[2]) != "video-text" or len(item.shape) != 2:
        return
    lengths = [_length_of(container, side) for side in _SAME]
    if lengths[0] != lengths[1] and -1 not in lengths:
        return  # they say which side is which
    raise FormatError(
        f"{item.where}: is called so as if its rows were videos; give "
        f"{option('sims-rows', 'videos')}, or call it 'scores' if they are texts"
    )


def _length_of(container: Container, side: str) -> int:
    field = _named(container, side)
    return -1 if field is None else max(field.shape, default=0)


def _transposed(item: Field) -> Field:
    """A matrix turned: its columns are read block by block."""

    def blocks(start: int, stop: int) -> Iterator[np.ndarray]:
        # A few columns of every row; each pass reads all of it, so the passes are few.
        step = max(1, (64 << 20) // max(1, 8 * item.shape[0]))
        for at in range(start, stop, step):
            end = min(stop, at + step)
            parts = [np.array(block[:, at:end]) for block in item.blocks(0, item.shape[0])]
            yield np.concatenate(parts).T

    return Field(item.where, item.shape[::-1], item.dtype, blocks, item.check)


def _rows_of(item: Field, kept: np.ndarray) -> Field:
    """Some rows of a matrix, rising."""

    def blocks(start: int, stop: int) -> Iterator[np.ndarray]:
        wanted = kept[start:stop]
        if not len(wanted):
            return
        at = int(wanted[0])
        for block in item.blocks(at, int(wanted[-1]) + 1):
            mine = wanted[(wanted >= at) & (wanted < at + len(block))]
            at += len(block)
            if len(mine):
                yield block[mine - (at - len(block))]

    return Field(item.where, (len(kept), *item.shape[1:]), item.dtype, blocks, item.check)


def _kept(container: Container, count: int) -> np.ndarray | None:
    """Rows that a mask keeps; None without one."""
    for name in _MASKS:
        field = container.fields.get(name)
        if field is not None and name != "mask" and field.shape not in ((count,), (count, 1)):
            if len(field.shape) == 1:
                raise FormatError(
                    f"{field.where}: says of {field.shape[0]} queries whether they count, and "
                    f"there are {count} rows of scores; every row needs an entry"
                )
        if field is not None and max(field.shape, default=0) == count:
            mask = read_array(field, booleans=True).reshape(-1) != 0
            if not mask.any():
                raise FormatError(f"{field.where}: leaves no query; check the mask")
            return None if mask.all() else np.flatnonzero(mask)
    return None


def _is_padding(lines: np.ndarray) -> np.ndarray:
    """(rows,) whether a row of a cube holds one number only: -inf, NaN, or what else pads it."""
    same = (lines == lines[:, :1]) | (np.isnan(lines) & np.isnan(lines[:, :1]))
    padding = same.all(axis=1)
    # Against a single item every row holds one.
    return padding if lines.shape[1] > 1 else padding & ~np.isfinite(lines[:, 0])


def _captions(
    container: Container, cube: Field, names: tuple[PathLike | None, PathLike | None]
) -> _Located:
    """(videos, captions, videos) with padding, as one row for each caption that is there."""
    videos, captions, items = cube.shape
    if videos != items or not captions:
        raise FormatError(
            f"{cube.where}: is 3-D {cube.shape}; expected (videos, captions, videos), as CLIP4Clip "
            "builds it, or a matrix texts x videos"
        )
    cube.check()
    afford(captions * items * cube.dtype.itemsize, cube.where, what="the captions of a video")
    kept, at = [], 0
    for block in cube.blocks(0, videos):
        lines = block.reshape(-1, items)
        kept.append(at + np.flatnonzero(~_is_padding(lines)))
        at += len(lines)
    rows = np.concatenate(kept)
    for name in _MASKS:
        field = container.fields.get(name)
        if field is not None and field.shape == (videos, captions):
            mask = read_array(field, booleans=True).reshape(-1) != 0
            rows = rows[mask[rows]]
    if not len(rows):
        raise FormatError(f"{cube.where}: is padding everywhere; check what wrote it")
    gallery = _ids(container, "gallery_ids", items, cube.where, names[1])
    gallery_ids = gallery or tuple(map(str, range(items)))
    queries = _ids(container, "query_ids", len(rows), cube.where, names[0])
    query_ids = queries or tuple(f"{gallery_ids[r // captions]}#{r % captions}" for r in rows)

    def flat(start: int, stop: int) -> Iterator[np.ndarray]:
        first = start // captions
        at = first * captions
        for block in cube.blocks(first, -(-stop // captions)):
            lines = block.reshape(-1, items)
            yield lines[max(start - at, 0) : stop - at]
            at += len(lines)

    whole = Field(cube.where, (videos * captions, items), cube.dtype, flat, cube.check)
    given = gallery is not None or queries is not None
    return _Located(_rows_of(whole, rows), query_ids, gallery_ids, given, None)


def _both_ids(
    container: Container,
    item: Field,
    names: tuple[PathLike | None, PathLike | None],
    *,
    turned: bool,
) -> tuple[tuple[str, ...], tuple[str, ...], bool]:
    """Names of the rows and of the columns, and whether the file has them.

    In a file that is turned, `query_ids` may name what is stored as rows, or what is meant.
    """
    n, m = item.shape
    if container.columns:
        return _table_ids(container, item, names, turned=turned)
    here = ["query_ids", "gallery_ids"]
    if turned and _length(container, "query_ids") == m != n:
        here.reverse()
    elif turned and n == m and _length(container, "query_ids") == n:
        # They name the rows as they lie in the file.
        here.reverse()
    if not turned and names == (None, None) and n != m:
        lengths = [_length_of(container, name) for name in here]
        if lengths == [m, n]:
            raise FormatError(
                f"{item.where}: is {item.shape}, with {m} ids of texts and {n} of videos: it is "
                f"stored videos x texts; give {option('sims-rows', 'videos')}"
            )
    queries = _ids(container, here[0], n, item.where, names[0])
    gallery = _ids(container, here[1], m, item.where, names[1])
    if (queries is None) != (gallery is None) and names == (None, None):
        there, missing = here
        if queries is None:
            there, missing = missing, there
        raise FormatError(f"{container.path}: has {there} but no {missing}; give both or neither")
    query_ids = queries or tuple(map(str, range(n)))
    gallery_ids = gallery or tuple(map(str, range(m)))
    return query_ids, gallery_ids, queries is not None or gallery is not None


def _named(container: Container, name: str) -> Field | None:
    """The list of names called so, or like it."""
    fields = container.fields
    if name in fields:
        return fields[name]
    others = (fields[other] for other in _SAME[name] if other in fields)
    return next((f for f in others if f.kind in ("text", "integer") and is_list(f)), None)


def _length(container: Container, name: str) -> int:
    field = container.fields.get(name)
    return -1 if field is None else max(field.shape, default=0)


def _table_ids(
    container: Container,
    item: Field,
    names: tuple[PathLike | None, PathLike | None],
    *,
    turned: bool,
) -> tuple[tuple[str, ...], tuple[str, ...], bool]:
    """Ids of a table: of its rows in a column of text, of its columns as their names."""
    fields = container.fields
    texts = [name for name, field in fields.items() if field.kind in ("text", "integer")]
    known = [n for tier in container.id_names for n in tier if n in texts]
    column = (known or texts or [None])[0]
    rows = None if column is None else read_ids(fields[column])
    columns: tuple[str, ...] | None = container.columns
    if columns == tuple(map(str, range(len(columns)))) or columns[0].startswith("column "):
        columns = None
    if not turned and names[0] is None and column is not None:
        # A lone column of text is called ids too.
        called = [name for name in texts if fields[name] is fields[column]]
        _check_corner(container, called[0], rows or (), columns or ())
    queries, gallery = (columns, rows) if turned else (rows, columns)
    made = []
    for ids, count, given, side in zip(
        (queries, gallery), item.shape, names, ("texts", "videos"), strict=True
    ):
        found = ids if given is None else _given(given, side)
        found = found or tuple(map(str, range(count)))
        check_count(found, count, str(container.path), item.where)
        check_unique(found, str(container.path))
        made.append(found)
    return made[0], made[1], rows is not None


def _check_corner(
    container: Container, column: str, rows: Sequence[str], columns: Sequence[str]
) -> None:
    """Refuse a table whose column of names says that its rows are videos.

    Texts may be called by their videos, with `#k` behind or without.

    Raises:
        FormatError: it does, and its columns have other names.
    """
    if not columns or said_by_words("text", column) != "text-video":
        return
    if {name.partition("#")[0] for name in rows}.issubset(columns):
        return
    raise FormatError(
        f"{container.path}: its rows are named in the column {column!r}, as if they were videos; "
        f"give {option('sims-rows', 'videos')}, or call the column 'query_id' if they are texts"
    )


def _given(path: PathLike, side: str) -> tuple[str, ...] | None:
    return None if str(path) == ROWS else read_id_file(Path(path), side=side)


def _ids(
    container: Container, name: str, count: int, where: str, given: PathLike | None
) -> tuple[str, ...] | None:
    """Ids of one side: those given, those in the file, those in a side-car, else None."""
    path = container.path
    field = _named(container, name)
    source = str(path)
    if field is None and container.schema is not None:
        # A result file keeps them with its directions.
        field = container.fields.get(f"t2v/{name}")
    if given is not None:
        source, found = str(given), _given(given, side_in(name))
        if found is None:
            return None
        ids = found
    elif field is not None:
        source, ids = field.where, read_ids(field)
    else:
        side = find_sidecar(path, name=name)
        if side is None:
            return None
        source, ids = str(side), read_sidecar(side)[0]
    check_count(ids, count, source, where)
    check_unique(ids, source)
    return ids
