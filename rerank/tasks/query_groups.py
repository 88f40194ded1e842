"""Several texts of a query, such as rewrites and translations, as one that is ranked once."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from rerank.core.arrays import unit_rows
from rerank.core.errors import FormatError, RerankError
from rerank.core.similarity import as_matrix
from rerank.core.words import Metric
from rerank.io.files import read_json
from rerank.io.text_table import two_columns
from rerank.tasks.read import Inputs

# The word for "what is before the # of a text's id".
BY_IDS = "ids"


def group_names(
    given: str | Path | Mapping[str, str] | Sequence[str] | None, ids: Sequence[str]
) -> tuple[str, ...] | None:
    """The query of each text, or None where each is one.

    Raises:
        RerankError: a text without a query.
    """
    if given is None:
        return None
    if isinstance(given, str) and given == BY_IDS:
        parts = [name.rpartition("#") for name in ids]
        odd = next((name for name, (_, sign, _) in zip(ids, parts, strict=True) if not sign), None)
        if odd is not None:
            raise RerankError(
                f"--query-groups ids: {odd!r} has no #; texts of one query are called query#1, "
                "query#2, or a file names the query of each"
            )
        return tuple(name for name, _, _ in parts)
    if isinstance(given, str | Path):
        given = _read_groups(Path(given))
    if not isinstance(given, Mapping):
        if len(given) != len(ids):
            raise RerankError(
                f"query_groups: got {len(given)} names, expected one for each of {len(ids)} texts"
            )
        return tuple(map(str, given))
    odd = next((name for name in ids if name not in given), None)
    if odd is not None:
        raise RerankError(f"query groups: {odd!r} has no query; every text needs one")
    return tuple(str(given[name]) for name in ids)


def _read_groups(path: Path) -> dict[str, str]:
    """{text id: query} of a JSON object, or of two columns of a CSV or TSV file."""
    if path.suffix.lower() == ".json":
        found = read_json(path)
        if not isinstance(found, dict):
            raise FormatError(f"{path}: got a JSON {type(found).__name__}, expected an object")
        return {str(key): str(value) for key, value in found.items()}
    return dict(two_columns(path, "a text id and its query"))


def pooled(inputs: Inputs, groups: Sequence[str], metric: Metric = "cosine") -> Inputs:
    """One text for each query: the mean of its texts, whose scores are the mean of theirs.

    Rows of cosine embeddings are made unit before, and compared by cosine after.
    """
    names = tuple(dict.fromkeys(groups))
    place = {name: row for row, name in enumerate(names)}
    rows = torch.tensor([place[name] for name in groups])
    models = inputs.models or (inputs,)
    if inputs.heads is not None:
        raise RerankError("--query-groups works on embeddings as they are: leave out --heads")
    if inputs.scores is not None:
        base = inputs.stored.t2v.scores()
        if inputs.stored.v2t is not None:
            raise RerankError("--query-groups: a file with a matrix for each direction has no pool")
        made = replace(
            inputs.scores, scores=_means(base, rows, len(names)).numpy(), query_ids=names,
            total_rows=len(names), ids_given=True,
        )  # fmt: skip
        return replace(inputs, scores=made, scores_are="similarities", unscored=None, models=models)
    assert inputs.texts is not None
    x = as_matrix(inputs.texts.vectors, "texts")
    x = x if metric == "dot" else unit_rows(x, "texts")
    texts = replace(
        inputs.texts, ids=names, vectors=_means(x, rows, len(names)).numpy(), group_ids=None,
        total_rows=len(names), ids_given=True,
    )  # fmt: skip
    return replace(inputs, texts=texts, models=models)


def _means(x: torch.Tensor, rows: torch.Tensor, count: int) -> torch.Tensor:
    out = torch.zeros((count, x.shape[1]), dtype=x.dtype).index_add_(0, rows, x.cpu())
    return out / torch.bincount(rows, minlength=count).clamp_min(1)[:, None]
