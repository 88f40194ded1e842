"""Laws of the cost model."""

import json
from dataclasses import replace

import pytest

from rerank import RerankError
from rerank.tasks import plan as rates
from rerank.tasks.plan import CARDS, Card, of_card, plan
from tests.cli.test_cli import run

SHEET = of_card(Card("test", 1e11, 1e9, 1e10, 1e9, 8e9), 256)
CPU = replace(
    SHEET,
    measured=True,
    stored={name: SHEET.stored["stored float16"] for name in ("stored bfloat16", "stored 8-bit")},
)


def seconds(**changes):
    given = {"queries": 1e4, "gallery": 2e4, "dim": 256, "costs": CPU} | changes
    return plan(given.pop("queries"), given.pop("gallery"), given.pop("dim"), **given)


@pytest.mark.parametrize("what", ["queries", "gallery", "sweeps"])
def test_more_work_takes_longer(what):
    base = {"queries": 1e4, "gallery": 2e4, "dim": 256, "sweeps": 30}
    more = base | {what: 2 * base[what]}
    assert seconds(**more).seconds > seconds(**base).seconds


def test_devices_share_the_work_but_not_the_gallery():
    given = {"queries": 1e6, "gallery": 1e6, "costs": replace(CPU, memory=1e11)}
    one, eight = seconds(**given), seconds(**given, devices=8)
    assert one.seconds / 8 < eight.seconds < one.seconds / 4
    assert eight.memory["embeddings"] > one.memory["embeddings"] / 2


def test_the_regime_follows_the_memory():
    names = [seconds(costs=replace(CPU, memory=size)).regime for size in (4e9, 6e8, 1e8)]
    assert names == ["stored bfloat16", "stored 8-bit", "streaming"]


def test_large_sides_stay_in_their_files_on_a_cpu_only():
    large = {"queries": 1e4, "gallery": 1e7}
    small = 4 * 256 * 1e4
    assert seconds(**large).memory["embeddings"] == small == seconds(**large).memory["mapped copy"]
    assert seconds(**large, costs=SHEET).memory["embeddings"] == small + 4 * 256 * 1e7


def test_what_does_not_fit_is_said():
    found = seconds(gallery=1e9)
    assert not found.fits and any("does not fit" in note for note in found.notes)
    assert "--memory" in found.notes[-1]
    assert "split it too" in seconds(gallery=1e9, costs=SHEET).notes[-1]
    assert "more devices" in seconds(queries=1e9, costs=SHEET).notes[-1]
    assert any("sinkhorn-sparse" in note for note in seconds(queries=1e6, gallery=1e6).notes)
    assert seconds().fits


def test_dimension_costs_more():
    one, two = (plan(1e5, 1e5, d, costs=of_card(CARDS["a100"], d)).seconds for d in (256, 512))
    assert two > one


def test_passes_are_counted_as_the_code_makes_them():
    free = {
        name: 0.0
        for name in ("fresh", "exact", "nearest", "shares", "moments", "mapped", "basis", "checked")
    }
    lists = replace(CPU, **free, lists=1e-9, read=0.0, stored={})
    assert plan(1e4, 2e4, 256, costs=lists).seconds == pytest.approx(4 * 2e8 * 1e-9)
    sweeps = replace(lists, lists=0.0, fresh=1e-9)
    # 15 for the temperature, 30 for the fit that serves both directions.
    assert plan(2e4, 2e4, 256, costs=sweeps).seconds == pytest.approx(45 * 4e8 * 1e-9)
    # Few queries have marginals of their own, so that each direction has its own fit.
    assert plan(1e4, 2e4, 256, costs=sweeps).seconds == pytest.approx(2 * 45 * 2e8 * 1e-9)


def test_data_sheets_are_called_estimates():
    assert any(
        "not measured" in note
        for note in plan(1e6, 1e6, 512, costs=of_card(CARDS["h200"], 512)).notes
    )


def test_nonsense_is_refused():
    with pytest.raises(RerankError, match="positive"):
        plan(0, 10, 10, costs=CPU)


def test_every_pass_of_this_machine_is_timed(monkeypatch):
    monkeypatch.setattr(rates, "TIMED", (64, 128))
    found = rates.measure(16)
    numbers = [found.lists, found.nearest, found.fresh, found.exact, found.shares]
    numbers += [found.moments, found.mapped, found.read, *sum(found.stored.values(), ())]
    assert min(numbers) > 0 and found.measured


def test_the_command(tmp_path, monkeypatch):
    monkeypatch.setattr(rates, "measure", lambda dim: CPU)
    args = ("plan", "--queries", "1e6", "--gallery", "1e6", "--dim", "512", "--devices", "8")
    found = json.loads(run(*args, "--hardware", "h200", "--json", cwd=tmp_path)[0])
    assert found["fits"] and found["total_seconds"] > 0 and found["regime"] == "streaming"
    text, _ = run(*args, cwd=tmp_path)
    assert "Sinkhorn" in text and "total" in text and "--hardware h200" in text
    _, err = run(*args, "--hardware", "abacus", cwd=tmp_path, code=2)
    assert "abacus" in err
