"""Tables with a column of lists, and the folders of clip-retrieval."""

import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest

from rerank.core.errors import FormatError
from rerank.io import read_embeddings
from tests.io_writers import IDS, N, vectors, write

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")


def save(path, column, **columns):
    parquet.write_table(pa.table({"ids": IDS, "emb": column, **columns}), path, row_group_size=3)
    return path


@pytest.mark.parametrize("inner", [pa.float16(), pa.float32(), pa.float64()])
@pytest.mark.parametrize("kind", ["list", "large", "fixed"])
def test_every_sort_of_list(tmp_path, inner, kind):
    made = {"list": pa.list_(inner), "large": pa.large_list(inner), "fixed": pa.list_(inner, 4)}
    x = vectors().astype(inner.to_pandas_dtype())
    path = save(tmp_path / "v.parquet", pa.array(list(x), made[kind]))
    for rows in (slice(None), slice(2, 5), slice(6, 7)):
        found = read_embeddings(path, rows=rows)
        assert found.ids == tuple(IDS[rows])
        np.testing.assert_array_equal(found.vectors, x[rows].astype(found.vectors.dtype))


def test_tables_have_more_columns(tmp_path):
    x = vectors()
    path = save(
        tmp_path / "v.parquet",
        pa.array(list(x)),
        caption=["same"] * N,
        width=np.arange(N),
        similarity=np.ones(N),
        group_ids=["g"] * N,
    )
    found = read_embeddings(path)
    assert found.ids == tuple(IDS) and found.group_ids == ("g",) * N


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({3: [1.0, 2.0]}, "row 3 has 2 values, row 0 has 4"),
        ({3: None}, "row 3 has nothing|missing"),
        ({3: [1.0, None, 2.0, 3.0]}, "missing|NaN"),
        ({3: [1.0, float("nan"), 2.0, 3.0]}, r"row 3 \(id 'über'\): NaN in column 1"),
        ({3: [0.0] * 4}, r"row 3 \(id 'über'\): is all zeros"),
    ],
)
@pytest.mark.parametrize("fixed", [False, True])
def test_rows_that_are_no_vectors(tmp_path, change, words, fixed):
    lists = [change.get(i, list(map(float, row))) for i, row in enumerate(vectors())]
    if fixed and any(x is not None and len(x) != 4 for x in lists):
        pytest.skip("cannot be written")
    kind = pa.list_(pa.float32(), 4) if fixed else pa.list_(pa.float32())
    path = save(tmp_path / "v.parquet", pa.array(lists, kind))
    with pytest.raises(FormatError, match=rf"v\.parquet.*({words})"):
        read_embeddings(path)


def test_columns_that_are_no_embeddings(tmp_path):
    path = save(tmp_path / "v.parquet", pa.array([[1, 2]] * N))
    with pytest.raises(FormatError, match=r"column 'emb'.*integers"):
        read_embeddings(path)
    path = save(tmp_path / "v.parquet", pa.array([["a"]] * N))
    with pytest.raises(FormatError, match=r"v\.parquet"):
        read_embeddings(path)
    parquet.write_table(pa.table({"ids": ["a"], "x": [1.0]}), path)
    with pytest.raises(
        FormatError, match=r"v\.parquet: no embeddings found; it holds 'ids' .*'x' "
    ):
        read_embeddings(path)
    parquet.write_table(pa.table({"emb": [[1.0, 2.0]], "caption": ["a"]}), path)
    with pytest.raises(FormatError, match="no ids"):
        read_embeddings(path)
    parquet.write_table(pa.table({"a": [[1.0, 2.0]], "b": [[1.0, 3.0]], "id": ["x"]}), path)
    with pytest.raises(FormatError, match=r"'a', 'b' could all.*embedding_column=.a"):
        read_embeddings(path)
    assert read_embeddings(path, dataset="b").ids == ("x",)
    parquet.write_table(pa.table({"id": ["x", None], "emb": [[1.0, 0.0], [2.0, 1.0]]}), path)
    with pytest.raises(FormatError, match="row 1 is missing"):
        read_embeddings(path)
    parquet.write_table(pa.table({"id": ["x"], "emb": [[1.0]]}).slice(0, 0), path)
    with pytest.raises(FormatError, match="empty"):
        read_embeddings(path)


def test_one_part_of_clip_retrieval(tmp_path):
    write("clip-retrieval", tmp_path, vectors())
    found = read_embeddings(tmp_path / "img_emb" / "img_emb_1.npy")
    assert found.ids == tuple(IDS[4:])
    np.testing.assert_array_equal(found.vectors, vectors()[4:])


def test_parts_go_by_number_and_not_by_name(tmp_path):
    (tmp_path / "metadata").mkdir()
    (tmp_path / "text_emb").mkdir()
    for part in range(11):
        np.save(tmp_path / "text_emb" / f"text_emb_{part}.npy", np.full((1, 2), part + 1.0))
        table = pa.table({"key": [f"k{part}"], "image_path": ["same"]})
        parquet.write_table(table, tmp_path / "metadata" / f"metadata_{part}.parquet")
    found = read_embeddings(tmp_path / "text_emb")
    assert found.ids == tuple(f"k{i}" for i in range(11))
    assert list(found.vectors[:, 0]) == list(range(1, 12))


def test_folders_that_are_not_one_set(tmp_path):
    write("clip-retrieval", tmp_path, vectors())
    (tmp_path / "text_emb").mkdir()
    with pytest.raises(FormatError, match=r"several kinds.*img_emb.*text_emb"):
        read_embeddings(tmp_path)
    with pytest.raises(FormatError, match="no embeddings found"):
        read_embeddings(tmp_path / "metadata")
    (tmp_path / "metadata" / "metadata_1.parquet").unlink()
    with pytest.raises(FormatError, match="2 parts of embeddings but 1 tables"):
        read_embeddings(tmp_path / "img_emb")
    np.save(tmp_path / "img_emb" / "img_emb_1.npy", np.ones((3, 9)))
    with pytest.raises(FormatError, match=r"img_emb"):
        read_embeddings(tmp_path / "img_emb")


@pytest.mark.parametrize("kind", ["img_emb", "text_emb"])
def test_a_folder_of_one_kind_is_read_like_the_folder_in_it(tmp_path, kind):
    write("clip-retrieval", tmp_path, vectors())
    if kind != "img_emb":
        (tmp_path / "img_emb").rename(tmp_path / kind)
        for part in sorted((tmp_path / kind).glob("*.npy")):
            part.rename(part.with_name(part.name.replace("img_emb", kind)))
    found, want = read_embeddings(tmp_path), read_embeddings(tmp_path / kind)
    assert found.ids == want.ids == tuple(IDS)
    np.testing.assert_array_equal(found.vectors, vectors())


def test_a_folder_of_one_kind_with_an_array_for_each_item(tmp_path):
    (tmp_path / "video_emb").mkdir()
    for number, row in enumerate(vectors()):
        np.save(tmp_path / "video_emb" / f"v{number}.npy", row)
    found, want = read_embeddings(tmp_path), read_embeddings(tmp_path / "video_emb")
    assert found.ids == want.ids == tuple(f"v{i}" for i in range(len(IDS)))
    np.testing.assert_array_equal(found.vectors, want.vectors)
    np.save(tmp_path / "other.npy", vectors()[0])
    with pytest.raises(FormatError, match="arrays and folders of arrays side by side.*video_emb"):
        read_embeddings(tmp_path)


def test_of_several_kinds_each_is_named_by_the_path_that_is_read(tmp_path):
    write("clip-retrieval", tmp_path, vectors())
    shutil.copytree(tmp_path / "img_emb", tmp_path / "text_emb")
    with pytest.raises(FormatError, match="has several kinds of embeddings; give one of ") as said:
        read_embeddings(tmp_path)
    ways = shlex.split(str(said.value).partition("give one of ")[2].replace(",", ""))
    assert [Path(way) for way in ways] == [tmp_path / "img_emb", tmp_path / "text_emb"]


def test_an_array_that_is_only_called_like_a_part(tmp_path):
    np.save(tmp_path / "my_emb_3.npy", vectors())
    (tmp_path / "my_emb_3.ids.txt").write_text("\n".join(IDS), encoding="utf-8")
    assert read_embeddings(tmp_path / "my_emb_3.npy").ids == tuple(IDS)


def test_without_pyarrow_the_message_says_how_to_get_it(tmp_path, monkeypatch):
    import sys

    path, _ = write("parquet", tmp_path, vectors())
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ValueError, match=r"pip install 'rerank-toolkit\[arrow\]'"):
        read_embeddings(path)


@pytest.mark.parametrize("parts", [[3], [3, 4], [1] * 12])
def test_parts_without_tables_have_the_ids_that_are_given(tmp_path, parts):
    rows = np.random.default_rng(0).normal(size=(sum(parts), 4)).astype("f4")
    ids = [f"v{i}" for i in range(len(rows))]
    folder = tmp_path / "img_emb"
    folder.mkdir()
    for number, part in enumerate(np.split(rows, np.cumsum(parts)[:-1])):
        np.save(folder / f"img_emb_{number}.npy", part)
    for path in (folder, tmp_path, folder / "img_emb_0.npy"):
        count = parts[0] if path.suffix else len(rows)
        found = read_embeddings(path, ids=ids[:count])
        assert found.ids == tuple(ids[:count])
        np.testing.assert_array_equal(found.vectors, rows[:count])
        with pytest.raises(FormatError, match="there are no ids for its rows"):
            read_embeddings(path)
        with pytest.raises(FormatError, match="ids for the"):
            read_embeddings(path, ids=[*ids[:count], "more"])


@pytest.mark.parametrize("fixed", [-1, 4])
@pytest.mark.parametrize("name", ["mask", "video_mask", "padding_mask"])
def test_lists_of_truth_values_beside_frames_are_a_mask_as_integers_are(tmp_path, name, fixed):
    frames = np.random.default_rng(0).normal(size=(N, 4, 3)).astype("f4")
    lengths = np.arange(N) % 3 + 2
    mask = np.arange(4) < lengths[:, None]
    frames[~mask] *= 30
    found = []
    for kind in (pa.int8(), pa.bool_()):
        said = (~mask if "padding" in name else mask).tolist()
        column = pa.array(said, pa.list_(pa.bool_(), fixed)).cast(pa.list_(kind, fixed))
        table = pa.table({"ids": IDS, "emb": pa.array(frames.tolist()), name: column})
        parquet.write_table(table, tmp_path / "v.parquet")
        found.append(read_embeddings(tmp_path / "v.parquet", pool="mean").vectors)
    assert np.array_equal(*found)
    units = frames / np.linalg.norm(frames, axis=-1, keepdims=True)
    kept = zip(units, mask, strict=True)
    assert np.allclose(found[1], [u[m].mean(axis=0) for u, m in kept], atol=1e-6)
    # Truth values of another number say nothing of frames, as many as each item has.
    other = pa.array([[True] * (4 - at % 3) for at in range(N)])
    table = pa.table({"ids": IDS, "emb": pa.array(frames.tolist()), "is_key": other})
    parquet.write_table(table, tmp_path / "v.parquet")
    assert np.allclose(read_embeddings(tmp_path / "v.parquet", pool="mean").vectors,
                       units.mean(axis=1), atol=1e-6)  # fmt: skip


def test_keys_of_clip_retrieval_that_repeat_leave_the_paths(tmp_path):
    np.save(tmp_path / "img_emb_0.npy", vectors())
    paths = [f"{name}.jpg" for name in IDS]
    for keys, want in ((["0"] * N, paths), ([str(row) for row in range(N)], None)):
        table = pa.table({"image_path": paths, "key": keys})
        parquet.write_table(table, tmp_path / "metadata_0.parquet")
        ids = read_embeddings(tmp_path).ids
        assert ids == tuple(want or keys)
        assert read_embeddings(tmp_path, id_column="image_path").ids == tuple(paths)
