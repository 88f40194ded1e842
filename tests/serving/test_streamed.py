"""A gallery that is searched where it is stored gives what a folded copy of it gives."""

import numpy as np
import pytest
import torch

from rerank.core import memory
from rerank.core.errors import RerankError
from rerank.core.rows import StoredRows
from rerank.core.similarity import Pair
from rerank.methods.registry import METHODS
from rerank.serving import grow as growing
from rerank.serving.fitting import fit_model
from rerank.serving.fold import plan_folding
from rerank.serving.grow import add_items
from rerank.serving.searcher import Searcher, exact_topk
from rerank.serving.streamed import Streamed, stream_gallery
from tests.serving_data import make

IDS, GALLERY, QUERIES, BANK, BANK_GALLERY = (
    part.astype(np.float16) if isinstance(part, np.ndarray) else part for part in make()
)
TINY = "1kB"
METRICS = ["cosine", "dot"]
FOLDING = ["em+sinkhorn", "sinkhorn", "is", "em", "none", "center", "center+nnn"]
# An alignment needs known pairs; its folding is tested with it.
SERVED = [
    name
    for name, method in METHODS.cards().items()
    if "all queries" not in method.facts.needs and name != "align"
]


def fit(method, metric="cosine", **settings):
    if "sinkhorn" in method or "is" in method.split("+"):
        settings = {"tau": 0.05, **settings}
    bank = {"bank_gallery": BANK_GALLERY, "metric": metric}
    return fit_model(IDS, GALLERY, BANK, method=method, **bank, **settings)


def searchers(model, gallery=GALLERY):
    with memory.limit(TINY):
        streamed = Searcher.of(model, IDS, gallery)
    return streamed, Searcher.of(model, IDS, gallery)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("method", FOLDING)
def test_a_stored_gallery_is_searched_like_a_folded_copy(method, metric):
    streamed, held = searchers(fit(method, metric))
    assert isinstance(streamed.vectors, Streamed) and isinstance(held.vectors, torch.Tensor)
    assert streamed.vectors.stored.dtype == torch.float16
    one, two = streamed.search(QUERIES, 12), held.search(QUERIES, 12)
    scale = float(two.scores.abs().max())
    torch.testing.assert_close(one.scores, two.scores, atol=1e-6 * scale, rtol=0)
    wrong = one.indices != two.indices
    # Only scores that are equal up to float32 may have changed places.
    gaps = (two.scores[:, 1:] - two.scores[:, :-1]).abs() < 2e-6 * scale
    assert wrong.float().mean() <= 2 * gaps.float().mean()


@pytest.mark.parametrize("method", [*SERVED, "center+nnn"])
def test_a_query_alone_has_the_results_that_it_has_in_any_batch(method):
    streamed, _ = searchers(fit(method))
    assert isinstance(streamed.vectors, Streamed | StoredRows)
    everyone = streamed.search(QUERIES, 10)
    order = np.random.default_rng(1).permutation(len(QUERIES))
    for rows in [[i] for i in range(12)] + [list(order), list(order[:7]), [3, 3, 3]]:
        some = streamed.search(QUERIES[rows], 10)
        assert torch.equal(some.indices, everyone.indices[rows])
        assert torch.equal(some.scores, everyone.scores[rows])


def test_items_closer_than_float32_rounding_are_ranked_by_their_exact_scores():
    draw = np.random.default_rng(0)
    base = draw.normal(size=512).astype("f4")
    gallery = np.nextafter(base, draw.choice([-np.inf, np.inf], size=(2000, 512)), dtype="f4")
    queries = draw.normal(size=(5, 512)).astype("f4")
    ones = [str(i) for i in range(2000)]
    model = fit_model(ones, gallery, queries, method="none", metric="dot")
    folding, streamed = stream_gallery(model.fitted, gallery, "dot")
    found = exact_topk(folding.queries(queries), streamed, 10)
    exact = queries.astype("f8") @ gallery.T.astype("f8")
    assert np.array_equal(found.indices, np.argsort(-exact, axis=1, kind="stable")[:, :10])


@pytest.mark.parametrize("method", ["em+sinkhorn", "center+nnn"])
def test_rounding_is_bounded(method):
    folding, streamed = stream_gallery(fit(method).fitted, GALLERY)
    asked = streamed.asked(folding.queries(QUERIES))
    exact = streamed.exact(asked, np.tile(np.arange(300), (len(QUERIES), 1)))
    off = np.abs(streamed.pair(asked).scores().double().numpy() - exact).max(axis=1)
    assert (off < streamed.rounding(asked)).all() and (streamed.rounding(asked) < 1e-4).all()
    assert np.array_equal(streamed.everything(asked[3:4]), exact[3])
    alone = streamed.asked(folding.queries(QUERIES[3:4]))
    assert torch.equal(alone.rows[0], asked.rows[3]) and alone.means[0] == asked.means[3]


def test_exact_duplicates_come_in_the_order_of_the_gallery():
    gallery = np.repeat(GALLERY[:2], 150, axis=0)
    model = fit_model(IDS, gallery, BANK, bank_gallery=BANK_GALLERY, method="em")
    found = searchers(model, gallery)[0].search(QUERIES, 5)
    assert torch.equal(found.indices % 150, torch.arange(5).expand(len(QUERIES), 5))


@pytest.mark.parametrize("method", ["em+sinkhorn", "is", "center+nnn"])
def test_new_items_that_stay_as_they_are_stored_get_the_same_bias(monkeypatch, method):
    model = fit(method, keep_bank=True)
    fresh = make(m=40, seed=5)[1].astype(np.float16)
    names = [f"new{i}" for i in range(40)]
    want = add_items(model, names, fresh)
    made = []

    def pair(*sides, **options):
        made.append(Pair(*sides, **options))
        return made[-1]

    monkeypatch.setattr(growing, "Pair", pair)
    with memory.limit(TINY):
        found = add_items(model, names, fresh)
    assert all(sim.gallery.stored.dtype == torch.float16 for sim in made) and made
    one, two = (grown.fitted.gallery_bias for grown in (found, want))
    torch.testing.assert_close(one, two, atol=1e-5, rtol=0)
    assert torch.equal(found.kept["gallery.hashes"], want.kept["gallery.hashes"])


@pytest.mark.parametrize("method", ["em", "center"])
def test_rows_without_a_direction_are_named_as_in_a_fold(method):
    model = fit(method)
    bad = GALLERY.copy()
    bad[205] = 0
    if method == "center":
        # The unit vector of the row is the mean itself.
        bad[205, 0] = 3
        model.fitted.stages[0].gallery_mean.copy_(torch.eye(32)[0])
    said = []
    for fold in (plan_folding, stream_gallery):
        with pytest.raises(RerankError, match="gallery.*row 205 ") as error:
            fold(model.fitted, bad, "cosine")
        said.append(str(error.value))
    assert said[0] == said[1]


def test_another_gallery_is_refused_as_by_a_fold():
    model = fit("em+sinkhorn")
    for gallery in (GALLERY[:-1], GALLERY[:, :-1]):
        said = []
        for fold in (plan_folding, stream_gallery):
            with pytest.raises(RerankError, match="gallery: got") as error:
                fold(model.fitted, gallery, "cosine")
            said.append(str(error.value))
        assert said[0] == said[1]
