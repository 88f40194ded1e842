"""Choose training settings on training videos alone: no test file is opened.

    RERANK_DATA=... python tests/bench/training_settings.py [--quick] [--folds 4]

Every objective gets the same candidates, in the same order, on the same folds: a fifth of the
training videos is set aside to measure on, the rest is split and trained as in the table. Wrong
pairs are trained and early-stopped on, never measured on. All that was tried and what was chosen
is kept in `training_settings.json`, which the table reads; what is there is not tried again.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
from training_data import tuning

from rerank.train import TrainSettings, fit_heads
from rerank.train.ridge import both_ranks

KEPT = Path(__file__).with_name("training_settings.json")
TUNED = ("infonce", "emcl", "ncl", "support-set", "reconstruction", "cali-nce",
         "infonce-noisy", "cali-nce-noisy")  # fmt: skip
CANDIDATES = {
    "quick": (
        {"lr": 4e-3, "epochs": 8},
        {"lr": 8e-3, "epochs": 8},
        {"lr": 2e-3, "epochs": 8, "batch_size": 256},
    ),
    "full": (
        {"lr": 4e-3},
        {"lr": 8e-3},
        {"lr": 1e-3, "batch_size": 512},
        {"lr": 2e-3, "batch_size": 512},
    ),
}


def chosen(mode: str) -> dict[str, dict]:
    """Settings of every tuned objective: the candidate with the best mean score over the folds."""
    tried = json.loads(KEPT.read_text())[mode]
    return {
        name: json.loads(max(scores, key=lambda s: np.mean(scores[s])))
        for name, scores in tried.items()
    }


def main() -> None:
    """Try what was not tried yet."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    mode = "quick" if args.quick else "full"
    everything = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    tried = everything.setdefault(mode, {})
    for fold in range(args.folds):
        for name in TUNED:
            objective = name.removesuffix("-noisy")
            for candidate in CANDIDATES[mode]:
                scores = tried.setdefault(name, {}).setdefault(json.dumps(candidate), [])
                if len(scores) > fold:
                    continue
                began = time.perf_counter()
                train, validation, held = tuning(fold, quick=args.quick, noisy=name != objective)
                told = TrainSettings(objective=objective, seed=fold, **candidate)
                heads = fit_heads(train, validation, told).heads
                found = both_ranks(heads.texts(held.texts), heads.videos(held.videos), held)
                scores.append(round(float(np.mean([(1 / r.values).mean() for r in found])), 4))
                KEPT.write_text(json.dumps(everything, indent=1) + "\n")
                print(fold, name, candidate, scores[-1], f"{time.perf_counter() - began:.0f} s",
                      file=sys.stderr, flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
