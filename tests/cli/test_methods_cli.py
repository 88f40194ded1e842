"""`rerank methods` lists what `--method` accepts."""

import json

import pytest

from rerank.methods.registry import METHODS
from rerank_cli import app


def run(monkeypatch, capsys, *arguments):
    monkeypatch.setattr("sys.argv", ["rerank", "methods", *arguments])
    with pytest.raises(SystemExit) as ended:
        app.main()
    assert ended.value.code == 0
    return capsys.readouterr().out


def test_the_list_names_every_method_with_source_needs_direction_and_folding(monkeypatch, capsys):
    lines = run(monkeypatch, capsys).splitlines()
    listed = {line.split()[0]: line for line in lines[1 : len(METHODS) + 1]}
    assert list(listed) == list(METHODS)
    for name, method in METHODS.cards().items():
        assert method.facts.source in listed[name] and ", ".join(method.facts.needs) in listed[name]
        assert ("rows only" in listed[name]) == method.facts.rows_only
        assert listed[name].endswith("yes" if method.facts.folds else "no")


def test_json_is_one_object_with_the_settings_of_presets(monkeypatch, capsys):
    listed = json.loads(run(monkeypatch, capsys, "--json"))["methods"]
    by_name = {entry["name"]: entry for entry in listed}
    assert set(by_name) == set(METHODS)
    assert by_name["qb-norm"]["settings"]["tau"] == 0.05
    assert by_name["k-reciprocal"]["needs"] == ["embeddings", "all queries", "dense matrix"]
