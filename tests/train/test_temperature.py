"""The learned temperature: kept between bounds as a parameter, and able to come back."""

import dataclasses
import math

import pytest
import torch

from rerank.core.errors import RerankError
from rerank.train import TrainSettings, fit_heads, split_by_video
from rerank.train.run import Temperature
from rerank.train.settings import MAX_TAU, MIN_TAU, from_document
from tests.train.worlds import world


def test_a_temperature_that_was_clamped_comes_back():
    temperature = Temperature(MIN_TAU, learn=True)
    step = torch.optim.SGD(temperature.parameters(), lr=0.5)
    for wanted, bound in ((400.0, 1 / MIN_TAU), (20.0, 20.0)):
        for _ in range(200):
            step.zero_grad()
            (temperature().log() - math.log(wanted)).square().backward()
            step.step()
            temperature.clamp()
            assert float(temperature().detach()) == pytest.approx(bound, rel=1e-3)


def test_training_leaves_the_bound_when_the_loss_says_so():
    train, held = split_by_video(world(), share=0.25, seed=1)
    told = TrainSettings(epochs=3, batch_size=48, lr=0.1, tau=MIN_TAU)
    taus = [record["tau"] for record in fit_heads(train, held, told).history]
    assert taus[0] == pytest.approx(MIN_TAU) and taus[-1] > 1.2 * MIN_TAU
    stays = fit_heads(train, held, dataclasses.replace(told, learn_tau=False)).history
    assert [r["tau"] for r in stays] == [taus[0]] * 4


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"tau": 0.005}, "tau: got 0.005, expected 0.01 to 100"),
        ({"tau": 200.0}, "expected 0.01 to 100"),
        ({"tau": 0.05, "logit_scale": 20.0}, "tau is 1 / logit_scale"),
        ({"logit_scale": 150.0}, "logit_scale: got 150.0, expected 0.01 to 100"),
    ],
)
def test_temperatures_beyond_the_clamp_are_refused(told, message):
    with pytest.raises(RerankError, match=message):
        TrainSettings(**told)


def test_the_logit_scale_of_the_source_model_is_the_start():
    assert TrainSettings(logit_scale=100.00000762939453).first_tau == pytest.approx(0.01)
    assert TrainSettings(logit_scale=20.0).first_tau == pytest.approx(0.05)
    assert TrainSettings().first_tau == 0.1 and TrainSettings(tau=MAX_TAU).first_tau == MAX_TAU


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([1], "got a JSON list, expected an object"),
        ({"lrr": 1}, "unknown setting 'lrr'"),
        ({"lr": "fast"}, "lr: got 'fast', expected a finite number"),
        ({"lr": True}, "lr: got True"),
        ({"epochs": 2.5}, "epochs: got 2.5, expected a whole number"),
        ({"options": [1]}, "options: got .*, expected an object"),
        ({"start": "left"}, "expected one of auto, identity"),
        ({"batch_size": "big"}, "expected a whole number or nothing"),
    ],
)
def test_a_settings_document_is_checked_by_name_and_type(document, message):
    with pytest.raises(RerankError, match=f"train.json: .*{message}|train.json: {message}"):
        from_document(document, "train.json")


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"seed": -1}, "seed: got -1, expected 0"),
        ({"seed": 2**40}, "seed: got"),
        ({"hidden": -2}, "hidden: got -2"),
        ({"weight_decay": -0.1}, "weight_decay: got -0.1"),
        ({"weight_decay": float("nan")}, "weight_decay: got nan"),
        ({"lr": float("inf")}, "lr: got inf"),
        ({"val_share": 0.0}, "val_share: got 0.0"),
        ({"warm_up": 1.0}, "warm_up: got 1.0"),
        ({"margin": -1.0}, "margin: got -1.0"),
        ({"hard_negatives": -1}, "hard_negatives: got -1"),
        ({"batch_size": 1}, "batch_size: got 1, expected 2"),
        ({"patience": 0}, "patience: got 0"),
        ({"clip": 0.0}, "clip: got 0.0"),
        ({"protocol": "best"}, "protocol: got 'best', expected one of auto, pairs"),
    ],
)
def test_settings_out_of_range_are_one_clear_line(told, message):
    with pytest.raises(RerankError, match=message) as error:
        TrainSettings(**told)
    assert "\n" not in str(error.value)


def test_settings_that_were_written_are_read_back():
    told = TrainSettings(objective="ncl", options={"queue": 3}, tau=0.2, batch_size=7)
    assert TrainSettings(**from_document(dataclasses.asdict(told), "m")) == told
