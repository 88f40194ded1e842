"""The file that the toolkit itself writes, with or without frames."""

from rerank.core.errors import FormatError
from rerank.core.wording import either
from rerank.io.container import SCHEMA, Container, Found, listing
from rerank.io.field import check_matrix
from rerank.io.files import named
from rerank.io.frames.pooling import how_to_pool, pooled_offsets
from rerank.io.given_ids import check_given_ids
from rerank.io.ids import read_ids
from rerank.io.layouts.row_ids import groups_of_rows, named_rows
from rerank.io.layouts.wanted import Wanted
from rerank.io.row_numbers import check_padded


def canonical(container: Container, wanted: Wanted) -> Found:
    """Layout 1: what the toolkit itself writes, with or without frames."""
    path, fields = container.path, container.fields
    if container.schema != SCHEMA:
        kinds = {
            "results": "rerank eval reads it",
            "scores": f"give it with {either('--sims', 'scores=')}",
        }
        hint = next((h for k, h in kinds.items() if k in str(container.schema)), "write it again")
        raise FormatError(
            f"{path}: is of the schema {named([container.schema])}, expected {SCHEMA!r}; {hint}"
        )
    if "ids" not in fields:
        raise FormatError(f"{path}: says it is {SCHEMA} but has no 'ids'; write it again")
    ids = read_ids(fields["ids"])
    name = (wanted.dataset or "embeddings").strip("/")
    framed = "frames" in fields and "offsets" in fields and name in ("embeddings", "frames")
    # One setting serves several files, of which not all have frames.
    if name in fields and name != "frames" and not (framed and wanted.pooling):
        rows = fields[name]
        check_matrix(rows, "embeddings")
    elif framed:
        if wanted.pooling is None:
            raise FormatError(
                f"{path}: holds frames of {len(ids)} items and no vector for each; {how_to_pool()}"
            )
        rows = pooled_offsets(fields["frames"], fields["offsets"], ids, wanted.pooling)
    elif wanted.dataset is not None:
        raise FormatError(f"{path}: there is no {wanted.dataset!r}; {listing(container)}")
    else:
        raise FormatError(f"{path}: says it is {SCHEMA}; {listing(container)}")
    where = fields["ids"].where
    if wanted.ids is not None:
        check_given_ids(wanted.ids, ids, source=wanted.ids_from, where=str(path))
        ids, where = wanted.ids, "the file of ids"
    if wanted.force_rows:
        check_padded(ids, str(path), lambda: wanted.unpadded(path))
        ids = tuple(map(str, range(rows.shape[0])))
    ids = named_rows(ids, rows, where)
    groups = groups_of_rows(fields.get("group_ids"), rows)
    stored = rows is fields.get("embeddings") and not wanted.force_rows
    return Found(rows, ids, groups, as_stored=stored, ids_given=not wanted.force_rows)
