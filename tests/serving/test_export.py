"""Every export, searched in the store itself, returns the exact top 10 of the rewritten matrix."""

import json
import re
import resource
import shutil
import subprocess
import sys
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch

from rerank.core.errors import FormatError, RerankError
from rerank.core.similarity import Pair
from rerank.passes.reduce import topk
from rerank.serving.exporting import check_index, export, open_export, search_export
from rerank.serving.fitting import fit_model
from rerank.serving.searcher import Searcher
from rerank.serving.sidecar import read_side_car, side_car
from rerank.serving.stores.registry import STORES
from tests.serving_data import make

IDS, GALLERY, QUERIES, BANK, BANK_GALLERY = make()
IDS = [f"v'{i}\\ü" for i in range(len(IDS))]
LIBRARIES = {
    "faiss": "faiss", "npy": "numpy", "parquet": "pyarrow", "usearch": "usearch",
    "qdrant": "qdrant_client", "lancedb": "lancedb", "pgvector": "numpy",
}  # fmt: skip


@pytest.fixture(scope="module")
def model():
    return fit_model(IDS, GALLERY, BANK, bank_gallery=BANK_GALLERY, method="em+sinkhorn", tau=0.05)


@pytest.fixture(scope="module")
def expected(model):
    return Searcher.of(model, IDS, GALLERY).search(QUERIES, 10)


@pytest.fixture(scope="module")
def small():
    """Qdrant's folder commits every point, so it gets a gallery of 60."""
    return fit_model(IDS[:60], GALLERY[:60], BANK, method="sinkhorn", tau=0.05)


@pytest.mark.parametrize(
    ("to", "side"), [*((to, "mapped") for to in STORES), ("faiss", "raw"), ("npy", "raw")]
)
def test_exact_search_finds_the_exact_top_10(tmp_path, model, small, to, side):
    pytest.importorskip(LIBRARIES[to])
    used = small if to == "qdrant" else model
    ids = used.gallery_ids
    made = export(
        used,
        ids,
        GALLERY[: len(ids)],
        tmp_path / "out",
        to=to,
        query_side=side,
        queries=QUERIES,
        recall=1.0,
    )
    assert made.manifest["recall"]["overlap"] == 1.0
    assert made.manifest["recall"]["queries_from"] == "texts"
    back = read_side_car(side_car(tmp_path / "out"))
    assert back.ids == ids and back.manifest == made.manifest
    assert torch.equal(back.folding.queries(QUERIES), made.folding.queries(QUERIES))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "out.npz", "out.query.py"]


@pytest.mark.parametrize("to", [name for name in STORES if name != "pgvector"])
@pytest.mark.parametrize("size", [100, 1500, 4200])
def test_a_full_disk_is_one_error_and_leaves_nothing(tmp_path, small, to, size):
    """A limit on the size of files stands in for the disk."""
    pytest.importorskip(LIBRARIES[to])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        with pytest.raises(FormatError, match="cannot be written: no room|cannot write it:.*room"):
            export(small, small.gallery_ids, GALLERY[:60], tmp_path / "out", to=to)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("to", list(STORES))
@pytest.mark.parametrize("name", ["out.npz", "out.query.py"])
def test_files_beside_an_export_that_are_of_no_export_are_kept(tmp_path, small, to, name):
    pytest.importorskip(LIBRARIES[to])
    (tmp_path / name).write_text("print('mine')\n")

    def again(**more):
        export(small, small.gallery_ids, GALLERY[:60], tmp_path / "out", to=to, **more)

    with pytest.raises(RerankError, match=f"{name}: is there and is .*force=True"):
        again()
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "print('mine')\n"
    again(force=True)
    if STORES[to].facts.kind != "database" or to == "pgvector":
        again()


@pytest.mark.parametrize("to", list(STORES))
def test_an_aligned_model_is_exact_in_every_store(tmp_path, to):
    pytest.importorskip(LIBRARIES[to])
    ids = IDS[:60]
    used = fit_model(
        ids, GALLERY[:60], BANK, bank_gallery=BANK_GALLERY, method="sinkhorn+align+sinkhorn",
        bank_positives=tuple(np.array([i]) for i in range(len(BANK))), gate=False,
    )  # fmt: skip
    assert used.fitted.turns
    made = export(
        used, ids, GALLERY[:60], tmp_path / "out", to=to, queries=QUERIES[:20], recall=1.0
    )
    assert made.manifest["recall"]["overlap"] == 1.0
    # What is recalled is the rewritten ranking, by one (d, d) product of a query.
    rewritten = topk(used.fitted.transform(Pair(QUERIES[:20], GALLERY[:60])), 10)
    assert torch.equal(Searcher.of(used, ids, GALLERY[:60]).search(QUERIES[:20], 10).indices,
                       rewritten.indices)  # fmt: skip


@pytest.mark.parametrize("method", ["center", "center+sinkhorn", "center+nnn", "center+em"])
@pytest.mark.parametrize("metric", ["cosine", "dot"])
def test_centred_methods_fold_into_means_of_queries_and_items(tmp_path, method, metric):
    pytest.importorskip("faiss")
    centred = fit_model(
        IDS,
        2 * GALLERY,
        BANK,
        bank_gallery=2 * BANK_GALLERY,
        method=method,
        tau=0.05,
        metric=metric,
    )
    searcher = Searcher.of(centred, IDS, 2 * GALLERY)
    wanted = searcher.search(QUERIES, 10)
    pair = Pair(torch.from_numpy(QUERIES), torch.from_numpy(2 * GALLERY), metric=metric)
    rewritten = topk(centred.fitted.transform(pair), 10)
    assert searcher.folding is not None
    assert torch.equal(wanted.indices, rewritten.indices)
    scores = wanted.scores + searcher.folding.offset
    np.testing.assert_allclose(scores, rewritten.scores, atol=5e-6)
    for kind in ("flat", "hnsw", "ivf"):
        export(
            centred, IDS, 2 * GALLERY, tmp_path / "i", index=kind, queries=QUERIES, recall=1.0
        )  # fmt: skip
        exported, found = search_export(tmp_path / "i", QUERIES, 10)
        check_index(centred, exported)
        assert torch.equal(found.indices, wanted.indices)
        np.testing.assert_allclose(found.scores, wanted.scores, atol=5e-6)
    with np.load(tmp_path / "i.npz") as side:
        assert side["query_mean"].shape == side["gallery_mean"].shape == (GALLERY.shape[1],)
    with pytest.raises(RerankError, match='query_side="raw": this method takes a mean'):
        export(centred, IDS, 2 * GALLERY, tmp_path / "j", query_side="raw")


@pytest.mark.parametrize("to", ["npy", "qdrant", "lancedb", "usearch"])
@pytest.mark.parametrize("space", ["cosine", "l2"])
def test_stores_without_inner_product_find_it_too(tmp_path, model, small, to, space):
    pytest.importorskip(LIBRARIES[to])
    used = small if to == "qdrant" else model
    ids = used.gallery_ids
    made = export(
        used,
        ids,
        GALLERY[: len(ids)],
        tmp_path / "out",
        to=to,
        space=space,
        queries=QUERIES[:20],
        recall=1.0,
    )
    assert made.manifest["recall"]["overlap"] == 1.0


@pytest.mark.parametrize("space", ["ip", "cosine", "l2"])
def test_postgresql_finds_the_exact_top_10(tmp_path, postgres, model, space):
    made = export(
        model, IDS, GALLERY, tmp_path / "out", to="pgvector", space=space, queries=QUERIES,
        url=postgres,
    )  # fmt: skip
    assert made.manifest["recall"]["overlap"] == 1.0
    assert "postgresql" not in str(made.manifest)
    with pytest.raises(RerankError, match="'gallery' is there already; give replace=True"):
        export(model, IDS, GALLERY, tmp_path / "out", to="pgvector", url=postgres)


def test_the_sql_file_loads_with_psql(tmp_path, postgres, model):
    psycopg = pytest.importorskip("psycopg")
    export(model, IDS, GALLERY, tmp_path / "g.sql", to="pgvector", queries=QUERIES)
    psql = shutil.which("psql") or next(
        str(p) for p in pathlib_of("pgserver").rglob("bin/psql") if p.is_file()
    )
    subprocess.run([psql, postgres, "-q", "-f", tmp_path / "g.sql"], check=True)
    with psycopg.connect(postgres) as connection:
        rows = connection.execute("SELECT id FROM gallery ORDER BY position").fetchall()
    assert [row[0] for row in rows] == IDS


def pathlib_of(package: str):
    from importlib.util import find_spec
    from pathlib import Path

    spec = find_spec(package)
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent


@pytest.fixture(scope="module")
def server():
    pgserver = pytest.importorskip("pgserver")
    pytest.importorskip("psycopg")
    # A folder of its own with a short name: sockets allow about 100 characters.
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        server = pgserver.get_server(folder, cleanup_mode="stop")
        yield server
        server.cleanup()


@pytest.fixture
def postgres(server) -> str:
    server.psql("DROP TABLE IF EXISTS gallery")
    return server.get_uri()


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf"])
@pytest.mark.parametrize("side", ["mapped", "raw"])
def test_an_opened_index_serves_ids_and_scores_of_the_model(tmp_path, model, expected, kind, side):
    pytest.importorskip("faiss")
    export(model, IDS, GALLERY, tmp_path / "i", index=kind, query_side=side, **sure(kind))
    exported, found = search_export(tmp_path / "i", QUERIES, 10)
    check_index(model, exported)
    assert torch.equal(found.indices, expected.indices)
    np.testing.assert_allclose(found.scores, expected.scores, atol=2e-6)
    _, alone = search_export(tmp_path / "i", QUERIES[3:4], 10)
    assert torch.equal(alone.indices[0], found.indices[3])
    assert torch.equal(alone.scores[0], found.scores[3])


def sure(kind: str) -> dict:
    """An effort at which nothing is missed."""
    return {} if kind == "flat" else {"effort": 300}


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf"])
def test_five_lines_of_plain_faiss_and_numpy_query_an_export(tmp_path, model, expected, kind):
    faiss = pytest.importorskip("faiss")
    export(model, IDS, GALLERY, tmp_path / "videos.faiss", index=kind, **sure(kind))
    path, texts = str(tmp_path / "videos.faiss"), 2 * QUERIES
    # The lines of the README.
    index, side = faiss.read_index(path), np.load(path + ".npz")
    q = (texts / np.linalg.norm(texts, axis=1, keepdims=True)) @ side["map"]
    q = np.pad(q / np.linalg.norm(q, axis=1, keepdims=True), ((0, 0), (0, 1)), constant_values=1)
    q = np.pad(q, ((0, 0), (0, index.d - q.shape[1]))).astype("float32")
    scores, rows = index.search(q, 10)
    names = side["ids"][rows]
    assert names.tolist() == [[IDS[j] for j in row] for row in expected.indices.tolist()]
    if kind == "hnsw":
        scores = scores + q @ side["mean"][:, None]
    if kind != "ivf":
        np.testing.assert_allclose(scores, expected.scores, atol=2e-6)


def test_an_index_of_another_fit_or_gallery_or_damaged_is_refused(tmp_path, model):
    pytest.importorskip("faiss")
    export(model, IDS, GALLERY, tmp_path / "i")
    exported, _ = open_export(tmp_path / "i")
    refit = fit_model(IDS, GALLERY, BANK, bank_gallery=BANK_GALLERY, method="is", tau=0.05)
    with pytest.raises(RerankError, match="another fit"):
        check_index(refit, exported)
    other = fit_model(IDS[:-1], GALLERY[:-1], BANK, method="is", tau=0.05)
    with pytest.raises(RerankError, match="300 items of another gallery than the model's 299"):
        check_index(other, exported)
    data = bytearray((tmp_path / "i").read_bytes())
    data[2000] ^= 1
    (tmp_path / "i").write_bytes(data)
    with pytest.raises(FormatError, match="damaged"):
        open_export(tmp_path / "i")
    side_car(tmp_path / "i").write_bytes(b"PK\x03\x04nonsense")
    with pytest.raises(FormatError, match="side-car"):
        open_export(tmp_path / "i")
    side_car(tmp_path / "i").unlink()
    with pytest.raises(FormatError, match="keep the two together"):
        open_export(tmp_path / "i")


@pytest.mark.parametrize("ids", ["nan", "twice", "bytes"])
def test_a_side_car_whose_ids_name_nobody_is_refused(tmp_path, model, ids):
    export(model, IDS, GALLERY, tmp_path / "i", to="npy", queries=QUERIES)
    path = side_car(tmp_path / "i")
    with np.load(path) as found:
        held = dict(found)
    count = len(held["ids"])
    held["ids"] = {
        "nan": np.full(count, np.nan), "twice": np.full(count, "a"), "bytes": np.full(count, b"a"),
    }[ids]  # fmt: skip
    with path.open("wb") as file:
        np.savez(file, **held)
    with pytest.raises(FormatError, match="not the side-car|unique"):
        read_side_car(path)


@pytest.mark.parametrize(("name", "value", "said"), [
    ("direction", None, "its manifest has no 'direction'"),
    ("direction", "up", "direction 'up', expected 't2v' or 'v2t'"),
    ("recall", None, "its manifest has no 'recall'"),
])  # fmt: skip
def test_a_side_car_that_lacks_what_every_one_says_is_refused(tmp_path, model, name, value, said):
    export(model, IDS, GALLERY, tmp_path / "i", to="npy", queries=QUERIES)
    path = side_car(tmp_path / "i")
    with np.load(path) as found:
        held = dict(found)
    manifest = {**json.loads(str(held["manifest"])), name: value}
    manifest = {key: x for key, x in manifest.items() if key != name or x is not None}
    with path.open("wb") as file:
        np.savez(file, **{**held, "manifest": np.array(json.dumps(manifest))})
    with pytest.raises(FormatError, match=re.escape(said)):
        read_side_car(path)


def test_same_input_same_bytes(tmp_path, model):
    pytest.importorskip("faiss")
    for name in ("a", "b"):
        export(model, IDS, GALLERY, tmp_path / name, index="hnsw")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert side_car(tmp_path / "a").read_bytes() == side_car(tmp_path / "b").read_bytes()


def test_wrong_targets_are_refused(tmp_path, model, monkeypatch):
    with pytest.raises(RerankError, match="store: got 'milvus', expected one of faiss, npy"):
        export(model, IDS, GALLERY, tmp_path / "x", to="milvus")
    with pytest.raises(RerankError, match="--url: store 'npy' has no such setting; it has: space"):
        export(model, IDS, GALLERY, tmp_path / "x", to="npy", url="http://localhost")
    (tmp_path / "x").mkdir()
    with pytest.raises(RerankError, match="is a folder"):
        export(model, IDS, GALLERY, tmp_path / "x", to="npy")
    with pytest.raises(RerankError, match="store 'npy' has no tables"):
        export(model, IDS, GALLERY, tmp_path / "y", to="npy", replace=True)
    monkeypatch.setitem(sys.modules, "usearch.index", None)
    with pytest.raises(RerankError, match="pip install usearch"):
        export(model, IDS, GALLERY, tmp_path / "y", to="usearch")
