"""Rows of several splits in one table are asked about, never merged; one of them can be named."""

import csv
import json
import re
import sys

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from rerank.core.errors import RerankError
from rerank.io import as_embeddings, read_embeddings
from tests.cli.test_cli import run

N, D = 12, 4
X = np.random.default_rng(0).normal(size=(N, D)).astype("f4")
IDS = [f"v{i}" for i in range(N)]
SPLIT = ["train", "test", "val"] * (N // 3)
TEST = [i for i in range(N) if SPLIT[i] == "test"]


def parquet(path, split):
    rows = {"split": pa.array(split).dictionary_encode(), "id": IDS, "embedding": X.tolist()}
    pq.write_table(pa.table(rows), path, row_group_size=5)


def lists(path, split):
    with path.open("w", newline="") as out:
        w = csv.writer(out)
        w.writerow(["id", "embedding", "split"])
        w.writerows([i, json.dumps(x.tolist()), s] for i, x, s in zip(IDS, X, split, strict=True))


def numbers(path, split):
    with path.open("w", newline="") as out:
        w = csv.writer(out, delimiter=";")
        w.writerow(["id", "subset", *map(str, range(D))])
        w.writerows([i, s, *x.tolist()] for i, x, s in zip(IDS, X, split, strict=True))


def records(path, split):
    path.write_text("".join(
        json.dumps({"id": i, "split": s, "embedding": x.tolist()}) + "\n"
        for i, x, s in zip(IDS, X, split, strict=True)
    ))  # fmt: skip


def npz(path, split):
    np.savez(path, embeddings=X, ids=IDS, split=split)


def hdf5(path, split):
    with h5py.File(path, "w") as f:
        f["embeddings"], f["ids"], f["split"] = X, IDS, split


def torch_file(path, split):
    torch.save({"embeddings": torch.tensor(X), "ids": IDS, "split": list(split)}, path)


WRITERS = {
    "v.parquet": parquet, "lists.csv": lists, "numbers.csv": numbers, "v.jsonl": records,
    "v.npz": npz, "v.h5": hdf5, "v.pt": torch_file,
}  # fmt: skip


@pytest.mark.parametrize("name", list(WRITERS))
def test_rows_of_several_splits_are_asked_about_and_the_way_out_works(tmp_path, name):
    path = tmp_path / name
    WRITERS[name](path, SPLIT)
    with pytest.raises(RerankError) as caught:
        read_embeddings(path)
    said = str(caught.value)
    assert "'test' (4 rows), 'train' (4 rows), 'val' (4 rows); say which is meant" in said
    assert "dataset='test', or dataset='/' for all" in said
    found = read_embeddings(path, dataset="test")
    assert found.ids == tuple(IDS[i] for i in TEST)
    assert np.allclose(found.vectors, X[TEST]) and found.total_rows == len(TEST)
    part = read_embeddings(path, dataset="test", rows=slice(1, 3))
    assert part.ids == found.ids[1:3] and np.allclose(part.vectors, X[TEST][1:3])
    assert np.allclose(read_embeddings(path, dataset="/").vectors, X)
    names = [f"w{i}" for i in range(N)]
    assert read_embeddings(path, dataset="test", ids=names).ids == tuple(names[i] for i in TEST)
    # One split is no question.
    WRITERS[name](path, ["test"] * N)
    assert len(read_embeddings(path)) == N


def test_the_command_says_the_option_that_works(tmp_path):
    parquet(tmp_path / "v.parquet", SPLIT)
    np.savez(tmp_path / "t.npz", embeddings=X[TEST] + 0.5, ids=[IDS[i] for i in TEST])
    line = ["apply", "--videos", "v.parquet", "--texts", "t.npz"]
    _, err = run(*line, cwd=tmp_path, code=2)
    option = re.search(r"say which is meant: (--dataset videos=test), or --dataset videos=/", err)
    assert option, err
    run(*line, *option[1].split(), cwd=tmp_path)
    run(*line, "--dataset", "test", cwd=tmp_path)


def test_an_array_and_a_split_can_both_be_named(tmp_path):
    path = tmp_path / "v.npz"
    np.savez(path, clip=X, blip=-X, ids=IDS, split=SPLIT)
    with pytest.raises(RerankError, match="dataset='test'.*the array with embedding_column='blip'"):
        read_embeddings(path, dataset="blip")
    found = read_embeddings(path, dataset="test", embedding_column="blip")
    assert np.allclose(found.vectors, -X[TEST])


def test_other_columns_are_no_splits(tmp_path):
    others = {
        "split": IDS, "set": ["a", "b"] * 6, "kind": ["train", "car"] * 6, "type": ["test"] * N,
        "media": ["video", "image"] * 6, "stage": ["1", "2"] * 6, "label": range(N),
    }  # fmt: skip
    for name, values in others.items():
        np.savez(tmp_path / "v.npz", embeddings=X, ids=IDS, **{name: values})
        assert len(read_embeddings(tmp_path / "v.npz")) == N


WORDS = {
    "mode": ("test", "train"), "type": ("test2014", "val2014"), "usage": ("dev", "Training"),
    "modality": ("video", "text"), "kind": ("audio", "caption"), "fold": (1, 2), "phase": (0, 1),
    "data_type": ("vision", "language"), "source": ("photo", "description"), "role": ("v", "t"),
    "media": ("visual", "caption"),
}  # fmt: skip


@pytest.mark.parametrize("column", WORDS)
@pytest.mark.parametrize("kind", ["parquet", "csv", "lists.csv", "jsonl", "npz", "h5"])
def test_rows_of_splits_and_sides_are_asked_about_whatever_the_column_is_called(
    tmp_path, column, kind
):
    path, said = tmp_path / f"v.{kind}", list(WORDS[column]) * (N // 2)
    rows = [{"id": i, column: s} for i, s in zip(IDS, said, strict=True)]
    if kind == "csv":
        with path.open("w", newline="") as out:
            w = csv.writer(out)
            w.writerow(["id", column, *(f"f{i}" for i in range(D))])
            w.writerows([*row.values(), *x.tolist()] for row, x in zip(rows, X, strict=True))
    elif kind in ("npz", "h5"):
        arrays = {"embeddings": X, "ids": np.array(IDS, "S"), column: np.array(said)}
        if kind == "npz":
            np.savez(path, **arrays)
        else:
            with h5py.File(path, "w") as f:
                for name, array in arrays.items():
                    f[name] = array.astype("S") if array.dtype.kind == "U" else array
    else:
        rows = [{**row, "embedding": x.tolist()} for row, x in zip(rows, X, strict=True)]
        if kind == "parquet":
            pq.write_table(pa.Table.from_pylist(rows), path)
        elif kind == "jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        else:
            with path.open("w", newline="") as out:
                w = csv.DictWriter(out, list(rows[0]))
                w.writeheader()
                w.writerows({**row, "embedding": json.dumps(row["embedding"])} for row in rows)
    with pytest.raises(RerankError, match=f"its column '{column}' says .* of several") as caught:
        read_embeddings(path)
    word = re.search("dataset='(.*?)', or", str(caught.value))[1]
    assert word in map(str, WORDS[column])
    found = read_embeddings(path, dataset=word)
    assert found.ids == tuple(i for i, s in zip(IDS, said, strict=True) if str(s) == word)
    assert found.vectors.shape == (N // 2, D)
    assert read_embeddings(path, dataset="/").ids == tuple(IDS)


@pytest.mark.parametrize("names", [
    ("train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001"),
    ("train_0", "train_1", "test_0"), ("set_train_a", "set_train_b", "set_test"),
])  # fmt: skip
def test_files_of_several_splits_in_one_folder_are_asked_about(tmp_path, names):
    for at, name in enumerate(names):
        part = slice(4 * at, 4 * at + 4)
        table = pa.table({"id": IDS[part], "embedding": X[part].tolist()})
        pq.write_table(table, tmp_path / f"{name}.parquet")
    said = "the names of its files say .* 'test' .4 rows., 'train' .8 rows.*dataset='test'"
    with pytest.raises(RerankError, match=said):
        read_embeddings(tmp_path)
    assert read_embeddings(tmp_path, dataset="test").ids == tuple(IDS[8:])
    assert sorted(read_embeddings(tmp_path, dataset="/").ids) == sorted(IDS)
    (tmp_path / f"{names[-1]}.parquet").unlink()
    assert read_embeddings(tmp_path).ids == tuple(IDS[:8])


@pytest.mark.parametrize("words", [("vision", "language"), ("photo", "description"), ("v", "t")])
def test_words_that_may_be_sides_are_left_where_the_column_is_of_something_else(tmp_path, words):
    rows = {"id": IDS, "embedding": X.tolist(), "topic": list(words) * (N // 2)}
    pq.write_table(pa.table(rows), tmp_path / "v.parquet")
    assert read_embeddings(tmp_path / "v.parquet").ids == tuple(IDS)


@pytest.mark.parametrize("side", ["texts", "videos"])
@pytest.mark.parametrize("words", [("caption", "video"), ("description", "photo")])
def test_of_one_table_of_both_sides_the_own_side_is_offered(tmp_path, side, words):
    parquet(tmp_path / "both.parquet", SPLIT)
    said = list(words) * (N // 2)
    rows = {"id": IDS, "embedding": X.tolist(), "modality": said}
    pq.write_table(pa.table(rows), tmp_path / "both.parquet")
    other = {"texts": "videos", "videos": "texts"}[side]
    np.savez(tmp_path / "o.npz", embeddings=X, ids=IDS)
    line = ["apply", f"--{side}", "both.parquet", f"--{other}", "o.npz"]
    _, err = run(*line, cwd=tmp_path, code=2)
    word = words[side == "videos"]
    assert f"of several sides: '{words[0]}' (6 rows), '{words[1]}' (6 rows)" in err
    assert f"--dataset {side}={word}, or" in err
    run(*line, "--dataset", f"{side}={word}", cwd=tmp_path)


@pytest.mark.parametrize("library", ["pandas", "polars"])
@pytest.mark.parametrize("column", ["split", "mode"])
def test_a_dataframe_of_several_splits_is_refused_with_code_that_works(library, column):
    df = pytest.importorskip(library).DataFrame({"id": IDS, "embedding": X.tolist(), column: SPLIT})
    with pytest.raises(RerankError, match=f"'{column}' of the DataFrame") as caught:
        as_embeddings(df)
    one, all_rows = re.search(r"of one: (.*), or for all .* out: (.*)", str(caught.value)).groups()
    assert as_embeddings(eval(one)).ids == tuple(i for i, s in zip(IDS, SPLIT, strict=True)
                                                 if s == "train")  # fmt: skip
    assert as_embeddings(eval(all_rows)).ids == tuple(IDS)


# ------------------------------------------------------------- what else divides the rows of a file

FLAGS = {
    "is_test": ("test", "not test"), "test": ("test", "not test"), "valid": ("not valid", "valid"),
    "deleted": ("not deleted", "deleted"), "isQuery": ("not query", "query"),
    "train_mask": ("not train", "train"),
}  # fmt: skip
PARTS = {
    "subset": ("dev", "tr"), "partition": ("eval", "fit"), "role": ("q", "d"), "cv_fold": (0, 1),
    "stream": ("rgb", "flow"), "fold_id": ("a", "b"), "kind": ("flow", "rgb"),
}  # fmt: skip
KINDS = ["parquet", "csv", "words.csv", "jsonl", "npz", "h5", "pt", "safetensors", "frame"]


def _written(path, kind, /, **columns):
    """A file of rows with these columns beside them; of a frame, what is read."""
    import pandas as pd
    from safetensors.numpy import save_file

    arrays = {name: np.array(values) for name, values in columns.items()}
    if kind in ("parquet", "csv", "words.csv", "jsonl", "frame"):
        frame = pd.DataFrame({"id": IDS, **columns})
        if kind in ("csv", "words.csv"):
            names = [f"f{i}" for i in range(D)] if kind == "csv" else ["Aa", "Ab", "Ba", "Bb"]
            frame = pd.concat([frame, pd.DataFrame(X, columns=names)], axis=1)
            frame.to_csv(path, index=False)
            return
        frame["embedding"] = X.tolist()
        if kind == "parquet":
            frame.to_parquet(path)
        elif kind == "jsonl":
            frame.to_json(path, orient="records", lines=True)
        return frame
    if kind == "npz":
        np.savez(path, embeddings=X, ids=IDS, **arrays)
    elif kind == "h5":
        with h5py.File(path, "w") as f:
            f["embeddings"], f["ids"] = X, IDS
            for name, array in arrays.items():
                f[name] = array.astype("S") if array.dtype.kind == "U" else array
    elif kind == "pt":
        words = {n: v if isinstance(v[0], str) else torch.tensor(v) for n, v in columns.items()}
        torch.save({"embeddings": torch.tensor(X), "ids": IDS, **words}, path)
    else:
        numbers = {name: array for name, array in arrays.items() if array.dtype.kind != "U"}
        save_file({"embeddings": X, **numbers}, path, metadata={"ids": json.dumps(IDS)})


def _asked(read, kept, *, way=True):
    with pytest.raises(RerankError, match="of several") as caught:
        read()
    if way:
        word = re.search("dataset='(.*?)', or", str(caught.value))[1]
        found = read(dataset=word)
        assert found.ids == tuple(i for i, said in zip(IDS, kept, strict=True) if said == word)
        rows = [i for i, said in enumerate(kept) if said == word]
        np.testing.assert_allclose(found.vectors[:, :D], X[rows], rtol=1e-6)
        assert read(dataset="/").ids == tuple(IDS)


@pytest.mark.parametrize("name", FLAGS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", ["truth", "numbers", "words"])
def test_truth_values_that_divide_the_rows_are_asked_about(tmp_path, name, kind, form):
    path, truth = tmp_path / f"v.{kind}", [i % 3 == 0 for i in range(N)]
    if form == "words" and kind == "safetensors":
        return
    values = {"truth": truth, "numbers": [*map(int, truth)],
              "words": ["yes" if x else "no" for x in truth]}[form]  # fmt: skip
    word = next(each for each in FLAGS[name] if "not" not in each)
    kept = [word if x else f"not {word}" for x in truth]
    frame = _written(path, kind, **{name: values})
    if kind == "frame":
        _asked(lambda: as_embeddings(frame), kept, way=False)
        return
    more = {"embedding_column": "values"} if kind == "words.csv" and form == "numbers" else {}
    _asked(lambda **said: read_embeddings(path, **said, **more), kept, way=not more)
    _written(path, kind, **{name: values[:1] * N})
    assert len(read_embeddings(path, **more)) == N


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("kind", KINDS)
def test_parts_by_other_words_are_asked_about(tmp_path, name, kind):
    path, values = tmp_path / f"v.{kind}", list(PARTS[name]) * (N // 2)
    if kind == "safetensors" and isinstance(values[0], str):
        return
    frame = _written(path, kind, **{name: values})
    read = lambda **said: as_embeddings(frame) if kind == "frame" else read_embeddings(path, **said)  # noqa: E731
    way = kind not in ("frame", "words.csv") or isinstance(values[0], str)
    _asked(read, [*map(str, values)], way=way and kind != "frame")


PLACES = {"train_idx": [7, 1, 2, 0, 5], "test_idx": [3, 4, 6]}
LISTS = {
    "both": (PLACES, "test"), "one": ({"test_indices": [3, 4, 6]}, "test"),
    "words": ({"train": PLACES["train_idx"], "test": PLACES["test_idx"]}, "test"),
    "names": ({"test_ids": [IDS[i] for i in (3, 4, 6)]}, "test"),
}  # fmt: skip


@pytest.mark.parametrize("lists", LISTS)
@pytest.mark.parametrize("kind", ["npz", "h5", "pt", "safetensors"])
def test_lists_of_some_rows_are_asked_about(tmp_path, lists, kind):
    if lists == "names" and kind == "safetensors":
        return
    path, (arrays, word) = tmp_path / f"v.{kind}", LISTS[lists]
    _written(path, kind, **arrays)
    _asked(lambda **said: read_embeddings(path, **said),
           [word if i in (3, 4, 6) else "" for i in range(N)])  # fmt: skip


@pytest.mark.parametrize("kind", ["npz", "h5", "pt"])
def test_lists_of_all_rows_or_of_other_things_divide_nothing(tmp_path, kind):
    path = tmp_path / f"v.{kind}"
    for arrays in (
        {"train_idx": list(range(N))}, {"test_idx": [3, 40]}, {"idx": [3, 4]},
        {"classes": [1, 2, 3]}, {"test_ids": ["x", "y"]}, {"test_scores": [1, 2, 3]},
    ):  # fmt: skip
        _written(path, kind, **arrays)
        assert len(read_embeddings(path)) == N


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl", "npz", "h5", "frame"])
def test_labels_that_speak_of_no_split_are_left_alone(tmp_path, kind):
    others = {
        "class": ["q", "d"] * 6, "category": ["face", "scene"] * 6, "genre": ["a", "b"] * 6,
        "type": ["spatial", "temporal"] * 6, "kind": ["none", "other"] * 6,
        "is_good": [True, False] * 6, "nsfw": [0, 1] * 6, "has_audio": [True, False] * 6,
        "source": ["youtube", "vimeo"] * 6, "test_score": [0, 1] * 6, "modality": ["video"] * N,
    }  # fmt: skip
    for name, values in others.items():
        frame = _written(tmp_path / f"v.{kind}", kind, **{name: values})
        found = as_embeddings(frame) if kind == "frame" else read_embeddings(tmp_path / f"v.{kind}")
        assert len(found) == N and found.vectors.shape[1] == D, name


@pytest.mark.parametrize("name", ["is_test", "split"])
def test_rows_of_several_splits_in_the_one_group_of_a_file_are_asked_about(tmp_path, name):
    truth = [i % 3 == 0 for i in range(N)]
    kept = ["test" if x else "not test" for x in truth]
    with h5py.File(tmp_path / "v.h5", "w") as f:
        f["msrvtt/embeddings"], f["msrvtt/ids"] = X, IDS
        f[f"msrvtt/{name}"] = truth if name == "is_test" else kept
    _asked(lambda **said: read_embeddings(tmp_path / "v.h5", **said), kept)


TWICE = [*IDS[: N // 2], *IDS[: N // 2]]
TELL = {
    "model": ["clip-b32", "mine"], "layerIdx": [11, 12], "kind": ["full", "crop"],
    "lang": ["en", "de"], "version": ["v1", "v2"],
}  # fmt: skip


@pytest.mark.parametrize("name", TELL)
@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl", "npz", "h5", "pt"])
def test_several_vectors_of_an_id_are_asked_about_and_one_of_them_is_taken(
    tmp_path, monkeypatch, kind, name
):
    monkeypatch.setattr(sys.modules[__name__], "IDS", TWICE)
    path, words = tmp_path / f"v.{kind}", [str(each) for each in TELL[name]]
    _written(path, kind, **{name: np.repeat(TELL[name], N // 2).tolist()})
    with pytest.raises(RerankError, match=f"several vectors of an id, such as 'v0'.*{name}") as e:
        read_embeddings(path, pool="mean")
    assert re.search("dataset='(.*?)'", str(e.value))[1] in words
    for at, word in enumerate(words):
        found, rows = read_embeddings(path, dataset=word), slice(at * N // 2, (at + 1) * N // 2)
        assert found.ids == tuple(TWICE[rows])
        np.testing.assert_allclose(found.vectors[:, :D], X[rows], rtol=1e-6)
    # One word of all, another word, and ids from elsewhere are as they were.
    for said in ({name: [TELL[name][0]] * N}, {"caption_no": [0] * 6 + [1] * 6}):
        _written(path, kind, **said)
        with pytest.raises(RerankError, match="stands in row 0 and again in row 6"):
            read_embeddings(path)


@pytest.mark.parametrize("name", TELL)
@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl", "npz", "h5", "pt"])
def test_a_model_or_a_kind_of_each_of_different_items_divides_nothing(tmp_path, kind, name):
    _written(tmp_path / f"v.{kind}", kind, **{name: TELL[name] * (N // 2)})
    assert read_embeddings(tmp_path / f"v.{kind}").ids == tuple(IDS)
