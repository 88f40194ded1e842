"""The examples of rerank/serving/README.md run as they are printed."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import rerank.serving
from rerank.io import write_embeddings
from rerank.serving.stores.registry import STORES
from rerank_cli.app import main

TEXT = (Path(rerank.serving.__path__[0]) / "README.md").read_text(encoding="utf-8")


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", TEXT, flags=re.DOTALL)


@pytest.fixture
def stores():
    """The store that the page declares is forgotten again."""
    before = dict(STORES._added)
    yield
    STORES._added.clear()
    STORES._added.update(before)
    STORES._cards = None


def test_the_examples_run(tmp_path, monkeypatch, capsys, stores):
    pytest.importorskip("faiss")
    monkeypatch.chdir(tmp_path)
    scope: dict = {"__name__": "example"}
    for code in blocks("python"):
        exec(compile(code, "README.md", "exec"), scope)
    scope["np"].save("new.npy", scope["new_texts"])
    write_embeddings("new.h5", list("abcde"), scope["new_texts"])
    lines = [line for block in blocks("bash") for line in block.splitlines()]
    assert len(lines) == 5
    for line in lines:
        name, *words = shlex.split(line)
        if "lancedb" in line:
            pytest.importorskip("lancedb")
        if name == "python":
            done = subprocess.run([sys.executable, *words], capture_output=True, text=True)
            assert done.returncode == 0 and len(done.stdout.splitlines()) == 5, done.stderr
            continue
        monkeypatch.setattr("sys.argv", [name, *words])
        with pytest.raises(SystemExit) as done:
            main()
        assert not done.value.code, capsys.readouterr().err


def test_the_table_names_every_store():
    named = re.findall(r"^\| `(\w+)` \|.*\| (?:`(.+)`)? ?\|$", TEXT, flags=re.MULTILINE)
    assert {name: package for name, package in named} == {
        name: card.facts.package for name, card in STORES.cards().items()
    }
