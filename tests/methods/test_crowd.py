"""What hubs leave is no crowd, and few items among many are one."""

import json
import os
from pathlib import Path

import h5py
import pytest
import torch

from rerank.core.similarity import Pair
from rerank.methods import crowd as crowds
from rerank.methods.crowd import crowd
from rerank.methods.marginals import masses
from rerank.methods.sinkhorn import Sinkhorn

DATA = Path(os.environ.get("RERANK_DATA", "/none"))


def few_of_many(wanted: int, *, noise: float) -> Pair:
    """600 queries of some of 2,400 items, noisy."""
    draw = torch.Generator().manual_seed(0)
    items = torch.randn(2400, 64, generator=draw)
    own = torch.randint(wanted, (600,), generator=draw)
    queries = items[own] + noise * torch.randn(600, 64, generator=draw)
    return Pair(*(x / x.norm(dim=1, keepdim=True) for x in (queries, items)))


def test_few_items_of_many_are_a_crowd_where_other_axes_say_so(monkeypatch):
    sim = few_of_many(200, noise=1.0)
    assert crowd(sim, masses(sim)).weight == 1
    # By how many queries choose them alone, hubs could do it among so many items.
    monkeypatch.setattr(crowds, "ratio", lambda *_, **__: 1.0)
    assert crowd(sim, masses(sim)).weight < 1


def test_each_query_its_own_item_is_no_crowd():
    draw = torch.Generator().manual_seed(0)
    items = torch.randn(2400, 64, generator=draw) + torch.randn(64, generator=draw)
    queries = items[:600] + 1.5 * torch.randn(600, 64, generator=draw)
    sim = Pair(*(x / x.norm(dim=1, keepdim=True) for x in (queries, items)))
    assert crowd(sim, masses(sim)).weight == 0


@pytest.mark.skipif(not DATA.is_dir(), reason="needs RERANK_DATA")
@pytest.mark.parametrize("each", [3, 8])
def test_videos_that_choose_among_captions_of_each_are_no_crowd(each):
    base, rows, names = DATA / "msvd_aligned", {}, {}
    for side in ("texts", "videos"):
        with h5py.File(base / f"{side}.h5") as file:
            x = torch.from_numpy(file["embeddings"][:]).float()
            rows[side], names[side] = x / x.norm(dim=1, keepdim=True), file["ids"].asstr()[:]
    place = {video: i for i, video in enumerate(names["videos"])}
    right = json.loads((base / "gt.json").read_text())
    found = [right[x] if isinstance(right[x], str) else right[x][0] for x in names["texts"]]
    own = torch.tensor([place[x] for x in found])
    draw, kept = torch.Generator().manual_seed(0), []
    for video in range(len(place)):
        mine = (own == video).nonzero()[:, 0]
        kept.append(mine[torch.randperm(len(mine), generator=draw)[:each]])
    captions = torch.cat(kept)
    sim = Pair(rows["videos"], rows["texts"][captions])
    assert crowd(sim, masses(sim)).weight == 0
    fit = Sinkhorn().fit(sim)
    before, after = (
        float((own[captions][x.argmax(dim=1)] == torch.arange(len(place))).float().mean())
        for x in (sim.scores(), sim.scores() + fit.gallery_bias)
    )
    assert after > before + 0.15
