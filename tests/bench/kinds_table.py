"""R@1 before and after re-ranking, on two matrices written as every kind of number.

    RERANK_DATA=... python tests/bench/kinds_table.py [tau ...]

tau is the width of the softmax and of the match probabilities: .012 by default; wider ones are
broader probabilities, which look more like similarities.
"""

import os
import sys
import warnings
from pathlib import Path

import h5py
import numpy as np

from rerank import io
from rerank.methods.kinds import read_both
from rerank.tasks.apply import apply


def kinds_of(scores: np.ndarray, tau: float) -> dict[str, np.ndarray]:
    """The same preferences as cosines, logits, softmax and match probabilities."""
    logits = scores.astype(np.float64) / tau
    share = np.exp(logits - logits.max(axis=1, keepdims=True))
    share /= share.sum(axis=1, keepdims=True)
    match = 1 / (1 + np.exp(-(logits - np.quantile(logits, 1 - 2 / scores.shape[1]))))
    best = {k: match >= -np.sort(-match, axis=1)[:, [k - 1]] for k in (5, 10, 50)}
    return {
        "cosines": scores,
        "cosines, 3 decimals": scores.round(3),
        "cosines, 2 decimals": scores.round(2),
        "logits, float16": logits.astype(np.float16),
        "softmax": share,
        "softmax, percent float16": (100 * share).astype(np.float16),
        "softmax, 3 decimals": share.round(3),
        "match": match,
        "match, float16": match.astype(np.float16),
        "match, 3 decimals": match.round(3),
        **{f"match, best {k}": np.where(keep, match, 0) for k, keep in best.items()},
        "match, best 50, -100": np.where(best[50], match, -100),
        "softmax, best 10": np.where(best[10], share, 0),
    }


def recall(sim: np.ndarray, right: np.ndarray) -> float:
    """R@1 in percent, expected over ties."""
    own = sim[np.arange(len(sim)), right][:, None]
    first = (sim > own).sum(axis=1) == 0
    return 100 * float(np.mean(first / (sim == own).sum(axis=1)))


def row(name: str, scores: np.ndarray | dict[str, np.ndarray], right: np.ndarray) -> str:
    """One line: raw and re-ranked R@1 of both directions, and the sentence."""
    back = np.argsort(right)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        read = read_both(scores)
        found = apply(scores=scores)
    figures = [
        f"{recall(side.direction.sim.scores().numpy(), truth):.1f} -> "
        f"{recall(side.sim.scores().numpy(), truth):.1f}"
        for side, truth in ((found.t2v, right), (found.v2t, back))
    ]
    return f"{name:26s} {figures[0]:14s} {figures[1]:14s} {read.sentence or read.reading.why}"


def main() -> None:
    """Print the table."""
    data = Path(os.environ["RERANK_DATA"])
    folder = data / "match_probabilities"
    diagonal = np.arange(1000)
    for file in sorted(folder.iterdir()):
        found = io.read_scores(file)
        both = {"t2v": found.scores, "v2t": found.reverse}
        print(row(file.name, found.scores if found.reverse is None else both, diagonal))
    for stored in ("video_scores", "titles_scores"):
        with h5py.File(data / "cap4video" / f"{stored}.h5") as file:
            scores = np.asarray(file["scores"], np.float32)
            queries, gallery = (
                [x.decode() for x in file[k][()]] for k in ("query_ids", "gallery_ids")
            )
        truth = io.read_ground_truth(
            data / "cap4video" / "gt.json", tuple(queries), tuple(gallery)
        )  # fmt: skip
        right = np.array([int(items[0]) for items in truth.positives])
        for tau in [float(text) for text in sys.argv[1:]] or [0.012]:
            print(f"\n{stored}, tau {tau}")
            for name, matrix in kinds_of(scores, tau=tau).items():
                print(row(name, matrix, right), flush=True)


if __name__ == "__main__":
    main()
