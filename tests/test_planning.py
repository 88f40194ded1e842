"""Laws of the cost model."""

import json

import pytest

from rerank import RerankError
from rerank.planning import CARDS, Rates, plan
from tests.test_cli import run

CPU = Rates("test", 1e11, 1e9, 1e10, 1e9, 8e9, measured=True)


def seconds(**changes):
    given = {"queries": 1e4, "gallery": 2e4, "dim": 256, "rates": CPU} | changes
    return plan(given.pop("queries"), given.pop("gallery"), given.pop("dim"), **given)


@pytest.mark.parametrize("what", ["queries", "gallery", "dim", "sweeps"])
def test_more_work_takes_longer(what):
    base = {"queries": 1e4, "gallery": 2e4, "dim": 256, "sweeps": 30}
    more = base | {what: 2 * base[what]}
    assert seconds(**more).seconds > seconds(**base).seconds


def test_devices_share_the_work_but_not_the_gallery():
    one, eight = seconds(queries=1e6, gallery=1e6), seconds(queries=1e6, gallery=1e6, devices=8)
    assert one.seconds / 8 < eight.seconds < one.seconds / 4
    assert eight.memory["embeddings"] > one.memory["embeddings"] / 2


def test_the_regime_follows_the_memory():
    names = [
        seconds(rates=Rates("x", 1e11, 1e9, 1e10, 1e9, size)).regime for size in (4e9, 6e8, 1e8)
    ]
    assert names == ["stored bfloat16", "stored 8-bit", "streaming"] or names[0] == "log domain"


def test_what_does_not_fit_is_said():
    found = seconds(gallery=1e9)
    assert not found.fits and any("does not fit" in note for note in found.notes)
    assert seconds().fits


def test_data_sheets_are_called_estimates():
    assert any("not measured" in note for note in plan(1e6, 1e6, 512, rates=CARDS["h200"]).notes)


def test_nonsense_is_refused():
    with pytest.raises(RerankError, match="positive"):
        plan(0, 10, 10, rates=CPU)


def test_the_command(tmp_path):
    args = ("plan", "--queries", "1e6", "--gallery", "1e6", "--dim", "512", "--devices", "8")
    found = json.loads(run(*args, "--hardware", "h200", "--json", cwd=tmp_path)[0])
    assert found["fits"] and found["total_seconds"] > 0 and found["regime"] == "streaming"
    text, _ = run(*args, cwd=tmp_path)
    assert "Sinkhorn" in text and "total" in text
    _, err = run(*args, "--hardware", "abacus", cwd=tmp_path, code=2)
    assert "abacus" in err
