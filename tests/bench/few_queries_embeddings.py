"""R@1 of few queries by embeddings, with the default method: one-to-one cells, and shared items.

    RERANK_DATA=... python tests/bench/few_queries_embeddings.py [set ...]

Cells are those of `few_queries_table.py`, whose sets are scores: embeddings have an alignment too,
and axes without a say tell whether queries share items (`rerank.methods.equal_items`). Then
captions of a few videos of MSVD against all videos: "room for one" is partial transport whatever
the queries share, "nothing said" the default, "groups" the default where it is known which captions
are of one video.
"""

import math
import sys
import warnings
from collections.abc import Iterator

import torch
from drift_table import aligned, unit
from few_queries_table import SHARES, draws
from real_sets import hits, load_pair
from torch import Tensor

from rerank.core.similarity import Pair
from rerank.methods.marginals import masses
from rerank.methods.potentials import solve
from rerank.tasks.apply import apply

NAMES = ("msrvtt100", "coco500", "msvd")
# Videos and captions of each.
CAPTIONS = ((3, 10), (10, 5), (10, 10), (10, 20), (20, 5), (20, 10), (30, 3), (30, 10), (60, 2),
            (67, 4), (150, 2))  # fmt: skip


def cells(name: str) -> Iterator[str]:
    """A line for every direction and share."""
    texts, videos, _ = (unit(x) if x.ndim == 2 else x for x in aligned(name))
    for side, (queries, items) in (("t2v", (texts, videos)), ("v2t", (videos, texts))):
        for share in SHARES:
            raw, now, forms = [], [], {}
            for rows in draws(len(items), share):
                right = rows[:, None] == torch.arange(len(items))
                run = apply(queries[rows], items, k=1).t2v
                form = run.fitted.facts.get("marginals", "none")
                forms[form] = forms.get(form, 0) + 1
                raw.append(hits(Pair(queries[rows], items).scores(), right))
                now.append(hits(run.sim.scores(), right))
            yield f"| {name} {side} | {share} | {shown(raw, now)} | {forms} |"


def shown(raw: list[Tensor], now: list[Tensor]) -> str:
    """Both means and their difference."""
    before, after = (100 * torch.cat(x).double() for x in (raw, now))
    change = after - before
    error = float(change.std()) / math.sqrt(len(change))
    return (
        f"{float(before.mean()):.1f} | {float(after.mean()):.1f} "
        f"| {float(change.mean()):+.1f} ({error:.1f})"
    )


def captions() -> Iterator[str]:
    """A line for every number of videos and of captions."""
    data = load_pair("msvd_aligned")
    assert isinstance(data.sim, Pair)
    texts, videos, own = unit(data.sim.queries), unit(data.sim.gallery), data.video_of
    for count, each in CAPTIONS:
        found: dict[str, list[Tensor]] = {"raw": [], "room for one": [], "none": [], "groups": []}
        for seed in range(max(5, -(-1000 // (count * each)))):
            draw = torch.Generator().manual_seed(seed)
            some = torch.randperm(len(videos), generator=draw)[:count]
            rows = torch.cat([
                (mine := torch.nonzero(own == video)[:, 0])[
                    torch.randperm(len(mine), generator=draw)[:each]
                ]
                for video in some
            ])  # fmt: skip
            asked, right = texts[rows], own[rows, None] == torch.arange(len(videos))
            sim = Pair(asked, videos)
            scores, masses_of = sim.scores(), masses(sim)
            groups = [f"v{video}" for video in own[rows].tolist()]
            plain, known = (apply(asked, videos, k=1, groups=x).t2v for x in ("auto", groups))
            log_a, slack = masses_of.few
            room = solve(
                sim, plain.fitted.facts["tau"], log_a=log_a, log_b=masses_of.log_b, slack=slack,
                n_iters=50, tol=1e-3,
            ).g  # fmt: skip
            for name, x in zip(
                found, (scores, scores + room, plain.sim.scores(), known.sim.scores()), strict=True
            ):
                found[name].append(hits(x, right))
        figures = " | ".join(
            f"{100 * float(torch.cat(x).double().mean()):.1f}" for x in found.values()
        )
        yield f"| {count} | {each} | {figures} |"


def main() -> None:
    """Print both tables."""
    warnings.simplefilter("ignore")
    print("| set | n/m | raw | now | now - raw (se) | chosen |\n|---|---|---|---|---|---|")
    for name in sys.argv[1:] or NAMES:
        for line in cells(name):
            print(line, flush=True)
    print("\n| videos | captions of each | raw | room for one | nothing said | groups |")
    print("|---|---|---|---|---|---|")
    for line in captions():
        print(line, flush=True)


if __name__ == "__main__":
    main()
