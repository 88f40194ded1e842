"""What people keep in other forms is read, or the way out that is printed works."""

import json
import shlex
import subprocess
import sys

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from rerank.core.errors import FormatError
from rerank.io import read_embeddings, read_ground_truth

ROWS = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
NAMES = [f"v{i}" for i in range(4)]
TEXTS = [f"t{i}" for i in range(4)]


def refused(path):
    with pytest.raises(FormatError) as caught:
        read_embeddings(path)
    return str(caught.value)


def test_vectors_as_bytes_are_made_lists_by_the_recipe(tmp_path):
    path = tmp_path / "it's v.parquet"
    table = pa.table({"id": NAMES, "embedding": [row.tobytes() for row in ROWS]})
    parquet.write_table(table, path)
    said = refused(path)
    assert "holds bytes, but embeddings are numbers" in said and "json.loads" not in said
    words = shlex.split(said[said.index("python -c") :])
    subprocess.run([sys.executable, *words[1:]], cwd=tmp_path, check=True)
    found = read_embeddings(tmp_path / "it's v.plain.parquet")
    assert list(found.ids) == NAMES and np.array_equal(found.vectors, ROWS)


def test_vectors_as_text_are_told_as_before(tmp_path):
    table = pa.table({"id": NAMES, "embedding": [json.dumps(row.tolist()) for row in ROWS]})
    parquet.write_table(table, tmp_path / "v.parquet")
    assert "holds text, but embeddings are numbers; turn" in refused(tmp_path / "v.parquet")


@pytest.mark.parametrize("key", ["test", "data"])
def test_records_beside_what_is_said_of_them(tmp_path, key):
    path = tmp_path / "gt.json"
    records = [{"video_id": v, "text_id": t} for v, t in zip(NAMES, TEXTS, strict=True)]
    path.write_text(json.dumps({"meta": {"name": "x", "size": 4}, key: records}))
    assert read_ground_truth(path, TEXTS, NAMES).n_pairs == 4


@pytest.mark.parametrize(
    ("column", "cell"),
    [
        ("video_ids", "\"['v0', 'v1']\""), ("video_ids", '"[""v0"", ""v1""]"'),
        ("video_id", "['v0']"), ("video_ids", '"[0, 1]"'),
    ],
)  # fmt: skip
def test_a_list_in_a_cell_is_named(tmp_path, column, cell):
    path = tmp_path / "gt.csv"
    path.write_text(f"query_id,{column}\nt0,v0\nt1,{cell}\n")
    with pytest.raises(FormatError, match=rf"row 2 has the list .* in the column '{column}'"):
        read_ground_truth(path, TEXTS, NAMES)


def test_a_name_in_brackets_is_no_list(tmp_path):
    path = tmp_path / "gt.csv"
    path.write_text("query_id,video_id\nt0,[v0]\n")
    assert read_ground_truth(path, ["t0"], ["[v0]"]).n_pairs == 1


def test_a_caption_that_is_a_number_is_named(tmp_path):
    path = tmp_path / "gt.jsonl"
    path.write_text('{"image": 3, "caption": 0}\n')
    with pytest.raises(FormatError, match="has the number 0 as its 'caption', expected the text"):
        read_ground_truth(path, TEXTS, NAMES)


def test_the_vector_among_other_arrays_of_each_item_is_asked_for(tmp_path):
    path = tmp_path / "v.h5"
    with h5py.File(path, "w") as file:
        for name, row in zip(NAMES, ROWS, strict=True):
            file[f"{name}/emb"], file[f"{name}/duration"] = row, 2.5
            file[f"{name}/caption_ids"] = np.arange(3)
    said = refused(path)
    assert "each of its 4 items" in said and "dataset='emb'" in said
    assert np.array_equal(read_embeddings(path, dataset="emb").vectors, ROWS)


def test_streams_in_json_are_asked_for_as_in_other_files(tmp_path):
    vectors = {name: row.tolist() for name, row in zip(NAMES, ROWS, strict=True)}
    inside, outside = tmp_path / "inside.json", tmp_path / "outside.json"
    inside.write_text(json.dumps({n: {"rgb": v, "flow": v} for n, v in vectors.items()}))
    outside.write_text(json.dumps({"rgb": vectors, "flow": vectors}))
    assert "each of its 4 items, such as 'v0', holds several arrays" in refused(inside)
    assert "holds several groups: 'rgb'" in refused(outside)
    for path in (inside, outside):
        found = read_embeddings(path, dataset="rgb")
        assert list(found.ids) == NAMES
        np.testing.assert_allclose(found.vectors, ROWS)
    deep = vectors
    for _ in range(600):
        deep = {"a": deep}
    inside.write_text(json.dumps(deep))
    assert "no embeddings found" in refused(inside)
