"""MRR, MAP and nDCG agree with the tools that define them, and ties follow the policy."""

from itertools import permutations

import ir_measures
import numpy as np
import pytest

from rerank.core.errors import RerankError
from rerank.core.similarity import Dense
from rerank.metrics import ranks as metrics
from rerank.metrics.figures import ranked_measures
from rerank.metrics.judge import evaluate

NAMES = ["MRR", "MAP", "nDCG", "nDCG@10", "MRR@3", "P@5"]


@pytest.fixture(scope="module")
def case():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(50, 40))
    return scores, [np.sort(rng.choice(40, rng.integers(1, 5), replace=False)) for _ in scores]


def as_run(scores):
    return {
        f"q{i}": {f"d{j}": float(value) for j, value in enumerate(row)}
        for i, row in enumerate(scores)
    }


def as_qrels(positives):
    return {f"q{i}": {f"d{j}": 1 for j in items} for i, items in enumerate(positives)}


def test_agreement_with_ir_measures_on_the_whole_run(case):
    scores, positives = case
    found = ranked_measures(Dense(scores), positives, NAMES)
    measures = ["RR", "AP", "nDCG", "nDCG@10", "RR@3", "P@5"]
    expected = ir_measures.calc_aggregate(
        [ir_measures.parse_measure(name) for name in measures], as_qrels(positives), as_run(scores)
    )
    for name, measure in zip(NAMES, measures, strict=True):
        assert found[name].mean() / 100 == pytest.approx(
            expected[ir_measures.parse_measure(measure)]
        )


def test_agreement_with_ranx_also_of_the_recalls(case):
    ranx = pytest.importorskip("ranx")
    scores, positives = case
    names = ["mrr", "map", "ndcg@10", "hit_rate@1", "hit_rate@5", "hit_rate@10"]
    expected = ranx.evaluate(ranx.Qrels(as_qrels(positives)), ranx.Run(as_run(scores)), names)
    found = ranked_measures(Dense(scores), positives, ["MRR", "MAP", "nDCG@10"])
    ours = [found[name].mean() for name in ("MRR", "MAP", "nDCG@10")]
    table = metrics.summary(metrics.ranks(Dense(scores), positives))
    ours += [table[name] for name in ("R@1", "R@5", "R@10")]
    np.testing.assert_allclose(ours, [100 * expected[name] for name in names])


def test_ties_follow_the_policy():
    scores, right = np.array([[1.0, 1.0, 1.0, 0.0, 1.0]]), [np.array([1, 3])]
    reciprocal = [
        1 / (1 + order.index(1)) for order in permutations([0, 1, 2, 4])
    ]  # the positive among the four that tie
    found = {
        ties: ranked_measures(Dense(scores), right, ["MRR"], ties=ties)["MRR"][0] / 100
        for ties in ("expected", "optimistic", "pessimistic")
    }
    assert found["optimistic"] == max(reciprocal)
    assert found["pessimistic"] == min(reciprocal)
    assert found["expected"] == pytest.approx(np.mean(reciprocal), abs=0.12)
    many = np.repeat(scores, 400, axis=0)
    average = ranked_measures(Dense(many), right * 400, ["MRR"])["MRR"].mean() / 100
    assert average == pytest.approx(np.mean(reciprocal), abs=0.005)


def test_a_cutoff_keeps_what_ties_at_the_cut():
    scores, right = np.array([[2.0, 1.0, 1.0, 1.0]]), [np.array([3])]
    assert ranked_measures(Dense(scores), right, ["MRR@2"], ties="optimistic")["MRR@2"] == 50
    assert ranked_measures(Dense(scores), right, ["MRR@2"], ties="pessimistic")["MRR@2"] == 0


def test_unjudged_queries_are_left_out(case):
    scores, positives = case
    some = [items if i % 2 else np.empty(0, dtype=int) for i, items in enumerate(positives)]
    found = ranked_measures(Dense(scores), some, ["MAP"])["MAP"]
    whole = ranked_measures(Dense(scores), positives, ["MAP"])["MAP"]
    np.testing.assert_allclose(found, whole[1::2])


def test_evaluate_reports_them_beside_the_recalls(case):
    scores, positives = case
    table = evaluate(scores, positives, measures=["nDCG@10"], ks=(1, 3))
    expected = ranked_measures(Dense(scores), positives, ["nDCG@10"])["nDCG@10"].mean()
    assert table["t2v"]["nDCG@10"] == pytest.approx(expected)
    assert "R@3" in table["v2t"]


@pytest.mark.parametrize("name", ["nDCG@ten", "recall", "", "MRR@"])
def test_unknown_measures_are_refused(case, name):
    with pytest.raises(RerankError, match="expected a name of ir_measures"):
        ranked_measures(Dense(case[0]), case[1], [name])


def test_the_mid_rank_is_no_order(case):
    with pytest.raises(RerankError, match="'mid' is a rank"):
        ranked_measures(Dense(case[0]), case[1], ["MAP"], ties="mid")
