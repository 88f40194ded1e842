"""How far a sparse Sinkhorn fit is from the dense one, as Markdown.

    RERANK_DATA=... python tests/bench/sparse_table.py [--size 20000] [--neighbours 64 128]

Top-1 agreement: the share of queries whose best item after `Sinkhorn(neighbours=k)` is the best one
after the dense fit at the same temperature; in brackets, items that the dense fit puts within 3e-6
of its best one, which float32 cannot tell apart, count as agreeing. Estimated error: what the fit
says of itself, the L1 standard error of the column masses in its last sweep. True error: the L1
distance of these masses from those of a dense sweep at the same potentials. Real sets: captions of
msvd_aligned against its videos and the transpose, and msvd training captions against other
captions of the same videos.
"""

import argparse
from collections.abc import Iterator

import torch
from made import hard
from real_sets import embeddings, folder, load_pair, video_rows

from rerank.core.similarity import Pair
from rerank.methods.potentials import solve
from rerank.passes import reduce
from rerank.passes.sinkhorn.sparse import Graph, Sparse

TAUS = (0.01, 0.02, 0.03, 0.05)
MOST = 200


def sets(size: int) -> Iterator[tuple[str, Pair]]:
    """Real embeddings, then made ones."""
    videos = load_pair("msvd_aligned").sim
    assert isinstance(videos, Pair)
    yield "msvd captions x videos", videos
    yield "msvd videos x captions", videos.T
    at = folder() / "msvd"
    texts, ids = embeddings(at / "train_texts.h5")
    _, video_ids = embeddings(at / "train_videos.h5")
    order = torch.argsort(video_rows(at / "train_gt.json", ids, video_ids), stable=True)
    yield "msvd captions x captions", Pair(texts[order[::2]], texts[order[1::2]])
    yield "made", hard(size, size)


def fit(sim: Pair, tau: float, step: Sparse | None = None):  # noqa: ANN201
    """Potentials to a marginal error of 1e-3, and the best items."""
    log_a, log_b = reduce.query_masses(sim).log(), reduce.gallery_masses(sim).log()
    found = solve(sim, tau, log_a=log_a, log_b=log_b, n_iters=MOST, tol=1e-3, step=step)
    return found, reduce.topk(sim.add_gallery_bias(found.g), 1)


def measure(name: str, sim: Pair, counts: list[int], samples: int) -> None:
    """Rows of one set."""
    log_a = reduce.query_masses(sim).log().float()
    n, m = sim.shape
    graphs = {k: Graph.of(sim, k, samples=samples) for k in counts}
    for tau in TAUS:
        dense, best = fit(sim, tau)
        for k in counts:
            step = Sparse(graphs[k], tau, log_a)
            found, near = fit(sim, tau, step)
            chosen = near.indices[:, 0]
            same = (chosen == best.indices[:, 0]).double().mean()
            at = reduce.gather_pairs(sim.add_gallery_bias(dense.g), torch.arange(n), chosen)
            tied = (at >= best.scores[:, 0] - 3e-6).double().mean()
            _, mass = step(found.g)
            share, said = step.doubt()
            _, want = reduce.sweep(sim, tau, found.g, log_a)
            true = float((mass.double().exp() - want.double().exp()).abs().sum())
            print(
                f"| {name}, {n:,} x {m:,} | {tau} | {k} | {same:.4f} ({tied:.4f}) | {share:.1%} | "
                f"{said:.1e} | {true:.1e} | {dense.n_iters} / {found.n_iters} |",
                flush=True,
            )


def main() -> None:
    """Measure every set and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=20000)
    parser.add_argument("--neighbours", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--samples", type=int, default=4096)
    parser.add_argument("--only", default="", help="a part of the name of the sets to measure")
    given = parser.parse_args()
    print(
        "| set | tau | k | top-1 agreement | mass estimated | estimated error "
        "| true error | steps, dense / sparse |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name, sim in sets(given.size):
        if given.only in name:
            measure(name, sim, given.neighbours, given.samples)


if __name__ == "__main__":
    main()
