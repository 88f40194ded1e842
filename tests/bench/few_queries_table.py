"""R@1 of few queries against all items: raw, today's fit, and the rule that was here before.

    RERANK_DATA=... python tests/bench/few_queries_table.py [set ...]

Cell = set x direction x share of the queries, pooled over as many seeded draws as give 1,000
queries, at least five. "before" are the figures of the build before this rule (equality and the
mean spacing at any n), read from `few_queries_before.json` beside this file; with --record the
figures of the build at hand are written there. "other direction": all items as queries against
the few as a gallery, judged on the queries that have an answer, nothing stated and one-to-one
stated. All sets are one-to-one (one caption of a video, one clip of a class).
"""

import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from real_sets import hits, one_to_one_sets
from torch import Tensor

from rerank.core.similarity import Dense
from rerank.methods import directions
from rerank.methods.sinkhorn import Sinkhorn

SHARES = (1.0, 0.5, 0.25, 0.1, 0.05, 0.02)
RECORD = Path(__file__).with_name("few_queries_before.json")


def draws(m: int, share: float, total: int = 1000) -> Iterator[Tensor]:
    """Rows of seeded draws."""
    n = max(1, round(share * m))
    count = 1 if share == 1 else max(5, math.ceil(total / n))
    generator = torch.Generator().manual_seed(1)
    for _ in range(count):
        yield torch.randperm(m, generator=generator)[:n]


def cell(scores: Tensor, share: float) -> tuple[float, float, float, dict[str, int]]:
    """(raw, fitted, standard error of the difference, forms that were chosen)."""
    raw, ours, forms = [], [], {}
    for rows in draws(len(scores), share):
        part = scores[rows]
        right = rows[:, None] == torch.arange(len(scores))
        fitted = Sinkhorn().fit(Dense(part, unscored=True))
        form = getattr(fitted, "form", "before") if fitted.label != "none" else "raw"
        forms[form] = forms.get(form, 0) + 1
        raw.append(hits(part, right))
        ours.append(hits(part + fitted.gallery_bias, right))
    before, after = torch.cat(raw) * 100, torch.cat(ours) * 100
    error = float((after - before).std()) / math.sqrt(len(after))
    return float(before.mean()), float(after.mean()), error, forms


def other(scores: Tensor, share: float) -> list[float]:
    """R@1 of all items ranking the few: raw, nothing stated, stated one-to-one."""
    found: list[list[Tensor]] = [[], [], []]
    for rows in draws(len(scores), share, 500):
        turned = Dense(scores[rows].T.contiguous(), unscored=True)
        right = rows == torch.arange(len(scores))[:, None]
        asked = right.any(dim=1)
        biases = [torch.zeros(len(rows))]
        for statement in ("auto", "one-to-one"):
            bank = directions.from_scores(turned, groups=statement)["t2v"].bank
            biases.append(Sinkhorn().fit(bank).gallery_bias)
        for held, bias in zip(found, biases, strict=True):
            held.append(hits((turned.base + bias)[asked], right[asked]))
    return [100 * float(torch.cat(held).mean()) for held in found]


def main() -> None:
    """Measure and print."""
    record = "--record" in sys.argv
    names = [name for name in sys.argv[1:] if not name.startswith("--")]
    kept = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    print("| set | n/m | queries | raw | before | now | now - raw (se) | chosen |")
    print("|---|---|---|---|---|---|---|---|")
    rows: dict[float, list[tuple[str, float, float, float, float]]] = {s: [] for s in SHARES}
    for name, scores in one_to_one_sets(names):
        for share in SHARES:
            raw, now, error, forms = cell(scores, share)
            key = f"{name} {share}"
            if record:
                kept[key] = now
                RECORD.write_text(json.dumps(kept, indent=1) + "\n")
            before = kept.get(key, math.nan)
            rows[share].append((name, raw, before, now, error))
            said = ", ".join(f"{form} {count}" for form, count in forms.items())
            print(
                f"| {name} | {share} | {round(share * len(scores))} | {raw:.1f} | {before:.1f} "
                f"| {now:.1f} | {now - raw:+.1f} ({error:.1f}) | {said} |",
                flush=True,
            )
    print("\n| n/m | raw | before (worst) | now (worst) | below raw by more than allowed |")
    print("|---|---|---|---|---|")
    for share, found in rows.items():
        if not found:
            continue
        mean = [sum(row[k] for row in found) / len(found) for k in (1, 2, 3)]
        worst = [min(row[k] - row[1] for row in found) for k in (2, 3)]
        bad = [f"{r[0]} {r[3] - r[1]:+.1f}" for r in found if r[3] - r[1] < -max(1.5, 2 * r[4])]
        print(
            f"| {share} | {mean[0]:.2f} | {mean[1]:.2f} ({worst[0]:+.1f}) "
            f"| {mean[2]:.2f} ({worst[1]:+.1f}) | {', '.join(bad) or '-'} |"
        )
    if "--other" not in sys.argv:
        return
    print("\n| other direction | n/m | raw | nothing stated | one-to-one stated |")
    print("|---|---|---|---|---|")
    for name, scores in one_to_one_sets(names):
        for share in SHARES[1:]:
            figures = " | ".join(f"{value:.1f}" for value in other(scores, share))
            print(f"| {name} | {share} | {figures} |", flush=True)


if __name__ == "__main__":
    main()
