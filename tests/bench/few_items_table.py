"""R@1 where queries want few of the items, and where it only seems so; nothing said.

    RERANK_DATA=... python tests/bench/few_items_table.py

All captions of k of m videos of MSVD; c captions each of k videos against all 670; and queries that
are texts of k of the 500 images of COCO with noise. And all wanted: videos of MSVD among captions
of each, which outnumber them. Pooled over draws of 1,000 queries and more.
"equality" asks all items alike (room for one, where queries are fewer); then the default on the
matrix of scores and on the embeddings.
"""

import math
import warnings
from collections.abc import Iterator

import torch
from drift_table import aligned, unit
from real_sets import hits, load_pair
from torch import Tensor

from rerank.core.similarity import Dense, Pair, Similarity
from rerank.methods.marginals import masses
from rerank.methods.potentials import solve
from rerank.methods.sinkhorn import Sinkhorn

# Videos of the gallery, and how many of them are wanted.
WHOLE = ((100, 10), (100, 20), (100, 50), (100, 100), (300, 10), (300, 20), (300, 40), (300, 150),
         (670, 41), (670, 60))  # fmt: skip
# Videos that are wanted, and captions of each.
SOME = ((1, 20), (2, 10), (3, 10), (5, 10), (10, 10), (10, 20), (20, 5), (20, 10), (30, 3), (60, 2),
        (150, 2))  # fmt: skip
# Queries, images that are wanted, and the noise.
NOISY = ((50, 3), (50, 10), (250, 5), (500, 5), (500, 10), (500, 25), (500, 100))
NOISE = 0.8

# Captions of each video that videos choose among.
EACH = (1, 2, 3, 5, 8)

# Queries, items, and (n, m) which belong together.
Draw = tuple[Tensor, Tensor, Tensor]


def line(name: str, draws: Iterator[Draw]) -> str:
    """One kind of data."""
    found: list[list[Tensor]] = [[], [], [], []]
    for queries, items, right in draws:
        sim = Pair(queries, items)
        scores = sim.scores()
        fits = [Sinkhorn().fit(x) for x in (Dense(scores), sim)]
        tau = next((x.tau for x in fits if math.isfinite(x.tau)), 1.0)
        for kept, bias in zip(
            found, (0.0, alike(sim, tau), *(x.gallery_bias for x in fits)), strict=True
        ):
            kept.append(hits(scores + bias, right))
    pooled = [torch.cat(x).double() for x in found]
    figures = " | ".join(f"{100 * float(x.mean()):.1f}" for x in pooled)
    change = 100 * (pooled[2] - pooled[0])
    error = float(change.std()) / math.sqrt(len(change))
    return f"| {name} | {figures} | {float(change.mean()):+.1f} ({error:.1f}) |"


def alike(sim: Similarity, tau: float) -> Tensor:
    """(m,) biases of items that are asked alike, or of one query each."""
    found = masses(sim)
    log_a, slack = found.few if found.slack > 0 else (found.log_a, 0.0)
    return solve(sim, tau, log_a=log_a, log_b=found.log_b, slack=slack, n_iters=50, tol=1e-3).g


def seeds(queries: int) -> range:
    """As many draws as give a thousand queries, five at least."""
    return range(max(5, -(-1000 // queries)))


def captions() -> Iterator[str]:
    """Of some videos of MSVD."""
    data = load_pair("msvd_aligned")
    assert isinstance(data.sim, Pair)
    texts, videos, own = unit(data.sim.queries), unit(data.sim.gallery), data.video_of

    def all_of(m: int, k: int) -> Iterator[Draw]:
        for seed in seeds(16 * k):
            some = torch.randperm(len(videos), generator=torch.Generator().manual_seed(seed))[:m]
            place = torch.full((len(videos),), -1)
            place[some[:k]] = torch.arange(k)
            rows = (place[own] >= 0).nonzero()[:, 0]
            yield texts[rows], videos[some], place[own[rows]][:, None] == torch.arange(m)

    def each_of(k: int, c: int) -> Iterator[Draw]:
        for seed in seeds(k * c):
            draw = torch.Generator().manual_seed(seed)
            some = torch.randperm(len(videos), generator=draw)[:k]
            rows = of_each(some, c, draw)
            yield texts[rows], videos, own[rows, None] == torch.arange(len(videos))

    def of_each(some: Tensor, c: int, draw: torch.Generator) -> Tensor:
        mine = [(own == video).nonzero()[:, 0] for video in some]
        return torch.cat([x[torch.randperm(len(x), generator=draw)[:c]] for x in mine])

    def among(c: int) -> Iterator[Draw]:
        for seed in range(2):
            rows = of_each(torch.arange(len(videos)), c, torch.Generator().manual_seed(seed))
            yield videos, texts[rows], torch.arange(len(videos))[:, None] == own[rows]

    for m, k in WHOLE:
        yield line(f"msvd, all captions of {k} of {m} videos", all_of(m, k))
    for k, c in SOME:
        yield line(f"msvd, {c} captions of {k} of 670 videos", each_of(k, c))
    for c in EACH:
        yield line(f"msvd, 670 videos among {c} captions of each", among(c))


def noisy() -> Iterator[str]:
    """Texts of some images of COCO, with noise."""
    texts, images, _ = aligned("coco500")

    def of(n: int, k: int) -> Iterator[Draw]:
        for seed in seeds(n):
            draw = torch.Generator().manual_seed(seed)
            own = torch.randperm(len(images), generator=draw)[:k]
            own = own[torch.randint(k, (n,), generator=draw)]
            noise = torch.randn(n, texts.shape[1], generator=draw) / texts.shape[1] ** 0.5
            right = own[:, None] == torch.arange(len(images))
            yield unit(texts[own] + NOISE * noise), images, right

    for n, k in NOISY:
        yield line(f"coco500, {n} noisy texts of {k} images", of(n, k))


def main() -> None:
    """Print the table, a row as soon as it is known."""
    warnings.simplefilter("ignore")
    print("| queries | raw | equality | scores | embeddings | scores - raw (se) |")
    print("|---|---|---|---|---|---|")
    for rows in (captions(), noisy()):
        for row in rows:
            print(row, flush=True)


if __name__ == "__main__":
    main()
