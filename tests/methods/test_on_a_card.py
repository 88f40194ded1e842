"""Every method and every verb does its work where the numbers lie: on a card that is pretended."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.card import ABSENT

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(ABSENT, reason="this torch lets no one pretend a device")
def test_numbers_of_two_devices_do_not_meet():
    done = subprocess.run(
        [sys.executable, ROOT / "tests" / "card.py"], capture_output=True, text=True, timeout=900,
        check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found) > 40
    assert {name: said for name, said in found.items() if said} == {}
