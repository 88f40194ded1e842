"""`reranked.h5`: what `rerank apply` writes and `rerank eval` reads."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rerank.core.errors import FormatError, RerankError
from rerank.io.field import Field, read_array
from rerank.io.files import (
    ArrayHash,
    PathLike,
    as_path,
    foreign,
    named,
    parse_json,
    sha256_of,
    to_json,
)
from rerank.io.formats.hdf5 import Writer, create_hdf5, open_hdf5
from rerank.io.formats.hdf5_guard import text_attribute
from rerank.io.ids import check_ids, read_ids

RESULTS_SCHEMA = "rerank-results/1"

# The arrays of one direction, in the order in which they are hashed.
_NUMBERS = ("indices", "scores", "gallery_bias", "confidence", "no_match")
_FITTED = "fitted/"


@dataclass(frozen=True, eq=False)
class DirectionResult:
    """The best k gallery items of every query in one direction.

    Attributes:
        query_ids: (n,) names of the queries.
        gallery_ids: (m,) names of the gallery items.
        indices: (n, k) int64 rows of the gallery, best first.
        scores: (n, k) float32 or float64, falling in every row; -inf for items not scored.
        gallery_bias: (m,) what is added to every item's score, or None where the method is not of
            this form.
        label: which queries were used: none, inductive, cross-fit or transductive.
        confidence: (n,) that the first result is right, or None.
        no_match: (n,) that nothing in the gallery is right, or None.

    Raises:
        RerankError: shapes that do not belong together, an index outside the gallery, NaN.
    """

    query_ids: tuple[str, ...]
    gallery_ids: tuple[str, ...]
    indices: np.ndarray
    scores: np.ndarray
    gallery_bias: np.ndarray | None = None
    label: str = "none"
    confidence: np.ndarray | None = None
    no_match: np.ndarray | None = None

    def __post_init__(self) -> None:
        n, m = len(self.query_ids), len(self.gallery_ids)
        if self.indices.ndim != 2 or self.indices.shape != self.scores.shape:
            raise RerankError(
                f"indices {self.indices.shape} and scores {self.scores.shape}: expected two "
                "arrays (n, k)"
            )
        if len(self.indices) != n or self.indices.dtype.kind not in "iu":
            raise RerankError(
                f"indices {self.indices.shape} {self.indices.dtype}: expected one row of integers "
                f"for each of the {n} queries"
            )
        if self.indices.size and not 0 <= self.indices.min() <= self.indices.max() < m:
            raise RerankError(f"indices: one lies outside the gallery of {m} items")
        if self.scores.dtype.kind != "f" or np.isnan(self.scores).any():
            raise RerankError("scores: expected floating point numbers without NaN")
        bias = self.gallery_bias
        if bias is not None and (bias.shape != (m,) or not np.isfinite(bias).all()):
            raise RerankError(f"gallery_bias {bias.shape}: expected {m} finite numbers")
        for name, share in (("confidence", self.confidence), ("no_match", self.no_match)):
            if share is not None and (
                share.shape != (n,) or not ((share >= 0) & (share <= 1)).all()
            ):
                raise RerankError(f"{name} {share.shape}: expected {n} numbers from 0 to 1")


@dataclass(frozen=True, eq=False)
class Results:
    """A result file; see `write_results`.

    Attributes:
        directions: "t2v" and "v2t", those that were computed.
        manifest: what was read, how it was set, what came out.
        em_map: (d, d) linear map of the embeddings, or None.
        scores: (texts, videos) rewritten matrix, or None.
        source: the file.
        fitted: arrays that both directions are rewritten by, or empty.
    """

    directions: dict[str, DirectionResult]
    manifest: dict[str, Any]
    em_map: np.ndarray | None
    scores: np.ndarray | None
    source: str
    fitted: Mapping[str, np.ndarray] = field(default_factory=dict)


def write_results(
    path: PathLike,
    *,
    directions: Mapping[str, DirectionResult],
    manifest: Mapping[str, Any],
    em_map: np.ndarray | None = None,
    scores: np.ndarray | Iterable[np.ndarray] | None = None,
    fitted: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Write `reranked.h5` whole or not at all; the same content gives the same bytes.

    Groups `/t2v` and `/v2t` with `query_ids, gallery_ids, indices, scores, gallery_bias`, where
    asked for `confidence, no_match`, and the attribute `label`; optional `/scores`, `/em_map` and
    the group `/fitted`; attributes `manifest` (JSON), `rerank_schema`, `hashes` (JSON: every
    array's) and `content_sha256` (over all of them).

    Args:
        path: where to; an existing file is replaced when all went well, and kept otherwise.
        directions: "t2v" (texts to videos) and "v2t".
        manifest: anything JSON can hold.
        em_map: (d, d).
        scores: the rewritten matrix, texts x videos, or blocks of its rows in their order, so
            that it never has to be in memory.
        fitted: arrays that both directions are rewritten by.

    Raises:
        FormatError: not writable.
        RerankError: content that would not be read back.
    """
    text = to_json(dict(manifest))
    if not directions or not set(directions) <= {"t2v", "v2t"}:
        raise RerankError(f"directions are {named(list(directions))}; expected 't2v' and 'v2t'")
    hashes: dict[str, str] = {"manifest": sha256_of([text])}
    with create_hdf5(path) as out:
        out.attribute("rerank_schema", RESULTS_SCHEMA)
        out.attribute("manifest", text)
        for name in sorted(directions):
            _write_direction(out, name, directions[name], hashes)
        if em_map is not None:
            out.array("em_map", np.asarray(em_map))
            hashes["em_map"] = sha256_of(np.asarray(em_map))
        for name, array in sorted((fitted or {}).items()):
            out.array(f"{_FITTED}{name}", array)
            hashes[f"{_FITTED}{name}"] = sha256_of(array)
        if scores is not None:
            queries, items = _matrix_shape(directions)
            hashes["scores"] = _write_scores(out, scores, (queries, items))
        listed = to_json(hashes)
        out.attribute("hashes", listed)
        out.attribute("content_sha256", sha256_of([listed]))


def _write_direction(
    out: Writer, name: str, result: DirectionResult, hashes: dict[str, str]
) -> None:
    out.attribute("label", result.label, group=name)
    hashes[f"{name}/label"] = sha256_of([result.label])
    for part, ids in (("query_ids", result.query_ids), ("gallery_ids", result.gallery_ids)):
        names = check_ids(list(ids), f"{name}/{part}")
        out.ids(f"{name}/{part}", names)
        hashes[f"{name}/{part}"] = sha256_of(names)
    for part in _NUMBERS:
        array = getattr(result, part)
        if array is not None:
            array = array.astype(np.int64, copy=False) if part == "indices" else array
            out.array(f"{name}/{part}", array)
            hashes[f"{name}/{part}"] = sha256_of(array)


def _matrix_shape(directions: Mapping[str, DirectionResult]) -> tuple[int, int]:
    if "t2v" in directions:
        return len(directions["t2v"].query_ids), len(directions["t2v"].gallery_ids)
    return len(directions["v2t"].gallery_ids), len(directions["v2t"].query_ids)


def _write_scores(
    out: Writer, scores: np.ndarray | Iterable[np.ndarray], shape: tuple[int, int]
) -> str:
    if isinstance(scores, np.ndarray):
        if scores.shape != shape:
            raise RerankError(f"scores {scores.shape}: expected texts x videos, {shape}")
        out.array("scores", scores)
        return sha256_of(scores)
    at, made, hashed = 0, None, None
    for block in scores:
        if block.shape[1:] != shape[1:] or at + len(block) > shape[0]:
            raise RerankError(f"scores: a block of {block.shape} after row {at} of {shape}")
        if made is None or hashed is None:
            made = out.dataset("scores", shape, block.dtype)
            hashed = ArrayHash(block.dtype, shape)
        made[at : at + len(block)] = block
        hashed.update(block.astype(made.dtype, copy=False))
        out.check()
        at += len(block)
    if at != shape[0] or hashed is None:
        raise RerankError(f"scores: blocks of {at} rows, expected {shape[0]}")
    return hashed.hexdigest()


def read_results(path: PathLike, *, scores: bool = True) -> Results:
    """Read `reranked.h5` and compare every array with the hash stored beside it.

    >>> import tempfile
    >>> from pathlib import Path
    >>> path = Path(tempfile.mkdtemp()) / "reranked.h5"
    >>> best, scores = np.array([[1, 0]]), np.array([[0.9, 0.2]])
    >>> lists = DirectionResult(("q",), ("x", "y"), best, scores, label="inductive")
    >>> write_results(path, directions={"t2v": lists}, manifest={"k": 2})
    >>> found = read_results(path)
    >>> found.manifest["k"], [found.directions["t2v"].gallery_ids[i] for i in best[0]]
    (2, ['y', 'x'])
    >>> read_results("data_samples/videos.h5")
    Traceback (most recent call last):
    rerank.core.errors.FormatError: data_samples/videos.h5: is of the schema 'rerank/1', ...

    Args:
        path: the file.
        scores: whether to read the rewritten matrix, where there is one.

    Raises:
        FormatError: not a result file, damaged, or edited.
    """
    path = as_path(path, "read_results")
    with open_hdf5(path) as (file, fields):
        schema = text_attribute(file, "rerank_schema", path)
        if schema != RESULTS_SCHEMA:
            raise FormatError(
                f"{path}: is of the schema {named([schema])}, expected {RESULTS_SCHEMA!r}, as "
                "written by rerank apply"
            )
        listed = text_attribute(file, "hashes", path) or ""
        if text_attribute(file, "content_sha256", path) != sha256_of([listed]):
            raise _damaged(path, "the list of hashes")
        hashes = parse_json(listed, f"{path}: hashes")
        text = text_attribute(file, "manifest", path) or ""
        check = _Checked(path, fields, hashes)
        check.same("manifest", sha256_of([text]))
        directions = {}
        for name in ("t2v", "v2t"):
            if f"{name}/label" not in hashes:
                continue
            with foreign(path, "HDF5"):
                group: Any = file[name]
            label = text_attribute(group, "label", path) or ""
            check.same(f"{name}/label", sha256_of([label]))
            indices, values, bias, *sure = (check.array(f"{name}/{part}") for part in _NUMBERS)
            if indices is None or values is None:
                raise _damaged(path, name)
            queries, items = check.ids(f"{name}/query_ids"), check.ids(f"{name}/gallery_ids")
            directions[name] = DirectionResult(queries, items, indices, values, bias, label, *sure)
        matrix = check.array("scores") if scores else None
        em_map = check.array("em_map")
        fitted = {
            name.removeprefix(_FITTED): array
            for name in hashes
            if name.startswith(_FITTED) and (array := check.array(name)) is not None
        }
    manifest = parse_json(text, f"{path}: manifest")
    return Results(directions, manifest, em_map, matrix, str(path), fitted)


@dataclass(frozen=True)
class _Checked:
    """The parts of a file, each compared with its hash when it is read."""

    path: PathLike
    fields: Mapping[str, Field]
    hashes: Mapping[str, str]

    def same(self, name: str, found: str) -> None:
        if self.hashes.get(name) != found:
            raise _damaged(self.path, name)

    def array(self, name: str) -> np.ndarray | None:
        """An array; None when the file is one without."""
        if name not in self.hashes:
            return None
        array = read_array(self._field(name))
        self.same(name, sha256_of(array))
        return array

    def ids(self, name: str) -> tuple[str, ...]:
        ids = read_ids(self._field(name))
        self.same(name, sha256_of(ids))
        return ids

    def _field(self, name: str) -> Field:
        if name not in self.fields:
            raise _damaged(self.path, name)
        return self.fields[name]


def _damaged(path: PathLike, name: str) -> FormatError:
    return FormatError(
        f"{path}: {name} does not match the hash stored with it; the file is damaged or was "
        "edited, run rerank apply again"
    )
