"""Fit once, serve: unseen queries one by one, growing galleries, growing banks."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from rerank.core.errors import RerankError
from rerank.core.similarity import Pair
from rerank.methods.registry import METHODS
from rerank.methods.saved import read_model, save
from rerank.serving.fitting import fit_model
from rerank.serving.grow import add_items, remove_items
from rerank.serving.matching import align, label_of
from rerank.serving.searcher import Searcher, exact_topk
from tests.selection.test_gate import items
from tests.serving_data import make

IDS, GALLERY, QUERIES, BANK, BANK_GALLERY = make()


def fit(method: str | None = "em+sinkhorn", **settings):
    settings = {"tau": 0.05, **settings}
    return fit_model(IDS, GALLERY, BANK, bank_gallery=BANK_GALLERY, method=method, **settings)


def biases(model) -> np.ndarray:
    return model.fitted.gallery_bias.double().numpy()


# --- search


@pytest.mark.parametrize("method", ["em+sinkhorn", "sinkhorn", "is", "em", "none"])
def test_a_query_alone_has_the_same_results_as_in_any_batch(method):
    searcher = Searcher.of(fit(method), IDS, GALLERY)
    everyone = searcher.search(QUERIES, 10)
    order = np.random.default_rng(1).permutation(len(QUERIES))
    for rows in [[i] for i in range(20)] + [list(order), list(order[:7]), [3, 3, 3]]:
        some = searcher.search(QUERIES[rows], 10)
        assert torch.equal(some.indices, everyone.indices[rows])
        assert torch.equal(some.scores, everyone.scores[rows])


def test_search_ranks_as_the_rewritten_matrix_does():
    model = fit()
    sim = model.fitted.transform(Pair(QUERIES.astype("f8"), GALLERY.astype("f8")))
    expected = torch.argsort(-sim.scores(), dim=1, stable=True)[:, :10]
    assert torch.equal(Searcher.of(model, IDS, GALLERY).search(QUERIES, 10).indices, expected)


SERVED = [
    name for name, method in METHODS.cards().items() if "all queries" not in method.facts.needs
]


@pytest.mark.parametrize("method", [*SERVED, "center+nnn", "em+sinkhorn+align+sinkhorn"])
def test_every_servable_method_is_stored_and_serves_one_query_like_many(tmp_path, method):
    model = fit_model(
        IDS, GALLERY, BANK, bank_gallery=BANK_GALLERY, method=method, keep_bank=True, gate=False,
        bank_positives=tuple(np.array([i]) for i in range(len(BANK))),
    )  # fmt: skip
    save(tmp_path / "m", model.fitted, gallery_ids=model.gallery_ids, manifest=model.manifest,
         kept=model.kept)  # fmt: skip
    everyone = Searcher.of(model, IDS, GALLERY).search(QUERIES[:12], 10)
    alone = Searcher.of(read_model(tmp_path / "m"), IDS, GALLERY).search(QUERIES[5:6], 10)
    assert torch.equal(alone.indices[0], everyone.indices[5])
    assert torch.equal(alone.scores[0], everyone.scores[5])
    try:
        larger = add_items(model, ["copy"], GALLERY[:1])
    except RerankError as error:
        assert re.search("whole gallery|fit again", str(error))
    else:
        old, new = model.fitted.gallery_bias, larger.fitted.gallery_bias
        assert old is None or abs(float(new[-1] - old[0])) < 1e-3
    try:
        assert len(remove_items(model, IDS[:10]).gallery_ids) == 290
    except RerankError as error:
        assert "more than one number per item" in str(error)


def test_methods_that_need_all_queries_are_refused():
    for name in set(METHODS) - set(SERVED):
        with pytest.raises(RerankError, match="needs all queries at once"):
            fit_model(IDS, GALLERY, BANK, bank_gallery=BANK_GALLERY, method=name)


def test_exact_duplicates_come_in_the_order_of_the_gallery_whatever_the_batch():
    gallery = torch.from_numpy(np.repeat(GALLERY[:2], 150, axis=0))
    queries = torch.from_numpy(QUERIES)
    found = exact_topk(queries, gallery, 5)
    better = (queries @ gallery[[0, 150]].T).argmax(dim=1)
    assert torch.equal(found.indices, better[:, None] * 150 + torch.arange(5))
    assert torch.equal(found.indices[:1], exact_topk(queries[:1], gallery, 5).indices)


def test_items_closer_than_float32_rounding_are_ranked_by_their_exact_scores():
    rng = np.random.default_rng(0)
    base = rng.normal(size=512).astype("f4")
    gallery = np.nextafter(base, rng.choice([-np.inf, np.inf], size=(2000, 512)), dtype="f4")
    queries = rng.normal(size=(5, 512)).astype("f4")
    exact = queries.astype("f8") @ gallery.T.astype("f8")
    found = exact_topk(torch.from_numpy(queries), torch.from_numpy(gallery), 10)
    assert np.array_equal(found.indices, np.argsort(-exact, axis=1, kind="stable")[:, :10])


def test_the_biases_change_rankings_here_so_the_other_laws_are_not_empty():
    raw = Searcher.of(fit("none"), IDS, GALLERY).search(QUERIES, 1).indices
    new = Searcher.of(fit(), IDS, GALLERY).search(QUERIES, 1).indices
    assert 0.1 < (new != raw).float().mean() < 0.9


def test_a_saved_model_serves_the_same_results(tmp_path):
    model = fit(keep_bank=True)
    save(tmp_path / "m", model.fitted, gallery_ids=model.gallery_ids, manifest=model.manifest,
         kept=model.kept)  # fmt: skip
    back = read_model(tmp_path / "m")
    a, b = (Searcher.of(x, IDS, GALLERY).search(QUERIES, 5) for x in (model, back))
    assert torch.equal(a.indices, b.indices) and torch.equal(a.scores, b.scores)
    more = [add_items(x, ["new"], BANK_GALLERY[:1]) for x in (model, back)]
    assert np.array_equal(biases(more[0]), biases(more[1]))


def test_the_gallery_is_matched_by_id_and_checked_by_content():
    model = fit()
    order = np.random.default_rng(0).permutation(len(IDS))
    shuffled = align(model, [IDS[i] for i in order], GALLERY[order])
    assert torch.equal(shuffled, torch.from_numpy(GALLERY))
    with pytest.raises(RerankError, match="1 of the model's 300 items are missing, first 'v299'"):
        align(model, IDS[:-1], GALLERY[:-1])
    more = np.concatenate([GALLERY, GALLERY[:1]])
    with pytest.raises(RerankError, match="not in the model, first 'new'.*rerank update"):
        align(model, [*IDS, "new"], more)
    other = GALLERY.copy()
    other[7, 3] += 1e-6
    with pytest.raises(RerankError, match="embeddings of 1 items .* first 'v7'"):
        align(model, IDS, other)
    with pytest.raises(RerankError, match="d = 31, the model was fitted on d = 32"):
        align(model, IDS, GALLERY[:, :31])


def test_queries_that_were_in_the_bank_are_said_and_change_the_label():
    model = fit()
    assert label_of(model, QUERIES) == ("inductive", "")
    label, text = label_of(model, np.concatenate([QUERIES[:3], BANK[:1]]))
    assert label == "inductive" and text.startswith("1 of 4 queries")
    assert label_of(model, BANK[:4])[0] == "transductive"


def test_k_beyond_the_gallery_and_other_dimensions_are_refused():
    searcher = Searcher.of(fit(), IDS, GALLERY)
    with pytest.raises(RerankError, match="between 1 and the 300"):
        searcher.search(QUERIES, 301)
    with pytest.raises(RerankError, match="d = 31"):
        searcher.search(QUERIES[:, :31], 3)
    with pytest.raises(RerankError, match="row 1"):
        searcher.search(np.stack([QUERIES[0], np.full(32, np.nan, "f4")]), 3)


def test_the_default_without_known_pairs_leaves_alignment_out_and_says_so():
    model = fit_model(IDS, GALLERY, BANK, tau=0.05)
    assert not model.fitted.turns and "alignment inactive" in model.manifest["notes"][0]


# --- growing galleries


@pytest.mark.parametrize("method", ["em+sinkhorn", "sinkhorn", "is"])
def test_an_item_added_again_gets_its_own_bias_and_old_ones_keep_theirs(method):
    model = fit(method, keep_bank=True)
    larger = add_items(model, [f"copy{i}" for i in range(5)], GALLERY[:5])
    assert np.array_equal(biases(larger)[:300], biases(model))
    np.testing.assert_allclose(biases(larger)[300:], biases(model)[:5], atol=2e-6)
    assert larger.gallery_ids == (*IDS, *[f"copy{i}" for i in range(5)])


@pytest.mark.parametrize("rho", [1.0, 0.8])
def test_added_in_two_steps_is_added_in_one(rho):
    fresh = make(m=40, seed=5)[1]
    names = [f"n{i}" for i in range(40)]
    model = fit("sinkhorn", keep_bank=True, rho=rho)
    once = add_items(model, names, fresh)
    twice = add_items(add_items(model, names[:30], fresh[:30]), names[30:], fresh[30:])
    np.testing.assert_allclose(biases(once), biases(twice), atol=1e-6)
    removed = remove_items(once, names[:10] + IDS[:50])
    again = add_items(removed, names[:10], fresh[:10])
    np.testing.assert_allclose(biases(again)[-10:], biases(once)[300:310], atol=1e-6)


def test_a_new_item_is_charged_like_in_a_fit_that_had_it():
    model = fit_model(IDS[:250], GALLERY[:250], BANK, method="is", tau=0.05, keep_bank=True)
    larger = add_items(model, IDS[250:], GALLERY[250:])
    np.testing.assert_allclose(biases(larger), biases(fit("is")), atol=1e-6)


def test_the_updated_gallery_is_the_one_that_is_served():
    model = fit(keep_bank=True)
    smaller = remove_items(model, IDS[100:])
    larger = add_items(smaller, IDS[100:], GALLERY[100:])
    back = Searcher.of(larger, IDS, GALLERY).search(QUERIES, 5)
    assert torch.equal(back.indices, Searcher.of(model, IDS, GALLERY).search(QUERIES, 5).indices)
    assert larger.manifest["gallery"] == model.manifest["gallery"]
    with pytest.raises(RerankError, match="200 items are not in the model"):
        align(smaller, IDS, GALLERY)


def test_what_cannot_grow_says_so():
    with pytest.raises(RerankError, match="keep_bank=True"):
        add_items(fit(), ["a"], GALLERY[:1])
    with pytest.raises(RerankError, match="'v0' is in the gallery already"):
        add_items(fit(keep_bank=True), ["v0"], GALLERY[:1])
    with pytest.raises(RerankError, match="'nobody' is not in the model's gallery"):
        remove_items(fit(), ["nobody"])
    with pytest.raises(RerankError, match="nothing would be left"):
        remove_items(fit(), IDS)


def gated_model(seed, m=120, **settings):
    """A model of videos 0..m-1 behind the gate, its bank, and all videos."""
    rng = np.random.default_rng(seed)
    bank_texts, bank_videos = items(rng, 120)
    _, videos = items(rng, 120)
    names = [f"v{row}" for row in range(m)]
    model = fit_model(
        names, videos[:m], bank_texts, bank_gallery=bank_videos, keep_bank=True,
        bank_positives=tuple(np.array([row]) for row in range(120)), **settings,
    )  # fmt: skip
    return model, videos


@pytest.mark.parametrize("method", ["csls", "sinkhorn"])
@pytest.mark.parametrize("seed", [0, 5])
def test_a_gated_model_gives_items_that_come_back_their_own_bias(method, seed, tmp_path):
    model, videos = gated_model(seed, method=method)
    assert np.abs(biases(model)).max() > 0
    save(tmp_path / "m", model.fitted, gallery_ids=model.gallery_ids, manifest=model.manifest,
         kept=model.kept)  # fmt: skip
    away = remove_items(read_model(tmp_path / "m"), ["v3", "v119"])
    back = add_items(away, ["v119"], videos[119:])
    spread = np.abs(biases(model)).max()
    assert abs(biases(back)[-1] - biases(model)[119]) < 2e-3 * spread
    assert np.array_equal(biases(back)[:3], biases(model)[:3])


def test_a_gated_model_without_its_bank_says_so():
    model, videos = gated_model(0)
    bare = replace(model, fitted=model.fitted.served())
    with pytest.raises(RerankError, match="keep_bank=True"):
        add_items(bare, ["new"], videos[:1])


def test_a_fit_says_at_once_that_its_model_cannot_grow():
    assert fit_model(IDS, GALLERY, BANK, method="is", tau=0.05, keep_bank=True).manifest["grows"]
    model = fit_model(
        IDS, GALLERY, BANK, bank_gallery=BANK_GALLERY, method="dbsn", keep_bank=True, gate=False
    )
    assert not model.manifest["grows"]
    assert "items cannot be added to this model later" in model.manifest["notes"][-1]


def test_an_aligned_model_grows_and_serves_what_came_back(tmp_path):
    rng = np.random.default_rng(3)
    bank_texts, bank_videos = items(rng, 400)
    texts, videos = items(rng, 120)
    names = [f"v{row}" for row in range(120)]
    model = fit_model(
        names, videos, bank_texts, bank_gallery=bank_videos, keep_bank=True,
        method="align+sinkhorn",
        bank_positives=tuple(np.array([row]) for row in range(400)), gate=False,
    )  # fmt: skip
    assert model.fitted.turns
    save(tmp_path / "m", model.fitted, gallery_ids=model.gallery_ids, manifest=model.manifest,
         kept=model.kept)  # fmt: skip
    away = remove_items(read_model(tmp_path / "m"), ["v3", "v119"])
    back = add_items(away, ["v3", "v119"], videos[[3, 119]])
    order = [row for row in range(120) if row not in (3, 119)] + [3, 119]
    spread = np.abs(biases(model)).max()
    np.testing.assert_allclose(biases(back), biases(model)[order], atol=2e-3 * max(spread, 1e-3))
    served = Searcher.of(back, names, videos).search(texts, 5)
    before = Searcher.of(model, names, videos).search(texts, 5)
    places = torch.tensor(order)[served.indices]
    assert (places == before.indices).double().mean() > 0.995
