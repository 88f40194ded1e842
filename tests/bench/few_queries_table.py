"""R@1 of few queries against all items: raw, older and other rules, and today's fit.

    RERANK_DATA=... python tests/bench/few_queries_table.py [set ...]

Cell = set x direction x share of the queries, pooled over as many seeded draws as give 1,000
queries, at least five; all columns are of the same draws. "before" are the figures of the build
before this rule (equality and the mean spacing at any n), read from `few_queries_before.json`
beside this file; with --record the figures of the build at hand are written there. "best form" is
the best of the simple forms of its share (`FORMS`) at our temperature: equality pulled back by rho
at a multiple of tau. With --forms all of them, and a slack row alone, are measured. "other
direction": all items as queries against the few as a gallery, judged on the queries that have an
answer, nothing stated and one-to-one stated. "groups": few videos against many texts, raw, nothing
stated, grouped and one-to-one stated, of one-to-one sets and of sets whose items come in groups.
It ends with clips drawn at random against the prompts of their classes, of which several share one.
All other sets are one-to-one (one caption of a video, one clip of a class).
"""

import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from real_sets import classes, hits, load_pair, one_to_one_sets
from torch import Tensor

from rerank.core.similarity import Dense, Similarity
from rerank.methods import directions
from rerank.methods.marginals import masses
from rerank.methods.potentials import solve
from rerank.methods.sinkhorn import Sinkhorn

SHARES = (1.0, 0.5, 0.25, 0.1, 0.05, 0.02)
# Softness and width in temperatures of the form that was best of all at its share.
FORMS = {1.0: (1.0, 1.0), 0.5: (0.8, 2.0), 0.25: (0.8, 2.0), 0.1: (0.7, 2.0), 0.05: (0.7, 2.0),
         0.02: (0.8, 2.0)}  # fmt: skip
MORE = ((0.9, 1.0), (0.7, 1.5), (0.5, 2.0), (0.8, 2.0), (0.7, 2.0))
RECORD = Path(__file__).with_name("few_queries_before.json")


def draws(m: int, share: float, total: int = 1000) -> Iterator[Tensor]:
    """Rows of seeded draws."""
    n = max(1, round(share * m))
    count = 1 if share == 1 else max(5, math.ceil(total / n))
    generator = torch.Generator().manual_seed(1)
    for _ in range(count):
        yield torch.randperm(m, generator=generator)[:n]


def form(sim: Similarity, tau: float, rho: float, wide: float) -> Tensor:
    """Biases of equality pulled back by rho, at a multiple of tau; zero without a temperature."""
    if math.isnan(tau):
        return torch.zeros(sim.shape[1])
    return Sinkhorn(tau=wide * tau, rho=rho).fit(sim).gallery_bias


def slack_row(sim: Similarity, tau: float) -> Tensor:
    """Biases of a slack row alone."""
    found = masses(sim)
    if math.isnan(tau) or found.slack <= 0:
        return form(sim, tau, 1.0, 1.0)
    log_a, slack = found.few
    return solve(sim, tau, log_a=log_a, log_b=found.log_b, slack=slack, n_iters=50, tol=1e-3).g


def cell(
    scores: Tensor, share: float, *, forms: bool
) -> tuple[dict[str, float], float, dict[str, int]]:
    """R@1 of every column, standard error of now - raw, and what was chosen how often."""
    found: dict[str, list[Tensor]] = {}
    chosen: dict[str, int] = {}
    for rows in draws(len(scores), share):
        part = scores[rows]
        sim = Dense(part, unscored=True)
        right = rows[:, None] == torch.arange(len(scores))
        fitted = Sinkhorn().fit(sim)
        said = fitted.form if fitted.label != "none" else "raw"
        chosen[said] = chosen.get(said, 0) + 1
        biases = {
            "raw": torch.zeros(len(scores)),
            "best form": form(sim, fitted.tau, *FORMS[share]),
            "now": fitted.gallery_bias,
        }
        if forms:
            biases |= {f"rho {r}, {w} tau": form(sim, fitted.tau, r, w) for r, w in MORE}
            biases["slack"] = slack_row(sim, fitted.tau)
        for name, bias in biases.items():
            found.setdefault(name, []).append(hits(part + bias, right))
    held = {name: torch.cat(parts) * 100 for name, parts in found.items()}
    change = held["now"] - held["raw"]
    error = float(change.std()) / math.sqrt(len(change))
    return {name: float(x.mean()) for name, x in held.items()}, error, chosen


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


def grouped_sets() -> Iterator[tuple[str, Tensor, Tensor, str]]:
    """(name, videos x texts, right, statement that is true) of few videos and many texts."""
    for name, scores in one_to_one_sets(["msrvtt100", "coco500", "cap_video"]):
        if name.endswith("v2t"):
            for share in (0.5, 0.25, 0.1):
                rows = next(draws(len(scores), share))
                right = rows[:, None] == torch.arange(len(scores))
                yield f"{name}, {len(rows)} of {len(scores)}", scores[rows], right, "one-to-one"
    msvd = load_pair("msvd_aligned")
    videos = torch.arange(msvd.sim.shape[1])
    for most in (3, None):
        seen: dict[int, int] = {}
        kept = []
        for text, video in enumerate(msvd.video_of.tolist()):
            seen[video] = seen.get(video, 0) + 1
            if most is None or seen[video] <= most:
                kept.append(text)
        texts = torch.tensor(kept)
        scores = msvd.sim.scores()[texts].T.contiguous()
        right = videos[:, None] == msvd.video_of[texts]
        yield f"msvd v2t, {len(texts)} captions", scores, right, "grouped"
    clips = classes()
    yield "esc50 t2v, 8 clips a prompt", clips[0], clips[1], "grouped"


def groups() -> None:
    """Print R@1 of few videos against many texts under every statement."""
    print("\n| few videos | true | raw | nothing stated | grouped | one-to-one |")
    print("|---|---|---|---|---|---|")
    for name, scores, right, true in grouped_sets():
        figures = [float(hits(scores, right).mean()) * 100]
        for statement in ("auto", "grouped", "one-to-one"):
            bank = directions.from_scores(Dense(scores, unscored=True), groups=statement)
            bias = Sinkhorn().fit(bank["t2v"].bank).gallery_bias
            figures.append(float(hits(scores + bias, right).mean()) * 100)
        print(f"| {name} | {true} |", " | ".join(f"{x:.1f}" for x in figures), "|", flush=True)


def drawn_clips() -> None:
    """Print R@1 of some clips, drawn at random, against the prompts of all classes."""
    scores, right = (x.T for x in classes())
    print("\n| clips drawn at random | prompts | raw | now | now - raw (se) |")
    print("|---|---|---|---|---|")
    for count in (5, 10, 15, 20, 25, 30, 40, 50):
        raw, now = [], []
        for seed in range(-(-1000 // count)):
            generator = torch.Generator().manual_seed(seed)
            rows = torch.randperm(len(scores), generator=generator)[:count]
            some = scores[rows].contiguous()
            raw.append(hits(some, right[rows]))
            now.append(hits(some + Sinkhorn().fit(Dense(some)).gallery_bias, right[rows]))
        change = (torch.cat(now).double() - torch.cat(raw).double()) * 100
        figures = [100 * float(torch.cat(x).double().mean()) for x in (raw, now)]
        error = float(change.std()) / math.sqrt(len(change))
        print(
            f"| {count} | {scores.shape[1]} | {figures[0]:.1f} | {figures[1]:.1f} "
            f"| {float(change.mean()):+.1f} ({error:.1f}) |",
            flush=True,
        )


def main() -> None:
    """Measure and print."""
    flags = {name for name in sys.argv[1:] if name.startswith("--")}
    names = [name for name in sys.argv[1:] if name not in flags]
    if "--groups" in flags:
        groups()
        drawn_clips()
        return
    kept = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    print("| set | n/m | queries | raw | before | best form | now | now - raw (se) | chosen |")
    print("|---|---|---|---|---|---|---|---|---|")
    rows: dict[float, list[tuple[str, dict[str, float], float]]] = {s: [] for s in SHARES}
    for name, scores in one_to_one_sets(names):
        for share in SHARES:
            held, error, chosen = cell(scores, share, forms="--forms" in flags)
            key = f"{name} {share}"
            if "--record" in flags:
                kept[key] = held["now"]
                RECORD.write_text(json.dumps(kept, indent=1) + "\n")
            held["before"] = kept.get(key, math.nan)
            rows[share].append((name, held, error))
            said = ", ".join(f"{form} {count}" for form, count in chosen.items())
            shown = ("raw", "before", "best form", "now")
            print(
                f"| {name} | {share} | {round(share * len(scores))} | "
                + " | ".join(f"{held[k]:.1f}" for k in shown)
                + f" | {held['now'] - held['raw']:+.1f} ({error:.1f}) | {said} |",
                flush=True,
            )
    summary(rows)
    if "--other" not in flags:
        return
    print("\n| other direction | n/m | raw | nothing stated | one-to-one stated |")
    print("|---|---|---|---|---|")
    for name, scores in one_to_one_sets(names):
        for share in SHARES[1:]:
            figures = " | ".join(f"{value:.1f}" for value in other(scores, share))
            print(f"| {name} | {share} | {figures} |", flush=True)


def summary(rows: dict[float, list[tuple[str, dict[str, float], float]]]) -> None:
    """Print means over sets, worst cells, and cells below raw by more than allowed."""
    columns = [k for k in next(found for found in rows.values() if found)[0][1] if k != "raw"]
    print("\n| n/m | raw |", " | ".join(f"{k} (worst)" for k in columns), "| below raw |")
    print("|---|---|" + "---|" * (len(columns) + 1))
    for share, found in rows.items():
        if not found:
            continue

        def mean(key: str, found: list[tuple[str, dict[str, float], float]] = found) -> float:
            return sum(held[key] for _, held, _ in found) / len(found)

        texts = []
        for k in columns:
            worst = min(held[k] - held["raw"] for _, held, _ in found)
            texts.append(f"{mean(k):.2f} ({worst:+.1f})")
        bad = [
            f"{name} {held['now'] - held['raw']:+.1f}"
            for name, held, error in found
            if held["now"] - held["raw"] < -max(1.5, 2 * error)
        ]
        print(f"| {share} | {mean('raw'):.2f} |", " | ".join(texts), f"| {', '.join(bad) or '-'} |")


if __name__ == "__main__":
    main()
