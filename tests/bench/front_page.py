"""The table of the front page, measured again: what the defaults gain, set by set.

    RERANK_DATA=... python tests/bench/front_page.py [SHOP_IMAGES.npy SHOP_TEXTS.npy]

R@1 in percent, expected over ties. The product rows are printed by `products.py`; the first of them
also here where its files are given.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from real_sets import folder

import rerank

SAMPLES = Path(__file__).resolve().parents[2] / "data_samples"


def pair(base: Path, prefix: str = "") -> dict[str, Any]:
    """The two files of a set, as arguments of `apply`."""
    return {
        f"{prefix}texts": base / f"{prefix}texts.h5",
        f"{prefix}videos": base / f"{prefix}videos.h5",
    }


def sets(shop: list[str]) -> Iterator[tuple[str, dict[str, Any], Any]]:
    """Name, arguments of `apply` and ground truth of every row."""
    data = folder()
    yield "video", pair(data / "msrvtt100"), data / "msrvtt100/gt.json"
    stored = {"scores": data / "cap4video/video_scores.h5"}
    yield "video, fine-tuned", stored, data / "cap4video/gt.json"
    msvd = data / "msvd_aligned"
    bank = {**pair(msvd), **pair(msvd, "bank_"), "bank_gt": msvd / "bank_gt.json"}
    yield "video, with a bank", bank, msvd / "gt.json"
    yield "image", pair(data / "coco500"), data / "coco500/gt.json"
    if shop:
        videos, texts = (np.load(path, allow_pickle=False) for path in shop)
        yield "product", {"texts": texts, "videos": videos}, None
    yield "audio, zero-shot classes", pair(data / "esc50_clap"), data / "esc50_clap/gt.json"
    yield "made up", pair(SAMPLES), SAMPLES / "gt.json"


def main() -> None:
    """Print the rows."""
    print("| what | label | text to item | item to text |\n| --- | --- | --- | --- |")
    for name, given, gt in sets(sys.argv[1:]):
        run = rerank.apply(**given)
        found = run.evaluate(gt, figures=["R@1"])
        cells = [
            f"{found.before[way]['R@1']:.1f} -> {found.after[way]['R@1']:.1f}"
            for way in ("t2v", "v2t")
        ]
        print(f"| {name} | {run.label} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
