"""Rows of several splits in one table are asked about, never merged; one of them can be named."""

import csv
import json
import re

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
    for name, values in {"split": IDS, "set": ["a", "b"] * 6, "kind": SPLIT}.items():
        np.savez(tmp_path / "v.npz", embeddings=X, ids=IDS, **{name: values})
        assert len(read_embeddings(tmp_path / "v.npz")) == N


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_dataframe_of_several_splits_is_refused_with_code_that_works(library):
    df = pytest.importorskip(library).DataFrame(
        {"id": IDS, "embedding": X.tolist(), "split": SPLIT}
    )
    with pytest.raises(RerankError, match="'split' of the DataFrame") as caught:
        as_embeddings(df)
    one, all_rows = re.search(r"of one: (.*), or for all .* out: (.*)", str(caught.value)).groups()
    assert as_embeddings(eval(one)).ids == tuple(i for i, s in zip(IDS, SPLIT, strict=True)
                                                 if s == "train")  # fmt: skip
    assert as_embeddings(eval(all_rows)).ids == tuple(IDS)
