"""Cells that an alignment is measured on: sets, cuts, shares of the queries, distortions, drift.

A cell pools draws until 1,000 queries, both directions counted, are in it. Distorted sets are not
independent of the set that they come from; `Group.source` names that set.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from drift_table import Half, cases
from made import hard
from real_sets import class_rows, load_pair
from torch import Tensor
from torch.nn.functional import normalize

PARTS = ("whole", "distorted", "drift", "cuts", "few", "chance", "made")
SIZES, SHARES = (400, 200, 100, 50), (0.5, 0.25, 0.1, 0.05, 0.02)
QUERIES = 1000


@dataclass(frozen=True, eq=False)
class Cell:
    """Texts, videos and what is right, (n, m) boolean."""

    texts: Tensor
    videos: Tensor
    right: Tensor
    directions: tuple[str, ...] = ("t2v", "v2t")

    @property
    def T(self) -> "Cell":  # noqa: N802  the other direction
        """Videos as texts."""
        return replace(self, texts=self.videos, videos=self.texts, right=self.right.T)


@dataclass(frozen=True, eq=False)
class Group:
    """Draws that are pooled.

    Attributes:
        part: one of `PARTS`; source: the set that it is made from.
        source: see `part`.
        name: for a person.
        draws: cells.
    """

    part: str
    source: str
    name: str
    draws: list[Cell]


def whole(name: str) -> Cell:
    """A whole set."""
    if name != "esc50_clap":
        data = load_pair(name)
        right = data.video_of[:, None] == torch.arange(data.sim.shape[1])
        return Cell(data.sim.queries[:], data.sim.gallery[:], right)
    return Cell(*class_rows())


def captions(cell: Cell, count: int, seed: int) -> Cell:
    """So many random texts of every video."""
    draw = torch.rand(cell.right.shape, generator=torch.Generator().manual_seed(seed))
    rows = (draw * cell.right).topk(count, dim=0).indices.T.reshape(-1)
    return Cell(cell.texts[rows], cell.videos, cell.right[rows])


def cut(cell: Cell, n: int, seed: int) -> Cell:
    """n random pairs of a set with one text per video."""
    rows = torch.randperm(len(cell.texts), generator=torch.Generator().manual_seed(seed))[:n]
    columns = cell.right[rows].int().argmax(dim=1)
    return Cell(cell.texts[rows], cell.videos[columns], torch.eye(n, dtype=torch.bool))


def few(cell: Cell, share: float, seed: int) -> Cell:
    """A share of the texts against all videos."""
    count = max(2, round(share * len(cell.texts)))
    rows = torch.randperm(len(cell.texts), generator=torch.Generator().manual_seed(seed))[:count]
    return Cell(cell.texts[rows], cell.videos, cell.right[rows], ("t2v",))


def distorted(cell: Cell) -> Iterator[tuple[str, Cell]]:
    """One set made harder in ways that a linear map can or cannot undo."""
    texts, videos = normalize(cell.texts, dim=1), normalize(cell.videos, dim=1)
    d = texts.shape[1]

    def draw(seed: int, *shape: int) -> Tensor:
        return torch.randn(shape, generator=torch.Generator().manual_seed(seed))

    def turn(seed: int, amount: float) -> Tensor:
        a = draw(seed, d, d)
        return torch.matrix_exp(amount * (a - a.T) / (2 * d) ** 0.5)

    keep = torch.randperm(d, generator=torch.Generator().manual_seed(3))[: d // 4]
    dropped = videos.clone()
    dropped[:, keep] = 0
    plane = torch.linalg.qr(draw(6, d, d)).Q[:, :96]
    made = {
        "videos turned": (texts, videos @ turn(4, 0.7)),
        "texts turned": (texts @ turn(5, 0.5), videos),
        "noisy videos": (texts, videos + 0.5 * draw(1, *videos.shape) / d**0.5),
        "noisy texts": (texts + 0.5 * draw(2, *texts.shape) / d**0.5, videos),
        "a quarter dropped": (texts, dropped),
        "a quarter kept": (texts[:, keep], videos[:, keep]),
        "96 directions": (texts @ plane, videos @ plane),
        "centred": (texts - texts.mean(dim=0), videos - videos.mean(dim=0)),
    }
    for name, (t, v) in made.items():
        yield name, Cell(t, v, cell.right)


def groups(parts: tuple[str, ...] = PARTS) -> Iterator[Group]:
    """Every cell of some parts."""
    coco, small, esc = whole("coco500"), whole("msrvtt100"), whole("esc50_clap")
    msvd = whole("msvd_aligned")
    one = captions(msvd, 1, 0)
    sources = {"coco500": coco, "msvd": one, "msrvtt100": small}
    if "whole" in parts:
        yield Group("whole", "coco500", "coco500", [coco])
        yield Group("whole", "msvd", "msvd, 1 caption", [captions(msvd, 1, s) for s in range(3)])
        yield Group("whole", "msvd", "msvd, 3 captions", [captions(msvd, 3, 0)])
        yield Group("whole", "msvd", "msvd", [msvd])
        yield Group("whole", "esc50", "esc50", [esc])
        yield Group("whole", "msrvtt100", "msrvtt100", [small])
        clips = [captions(esc.T, 1, s).T for s in range(10)]
        yield Group("whole", "esc50", "esc50, 1 clip", clips)
    if "distorted" in parts:
        for name, made in distorted(coco):
            yield Group("distorted", "coco500", f"coco500, {name}", [made])
    if "drift" in parts:
        for source in sources:
            # Other captions in every draw: one draw's luck is no drift.
            count = max(1, QUERIES // (2 * len(sources[source].texts))) + (source == "msvd")
            again = (
                captions(msvd, 1, s) if source == "msvd" else sources[source] for s in range(count)
            )
            yield from _drifted(source, list(again))
    if "cuts" in parts:
        for source, cell in sources.items():
            for n in (n for n in SIZES if n < len(cell.texts)):
                seeds = range(-(-QUERIES // (2 * n)))
                again = (captions(msvd, 1, 100 + s) if source == "msvd" else cell for s in seeds)
                draws = [cut(x, n, s) for s, x in zip(seeds, again, strict=True)]
                yield Group("cuts", source, f"{source}, n = {n}", draws)
    if "few" in parts:
        for source, cell in sources.items():
            for share in SHARES:
                seeds = range(-(-QUERIES // max(2, round(share * len(cell.texts)))))
                for side, both in (("texts", cell), ("videos", cell.T)):
                    draws = [few(both, share, s) for s in seeds]
                    yield Group("few", source, f"{source}, {share:.0%} of the {side}", draws)
    if "chance" in parts:
        order = torch.randperm(500, generator=torch.Generator().manual_seed(9))
        wrong = Cell(coco.texts, coco.videos[order], coco.right)
        yield Group("chance", "coco500", "coco500, videos shuffled", [wrong])
        drawn = torch.randn(coco.texts.shape, generator=torch.Generator().manual_seed(8))
        spread, mean = coco.texts.std(dim=0), coco.texts.mean(dim=0)
        made = Cell(drawn * spread + mean, coco.videos, coco.right)
        yield Group("chance", "coco500", "coco500, texts drawn at random", [made])

    if "made" in parts:
        # Dense items: a plan is sure of wrong ones. In the last a map helps, in the others none.
        for n, d, noise in ((2000, 64, 1.0), (2000, 64, 1.5), (1000, 32, 1.0), (2000, 256, 1.0)):
            sim = hard(n, n, d, noise=noise)
            cell = Cell(sim.queries[:], sim.gallery[:], torch.eye(n, dtype=torch.bool))
            yield Group("made", "made", f"{n} made pairs, d = {d}, noise {noise:g}", [cell])


def _drifted(source: str, again: list[Cell]) -> Iterator[Group]:
    """Noise, dropped dimensions and rotations of either side and of both, drawn for every cell."""
    made: dict[str, list[Cell]] = {}
    for seed, cell in enumerate(again):
        half = Half(normalize(cell.texts, dim=1), normalize(cell.videos, dim=1), cell.right)
        for what, how, texts, videos in cases(half, seed):
            if what != "nothing":
                name = f"{source}, {what}, {how}"
                made.setdefault(name, []).append(Cell(texts, videos, cell.right))
    for name, draws in made.items():
        yield Group("drift", source, name, draws)
