"""Constants of the alignment's share, chosen on one half of the sets and reported on the other.

    RERANK_DATA=... python tests/bench/align_constants.py [--lines FILE]

Every draw is aligned at shares 0, .2, .4, .6, .8 and 1; what a rule gains is read off that line. A
rule is scored by its mean gain over the cells of a half less three times the mean loss below -.3.
Halves: cells made from coco500, and all others. Shares of the queries are left out: their share is
0 by any rule from half of the queries on. `--lines` keeps the lines of a run and goes on from them.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from align_cells import Cell, groups
from real_sets import hits

from rerank.methods import align
from rerank.methods.align import Align
from rerank.methods.directions import from_embeddings
from rerank.methods.sinkhorn import Sinkhorn

PARTS = ("whole", "distorted", "cuts", "drift")
SHARES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
LEAST_LOSS, PRICE = 0.3, 3.0


@dataclass(frozen=True)
class Draw:
    """One draw of a cell: what its share follows from, and what each of `SHARES` gains."""

    source: str
    name: str
    sure: float
    firm: float
    pairs: int
    gains: list[float]

    def at(self, share: float) -> float:
        """The gain at a share, between two that were measured."""
        place = min(len(SHARES) - 2, int(share / SHARES[1]))
        part = (share - SHARES[place]) / SHARES[1]
        return (1 - part) * self.gains[place] + part * self.gains[place + 1]


@dataclass(frozen=True)
class Rule:
    """x = clip((c - zero) / (one - zero)) min(1, easy - slope c) max(0, 2 f - 1) n / (n + half)."""

    zero: float
    one: float
    easy: float
    slope: float
    half: float

    def share(self, draw: Draw) -> float:
        """X of a draw."""
        ramp = min(1.0, max(0.0, (draw.sure - self.zero) / (self.one - self.zero)))
        easy = min(1.0, self.easy - self.slope * draw.sure)
        firm = max(0.0, 2 * draw.firm - 1)
        return ramp * easy * firm * draw.pairs / (draw.pairs + self.half)


RULES = [
    Rule(zero, zero + width, *easy, half)
    for zero, width, easy, half in product(
        (0.13, 0.19, 0.25, 0.31), (0.15, 0.25, 0.4), ((1.64, 1.33), (1.9, 1.33), (9.0, 0.0)),
        (30.0, 50.0, 100.0, 200.0),
    )
]  # fmt: skip
USED = Rule(align._UNSURE, align._SURE, align._EASY, align._SLOPE, align._PAIRS)  # noqa: SLF001


def measured(source: str, name: str, cell: Cell) -> Draw:
    """All shares of a draw, both directions."""
    both = from_embeddings(cell.texts, cell.videos)
    bank = both["t2v"].bank
    assert bank is not None
    plan = Sinkhorn().fit_plan(bank)
    whole = Align(share=1.0).fit_after(plan, bank)
    gains = []
    for share in SHARES:
        sim = replace(whole, share=share).transform(bank.sim) if share else bank.sim
        found = []
        for side in cell.directions:
            seen = sim if side == "t2v" else sim.T
            own = both[side].bank
            assert own is not None
            last = Sinkhorn().fit(replace(own, sim=seen, pairs=seen))
            right = cell.right if side == "t2v" else cell.right.T
            found.append(100 * float(hits(last.transform(seen).scores(), right).mean()))
        gains.append(sum(found) / len(found))
    firm = align._firm(plan)  # noqa: SLF001
    sure = whole.confidence if whole.confidence == whole.confidence else 0.0
    least = min(len(cell.texts), len(cell.videos))
    return Draw(source, name, sure, firm, least, [x - gains[0] for x in gains])


def draws(lines: Path | None) -> Iterator[Draw]:
    """Every draw, those of an earlier run from its lines."""
    known: dict[str, list[Draw]] = {}
    if lines and lines.exists():
        for line in lines.read_text().splitlines():
            draw = Draw(**json.loads(line))
            known.setdefault(draw.name, []).append(draw)
    for group in groups(PARTS):
        if group.name in ("msvd", "esc50"):
            continue  # large, and not aligned
        found = known.get(group.name, [])
        yield from found
        for cell in group.draws[len(found) :]:
            draw = measured(group.source, group.name, cell)
            if lines:
                with lines.open("a") as file:
                    file.write(json.dumps(draw.__dict__) + "\n")
            yield draw


def gains(found: list[Draw], rule: Rule) -> dict[str, float]:
    """Mean gain of every cell."""
    cells: dict[str, list[float]] = {}
    for draw in found:
        cells.setdefault(draw.name, []).append(draw.at(rule.share(draw)))
    return {name: sum(x) / len(x) for name, x in cells.items()}


def score(found: list[Draw], rule: Rule) -> float:
    """What a rule is chosen by."""
    values = gains(found, rule).values()
    lost = sum(max(0.0, -x - LEAST_LOSS) for x in values)
    return (sum(values) - PRICE * lost) / len(values)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--lines", type=Path)
    found = list(draws(parser.parse_args().lines))
    inside: dict[str, Callable[[Draw], bool]] = {
        "coco500": lambda x: x.source == "coco500", "the others": lambda x: x.source != "coco500",
    }  # fmt: skip
    halves = {name: [x for x in found if rule(x)] for name, rule in inside.items()}
    print("| chosen on | rule | gain there | gain on the other half | worst there |")
    print("|---|---|---|---|---|")
    for name, mine in halves.items():
        (other,) = (x for key, x in halves.items() if key != name)
        best = max(RULES, key=lambda rule: score(mine, rule))
        for how, rule in ((name, best), ("as used", USED)):
            here, there = gains(mine, rule), gains(other, rule)
            low = min(there, key=lambda cell: there[cell])
            text = f"({rule.zero:g}, {rule.one:g}), {rule.easy:g} - {rule.slope:g} c, {rule.half:g}"
            mean = sum(here.values()) / len(here), sum(there.values()) / len(there)
            print(f"| {how} | {text} | {mean[0]:+.2f} | {mean[1]:+.2f} | {there[low]:+.2f} {low} |")


if __name__ == "__main__":
    main()
