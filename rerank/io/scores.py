"""Score matrices, read from files."""

import math
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from rerank.core.errors import FormatError, RerankError, RerankWarning
from rerank.core.shell import word
from rerank.core.wording import either, option
from rerank.io.best_hits import refuse_best_hits, said_of_order
from rerank.io.caption_masks import captions_there, is_caption_mask
from rerank.io.container import Container
from rerank.io.field import (
    Field,
    Missing,
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
from rerank.io.ids_among_scores import refuse_ids_among
from rerank.io.numbered_parts import or_joined
from rerank.io.odd_score_columns import odd_columns, said_of_odd
from rerank.io.opening import open_container
from rerank.io.score_ids import both_ids, cube_ids
from rerank.io.score_names import likely_scores, refuse_ranking, said_direction, way_of_ranking
from rerank.io.score_sides import LISTS, SaidOfIds, lengths_of, said_of_ids, way_to_name
from rerank.io.side_words import direction_in

# What people call a matrix of scores, texts x videos, in the order in which they are believed.
SCORE_NAMES = (
    "scores", "t2v", "sims", "sim_matrix", "sim", "similarity", "similarities", "logits",
    "similarity_matrix", "values",
)  # fmt: skip
_REVERSE = "v2t"
SCORES_SCHEMA = "rerank-scores/1"
# What a matrix is called of which the smallest numbers are the best.
# Words of a name that say that the smallest is best, and that it is not after all.
_DISTANCES = re.compile(r"(cos|cosine|l2|pair|sq)?(distances?|dists?|distmat)|l2|euclidean|costs?")
_TURNED = re.compile(r"neg.*|minus|inv.*|sims?|similarit.*|scores?")
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
        numbered: "texts" or "videos", the side that is called by its numbers, where the file names
            the other side only and nothing was said; else "".
        turned_by_name: the array that was turned because of its name alone, else "".
        passed: lists of other names in the file that fit a side without any: what they are called,
            and which sides they fit.
        header: whether the videos are called as the columns of a table are.

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
    numbered: str = ""
    turned_by_name: str = ""
    passed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    header: bool = False

    def __repr__(self) -> str:
        n, m = self.scores.shape
        both = ", both directions" if self.reverse is not None else ""
        return f"ScoreMatrix({n} x {m} {self.scores.dtype}{both}, from {self.source})"

    @property
    def of_numbered(self) -> str:
        """What a person should know about a side that has no names, or ""."""
        return _of_numbered(self.source, self.numbered) or _of_passed(self.source, self.passed)

    @property
    def of_turned(self) -> str:
        """What a person should know about a matrix that was turned, or ""."""
        return _of_turned(self.source, self.turned_by_name)

    @property
    def of_order(self) -> str:
        """What a person should know about lines of scores that all fall, or rise, or ""."""
        line = said_of_order(self.scores)
        if not line:
            return ""
        return (
            f"{self.source}: the scores of every {line} stand in their order, as those of the best "
            "hits do, and are read in the order of the items; if they were sorted, save them "
            "before that, or the items of the hits beside them"
        )

    @property
    def of_odd_columns(self) -> str:
        """What a person should know about columns of a table that seem to be no items, or ""."""
        found = odd_columns(self.gallery_ids, self.scores) if self.header else ()
        odd = said_of_odd([self.gallery_ids[at] for at in found])
        return f"{self.source}: {odd}; leave it out if so" if found else ""

    @property
    def is_of_distances(self) -> bool:
        """Whether its name, or that of its file, says that the smallest numbers are the best."""
        return _is_of_distances(self.called, self.source)

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
    numbered: str = ""
    turned_by_name: str = ""
    passed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    header: bool = False


def read_scores(
    path: PathLike,
    *,
    dataset: str | None = None,
    rows: slice | None = None,
    sims_rows: str = "texts",
    query_ids: PathLike | None = None,
    gallery_ids: PathLike | None = None,
    id_column: str | Mapping[str, str] | None = None,
    nan: bool = False,
    inf: bool = False,
) -> ScoreMatrix:
    r"""Read a matrix of scores, queries x gallery, from any kind of file of arrays.

    Named arrays hold `scores`, `t2v`, `sims`, ... (or exactly one 2-D float array) with `query_ids`
    and `gallery_ids`; tables the ids of the queries in a column of text and those of the gallery as
    the names of the others; beside one column of lists they name the rows. A `.npy` has ids in
    `v.query_ids.json` and `v.gallery_ids.json` (or `.txt`) beside it. What is called `ids` only
    names the side that has as many; where both have, `id_column` says which. Without any ids rows
    and columns are called "0", "1", ... and `ids_given` is False.

    A 3-D array (videos, captions, videos), as CLIP4Clip builds it for several captions of a video,
    becomes one row for each caption, called `video#k`; its padding, rows of one number, is dropped,
    and so are the rows that a `query_mask` leaves out.

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
        id_column: the array or column with the names of what is stored as rows, or
            `{"texts": name, "videos": name}`, of which each may be left out.
        nan: NaN stands for "not scored", as -inf does.
        inf: so does +inf, as it does among distances, also where the array is called so.

    Returns:
        The scores, float32 (also for float16 files) or float64, in native byte order.

    Raises:
        FormatError: integers, complex numbers, NaN, +inf, empty, ids that are
            double or too few, ids for one side only; naming file, row and id.
    """
    said = said_of_ids(query_ids, gallery_ids, id_column, turned=_turned(sims_rows))
    with open_container(as_path(path, "read_scores")) as container:
        found = _located(container, dataset, said)
        start, stop = bounds(rows, found.rows.shape[0], found.rows.where)
        missing = _missing(nan=nan, inf=inf or _is_of_distances(found.called, str(path)))
        scores = _read(found.rows, found.query_ids, found.gallery_ids, (start, stop), missing)
        reverse = None
        other = _own_reverse(found)
        if other is not None:
            reverse = _read(other, found.gallery_ids, found.query_ids, None, missing)
    return ScoreMatrix(
        scores, found.query_ids[start:stop], found.gallery_ids, str(path), found.given,
        found.rows.shape[0], reverse, found.called, found.numbered, found.turned_by_name,
        found.passed, found.header,
    )  # fmt: skip


def _is_of_distances(called: str, source: str) -> bool:
    name = called.rpartition("/")[2]
    if name in ("", "embeddings"):  # an array alone, which has no name of its own
        name = Path(source).stem
    words = re.split(r"[^a-z0-9]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower())
    turned = any(map(_TURNED.fullmatch, words))
    return not turned and any(map(_DISTANCES.fullmatch, words))


def _of_numbered(source: PathLike, side: str) -> str:
    if not side:
        return ""
    file = either(f"--{side[:-1]}-ids FILE", f"{LISTS[side]}=FILE")
    return (
        f"{source}: names no {side}, which are called by their numbers, 0, 1, ...; if they have "
        f"names, give them with {file}"
    )


def _of_turned(source: PathLike, name: str) -> str:
    if not name:
        return ""
    return (
        f"{source}: {name!r} is turned, as by its name its rows are videos; "
        f"{option('sims-rows', 'videos')} says that they are, and if they are texts, call it "
        "'scores'"
    )


def _of_passed(source: PathLike, passed: Mapping[str, tuple[str, ...]]) -> str:
    if not passed:
        return ""
    sides = {side for fits in passed.values() for side in fits}
    open_ = " and ".join(side for side in ("texts", "videos") if side in sides)
    ways = [
        f"{way_to_name(side, name)} if it names the {side}"
        for name, fits in passed.items()
        for side in fits
    ]
    both = all(len(fits) == 1 for fits in passed.values()) and len(sides) == len(ways) == 2
    them = f"{named(list(passed))} {'was' if len(passed) == 1 else 'were'}"
    return (
        f"{source}: its {open_} are called by their numbers, 0, 1, ..., and {them} passed over; "
        f"give {(', and ' if both else ', or ').join(ways)}"
    )


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
    missing: Missing,
) -> np.ndarray:  # fmt: skip
    return read_matrix(
        item,
        what="scores",
        rows=rows,
        row_name=lambda row: f"{row} (query {named([queries[row]])})",
        column_name=lambda column: f"{column} (item {named([gallery[column]])})",
        missing=missing,
    )


def _missing(*, nan: bool, inf: bool) -> Missing:
    """What stands for "not scored"."""
    if inf:
        return "nan or inf" if nan else "inf"
    return "nan" if nan else "-inf"


def hash_scores(
    path: PathLike, *, dataset: str | None = None, sims_rows: str = "texts",
    query_ids: PathLike | None = None, gallery_ids: PathLike | None = None,
    id_column: str | Mapping[str, str] | None = None,
) -> str:  # fmt: skip
    """`content_sha256` of all scores of a file, which are read in blocks and not kept.

    Args:
        path: a file that `read_scores` reads.
        dataset: see `read_scores`, as for all others.
        sims_rows: see there.
        query_ids: see there.
        gallery_ids: see there.
        id_column: see there.

    Raises:
        FormatError: a file that changed since it was read.
    """
    said = said_of_ids(query_ids, gallery_ids, id_column, turned=_turned(sims_rows))
    with open_container(Path(path)) as container:
        found = _located(container, dataset, said)
        parts = [sha256_of(found.query_ids), sha256_of(found.gallery_ids), hash_matrix(found.rows)]
        other = _own_reverse(found)
        if other is not None:
            parts.append(hash_matrix(other))
        return sha256_of(parts)


def convert_scores(
    source: PathLike, target: PathLike, *, dataset: str | None = None, sims_rows: str = "texts",
    query_ids: PathLike | None = None, gallery_ids: PathLike | None = None,
    id_column: str | Mapping[str, str] | None = None, unscored: float | None = None,
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
        id_column: see there.
        unscored: the number, or NaN, that stands for "not scored" besides -inf; written as -inf.

    Returns:
        (texts, videos).

    Raises:
        FormatError: not readable, or not writable.
    """
    said = said_of_ids(query_ids, gallery_ids, id_column, turned=_turned(sims_rows))
    with open_container(Path(source)) as container:
        found = _located(container, dataset, said)
        notes = (
            _of_turned(source, found.turned_by_name),
            _of_numbered(source, found.numbered) or _of_passed(source, found.passed),
        )
        for note in filter(None, notes):
            warnings.warn(note, RerankWarning, stacklevel=2)
        shape = (found.rows.shape[0], found.rows.shape[1])
        parts = {"scores": found.rows}
        if found.reverse is not None:
            parts = {"t2v": found.rows, "v2t": found.reverse}
        nan = unscored is not None and math.isnan(unscored)
        far = unscored == math.inf or _is_of_distances(found.called, str(source))
        missing = _missing(nan=nan, inf=far)
        with create_hdf5(target) as out:
            out.attribute("rerank_schema", SCORES_SCHEMA)
            for name, item in parts.items():
                dtype = np.dtype(f"f{item.dtype.itemsize}")
                made = out.dataset(name, (item.shape[0], item.shape[1]), dtype)
                for at, block in checked_blocks(item, what="scores", row_name=str, missing=missing):
                    if unscored is not None:
                        none = np.isnan(block) if nan else block == block.dtype.type(unscored)
                        block = np.where(none, block.dtype.type(-np.inf), block)
                    made[at : at + len(block)] = block
                    out.check()
            if found.given:
                out.ids("query_ids", found.query_ids)
                out.ids("gallery_ids", found.gallery_ids)
    return shape


def _turned(sims_rows: str) -> bool:
    """Whether a matrix is stored videos x texts.

    Raises:
        RerankError: another word.
    """
    if sims_rows not in ("texts", "videos"):
        raise RerankError(f"sims_rows is {sims_rows!r}, expected 'texts' or 'videos'")
    return sims_rows == "videos"


def _located(container: Container, dataset: str | None, said: SaidOfIds) -> _Located:
    if dataset is None or container.nested:
        refuse_ranking(container)
    stored = item = _find(container, dataset)
    called = next((name for name, field in container.fields.items() if field is item), "")
    if not said.turned and (dataset is not None or item is not container.fields.get(_REVERSE)):
        _check_name(container, item, called)
    if len(item.shape) == 3 and item.kind == "float":
        return _captions(container, item, said)
    check_matrix(item, "scores")
    item.check()
    refuse_best_hits(container, item, called)
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
    if said.turned:
        item = _transposed(item)
        if reverse is not None:
            raise FormatError(
                f"{container.path}: holds both t2v and v2t, of which t2v has the texts as rows; "
                f"leave out {option('sims-rows')}"
            )
    turned_by_name = ""
    if item is container.fields.get(_REVERSE) and dataset is None:
        # The other direction alone: its rows are the videos.
        item, said = _transposed(item), replace(said, stored_rows="videos")
        turned_by_name = "" if _lengths_tell(container) else _REVERSE
    ids = both_ids(container, stored, item.shape, said)
    queries, gallery = ids.texts, ids.videos
    lines = (queries, gallery) if said.stored_rows == "texts" else (gallery, queries)
    refuse_ids_among(container, stored, called, lines)
    kept = _kept(container, item.shape[0])
    if kept is not None:
        item, queries = _rows_of(item, kept), tuple(queries[i] for i in kept)
        if reverse is not None:
            reverse = _transposed(_rows_of(_transposed(reverse), kept))
    header = said.stored_rows == "texts" and gallery == container.columns
    return _Located(
        item, queries, gallery, ids.given, reverse, called, ids.numbered, turned_by_name,
        ids.passed, header and stored is container.fields.get("values"),
    )  # fmt: skip


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
    found = likely_scores(found)
    if len(found) == 1:
        return fields[found[0]]
    if found:
        raise FormatError(
            f"{path}: {named(found)} could all be the scores; name the right one 'scores' or give "
            f"{either(f'--dataset {word(found[0])}', f'dataset={found[0]!r}')}"
            f"{or_joined(container)}"
        )
    raise FormatError(
        f"{path}: holds {named(sorted(fields)) or 'nothing'}; expected a 2-D float array "
        f"'scores'{way_of_ranking(container)}"
    )


def _check_name(container: Container, item: Field, name: str) -> None:
    """Refuse a matrix that is called videos x texts, where ids of two lengths do not differ.

    Raises:
        FormatError: such as i2t, or a square one in a file called so.
    """
    if len(item.shape) != 2:
        return
    said = said_direction(name)
    if said == "video-text" and not _lengths_tell(container):
        raise FormatError(
            f"{item.where}: is called so as if its rows were videos; give "
            f"{option('sims-rows', 'videos')}, or call it 'scores' if they are texts"
        )
    # Rows of a table that have names are matched by these.
    told = container.schema is not None or bool(container.columns and len(container.fields) > 1)
    square = item.shape[0] == item.shape[1]
    if not (said or told) and square and direction_in(container.path.stem) == "video-text":
        raise FormatError(
            f"{container.path}: is called so as if the rows of its scores were videos; give "
            f"{option('sims-rows', 'videos')}, or call the file otherwise if they are texts"
        )


def _lengths_tell(container: Container) -> bool:
    """Whether ids of both sides say by their numbers which side is which."""
    texts, videos = lengths_of(container.fields)
    return texts != videos and -1 not in (texts, videos)


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
    others = [name for name in container.fields if is_caption_mask(name)]
    for name in dict.fromkeys((*_MASKS, *others)):
        field = container.fields.get(name)
        if field is None:
            continue
        flat = field.shape in ((count,), (count, 1), (1, count))
        if not flat and name not in _MASKS:
            continue
        if not flat and name != "mask" and len(field.shape) == 1:
            raise FormatError(
                f"{field.where}: says of {field.shape[0]} queries whether they count, and "
                f"there are {count} rows of scores; every row needs an entry"
            )
        if not flat and field.shape[:1] == (count,):
            raise FormatError(
                f"{field.where}: is {field.describe()}, and only one entry for each of the {count} "
                "rows says which count; where pairs do not count, write -inf into their scores and "
                "leave it out of this file"
            )
        if flat:
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


def _captions(container: Container, cube: Field, said: SaidOfIds) -> _Located:
    """(videos, captions, videos) with padding, as one row for each caption that is there."""
    videos, captions, items = cube.shape
    if cube.fix and not cube.odd:
        # A list of matrices, as a loop over batches leaves it.
        raise FormatError(f"{cube.where}: is a list of {videos} matrices of scores; {cube.fix}")
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
    present = np.zeros(videos * captions, dtype=bool)
    present[rows] = True
    rows = rows[captions_there(container.fields, cube, captions, present)[rows]]
    if not len(rows):
        raise FormatError(f"{cube.where}: is padding everywhere; check what wrote it")
    queries, gallery = cube_ids(container, cube, (len(rows), items), said)
    gallery_ids = gallery or tuple(map(str, range(items)))
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
