"""One text over a large gallery: `Model.search` against the bare product and its top-k, and FAISS.

    python tests/bench/one_query.py [--items 50000] [--rounds 30] [--method sinkhorn+align+sinkhorn]

Milliseconds, medians of interleaved rounds, the model and the index made before. The product is a
float32 matrix-vector product in torch and `topk`; for a hundred queries at once the opponent is
FAISS's flat index, with the bias as a dimension.
"""

import argparse
import statistics
import time

import numpy as np
import torch
from made import hard

import rerank


def main() -> None:
    """Print one row for each number of queries."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--method", default="sinkhorn")
    given = parser.parse_args()
    data = hard(2000, given.items)
    gallery = data.gallery[:].numpy()
    model = rerank.fit(
        gallery, bank_texts=data.queries[:1000].numpy(), method=given.method,
        ids=[f"v{i}" for i in range(given.items)],
    )  # fmt: skip
    items = torch.from_numpy(np.ascontiguousarray(gallery))
    queries = data.queries[1000:].numpy()
    model.search(queries[:1])
    try:
        import faiss

        index = faiss.IndexFlatIP(items.shape[1])
        index.add(gallery)
    except ImportError:
        index = None
    print("| queries | ours, ms | product + top 10 | ratio | FAISS flat | ratio |")
    print("|---|---|---|---|---|---|")
    for count in (1, 100):
        asked = queries[:count]
        programs = {
            "ours": lambda asked=asked: model.search(asked),
            "bare": lambda asked=asked: (torch.from_numpy(asked) @ items.T).topk(10, dim=1),
        }
        if index is not None:
            programs["faiss"] = lambda asked=asked: index.search(asked, 10)
        spent: dict[str, list[float]] = {name: [] for name in programs}
        for _ in range(given.rounds):
            for name, program in programs.items():
                start = time.perf_counter()
                program()
                spent[name].append(1000 * (time.perf_counter() - start))
        ours = statistics.median(spent["ours"])
        cells = [f"{count}", f"{ours:.2f}"]
        for name in ("bare", "faiss"):
            other = statistics.median(spent[name]) if name in spent else float("nan")
            cells += [f"{other:.2f}", f"{ours / other:.2f}"]
        print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
