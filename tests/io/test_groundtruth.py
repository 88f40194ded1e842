"""Ground truth in every form: matched by name, refused by name."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rerank.core.errors import FormatError
from rerank.core.wording import typed
from rerank.io import (
    GroundTruth,
    convert_ground_truth,
    read_ground_truth,
    write_embeddings,
)
from tests.cli.test_cli import run

TEXTS = ["t1", "t2", "t3", "12"]
VIDEOS = ["v3", "v1", "v2", "lonely"]
# t1 -> v1, t2 -> v1 and v2, t3 -> v3, 12 -> v2
EXPECTED = [[1], [1, 2], [0], [2]]


def rows(truth: GroundTruth) -> list[list[int]]:
    return [list(found) for found in truth.positives]


def read(tmp_path, content, *, name="gt.json", texts=TEXTS, videos=VIDEOS, **options):
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return read_ground_truth(path, texts, videos, **options)


FORMS = {
    "lists": ("gt.json", {"t1": "v1", "t2": ["v1", "v2"], "t3": ["v3"], "12": "v2"}),
    "grades": ("gt.json", {"t1": {"v1": 1}, "t2": {"v2": 2, "v1": 1, "v3": 0}, "t3": {"v3": 1.5},
                           "12": {"v2": 1}}),
    "by video": ("gt.json", {"v1": ["t1", "t2"], "v2": ["t2", 12], "v3": "t3"}),
    "records": ("gt.json", [
        {"query_id": "t1", "video_id": "v1"}, {"query_id": "t2", "video_id": "v1"},
        {"query_id": "t2", "video_id": "v2"}, {"query_id": "t3", "video_id": "v3"},
        {"query_id": 12, "video_id": "v2"}]),
    "lines": ("gt.jsonl", "\n".join(json.dumps(r) for r in [
        {"text_id": "t1", "video_id": "v1"}, {"text_id": "t2", "video_id": "v1"},
        {"text_id": "t2", "video_id": "v2"}, {"text_id": "t3", "video_id": "v3"},
        {"text_id": 12, "video_id": "v2", "relevance": 1}])),
    "qrels": ("gt.qrels", "t1 0 v1 1\nt2 0 v1 1\nt2 0 v2 1\n\nt2 0 v3 0\nt3 0 v3 1\n12 0 v2 1\n"),
    "qrels with tabs": ("gt.txt", "t1\t0\tv1\t1\nt2\t0\tv1\t1\nt2 0 v2 1\nt3 0 v3 1\n12 0 v2 1"),
    "BEIR": ("gt.tsv", "query-id\tcorpus-id\tscore\nt1\tv1\t1\nt2\tv1\t1\nt2\tv2\t1\n"
                       "t3\tv3\t1\n12\tv2\t1\n"),
    "JSFusion": ("gt.csv", "key,vid_key,video_id,sentence\nt1,m1,v1,some words\n"
                           't2,m1,v1,"more, words"\nt2,m2,v2,x\nt3,m3,v3,y\n12,m2,v2,z\n'),
    "beside queries and corpus": ("gt.json", {
        "queries": {"t1": "words", "t2": "words"}, "corpus": {"v1": "a page", "v2": "a page"},
        "relevant_docs": {"t1": ["v1"], "t2": ["v1", "v2"], "t3": ["v3"], "12": ["v2"]},
        "mode": "text"}),
    "byte order mark": ("gt.json", "\ufeff" + json.dumps(
        {"t1": "v1", "t2": ["v1", "v2"], "t3": ["v3"], "12": "v2"})),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_every_form_says_the_same(tmp_path, form):
    name, content = FORMS[form]
    truth = read(tmp_path, content, name=name)
    assert rows(truth) == EXPECTED
    assert all(found.dtype == np.int64 for found in truth.positives)
    assert truth.distractors == 1 and truth.n_pairs == 5 and not len(truth.unjudged)


@pytest.mark.parametrize("form", FORMS)
def test_ids_are_matched_by_name_and_never_by_position(tmp_path, form):
    name, content = FORMS[form]
    order, columns = [2, 0, 3, 1], [3, 1, 0, 2]
    truth = read(
        tmp_path, content, name=name,
        texts=[TEXTS[i] for i in order], videos=[VIDEOS[j] for j in columns],
    )  # fmt: skip
    assert rows(truth) == [sorted(columns.index(j) for j in EXPECTED[i]) for i in order]


def test_the_other_direction(tmp_path):
    truth = read(tmp_path, FORMS["grades"][1])
    turned = truth.T
    assert rows(turned) == [[2], [0, 1], [1, 3], []]
    assert [list(g) for g in turned.grades] == [[1.5], [1, 1], [2, 1], []]
    # The distractor stays in the gallery and is no query of the other direction.
    assert list(turned.unjudged) == [3] and turned.distractors == 0
    assert turned.gallery_size == 4
    assert rows(turned.T) == rows(truth)
    assert [list(g) for g in turned.T.grades] == [list(g) for g in truth.grades]
    plain = read(tmp_path, FORMS["lists"][1])
    assert plain.grades is None and plain.T.grades is None


def test_positives_cannot_be_changed(tmp_path):
    truth = read(tmp_path, FORMS["lists"][1])
    with pytest.raises(ValueError, match="read-only"):
        truth.positives[0][0] = 3
    with pytest.raises(ValueError, match="read-only"):
        truth.T.positives[0][0] = 3


CAPTIONS = {
    "MSR-VTT": {"videos": [], "sentences": [
        {"sen_id": 0, "video_id": "a", "caption": "x"},
        {"sen_id": 1, "video_id": "b", "caption": "y"},
        {"sen_id": 2, "video_id": "a", "caption": "z"}]},
    "VATEX": [{"videoID": "a", "enCap": ["x", "z"], "chCap": ["1"]},
              {"videoID": "b", "enCap": ["y"]}],
    "DiDeMo": [{"annotation_id": 0, "video": "a.mp4", "description": "x"},
               {"annotation_id": 1, "video": "b.avi", "description": "y"},
               {"annotation_id": 2, "video": "a.mp4", "description": "z"}],
    "ActivityNet": {"a": {"duration": 3, "timestamps": [[0, 1], [1, 2]], "sentences": ["x", "z"]},
                    "b": {"duration": 3, "timestamps": [[0, 1]], "sentences": ["y"]}},
    "ActivityNet list": [{"video": "a.mp4", "caption": ["x", "z"]},
                         {"video": "b.mp4", "caption": "y"}],
}  # fmt: skip
NAMES = {
    "number": ["0", "1", "2"],
    "#": ["a#0", "b#0", "a#1"],
    "_": ["a_0", "b_0", "a_1"],
    "-": ["a-0", "b-0", "a-1"],
    "caption": ["x", "y", "z"],
}


@pytest.mark.parametrize("form", CAPTIONS)
@pytest.mark.parametrize("names", NAMES)
def test_captions_by_any_name_people_give_them(tmp_path, form, names):
    if names == "number" and form not in ("MSR-VTT", "DiDeMo"):
        with pytest.raises(FormatError, match=r"gt\.json"):
            read(tmp_path, CAPTIONS[form], texts=NAMES[names], videos=["a", "b"])
        return
    truth = read(tmp_path, CAPTIONS[form], texts=NAMES[names], videos=["b", "a"])
    assert rows(truth) == [[1], [0], [1]]


@pytest.mark.parametrize("form", CAPTIONS)
def test_one_paragraph_for_each_video(tmp_path, form):
    truth = read(tmp_path, CAPTIONS[form], texts=["b", "a"], videos=["a", "b"])
    assert rows(truth) == [[1], [0]]


@pytest.mark.parametrize("name", ["gt.json", "gt.jsonl"])
@pytest.mark.parametrize("ids", [["t1", "t2"], ["a.mp4", "b.mp4"]])
@pytest.mark.parametrize("value", [lambda v: v, lambda v: [v], lambda v: [v, f"{v}b"]])
def test_ids_that_nobody_knows_are_no_captions(tmp_path, name, ids, value):
    """Both sides have the names of the texts, which say nothing of the videos."""
    content = {text: value(video) for text, video in zip(ids, ("v1", "v2"), strict=True)}
    if name == "gt.jsonl":
        content = "\n".join(json.dumps({key: held}) for key, held in content.items())
    with pytest.raises(FormatError, match="'v1' is neither the id of a text .* nor of a video"):
        read(tmp_path, content, name=name, texts=ids, videos=ids[::-1])


@pytest.mark.parametrize("second", ["two men sing", ["it rains", "rain"], "一个男人在唱歌"])
def test_captions_of_videos_whose_names_the_texts_have(tmp_path, second):
    content = {"a": "a man walks", "b": second}
    assert rows(read(tmp_path, content, texts=["b", "a"], videos=["a", "b"])) == [[1], [0]]


def test_a_video_name_with_its_file_ending(tmp_path):
    videos = ["b.avi", "a.mp4"]
    truth = read(tmp_path, CAPTIONS["DiDeMo"], texts=["0", "1", "2"], videos=videos)
    assert rows(truth) == [[1], [0], [1]]


def test_a_table_without_text_ids_goes_by_the_sentence(tmp_path):
    content = 'video_id,sentence\nv1,"a, b"\nv2,"say ""hi""\nnow"\n'
    truth = read(tmp_path, content, name="gt.csv", texts=["a, b", 'say "hi"\nnow'])
    assert rows(truth) == [[1], [2]]


def test_both_directions_fit(tmp_path):
    same = ["x1", "x2", "x3"]
    # Whoever reads this, it says the same.
    truth = read(tmp_path, {"x1": "x2", "x2": "x1", "x3": "x3"}, texts=same, videos=same)
    assert rows(truth) == [[1], [0], [2]]
    with pytest.raises(FormatError, match=r"gt\.json.*'x1' are ids of both.*query_id, video_id"):
        read(tmp_path, {"x1": "x2", "x2": "x3", "x3": "x1"}, texts=same, videos=same)


def test_a_name_in_both_does_not_spoil_what_fits_one_way(tmp_path):
    truth = read(tmp_path, {"a": "b", "c": "d"}, texts=["a", "c", "b"], videos=["b", "d", "a"],
                 allow_unjudged=True)  # fmt: skip
    assert rows(truth) == [[0], [1], []]


BAD = {
    "unknown video": ({"t1": "v1", "t2": "v9", "t3": "v3", "12": "v2"}, "'v9'.*allow_unjudged"),
    "unknown text": ({"t1": "v1", "t9": "v2", "t3": "v3", "12": "v2"}, "'t9'.*allow_unjudged"),
    "no entry": ({"t1": "v1", "t2": "v1", "12": "v2"}, "'t3' has no entry.*allow_unjudged"),
    "empty entry": ({"t1": "v1", "t2": "v1", "t3": [], "12": "v2"}, "'t3' has an empty entry"),
    "zero grade": ({"t1": {"v1": 1}, "t2": {"v1": 1}, "t3": {"v2": 0}, "12": {"v2": 1}},
                   "'t3' has only grades of 0"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_fit_is_named_unless_allowed(tmp_path, case):
    content, words = BAD[case]
    with pytest.raises(FormatError, match=rf"gt\.json.*{words}") as caught:
        read(tmp_path, content)
    assert "\n" not in str(caught.value)
    truth = read(tmp_path, content, allow_unjudged=True)
    assert list(truth.unjudged) == ([1] if "unknown" in case else [2])
    assert truth.ignored == (1 if "unknown" in case else 0)


REFUSED = {
    "nothing known": ({"a": "b"}, "'a' is neither the id of a text.*'t1'.*'v3'"),
    "texts only": ({"t1": "t2"}, "'t2' is not the id of a video .* but of a text"),
    "empty object": ({}, "without a single pair"),
    "empty list": ([], "without a single pair"),
    "empty entries": ({"t1": [], "t2": []}, "without a single pair"),
    "only zeros": ({"t1": {"v1": 0}}, "grades of 0"),
    "twice": ('{"t1": "v1", "t1": "v2"}', "'t1' appears twice"),
    "twice inside": ('{"t1": {"v1": 1, "v1": 0}}', "'v1' appears twice"),
    "graded twice": ([{"query_id": "t1", "video_id": "v1", "grade": 1},
                      {"query_id": "t1", "video_id": "v1", "grade": 2}], "'v1' for 't1' twice"),
    "not JSON": ("{", "not valid JSON"),
    "NaN": ('{"t1": {"v1": NaN}}', "NaN is not JSON"),
    "number": ("3", "expected an object or a list"),
    "float id": ({"t1": 1.5}, "1.5 is not an id"),
    "null": ({"t1": None}, "None is not an id"),
    "true": ({"t1": True}, "True is not an id"),
    "nested": ({"t1": [["v1"]]}, "is not an id"),
    "word as grade": ({"t1": {"v1": "high"}}, "'high' is not a grade"),
    "huge grade": ('{"t1": {"v1": 1e999}}', "is not a grade"),
    "list of words": (["t1"], "entry 0 is 't1'"),
    "no video": ([{"query_id": "t1"}], "entry 0 names no video"),
    "no text": ([{"video_id": "v1"}], "entry 0 names no text"),
    "deep": ("[" * 100000, "JSON"),
    "blank": ("   \n", "JSON"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_ground_truth(tmp_path, case):
    content, words = REFUSED[case]
    with pytest.raises(FormatError, match=rf"(?s)gt\.json.*{words}") as caught:
        read(tmp_path, content)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("gt.qrels", "t1 0 v1\n", "line 1 has 3 columns"),
        ("gt.qrels", "t1 0 v1 1\nt2 0 v1 x\n", "line 2.*'x'"),
        ("gt.tsv", "query-id\tcorpus-id\tscore\nt1\tv1\n", "row 1 has 2 columns"),
        ("gt.csv", 'key,video_id\n"t1,v1\n', "not a valid table"),
        ("gt.csv", "key,video_id\nt1,\n", "not an id"),
        ("gt.txt", "hello\n", "JSON"),
        ("gt.csv", "", "empty"),
        ("gt.qrels", "\n\n", "without a single pair"),
    ],
)
def test_tables_that_are_none(tmp_path, name, content, words):
    with pytest.raises(FormatError, match=rf"{name}.*{words}"):
        read(tmp_path, content, name=name)


def test_bytes_that_are_no_text(tmp_path):
    (tmp_path / "gt.json").write_bytes(b'{"t1":\n "\xff"}')
    with pytest.raises(FormatError, match="line 2 is not UTF-8"):
        read_ground_truth(tmp_path / "gt.json", TEXTS, VIDEOS)
    with pytest.raises(FormatError, match="no such file"):
        read_ground_truth(tmp_path / "missing.json", TEXTS, VIDEOS)
    with pytest.raises(FormatError, match="directory"):
        read_ground_truth(tmp_path, TEXTS, VIDEOS)


def test_the_diagonal_has_to_be_asked_for():
    truth = read_ground_truth("diagonal", ["a", "b"], ["x", "y"])
    assert rows(truth) == [[0], [1]] and truth.distractors == 0
    assert rows(truth.T) == [[0], [1]]
    with pytest.raises(FormatError, match="2 texts and 3 videos"):
        read_ground_truth("diagonal", ["a", "b"], ["x", "y", "z"])
    with pytest.raises(FormatError, match="diagonal"):
        read_ground_truth("diagonal", [], [])


def test_ids_have_to_be_unique(tmp_path):
    with pytest.raises(FormatError, match="texts.*'a'"):
        read_ground_truth("diagonal", ["a", "a"], ["x", "y"])


def test_real_ground_truth(real_data):
    from rerank.io import read_embeddings

    folder = real_data / "msvd_aligned"
    texts, videos = (read_embeddings(folder / f"{n}.h5").ids for n in ("texts", "videos"))
    truth = read_ground_truth(folder / "gt.json", texts, videos)
    assert truth.n_pairs == len(texts) == 11130 and truth.distractors == 0
    for text, found in zip(texts, truth.positives, strict=True):
        assert [videos[j] for j in found] == [text.rpartition("#")[0]]


@pytest.mark.parametrize(
    "content",
    [
        {"results": {"test": [{"query_id": "q1", "video_id": "b"},
                              {"query_id": "q2", "video_id": "a"}]}},
        {"out": {"data": {"pairs": [{"query_id": "q1", "video_id": "b"},
                                    {"query_id": "q2", "video_id": "a"}]}}},
        {"query_id": ["q1", "q2"], "video_id": ["b", "a"]},
        {"text": {"0": "q1", "1": "q2"}, "video": {"0": "b", "1": "a"}},
        {"q1": {"video": "b"}, "q2": {"video": "a"}},
    ],
    ids=["nested wrappers", "three of them", "columns", "columns of pandas", "objects by text"],
)  # fmt: skip
def test_pairs_that_lie_deeper_or_in_columns(tmp_path, content):
    path = tmp_path / "gt.json"
    path.write_text(json.dumps(content))
    found = read_ground_truth(path, ["q1", "q2"], ["a", "b"])
    assert [rows.tolist() for rows in found.positives] == [[1], [0]]


@pytest.mark.parametrize(
    ("texts", "videos", "way"),
    [
        (TEXTS, VIDEOS, "--text-ids rows --video-ids rows"),
        (["0", "1", "2", "3"], VIDEOS, "--video-ids rows"),
        (TEXTS, ["0", "1", "2", "3"], "--text-ids rows"),
        (["0", "1", "2", "3"], ["0", "1"], ""),
    ],
)
def test_no_way_out_is_named_that_was_taken(tmp_path, texts, videos, way):
    content = "query-id\tcorpus-id\tscore\n0\t3\t1\n"
    if way == "--text-ids rows":
        content = "query-id\tcorpus-id\tscore\n3\t0\t1\n"
    if not way:
        content += "0\t1\t1\n"
    with typed(), pytest.raises(FormatError, match="is not the id|neither|both") as caught:
        read(tmp_path, content, name="qrels.tsv", texts=texts, videos=videos)
    said = str(caught.value)
    assert said.endswith(f"numbers of rows, from 0: {way}") if way else "rows" not in said


@pytest.mark.parametrize("header", ["product_id", "product", "asin", "sku"])
@pytest.mark.parametrize("grade", ["gain", "relevance_score", "esci_label", "judgement"])
def test_tables_of_shops_name_their_products_and_gains(tmp_path, header, grade):
    path = tmp_path / "gt.csv"
    path.write_text(f"query_id,{header},{grade}\nt0,v1,0.1\nt0,v0,1\nt1,v1,0.01\n")
    found = read_ground_truth(path, ["t0", "t1"], ["v0", "v1"])
    assert [list(x) for x in found.graded.grades] == [[1.0, 0.1], [0.01]]
    path.write_text(f"query_id,{header},{grade}\nt0,v1,Exact\n")
    with pytest.raises(
        FormatError,
        match="'Exact' is not a grade; expected a number: write one for each word, 0 where",
    ):
        read_ground_truth(path, ["t0", "t1"], ["v0", "v1"])


@pytest.mark.parametrize("name", ["match", "is_match", "relevant", "rating", "grades", "rel_score"])
def test_columns_of_grades_by_any_usual_name(tmp_path, name):
    lines = [f"{t},{v},{int(j in EXPECTED[i])}" for i, t in enumerate(TEXTS)
            for j, v in enumerate(VIDEOS)]  # fmt: skip
    truth = read(tmp_path, "\n".join([f"query_id,video_id,{name}", *lines]), name="gt.csv")
    assert rows(truth) == EXPECTED


@pytest.mark.parametrize(
    ("grades", "row", "words"),
    [([1, None], 1, "holds no grade"), (["E", "I"], 0, "'E' is not a grade"),
     ([1.0, float("nan")], 1, "nan is not a grade"), ([True, None], 1, "holds no grade"),
     ([{"a": 1}, {"a": 2}], 0, "{'a': 1} is not a grade"), ([[1], [0]], 0, r"\[1\] is not a grade"),
     ([[1, 2], [0]], 0, r"\[1, 2\] is not a grade")],
)  # fmt: skip
def test_a_grade_of_parquet_that_is_none_is_told_by_its_row(tmp_path, grades, row, words):
    arrow = pytest.importorskip("pyarrow")
    from pyarrow.parquet import write_table

    table = {"query_id": ["t1", "t2"], "video_id": ["v1", "v2"], "relevance": grades}
    write_table(arrow.table(table), tmp_path / "gt.parquet")
    with pytest.raises(FormatError, match=f"row {row}: {words}; expected a number"):
        read_ground_truth(tmp_path / "gt.parquet", TEXTS, VIDEOS)


_LEFT, _RIGHT = ["t0", "t1", "t2"], ["v2", "v0", "v1"]
_ROWS = [list(pair) for pair in zip(_LEFT, _RIGHT, strict=True)]
_HEADED = [{"query_id": a, "video_id": b} for a, b in _ROWS]


@pytest.mark.parametrize(
    "content",
    [
        {"columns": ["query_id", "video_id"], "index": [0, 1, 2], "data": _ROWS},
        {"columns": ["video", "caption"], "index": [0, 1, 2], "data": [row[::-1] for row in _ROWS]},
        {"columns": ["video_id", "length"], "index": _LEFT, "data": [[v, 3] for v in _RIGHT]},
        {"columns": ["left", "right"], "index": [0, 1, 2], "data": _ROWS},
        {"schema": {"fields": [{"name": "index"}, {"name": "query_id"}, {"name": "video_id"}],
                    "primaryKey": ["index"]},
         "data": [{"index": i, **row} for i, row in enumerate(_HEADED)]},
        {"schema": {"fields": [{"name": "index"}, {"name": "video_id"}], "primaryKey": ["index"]},
         "data": [{"index": a, "video_id": b} for a, b in _ROWS]},
        {"schema": {"fields": [{"name": "text_id"}, {"name": "video_id"}],
                    "primaryKey": ["text_id"]},
         "data": [{"text_id": a, "video_id": b} for a, b in _ROWS]},
        {str(i): {"caption": a, "video_id": b} for i, (a, b) in enumerate(_ROWS)},
        {"video_id": dict(_ROWS), "length": dict.fromkeys(_LEFT, 3)},
        {"info": {"year": 1}, "pairs": _ROWS},
        {"count": 3, "texts": _LEFT, "matches": _ROWS},
        {"qrels": [[*row, 1] for row in _ROWS]},
        [[*row, 2.0] for row in _ROWS],
        {"count": 3, "matches": _HEADED},
    ],
)  # fmt: skip
def test_tables_of_pandas_and_pairs_beside_what_is_said_of_them(tmp_path, content):
    path = tmp_path / "gt.json"
    path.write_text(json.dumps(content))
    truth = read_ground_truth(path, _LEFT, ["v0", "v1", "v2"])
    assert [rows.tolist() for rows in truth.positives] == [[2], [0], [1]]


def test_captions_cut_into_two_words_are_no_pairs(tmp_path):
    path = tmp_path / "gt.json"
    path.write_text(
        json.dumps({"v0": [["a", "man"], ["two", "dogs"]], "v1": [["a", "red", "cat"]]})
    )
    truth = read_ground_truth(path, ["two dogs", "a red cat", "a man"], ["v0", "v1"])
    assert [rows.tolist() for rows in truth.positives] == [[0], [1], [0]]


def test_a_table_of_pandas_without_a_video_is_told_by_its_columns(tmp_path):
    path = tmp_path / "gt.json"
    path.write_text(json.dumps({"columns": ["a", "b", "c"], "index": [0], "data": [[1, 2, 3]]}))
    with pytest.raises(FormatError, match="table of pandas with the columns 'a', 'b', 'c'; expect"):
        read_ground_truth(path, ["t0"], ["v0"])


@pytest.mark.parametrize("content", ["query_id,video_id\n0,5\n1,4\n", '[["a0", "a1"]]'])
def test_a_video_that_is_missing_is_no_sign_of_swapped_sides(tmp_path, content):
    path = tmp_path / "gt.txt"
    path.write_text(content)
    texts = ["a0", "a1"] if "[" in content else [str(i) for i in range(6)]
    videos = ["v0", "v1"] if "[" in content else ["0", "1", "2"]
    with pytest.raises(FormatError) as caught:
        read_ground_truth(path, texts, videos)
    missing, first = ("a1", "v0") if "[" in content else ("5", "0")
    assert f"'{missing}' is not the id of a video ('{first}', " in str(caught.value)
    assert "swapped" not in str(caught.value)


@pytest.mark.parametrize(
    ("header", "texts", "videos", "way"),
    [
        ("video,text", ["a", "b", "c"], ["x", "y", "z"], "--text-ids rows --video-ids rows"),
        ("text,video", ["a", "b", "c"], ["x", "y", "z"], "--text-ids rows --video-ids rows"),
        ("text_idx,video_idx", ["a", "b"], ["x", "y"], "--text-ids rows --video-ids rows"),
        ("text,video", ["0", "1", "2"], ["x", "y", "z"], "--video-ids rows"),
        ("caption,video", ["a", "b", "c"], ["0", "1", "2"], "--text-ids rows"),
    ],
)  # fmt: skip
def test_numbers_of_rows_are_told_to_be_some_and_the_way_out_works(
    tmp_path, header, texts, videos, way
):
    for name, ids, more in (("t.h5", texts, 0.1), ("v.h5", videos, 0)):
        write_embeddings(
            tmp_path / name, ids, np.eye(len(ids), 4, dtype=np.float32) + np.float32(more)
        )
    rows = "".join(f"{row},{row}\n" for row in range(len(texts)))
    (tmp_path / "gt.csv").write_text(f"{header}\n{rows}")
    words = ["eval", "--texts", "t.h5", "--videos", "v.h5", "--gt", "gt.csv"]
    _, said = run(*words, cwd=tmp_path, code=2)
    assert said.strip().endswith(f"; if the file holds numbers of rows, from 0: {way}")
    out, _ = run(*words, *way.split(), "--json", cwd=tmp_path)
    assert json.loads(out)["before"]["t2v"]["R@1"] == 100


@pytest.mark.parametrize(
    ("name", "content", "texts"),
    [
        ("gt.json", '{"t0": "v0.mp4", "t1": "v1.mp4"}', ["t0", "t1"]),
        ("gt.json", '{"t0": "v0", "t1": "v1"}', ["t0", "t1"]),
        ("gt.csv", "query,video\nt0,v0.wav\nt1,v1.wav\n", ["t0", "t1"]),
        ("gt.csv", "file_name,caption_1\nv0.wav,a dog\nv1.wav,a cat\n", ["v0.jpg#0", "v1.jpg#0"]),
        ("gt.txt", "v0#enc#0 a dog runs\nv1#enc#0 a cat sits\n", ["v0.jpg#0", "v1.jpg#0"]),
        ("gt.txt", "t0 0 v0 1\nt1 0 v1 1\n", ["t0", "t1"]),
    ],
)
def test_files_of_another_kind_are_matched_without_their_endings(tmp_path, name, content, texts):
    path = tmp_path / name
    path.write_text(content)
    found = read_ground_truth(path, texts, ["v0.jpg", "v1.jpg"])
    assert [rows.tolist() for rows in found.positives] == [[0], [1]]
    assert "without file endings" in found.notes[-1]
    # Two that differ in nothing else are not told apart, and what fits as written stays so.
    with pytest.raises(FormatError, match="v0"):
        read_ground_truth(path, texts, ["v0.jpg", "v1.jpg", "v0.png"])


def test_what_fits_as_written_is_not_matched_without_endings(tmp_path):
    path = tmp_path / "gt.json"
    path.write_text('{"t0": "v0.jpg", "t1": "v1.png"}')
    with pytest.raises(FormatError, match="'v1.png' is not the id of a video"):
        read_ground_truth(path, ["t0", "t1"], ["v0.jpg", "v1.jpg"])
    assert not read_ground_truth(path, ["t0", "t1"], ["v0.jpg", "v1.png"]).notes


def test_ids_that_pandas_made_decimals_are_whole_numbers_in_parquet(tmp_path):
    """A column of pandas that once held nothing in a row; others are named."""
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    whole = {"query_id": [0.0, 1.0, 2.0], "video_id": pa.array([1, 0, 1], pa.float32())}

    def saved(**columns):
        parquet.write_table(pa.table({**whole, **columns}), tmp_path / "gt.parquet")
        return read_ground_truth(tmp_path / "gt.parquet", ["0", "1", "2"], ["0", "1"])

    assert rows(saved()) == rows(saved(query_id=["0", "1", "2"])) == [[1], [0], [1]]
    assert rows(saved(relevance=[1.0, 1.0, 2.0])) == [[1], [0], [1]]
    assert rows(saved(target=[0.5, 0.5, 0.5], key=[0.5, 0.5, 0.5])) == [[1], [0], [1]]
    words = {"video_id": ["1", "0", "1"], "caption": ["a", "b", "c"]}
    assert rows(saved(**words)) == [[1], [0], [1]]
    for odd in (0.5, float("nan"), None):
        with pytest.raises(FormatError, match="column 'query_id'.*row 1"):
            saved(query_id=[0.0, odd, 2.0])
    parquet.write_table(pa.table({"a": [0.0], "b": [1.0]}), tmp_path / "gt.parquet")
    with pytest.raises(FormatError, match="its columns are 'a', 'b'; expected"):
        read_ground_truth(tmp_path / "gt.parquet", ["0"], ["1"])


@pytest.mark.parametrize("name", ["id", "caption_id", "query_id", "text_id", "sentid", "ann_id"])
@pytest.mark.parametrize("image", ["image_id", "img_id"])
def test_annotations_of_coco_have_ids_by_any_usual_name(tmp_path, name, image):
    notes = [{name: "q0", image: 0, "caption": "a"}, {name: "q1", image: 1, "caption": "b"}]
    content = {"images": [{"id": 0, "file_name": "a.jpg"}, {"id": 1}], "annotations": notes}
    assert rows(read(tmp_path, content, texts=["q0", "q1"], videos=["1", "0"])) == [[1], [0]]
    for note in notes:
        del note["caption"]
    assert rows(read(tmp_path, content, texts=["q0", "q1"], videos=["1", "0"])) == [[1], [0]]
    for note in notes:
        del note[name]
    with pytest.raises(FormatError, match=f"names no text; expected .* among '{image}'$"):
        read(tmp_path, content, texts=["q0", "q1"], videos=["1", "0"])


SIDES = {
    "gallery": "query", "videos": "queries", "videos ": "texts", "images": "captions",
    "img": "txt", "document": "query", "image_idx": "caption_idx", "corpus": "query",
    "Gallery_IDX": "query_idx", "clips": "sentences", "items": "queries", "video_ids": "text_ids",
}  # fmt: skip


@pytest.mark.parametrize(("left", "right"), SIDES.items())
@pytest.mark.parametrize("end", ["", ",1"])
def test_headers_that_name_their_sides_in_other_words_are_believed(tmp_path, left, right, end):
    """Where ids are of both sides; where they tell, they do, and what is said by hand counts."""
    pairs = [("0", "1"), ("1", "2"), ("2", "0")]
    ids = ["0", "1", "2"]
    third = ",foo" if end else ""
    one = f"{left},{right}{third}\n" + "".join(f"{b},{a}{end}\n" for a, b in pairs)
    two = f"{right},{left}{third}\n" + "".join(f"{a},{b}{end}\n" for a, b in pairs)
    for content in (one, two):
        truth = read(tmp_path, content, name="gt.csv", texts=ids, videos=ids)
        assert rows(truth) == [[1], [2], [0]]
    for direction, want in (("text-video", [[2], [0], [1]]), ("video-text", [[1], [2], [0]])):
        truth = read(tmp_path, one, name="gt.csv", texts=ids, videos=ids, direction=direction)
        assert rows(truth) == want
    with pytest.raises(FormatError, match="can be read as text: video and as video: text"):
        read(tmp_path, one.replace(right, "other"), name="gt.csv", texts=ids, videos=ids)


ONE_WAY = ["t2v", "text_to_video", "texts_to_videos", "txt2img", "t2i", "query2doc", "Text2Video"]
OTHER_WAY = ["v2t", "video_to_texts", "videos_to_texts", "img2txt", "i2t", "image-to-text"]


def test_parts_that_name_a_direction_are_read_as_that(tmp_path):
    ids = ["0", "1", "2"]
    t2v, v2t = {"0": "1", "1": "2", "2": "0"}, {"1": ["0"], "2": ["1"], "0": ["2"]}
    alone = {"texts": ["q0", "q1"], "videos": ["d0", "d1"]}
    for name in ONE_WAY:
        assert rows(read(tmp_path, {name: t2v}, texts=ids, videos=ids)) == [[1], [2], [0]]
        assert rows(read(tmp_path, {name: {"q0": "d1", "q1": "d0"}}, **alone)) == [[1], [0]]
    for name in OTHER_WAY:
        assert rows(read(tmp_path, {name: v2t}, texts=ids, videos=ids)) == [[1], [2], [0]]
        assert rows(read(tmp_path, {name: {"d1": ["q0"], "d0": ["q1"]}}, **alone)) == [[1], [0]]
    for one, other in zip(ONE_WAY, OTHER_WAY, strict=False):
        for content in ({one: t2v, other: v2t}, {other: v2t, one: t2v, "info": "words"}):
            truth = read(tmp_path, {"test": content}, texts=ids, videos=ids)
            assert rows(truth) == [[1], [2], [0]]
        wrong = {one: t2v, other: {**v2t, "0": ["1"]}}
        said = f"{one!r} pairs '2' with '0', and {other!r} does not; leave one of them out"
        with pytest.raises(FormatError, match=said):
            read(tmp_path, wrong, texts=ids, videos=ids)


@pytest.mark.parametrize("content", [{"v2t": {"a": ["b"]}}, "gallery,query\na,b\n"])
def test_what_names_its_direction_needs_no_word_to_be_converted(tmp_path, content):
    path = tmp_path / "gt.txt"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    assert convert_ground_truth(path, tmp_path / "out.json") == 1
    assert json.loads((tmp_path / "out.json").read_text()) == [{"query_id": "b", "video_id": "a"}]


@pytest.mark.parametrize("kind", ["records", "columns", "parquet"])
def test_records_and_columns_may_name_their_sides_in_other_words(tmp_path, kind):
    table = {"gallery": ["1", "2", "0"], "queries": ["0", "1", "2"]}
    content = [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]
    path = tmp_path / f"gt.{'parquet' if kind == 'parquet' else 'json'}"
    if kind == "parquet":
        pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        parquet.write_table(pa.table(table), path)
    else:
        path.write_text(json.dumps(content if kind == "records" else table))
    assert rows(read_ground_truth(path, ["0", "1", "2"], ["0", "1", "2"])) == [[1], [2], [0]]


def test_a_first_pair_of_one_letter_each_is_no_header(tmp_path):
    path = tmp_path / "gt.csv"
    path.write_text("t,v\nv,t\n")
    assert convert_ground_truth(path, tmp_path / "o.json", direction="text-video") == 2


_PAIRED = {"t1": "v1", "t2": "v2", "t3": "v3", "12": "v2"}
_PAIRS = [list(pair) for pair in _PAIRED.items()]
_RECORDS = [{"query_id": text, "video_id": video} for text, video in _PAIRS]
_SHORT = [{"qid": text, "vid": video} for text, video in _PAIRS]


def in_lines(entries, **options):
    return "\n".join(json.dumps(each, **options) for each in entries)


@pytest.mark.parametrize("ending", ["jsonl", "ndjson", "json", "txt"])
@pytest.mark.parametrize(
    "content",
    [json.dumps(_PAIRED), json.dumps(_PAIRED, indent=2), json.dumps(_RECORDS, indent=1),
     json.dumps(_RECORDS), json.dumps({"test": _SHORT}), json.dumps({"test": _SHORT}, indent=1),
     in_lines({text: video} for text, video in _PAIRS), in_lines(_PAIRS), in_lines(_RECORDS),
     json.dumps(_PAIRS), in_lines([{"t1": "v1", "t2": "v2"}, {"t3": "v3", "12": ["v2"]}]),
     in_lines({text: {video: 1}} for text, video in _PAIRS), in_lines([*p, 1] for p in _PAIRS),
     json.dumps({"query_id": list(_PAIRED), "video_id": list(_PAIRED.values())})],
)  # fmt: skip
def test_json_is_read_as_what_it_holds_in_lines_or_not(tmp_path, ending, content):
    assert rows(read(tmp_path, content, name=f"gt.{ending}")) == [[1], [2], [0], [2]]


@pytest.mark.parametrize(
    ("content", "found"),
    [(in_lines(_RECORDS[:1]), [[1]]), (in_lines(_PAIRS[:1]), [[1]]), ('{"t1": "v1"}', [[1]]),
     ('{"query_id": "t1", "positives": ["v1", "v3"]}', [[0, 1]]),
     ('{"t1": "v1"}\n{"t1": "v3"}\n{"t2": "v2"}', [[0, 1], [2]])],
)  # fmt: skip
def test_few_lines_of_json(tmp_path, content, found):
    assert rows(read(tmp_path, content, name="gt.jsonl", texts=TEXTS[: len(found)])) == found


@pytest.mark.parametrize(
    ("content", "words"),
    [(in_lines(_RECORDS) + "\n{", "line 5: is not valid JSON"), ("{\n1", "gt.jsonl: is not valid"),
     ('{"a": "t1", "b": "v1"}\n{"a": "t2", "b": "v2"}', "entry 0 names no video.*'a', 'b'")],
)  # fmt: skip
def test_lines_of_json_that_are_wrong_are_told(tmp_path, content, words):
    with pytest.raises(FormatError, match=words):
        read(tmp_path, content, name="gt.jsonl")


# Text i belongs to item OWNER[i]; the lists are not in the order of the rows.
_TIDS, _VIDS, _OWNER = [f"q{i}" for i in range(5)], ["va", "vb", "vc"], [2, 0, 1, 1, 0]
_T_ORDER, _V_ORDER = [3, 0, 4, 1, 2], [1, 2, 0]


def texts_of(item, **fields):
    """The texts; a field is a function of the row, `item` the number of its item."""
    return [
        {**{name: made(i) for name, made in fields.items()}, **({item: _OWNER[i]} if item else {})}
        for i in _T_ORDER
    ]


def items_of(**fields):
    return [{name: made(j) for name, made in fields.items()} for j in _V_ORDER]


def number(row):
    return row


def tid(row):
    return _TIDS[row]


def vid(row):
    return _VIDS[row]


def file(row):
    return f"{_VIDS[row]}.mp4"


def words(row):
    return f"two dogs {row}"


_PLACES = {
    "queries": [_TIDS[i] for i in _T_ORDER], "videos": [_VIDS[j] for j in _V_ORDER],
    "pairs": [[k, _V_ORDER.index(_OWNER[i])] for k, i in enumerate(_T_ORDER)],
}  # fmt: skip
_BY_NUMBER = {
    "queries": texts_of("", id=number, name=tid), "videos": items_of(id=number, name=vid),
    "pairs": [[i, _OWNER[i]] for i in _T_ORDER],
}  # fmt: skip


@pytest.mark.parametrize(
    "content",
    [
        {"videos": items_of(id=number, video=vid),
         "sentences": texts_of("video_id", id=lambda i: 1000 + i, sent_id=tid)},
        {"clips": items_of(clip_id=number, name=file),
         "queries": texts_of("clip_id", query_id=tid)},
        {"media": items_of(media_id=number, file_name=file),
         "captions": texts_of("media_id", id=tid, text=words)},
        {"products": items_of(id=number, sku=vid), "searches": texts_of("product_id", id=tid)},
        {"sounds": items_of(id=number, file=vid),
         "descriptions": texts_of("sound_id", id=tid, text=words)},
        {"videos": {str(j): {"name": vid(j)} for j in _V_ORDER},
         "queries": {tid(i): {"video_id": _OWNER[i]} for i in _T_ORDER}},
        {"videos": items_of(vid=vid, video_id=number),
         "sentences": texts_of("video_id", sen_id=number, key=tid)},
        {"queries": texts_of("", id=number, name=tid), "items": items_of(id=number, name=vid),
         "qrels": [{"query_id": i, "item_id": _OWNER[i], "relevance": 1} for i in _T_ORDER]},
        _PLACES,
        {**_PLACES, "pairs": [[*pair, 1] for pair in _PLACES["pairs"]]},
        _BY_NUMBER,
        {"query_ids": _TIDS, "positives": [[_VIDS[j]] for j in _OWNER]},
        {"queries": _TIDS, "targets": [_VIDS[j] for j in _OWNER]},
    ],
)  # fmt: skip
def test_lists_that_refer_to_each_other_are_read_by_what_their_rows_are_called(tmp_path, content):
    truth = read(tmp_path, content, texts=_TIDS, videos=_VIDS)
    assert rows(truth) == [[j] for j in _OWNER]
    # Other names are told, and never taken for numbers of rows.
    others = [f"x{i}" for i in range(5)], [f"y{j}" for j in range(3)]
    for texts, videos in (others, (_TIDS, others[1]), (others[0], _VIDS)):
        with pytest.raises(FormatError) as caught:
            read(tmp_path, content, texts=texts, videos=videos)
        assert "rows" not in str(caught.value)


@pytest.mark.parametrize("numbers", [False, True])
def test_what_pairs_refer_to_besides_their_sides_is_no_side(tmp_path, numbers):
    texts, videos = (["0", "1"], ["0", "1"]) if numbers else (["q0", "q1"], ["va", "vb"])
    pairs = [{"query_id": texts[i], "video_id": videos[1 - i], "user_id": 7} for i in range(2)]
    content = {"users": [{"id": 7, "name": "va"}], "pairs": pairs}
    assert rows(read(tmp_path, content, texts=texts, videos=videos)) == [[1], [0]]


@pytest.mark.parametrize("content", [_PLACES, _BY_NUMBER])
def test_grades_of_pairs_of_numbers_count(tmp_path, content):
    pairs = [[*pair, 1] for pair in content["pairs"]]
    more = [[*content["pairs"][0][:1], content["pairs"][1][1], 0]]
    truth = read(tmp_path, {**content, "pairs": pairs + more}, texts=_TIDS, videos=_VIDS)
    assert rows(truth) == [[j] for j in _OWNER]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({**_PLACES, "pairs": [[0, 3]]}, "'pairs': has the number 3, and 'videos' has 3 names"),
        ({**_PLACES, "videos": ["2", "0", "1"]}, "could be names in 'videos', or places in it"),
        ({"videos": _VIDS, "pairs": [[0, 1], [1, 2]]}, "names that stand there"),
        ({"sounds": items_of(id=vid, file=file), "descriptions": texts_of("sound_id", id=tid)},
         "holds objects under 'sounds' of 'id', 'file'; 'descriptions' of 'id', 'sound_id'; none"),
        ({"videos": items_of(id=number, name=vid), "queries": items_of(id=tid, video_id=words)},
         "holds objects under 'videos' of 'id', 'name'; 'queries' of 'id', 'video_id'; none"),
    ],
)  # fmt: skip
def test_numbers_that_no_list_has_a_name_for_are_told(tmp_path, content, words):
    with pytest.raises(FormatError, match=words) as caught:
        read(tmp_path, content, texts=_TIDS, videos=_VIDS)
    assert "rows" not in str(caught.value)


def labelled(name, values, form):
    """All pairs of three texts and three videos; the diagonal is right."""
    rows = [
        {"query_id": f"t{i}", "video_id": f"v{j}", name: values[int(i == j)]}
        for i in range(3) for j in range(3)
    ]  # fmt: skip
    if form == "csv":
        return "\n".join([",".join(rows[0]), *(",".join(map(str, r.values())) for r in rows)])
    if form == "jsonl":
        return "\n".join(map(json.dumps, rows))
    if form == "by text":
        inside = [{key: r[key] for key in ("video_id", name)} for r in rows]
        return json.dumps({f"t{i}": inside[3 * i : 3 * i + 3] for i in range(3)})
    return json.dumps(rows)


@pytest.mark.parametrize("form", ["csv", "json", "jsonl", "by text"])
@pytest.mark.parametrize(
    ("name", "values"),
    [("target", (0, 1)), ("y", (-1, 1)), ("correct", (False, True)), ("same", ("no", "yes")),
     ("positive", (0.0, 1.0)), ("rank", (2, 1)), ("distance", (0.5, 0.1))],
)  # fmt: skip
def test_what_may_say_which_pairs_are_right_is_asked_about(tmp_path, form, name, values):
    texts, videos = ["t0", "t1", "t2"], ["v0", "v1", "v2"]
    path = tmp_path / f"gt.{form if form in ('csv', 'jsonl') else 'json'}"
    path.write_text(labelled(name, values, form))
    said = f"{name!r} differs between the pairs of one text.*call it relevance where 0 is not right"
    with pytest.raises(FormatError, match=said):
        read_ground_truth(path, texts, videos)
    if name not in ("rank", "distance"):
        # What is printed works.
        path.write_text(labelled("relevance", values, form))
        assert rows(read_ground_truth(path, texts, videos)) == [[0], [1], [2]]


def in_form(path, rows):
    """Records in a file, by its ending."""
    frame = pd.DataFrame(rows)
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    elif path.suffix in (".csv", ".tsv"):
        frame.to_csv(path, index=False, sep=",\t"[path.suffix == ".tsv"])
    else:
        frame.to_json(path, orient="records", lines=path.suffix == ".jsonl")
    return path


_FORMS = ["csv", "tsv", "json", "jsonl", "parquet"]


@pytest.mark.parametrize("form", _FORMS)
@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [("type", "positive", "hard_negative"), ("class", "Exact", "Irrelevant"), ("esci", "E", "I"),
     ("polarity", "+", "-"), ("used", "y", "n"), ("valid", "good", "bad"), ("votes", 5, 0),
     ("similarity", 0.9, 0.1), ("order", 1, 2), ("zzz", "a", "b"), ("zzz", None, 0.5)],
)  # fmt: skip
def test_a_column_that_tells_pairs_of_a_text_apart_is_asked_about_by_any_name(
    tmp_path, form, name, right, wrong
):
    texts, videos = [f"t{i}" for i in range(8)], [f"v{j}" for j in range(8)]
    pairs = [(i, i) for i in range(8)] + [(i, (i + 3) % 8) for i in range(8)]

    def value(row, i, j):
        if right is None:  # scores, another for each pair
            return wrong + row / 100
        return right if i == j else wrong

    rows_ = [{"query_id": texts[i], "video_id": videos[j], name: value(row, i, j)}
             for row, (i, j) in enumerate(pairs)]  # fmt: skip
    path = in_form(tmp_path / f"gt.{form}", rows_)
    with pytest.raises(FormatError, match=f"'{name}' differs between the pairs of one text"):
        read_ground_truth(path, texts, videos)
    # What is printed works.
    told = [{**each, "relevance": int(i == j)} for each, (i, j) in zip(rows_, pairs, strict=True)]
    for each in told:
        del each[name]
    path = in_form(path, told)
    assert rows(read_ground_truth(path, texts, videos)) == [[i] for i in range(8)]
    path = in_form(path, [{k: x for k, x in each.items() if k != "relevance"} for each in told])
    assert rows(read_ground_truth(path, texts, videos)) == [sorted({i, (i + 3) % 8})
                                                            for i in range(8)]  # fmt: skip


_OF_OTHERS = {
    "row": lambda row, i, j: row, "category": lambda row, i, j: "abc"[j % 3],
    "price": lambda row, i, j: 1.5 * j, "fps": lambda row, i, j: (25, 30)[j % 2],
    "style": lambda row, i, j: "xyz"[i % 3], "words": lambda row, i, j: 3 + i,
    "start": lambda row, i, j: 0.25 * (row % 7), "endTime": lambda row, i, j: row % 5,
    "duration": lambda row, i, j: row % 3, "note": lambda row, i, j: f"note {row}",
    "user_id": lambda row, i, j: row % 3, "same": lambda row, i, j: "all",
    "Unnamed: 0": lambda row, i, j: row % 8 + i % 2,
}  # fmt: skip


@pytest.mark.parametrize("form", _FORMS)
@pytest.mark.parametrize("name", list(_OF_OTHERS))
def test_what_is_said_of_videos_texts_rows_and_times_is_no_judgement(tmp_path, form, name):
    texts, videos = [f"t{i}" for i in range(8)], [f"v{j}" for j in range(8)]
    pairs = [(i, i) for i in range(8)] + [(i, (i + 3) % 8) for i in range(8)]
    path = in_form(tmp_path / f"gt.{form}", [
        {"query_id": texts[i], "video_id": videos[j], name: _OF_OTHERS[name](row, i, j)}
        for row, (i, j) in enumerate(pairs)
    ])  # fmt: skip
    assert rows(read_ground_truth(path, texts, videos)) == [sorted({i, (i + 3) % 8})
                                                            for i in range(8)]  # fmt: skip


@pytest.mark.parametrize("form", ["json", "jsonl", "parquet"])
def test_lists_and_objects_beside_pairs_are_no_judgements(tmp_path, form):
    texts, videos = ["t0", "t1"], ["v0", "v1"]
    for value in (lambda i, j: [0, int(i == j)], lambda i, j: {"at": int(i == j)}):
        path = in_form(tmp_path / f"gt.{form}", [
            {"query_id": texts[i], "video_id": videos[j], "span": value(i, j)}
            for i in range(2) for j in range(2)
        ])  # fmt: skip
        assert rows(read_ground_truth(path, texts, videos)) == [[0, 1], [0, 1]]


def test_captions_that_several_videos_share_by_chance_are_not_asked_about(tmp_path):
    videos = [f"v{j}" for j in range(12)]
    lines = [f"v{j},{'a dog' if j < 4 else f'a cat {j}'},{('clean', 'raw')[j % 2]}"
             for j in range(12)]  # fmt: skip
    (tmp_path / "gt.csv").write_text("\n".join(["video_id,caption,source", *lines]))
    texts = ["a dog", *(f"a cat {j}" for j in range(4, 12))]
    assert rows(read_ground_truth(tmp_path / "gt.csv", texts, videos))[0] == [0, 1, 2, 3]


_TYPES = {
    "bool": "bool_", "int8": "int8", "uint8": "uint8", "int64": "int64", "float16": "float16",
    "float32": "float32", "float64": "float64", "decimal": "decimal128", "string": "string",
    "dictionary": "dictionary", "list of one": "list_", "list of bool": "list_",
}  # fmt: skip


def typed_column(kind, right):
    """The values as parquet holds them, and as text has them."""
    from decimal import Decimal

    pa = pytest.importorskip("pyarrow")
    whole = [int(value) for value in right]
    if kind == "bool":
        return pa.array([bool(value) for value in right])
    if kind == "decimal":
        return pa.array([Decimal(value) for value in whole], pa.decimal128(5, 2))
    if kind == "string":
        return pa.array([("no", "yes")[value] for value in whole])
    if kind == "dictionary":
        return pa.array(["01"[value] for value in whole]).dictionary_encode()
    if kind == "list of one":
        return pa.array([[value] for value in whole])
    if kind == "list of bool":
        return pa.array([[bool(value)] for value in whole])
    if kind.startswith("float"):
        return pa.array(np.array(whole, kind))
    return pa.array(whole, getattr(pa, kind)())


@pytest.mark.parametrize("name", ["relevance", "score", "label", "match", "target", "y", "hit"])
@pytest.mark.parametrize("kind", list(_TYPES))
@pytest.mark.parametrize("form", ["parquet", "csv", "json"])
def test_a_column_says_the_same_whatever_its_type_and_its_file(tmp_path, form, kind, name):
    """It is a grade, or is asked about, in each of them; no pair of 0 is right in silence."""
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow as pa

    texts, videos = ["t0", "t1", "t2"], ["v0", "v1", "v2"]
    ids = {"query_id": [t for t in texts for _ in videos], "video_id": videos * 3}
    table = pa.table({**ids, name: typed_column(kind, np.eye(3).reshape(-1))})
    path = tmp_path / f"gt.{form}"
    records = table.to_pylist()
    if form == "parquet":
        parquet.write_table(table, path)
    elif form == "csv":
        lines = [",".join(str(value) for value in each.values()) for each in records]
        path.write_text("\n".join([",".join(records[0]), *lines]))
    else:
        path.write_text(json.dumps(records, default=float))
    grade = name not in ("target", "y", "hit")
    if grade and not kind.startswith("list"):
        assert rows(read_ground_truth(path, texts, videos)) == [[0], [1], [2]]
        return
    said = "is not a grade" if grade else f"{name!r} differs between the pairs of one text"
    with pytest.raises(FormatError, match=said):
        read_ground_truth(path, texts, videos)
    with pytest.raises(FormatError, match=said):
        convert_ground_truth(path, tmp_path / "o.json")


@pytest.mark.parametrize("kind", ["bool", "int64", "float64"])
@pytest.mark.parametrize("no", [False, True])
def test_nothing_beside_a_yes_says_no(tmp_path, kind, no):
    """A column of 1 and null, and one of 1, 0 and null, are asked about as in other files."""
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow as pa

    texts, videos = ["t0", "t1", "t2"], ["v0", "v1", "v2"]
    column = [1 if i == j else 0 if no and i < j else None for i in range(3) for j in range(3)]
    held = [bool(value) if kind == "bool" and value is not None else value for value in column]
    ids = {"query_id": [t for t in texts for _ in videos], "video_id": videos * 3}
    table = pa.table({**ids, "hit": pa.array(held, "bool" if kind == "bool" else kind)})
    parquet.write_table(table, tmp_path / "gt.parquet")
    (tmp_path / "gt.json").write_text(json.dumps(table.to_pylist()))
    table.to_pandas().to_csv(tmp_path / "gt.csv", index=False)
    for form in ("parquet", "json", "csv"):
        with pytest.raises(FormatError, match="'hit' differs between the pairs of one text"):
            read_ground_truth(tmp_path / f"gt.{form}", texts, videos)


def test_columns_of_parquet_that_say_nothing_of_pairs_block_none(tmp_path):
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    import datetime

    table = {
        "query_id": ["t0", "t1", "t2"], "asin": ["v1", "v0", "v1"], "target": [1.0, 0.0, 1.0],
        "of": [{"a": 1}] * 3, "when": [datetime.date(2020, 1, 1)] * 3, "year": [1999, None, 2001],
        "vector": [[0.5, 1.0]] * 3, "mask": [[True], [True, False], []], "thumb": [b"\xff"] * 3,
        "part": [[{"b": [1]}]] * 3, "clean": [True, False, None], "nothing": [None] * 3,
    }  # fmt: skip
    parquet.write_table(pa.table(table), tmp_path / "gt.parquet")
    truth = read_ground_truth(tmp_path / "gt.parquet", ["t0", "t1", "t2"], ["v0", "v1"])
    assert rows(truth) == [[1], [0], [1]]


@pytest.mark.parametrize("names", [("relevance", "relevance"), ("target", "target")])
def test_a_column_that_is_twice_in_parquet_is_told_where_it_may_be_a_grade(tmp_path, names):
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    columns = [["t0", "t0"], ["v0", "v1"], [1, 0], [1, 0]]
    parquet.write_table(pa.table(columns, ["query_id", "video_id", *names]), tmp_path / "g.parquet")
    with pytest.raises(FormatError, match=f"has two columns {names[0]!r}; rename one of them"):
        read_ground_truth(tmp_path / "g.parquet", ["t0"], ["v0", "v1"])
    named_so = ["query_id", "video_id", "note", "note"]
    parquet.write_table(pa.table(columns, named_so), tmp_path / "g.parquet")
    assert rows(read_ground_truth(tmp_path / "g.parquet", ["t0"], ["v0", "v1"])) == [[0, 1]]


@pytest.mark.parametrize("kind", ["int64", "bool", "float32"])
def test_lists_of_grades_in_parquet_count_beside_lists_of_videos(tmp_path, kind):
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    right = [[i == j for j in range(3)] for i in range(3)]
    labels = pa.array(right).cast(pa.list_(pa.int8())).cast(pa.list_(pa.type_for_alias(kind)))
    for ids in ([["v0", "v1", "v2"]] * 3, [[0, 1, 2]] * 3):
        table = {"query_id": ["t0", "t1", "t2"], "video_ids": ids, "labels": labels}
        parquet.write_table(pa.table(table), tmp_path / "gt.parquet")
        videos = [str(name) for name in ids[0]]
        truth = read_ground_truth(tmp_path / "gt.parquet", ["t0", "t1", "t2"], videos)
        assert rows(truth) == [[0], [1], [2]]


@pytest.mark.parametrize("name", ["augmented", "gender", "fold"])
def test_two_values_that_belong_to_texts_or_videos_are_left_alone(tmp_path, name):
    texts, videos = [f"t{i}" for i in range(4)], ["v0", "v1", "v2"]
    pairs = [(0, 0), (0, 1), (1, 1), (2, 2), (3, 0), (3, 2)]
    lines = [f"t{i},v{j},{i % 2 if name == 'gender' else int(j == 1)}" for i, j in pairs]
    (tmp_path / "gt.csv").write_text("\n".join([f"query_id,video_id,{name}", *lines]))
    truth = read_ground_truth(tmp_path / "gt.csv", texts, videos)
    assert rows(truth) == [[0, 1], [1], [2], [0, 2]]


@pytest.mark.parametrize("name", ["labels", "label", "relevance", "grades", "scores", "is_match"])
@pytest.mark.parametrize("videos", ["video_ids", "positives", "item_ids"])
def test_grades_in_a_list_beside_that_of_the_videos_count(tmp_path, name, videos):
    content = [
        {"query_id": f"t{i}", videos: ["v0", "v1", "v2"], name: [int(i == j) for j in range(3)]}
        for i in range(3)
    ]
    names = [f"t{i}" for i in range(3)], [f"v{i}" for i in range(3)]
    truth = read(tmp_path, content, texts=names[0], videos=names[1])
    assert rows(truth) == [[0], [1], [2]] and truth.graded is not None
    content = [{"target" if key == name else key: x for key, x in each.items()} for each in content]
    with pytest.raises(FormatError, match="'target' differs .*; call it relevance"):
        read(tmp_path, content, texts=names[0], videos=names[1])


@pytest.mark.parametrize("twice", ["video", "query", "Video", "score"])
def test_two_columns_of_one_name_that_differ_are_refused(tmp_path, twice):
    cells = {"query": "t2", "score": "1"}.get(twice, "v3")
    content = f"query,video,score,note,note,{twice}\nt1,v1,1,a,b,{{}}\n"
    same = {"query": "t1", "score": "1"}.get(twice, "v1")
    one = read(tmp_path, content.format(same), name="gt.csv", allow_unjudged=True)
    assert rows(one)[0] == [1]
    changed = content.format("0" if twice == "score" else cells)
    with pytest.raises(FormatError, match=f"two columns .*'{twice}', which differ in row 1"):
        read(tmp_path, changed, name="gt.csv", allow_unjudged=True)
    # What is printed works.
    renamed = changed.replace(f"note,{twice}\n", "note,other\n")
    assert rows(read(tmp_path, renamed, name="gt.csv", allow_unjudged=True))[0] == [1]


@pytest.mark.parametrize(
    ("before", "cells"),
    [
        ("# made in May\n# by hand\n", ","),
        ("sep=;\n", ";"),
        ('"sep=;"\r\n', ";"),
        ("# May\n", "\t"),
    ],
)
def test_what_stands_before_a_table_is_no_pair_of_it(tmp_path, before, cells):
    table = [["query", "video"], ["t0", "v1"], ["t1", "v0"]]
    (tmp_path / "gt.csv").write_text(before + "".join(cells.join(row) + "\n" for row in table))
    got = read_ground_truth(tmp_path / "gt.csv", ["t0", "t1"], ["v0", "v1"])
    assert rows(got) == [[1], [0]]


def test_captions_that_begin_with_a_hash_are_no_remarks(tmp_path):
    (tmp_path / "gt.csv").write_text("#cats asleep,v1\n#dogs,v0\n")
    got = read_ground_truth(tmp_path / "gt.csv", ["#cats asleep", "#dogs"], ["v0", "v1"])
    assert rows(got) == [[1], [0]]


def test_a_diagonal_over_the_same_ids_in_another_order_is_asked_about():
    names = [f"x{i}" for i in range(5)]
    with pytest.raises(FormatError, match="row 0 is 'x0' and 'x4'.*rows"):
        read_ground_truth("diagonal", names, names[::-1])
    assert rows(read_ground_truth("diagonal", names, names)) == [[i] for i in range(5)]
    others = [f"v{i}" for i in range(5)]
    assert rows(read_ground_truth("diagonal", names, others)) == [[i] for i in range(5)]


def _judged(path, text, grade, kind):
    """Two texts of three videos each, of which one is right, in a file."""
    rows = [(f"t{i}", f"v{j}", int(i == j)) for i in range(2) for j in range(3)]
    names = (text, "video", grade)
    records = [dict(zip(names, row, strict=True)) for row in rows]
    if kind == "parquet":
        pq.write_table(pa.table({n: [r[n] for r in records] for n in names}), path)
    elif kind in ("csv", "tsv"):
        mark = "\t" if kind == "tsv" else ","
        path.write_text("".join(mark.join(map(str, row)) + "\n" for row in (names, *rows)))
    elif kind == "jsonl":
        path.write_text("\n".join(map(json.dumps, records)))
    elif kind == "columns.json":
        path.write_text(json.dumps({n: [r[n] for r in records] for n in names}))
    else:
        path.write_text(json.dumps(records))


@pytest.mark.parametrize("kind", ["csv", "tsv", "json", "jsonl", "parquet", "columns.json"])
@pytest.mark.parametrize("text", ["query_id", "text", "caption", "sentence", "description"])
@pytest.mark.parametrize("grade", ["relevance", "label", "score", "grade", "rating", "match"])
def test_judgements_beside_captions_count_as_those_beside_ids(tmp_path, kind, text, grade):
    path = tmp_path / f"gt.{kind}"
    _judged(path, text, grade, kind)
    truth = read_ground_truth(path, ["t0", "t1"], ["v2", "v1", "v0"])
    assert rows(truth) == [[2], [1]]
    assert truth.graded is not None and [len(of) for of in truth.graded.rows] == [3, 3]


JUDGED_LISTS = {
    "labels": [{"video": "v0", "captions": ["a", "b"], "labels": [1, 0]},
               {"video": "v1", "captions": ["b", "a"], "labels": [1, 0]}],
    "inside": [{"video": "v0", "captions": [{"text": "a", "label": 1}, {"text": "b", "label": 0}]},
               {"video": "v1", "captions": [{"text": "b", "label": 1}, {"text": "a", "label": 0}]}],
    "by video": {"v0": {"captions": ["a", "b"], "grades": [1, 0]},
                 "v1": {"captions": ["b", "a"], "grades": [1, 0]}},
    "records by video": {"v0": [{"caption": "a", "label": 1}, {"caption": "b", "label": 0}],
                         "v1": [{"caption": "b", "label": 1}, {"caption": "a", "label": 0}]},
}  # fmt: skip


@pytest.mark.parametrize("form", JUDGED_LISTS)
def test_captions_of_a_list_have_their_own_judgements(tmp_path, form):
    truth = read(tmp_path, JUDGED_LISTS[form], texts=["a", "b"], videos=["v1", "v0"])
    assert rows(truth) == [[1], [0]]


@pytest.mark.parametrize("labels", [["dog", "cat", "dog"], [0, 1, 2], [-1.5, -0.2, -0.7]])
def test_classes_of_videos_and_scores_of_captions_are_no_judgements(tmp_path, labels):
    records = [
        {"video": f"v{i}", "caption": f"c{i}", "label": label} for i, label in enumerate(labels)
    ]
    truth = read(tmp_path, records, texts=["c0", "c1", "c2"], videos=["v0", "v1", "v2"])
    assert rows(truth) == [[0], [1], [2]]
    several = [{"video": f"v{i}", "captions": [f"c{i}", f"d{i}"], "label": i} for i in range(2)]
    truth = read(tmp_path, several, texts=["c0", "d0", "c1", "d1"], videos=["v0", "v1"])
    assert rows(truth) == [[0], [0], [1], [1]]


@pytest.mark.parametrize("pattern", ["{}#0", "{}_0", "{}-1", "{}.mp4", "{}.mp4#2", "{}"])
@pytest.mark.parametrize("ending", ["", ".mp4"])
def test_a_diagonal_over_texts_called_after_videos_in_another_order_is_asked_about(pattern, ending):
    names = [f"clip {letter}" for letter in "abcde"]
    texts = [pattern.format(name) for name in names]
    videos = [f"{name}{ending}" for name in names]
    with pytest.raises(FormatError, match="in another order .row 0 is 'clip a.* and 'clip e"):
        read_ground_truth("diagonal", texts, videos[::-1])
    assert rows(read_ground_truth("diagonal", texts, videos)) == [[i] for i in range(5)]
    others = [f"t{i}" for i in (3, 1, 4, 0, 2)]
    assert rows(read_ground_truth("diagonal", others, videos)) == [[i] for i in range(5)]


def test_a_diagonal_over_captions_of_some_of_the_videos_is_asked_about():
    with pytest.raises(FormatError, match="row 1 is 'a#1' and 'b'"):
        read_ground_truth("diagonal", ["a#0", "a#1", "b#0"], ["a", "b", "c"])


@pytest.mark.parametrize("names", [
    ("caption_idx", "image_idx"), ("sent", "doc"), ("txt_idx", "img_idx"), ("query_id", "video_id"),
])  # fmt: skip
@pytest.mark.parametrize("kind", [
    "csv", "tsv", "named.csv", "parquet", "records.json", "split.json", "named.parquet",
])  # fmt: skip
@pytest.mark.parametrize("graded", [False, True])
def test_the_row_numbers_of_pandas_are_no_side_of_a_ground_truth(tmp_path, names, kind, graded):
    right = [2, 0, 3, 1]
    frame = pd.DataFrame({names[1]: right, names[0]: range(4)})
    frame = frame.assign(relevance=1) if graded else frame
    path, shuffled = tmp_path / f"gt.{kind}", frame.sample(frac=1, random_state=1)
    whole = shuffled.reset_index()
    {
        "csv": lambda: shuffled.to_csv(path), "tsv": lambda: shuffled.to_csv(path, sep="\t"),
        "named.csv": lambda: whole.to_csv(path, index=False),
        "parquet": lambda: shuffled.to_parquet(path),
        "named.parquet": lambda: whole.to_parquet(path),
        "records.json": lambda: whole.to_json(path, orient="records"),
        "split.json": lambda: shuffled.to_json(path, orient="split"),
    }[kind]()  # fmt: skip
    truth = read_ground_truth(path, list("0123"), list("0123"))
    assert rows(truth) == [[item] for item in right]


@pytest.mark.parametrize("right", ["positives", "pos", "relevant", "video_ids"])
@pytest.mark.parametrize("beside", [{}, {"text": "a dog"}, {"query": "a dog"}])
def test_positives_by_text_count_and_negatives_do_not(tmp_path, right, beside):
    content = {
        "t0": {**beside, right: ["a"], "negatives": ["b", "nobody knows"]},
        "t1": {**beside, right: ["b", "c"], "negatives": ["a", "a"]},
    }
    assert rows(read(tmp_path, content, texts=["t0", "t1"], videos=["a", "b", "c"])) == [
        [0],
        [1, 2],
    ]
    content["t1"][right] = []
    with pytest.raises(FormatError, match="the text 't1' has an empty entry"):
        read(tmp_path, content, texts=["t0", "t1"], videos=["a", "b", "c"])


def test_other_lists_beside_captions_are_no_positives(tmp_path):
    content = {"a": {"captions": ["x", "y"], "answers": ["dog"]},
               "b": {"captions": ["z"], "answers": ["cat"]}}  # fmt: skip
    truth = read(tmp_path, content, texts=["a#0", "a#1", "b#0"], videos=["a", "b"])
    assert rows(truth) == [[0], [0], [1]]


PATHS = {
    "gt.json": '{"t0": "v0", "t1": "v1"}', "gt.csv": "query,video\nt0,v0\nt1,v1\n",
    "gt.txt": "t0 0 v0 1\nt1 0 v1 1\n", "lists.json": '{"v0": ["t0"], "v1": ["t1"]}',
    "captions.csv": "caption,video\nt0,v0\nt1,v1\n",
    "paths.json": '{"t0": "/x/v0.mp4", "t1": "y/v1"}',
}  # fmt: skip


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("path", ["/data/{}.jpg", "data/{}", "C:\\data\\{}.mp4"])
def test_ids_that_are_paths_are_matched_without_their_folders_where_that_tells_all_apart(
    tmp_path, name, path
):
    gt = tmp_path / name
    gt.write_text(PATHS[name])
    found = read_ground_truth(gt, ["t0", "t1"], [path.format("v1"), path.format("v0")])
    assert rows(found) == [[1], [0]]
    assert "matched without folders and file endings" in found.notes[-1]
    with pytest.raises(FormatError, match="v0"):
        videos = [path.format("v1"), path.format("v0"), f"/other/{path.format('v0')}"]
        read_ground_truth(gt, ["t0", "t1"], videos)


def test_names_that_only_their_folders_tell_apart_stay_apart(tmp_path):
    with pytest.raises(FormatError, match="neither the id of a text"):
        read(tmp_path, {"t0": "a/v0", "t1": "b/v0"}, texts=["t0", "t1"], videos=["c/v0", "c/v1"])


# --- candidates, triplets and grades above 0 ------------------------------------------------


def in_all_forms(tmp_path, records, ending):
    """Records as one file of a kind; nothing where a table of text has no place for lists."""
    path = tmp_path / f"gt.{ending}"
    if ending == "parquet":
        pq.write_table(pa.Table.from_pylist(records), path)
    elif ending == "csv":
        pd.DataFrame(records).to_csv(path, index=False)
    elif ending == "jsonl":
        path.write_text("\n".join(map(json.dumps, records)))
    else:
        path.write_text(json.dumps(records))
    return path


CHOICES = [["v3", "v1"], ["v1", "v2", "v3"], ["v2", "v3"], ["v2", "v1"]]
RIGHT = ["v1", "v2", "v3", "v2"]


def choices(listed, answer, values, side="query_id"):
    each = zip(TEXTS, CHOICES, values, strict=True)
    return [{side: text, listed: names, answer: value} for text, names, value in each]


@pytest.mark.parametrize("ending", ["json", "jsonl", "parquet"])
@pytest.mark.parametrize("listed", ["candidates", "options", "video_ids", "candidate_videos"])
@pytest.mark.parametrize("answer", ["answer", "answer_idx", "correct_idx", "gold", "target"])
@pytest.mark.parametrize("told", ["place", "from one", "name"])
def test_of_candidates_the_one_that_the_answer_says_is_right(
    tmp_path, ending, listed, answer, told
):
    places = [names.index(name) for names, name in zip(CHOICES, RIGHT, strict=True)]
    values = {"place": places, "from one": [at + 1 for at in places], "name": RIGHT}[told]
    path = in_all_forms(tmp_path, choices(listed, answer, values), ending)
    assert rows(read_ground_truth(path, TEXTS, VIDEOS)) == [[1], [2], [0], [2]]


@pytest.mark.parametrize("ending", ["json", "parquet"])
def test_of_candidates_with_labels_those_above_0_are_right(tmp_path, ending):
    labels = [[int(x == y) for x in names] for names, y in zip(CHOICES, RIGHT, strict=True)]
    path = in_all_forms(tmp_path, choices("candidates", "labels", labels), ending)
    assert rows(read_ground_truth(path, TEXTS, VIDEOS)) == [[1], [2], [0], [2]]


@pytest.mark.parametrize("listed", ["candidates", "captions"])
def test_of_captions_of_a_video_the_one_that_the_answer_says_is_right(tmp_path, listed):
    records = [
        {"video_id": "v1", listed: ["a cat", "a dog"], "answer": 1},
        {"video_id": "v2", listed: ["a cat", "a dog"], "answer": 0},
    ]
    truth = read(tmp_path, records, texts=["a dog", "a cat"], videos=["v1", "v2"])
    assert rows(truth) == [[0], [1]]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([1, 2, 1, 1], r"the places 1, 2 under 'answer' may count from 0 or from 1"),
        ([1, 1, 7, 0], r"entry 2 has 7 as its 'answer', which is neither one of its candidates"),
        (["v1", "v2", "B", "v2"], "entry 2 has 'B' as its 'answer'"),
        ([1, 1, None, 0], "entry 2 has no 'answer' as the first has"),
    ],
)
@pytest.mark.parametrize("listed", ["candidates", "video_ids"])
def test_an_answer_that_may_be_any_is_asked_about(tmp_path, listed, values, words):
    with pytest.raises(FormatError, match=words):
        read(tmp_path, choices(listed, "answer", values))


def test_an_answer_that_may_be_a_name_or_a_place_is_asked_about(tmp_path):
    records = [{"query_id": "t1", "candidates": [1, 0, 2], "answer": 1},
               {"query_id": "t2", "candidates": [2, 1, 0], "answer": 0}]  # fmt: skip
    with pytest.raises(FormatError, match="may be places or names"):
        read(tmp_path, records, texts=["t1", "t2"], videos=["0", "1", "2"])


@pytest.mark.parametrize("listed", ["captions", "texts"])
@pytest.mark.parametrize("answer", ["label", "target"])
def test_a_class_of_a_video_chooses_none_of_its_captions(tmp_path, listed, answer):
    records = [{"video_id": name, listed: ["a cat", f"a dog {name}"], answer: at}
               for at, name in enumerate(["v1", "v2"])]  # fmt: skip
    texts = ["a cat", "a dog v1", "a dog v2"]
    if listed == "texts":
        with pytest.raises(FormatError, match="names no text"):
            read(tmp_path, records, texts=texts, videos=["v1", "v2"])
    else:
        found = read(tmp_path, records, texts=texts, videos=["v1", "v2"])
        assert rows(found) == [[0, 1], [0], [1]]


def test_a_label_beside_videos_grades_all_or_is_asked_about(tmp_path):
    assert rows(read(tmp_path, choices("video_ids", "label", [1, 1, 1, 1])))[0] == [0, 1]
    with pytest.raises(FormatError, match="may say which of its 'video_ids' is right, or grade"):
        read(tmp_path, choices("video_ids", "label", [1, 1, 0, 0]))


@pytest.mark.parametrize("ending", ["json", "jsonl", "csv", "parquet"])
@pytest.mark.parametrize("anchor", ["anchor", "anchor_text", "query", "text", "query_id"])
@pytest.mark.parametrize(
    ("positive", "negative"),
    [("positive", "negative"), ("pos", "neg"), ("positives", "negatives"), ("pos_id", "neg_id"),
     ("positive_video_id", "negative_video_id"), ("video_id", "hard_negative")],
)  # fmt: skip
@pytest.mark.parametrize("listed", [False, True])
def test_triplets_are_pairs_of_what_is_right(tmp_path, ending, anchor, positive, negative, listed):
    if listed and ending == "csv":
        return
    records = []
    for text, right in zip(TEXTS, EXPECTED, strict=True):
        names = [VIDEOS[row] for row in right]
        others = [name for name in VIDEOS[:3] if name not in names]
        if listed:
            records.append({anchor: text, positive: names, negative: others})
        else:
            records += [{anchor: text, positive: x, negative: y} for x in names for y in others]
    path = in_all_forms(tmp_path, records, ending)
    assert rows(read_ground_truth(path, TEXTS, VIDEOS)) == EXPECTED


MEASURED = "query_id,video_id,{}\nt1,v1,{}\nt1,v3,{}\nt2,v2,{}\nt3,v3,{}\n12,v2,{}\n"


@pytest.mark.parametrize(("name", "low", "high"), [("score", 0.1, 0.9), ("rating", 1, 5)])
def test_measured_grades_that_are_all_above_0_are_asked_about(tmp_path, name, low, high):
    values = [high, low, high, high, high]
    with pytest.raises(FormatError, match=f"its grades '{name}', such as {low:.1f}, {high:.1f} of"):
        read(tmp_path, MEASURED.format(name, *values), name="gt.csv")
    # Where one is not right the rest are, and whole scores are those of TREC.
    values[1] = 0
    assert rows(read(tmp_path, MEASURED.format(name, *values), name="gt.csv"))[0] == [1]
    for right in (MEASURED.format("score", 2, 1, 1, 1, 1), MEASURED.format(name, *[high] * 5),
                  MEASURED.format("relevance", high, low, high, high, high)):  # fmt: skip
        assert rows(read(tmp_path, right, name="gt.csv"))[0] == [0, 1]


def test_decimals_of_relevance_above_0_are_right_and_that_is_said(tmp_path):
    truth = read(tmp_path, MEASURED.format("relevance_score", 0.9, 0.1, 1, 1, 1), name="gt.csv")
    assert rows(truth)[0] == [0, 1]
    assert "such as 0.1, 0.9 of one text, are all above 0, so every pair counts" in truth.notes[0]
    truth = read(tmp_path, MEASURED.format("relevance_score", 0.9, 0, 1, 1, 1), name="gt.csv")
    assert rows(truth)[0] == [1] and not truth.notes


OF_TEXT = {"t1": "v1", "t2": "v2", "t3": "v3", "12": "v2"}
OTHER = {"v1": "v2", "v2": "v3", "v3": "lonely"}


def two_videos(right, other="video_id", text="text_id", **beside):
    return [{text: t, other: OTHER[v], right: v, **beside} for t, v in OF_TEXT.items()]


@pytest.mark.parametrize("ending", ["csv", "json", "jsonl", "parquet", "columns"])
@pytest.mark.parametrize(
    ("right", "other"),
    [("gt_video", "video"), ("correct_video_id", "video_id"), ("targetVideo", "video"),
     ("relevant_item", "item"), ("positive_image_id", "image_id"), ("true_video", "pred_video"),
     ("gt_video_id", "top1_video_id"), ("video_gt", "retrieved_video")],
)  # fmt: skip
def test_the_video_that_is_called_right_is(tmp_path, ending, right, other):
    records = two_videos(right, other)
    if ending == "columns":
        path = tmp_path / "gt.json"
        path.write_text(json.dumps({k: [each[k] for each in records] for k in records[0]}))
    else:
        path = in_all_forms(tmp_path, records, ending)
    truth = read_ground_truth(path, TEXTS, VIDEOS)
    assert rows(truth) == [[1], [2], [0], [2]]
    if other in ("video", "video_id"):
        assert f"'{right}' is read as the right item, and '{other}' is not" in truth.notes[0]


@pytest.mark.parametrize("ending", ["csv", "json", "parquet"])
def test_the_right_one_of_two_videos_is_asked_about_where_nothing_says_it(tmp_path, ending):
    for records, what in (
        (two_videos("target_id"), "'target_id' and 'video_id' name different items in entry 0"),
        (two_videos("gold_id", "video"), "'gold_id' and 'video' name different items"),
        (two_videos("gt_video", relevance=1), "'gt_video' and 'video_id' name different items"),
    ):
        path = in_all_forms(tmp_path, records, ending)
        with pytest.raises(FormatError, match=what):
            read_ground_truth(path, TEXTS, VIDEOS)


@pytest.mark.parametrize("ending", ["csv", "json", "parquet"])
def test_a_second_video_leaves_a_right_one_alone(tmp_path, ending):
    right = [{"text_id": t, "video_id": v} for t, v in OF_TEXT.items()]
    for beside in (
        {"pred_video_id": "v9"}, {"gt_video": 1}, {"target": "cat"}, {"correct_video": "true"},
        {"target_id": 7},
    ):  # fmt: skip
        path = in_all_forms(tmp_path, [{**each, **beside} for each in right], ending)
        truth = read_ground_truth(path, TEXTS, VIDEOS)
        assert rows(truth) == [[1], [2], [0], [2]] and not truth.notes
    # Candidates that are judged each.
    judged = [
        {"text_id": t, "video_id": x, "gt_video": v, "relevance": int(x == v)}
        for t, v in OF_TEXT.items()
        for x in VIDEOS
    ]
    path = in_all_forms(tmp_path, judged, ending)
    assert rows(read_ground_truth(path, TEXTS, VIDEOS)) == [[1], [2], [0], [2]]


SAID = [f"someone plays the guitar {i}" for i in range(4)]
OF_CAPTION = [1, 2, 0, 2]


@pytest.mark.parametrize("ending", ["csv", "json", "jsonl", "parquet"])
@pytest.mark.parametrize("start", [30, "30"])
def test_files_of_audiocaps_are_read_as_published(tmp_path, ending, start):
    records = [
        {"audiocap_id": 900 + i, "youtube_id": VIDEOS[j], "start_time": start, "caption": caption}
        for i, (j, caption) in enumerate(zip(OF_CAPTION, SAID, strict=True))
    ]
    path = in_all_forms(tmp_path, records, ending)
    numbers = [str(900 + i) for i in range(4)]
    for texts in (numbers, SAID):
        for videos in (VIDEOS, [f"{name}_30" for name in VIDEOS]):
            assert rows(read_ground_truth(path, texts, videos)) == [[j] for j in OF_CAPTION]


@pytest.mark.parametrize(
    "line", ["{}\t00.01.5\t00:05\t1\t2\t{}", "{} 24.3 30.4##{}", "{}\t3\t7.5\t{}", "{}\t{}"]
)
def test_captions_behind_times_are_read(tmp_path, line):
    each = list(zip(OF_CAPTION, SAID, strict=True))
    text = "\n".join(line.format(VIDEOS[j], caption) for j, caption in each)
    assert rows(read(tmp_path, text, name="gt.txt", texts=SAID)) == [[j] for j in OF_CAPTION]
    # What is so already is no advice.
    other = [f"{caption}!" for caption in SAID]
    with pytest.raises(FormatError, match="no text is called 'someone .* 0' or 'v1#0'") as caught:
        read(tmp_path, text, name="gt.txt", texts=other)
    assert "by their captions" not in str(caught.value)
    assert "call the texts" in str(pytest.raises(FormatError, read, tmp_path, text, name="g").value)


@pytest.mark.parametrize("quoted", [json.dumps, str])
@pytest.mark.parametrize("ending", ["csv", "json", "jsonl", "parquet"])
def test_lists_that_stand_as_text_in_a_cell_are_read(tmp_path, ending, quoted):
    shown = quoted if ending in ("csv", "parquet") else lambda values: values
    of = {0: SAID[:2], 1: SAID[2:]}
    records = [
        {"raw": shown(found), "sentids": shown([10 * j + 1, 10 * j + 2]),
         "filename": f"{VIDEOS[j]}.jpg"}
        for j, found in of.items()
    ]  # fmt: skip
    path = in_all_forms(tmp_path, records, ending)
    for texts in (SAID, ["1", "2", "11", "12"], ["v3#0", "v3#1", "v1#0", "v1#1"]):
        assert rows(read_ground_truth(path, texts, VIDEOS)) == [[0], [0], [1], [1]]
    lists = [{"query_id": t, "video_ids": shown(v)} for t, v in zip(TEXTS, [["v1"], ["v1", "v2"],
             ["v3"], ["v2"]], strict=True)]  # fmt: skip
    path = in_all_forms(tmp_path, lists, ending)
    assert rows(read_ground_truth(path, TEXTS, VIDEOS)) == EXPECTED


NUMBERS = {"v3": [3], "v1": [1, 2], "v2": [2, 12], "lonely": []}


def listed(path, sides, of):
    """One entry for a video, with the list of its texts, in any kind of file."""
    entries = [{sides[0]: video, sides[1]: texts} for video, texts in of.items() if texts]
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(entries), path)
    elif path.suffix == ".jsonl":
        path.write_text("\n".join(map(json.dumps, entries)))
    elif path.suffix == ".json":
        path.write_text(json.dumps(entries))
    else:
        pd.DataFrame(entries).to_csv(path, index=path.stem == "indexed")


@pytest.mark.parametrize("sides", [("video", "texts"), ("video_id", "query_ids"),
                                   ("image", "queries"), ("video_id", "text_ids")])  # fmt: skip
@pytest.mark.parametrize("name", ["gt.json", "gt.jsonl", "gt.csv", "indexed.csv", "gt.parquet"])
@pytest.mark.parametrize("numbers", [True, False])
def test_a_video_with_the_list_of_its_texts_is_read_whatever_their_ids_are(
    tmp_path, numbers, name, sides
):
    texts = [each.removeprefix("t") if numbers else each for each in TEXTS]
    of = {
        video: [each if numbers else TEXTS[texts_of.index(each)] for each in found]
        for texts_of in [[1, 2, 3, 12]] for video, found in NUMBERS.items()
    }  # fmt: skip
    listed(tmp_path / name, sides, of)
    found = read_ground_truth(tmp_path / name, texts, VIDEOS)
    assert rows(found) == EXPECTED


def test_cells_that_hold_several_names_and_are_no_lists_are_named(tmp_path):
    path = tmp_path / "gt.csv"
    path.write_text('video_id,query_ids\nv1,"t1,t2"\nv2,"t2,12"\nv3,t3\n')
    with pytest.raises(FormatError, match="'t1,t2' is not the id of a text"):
        read_ground_truth(path, TEXTS, VIDEOS)
    path.write_text('videos,queries\nv1,"a man, asleep"\nv2,a dog\n')
    assert rows(read_ground_truth(path, ["a dog", "a man, asleep"], ["v1", "v2"])) == [[1], [0]]


def test_a_table_that_names_one_side_is_told_how_to_name_the_other(tmp_path):
    rows = ["filename,fold,target,category", "1-a.wav,1,0,dog", "2-b.wav,2,1,rain"]
    (tmp_path / "gt.csv").write_text("\n".join(rows))
    names = ["dog", "rain"], ["1-a.wav", "2-b.wav"]
    with pytest.raises(FormatError, match="names one side, 'filename'; call .* texts 'query_id'"):
        read_ground_truth(tmp_path / "gt.csv", *names)
    rows[0] = rows[0].replace("category", "query_id")
    (tmp_path / "gt.csv").write_text("\n".join(rows))
    found = read_ground_truth(tmp_path / "gt.csv", *names)
    assert [x.tolist() for x in found.positives] == [[0], [1]]
