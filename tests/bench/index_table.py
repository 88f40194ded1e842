"""What approximate indexes find of the exact top 10, with the bias, without it, and taught.

    RERANK_DATA=... python tests/bench/index_table.py [--direction v2t] [--banks 600 200 50]

msvd_aligned: the model is fitted on its bank (Sinkhorn); about 700 queries that are in no bank
measure. Each cell is the overlap with the exact top 10 and, in brackets, the distances that a query
took, at rising effort (ef, expansion, lists read). "stand-ins" is what an export teaches without
the bank, "bank" what it teaches with it; --banks takes so many of its queries, evenly spaced.
"""

import argparse
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from rerank.core.similarity import Pair
from rerank.io import read_embeddings
from rerank.methods.base import FittedPipeline
from rerank.methods.sinkhorn import Sinkhorn
from rerank.serving.fold import plan_folding
from rerank.serving.recall import Truth, folding_of
from rerank.serving.standins import moments_of, stand_ins
from rerank.serving.stores import indexes
from rerank.serving.stores.plain_files import Usearch

EFFORTS = {"hnsw": (16, 32, 64, 128), "usearch": (16, 32, 64, 128), "ivf": (1, 2, 4, 8, 16, 32, 64)}
NONE = FittedPipeline(())


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


def cells(
    kind: str, fitted: FittedPipeline, gallery: torch.Tensor, queries: torch.Tensor,
    taught_by: torch.Tensor | None,
) -> Iterator[str]:  # fmt: skip
    """Overlap and distances at every effort."""
    space, centre = indexes.space_of("hnsw" if kind == "usearch" else kind)  # type: ignore[arg-type]
    centre = centre and (kind == "usearch" or fitted is not NONE)
    folding, items = plan_folding(fitted, gallery, space=space, centre=centre)
    exact = folding_of(fitted, gallery, "cosine", "mapped")
    truth = Truth(exact[0].queries(queries), exact[1])
    x = folding.queries(queries)
    asked = None if taught_by is None else folding.queries(taught_by)
    if kind == "usearch":
        from usearch.index import Index

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "i"
            Usearch(asked).write(path, items.numpy(), (), space="ip", url=None)
            index = Index.restore(str(path))
        for index.expansion_search in EFFORTS[kind]:
            found = index.search(x.numpy(), truth.k)
            rows = torch.from_numpy(np.asarray(found.keys).astype(np.int64))
            yield f"{truth.overlap(rows):.4f} ({found.computed_distances / len(x):.0f})"
        return
    index = indexes.build_index(items, kind, asked=asked)  # type: ignore[arg-type]
    for effort in EFFORTS[kind]:
        if kind == "hnsw":
            index.hnsw.efSearch = effort
        else:
            index.nprobe = min(effort, index.nlist)
        rows, taken = indexes.search_counted(index, x, truth.k)
        yield f"{truth.overlap(rows):.4f} ({taken:.0f})"


def main() -> None:
    """Build, search and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--direction", choices=["t2v", "v2t"], default="v2t")
    parser.add_argument("--banks", type=int, nargs="*", default=[600, 200, 50])
    given = parser.parse_args()
    gallery, queries, bank = read(given.direction)
    fitted = FittedPipeline((Sinkhorn().fit(Pair(bank, gallery)),))
    print(f"{given.direction}: {len(gallery)} items, {len(queries)} queries, bank of {len(bank)}\n")
    for kind, efforts in EFFORTS.items():
        print(f"| {kind} | {' | '.join(map(str, efforts))} |")
        print("|---" * (1 + len(efforts)) + "|")
        rows = {"without bias": (NONE, None), "with bias": (fitted, None)}
        for count in given.banks:
            some = bank[:: max(1, len(bank) // count)][:count]
            made = stand_ins(moments_of(some), gallery, "cosine")
            rows[f"stand-ins, moments of {len(some)}"] = (fitted, made)
            rows[f"bank of {len(some)}"] = (fitted, torch.cat([some, made]))
        for name, (pipeline, asked) in rows.items():
            line = " | ".join(cells(kind, pipeline, gallery, queries, asked))
            print(f"| {name} | {line} |", flush=True)
        print()


if __name__ == "__main__":
    main()
