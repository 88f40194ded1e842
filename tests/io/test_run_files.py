"""Rankings of other tools are read as they are meant."""

import gzip
import json
import random
import re
import subprocess
import sys

import numpy as np
import pytest

from rerank.core.errors import FormatError, RerankError, RerankWarning
from rerank.io import (
    DirectionResult,
    convert_ground_truth,
    read_embeddings,
    read_ground_truth,
    read_rankings,
    read_scores,
    write_results,
    write_topk,
)
from rerank.io.run_files import convert_rankings
from rerank.tasks.evaluate_lists import judge_lists

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
    "run.trec": trec, "run.txt": trec, "run.tsv": trec, "run.csv": trec, "run": trec,
    "ranx.json": ranx, "names.json": names, "n.json": nested,
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


# -------------------------------------------------------- what says how good an item is


def of_rows(path, name, turn, order=ROWS):
    path.write_text(f"query,video,{name}\n" + "".join(f"{q},{i},{turn(s)}\n" for q, i, s in order))


@pytest.mark.parametrize("name", ["distance", "_distance", "Distance", "dist"])
def test_the_smallest_distance_is_best(tmp_path, name):
    of_rows(tmp_path / "r.csv", name, lambda s: 1 - s, order=ROWS[::-1])
    (found,) = read_rankings(tmp_path / "r.csv")
    assert dict(zip(found.query_ids, found.items, strict=True)) == WANT
    lines = [
        {"query": q, "hits": [{"id": i, name: 1 - s} for p, i, s in ROWS[::-1] if p == q]}
        for q in WANT
    ]
    (tmp_path / "r.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (found,) = read_rankings(tmp_path / "r.jsonl")
    assert dict(zip(found.query_ids, found.items, strict=True)) == WANT


def test_scores_and_distances_in_lists_of_their_own(tmp_path):
    for values, turn in (
        ("distances", lambda s: 1 - s),
        ("scores", float),
        ("similarities", float),
    ):
        backwards = {q: [(i, turn(s)) for p, i, s in ROWS[::-1] if p == q] for q in WANT}
        records = [
            {"query": q, "neighbors": [i for i, _ in each], values: [s for _, s in each]}
            for q, each in backwards.items()
        ]
        (tmp_path / "r.json").write_text(json.dumps(records))
        (found,) = read_rankings(tmp_path / "r.json")
        assert dict(zip(found.query_ids, found.items, strict=True)) == WANT
    records[0]["similarities"].pop()
    (tmp_path / "r.json").write_text(json.dumps(records))
    with pytest.raises(FormatError, match="2 neighbors and 1 similarities"):
        read_rankings(tmp_path / "r.json")


@pytest.mark.parametrize("name", ["similarity", "cosine", "sim"])
def test_other_words_for_scores(tmp_path, name):
    of_rows(tmp_path / "r.csv", name, float, order=ROWS[::-1])
    (found,) = read_rankings(tmp_path / "r.csv")
    assert dict(zip(found.query_ids, found.items, strict=True)) == WANT


def test_a_number_without_a_meaning_is_asked_about(tmp_path):
    of_rows(tmp_path / "r.csv", "foo", float)
    with pytest.raises(FormatError, match="'foo'.*call it score.*or distance"):
        read_rankings(tmp_path / "r.csv")


WHOLE = {"q1": (9, 5), "q2": (3, -8)}


@pytest.mark.parametrize("name", ["points", "foo"])
@pytest.mark.parametrize("form", ["csv", "json", "jsonl", "lists", "query"])
def test_whole_numbers_of_an_unknown_name_are_the_score_or_named(tmp_path, name, form):
    rows = [
        {"query_id": q, "doc_id": i, name: n}
        for q in WANT for i, n in sorted(zip(WANT[q], WHOLE[q], strict=True))
    ]  # fmt: skip
    of = {q: [row for row in rows if row["query_id"] == q] for q in WANT}
    content = {
        "csv": ",".join(rows[0]) + "\n"
        + "\n".join(",".join(map(str, row.values())) for row in rows),
        "json": json.dumps(rows),
        "jsonl": "\n".join(map(json.dumps, rows)),
        "lists": json.dumps([
            {"query": q, "docs": [x["doc_id"] for x in of[q]], name: [x[name] for x in of[q]]}
            for q in of
        ]),
        "query": json.dumps({q: [{"id": x["doc_id"], name: x[name]} for x in of[q]] for q in of}),
    }[form]  # fmt: skip
    path = tmp_path / f"run.{form if form in ('csv', 'jsonl') else 'json'}"
    path.write_text(content)
    (found,) = read_rankings(path)
    if name == "points":
        assert dict(zip(found.query_ids, found.items, strict=True)) == WANT and not found.notes
        return
    assert found.items == (("a", "b"), ("b", "c"))
    assert len(found.notes) == 1
    assert "order of the file counts, and 'foo' is not used" in found.notes[0]
    assert "call it score" in found.notes[0]
    # What is printed works.
    path.write_text(content.replace("foo", "score"))
    (found,) = read_rankings(path)
    assert dict(zip(found.query_ids, found.items, strict=True)) == WANT
    with pytest.warns(RerankWarning, match="'foo' is not used"):
        path.write_text(content)
        convert_rankings(path, tmp_path / "run.h5", queries="texts")


@pytest.mark.parametrize("numbers", [(2, 1), (1, 2), (7, 7)])
def test_whole_numbers_that_agree_with_the_order_are_left_alone(tmp_path, numbers):
    lines = [f"{q},{i},{n}\n" for q in WANT for i, n in zip(WANT[q], numbers, strict=True)]
    (tmp_path / "run.csv").write_text("query,video,foo\n" + "".join(lines))
    (found,) = read_rankings(tmp_path / "run.csv")
    assert dict(zip(found.query_ids, found.items, strict=True)) == WANT and not found.notes


SCORED = {q: dict(zip(WANT[q], SCORES[q], strict=True)) for q in WANT}
LISTED = {q: list(WANT[q]) for q in WANT}
RECORDS = [{"query": q, "doc": i, "score": s} for q, i, s in ROWS]
PARALLEL = {q: {"ids": list(WANT[q]), "scores": SCORES[q]} for q in WANT}
WRAPPED = {
    "run": ({"run": SCORED}, ""),
    "results": ({"results": SCORED}, ""),
    "rankings": ({"rankings": SCORED}, ""),
    "any word": ({"bm25": SCORED}, ""),
    "beside": ({"name": "bm25", "k": 2, "meta": {}, "run": SCORED}, ""),
    "twice": ({"data": {"run": SCORED}}, ""),
    "names": ({"rankings": LISTED}, ""),
    "records": ({"run": RECORDS}, ""),
    "lists of lists": ({"results": PARALLEL}, ""),
    "no wrapper": (PARALLEL, ""),
    "said of items": ({q: {i: {"score": s} for i, s in SCORED[q].items()} for q in WANT}, ""),
    "direction": ({"run": {"t2v": SCORED}}, "t2v"),
    "other words": ({"video_to_text": SCORED}, "v2t"),
}


@pytest.mark.parametrize("name", WRAPPED)
def test_rankings_in_a_wrapper_are_read(tmp_path, name):
    content, direction = WRAPPED[name]
    (tmp_path / "run.json").write_text(json.dumps(content))
    (found,) = read_rankings(tmp_path / "run.json")
    assert dict(zip(found.query_ids, found.items, strict=True)) == WANT
    assert found.direction == direction


def test_two_runs_in_one_file_are_asked_about_and_queries_are_no_wrappers(tmp_path):
    path = tmp_path / "run.json"
    path.write_text(json.dumps({"bm25": SCORED, "dense": SCORED}))
    with pytest.raises(FormatError, match="holds the runs 'bm25', 'dense'; keep one"):
        read_rankings(path)
    deep: dict = SCORED
    for _ in range(700):
        deep = {"run": deep}
    path.write_text(json.dumps(deep))
    with pytest.raises(FormatError):
        read_rankings(path)
    for content in ({"run": ["b", "a"]}, {"run": {"b": 2, "a": 1}}, {"run": [["b", 2], ["a", 1]]}):
        path.write_text(json.dumps(content))
        (found,) = read_rankings(path)
        assert (found.query_ids, found.items) == (("run",), (("b", "a"),))


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("scored", [False, True])
@pytest.mark.parametrize("ending", ["tsv", "csv", "txt"])
def test_columns_without_a_header_as_ms_marco_has_them(tmp_path, first, scored, ending):
    mark = "," if ending == "csv" else "\t"
    lines = [
        mark.join([q, item, str(first + rank), *([str(9 - rank)] if scored else [])])
        for q, items in WANT.items()
        for rank, item in enumerate(items)
    ]
    path = tmp_path / f"r.{ending}"
    # In any order, and with the lines of a query far from each other.
    for order in (lines, lines[::-1], lines[::2] + lines[1::2]):
        path.write_text("\n".join(order))
        (found,) = read_rankings(path)
        assert dict(zip(found.query_ids, found.items, strict=True)) == WANT


@pytest.mark.parametrize("ending", ["tsv", "csv", "txt"])
@pytest.mark.parametrize("ranks", [(1, 3, 4), (2, 3, 4), (1, 1, 2), (5, 0, 1)])
def test_ranks_without_a_header_that_do_not_count_are_named(tmp_path, ending, ranks):
    mark, path = "," if ending == "csv" else "\t", tmp_path / f"r.{ending}"
    pairs = [*enumerate(ranks), *enumerate((1, 2, 3))]
    lines = [mark.join([f"q{n // 3}", f"v{i}", str(r)]) for n, (i, r) in enumerate(pairs)]
    path.write_text("\n".join(lines))
    with pytest.raises(FormatError, match="MS MARCO .* query 'q0' has the ranks .*header such as"):
        read_rankings(path)
    header = ["query_id,video_id,rank".replace(",", mark)]
    path.with_suffix(".csv").write_text("\n".join(header + lines))
    best = sorted(range(3), key=lambda i: ranks[i])
    assert read_rankings(path.with_suffix(".csv"))[0].items[0] == tuple(f"v{i}" for i in best)


@pytest.mark.parametrize("name", ["pos", "rank0", "Pos", "rank_1"])
@pytest.mark.parametrize("kind", ["csv", "jsonl", "json"])
@pytest.mark.parametrize("first", [0, 1])
def test_a_column_called_like_places_that_counts_every_list_is_the_rank(
    tmp_path, name, kind, first
):
    path = tmp_path / f"r.{kind}"

    def write(order):
        lists = {q: [*zip(order, "wxyz", strict=True)] for q in ("a", "b")}
        rows = [{"query": q, "video": v, name: r} for q, x in lists.items() for r, v in x]
        if kind == "csv":
            path.write_text("\n".join(",".join(map(str, x)) for x in
                                      [rows[0], *(row.values() for row in rows)]))  # fmt: skip
        elif kind == "jsonl":
            path.write_text("\n".join(map(json.dumps, rows)))
        else:
            path.write_text(
                json.dumps({q: [{"id": v, name: r} for r, v in x] for q, x in lists.items()})
            )
        return read_rankings(path)[0]

    found = write([first + place for place in (2, 0, 3, 1)])
    assert found.items == (("x", "z", "w", "y"),) * 2 and found.notes == () and found.ranked
    # What counts nothing, such as 1 for what is right, is no rank.
    found = write([1, 0, 1, 0])
    assert found.items == (("w", "x", "y", "z"),) * 2 and not found.ranked


@pytest.mark.parametrize("word", ["output", "outputs", "result", "prediction", "retrievals"])
def test_words_around_rankings(tmp_path, word):
    path = tmp_path / "r.json"
    for lists in (SCORED, {q: list(x) for q, x in WANT.items()}):
        path.write_text(json.dumps({word: lists}))
        (found,) = read_rankings(path)
        assert dict(zip(found.query_ids, found.items, strict=True)) == WANT


def test_arrays_and_packed_files_are_named_for_what_they_are(tmp_path):
    np.save(tmp_path / "I.npy", np.zeros((2, 3), int))
    with pytest.raises(FormatError, match="is an array of numpy, which names no queries"):
        read_rankings(tmp_path / "I.npy")
    with gzip.open(tmp_path / "a b.run.gz", "wt") as stream:
        stream.write("q1 Q0 b 1 2 t\n")
    with pytest.raises(FormatError, match="by gzip; unpack it first: gunzip -k '.*a b.run.gz'"):
        read_rankings(tmp_path / "a b.run.gz")


@pytest.mark.parametrize("ending", ["trec", "csv", "jsonl"])
def test_scores_that_rise_with_the_ranks_are_asked_about(tmp_path, ending):
    def text(sign):
        rows = [(q, f"v{i}", i + 1, sign * (i + 0.5)) for q in ("a", "b") for i in range(4)]
        if ending == "trec":
            return "".join(f"{q} Q0 {v} {r} {s} x\n" for q, v, r, s in rows)
        names = ("query_id", "video_id", "rank", "score")
        if ending == "csv":
            return "\n".join(",".join(map(str, row)) for row in [names, *rows])
        return "\n".join(json.dumps(dict(zip(names, row, strict=True))) for row in rows)

    path = tmp_path / f"run.{ending}"
    path.write_text(text(1))
    with pytest.raises(FormatError, match="in every list the scores rise with the ranks; if the"):
        read_rankings(path)
    path.write_text(text(-1))
    assert read_rankings(path)[0].items == (("v0", "v1", "v2", "v3"),) * 2
    if ending == "csv":
        path.write_text(text(1).replace("score", "distance"))
        assert read_rankings(path)[0].items == (("v0", "v1", "v2", "v3"),) * 2


@pytest.mark.parametrize("first", [0, 1])
def test_ranks_in_the_place_of_scores_are_asked_about(tmp_path, first):
    path = tmp_path / "run.json"
    ranks = {q: {f"v{i}": i + first for i in range(4)} for q in "ab"}
    path.write_text(json.dumps(ranks))
    with pytest.raises(FormatError, match="count 1, 2, 3, ... along every list, as ranks do"):
        read_rankings(path)
    path.write_text(json.dumps({q: list(items) for q, items in ranks.items()}))
    best = read_rankings(path)[0].items
    path.write_text(json.dumps({q: {v: 9 - r for v, r in x.items()} for q, x in ranks.items()}))
    assert read_rankings(path)[0].items == best == (("v0", "v1", "v2", "v3"),) * 2
    # In no order they are scores as any.
    path.write_text('{"a": {"x": 2, "y": 3, "z": 1}, "b": {"x": 1, "y": 2, "z": 3}}')
    assert read_rankings(path)[0].items == (("y", "x", "z"), ("z", "y", "x"))


def test_tables_without_a_ranking_are_refused_before_a_row_is_read(tmp_path):
    """A few bytes that say a long text, or a long row, again and again."""
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    long = arrow.DictionaryArray.from_arrays(
        arrow.array(np.zeros(20000, np.int32)), arrow.array(["x" * 100_000])
    )
    numbers = arrow.array([[1.0, 2.0]] * 20000)
    wide = arrow.array([np.zeros(4 * 10**6, np.float32)])
    tables = {
        "ids.parquet": ({"id": long, "vector": numbers}, "fields are 'id', 'vector'"),
        "wide.parquet": ({"id": ["a"], "vector": wide}, "fields are 'id', 'vector'"),
        "row.parquet": ({"query_id": ["a"], "items": wide}, "column 'items': declares"),
        "same.parquet": ({"query_id": long, "video_id": long}, "lists 'x+... twice"),
    }  # fmt: skip
    for name, (columns, words) in tables.items():
        parquet.write_table(arrow.table(columns), tmp_path / name)
        code = (
            "import resource, sys; from pathlib import Path; from rerank.io import read_rankings\n"
            "import pyarrow.parquet, rerank.io.run_files\n"
            "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
            "try:\n    read_rankings(Path(sys.argv[1]))\n"
            "except Exception as error:\n    print(error)\n"
            "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / name)], capture_output=True, text=True,
            timeout=300, check=True,
        )  # fmt: skip
        said, grown = done.stdout.strip().rsplit("\n", 1)
        assert re.search(words, said), said
        assert int(grown) < 60, (name, grown)


def test_lists_and_objects_of_a_table_are_read_as_they_stand(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    nested = [[{"id": i, "score": s} for p, i, s in ROWS if p == q] for q in WANT]
    plain = [WANT[q] for q in WANT]
    for name, column in (("objects", nested), ("names", plain)):
        path = tmp_path / f"{name}.parquet"
        table = arrow.table({"q_id": list(WANT), "items": column})
        parquet.write_table(table, path, row_group_size=1)
        (found,) = read_rankings(path)
        assert dict(zip(found.query_ids, found.items, strict=True)) == WANT
    table = arrow.table({"q_id": ["q1", None], "items": [None, ["a"]]})
    parquet.write_table(table, tmp_path / "none.parquet")
    with pytest.raises(FormatError, match="its fields are 'q_id', 'items'"):
        read_rankings(tmp_path / "none.parquet")


@pytest.mark.parametrize("name", ["docids", "video_ids", "doc_ids", "itemIds", "gallery_ids"])
@pytest.mark.parametrize("beside", ["scores", "distances", None])
@pytest.mark.parametrize("ending", ["jsonl", "json", "keyed.json", "parquet"])
def test_lists_of_ids_are_those_of_the_items(tmp_path, name, beside, ending):
    sign = -1 if beside == "distances" else 1
    order = {q: list(zip(WANT[q], SCORES[q], strict=True))[:: -1 if beside else 1] for q in WANT}
    of = {q: {name: [i for i, _ in each]} for q, each in order.items()}
    for q, each in order.items() if beside else ():
        of[q][beside] = [sign * s for _, s in each]
    records = [{"qid": q, **each} for q, each in of.items()]
    path = tmp_path / f"run.{ending}"
    if ending == "parquet":
        pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        pq.write_table(pa.Table.from_pylist(records), path)
    elif ending == "jsonl":
        path.write_text("\n".join(map(json.dumps, records)))
    else:
        path.write_text(json.dumps(of if ending == "keyed.json" else records))
    (found,) = read_rankings(path)
    assert dict(zip(found.query_ids, found.items, strict=True)) == WANT


def test_hits_are_the_list_where_ids_stand_beside_them(tmp_path):
    records = [{"qid": q, "video_ids": ["x", "y"], "hits": list(WANT[q])} for q in WANT]
    (tmp_path / "run.json").write_text(json.dumps(records))
    (found,) = read_rankings(tmp_path / "run.json")
    assert dict(zip(found.query_ids, found.items, strict=True)) == WANT


@pytest.mark.parametrize("ending", ["trec", "csv", "jsonl", "json"])
@pytest.mark.parametrize("name", ["run", "run_id", "system", "model"])
def test_two_runs_in_one_list_are_named_as_that(tmp_path, ending, name):
    rows = [(q, i, s, run) for run in ("bm25", "clip") for q, i, s in ROWS]
    path = tmp_path / f"run.{ending}"
    names = ("query_id", "video_id", "score", name)
    records = [dict(zip(names, row, strict=True)) for row in rows]
    if ending == "trec":
        path.write_text("".join(f"{q} Q0 {i} 1 {s} {run}\n" for q, i, s, run in rows))
    elif ending == "csv":
        path.write_text("\n".join(",".join(map(str, row)) for row in (names, *rows)))
    else:
        text = map(json.dumps, records)
        path.write_text("\n".join(text) if ending == "jsonl" else json.dumps(records))
    with pytest.raises(FormatError, match="holds the runs 'bm25', 'clip', and query 'q1' lists"):
        read_rankings(path)
    # The lists of two tags are one run where each names its own items.
    path.write_text("q1 Q0 b 1 .9 x\nq1 Q0 a 2 .5 y\n")
    if ending == "trec":
        assert read_rankings(path)[0].items == (("b", "a"),)


@pytest.mark.parametrize("ending", ["csv", "jsonl", "json"])
def test_scores_that_rise_down_every_list_are_told_of(tmp_path, ending):
    path = tmp_path / f"run.{ending}"

    def found(scores, name="score"):
        rows = [(q, f"v{i}", s) for q in ("a", "b") for i, s in enumerate(scores)]
        names = ("query_id", "video_id", name)
        records = [dict(zip(names, row, strict=True)) for row in rows]
        text = "\n".join(",".join(map(str, row)) for row in (names, *rows))
        if ending != "csv":
            lines = "\n".join(map(json.dumps, records))
            text = lines if ending == "jsonl" else json.dumps(records)
        path.write_text(text)
        return read_rankings(path)[0]

    rising = found([0.1, 0.4, 0.5, 0.9])
    assert rising.items[0] == ("v3", "v2", "v1", "v0")
    assert any("rise down every list" in note for note in rising.notes)
    for scores in ([0.9, 0.5, 0.4], [0.1, 0.9, 0.5], [0.1, 0.2]):
        assert found(scores).notes == ()
    # As it says.
    assert found([0.1, 0.4, 0.5], "distance").items[0] == ("v0", "v1", "v2")
    assert found([0.1, 0.4, 0.5], "distance").notes == ()


BESIDE = {
    "results": {"queries": ["q1", "q2"], "results": [["b", "a"], ["c", "b"]]},
    "other words": {"name": "x", "qids": ["q1", "q2"], "rankings": [["b", "a"], ["c", "b"]]},
    "scores": {
        "query_ids": ["q1", "q2"], "ids": [["a", "b"], ["c", "b"]], "scores": [[1, 2], [4, 3]],
    },
    "distances": {
        "queries": ["q1", "q2"], "results": [["b", "a"], ["b", "c"]], "distances": [[1, 2], [4, 3]],
    },
    "objects": {"queries": ["q1", "q2"], "results": [["b", "a"], [{"id": "c"}, {"id": "b"}]]},
    "direction": {"t2v": {"queries": ["q1", "q2"], "results": [["b", "a"], ["c", "b"]]}},
    "records of one": {"t2v": [{"query": q, "items": list(WANT[q])} for q in WANT]},
}  # fmt: skip


@pytest.mark.parametrize("form", BESIDE)
def test_queries_beside_a_list_of_each_are_read(tmp_path, form):
    path = tmp_path / "run.json"
    path.write_text(json.dumps(BESIDE[form]))
    found = read_rankings(path)[0]
    assert dict(zip(found.query_ids, found.items, strict=True)) == WANT
    assert found.direction == ("t2v" if "t2v" in BESIDE[form] else "")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ({"results": [["a", "b"]]}, "one of its 1 results is a list, and nothing says of which"),
        ({"results": ["a", "b"]}, "one of its 2 results is 'a', and nothing says of which query"),
        ({"queries": ["q1", "q2"], "results": [["a"]]}, 'expected {"queries": .* of as many'),
        ({"results": [None]}, "one of its 1 results is None"),
        ({"t2v": [["a"]]}, "one of its 1 results is a list"),
        ({"t2v": None}, "t2v is None"),
        ([{"query_id": {}, "pos": 1, "id": "a"}], "is not an id"),
    ],
)
def test_lists_of_nobody_knows_which_query_are_refused(tmp_path, content, what):
    path = tmp_path / "run.json"
    path.write_text(json.dumps(content))
    with pytest.raises(FormatError, match=what):
        read_rankings(path)


SIDES = [("text", "video"), ("caption", "image"), ("qid", "docno"), ("sentence", "clips"),
         ("queries", "gallery"), ("texts", "videos"), ("text_name", "video_name")]  # fmt: skip


@pytest.mark.parametrize("kind", ["csv", "tsv", "parquet", "json", "jsonl", "columns", "split"])
@pytest.mark.parametrize("sides", SIDES)
def test_a_table_names_its_sides_as_ground_truths_do(tmp_path, sides, kind):
    names = (*sides, "score")
    rows = [dict(zip(names, row, strict=True)) for row in reversed(ROWS)]
    path = tmp_path / f"run.{kind}"
    if kind == "parquet":
        pa = pytest.importorskip("pyarrow")
        pytest.importorskip("pyarrow.parquet").write_table(pa.Table.from_pylist(rows), path)
    elif kind in ("csv", "tsv"):
        lines = [names, *(row.values() for row in rows)]
        path.write_text("\n".join((",\t"[kind == "tsv"]).join(map(str, line)) for line in lines))
    elif kind == "jsonl":
        path.write_text("\n".join(map(json.dumps, rows)))
    else:
        numbered = {name: {str(i): row[name] for i, row in enumerate(rows)} for name in names}
        table = {"columns": names, "data": [list(row.values()) for row in rows]}
        made = {"json": rows, "columns": numbered, "split": table}[kind]
        path.with_suffix(".json").write_text(json.dumps(made))
        path = path.with_suffix(".json")
    found = read_rankings(path)[0]
    assert dict(zip(found.query_ids, found.items, strict=True)) == WANT


def test_a_text_beside_an_id_is_that_of_an_item(tmp_path):
    path = tmp_path / "run.json"
    path.write_text(json.dumps([{"text": "a red car", "id": "v1", "score": 0.5}]))
    with pytest.raises(FormatError, match="its fields are 'text', 'id', 'score'"):
        read_rankings(path)


@pytest.mark.parametrize("beside", ["metrics", "config", "Evaluation"])
def test_a_run_in_a_word_is_read_whatever_is_said_beside_it(tmp_path, beside):
    path = tmp_path / "run.json"
    inside = {q: {i: s for p, i, s in ROWS if p == q} for q in WANT}
    path.write_text(json.dumps({"run": inside, beside: {"R@1": 0.5, "t2v": {"R@5": 1}}}))
    found = read_rankings(path)[0]
    assert dict(zip(found.query_ids, found.items, strict=True)) == WANT


def test_an_answer_of_a_store_without_queries_is_told_how_to_name_them(tmp_path):
    path = tmp_path / "run.json"
    answer = {
        "ids": list(WANT.values()),
        "distances": [[1 - s for s in x] for x in SCORES.values()],
    }
    for odd in (answer, {**answer, "documents": None, "metadatas": None}):
        path.write_text(json.dumps(odd))
        with pytest.raises(FormatError, match=r"'ids' holds 2 lists.*add .* as \"query_ids\""):
            read_rankings(path)
        path.write_text(json.dumps({**odd, "query_ids": list(WANT)}))
        found = read_rankings(path)[0]
        assert dict(zip(found.query_ids, found.items, strict=True)) == WANT


ODD = (None, True, 0, -3, 2.5, 10**30, "", " ", "q1", "v1", "test", "a red car", [], {}, [[]])
KEYS = (
    "results", "queries", "t2v", "hits", "query_id", "video_id", "id", "score", "rank", "pos", "q1",
    "test", "annotations", "images", "captions", "direction", "positives", "answer", "relevance",
)  # fmt: skip


def odd_document(r, deep=0):
    """A small document of any shape."""
    kind = r.random()
    if deep > 3 or (deep and kind < 0.35):
        return r.choice(ODD)
    if kind < 0.5:
        keys = r.sample(KEYS, r.randint(1, 3))
        return [{key: odd_document(r, deep + 1) for key in keys} for _ in range(r.randint(1, 2))]
    if kind < 0.7:
        return [odd_document(r, deep + 1) for _ in range(r.randint(0, 3))]
    return {key: odd_document(r, deep + 1) for key in r.sample(KEYS, r.randint(0, 3))}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(2))
def test_documents_of_odd_shapes_are_read_or_refused_in_one_line(tmp_path, seed):
    r = random.Random(seed)
    odd, known, run = (tmp_path / name for name in ("odd.json", "gt.json", "run.json"))
    known.write_text('{"q1": "v1"}')
    run.write_text('{"q1": ["v1"]}')
    for _ in range(100):
        odd.write_text(json.dumps(odd_document(r)))
        for act in (
            lambda: judge_lists(known, odd),
            lambda: judge_lists(odd, run),
            lambda: read_ground_truth(odd, ["q1"], ["v1"]),
            lambda: convert_ground_truth(odd, tmp_path / "o.json"),
            lambda: convert_rankings(odd, tmp_path / "o.h5", queries="texts"),
        ):
            try:
                act()
            except RerankError as error:
                assert "\n" not in str(error), odd.read_text()


def scored(tmp_path, ending, names, rows):
    """Lists with columns of numbers, as a file of a kind."""
    path = tmp_path / f"run.{ending}"
    names = ("query_id", "video_id", *names)
    records = [dict(zip(names, row, strict=True)) for row in rows]
    if ending == "parquet":
        arrow = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        parquet.write_table(arrow.Table.from_pylist(records), path)
    elif ending == "csv":
        path.write_text("\n".join(",".join(map(str, row)) for row in (names, *rows)))
    else:
        text = map(json.dumps, records)
        path.write_text("\n".join(text) if ending == "jsonl" else json.dumps(records))
    return read_rankings(path)[0]


@pytest.mark.parametrize("ending", ["csv", "json", "jsonl", "parquet"])
@pytest.mark.parametrize(
    ("names", "a", "b"),
    [(("score", "rerank_score"), (0.9, 0.1), (0.5, 0.7)),
     (("score", "bm25_score"), (0.9, 3), (0.5, 7)),
     (("rank", "clip_similarity"), (1, 0.1), (2, 0.7)),
     (("distance", "l2_distance"), (0.1, 0.7), (0.5, 0.1)),
     (("score", "distance"), (0.9, 0.7), (0.5, 0.1))],
)  # fmt: skip
def test_it_is_said_which_of_two_scores_counts(tmp_path, ending, names, a, b):
    found = scored(tmp_path, ending, names, [("q1", "a", *a), ("q1", "b", *b)])
    assert found.items == (("a", "b"),)
    (note,) = found.notes
    assert f"'{names[0]}' counts, and '{names[1]}', by which the list of 'q1' has another" in note
    # Where both agree there is nothing to say.
    both = [("q1", "a", a[0], b[1]), ("q1", "b", b[0], a[1])]
    assert scored(tmp_path, ending, names, both).notes == ()


@pytest.mark.parametrize("ending", ["csv", "json", "jsonl", "parquet"])
def test_it_is_said_that_ranks_contradict_the_scores(tmp_path, ending):
    said = [("q1", "a", 0.5, 1), ("q1", "b", 0.9, 2), ("q1", "c", 0.4, 3)]
    found = scored(tmp_path, ending, ("score", "rank"), said)
    assert found.items == (("b", "a", "c"),)
    assert "the ranks of 'q1' contradict its scores, and the scores count" in found.notes[0]
    even = [("q1", "a", 0.9, 2), ("q1", "b", 0.9, 1), ("q1", "c", 0.4, 3)]
    assert scored(tmp_path, ending, ("score", "rank"), even).notes == ()


def test_ranks_of_trec_that_contradict_the_scores_are_told_of(tmp_path):
    path = tmp_path / "run.trec"
    path.write_text("q1 Q0 b 1 0.5 x\nq1 Q0 a 2 0.9 x\n")
    assert "the ranks of 'q1' contradict" in read_rankings(path)[0].notes[0]
    trec(path)
    assert read_rankings(path)[0].notes == ()


def test_a_second_list_of_scores_is_told_of(tmp_path):
    path = tmp_path / "run.json"
    lists = {"query": "q1", "items": ["a", "b"], "scores": [0.9, 0.5], "rerank_scores": [0.1, 0.7]}
    path.write_text(json.dumps([lists]))
    found = read_rankings(path)[0]
    assert found.items == (("a", "b"),)
    assert "and 'rerank_scores', by which the list of 'q1'" in found.notes[0]


@pytest.mark.parametrize("name", ["run.trec", "x.run", "run.txt", "run.tsv", "run.csv", "run"])
def test_a_run_in_the_place_of_arrays_names_the_command_that_reads_it(tmp_path, name):
    trec(tmp_path / name)
    for read in (read_scores, read_embeddings):
        with pytest.raises(FormatError) as caught:
            read(tmp_path / name)
        assert "TREC run, which are a ranking" in str(caught.value)
        named = str(caught.value).partition("--results ")[2].partition(" --gt")[0]
        assert read_rankings(named)[0].query_ids == ("q2", "q1")


@pytest.mark.parametrize("name", ["ranx.json", "names.json", "lines.jsonl"])
def test_other_rankings_in_the_place_of_scores_name_the_option_that_reads_them(tmp_path, name):
    FOREIGN[name](tmp_path / name)
    with pytest.raises(FormatError, match=f"ranking: rerank eval reads it with .*{name}"):
        read_scores(tmp_path / name)


def test_columns_of_text_and_qrels_are_not_called_runs(tmp_path):
    path = tmp_path / "x.csv"
    for text in ("a,b\nx,y\nz,w\n", "q1 0 v1 1\nq2 0 v2 1\n", "q1 Q0 v1 first 0.5 x\n"):
        path.write_text(text)
        with pytest.raises(FormatError) as caught:
            read_scores(path)
        assert "ranking" not in str(caught.value)


SIDE_BY_SIDE = {"queries": list(WANT), "results": [list(x) for x in WANT.values()]}
OF_RECORDS = [{"query_id": q, "results": list(x)} for q, x in WANT.items()]


@pytest.mark.parametrize(
    "content",
    [
        {"data": SIDE_BY_SIDE},
        {"payload": {"response": SIDE_BY_SIDE}},
        {"status": "ok", "data": SIDE_BY_SIDE, "meta": {"k": 2}},
        {"data": {**SIDE_BY_SIDE, "scores": [list(x) for x in SCORES.values()]}},
        {"data": {**SIDE_BY_SIDE, "queries": [{"id": q, "text": "a dog"} for q in WANT]}},
        {"data": [SIDE_BY_SIDE]},
        {"data": {"results": OF_RECORDS}, "count": 2},
        {"meta": {"k": 2}, "data": OF_RECORDS},
        {"data": {"queries": list(WANT), "results": {q: list(x) for q, x in WANT.items()}}},
        {"data": {"queries": list(WANT), "results": [{"ids": list(x)} for x in WANT.values()]}},
    ],
)
def test_queries_and_their_lists_are_found_in_what_is_around_them(tmp_path, content):
    (tmp_path / "r.json").write_text(json.dumps(content))
    (found,) = read_rankings(tmp_path / "r.json")
    assert dict(zip(found.query_ids, found.items, strict=True)) == WANT


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            {"data": {**SIDE_BY_SIDE, "queries": ["q1"]}},
            "'queries' .a list of 1., 'results' .a list of",
        ),
        (
            {"data": {"results": SIDE_BY_SIDE["results"]}},
            "'data' is no query .*'results' .a list of 2.",
        ),
        (
            {**SIDE_BY_SIDE, "queries": ["q1"]},
            "has 1 names in 'queries' beside 2 entries in 'results'",
        ),
        (
            {"data": {"queries": ["q1", "q2"], "odd": SIDE_BY_SIDE["results"]}},
            "'odd' .a list of 2.",
        ),
    ],
)
def test_queries_without_their_lists_are_named_with_what_was_found(tmp_path, content, said):
    (tmp_path / "r.json").write_text(json.dumps(content))
    with pytest.raises(FormatError, match=f"{said}.*expected .*queries.: .names., .results") as e:
        read_rankings(tmp_path / "r.json")
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("how", ["trec", "lists"])
def test_one_score_for_all_items_says_nothing(tmp_path, how):
    path = tmp_path / "run.txt"
    order = {"a": ["v2", "v0", "v1"], "b": ["v1", "v2", "v0"]}
    if how == "trec":
        path.write_text("".join(f"{q} Q0 {v} {r} 0 x\n" for q, x in order.items()
                                for r, v in enumerate(x)))  # fmt: skip
    else:
        path.write_text(json.dumps({q: [{"id": v, "score": 1.0} for v in x]
                                    for q, x in order.items()}))  # fmt: skip
    found = read_rankings(path)[0]
    words = "all scores are 0, so the ranks count" if how == "trec" else "all items of a query are "
    assert any(words in note for note in found.notes)
    assert found.items == (("v2", "v0", "v1"), ("v1", "v2", "v0"))
    assert (len(set(found.scores[0])) == 3) == (how == "trec")


def test_what_mteb_writes_around_its_predictions_is_left_out(tmp_path):
    path, run = tmp_path / "run.json", {"q1": {"a": 0.5, "b": 0.9}, "q2": {"a": 0.7, "b": 0.1}}
    path.write_text(json.dumps({"mteb_model_meta": {"name": "x"}, "default": {"test": run}}))
    assert read_rankings(path)[0].items == (("b", "a"), ("a", "b"))
