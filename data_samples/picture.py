"""Draws `before_after.svg` beside this file: `python data_samples/picture.py [FILE]`.

Three real queries of the sample data, all of which found the same hub first. Their first places
before and after `rerank.apply` with its defaults; nothing is made up for the picture.
"""

import json
import sys
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np

import rerank

HERE = Path(__file__).resolve().parent
SHOWN = 3  # queries, and lines of each list
LEFT, WIDE, HIGH = 132, 300, 27  # of the first column of lists, of a column, of a line
STYLE = """
text { font: 14px ui-sans-serif, system-ui, "Segoe UI", Roboto, sans-serif; fill: #1f2933 }
.head { font-weight: 600 } .soft { fill: #52606d; font-size: 13px }
.page { fill: #fff } .card { fill: #f5f7fa; stroke: #d3dae2 }
.hub { fill: #fbdfdb } .right { fill: #d3f0de }
.hubs { fill: #9b1c10 } .rights { fill: #0b5c37; font-weight: 600 }
@media (prefers-color-scheme: dark) {
text { fill: #e4e9ef } .soft { fill: #a9b5c1 } .page { fill: #0f151b }
.card { fill: #1a222b; stroke: #3a4754 }
.hub { fill: #5a211b } .right { fill: #17452f } .hubs { fill: #ffc4bc } .rights { fill: #a6edc6 } }
"""


def found():
    """The hub, its first places before and after, and three queries with both lists."""
    run = rerank.apply(HERE / "texts.h5", HERE / "videos.h5")
    truth = json.loads((HERE / "gt.json").read_text(encoding="utf-8"))
    videos = np.asarray(run.t2v.gallery_ids)
    before = videos[_first_places(run.t2v.direction.sim.scores())]
    after = run.t2v.ids
    names, counts = np.unique(before[:, 0], return_counts=True)
    hub = names[counts.argmax()]
    queries = run.t2v.query_ids
    # Those that wanted another video, which was in the first ten, in the order of the ids.
    good = [
        row
        for row in np.argsort(queries)
        if before[row, 0] == hub != truth[queries[row]]
        and after[row, 0] == truth[queries[row]]
        and truth[queries[row]] in before[row]
    ][:SHOWN]
    lists = [
        (queries[row], truth[queries[row]], before[row].tolist(), after[row].tolist())
        for row in good
    ]
    return hub, int(counts.max()), int((after[:, 0] == hub).sum()), len(queries), lists


def _first_places(scores):
    return np.argsort(-scores.numpy(), axis=1, kind="stable")[:, :10]


def card(x, y, hub, right, names):
    """One list of results as SVG."""
    out = [f'<rect class="card" x="{x}" y="{y}" width="{WIDE - 24}" height="{SHOWN * HIGH + 12}"'
           ' rx="6"/>']  # fmt: skip
    places = list(range(SHOWN))
    # The right one is always shown: where it lies deeper, with its place, on the last line.
    places[-1] = max(places[-1], names.index(right))
    for number, place in enumerate(places):
        name, line = names[place], y + 6 + number * HIGH
        kind = "right" if name == right else "hub" if name == hub else ""
        said = {"right": " ✓ right", "hub": " · the hub"}.get(kind, "")
        if kind:
            out.append(
                f'<rect class="{kind}" x="{x + 6}" y="{line}" width="{WIDE - 36}" '
                f'height="{HIGH - 2}" rx="4"/>'
            )
        out.append(
            f'<text class="{kind and kind + "s"}" x="{x + 16}" y="{line + 18}">{place + 1}. '
            f"{escape(str(name))}{said}</text>"
        )
    return out


def picture() -> str:
    """The SVG."""
    hub, took, keeps, total, lists = found()
    step = SHOWN * HIGH + 24
    high = 64 + len(lists) * step + 26
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + 2 * WIDE} {high}" '
        f'role="img" aria-label="Three queries before and after re-ranking">',
        f"<style>{STYLE}</style>",
        f'<rect class="page" width="{LEFT + 2 * WIDE}" height="{high}" rx="8"/>',
        f'<text class="head" x="{LEFT}" y="24">Before: the model’s own scores</text>',
        f'<text class="head" x="{LEFT + WIDE}" y="24">After rerank</text>',
        '<text class="head" x="14" y="24">Query</text>',
    ]
    for number, (query, right, before, after) in enumerate(lists):
        y = 40 + number * step
        middle = y + step // 2
        parts.append(f'<text x="14" y="{middle - 4}">{escape(str(query))}</text>')
        parts.append(f'<text class="soft" x="14" y="{middle + 15}">wants</text>')
        parts.append(f'<text class="soft" x="14" y="{middle + 32}">{escape(right)}</text>')
        parts += card(LEFT, y, hub, right, before) + card(LEFT + WIDE, y, hub, right, after)
    parts.append(
        f'<text class="soft" x="14" y="{high - 16}">The hub {escape(str(hub))} came first for '
        f"{took} of {total} queries before, and for {keeps} after. No labels were used.</text>"
    )
    return "\n".join([*parts, "</svg>"]) + "\n"


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "before_after.svg"
    target.write_text(picture(), encoding="utf-8")
