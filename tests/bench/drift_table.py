"""A bank under drift: raw, ungated and gated, over distorted queries and galleries, as Markdown.

    RERANK_DATA=... python tests/bench/drift_table.py [draws [set ...]]

Every set is split into halves, bank and test, as many times as `draws` says (2 by default); the
hundred pairs of msrvtt100 four times as often. R@1 in percent, inductive.

- noise, drop, turn: Gaussian noise of so many norms, that share of the dimensions at zero, a random
  rotation by about that angle; of the test queries alone, of the gallery alone, or of both;
- foreign: another set's queries and items as the bank, where dimensions agree.

"ungated" is the default fit on the bank, "gated" what `rerank apply` does, "unpaired" the same
where no pairs are known and "bank only" its ungated fit. "mean moved" is ungated, with the queries'
mean moved to the bank's. Last: how often clean and drifted batches are said to look different.

One split of 335 pairs has a standard error of 1.5 or so: a cell that is below raw is to be measured
over as many draws as give 1,000 queries (3 of msvd, 4 of coco500, 20 of msrvtt100).
"""

import json
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from real_sets import embeddings, folder, hits, load_pair, one_caption_rows
from torch import Tensor

from rerank.core.similarity import Pair
from rerank.core.words import Name
from rerank.methods import engine
from rerank.methods.base import Bank
from rerank.methods.directions import Direction
from rerank.selection.gate import gate
from rerank.selection.moments import looks, moments_of

LEVELS = {"noise": (0.5, 1.0, 2.0), "drop": (0.25, 0.5, 0.75), "turn": (0.2, 0.4, 0.8)}
NAMES = ("coco500", "msrvtt100", "msvd", "esc50", "foreign")


@dataclass(frozen=True, eq=False)
class Half:
    """Queries, items, and (n, m) which belong together."""

    queries: Tensor
    items: Tensor
    right: Tensor


def unit(x: Tensor) -> Tensor:
    """Rows of norm one."""
    return x / x.norm(dim=1, keepdim=True)


def aligned(name: str) -> tuple[Tensor, Tensor, Tensor]:
    """Texts, videos, and the text of each video."""
    if name == "esc50":
        base = folder() / "esc50_clap"
        (texts, names), (clips, ids) = (
            embeddings(base / f"{x}.h5") for x in ("texts", "videos")
        )  # fmt: skip
        right = json.loads((base / "gt.json").read_text())
        place = {clip: i for i, clip in enumerate(ids)}
        own = torch.zeros(len(ids), dtype=torch.long)
        for row, text in enumerate(names):
            own[[place[clip] for clip in right[text]]] = row
        return unit(texts), unit(clips), own
    data = load_pair("msvd_aligned" if name == "msvd" else name)
    rows, sim = one_caption_rows(data), data.sim
    assert isinstance(sim, Pair)
    videos = sim.gallery[data.video_of[rows]]
    return unit(sim.queries[rows]), unit(videos), torch.arange(len(rows))


def halves(name: str, seed: int) -> Iterator[tuple[str, Half, Half]]:
    """(set and direction, bank, test); classes stay the gallery of both halves."""
    texts, videos, own = aligned(name)
    order = torch.randperm(len(videos), generator=torch.Generator().manual_seed(seed))
    sides = order[: len(order) // 2], order[len(order) // 2 :]
    if name == "esc50":
        labels = torch.arange(len(texts))
        bank, test = (Half(videos[r], texts, own[r, None] == labels) for r in sides)
        yield "esc50 v2t", bank, test
        return
    for direction, q, v in (("t2v", texts, videos), ("v2t", videos, texts)):
        bank, test = (Half(q[r], v[r], torch.eye(len(r), dtype=torch.bool)) for r in sides)
        yield f"{name} {direction}", bank, test


def distorted(x: Tensor, kind: str, level: float, seed: int) -> Tensor:
    """Rows with noise, without some dimensions, or turned."""
    d = x.shape[1]
    generator = torch.Generator().manual_seed(1000 + seed)
    if kind == "noise":
        return unit(x + level * torch.randn(x.shape, generator=generator) / math.sqrt(d))
    if kind == "drop":
        return unit(x * (torch.rand(d, generator=generator) >= level))
    draw = torch.randn((d, d), generator=generator, dtype=torch.float64) / math.sqrt(d)
    return unit(x @ torch.linalg.matrix_exp(level * (draw - draw.T) / math.sqrt(2)).float())


def cases(test: Half, seed: int) -> Iterator[tuple[str, str, Tensor, Tensor]]:
    """(what drifts, how, queries, items)."""
    q, v = test.queries, test.items
    yield "nothing", "", q, v
    for kind, levels in LEVELS.items():
        for level in levels:
            how = f"{kind} {level}"
            yield "queries", how, distorted(q, kind, level, seed), v
            yield "gallery", how, q, distorted(v, kind, level, seed)
            if kind != "noise":
                turned = distorted(v, kind, level, seed)
                yield "both", how, distorted(q, kind, level, seed), turned


def figures(bank: Half, queries: Tensor, items: Tensor, right: Tensor) -> dict[str, float]:
    """R@1 of every column."""
    sim = Pair(queries, items)
    known = tuple(np.flatnonzero(row) for row in bank.right.numpy())
    parts = Pair(bank.queries, items), Pair(bank.items, items)
    pairs = Pair(bank.queries, bank.items)
    paired = Bank(parts[0], gallery=parts[1], pairs=pairs, positives=known)
    unpaired = Bank(parts[0])

    def found(asked: Pair, held: Bank, *, gated: bool) -> float:
        both: dict[Name, Direction] = {"t2v": Direction("t2v", asked, held)}
        sims = engine.fit(both, gate=gate() if gated else None)["t2v"].sim
        return 100 * float(hits(sims.scores(), right).mean())

    moved = unit(queries - queries.mean(dim=0) + bank.queries.mean(dim=0))
    return {
        "raw": 100 * float(hits(sim.scores(), right).mean()),
        "ungated": found(sim, paired, gated=False),
        "gated": found(sim, paired, gated=True),
        "bank only": found(sim, unpaired, gated=False),
        "unpaired": found(sim, unpaired, gated=True),
        "mean moved": found(Pair(moved, items), paired, gated=False),
    }


def foreign() -> Iterator[tuple[str, str, Half, Half]]:
    """Banks of another set with as many dimensions."""
    one, two = ("coco500", "esc50")
    for bank_name, test_name in ((one, two), (two, one)):
        made = {}
        for name in (bank_name, test_name):
            texts, videos, own = aligned(name)
            made[name] = Half(videos, texts, own[:, None] == torch.arange(len(texts)))
        yield "foreign", f"{bank_name} for {test_name} v2t", made[bank_name], made[test_name]
        # Turned around, prompts of classes are too few for a bank of known pairs.


def alarms(names: list[str], draws: int) -> None:
    """How often batches of 30 and 100 are said to look different."""
    shown = [(kind, level) for kind in LEVELS for level in LEVELS[kind]]
    head = " | ".join(f"{kind} {level}" for kind, level in shown)
    print(f"\n| batch | clean | {head} |\n|---|---|" + "---|" * len(shown))
    count: dict[tuple[str, int], list[bool]] = {}
    for name in names:
        for seed in range(draws):
            for _, bank, test in halves(name, seed):
                kept = moments_of(bank.queries)
                kinds = {"clean": test.queries}
                for kind, level in shown:
                    kinds[f"{kind} {level}"] = distorted(test.queries, kind, level, seed)
                generator = torch.Generator().manual_seed(seed)
                for size in (30, 100):
                    for _ in range(20 if size <= len(test.queries) else 0):
                        rows = torch.randperm(len(test.queries), generator=generator)[:size]
                        for kind, queries in kinds.items():
                            look = looks(kept, queries[rows])
                            count.setdefault((kind, size), []).append(bool(look and look.different))
    for size in (30, 100):
        rows = [count[name, size] for name, of in count if of == size]
        print(f"| {size} | " + " | ".join(f"{sum(x)} of {len(x)}" for x in rows) + " |")


def summary(rows: list[tuple[str, str, str, dict[str, float]]]) -> None:
    """Means and worst cells, by what drifts."""
    columns = ("ungated", "gated", "bank only", "unpaired", "mean moved")
    print("\n| what drifts | cells | raw | " + " | ".join(columns) + " | gated - better of two |")
    print("|---|---|---|" + "---|" * (len(columns) + 1))
    for what in ("nothing", "queries", "gallery", "both", "foreign", "all"):
        some = [row for row in rows if what in (row[0], "all")]
        if not some:
            continue
        raw = np.mean([x["raw"] for *_, x in some])
        cells = []
        for column in columns:
            change = [x[column] - x["raw"] for *_, x in some]
            at = int(np.argmin(change))
            cells.append(
                f"{np.mean([x[column] for *_, x in some]):.1f} "
                f"({change[at]:+.1f} {some[at][2]} {some[at][1]})"
            )
        less = np.mean([x["gated"] - max(x["raw"], x["ungated"]) for *_, x in some])
        print(f"| {what} | {len(some)} | {raw:.1f} | " + " | ".join(cells) + f" | {less:+.2f} |")


def main() -> None:
    """Measure and print."""
    draws = int(sys.argv[1]) if len(sys.argv) > 1 else 2
    names = sys.argv[2:] or list(NAMES)
    totals: dict[tuple[str, str, str], list[dict[str, float]]] = {}
    sets = [name for name in names if name != "foreign"]
    for name in sets:
        for seed in range(draws * (4 if name == "msrvtt100" else 1)):
            for label, bank, test in halves(name, seed):
                for what, how, queries, items in cases(test, seed):
                    made = figures(bank, queries, items, test.right)
                    totals.setdefault((what, how, label), []).append(made)
    if "foreign" in names:
        for what, how, bank, test in foreign():
            made = figures(bank, test.queries, test.items, test.right)
            totals.setdefault((what, how, ""), []).append(made)
    rows = [
        (*key, {column: float(np.mean([x[column] for x in found])) for column in found[0]})
        for key, found in totals.items()
    ]
    print("| set | what drifts | how | raw | ungated | gated | bank only | unpaired | mean moved |")
    print("|---|---|---|---|---|---|---|---|---|")
    for what, how, label, x in rows:
        print(f"| {label} | {what} | {how} | " + " | ".join(f"{v:.1f}" for v in x.values()) + " |")
    summary(rows)
    if sets:
        alarms(sets, max(draws, 3))


if __name__ == "__main__":
    main()
