"""Right items in arrays and lists: what says one thing is read, the rest is asked about."""

import re

import numpy as np
import pytest
import torch

import rerank
from rerank import RerankError

RNG = np.random.default_rng(0)
N = 12
SCORES = RNG.normal(size=(N, N))
RIGHT = RNG.permutation(N)
ONE_HOT = np.arange(N)[None] == RIGHT[:, None]
GRADES = ONE_HOT * 3 + (np.arange(N)[None] == (RIGHT[:, None] + 1) % N)
PAIRS = np.c_[np.arange(N), RIGHT]
WANTED = rerank.evaluate(SCORES, RIGHT)
MANY = RNG.normal(size=(3 * N, N))
OWNER = np.repeat(np.arange(N), 3)

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")


@pytest.mark.parametrize(
    "given",
    [
        ONE_HOT, ONE_HOT.tolist(), ONE_HOT.astype(int), ONE_HOT.astype("u1"), ONE_HOT * 1.0,
        ONE_HOT.astype(int).tolist(), list(ONE_HOT.astype(int)), torch.tensor(ONE_HOT * 1),
        torch.tensor(ONE_HOT * 1.0), tuple(map(tuple, ONE_HOT * 1)),
        list(torch.tensor(ONE_HOT * 1)),
    ],
)  # fmt: skip
def test_a_matrix_of_0_and_1_says_which_are_right(given):
    assert rerank.evaluate(SCORES, given) == WANTED
    run = rerank.apply(scores=SCORES)
    assert run.evaluate(given).before == run.evaluate(RIGHT).before


def _ways(message):
    said = message.partition("; give ")[2]
    parts = re.split(r" for (pairs|items|grades|what is right)", said)
    return {what: code.removeprefix(" above 0").strip(", ").removeprefix("or ")
            for code, what in zip(parts[::2], parts[1::2], strict=False)}  # fmt: skip


@pytest.mark.parametrize(
    "given", [PAIRS, PAIRS.tolist(), list(map(tuple, PAIRS.tolist())), torch.tensor(PAIRS),
              PAIRS[RNG.permutation(N)], PAIRS[:, ::-1]],
)  # fmt: skip
def test_pairs_that_may_be_items_are_asked_about(given):
    with pytest.raises(RerankError, match="pairs of .* or the two right items") as error:
        rerank.apply(scores=SCORES).evaluate(given)
    ways = {what: eval(code, {"x": given}) for what, code in _ways(str(error.value)).items()}
    assert rerank.evaluate(SCORES, ways["pairs"]) == WANTED
    both = list(np.asarray(given))
    assert rerank.evaluate(SCORES, ways["items"]) == rerank.evaluate(SCORES, both)


@pytest.mark.parametrize("given", [GRADES, GRADES.tolist(), GRADES * 1.0, torch.tensor(GRADES)])
def test_grades_in_a_matrix_are_asked_about(given):
    with pytest.raises(RerankError, match="in the shape of the scores") as error:
        rerank.evaluate(SCORES, given)
    names = {"x": given, "np": np}
    ways = {what: eval(code, names) for what, code in _ways(str(error.value)).items()}
    rows = {i: {int(j): int(row[j]) for j in np.flatnonzero(row)} for i, row in enumerate(GRADES)}
    found, wanted = (
        rerank.evaluate(SCORES, given, figures="nDCG@5")["t2v"]["nDCG@5"]
        for given in (ways["grades"], rows)
    )
    assert found == wanted
    assert rerank.evaluate(SCORES, ways["what is right"]) == rerank.evaluate(SCORES, GRADES > 0)


@pytest.mark.parametrize("given", [np.c_[np.arange(3 * N), OWNER], np.c_[OWNER, np.arange(3 * N)]])
def test_pairs_that_can_be_no_items_are_pairs(given):
    assert rerank.evaluate(MANY, given) == rerank.evaluate(MANY, OWNER)


@pytest.mark.parametrize(
    "given",
    [
        [[1, 0]] + [[2, 5]] * (N - 1),  # two items of each
        [[i, (i + 1) % N] for i in RNG.integers(0, N, N)],
        [[i, i] for i in range(N)],  # both ways the same
        [np.array([i, (i + 1) % N]) for i in range(N)],  # as GroundTruth.positives
        [[0, 1, 2]] * N,
    ],
)
def test_item_numbers_stay_item_numbers(given):
    rows = {i: sorted(set(map(int, row))) for i, row in enumerate(given)}
    assert rerank.evaluate(SCORES, given) == rerank.evaluate(SCORES, rows)


def test_truth_values_of_two_items_are_asked_about():
    few = SCORES[:, :2]
    with pytest.raises(RerankError, match="say of each whether it is right, or are their numbers"):
        rerank.evaluate(few, [[0, 1], [1, 0]] * (N // 2))
    assert rerank.evaluate(few, [[0, 1]] * N) == rerank.evaluate(few, np.ones((N, 2), bool))


def test_more_pairs_than_queries_say_how_they_are_read():
    pairs = [*PAIRS.tolist(), [0, 3]]
    with pytest.raises(RerankError, match="of pairs of a query and its item give") as error:
        rerank.evaluate(SCORES, pairs)
    way = str(error.value).partition("give ")[2].partition(", with")[0]
    found = eval(way, {"pairs": pairs})
    assert found[0] == [RIGHT[0], 3] and len(found) == N
