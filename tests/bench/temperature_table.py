"""Loss of tau="auto" against the best of 16 temperatures picked with labels, as Markdown.

    RERANK_DATA=... python tests/bench/temperature_table.py

R@1 in percent, expected over ties, mean of text to video and video to text; a video counts by its
best caption. The 16 temperatures are log-spaced from 0.01 to 1.5 standard deviations of a query's
scores. "top 50": scores of a row below its 50 best are raised to the 50th, as in matrices that
were cut off. The small set is reported with its warning and left out of the mean.
"""

import math

import torch
from real_sets import RealSet, all_sets, floored, recall

from rerank.core.similarity import Dense
from rerank.methods.sinkhorn import Sinkhorn
from rerank.methods.temperature import RELIABLE_QUERIES
from rerank.passes import reduce

GRID = torch.logspace(math.log10(0.01), math.log10(1.5), 16).tolist()


def both(data: RealSet, tau: float | str) -> tuple[tuple[float, float], float, str]:
    """R@1 of both directions at a temperature, the temperature, and the note."""
    sim = Dense(data.sim.scores())
    down, up = (Sinkhorn(tau=tau).fit(s) for s in (sim, sim.T))
    found = recall(data, video_bias=down.gallery_bias, text_bias=up.gallery_bias)
    return found, down.tau, down.note


def main() -> None:
    """Measure every set and print the table."""
    sets = []
    for data in all_sets():
        sets.append(data)
        if not data.name.startswith("ms"):
            sets.append(floored(data))
    print("| set | raw | best of 16 (tau) | auto (tau) | loss |")
    print("|---|---|---|---|---|")
    losses, notes = [], []
    for data in sets:
        sigma = reduce.spread(data.sim)[1]
        raw = recall(data)
        grid = [(*both(data, factor * sigma)[0], factor * sigma) for factor in GRID]
        best = max(grid, key=lambda row: row[0] + row[1])
        auto, tau, note = both(data, "auto")
        loss = (best[0] + best[1] - sum(auto)) / 2
        if min(data.sim.shape) >= RELIABLE_QUERIES:
            losses.append(loss)
        else:
            notes.append(f"{data.name}: {note}")
        print(
            f"| {data.name} | {raw[0]:.1f} / {raw[1]:.1f} "
            f"| {best[0]:.1f} / {best[1]:.1f} ({best[2]:.4f}) "
            f"| {auto[0]:.1f} / {auto[1]:.1f} ({tau:.4f}) | {loss:.2f} |",
            flush=True,
        )
    print(f"\nmean loss {sum(losses) / len(losses):.2f}, worst {max(losses):.2f}")
    print("\n".join(notes))


if __name__ == "__main__":
    main()
