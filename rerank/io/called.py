"""What a file is called that an output would replace: in words, and by what reads in it."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from rerank.core.errors import RerankError
from rerank.io.identify import PAGE

# Kinds by their schema.
_WORDS = {
    "rerank/1": "embeddings",
    "rerank-results/1": "results",
    "rerank-scores/1": "scores",
    "rerank-settings/1": "settings",
    "rerank-export/2": "the side-car of an export",
    "rerank-model/1": "a model",
    "rerank/fitted": "a model",
    "rerank/trained": "heads",
    "rerank/checkpoint": "a checkpoint",
}
_READ = ("JSON", "text", "a parquet table")
# Bytes of a file that is read to be called by its right name.
_MOST = 32 << 20
# Fewer numbers in a line may be anything.
_WIDE = 8


def called(kind: str, path: Path | None = None) -> str:
    """A kind of `kind_of_file` in words; of text and JSON also what reads as.

    >>> called("rerank/1"), called("JSON", Path("data_samples/gt.json"))
    ('embeddings (rerank/1)', 'JSON that reads as a ground truth')
    """
    if kind in _READ and path is not None and path.stat().st_size <= _MOST:
        for reads, what in _READERS:
            with suppress(RerankError):
                if reads(path):
                    return f"{kind} that reads as {what}"
    if kind == PAGE:
        return "a page of this toolkit"
    return f"{_WORDS[kind]} ({kind})" if kind in _WORDS else kind


def _is_rankings(path: Path) -> bool:
    """Whether lists have ranks, or scores that are no grades."""
    from rerank.io.run_files import read_rankings

    made = read_rankings(path)
    scores = [line for lists in made for line in lists.scores]
    return any(lists.ranked for lists in made) or any((x % 1 != 0).any() for x in scores)


def _is_embeddings(path: Path) -> bool:
    from rerank.io.embeddings import read_embeddings

    return read_embeddings(path, row_numbers=True).vectors.shape[1] >= _WIDE


def _is_truth(path: Path) -> bool:
    """Whether it names its sides, or is an object of names; lines without a header may be prose."""
    from rerank.io.truths.forms import readings_of

    made = next((one for one in readings_of(path) if one.count), None)
    if made is None or made.captions:
        return False
    return made.fixed or (
        made.how.startswith("an object") and not any(x.second.isdecimal() for x in made.pairs)
    )


_READERS: tuple[tuple[Callable[[Path], bool], str], ...] = (
    (_is_rankings, "rankings"),
    (_is_embeddings, "embeddings"),
    (_is_truth, "a ground truth"),
)
