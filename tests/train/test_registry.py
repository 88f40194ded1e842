"""Objectives by name: known without torch, and added from outside the package."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rerank.core.errors import RerankError
from rerank.train.objectives.registry import OBJECTIVES, full_settings, settings_class

ROOT = Path(__file__).resolve().parents[2]

PLUGIN = '''
from dataclasses import dataclass

from rerank.train.objectives.base import Context, Features, Loss, Objective
from rerank.train.objectives.registry import objective


@dataclass(frozen=True)
class MineSettings:
    """Settings of mine.

    Attributes:
        pull: how much pairs attract.
    """

    pull: float = 2.0


@objective("mine", help="pairs attract, nothing else", settings="MineSettings", source="a test")
class Mine(Objective):
    def __init__(self, settings: MineSettings, context: Context) -> None:
        super().__init__()
        self.settings = settings

    def forward(self, features: Features) -> Loss:
        logits = features.scale * (features.texts @ features.videos.T)
        return Loss(self.settings.pull * features.contrast(logits, logits.T))
'''


def python(code, folder, **environment):
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{folder}", **environment},
    )  # fmt: skip


def test_names_help_and_settings_cost_no_torch(tmp_path):
    done = python(
        "import sys\n"
        "from rerank.train import TrainSettings\n"
        "from rerank.train.objectives.registry import OBJECTIVES\n"
        "for card in OBJECTIVES.cards().values():\n"
        "    print(card.name, '|', card.help, '|', [s.name for s in card.settings])\n"
        "assert not {'torch', 'numpy', 'h5py'} & set(sys.modules), sorted(sys.modules)\n",
        tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "ncl | Sinkhorn biases" in done.stdout and "'queue'" in done.stdout


def test_every_card_says_what_its_class_says():
    for card in OBJECTIVES.cards().values():
        made = full_settings(card.name)
        assert list(made) == [s.name for s in card.settings]
        assert made == {s.name: s.default for s in card.settings}
        assert all(s.help for s in card.settings) and card.help and card.facts.source
        assert list(made) == [f.name for f in dataclasses.fields(settings_class(card))]


def test_an_objective_from_outside_is_listed_and_trained(tmp_path):
    (tmp_path / "my_objective.py").write_text(PLUGIN)
    command = (
        "import sys; sys.argv = ['rerank', 'train', {}]; from rerank_cli.app import main; main()"
    )
    shown = python(command.format("'--help'"), tmp_path, RERANK_PLUGINS="my_objective")
    assert shown.returncode == 0, shown.stderr
    assert "mine" in shown.stdout and "pairs attract" in shown.stdout and "pull" in shown.stdout
    assert "mine" not in python(command.format("'--help'"), tmp_path).stdout
    wrong = python(command.format("'--objective', 'mien'"), tmp_path, RERANK_PLUGINS="my_objective")
    assert wrong.returncode == 2 and "'mine'" in wrong.stderr and "infonce" in wrong.stderr
    trained = python(
        "from tests.train.worlds import world\n"
        "from rerank.train import TrainSettings, fit_heads, split_by_video\n"
        "train, held = split_by_video(world(), share=0.25)\n"
        "told = dict(epochs=2, batch_size=40)\n"
        "mine = TrainSettings(objective='mine', options={'pull': '3'}, **told)\n"
        "a = fit_heads(train, held, mine)\n"
        "b = fit_heads(train, held, TrainSettings(**told))\n"
        "print(a.name, round(a.history[1]['loss'] / b.history[1]['loss'], 1))\n",
        tmp_path, RERANK_PLUGINS="my_objective",
    )  # fmt: skip
    assert trained.stdout.split() == ["mine", "3.0"], trained.stderr


def test_names_are_found_in_any_case_and_by_their_papers():
    assert OBJECTIVES.find("InfoNCE").name == "infonce"
    assert OBJECTIVES.find("EMCL-Net").name == "emcl"
    with pytest.raises(RerankError, match="did you mean 'support-set'"):
        OBJECTIVES.find("supportset")


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("emcl", {"momentum": 1.5}, "momentum: got 1.5, expected 0 to 1"),
        ("emcl", {"beta": "nan"}, "beta: got 'nan', expected a number"),
        ("emcl", {"n_bases": 0}, "n_bases: got 0"),
        ("emcl", {"n_iters": 2.5}, "expected a whole number"),
        ("ncl", {"queue": -1}, "queue: got -1, expected 0"),
        ("ncl", {"gradient": 1}, "expected true or false"),
        ("cali-nce", {"floor": 1.2}, "floor: got 1.2, expected 0 to 1"),
        ("cali-nce", {"hidden": 0}, "hidden: got 0"),
        ("cali-nce", {"lam": -1.0}, "lam: got -1"),
        ("support-set", {"weight": -1}, "weight: got -1"),
        ("support-set", {"width": 6}, "width: got 6, expected a multiple of 4"),
        ("support-set", {"width": 0}, "width: got 0"),
        ("support-set", {"layers": 0}, "layers: got 0"),
        ("reconstruction", {"tau": 0}, "tau: got 0"),
    ],
)
def test_settings_out_of_range_are_one_clear_line(name, given, message):
    with pytest.raises(RerankError, match=message) as error:
        full_settings(name, given)
    assert "\n" not in str(error.value)
