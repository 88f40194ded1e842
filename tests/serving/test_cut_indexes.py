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


def cut(out, kind, rows):
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
    store.write(out, vectors, [f"v{i}" for i in range(rows)], stamp="s")
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
