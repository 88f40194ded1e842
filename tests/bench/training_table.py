"""Train every objective on the MSVD features and tabulate them, seed by seed.

    RERANK_DATA=... python tests/bench/training_table.py --out results/ --seeds 5 [--quick]
    RERANK_DATA=... python tests/bench/training_table.py --out results/ --report

Each (cell, seed) is one JSON file, so that a stopped run goes on where it was. Test data is read by
the figures only. Start and epoch are chosen on 10 % of the training videos; rate and batch of every
objective by `training_settings.py`, on training videos only, with the same candidates. A seed draws
the split, the batches and, in the noisy cells, the wrong pairs.
"""

import argparse
import json
import math
import sys
import time
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import training_data
from scipy import stats
from torch import Tensor
from training_claims import auc, neighbour_similarity, neighbours
from training_settings import chosen

from rerank.core.pairs import transpose_positives
from rerank.core.similarity import Pair, Similarity
from rerank.methods.align import Align
from rerank.methods.base import Bank, Pipeline
from rerank.methods.sinkhorn import Sinkhorn
from rerank.metrics.ranks import Ranks, ranks, recall_at
from rerank.train import PairedData, TrainSettings, candidates, fit_heads, split_by_video
from rerank.train.diagnostics import effective_rank, normalisation_error
from rerank.train.ridge import both_ranks

# Cell: (title, tuned settings that it takes, what differs from them).
CELLS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "infonce": ("InfoNCE", "infonce", {}),
    "infonce-duplicates": ("InfoNCE, duplicates as negatives", "infonce",
                           {"duplicates": "negatives"}),
    "emcl": ("EMCL", "emcl", {}),
    "ncl": ("NCL", "ncl", {}),
    "ncl-no-queue": ("NCL without queue", "ncl", {"options": {"queue": 0}}),
    "support-set": ("support-set, weight 10 (published)", "support-set", {}),
    "support-set-half": ("support-set, weight .5", "support-set", {"options": {"weight": 0.5}}),
    "reconstruction": ("reconstruction", "reconstruction", {}),
    "cali-nce": ("after Cali-NCE", "cali-nce", {}),
    "infonce-noisy": ("InfoNCE, 30 % of the pairs wrong", "infonce-noisy", {}),
    "cali-nce-noisy": ("after Cali-NCE, 30 % of the pairs wrong", "cali-nce-noisy", {}),
}  # fmt: skip
BASES = {"infonce": "ridge", "ncl-no-queue": "ncl", "support-set-half": "support-set",
         "cali-nce-noisy": "infonce-noisy", "infonce-noisy": "infonce"}  # fmt: skip
COLUMNS = ("t2v", "t2v_sinkhorn", "v2t", "v2t_sinkhorn")


def after_sinkhorn(test: Similarity, bank: Similarity, positives: tuple) -> Ranks:
    """Ranks with biases that training queries gave, temperature found without labels."""
    return ranks(Sinkhorn().fit(bank).transform(test), positives)


def figures(texts: Tensor, videos: Tensor, train_texts: Tensor, train_videos: Tensor,
            test: PairedData) -> dict:  # fmt: skip
    """R@1 of both directions, raw and after an inductive Sinkhorn, and the hits of each video."""
    sim = Pair(texts, videos)
    back = transpose_positives(test.positives, len(videos))
    t2v, v2t = both_ranks(texts, videos, test)
    return with_hits({
        "t2v": t2v, "v2t": v2t,
        # Direction v2t searches the texts, so its bank is the training videos.
        "t2v_sinkhorn": after_sinkhorn(sim, Pair(train_texts, videos), test.positives),
        "v2t_sinkhorn": after_sinkhorn(sim.T, Pair(train_videos, texts), back),
    }, test)  # fmt: skip


def with_hits(found: dict[str, Ranks], test: PairedData) -> dict:
    """R@1 of every column, and the hits of each test video."""
    videos = test.videos
    owner = np.concatenate(test.positives)
    out: dict = {}
    for name, r in found.items():
        out[name] = recall_at(r, 1)
        hits = r.hits(1)
        if name.startswith("t2v"):
            # A caption is no independent draw: captions are summed up by video.
            hits = np.bincount(owner, weights=hits, minlength=len(videos))
        out[f"{name}_hits"] = hits.tolist()
    return out


@cache
def ridge_choice(quick: bool) -> dict[str, tuple[str, float]]:
    """For each retrieval direction (map, lambda) by five splits of the training videos.

    One split of 120 videos chooses badly for one seed in three, which would make an easy baseline.
    """
    data = training_data.split("train", quick=quick)
    sums: dict[tuple[str, str, float], float] = {}
    for fold in range(5):
        train, validation = split_by_video(data, share=0.2, seed=100 + fold)
        for lam in (0.003, 0.01, 0.03, 0.1, 0.3, 1.0):
            made = candidates(train, validation, lambdas=(lam,))
            for kind in ("video-to-text", "text-to-video"):
                start = made[kind]
                found = both_ranks(
                    start.texts(validation.texts), start.videos(validation.videos), validation
                )
                for name, r in zip(("t2v", "v2t"), found, strict=True):
                    key = (name, kind, lam)
                    sums[key] = sums.get(key, 0.0) + float((1 / r.values).mean())
    best = {n: max((k for k in sums if k[0] == n), key=lambda k: sums[k]) for n in ("t2v", "v2t")}
    return {name: (kind, lam) for name, (_, kind, lam) in best.items()}


def ridge(train: PairedData, validation: PairedData, test: PairedData, quick: bool) -> dict:
    """For each retrieval direction the map, and its lambda, that are better there."""
    out: dict = {"chosen": ridge_choice(quick)}
    for name, (kind, lam) in ridge_choice(quick).items():
        start = candidates(train, validation, lambdas=(lam,))[kind]
        f = figures(
            start.texts(test.texts), start.videos(test.videos),
            start.texts(train.texts), start.videos(train.videos), test,
        )  # fmt: skip
        out |= {key: value for key, value in f.items() if key.startswith(name)}
    return out


def aligned(train: PairedData, validation: PairedData, test: PairedData, quick: bool) -> dict:
    """The stage `align` on the training pairs, behind the ridge that brings both into one space."""
    found: dict[str, Ranks] = {}
    for name, (kind, lam) in ridge_choice(quick).items():
        start = candidates(train, validation, lambdas=(lam,))[kind]
        sim = Pair(start.texts(test.texts), start.videos(test.videos))
        known = Pair(start.texts(train.texts), start.videos(train.videos))
        right, positives = train.positives, test.positives
        if name == "v2t":
            sim, known = sim.T, known.T
            right = transpose_positives(right, len(train.videos))
            positives = transpose_positives(positives, len(test.videos))
        bank = Bank(
            Pair(known.queries, sim.gallery), gallery=Pair(known.gallery, sim.gallery),
            pairs=known, positives=right,
        )  # fmt: skip
        for column, stages in ((name, (Align(),)), (f"{name}_sinkhorn", (Align(), Sinkhorn()))):
            found[column] = ranks(Pipeline(stages).fit(bank).transform(sim), positives)
    return with_hits(found, test)


@cache
def near_videos(quick: bool) -> np.ndarray:
    """The neighbours of each test video; see `neighbours`."""
    test = training_data.split("test", quick=quick)
    return neighbours(test.texts, list(test.captions or ()), np.concatenate(test.positives))


# Cells without training: title and what measures them.
CLOSED = {
    "ridge": ("ridge, better map for each direction", ridge),
    "align": ("closed-form alignment behind that ridge", aligned),
}


def one(cell: str, seed: int, quick: bool) -> dict:
    """Train and measure one cell of the table."""
    data, test = (training_data.split(name, quick=quick) for name in ("train", "test"))
    right = np.ones(len(data.positives), dtype=bool)
    if cell.endswith("-noisy"):
        data, right = training_data.with_wrong_pairs(data, draw=seed)
    train, validation = split_by_video(data, seed=seed)
    if cell in CLOSED:
        return CLOSED[cell][1](train, validation, test, quick)
    _, tuned, changes = CELLS[cell]
    objective = tuned.removesuffix("-noisy")
    told = {**chosen("quick" if quick else "full")[tuned], **changes}
    began = time.perf_counter()
    trained = fit_heads(train, validation, TrainSettings(objective=objective, seed=seed, **told))
    history, best = trained.history, trained.best_epoch
    out: dict = {"seconds": time.perf_counter() - began, "best_epoch": best}
    out["seconds_an_epoch"] = float(np.median([r["seconds"] for r in history[1:]]))
    heads = trained.heads
    texts, videos = heads.texts(test.texts), heads.videos(test.videos)
    out |= figures(texts, videos, heads.texts(train.texts), heads.videos(train.videos), test)
    owner = np.concatenate(test.positives)
    wanted = torch.bincount(torch.from_numpy(owner), minlength=len(videos)).double() / len(owner)
    out["tau"] = trained.tau
    out["error_t2v_own_tau"] = normalisation_error(texts, videos, wanted, trained.tau)
    out["error_t2v_tau_0.1"] = normalisation_error(texts, videos, wanted, 0.1)
    out["effective_rank"] = effective_rank(texts, videos)
    out["map_moves"] = history[best].get("map", 0.0)
    close = neighbour_similarity(videos, near_videos(quick))
    out["neighbour_cos"], out["neighbour_cos_of"] = float(close.mean()), close.tolist()
    for name in ("past_texts", "past_videos"):
        if name in history[-1]:
            out[name] = history[-1][name]
    with torch.no_grad():
        t, v = heads.text_features(test.texts), heads.video_features(test.videos)
        out |= trained.objective.figures(t, v, test)
        if not right.all():
            i, j = data.pairs
            t, v = heads.text_features(data.texts)[i], heads.video_features(data.videos)[j]
            out["auc_cosine"] = auc((t * v).sum(dim=1), torch.from_numpy(right))
            if objective == "cali-nce":
                confidence: Any = trained.objective
                out["auc_confidence"] = auc(confidence.confidence(t, v), torch.from_numpy(right))
    return out


def half_interval(values: list[float]) -> float:
    """Half a 95 % interval of the mean, Student's t."""
    spread = np.std(values, ddof=1) / math.sqrt(len(values))
    return float(stats.t.ppf(0.975, len(values) - 1) * spread)


def interval(values: list[float], digits: int = 1) -> str:
    """Mean and half a 95 % confidence interval over seeds; two seeds are too few for one."""
    mean = f"{float(np.mean(values)):.{digits}f}"
    return mean if len(values) < 3 else f"{mean} ± {half_interval(values):.{digits}f}"


def difference(
    a: dict[int, dict], b: dict[int, dict], column: str, of: str, unit: float, digits: int
) -> str:
    """Difference of a figure with two 95 % intervals: over seeds, and over the test videos.

    Seeds draw split, batches and wrong pairs, the bootstrap draws the videos; a gain is clear if
    both say so. Seeds that both have are compared; fewer than three have no interval.

    Args:
        a: cells by seed.
        b: cells to compare with.
        column: the figure.
        of: what each test video adds to it.
        unit: 100 where the figure is in percent of the sum of `of` over the judged.
        digits: shown.
    """
    pairs = [(a[seed], b[seed]) for seed in sorted(a.keys() & b.keys())]
    per_seed = [x[column] - y[column] for x, y in pairs]
    videos = np.mean([np.array(x[of]) - np.array(y[of]) for x, y in pairs], axis=0)
    one = pairs[0][0]
    judged = unit * np.sum(one[of]) / one[column]
    drawn = np.random.default_rng(0).integers(len(videos), size=(10_000, len(videos)))
    low, high = np.percentile(unit * videos[drawn].sum(axis=1) / judged, (2.5, 97.5))
    mean, over_seeds = float(np.mean(per_seed)), "[-]"
    if len(pairs) > 2:
        half = half_interval(per_seed)
        over_seeds = f"[{mean - half:+.{digits}f}, {mean + half:+.{digits}f}]"
    return f"{mean:+.{digits}f} {over_seeds} [{low:+.{digits}f}, {high:+.{digits}f}]"


def report(out: Path) -> str:
    """The Markdown tables of everything measured so far."""
    cells: dict[str, dict[int, dict]] = {}
    for path in sorted(out.glob("*.json")):
        name, _, seed = path.stem.rpartition("-")
        cells.setdefault(name, {})[int(seed)] = json.loads(path.read_text())
    titles = {
        **{name: title for name, (title, _) in CLOSED.items()},
        **{name: title for name, (title, _, _) in CELLS.items()},
    }
    lines = [
        "| R@1 on test | text to video | + Sinkhorn | video to text | + Sinkhorn | seeds |",
        "|---|---|---|---|---|---|",
    ]
    for name, title in titles.items():
        rows = list(cells.get(name, {}).values())
        if rows:
            shown = " | ".join(interval([r[c] for r in rows]) for c in COLUMNS)
            lines.append(f"| {title} | {shown} | {len(rows)} |")
    lines += [
        "",
        "| difference of R@1 [over seeds] [over test videos] | "
        "text to video | + Sinkhorn | video to text | + Sinkhorn |",
        "|---|---|---|---|---|",
    ]
    compared = [(n, BASES.get(n, "infonce")) for n in ("align", *CELLS)]
    for name, base in compared:
        if cells.get(name, {}).keys() & cells.get(base, {}).keys():
            shown = " | ".join(
                difference(cells[name], cells[base], c, f"{c}_hits", 100, 1) for c in COLUMNS
            )
            lines.append(f"| {titles[name]} - {titles[base]} | {shown} |")
    lines += ["", "| neighbour cosine, difference from InfoNCE | [over seeds] [over test videos] |",
              "|---|---|"]  # fmt: skip
    for name in ("support-set", "support-set-half", "reconstruction"):
        if cells.get(name, {}).keys() & cells.get("infonce", {}).keys():
            shown = difference(
                cells[name], cells["infonce"], "neighbour_cos", "neighbour_cos_of", 1, 3
            )
            lines.append(f"| {titles[name]} | {shown} |")
    keys = (
        ("neighbour_cos", 3), ("caption_held_out", 3), ("caption_shuffled", 3),
        ("caption_unigram", 3), ("error_t2v_own_tau", 3), ("error_t2v_tau_0.1", 3), ("tau", 3),
        ("effective_rank", 1), ("map_moves", 3), ("past_texts", 0), ("past_videos", 0),
        ("auc_cosine", 3), ("auc_confidence", 3), ("best_epoch", 1), ("seconds_an_epoch", 1),
    )  # fmt: skip
    names = [n for n in CELLS if n in cells]
    lines += ["", f"| figure | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for key, digits in keys:
        shown = []
        for name in names:
            values = [r[key] for r in cells[name].values() if key in r]
            shown.append(interval(values, digits) if values else "")
        lines.append(f"| {key} | {' | '.join(shown)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure what is missing, or print the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--seeds", type=int, default=1, help="number of seeds")
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--cells", nargs="+", default=[*CLOSED, *CELLS], help="which, in order")
    parser.add_argument("--quick", action="store_true", help="4 captions a video, 8 epochs")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    if args.report:
        print(report(args.out))
        return
    for seed in range(args.first, args.first + args.seeds):
        for name in args.cells:
            path = args.out / f"{name}-{seed}.json"
            if path.exists():
                continue
            found = one(name, seed, args.quick)
            path.write_text(json.dumps(found, indent=1))
            print(name, seed, {k: round(found[k], 2) for k in COLUMNS}, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
