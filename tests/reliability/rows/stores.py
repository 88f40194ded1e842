"""Stores, searched by themselves, at any size of the bias."""

from dataclasses import replace
from functools import cache, partial
from importlib.util import find_spec

import numpy as np
import torch

from rerank.serving.exporting import export, search_export
from rerank.serving.fitting import fit_model
from rerank.serving.searcher import Searcher
from tests.reliability.child import forked
from tests.reliability.matrix import Case, row
from tests.serving_data import make

IDS, GALLERY, QUERIES, BANK, _ = make(m=60, n=20, bank=60, d=16)
STORES = {
    "npy": ("numpy", {}, 1.0),
    "parquet": ("pyarrow", {}, 1.0),
    "faiss": ("faiss", {"index": "flat"}, 1.0),
    "faiss hnsw": ("faiss", {"index": "hnsw"}, 0.95),
    "faiss ivf": ("faiss", {"index": "ivf"}, 0.95),
    "usearch": ("usearch", {}, 0.95),
    "lancedb": ("lancedb", {}, 1.0),
    "qdrant": ("qdrant_client", {}, 1.0),
}
THREADED = ("lancedb", "qdrant")
BIASES = (0.1, 1.0, 1000.0)


@row("store export x bias scale x metric", "stated overlap", quick=8, slow=24)
def stores():
    for name, (library, _, _) in STORES.items():
        for scale in BIASES:
            for metric in ("cosine", "dot"):
                if find_spec(library):
                    yield Case(f"{name}, bias x {scale:g}, {metric}",
                               partial(_tried, name, scale, metric))  # fmt: skip


@cache
def _model(scale, metric):
    saved = fit_model(IDS, GALLERY, BANK, method="sinkhorn", tau=0.05, metric=metric)
    (stage,) = saved.fitted.stages
    scaled = stage.rebiased(scale * stage.gallery_bias)
    return replace(saved, fitted=replace(saved.fitted, stages=(scaled,)))


def _tried(name, scale, metric, folder):
    if name not in THREADED:
        return _exported(name, scale, metric, folder)
    # These start threads that other children of this process would miss.
    done = forked(partial(_exported, name, scale, metric, folder))
    assert done.status == 0, done.err[-500:]


def _exported(name, scale, metric, folder):
    _, settings, overlap = STORES[name]
    saved = _model(scale, metric)
    wanted = Searcher.of(saved, IDS, GALLERY).search(QUERIES, 10)
    out = folder / "out"
    made = export(
        saved, IDS, GALLERY, out, to=name.split()[0], queries=QUERIES, recall=0.99, **settings
    )
    exported, found = search_export(out, QUERIES, 10)
    same = np.mean([
        len({exported.ids[j] for j in a} & {IDS[j] for j in b}) / 10
        for a, b in zip(found.indices.tolist(), wanted.indices.tolist(), strict=True)
    ])  # fmt: skip
    # Biases a thousand times as large leave the scores four digits less.
    stated = made.manifest["recall"]["overlap"]
    assert same >= (overlap if scale <= 1 else 0.95), same
    assert abs(stated - same) <= 0.05, (stated, same)
    assert torch.isfinite(found.scores).all()
