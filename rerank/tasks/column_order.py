"""Two tables of vectors whose columns have names: these have to say the same, place by place."""

from pathlib import Path

from rerank.core.errors import FormatError
from rerank.core.shell import word
from rerank.io import Embeddings
from rerank.io.column_names import unlike
from rerank.io.recipes import columns_in_order, free

_TEXT = (".csv", ".tsv")


def check_columns(reference: Embeddings, other: Embeddings) -> None:
    """Refuse two tables whose columns are called by other names, or stand in another order.

    Raises:
        FormatError: they are paired by their places, and the names say otherwise.
    """
    why = unlike(other.columns, reference.columns)
    if not why:
        return
    source, like = Path(other.source), Path(reference.source)
    same = set(other.columns) == set(reference.columns)
    way = "give both the same columns"
    if same:
        way = "save one with its columns in the order of the other"
    if same and source.is_file() and like.is_file() and _alike(source, like):
        way = f"put them in one order: {columns_in_order(source, like)}"
    if source.is_file():
        plain = free(source.with_suffix(".h5"))
        way += f"; if they are meant place by place: rerank convert {word(str(source))} "
        way += f"{word(str(plain))}, which keeps no names"
    raise FormatError(f"{source} and {like} have {why}; {way}")


def _alike(one: Path, other: Path) -> bool:
    """Whether both are text, or both parquet."""
    endings = {one.suffix.lower(), other.suffix.lower()}
    return endings <= set(_TEXT) or endings <= {".parquet", ".pq"}
