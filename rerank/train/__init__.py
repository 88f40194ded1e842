"""Training of small projection heads on frozen embeddings; everything else is served as before.

Names are loaded at first use, so that settings and the list of objectives cost no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rerank.train.data import PairedData, paired, split_by_video
    from rerank.train.heads import Heads
    from rerank.train.loop import Trained, fit_heads
    from rerank.train.ridge import Start, candidates, linear_start, ridge_map
    from rerank.train.saved_heads import is_trained_model, load_heads, read_trained, save_heads
    from rerank.train.settings import TrainSettings

_HOMES = {
    "data": ("PairedData", "paired", "split_by_video"),
    "heads": ("Heads",),
    "loop": ("Trained", "fit_heads"),
    "ridge": ("Start", "candidates", "linear_start", "ridge_map"),
    "saved_heads": ("is_trained_model", "load_heads", "read_trained", "save_heads"),
    "settings": ("TrainSettings",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Heads",
    "PairedData",
    "Start",
    "TrainSettings",
    "Trained",
    "candidates",
    "fit_heads",
    "is_trained_model",
    "linear_start",
    "load_heads",
    "paired",
    "read_trained",
    "ridge_map",
    "save_heads",
    "split_by_video",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401  whatever the name stands for
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
