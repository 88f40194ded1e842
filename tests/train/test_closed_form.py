"""Whatever the settings, the saved heads score on validation at least what the closed form does."""

import pytest
import torch

from rerank.train import TrainSettings, candidates, fit_heads, load_heads, save_heads
from rerank.train.data import split_by_video
from rerank.train.objectives.registry import OBJECTIVES
from rerank.train.ridge import score
from tests.train.worlds import world

WILD = [
    {"lr": 0.3},
    {"lr": 50.0, "epochs": 2},
    {"loss": "hinge", "lr": 0.3},
    {"lr": 1e-6, "epochs": 1},
]


@pytest.fixture(scope="module")
def halves():
    return split_by_video(world(), share=0.25, seed=1)


def kept_score(heads, held, path):
    save_heads(path, heads)
    back = load_heads(path)
    return score(back.texts(held.texts), back.videos(held.videos), held)


@pytest.mark.parametrize("settings", WILD, ids=str)
@pytest.mark.parametrize("objective", list(OBJECTIVES))
def test_saved_heads_are_never_below_the_closed_form(objective, settings, halves, tmp_path):
    train, held = halves
    told = {"epochs": 3, "batch_size": 48, **settings}
    out = fit_heads(train, held, TrainSettings(objective=objective, **told))
    closed = max(s.score for s in candidates(train, held).values())
    assert out.history[0]["score"] == closed
    assert kept_score(out.heads, held, tmp_path / "h.safetensors") >= closed


@pytest.mark.parametrize("beta", [-5.0, 3.0, 100.0])
def test_the_map_of_emcl_is_part_of_what_validation_judges(beta, halves, tmp_path):
    train, held = halves
    told = {"objective": "emcl", "options": {"beta": beta}, "batch_size": 48, "lr": 5e-3}
    closed = max(s.score for s in candidates(train, held).values())
    for epochs in (0, 3):
        out = fit_heads(train, held, TrainSettings(epochs=epochs, **told))
        assert (out.heads.final is None) == (out.best_epoch == 0)
        assert out.history[0]["score"] == closed
        got = kept_score(out.heads, held, tmp_path / "h.safetensors")
        assert got == pytest.approx(out.history[out.best_epoch]["score"]) and got >= closed


def test_a_rejected_run_gives_the_rows_of_the_closed_form(halves):
    train, held = halves
    made = candidates(train, held)
    out = fit_heads(train, held, TrainSettings(objective="emcl", epochs=1, lr=50.0, batch_size=48))
    assert out.best_epoch == 0
    start = made[out.start.kind]
    torch.testing.assert_close(
        out.heads.texts(held.texts),
        torch.nn.functional.normalize(start.texts(held.texts), dim=1),
    )
