"""Top-K lists in the formats of other tools: JSON, JSON lines, parquet, TREC run."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from rerank.core.errors import RerankError
from rerank.io.files import PathLike, atomic_path, named, to_json, write_text
from rerank.io.formats.parquet import import_arrow
from rerank.io.results import DirectionResult

# Queries of one row group of the parquet table.
_GROUP = 8192


def write_topk(
    path: PathLike, directions: Mapping[str, DirectionResult], *, direction: str | None = None
) -> None:
    """Write top-K lists in the format that the suffix names.

    `.json`, `.jsonl`, `.parquet`, or `.trec` / `.run` for a TREC run, which has room for one
    direction only.

    Args:
        path: where to; replaced whole or not at all.
        directions: results by direction.
        direction: write only this one.

    Raises:
        FormatError: not writable.
        RerankError: a suffix or direction that is not known; an id the format has no room for.
    """
    if direction is not None:
        if direction not in directions:
            raise RerankError(f"direction {direction!r} is not among {named(list(directions))}")
        directions = {direction: directions[direction]}
    suffix = Path(path).suffix.lower()
    if suffix == ".json":
        write_topk_json(path, directions)
    elif suffix == ".jsonl":
        write_topk_jsonl(path, directions)
    elif suffix == ".parquet":
        write_topk_parquet(path, directions)
    elif suffix in (".trec", ".run"):
        if len(directions) != 1:
            raise RerankError(
                f"{path}: a TREC run holds one direction; say which of {named(list(directions))}"
            )
        write_trec_run(path, next(iter(directions.values())))
    else:
        raise RerankError(
            f"{path}: the ending {suffix!r} is not known; expected .json, .jsonl, .parquet, .trec "
            "or .run"
        )


def _rows(result: DirectionResult) -> Iterator[tuple[str, list[str], list[float | None]]]:
    """Query, items best first, scores; None for -inf, which JSON has no word for."""
    for query, indices, scores in zip(result.query_ids, result.indices, result.scores, strict=True):
        items = [result.gallery_ids[i] for i in indices]
        yield query, items, [float(s) if np.isfinite(s) else None for s in scores]


def write_topk_json(path: PathLike, directions: Mapping[str, DirectionResult]) -> None:
    """One object: `{"t2v": {query: [{"id": item, "score": s}, ...]}, ...}`, best first."""

    def pieces() -> Iterator[str]:
        yield "{"
        for number, (name, result) in enumerate(directions.items()):
            yield f"{',' if number else ''}\n{to_json(name)}: {{"
            for row, (query, items, scores) in enumerate(_rows(result)):
                found = [{"id": i, "score": s} for i, s in zip(items, scores, strict=True)]
                yield f"{',' if row else ''}\n{to_json(query)}: {to_json(found)}"
            yield "\n}"
        yield "\n}\n"

    write_text(path, pieces())


def write_topk_jsonl(path: PathLike, directions: Mapping[str, DirectionResult]) -> None:
    """One object a line: `{"direction": ..., "query": ..., "ids": [...], "scores": [...]}`."""
    write_text(
        path,
        (
            to_json({"direction": name, "query": query, "ids": items, "scores": scores}) + "\n"
            for name, result in directions.items()
            for query, items, scores in _rows(result)
        ),
    )


def write_topk_parquet(path: PathLike, directions: Mapping[str, DirectionResult]) -> None:
    """A table `direction, query_id, rank, gallery_id, score`: one row for each listed item.

    Raises:
        RerankError: pyarrow is not installed.
    """
    arrow = import_arrow()
    import pyarrow as pa

    schema = pa.schema(
        [
            ("direction", pa.string()),
            ("query_id", pa.string()),
            ("rank", pa.int64()),
            ("gallery_id", pa.string()),
            ("score", pa.float64()),
        ]
    )
    with atomic_path(path) as temporary:
        with arrow.ParquetWriter(temporary, schema) as out:
            for name, result in directions.items():
                gallery = np.array(result.gallery_ids, dtype=object)
                k = result.indices.shape[1]
                for start in range(0, len(result.query_ids), _GROUP):
                    queries = result.query_ids[start : start + _GROUP]
                    indices = result.indices[start : start + _GROUP]
                    scores = result.scores[start : start + _GROUP]
                    columns = [
                        pa.array([name] * indices.size, pa.string()),
                        pa.array(np.repeat(np.array(queries, dtype=object), k), pa.string()),
                        pa.array(np.tile(np.arange(1, k + 1), len(queries)), pa.int64()),
                        pa.array(gallery[indices.reshape(-1)], pa.string()),
                        pa.array(scores.reshape(-1).astype(np.float64), pa.float64()),
                    ]
                    out.write_table(pa.Table.from_arrays(columns, schema=schema))


def write_trec_run(path: PathLike, result: DirectionResult, *, tag: str = "rerank") -> None:
    """`query Q0 item rank score tag`, as trec_eval reads it.

    trec_eval ranks by score alone, read in single precision, and breaks ties by the name of the
    item. So that it sees our ranking, a score that is not below the one before it becomes the next
    smaller float32. Items that were not scored (-inf) are left out.

    Raises:
        RerankError: an id with white space, for which the format has no room.
    """
    for item in (*result.query_ids, *result.gallery_ids, tag):
        if not item or item.split() != [item]:
            raise RerankError(
                f"{path}: the id {named([item])} has white space in it, which a TREC run has no "
                "room for; write .json or .jsonl"
            )

    def lines() -> Iterator[str]:
        falling = strictly_falling(result.scores)
        for query, indices, scores in zip(result.query_ids, result.indices, falling, strict=True):
            for rank, (item, score) in enumerate(zip(indices, scores, strict=True), start=1):
                if np.isfinite(score):
                    # Nine digits tell any two float32 apart.
                    yield f"{query} Q0 {result.gallery_ids[item]} {rank} {score:.9g} {tag}\n"

    write_text(path, lines())


def strictly_falling(scores: np.ndarray) -> np.ndarray:
    """(n, k) float32 scores that fall strictly along every row, as near to the given as can be."""
    limit = np.finfo(np.float32).max
    falling = np.where(np.isneginf(scores), -np.inf, np.clip(scores, -limit, limit))
    falling = falling.astype(np.float32)
    for column in range(1, falling.shape[1]):
        below = np.nextafter(falling[:, column - 1], np.float32(-np.inf))
        falling[:, column] = np.minimum(falling[:, column], below)
    return falling
