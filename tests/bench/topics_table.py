"""R@1 of queries about one topic: raw, as popularity is always corrected, and as it is.

    RERANK_DATA=... python tests/bench/topics_table.py [set ...]

The queries of a set are parted into 4 and into 12 topics by k-means (spherical, seeds 0 and 1);
each topic of 8 queries and more is a batch that ranks all items by itself, and batches are pooled.
Beside it as many queries drawn at random, four times each share. "always corrected" is the same fit
that sees no topic (`rerank.methods.topic`); "seen" is the mean certainty that it is one.
"""

import math
import sys
import warnings
from collections.abc import Iterator

import torch
from drift_table import aligned, unit
from real_sets import hits
from torch import Tensor

from rerank.core.similarity import Pair
from rerank.methods import topic
from rerank.tasks.apply import apply

FEWEST = 8
USUAL = topic._F
NAMES = ("msrvtt100", "coco500", "msvd")


def topics(x: Tensor, k: int, seed: int) -> Iterator[Tensor]:
    """Rows of each of k topics, by spherical k-means."""
    draw = torch.Generator().manual_seed(seed)
    centres = x[torch.randperm(len(x), generator=draw)[:k]]
    own = (x @ centres.T).argmax(dim=1)
    for _ in range(30):
        centres = unit(torch.stack([
            x[own == j].mean(dim=0) if bool((own == j).any()) else centres[j] for j in range(k)
        ]))  # fmt: skip
        own = (x @ centres.T).argmax(dim=1)
    for j in range(k):
        rows = torch.nonzero(own == j)[:, 0]
        if len(rows) >= FEWEST:
            yield rows


def drawn(n: int, share: float) -> Iterator[Tensor]:
    """Four random shares of the queries."""
    for seed in range(4):
        draw = torch.Generator().manual_seed(seed)
        yield torch.randperm(n, generator=draw)[: max(FEWEST, int(share * n))].sort().values


def row(label: str, queries: Tensor, items: Tensor, batches: Iterator[Tensor]) -> str:
    """One line, pooled over batches."""
    counts, seen, total = torch.zeros(3), 0.0, 0
    for rows in batches:
        asked, right = queries[rows], rows[:, None] == torch.arange(len(items))
        counts[0] += hits(Pair(asked, items).scores(), right).sum()
        for place, ends in ((1, (math.inf, math.inf)), (2, USUAL)):
            topic._F = ends
            run = apply(asked, items)
            counts[place] += hits(run.t2v.sim.scores(), right).sum()
        seen += len(rows) * run.t2v.fitted.facts.get("topic", 0.0)
        total += len(rows)
    shown = " | ".join(f"{100 * float(x) / total:.1f}" for x in counts)
    return f"| {label} | {total} | {shown} | {seen / total:.2f} |"


def main() -> None:
    """Print the table."""
    warnings.simplefilter("ignore")
    print("| set | queries | raw | always corrected | as it is | seen |\n|---|---|---|---|---|---|")
    for name in sys.argv[1:] or NAMES:
        texts, videos, own = aligned(name)
        both = unit(texts if len(texts) == len(videos) else texts[own]), unit(videos)
        for side, (queries, items) in (("t2v", both), ("v2t", both[::-1])):
            for k in (4, 12):
                found = (rows for seed in (0, 1) for rows in topics(queries, k, seed))
                print(row(f"{name} {side}, {k} topics", queries, items, found), flush=True)
            for share in (0.5, 0.25, 0.1):
                label = f"{name} {side}, {share:g} at random"
                print(row(label, queries, items, drawn(len(queries), share)), flush=True)


if __name__ == "__main__":
    main()
