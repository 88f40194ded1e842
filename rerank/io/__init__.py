"""Files: embeddings, score matrices, ground truth and results."""

from rerank.io.embeddings import (
    Embeddings,
    Norms,
    hash_embeddings,
    read_embeddings,
    write_embeddings,
)
from rerank.io.files import (
    atomic_path,
    read_json,
    sha256_of,
    sha256_of_file,
    write_json,
    write_text,
)
from rerank.io.groundtruth import GroundTruth, read_ground_truth
from rerank.io.rankings import (
    write_topk,
    write_topk_json,
    write_topk_jsonl,
    write_topk_parquet,
    write_trec_run,
)
from rerank.io.results import DirectionResult, Results, read_results, write_results
from rerank.io.scores import ScoreMatrix, as_log_scores, hash_scores, kind_of_scores, read_scores

__all__ = [
    "DirectionResult",
    "Embeddings",
    "GroundTruth",
    "Norms",
    "Results",
    "ScoreMatrix",
    "as_log_scores",
    "atomic_path",
    "hash_embeddings",
    "hash_scores",
    "kind_of_scores",
    "read_embeddings",
    "read_ground_truth",
    "read_json",
    "read_results",
    "read_scores",
    "sha256_of",
    "sha256_of_file",
    "write_embeddings",
    "write_json",
    "write_results",
    "write_text",
    "write_topk",
    "write_topk_json",
    "write_topk_jsonl",
    "write_topk_parquet",
    "write_trec_run",
]
