"""Columns beside a named table of scores that are no items."""

import csv
import json
import re
import shlex

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from tests.cli.test_cli import run

N, M = 30, 10
RNG = np.random.default_rng(5)
RIGHT = np.arange(N) % M
SIMS = RNG.normal(size=(N, M))
SIMS[np.arange(N), RIGHT] += 2
NUMBERED = [f"video{7 * j + 3}" for j in range(M)]
CODES = ["mv8_33_46", "4wsuPCjDBc_5_15", "-abQ_1_2", "_x9", "Zz-18_0_9", "k2", "3f0", "B_c-7",
         "99-a", "ooP1_77"]  # fmt: skip
WORDS = ["cat", "dog", "rain", "thunder", "siren", "drum", "choir", "engine", "bell", "wind"]
EXTRA = {
    "gt": RIGHT, "argmax": SIMS.argmax(1), "label": RIGHT, "length": np.arange(N) % 7 + 5,
    "max": SIMS.max(1), "mean": SIMS.mean(1), "gt_score": SIMS[np.arange(N), RIGHT],
    "category": np.arange(N) % 3, "entropy": RNG.random(N),
}  # fmt: skip


def keep(path, names, **more):
    columns = dict(zip(names, SIMS.T, strict=True)) | more
    texts = [f"t{i}" for i in range(N)]
    if path.suffix == ".parquet":
        floats = {name: np.asarray(x, float) for name, x in columns.items()}
        pyarrow.parquet.write_table(pyarrow.table({"text_id": texts, **floats}), path)
        return path
    with path.open("w", newline="") as out:
        rows = csv.writer(out, delimiter="\t" if path.suffix == ".tsv" else ",")
        rows.writerow(["text_id", *columns])
        rows.writerows(zip(texts, *(x.tolist() for x in columns.values()), strict=True))
    return path


def truth(folder, names, grade=None):
    pairs = [{"query_id": f"t{i}", "video_id": names[j]} for i, j in enumerate(RIGHT)]
    if grade is not None:
        pairs = [{**pair, "relevance": 1} for pair in pairs]
        pairs.append({"query_id": "t0", "video_id": grade, "relevance": 0})
    (folder / "gt.json").write_text(json.dumps(pairs))
    return ("--gt", "gt.json", "--json")


def right(out):
    return json.loads(out)["before"]["t2v"]["R@1"]


FIRST = 100 * np.mean(SIMS.argmax(1) == RIGHT)


@pytest.mark.parametrize("name", EXTRA)
@pytest.mark.parametrize("names", [NUMBERED, CODES, WORDS])
def test_a_column_that_is_no_item_is_refused(tmp_path, monkeypatch, names, name):
    gt = truth(tmp_path, names)
    ending = ("csv", "tsv", "parquet")[len(name) % 3]
    keep(tmp_path / f"s.{ending}", names, **{name: EXTRA[name]})
    if names is WORDS and name == "entropy":
        run("eval", "--sims", f"s.{ending}", *gt, cwd=tmp_path)  # may be one
        return
    _, said = run("eval", "--sims", f"s.{ending}", *gt, cwd=tmp_path, code=2)
    assert f"its column '{name}' stands among those of the items" in said
    monkeypatch.chdir(tmp_path)
    line = re.search(r"(\S*python -c '[^']*')", said)[1]
    exec(shlex.split(line)[2], {})  # noqa: S102  our own line
    out, _ = run("eval", "--sims", f"s.cut.{ending}", *gt, cwd=tmp_path)
    assert right(out) == pytest.approx(FIRST)
    way = re.search(r"rerank (convert \S+ \S+ --what scores), and give s.h5", said)[1]
    run(*way.split(), cwd=tmp_path)
    out, _ = run("eval", "--sims", "s.h5", *gt, cwd=tmp_path)
    assert json.loads(out)["distractors"] == 1


@pytest.mark.parametrize(
    ("names", "more"),
    [
        (NUMBERED, ["video9999"]), (NUMBERED, ["extra_1", "extra_2"]), (CODES, ["Qwe_1_4", "zz"]),
        (WORDS, ["horn", "class bell"]), (WORDS, ["label"]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["usual", "zeros", "twice"])
def test_items_that_no_pair_names_stay(tmp_path, names, more, kind):
    columns = {"usual": RNG.normal(size=N) - 3, "zeros": np.zeros(N), "twice": SIMS[:, 1]}
    keep(tmp_path / "s.csv", names, **dict.fromkeys(more, columns[kind]))
    out, said = run("eval", "--sims", "s.csv", *truth(tmp_path, names), cwd=tmp_path)
    assert json.loads(out)["distractors"] == len(more)
    assert "its column" not in said


def test_an_item_that_is_named_with_a_grade_of_nothing_stays(tmp_path):
    keep(tmp_path / "s.csv", NUMBERED, intro=RNG.normal(size=N) - 3)
    gt = truth(tmp_path, NUMBERED, grade="intro")
    out, _ = run("eval", "--sims", "s.csv", *gt, cwd=tmp_path)
    assert right(out) == pytest.approx(FIRST)


def test_without_a_ground_truth_it_is_said(tmp_path):
    keep(tmp_path / "s.csv", NUMBERED, gt=RIGHT)
    _, said = run("apply", "--sims", "s.csv", "--out", "r.h5", cwd=tmp_path)
    assert "its column 'gt' stands among those of the items" in said
