"""Checkpoints, tables of records and packed files: read, or called what they are."""

import argparse
import base64
import bz2
import gzip
import json
import lzma
import re
import shlex
import subprocess

import h5py
import numpy as np
import pandas as pd
import pytest
import torch

from rerank.core.errors import FormatError
from rerank.io import read_embeddings, read_scores
from tests.reliability.child import python

N, D = 6, 4
IDS = [f"v{i}" for i in range(N)]
ROWS = np.random.default_rng(0).normal(size=(N, D)).astype("f4")


def tensor():
    return torch.from_numpy(ROWS.copy())


def trained():
    """The weights of a model and the state of its optimizer after a step."""
    model = torch.nn.Sequential(torch.nn.Linear(D, 8), torch.nn.Linear(8, D))
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(2, D)).sum().backward()
    optimizer.step()
    return model, optimizer


def checkpoint():
    model, optimizer = trained()
    return {"epoch": 3, "state_dict": model.state_dict(), "optimizer": optimizer.state_dict()}


KEPT = {
    "a checkpoint with embeddings": lambda: {**checkpoint(), "embeddings": tensor(), "ids": IDS},
    "a parameter": lambda: {"embeddings": torch.nn.Parameter(tensor()), "ids": IDS},
    "in one group": lambda: {"data": {"features": tensor(), "ids": IDS}},
    "in half precision": lambda: {"feats": tensor().half().float(), "names": IDS},
}


@pytest.mark.parametrize("case", KEPT)
def test_embeddings_among_other_things(tmp_path, case):
    torch.save(KEPT[case](), tmp_path / "v.pt")
    found = read_embeddings(tmp_path / "v.pt")
    assert found.ids == tuple(IDS)
    np.testing.assert_allclose(found.vectors, ROWS, rtol=1e-3, atol=1e-3)


def test_a_pair_of_rows_and_names_is_read_when_the_names_are_named(tmp_path):
    torch.save((tensor(), IDS), tmp_path / "v.pt")
    with pytest.raises(FormatError, match="'1' has one entry for each.*id_column=.1."):
        read_embeddings(tmp_path / "v.pt")
    found = read_embeddings(tmp_path / "v.pt", id_column="1")
    assert found.ids == tuple(IDS)
    np.testing.assert_array_equal(found.vectors, ROWS)


@pytest.mark.parametrize("kind", ["whole", "model", "state", "safetensors"])
def test_the_weights_of_a_model_are_no_items(tmp_path, kind):
    model, _ = trained()
    state = model.state_dict()
    path = tmp_path / "m.pt"
    if kind == "safetensors":
        from safetensors.torch import save_file

        path = tmp_path / "m.safetensors"
        save_file(state, path)
    else:
        torch.save({"whole": checkpoint(), "model": {"model": state}, "state": state}[kind], path)
    with pytest.raises(FormatError, match=r"parameters of a model, such as .*weight") as caught:
        read_embeddings(path)
    # The array that the message names can be taken, as embeddings of words can.
    name = str(caught.value).partition("dataset='")[2].partition("'")[0]
    assert read_embeddings(path, dataset=name, row_numbers=True).vectors.shape == (8, D)


def test_a_program_is_named(tmp_path):
    torch.jit.script(trained()[0]).save(str(tmp_path / "m.pt"))
    with pytest.raises(FormatError, match="TorchScript"):
        read_embeddings(tmp_path / "m.pt")


def test_names_without_an_order_are_not_taken(tmp_path):
    torch.save({"embeddings": tensor(), "ids": set(IDS)}, tmp_path / "v.pt")
    with pytest.raises(FormatError, match="a set, whose order is not that of the rows"):
        read_embeddings(tmp_path / "v.pt")


ODD = {
    "nested": (lambda x: torch.nested.nested_tensor([x[:3], x[:2]]), "a dictionary of the tensors"),
    "quantised": (lambda x: torch.quantize_per_tensor(x, 0.1, 0, torch.qint8), "dequantize()"),
    "sparse": (lambda x: x.to_sparse(), "to_dense()"),
    "expanded": (lambda x: x[:1].expand(1000, D), "tensor.contiguous()"),
    "text": (lambda x: "made by hand", "holds 'made by hand', expected tensors"),
    "nothing": (lambda x: None, "holds None, expected tensors"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", ODD)
def test_tensors_of_other_kinds_are_refused_with_a_way_out(tmp_path, case):
    make, words = ODD[case]
    torch.save(make(tensor().float()), tmp_path / "v.pt")
    with pytest.raises(FormatError) as caught:
        read_embeddings(tmp_path / "v.pt", row_numbers=True)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_a_tensor_whose_signs_are_turned_when_it_is_read(tmp_path):
    values = torch.complex(tensor(), tensor()).conj().imag
    torch.save({"embeddings": values, "ids": IDS}, tmp_path / "v.pt")
    np.testing.assert_array_equal(read_embeddings(tmp_path / "v.pt").vectors, -ROWS)


NOT_PLAIN = {
    "arrays": lambda: {"embeddings": ROWS, "ids": np.array(IDS)},
    "options": lambda: {"embeddings": tensor(), "ids": IDS, "args": argparse.Namespace(lr=0.1)},
    "objects": lambda: {"embeddings": ROWS, "ids": np.array(IDS, dtype=object)},
}


@pytest.mark.parametrize("case", [*NOT_PLAIN, "before 1.6"])
def test_the_recipe_makes_a_file_that_is_read(tmp_path, case):
    path = tmp_path / "it's mine.pt"
    if case == "before 1.6":
        content = {"embeddings": tensor(), "ids": IDS}
        torch.save(content, path, _use_new_zipfile_serialization=False)
    else:
        torch.save(NOT_PLAIN[case](), path)
    with pytest.raises(FormatError) as caught:
        read_embeddings(path)
    said = str(caught.value)
    words = shlex.split(said[said.index("python -c") :])
    python(*words[1:], folder=tmp_path)
    made = ".plain.pt" if case == "before 1.6" else ".plain.npz"
    found = read_embeddings(path.with_suffix(made))
    assert found.ids == tuple(IDS)
    np.testing.assert_array_equal(found.vectors, ROWS)


def records(vectors):
    if vectors:
        made = np.zeros(N, dtype=[("id", "U8"), ("embedding", "f4", (D,)), ("year", "i4")])
        made["embedding"] = ROWS
    else:
        made = np.zeros(N, dtype=[("id", "S8"), *((f"f{i}", "f4") for i in range(D)), ("t", "f8")])
        for i in range(D):
            made[f"f{i}"] = ROWS[:, i]
    made["id"] = IDS
    return made


@pytest.mark.parametrize("vectors", [True, False])
def test_records_of_numpy_are_a_table(tmp_path, vectors):
    np.save(tmp_path / "v.npy", records(vectors))
    found = read_embeddings(tmp_path / "v.npy")
    assert found.ids == tuple(IDS)
    np.testing.assert_allclose(found.vectors, ROWS)
    part = read_embeddings(tmp_path / "v.npy", rows=slice(2, 5))
    np.testing.assert_allclose(part.vectors, ROWS[2:5])
    if not vectors:
        assert read_scores(tmp_path / "v.npy").scores.shape == (N, D + 1)
    for name in ("v.npz", "v.h5"):
        path = tmp_path / name
        if name == "v.npz":
            np.savez(path, data=records(vectors))
        else:
            with h5py.File(path, "w") as file:
                file["data"] = np.zeros(N, dtype=[("id", "S8"), ("embedding", "f4", (D,))])
        with pytest.raises(FormatError, match="a table with the columns 'id'.*each"):
            read_embeddings(path)


PACKERS = {"gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress}


@pytest.mark.parametrize("how", PACKERS)
@pytest.mark.parametrize("ending", ["", {"gzip": ".gz", "bzip2": ".bz2", "xz": ".xz"}])
def test_the_way_to_unpack_a_file_works_whatever_it_is_called(tmp_path, how, ending):
    plain = tmp_path / "v.npy"
    np.save(plain, ROWS)
    content = plain.read_bytes()
    plain.unlink()
    packed = tmp_path / f"v.npy{ending[how] if ending else ''}"
    packed.write_bytes(PACKERS[how](content))
    with pytest.raises(FormatError, match=f"is compressed by {how}; unpack it first: ") as caught:
        read_embeddings(packed)
    command = str(caught.value).partition("first: ")[2]
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, check=False)
    if done.returncode == 127:
        pytest.skip(f"no program for {how} here")
    assert not done.returncode, done
    (made,) = set(tmp_path.iterdir()) - {packed}
    assert made.read_bytes() == content


def test_what_holds_next_to_nothing_is_not_unpacked(tmp_path):
    """A megabyte of zeros that would be a gigabyte."""
    shape = (40_000, 1000)
    nothing, packed = np.zeros(shape, "f4"), {"chunks": (500, 1000), "compression": "gzip"}
    np.savez_compressed(tmp_path / "v.npz", embeddings=nothing, ids=range(shape[0]))
    with h5py.File(tmp_path / "v.h5", "w") as file:
        file.create_dataset("embeddings", data=nothing, **packed)
        file["ids"] = np.arange(shape[0])
    for name in ("v.npz", "v.h5"):
        with pytest.raises(FormatError, match="holds next to nothing.*without compression"):
            read_embeddings(tmp_path / name, metric="dot")
    small = np.zeros((400, 1000), "f4")
    np.savez_compressed(tmp_path / "s.npz", embeddings=small, ids=range(400))
    assert len(read_embeddings(tmp_path / "s.npz", metric="dot")) == 400


@pytest.mark.parametrize("column", ["id", "video_id", "names"])
@pytest.mark.parametrize("index", [range(N), [3, 1, 0, 2, 5, 4], list("fedcba")])
def test_a_table_that_pandas_wrote_by_columns_is_read(tmp_path, column, index):
    lists = [row.tolist() for row in ROWS]
    frame = pd.DataFrame({column: IDS, "emb": lists, "n": range(N)}, index=index)
    frame.to_json(tmp_path / "v.json")
    found = read_embeddings(tmp_path / "v.json")
    assert found.ids == tuple(IDS)
    np.testing.assert_allclose(found.vectors, ROWS, rtol=1e-6)


def test_groups_of_vectors_are_no_columns_of_a_table(tmp_path):
    vectors = dict(zip(IDS, ROWS.tolist(), strict=True))
    for other in (vectors, {name: row[::-1] for name, row in vectors.items()}):
        (tmp_path / "v.json").write_text(json.dumps({"id": vectors, "other": other}))
        with pytest.raises(FormatError, match="dataset="):
            read_embeddings(tmp_path / "v.json")
        found = read_embeddings(tmp_path / "v.json", dataset="id")
        assert sorted(found.ids) == sorted(IDS)


@pytest.mark.parametrize("kind", ["json", "jsonl", "parquet", "csv"])
def test_numbers_in_base64_are_said_with_a_line_that_reads_them(tmp_path, kind):
    path = tmp_path / f"v.{kind}"
    frame = pd.DataFrame({"id": IDS, "embedding": [base64.b64encode(x).decode() for x in ROWS]})

    def write():
        if kind.startswith("json"):
            frame.to_json(path, orient="records", lines=kind == "jsonl")
        else:
            frame.to_parquet(path) if kind == "parquet" else frame.to_csv(path, index=False)

    write()
    with pytest.raises(FormatError, match="looks like the base64 of float32") as caught:
        read_embeddings(path)
    way = re.search(r"such as by (\.map.*)$", str(caught.value))[1]
    frame["embedding"] = eval(f"x{way}", {"x": frame["embedding"], "numpy": np, "base64": base64})
    write()
    np.testing.assert_allclose(read_embeddings(path).vectors, ROWS, rtol=1e-6)
    frame["embedding"] = ["a plain caption", *IDS[1:]]
    write()
    with pytest.raises(FormatError, match="json.loads|no embeddings"):
        read_embeddings(path)


def test_the_index_of_pandas_is_named_first_where_ids_are_wanted(tmp_path):
    path, index = tmp_path / "v.parquet", [17, 3, 9, 40, 2, 8]
    pd.DataFrame(ROWS, index=index, columns=list(map(str, range(D)))).to_parquet(path)
    with pytest.raises(FormatError, match="id_column='__index_level_0__'"):
        read_embeddings(path)
    assert read_embeddings(path, id_column="__index_level_0__").ids == tuple(map(str, index))
