"""Training as laws: the start is ridge, nothing is worse than it, and a run can be repeated."""

import dataclasses

import numpy as np
import pytest
import torch

from rerank.core.errors import FormatError, RerankError
from rerank.train import TrainSettings, fit_heads, load_heads, paired, save_heads, split_by_video
from rerank.train.data import batches, make_batch
from rerank.train.loop import Run, is_kept
from rerank.train.objectives.registry import OBJECTIVES
from rerank.train.ridge import both_ranks, candidates, linear_start, ridge_map, score, video_scores
from rerank.train.run import TIMINGS
from rerank.train.settings import batch_size

QUICK = TrainSettings(epochs=3, batch_size=48, lr=5e-3, patience=9)


def world(seed=0, videos=40, per_video=4, d_text=12, d_video=9, noise=0.5, captions=True):
    rng = np.random.default_rng(seed)
    hidden = rng.standard_normal((videos, 6))
    owner = np.repeat(np.arange(videos), per_video)
    v = hidden @ rng.standard_normal((6, d_video)) + 0.3 * rng.standard_normal((videos, d_video))
    t = (hidden[owner] + noise * rng.standard_normal((len(owner), 6))) @ rng.standard_normal(
        (6, d_text)
    )
    words = ["red", "dog", "cat", "runs", "eats", "a ball", "fast", "home"]
    said = [" ".join(rng.choice(words, 4)) for _ in owner] if captions else None
    return paired(t.astype(np.float32), v.astype(np.float32), owner, captions=said)


@pytest.fixture(scope="module")
def halves():
    return split_by_video(world(), share=0.25, seed=1)


def same(a, b):
    return all(torch.equal(x, b.state_dict()[name]) for name, x in a.state_dict().items())


def test_ridge_is_the_textbook_solution():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((30, 5)), rng.standard_normal((30, 3))
    lam = 0.3 * np.trace(x.T @ x / 30) / 5
    want = np.linalg.solve(x.T @ x / 30 + lam * np.eye(5), x.T @ y / 30)
    got = ridge_map(torch.from_numpy(x), torch.from_numpy(y), 0.3).numpy()
    np.testing.assert_allclose(got, want, atol=1e-6)


def test_epoch_zero_is_the_best_closed_form_map(halves):
    train, held = halves
    made = candidates(train, held)
    out = fit_heads(train, held, dataclasses.replace(QUICK, epochs=0))
    assert out.history[0]["score"] == max(s.score for s in made.values())
    start = made[out.start.kind]
    for got, want in (
        (out.heads.texts(held.texts), start.texts(held.texts)),
        (out.heads.videos(held.videos), start.videos(held.videos)),
    ):
        torch.testing.assert_close(got, torch.nn.functional.normalize(want, dim=1))


def test_an_mlp_head_also_begins_as_the_linear_map(halves):
    train, held = halves
    deep = fit_heads(train, held, dataclasses.replace(QUICK, epochs=0, hidden=8))
    flat = fit_heads(train, held, dataclasses.replace(QUICK, epochs=0))
    assert torch.equal(deep.heads.texts(held.texts), flat.heads.texts(held.texts))


def test_spaces_that_agree_begin_at_the_identity():
    rng = np.random.default_rng(3)
    v = rng.standard_normal((60, 8)).astype(np.float32)
    t = v + 0.05 * rng.standard_normal((60, 8)).astype(np.float32)
    train, held = split_by_video(paired(t, v, np.arange(60)), share=0.4)
    start = linear_start(train, held)
    assert start.kind == "identity"
    assert start.score == score(held.texts, held.videos, held)


def test_training_is_kept_only_if_validation_says_so(halves):
    train, held = halves
    wild = fit_heads(train, held, dataclasses.replace(QUICK, lr=50.0, epochs=2))
    assert wild.best_epoch == 0
    start = fit_heads(train, held, dataclasses.replace(QUICK, epochs=0))
    assert same(wild.heads, start.heads)


def test_training_learns_where_there_is_something_to_learn():
    train, held = split_by_video(world(videos=120, noise=1.0), share=0.25)
    out = fit_heads(train, held, dataclasses.replace(QUICK, epochs=8))
    assert out.history[-1]["loss"] < out.history[1]["loss"]
    assert out.history[out.best_epoch]["score"] >= out.history[0]["score"]


@pytest.mark.parametrize("objective", list(OBJECTIVES))
def test_the_same_seed_gives_the_same_bytes_and_a_resumed_run_too(objective, halves, tmp_path):
    train, held = halves
    settings = dataclasses.replace(QUICK, objective=objective)
    once = fit_heads(train, held, settings)
    torch.manual_seed(99)  # what the caller drew before must not matter
    again = fit_heads(train, held, settings)
    assert same(once.heads, again.heads)
    path = tmp_path / "run.checkpoint"

    class Killed(Exception):
        pass

    def kill(history):
        if history[-1]["epoch"] == 2:
            raise Killed

    with pytest.raises(Killed):
        fit_heads(train, held, settings, checkpoint_path=path, on_epoch=kill)
    resumed = fit_heads(train, held, settings, checkpoint_path=path, resume=True)
    assert same(once.heads, resumed.heads) and same(once.objective, resumed.objective)
    timeless = [
        [{k: v for k, v in r.items() if k not in TIMINGS} for r in out.history]
        for out in (once, resumed)
    ]
    assert timeless[0] == timeless[1]


def test_bfloat16_matrix_products_stay_close_to_float32(halves):
    train, held = halves
    full, half = (
        fit_heads(train, held, dataclasses.replace(QUICK, epochs=1, amp=amp))
        for amp in ("off", "on")
    )
    losses = [out.history[1]["loss"] for out in (full, half)]
    assert losses[0] != losses[1] and losses[1] == pytest.approx(losses[0], rel=0.02)


def test_another_seed_gives_another_order(halves):
    train, _ = halves
    first, other = (
        torch.cat([b.text_rows for b in batches(train, size=32, seed=s, epoch=0)]) for s in (0, 1)
    )
    assert not torch.equal(first, other)
    assert torch.equal(first.sort().values, torch.arange(len(train.positives)))


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"objective": "emcl"}, "objective"),
        ({"lr": 1e-4}, "lr"),
        ({"hidden": 4}, "hidden"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused_by_name(change, word, halves, tmp_path):
    train, held = halves
    path = tmp_path / "run.checkpoint"
    short = dataclasses.replace(QUICK, epochs=1)
    fit_heads(train, held, short, checkpoint_path=path)
    with pytest.raises(FormatError, match=word):
        fit_heads(train, held, dataclasses.replace(short, **change), checkpoint_path=path,
                  resume=True)  # fmt: skip


def test_a_checkpoint_of_another_dimension_or_data_is_refused(halves, tmp_path):
    train, held = halves
    path = tmp_path / "run.checkpoint"
    short = dataclasses.replace(QUICK, epochs=1)
    fit_heads(train, held, short, checkpoint_path=path)
    wider = split_by_video(world(d_text=14), share=0.25, seed=1)
    with pytest.raises(FormatError, match="another dimension"):
        fit_heads(*wider, short, checkpoint_path=path, resume=True)
    moved = dataclasses.replace(train, texts=train.texts * 1.001)
    with pytest.raises(FormatError, match="other training data"):
        fit_heads(moved, held, short, checkpoint_path=path, resume=True)


def test_a_loss_that_is_no_number_keeps_the_last_good_checkpoint(halves, tmp_path, monkeypatch):
    train, held = halves
    path = tmp_path / "run.checkpoint"
    step = Run._step

    def poisoned(self, batch, rate, epoch):
        if epoch == 2:
            self.temperature.log_scale.data.fill_(float("nan"))
        return step(self, batch, rate, epoch)

    monkeypatch.setattr(Run, "_step", poisoned)
    with pytest.raises(RerankError, match=r"nan in epoch 3.*epoch 2 is kept"):
        fit_heads(train, held, QUICK, checkpoint_path=path)
    monkeypatch.undo()
    resumed = fit_heads(train, held, QUICK, checkpoint_path=path, resume=True)
    assert same(resumed.heads, fit_heads(train, held, QUICK).heads)


def test_a_damaged_checkpoint_is_refused(halves, tmp_path):
    train, held = halves
    path = tmp_path / "run.checkpoint"
    fit_heads(train, held, dataclasses.replace(QUICK, epochs=1), checkpoint_path=path)
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(FormatError, match="damaged"):
        fit_heads(train, held, dataclasses.replace(QUICK, epochs=1), checkpoint_path=path,
                  resume=True)  # fmt: skip


def test_the_split_holds_out_whole_videos():
    data = world()
    train, held = split_by_video(data, share=0.25, seed=3)
    assert len(held.videos) == 10 and len(train.videos) == 30
    rows = {tuple(v.tolist()) for v in train.videos} & {tuple(v.tolist()) for v in held.videos}
    assert not rows
    assert len(train.texts) + len(held.texts) == len(data.texts)


def test_a_batch_marks_every_known_pair_between_its_texts_and_videos():
    positives = [np.array(p) for p in ([0, 2], [2], [1], [2, 1])]
    batch = make_batch(positives, np.array([3, 0]))
    assert batch.video_rows.tolist() == [0, 1, 2]
    assert batch.positive.tolist() == [[False, True, True], [True, False, True]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t, v: (t, v, [[]] * 6), "no pair"),
        (lambda t, v: (t, v, [[0]] * 6), "two videos"),
        (lambda t, v: (t, v, [[9]] * 6), "gallery row 9"),
        (lambda t, v: (np.where(t == t[2, 1], np.nan, t), v, [[i % 4] for i in range(6)]),
         "row 2 has NaN"),
    ],
)  # fmt: skip
def test_bad_pairs_are_refused(change, message):
    rng = np.random.default_rng(0)
    t, v = rng.standard_normal((6, 3)), rng.standard_normal((4, 5))
    with pytest.raises(RerankError, match=message):
        paired(*change(t, v))


def test_a_text_without_a_video_is_left_out():
    rng = np.random.default_rng(0)
    data = paired(rng.standard_normal((3, 2)), rng.standard_normal((2, 2)), [[0], [], [1]])
    assert [p.tolist() for p in data.positives] == [[0], [1]]


def test_two_learning_shares_of_a_batch_add_up_to_the_whole(halves, monkeypatch):
    """Gathered features: each process's loss is the whole one, its head gradient its rows' part."""
    train, held = halves
    batch = next(batches(train, size=48, seed=0, epoch=0))
    settings = dataclasses.replace(QUICK, objective="ncl")
    from rerank.core import comm
    from rerank.train import run as running

    def gradient(share):
        run = Run.begin(train, held, settings, linear_start(train, held))
        if share is not None:
            monkeypatch.setattr(
                comm, "my_rows", lambda n: [slice(0, n // 2), slice(n // 2, n)][share]
            )

            def gathered(rows, mine):
                whole = everyone[len(seen)]
                seen.append(1)
                return torch.cat([whole[: mine.start], rows, whole[mine.stop :]])

            seen = []
            monkeypatch.setattr(running, "_gathered", gathered)
        else:
            features = run._features(batch, 0)
            everyone.extend([features.texts.detach(), features.videos.detach()])
        run.objective(run._features(batch, 0)).total.backward()
        return torch.cat([p.grad.flatten() for p in run.heads.parameters()])

    everyone = []
    whole, first, second = gradient(None), gradient(0), gradient(1)
    torch.testing.assert_close(first + second, whole, atol=1e-6, rtol=1e-4)


def test_saved_heads_load_as_they_were(halves, tmp_path):
    train, held = halves
    for objective, hidden in (("emcl", 0), ("infonce", 5)):
        out = fit_heads(
            train, held, dataclasses.replace(QUICK, objective=objective, hidden=hidden, epochs=1)
        )
        save_heads(tmp_path / "m.safetensors", out.heads, manifest={"objective": objective})
        back = load_heads(tmp_path / "m.safetensors")
        assert torch.equal(back.texts(held.texts), out.heads.texts(held.texts))
        assert torch.equal(back.videos(held.videos.numpy()), out.heads.videos(held.videos))


def test_a_batch_is_large_but_leaves_a_few_steps_to_an_epoch():
    assert batch_size(TrainSettings(), 100_000) == 4096
    assert batch_size(TrainSettings(), 1000) == 250
    assert batch_size(TrainSettings(), 3) == 2
    assert batch_size(TrainSettings(batch_size=7), 1000) == 7


def test_a_later_epoch_is_kept_until_validation_can_tell_it_is_worse():
    rng = np.random.default_rng(0)
    top = torch.from_numpy(rng.uniform(0.4, 0.8, 200))
    noise = torch.from_numpy(rng.normal(0, 0.1, 200))
    noise = (noise - noise.mean()) / noise.std(correction=0)
    error = 0.1 / 200**0.5  # standard error of the paired difference below
    assert is_kept(top - 0.9 * error + 0.1 * noise, top, start=0.0)
    assert not is_kept(top - 1.1 * error + 0.1 * noise, top, start=0.0)
    assert not is_kept(top - 1e-9, top, start=0.0)  # worse on every video alike: no doubt
    assert not is_kept(top + 1e-3, top, start=float(top.mean()) + 2e-3)


def test_the_score_is_the_mean_of_what_its_videos_add():
    data = world(noise=2.0)
    start = linear_start(data, data)
    texts, videos = start.texts(data.texts), start.videos(data.videos)
    t2v, v2t = both_ranks(texts, videos, data)
    both = ((1 / t2v.values).mean() + (1 / v2t.values).mean()) / 2
    parts = video_scores(t2v, v2t, data)
    assert len(parts) == len(v2t)
    assert float(parts.mean()) == pytest.approx(both) == pytest.approx(score(texts, videos, data))
