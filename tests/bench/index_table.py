"""The effort that plain approximate indexes need for the exact top 10, with the bias and without.

    RERANK_DATA=... python tests/bench/index_table.py [--direction v2t]

msvd_aligned: the model is fitted on its bank (Sinkhorn); about 700 queries that are in no bank
measure. Each cell is the overlap with the exact top 10 at an effort (efSearch, expansion, nprobe).
"""

import argparse
import os
import tempfile
from pathlib import Path

import torch

from rerank.core.similarity import Pair
from rerank.io import read_embeddings
from rerank.methods.base import FittedPipeline
from rerank.methods.sinkhorn import Sinkhorn
from rerank.serving.fold import plan_folding
from rerank.serving.recall import Truth
from rerank.serving.stores.registry import make_store

GRAPH = (16, 32, 64, 128, 256, 512)
KINDS = {
    "hnsw": ("faiss", {"index": "hnsw"}, GRAPH),
    "usearch": ("usearch", {}, GRAPH),
    "ivf": ("faiss", {"index": "ivf"}, (1, 2, 4, 8, 16, 32, 64, 128)),
}


def read(direction: str) -> list[torch.Tensor]:
    """Unit gallery, queries and bank."""
    names = {
        "t2v": ("videos", "texts", "bank_texts"),
        "v2t": ("texts", "videos", "bank_videos"),
    }[direction]
    folder = Path(os.environ["RERANK_DATA"]) / "msvd_aligned"
    files = (read_embeddings(folder / f"{name}.h5").vectors for name in names)
    sides = [torch.nn.functional.normalize(torch.from_numpy(x), dim=1) for x in files]
    return [sides[0], sides[1][:: max(1, len(sides[1]) // 700)], sides[2]]


def main() -> None:
    """Build, search and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--direction", choices=["t2v", "v2t"], default="v2t")
    gallery, queries, bank = read(parser.parse_args().direction)
    biased = FittedPipeline((Sinkhorn().fit(Pair(bank, gallery)),))
    print(f"{len(gallery)} items, {len(queries)} queries, bank of {len(bank)}\n")
    for kind, (name, settings, efforts) in KINDS.items():
        print(f"| {kind} | {' | '.join(map(str, efforts))} |")
        print("|---" * (1 + len(efforts)) + "|")
        for what, fitted, centre in (
            ("without bias", FittedPipeline(()), False),
            ("with bias, not centred", biased, False),
            ("with bias", biased, True),
        ):
            store = make_store(name, **settings)
            folding, items = plan_folding(fitted, gallery, space=store.space, centre=centre)
            plain, exact = plan_folding(fitted, gallery)
            truth = Truth(plain.queries(queries), exact)
            asked = folding.queries(queries).numpy()
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "i"
                store.write(path, items.numpy(), [str(row) for row in range(len(items))], stamp="")
                cells = [
                    f"{truth.overlap(store.search(path, asked, truth.k, effort=effort).rows):.4f}"
                    for effort in efforts
                ]
            print(f"| {what} | {' | '.join(cells)} |", flush=True)
        print()


if __name__ == "__main__":
    main()
