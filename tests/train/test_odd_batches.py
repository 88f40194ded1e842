"""Duplicates are no negatives, and small or odd batches have defined results in all objectives."""

import dataclasses

import numpy as np
import pytest
import torch

from rerank.train import TrainSettings, fit_heads, paired, split_by_video
from rerank.train.data import batches, batches_per_epoch, make_batch
from rerank.train.objectives.base import Context, Contrast, Features
from rerank.train.objectives.registry import OBJECTIVES, build
from rerank.train.settings import batch_size
from tests.train.worlds import world

ALL = list(OBJECTIVES)


def unit(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(shape, generator=generator, dtype=torch.float64)
    return torch.nn.functional.normalize(rows, dim=1)


def data_of(owner, captions=None, *, videos=None, texts=None):
    n, m = len(owner), 1 + max(max(np.atleast_1d(o)) for o in owner)
    rng = np.random.default_rng(5)
    t = rng.standard_normal((n, 5)) if texts is None else texts
    v = rng.standard_normal((m, 6)) if videos is None else videos
    words = captions or [f"caption {i} of a dog" for i in range(n)]
    return paired(t, v, [np.atleast_1d(o) for o in owner], captions=words)


def loss_of(name, data, rows, *, options=None, epoch=3, form=None, training=True):
    """The loss of one batch, the gradients of its texts and videos, and the objective."""
    objective = build(name, Context(data, 4, 0), options or {}).double()
    objective.train(training)
    batch = make_batch(data.positives, np.asarray(rows), related=data.related)
    texts = unit(len(rows), 4).requires_grad_()
    videos = unit(len(batch.video_rows), 4, seed=1).requires_grad_()
    scale = torch.tensor(5.0, dtype=torch.float64, requires_grad=True)
    features = Features(texts, videos, batch, scale, epoch, form or Contrast())
    torch.manual_seed(0)
    loss = objective(features)
    loss.total.backward()
    return loss, texts, videos, batch


# ------------------------------------------------------------------- duplicates


def test_equal_captions_and_equal_rows_are_neutral_either_way_round():
    rows = np.random.default_rng(0).standard_normal((6, 5))
    rows[5] = rows[0]
    said = ["A man  sings", "a dog", "a cat", "a MAN sings ", "a bird", "something else"]
    data = data_of([0, 1, 2, 3, 4, 4], said, texts=rows)
    batch = next(batches(data, size=10, seed=0, epoch=0))
    order = batch.text_rows.tolist()
    got = {(order[i], int(batch.video_rows[j])) for i, j in batch.neutral.nonzero().tolist()}
    # 0 and 3 say the same, 5 is the same row as 0: the three share videos 0, 3 and 4.
    assert got == {(0, 3), (0, 4), (3, 0), (3, 4), (5, 0), (5, 3)}
    assert data.duplicates == 3
    published = next(batches(data, size=10, seed=0, epoch=0, duplicates="negatives"))
    assert published.neutral is None


def test_a_video_with_the_embedding_of_another_is_no_negative_of_its_texts():
    videos = np.random.default_rng(1).standard_normal((4, 6))
    videos[3] = videos[1]
    data = data_of([0, 1, 2, 3], videos=videos)
    batch = next(batches(data, size=9, seed=0, epoch=0))
    order = batch.text_rows.tolist()
    got = {(order[i], int(batch.video_rows[j])) for i, j in batch.neutral.nonzero().tolist()}
    assert got == {(1, 3), (3, 1)}


@pytest.mark.parametrize("form", [Contrast(), Contrast("hinge", 0.2), Contrast(hard=1)], ids=str)
@pytest.mark.parametrize("name", ["infonce", "ncl"])
def test_a_duplicate_is_neither_pushed_away_nor_pulled(name, form):
    """Two texts, each other's duplicates: without other videos nothing moves them."""
    data = data_of([0, 1, 2], ["same", "same", "other"])
    loss, texts, videos, _ = loss_of(
        name, data, [0, 1], form=form, options={"queue": 0} if name == "ncl" else {}
    )
    assert float(loss.total.detach()) == pytest.approx(0, abs=1e-12)
    assert float(texts.grad.abs().max()) < 1e-9 and float(videos.grad.abs().max()) < 1e-9
    apart = data_of([0, 1, 2], ["one", "two", "other"])
    moved = loss_of(name, apart, [0, 1], options={"queue": 0} if name == "ncl" else {})
    assert float(moved[1].grad.abs().max()) > 1e-3


def test_cali_nce_draws_no_mismatch_that_is_a_duplicate():
    data = data_of([0, 1, 2], ["same", "same", "other"])
    loss, *_ = loss_of("cali-nce", data, [0, 1])
    alone, *_ = loss_of("cali-nce", data_of([0, 0, 1], ["a", "b", "c"]), [0, 1])
    assert torch.isfinite(loss.total) and torch.isfinite(alone.total)


@pytest.mark.parametrize("name", ALL)
def test_taking_duplicates_out_changes_the_loss_of_every_objective(name):
    data = data_of([0, 1, 2, 3, 0], ["same", "same", "c", "d", "e"])
    plain = dataclasses.replace(data, captions=tuple(f"caption {i}" for i in range(5)))
    one = loss_of(name, data, range(5), options={})[0]
    other = loss_of(name, plain, range(5), options={})[0]
    first, second = (float(x.parts.get("nce", x.total)) for x in (one, other))
    assert first < second


# ------------------------------------------------------------------- odd batches

ODD = {
    "one video": ([0, 0, 0, 1], [0, 1, 2]),
    "one text": ([0, 1, 2], [1]),
    "one text of one video": ([0, 1], [0]),
    "every mismatch is a known pair": ([[0, 1], [0, 1], 2], [0, 1]),
    "more texts than videos": ([0, 0, 0, 1, 1, 1, 2], range(7)),
    "all equal captions": ([0, 1, 2, 3], range(4)),
}


@pytest.mark.parametrize("form", [Contrast(), Contrast("hinge", 0.2, 2)], ids=["infonce", "hinge"])
@pytest.mark.parametrize("odd", list(ODD))
@pytest.mark.parametrize("name", ALL)
def test_odd_batches_have_a_finite_loss_and_finite_gradients(name, odd, form):
    owner, rows = ODD[odd]
    said = ["same"] * len(owner) if odd == "all equal captions" else None
    loss, texts, videos, _ = loss_of(name, data_of(owner, said), list(rows), form=form)
    for value in (loss.total, *loss.parts.values(), texts.grad, videos.grad):
        assert value is None or bool(torch.isfinite(value).all())


@pytest.mark.parametrize("objective", ALL)
def test_batches_of_two_train_to_the_end(objective):
    train, held = split_by_video(world(videos=12, per_video=3), share=0.34)
    settings = TrainSettings(objective=objective, epochs=1, batch_size=2)
    out = fit_heads(train, held, settings)
    assert all(np.isfinite(v) for r in out.history for v in r.values() if isinstance(v, float))


@pytest.mark.parametrize("n", [3, 90, 100, 129])
@pytest.mark.parametrize("size", [2, 64])
def test_batches_are_never_larger_than_asked(n, size):
    data = data_of([i % 7 for i in range(n)])
    sizes = [len(b.text_rows) for b in batches(data, size=size, seed=0, epoch=0)]
    assert max(sizes) <= size and sum(sizes) == n and len(sizes) == batches_per_epoch(n, size)


def test_a_default_batch_leaves_at_least_four_of_them():
    assert [batch_size(TrainSettings(), n) for n in (5, 400, 10**6)] == [2, 100, 4096]


@pytest.mark.parametrize("floor", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("logits", [[0.0, 1.0, -3.0], [-400.0, -401.0, -500.0], [60.0] * 3])
def test_pair_weights_have_mean_one_and_keep_their_floor(floor, logits):
    objective = build("cali-nce", Context(data_of([0, 1]), 4, 0), {"floor": floor})
    weights = objective.pair_weights(torch.tensor(logits, dtype=torch.float64))
    assert float(weights.mean()) == pytest.approx(1.0)
    assert bool((weights >= floor - 1e-12).all())
