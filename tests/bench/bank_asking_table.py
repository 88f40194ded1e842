"""Banks without known pairs: what equality is asked for, by how many queries and how evenly.

    python tests/bench/bank_asking_table.py [--scores]

R@1 of queries that are not in the bank, raw, and the change by equality (rho = 1) and by the
default, over four seeded draws; `inductive`. Banks of other items (captions of other videos, clips
of other recordings), and past queries of the same items: asked evenly, a share of the items, or by
Zipf's law. `--scores` gives the scores alone, as `--bank-sims` does.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from rerank.core.similarity import Dense, Pair, Similarity
from rerank.methods.base import Bank
from rerank.methods.sinkhorn import Sinkhorn
from tests.bench.real_sets import embeddings, folder, load_pair

DRAWS = 4


@dataclass(frozen=True, eq=False)
class Draw:
    """A bank, a gallery, queries, and the item of each query."""

    bank: np.ndarray
    gallery: np.ndarray
    queries: np.ndarray
    right: np.ndarray


Maker = Callable[[np.random.Generator], Draw]


def sides(name: str, prefix: str = "") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit texts, unit videos, and the video of each text."""
    data = load_pair(name, prefix)
    return data.sim.queries.numpy(), data.sim.gallery.numpy(), data.video_of.numpy()


def law(items: int, how: float) -> np.ndarray:
    """Probabilities of items: a share of them alike, or from .6 on Zipf's law of that power."""
    p = 1 / np.arange(1, items + 1) ** how if how >= 0.6 else np.arange(items) < round(how * items)
    return p / p.sum()


def halves(queries: np.ndarray, gallery: np.ndarray, count: int, kept: int) -> Maker:
    """Queries of some items as a bank for others."""

    def draw(rng: np.random.Generator) -> Draw:
        order = rng.permutation(len(queries))
        mine, theirs = order[:count], order[-kept:]
        return Draw(queries[mine], gallery[theirs], queries[theirs], np.arange(kept))

    return draw


def rows_of(own: np.ndarray) -> list[np.ndarray]:
    return [np.flatnonzero(own == item) for item in range(own.max() + 1)]


def other_videos(count: int, *, back: bool) -> Maker:
    """One caption each of 300 videos of MSVD, and a bank of others: texts, or videos."""
    texts, videos, own = sides("msvd_aligned")
    bank_texts, bank_videos, bank_own = sides("msvd_aligned", "bank_")
    of, bank_of = rows_of(own), rows_of(bank_own)

    def draw(rng: np.random.Generator) -> Draw:
        items = rng.permutation(len(of))[:300]
        chosen = texts[[rng.choice(of[item]) for item in items]]
        banked = rng.permutation(len(bank_of))[:count]
        if back:
            return Draw(bank_videos[banked], chosen, videos[items], np.arange(300))
        bank = bank_texts[[rng.choice(bank_of[item]) for item in banked]]
        return Draw(bank, videos[items], chosen, np.arange(300))

    return draw


def past(how: float, count: int, items: int = 200, to_come: int = 200) -> Maker:
    """Past captions of 200 videos of MSVD, and 200 to come, drawn alike."""
    texts, videos, own = sides("msvd_aligned")
    of = rows_of(own)

    def draw(rng: np.random.Generator) -> Draw:
        some = rng.choice(len(of), items, replace=False)
        left = [list(rng.permutation(of[item])) for item in some]

        def asked(number: int) -> tuple[list[int], list[int]]:
            drawn = rng.choice(items, number, p=law(items, how))
            held = [(left[item].pop(), item) for item in drawn if left[item]]
            return [row for row, _ in held], [item for _, item in held]

        (queries, right), (bank, _) = asked(to_come), asked(count)
        return Draw(texts[bank], videos[some], texts[queries], np.array(right))

    return draw


def clips(how: float, count: int) -> Maker:
    """Clips of ESC-50 as the bank of its prompts, of classes drawn alike; 0 = all, as they are."""
    base = folder() / "esc50_clap"
    (prompts, names), (found, ids) = (embeddings(base / f"{x}.h5") for x in ("texts", "videos"))
    others, _ = embeddings(base / "bank_videos.h5")
    prompts, found, others = (
        (x / x.norm(dim=1, keepdim=True)).numpy() for x in (prompts, found, others)
    )
    clips_of = json.loads((base / "gt.json").read_text())
    label = {clip: i for i, name in enumerate(names) for clip in clips_of[name]}
    own = np.array([label[clip] for clip in ids])
    guessed = (others @ prompts.T).argmax(axis=1)

    def draw(rng: np.random.Generator) -> Draw:
        if not how:
            bank = rng.choice(len(others), min(count, len(others)), replace=False)
            return Draw(others[bank], prompts, found, own)
        p = law(50, how)[rng.permutation(50)]

        def some(classes: np.ndarray, number: int) -> np.ndarray:
            weight = p[classes] / np.bincount(classes, minlength=50)[classes]
            most = min(number, int((weight > 0).sum()))
            return rng.choice(len(classes), most, replace=False, p=weight / weight.sum())

        bank, asked = some(guessed, count), some(own, 150)
        return Draw(others[bank], prompts, found[asked], own[asked])

    return draw


def cases() -> Iterator[tuple[str, Maker]]:
    for name, kept, counts in (("coco500", 250, (10, 20, 50, 100, 250)),
                               ("msrvtt100", 50, (10, 20, 50))):  # fmt: skip
        texts, videos, own = sides(name)
        for count in counts:
            yield f"{name} t2v, other items, {count}", halves(texts, videos[own], count, kept)
            yield f"{name} v2t, other items, {count}", halves(videos[own], texts, count, kept)
    for count in (10, 20, 50, 100, 300, 600):
        yield f"msvd t2v, other videos, {count}", other_videos(count, back=False)
        yield f"msvd v2t, other videos, {count}", other_videos(count, back=True)
    for count in (20, 50, 200, 1600):
        yield f"esc50 v2t, other clips, {count}", clips(0, count)
    for how in (0.1, 0.2, 0.5, 0.7, 1.0):
        said = f"Zipf {how}" if how >= 0.6 else f"{how:.0%} asked"
        for count in (50, 300):
            yield f"msvd t2v, past queries, {said}, {count}", past(how, count)
            if how <= 0.1:
                for few in (how / 2, how):
                    told = f"{round(100 * few)} of 100 asked, {count}"
                    yield f"msvd t2v, past queries, {told}", past(few, count, 100, 40)
        for count in (50, 200):
            yield f"esc50 v2t, clips, {said}, {count}", clips(how, count)


def recall(draw: Draw, bias: torch.Tensor) -> float:
    scores = torch.from_numpy(draw.queries @ draw.gallery.T) + bias
    return 100 * float((scores.argmax(dim=1) == torch.from_numpy(draw.right)).double().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scores", action="store_true", help="scores without embeddings")
    arguments = parser.parse_args()
    print("| bank, queries | raw | equality | default | uneven |\n|---|---|---|---|---|")
    for name, make in cases():
        rows, uneven = [], []
        for seed in range(DRAWS):
            draw = make(np.random.default_rng(seed))
            sim: Similarity = Pair(draw.bank, draw.gallery)
            sim = Dense(sim.scores()) if arguments.scores else sim
            fits = [Sinkhorn(rho=1.0).fit(Bank(sim)), Sinkhorn().fit(Bank(sim))]
            nothing = torch.zeros(len(draw.gallery))
            rows.append([recall(draw, x) for x in (nothing, *(fit.gallery_bias for fit in fits))])
            uneven.append(fits[1].facts.get("uneven", 0.0))
        raw, equal, now = np.mean(rows, axis=0)
        print(
            f"| {name} | {raw:.1f} | {equal - raw:+.1f} | {now - raw:+.1f} "
            f"| {np.mean(uneven):.2f} |", flush=True,
        )  # fmt: skip


if __name__ == "__main__":
    main()
