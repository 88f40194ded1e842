"""Files: embeddings, score matrices, ground truth and results.

Names are imported on first use, so that the registry of file formats costs no import of numpy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rerank.io.embeddings import Embeddings as Embeddings
    from rerank.io.embeddings import Norms as Norms
    from rerank.io.embeddings import as_embeddings as as_embeddings
    from rerank.io.embeddings import convert_embeddings as convert_embeddings
    from rerank.io.embeddings import hash_embeddings as hash_embeddings
    from rerank.io.embeddings import held as held
    from rerank.io.embeddings import read_embeddings as read_embeddings
    from rerank.io.embeddings import write_embeddings as write_embeddings
    from rerank.io.files import atomic_path as atomic_path
    from rerank.io.files import check_place as check_place
    from rerank.io.files import read_json as read_json
    from rerank.io.files import sha256_of as sha256_of
    from rerank.io.files import sha256_of_file as sha256_of_file
    from rerank.io.files import write_json as write_json
    from rerank.io.files import write_text as write_text
    from rerank.io.identify import kind_of_file as kind_of_file
    from rerank.io.outputs import check_outputs as check_outputs
    from rerank.io.rankings import write_topk as write_topk
    from rerank.io.rankings import write_topk_json as write_topk_json
    from rerank.io.rankings import write_topk_jsonl as write_topk_jsonl
    from rerank.io.rankings import write_topk_parquet as write_topk_parquet
    from rerank.io.rankings import write_trec_run as write_trec_run
    from rerank.io.reading import Reading as Reading
    from rerank.io.results import RESULTS_SCHEMA as RESULTS_SCHEMA
    from rerank.io.results import DirectionResult as DirectionResult
    from rerank.io.results import Results as Results
    from rerank.io.results import read_results as read_results
    from rerank.io.results import write_results as write_results
    from rerank.io.run_files import RankedLists as RankedLists
    from rerank.io.run_files import convert_rankings as convert_rankings
    from rerank.io.run_files import read_rankings as read_rankings
    from rerank.io.scores import SCORES_SCHEMA as SCORES_SCHEMA
    from rerank.io.scores import ScoreMatrix as ScoreMatrix
    from rerank.io.scores import convert_scores as convert_scores
    from rerank.io.scores import hash_scores as hash_scores
    from rerank.io.scores import read_scores as read_scores
    from rerank.io.truths.ground_truth import GroundTruth as GroundTruth
    from rerank.io.truths.ground_truth import convert_ground_truth as convert_ground_truth
    from rerank.io.truths.ground_truth import read_ground_truth as read_ground_truth

_NAMES = {
    "embeddings": (
        "Embeddings", "Norms", "as_embeddings", "convert_embeddings", "hash_embeddings", "held",
        "read_embeddings", "write_embeddings",
    ),
    "files": (
        "atomic_path", "check_place", "read_json", "sha256_of", "sha256_of_file", "write_json",
        "write_text",
    ),
    "truths.ground_truth": ("GroundTruth", "convert_ground_truth", "read_ground_truth"),
    "identify": ("kind_of_file",),
    "outputs": ("check_outputs",),
    "rankings": (
        "write_topk", "write_topk_json", "write_topk_jsonl", "write_topk_parquet",
        "write_trec_run",
    ),
    "item_values": ("item_numbers",),
    "reading": ("Reading",),
    "results": ("RESULTS_SCHEMA", "DirectionResult", "Results", "read_results", "write_results"),
    "run_files": ("RankedLists", "convert_rankings", "read_rankings"),
    "scores": ("SCORES_SCHEMA", "ScoreMatrix", "convert_scores", "hash_scores", "read_scores"),
}  # fmt: skip
_HOME = {name: f"rerank.io.{module}" for module, names in _NAMES.items() for name in names}

__all__ = sorted(_HOME)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:  # noqa: ANN401  whatever the name stands for
    if name not in _HOME:
        raise AttributeError(f"module 'rerank.io' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
