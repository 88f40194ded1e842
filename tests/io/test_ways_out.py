"""What people keep in other forms is read, or the way out that is printed works."""

import json
import shlex

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as parquet
import pytest

from rerank.core.errors import FormatError
from rerank.io import read_embeddings, read_ground_truth
from tests.reliability.child import python

ROWS = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
NAMES = [f"v{i}" for i in range(4)]
TEXTS = [f"t{i}" for i in range(4)]


def refused(path, dataset=None):
    with pytest.raises(FormatError) as caught:
        read_embeddings(path, dataset=dataset)
    return str(caught.value)


def test_vectors_as_bytes_are_made_lists_by_the_recipe(tmp_path):
    path = tmp_path / "it's v.parquet"
    table = pa.table({"id": NAMES, "embedding": [row.tobytes() for row in ROWS]})
    parquet.write_table(table, path)
    said = refused(path)
    assert "holds bytes, but embeddings are numbers" in said and "json.loads" not in said
    words = shlex.split(said[said.index("python -c") :])
    python(*words[1:], folder=tmp_path)
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


@pytest.mark.parametrize("named", [[], ["msrvtt"]])
def test_a_group_inside_a_group_is_named_by_its_whole_path(tmp_path, named):
    path = tmp_path / "v.h5"
    with h5py.File(path, "w") as file:
        for name, row in zip(NAMES, ROWS, strict=True):
            file[f"msrvtt/rgb/{name}/feat"] = row
            file[f"msrvtt/flow/{name}/feat"] = 2 * row
    said = refused(path, *named)
    assert "dataset='msrvtt/flow'" in said
    found = read_embeddings(path, dataset="msrvtt/flow")
    assert list(found.ids) == NAMES and np.array_equal(found.vectors, 2 * ROWS)


@pytest.mark.parametrize("batch", [ROWS[:, :, None], ROWS[:, :, None, None]])
@pytest.mark.parametrize("pool", [None, "mean"])
def test_an_axis_of_one_behind_the_numbers_is_named(tmp_path, batch, pool):
    path = tmp_path / "v.npz"
    np.savez(path, embeddings=batch, ids=NAMES)
    with pytest.raises(FormatError) as caught:
        read_embeddings(path, pool=pool)
    said = str(caught.value)
    assert "axis of one behind" in said and "x.reshape(4, 6)" in said and "frames" not in said


@pytest.mark.parametrize("name", ["f.txt", "f.dat", "it's f.csv", "f.npy"])
@pytest.mark.parametrize("header", ["", "my features"])
@pytest.mark.parametrize("times", [1, 20])
def test_numbers_with_blanks_between_them_are_made_an_array(tmp_path, name, header, times):
    path, rows = tmp_path / name, np.tile(ROWS, times)
    with path.open("w") as stream:
        np.savetxt(stream, rows, header=header)
    said = refused(path)
    assert "blanks" in said and "cp " not in said
    words = shlex.split(said[said.index("python -c") :])
    python(*words[1:], folder=tmp_path)
    (made,) = set(tmp_path.glob("*.npy")) - {path}
    found = read_embeddings(made, row_numbers=True)
    np.testing.assert_allclose(found.vectors, rows, rtol=1e-6)


@pytest.mark.parametrize(
    "text", ["0.5\n0.25\n", "2 3\nv0 1 2 3\n", "2 3\n7 1 2 3\n", "1, 2\n3, 4\n"]
)
def test_other_rows_are_not_said_to_be_numbers_with_blanks(tmp_path, text):
    path = tmp_path / "f.txt"
    path.write_text(text)
    assert "blanks" not in refused(path)


@pytest.mark.parametrize("name", ["v.json", "v.jsonl"])
@pytest.mark.parametrize("long", [False, True])
def test_ids_of_mongodb_are_read(tmp_path, name, long, monkeypatch):
    if long:
        monkeypatch.setattr("rerank.core.memory.COPY_SHARE", 0.0)
    path, ids = tmp_path / name, [f"{i:024x}" for i in range(4)]
    records = [
        json.dumps({"_id": {"$oid": i}, "embedding": row.tolist()})
        for i, row in zip(ids, ROWS, strict=True)
    ]
    path.write_text("\n".join(records) if name == "v.jsonl" else f"[{', '.join(records)}]")
    found = read_embeddings(path, id_column="_id")
    assert list(found.ids) == ids and np.array_equal(found.vectors, ROWS)
    assert "name one with id_column" in refused(path)


@pytest.mark.parametrize(
    "kind", ["file.arrow", "stream.arrow", "v.feather", "dataset", "called.pt"]
)
@pytest.mark.parametrize("use", ["embeddings", "truth"])
def test_tables_of_arrow_are_made_parquet_by_the_recipe(tmp_path, kind, use):
    columns = {"query_id": ["t0", "t1"], "video_id": ["v1", "v0"]}
    if use == "embeddings":
        columns = {"id": ["v1", "v0"], "embedding": [[1.0, 2.0], [3.0, 4.0]]}
    table, path = pa.table(columns), tmp_path / kind
    if kind == "v.feather":
        feather.write_feather(table, str(path))
    elif kind == "dataset":
        path.mkdir()
        for name, part in (("data-00000-of-00002", table[:1]), ("data-00001-of-00002", table[1:]),
                           ("cache-5d1a", table[:1])):  # fmt: skip
            with pa.ipc.new_stream(str(path / f"{name}.arrow"), table.schema) as out:
                out.write_table(part)
        (path / "state.json").write_text("{}")
        with pytest.raises(FormatError, match=r"holds folders of datasets; name one of .*dataset"):
            read_embeddings(tmp_path)
    else:
        new = pa.ipc.new_file if kind == "file.arrow" else pa.ipc.new_stream
        with new(str(path), table.schema) as out:
            out.write_table(table)
    if use == "truth" and kind == "dataset":
        return
    with pytest.raises(FormatError, match="make it a table of parquet: ") as caught:
        if use == "truth":
            read_ground_truth(path, ["t0", "t1"], ["v0", "v1"])
        else:
            read_embeddings(path)
    way = str(caught.value).partition("make it a table of parquet: ")[2]
    python(*shlex.split(way)[1:], folder=tmp_path)
    made = path.with_suffix(".parquet")
    if use == "truth":
        found = read_ground_truth(made, ["t0", "t1"], ["v0", "v1"])
        assert [list(rows) for rows in found.positives] == [[1], [0]]
    else:
        found = read_embeddings(made)
        assert found.ids == ("v1", "v0") and found.vectors.tolist() == [[1.0, 2.0], [3.0, 4.0]]
