"""Rows that say their own number are never taken by their places without a word."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import save_file

from rerank.core.errors import FormatError
from rerank.io import read_embeddings
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
