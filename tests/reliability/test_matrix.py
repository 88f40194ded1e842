"""The matrix: a few cases of every row in each run, more of them among the slow tests."""

import pytest

from tests.reliability import rows
from tests.reliability.matrix import ROWS, Case, Row, chosen, run, sample_seed

assert rows  # which declares them


def look(which, count, record_property, *, costly=True):
    tally = run(which, count=count, seed=sample_seed(), costly=costly)
    record_property("reliability", tally.line())
    assert not tally.failed, "\n".join([f"{len(tally.failed)} failed:", *tally.failed[:20]])
    assert tally.tried


@pytest.mark.parametrize("title", ROWS)
def test_a_few_cases_hold(title, record_property):
    look(ROWS[title], ROWS[title].quick, record_property, costly=False)


@pytest.mark.slow
@pytest.mark.parametrize("title", ROWS)
def test_many_cases_hold(title, record_property):
    look(ROWS[title], ROWS[title].slow, record_property)


def test_what_fails_is_counted_and_named():
    def wrong(_):
        raise ValueError("no")

    found = run(Row("r", "h", lambda: [Case("good", lambda _: None), Case("bad", wrong)], 1))
    assert found.tried == 2 and [text.partition(":")[0] for text in found.failed] == ["bad"]


def test_the_same_seed_chooses_the_same_cases():
    cases = [Case(str(number), print) for number in range(100)]
    first, again, other = (chosen(cases, 10, seed) for seed in (1, 1, 2))
    assert first == again != other and len(set(first)) == 10
