"""Training of small projection heads on frozen embeddings; everything else is served as before."""

from rerank.train.data import PairedData, paired, split_by_video
from rerank.train.heads import Heads
from rerank.train.loop import Trained, fit_heads
from rerank.train.ridge import Start, candidates, linear_start, ridge_map
from rerank.train.saved_heads import is_trained_model, load_heads, read_trained, save_heads
from rerank.train.settings import TrainSettings

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
