"""Re-rank cross-modal retrieval from precomputed embeddings, without training.

A fitted reranker is one linear map and one number per gallery item: it is tiny, saves to a file,
serves one unseen query, streams, and folds into any inner-product index as one extra dimension.

Names are imported on first use, so that `rerank --help` need not import torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rerank.core.errors import FormatError as FormatError
    from rerank.core.errors import NeedsEmbeddings as NeedsEmbeddings
    from rerank.core.errors import RerankError as RerankError
    from rerank.core.similarity import Dense as Dense
    from rerank.core.similarity import Pair as Pair
    from rerank.core.version import __version__ as __version__
    from rerank.methods.base import Bank as Bank
    from rerank.methods.base import GalleryBias as GalleryBias
    from rerank.methods.base import LinearMap as LinearMap
    from rerank.methods.base import Pipeline as Pipeline
    from rerank.methods.dual_softmax import DualSoftmax as DualSoftmax
    from rerank.methods.em import EM as EM
    from rerank.methods.inverted_softmax import InvertedSoftmax as InvertedSoftmax
    from rerank.methods.neighbors import CSLS as CSLS
    from rerank.methods.neighbors import NNN as NNN
    from rerank.methods.saved import save as save
    from rerank.methods.sinkhorn import Sinkhorn as Sinkhorn
    from rerank.metrics.judge import evaluate as evaluate
    from rerank.metrics.registry import figure as figure
    from rerank.passes.topk import topk as topk
    from rerank.serving.model import Found as Found
    from rerank.serving.model import Model as Model
    from rerank.serving.model import load as load
    from rerank.serving.stores.registry import store as store
    from rerank.tasks.apply import apply as apply
    from rerank.tasks.fit import fit as fit
    from rerank.tasks.matrix import rerank as rerank


_HOME = {
    "__version__": "rerank.core.version",
    "apply": "rerank.tasks.apply",
    "rerank": "rerank.tasks.matrix",
    "evaluate": "rerank.metrics.judge",
    "figure": "rerank.metrics.registry",
    "topk": "rerank.passes.topk",
    "save": "rerank.methods.saved",
    "load": "rerank.serving.model",
    "Model": "rerank.serving.model",
    "Found": "rerank.serving.model",
    "store": "rerank.serving.stores.registry",
    "fit": "rerank.tasks.fit",
    "Pair": "rerank.core.similarity",
    "Dense": "rerank.core.similarity",
    "Bank": "rerank.methods.base",
    "Pipeline": "rerank.methods.base",
    "LinearMap": "rerank.methods.base",
    "GalleryBias": "rerank.methods.base",
    "EM": "rerank.methods.em",
    "Sinkhorn": "rerank.methods.sinkhorn",
    "CSLS": "rerank.methods.neighbors",
    "NNN": "rerank.methods.neighbors",
    "DualSoftmax": "rerank.methods.dual_softmax",
    "InvertedSoftmax": "rerank.methods.inverted_softmax",
    "RerankError": "rerank.core.errors",
    "FormatError": "rerank.core.errors",
    "NeedsEmbeddings": "rerank.core.errors",
}

__all__ = sorted(_HOME)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:  # noqa: ANN401  any public object
    """Import a public name on first use."""
    if name == "plots":
        return import_module("rerank.metrics.plots")
    if name not in _HOME:
        raise AttributeError(f"module 'rerank' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Public names, for completion."""
    return sorted(__all__)
