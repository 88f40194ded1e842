"""Rows that say their own number are never taken by their places without a word."""

import json
import re
import shlex

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import save_file

from rerank.core.errors import FormatError
from rerank.core.wording import typed
from rerank.io import read_embeddings, read_ground_truth, read_scores
from tests.cli.test_cli import run
from tests.io_writers import write_named

ORDER = np.random.default_rng(3).permutation(12)
ROWS = np.random.default_rng(4).normal(size=(12, 4)).astype("f4")
IDS = [f"v{i}" for i in range(12)]
KINDS = ["data.json", "v.json", "v.jsonl", "columns.json", "lists.csv", "wide.csv", "pandas.csv",
         "pandas.parquet", "v.parquet", "v.npz", "v.h5", "v.safetensors", "v.pt"]  # fmt: skip
NAMELESS = {"pandas.csv": "column 0", "pandas.parquet": "__index_level_0__"}


def written(path, order, name="index"):
    """Vectors beside the numbers of their rows: the column that they stand in."""
    rows = ROWS[order]
    records = [{name: int(i), "embedding": x.tolist()} for i, x in zip(order, rows, strict=True)]
    wide = {f"f{k}": rows[:, k] for k in range(4)}
    if path.name == "data.json":
        path.write_text(json.dumps({"object": "list", "data": records, "model": "m"}))
    elif path.name == "columns.json":
        path.write_text(json.dumps({name: order.tolist(), "embeddings": rows.tolist()}))
    elif path.name == "v.json":
        path.write_text(json.dumps(records))
    elif path.suffix == ".jsonl":
        path.write_text("\n".join(map(json.dumps, records)))
    elif path.name.startswith("pandas"):
        frame = pd.DataFrame(wide, index=order)
        frame.to_csv(path) if path.suffix == ".csv" else frame.to_parquet(path)
    elif path.name == "lists.csv":
        pd.DataFrame(records).to_csv(path, index=False)
    elif path.name == "wide.csv":
        pd.DataFrame({name: order, **wide}).to_csv(path, index=False)
    elif path.suffix == ".parquet":
        pd.DataFrame(records).to_parquet(path, index=False)
    elif path.suffix == ".safetensors":
        save_file({name: order, "embeddings": rows}, path)
    elif path.suffix == ".pt":
        torch.save({name: torch.tensor(order), "embeddings": torch.tensor(rows)}, path)
    else:
        write_named(path, {name: order, "embeddings": rows})
    return NAMELESS.get(path.name, name)


@pytest.mark.parametrize("name", KINDS)
def test_numbers_in_another_order_are_asked_about(tmp_path, name):
    path = tmp_path / name
    column = written(path, ORDER)
    said = "numbers of their own in another order"
    with pytest.raises(FormatError, match=f"{said}.*sort the rows by '{column}', or") as caught:
        read_embeddings(path, ids=IDS)
    assert f"id_column={column!r} in place of the ids given" in str(caught.value)
    if name != "pandas.csv":  # whose numbers are the ids
        with pytest.raises(FormatError, match=said) as caught:
            read_embeddings(path, row_numbers=True)
        assert "id_column" not in str(caught.value)
    side = path.with_suffix(".ids.txt")
    side.write_text("\n".join(IDS))
    if name != "pandas.csv":
        with pytest.raises(FormatError, match=f"{said}.*id_column={column!r}"):
            read_embeddings(path)
    side.unlink()
    found = read_embeddings(path, id_column=column)
    assert found.ids == tuple(map(str, ORDER))
    np.testing.assert_allclose(found.vectors, ROWS[ORDER], rtol=1e-6)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("column", ["index", "idx", "row"])
def test_numbers_in_order_and_other_numbers_say_nothing(tmp_path, name, column):
    path = tmp_path / name
    for order in (np.arange(12), np.maximum(ORDER, 1)):
        written(path, order, column)
        found = read_embeddings(path, ids=IDS)
        assert found.ids == tuple(IDS)
        np.testing.assert_allclose(found.vectors, ROWS[order], rtol=1e-6)


def test_the_ways_out_work_as_printed(tmp_path):
    texts = pd.DataFrame(ROWS, columns=list("abcd"), index=[f"t{i}" for i in range(12)])
    texts.to_csv(tmp_path / "t.csv", index_label="id")
    (tmp_path / "ids.txt").write_text("\n".join(IDS))
    (tmp_path / "gt.csv").write_text(
        "query_id,video_id\n" + "".join(f"t{i},{i}\n" for i in range(12))
    )
    for name in ("v.json", "wide.csv", "lists.csv", "v.parquet", "v.npz"):
        written(tmp_path / name, ORDER)
        words = ["eval", "--texts", "t.csv", "--videos", name, "--gt", "gt.csv", "--json"]
        _, err = run(*words, "--video-ids", "ids.txt", cwd=tmp_path, code=2)
        assert "--id-column videos=index in place of the ids given" in err
        out, _ = run(*words, "--id-column", "videos=index", cwd=tmp_path)
        assert json.loads(out)["before"]["t2v"]["R@1"] == 100


SCORES = ROWS @ ROWS.T
BESIDE = ["s.npz", "s.h5", "s.pt", "s.safetensors", "s.json"]


def matrix_with(path, beside):
    """A matrix of scores, and what stands beside it, in any kind of file of arrays."""
    if path.suffix == ".pt":
        tensors = {name: torch.tensor(x) for name, x in beside.items()}
        torch.save({"sims": torch.tensor(SCORES[ORDER]), **tensors}, path)
    elif path.suffix == ".safetensors":
        save_file({"sims": SCORES[ORDER], **beside}, path)
    elif path.suffix == ".json":
        lists = {name: x.tolist() for name, x in beside.items()}
        path.write_text(json.dumps({"sims": SCORES[ORDER].tolist(), **lists}))
    else:
        write_named(path, {"sims": SCORES[ORDER], **beside})
    return path


@pytest.mark.parametrize("file", BESIDE)
@pytest.mark.parametrize("name", ["order", "perm", "idx", "sort_idx"])
def test_rows_of_scores_in_another_order_are_asked_about(tmp_path, file, name):
    path = matrix_with(tmp_path / file, {name: ORDER})
    ways = rf"in another order.*id_column=\{{'texts': '{name}'\}}; .* meant: query_ids=\"rows\""
    with pytest.raises(FormatError, match=ways):
        read_scores(path)
    (tmp_path / "ids.txt").write_text("\n".join(IDS))
    with pytest.raises(FormatError, match="in another order"):
        read_scores(path, query_ids=tmp_path / "ids.txt")
    assert read_scores(path, id_column={"texts": name}).query_ids == tuple(map(str, ORDER))
    assert read_scores(path, query_ids="rows").query_ids == tuple(map(str, range(12)))
    for other in (np.arange(12), np.maximum(ORDER, 1)):
        assert read_scores(matrix_with(path, {name: other})).query_ids[:2] == ("0", "1")


@pytest.mark.parametrize("name", ["index", "order"])
def test_a_column_that_counts_the_rows_is_none_of_scores(tmp_path, name):
    columns = {f"v{k}": SCORES[:, k] for k in range(12)}
    for order in (ORDER, np.arange(12)):
        pd.DataFrame({name: order, **columns}).to_csv(tmp_path / "s.csv", index=False)
        with pytest.raises(FormatError, match=f"'{name}' counts the rows.*call it 'query_id'"):
            read_scores(tmp_path / "s.csv")
        pd.DataFrame({"query_id": order, **columns}).to_csv(tmp_path / "s.csv", index=False)
        assert read_scores(tmp_path / "s.csv").query_ids == tuple(map(str, order))


@pytest.mark.parametrize("kind", ["csv", "parquet", "json"])
def test_a_diagonal_over_rows_in_another_order_is_asked_about(tmp_path, kind):
    """The numbers that pandas writes of rows that were sorted or shuffled."""
    frame = pd.DataFrame(SCORES[ORDER], index=ORDER, columns=[f"v{k}" for k in range(12)])
    if kind == "json":
        frame.to_json(tmp_path / "s.json", orient="split")
    else:
        getattr(frame, f"to_{kind}")(tmp_path / f"s.{kind}")
    words = ["eval", "--sims", f"s.{kind}", "--gt"]
    _, err = run(*words, "diagonal", cwd=tmp_path, code=2)
    assert "the texts have numbers of their own in another order, " in err
    pairs = "".join(f"{i},v{i}\n" for i in range(12))
    (tmp_path / "gt.csv").write_text(f"query_id,video_id\n{pairs}")
    out, _ = run(*words, "gt.csv", "--json", cwd=tmp_path)
    assert json.loads(out)["before"]["t2v"]["MdR"] == 1


def test_a_diagonal_believes_numbers_that_both_sides_have_in_one_order():
    names = [f"v{i}" for i in range(4)]
    for ids in (list("2013"), list("4213")):
        for sides in ((ids, names), (names, ids)):
            with pytest.raises(FormatError, match="numbers of their own in another order, "):
                read_ground_truth("diagonal", *sides)
        assert read_ground_truth("diagonal", ids, ids).positives[2][0] == 2
    assert read_ground_truth("diagonal", list("1234"), names).positives[2][0] == 2
    assert read_ground_truth("diagonal", list("2015"), names).positives[2][0] == 2


def test_a_refused_diagonal_names_no_option_that_a_door_has_not(tmp_path):
    frame = pd.DataFrame(SCORES, index=IDS, columns=IDS[::-1])
    frame.to_csv(tmp_path / "s.csv", index_label="query_id")
    run("apply", "--sims", "s.csv", "--out", "o.h5", cwd=tmp_path)
    _, err = run("eval", "--results", "o.h5", "--gt", "diagonal", cwd=tmp_path, code=2)
    assert err.rstrip().endswith("; give a ground truth file of these ids")
    _, err = run("eval", "--sims", "s.csv", "--gt", "diagonal", cwd=tmp_path, code=2)
    ways = "--text-ids rows --video-ids rows"
    assert f"give {ways} if rows are meant" in err
    run("eval", "--sims", "s.csv", "--gt", "diagonal", *ways.split(), cwd=tmp_path)


# --------------------------------------------------------- a column of the other side's row numbers

RIGHT = [3, 0, 4, 1, 2]
QUERIES = [f"q{i}" for i in range(5)]


def write_pairs(path, column, numbers, text="query_id", names=QUERIES):
    rows = [{text: q, column: n} for q, n in zip(names, numbers, strict=True)]
    if path.suffix == ".json":
        path.write_text(json.dumps(rows))
    elif path.suffix == ".csv":
        path.write_text(f"{text},{column}\n" + "".join(f"{r[text]},{r[column]}\n" for r in rows))
    else:
        arrow = pytest.importorskip("pyarrow")
        table = arrow.table({text: names, column: numbers})
        pytest.importorskip("pyarrow.parquet").write_table(table, path)


@pytest.fixture
def numbered_videos(tmp_path):
    """Videos called 0 to 4 in another order than their rows; text i belongs to row RIGHT[i]."""
    rows = np.eye(5, 6) + 0.1
    np.savez(tmp_path / "v.npz", embeddings=rows, ids=["4", "2", "0", "1", "3"])
    np.savez(tmp_path / "t.npz", embeddings=rows[RIGHT], ids=QUERIES)
    return tmp_path


@pytest.mark.parametrize("kind", ["csv", "json", "parquet"])
@pytest.mark.parametrize("column", ["video_index", "videoIdx", "item_row"])
def test_numbers_that_are_called_rows_are_asked_about_where_ids_are_numbers(
    numbered_videos, kind, column
):
    folder, gt = numbered_videos, f"gt.{kind}"
    words = ("eval", "--texts", "t.npz", "--videos", "v.npz", "--gt", gt)
    write_pairs(folder / gt, column, RIGHT)
    _, err = run(*words, cwd=folder, code=2)
    assert f"{column!r} is called like numbers of rows, but '3' is the id of row 4" in err
    way = err.partition("from 0: ")[2].partition(";")[0].split()
    out, _ = run(*words, *way, cwd=folder)
    assert re.search(r"t2v.* 100\.0", out)
    # Called ids they are that, and numbers that no row has are no rows.
    write_pairs(folder / gt, "video_id", [1, 4, 3, 2, 0])
    out, _ = run(*words, cwd=folder)
    assert re.search(r"t2v.* 100\.0", out)
    with np.load(folder / "v.npz") as held:
        np.savez(
            folder / "v.npz", embeddings=held["embeddings"], ids=["14", "12", "10", "11", "13"]
        )
    write_pairs(folder / gt, column, [11, 14, 13, 12, 10])
    out, _ = run(*words, cwd=folder)
    assert re.search(r"t2v.* 100\.0", out)


def test_numbers_of_rows_that_are_the_ids_are_read(numbered_videos):
    folder = numbered_videos
    write_pairs(folder / "gt.csv", "video_index", RIGHT, "query_index", [str(i) for i in range(5)])
    words = ("eval", "--texts", "t.npz", "--videos", "v.npz", "--gt", "gt.csv")
    out, _ = run(*words, "--text-ids", "rows", "--video-ids", "rows", cwd=folder)
    assert re.search(r"t2v.* 100\.0", out)
    lists = "".join(f"{i},{row},1\n" for i, row in enumerate(RIGHT))
    (folder / "run.csv").write_text(f"query_index,video_index,score\n{lists}")
    out, err = run("eval", "--results", "run.csv", "--gt", "gt.csv", cwd=folder)
    assert re.search(r"t2v.* 100\.0", out) and "numbers of rows" not in err


@pytest.mark.parametrize("ending", ["csv", "json"])
def test_rankings_of_numbers_that_are_called_rows_are_told_of(tmp_path, ending):
    write_pairs(tmp_path / f"run.{ending}", "video_index", RIGHT)
    for column, told in (("video_id", True), ("video_index", False)):
        write_pairs(tmp_path / "gt.csv", column, RIGHT)
        _, err = run("eval", "--results", f"run.{ending}", "--gt", "gt.csv", cwd=tmp_path)
        assert ("'video_index' is called like numbers of rows" in err) is told


def _ids_written(path, order, name):
    frame = pd.DataFrame({name: order, "video_id": [f"v{i}" for i in order]})
    if path.suffix == ".parquet":
        frame.to_parquet(path, index=False)
    elif name == "":
        pd.DataFrame({"video_id": [f"v{i}" for i in order]}, index=order).to_csv(path)
    else:
        frame.to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")


@pytest.mark.parametrize("kind", ["csv", "tsv", "parquet"])
@pytest.mark.parametrize(
    "name",
    [
        "row",
        "index",
        "idx",
        "Row",
        "position",
        "feature_idx",
        "",
        "faiss_id",
        "vector_id",
        "rowid",
        "pos",
        "pointId",
        "i",
        "n",
    ],
)
@pytest.mark.parametrize("first", [0, 1])
def test_a_table_of_ids_in_another_order_is_asked_about(tmp_path, kind, name, first):
    if name == "" and kind != "csv":
        name = "row_id"
    np.save(tmp_path / "v.npy", ROWS)
    path = tmp_path / f"ids.{kind}"
    _ids_written(path, ORDER + first, name)
    with pytest.raises(
        FormatError, match="numbers of their own in another order.*sort the rows by"
    ):
        read_embeddings(tmp_path / "v.npy", ids=path)
    _ids_written(path, np.arange(12) + first, name)
    assert read_embeddings(tmp_path / "v.npy", ids=path).ids == tuple(
        f"v{i + first}" for i in range(12)
    )


@pytest.mark.parametrize("first", [0, 1])
def test_ids_by_the_number_of_their_row_are_read_in_any_order(tmp_path, first):
    np.save(tmp_path / "v.npy", ROWS)
    path = tmp_path / "ids.json"
    for order in (range(12), ORDER.tolist()):
        path.write_text(json.dumps({str(i + first): f"v{i}" for i in order}))
        assert read_embeddings(tmp_path / "v.npy", ids=path).ids == tuple(IDS)
    # Numbers on both sides are the rows of the names.
    path.write_text(json.dumps({str(i): int(row) for row, i in enumerate(ORDER)}))
    assert read_embeddings(tmp_path / "v.npy", ids=path).ids == tuple(map(str, ORDER))
    path.write_text(json.dumps({str(i): f"v{i}" for i in (*range(11), 13)}))
    with pytest.raises(FormatError, match="every row from 0 to 11 once"):
        read_embeddings(tmp_path / "v.npy", ids=path)


@pytest.mark.parametrize("header", ["video_id", "id", "#ids", "filename", "Video ID"])
@pytest.mark.parametrize("beside", [False, True])
def test_the_header_of_a_list_of_ids_is_told_of(tmp_path, header, beside):
    np.save(tmp_path / "v.npy", ROWS)
    path = tmp_path / ("v.ids.txt" if beside else "names.txt")
    path.write_text("\n".join([header, *IDS]))
    said = {} if beside else {"ids": path}
    with pytest.raises(
        FormatError, match=f"13 ids for the 12.* first line, '{header}', is a header"
    ):
        read_embeddings(tmp_path / "v.npy", **said)
    for lines in (["v12", *IDS], [header, *IDS, "more"]):
        path.write_text("\n".join(lines))
        with pytest.raises(FormatError, match="needs its id$"):
            read_embeddings(tmp_path / "v.npy", **said)


@pytest.mark.parametrize("name", ["pandas.csv", "v.npz", "scores.npz"])
def test_what_is_printed_is_one_word_of_a_command_whatever_is_in_it(tmp_path, name):
    path, said = tmp_path / name, {"ids": IDS, "side": "videos"}
    column = "column 0"
    if name == "scores.npz":
        write_named(path, {"sims": ROWS, column: ORDER})
    else:
        column = written(path, ORDER, column)
    with typed(), pytest.raises(FormatError, match="another order") as caught:
        read_scores(path) if name == "scores.npz" else read_embeddings(path, **said)
    words = shlex.split(str(caught.value).partition("--id-column ")[2])
    assert words[0].rstrip(";") == f"{'texts' if name == 'scores.npz' else 'videos'}={column}"


def test_a_matrix_is_named_as_one_word_of_a_command(tmp_path):
    write_named(tmp_path / "s.h5", {"my scores": ROWS, "others": ROWS})
    with typed(), pytest.raises(FormatError, match="could all be the scores") as caught:
        read_scores(tmp_path / "s.h5")
    assert shlex.split(str(caught.value).partition("--dataset ")[2])[0] == "my scores"


# --------------------------------------------------- another order beside rows that have their ids

ORDERS = ["perm", "order", "sort_idx", "inverse", "inv_perm", "argsort", "restore_idx", "sortOrder"]


def _beside_ids(path, **lists):
    arrays = {"embeddings": ROWS, **{name: np.asarray(each) for name, each in lists.items()}}
    if path.suffix == ".safetensors":
        save_file(arrays, path, metadata={"ids": json.dumps(IDS)})
    elif path.suffix == ".pt":
        torch.save({"ids": IDS, **{n: torch.tensor(x) for n, x in arrays.items()}}, path)
    else:
        write_named(path, {"ids": IDS, **arrays})


@pytest.mark.parametrize("kind", ["npz", "h5", "pt", "safetensors"])
@pytest.mark.parametrize("name", ORDERS)
@pytest.mark.parametrize("first", [0, 1])
def test_another_order_beside_rows_with_ids_is_asked_about(tmp_path, kind, name, first):
    path = tmp_path / f"v.{kind}"
    _beside_ids(path, **{name: ORDER + first})
    with pytest.raises(FormatError, match=f"'{name}' holds another order, {ORDER[0] + first}, "):
        read_embeddings(path)
    if kind != "safetensors":
        assert read_embeddings(path, id_column="ids").ids == tuple(IDS)
    for order in (np.arange(12), np.maximum(ORDER, 1)):
        _beside_ids(path, **{name: order + first})
        assert read_embeddings(path).ids == tuple(IDS)


@pytest.mark.parametrize("kind", ["npz", "h5", "pt"])
def test_numbers_of_something_else_beside_rows_with_ids_say_nothing(tmp_path, kind):
    path = tmp_path / f"v.{kind}"
    for name in ("rank", "label", "group", "video_order"):
        _beside_ids(path, **{name: ORDER})
        assert read_embeddings(path).ids == tuple(IDS)
    write_named(tmp_path / "n.npz", {"embeddings": ROWS, "ids": ORDER, "order": ORDER})
    assert read_embeddings(tmp_path / "n.npz").ids == tuple(map(str, ORDER))


def test_another_order_in_a_table_goes_with_its_rows(tmp_path):
    wide = {f"f{k}": ROWS[:, k] for k in range(4)}
    frame = pd.DataFrame({"id": IDS, "order": ORDER, **wide})
    frame.to_csv(tmp_path / "v.csv", index=False)
    frame.to_parquet(tmp_path / "v.parquet")
    for name in ("v.csv", "v.parquet"):
        assert read_embeddings(tmp_path / name).ids == tuple(IDS)


@pytest.mark.parametrize("kind", ["npz", "h5"])
@pytest.mark.parametrize("axis", [0, 1])
def test_another_order_beside_scores_with_ids_is_asked_about(tmp_path, kind, axis):
    path, scores = tmp_path / f"s.{kind}", np.hstack([ROWS, ROWS])
    lists = {"query_ids": IDS, "gallery_ids": [f"x{i}" for i in range(8)]}
    order = ORDER if axis == 0 else np.random.default_rng(1).permutation(8)
    write_named(path, {"scores": scores, **lists, "perm": order})
    what = ("rows", "columns")[axis]
    with pytest.raises(FormatError, match=f"beside its {what} and their ids 'perm' holds another"):
        read_scores(path)
    write_named(path, {"scores": scores, **lists, "perm": np.arange(len(order))})
    assert read_scores(path).scores.shape == (12, 8)


def test_the_way_out_of_another_order_works_as_printed(tmp_path):
    _beside_ids(tmp_path / "v.npz", perm=ORDER)
    np.savez(tmp_path / "t.npz", embeddings=ROWS + 0.1, ids=[f"t{i}" for i in range(12)])
    line = ["apply", "--videos", "v.npz", "--texts", "t.npz"]
    _, err = run(*line, cwd=tmp_path, code=2)
    way = err.rpartition("as the rows do: ")[2].split()
    run(*line, *way, cwd=tmp_path)


@pytest.mark.parametrize("kind", ["csv", "parquet", "jsonl"])
@pytest.mark.parametrize("name", ["label", "num_frames", "rank", "text_idx"])
def test_numbers_of_something_else_beside_ids_are_left(tmp_path, kind, name):
    np.save(tmp_path / "v.npy", ROWS)
    path = tmp_path / f"ids.{kind}"
    if kind == "jsonl":
        records = [{name: int(i), "video_id": f"v{i}"} for i in ORDER]
        path.write_text("\n".join(map(json.dumps, records)))
    else:
        _ids_written(path, ORDER, name)
    found = read_embeddings(tmp_path / "v.npy", ids=path, side="videos")
    assert found.ids == tuple(f"v{i}" for i in ORDER)


@pytest.mark.parametrize("file", ["ids.json", "v.ids.json"])
@pytest.mark.parametrize("name", ["rows", "index", "faiss_id", "k"])
def test_a_list_of_places_beside_a_list_of_ids_is_asked_about(tmp_path, file, name):
    np.save(tmp_path / "v.npy", ROWS)
    path = tmp_path / file
    given = path if file == "ids.json" else None
    path.write_text(json.dumps({"ids": IDS, name: ORDER.tolist()}))
    with pytest.raises(FormatError, match=f"'{name}' beside its ids is .* sort them by '{name}'"):
        read_embeddings(tmp_path / "v.npy", ids=given)
    for other, numbers in (
        (name, list(range(12))), ("group_ids", ORDER.tolist()), ("label", ORDER.tolist()),
        (name, [0] * 12), (name, ORDER.tolist()[:5]),
    ):  # fmt: skip
        path.write_text(json.dumps({"ids": IDS, other: numbers}))
        assert read_embeddings(tmp_path / "v.npy", ids=given).ids == tuple(IDS)


@pytest.mark.parametrize("file", BESIDE)
@pytest.mark.parametrize("name", ["row", "rows", "index", "indices", "idx", "faiss_id", "perm"])
def test_places_beside_rows_that_have_ids_are_asked_about(tmp_path, file, name):
    path = tmp_path / file

    def write(beside):
        if path.suffix == ".safetensors":
            save_file({"embeddings": ROWS, "ids": np.arange(50, 62), **beside}, path)
        elif path.suffix == ".pt":
            lists = {key: torch.tensor(x) for key, x in beside.items()}
            torch.save({"embeddings": torch.tensor(ROWS), "ids": IDS, **lists}, path)
        elif path.suffix == ".json":
            lists = {key: x.tolist() for key, x in beside.items()}
            path.write_text(json.dumps({"embeddings": ROWS.tolist(), "ids": IDS, **lists}))
        else:
            write_named(path, {"embeddings": ROWS, "ids": IDS, **beside})

    write({name: ORDER})
    with pytest.raises(FormatError, match=f"'{name}' holds another order.*id_column='ids'"):
        read_embeddings(path)
    np.testing.assert_allclose(read_embeddings(path, id_column="ids").vectors, ROWS, rtol=1e-6)
    for key, numbers in ((name, np.arange(12)), ("label", ORDER), ("num_frames", ORDER)):
        write({key: numbers})
        assert len(read_embeddings(path)) == 12


@pytest.mark.parametrize("file", ["v.npz", "v.h5", "v.pt"])
def test_places_never_stand_for_ids_that_are_padded_numbers(tmp_path, file):
    path = tmp_path / file

    def write(ids):
        if path.suffix == ".pt":
            torch.save({"embeddings": torch.tensor(ROWS), "ids": ids}, path)
        else:
            write_named(path, {"embeddings": ROWS, "ids": ids})

    write([f"{i:03d}" for i in ORDER])
    with typed(), pytest.raises(FormatError, match="zeros before them, in another") as caught:
        read_embeddings(path, ids="rows", side="videos")
    line, _, option = str(caught.value).partition("write them so: ")[2].rpartition(", then ")
    exec(shlex.split(line)[-1], {})  # noqa: S102  the same code without another start of Python
    flag, out = shlex.split(option)
    assert flag == "--video-ids"
    assert read_embeddings(path, ids=out).ids == tuple(map(str, ORDER))
    # In the order of the rows, of others than the rows, and without zeros.
    for ids in (range(12), [139 * i for i in ORDER]):
        write([f"{i:03d}" for i in ids])
        assert read_embeddings(path, ids="rows").ids[:2] == ("0", "1")
    write([f"{i}" for i in ORDER])
    assert read_embeddings(path, ids="rows").ids[:2] == ("0", "1")
