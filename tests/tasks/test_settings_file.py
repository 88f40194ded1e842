"""A settings file is what was written, or one clear line says why not."""

import json
import re

import pytest

from rerank.core.errors import FormatError
from rerank.io import kind_of_file
from rerank.selection.settings_file import SETTINGS, settings_text
from rerank.tasks.settings import read_settings, settings_over

TUNED = {"method": "em+sinkhorn", "tau": 0.05, "rho": None, "n_bases": 8, "_tuned": {"pairs": 3}}


@pytest.fixture
def path(tmp_path):
    (tmp_path / "s.json").write_text(settings_text(TUNED))
    return tmp_path / "s.json"


def test_what_is_written_is_read_back_without_notes(path):
    assert read_settings(path) == {k: v for k, v in TUNED.items() if k != "_tuned"}
    assert kind_of_file(path) == SETTINGS
    assert settings_over(path, {"tau": 0.1, "method": "sinkhorn"})["tau"] == 0.1
    assert settings_over(None, None) == {}


def test_a_number_without_an_end_is_named_with_its_file(path):
    path.write_text(re.sub(r'"tau": [^,]*', '"tau": 1e999', path.read_text()))
    with pytest.raises(FormatError, match=rf"^{path}: holds a number that is too large"):
        read_settings(path)


@pytest.mark.parametrize("name", ["tau", "_tuned", "method"])
def test_every_edit_is_noticed(path, name):
    """The hash covers what is for people as well."""
    found = json.loads(path.read_text())
    found[name] = {"method": "sinkhorn", "tau": 0.06}.get(name, {"pairs": 4})
    path.write_text(json.dumps(found))
    with pytest.raises(FormatError, match="was edited; tune again, or take out schema and sha256"):
        read_settings(path)
    # The way out works as printed.
    mine = {k: v for k, v in found.items() if k not in ("schema", "sha256", "n_bases")}
    path.write_text(json.dumps(mine))
    assert read_settings(path)["method"] == found["method"]


def test_the_order_of_the_keys_is_no_edit(path):
    found = json.loads(path.read_text())
    path.write_text(json.dumps(dict(reversed(found.items()))))
    assert read_settings(path)["tau"] == 0.05


WRONG = {
    '{"tau": 0.1, "tau": 0.2}': "'tau'.*twice",
    '{"tau": NaN}': "NaN is not JSON",
    '{"tau": Infinity}': "Infinity is not JSON",
    '{"tau": "0.1"}': "tau: got '0.1', expected a finite number",
    '{"tau": true}': "tau: got True",
    '{"tau": [0.1]}': r"tau: got \[0.1\]",
    '{"method": 3}': "method: got 3, expected a name",
    '{"method": "sinkorn"}': "sinkorn",
    '{"method": "csls", "k": 2.5}': "k: got 2.5, expected a whole number",
    '{"method": "csls", "kk": 3}': "unknown setting 'kk', expected of: method, .*k",
    '[{"tau": 0.1}]': "got a JSON list, expected an object",
    '{"schema": "rerank-settings/9", "tau": 0.1}': "rerank-settings/9.*expected",
    '{"schema": "rerank-settings/1", "tau": 0.1}': "does not match its hash",
    "{": "not valid JSON",
}


@pytest.mark.parametrize("content", WRONG)
def test_what_is_wrong_is_said_in_one_line(tmp_path, content):
    path = tmp_path / "s.json"
    path.write_text(content)
    with pytest.raises(FormatError, match=WRONG[content]) as caught:
        read_settings(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_settings_by_hand_need_no_hash(tmp_path):
    path = tmp_path / "s.json"
    path.write_text('{"method": "sinkhorn", "tau": "auto", "rho": 0.5, "_why": "my own"}')
    assert read_settings(path) == {"method": "sinkhorn", "tau": "auto", "rho": 0.5}
