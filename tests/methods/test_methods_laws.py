"""Laws that every method keeps, and each method beside its dense formula."""

from dataclasses import fields, is_dataclass, replace

import numpy as np
import pytest
import torch

from rerank.core.errors import NeedsEmbeddings, RerankError
from rerank.core.similarity import Dense, Pair
from rerank.methods import checks as rows
from rerank.methods import reciprocal
from rerank.methods import saved as store
from rerank.methods.base import Bank
from rerank.methods.dual_bank import Beside
from rerank.methods.inverted_softmax import share_gated
from rerank.methods.registry import METHODS, pipeline
from rerank.passes import reduce
from rerank.passes.gallery import taken
from rerank.passes.topk import topk
from rerank.serving.fold import folds
from tests import methods_reference as formulas
from tests.reference import unit

N, M, N_BANK, M_BANK, D = 23, 17, 40, 21, 8
# The published neighbourhoods are larger than this set.
SMALL = {
    "nnn": {"k": 5},
    "csls": {"k": 4},
    "k-reciprocal": {"k1": 6, "k2": 3},
    "alpha-qe": {"n": 3},
}

ALL_AT_ONCE = [m for m in METHODS if "all queries" in METHODS[m].facts.needs]
ON_SCORES = [m for m in METHODS if "embeddings" not in METHODS[m].facts.needs]
MAPS_ALONE = ("center", "alpha-qe", "k-reciprocal", "align", "emcl-blockwise")
every_method = pytest.mark.parametrize("method", METHODS)


def cone(rng, count, bias):
    """Unit rows around a common direction, as real encoders give them."""
    return unit(rng.normal(size=(count, D)) + bias * np.ones(D) * 0.8)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(7)
    arrays = {
        "texts": cone(rng, N, 1.0), "videos": cone(rng, M, 1.4),
        "bank_texts": cone(rng, N_BANK, 1.0), "bank_videos": cone(rng, M_BANK, 1.4),
    }  # fmt: skip
    for array in arrays.values():
        array.setflags(write=False)
    return arrays


def pair(data, block_size=None, order=None):
    videos = data["videos"] if order is None else data["videos"][order]
    return Pair(data["texts"], videos, block_size=block_size)


def bank_of(data, block_size=None, order=None):
    videos = data["videos"] if order is None else data["videos"][order]
    return Bank(
        Pair(data["bank_texts"], videos, block_size=block_size),
        gallery=Pair(data["bank_videos"], videos, block_size=block_size),
        pairs=Pair(data["bank_texts"], data["bank_videos"], block_size=block_size),
        positives=tuple(np.array([i % M_BANK]) for i in range(N_BANK)),
    )


def dense(bank):
    return replace(
        bank, sim=Dense(bank.sim.scores()), gallery=Dense(bank.gallery.scores()),
        pairs=Dense(bank.pairs.scores()),
    )  # fmt: skip


def fit(method, bank):
    return pipeline(method, **SMALL.get(method, {})).fit(bank)


def close(got, want, atol=1e-10):
    np.testing.assert_allclose(np.asarray(got), np.asarray(want), atol=atol, rtol=1e-9)


FORMULAS = {
    "is": lambda s, b, x: formulas.inverted_softmax(s, b, formulas.sigma(b) / 2),
    "csls": lambda s, b, x: formulas.csls(s, b, 4),
    "nnn": lambda s, b, x: formulas.nnn(s, b, 0.75, 5),
    "dn": lambda s, b, x: s - 0.25 * b.mean(axis=0),
    "center": lambda s, b, x: formulas.centred(x["texts"], x["videos"], x["bank_texts"]),
    "alpha-qe": lambda s, b, x: formulas.expanded(x["texts"], x["videos"], 3),
    "dis": lambda s, b, x: formulas.dynamic(s, b, formulas.sigma(b) / 2),
    "dsl": lambda s, b, x: formulas.dual_softmax(s, b, formulas.sigma(b) / 2),
    "mp": lambda s, b, x: formulas.mutual_gaussian(s, b),
    "k-reciprocal": lambda s, b, x: -formulas.k_reciprocal(x["texts"], x["videos"], 6, 3),
    "dbsn": lambda s, b, x: formulas.dual_bank_sinkhorn(
        s, b, x["bank_texts"] @ x["bank_videos"].T, formulas.sigma(b) / 2, 10
    ),
    "dbsn-1": lambda s, b, x: formulas.dual_bank_sinkhorn(
        s, b, x["bank_texts"] @ x["bank_videos"].T, formulas.sigma(b) / 2, 1
    ),
    "dualis": lambda s, b, x: formulas.dual_is(
        s, b, x["bank_videos"] @ x["videos"].T, formulas.sigma(b) / 2,
        formulas.sigma(x["bank_videos"] @ x["videos"].T),
    ),
}  # fmt: skip


@pytest.mark.parametrize("method", FORMULAS)
def test_streaming_equals_the_dense_formula(data, method):
    s, b = data["texts"] @ data["videos"].T, data["bank_texts"] @ data["videos"].T
    out = fit(method, bank_of(data, block_size=5)).transform(pair(data, block_size=3)).scores()
    close(out, FORMULAS[method](s, b, data))


def test_distribution_normalisation_is_the_published_score_up_to_row_constants(data):
    out = fit("dn", bank_of(data)).transform(pair(data)).scores().numpy()
    published = formulas.distribution(data["texts"], data["videos"], data["bank_texts"])
    gap = out - published
    close(gap, np.broadcast_to(gap[:, :1], gap.shape))


def test_globally_corrected_rank_orders_by_place_then_by_score(data):
    s, b = data["texts"] @ data["videos"].T, data["bank_texts"] @ data["videos"].T
    out = fit("gc", bank_of(data)).transform(pair(data)).scores().numpy()
    want = np.stack([np.lexsort((s[i], formulas.corrected_rank(s, b)[i])) for i in range(N)])
    np.testing.assert_array_equal(np.argsort(out, axis=1), want)
    np.testing.assert_array_equal(np.floor(out), formulas.corrected_rank(s, b))


def test_empirical_mutual_proximity_orders_by_the_product_then_by_score(data):
    s, b = data["texts"] @ data["videos"].T, data["bank_texts"] @ data["videos"].T
    out = fit("mp-empirical", bank_of(data)).transform(pair(data)).scores().numpy()
    product = np.round(formulas.mutual_empirical(s, b) * M * N_BANK)
    want = np.stack([np.lexsort((s[i], product[i])) for i in range(N)])
    np.testing.assert_array_equal(np.argsort(out, axis=1), want)


def test_equal_scores_share_a_place_in_the_list_that_holds_the_query_itself(data):
    """Transductive, with ties: strictly better ones count, so nobody is behind himself."""
    s = np.round(data["texts"] @ data["videos"].T, 1)
    out = fit("gc", Dense(s)).transform(Dense(s)).scores().numpy()
    np.testing.assert_array_equal(np.floor(out), formulas.corrected_rank(s, s))
    counted = fit("mp-empirical", Dense(s)).transform(Dense(s)).scores().numpy()
    np.testing.assert_allclose(counted, formulas.mutual_empirical(s, s), atol=1 / (N * M))


def test_k_reciprocal_sets_that_mix_both_sides_equal_the_formula():
    """Without a modality gap, queries and items share neighbours and the sets decide."""
    rng = np.random.default_rng(5)
    topics = rng.normal(size=(6, D))
    queries = unit(topics[rng.integers(0, 6, 30)] + 0.5 * rng.normal(size=(30, D)))
    gallery = unit(topics[rng.integers(0, 6, 25)] + 0.5 * rng.normal(size=(25, D)))
    for k1, k2, weight in ((20, 6, 0.3), (9, 1, 0.3), (6, 4, 0.0)):
        sim = Pair(queries, gallery, block_size=4)
        stages = pipeline("k-reciprocal", k1=k1, k2=k2, weight=weight)
        want = formulas.k_reciprocal(queries, gallery, k1, k2, weight)
        assert weight or 0.2 < (want < 0.999).mean()
        close(-stages.fit(sim).transform(sim).scores(), want)


def test_a_gate_opens_only_for_queries_that_a_hub_leads(data):
    fitted = fit("dis", bank_of(data)).stages[0]
    share = share_gated(fitted, pair(data))
    assert 0 < share < 1
    strict = pipeline("dis", min_count=N_BANK + 1).fit(bank_of(data))
    close(strict.transform(pair(data)).scores(), pair(data).scores())


@every_method
@pytest.mark.parametrize("block_size", [1, 7])
def test_block_sizes_agree(data, method, block_size):
    want = fit(method, bank_of(data)).transform(pair(data)).scores()
    got = fit(method, bank_of(data, block_size)).transform(pair(data, block_size)).scores()
    close(got, want)


@every_method
def test_stored_scores_equal_embeddings(data, method):
    stored = Dense(pair(data).scores())
    if "embeddings" in METHODS[method].facts.needs:
        with pytest.raises(NeedsEmbeddings, match=r"a Pair\(queries, gallery\)"):
            fit(method, dense(bank_of(data))).transform(stored)
        return
    want = fit(method, bank_of(data)).transform(pair(data)).scores()
    close(fit(method, dense(bank_of(data))).transform(stored).scores(), want)


@every_method
def test_input_is_untouched(data, method):
    stored, bank = Dense(pair(data).scores()), dense(bank_of(data))
    sims = [pair(data), bank_of(data).sim]
    if "embeddings" not in METHODS[method].facts.needs:
        sims = [stored, bank.sim]
    before = [sim.scores().clone() for sim in sims]
    out = fit(method, bank if sims[0] is stored else bank_of(data)).transform(sims[0])
    out.scores().fill_(0)
    for sim, kept in zip(sims, before, strict=True):
        assert torch.equal(sim.scores(), kept)


@every_method
def test_permuting_the_gallery_permutes_the_result(data, method):
    order = np.random.default_rng(1).permutation(M)
    want = fit(method, bank_of(data)).transform(pair(data)).scores()[:, order]
    close(fit(method, bank_of(data, order=order)).transform(pair(data, order=order)).scores(), want)


@every_method
def test_one_query_alone_is_ranked_as_in_any_batch(data, method):
    if "all queries" in METHODS[method].facts.needs:
        pytest.skip("ranks all queries together by definition")
    fitted = fit(method, bank_of(data))
    want = fitted.transform(pair(data)).scores()
    for row in (0, 11, N - 1):
        alone = fitted.transform(Pair(data["texts"][row : row + 1], data["videos"])).scores()
        close(alone[0], want[row])


@every_method
def test_the_other_direction_is_the_same_call_on_the_transpose(data, method):
    known = tuple(np.array([i]) for i in range(M_BANK))
    both = Bank(
        bank_of(data).pairs.T, gallery=Pair(data["texts"], data["bank_texts"]),
        pairs=Pair(data["bank_videos"], data["texts"]), positives=known,
    )  # fmt: skip
    sim = Pair(data["texts"], data["bank_texts"])
    swapped = fit(method, both).transform(sim)
    mirrored = Bank(
        Pair(data["bank_videos"], data["bank_texts"]),
        gallery=both.gallery, pairs=both.pairs, positives=known,
    )  # fmt: skip
    close(swapped.scores(), fit(method, mirrored).transform(sim).scores())
    result = fit(method, bank_of(data)).transform(pair(data))
    if METHODS[method].facts.rows_only:
        with pytest.raises(RerankError, match=r"call it on the transposed similarity"):
            _ = result.T
    else:
        close(result.T.scores(), result.scores().T)


@every_method
def test_a_fitted_method_is_plain_frozen_data_and_survives_a_file(data, method, tmp_path):
    fitted = fit(method, bank_of(data))
    for stage in fitted.stages:
        assert is_dataclass(stage) and stage.__dataclass_params__.frozen
        for f in fields(stage):
            value = getattr(stage, f.name)
            assert isinstance(value, torch.Tensor | float | int | str | tuple | None), f.name
    store.save(tmp_path / "model.safetensors", fitted)
    loaded = store.load(tmp_path / "model.safetensors")
    assert loaded.label == fitted.label
    assert torch.equal(loaded.transform(pair(data)).scores(), fitted.transform(pair(data)).scores())


@every_method
def test_the_registry_says_what_folds_and_what_a_bank_leads_to(data, method):
    fitted = fit(method, bank_of(data))
    assert folds(fitted) == METHODS[method].facts.folds
    want = "transductive" if method in ALL_AT_ONCE else "inductive"
    # These pairs predict nothing of each other, so an alignment by them moves nothing.
    assert fitted.label == ("none" if method == "align" else want)


@every_method
def test_without_a_bank_a_fit_is_transductive_or_asks_for_a_bank_gallery(data, method):
    sim = pair(data)
    for twice in (sim, Bank(sim, pairs=sim.T.T, label="transductive")):
        if "gallery bank" in METHODS[method].facts.needs and not pipeline(method).stages[0].maps:
            with pytest.raises(RerankError, match=r"bank_texts= and bank_videos="):
                fit(method, twice)
            continue
        want = "inductive" if method == "alpha-qe" else "transductive"
        assert fit(method, twice).label == want


@pytest.mark.parametrize("method", ON_SCORES)
def test_results_follow_the_scale_of_the_scores(data, method):
    """Automatic temperatures: logits of any scale rank as cosines do."""
    if METHODS[method].facts.preset.keys() & {"tau"}:
        pytest.skip("published temperatures belong to cosines")
    bank, stored = dense(bank_of(data)), Dense(pair(data).scores())
    scaled = replace(
        bank, sim=Dense(100 * bank.sim.base), gallery=Dense(100 * bank.gallery.base),
        pairs=Dense(100 * bank.pairs.base),
    )  # fmt: skip
    want = fit(method, bank).transform(stored).scores().argsort(dim=1, stable=True)
    got = fit(method, scaled).transform(Dense(100 * stored.base)).scores()
    assert torch.equal(got.argsort(dim=1, stable=True), want)


@pytest.mark.parametrize("method", ON_SCORES)
def test_unscored_entries_stay_unscored_and_spoil_nothing(data, method):
    rng = np.random.default_rng(3)
    bank = dense(bank_of(data))
    holes = torch.from_numpy(rng.random((N_BANK, M)) < 0.5)
    # Item 2 was scored by no bank query at all.
    holes[:, 2] = True
    sim = Dense(bank.sim.base.masked_fill(holes, -torch.inf), unscored=True)
    test = pair(data).scores().masked_fill(torch.from_numpy(rng.random((N, M)) < 0.3), -torch.inf)
    out = fit(method, replace(bank, sim=sim)).transform(Dense(test, unscored=True)).scores()
    assert not torch.isnan(out).any()
    assert torch.equal(out == -torch.inf, test == -torch.inf)


def test_constant_scores_keep_every_ranking(data):
    flat = Dense(torch.full((N, M), 0.25))
    for method in ("is", "dis", "dsl", "ncl", "csls", "dn", "gc", "mp", "mp-empirical"):
        out = fit(method, flat).transform(flat).scores()
        assert torch.allclose(out, out[:, :1].expand_as(out), atol=1e-6), method


def test_gated_rows_fold_into_one_more_dimension(data):
    sim = Pair(data["texts"].astype("f4"), data["videos"].astype("f4"))
    out = fit("dis", bank_of(data)).transform(sim)
    queries, gallery = out.augmented()
    assert queries.shape == (N, D + 1)
    close(queries @ gallery.T, out.scores(), atol=1e-6)
    np.testing.assert_array_equal(topk(out, 5).indices, reduce.topk(out, 5).indices)


def test_centring_shifts_the_gallery_bank_as_gallery(data):
    composed = pipeline("center+dualis").fit(bank_of(data))
    mean_text, mean_video = data["bank_texts"].mean(axis=0), data["videos"].mean(axis=0)
    x = {
        name: unit(rows - (mean_text if "texts" in name else mean_video))
        for name, rows in data.items()
    }
    want = fit("dualis", bank_of(x)).transform(pair(x)).scores()
    close(composed.transform(pair(data)).scores(), want)


def test_dual_bank_of_scores_equals_dual_bank_of_embeddings_with_corrections(data):
    bank = bank_of(data)
    shifted = replace(
        bank, sim=bank.sim.add_gallery_bias(torch.zeros(M)),
        pairs=bank.pairs.add_gallery_bias(torch.zeros(M_BANK)),
    )  # fmt: skip
    want = fit("dbsn", bank).gallery_bias
    close(fit("dbsn", shifted).gallery_bias, want)


def test_queries_are_taken_in_the_order_they_are_asked_for(data):
    sim = Beside(pair(data, 5), pair(data, 5), block_size=5)
    queries, places = torch.tensor([20, 3, 11, 3, 4]), torch.tensor([30, 2])
    for each in (sim, Dense(sim.scores())):
        close(taken(each, queries, places).scores(), sim.scores()[queries][:, places])


@pytest.mark.parametrize("method", ["gc", "mp-empirical"])
def test_dense_methods_refuse_above_the_limit(data, method, monkeypatch):
    monkeypatch.setattr(rows, "MAX_DENSE", N_BANK * M - 1)
    with pytest.raises(RerankError, match=r"needs the dense matrix: 40 x 17 .* GB, the limit"):
        fit(method, bank_of(data))


def test_k_reciprocal_refuses_above_the_limit(data, monkeypatch):
    monkeypatch.setattr(reciprocal, "MAX_ITEMS", N + M - 1)
    with pytest.raises(RerankError, match=r"23 queries and 17 gallery .* GB .* the limit is 39"):
        fit("k-reciprocal", bank_of(data)).transform(pair(data))


@every_method
def test_another_gallery_is_refused(data, method):
    if pipeline(method).stages[0].maps or method in MAPS_ALONE:
        pytest.skip("not tied to a gallery")
    with pytest.raises(RerankError, match=r"fit on the gallery that is searched"):
        fit(method, bank_of(data)).transform(Pair(data["texts"], data["bank_videos"])).scores()


@pytest.mark.parametrize(
    ("method", "settings", "message"),
    [
        ("is", {"tau": 0}, r"tau: got 0"),
        ("dis", {"tau": "cold"}, r"tau: got 'cold'"),
        ("dualis", {"tau_gallery": -1.0}, r"-1"),
        ("csls", {"k": 0}, r"k: got 0"),
        ("dsl", {"form": "other"}, r"form: got 'other', expected 'camoe'"),
        ("mp", {"form": "other"}, r"form: got 'other', expected 'gaussian'"),
        ("k-reciprocal", {"k2": 30}, r"k1, k2: got 20, 30"),
        ("k-reciprocal", {"weight": 1.5}, r"weight: got 1.5"),
        ("alpha-qe", {"n": 0}, r"n: got 0"),
        ("dis", {"beta": 20}, r"beta: method 'dis' has no such setting"),
        ("nnn+em", {}, r"'em' rewrites embeddings and must come before 'nnn'.*write em\+nnn"),
        ("csls+center", {}, r"'center' rewrites embeddings and must come before"),
        ("dsl+csls", {}, r"'dsl' answers the row direction only, nothing can follow"),
        ("csls+k-reciprocal", {}, r"'k-reciprocal' works on embeddings and cannot follow 'csls'"),
        ("center+nn", {}, r"got 'nn', expected one of"),
    ],
)
def test_settings_and_compositions_that_cannot_be_are_refused(method, settings, message):
    with pytest.raises(RerankError, match=message):
        pipeline(method, **settings)


@pytest.mark.parametrize("method", ["nnn", "csls"])
def test_a_bank_smaller_than_k_is_refused_not_shortened(data, method):
    with pytest.raises(RerankError, match=r"k: got 50, expected between 1 and the 40"):
        pipeline(method, k=50).fit(bank_of(data))


@pytest.mark.parametrize(
    "method", ["em+sinkhorn", "center+nnn", "center+em+csls", "center+dis", "em+dsl", "alpha-qe+is"]
)
def test_compositions_fit_and_keep_the_laws(data, method):
    fitted = pipeline(method, k=5 if "nnn" in method or "csls" in method else None).fit(
        bank_of(data)
    )
    want = fitted.transform(pair(data)).scores()
    close(fitted.transform(Pair(data["texts"][3:4], data["videos"])).scores()[0], want[3])
    assert torch.isfinite(want).all()
