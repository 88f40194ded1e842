"""Rows that say their own number are never taken by their places without a word."""

import json
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
