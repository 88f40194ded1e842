"""`rerank convert`: whatever people hold as the canonical file."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rerank import io
from rerank.core.errors import RerankError
from rerank.core.memory import limit
from rerank.core.nouns import counted
from rerank.core.words import Side, words_of
from rerank.io.files import printable
from rerank.io.id_files import read_id_file
from rerank.io.identify import TRUTH
from rerank.io.reading import ROWS, Reading
from rerank.methods.kinds import parse_unscored
from rerank.tasks.answer import Answer, caught
from rerank.tasks.read import check_names, lists_of_ids, names_in

_HDF5 = (".h5", ".hdf5")


@dataclass(frozen=True)
class _Job:
    """One conversion, as it was asked for."""

    source: Path
    target: Path
    side: str | None
    said: Reading
    unscored: str | None


def convert_file(
    source: Path,
    target: Path,
    *,
    what: str = "embeddings",
    side: str | None = None,
    reading: Reading | None = None,
    unscored: str | None = None,
    memory: str | None = None,
    force: bool = False,
) -> Answer:
    """Write a file of any kind as the canonical one, embeddings and scores block by block.

    Args:
        source: what is read.
        target: what is written, `.h5`, for a ground truth `.json`; an input is never replaced, a
            file of another kind only with `force`.
        what: "embeddings", "scores", "ground-truth" or "results".
        side: "texts" or "videos": which of the options that name a side are meant, or whose
            lists results are.
        reading: what the user said about the file.
        unscored: of scores, the number that stands for "not scored"; it becomes -inf.
        memory: how much to use.
        force: replace a file of another kind.

    Raises:
        RerankError: a file that cannot be read, or a place that cannot be written.
    """
    if what not in _CONVERSIONS or side not in (None, *words_of(Side)):
        raise RerankError(
            f"convert: got {what!r} and {side!r}, expected {', '.join(_CONVERSIONS)}; texts or "
            "videos"
        )
    kind, endings, work = _CONVERSIONS[what]
    said = reading or Reading()
    inputs = (source, said.text_ids, said.video_ids)
    io.check_outputs({"OUT": target}, inputs, force=force, kind=kind)
    if target.suffix.lower() not in endings:
        word = "JSON" if ".json" in endings else "HDF5"
        raise RerankError(
            f"{target}: the canonical file is {word}; call it {target.stem}{endings[0]}"
        )
    if unscored is not None and what != "scores":
        raise RerankError("--unscored is of scores; give --what scores, or leave it out")
    with limit(memory), caught() as notes:
        shape, size = work(_Job(source, target, side, said, unscored))
    manifest = {"source": str(source), "target": str(target), "what": what, "shape": shape}
    return Answer(manifest, printable(f"wrote {target}: {size}"), tuple(notes))


def _embeddings(job: _Job) -> tuple[list[int], str]:
    said, side = job.said, job.side or "videos"
    check_names(said, [job.source])
    ids = said.ids_of(side)
    names = names_in(said, job.source, side)
    n, d = io.convert_embeddings(
        job.source, job.target, dataset=names["dataset"], id_column=names["id_column"],
        embedding_column=names["embedding_column"], pool=said.pool,
        pool_raw=said.pool_raw, ids=None if ids is None else str(ids), side=side,
    )  # fmt: skip
    return [n, d], f"{counted(n, 'rows')}, d = {d}"


def _scores(job: _Job) -> tuple[list[int], str]:
    said, value = job.said, parse_unscored(job.unscored)
    n, m = io.convert_scores(
        job.source, job.target, dataset=said.named("dataset", job.side or "videos")[0],
        sims_rows=said.sims_rows, query_ids=said.text_ids, gallery_ids=said.video_ids,
        id_column=lists_of_ids(said), unscored=None if isinstance(value, str) else value,
    )  # fmt: skip
    return [n, m], f"{n} x {m} scores"


def _truth(job: _Job) -> tuple[list[int], str]:
    if str(job.source) == "diagonal":
        raise RerankError("diagonal: is no file; give --gt diagonal to the command that needs it")
    given = [job.said.text_ids, job.said.video_ids]
    if any(path is not None for path in given) and any(
        path is None or str(path) == ROWS for path in given
    ):
        raise RerankError("give --text-ids and --video-ids together, each a file, or neither")
    texts, videos = (
        None if path is None else read_id_file(path, side=side)
        for path, side in zip(given, ("texts", "videos"), strict=True)
    )
    count = io.convert_ground_truth(
        job.source, job.target, query_ids=texts, gallery_ids=videos,
        direction=job.said.gt_direction, split=job.said.of_truth()["split"],
    )  # fmt: skip
    return [count], counted(count, "pairs")


def _results(job: _Job) -> tuple[list[int], str]:
    n, k = io.convert_rankings(job.source, job.target, queries=job.side or "")
    return [n, k], f"{counted(n, 'lists')} of up to {counted(k, 'items')}"


# By what is written: the kind that the file then is, its endings, and what writes it.
_CONVERSIONS: dict[str, tuple[str, tuple[str, ...], Callable[[_Job], tuple[list[int], str]]]] = {
    "embeddings": ("rerank/1", _HDF5, _embeddings),
    "scores": (io.SCORES_SCHEMA, _HDF5, _scores),
    "ground-truth": (TRUTH, (".json",), _truth),
    "results": (io.RESULTS_SCHEMA, _HDF5, _results),
}
