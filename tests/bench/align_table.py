"""Evidence for the default on embeddings: alignment and EM beside Sinkhorn alone.

    RERANK_DATA=... python tests/bench/align_table.py [part ...] [--em] [--lines FILE]

Parts (`align_cells.py`): whole sets, distorted ones, drift of either side or both, cuts to n pairs,
shares of the queries, and pairs that belong nowhere. Without parts: all.

R@1 in percent, expected over ties, both directions, through the engine that every door uses. A
difference is the mean of both directions, paired with Sinkhorn alone on the same queries; +- is two
standard errors over queries (draws of one set share them, so small cuts are less certain). `x` is
the share that the data asked for. `folded` is the overlap of the top 10 of the served (linear) form
with those of the engine, and its R@1 less the engine's. Last: worst cells, cells below Sinkhorn
alone by more than .5 or two standard errors (the larger), and means, of sets and of cells with 400
pairs and more. `--lines` keeps the lines of a run and goes on from them.
"""

import argparse
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from align_cells import PARTS, Cell, Group, groups
from real_sets import hits
from torch import Tensor

from rerank.methods import engine
from rerank.methods.align import Aligned
from rerank.methods.base import Fitted, FittedPipeline
from rerank.methods.directions import from_embeddings

BASE = "sinkhorn"
ALIGNED = engine.DEFAULT_FOR_EMBEDDINGS
WITH_EM = f"em+{ALIGNED}"
MOST_LOST, LARGE = 0.5, 400


@dataclass(frozen=True)
class Line:
    """One cell.

    Attributes:
        part, source, name: see `align_cells.Group`.
        source: see `part`.
        name: see `part`.
        pairs: known pairs of a draw; queries: of all draws.
        queries: see `pairs`.
        recall: R@1 of each direction, by method.
        gain: mean difference to Sinkhorn alone and two standard errors, by method.
        share: x; folded: overlap and difference of R@1, NaN where it was not looked at.
        folded: see `share`.
    """

    part: str
    source: str
    name: str
    pairs: int
    queries: int
    recall: dict[str, list[float]]
    gain: dict[str, tuple[float, float]]
    share: float
    folded: tuple[float, float]

    def text(self, methods: Iterable[str]) -> str:
        """As a row of Markdown."""
        cells = []
        for method in methods:
            shown = "/".join(f"{x:.1f}" for x in self.recall[method])
            if method in self.gain:
                shown += " ({:+.2f} +- {:.2f})".format(*self.gain[method])
            cells.append(shown)
        folded = "{:.3f} {:+.2f}".format(*self.folded) if self.folded[0] == self.folded[0] else ""
        return (
            f"| {self.name} | {self.queries} | {' | '.join(cells)} | {self.share:.2f} | {folded} |"
        )


def found(cell: Cell, method: str) -> tuple[dict[str, Tensor], dict[str, FittedPipeline | None]]:
    """Hits of every query and the fits, by direction."""
    run = engine.fit(from_embeddings(cell.texts, cell.videos), method)
    sides = {"t2v": cell.right, "v2t": cell.right.T}
    made = {d: 100 * hits(run[d].sim.scores(), sides[d]) for d in cell.directions}
    return made, {d: run[d].fitted for d in cell.directions}


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


def linearised(stage: Fitted) -> Fitted:
    """An alignment as it is served."""
    return replace(stage, linear=True) if isinstance(stage, Aligned) else stage


def measured(group: Group, methods: tuple[str, ...], *, fold: bool) -> Line:
    """All draws of a cell."""
    pooled: dict[str, dict[str, list[Tensor]]] = {m: {} for m in ("none", *methods)}
    shares, folded = [], []
    for cell in group.draws:
        for method in pooled:
            hit, fits = found(cell, method)
            for d, values in hit.items():
                pooled[method].setdefault(d, []).append(values)
            if method == ALIGNED:
                shares += [f.facts["align_share"] for f in fits.values() if f is not None]
                folded += [served(cell, fits)] if fold else []
    whole = {m: {d: torch.cat(x) for d, x in found.items()} for m, found in pooled.items()}
    gain = {}
    for method in methods:
        if method != BASE:
            gaps = [x - whole[BASE][d] for d, x in whole[method].items()]
            variance = sum(float(x.var()) / len(x) for x in gaps)
            mean = sum(float(x.mean()) for x in gaps) / len(gaps)
            gain[method] = mean, 2 * variance**0.5 / len(gaps)
    first = group.draws[0]
    mean = torch.tensor(folded).mean(dim=0).tolist() if folded else (torch.nan, torch.nan)
    return Line(
        group.part, group.source, group.name,
        int(first.right.sum()), sum(len(x) for x in whole[BASE].values()),
        {m: [float(x.mean()) for x in found.values()] for m, found in whole.items()},
        gain, sum(shares) / max(1, len(shares)), (mean[0], mean[1]),
    )  # fmt: skip


def summary(lines: list[Line], method: str) -> None:
    """What is worst, what is below Sinkhorn alone, and means."""
    gains = [(line, *line.gain[method]) for line in lines if method in line.gain]
    if not gains:
        return
    print(f"\n{method} against {BASE}:")
    for part in PARTS:
        some = [x for x in gains if x[0].part == part]
        if some:
            low, gain, error = min(some, key=lambda x: x[1])
            mean = sum(x[1] for x in some) / len(some)
            print(
                f"- {part}: mean of {len(some)} cells {mean:+.2f}, worst {gain:+.2f} +- "
                f"{error:.2f} ({low.name})"
            )
    lost = [f"{x[0].name} {x[1]:+.2f}" for x in gains if x[1] < -max(MOST_LOST, x[2])]
    print(f"- below by more than {MOST_LOST} or two standard errors: {', '.join(lost) or 'none'}")
    large = [x for x in gains if x[0].pairs >= LARGE]
    for what, kinds in (("sets", ("whole",)), ("sets, distorted and drifted", PARTS[:3])):
        values = [x[1] for x in large if x[0].part in kinds]
        if values:
            mean = sum(values) / len(values)
            print(f"- {what} of {LARGE} pairs and more: {mean:+.2f} ({len(values)})")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=[])
    parser.add_argument("--em", action="store_true")
    parser.add_argument("--lines", type=Path)
    args = parser.parse_args()
    methods = (BASE, ALIGNED, *((WITH_EM,) if args.em else ()))
    lines: list[Line] = []
    if args.lines and args.lines.exists():
        lines = [Line(**json.loads(x)) for x in args.lines.read_text().splitlines()]
    known = {(line.part, line.name): line for line in lines}
    print(f"| cell | queries | {' | '.join(('none', *methods))} | x | folded |")
    print("|" + " --- |" * (len(methods) + 5))
    shown = []
    for group in groups(tuple(args.parts) or PARTS):
        line = known.get((group.part, group.name))
        if line is None:
            line = measured(group, methods, fold=group.part in ("whole", "distorted"))
            if args.lines:
                with args.lines.open("a") as file:
                    file.write(json.dumps(line.__dict__) + "\n")
        print(line.text(["none", *(m for m in methods if m in line.recall)]), flush=True)
        shown.append(line)
    for method in methods[1:]:
        summary(shown, method)


if __name__ == "__main__":
    main()
