"""An index with other items than its side-car names, whose hash is right all the same."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from rerank.core.errors import FormatError
from rerank.serving.exporting import export, extend, search_export
from rerank.serving.fitting import fit_model
from rerank.serving.sidecar import read_side_car, side_car, to_bytes
from rerank.serving.stores.registry import make_store
from tests.serving.test_export import LIBRARIES
from tests.serving_data import make

IDS, GALLERY, QUERIES, BANK, _ = make()
IDS, GALLERY, QUERIES = IDS[:60], GALLERY[:60], QUERIES[:3]
KINDS = {
    "flat": ("faiss", {}), "hnsw": ("faiss", {"index": "hnsw"}), "ivf": ("faiss", {"index": "ivf"}),
    **{name: (name, {}) for name in ("npy", "parquet", "qdrant", "lancedb", "pgvector", "usearch")},
}  # fmt: skip


@pytest.fixture(scope="module")
def model():
    return fit_model(IDS, GALLERY, BANK, method="sinkhorn", tau=0.05, rho=1.0)


def cut(out, kind, rows, *, bad=None):
    """Write another index of so many rows in the place of an export, and tell its side-car."""
    name, settings = KINDS[kind]
    said, store = read_side_car(side_car(out)), make_store(name, **settings)
    if out.is_dir():
        shutil.rmtree(out)
        out.mkdir()
    else:
        out.unlink()
    width = said.folding.queries(QUERIES).shape[1]
    vectors = np.random.default_rng(0).normal(size=(rows, width)).astype("f4")
    if bad is not None:
        vectors[1, 1] = bad
    store.write(out, vectors, [f"v{i}" for i in range(rows)], stamp="s")
    return told(out, said, store)


def told(out, said, store):
    """The side-car of an index that is there now."""
    made = replace(said, manifest={**said.manifest, "hash": store.fingerprint(out)})
    side_car(out).write_bytes(to_bytes(made, said.dimension))
    return made


@pytest.mark.parametrize("rows", [4, 70])
@pytest.mark.parametrize("kind", KINDS)
def test_an_index_of_other_rows_than_ids_is_refused(tmp_path, model, kind, rows):
    name, settings = KINDS[kind]
    pytest.importorskip(LIBRARIES[name])
    out = tmp_path / "v.index"
    export(model, IDS, GALLERY, out, to=name, **settings)
    assert search_export(out, QUERIES, 5)[1].indices.shape == (3, 5)
    cut(out, kind, rows)
    with pytest.raises(FormatError, match=f"holds {rows} items, and its side-car names 60") as told:
        search_export(out, QUERIES, 5)
    assert "export again" in str(told.value) and "\n" not in str(told.value)


def test_such_an_index_is_not_extended(tmp_path, model):
    pytest.importorskip("faiss")
    out = tmp_path / "v.faiss"
    export(model, IDS, GALLERY, out, to="faiss")
    said, before = cut(out, "flat", 59), out.read_bytes()
    with pytest.raises(FormatError, match="holds 59 items, and its side-car names 60"):
        extend(out, said, model, ["new"], GALLERY[:1] + 1)
    assert out.read_bytes() == before


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("kind", ["flat", "npy", "parquet"])
def test_an_index_of_numbers_that_are_none_is_refused(tmp_path, model, kind, bad):
    name, settings = KINDS[kind]
    pytest.importorskip(LIBRARIES[name])
    out = tmp_path / "v.index"
    export(model, IDS, GALLERY, out, to=name, **settings)
    cut(out, kind, 60, bad=bad)
    with pytest.raises(FormatError, match="NaN or infinite numbers"):
        search_export(out, QUERIES, 60)


@pytest.mark.parametrize("made", [np.int64, np.complex64, "U3"])
def test_an_array_of_no_floats_is_refused(tmp_path, model, made):
    out = tmp_path / "v.npy"
    export(model, IDS, GALLERY, out, to="npy")
    said = read_side_car(side_car(out))
    np.save(out, np.load(out).astype(made))
    told(out, said, make_store("npy"))
    with pytest.raises(FormatError, match="not rows of floats"):
        search_export(out, QUERIES, 5)


@pytest.mark.parametrize("index", ["flat", "hnsw", "ivf"])
def test_an_index_that_compares_otherwise_is_refused(tmp_path, model, index):
    faiss = pytest.importorskip("faiss")
    out = tmp_path / "v.faiss"
    export(model, IDS, GALLERY, out, to="faiss", index=index)
    said = read_side_car(side_car(out))
    held = faiss.read_index(str(out))
    other = (faiss.IndexFlatIP if index == "ivf" else faiss.IndexFlatL2)(held.d)
    other.add(np.ones((60, held.d), "f4"))
    faiss.write_index(other, str(out))
    told(out, said, make_store("faiss", index=index))
    with pytest.raises(FormatError, match="another measure"):
        search_export(out, QUERIES, 5)
