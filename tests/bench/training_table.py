"""Train every objective on the MSVD features and tabulate them, seed by seed.

    RERANK_DATA=... python tests/bench/training_table.py --out results/ --seeds 5
    RERANK_DATA=... python tests/bench/training_table.py --out results/ --report

Each (objective, seed) is one JSON file, so that a stopped run goes on where it was. Test data is
read by the figures only; lambda, start and epoch are chosen on 10 % of the training videos.
"""

import argparse
import json
import math
import sys
import time
from pathlib import Path

import numpy as np
import torch
from real_sets import embeddings, folder, video_rows
from scipy import stats
from torch import Tensor
from training_claims import (
    auc,
    effective_rank,
    neighbour_similarity,
    neighbours,
    normalisation_error,
)

from rerank.directions import transpose_positives
from rerank.methods.sinkhorn import Sinkhorn
from rerank.metrics import ranks, recall_at
from rerank.similarity import Pair, Similarity
from rerank.train import PairedData, TrainSettings, candidates, fit_heads, paired, split_by_video
from rerank.train.ridge import both_ranks

OBJECTIVES = ("infonce", "emcl", "ncl", "support-set", "cali-nce")
NOISY = ("infonce", "cali-nce")
NAMES = {
    "ridge": "ridge, better map for each direction", "infonce": "InfoNCE", "emcl": "EMCL",
    "ncl": "NCL", "support-set": "support-set", "cali-nce": "after Cali-NCE",
}  # fmt: skip
COLUMNS = ("t2v", "t2v_sinkhorn", "v2t", "v2t_sinkhorn")


def load(noisy: bool) -> tuple[PairedData, PairedData, Tensor]:
    """Training data, test data, and which training pairs are right."""
    at = folder() / "msvd"
    data = []
    right = torch.empty(0)
    for split in ("train", "test"):
        texts, text_ids = embeddings(at / f"{split}_texts.h5")
        videos, video_ids = embeddings(at / f"{split}_videos.h5")
        captions = json.loads((at / f"{split}_captions.json").read_text())
        gt = video_rows(at / f"{split}_gt.json", text_ids, video_ids)
        if split == "train":
            given = video_rows(at / "train_gt_noisy30.json", text_ids, video_ids) if noisy else gt
            right, gt = given == gt, given
        words = [captions[i] for i in text_ids]
        data.append(paired(texts, videos, gt.numpy(), captions=words))
    return data[0], data[1], right


def after_sinkhorn(test: Similarity, bank: Similarity, positives: tuple) -> float:
    """R@1 with biases that training queries gave, temperature found without labels."""
    return recall_at(ranks(Sinkhorn().fit(bank).transform(test), positives), 1)


def figures(texts: Tensor, videos: Tensor, train_texts: Tensor, train_videos: Tensor,
            test: PairedData) -> dict[str, float]:  # fmt: skip
    """R@1 of both directions, raw and after an inductive Sinkhorn."""
    sim = Pair(texts, videos)
    back = transpose_positives(test.positives, len(videos))
    raw = both_ranks(texts, videos, test)
    return {
        "t2v": recall_at(raw[0], 1), "v2t": recall_at(raw[1], 1),
        # Direction v2t searches the texts, so its bank is the training videos.
        "t2v_sinkhorn": after_sinkhorn(sim, Pair(train_texts, videos), test.positives),
        "v2t_sinkhorn": after_sinkhorn(sim.T, Pair(train_videos, texts), back),
    }  # fmt: skip


def ridge(train: PairedData, validation: PairedData, test: PairedData) -> dict[str, float]:
    """For each retrieval direction the map, and its lambda, that validation prefers there."""
    lambdas = (0.01, 0.03, 0.1, 0.3, 1.0)
    best: dict[str, tuple[float, dict[str, float]]] = {}
    chosen: dict[str, tuple[float, object]] = {}
    for lam in lambdas:
        made = candidates(train, validation, lambdas=(lam,))
        for kind in ("video-to-text", "text-to-video"):
            start = made[kind]
            found = both_ranks(
                start.texts(validation.texts), start.videos(validation.videos), validation
            )
            for name, r in zip(("t2v", "v2t"), found, strict=True):
                score = float((1 / r.values).mean())
                if name not in chosen or score > chosen[name][0]:
                    chosen[name] = (score, start)
    for name, (score, start) in chosen.items():
        f = figures(
            start.texts(test.texts), start.videos(test.videos),
            start.texts(train.texts), start.videos(train.videos), test,
        )  # fmt: skip
        best[name] = (score, f)
    return {f"{n}{tail}": best[n][1][f"{n}{tail}"] for n in best for tail in ("", "_sinkhorn")}


def share_outside_matmul(train: PairedData, validation: PairedData, settings: TrainSettings
                         ) -> float:  # fmt: skip
    """Share of processor time outside matrix products, over one epoch."""
    one = TrainSettings(**{**vars(settings), "epochs": 1})
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        fit_heads(train, validation, one)
    total = products = 0.0
    for event in profile.key_averages():
        total += event.self_cpu_time_total
        if event.key in ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm", "aten::mv"):
            products += event.self_cpu_time_total
    return 1 - products / total


def one(objective: str, seed: int, noisy: bool, settings: dict, profile: bool) -> dict:
    """Train and measure one cell of the table."""
    data, test, right = load(noisy)
    train, validation = split_by_video(data, seed=seed)
    if objective == "ridge":
        return ridge(train, validation, test)
    chosen = TrainSettings(objective=objective, seed=seed, **settings)
    began = time.perf_counter()
    trained = fit_heads(train, validation, chosen)
    out: dict = {"seconds": time.perf_counter() - began, "best_epoch": trained.best_epoch}
    heads = trained.heads
    texts, videos = heads.texts(test.texts), heads.videos(test.videos)
    out |= figures(texts, videos, heads.texts(train.texts), heads.videos(train.videos), test)
    out["start"] = trained.start.kind
    out["samples_per_s"] = float(np.mean([r["samples_per_s"] for r in trained.history[1:]]))
    owner = np.concatenate(test.positives)
    wanted = torch.bincount(torch.from_numpy(owner), minlength=len(videos)).double() / len(owner)
    out["tau"] = trained.tau
    uniform = torch.full((len(texts),), 1 / len(texts), dtype=torch.float64)
    for name, tau in (("own_tau", trained.tau), ("tau_0.1", 0.1), ("tau_0.05", 0.05)):
        out[f"error_t2v_{name}"] = normalisation_error(texts, videos, wanted, tau)
        out[f"error_v2t_{name}"] = normalisation_error(videos, texts, uniform, tau)
    out["effective_rank"] = effective_rank(texts, videos)
    near = neighbours(test.texts, list(test.captions or ()), owner)
    out |= neighbour_similarity(texts, videos, owner, near)
    if noisy:
        i, j = data.pairs
        t, v = heads.text_features(data.texts)[i], heads.video_features(data.videos)[j]
        out["auc_cosine"] = auc((t * v).sum(dim=1).detach(), right)
        if objective == "cali-nce":
            out["auc_confidence"] = auc(trained.objective.confidence(t, v), right)
    if profile:
        out["outside_matmul"] = share_outside_matmul(train, validation, chosen)
    return out


def interval(values: list[float], digits: int = 1) -> str:
    """Mean and half a 95 % confidence interval over seeds (Student's t)."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return f"{mean:.{digits}f}"
    half = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values))
    return f"{mean:.{digits}f} ± {half:.{digits}f}"


def report(out: Path) -> str:
    """The Markdown tables of everything measured so far."""
    cells: dict[str, list[dict]] = {}
    for path in sorted(out.glob("*.json")):
        cells.setdefault(path.stem.rpartition("-")[0], []).append(json.loads(path.read_text()))
    lines = [
        "| R@1 on test | text to video | + Sinkhorn | video to text | + Sinkhorn | seeds |",
        "|---|---|---|---|---|---|",
    ]
    for name in ("ridge", *OBJECTIVES):
        rows = cells.get(name, [])
        if rows:
            shown = " | ".join(interval([r[c] for r in rows]) for c in COLUMNS)
            lines.append(f"| {NAMES[name]} | {shown} | {len(rows)} |")
    for name in NOISY:
        rows = cells.get(f"{name}-noisy", [])
        if rows:
            shown = " | ".join(interval([r[c] for r in rows]) for c in COLUMNS)
            lines.append(f"| {NAMES[name]}, 30 % of the pairs wrong | {shown} | {len(rows)} |")
    lines.append("")
    keys = (
        ("error_t2v_own_tau", 3), ("error_t2v_tau_0.1", 3), ("error_v2t_own_tau", 3),
        ("error_v2t_tau_0.1", 3), ("tau", 3), ("effective_rank", 1), ("text_neighbour_cos", 3),
        ("text_neighbour_z", 2), ("video_neighbour_cos", 3), ("auc_cosine", 3),
        ("auc_confidence", 3), ("best_epoch", 1), ("seconds", 0), ("samples_per_s", 0),
        ("outside_matmul", 2),
    )  # fmt: skip
    names = [n for n in (*OBJECTIVES, *(f"{n}-noisy" for n in NOISY)) if n in cells]
    lines += [f"| figure | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for key, digits in keys:
        shown = []
        for name in names:
            values = [r[key] for r in cells[name] if key in r]
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
    parser.add_argument("--settings", type=json.loads, default={})
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    if args.report:
        print(report(args.out))
        return
    for seed in range(args.first, args.first + args.seeds):
        jobs = [("ridge", False), *((o, False) for o in OBJECTIVES), *((o, True) for o in NOISY)]
        for objective, noisy in jobs:
            name = f"{objective}-noisy" if noisy else objective
            path = args.out / f"{name}-{seed}.json"
            if path.exists():
                continue
            found = one(objective, seed, noisy, args.settings, profile=seed == 0 and not noisy)
            path.write_text(json.dumps(found, indent=1))
            print(name, seed, {k: round(found[k], 2) for k in COLUMNS}, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
