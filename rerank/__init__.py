"""Re-rank cross-modal retrieval from precomputed embeddings, without training.

A fitted reranker is one linear map and one number per gallery item: it is tiny, saves to a file,
serves one unseen query, streams, and folds into any inner-product index as one extra dimension.

The public names are written once, in `__init__.pyi`; each is imported on first use, so that
`rerank --help` need not import torch.
"""

import ast
from importlib import import_module
from pathlib import Path
from typing import Any


def _homes() -> dict[str, str]:
    """Public name -> the module that defines it, from the stub that type checkers read."""
    tree = ast.parse(Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
    imports = (node for node in tree.body if isinstance(node, ast.ImportFrom))
    return {alias.name: str(node.module) for node in imports for alias in node.names}


_HOME = _homes()

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
