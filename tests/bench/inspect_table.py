"""What `inspect` could say beforehand, beside what the default then gains, as Markdown.

    RERANK_DATA=... python tests/bench/inspect_table.py

Every set with one text a video, whole and in two random halves, both directions: embeddings with
the default for embeddings, matrices with that for scores. R@1 in percent, transductive. Last: rank
correlation of every rule with the gain; over whole sets and halves, and over whole sets alone.

- firsts: share of the first places that hubs hold;
- skewness: of how often items are among the best ten, and how far beyond chance;
- antihubs: share of items that are never among the best ten;
- meetings: Q of `rerank.selection.drift`, how often two queries want the same item;
- changed: share of first places that re-ranking changes, known only behind it.
"""

import numpy as np
import torch
from drift_table import aligned, unit
from real_sets import hits, load_scores, log_odds, log_percent
from scipy.stats import spearmanr
from torch import Tensor

from rerank.core.similarity import Dense, Pair, Similarity
from rerank.methods import directions, engine
from rerank.metrics import hubness
from rerank.passes import reduce
from rerank.selection.drift import meetings

RULES = ("firsts", "skewness", "beyond chance", "antihubs", "meetings", "changed")


def sets() -> list[tuple[str, Similarity, Similarity | None]]:
    """(name, texts x their own videos, videos x texts where those are other scores)."""
    made: list[tuple[str, Similarity, Similarity | None]] = []
    for name in ("coco500", "msrvtt100", "msvd"):
        texts, videos, _ = aligned(name)
        made.append((name, Pair(texts, videos), None))
    texts, clips, own = aligned("esc50")
    first = torch.stack([(own == text).nonzero()[0, 0] for text in range(len(texts))])
    made.append(("esc50", Pair(unit(texts), unit(clips[first])), None))
    for name, file in (("cap_video", "video_scores"), ("cap_title", "titles_scores")):
        data = load_scores("cap4video", file)
        made.append((name, Dense(data.sim.scores()[:, data.video_of]), None))
    made.append(("softmax", Dense(log_percent(), unscored=True), None))
    odds = (Dense(log_odds(side), unscored=True) for side in ("t2v", "v2t"))
    down, up = odds
    made.append(("log-odds", down, up.T))
    return made


def part(sim: Similarity, rows: Tensor) -> Similarity:
    """Some pairs."""
    if isinstance(sim, Pair):
        return Pair(sim.queries[rows], sim.gallery[rows])
    return Dense(sim.scores()[rows][:, rows], unscored=True)


def cells(name: str, down: Similarity, up: Similarity | None) -> list[dict[str, float | str]]:
    """Facts and gain of both directions."""
    run = engine.fit(directions.from_scores(down, up))
    made: list[dict[str, float | str]] = []
    for side, fit in run.fits.items():
        raw = fit.direction.sim
        counted = hubness.summary(raw, 10)
        before, after = raw.scores(), fit.sim.scores()
        right = torch.eye(len(before), dtype=torch.bool)
        one, other = (100 * float(hits(x, right).mean()) for x in (before, after))
        _, spread = reduce.spread(raw)
        made.append(
            {
                "cell": f"{name} {side}",
                "raw": one,
                "gain": other - one,
                "firsts": 100 * counted.hub_share_of_firsts,
                "skewness": counted.skewness,
                "beyond chance": counted.skewness - counted.skewness_by_chance,
                "antihubs": 100 * len(counted.antihubs) / len(right),
                "meetings": float(meetings(raw, spread / 4).mean()),
                "changed": 100 * float((before.argmax(1) != after.argmax(1)).double().mean()),
            }
        )
    return made


def main() -> None:
    """Measure and print."""
    print("| cell | raw | gain | " + " | ".join(RULES) + " |")
    print("|---|---|---|" + "---|" * len(RULES))
    found: list[dict[str, float | str]] = []
    whole: list[dict[str, float | str]] = []
    for name, down, up in sets():
        order = torch.randperm(down.shape[0], generator=torch.Generator().manual_seed(0))
        for k, rows in enumerate((None, *order.chunk(2))):
            cut = [x if rows is None or x is None else part(x, rows) for x in (down, up)]
            assert cut[0] is not None
            more = cells(f"{name}{('', ' a', ' b')[k]}", cut[0], cut[1])
            found += more
            whole += more if rows is None else []
            for cell in more:
                shown = (f"{cell[rule]:.1f}" for rule in ("raw", "gain", *RULES))
                print(f"| {cell['cell']} | " + " | ".join(shown) + " |", flush=True)
    for said, some in (("all cells", found), ("whole sets", whole)):
        gain = [cell["gain"] for cell in some]
        ranks = (spearmanr([cell[rule] for cell in some], gain)[0] for rule in RULES)
        print(f"| {said}, {len(some)} | | | " + " | ".join(f"{x:.2f}" for x in ranks) + " |")
    many = [c["gain"] for c in found if float(c["firsts"]) >= 100 * hubness.MANY_FIRSTS]
    few = [c["gain"] for c in found if float(c["firsts"]) < 100 * hubness.MANY_FIRSTS]
    for said, some in (("from", many), ("below", few)):
        if some:
            values = np.array(some, dtype=float)
            print(
                f"\n{said} {100 * hubness.MANY_FIRSTS:.0f} % of first places: {len(values)} cells, "
                f"gain {values.min():+.1f} to {values.max():+.1f}, mean {values.mean():+.1f}"
            )


if __name__ == "__main__":
    main()
