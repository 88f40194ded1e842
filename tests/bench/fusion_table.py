"""R@1 of two models alone, fused by weights without labels, and by known pairs; and their order.

    RERANK_DATA=... python tests/bench/fusion_table.py [set ...]

R@1 in percent, mean of both directions, re-ranked by Sinkhorn on the test queries; one caption of a
video, one-to-one. Two real models are cap4video's video and title scores. The others are made:
halves and unequal parts of the dimensions, the model itself with noise on its embeddings (a copy
that knows nothing new), pure noise, and TF-IDF of words and of character trigrams of MSVD captions
(one caption asks for up to five others of its video).

"pairs": weights from half of the pairs, judged on the other half beside the same fusion without
labels. Intervals: 95 %, paired by query, against the better single model.
"""

import json
import math
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np
import torch
from real_sets import folder, hits, load_pair, load_scores, one_caption_each
from torch import Tensor

from rerank.core.similarity import Dense, Pair
from rerank.methods import directions, engine
from rerank.methods.fusion import Fusion, fuse, fused_scores
from rerank.methods.same_order import same_order
from rerank.selection.pair_weights import fuse_by_pairs


def parts(name: str, first: int | None = None, seed: int = 0) -> list[Tensor]:
    """Scores of two disjoint sets of dimensions, `first` of them in the first; half by default."""
    data = load_pair(name)
    assert isinstance(data.sim, Pair)
    texts, videos = data.sim.queries[:], data.sim.gallery[:]
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(texts.shape[1], generator=generator)
    cut = first or len(order) // 2
    out = []
    for dims in (order[:cut], order[cut:]):
        sim = Pair(texts[:, dims], videos[:, dims])
        out.append(square(type(data)(name, sim, data.video_of)))
    return out


def square(data) -> Tensor:  # noqa: ANN001  RealSet
    """One text of every video x the videos, matches on the diagonal."""
    if len(data.video_of) == data.sim.shape[1]:
        return data.sim.scores()[:, data.video_of]
    return one_caption_each(data)


def with_noise(name: str, much: float) -> list[Tensor]:
    """A model, and the same with noise of this length on unit embeddings."""
    data = load_pair(name)
    assert isinstance(data.sim, Pair)
    generator = torch.Generator().manual_seed(5)
    sides = [data.sim.queries[:], data.sim.gallery[:][data.video_of]]
    noisy = [
        x + much * torch.randn(x.shape, generator=generator) / x.shape[1] ** 0.5 for x in sides
    ]
    return [Pair(x[0], x[1]).scores() for x in (sides, noisy)]


def beside_noise(scores: Tensor) -> list[Tensor]:
    """A model and cosines of random vectors."""
    generator = torch.Generator().manual_seed(5)
    one, other = torch.randn((2, len(scores), 64), generator=generator)
    return [scores, Pair(one, other).scores()]


def words_and_characters(seed: int = 0) -> list[Tensor]:
    """TF-IDF of words and of trigrams: a caption of each MSVD video x up to five others."""
    captions = json.loads((folder() / "msvd" / "test_captions.json").read_text())
    by_video: dict[str, list[str]] = {}
    for name, caption in captions.items():
        by_video.setdefault(name.rsplit("#", 1)[0], []).append(caption.lower())
    rng = np.random.default_rng(seed)
    asked, found = [], []
    for video in sorted(by_video):
        own = list(by_video[video])
        asked.append(own.pop(int(rng.integers(len(own)))))
        found.append(own[:5])
    cuts: tuple[Callable[[str], list[str]], ...] = (
        lambda text: re.findall(r"\w+", text),
        lambda text: [text[i : i + 3] for i in range(len(text) - 2)],
    )
    return [tf_idf(asked, found, cut) for cut in cuts]


def tf_idf(asked: list[str], found: list[list[str]], cut: Callable[[str], list[str]]) -> Tensor:
    """Cosines of the 4,000 most frequent terms."""
    items = [Counter(term for text in texts for term in cut(text)) for texts in found]
    count = Counter(term for item in items for term in item)
    place = {term: i for i, (term, _) in enumerate(count.most_common(4000))}
    rarity = {term: math.log(len(items) / count[term]) + 1 for term in place}

    def rows(bags: list[Counter]) -> Tensor:
        out = np.zeros((len(bags), len(place)), np.float32)
        for i, bag in enumerate(bags):
            for term, n in bag.items():
                if term in place:
                    out[i, place[term]] = (1 + math.log(n)) * rarity[term]
        return torch.from_numpy(out)

    sides = (rows([Counter(cut(text)) for text in asked]), rows(items))
    # A caption without any of the terms has the score 0 everywhere.
    one, other = (torch.nn.functional.normalize(side, dim=1) for side in sides)
    return one @ other.T


def cases() -> Iterator[tuple[str, list[Tensor]]]:
    """Pairs of models by name."""
    video, title = (load_scores("cap4video", f"{x}_scores") for x in ("video", "titles"))
    yield "cap4video, video + title", [square(video), square(title)]
    yield "coco500, halves", parts("coco500")
    yield "coco500, 448 + 64 dims", parts("coco500", 448)
    yield "msrvtt100, halves", parts("msrvtt100")
    yield "msvd_aligned, halves", parts("msvd_aligned")
    yield "MSVD, words + trigrams", words_and_characters()
    for much in (0.5, 1.0, 2.0):
        yield f"coco500 + its copy, noise {much}", with_noise("coco500", much)
    yield "coco500 + noise", beside_noise(square(load_pair("coco500")))
    yield "msvd_aligned + noise", beside_noise(square(load_pair("msvd_aligned")))


def right(scores: Tensor) -> Tensor:
    """(2 n,) hits of both directions, re-ranked, by pair."""
    run = engine.fit(directions.from_scores(Dense(scores)))
    matrix = run.matrix().scores()
    truth = torch.eye(len(scores), dtype=torch.bool)
    return (hits(matrix, truth) + hits(matrix.T, truth)) / 2


def gain(one: Tensor, other: Tensor) -> str:
    """Difference and its 95 % interval."""
    change = 100 * (one - other)
    error = 1.96 * float(change.std()) / math.sqrt(len(change))
    return f"{float(change.mean()):+.1f} ± {error:.1f}"


def by_halves(scores: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Hits with weights from the pairs of the other half, without labels, and of the better one."""
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(len(scores[0]), generator=generator)
    halves = order[: len(order) // 2].sort().values, order[len(order) // 2 :].sort().values
    found: list[list[Tensor]] = [[], [], []]
    for bank, test in (halves, halves[::-1]):
        pairs = [Dense(x[bank][:, bank]) for x in scores]
        known = fuse_by_pairs(pairs, [np.array([i]) for i in range(len(bank))])
        sims = [Dense(x[test][:, test]) for x in scores]
        for held, fusion in zip(found, (known, fuse(sims)), strict=False):
            held.append(right(fused_scores(sims, Fusion(fusion.weights, known.spacings, ""))))
        alone = [right(sim.base) for sim in sims]
        found[2].append(max(alone, key=lambda x: float(x.mean())))
    known, plans, alone = (torch.cat(x) for x in found)
    return known, plans, alone


def main() -> None:
    """Measure and print."""
    names = sys.argv[1:]
    print(
        "| models | r off the diagonal | alone | equal weights | without labels | weights "
        "| against the better | from known pairs, on halves |"
    )
    print(f"|{'---|' * 8}")
    for name, scores in cases():
        if names and not any(part in name for part in names):
            continue
        sims = [Dense(x) for x in scores]
        alone = [right(x) for x in scores]
        best = max(alone, key=lambda x: float(x.mean()))
        equal = right(fused_scores(sims, fuse(sims, [1, 1])))
        fusion = fuse(sims)
        ours = right(fused_scores(sims, fusion))
        known, _, single = by_halves(scores)
        order = same_order(*sims)
        shares = ", ".join(f"{w:.2f}" for w in fusion.weights)
        print(
            f"| {name} | {order.correlation:.2f}{'' if order.proved else ' (not shown)'} "
            f"| {' / '.join(f'{100 * float(x.mean()):.1f}' for x in alone)} "
            f"| {100 * float(equal.mean()):.1f} | {100 * float(ours.mean()):.1f} | {shares} "
            f"| {gain(ours, best)} | {gain(known, single)} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
