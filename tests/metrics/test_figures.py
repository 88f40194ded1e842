"""Figures by name agree with the tools that define them; ties and grades follow their rules."""

import json
import os
import re
import subprocess
import sys
from itertools import permutations
from pathlib import Path

import ir_measures
import numpy as np
import pytest

from rerank.core.errors import RerankError
from rerank.core.similarity import Dense
from rerank.metrics import ranks as metrics
from rerank.metrics.figures import find, find_all, known, split
from rerank.metrics.judge import evaluate, judge

# Of ir_measures: what it computes with its usual installation.
NAMES = [
    "RR", "RR@3", "RR(rel=2)", "AP", "AP@5", "AP(rel=3)", "AP(judged_only=True)", "nDCG",
    "nDCG@10", "nDCG(judged_only=True)@5", "nDCG(gains={2:5,3:9})@10", "P@5", "P(rel=2)@1",
    "P@40", "Recall@3", "Success@5", "Success(rel=2)@3", "Rprec", "Rprec(rel=2)", "Bpref",
    "Bpref(rel=2)", "Judged@10", "SetP", "SetP(relative=True)", "SetR", "SetF", "SetAP", "infAP",
    "IPrec@0.1", "Compat", "Accuracy", "RR(judged_only=True)",
]  # fmt: skip
SUMS = ["NumRet", "NumRet(rel=1)", "NumRel", "NumQ"]


@pytest.fixture(scope="module")
def case():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(50, 40))
    return scores, [np.sort(rng.choice(40, rng.integers(1, 5), replace=False)) for _ in scores]


@pytest.fixture(scope="module")
def graded(case):
    """Grades 1 to 3 of the positives, some zeros, and some below zero."""
    rng = np.random.default_rng(1)
    grades = {}
    for query, right in enumerate(case[1]):
        grades[query] = {int(j): int(rng.integers(1, 4)) for j in right}
        others = rng.choice(np.setdiff1d(np.arange(40), right), 6, replace=False)
        grades[query] |= {int(j): 0 for j in others}
    return grades


def as_run(scores):
    return {
        str(i): {f"d{j}": float(value) for j, value in enumerate(row)}
        for i, row in enumerate(scores)
    }


def as_qrels(grades):
    return {str(i): {f"d{j}": g for j, g in known.items()} for i, known in grades.items()}


def figures_of(scores, positives, names, **options):
    return judge(Dense(scores), positives, figures=find_all(names), **options).table()


@pytest.mark.parametrize("name", [*NAMES, *SUMS])
def test_every_measure_is_that_of_ir_measures_on_the_whole_run(case, graded, name):
    measure = ir_measures.parse_measure(name)
    expected = ir_measures.calc_aggregate([measure], as_qrels(graded), as_run(case[0]))[measure]
    found = figures_of(*case, [name], grades=graded)[name]
    assert found == pytest.approx(expected * (1 if name in SUMS else 100), abs=1e-9)


def test_measures_asked_for_together_are_those_asked_for_alone(case, graded, monkeypatch):
    usual = ir_measures.iter_calc

    def unmixed(measures, qrels, run):
        # In an order that changes with Python's hashes it would take gains of one for grades.
        assert len({str(measure.params.get("gains")) for measure in measures}) == 1
        return usual(measures, qrels, run)

    monkeypatch.setattr(ir_measures, "iter_calc", unmixed)
    together = figures_of(*case, NAMES, grades=graded)
    for name in NAMES:
        assert together[name] == pytest.approx(figures_of(*case, [name], grades=graded)[name])


@pytest.mark.parametrize("name", ["ERR@10", "ERR@40", "nDCG(dcg='exp-log2')@10"])
def test_graded_figures_are_those_of_gdeval(case, graded, name):
    measure = ir_measures.parse_measure(name)
    try:
        expected = ir_measures.calc_aggregate([measure], as_qrels(graded), as_run(case[0]))
    except (ValueError, RuntimeError):
        pytest.skip("no perl")
    found = figures_of(*case, [name], grades=graded)[name]
    assert found == pytest.approx(100 * expected[measure], abs=1e-3)  # gdeval prints five digits


def test_rank_biased_precision_by_hand():
    scores, grades = np.array([[4.0, 3.0, 2.0, 1.0]]), {0: {0: 2, 1: 0, 2: 1}}
    found = figures_of(scores, [[0, 2]], ["RBP(p=0.5,rel=1)", "RBP(p=0.5,rel=2)"], grades=grades)
    assert list(found.values()) == pytest.approx([100 * (0.5 + 0.125), 50])
    assert figures_of(scores, [[0, 2]], ["RBP"])["RBP"] == pytest.approx(100 * 0.2 * (1 + 0.64))
    with pytest.raises(RerankError, match=r"as in RBP\(rel=1\)"):
        figures_of(scores, [[0, 2]], ["RBP"], grades=grades)


@pytest.mark.parametrize("unit", [0.1, 0.25, 1e-3, 1 / 3])
def test_grades_need_not_be_whole(case, graded, unit):
    """Gains of shopping queries are 1, .1 and .01; cut to whole grades they would be 1, 0 and 0."""
    scaled = {i: {j: unit * g for j, g in known.items()} for i, known in graded.items()}
    names = ["nDCG@10", "nDCG", "AP", "P@5", "RR", "Bpref"]
    want, found = (figures_of(*case, names, grades=grades) for grades in (graded, scaled))
    for name in names:
        assert found[name] == pytest.approx(want[name], abs=1e-4), name
    shares = {i: {j: min(1.0, 0.3 * g) for j, g in known.items()} for i, known in graded.items()}
    right = []
    for scores, positives in zip(case[0], case[1], strict=True):
        known = shares[len(right)]
        gains = np.array([known.get(j, 1.0 if j in positives else 0.0) for j in range(len(scores))])
        cut = 1 / np.log2(np.arange(10) + 2)
        right.append(gains[np.argsort(-scores)[:10]] @ cut / (np.sort(gains)[::-1][:10] @ cut))
    assert figures_of(*case, ["nDCG@10"], grades=shares)["nDCG@10"] == pytest.approx(
        100 * np.mean(right), abs=1e-3
    )


@pytest.mark.parametrize("named", [False, True])
def test_a_dict_of_grades_is_one_in_python_too(case, graded, named):
    """What is judged and not right was counted as right, and grades were dropped."""
    scores, n = case[0], len(case[0])
    names = {}
    given = graded
    if named:
        names = {"query_ids": [f"t{i}" for i in range(n)],
                 "gallery_ids": [f"v{j}" for j in range(scores.shape[1])]}  # fmt: skip
        given = {f"t{i}": {f"v{j}": g for j, g in known.items()} for i, known in graded.items()}
    rows = {i: [j for j, g in known.items() if g > 0] for i, known in graded.items()}
    figures = ["R@1", "nDCG@10"]
    want = evaluate(scores, [rows[i] for i in range(n)], grades=graded, figures=figures)
    found = evaluate(scores, given, figures=figures, **names)
    for name in figures:
        assert found["t2v"][name] == want["t2v"][name] and found["v2t"][name] == want["v2t"][name]
    first = next(iter(given))
    with pytest.raises(RerankError, match="has no grades, and others have"):
        evaluate(scores, {**given, first: list(given[first])}, figures=figures, **names)
    with pytest.raises(RerankError, match="'good' is not a grade; expected a number"):
        evaluate(scores, {**given, first: dict.fromkeys(given[first], "good")}, **names)


@pytest.mark.parametrize("name", ["AP(rel=2)", "P(rel=2)@5", "nDCG(gains={0:0,1:1})@5"])
def test_what_counts_whole_grades_says_so(case, graded, name):
    halves = {i: {j: 0.5 * g for j, g in known.items()} for i, known in graded.items()}
    with pytest.raises(RerankError, match="counts whole grades.* such as [0-9.]+; use nDCG@10"):
        figures_of(*case, [name], grades=halves)


def test_grades_change_graded_figures_and_no_recall(case, graded):
    names = ["R@1", "MdR", "nDCG@10", "P@5"]
    binary, with_grades = figures_of(*case, names), figures_of(*case, names, grades=graded)
    assert with_grades["nDCG@10"] != pytest.approx(binary["nDCG@10"], abs=0.1)
    for name in ("R@1", "MdR", "P@5"):
        assert with_grades[name] == binary[name]


def test_grades_are_turned_around_for_the_other_direction(case, graded):
    scores, positives = case
    both = evaluate(scores, positives, figures="nDCG@10", grades=graded)
    turned = {}
    for query, items in graded.items():
        for item, grade in items.items():
            turned.setdefault(item, {})[query] = grade
    judged = {item: known for item, known in turned.items() if any(g > 0 for g in known.values())}
    measure = ir_measures.parse_measure("nDCG@10")
    expected = ir_measures.calc_aggregate([measure], as_qrels(judged), as_run(scores.T))[measure]
    assert both["v2t"]["nDCG@10"] == pytest.approx(100 * expected)


def test_negative_grades_are_kept_and_count_as_wrong(case, graded):
    lowered = {q: {j: g or -2 for j, g in items.items()} for q, items in graded.items()}
    for name in ("nDCG@10", "AP", "P@5", "ERR@10"):
        expected = figures_of(*case, [name], grades=graded)[name]
        assert figures_of(*case, [name], grades=lowered)[name] == pytest.approx(expected)


@pytest.mark.slow
def test_agreement_with_ranx_also_of_the_recalls(case):
    ranx = pytest.importorskip("ranx")
    scores, positives = case
    qrels = as_qrels({i: dict.fromkeys(map(int, rows), 1) for i, rows in enumerate(positives)})
    names = ["mrr", "map", "ndcg@10", "hit_rate@1", "hit_rate@5", "hit_rate@10"]
    expected = ranx.evaluate(ranx.Qrels(qrels), ranx.Run(as_run(scores)), names)
    ours = figures_of(*case, ["MRR", "MAP", "nDCG@10", "R@1", "R@5", "R@10"])
    np.testing.assert_allclose(list(ours.values()), [100 * expected[name] for name in names])


def test_figures_of_ranks_agree_with_their_definitions(case):
    ranks = metrics.ranks(Dense(case[0]), case[1])
    found = figures_of(*case, "R@1,R@5,R@10,R@3,MdR,MnR,RSum,geo")
    recalls = [100 * (ranks.values <= k).mean() for k in (1, 5, 10)]
    assert [found[f"R@{k}"] for k in (1, 5, 10)] == pytest.approx(recalls)
    assert found["RSum"] == pytest.approx(sum(recalls))
    assert found["geo"] == pytest.approx(np.prod(recalls) ** (1 / 3))
    assert (found["MdR"], found["MnR"]) == (np.median(ranks.values), ranks.values.mean())


def test_ties_follow_the_policy():
    scores, right = np.array([[1.0, 1.0, 1.0, 0.0, 1.0]]), [np.array([1, 3])]
    reciprocal = [
        1 / (1 + order.index(1)) for order in permutations([0, 1, 2, 4])
    ]  # the positive among the four that tie
    found = {
        ties: figures_of(scores, right, ["MRR"], ties=ties)["MRR"] / 100
        for ties in ("expected", "optimistic", "pessimistic")
    }
    assert found["optimistic"] == max(reciprocal)
    assert found["pessimistic"] == min(reciprocal)
    assert found["expected"] == pytest.approx(np.mean(reciprocal), abs=0.12)
    average = figures_of(np.repeat(scores, 400, axis=0), right * 400, ["MRR"])["MRR"] / 100
    assert average == pytest.approx(np.mean(reciprocal), abs=0.005)


def test_a_cutoff_keeps_what_ties_at_the_cut():
    scores, right = np.array([[2.0, 1.0, 1.0, 1.0]]), [np.array([3])]
    assert figures_of(scores, right, ["MRR@2"], ties="optimistic")["MRR@2"] == 50
    assert figures_of(scores, right, ["MRR@2"], ties="pessimistic")["MRR@2"] == 0


def test_unjudged_queries_are_left_out(case):
    scores, positives = case
    some = [items if i % 2 else np.empty(0, dtype=int) for i, items in enumerate(positives)]
    parts = judge(Dense(scores), some, figures=find_all("MAP")).parts["MAP"]
    whole = judge(Dense(scores), positives, figures=find_all("MAP")).parts["MAP"]
    np.testing.assert_allclose(parts, whole[1::2])


def test_evaluate_gives_what_is_asked_for_and_rounds_what_it_prints(case):
    table = evaluate(*case, figures=["nDCG@10", "R@3"])
    expected = figures_of(*case, ["nDCG@10"])["nDCG@10"]
    assert table["t2v"]["nDCG@10"] == expected
    assert list(table["t2v"])[:2] == ["nDCG@10", "R@3"]
    for text in (repr(table), str(table), table._repr_html_()):
        assert f"{expected:.1f}" in text and f"{expected:.4f}" not in text


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nDCG@ten", "a name of ir_measures"),
        ("recal@5", "did you mean 'R@5'"),
        ("R@0", "whole number of at least 1"),
        ("R@", "whole number of at least 1"),
        ("alpha_nDCG@10", "about subtopics"),
        ("P", "write P@10"),
        ("INST", "is not computed here"),
        ("INST(max_rel=3)", "is not computed here"),
        ("IPrec", "write IPrec@0.1"),
        ("STREC@5", "a name of ir_measures"),
        ("__import__('os')", "a name of ir_measures"),
    ],
)
def test_what_cannot_be_computed_says_why_in_one_line(name, said):
    with pytest.raises(RerankError) as error:
        find(name)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_no_figure_is_refused_after_the_way_out_of_its_refusal():
    for name in sorted(ir_measures.measures.registry):
        try:
            find(name)
        except RerankError as error:
            way = re.search(r"write (\S+)$|use (.*?)( instead)?$|needs (\S+) in", str(error))
            assert way and not way[4], error
            for figure in re.split(", | or ", way[1] or way[2]):
                find(figure)


def test_what_is_undefined_for_a_query_is_refused(case):
    with pytest.raises(RerankError, match="Accuracy@5: is not defined for a query without"):
        figures_of(*case, ["Accuracy@5"])
    with pytest.raises(RerankError, match="Accuracy: ir_measures cannot compute"):
        figures_of(np.array([[2.0, 1.0]]), [[0, 1]], ["Accuracy"])


def test_names_are_one_vocabulary():
    assert [one.name for one in find_all("r@5, R@05,mdr,MedR,RSum")] == ["R@5", "MdR", "RSum"]
    assert split("AP(rel=2,judged_only=True),R@1") == ["AP(rel=2,judged_only=True)", "R@1"]
    assert {"R@k", "MdR", "MnR", "RSum", "geo"} <= {name for name, _ in known()}
    with pytest.raises(RerankError, match="figures: got none"):
        find_all(" , ")


def test_the_mid_rank_is_no_order(case):
    with pytest.raises(RerankError, match="'mid' is a rank"):
        figures_of(*case, ["MAP"], ties="mid")


PLUGIN = """
import numpy as np
import rerank

@rerank.figure("rSum", help="R@1 + R@5 + R@10 of one direction", digits=2)
def rsum(ranks):
    return 100 * (ranks.hits(1) + ranks.hits(5) + ranks.hits(10))

@rerank.figure("top@k", help="share of the first k grades", sees="ranking")
def top(grades, k):
    return float(np.nansum(grades[:k]))
"""


TWICE = """
import json, sys
from rerank_cli import app
for line in json.loads(sys.argv[1]):
    sys.argv = ["rerank", *line]
    try:
        app.main()
    except SystemExit as left:
        if left.code:
            raise
"""


@pytest.mark.slow
def test_a_figure_of_ones_own_works_everywhere(tmp_path):
    (tmp_path / "own_figures.py").write_text(PLUGIN)
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(12, 12)) + np.eye(12)
    ids = [np.array([f"{side}{i}" for i in range(12)]) for side in "tv"]
    np.savez(tmp_path / "sims.npz", scores=scores, query_ids=ids[0], gallery_ids=ids[1])
    (tmp_path / "gt.json").write_text(json.dumps({f"t{i}": f"v{i}" for i in range(12)}))
    root = str(Path(__file__).resolve().parents[2])
    environment = os.environ | {
        "RERANK_PLUGINS": "own_figures",
        "PYTHONPATH": os.pathsep.join([str(tmp_path), root]),
    }

    files = ["--sims", "sims.npz", "--gt", "gt.json", "--figures", "rSum,top@3,R@1"]
    page = tmp_path / "page.html"
    lines = [
        ["eval", *files],
        ["eval", *files, "--json", "--report", "eval.html"],
        ["compare", *files, "--methods", "csls", "--format", "json", "--report", str(page)],
    ]
    done = subprocess.run(
        [sys.executable, "-c", TWICE, json.dumps(lines)], cwd=tmp_path, env=environment,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    *typed, judged, compared = done.stdout.splitlines()
    judged, compared = json.loads(judged), json.loads(compared)
    expected = figures_of(scores, np.arange(12), "RSum,R@1")
    found = judged["before"]["t2v"]
    assert found["rSum"] == pytest.approx(expected["RSum"])
    assert "top@3" in found
    row = compared["tables"][0]["rows"][0]
    assert row["rSum"] == pytest.approx(expected["RSum"]) and "rSum" in row["intervals"]
    shown = f"{expected['RSum']:.2f}"
    assert any("rSum" in line for line in typed) and any(shown in line for line in typed)
    for path in (page, tmp_path / "eval.html"):
        assert "rSum" in path.read_text() and shown in path.read_text()
    helped = subprocess.run(
        [sys.executable, "-m", "rerank_cli", "eval", "--help"], cwd=tmp_path, env=environment,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "RSum, geo, rSum, top@k;" in " ".join(helped.stdout.split())


@pytest.mark.parametrize("name", ["R(rel=2)@5", "R(judged_only=True)@5"])
def test_a_recall_of_another_meaning_than_that_of_the_table_is_refused(name):
    with pytest.raises(RerankError, match="the share of queries that find a right item") as caught:
        find(name)
    for other in (f"Success{name[1:]}", f"Recall{name[1:]}"):
        assert f"{other} for the " in str(caught.value) and find(other).name == other
