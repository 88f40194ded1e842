"""What the log says, against a second way to compute it; margins and hard negatives."""

import numpy as np
import pytest
import torch

from rerank.train import TrainSettings, fit_heads, paired, split_by_video
from rerank.train.diagnostics import effective_rank, moved_by, normalisation_error, shape
from rerank.train.objectives.base import Contrast, info_nce
from tests.train.worlds import world


def unit(n, d, seed):
    rows = torch.randn((n, d), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.nn.functional.normalize(rows, dim=1)


def test_every_epoch_has_the_figures_that_researchers_look_at():
    train, held = split_by_video(world(), share=0.25, seed=1)
    out = fit_heads(train, held, TrainSettings(objective="emcl", epochs=2, batch_size=48))
    for record in out.history:
        for way in ("t2v", "v2t"):
            r1, r5, r10 = (record[f"{way}_R@{k}"] for k in (1, 5, 10))
            assert 0 <= r1 <= r5 <= r10 <= 100 and record[f"{way}_MdR"] >= 1
        assert 0 <= record["error_t2v"] <= 2 and 0 <= record["error_v2t"] <= 2
        assert 1 <= record["effective_rank"] <= out.heads.dim and record["tau"] > 0
    assert "map" not in out.history[0] and out.history[1]["map"] > 0
    assert out.history[1]["seconds"] > 0


def test_the_log_follows_the_protocol():
    train, held = split_by_video(world(noise=3.0), share=0.5, seed=1)
    found = {}
    for protocol in ("rank-captions-take-best", "rank-videos-by-best-caption"):
        out = fit_heads(train, held, TrainSettings(epochs=0, protocol=protocol))
        found[protocol] = out.history[0]
    one, other = found.values()
    assert one["t2v_R@5"] == other["t2v_R@5"] and one["score"] == other["score"]
    # Among twenty videos instead of eighty captions the right one is found sooner.
    found = [[r[f"v2t_R@{k}"] for k in (1, 5, 10)] for r in (one, other)]
    assert found[1] != found[0] and all(b >= a for a, b in zip(*found, strict=True))


def test_normalisation_error_is_its_formula_and_none_where_all_is_shared_out():
    texts, videos = unit(9, 4, 0), unit(5, 4, 1)
    p = np.exp(texts.numpy() @ videos.numpy().T / 0.3)
    want = np.abs((p / p.sum(axis=1, keepdims=True)).mean(axis=0) - 0.2).sum()
    assert normalisation_error(texts, videos, torch.full((5,), 0.2), 0.3) == pytest.approx(want)
    same = torch.eye(4, dtype=torch.float64)
    assert normalisation_error(same, same, torch.full((4,), 0.25), 0.1) == pytest.approx(0)


def test_what_queries_want_follows_the_pairs():
    texts, videos = unit(3, 4, 0), unit(3, 4, 1)
    data = paired(np.ones((3, 2)), np.ones((3, 2)), [[0], [0], [1, 0]])
    found = shape(texts, videos, data, 0.1)
    want = torch.tensor([2.5, 0.5, 0.0]) / 3
    assert found["error_t2v"] == pytest.approx(normalisation_error(texts, videos, want, 0.1))
    back = torch.tensor([1 / 3, 1 / 3, 1 + 1 / 3]) / 2
    assert found["error_v2t"] == pytest.approx(normalisation_error(videos[:2], texts, back, 0.1))


@pytest.mark.parametrize("n", [3, 200])
def test_effective_rank_counts_directions(n):
    eye = torch.eye(6, dtype=torch.float64)[:3].repeat(n, 1)
    assert effective_rank(eye, eye) == pytest.approx(3.0)
    assert effective_rank(eye[:1].repeat(n, 1), eye[:1]) == pytest.approx(1.0)


def test_what_a_map_moves():
    rows = unit(8, 4, 0)
    assert moved_by(1.05 * torch.eye(4, dtype=torch.float64), rows) == pytest.approx(0.05)


def losses_by_loops(s, positive, neutral, form, scale):
    out = []
    for i in range(len(s)):
        wrong = [s[i, k] for k in range(s.shape[1]) if not (positive[i, k] or neutral[i, k])]
        wrong = sorted(wrong, reverse=True)[: form.hard or None]
        for j in np.flatnonzero(positive[i]):
            if form.loss == "hinge":
                over = [max(0.0, form.margin + (w - s[i, j]) / scale) for w in wrong]
                out.append(sum(over) / max(1, len(over)))
            else:
                a = s[i, j] - scale * form.margin
                out.append(-np.log(np.exp(a) / (np.exp(a) + np.exp(wrong).sum())))
    return out


@pytest.mark.parametrize(
    "form",
    [Contrast(), Contrast(margin=0.1), Contrast(hard=2), Contrast("hinge", 0.2),
     Contrast("hinge", 0.05, 1)],
    ids=str,
)  # fmt: skip
def test_margins_and_hard_negatives_are_their_formulas(form):
    rng = np.random.default_rng(3)
    s, scale = 4 * rng.standard_normal((6, 5)), 8.0
    positive = np.eye(6, 5, dtype=bool)
    positive[5, 2] = positive[0, 3] = True
    neutral = np.zeros((6, 5), dtype=bool)
    neutral[1, 4] = neutral[2, 0] = True
    got = form.pairs(*(torch.from_numpy(x) for x in (s, positive, neutral)), scale)[0]
    want = losses_by_loops(s, positive, neutral, form, scale)
    np.testing.assert_allclose(got.numpy(), want, atol=1e-12)


def test_the_hinge_with_the_hardest_negative_is_the_triplet_loss_of_the_pairs():
    t, v = unit(7, 4, 0), unit(7, 4, 1)
    cosine = t @ v.T
    eye = torch.eye(7, dtype=torch.bool)
    hardest = cosine.masked_fill(eye, -9).amax(dim=1), cosine.T.masked_fill(eye, -9).amax(dim=1)
    own = cosine.diagonal()
    want = sum((0.2 + h - own).clamp_min(0).mean() for h in hardest) / 2
    got = info_nce(9 * cosine, 9 * cosine.T, eye, form=Contrast("hinge", 0.2, 1), scale=9.0)
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize("told", [{"loss": "hinge"}, {"hard_negatives": 3}, {"margin": 0.1}])
def test_other_contrasts_learn(told):
    train, held = split_by_video(world(videos=80, noise=1.0), share=0.25)
    out = fit_heads(train, held, TrainSettings(epochs=4, batch_size=64, lr=5e-3, **told))
    assert out.history[-1]["loss"] < out.history[1]["loss"]
