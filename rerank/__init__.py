"""Re-rank cross-modal retrieval from precomputed embeddings, without training.

A fitted reranker is one linear map and one number per gallery item: it is tiny, saves to a file,
serves one unseen query, streams, and folds into any inner-product index as one extra dimension.

Names are imported on first use, so that `rerank --help` need not import torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rerank.api import rerank as rerank
    from rerank.errors import FormatError as FormatError
    from rerank.errors import NeedsEmbeddings as NeedsEmbeddings
    from rerank.errors import RerankError as RerankError
    from rerank.evaluation import evaluate as evaluate
    from rerank.methods.dual_softmax import DualSoftmax as DualSoftmax
    from rerank.methods.em import EM as EM
    from rerank.methods.neighbors import CSLS as CSLS
    from rerank.methods.neighbors import NNN as NNN
    from rerank.methods.sinkhorn import Sinkhorn as Sinkhorn
    from rerank.methods.softmax import InvertedSoftmax as InvertedSoftmax
    from rerank.reranker import Bank as Bank
    from rerank.reranker import GalleryBias as GalleryBias
    from rerank.reranker import LinearMap as LinearMap
    from rerank.reranker import Pipeline as Pipeline
    from rerank.runs import apply as apply
    from rerank.search import topk as topk
    from rerank.similarity import Dense as Dense
    from rerank.similarity import Pair as Pair
    from rerank.store import load as load
    from rerank.store import save as save
    from rerank.version import __version__ as __version__


_HOME = {
    "__version__": "rerank.version",
    "apply": "rerank.runs",
    "rerank": "rerank.api",
    "evaluate": "rerank.evaluation",
    "topk": "rerank.search",
    "save": "rerank.store",
    "load": "rerank.store",
    "Pair": "rerank.similarity",
    "Dense": "rerank.similarity",
    "Bank": "rerank.reranker",
    "Pipeline": "rerank.reranker",
    "LinearMap": "rerank.reranker",
    "GalleryBias": "rerank.reranker",
    "EM": "rerank.methods.em",
    "Sinkhorn": "rerank.methods.sinkhorn",
    "CSLS": "rerank.methods.neighbors",
    "NNN": "rerank.methods.neighbors",
    "DualSoftmax": "rerank.methods.dual_softmax",
    "InvertedSoftmax": "rerank.methods.softmax",
    "RerankError": "rerank.errors",
    "FormatError": "rerank.errors",
    "NeedsEmbeddings": "rerank.errors",
}

__all__ = sorted(_HOME)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:  # noqa: ANN401  any public object
    """Import a public name on first use."""
    if name not in _HOME:
        raise AttributeError(f"module 'rerank' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Public names, for completion."""
    return sorted(__all__)
