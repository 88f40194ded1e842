"""The gate on real embeddings: wrong pairs and foreign banks cost nothing, the right ones gain."""

import json
from dataclasses import dataclass

import h5py
import numpy as np
import pytest
import torch
from torch import Tensor

import rerank
from rerank.core.similarity import Pair
from rerank.methods.base import Bank
from rerank.methods.engine import DEFAULT_FOR_EMBEDDINGS
from rerank.methods.registry import pipeline
from rerank.selection import gated_fit

# Points of R@1 that no bank may cost on average over its draws.
MOST_LOST = 0.3
DRAWS = 3


@dataclass(frozen=True, eq=False)
class Side:
    """Texts, videos and the video of each text."""

    texts: Tensor
    videos: Tensor
    video_of: Tensor


def read(folder, name, prefix=""):
    both = []
    for side in ("texts", "videos"):
        with h5py.File(folder / name / f"{prefix}{side}.h5") as file:
            both.append((torch.from_numpy(file["embeddings"][:]).float(), file["ids"].asstr()[:]))
    (texts, text_ids), (videos, video_ids) = both
    right = json.loads((folder / name / f"{prefix}gt.json").read_text())
    place = {video: j for j, video in enumerate(video_ids)}
    known = (right[text] for text in text_ids)
    first = (found if isinstance(found, str) else found[0] for found in known)
    return Side(texts, videos, torch.tensor([place[video] for video in first]))


def thinned(side, videos, captions, seed):
    """Some videos with at most so many texts each, drawn by seed."""
    place = torch.full((len(side.videos),), -1)
    place[videos] = torch.arange(len(videos))
    order = torch.randperm(len(side.texts), generator=torch.Generator().manual_seed(seed))
    taken, rows = torch.zeros(len(videos), dtype=torch.long), []
    for row in order.tolist():
        video = int(place[side.video_of[row]])
        if video >= 0 and taken[video] < captions:
            taken[video] += 1
            rows.append(row)
    kept = torch.tensor(sorted(rows))
    return Side(side.texts[kept], side.videos[videos], place[side.video_of[kept]])


def half(side, seed):
    order = torch.randperm(len(side.videos), generator=torch.Generator().manual_seed(seed))
    return thinned(side, order[: len(order) // 2], 4, seed)


def mispaired(side, share, seed):
    draw = np.random.default_rng([seed, 5])
    right = side.video_of.numpy()
    wrong = draw.random(len(right)) < share
    drawn = draw.integers(len(side.videos), size=len(right))
    return Side(side.texts, side.videos, torch.from_numpy(np.where(wrong, drawn, right)))


def likened(other, own):
    """Embeddings of another set with the means and covariances of this one."""
    centred = [x - x.mean(dim=0) for x in (other.texts, other.videos)]
    d = own.texts.shape[1]
    basis = torch.linalg.svd(torch.cat(centred), full_matrices=False).Vh[:d]
    spread = (torch.cat(centred) @ basis.T).std(dim=0)
    mean = own.texts.mean(dim=0)
    _, s, axes = torch.linalg.svd(own.texts - mean, full_matrices=False)
    like = s / (len(own.texts) - 1) ** 0.5
    moved = [x @ basis.T / spread * like @ axes for x in centred]
    means = (own.texts.mean(dim=0), own.videos.mean(dim=0))
    texts, videos = (x + y for x, y in zip(moved, means, strict=True))
    return Side(texts, videos, other.video_of)


def change(test, bank, name, *, seen):
    """Points of R@1, expected over ties, that the gate changes."""
    queries, items = (test.texts, test.videos)[:: 1 if name == "t2v" else -1]
    bank_queries, bank_items = (bank.texts, bank.videos)[:: 1 if name == "t2v" else -1]
    right = test.video_of[:, None] == torch.arange(len(test.videos))
    known = bank.video_of[:, None] == torch.arange(len(bank.videos))
    if name == "v2t":
        right, known = right.T, known.T
    made = Bank(
        Pair(bank_queries, items), gallery=Pair(bank_items, items),
        pairs=Pair(bank_queries, bank_items),
        positives=tuple(np.flatnonzero(row) for row in known.numpy()),
    )  # fmt: skip
    sim = Pair(queries, items)
    stages = pipeline(DEFAULT_FOR_EMBEDDINGS)
    fitted, _ = gated_fit(stages, made, incoming=sim if seen else None)
    before, after = (hits(x.scores(), right) for x in (sim, fitted.transform(sim)))
    return 100 * float((after - before).mean())


def hits(scores, right):
    top = scores == scores.amax(dim=1, keepdim=True)
    return (top & right).sum(dim=1).double() / top.sum(dim=1)


@pytest.fixture(scope="module")
def sets(real_data):
    test, bank = read(real_data, "msvd_aligned"), read(real_data, "msvd_aligned", "bank_")
    everything = torch.arange(len(test.videos))
    return thinned(test, everything, 2, 0), bank, likened(read(real_data, "coco500"), bank)


@pytest.mark.slow
@pytest.mark.parametrize("seen", [True, False], ids=["apply", "fit"])
@pytest.mark.parametrize("name", ["t2v", "v2t"])
@pytest.mark.parametrize("kind", ["own", "shuffled", "half shuffled", "another set"])
def test_no_bank_costs_more_than_noise(sets, kind, name, seen):
    test, bank, other = sets
    changes = []
    for seed in range(DRAWS):
        part = half(other if kind == "another set" else bank, seed)
        if "shuffled" in kind:
            part = mispaired(part, 1.0 if kind == "shuffled" else 0.5, seed)
        changes.append(change(test, part, name, seen=seen))
    assert np.mean(changes) > -MOST_LOST
    if kind == "own":
        assert np.mean(changes) > 1
    if kind == "another set" and not seen:
        # Where no queries are known, a clearly foreign bank is left alone.
        assert changes == [0] * DRAWS


@pytest.mark.slow
def test_the_whole_bank_gains_what_it_should(real_data):
    folder = real_data / "msvd_aligned"
    names = {
        "texts": "texts.h5", "videos": "videos.h5", "bank_texts": "bank_texts.h5",
        "bank_videos": "bank_videos.h5", "bank_gt": "bank_gt.json",
    }  # fmt: skip
    run = rerank.apply(**{key: folder / name for key, name in names.items()})
    found = run.evaluate(folder / "gt.json").after
    recalls = {name: found[name]["R@1"] for name in ("t2v", "v2t")}
    assert recalls["t2v"] >= 34.0 and recalls["v2t"] >= 60.0
    assert run.label == "inductive"
