"""Evidence for EM's default: paired differences against Sinkhorn alone on real embeddings.

    RERANK_DATA=... python tests/bench/em_default.py

A setting qualifies when the map moves embeddings by at least 3 % of their norm on every set, the
pooled paired difference of R@1 (both directions, transductive) has a lower 95 % bound of at least
-0.5, and no set and direction falls by more than 1.0. The differences are averaged over seeds of
the initialisation.
"""

import os
import sys
from pathlib import Path

import numpy as np

from rerank import EM, Pair, Pipeline, Sinkhorn, io
from rerank.core.pairs import transpose_positives
from rerank.metrics import ranks as metrics

SETS = ("coco500", "msrvtt100", "msvd_aligned")
SEEDS = (0, 1, 2)


def load(folder: Path) -> tuple[Pair, dict[str, tuple]]:
    """One set: the similarity and the positives of both directions."""
    texts = io.read_embeddings(folder / "texts.h5")
    videos = io.read_embeddings(folder / "videos.h5")
    truth = io.read_ground_truth(folder / "gt.json", texts.ids, videos.ids)
    positives = tuple(truth.positives)
    back = transpose_positives(positives, len(videos.ids))
    return Pair(texts.vectors, videos.vectors), {"t2v": positives, "v2t": back}


def hits(sim: Pair, positives: dict[str, tuple], stages: tuple) -> dict[str, np.ndarray]:
    """Per query R@1 in percent after the stages, both directions."""
    out = {}
    for name, one in (("t2v", sim), ("v2t", sim.T)):
        rewritten = Pipeline(stages).fit(one).transform(one)
        out[name] = 100 * metrics.ranks(rewritten, positives[name]).hits(1)
    return out


def main() -> None:
    """Print one Markdown row per setting."""
    root = Path(os.environ["RERANK_DATA"])
    sets = {name: load(root / name) for name in SETS}
    base = {name: hits(sim, positives, (Sinkhorn(),)) for name, (sim, positives) in sets.items()}
    columns = " | ".join(f"{name} t2v | {name} v2t" for name in SETS)
    sys.stdout.write(f"| bases | strength | smallest shift | pooled [95 %] | {columns} |\n")
    sys.stdout.write("|" + " --- |" * (4 + 2 * len(SETS)) + "\n")
    grid = [(k, s) for k in (4, 16, 32) for s in (-1.0, -0.75, -0.5, 0.5)]
    if len(sys.argv) > 1:
        grid = [(int(sys.argv[1]), float(sys.argv[2]))]
    for n_bases, strength in grid:
        cells, pool, shifts = [], [], []
        for name, (sim, positives) in sets.items():
            found = []
            for seed in SEEDS:
                stage = EM(n_bases=n_bases, strength=strength, seed=seed)
                shifts.append(stage.fit(sim).shift)
                found.append(hits(sim, positives, (stage, Sinkhorn())))
            for side in ("t2v", "v2t"):
                gain = np.mean([one[side] for one in found], axis=0) - base[name][side]
                cells.append(f"{gain.mean():+.2f}")
                pool.append(gain)
        flat = np.concatenate(pool)
        half = 1.96 * flat.std() / np.sqrt(len(flat))
        mean = flat.mean()
        sys.stdout.write(
            f"| {n_bases} | {strength} | {min(shifts):.1%} | "
            f"{mean:+.2f} [{mean - half:+.2f}, {mean + half:+.2f}] | {' | '.join(cells)} |\n"
        )
        sys.stdout.flush()


if __name__ == "__main__":
    main()
