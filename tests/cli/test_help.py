"""Help: one whole sentence, two examples that run, values to complete, and no torch for it."""

import subprocess
import sys

import pytest
from typer.main import get_command

from rerank_cli.app import COMMANDS, app
from rerank_cli.examples import EXAMPLES, shown
from rerank_cli.named import (
    complete_figures,
    complete_indexes,
    complete_methods,
    complete_objectives,
    complete_spaces,
    complete_stores,
)
from tests import cli_readme
from tests.cli.test_cli import run


@pytest.fixture(scope="module")
def listed(tmp_path_factory):
    return run("--help", cwd=tmp_path_factory.getbasetemp())[0]


@pytest.mark.parametrize("name", COMMANDS)
def test_help_starts_with_one_whole_sentence_and_ends_with_two_examples(name, listed, tmp_path):
    said, _ = run(name, "--help", cwd=tmp_path)
    first = said.split("\n\n")[1].strip()
    assert "\n" not in first and first.endswith(".") and "..." not in first
    assert len(first) <= 64 and len(first.split()) < 25
    assert f"{name:<9}{first}" in listed
    *_, end = said.split("Examples:\n")
    assert end.count(f"rerank {name}") == 2 and len(EXAMPLES[name]) == 2


def test_every_command_has_its_examples():
    assert set(EXAMPLES) == set(COMMANDS)
    listed = get_command(app).commands
    assert [listed[name].name for name in listed] == list(COMMANDS)


def test_a_command_makes_no_other(tmp_path):
    code = (
        "import sys; sys.argv[1:] = ['convert', '-h']; from rerank_cli.app import main\n"
        "try: main()\n"
        "finally: print(sorted(x for x in sys.modules if x in "
        f"{[f'rerank_cli.{name}' for name in COMMANDS]}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-1] == "['rerank_cli.convert']"


@pytest.mark.slow
def test_every_example_runs_and_the_page_shows_what_it_prints(tmp_path):
    made = cli_readme.page(tmp_path / "demo")
    kept = cli_readme.PAGE.read_text(encoding="utf-8")
    assert cli_readme.masked(made) == cli_readme.masked(kept)


def test_the_page_lists_every_example():
    kept = cli_readme.PAGE.read_text(encoding="utf-8")
    for name, commands in EXAMPLES.items():
        assert f"## rerank {name}\n" in kept
        for command in commands:
            assert shown(command, indent="") in kept


def test_values_are_completed_after_what_is_there():
    assert complete_methods("em+sink")[0] == "em+sinkhorn"
    assert "sinkhorn,csls" in complete_methods("sinkhorn,cs")
    assert complete_figures("R@1,Md") == ["R@1,MdR"]
    assert complete_stores("pg") == ["pgvector"]
    assert complete_indexes("h") == ["hnsw"] and complete_spaces("co") == ["cosine"]
    assert complete_objectives("cali") == ["cali-nce"]


def test_completion_imports_no_torch():
    code = (
        "import sys; from rerank_cli import named; named.complete_methods(''); "
        "named.complete_figures(''); named.complete_stores(''); named.complete_objectives(''); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_each_side_has_two_names(tmp_path):
    for name, pairs in {
        "apply": ("--texts, --queries", "--videos, --gallery", "--bank-texts, --bank-queries"),
        "export": ("--texts, --queries", "--videos, --gallery"),
        "search": ("--texts, --queries", "--videos, --gallery"),
        "train": ("--texts, --queries", "--val-videos, --val-gallery"),
        "plan": ("--texts, --queries", "--videos, --gallery"),
    }.items():
        said = run(name, "--help", cwd=tmp_path)[0]
        for pair in pairs:
            assert pair in said, (name, pair)
