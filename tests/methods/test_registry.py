"""Methods are known by name without being imported, and one new file adds one."""

import json
import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from rerank import RerankError
from rerank.core.registry import Registry
from rerank.methods.registry import METHODS, MethodFacts, canonical, name_of, pipeline

PLUGIN = '''
from dataclasses import dataclass

import torch

import rerank
from rerank.methods.base import GalleryBias, Reranker, as_bank


@rerank.method("popularity", help="minus the mean over the bank", source="made up")
@dataclass(frozen=True)
class Popularity(Reranker):
    """Each item is charged its mean.

    Attributes:
        weight: of the mean.
    """

    weight: float = 1.0

    def fit(self, bank):
        bank = as_bank(bank)
        return GalleryBias(-self.weight * bank.sim.scores().mean(dim=0), bank.label)
'''


def python(code, folder, **env):
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=300,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *sys.path]), **env},
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def rerank(words, folder, **env):
    code = f"import sys; sys.argv = {['rerank', *map(str, words)]!r}; " + (
        "from rerank_cli.app import main; main()"
    )
    return python(code, folder, **env)


def test_lists_and_errors_need_no_torch(tmp_path):
    code = (
        "import sys\nfrom rerank.methods.registry import METHODS, canonical, settings_of\n"
        "rows = [(c.name, c.help, settings_of(c)) for c in METHODS.cards().values()]\n"
        "try:\n    canonical('sinkhron')\nexcept ValueError as error:\n    print(error)\n"
        "print(len(rows), 'torch' in sys.modules, 'numpy' in sys.modules)\n"
    )
    status, out, err = python(code, tmp_path)
    assert status == 0, err
    assert "did you mean 'sinkhorn'" in out
    assert out.strip().endswith(f"{len(METHODS)} False False")


def test_every_method_says_what_it_is():
    for name, card in METHODS.cards().items():
        assert card.help and card.facts.source
        stage = pipeline(name).stages[0]
        known = {setting.name for setting in card.settings}
        assert known == {f.name for f in fields(stage)}
        assert METHODS[name_of(stage)].home == card.home


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("DSL", "dsl"), ("QB-Norm", "qb-norm"), ("qbnorm", "qb-norm"), ("Sinkhorn", "sinkhorn"),
     ("EMCL", "emcl"), ("em+Sinkhorn", "em+sinkhorn"), ("none", "none")],
)  # fmt: skip
def test_names_are_found_however_they_are_written(typed, meant):
    assert canonical(typed) == meant


@pytest.mark.slow
def test_one_file_adds_a_method(tmp_path, samples):
    (tmp_path / "my_method.py").write_text(PLUGIN)
    plugin = {"RERANK_PLUGINS": "my_method"}
    listed = json.loads(rerank(["methods", "--json"], tmp_path, **plugin)[1])["methods"]
    mine = next(entry for entry in listed if entry["name"] == "popularity")
    assert mine["settings"] == {"weight": 1.0}
    files = ["--videos", samples / "videos.h5", "--texts", samples / "texts.h5"]
    status, out, err = rerank(
        ["apply", *files, "--method", "popularity", "--out", "o.h5"], tmp_path, **plugin
    )
    assert status == 0, err
    assert "popularity" in out
    status, _, err = rerank(["apply", *files, "--method", "popularty"], tmp_path, **plugin)
    assert status == 2
    assert "did you mean 'popularity'" in err and err.count("\n") == 1
    bank = ["--bank-texts", samples / "bank_texts.h5", "--videos", samples / "videos.h5"]
    assert (
        rerank(["fit", *bank, "--method", "popularity", "--out", "m"], tmp_path, **plugin)[0] == 0
    )
    search = ["search", "--model", "m", "--videos", samples / "videos.h5", "--texts",
              samples / "texts.h5", "--k", "1", "--json"]  # fmt: skip
    assert rerank(search, tmp_path, **plugin)[0] == 0
    status, _, err = rerank(["apply", *files, "--method", "popularity"], tmp_path)
    assert status == 2 and "popularity" in err


def test_a_plugin_that_is_missing_is_one_line(tmp_path):
    status, _, err = rerank(["methods"], tmp_path, RERANK_PLUGINS="no_such_module")
    assert status == 2
    assert "no_such_module" in err and err.count("\n") == 1


def test_names_are_taken_once_and_facts_are_known():
    registry = Registry("method", "rerank.methods", MethodFacts)
    with pytest.raises(RerankError, match="unknown fact 'colour'"):
        registry.declare("x", help="x", source="y", colour="red")
    with pytest.raises(RerankError, match="the name is taken"):

        @registry.declare("csls", help="x", source="y")
        class Other:
            pass


def test_the_page_of_methods_names_every_method_with_its_formula():
    page = (Path(__file__).parents[2] / "rerank/methods/README.md").read_text()
    table = page.split("## Every method")[1]
    named = {
        name
        for line in table.splitlines()
        if line.startswith("| `")
        for name in re.findall(r"`([a-z0-9-]+)`", line.split("|")[1])
    }
    assert named == {*METHODS.cards(), "none"}
