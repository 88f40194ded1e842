"""Evidence for the default on embeddings: alignment and EM beside Sinkhorn alone.

    RERANK_DATA=... python tests/bench/align_table.py [--quick]

R@1 in percent, expected over ties, both directions, through the engine that every door uses. A
difference is paired with Sinkhorn alone on the same queries; +- is two standard errors. Cells:

- whole: every set at hand, and coco500 with one side made harder (noise, fewer dimensions, a
  rotation, dropped coordinates, centred modalities);
- cuts: random n pairs of a set, n = m; few: a share of the queries against the whole gallery.

Distorted sets are not independent of the set that they come from. `folded` is the overlap of the
top 10 of the served (linear) form with those of the engine, and its R@1 less the engine's.
"""

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from real_sets import embeddings, folder, hits, load_pair
from torch import Tensor

from rerank.methods import engine
from rerank.methods.align import Aligned
from rerank.methods.base import FittedPipeline
from rerank.methods.directions import from_embeddings

BASE = "sinkhorn"
ALIGNED = "sinkhorn+align+sinkhorn"
METHODS = ("none", BASE, "em+sinkhorn", ALIGNED, "em+sinkhorn+align+sinkhorn")


@dataclass(frozen=True, eq=False)
class Cell:
    """Texts, videos and what is right, (n, m) boolean."""

    name: str
    texts: Tensor
    videos: Tensor
    right: Tensor
    directions: tuple[str, ...] = ("t2v", "v2t")


def loaded(name: str) -> Cell:
    """A whole set."""
    if name == "esc50_clap":
        base = folder() / name
        texts, text_ids = embeddings(base / "texts.h5")
        videos, video_ids = embeddings(base / "videos.h5")
        known = json.loads((base / "gt.json").read_text())
        row = {video: j for j, video in enumerate(video_ids)}
        right = torch.zeros((len(text_ids), len(video_ids)), dtype=torch.bool)
        for i, text in enumerate(text_ids):
            found = known[text]
            right[i, [row[v] for v in ([found] if isinstance(found, str) else found)]] = True
        return Cell(name, texts, videos, right)
    data = load_pair(name)
    right = data.video_of[:, None] == torch.arange(data.sim.shape[1])
    return Cell(name, data.sim.queries[:], data.sim.gallery[:], right)


def one_caption(cell: Cell, seed: int) -> Cell:
    """One random text of every video."""
    draw = torch.rand(cell.right.shape, generator=torch.Generator().manual_seed(seed))
    rows = (draw * cell.right).argmax(dim=0)
    eye = torch.eye(len(rows), dtype=torch.bool)
    return Cell(f"{cell.name}, 1 caption, {seed}", cell.texts[rows], cell.videos, eye)


def distorted(cell: Cell) -> Iterator[Cell]:
    """One set made harder in ways that a linear map can or cannot undo."""
    texts, videos = (torch.nn.functional.normalize(x, dim=1) for x in (cell.texts, cell.videos))
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
        yield Cell(f"{cell.name}, {name}", t, v, cell.right)


def cut(cell: Cell, n: int, seed: int) -> Cell:
    """n random pairs of a set with one text per video."""
    rows = torch.randperm(len(cell.texts), generator=torch.Generator().manual_seed(seed))[:n]
    columns = cell.right[rows].int().argmax(dim=1)
    eye = torch.eye(n, dtype=torch.bool)
    return Cell(f"{cell.name}, n = {n}", cell.texts[rows], cell.videos[columns], eye)


def few(cell: Cell, share: float, seed: int) -> Cell:
    """A share of the texts against all videos."""
    count = max(2, round(share * len(cell.texts)))
    rows = torch.randperm(len(cell.texts), generator=torch.Generator().manual_seed(seed))[:count]
    name = f"{cell.name}, {share:.0%} of the texts"
    return Cell(name, cell.texts[rows], cell.videos, cell.right[rows], ("t2v",))


def cells(quick: bool) -> Iterator[tuple[str, list[Cell]]]:
    """Cells with the draws that are pooled in each."""
    coco, small = loaded("coco500"), loaded("msrvtt100")
    yield coco.name, [coco]
    yield small.name, [small]
    msvd = loaded("msvd_aligned")
    yield "msvd_aligned, 1 caption", [one_caption(msvd, seed) for seed in range(1 if quick else 3)]
    for made in distorted(coco):
        if not quick or "turned" in made.name:
            yield made.name, [made]
    sizes = (100,) if quick else (200, 100, 50)
    for n in sizes:
        yield f"coco500, n = {n}", [cut(coco, n, seed) for seed in range(2 if quick else 5)]
    for share in (0.25,) if quick else (0.5, 0.25, 0.1, 0.05):
        draws = range(1 if quick else 4)
        yield f"coco500, {share:.0%} of the texts", [few(coco, share, seed) for seed in draws]
    if not quick:
        yield "esc50_clap", [loaded("esc50_clap")]
        yield "msvd_aligned", [msvd]


def measured(cell: Cell, method: str) -> tuple[dict[str, Tensor], dict[str, FittedPipeline | None]]:
    """Hits of every query and the fits, by direction."""
    run = engine.fit(from_embeddings(cell.texts, cell.videos), method)
    sides = {"t2v": cell.right, "v2t": cell.right.T}
    found = {d: 100 * hits(run[d].sim.scores(), sides[d]) for d in cell.directions}
    return found, {d: run[d].fitted for d in cell.directions}


def served(cell: Cell, fits: dict[str, FittedPipeline | None]) -> tuple[float, float]:
    """Overlap of the top 10 of the linear form with the engine's, and its R@1 less the engine's."""
    both = from_embeddings(cell.texts, cell.videos)
    sides = {"t2v": cell.right, "v2t": cell.right.T}
    overlaps, gaps = [], []
    for name, fitted in fits.items():
        assert fitted is not None
        exact = fitted.transform(both[name].sim).scores()
        linear = FittedPipeline(tuple(map(linearised, fitted))).transform(both[name].sim).scores()
        k = min(10, exact.shape[1])
        one, two = (x.topk(k, dim=1).indices for x in (exact, linear))
        overlaps.append((one[:, :, None] == two[:, None]).any(dim=2).double().mean())
        gaps.append(100 * (hits(linear, sides[name]) - hits(exact, sides[name])).mean())
    return float(torch.stack(overlaps).mean()), float(torch.stack(gaps).mean())


def linearised(stage):  # noqa: ANN001, ANN201
    """An alignment as it is served."""
    from dataclasses import replace

    return replace(stage, linear=True) if isinstance(stage, Aligned) else stage


def rows(quick: bool, show: Callable[[str], None]) -> None:
    """One line per cell, then what is worst."""
    show(f"| cell | queries | {' | '.join(METHODS)} | x | folded |")
    show("|" + " --- |" * (len(METHODS) + 4))
    differences: dict[str, dict[str, tuple[float, float]]] = {m: {} for m in METHODS}
    for name, draws in cells(quick):
        pooled: dict[str, dict[str, list[Tensor]]] = {m: {} for m in METHODS}
        shares, folded = [], []
        for cell in draws:
            for method in METHODS:
                found, fits = measured(cell, method)
                for d, values in found.items():
                    pooled[method].setdefault(d, []).append(values)
                if method == ALIGNED:
                    shares += [f.facts["align_share"] for f in fits.values() if f is not None]
                    folded.append(served(cell, fits))
        texts = []
        for method in METHODS:
            means = [float(torch.cat(x).mean()) for x in pooled[method].values()]
            text = "/".join(f"{mean:.1f}" for mean in means)
            if method != BASE:
                gap = torch.cat(
                    [torch.cat(x) - torch.cat(pooled[BASE][d]) for d, x in pooled[method].items()]
                )
                mean, error = float(gap.mean()), 2 * float(gap.std()) / len(gap) ** 0.5
                differences[method][name] = (mean, error)
                text += f" ({mean:+.2f} +- {error:.2f})"
            texts.append(text)
        count = sum(len(v) for x in pooled[BASE].values() for v in x)
        mean = torch.tensor(folded).mean(dim=0).tolist()
        x = sum(shares) / len(shares)
        show(f"| {name} | {count} | {' | '.join(texts)} | {x:.2f} | {mean[0]:.3f} {mean[1]:+.2f} |")
    show("")
    for method, by_cell in differences.items():
        if method == BASE:
            continue
        worst = min(by_cell, key=lambda cell: by_cell[cell][0])
        mean = sum(x for x, _ in by_cell.values()) / len(by_cell)
        low, error = by_cell[worst]
        show(
            f"{method}: mean of {len(by_cell)} cells {mean:+.2f}, worst {low:+.2f} +- {error:.2f} "
            f"({worst})"
        )


def main() -> None:
    """Print the table."""
    rows("--quick" in sys.argv, lambda line: print(line, flush=True))


if __name__ == "__main__":
    main()
