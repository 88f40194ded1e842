"""Pairs of several splits in one ground truth are asked about, never merged and never dropped."""

import csv
import json
import shlex

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rerank import io
from rerank.core.errors import FormatError
from rerank.io import read_ground_truth
from tests.cli.test_cli import run

V = [f"v{i}" for i in range(6)]
TRAIN, TEST = ["a0", "a1", "a2"], ["b0", "b1"]
PAIRS = {
    "train": dict(zip(TRAIN, V[:3], strict=True)),
    "test": dict(zip(TEST, V[3:], strict=False)),
}
RECORDS = [
    {"query_id": text, "video_id": video, "split": split}
    for split, pairs in PAIRS.items() for text, video in pairs.items()
]  # fmt: skip
BARE = {
    split: [{k: r[k] for k in ("query_id", "video_id")} for r in RECORDS if r["split"] == split]
    for split in PAIRS
}
IMAGES = [
    {"filename": f"{r['video_id']}.jpg", "split": r["split"],
     "sentences": [{"raw": "c", "sentid": r["query_id"]}]} for r in RECORDS
]  # fmt: skip
VIDEOS = [{"video_id": r["video_id"], "split": r["split"]} for r in RECORDS]
SENTENCES = [{"sen_id": r["query_id"], "video_id": r["video_id"], "caption": "c"} for r in RECORDS]


def table(path, mark, column):
    with path.open("w", newline="") as out:
        writer = csv.writer(out, delimiter=mark)
        writer.writerow([column, "query_id", "video_id"])
        writer.writerows([r["split"], r["query_id"], r["video_id"]] for r in RECORDS)


FORMS = {
    "parts.json": PAIRS,
    "lists.json": BARE,
    "described.json": {"info": {"year": 1}, **BARE},
    "inside.json": {"data": PAIRS},
    "records.json": RECORDS,
    "wrapped.json": {"version": "1", "annotations": RECORDS},
    "columns.json": {key: [r[key] for r in RECORDS] for key in RECORDS[0]},
    "karpathy.json": {"images": IMAGES},
    "msrvtt.json": {"videos": VIDEOS, "sentences": SENTENCES},
    "lines.jsonl": None, "comma.csv": None, "tab.tsv": None, "semicolon.csv": None,
    "t.parquet": None,
}  # fmt: skip


def written(path):
    if FORMS[path.name] is not None:
        path.write_text(json.dumps(FORMS[path.name]))
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(r) + "\n" for r in RECORDS))
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(RECORDS), path)
    else:
        marks = {"comma": (",", "split"), "tab": ("\t", "Set"), "semicolon": (";", "partition")}
        table(path, *marks[path.stem])
    return path


@pytest.mark.parametrize("name", list(FORMS))
@pytest.mark.parametrize("allowed", [False, True])
def test_the_split_that_names_the_texts_is_read_and_said(tmp_path, name, allowed):
    path = written(tmp_path / name)
    for split, texts in (("train", TRAIN), ("test", TEST)):
        truth = read_ground_truth(path, texts, V, allow_unjudged=allowed)
        assert [V[row] for (row,) in truth.positives] == [PAIRS[split][text] for text in texts]
        assert truth.ignored == 0
        assert any(f"'test', 'train'; '{split}' is read" in note for note in truth.notes)


@pytest.mark.parametrize("name", list(FORMS))
@pytest.mark.parametrize("allowed", [False, True])
def test_splits_that_both_name_texts_are_asked_about(tmp_path, name, allowed):
    path = written(tmp_path / name)
    texts = TEST + TRAIN
    with pytest.raises(FormatError) as caught:
        read_ground_truth(path, texts, V, allow_unjudged=allowed)
    said = str(caught.value)
    assert "'test' (2 of these texts), 'train' (3 of these texts); say which is meant" in said
    assert "split='test'" in said
    assert ("allow_unjudged=True" in said) != allowed
    assert "split='/' for all" in said
    one = read_ground_truth(path, texts, V, allow_unjudged=True, split="test")
    assert [len(rows) for rows in one.positives] == [1, 1, 0, 0, 0]
    whole = read_ground_truth(path, texts, V, split="/")
    assert [V[row] for (row,) in whole.positives] == [
        {**PAIRS["test"], **PAIRS["train"]}[t] for t in texts
    ]


def test_every_printed_way_out_works(tmp_path):
    rng = np.random.default_rng(0)
    files = [str(tmp_path / name) for name in ("v.h5", "t.h5")]
    for file, ids in zip(files, (V, TRAIN + TEST), strict=True):
        io.write_embeddings(file, ids, rng.normal(size=(len(ids), 4)).astype("f4"))
    gt = written(tmp_path / "parts.json")
    words = ["eval", "--videos", files[0], "--texts", files[1], "--gt", str(gt)]
    _, said = run(*words, cwd=tmp_path, code=2)
    ways = said.partition("say which is meant: ")[2].removesuffix(" for all\n").split(", or ")
    assert ways == ["--dataset gt=test --allow-unjudged", "--dataset gt=/"]
    for way, queries in zip(ways, (2, 5), strict=True):
        out, _ = run(*words, *shlex.split(way), "--json", cwd=tmp_path)
        assert json.loads(out)["before"]["t2v"]["queries"] == queries


def test_a_split_that_is_not_there_is_told_with_those_that_are(tmp_path):
    path = written(tmp_path / "parts.json")
    with pytest.raises(
        FormatError, match="there is no split 'val'; its splits are 'test', 'train'"
    ):
        read_ground_truth(path, TEST, V, split="val")
    (tmp_path / "plain.json").write_text(json.dumps(PAIRS["test"]))
    with pytest.raises(FormatError, match="it has no splits; leave it out"):
        read_ground_truth(tmp_path / "plain.json", TEST, V, split="test")


def test_a_caption_of_two_splits_does_not_hide_the_split_of_all(tmp_path):
    rows = [("train", "a dog", "v0"), ("train", "a cat", "v1"), ("test", "a dog", "v2"),
            ("test", "a cow", "v3")]  # fmt: skip
    path = tmp_path / "gt.json"
    path.write_text(json.dumps([{"split": s, "caption": c, "video": v} for s, c, v in rows]))
    truth = read_ground_truth(path, ["a dog", "a cow"], V)
    assert [rows.tolist() for rows in truth.positives] == [[2], [3]]


def test_one_split_under_two_names_is_not_asked_about(tmp_path):
    path = tmp_path / "gt.json"
    both = {**PAIRS["test"], **PAIRS["train"]}
    path.write_text(json.dumps({"val": PAIRS["test"], "test": PAIRS["test"], "trainval": both}))
    truth = read_ground_truth(path, TEST, V)
    assert [rows.tolist() for rows in truth.positives] == [[3], [4]]
    # The same texts with other videos are two things.
    path.write_text(json.dumps({"val": {"b0": "v0"}, "test": {"b0": "v3"}}))
    with pytest.raises(FormatError, match="holds several splits"):
        read_ground_truth(path, ["b0"], V)


def test_a_column_of_one_split_says_nothing(tmp_path):
    path = tmp_path / "gt.json"
    path.write_text(json.dumps([r for r in RECORDS if r["split"] == "test"]))
    assert read_ground_truth(path, TEST, V).notes == ()


def test_pairs_of_several_splits_are_not_converted_unasked(tmp_path):
    path = written(tmp_path / "records.json")
    out = tmp_path / "out.json"
    with pytest.raises(FormatError, match=r"'test' \(2 pairs\), 'train' \(3 pairs\); say which"):
        io.convert_ground_truth(path, out)
    assert io.convert_ground_truth(path, out, split="train") == 3
    assert io.convert_ground_truth(path, out, split="/") == 5


def test_the_bank_has_a_split_of_its_own():
    said = io.Reading(dataset=("gt=test", "bank-gt=train", "rgb"))
    assert said.of_truth()["split"] == "test"
    assert said.of_truth("bank-gt")["split"] == "train"
    assert said.named("dataset", "texts") == ("rgb", False)


COLUMNS = {
    "mode": ("test", "train"), "type": ("val2014", "train2014"), "usage": ("Dev", "training"),
    "modality": ("video", "audio"), "fold": ("1", "2"), "phase": ("0", "1"), "set": ("3", "7"),
}  # fmt: skip


def _columns_written(path, rows, names):
    records = [dict(zip(names, row, strict=True)) for row in rows]
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(records), path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(records))
    else:
        with path.open("w", newline="") as out:
            csv.writer(out).writerows([names, *rows])


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("text", ["query_id", "caption"])
@pytest.mark.parametrize("kind", ["csv", "json", "parquet"])
def test_splits_are_asked_about_whatever_their_column_is_called(tmp_path, column, text, kind):
    first, second = COLUMNS[column]
    path = tmp_path / f"gt.{kind}"
    rows = [(f"t{i}", f"v{(i + shift) % 3}", word)
            for shift, word in ((0, first), (1, second)) for i in range(3)]  # fmt: skip
    _columns_written(path, rows, [text, "video_id", column])
    texts = ["t0", "t1", "t2"]
    with pytest.raises(FormatError, match="holds several splits") as caught:
        read_ground_truth(path, texts, V[:3])
    assert f"{first!r} (3 of these texts)" in str(caught.value)
    for word, shift in ((first, 0), (second, 1)):
        truth = read_ground_truth(path, texts, V[:3], split=word)
        assert [found.tolist() for found in truth.positives] == [
            [(i + shift) % 3] for i in range(3)
        ]
    assert read_ground_truth(path, texts, V[:3], split="/").n_pairs == 6


@pytest.mark.parametrize("column", ["mode", "modality"])
@pytest.mark.parametrize("text", ["query_id", "caption"])
def test_a_column_that_only_describes_texts_that_are_all_known_is_not_asked_about(
    tmp_path, column, text
):
    first, second = COLUMNS[column]
    path = tmp_path / "gt.csv"
    rows = [(f"t{i}", f"v{i % 3}", first if i < 3 else second) for i in range(6)]
    _columns_written(path, rows, [text, "video_id", column])
    truth = read_ground_truth(path, [f"t{i}" for i in range(6)], V[:3])
    assert [found.tolist() for found in truth.positives] == [[i % 3] for i in range(6)]
    # Of the texts of one the pairs of that one are read, and it is said.
    if text == "query_id":
        truth = read_ground_truth(path, ["t0", "t1", "t2"], V[:3])
        assert truth.n_pairs == 3 and any(f"{first!r} is read" in note for note in truth.notes)


def test_captions_of_two_kinds_of_one_video_keep_their_numbers(tmp_path):
    path = tmp_path / "gt.csv"
    rows = [(f"c{i}{kind}", f"v{i}", kind) for i in range(3) for kind in ("audio", "video")]
    _columns_written(path, rows, ["caption", "video_id", "kind"])
    texts = [f"v{i}#{k}" for i in range(3) for k in range(2)]
    truth = read_ground_truth(path, texts, V[:3])
    assert [found.tolist() for found in truth.positives] == [[0], [0], [1], [1], [2], [2]]


KEYS = [
    ("test_gt", "train_gt"),
    ("gt_test", "gt_train"),
    ("fold1", "fold2"),
    ("testA", "testB"),
    ("Split_1", "Split_2"),
    ("test2014", "train2014"),
    ("qrels-test", "qrels-train"),
]


@pytest.mark.parametrize("keys", KEYS)
@pytest.mark.parametrize("form", ["objects", "lists", "records", "inside", "described"])
def test_keys_that_are_called_like_splits_are_splits(tmp_path, keys, form):
    parts = [PAIRS["test"], PAIRS["train"]]
    if form == "lists":
        parts = [[list(pair) for pair in part.items()] for part in parts]
    if form == "records":
        parts = [[{"query_id": a, "video_id": b} for a, b in part.items()] for part in parts]
    content = dict(zip(keys, parts, strict=True))
    wrapped = {"inside": {"data": content}, "described": {"info": {"year": 1}, **content}}
    path = tmp_path / "gt.json"
    path.write_text(json.dumps(wrapped.get(form, content)))
    truth = read_ground_truth(path, TEST, V, split=keys[0])
    assert [rows.tolist() for rows in truth.positives] == [[3], [4]]
    with pytest.raises(FormatError, match=f"several splits: '{keys[0]}' .2 of.*split='{keys[0]}'"):
        read_ground_truth(path, [*TEST, *TRAIN], V)
    truth = read_ground_truth(path, TRAIN, V)
    assert [rows.tolist() for rows in truth.positives] == [[0], [1], [2]]
    assert f"{keys[1]!r} is read" in truth.notes[0]


@pytest.mark.parametrize("value", [
    lambda v: v, lambda v: [v], lambda v: {v: 1}, lambda v: {"video": v}, lambda v: [{"video": v}],
    lambda v: {"positives": [v]}, lambda v: {"positives": [v], "negatives": ["v5"]},
])  # fmt: skip
def test_texts_that_are_called_like_splits_are_texts(tmp_path, value):
    path = tmp_path / "gt.json"
    texts = ["train_1", "test_2", "fold3"]
    path.write_text(json.dumps({text: value(V[i]) for i, text in enumerate(texts)}))
    truth = read_ground_truth(path, texts, V)
    assert [rows.tolist() for rows in truth.positives] == [[0], [1], [2]]


def test_no_pair_is_dropped_by_a_column_that_is_not_called_like_splits(tmp_path):
    path = tmp_path / "gt.csv"
    names = ["query_id", "video_id", "kind"]
    # What is said of the items leaves the pairs alone.
    rows = [("a", "v0", "video"), ("a", "v1", "audio"), ("b", "v0", "video")]
    _columns_written(path, rows, names)
    assert read_ground_truth(path, ["a", "b"], V).n_pairs == 3
    # One of two that name a text is never taken for the other.
    rows = [("a", "v0", "test"), ("a", "v1", "train"), ("b", "v0", "test")]
    _columns_written(path, rows, names)
    with pytest.raises(FormatError, match="several splits: 'test' .2 .*split='/' for all"):
        read_ground_truth(path, ["a", "b"], V)
    assert read_ground_truth(path, ["a", "b"], V, split="/").n_pairs == 3
    assert read_ground_truth(path, ["a", "b"], V, split="test").n_pairs == 2
    # Two that say the same are one.
    _columns_written(path, [(*row[:2], s) for row in rows for s in ("val", "test")], names)
    assert read_ground_truth(path, ["a", "b"], V).n_pairs == 3
