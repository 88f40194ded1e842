"""What known pairs of a bank are worth: the gate, closed forms and trained heads on the same pairs.

    RERANK_DATA=... python tests/bench/known_pairs_table.py [--seeds 3]

Test set: msvd_aligned; bank: its 600 other videos with their captions. All rows are `inductive`
and no setting was chosen on the test set: the gate and the alignment choose on the bank's pairs,
heads and ridge on a tenth of the bank's videos drawn by seed. R@1 in percent, expected over ties.
Differences are to the gate, [95 % interval over the test videos].
"""

import argparse
from collections.abc import Callable, Iterator

import numpy as np
import torch
from gate_table import Case, direction
from real_sets import RealSet, hits, load_pair
from torch import Tensor

from rerank.core.similarity import Pair
from rerank.methods.align import Align
from rerank.methods.base import Bank, Pipeline
from rerank.methods.engine import DEFAULT_FOR_EMBEDDINGS
from rerank.methods.registry import pipeline
from rerank.methods.sinkhorn import Sinkhorn
from rerank.selection import gated_fit
from rerank.train import PairedData, TrainSettings, fit_heads, paired, split_by_video
from rerank.train.ridge import linear_start

Map = Callable[[Tensor], Tensor]


def banked(case: Case) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """(row, hits of each direction) of what needs no training."""
    rows: dict[str, Callable[[Bank], Pipeline | None]] = {
        "raw": lambda _: None,
        "Sinkhorn": lambda _: Pipeline((Sinkhorn(),)),
        "align": lambda _: Pipeline((Align(),)),
        "align + Sinkhorn": lambda _: Pipeline((Align(), Sinkhorn())),
    }
    for name, make in rows.items():
        found = {}
        for side in ("t2v", "v2t"):
            sim, bank, right, _ = direction(case, side)
            stages = make(bank)
            found[side] = hits((stages.fit(bank).transform(sim) if stages else sim).scores(), right)
        yield name, found
    found = {}
    for side in ("t2v", "v2t"):
        sim, bank, right, _ = direction(case, side)
        fitted, _ = gated_fit(pipeline(DEFAULT_FOR_EMBEDDINGS), bank, incoming=sim)
        found[side] = hits(fitted.transform(sim).scores(), right)
    yield GATE, found


GATE = "the gate with the default method"


def mapped(case: Case, texts: Map, videos: Map) -> Case:
    """Test set and bank behind heads."""

    def one(data: RealSet) -> RealSet:
        assert isinstance(data.sim, Pair)
        sim = Pair(texts(data.sim.queries[:]), videos(data.sim.gallery[:]))
        return RealSet(data.name, sim, data.video_of)

    return Case(one(case.test), one(case.bank))


def trained(case: Case, seed: int) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """(row, hits) of what learns heads: the closed form of `rerank train`, and InfoNCE."""
    assert isinstance(case.bank.sim, Pair)
    data: PairedData = paired(
        case.bank.sim.queries[:], case.bank.sim.gallery[:], case.bank.video_of.numpy()
    )
    train, validation = split_by_video(data, seed=seed)
    heads = fit_heads(train, validation, TrainSettings(objective="infonce", seed=seed)).heads
    ridge = linear_start(train, validation)
    made: dict[str, tuple[Map, Map]] = {
        "ridge of `rerank train`": (ridge.texts, ridge.videos),
        "InfoNCE heads": (lambda x: heads.texts(x).detach(), lambda x: heads.videos(x).detach()),
    }
    for name, (texts, videos) in made.items():
        with torch.no_grad():
            behind = mapped(case, texts, videos)
        for row, found in banked(behind):
            if row in ("raw", "Sinkhorn"):
                yield name + (" + Sinkhorn" if row == "Sinkhorn" else ""), found


def by_video(found: Tensor, videos: Tensor) -> np.ndarray:
    """Hits summed up by test video."""
    return np.bincount(videos.numpy(), weights=found.numpy(), minlength=int(videos.max()) + 1)


def difference(ours: Tensor, base: Tensor, videos: Tensor) -> str:
    """In points, with the interval of a bootstrap over the test videos."""
    gap = by_video(ours, videos) - by_video(base, videos)
    count = by_video(torch.ones(len(videos)), videos)
    drawn = np.random.default_rng(0).integers(len(gap), size=(10_000, len(gap)))
    low, high = np.percentile(100 * gap[drawn].sum(axis=1) / count[drawn].sum(axis=1), (2.5, 97.5))
    return f"{100 * gap.sum() / count.sum():+.1f} [{low:+.1f}, {high:+.1f}]"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    case = Case(load_pair("msvd_aligned"), load_pair("msvd_aligned", "bank_"))
    rows: dict[str, list[dict[str, Tensor]]] = {}
    for name, found in banked(case):
        rows.setdefault(name, []).append(found)
    for seed in range(args.seeds):
        for name, found in trained(case, seed):
            rows.setdefault(name, []).append(found)
    videos = {"t2v": case.test.video_of, "v2t": torch.arange(case.test.sim.shape[1])}
    mean = {
        name: {side: torch.stack([x[side] for x in draws]).mean(dim=0) for side in videos}
        for name, draws in rows.items()
    }
    print("| on the same known pairs | t2v | less the gate | v2t | less the gate |")
    print("| --- | --- | --- | --- | --- |")
    for name, found in mean.items():
        cells = []
        for side, owner in videos.items():
            cells.append(f"{100 * float(found[side].mean()):.1f}")
            gap = difference(found[side], mean[GATE][side], owner)
            cells.append("" if name == GATE else gap)
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
