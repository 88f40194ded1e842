"""Several vectors of each id in one table: what tells them apart, such as the model of each."""

import re

from rerank.io.container import Container
from rerank.io.field import Field, afford
from rerank.io.ids import first_duplicate, is_list, read_ids
from rerank.io.split_flags import values_as_text

# What tells vectors of one item apart; frames and captions of one item are counted.
_TELLS = {
    "model", "models", "layer", "layers", "type", "kind", "version", "checkpoint", "ckpt", "epoch",
    "variant", "aug", "augmentation", "backbone", "encoder", "network", "arch", "architecture",
    "feature", "feat", "representation", "repr", "pooling", "modality", "stream", "view", "source",
    "method", "system", "run", "seed", "lang", "language", "locale", "field", "dataset", "stage",
    "split", "subset", "resolution", "precision", "normalization",
}  # fmt: skip
_ENDS = {"name", "names", "id", "idx", "index", "no", "num", "number", "type", "label"}
# More different ones are no few models.
_MOST = 64


def several_of_each(
    container: Container, id_column: str | None = None
) -> tuple[str, str, tuple[str, ...]] | None:
    """The column that tells several vectors of an id apart, such an id, and what it says of rows.

    None where no id comes again, or where no column of a few words makes each row one of its own.

    Args:
        container: the table.
        id_column: the column of ids, where that was named.
    """
    counts = {
        item.shape[0] for name, item in container.fields.items()
        if item.kind == "float" and len(item.shape) > 1 and "/" not in name
    }  # fmt: skip
    columns = {**container.numbers, **container.fields}
    listed = [
        name
        for name, item in columns.items()
        if tells_vectors_apart(name) and _is_column(item, counts)
    ]
    tiers = ((id_column,),) if id_column else container.id_names
    ids = next(
        (container.fields[name] for tier in tiers for name in tier
         if name not in listed and name in container.fields
         and _is_column(container.fields[name], counts)), None,
    )  # fmt: skip
    if ids is None or not listed:
        return None
    names = read_ids(ids)
    if (again := first_duplicate(names)) is None:
        return None
    for name in listed:
        item = columns[name]
        item.check()
        afford(64 * item.shape[0], item.where, what="the column of words")
        values = tuple(values_as_text(item))
        pairs = set(zip(names, values, strict=False))
        if 1 < len(set(values)) <= _MOST and len(pairs) == len(names) == len(values):
            return name, again[0], values
    return None


def tells_vectors_apart(name: str) -> bool:
    """Whether a column is called as those are that tell vectors of one item apart.

    >>> [tells_vectors_apart(name) for name in ("model", "layerIdx", "encoder_name", "caption_no")]
    [True, True, True, False]
    """
    words = re.findall("[a-z]+", re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower())
    while len(words) > 1 and words[-1] in _ENDS:
        words.pop()
    return bool(words) and words[-1] in _TELLS


def _is_column(item: Field, counts: set[int]) -> bool:
    known = item.kind in ("text", "integer", "float") and not item.odd
    return known and is_list(item) and bool(item.shape) and item.shape[0] in counts
