"""Laws of the one Python call and of `apply`."""

import numpy as np
import pytest
import torch

from rerank import EM, Dense, Pair, Pipeline, RerankError, Sinkhorn, apply, load, rerank, save, topk
from tests.reference import planted, sinkhorn, unit


def halves():
    """Queries and gallery, and bank texts and videos of the same kind."""
    queries, gallery, truth = planted(n=180, hubs=40)
    gallery = gallery[truth]
    return queries[:60], gallery[:60], queries[60:], gallery[60:]


def bank(seed=3, n=120, d=32):
    rng = np.random.default_rng(seed)
    return unit(rng.normal(size=(n, d)) + 0.4), unit(rng.normal(size=(n - 20, d)) + 0.4)


@pytest.mark.parametrize("kind", ["numpy", "torch"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_same_kind_and_dtype_come_back_and_the_input_stays(kind, dtype):
    queries, gallery, _ = planted(n=30)
    scores = (queries @ gallery.T).astype(dtype)
    given = torch.from_numpy(scores.copy()) if kind == "torch" else scores.copy()
    got = rerank(given, tau=0.1, rho=1.0, n_iters=3000, tol=1e-9 if dtype == "float64" else 1e-5)
    assert type(got) is type(given) and got.dtype == given.dtype and got.shape == given.shape
    np.testing.assert_array_equal(np.asarray(given), scores)
    f, g = sinkhorn(scores, 0.1)
    want = scores.astype(np.float64) + (f - f.mean())[:, None] + (g - g.mean())
    atol = {"float16": 2e-3, "float32": 2e-4, "float64": 2e-4}[dtype]
    np.testing.assert_allclose(np.asarray(got, dtype=np.float64), want, atol=atol)


def test_read_only_non_contiguous_and_big_endian_arrays_are_fine():
    queries, gallery, _ = planted(n=30)
    scores = queries @ gallery.T
    want = rerank(scores, tau=0.05)
    frozen = scores.copy()
    frozen.setflags(write=False)
    for given in (
        frozen,
        np.asfortranarray(scores),
        scores.astype(">f8"),
        scores[::-1, ::-1][::-1, ::-1],
    ):
        np.testing.assert_allclose(rerank(given, tau=0.05), want, atol=1e-12)


def test_the_result_is_s_plus_f_plus_g_of_the_two_fits():
    queries, gallery, _ = planted(n=30)
    queries = np.concatenate([queries, queries[:3], queries[:1]])  # repeated queries
    scores = queries @ gallery.T
    for rho in (1.0, 0.8, (0.9, 0.7)):
        forward, backward = rho if isinstance(rho, tuple) else (rho, rho)
        g = Sinkhorn(tau=0.05, rho=forward).fit(Dense(scores)).gallery_bias.numpy()
        f = Sinkhorn(tau=0.05, rho=backward).fit(Dense(scores.T)).gallery_bias.numpy()
        got = rerank(scores, tau=0.05, rho=rho)
        np.testing.assert_allclose(got, scores + f[:, None] + g, atol=1e-12)


def test_the_transposed_call_is_the_transposed_result():
    queries, gallery, _ = planted(n=40)
    scores = (queries @ gallery.T)[:35]
    np.testing.assert_allclose(rerank(scores.T).T, rerank(scores), atol=1e-6)


def test_masses_are_used_in_both_directions():
    queries, gallery, _ = planted(n=30)
    scores = queries @ gallery.T
    a, b = np.linspace(0.5, 2, 30), np.linspace(2, 0.5, 30)
    got = rerank(scores, tau=0.1, query_mass=a, gallery_mass=b, rho=1.0, n_iters=3000, tol=1e-12)
    f, g = sinkhorn(scores, 0.1, a=a / a.sum(), b=b / b.sum())
    want = scores + f[:, None] + g
    np.testing.assert_allclose(got - got.mean(), want - want.mean(), atol=1e-9)


def test_one_large_fit_serves_both_directions(monkeypatch):
    from rerank.methods import engine as api

    queries, gallery, _ = planted(n=40)
    scores = queries @ gallery.T
    settings = {"tau": 0.1, "rho": 1.0, "n_iters": 3000, "tol": 1e-12}
    two = rerank(scores, **settings)
    monkeypatch.setattr(api, "ONE_FIT_ELEMENTS", 1)
    calls = []
    fit = Sinkhorn.fit
    monkeypatch.setattr(Sinkhorn, "fit", lambda self, bank: calls.append(1) or fit(self, bank))
    np.testing.assert_allclose(rerank(scores, **settings), two, atol=1e-9)
    assert len(calls) == 1
    repeated = np.concatenate([scores, scores[:1]])  # marginals differ: two fits
    rerank(repeated, **settings)
    assert len(calls) == 3
    for tau, fits in ((0.1, 1), (0.001, 2)):  # nearly there after five steps, and far from it
        calls.clear()
        rerank(scores, tau=tau, rho=1.0, n_iters=5)
        assert len(calls) == fits


def test_probabilities_are_recognised_and_zeros_stay_unscored():
    queries, gallery, truth = planted(n=40)
    logits = queries @ gallery.T / 0.05
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    with pytest.warns(UserWarning, match="softmax|probabilities"):
        got = rerank(probabilities, tau=1.0)
    want = rerank(np.log(probabilities), tau=1.0)
    np.testing.assert_allclose(got, want, atol=1e-9)
    np.testing.assert_allclose(
        rerank(probabilities, tau=0.1, scores_are="similarities").argmax(axis=1).shape, (40,)
    )
    sparse = np.where(probabilities >= np.sort(probabilities, axis=1)[:, [-8]], probabilities, 0)
    sparse /= sparse.sum(axis=1, keepdims=True)
    with pytest.warns(UserWarning, match="softmax|probabilities"):
        got = rerank(sparse, tau=1.0)
    assert (np.isneginf(got) == (sparse == 0)).all() and not np.isnan(got).any()
    assert (got.argmax(axis=1) == truth).mean() >= (sparse.argmax(axis=1) == truth).mean()


@pytest.mark.parametrize(
    ("scores", "settings", "word"),
    [
        (np.eye(12, dtype=int), {}, "int64"),
        (np.full((12, 12), np.nan), {}, "row 0"),
        (np.eye(12), {"method": "magic"}, "magic"),
        (np.eye(12), {"method": "em"}, "embeddings"),
        (np.eye(12), {"tau": -1.0}, "tau"),
        (np.eye(12), {"colour": 3}, "colour"),
        (np.eye(12), {"query_mass": np.zeros(12)}, "query mass"),
        (-np.eye(12), {"scores_are": "probabilities"}, "negative"),
    ],
)
def test_bad_calls_are_refused(scores, settings, word):
    with pytest.raises(RerankError, match=word):
        rerank(scores, **settings)


def test_no_bank_is_transductive_and_half_a_bank_leaves_the_other_direction_raw():
    queries, gallery, texts, videos = halves()
    both = apply(queries, gallery)
    assert (both.t2v.label, both.v2t.label, both.label) == ("transductive",) * 3
    half = apply(queries, gallery, bank_texts=texts)
    assert (half.t2v.label, half.v2t.label) == ("inductive", "none")
    assert any("bank_videos=" in note for note in half.v2t.notes)
    assert any("align" in note.lower() for note in half.t2v.notes)
    raw = Pair(gallery, queries).scores()
    np.testing.assert_allclose(half.v2t.sim.scores(), raw, atol=1e-12)
    full = apply(queries, gallery, bank_texts=texts, bank_videos=videos)
    assert (full.t2v.label, full.v2t.label) == ("inductive", "inductive")


def test_an_inductive_fit_never_saw_the_test_queries():
    queries, gallery, texts, videos = halves()
    one = apply(queries, gallery, bank_texts=texts, bank_videos=videos)
    other = apply(queries[:20], gallery, bank_texts=texts, bank_videos=videos)
    np.testing.assert_array_equal(one.t2v.fitted.gallery_bias, other.t2v.fitted.gallery_bias)
    np.testing.assert_allclose(one.t2v.sim.scores()[:20], other.t2v.sim.scores(), atol=1e-12)


def test_queries_from_elsewhere_leave_their_ranking_as_it_is():
    queries, gallery, _ = planted(n=60)
    texts, videos = bank()  # of another kind
    result = apply(queries, gallery, bank_texts=texts, bank_videos=videos)
    assert result.t2v.label == "none"
    assert any("look different from the bank's" in note for note in result.t2v.notes)


def test_a_bank_that_is_the_test_set_is_called_transductive():
    queries, gallery, _ = planted(n=60)
    result = apply(queries, gallery, bank_texts=queries, bank_videos=gallery)
    assert result.label == "transductive"
    assert any("60 of 60" in note for note in result.t2v.notes)


def test_the_folded_index_ranks_like_the_rewritten_matrix():
    queries, gallery, _ = planted(n=80)
    sim = Pair(queries.astype(np.float32), gallery.astype(np.float32))
    fitted = Pipeline((EM(), Sinkhorn(tau=0.05))).fit(sim)
    rewritten = fitted.transform(sim)
    found = topk(rewritten, 10)
    matrix = rewritten.scores()
    best = torch.topk(matrix, 10).values
    np.testing.assert_allclose(found.scores, best, atol=1e-6)
    np.testing.assert_allclose(matrix.gather(1, found.indices), best, atol=1e-6)
    mapped = unit(unit(queries) @ fitted.map.numpy()) @ unit(unit(gallery) @ fitted.map.numpy()).T
    np.testing.assert_allclose(matrix, mapped + fitted.gallery_bias.numpy(), atol=1e-5)


def test_saved_is_loaded(tmp_path):
    queries, gallery, _ = planted(n=60)
    sim = Pair(queries, gallery)
    fitted = Pipeline((EM(), Sinkhorn(tau=0.05))).fit(sim)
    save(tmp_path / "model.safetensors", fitted)
    again = load(tmp_path / "model.safetensors")
    assert again.label == fitted.label == "transductive"
    assert torch.equal(again.transform(sim).scores(), fitted.transform(sim).scores())


def test_the_rewritten_matrix_serves_both_directions():
    queries, gallery, _ = planted(n=60)
    result = apply(queries, gallery)
    matrix = result.scores()
    for sim, rows in ((result.t2v.sim, matrix), (result.v2t.sim, matrix.T)):
        np.testing.assert_array_equal(sim.scores().argsort(dim=1), rows.argsort(dim=1))


def test_same_input_same_bytes():
    queries, gallery, _ = planted(n=60)
    one, two = (apply(queries, gallery) for _ in range(2))
    assert one.scores().numpy().tobytes() == two.scores().numpy().tobytes()


def test_each_direction_has_as_many_results_as_it_has_items():
    queries, gallery, _ = planted(n=60)
    for n, k, down, up in ((1, None, 10, 1), (3, 10, 10, 3), (60, None, 10, 10), (4, 60, 60, 4)):
        run = apply(queries[:n], gallery, k=k)
        assert (run.t2v.ids.shape, run.v2t.ids.shape) == ((n, down), (60, up))
        assert (len(run.t2v.before.counts), len(run.v2t.after.counts)) == (60, n)
        turned = apply(scores=(queries[:n] @ gallery.T).T, k=k)
        assert (turned.t2v.ids.shape, turned.v2t.ids.shape) == ((60, up), (n, down))
    assert apply(queries[:4], gallery[:3]).t2v.ids.shape == (4, 3)
    with pytest.raises(RerankError, match="k: got 61, expected between 1 and the 60"):
        apply(queries[:1], gallery, k=61)
    with pytest.raises(RerankError, match="k: got 0"):
        apply(queries[:1], gallery, k=0)
