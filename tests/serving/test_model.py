"""The object that people hold: fit, search, add, remove, save, load, export."""

import json

import numpy as np
import pytest
import torch

import rerank
from rerank.core.errors import RerankError
from rerank.io import read_embeddings, write_embeddings
from rerank.methods.base import FittedPipeline
from rerank.methods.saved import save
from rerank.serving.exporting import search_export
from rerank.serving.searcher import Searcher
from tests.serving_data import make

IDS, GALLERY, QUERIES, BANK, BANK_GALLERY = make()


@pytest.fixture(scope="module")
def model():
    return rerank.fit(
        GALLERY, ids=IDS, bank_texts=BANK, bank_videos=BANK_GALLERY, method="em+sinkhorn", tau=0.05
    )


def same(one, two) -> bool:
    return bool((one.ids == two.ids).all() and (one.scores == two.scores).all())


def test_it_searches_as_the_searcher_does(model):
    found = model.search(QUERIES, k=7)
    expected = Searcher.of(model.saved, IDS, GALLERY).search(QUERIES, 7)
    assert found.ids.shape == found.scores.shape == (60, 7)
    assert [[IDS[j] for j in row] for row in expected.indices.tolist()] == found.ids.tolist()
    assert np.array_equal(found.scores, expected.scores.numpy())
    assert found.label == "inductive" and found.notes == ()
    assert model.search(BANK[:3]).label == "transductive"
    assert "3 of 3 queries are also in the bank" in model.search(BANK[:3]).notes[0]


def test_every_kind_of_embeddings_gives_the_same_results(tmp_path, model):
    pandas = pytest.importorskip("pandas")
    write_embeddings(tmp_path / "v.h5", IDS, GALLERY)
    write_embeddings(tmp_path / "q.h5", [f"t{i}" for i in range(60)], QUERIES)
    expected = model.search(QUERIES)
    frame = pandas.DataFrame(QUERIES, index=[f"t{i}" for i in range(60)])
    for queries in (
        torch.from_numpy(QUERIES), QUERIES.tolist(), frame, tmp_path / "q.h5",
        str(tmp_path / "q.h5"), read_embeddings(tmp_path / "q.h5"),
    ):  # fmt: skip
        assert same(model.search(queries), expected)
    options = {"bank_texts": BANK, "bank_videos": BANK_GALLERY, "method": "em+sinkhorn"}
    for gallery in (tmp_path / "v.h5", pandas.DataFrame(GALLERY, index=IDS)):
        other = rerank.fit(gallery, tau=0.05, **options)
        assert other.ids == tuple(IDS) and same(other.search(QUERIES), expected)
    assert same(model.search(QUERIES[3]), model.search(QUERIES[3:4]))


def test_a_saved_model_searches_on_its_own(tmp_path, model):
    model.save(tmp_path / "m")
    back = rerank.load(tmp_path / "m")
    assert back.ids == tuple(IDS) and same(back.search(QUERIES), model.search(QUERIES))
    back.save(tmp_path / "n")
    assert (tmp_path / "m").read_bytes() == (tmp_path / "n").read_bytes()
    model.save(tmp_path / "tiny", keep_gallery=False)
    tiny = rerank.load(tmp_path / "tiny")
    assert (tmp_path / "tiny").stat().st_size < (tmp_path / "m").stat().st_size - GALLERY.nbytes
    with pytest.raises(RerankError, match="model.with_gallery"):
        tiny.search(QUERIES)
    assert same(tiny.with_gallery(GALLERY).search(QUERIES), model.search(QUERIES))
    with pytest.raises(RerankError, match="embeddings of 1 items"):
        tiny.with_gallery(np.concatenate([GALLERY[:-1], GALLERY[:1]]))


def test_a_gallery_in_double_precision_is_searched_alike_before_and_after_saving(tmp_path):
    wide = GALLERY.astype("f8") + 1e-9
    model = rerank.fit(wide, bank_texts=BANK, method="is", tau=0.05)
    model.save(tmp_path / "m")
    assert same(rerank.load(tmp_path / "m").search(QUERIES), model.search(QUERIES))
    assert model.ids == tuple(map(str, range(300)))


def test_items_come_and_go(model):
    smaller = model.remove(IDS[200:])
    assert len(smaller) == 200 and len(model) == 300
    larger = smaller.add(GALLERY[200:], ids=IDS[200:])
    assert (
        larger.ids == model.ids and (larger.search(QUERIES).ids == model.search(QUERIES).ids).all()
    )
    assert not set(IDS[200:]) & set(smaller.search(QUERIES, 200).ids.reshape(-1))
    with pytest.raises(RerankError, match="no names; give them: model.add"):
        model.add(GALLERY[:1])
    with pytest.raises(RerankError, match=r"expected a list of ids: \['v7'\]"):
        model.remove("v7")
    with pytest.raises(RerankError, match="2 ids for the 1 rows"):
        model.add(GALLERY[:1], ids=["a", "b"])


def test_known_pairs_turn_the_gate_on(tmp_path):
    rows = [[i] for i in range(200)]
    options = {"bank_texts": BANK, "bank_videos": BANK_GALLERY, "method": "sinkhorn", "tau": 0.05}
    model = rerank.fit(GALLERY, bank_gt=rows, **options)
    assert any("The bank" in note for note in model.notes)
    (tmp_path / "gt.json").write_text(json.dumps({str(i): str(i) for i in range(200)}))
    other = rerank.fit(GALLERY, bank_gt=tmp_path / "gt.json", **options)
    assert same(other.search(QUERIES), model.search(QUERIES))
    swapped = rerank.fit(
        GALLERY, direction="v2t", bank_gt=rows, **options | {"bank_texts": BANK_GALLERY,
        "bank_videos": BANK},
    )  # fmt: skip
    assert same(swapped.search(QUERIES), model.search(QUERIES))


def test_folded_queries_meet_exported_items_at_the_scores(tmp_path, model):
    made = model.export("npy", tmp_path / "v.npy", queries=QUERIES)
    assert made.manifest["recall"] == {
        "k": 10, "queries": 60, "queries_from": "texts", "overlap": 1.0, "wanted": None,
    }  # fmt: skip
    scores = model.fold(QUERIES) @ np.load(tmp_path / "v.npy").T
    found = model.search(QUERIES, 3)
    best = np.take_along_axis(scores, found.rows, axis=1)
    np.testing.assert_allclose(best, found.scores, atol=2e-6)
    assert (scores.argmax(axis=1) == found.rows[:, 0]).all()


def test_what_they_print_is_one_line(model):
    found = model.search(QUERIES, 2)
    assert repr(model) == "Model(300 items, t2v, em+sinkhorn, label inductive)"
    assert repr(found).startswith("Found(60 queries x 2 items, first 'v")
    for each in (model, found):
        assert "\n" not in repr(each) and len(repr(each)) < 100
    table = pytest.importorskip("pandas") and found.to_pandas()
    assert list(table.columns) == ["query", "rank", "id", "score"] and len(table) == 120
    assert table["id"].tolist() == found.ids.reshape(-1).tolist()
    assert table["rank"].tolist() == [1, 2] * 60


def test_a_pipeline_saved_alone_comes_back_as_a_model_without_a_gallery(tmp_path, model):
    rerank.save(tmp_path / "m", model.fitted)
    back = rerank.load(tmp_path / "m")
    pair = rerank.Pair(QUERIES, GALLERY)
    assert torch.equal(back.transform(pair).scores(), model.transform(pair).scores())
    assert "no gallery" in repr(back)
    with pytest.raises(RerankError, match="names no gallery"):
        back.search(QUERIES)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, p: save(m.fitted, p), "expected a path and what was fitted: save"),
        (lambda m, p: m.save(m.fitted), "save: got FittedPipeline, expected a path"),
        (lambda m, p: rerank.load(m), "load: got Model, expected a path"),
        (lambda m, p: rerank.fit(GALLERY), "bank_texts is missing.*rerank.apply"),
        (lambda m, p: rerank.fit(GALLERY, bank_texts=BANK, direction="v2v"), "'t2v' or 'v2t'"),
        (
            lambda m, p: rerank.fit(GALLERY, bank_texts=BANK, ids=["a"] * 300),
            "'a' stands in row 0",
        ),
        (lambda m, p: rerank.fit(GALLERY, bank_texts=BANK, bank_gt=[[0]]), "needs bank_texts and"),
        (lambda m, p: m.search([[1.0, 2.0], [3.0]]), "all rows need the same length"),
        (lambda m, p: m.search(["a dog"]), "expected a vector of numbers"),
        (lambda m, p: m.search(QUERIES[:, :31]), "d = 31"),
        (lambda m, p: m.export("milvus", p), "store: got 'milvus', expected one of faiss"),
    ],
)
def test_wrong_arguments_are_one_clear_error(tmp_path, model, call, message):
    with pytest.raises(RerankError, match=message) as error:
        call(model, tmp_path / "x")
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_nothing_is_written_into_what_was_given(model):
    copies = [x.copy() for x in (GALLERY, QUERIES, BANK)]
    model.search(QUERIES)
    model.add(BANK_GALLERY[:2], ids=["a", "b"]).remove(["v0"]).search(QUERIES)
    for copy, given in zip(copies, (GALLERY, QUERIES, BANK), strict=True):
        assert np.array_equal(copy, given)
    assert isinstance(model.fitted, FittedPipeline) and len(model) == 300


def test_queries_of_another_dimension_are_refused_at_every_door(tmp_path, model):
    plain = rerank.fit(GALLERY, ids=IDS, bank_texts=BANK, method="csls")
    wrong = np.ones((3, 5))
    said = "got d = 5, .* d = 32"
    plain.export("npy", tmp_path / "made.npy")
    for held in (model, plain):
        for door in (
            held.search, held.fold, lambda x: held.search(x[0]),
            lambda x: held.export("npy", tmp_path / "v.npy", queries=x),
            lambda x: rerank.export(held, tmp_path / "v.npy", to="npy", queries=x),
            lambda x: search_export(tmp_path / "made.npy", x, 3),
        ):  # fmt: skip
            with pytest.raises(RerankError, match=said):
                door(wrong)
    assert not (tmp_path / "v.npy").exists()
