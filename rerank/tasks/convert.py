"""`rerank convert`: any file of embeddings or scores as the canonical one."""

from pathlib import Path

from rerank import io
from rerank.core.errors import RerankError
from rerank.core.memory import limit
from rerank.core.words import Side, words_of
from rerank.io.files import printable
from rerank.io.reading import Reading
from rerank.tasks.answer import Answer
from rerank.tasks.read import check_names, names_in

# What the canonical files say that they are.
_KINDS = {"embeddings": "rerank/1", "scores": "an HDF5 file"}


def convert_file(
    source: Path,
    target: Path,
    *,
    what: str = "embeddings",
    side: str = "videos",
    reading: Reading | None = None,
    memory: str | None = None,
    force: bool = False,
) -> Answer:
    """Write a file of any kind as canonical HDF5, block by block.

    Args:
        source: what is read.
        target: what is written, `.h5`; an input is never replaced, a file of another kind only
            with `force`.
        what: "embeddings" or "scores".
        side: "texts" or "videos", which of the options that name a side are meant.
        reading: what the user said about the file.
        memory: how much to use.
        force: replace a file of another kind.

    Raises:
        RerankError: a file that cannot be read, or a place that cannot be written.
    """
    if what not in _KINDS or side not in words_of(Side):
        raise RerankError(
            f"convert: got {what!r} and {side!r}, expected embeddings or scores, texts or videos"
        )
    said = reading or Reading()
    inputs = (source, said.text_ids, said.video_ids)
    io.check_outputs({"OUT": target}, inputs, force=force, kind=_KINDS[what])
    if target.suffix.lower() not in (".h5", ".hdf5"):
        raise RerankError(f"{target}: the canonical file is HDF5; call it {target.stem}.h5")
    with limit(memory):
        if what == "scores":
            n, m = io.convert_scores(
                source, target, dataset=said.named("dataset", side)[0], sims_rows=said.sims_rows,
                query_ids=said.text_ids, gallery_ids=said.video_ids,
            )  # fmt: skip
            size = f"{n} texts x {m} videos"
        else:
            check_names(said, [source])
            ids = said.ids_of(side)
            names = names_in(said, source, side)
            n, m = io.convert_embeddings(
                source, target, dataset=names["dataset"], id_column=names["id_column"],
                embedding_column=names["embedding_column"], pool=said.pool,
                pool_raw=said.pool_raw, ids=None if ids is None else str(ids), side=side,
            )  # fmt: skip
            size = f"{n} rows, d = {m}"
    manifest = {"source": str(source), "target": str(target), "what": what, "shape": [n, m]}
    return Answer(manifest, printable(f"wrote {target}: {size}"))
