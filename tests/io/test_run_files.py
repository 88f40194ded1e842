"""Rankings of other tools are read as they are meant."""

import json

import numpy as np
import pytest

from rerank.core.errors import FormatError
from rerank.io import DirectionResult, read_rankings, write_results, write_topk

WANT = {"q1": ("b", "a"), "q2": ("c", "b")}
SCORES = {"q1": (0.9, 0.5), "q2": (0.8, -0.1)}
ROWS = [(q, i, s) for q in WANT for i, s in zip(WANT[q], SCORES[q], strict=True)]


def trec(path):
    path.write_text("".join(f"{q}\tQ0 {i} 7 {s} tag\n" for q, i, s in reversed(ROWS)))


def ranx(path):
    path.write_text(json.dumps({q: {i: s for p, i, s in reversed(ROWS) if p == q} for q in WANT}))


def names(path):
    path.write_text(json.dumps(WANT))


def nested(path):
    path.write_text(json.dumps({q: [[i, s] for p, i, s in ROWS if p == q] for q in WANT}))


def records(path):
    path.write_text(
        json.dumps([{"query_id": q, "doc_id": i, "score": s} for q, i, s in reversed(ROWS)])
    )


def lines(path):
    path.write_text(
        "".join(json.dumps({"qid": q, "hits": [{"id": i} for i in WANT[q]]}) + "\n" for q in WANT)
    )


def table(path):
    path.write_text("q_id,gallery_id,rank\nq1,a,2\nq1,b,1\nq2,c,1\nq2,b,2\n")


def tabs(path):
    path.write_text("query\tvideo\tscore\n" + "".join(f"{q}\t{i}\t{s}\n" for q, i, s in ROWS))


def frame(path):
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    columns = {"q_id": [r[0] for r in ROWS], "doc_id": [r[1] for r in ROWS],
               "score": [r[2] for r in ROWS]}  # fmt: skip
    parquet.write_table(arrow.table(columns), path)


FOREIGN = {
    "run.trec": trec, "run.txt": trec, "ranx.json": ranx, "names.json": names, "n.json": nested,
    "records.json": records, "lines.jsonl": lines, "table.csv": table, "tabs.tsv": tabs,
    "ranx.parquet": frame,
}  # fmt: skip


@pytest.mark.parametrize("name", FOREIGN)
def test_a_foreign_ranking_is_read_best_first(tmp_path, name):
    FOREIGN[name](tmp_path / name)
    (found,) = read_rankings(tmp_path / name)
    assert dict(zip(found.query_ids, found.items, strict=True)) == WANT
    assert found.direction == "" and found.depth == 2
    assert all((np.diff(line) < 0).all() for line in found.scores)


@pytest.mark.parametrize("ending", ["h5", "json", "jsonl", "parquet", "trec"])
def test_our_own_files_are_read_back(tmp_path, ending):
    own = DirectionResult(
        ("q1", "q2"), ("a", "b", "c"), np.array([[1, 0], [2, 1]]),
        np.array([[0.9, 0.5], [0.8, -np.inf]]), label="inductive",
    )  # fmt: skip
    path = tmp_path / f"own.{ending}"
    if ending == "h5":
        write_results(path, directions={"v2t": own}, manifest={})
    else:
        if ending == "parquet":
            pytest.importorskip("pyarrow")
        write_topk(path, {"v2t": own})
    (found,) = read_rankings(path)
    assert found.items == (("b", "a"), ("c",))
    assert found.direction == ("" if ending == "trec" else "v2t")


WRONG = {
    "empty.json": ("{}", "holds no ranking.*expected a TREC run"),
    "words.txt": ("a b c\n", "line 1 has 3 columns.*expected a TREC run"),
    "nan.trec": ("q Q0 a 1 nan t\n", "'a'.*expected a number"),
    "word.json": ('{"q": {"a": "high"}}', "'high'"),
    "twice.json": ('{"q": ["a", "a"]}', "lists 'a' twice"),
    "columns.csv": ("x,y\n1,2\n", "its fields are 'x', 'y'"),
    "side.jsonl": ('{"direction": "up", "query": "q", "ids": ["a"]}\n', "'up'.*t2v or v2t"),
    "uneven.json": ('[{"query": "q", "ids": ["a"], "scores": [1, 2]}]', "1 ids and 2 scores"),
    "flat.json": ('{"q": 3}', "'q' has no list"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_ranking_gets_one_clear_line(tmp_path, name):
    content, words = WRONG[name]
    (tmp_path / name).write_text(content)
    with pytest.raises(FormatError, match=words) as caught:
        read_rankings(tmp_path / name)
    assert "\n" not in str(caught.value) and name in str(caught.value)
