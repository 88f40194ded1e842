"""Top-K lists in the formats of other tools."""

import dataclasses
import json

import numpy as np
import pytest

from rerank.core.errors import RerankError
from rerank.io import DirectionResult, write_topk, write_trec_run
from rerank.io.rankings import strictly_falling
from tests.io.test_results import TEXTS, VIDEOS, both


def exported(tmp_path, name, **options):
    write_topk(tmp_path / name, both(), **options)
    return tmp_path / name


def test_json(tmp_path):
    found = json.loads(exported(tmp_path, "t.json").read_text(encoding="utf-8"))
    result = both()["t2v"]
    assert set(found) == {"t2v", "v2t"} and list(found["t2v"]) == list(TEXTS)
    best = found["t2v"]["日本"][0]
    assert best["id"] == VIDEOS[result.indices[3, 0]]
    assert best["score"] == float(result.scores[3, 0])


def test_json_lines(tmp_path):
    lines = [json.loads(line) for line in exported(tmp_path, "t.jsonl").open(encoding="utf-8")]
    assert len(lines) == len(TEXTS) + len(VIDEOS)
    assert lines[2]["query"] == "t/2" and lines[2]["direction"] == "t2v"
    assert lines[2]["ids"] == [VIDEOS[i] for i in both()["t2v"].indices[2]]


def test_parquet(tmp_path):
    pytest.importorskip("pyarrow")
    from pyarrow.parquet import read_table

    path = exported(tmp_path, "t.parquet")
    rows = read_table(path).to_pylist()
    assert len(rows) == 2 * (len(TEXTS) + len(VIDEOS))
    result = both()["t2v"]
    assert rows[5] == {
        "direction": "t2v", "query_id": "t/2", "rank": 2,
        "gallery_id": VIDEOS[result.indices[2, 1]], "score": float(result.scores[2, 1]),
    }  # fmt: skip
    again = exported(tmp_path, "u.parquet")
    assert path.read_bytes() == again.read_bytes()


def test_a_trec_run_ranks_ties_as_we_do(tmp_path):
    tied = DirectionResult(
        ("q",), ("a", "b", "c", "d"), np.array([[2, 0, 3, 1]]), np.array([[1.0, 1.0, 1.0, -np.inf]])
    )
    write_trec_run(tmp_path / "t.run", tied)
    cells = [line.split() for line in (tmp_path / "t.run").read_text().splitlines()]
    assert [(c[0], c[1], c[2], c[3], c[5]) for c in cells] == [
        ("q", "Q0", item, str(rank), "rerank") for rank, item in enumerate("cad", start=1)
    ]
    scores = np.array([c[4] for c in cells], dtype=np.float32)
    assert (np.diff(scores) < 0).all() and np.allclose(scores, 1)


def test_strictly_falling_changes_only_what_does_not_fall():
    rng = np.random.default_rng(0)
    scores = -np.sort(-rng.normal(size=(20, 50)).round(1), axis=1)
    scores[3] = 0
    falling = strictly_falling(scores)
    assert falling.dtype == np.float32 and (np.diff(falling) < 0).all()
    np.testing.assert_allclose(falling, scores, atol=1e-5)
    distinct = -np.arange(12.0).reshape(2, 6)
    np.testing.assert_array_equal(strictly_falling(distinct), distinct)


def test_exports_that_cannot_be(tmp_path):
    with pytest.raises(RerankError, match="one direction"):
        write_topk(tmp_path / "t.trec", both())
    with pytest.raises(RerankError, match=r"\.xyz.*\.jsonl"):
        write_topk(tmp_path / "t.xyz", both())
    with pytest.raises(RerankError, match="'up'"):
        write_topk(tmp_path / "t.json", both(), direction="up")
    spaced = dataclasses.replace(both()["t2v"], query_ids=("a", "b c", "d", "e"))
    with pytest.raises(RerankError, match="'b c'.*white space"):
        write_topk(tmp_path / "t.trec", {"t2v": spaced})
    assert list(tmp_path.iterdir()) == []
