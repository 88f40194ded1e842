"""The gate beside ungated methods, over random halves of a bank, wrong pairs and foreign banks.

    RERANK_DATA=... python tests/bench/gate_table.py [kind ...]

Test set: msvd_aligned. R@1 in percent, expected over ties; a video counts by its best caption.
Banks, each with its known pairs:

- own: ten random halves of the 600 bank videos with their captions;
- shuffled: the same halves, every caption's video drawn at random;
- half shuffled: the same for half of the captions;
- other topics: bank and test videos are cut in two by the sign of their first principal axis;
  the bank is the half on one side, the test set the half on the other;
- other data set: coco500 captions and images, on their first 256 principal axes, turned onto the
  principal axes of the msvd bank (texts onto texts' moments, images onto videos' moments), so
  that dimension, mean and covariance fit and only the meaning does not;
- scrambled: the bank's captions and videos turned by one random rotation, so that its own pairs
  still match and nothing else does.

`change` is the mean difference to raw R@1, `error` the standard error of the mean difference by
a bootstrap over test videos (the splits share the test set), `worst` the worst split.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from real_sets import RealSet, hits, load_pair
from torch import Tensor

from rerank.core.similarity import Pair, Similarity
from rerank.methods.align import Align
from rerank.methods.base import Bank, Fitted, Pipeline
from rerank.methods.engine import DEFAULT_FOR_EMBEDDINGS
from rerank.methods.registry import pipeline
from rerank.methods.sinkhorn import Sinkhorn
from rerank.selection import GateReport, gated_fit

SPLITS = 10
Outcome = tuple[Fitted, GateReport | None]
Fit = Callable[[Bank, Similarity], Outcome]


def gated(stages: Pipeline, *, seen: bool) -> Fit:
    """A gated row of the table; `apply` shows the gate the queries, `fit` has none."""
    return lambda bank, sim: gated_fit(stages, bank, incoming=sim if seen else None)


def ungated(stages: Pipeline) -> Fit:
    """An ungated row of the table."""
    return lambda bank, _: (stages.fit(bank), None)


ROWS: dict[str, Fit] = {
    "ungated Sinkhorn": ungated(Pipeline((Sinkhorn(),))),
    "ungated align + Sinkhorn": ungated(Pipeline((Align(), Sinkhorn()))),
    "the gate of `fit`": gated(pipeline(DEFAULT_FOR_EMBEDDINGS), seen=False),
    "the gate of `apply`": gated(pipeline(DEFAULT_FOR_EMBEDDINGS), seen=True),
}


@dataclass(frozen=True, eq=False)
class Case:
    """A test set with a bank, both directions to be measured."""

    test: RealSet
    bank: RealSet


def some_videos(data: RealSet, videos: Tensor) -> RealSet:
    """Some videos with their texts."""
    place = torch.full((data.sim.shape[1],), -1)
    place[videos] = torch.arange(len(videos))
    texts = (place[data.video_of] >= 0).nonzero()[:, 0]
    sim = Pair(data.sim.queries[texts], data.sim.gallery[videos])
    return RealSet(data.name, sim, place[data.video_of[texts]])


def own_banks(test: RealSet, bank: RealSet) -> list[Case]:
    """Random halves of the bank's videos."""
    made = []
    for seed in range(SPLITS):
        generator = torch.Generator().manual_seed(seed)
        videos = torch.randperm(bank.sim.shape[1], generator=generator)[: bank.sim.shape[1] // 2]
        made.append(Case(test, some_videos(bank, videos.sort().values)))
    return made


def wrong_pairs(share: float) -> Callable[[RealSet, RealSet], list[Case]]:
    """Random halves of the bank; a share of the captions belongs to a video drawn at random."""

    def made(test: RealSet, bank: RealSet) -> list[Case]:
        cases = []
        for seed, case in enumerate(own_banks(test, bank)):
            draw = np.random.default_rng([seed, 5])
            right = case.bank.video_of.numpy()
            wrong = draw.random(len(right)) < share
            drawn = draw.integers(case.bank.sim.shape[1], size=len(right))
            given = torch.from_numpy(np.where(wrong, drawn, right))
            cases.append(Case(test, RealSet(case.bank.name, case.bank.sim, given)))
        return cases

    return made


def topic_banks(test: RealSet, bank: RealSet) -> list[Case]:
    """Bank from one side of the first principal axis, test set from the other; both ways."""
    videos = torch.cat([test.sim.gallery, bank.sim.gallery])
    centre = videos.mean(dim=0)
    axis = torch.linalg.svd(videos - centre, full_matrices=False).Vh[0]
    sides = [((data.sim.gallery - centre) @ axis > 0) for data in (test, bank)]
    made = []
    for flip in (False, True):
        tested, banked = (sides[0] ^ flip).nonzero()[:, 0], (~sides[1] ^ flip).nonzero()[:, 0]
        for half in halves_of(banked, 5):
            made.append(Case(some_videos(test, tested), some_videos(bank, half)))
    return made


def halves_of(rows: Tensor, count: int) -> list[Tensor]:
    """Random halves of some rows."""
    made = []
    for seed in range(count):
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
        made.append(rows[order[: len(rows) // 2].sort().values])
    return made


def axes(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, principal axes as rows, and standard deviations along them."""
    mean = x.mean(dim=0)
    _, s, vh = torch.linalg.svd(x - mean, full_matrices=False)
    return mean, vh, s / (len(x) - 1) ** 0.5


def data_banks(test: RealSet, bank: RealSet) -> list[Case]:
    """coco500 in the place of the bank, in ten random halves."""
    coco = load_pair("coco500")
    d = bank.sim.queries.shape[1]
    both = torch.cat([coco.sim.queries - coco.sim.queries.mean(0),
                      coco.sim.gallery - coco.sim.gallery.mean(0)])  # fmt: skip
    basis = torch.linalg.svd(both, full_matrices=False).Vh[:d]
    _, target_axes, target_std = axes(bank.sim.queries)
    std = (both @ basis.T).std(dim=0)
    moved = []
    for source, like in (
        (coco.sim.queries, bank.sim.queries),
        (coco.sim.gallery, bank.sim.gallery),
    ):
        turned = (source - source.mean(dim=0)) @ basis.T / std * target_std @ target_axes
        moved.append(turned + like.mean(dim=0))
    foreign = RealSet("coco500", Pair(*moved), coco.video_of)
    return own_banks(test, foreign)


def scrambled_banks(test: RealSet, bank: RealSet) -> list[Case]:
    """The bank turned by one random rotation, in ten random halves."""
    d = bank.sim.queries.shape[1]
    draw = torch.randn((d, d), generator=torch.Generator().manual_seed(0))
    turn = torch.linalg.qr(draw).Q
    foreign = RealSet(
        "scrambled", Pair(bank.sim.queries @ turn, bank.sim.gallery @ turn), bank.video_of
    )
    return own_banks(test, foreign)


def direction(case: Case, name: str) -> tuple[Pair, Bank, Tensor, Tensor]:
    """Test similarity, bank, (n, m) what is right, and the video of each test query."""
    test, bank = case.test, case.bank
    right = test.video_of[:, None] == torch.arange(test.sim.shape[1])
    known = [np.array([v]) for v in bank.video_of.tolist()]
    clusters = test.video_of
    sim, pairs = test.sim, bank.sim
    if name == "v2t":
        sim, pairs, right = sim.T, pairs.T, right.T
        clusters = torch.arange(test.sim.shape[1])
        known = [(bank.video_of == v).nonzero()[:, 0].numpy() for v in range(bank.sim.shape[1])]
    made = Bank(
        Pair(pairs.queries, sim.gallery),
        gallery=Pair(pairs.gallery, sim.gallery),
        pairs=pairs,
        positives=tuple(known),
    )
    return sim, made, right, clusters


def measure(cases: list[Case], name: str) -> list[list[str]]:
    """Rows of the table for one direction."""
    changes: dict[str, list[np.ndarray]] = {row: [] for row in ROWS}
    reports: dict[str, list[GateReport]] = {row: [] for row in ROWS}
    raws, groups = [], []
    for case in cases:
        sim, bank, right, clusters = direction(case, name)
        raw = hits(sim.scores(), right)
        raws.append(float(raw.mean()))
        groups.append(clusters.numpy())
        for row, fit in ROWS.items():
            fitted, report = fit(bank, sim)
            changes[row].append((hits(fitted.transform(sim).scores(), right) - raw).numpy())
            if report is not None:
                reports[row].append(report)
    out = [["doing nothing", f"{100 * np.mean(raws):.2f}", "", "", "", "", ""]]
    for row, values in changes.items():
        means = np.array([100 * v.mean() for v in values])
        kept = reports[row]
        out.append(
            [
                row,
                f"{100 * np.mean(raws) + means.mean():.2f}",
                f"{means.mean():+.2f}",
                f"{clustered_error(values, groups):.2f}",
                f"{means.min():+.2f}",
                f"{np.mean([r.shrink for r in kept]):.2f}" if kept else "",
                f"{sum(r.does_nothing for r in kept)} of {len(kept)}" if kept else "",
            ]
        )
    return out


def clustered_error(values: list[np.ndarray], groups: list[np.ndarray]) -> float:
    """Standard error, in points, of the mean over cases; one test video is one draw in all."""
    draws = np.random.default_rng(0)
    size = max(int(g.max()) for g in groups) + 1
    sums = np.array(
        [np.bincount(g, weights=v, minlength=size) for v, g in zip(values, groups, strict=True)]
    )
    counts = np.array([np.bincount(g, minlength=size) for g in groups])
    means = []
    for _ in range(500):
        pick = draws.integers(size, size=size)
        means.append((sums[:, pick].sum(axis=1) / counts[:, pick].sum(axis=1)).mean())
    return 100 * float(np.std(means))


def main() -> None:
    """Print one table for each kind of bank and each direction."""
    test, bank = load_pair("msvd_aligned"), load_pair("msvd_aligned", "bank_")
    kinds: dict[str, Callable[[RealSet, RealSet], list[Case]]] = {
        "own": own_banks,
        "shuffled": wrong_pairs(1.0),
        "half shuffled": wrong_pairs(0.5),
        "other topics": topic_banks,
        "other data set": data_banks,
        "scrambled": scrambled_banks,
    }
    for kind in sys.argv[1:] or kinds:
        cases = kinds[kind](test, bank)
        for name in ("t2v", "v2t"):
            print(f"\nbank: {kind}, {name}, {len(cases)} banks\n")
            print("| | R@1 | change | error | worst | shrink | does nothing |")
            print("|---|---|---|---|---|---|---|")
            for row in measure(cases, name):
                print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()
